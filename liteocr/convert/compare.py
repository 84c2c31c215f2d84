"""Does an ncnn network compute what the model computes that it was made from, and if not, from which layer on?

Both are run once on the same input. Every tensor of the model is kept, every blob of ncnn, and :mod:`.pairing` tells
which belong together. A pair has two differences: the *total* one, of ncnn running by itself, in which everything adds
up that went before; and the layer's *own*, when it is run on the model's values of its inputs. The own difference is
held against a tolerance, so an error is found at its layer and not where it has grown, and a second error behind the
first is found, too.

Weights that are stored in half precision differ from the model's by their rounding. How much of that reaches an element
of a convolution's output is computed: the weights' errors are uniform within half a unit of their last place, so the
variance is the convolution of the squared input with their variances. Six standard deviations are allowed for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import ncnn
import numpy as np

from ..errors import OptionError
from . import child, ncnnrun
from .errors import UnsupportedError
from .layerrun import HALF, PROBABILITIES, SLACK, Runner
from .layout import Array, Difference, Float, bare, difference, lay
from .modelgraph import Reference
from .ncnnrun import RunPrecision
from .pairing import Alignment, How, Match, Result, align, allowed, excess
from .param import Param
from .param import read as read_param
from .reference import TIMEOUT, Picture, by, load_model, prepare, run_model
from .weights import check_bin

__all__ = [
    "LAYER_TOLERANCES",
    "OUTPUT_TOLERANCES",
    "Comparison",
    "Errors",
    "FeatureMap",
    "Pair",
    "compare",
    "describe",
    "firsts",
    "short_number",
    "verdict",
]

LAYER_TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}
"""The largest own difference of a layer by precision, as a part of its range."""
OUTPUT_TOLERANCES: Mapping[str, float] = {"fp32": 1e-2, "fp16": 5e-2, "bf16": 2e-1}
"""The largest total difference of an output by precision, as a part of its range."""

ROUNDED_OUTPUT_TOLERANCE = 5e-2
"""The same at ``"fp32"`` where weights are stored in half precision."""

_MANY_ZEROS, _VISIBLE = 0.02, 1e-3
"""From which part of zeros among the weights, and difference of the output, on flushed weights are told."""
_MAP_SIDE = 160
"""Feature maps in a report are reduced to this many pixels a side."""


@dataclass(frozen=True)
class Errors:
    """How far a blob is from its tensor at one precision.

    Attributes:
        total: of ncnn running by itself; None where the shapes differ or a layer before it failed.
        own: of the layer alone, run on the model's values of its inputs; None likewise.
        excess: the own difference as a multiple of what is allowed for, where that is largest; more than 1 diverges.
    """

    total: Difference | None
    own: Difference | None
    excess: float

    @property
    def diverges(self) -> bool:
        """Whether the layer itself computes something else."""
        return self.excess > 1


@dataclass(frozen=True)
class FeatureMap:
    """The channel of a tensor where ncnn is farthest off.

    Attributes:
        channel: its number.
        expected: the model's values, float32, (H, W).
        found: ncnn's.
        own: whether the layer was run on the model's values.
    """

    channel: int
    expected: Float
    found: Float
    own: bool


@dataclass(frozen=True)
class Pair:
    """A blob of the network and its counterpart in the model.

    Attributes:
        layer: the ncnn layer that makes the blob.
        type: its type.
        blob: the blob.
        tensor: the model's tensor.
        node: name and type of the operator that makes it.
        covers: types of the model's operators that the layer stands for.
        behind: layers before it that make intermediates, and that stand for these operators together with it.
        how: by what the two were paired.
        shape: of the blob.
        tensor_shape: of the tensor, with its batch axis.
        errors: by precision.
        maps: pictures of the worst channel, for the worst layers only.
    """

    layer: str
    type: str
    blob: str
    tensor: str
    node: str
    covers: tuple[str, ...]
    behind: tuple[str, ...]
    how: How
    shape: tuple[int, ...]
    tensor_shape: tuple[int, ...]
    errors: Mapping[str, Errors]
    maps: FeatureMap | None = None


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        model: the model's name.
        network: the network's name.
        inputs: what both read, in words, by the model's names.
        pairs: in the order of ncnn's layers; those of the inputs are left out.
        outputs: the blobs of `pairs` that are the network's outputs.
        intermediates: blobs that the model has no counterpart of.
        failed: layers that ncnn could not run.
        blobs: how many blobs there are, those of Split layers and constants left out.
        precisions: those compared, in this order.
        layer_tolerances: by precision, for own differences.
        output_tolerances: by precision, for total differences of outputs.
        problem: why the networks cannot be equal although no layer diverges; "" if nothing of the kind.
        rounded: whether weights are stored in half precision.
        flat: layers that should give the same value everywhere on this input, where an error may not show.
        lost: by layer, what part of its weights half precision made zero, where that is much and shows.
    """

    model: str
    network: str
    inputs: Mapping[str, str]
    pairs: tuple[Pair, ...]
    outputs: tuple[str, ...]
    intermediates: tuple[str, ...]
    failed: tuple[str, ...]
    blobs: int
    precisions: tuple[str, ...]
    layer_tolerances: Mapping[str, float]
    output_tolerances: Mapping[str, float]
    problem: str = ""
    rounded: bool = False
    flat: tuple[str, ...] = ()
    lost: Mapping[str, float] = field(default_factory=dict)

    def diverging(self, precision: str) -> tuple[Pair, ...]:
        """The layers whose own difference is more than allowed, in their order."""
        return tuple(pair for pair in self.pairs if pair.errors[precision].diverges)

    def equal_at(self, precision: str) -> bool:
        """Whether no layer diverges and every output is within its tolerance."""
        return not (self.problem or self.failed or self.diverging(precision) or self.output_far(precision))

    def output_far(self, precision: str) -> tuple[Pair, ...]:
        """The outputs whose total difference is more than allowed."""
        limit = self.output_tolerances[precision]
        totals = [(pair, pair.errors[precision].total) for pair in self.pairs if pair.blob in self.outputs]
        return tuple(pair for pair, total in totals if total is None or not total.relative <= limit)

    @property
    def equal(self) -> bool:
        """Whether the two are equal at every precision that was compared."""
        return all(self.equal_at(precision) for precision in self.precisions)

    @property
    def first_divergence(self) -> Pair | None:
        """The first layer to diverge, at the first precision at which one does."""
        return next((pair for precision in self.precisions for pair in self.diverging(precision)), None)

    def worst(self, count: int) -> tuple[Pair, ...]:
        """The pairs with the largest own differences, measured by what is allowed at each precision, worst first."""
        key = {pair.blob: max(e.excess for e in pair.errors.values()) for pair in self.pairs}
        return tuple(sorted(self.pairs, key=lambda pair: -key[pair.blob])[:count])

    def text(self, top: int = 10) -> str:
        """The result in words and a table of the worst layers."""
        return "\n".join(_lines(self, top))

    def json(self) -> str:
        """The result as one line of JSON; numbers that are not finite are null."""
        return json.dumps(_plain(self), ensure_ascii=False, allow_nan=False)


def compare(
    reference: Any,
    param: Path | str,
    bin: Path | str | None = None,
    *,
    inputs: Any = None,
    shape: Sequence[int] | None = None,
    picture: Picture | None = None,
    precisions: Sequence[RunPrecision] = ("fp32", "fp16"),
    layer_tolerances: Mapping[str, float] | None = None,
    output_tolerances: Mapping[str, float] | None = None,
    maps: int = 10,
) -> Comparison:
    """Compare a model with the ncnn network that was made from it.

    Args:
        reference: path of an .onnx file or of a TorchScript file, an onnx.ModelProto, or a torch.nn.Module.
        param: the .param file.
        bin: the .bin file; None: the one beside it.
        inputs: an array with the batch axis or the path of a picture, an .npy or an .npz file; a sequence of them in
            the model's order, or a mapping by the model's names. None: noise, always the same, of the model's own
            shape.
        shape: of the noise, with the batch axis, or that pictures are resized to; of the first input where there are
            several.
        picture: how pictures become inputs.
        precisions: which of ``"fp32"``, ``"fp16"``, ``"bf16"``.
        layer_tolerances: replaces those of `LAYER_TOLERANCES`.
        output_tolerances: replaces those of `OUTPUT_TOLERANCES`.
        maps: for how many of the worst layers to keep pictures.

    Raises:
        ModelFileError: a file is damaged or does not belong to the other, or the input does not fit.
        UnsupportedError: onnxruntime or ncnn does not have an operator.
        MissingExtraError: a package is missing.
        OptionError: a precision or a tolerance is none.
        ConvertError: one of the two crashed.
    """
    param = Path(param)
    bin = param.with_suffix(".bin") if bin is None else Path(bin)
    layer_limits = _limits(LAYER_TOLERANCES, layer_tolerances)
    output_limits = _limits(OUTPUT_TOLERANCES, output_tolerances)
    rounded_limit = output_limits["fp32"] if "fp32" in (output_tolerances or {}) else ROUNDED_OUTPUT_TOLERANCE
    if not precisions or any(p not in LAYER_TOLERANCES for p in precisions):
        raise OptionError(f"precisions are {list(precisions)}; choose among {', '.join(LAYER_TOLERANCES)}")
    parsed = read_param(param)  # the cheap checks come first
    ncnnrun.check_layers(parsed, str(param))
    stored = {storage for arrays in check_bin(parsed, bin).values() for _, storage in arrays}
    if stored & HALF:
        output_limits["fp32"] = rounded_limit
    model, name = load_model(reference)
    arrays, words = prepare(model, inputs, shape, picture, parsed)
    told = run_model(model, arrays)
    fed = _feeds(parsed, told)
    job = _Job(param, bin, told, fed, tuple(dict.fromkeys(precisions)), layer_limits, output_limits, maps)
    found = child.call(_measure, job, timeout=TIMEOUT, what=f"ncnn {ncnn.__version__}, running {param.name},")
    return replace(found, model=name, network=param.name, inputs=words)


def _limits(default: Mapping[str, float], given: Mapping[str, float] | None) -> dict[str, float]:
    for precision, value in (given or {}).items():
        if precision not in default or not (math.isfinite(value) and value >= 0):
            raise OptionError(f"the tolerance {precision}={value} is none; give fp32, fp16 or bf16 and 0 or more")
    return {**default, **(given or {})}


def _feeds(param: Param, reference: Reference) -> dict[str, str]:
    """Which input of the network is which of the model's: by name where all names are the same, else by order."""
    blobs, tensors = param.inputs(), reference.inputs
    if set(blobs) == set(tensors):
        return {blob: blob for blob in blobs}
    return dict(zip(sorted(blobs, key=lambda b: (len(b), b)) if _numbered(blobs) else blobs, tensors, strict=True))


def _numbered(blobs: Sequence[str]) -> bool:
    return all(blob.startswith("in") and blob[2:].isdigit() for blob in blobs)


# In the child ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    param: Path
    bin: Path
    reference: Reference
    inputs: dict[str, str]
    precisions: tuple[RunPrecision, ...]
    layer_limits: dict[str, float]
    output_limits: dict[str, float]
    maps: int


def _measure(job: _Job) -> Comparison:
    runner = Runner(job.param, job.bin, "fp32")
    for name, value in job.reference.values.items():
        if not np.isfinite(value).all():
            raise UnsupportedError(
                f"the model itself computes values that are no numbers (tensor {name}); give a likelier input"
            )
    alignment = align(job.reference, runner.param, runner, job.inputs, tolerance=job.layer_limits["fp32"])
    explained: dict[str, Result] = {}
    errors: dict[str, dict[str, Errors]] = {blob: {} for blob in alignment.matches}
    seen: dict[str, tuple[dict[str, Float], dict[str, Float]]] = {}
    for precision in job.precisions:
        here = runner if precision == "fp32" else Runner(job.param, job.bin, precision)
        free, forced = _passes(job, here, alignment, explained, runner)
        seen[precision] = (free, forced)
        for blob, match in alignment.matches.items():
            errors[blob][precision] = _errors(
                job, match, (free.get(blob), forced.get(blob)), explained.get(blob), job.layer_limits[precision]
            )
    matches = [match for match in alignment.matches.values() if match.how != "input"]
    shapes = {b: next((s[1][b].shape for s in seen.values() if b in s[1]), ()) for b in alignment.matches}
    pairs = [_pair(job.reference, m, shapes[m.blob], errors[m.blob]) for m in matches]
    result = Comparison(
        "",
        "",
        {},
        tuple(pairs),
        tuple(m.blob for m in matches if m.tensor in job.reference.outputs and m.blob in runner.param.outputs()),
        tuple(alignment.intermediates),
        tuple(alignment.failed),
        len(matches) + len(alignment.intermediates),
        job.precisions,
        job.layer_limits,
        job.output_limits,
        _problem(job, runner.param, alignment),
        bool(runner.rounded),
        tuple(m.layer.name for m in matches if _is_flat(job.reference.values[m.tensor])),
    )
    result = replace(result, lost=_lost(runner, pairs))
    chosen = {pair.blob for pair in result.worst(job.maps)} | {pair.blob for _, pair in firsts(result)}
    final = [
        replace(pair, maps=_feature_map(job, alignment.matches[pair.blob], seen, pair)) if pair.blob in chosen else pair
        for pair in pairs
    ]
    return replace(result, pairs=tuple(final))


def _lost(runner: Runner, pairs: Sequence[Pair]) -> dict[str, float]:
    """Parts of the weights that half precision made zero, of layers whose output that changes visibly."""
    lost = {}
    for pair in pairs:
        own = next(iter(pair.errors.values())).own
        if pair.layer in runner.rounded and own is not None and own.relative > _VISIBLE:
            values = runner.weights[pair.layer][0].values
            part = float(1 - np.count_nonzero(values) / values.size)
            if part > _MANY_ZEROS:
                lost[pair.layer] = part
    return lost


def _is_flat(value: Array) -> bool:
    return value.size > 1 and float(value.min()) == float(value.max())


def _passes(
    job: _Job, here: Runner, alignment: Alignment, explained: dict[str, Result], exact: Runner
) -> tuple[dict[str, Float], dict[str, Float]]:
    """All blobs: of the network running by itself, and of its layers run on the model's values.

    What rounding explains is computed on the first call and added to `explained`.
    """
    free: dict[str, Float] = {}
    forced: dict[str, Float] = {}
    fed: dict[str, Float] = {}
    for blob, tensor in job.inputs.items():
        free[blob] = forced[blob] = fed[blob] = bare(job.reference.values[tensor])
    slack: dict[str, float] = {}
    for layer in here.param.layers:
        if all(blob in free for blob in layer.outputs):
            continue
        if all(blob in free for blob in layer.inputs):
            arrays = here.arrays(layer, [free[blob] for blob in layer.inputs])
            free.update(zip(layer.outputs, arrays or (), strict=False))
        if not all(blob in fed for blob in layer.inputs):
            continue
        values = [fed[blob] for blob in layer.inputs]
        arrays = here.arrays(layer, values)
        if arrays is None:
            arrays = ()
        carried = max((slack.get(blob, 0.0) for blob in layer.inputs), default=0.0)
        for i, blob in enumerate(layer.outputs):
            match = alignment.matches.get(blob)
            if i < len(arrays):
                forced[blob] = fed[blob] = arrays[i]
                if blob not in explained and match is not None:
                    result = exact.explained(layer, values, (arrays[i],))
                    explained[blob] = replace(result, slack=result.slack + carried)
            if match is not None:
                value = job.reference.values[match.tensor]
                shape = arrays[i].shape if i < len(arrays) else None
                if shape is not None and match.same_shape:
                    fed[blob] = lay(value, match.axes, shape)
                else:
                    fed[blob] = bare(value, None if shape is None else len(shape))
            elif layer.type == "Split":
                fed[blob] = fed[layer.inputs[0]]
                slack[blob] = carried
            else:
                slack[blob] = carried + (SLACK if layer.name in here.rounded and layer.type != "MemoryData" else 0.0)
    return free, forced


def _errors(
    job: _Job, match: Match, found: tuple[Float | None, Float | None], result: Result | None, tolerance: float
) -> Errors:
    free, forced = found
    value = job.reference.values[match.tensor]
    least = float(match.layer.type in PROBABILITIES)
    total = own = None
    over = math.inf
    if free is not None and free.size == value.size:
        total = difference(free, lay(value, match.axes, free.shape), least)
    if forced is not None and forced.size == value.size:
        laid = lay(value, match.axes, forced.shape)
        own = difference(forced, laid, least)
        over = excess(forced, laid, allowed(result or Result((forced,), least=least), laid, tolerance))
    return Errors(total, own, 0.0 if match.how == "input" else over)


def _pair(reference: Reference, match: Match, shape: tuple[int, ...], errors: Mapping[str, Errors]) -> Pair:
    node = next((n for n in reference.nodes if match.tensor in n.outputs), None)
    label = "" if node is None else f"{node.name} ({node.op})" if node.name else node.op
    covers = match.covers if len(match.covers) <= 8 else (*match.covers[:3], "...", *match.covers[-3:])
    shapes = (shape, reference.values[match.tensor].shape)
    return Pair(
        match.layer.name,
        match.layer.type,
        match.blob,
        match.tensor,
        label,
        covers,
        match.behind,
        match.how,
        *shapes,
        errors,
    )


def _problem(job: _Job, param: Param, alignment: Alignment) -> str:
    """Why the networks differ although each layer may be right."""
    paired = {match.tensor for match in alignment.matches.values()}
    missing = [name for name in job.reference.outputs if name not in paired and name in job.reference.values]
    if not missing:
        return ""
    blobs = param.outputs()
    if len(blobs) != len(job.reference.outputs):
        return (
            f"the network gives {', '.join(blobs)}, the model {', '.join(job.reference.outputs)}; nothing in the "
            f"network is {', '.join(missing)}"
        )
    return f"nothing in the network is the model's output {', '.join(missing)}"


def _feature_map(
    job: _Job, match: Match, seen: Mapping[str, tuple[dict[str, Float], dict[str, Float]]], pair: Pair
) -> FeatureMap | None:
    """The worst channel of a pair, at the precision and of the kind of run where it is worst."""
    precision = max(job.precisions, key=lambda p: pair.errors[p].excess)
    own = pair.errors[precision].own is not None
    found = seen[precision][1 if own else 0].get(match.blob)
    value = job.reference.values[match.tensor]
    if found is None:
        return None
    expected = lay(value, match.axes, found.shape) if found.size == value.size else bare(value, found.ndim)
    a, b = _planes(expected), _planes(found)
    channel = 0
    if a.shape == b.shape:
        gap = np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf)
        channel = int(np.argmax(gap.reshape(len(gap), -1).max(axis=1)))
    return FeatureMap(channel, _reduced(a[min(channel, len(a) - 1)]), _reduced(b[min(channel, len(b) - 1)]), own)


def _planes(value: Float) -> Float:
    """An array as (C, H, W)."""
    if value.ndim == 1:
        side = math.ceil(math.sqrt(value.size))
        rows = -(-value.size // side)
        padded: Float = np.pad(value, (0, rows * side - value.size)).reshape(1, rows, side)
        return padded
    return value.reshape(-1, *value.shape[-2:]) if value.ndim > 2 else value[None]


def _reduced(plane: Float) -> Float:
    """A plane of at most `_MAP_SIDE` pixels a side; cut, not averaged, so that single wrong elements stay."""
    steps = [-(-n // _MAP_SIDE) for n in plane.shape]
    if max(steps) == 1:
        return plane.copy()
    height, width = (n // s * s for n, s in zip(plane.shape, steps, strict=True))
    blocks = plane[:height, :width].reshape(height // steps[0], steps[0], width // steps[1], steps[1])
    low, high = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    return cast(Float, np.where(np.abs(low) > np.abs(high), low, high).astype(np.float32))


# In words -------------------------------------------------------------------------------------------------------------


def short_number(value: float) -> str:
    """A difference with two digits."""
    if math.isinf(value) or math.isnan(value):
        return "inf"
    return "0" if value == 0 else f"{value:.2g}" if value >= 1e-2 else f"{value:.1e}"


def firsts(result: Comparison) -> list[tuple[str, Pair]]:
    """The first pairs to diverge, each once, with the precisions at which they are the first."""
    found: dict[str, tuple[list[str], Pair]] = {}
    for precision in result.precisions:
        for pair in result.diverging(precision)[:1]:
            found.setdefault(pair.blob, ([], pair))[0].append(precision)
    return [(", ".join(precisions), pair) for precisions, pair in found.values()]


def verdict(result: Comparison, precision: str) -> str:
    """Equal or not, and why not, at one precision."""
    diverging, far = result.diverging(precision), result.output_far(precision)
    if result.problem:
        return f"NOT EQUAL: {result.problem}"
    if result.failed:
        return f"NOT EQUAL: ncnn cannot run layer {result.failed[0]}"
    if diverging:
        many = f"{len(diverging)} layers diverge" if len(diverging) > 1 else "one layer diverges"
        return f"NOT EQUAL: {many}, the first is {diverging[0].layer}"
    if far:
        total = far[0].errors[precision].total
        size = "" if total is None else f" to {short_number(total.relative)} of its range"
        return f"NOT EQUAL: every layer is right, but rounding adds up{size} at the output {far[0].blob}"
    return "equal"


def _idle(result: Comparison, precision: str) -> str:
    """A remark where a half precision changed nothing."""
    if precision == "fp32" or "fp32" not in result.precisions:
        return ""
    same = all(pair.errors[precision].total == pair.errors["fp32"].total for pair in result.pairs)
    return " (on this processor ncnn computes as in fp32)" if same else ""


def _lines(result: Comparison, top: int) -> list[str]:
    ways = {how: sum(pair.how == how for pair in result.pairs) for how in ("name", "value", "order", "output")}
    stored = "weights in half precision" if result.rounded else "weights in single precision"
    lines = [f"{result.model} against {result.network}, {stored}"]
    lines += [f"input {name}: {words}" for name, words in result.inputs.items()]
    kinds = ", ".join(f"{count} by {how}" for how, count in ways.items() if count)
    lines.append(
        f"{len(result.pairs)} of {result.blobs} blobs paired ({kinds}); "
        f"{len(result.intermediates)} are intermediates that the model does not have"
    )
    if result.flat:
        more = f" and {len(result.flat) - 1} more layers give" if len(result.flat) > 1 else " gives"
        lines.append(
            f"{result.flat[0]}{more} the same value everywhere on this input, and an error before may not show: try "
            "another input, too"
        )
    for layer, part in result.lost.items():
        lines.append(
            f"half precision made zero of {part:.0%} of the weights of {layer}, which are too small for it: scale them "
            "in the model, or convert with --fp32"
        )
    for precision in result.precisions:
        lines.append(f"{precision}: {verdict(result, precision)}{_idle(result, precision)}")
        for pair in result.pairs:
            total = pair.errors[precision].total
            if pair.blob in result.outputs and total is not None:
                lines.append(
                    f"    output {pair.blob} = {pair.tensor} {by(pair.shape)}: cosine {total.cosine:.6f}, largest "
                    f"difference {short_number(total.max_abs)}, {short_number(total.relative)} of its range "
                    f"(allowed {short_number(result.output_tolerances[precision])})"
                )
    for at, first in firsts(result):
        lines += ["", f"first to diverge at {at}:", *describe(first, result.precisions)]
    if top > 0 and result.pairs:
        worst = result.worst(top)
        lines += ["", f"the {len(worst)} layers with the largest differences of their own:", *_table(worst, result)]
    return lines


def describe(pair: Pair, precisions: Sequence[str]) -> list[str]:
    """A pair in words, a few lines."""
    lines = [
        f"    layer {pair.layer} ({pair.type}), blob {pair.blob} {by(pair.shape)}",
        f"    is {pair.tensor} {by(pair.tensor_shape)} of {pair.node}"
        + (f", covers {' + '.join(pair.covers)}" if pair.covers else "")
        + f", paired by {pair.how}",
    ]
    if pair.behind:
        lines.append(f"    or one of the layers before it, which the model does not have: {', '.join(pair.behind)}")
    if not pair.shape:
        lines.append("    ncnn fails at this layer on the model's values of its inputs")
    for precision in precisions:
        errors = pair.errors[precision]
        for what, found in (("own", errors.own), ("total", errors.total)):
            if found is not None:
                lines.append(
                    f"    {precision} {what:5}: cosine {found.cosine:.6f}, largest difference "
                    f"{short_number(found.max_abs)} at {list(found.where)}, {short_number(found.relative)} of the range"
                    + (f", {short_number(errors.excess)} times what is allowed" if what == "own" else "")
                )
            elif what == "own" and pair.shape:
                lines.append(f"    {precision}: the shapes differ")
    return lines


def _table(pairs: Sequence[Pair], result: Comparison) -> list[str]:
    head = ["layer", "type", "blob", "tensor"]
    head += [f"{p} {c}" for p in result.precisions for c in ("own", "/allowed", "total", "cosine")]
    rows = [head]
    for pair in pairs:
        row = [pair.layer, pair.type, pair.blob, _short(pair.tensor)]
        for precision in result.precisions:
            errors = pair.errors[precision]
            row += ["-" if errors.own is None else short_number(errors.own.relative), short_number(errors.excess)]
            total = errors.total
            row += ["-", "-"] if total is None else [short_number(total.relative), f"{total.cosine:.5f}"]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["    " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _short(name: str) -> str:
    return name if len(name) <= 36 else "..." + name[-33:]


def _plain(result: Comparison) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    def one(found: Difference | None) -> dict[str, Any] | None:
        if found is None:
            return None
        return {
            "cosine": number(found.cosine),
            "max_abs": number(found.max_abs),
            "relative": number(found.relative),
            "where": list(found.where),
        }

    first = result.first_divergence
    return {
        "model": result.model,
        "network": result.network,
        "inputs": dict(result.inputs),
        "equal": result.equal,
        "first_divergence": None if first is None else first.layer,
        "problem": result.problem or None,
        "failed": list(result.failed),
        "intermediates": list(result.intermediates),
        "outputs": list(result.outputs),
        "flat": list(result.flat),
        "lost": dict(result.lost),
        "precisions": {
            p: {
                "equal": result.equal_at(p),
                "layer_tolerance": result.layer_tolerances[p],
                "output_tolerance": result.output_tolerances[p],
                "first_divergence": next((pair.layer for pair in result.diverging(p)), None),
            }
            for p in result.precisions
        },
        "pairs": [
            {
                "layer": pair.layer,
                "type": pair.type,
                "blob": pair.blob,
                "shape": list(pair.shape),
                "tensor": pair.tensor,
                "tensor_shape": list(pair.tensor_shape),
                "node": pair.node,
                "covers": list(pair.covers),
                "behind": list(pair.behind),
                "how": pair.how,
                "errors": {
                    p: {"total": one(e.total), "own": one(e.own), "excess": number(e.excess), "diverges": e.diverges}
                    for p, e in pair.errors.items()
                },
            }
            for pair in result.pairs
        ],
    }
