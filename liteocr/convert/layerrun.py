"""Run single layers of an ncnn network on given inputs, and tell what rounding of their weights explains."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from . import ncnnrun
from .layout import Float
from .ncnnrun import RunPrecision
from .pairing import Result
from .param import Layer, Param
from .weights import Array as Stored
from .weights import read_bin, write_bin

__all__ = ["HALF", "PROBABILITIES", "SLACK", "Runner"]

HALF = {"fp16", "bf16"}
"""Kinds of storage that round weights."""
_LINEAR = {
    "Convolution",
    "Convolution1D",
    "ConvolutionDepthWise",
    "ConvolutionDepthWise1D",
    "Deconvolution",
    "Deconvolution1D",
    "DeconvolutionDepthWise",
    "DeconvolutionDepthWise1D",
    "Gemm",
    "InnerProduct",
}
SLACK = 1e-2
"""Added to the tolerance of recurrent and other layers with weights in half precision."""
_SLACK_CONSTANT = 2e-3
"""Added to that of layers that read a constant in half precision."""
_SLACK_INT8 = 5e-2
_SLACK_EXPONENTIAL = 1e-3
"""Added to that of layers that give probabilities: ncnn and onnxruntime each have their own exponential."""


_FLUSHED = 2.0**-13
"""ncnn's and pnnx's conversion to float16 makes zero of whatever is smaller than 2**-14, on either side."""
PROBABILITIES = {"Sigmoid", "Softmax", "HardSigmoid", "TanH"}


class Runner:
    """Runs single layers of a network, in a process that may crash.

    Args:
        param: the .param file.
        bin: the .bin file.
        precision: what ncnn computes in.
    """

    def __init__(self, param: Path, bin: Path, precision: RunPrecision) -> None:
        self.param, self.net = ncnnrun.load(ncnnrun.Job(param, bin, precision, 1), light=False)
        self.weights = read_bin(self.param, bin)
        self.rounded = {
            layer.name
            for layer in self.param.layers
            if any(a.storage in HALF for a in self.weights.get(layer.name, ()))
        }
        self.constants = {
            blob
            for layer in self.param.layers
            if layer.type == "MemoryData" and layer.name in self.rounded
            for blob in layer.outputs
        }
        while True:  # a constant through a Split is still that constant
            more = {
                blob
                for layer in self.param.layers
                if layer.type == "Split" and layer.inputs[0] in self.constants
                for blob in layer.outputs
            }
            if more <= self.constants:
                break
            self.constants |= more
        self.noises: dict[str, Any] = {}

    def arrays(self, layer: Layer, values: Sequence[Float]) -> tuple[Float, ...] | None:
        """The outputs of a layer; None where ncnn fails."""
        if not _fits(layer, self.weights.get(layer.name, ()), [v.shape for v in values]):
            return None
        print(f"layer {layer.name} ({layer.type})", file=sys.stderr)  # the last word, should it crash
        extractor = self.net.create_extractor()
        extractor.set_light_mode(False)
        held = _feed(extractor, layer.inputs, values)
        if held is None:
            return None
        found = []
        for blob in layer.outputs:
            code, mat = extractor.extract(blob)
            if code != 0 or mat.empty():
                return None
            found.append(np.array(mat, dtype=np.float32))
        return tuple(found)

    def __call__(self, layer: Layer, values: Sequence[Float]) -> Result | None:
        arrays = self.arrays(layer, values)
        return None if arrays is None else self.explained(layer, values, arrays)

    def explained(self, layer: Layer, values: Sequence[Float], arrays: tuple[Float, ...]) -> Result:
        """A layer's outputs with what rounding of its weights explains."""
        slack = _SLACK_CONSTANT if self.constants.intersection(layer.inputs) else 0.0
        if any(a.storage == "int8" for a in self.weights.get(layer.name, ())):
            slack += _SLACK_INT8
        if layer.name not in self.rounded or layer.type == "MemoryData":
            if layer.type in PROBABILITIES:
                return Result(arrays, None, slack + _SLACK_EXPONENTIAL, 1.0)
            return Result(arrays, None, slack)
        noise = self.noise(layer, values) if layer.type in _LINEAR else None
        if noise is None or noise.shape != arrays[0].shape:
            return Result(arrays, None, slack + SLACK)
        return Result(arrays, noise, slack)

    def noise(self, layer: Layer, values: Sequence[Float]) -> Float | None:
        """Standard deviation of the output that rounding of the stored weights causes; None where it is not known.

        The layer itself computes it: on the squared input, with the weights' variances for weights.
        """
        if layer.name not in self.noises:
            self.noises[layer.name] = self._variances(layer)
        net = self.noises[layer.name]
        if net is None:
            return None
        extractor = net.create_extractor()
        held = _feed(extractor, layer.inputs, [v * v for v in values])
        if held is None:
            return None
        code, mat = extractor.extract(layer.outputs[0])
        return None if code != 0 or mat.empty() else np.sqrt(np.maximum(np.array(mat, dtype=np.float32), 0))

    def _variances(self, layer: Layer) -> Any:
        params = {k: v for k, v in layer.params.items() if layer.type == "Gemm" or k not in (9, 10)}
        if layer.type == "Gemm":
            params |= {0: 1.0, 1: 1.0}
        inputs = [Layer("Input", f"input {i}".replace(" ", ""), (), (b,), {}) for i, b in enumerate(layer.inputs)]
        alone = Param((*inputs, replace(layer, params=params)))
        stored = []
        for array in self.weights[layer.name]:
            if array.storage in HALF:
                stored.append(Stored(_variance(array.values, array.storage), "fp32"))
            elif array.storage in ("fp32", "raw", "bare"):
                stored.append(Stored(np.zeros_like(array.values), array.storage))
            else:
                return None
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = 1
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
        net.opt.use_winograd_convolution = False  # it subtracts, and variances are small
        with tempfile.TemporaryDirectory(prefix="liteocr-") as place:
            text, weights = Path(place, "net.param"), Path(place, "net.bin")
            text.write_text(alone.text(), encoding="utf-8")
            write_bin(alone, {layer.name: stored}, weights)
            good = net.load_param(str(text)) == 0 and net.load_model(str(weights)) == 0
        return net if good else None


def _fits(layer: Layer, weights: Sequence[Stored], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether a layer may be run on inputs of these shapes: ncnn reads and writes beyond its memory on some others."""
    kind, first = layer.type, shapes[0] if shapes else ()
    if kind == "Concat":
        axis = layer.integer(0)
        others = {(*s[:axis], *s[axis:][1:]) if axis >= 0 else (*s[:axis], *s[len(s) + axis + 1 :]) for s in shapes}
        return len({len(s) for s in shapes}) == 1 and -len(first) <= axis < len(first) and len(others) == 1
    if kind == "Eltwise":
        return len(set(shapes)) == 1
    if kind == "BinaryOp" and len(shapes) == 2:
        return any(_broadcasts(a, b) for a, b in (shapes, [s[::-1] for s in shapes]))
    if kind.startswith(("Convolution", "Deconvolution")) and weights:
        kernel = layer.integer(1) * layer.integer(11, layer.integer(1))
        if kind.endswith("1D"):
            kernel = layer.integer(1)
        groups = max(1, layer.integer(7, 1)) if "DepthWise" in kind else 1
        flat = len(first) == 1 and kernel == 1  # run as an inner product
        return (flat or len(first) == (2 if kind.endswith("1D") else 3)) and first[0] * kernel * layer.integer(
            0
        ) == len(weights[0].values) * groups
    if kind == "InnerProduct" and weights:
        width = len(weights[0].values) // max(1, layer.integer(0))
        return width in (math.prod(first), first[-1])
    if kind in ("BatchNorm", "PReLU", "Scale") and weights:
        return len(weights[0].values) in (1, first[0])
    return True


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=False))


def _variance(values: Float, storage: str) -> Float:
    """Variance of the rounding of numbers: uniform within half a unit of the last place on either side."""
    if storage == "fp16":
        unit = np.spacing(np.abs(values).astype(np.float16)).astype(np.float32)
        unit[values == 0] = _FLUSHED
    else:
        unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(values), np.float32(1e-30)))) - 7).astype(np.float32)
    variance: Float = unit * unit / np.float32(12)
    return variance


def _feed(extractor: Any, blobs: Sequence[str], values: Sequence[Float]) -> list[Float] | None:
    """Give an extractor its inputs; the arrays must outlive the clones. None where ncnn refuses one."""
    held = []
    for blob, value in zip(blobs, values, strict=True):
        if value.ndim > 4:
            return None
        held.append(np.ascontiguousarray(value, np.float32))
        if extractor.input(blob, ncnn.Mat(held[-1]).clone()) != 0:
            return None
    return held
