"""The arithmetic of int8 in ncnn: scales of weights and activations, and layers rewritten to use them.

A layer with ``8=1`` (Gemm: ``18=1``) has int8 weights and, behind its bias, the scales that they were made with: a
number times its scale, rounded, is the int8. Convolutions and InnerProduct also have one scale for their input, fixed
once for all pictures, which is what calibration finds. Recurrent layers and Gemm scale their input anew each time.
Inputs and outputs stay float32, so any layer can be int8 by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .param import Layer, Param
from .weights import Array

__all__ = ["METHODS", "Histogram", "Method", "candidates", "needs_scale", "to_int8"]

Method = Literal["kl", "max", "mse"]
METHODS: tuple[str, ...] = get_args(Method)

BINS = 2048
_LEVELS = 128
_TINY = 1e-12


@dataclass
class Histogram:
    """Absolute values that went through a blob.

    Attributes:
        limit: upper end of the last bin; it doubles where larger values come.
        counts: how many values fell into each bin, zeros left out: they are exact in int8 whatever the scale.
        largest: of all values.
    """

    limit: float = 0.0
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    largest: float = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count more values."""
        absolute = np.abs(values[np.isfinite(values)]).ravel()
        absolute = absolute[absolute > 0]
        if not absolute.size:
            return
        largest = float(absolute.max())
        self.largest = max(self.largest, largest)
        if not self.limit:
            self.limit = largest
        while self.limit < largest:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)])
            self.limit *= 2
        self.counts += np.histogram(absolute, BINS, (0, self.limit))[0]

    def threshold(self, method: Method) -> float:
        """The absolute value that becomes 127; larger ones are clipped. 0 where nothing but zeros came.

        ``"max"`` clips nothing. The others clip rare large values for finer steps: ``"mse"`` takes the threshold with
        the smallest mean squared error of rounding and clipping together; ``"kl"`` that at which the values, as 128
        levels, differ least from the values themselves in the sense of Kullback and Leibler.
        """
        if method == "max" or not self.counts.any():
            return self.largest
        used = int(np.flatnonzero(self.counts)[-1]) + 1
        loss = _divergence if method == "kl" else _squared_error
        best, best_bins = np.inf, used
        for bins in range(_LEVELS, used + 1, 8):
            found = loss(self.counts, bins)
            if found < best:
                best, best_bins = found, bins
        if best_bins >= used - 8:
            return self.largest
        return best_bins * self.limit / BINS


def _squared_error(counts: NDArray[np.float64], bins: int) -> float:
    """Sum of squared errors, in bins: a step's twelfth inside, the distance to the threshold beyond."""
    inside = counts[:bins].sum() * (bins / (_LEVELS - 1)) ** 2 / 12
    beyond = counts[bins:] * np.square(np.arange(len(counts) - bins) + 0.5)
    return float(inside + beyond.sum())


def _divergence(counts: NDArray[np.float64], bins: int) -> float:
    """How much is lost where `bins` bins are made into 128 levels and what lies beyond goes into the last."""
    inside = counts[:bins]
    wanted = inside.copy()
    wanted[-1] += counts[bins:].sum()
    level = np.arange(bins) * _LEVELS // bins
    there = inside > 0
    totals = np.bincount(level, inside, _LEVELS)
    number = np.bincount(level, there, _LEVELS)
    given = np.where(there, totals[level] / np.maximum(number[level], 1), 0.0)
    p, q = wanted / wanted.sum(), given / max(given.sum(), _TINY)
    some = p > 0
    return float((p[some] * np.log(p[some] / np.maximum(q[some], _TINY))).sum())


def candidates(param: Param) -> tuple[Layer, ...]:
    """Layers that ncnn can run in int8 and that are not so yet."""
    return tuple(layer for layer in param.layers if _can(layer))


def needs_scale(layer: Layer) -> bool:
    """Whether the scale of its input is fixed and has to be calibrated."""
    return layer.type in {"Convolution", "ConvolutionDepthWise", "InnerProduct"}


def _can(layer: Layer) -> bool:
    kind = layer.type
    if kind in {"Convolution", "InnerProduct"}:
        return not layer.integer(8) and not layer.integer(19)
    if kind == "ConvolutionDepthWise":  # with fewer groups than channels ncnn has no fast kernel
        return not layer.integer(8) and not layer.integer(19) and layer.integer(7) == layer.integer(0)
    if kind in {"LSTM", "GRU", "RNN"}:
        return not layer.integer(8) and layer.integer(3, layer.integer(0)) == layer.integer(0)
    if kind == "Gemm":
        return bool(layer.integer(5)) and not layer.integer(4) and not layer.integer(18)
    return False


def to_int8(
    param: Param,
    weights: Mapping[str, Sequence[Array]],
    thresholds: Mapping[str, float],
    layers: Collection[str],
) -> tuple[Param, dict[str, tuple[Array, ...]]]:
    """Make some layers int8.

    Args:
        param: the network.
        weights: its weights by layer.
        thresholds: for each layer with a fixed input scale, the absolute input value that becomes 127.
        layers: names of the layers to change, all of them :func:`candidates`.

    Returns:
        The new network and its weights.
    """
    new_layers, new_weights = [], {name: tuple(arrays) for name, arrays in weights.items()}
    for layer in param.layers:
        if layer.name not in layers:
            new_layers.append(layer)
            continue
        key = 18 if layer.type == "Gemm" else 8
        new_layers.append(replace(layer, params=dict(layer.params) | {key: 1}))
        new_weights[layer.name] = _arrays(layer, new_weights[layer.name], thresholds.get(layer.name, 0.0))
    return Param(tuple(new_layers)), new_weights


def _arrays(layer: Layer, arrays: tuple[Array, ...], threshold: float) -> tuple[Array, ...]:
    if layer.type in {"LSTM", "GRU", "RNN"}:
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[layer.type]
        rows = gates * layer.integer(0) * (2 if layer.integer(2) == 2 else 1)
        inputs, input_scales = _rows(arrays[0].values, rows, 127)
        hidden, hidden_scales = _rows(arrays[2].values, rows, 127)
        return inputs, arrays[1], hidden, input_scales, hidden_scales
    if layer.type == "Gemm":
        values, scale = _rows(arrays[0].values, 1, 127)
        return values, *arrays[1:], scale
    if layer.type == "ConvolutionDepthWise":
        values, scales = _rows(arrays[0].values, layer.integer(7), 127)
    else:
        values, scales = _rows(arrays[0].values, layer.integer(0), 31 if _is_winograd(layer) else 127)
    own = np.array([127 / threshold if threshold > 0 else 1.0], np.float32)
    return values, *arrays[1:], scales, Array(own, "bare")


def _is_winograd(layer: Layer) -> bool:
    """Whether ncnn transforms the weights by 12 x 12 / 36, which fits its integers for 6 bits only."""
    kernel = layer.integer(1)
    if layer.type != "Convolution" or (kernel, layer.integer(11, kernel)) != (3, 3):
        return False
    dilation, stride = layer.integer(2, 1), layer.integer(3, 1)
    return (dilation, layer.integer(12, dilation), stride, layer.integer(13, stride)) == (1, 1, 1, 1)


def _rows(values: NDArray[np.float32], rows: int, top: int) -> tuple[Array, Array]:
    """int8 of a matrix with a scale for each row, its largest value becoming `top`; and the scales."""
    matrix = values.reshape(rows, -1)
    largest = np.abs(matrix).max(1)
    scales = np.where(largest > 0, top / np.maximum(largest, _TINY), 1.0).astype(np.float32)
    int8 = np.clip(np.rint(matrix * scales[:, None]), -top, top).astype(np.int8)
    return Array(int8.ravel(), "int8"), Array(scales, "bare")
