"""What is in an ncnn network: layers, shapes, free and frozen sizes, operations, bytes, times, and precision.

Shapes, operations and bytes follow from the .param. Times and the precision that a layer runs in are measured in ncnn
itself, so they hold for this machine. A size counts as free when the network holds together at others, and ncnn is
asked to run at two of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LiteOCRError, OptionError
from ..net import ncnn_version
from .errors import ModelFileError
from .ncnnrun import RunPrecision, layer_times, run_all, unknown_layers
from .param import Layer, Param
from .param import read as read_param
from .shapes import Shape, ShapeError, infer
from .weights import array_sizes, check_bin

__all__ = ["InputInfo", "LayerInfo", "NetInfo", "Side", "info", "macs"]


@dataclass(frozen=True)
class Side:
    """Height or width of an input.

    Attributes:
        name: ``"height"`` or ``"width"``.
        size: what the figures are for.
        step: what a size must be a multiple of.
        low, high: the smallest and the largest size that goes in; high is None where there is no end.
        held_by: where there is one: the layer that does not take more, and why.
    """

    name: str
    size: int
    step: int
    low: int
    high: int | None
    held_by: str = ""

    @property
    def free(self) -> bool:
        """Whether other sizes go in, without an end."""
        return self.high is None

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.name} frozen at {self.size} by {self.held_by}"
        multiples = f", multiples of {self.step}" if self.step > 1 else ""
        if self.high is None:
            return f"{self.name} free from {self.low}{multiples}"
        return f"{self.name} {self.low} to {self.high}{multiples}, held by {self.held_by}"


@dataclass(frozen=True)
class InputInfo:
    """An input: its name, the shape that the figures are for, and which sides of a picture are free."""

    name: str
    shape: Shape
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class LayerInfo:
    """One layer at the given input.

    Attributes:
        name, type: as in the .param.
        shape: of its first output; None where only running tells.
        macs: multiply-accumulate operations of convolutions, matrix products and recurrent layers; 0 for others.
        weights: number of weights.
        weight_bytes: what they take in the .bin.
        bytes: weights, inputs and outputs, the latter as float32: what goes through the memory at least.
        seconds: median time by precision option, where it was measured.
        runs_in: what it computes and stores in, by precision option: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        known: whether this ncnn has it.
    """

    name: str
    type: str
    shape: Shape | None
    macs: int
    weights: int
    weight_bytes: int
    bytes: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    runs_in: Mapping[str, str] = field(default_factory=dict)
    known: bool = True


@dataclass(frozen=True)
class NetInfo:
    """A network at given inputs.

    Attributes:
        layers: in the order in which they run.
        blobs: how many there are.
        inputs: with what is free.
        outputs: names and shapes of the outputs.
        proven: sizes other than the given that ncnn ran, outputs of the expected shapes.
        ncnn: version that measured.
        threads: that it used.
    """

    layers: tuple[LayerInfo, ...]
    blobs: int
    inputs: tuple[InputInfo, ...]
    outputs: Mapping[str, Shape | None]
    proven: tuple[Mapping[str, Shape], ...]
    ncnn: str
    threads: int

    @property
    def macs(self) -> int:
        """Sum over all layers."""
        return sum(layer.macs for layer in self.layers)

    def seconds(self, precision: str) -> float:
        """Sum over all layers; 0 where nothing was measured."""
        return sum(layer.seconds.get(precision, 0.0) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self) | {"macs": self.macs}

    def table(self) -> str:
        """Everything, for people."""
        return _table(self)


def info(
    param: Path,
    bin: Path | None = None,
    *,
    shapes: Mapping[str, Shape] | None = None,
    precisions: Sequence[RunPrecision] = ("fp32", "fp16", "bf16"),
    threads: int = 1,
    repeat: int = 10,
    times: bool = True,
) -> NetInfo:
    """Look into a network.

    Args:
        param: the .param file.
        bin: its weights; None: the file of the same name beside it, if there is one.
        shapes: of its inputs, without the batch; what is not given is chosen so that it fits.
        precisions: options of ncnn to measure with.
        threads: of ncnn.
        repeat: how often each layer is timed.
        times: run the network; without, or without weights, there are no times, no precision and no proof.

    Raises:
        ModelFileError: a file is damaged, or a shape does not fit.
        OptionError: ``threads`` or ``repeat`` is not positive, or a shape is for no input.
        InferenceError: ncnn failed.
    """
    if min(threads, repeat) < 1:
        raise OptionError("threads and repeat are 1 or more")
    network = read_param(param)
    if bin is None and param.with_suffix(".bin").is_file():
        bin = param.with_suffix(".bin")
    stored = _bin_bytes(network, bin) if bin is not None else {}
    sizes = _choose(network, dict(shapes or {}), str(param))
    found = infer(network, sizes, strict=False)
    unknown = {layer.name for layer in unknown_layers(network)}
    inputs = tuple(InputInfo(name, shape, _sides(network, sizes, name)) for name, shape in sizes.items())
    measured: dict[str, dict[str, tuple[float, int, int]]] = {}
    proven: tuple[Mapping[str, Shape], ...] = ()
    if times and bin is not None and not unknown:
        for precision in precisions:
            arrays = _arrays(network, sizes)
            measured[precision] = layer_times(param, bin, arrays, precision=precision, threads=threads, repeat=repeat)
        found |= {name: array.shape for name, array in run_all(param, bin, _arrays(network, sizes)).items()}
        proven = _prove(network, param, bin, inputs)
    layers = []
    for layer in network.layers:
        weights = sum(count for count, _ in array_sizes(layer))
        shape = found.get(layer.outputs[0]) if layer.outputs else None
        layers.append(
            LayerInfo(
                layer.name,
                layer.type,
                shape,
                macs(layer, [found.get(blob) for blob in layer.inputs], shape),
                weights,
                stored.get(layer.name, 4 * weights),
                stored.get(layer.name, 4 * weights)
                + sum(4 * math.prod(found.get(blob) or (0,)) for blob in layer.inputs + layer.outputs),
                {key: seconds[layer.name][0] for key, seconds in measured.items() if layer.name in seconds},
                {key: _runs_in(layer, key, s[layer.name][1]) for key, s in measured.items() if layer.name in s},
                layer.name not in unknown,
            )
        )
    outputs = {blob: found.get(blob) for blob in network.outputs()}
    return NetInfo(tuple(layers), len(network.blobs()), inputs, outputs, proven, ncnn_version(), threads)


def macs(layer: Layer, inputs: Sequence[Shape | None], output: Shape | None) -> int:
    """Multiply-accumulate operations of a layer; 0 where it has none, or shapes are unknown."""
    if output is None or any(shape is None for shape in inputs):
        return 0
    known = [shape for shape in inputs if shape is not None]
    kind = layer.type
    if kind.startswith("Convolution") or kind == "DeformableConv2D":
        return math.prod(output[1:]) * layer.integer(6)
    if kind.startswith("Deconvolution"):
        return math.prod(known[0][1:]) * layer.integer(6)
    if kind == "InnerProduct":
        return layer.integer(2) * (output[0] if len(output) == 2 else 1)
    if kind in {"LSTM", "GRU", "RNN"}:
        return known[0][0] * sum(count for count, _ in array_sizes(layer)[::2])
    if kind == "Gemm":
        if layer.integer(9):
            inner = layer.integer(9)
        else:
            inner = known[0][-2] if layer.integer(2) and len(known[0]) > 1 else known[0][-1]
        return math.prod(output) * inner
    if kind == "MatMul":
        return math.prod(output) * known[0][-1]
    if kind == "MultiHeadAttention":
        rows, columns, embed = known[0][0], known[min(1, len(known) - 1)][0], layer.integer(0)
        products = rows * layer.integer(2) * 2 + columns * embed * (layer.integer(3, embed) + layer.integer(4, embed))
        return products + 2 * rows * columns * embed
    return 0


_INT8 = frozenset(
    ("Convolution", "ConvolutionDepthWise", "Embed", "GRU", "Gemm", "InnerProduct", "LSTM", "MultiHeadAttention", "RNN")
)


def _runs_in(layer: Layer, precision: str, bits: int) -> str:
    key = 18 if layer.type in {"Embed", "Gemm", "MultiHeadAttention"} else 8
    if layer.type in _INT8 and layer.integer(key):
        return "int8"
    if bits == 32:
        return "fp32"
    return "int8" if bits == 8 else precision


def _bin_bytes(param: Param, path: Path) -> dict[str, int]:
    size = {"fp32": 4, "raw": 4, "bare": 4, "fp16": 2, "bf16": 2, "int8": 1, "table": 1, "bytes": 1}
    found = {}
    for name, arrays in check_bin(param, path).items():
        found[name] = sum(size[kind] * count + (0 if kind == "bare" else 4) for count, kind in arrays)
    return found


# Inputs ---------------------------------------------------------------------------------------------------------------

_PICTURES = ((640, 640), (48, 320), (32, 320), (224, 224), (320, 320), (512, 512), (48, 192), (32, 192), (608, 608))


def _choose(param: Param, given: dict[str, Shape], name: str) -> dict[str, Shape]:
    """A shape for every input: the given one, the file's own, or a usual one that fits."""
    names = param.inputs()
    for key in given:
        if key not in names:
            raise OptionError(f"{name} has no input {key!r}; its inputs are {', '.join(names)}")
    fixed = dict(given)
    for layer in param.layers:
        if layer.type == "Input" and layer.integer(0) and layer.outputs[0] not in fixed:
            sides = tuple(side for side in (layer.integer(key) for key in (2, 11, 1, 0)) if side)
            fixed[layer.outputs[0]] = sides
    free = [key for key in names if key not in fixed]
    if not free:
        try:
            infer(param, fixed)
        except ShapeError as error:
            shapes = ", ".join(f"{key} {shape}" for key, shape in fixed.items())
            raise ModelFileError(f"{name} cannot take the input {shapes}: {error}; give another shape") from None
        return {key: fixed[key] for key in names}
    best: tuple[int, dict[str, Shape]] | None = None
    squares = tuple((side, side) for side in range(1024, 15, -16))
    for height, width in _PICTURES + squares:
        for channels in (3, 1):
            sizes = {key: fixed.get(key, (channels, height, width)) for key in names}
            try:
                found = infer(param, sizes)
            except ShapeError:
                continue
            missing = list(found.values()).count(None)
            if missing == 0:
                return sizes
            if best is None or missing < best[0]:
                best = missing, sizes
    if best is None:
        raise ModelFileError(f"no usual picture fits the inputs {', '.join(free)} of {name}; give their shapes")
    return best[1]


def _sides(param: Param, sizes: Mapping[str, Shape], name: str) -> tuple[Side, ...]:
    """Which sides of a picture may have other sizes."""
    shape = sizes[name]
    if len(shape) != 3:
        return ()
    return tuple(_side(param, sizes, name, axis) for axis in (1, 2))


def _side(param: Param, sizes: Mapping[str, Shape], name: str, axis: int) -> Side:
    shape = sizes[name]
    base, label = shape[axis], ("", "height", "width")[axis]
    reason = ""

    def holds(size: int) -> bool:
        nonlocal reason
        other = (*shape[:axis], size, *shape[axis + 1 :])
        try:
            # Other pictures of the same kind go along: two inputs of one size are to stay so.
            infer(param, {key: other if value == shape else value for key, value in sizes.items()})
        except ShapeError as error:
            reason = reason or str(error)
            return False
        return True

    def holds_at(steps: int) -> bool:
        return base + steps * step > 0 and holds(base + steps * step)

    # The smallest step at which more goes in; where none is found, the few sizes around, one by one.
    steps = (s for s in (1, 2, 4, 8, 16, 32, 64, 128) if base % s == 0)
    step = next((s for s in steps if holds(base + s) and holds(base + 3 * s)), 1)
    low = base - step * _reach(lambda count: holds_at(-count))
    reason = ""
    count = _reach(holds_at)
    return Side(label, base, step, low, None if count >= _ENDLESS else base + count * step, reason)


_ENDLESS = 1 << 12
"""So many steps are as good as no end."""


def _reach(holds: Callable[[int], bool]) -> int:
    """How many steps go from the start, where larger ones fail once one has failed."""
    high = 1
    while high < _ENDLESS and holds(high):
        high *= 2
    if high >= _ENDLESS:
        return high
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _arrays(param: Param, sizes: Mapping[str, Shape]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    indexed = {blob for layer in param.layers if layer.type == "Embed" for blob in layer.inputs}
    return {
        name: np.zeros(shape, np.int32) if name in indexed else rng.random(shape, np.float32)
        for name, shape in sizes.items()
    }


def _prove(network: Param, param: Path, bin: Path, inputs: Sequence[InputInfo]) -> tuple[Mapping[str, Shape], ...]:
    """Run at two other sizes of the free sides and see that the outputs have the shapes that they should."""
    proven = []
    for count in (1, 3):
        sizes = {}
        for one in inputs:
            shape = list(one.shape)
            for axis, side in enumerate(one.sides, 1):
                if side.free:
                    # Upwards for the first, and for the second to another ratio of the sides.
                    shape[axis] += side.step * (count if axis == 2 or count == 1 else 2)
            sizes[one.name] = tuple(shape)
        if all(sizes[one.name] == one.shape for one in inputs):
            break
        try:
            expected = infer(network, sizes)
            outputs = run_all(param, bin, _arrays(network, sizes), only=network.outputs())
        except (LiteOCRError, ShapeError):
            continue
        if all(expected[name] in {None, array.shape} for name, array in outputs.items()):
            proven.append(sizes)
    return tuple(proven)


# Words ----------------------------------------------------------------------------------------------------------------


def _table(net: NetInfo) -> str:
    precisions = [key for key in ("fp32", "fp16", "bf16", "int8") if any(key in layer.seconds for layer in net.layers)]
    head = ["layer", "type", "output", "MMAC", "kB", *(f"us {key}" for key in precisions), *precisions]
    rows = [head]
    for layer in net.layers:
        rows.append(
            [
                layer.name,
                layer.type if layer.known else f"{layer.type} (unknown)",
                _shape(layer.shape),
                f"{layer.macs / 1e6:.2f}" if layer.macs else "",
                f"{layer.bytes / 1e3:.1f}",
                *(f"{layer.seconds[key] * 1e6:.1f}" if key in layer.seconds else "" for key in precisions),
                *(layer.runs_in.get(key, "") for key in precisions),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    left = {0, 1, 2} | set(range(len(head) - len(precisions), len(head)))
    lines = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.append("")
    weights = sum(layer.weights for layer in net.layers)
    stored = sum(layer.weight_bytes for layer in net.layers)
    lines.append(f"{len(net.layers)} layers, {net.blobs} blobs, {weights:,} weights in {stored / 1e6:.2f} MB")
    for one in net.inputs:
        sides = "; ".join(map(str, one.sides))
        lines.append(f"input {one.name} {_shape(one.shape)}" + (f": {sides}" if sides else ""))
    lines += [f"output {name} {_shape(shape)}" for name, shape in net.outputs.items()]
    for sizes in net.proven:
        lines.append("also ran with " + ", ".join(f"{name} {_shape(shape)}" for name, shape in sizes.items()))
    moved = sum(layer.bytes for layer in net.layers)
    lines.append(f"{net.macs / 1e6:.1f} million multiply-accumulates, {moved / 1e6:.1f} MB through the memory")
    for key in precisions:
        lines.append(f"{key}: {net.seconds(key) * 1e3:.2f} ms, {net.threads} threads, ncnn {net.ncnn}")
    missing = sorted({layer.type for layer in net.layers if not layer.known})
    if missing:
        lines.append(f"ncnn {net.ncnn} has no layer {', '.join(missing)}")
    else:
        lines.append(f"ncnn {net.ncnn} has every layer")
    return "\n".join(lines)


def _shape(shape: Shape | None) -> str:
    return "?" if shape is None else " x ".join(map(str, shape))
