"""The proof: ncnn's outputs against the model's, at sizes that neither the export nor the conversion has seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LiteOCRError
from . import ncnnrun
from .errors import UnsupportedError, extra
from .onnxrun import infer, input_shapes
from .param import read as read_param
from .rewrite import Rewritten

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "STRIDE",
    "TOLERANCE",
    "TOLERANCE_FP16",
    "Case",
    "Net",
    "Proof",
    "Shapes",
    "as_text",
    "cases",
    "prove",
    "sample",
]

Array = NDArray[Any]
Shapes = tuple[tuple[int, ...], ...]
"""One shape for every input."""

TOLERANCE = 1e-3
"""How far ncnn's output may be off with float32 weights, relative to the largest value of the reference's."""
TOLERANCE_FP16 = 0.2
"""The same with float16 weights; beyond, they stay float32. Noise as input makes PP-OCRv5's Softmax over thousands of
classes move by 0.13, where text does not."""
STRIDE = 32
"""The grid of the sizes where the model leaves them to us: what detectors need."""


@dataclass(frozen=True)
class Net:
    """The files of a network."""

    param: Path
    bin: Path


@dataclass(frozen=True)
class Proof:
    """One comparison of a tensor of ncnn's with the reference's."""

    shape: Shapes
    """The inputs' shapes."""
    unseen: bool
    """Whether neither the export nor the conversion has seen this size."""
    reference: str
    """``model`` (as it came), ``thawed`` (the same with frozen sizes made free) or ``torch``."""
    storage: str
    """``fp32`` or ``fp16``: how the weights are stored. ncnn computes in float32 with both."""
    tensor: str
    """The model's output, or what its last Sigmoid or Softmax reads, where differences show."""
    difference: float
    """The largest absolute difference; infinite where the shapes differ or ncnn failed."""
    largest: float
    """The largest absolute value that the reference has, or, behind a Sigmoid or Softmax, that it can have."""

    @property
    def relative(self) -> float:
        """`difference` relative to `largest`."""
        return self.difference / max(self.largest, 1e-6)

    @property
    def equal(self) -> bool:
        """Whether it is within the tolerance."""
        return self.relative <= (TOLERANCE if self.storage == "fp32" else TOLERANCE_FP16)


@dataclass(frozen=True)
class Case:
    """Inputs of one size, and what the reference makes of them."""

    shape: Shapes
    unseen: bool
    aligned: bool
    """Whether the size is in the grid of those that the conversion saw. Others are a bonus."""
    reference: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    gates: tuple[tuple[str, Array] | None, ...]
    """For each output that a Sigmoid or Softmax makes: that operator, and what it reads where that is known."""


def as_text(shapes: Shapes) -> str:
    """Shapes for a message: ``1×3×48×320``."""
    return " and ".join("×".join(map(str, shape)) for shape in shapes)


def sample(shapes: Shapes, seed: int) -> tuple[Array, ...]:
    """Inputs for a proof: patches of 8 pixels and noise, float32, about in [-1, 1], the same for the same seed."""
    rng = np.random.default_rng(seed)
    found = []
    for shape in shapes:
        array = rng.normal(0, 0.3, shape)
        if len(shape) == 4:
            small = rng.uniform(-1, 1, (*shape[:2], shape[2] // 8 + 1, shape[3] // 8 + 1))
            array += small.repeat(8, 2).repeat(8, 3)[:, :, : shape[2], : shape[3]]
        found.append(array.astype(np.float32))
    return tuple(found)


# Cases, made in a child process because onnxruntime runs in them -----------------------------------------------------


def cases(model: ModelProto, done: Rewritten, first: Shapes, second: Shapes | None) -> tuple[Case, ...]:
    """The sizes to prove at: those the conversion saw, two in their grid that it did not, and one that is in no grid.

    Raises:
        UnsupportedError: the model takes no two other sizes, or an output is no tensor.
    """
    found = [_case(model, done, first, unseen=False, aligned=True, resized=False)]
    if second:
        found.append(_case(model, done, second, unseen=False, aligned=True))
        new: list[Case] = []
        for shape in _unseen(first, second):
            case = _case(model, done, shape, unseen=True, aligned=True)
            if case and len(new) < 2:
                new.append(case)
            if len(new) == 2:
                break
        else:
            raise UnsupportedError(
                f"the model takes no two sizes besides {as_text(first)} and {as_text(second)}, so that the network "
                "cannot be proven; give other shapes, or keep the size by --fixed"
            )
        found += new
        found.append(_case(model, done, odd(first, second), unseen=True, aligned=False))
    return tuple(case for case in found if case)


def _unseen(first: Shapes, second: Shapes) -> Iterator[Shapes]:
    """Sizes in the grid of both, larger and smaller, each axis by another step."""
    for grid in (STRIDE, 1 << 30):
        for up in (2, -3, 3, 5, -1, 1, 7):
            found: list[tuple[int, ...]] = []
            for a, b in zip(first, second, strict=True):
                steps = [math.gcd(x, abs(y - x), grid) if x != y else 0 for x, y in zip(a, b, strict=True)]
                sizes = [x + s * (up if i % 2 else up + 1) for i, (x, s) in enumerate(zip(a, steps, strict=True))]
                found.append(
                    tuple(v if v >= max(s, 8) or not s else x + 9 * s for v, s, x in zip(sizes, steps, a, strict=True))
                )
            if tuple(found) not in (first, second):
                yield tuple(found)


def odd(first: Shapes, second: Shapes) -> Shapes:
    """A size that is a multiple of nothing."""
    return tuple(
        tuple(x + 13 + 6 * (i % 2) if x != y else x for i, (x, y) in enumerate(zip(a, b, strict=True)))
        for a, b in zip(first, second, strict=True)
    )


def _case(
    model: ModelProto, done: Rewritten, shape: Shapes, *, unseen: bool, aligned: bool, resized: bool = True
) -> Case | None:
    """What the model makes of one size; None where it does not take it, or a pooling is left with nothing to pool.

    `resized`: it is another one than the model was exported at, so that what was frozen has to be thawed.
    """
    outputs = [o.name for o in model.graph.output]
    data = sample(shape, 7)
    inputs = dict(zip(input_shapes(model), data, strict=True))
    references = [("model", _free(model)), ("thawed", done.reference)]
    for kind, reference in references[1:] if done.thawed and resized else references:
        gates = _gates(reference, outputs)
        pooled = [node.output[0] for node in reference.graph.node if node.op_type in ("MaxPool", "AveragePool")]
        wanted = [*dict.fromkeys([*outputs, *pooled, *(gate[1] for gate in gates if gate)])]
        try:
            found = infer(reference, inputs, wanted)
        except LiteOCRError:
            continue
        if any(found[name].size == 0 for name in pooled):
            continue
        if any(name not in found for name in outputs):
            raise UnsupportedError("an output of the model is no tensor; end the model before it")
        made = tuple(found[name] for name in outputs)
        before = tuple((gate[0], found[gate[1]]) if gate else None for gate in gates)
        return Case(shape, unseen, aligned, kind, data, made, before)
    return None


def _free(model: ModelProto) -> ModelProto:
    """The model as it came, without the sizes that its interface declares."""
    onnx = extra("onnx")
    made: ModelProto = onnx.ModelProto()
    made.CopyFrom(model)
    weights = {tensor.name for tensor in made.graph.initializer}
    for value in made.graph.input:
        if value.name not in weights:
            for dimension in value.type.tensor_type.shape.dim:
                dimension.Clear()
    del made.graph.value_info[:]
    return made


def _gates(model: ModelProto, outputs: Sequence[str]) -> list[tuple[str, str] | None]:
    """For each output that a Sigmoid or Softmax makes: that operator and what it reads."""
    makers = {o: n for n in model.graph.node for o in n.output}
    found: list[tuple[str, str] | None] = []
    for name in outputs:
        node = makers.get(name)
        while node is not None and node.op_type == "Identity":
            node = makers.get(node.input[0])
        made = node is not None and node.op_type in ("Sigmoid", "Softmax") and node.input[0] in makers
        found.append((node.op_type, node.input[0]) if node is not None and made else None)
    return found


# Comparison -----------------------------------------------------------------------------------------------------------


def prove(found: Sequence[Case], outputs: Sequence[str], net: Net, storage: str) -> list[Proof]:
    """Compare ncnn's outputs with the reference's at every size.

    Args:
        found: the sizes.
        outputs: the model's names of the outputs.
        net: what pnnx wrote, with blobs in0, ... and out0, ...
        storage: ``fp32`` or ``fp16``.

    Raises:
        LiteOCRError: ncnn refuses the network, or fails at a size in the grid.
    """
    blobs = [f"out{i}" for i in range(len(outputs))]
    param = read_param(net.param)
    makers = [param.producer(blob) for blob in blobs]
    pairs: list[list[tuple[str, Array, str, float]]] = []
    for case in found:
        pairs.append([])
        for name, reference, blob, gate, maker in zip(outputs, case.outputs, blobs, case.gates, makers, strict=True):
            pairs[-1].append((name, reference, blob, 1.0 if gate else _largest(reference)))
            if gate and maker.type == gate[0]:
                pairs[-1].append((f"{name} before {gate[0]}", gate[1], maker.inputs[0], _largest(gate[1])))
    inputs = [{f"in{i}": array[0] for i, array in enumerate(case.inputs)} for case in found]
    wanted = dict.fromkeys(blob for one in pairs for _, _, blob, _ in one)
    results = ncnnrun.run_each(net.param, net.bin, inputs, only=[*wanted])
    proofs = []
    for case, ours, wants in zip(found, results, pairs, strict=True):
        if isinstance(ours, LiteOCRError) and case.aligned:
            raise ours
        made = {} if isinstance(ours, LiteOCRError) else ours
        proofs += [
            Proof(
                case.shape,
                case.unseen,
                case.reference,
                storage,
                name,
                _difference(reference, made.get(blob)),
                largest,
            )
            for name, reference, blob, largest in wants
        ]
    return proofs


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0))


def _difference(reference: Array, found: Array | None) -> float:
    """The largest difference; infinite where the shapes differ, axes of size 1 aside."""
    if found is None or [s for s in reference.shape if s > 1] != [s for s in found.shape if s > 1]:
        return math.inf
    difference = _largest(reference.reshape(-1) - found.reshape(-1))
    return difference if math.isfinite(difference) else math.inf
