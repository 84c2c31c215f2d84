"""From ONNX, TorchScript or a torch module to ncnn: rewritten, translated, checked, and proven at sizes never seen.

What is written, and only when all of it is done: ``NAME.ncnn.param``, ``NAME.ncnn.bin``, and the report as
``NAME.convert.json`` and ``NAME.convert.md``. Blobs of the network are ``in0``, ``in1``, ... and ``out0``, ... in the
model's order, without the batch axis.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import LiteOCRError, OptionError
from ..net import ncnn_version
from . import atomic, child, pnnxrun, proof, torchin
from .compare import compare
from .errors import ConvertError, ModelFileError, NotEqualError, UnsupportedError, extra
from .onnxrun import input_shapes, load_onnx
from .param import read as read_param
from .proof import STRIDE, Case, Proof, Shapes, as_text, sample
from .rewrite import Rewrite, rewrite
from .weights import read_bin, write_bin

__all__ = ["ConvertReport", "convert"]

TIMEOUT = 1200.0
"""Seconds for all that onnxruntime has to do."""
LOSS = 0.01
"""How much of an array of weights float16 may lose, as a norm; rounding alone costs 0.0003."""
NOTEWORTHY = 0.02
"""From what difference on float16 weights are worth a note."""
SIDES = ((320, 320), (48, 320), (32, 320), (224, 224), (64, 256))
"""H and W to try where the model names neither: a detector's, then recognisers'."""


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did and proved."""

    name: str
    source: str
    """The model's file name."""
    param: Path
    bin: Path
    inputs: tuple[str, ...]
    """The model's inputs; in ncnn in0, in1, ..."""
    outputs: tuple[str, ...]
    """The model's outputs; in ncnn out0, out1, ..."""
    shape: Shapes
    shape2: Shapes | None
    """The second size that pnnx was told; None where all sizes are fixed."""
    sizes: str
    """Which sizes the network takes, as far as it was tried."""
    changes: tuple[Rewrite, ...]
    notes: tuple[str, ...]
    proofs: tuple[Proof, ...]
    layers: dict[str, int]
    """ncnn layers by type."""
    storage: str
    """``fp16`` or ``fp32``: how the weights are stored."""
    versions: dict[str, str]
    seconds: float

    @property
    def worst(self) -> Proof:
        """The proof with float32 weights that is furthest off, at an unseen size unless all sizes are fixed."""
        return max(
            (p for p in self.proofs if p.storage == "fp32" and (p.unseen or self.shape2 is None)),
            key=lambda p: p.relative,
        )

    def summary(self) -> str:
        """In a few lines."""
        worst = self.worst
        rules = ", ".join(f"{count} {rule}" for rule, count in Counter(c.rule for c in self.changes).items())
        lines = [
            f"{self.param}: {sum(self.layers.values())} layers, {self.storage} weights",
            f"sizes: {self.sizes}",
            f"equal: at {as_text(worst.shape)} {worst.tensor} is off by {worst.relative:.1g} of its largest value",
            f"changed: {rules or 'nothing'}",
            *(f"note: {note}" for note in self.notes),
            f"report: {self.param.with_name(self.name + '.convert.md')}",
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; paths are file names."""
        found = asdict(self) | {"param": self.param.name, "bin": self.bin.name}
        found["proofs"] = [asdict(p) | {"relative": p.relative, "equal": p.equal} for p in self.proofs]
        return found

    def markdown(self) -> str:
        """As a page."""
        shapes = [as_text(s) for s in (self.shape, self.shape2) if s]
        blobs = [f"`in{i}` = {n}" for i, n in enumerate(self.inputs)]
        blobs += [f"`out{i}` = {n}" for i, n in enumerate(self.outputs)]
        lines = [
            f"# {self.name}",
            "",
            f"`{self.source}` → `{self.param.name}`, `{self.bin.name}` ({self.storage} weights), "
            f"{sum(self.layers.values())} layers.",
            "",
            f"- Blobs: {', '.join(blobs)}",
            f"- Converted at {' and '.join(shapes)}",
            f"- Sizes: {self.sizes}",
            f"- With {', '.join(f'{k} {v}' for k, v in self.versions.items())}",
            "",
            "## Proof",
            "",
            "ncnn, computing in float32, against the reference. Difference and largest value are absolute.",
            "",
            "| input | seen before | reference | weights | tensor | difference | largest | relative | |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {as_text(p.shape)} | {'no' if p.unseen else 'yes'} | {p.reference} | {p.storage} | {p.tensor} | "
            f"{p.difference:.2g} | {p.largest:.3g} | {p.relative:.2g} | {'equal' if p.equal else 'NOT EQUAL'} |"
            for p in self.proofs
        ]
        if self.notes:
            lines += ["", "## Notes", "", *(f"- {note}" for note in self.notes)]
        lines += ["", "## Changes before the conversion", ""]
        lines += [f"- {c.rule}, {c.node}: {c.text}" for c in self.changes] or ["None."]
        lines += ["", "## Layers", "", ", ".join(f"{count} {kind}" for kind, count in self.layers.items()), ""]
        return "\n".join(lines)


def convert(
    model: Any,
    out: Path | str,
    *,
    shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    shape2: Sequence[int] | Sequence[Sequence[int]] | None = None,
    name: str | None = None,
    fp16: bool = True,
    fixed: bool = False,
    keep_sizes: bool = False,
    keep_onnx: bool = False,
) -> ConvertReport:
    """Convert a model to ncnn.

    Args:
        model: path of an ``.onnx`` file or of a TorchScript file, an ``onnx.ModelProto`` or a ``torch.nn.Module``.
        out: the folder for the results; made where it is missing.
        shape: an input shape that the model takes, batch 1: of the one input, or one for each. None: the model's own,
            or one that it turns out to take. A model of torch needs it.
        shape2: a second one. Sizes that differ between the two stay free in the network. None: chosen.
        name: of the results; None: the file's.
        fp16: store weights in float16; what they cost is part of the report. Those of a layer, or all, stay float32
            where float16 would cost too much, and the report says so.
        fixed: all sizes stay as they are; without it, a model whose size cannot be freed is refused.
        keep_sizes: leave a Resize with constant sizes as it is, even where it looks frozen by the export.
        keep_onnx: write the rewritten model too, as ``NAME.rewritten.onnx``.

    Returns:
        The report, also written beside the network.

    Raises:
        OptionError: shapes that are no shapes, or `shape2` with `fixed`.
        ModelFileError: the file is unreadable, truncated or damaged, or does not take the shapes.
        UnsupportedError: an operator that cannot be converted: its name, its node, what to do.
        NotEqualError: ncnn does not compute the same.
        MissingExtraError: a package is missing.
        ConvertError: a tool crashed or took too long.
    """
    start = time.monotonic()
    for package in ("onnx", "onnxruntime", "onnxslim"):
        extra(package)
    pnnxrun.program()
    first, second = (_shapes(s) for s in (shape, shape2))
    if fixed and second:
        raise OptionError("a second shape frees sizes, which 'fixed' forbids; give one of them")
    is_file = isinstance(model, (str, Path))
    name = name or (Path(model).name.split(".")[0] if is_file else "model")
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise OptionError(f"{name!r} is no file name; give another name")
    torch_model = torchin.export(model, first, second)
    loaded = torch_model.model if torch_model else load_onnx(model) if is_file else model

    job = _Job(loaded.SerializeToString(), first, second, fixed, keep_sizes)
    try:
        ready = child.call(_prepare, job, timeout=TIMEOUT, what="onnxruntime, rewriting the model,")
    except ModelFileError as error:
        if not torch_model:
            raise
        raise UnsupportedError(
            f"torch's exporter wrote a model that does not run ({error}); save torch.jit.trace(model, example) where "
            "this is a scripted model, or export it by torch.onnx.export with dynamo=True and convert that file"
        ) from None
    with atomic.folder(Path(out)) as place, tempfile.TemporaryDirectory(prefix="liteocr-") as scratch:
        try:
            net, proofs, sizes = _translated(ready, torch_model, name, Path(scratch, "fp32"))
        except (UnsupportedError, NotEqualError) as error:
            # onnxslim knows some forms that we do not, and destroys some that pnnx knows: the second choice.
            try:
                ready = replace(ready, model=child.call(_slim, ready.model, timeout=TIMEOUT, what="onnxslim"))
                net, proofs, sizes = _translated(ready, torch_model, name, Path(scratch, "slim"), blame=False)
            except ConvertError:
                raise error from None
            ready = replace(ready, notes=(*ready.notes, "onnxslim simplified the model; without it pnnx failed"))
        notes, storage = ready.notes, "fp32"
        if fp16:
            half, rounded, told = _halved(ready, net, Path(scratch, "fp16"))
            notes += told
            if half:
                net, storage = half, "fp16"
                proofs += rounded
        report = ConvertReport(
            name=name,
            source=Path(model).name if is_file else type(model).__name__,
            param=Path(out, f"{name}.ncnn.param"),
            bin=Path(out, f"{name}.ncnn.bin"),
            inputs=ready.inputs,
            outputs=ready.outputs,
            shape=ready.first,
            shape2=ready.second,
            sizes=sizes,
            changes=ready.changes,
            notes=notes,
            proofs=tuple(proofs),
            layers=dict(Counter(layer.type for layer in read_param(net.param).layers).most_common()),
            storage=storage,
            versions=_versions(),
            seconds=round(time.monotonic() - start, 1),
        )
        (place / report.param.name).write_bytes(net.param.read_bytes())
        (place / report.bin.name).write_bytes(net.bin.read_bytes())
        if keep_onnx:
            (place / f"{name}.rewritten.onnx").write_bytes(ready.model)
        (place / f"{name}.convert.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
        (place / f"{name}.convert.md").write_text(report.markdown(), encoding="utf-8")
    return report


def _translated(
    ready: _Ready, torch_model: torchin.Exported | None, name: str, folder: Path, *, blame: bool = True
) -> tuple[proof.Net, list[Proof], str]:
    """Translate with float32 weights and prove: the network, the proofs, which sizes it takes."""
    net = pnnxrun.translate(ready.model, ready.first, ready.second, folder, fp16=False, blame=blame)
    proofs = proof.prove(ready.cases, ready.outputs, net, "fp32")
    if torch_model:
        proofs += proof.prove(_torch_cases(torch_model, ready.cases), ready.outputs, net, "fp32")
    proofs, sizes = _sizes(proofs, ready)
    if wrong := [p for p in proofs if not p.equal]:
        raise NotEqualError(_not_equal(wrong[0], name, _culprit(ready, net, wrong[0]) if blame else ""))
    return net, proofs, sizes


def _halved(ready: _Ready, plain: proof.Net, folder: Path) -> tuple[proof.Net | None, list[Proof], tuple[str, ...]]:
    """Translate with float16 weights: the network, None where they move an output too far; proofs; what to tell."""
    half = pnnxrun.translate(ready.model, ready.first, ready.second, folder, fp16=True)
    kept = _keep(plain, half)
    rounded = proof.prove([c for c in ready.cases if c.aligned], ready.outputs, half, "fp16")
    moved = max(rounded, key=lambda p: p.relative)
    moves = f"move {moved.tensor} by {moved.relative:.2g} of its largest value"
    if not moved.equal:
        return None, [], (f"all weights stay float32: in float16 they would {moves}",)
    notes: tuple[str, ...] = ()
    if kept:
        notes += (f"weights that float16 cannot hold stay float32: {', '.join(kept)}",)
    if moved.relative > NOTEWORTHY:
        notes += (f"float16 weights {moves} (the input is noise); measure on pictures, or convert with --fp32",)
    return half, rounded, notes


def _shapes(shape: Sequence[Any] | None) -> Shapes | None:
    if shape is None:
        return None
    found = tuple(tuple(s) for s in shape) if shape and isinstance(shape[0], Sequence) else (tuple(shape),)
    for one in found:
        if not one or not all(isinstance(v, (int, np.integer)) and v > 0 for v in one):
            raise OptionError(f"{one} is no shape; give one such as 1,3,48,320")
        if one[0] != 1:
            raise OptionError(f"the batch of {one} is {one[0]}; ncnn has no batch axis, so give 1")
    return found


def _versions() -> dict[str, str]:
    found = {"liteocr": __version__, "ncnn": ncnn_version()}
    for package in ("pnnx", "onnx", "onnxruntime", "onnxslim"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # onnxruntime has other names too, such as onnxruntime-gpu
            found[package] = "of unknown version"
    return found


# In a child: everything that needs onnxruntime ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    model: bytes
    first: Shapes | None
    second: Shapes | None
    fixed: bool
    keep_sizes: bool


@dataclass(frozen=True)
class _Ready:
    """What pnnx gets, and what must come of it."""

    model: bytes
    first: Shapes
    second: Shapes | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    changes: tuple[Rewrite, ...]
    notes: tuple[str, ...]
    cases: tuple[Case, ...]


def _prepare(job: _Job) -> _Ready:
    onnx = extra("onnx")
    model = onnx.ModelProto.FromString(job.model)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        # an operator of a runtime is refused with its name later, and nobody needs the declared shape of an output
        if not any(known in str(error) for known in ("No Op registered", "Field 'shape' of 'type'")):
            text = " ".join(str(error).split())[:300]
            raise ModelFileError(f"the model is damaged ({text}); export or download it again") from None
    declared = input_shapes(model)
    errors: list[LiteOCRError] = []
    for first, second in _candidates(tuple(declared.values()), job):
        data = [dict(zip(declared, sample(s, n), strict=True)) for n, s in enumerate((first, second)) if s]
        try:
            done = rewrite(
                model,
                data[0],
                data[1] if second else None,
                exported=job.first is not None or all(size for s in declared.values() for size in s[1:]),
                keep_sizes=job.keep_sizes,
            )
        except (ModelFileError, UnsupportedError) as error:
            errors.append(error)
            continue
        return _Ready(
            done.model.SerializeToString(),
            first,
            second,
            tuple(declared),
            tuple(o.name for o in model.graph.output),
            done.changes,
            done.notes,
            proof.cases(model, done, first, second),
        )
    raise errors[0] if errors else ModelFileError("the model has no input that a size could be tried for")


def _candidates(declared: tuple[tuple[int | None, ...], ...], job: _Job) -> Iterator[tuple[Shapes, Shapes | None]]:
    """Pairs of sizes to try, the likeliest first."""
    starts = [*dict.fromkeys(tuple(_filled(s, side) for s in declared) for side in SIDES)]
    if job.first is not None:
        starts = [job.first]
    for first in starts:
        second = job.second
        for shapes in (first, second or first):
            if [len(s) for s in shapes] != [len(s) for s in declared]:
                raise ModelFileError(
                    f"the model has {len(declared)} inputs with {[len(s) for s in declared]} axes, which "
                    f"{as_text(shapes)} does not fit; give a shape for each input"
                )
        if second or job.fixed:
            yield first, second
            continue
        free = [[i for i, size in enumerate(s) if i and size is None] for s in declared]
        if any(free):
            yield first, tuple(_grown(s, axes) for s, axes in zip(first, free, strict=True))
        for axes in ([2, 3], [3]):
            yield first, tuple(_grown(s, axes if len(s) == 4 else axes[:1]) for s in first)


def _filled(shape: tuple[int | None, ...], side: tuple[int, int]) -> tuple[int, ...]:
    """A declared shape with sizes in the place of what it leaves open."""
    usual = (1, 3, *side) if len(shape) == 4 else (1, *(64,) * (len(shape) - 1))
    return tuple(1 if i == 0 else size or usual[i] for i, size in enumerate(shape))


def _grown(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """A second shape: larger along some axes, each by another amount."""
    return tuple(
        size + (4 + 2 * (i % 2)) * math.gcd(size, STRIDE) if i in axes else size for i, size in enumerate(shape)
    )


def _slim(model: bytes) -> bytes:
    onnx = extra("onnx")
    slim: bytes = extra("onnxslim").slim(onnx.ModelProto.FromString(model)).SerializeToString()
    return slim


# What was proven ------------------------------------------------------------------------------------------------------


def _torch_cases(torch_model: torchin.Exported, found: Sequence[Case]) -> list[Case]:
    """The same sizes against torch itself, where it takes them."""
    made = []
    for case in found:
        outputs = torch_model.run(case.inputs) if case.aligned else None
        if outputs is not None and len(outputs) == len(case.outputs):
            # what the Sigmoid reads is known of the ONNX model alone
            gates = tuple((gate[0], gate[1]) if gate else None for gate in case.gates)
            made.append(replace(case, reference="torch", outputs=tuple(outputs), gates=gates))
    return made


def _sizes(proofs: list[Proof], ready: _Ready) -> tuple[list[Proof], str]:
    """Which sizes the network takes. One that is in no grid need not be equal; whether it is, is told."""
    if ready.second is None:
        return proofs, f"fixed at {as_text(ready.first)}"
    free, steps = [], []
    for n, (a, b) in enumerate(zip(ready.first, ready.second, strict=True)):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != y:
                free.append(f"in{n} axis {i}")
                steps.append(math.gcd(x, y, STRIDE))
    told = f"free: {', '.join(free)}"
    odd = proof.odd(ready.first, ready.second)
    tried = [p for p in proofs if p.shape == odd]
    if not tried:
        return proofs, f"{told}; multiples of {max(steps)} (the model itself does not take {as_text(odd)})"
    if all(p.equal for p in tried):
        return proofs, f"{told}; {as_text(odd)}, a multiple of nothing, is equal too"
    told += f"; multiples of {max(steps)} ONLY: at {as_text(odd)} the model gives something else"
    return [p for p in proofs if p.shape != odd], told


def _keep(plain: proof.Net, half: proof.Net) -> list[str]:
    """Put float32 back where float16 loses an array of weights; returns the names of these layers.

    Numbers below float16's smallest normal one, 6e-5, are written as zero; in batch normalisation folded into a
    convolution whose input is large, that can be most of them.
    """
    param = read_param(half.param)
    exact, rounded = read_bin(read_param(plain.param), plain.bin), read_bin(param, half.bin)
    kept = []
    for layer, arrays in rounded.items():
        new = list(arrays)
        for i, (ours, theirs) in enumerate(zip(arrays, exact[layer], strict=True)):
            if ours.storage != "fp16":
                continue
            lost = float(np.linalg.norm(theirs.values - ours.values))
            if not lost <= LOSS * float(np.linalg.norm(theirs.values)):
                new[i] = theirs
                kept.append(layer)
        rounded[layer] = tuple(new)
    if kept:
        write_bin(param, rounded, half.bin)
    return [*dict.fromkeys(kept)]


def _not_equal(wrong: Proof, name: str, culprit: str) -> str:
    off = "its shape differs" if math.isinf(wrong.difference) else f"it is off by {wrong.relative:.2g} of its largest"
    return (
        f"{name}: ncnn does not compute {wrong.tensor} at {as_text(wrong.shape)}: {off}{culprit}. Nothing was written; "
        "write that part in other operators in the model, or report it to the authors of pnnx"
    )


def _culprit(ready: _Ready, net: proof.Net, wrong: Proof) -> str:
    """Where the network first computes something else than the model that pnnx got; "" where that cannot be told."""
    model = extra("onnx").ModelProto.FromString(ready.model)
    (case,) = (c for c in ready.cases if c.shape == wrong.shape)
    try:
        found = compare(model, net.param, net.bin, inputs=case.inputs, precisions=("fp32",), maps=0)
    except LiteOCRError:
        return ""
    first = found.first_divergence
    return f"; the first layer to diverge is {first.layer} ({first.type}), node {first.node}" if first else ""
