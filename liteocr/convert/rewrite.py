"""Rewrite an ONNX graph into what pnnx translates and ncnn computes.

Three kinds of changes, in this order:

**Sizes.** The graph is run at two input sizes, and what depends on nothing but the sizes is looked at instead of being
matched: a tensor that is the same both times becomes a constant, whatever nodes computed it; a Resize whose output is
the same multiple of its input both times gets scales; a Reshape of which one size changes gets -1 there. This is how
the Shape, Gather, Cast, Concat and Slice of all exporters disappear. Before that, sizes that the export froze into
constants are thawed.

**Activations.** Any chain of scalar additions, multiplications, minima, maxima and clips is one function,
``clip(a*x + b, low, high)``. For some numbers it is ReLU, Clip (ReLU6) or HardSigmoid, and ``x`` times it HardSwish. So
every way to write them down is found, those of Paddle included.

**Resize.** Kept only where ncnn's Interp computes exactly the same, see :mod:`resize`; else refused with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelFileError, UnsupportedError, extra
from .onnxgraph import Graph, Observation, attributes, observe, static
from .onnxrun import failing_node, opset
from .resize import Mode, difference, ncnn_mode, output_size, shift

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Rewrite", "Rewritten", "rewrite"]

Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Rewrite:
    """One change of the graph."""

    rule: str
    """What kind of change, such as ``"hard-swish"``."""
    node: str
    """The node that was changed, by the name it has in the model."""
    text: str
    """What was done."""


@dataclass(frozen=True)
class Rewritten:
    """A model ready for pnnx, and what it must compute."""

    model: ModelProto
    """What pnnx gets."""
    reference: ModelProto
    """What it must compute: the model as it came, but for sizes that were frozen."""
    thawed: bool
    """Whether the reference differs from the model as it came."""
    changes: tuple[Rewrite, ...]
    notes: tuple[str, ...]
    """What the user should know, such as a size that stays fixed."""


def rewrite(
    model: ModelProto, first: Inputs, second: Inputs | None, *, exported: bool = True, keep_sizes: bool = False
) -> Rewritten:
    """Rewrite a model.

    Args:
        model: is not changed.
        first: inputs of the size that the model was exported at, or of any that it takes.
        second: inputs of another size; None: the size is fixed.
        exported: whether `first` is known to be what the model was exported at; frozen sizes are multiples of that.
        keep_sizes: leave constant sizes of Resize as they are, even where they look frozen.

    Raises:
        UnsupportedError: an operator that cannot be converted, naming its node and what to do.
        ModelFileError: the model does not take the inputs.
    """
    work = _Work(model)
    work.refuse()
    seen = [observe(work.graph, first)]
    work.fold([seen[0]], follow=False)
    if second is not None:
        if not keep_sizes:
            work.thaw_resizes(seen[0], second, exported=exported)
        seen.append(work.thaw(first, second, seen[0]))
    reference = work.graph.model()
    thawed = bool(work.changes)
    work.fold(seen, follow=True)
    work.branches()
    work.reshapes(seen)
    work.resizes(seen)
    work.slices(seen)
    work.tiles()
    work.recurrent(seen)
    work.activations()
    return Rewritten(work.graph.model(), reference, thawed, tuple(work.changes), tuple(work.notes))


# Operators that no export of a network needs in its middle, and what to do about them.
_REFUSED = {
    **dict.fromkeys(("Loop", "Scan"), "a loop; unroll it in the model, or trace the model instead of scripting it"),
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
         "MatMulInteger"),
        "quantized; convert the float model, then use liteocr-model quantize",
    ),
    **dict.fromkeys(
        ("NonMaxSuppression", "NonZero", "Unique", "Compress"),
        "its output's size depends on the picture; end the model before it, and do the rest in code",
    ),
    **dict.fromkeys(
        ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"),
        "random; call model.eval() before the export",
    ),
}  # fmt: skip


class _Work:
    """The graph under change, with the list of what was changed."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = Graph(_at_least(model, 11))
        self.changes: list[Rewrite] = []
        self.notes: list[str] = []

    def changed(self, rule: str, node: NodeProto, text: str) -> None:
        self.changes.append(Rewrite(rule, node.name, text))

    def refuse(self) -> None:
        """Refuse what can be refused at sight."""
        onnx = extra("onnx")
        for node in self.graph.nodes:
            if node.domain not in ("", "ai.onnx"):
                raise UnsupportedError(
                    f"operator {node.domain}.{node.op_type}, node {node.name}: it is not of standard ONNX; export "
                    "again without the optimisations of a runtime, or put standard operators in its place"
                )
            if node.op_type in _REFUSED:
                raise UnsupportedError(f"operator {node.op_type}, node {node.name}: {_REFUSED[node.op_type]}")
        for value in self.graph.inputs:
            kind = value.type.tensor_type.elem_type
            if kind != onnx.TensorProto.FLOAT:
                kind_name = onnx.TensorProto.DataType.Name(kind)
                raise UnsupportedError(f"input {value.name} is {kind_name}; export a model that takes float32")

    # Sizes ------------------------------------------------------------------------------------------------------------

    def fold(self, seen: Sequence[Observation], *, follow: bool) -> None:
        """Make constant what was the same in every run; `follow`: also what follows from the input's size."""
        kinds = static(self.graph)
        same: dict[str, NDArray[Any]] = {}
        for name, value in seen[0].values.items():
            if name not in kinds or (kinds[name] and not follow):
                continue
            others = [s.values.get(name) for s in seen[1:]]
            if all(o is not None and o.shape == value.shape and np.array_equal(o, value) for o in others):
                same[name] = value
        # only what the network reads; what lies behind it goes away by itself
        edge = {
            name: value
            for name, value in same.items()
            if any(not all(o in same for o in n.output if o) for n in self.graph.readers.get(name, ()))
        }
        if follow:
            for name in edge:
                node = self.graph.producers.get(name)
                if node is not None and kinds[name]:
                    self.changed("shape arithmetic", node, f"{name} is {_short(same[name])} at every size")
        self.graph.fold(edge)

    def thaw_resizes(self, seen: Observation, second: Inputs, *, exported: bool) -> None:
        """Give scales to Resize nodes whose sizes stay the same while their input's change.

        Only where the size is a whole multiple of the input's, or the other way round: nobody resizes to exactly
        that by chance.
        """
        for node in list(self.graph.nodes):
            if node.op_type != "Resize" or len(node.input) < 4 or not node.input[3]:
                continue
            before, after = seen.shapes[node.input[0]], seen.shapes[node.output[0]]
            if node.input[3] not in self.graph.constants and self._follows(node, seen, second):
                continue
            if not exported:
                raise UnsupportedError(
                    f"operator Resize, node {node.name}: its size {after[2:]} was frozen by the export, at an input "
                    "size that the model does not tell; give that size by --shape, or keep this one by --keep-sizes"
                )
            scales = [o / i for i, o in zip(before, after, strict=True)]
            if all(s == round(s) or 1 / s == round(1 / s) for s in scales):
                self._scale(node, scales)
                self.changed("frozen size", node, f"the constant size {after[2:]} becomes scales {_plain(scales[2:])}")
            else:
                self.notes.append(
                    f"Resize {node.name} makes {after[2:]} out of {before[2:]}, which is no whole multiple: "
                    "its output's size stays fixed"
                )

    def _follows(self, node: NodeProto, seen: Observation, second: Inputs) -> bool:
        """Whether the computed sizes of a Resize change with the input's size, or its own input does not change."""
        data, sizes = node.input[0], node.input[3]
        try:
            there = observe(Graph(self.graph.before(data, sizes)), second)
        except ModelFileError:  # something in front of it is frozen; the run of the whole graph tells what
            return True
        there_sizes = there.values.get(sizes)
        if there_sizes is None or there.shapes.get(data) == seen.shapes[data]:
            return True
        return not np.array_equal(there_sizes, seen.values[sizes])

    def _scale(self, node: NodeProto, scales: Sequence[float]) -> None:
        name = self.graph.constant(np.array(scales, np.float32), f"{node.name}_scales")
        kept = [a for a in node.attribute if a.name not in ("axes", "keep_aspect_ratio_policy")]
        new = self.graph.make("Resize", [node.input[0], self._nothing(), name], node.output[0], node.name)
        new.attribute.extend(kept)
        self.graph.replace(node, [new])

    def _nothing(self) -> str:
        """An input of Resize that is not given; operator sets below 13 do not let it be left out."""
        return self.graph.constant(np.zeros(0, np.float32), "nothing")

    def thaw(self, first: Inputs, second: Inputs, seen: Observation) -> Observation:
        """Run at the second size, thawing each Reshape that fails there."""
        tried: set[str] = set()
        while True:
            try:
                return observe(self.graph, second)
            except ModelFileError as error:
                name = failing_node(str(error))
                node = next((n for n in self.graph.nodes if n.name == name), None)
                if node is not None and node.op_type == "Reshape" and node.name not in tried:
                    tried.add(node.name)
                    there = observe_input(self.graph, node, second)
                    if self._thaw_reshape(node, seen.shapes[node.input[0]], seen.shapes[node.output[0]], there):
                        continue
                sizes = " and ".join(", ".join(str(a.shape) for a in inputs.values()) for inputs in (first, second))
                where = (
                    f"operator {node.op_type}, node {node.name}" if node else "a node that onnxruntime does not name"
                )
                raise UnsupportedError(
                    f"{where}: the network does not run at both sizes {sizes}, because a size is fixed in it; give "
                    "sizes that it takes by --shape and --shape2 (multiples of its stride, say), export it with "
                    f"dynamic axes, or keep its size by --fixed. onnxruntime says: {error}"
                ) from None

    def _thaw_reshape(
        self, node: NodeProto, before: tuple[int, ...], after: tuple[int, ...], there: tuple[int, ...]
    ) -> bool:
        """Let the one size of a constant Reshape follow its input that cannot stay; False where it is not one."""
        target = self.graph.constants.get(node.input[1])
        if target is None or len(before) != len(there):
            return False
        stable = {a for a, b in zip(before, there, strict=True) if a == b}
        free = [i for i, size in enumerate(after) if size not in stable]
        # one size that becomes another one of the input's, all others as they are
        total = math.prod(there)
        alone = [
            i
            for i in free
            if total * after[i] % math.prod(after) == 0 and total * after[i] // math.prod(after) in there
        ]
        new = list(after)
        if len(free) > 1 and alone:
            free = alone[:1]
        for i in list(free):
            if len(free) > 1 and i < len(before) and before[i] == after[i]:
                new[i] = 0  # ONNX's way to say: as the input's
                free.remove(i)
        if len(free) != 1:
            return False
        new[free[0]] = -1
        self._target(node, new)
        self.changed("frozen size", node, f"the constant shape {after} becomes {tuple(new)}")
        return True

    def _target(self, node: NodeProto, shape: Sequence[int]) -> None:
        name = self.graph.constant(np.array(shape, np.int64), f"{node.name}_shape")
        self.graph.replace(node, [self.graph.make("Reshape", [node.input[0], name], node.output[0], node.name)])

    def branches(self) -> None:
        """Put the branch of an If whose condition is constant in its place."""
        for node in list(self.graph.nodes):
            if node.op_type != "If":
                continue
            condition = self.graph.scalar(node.input[0])
            if condition is None:
                raise UnsupportedError(
                    f"operator If, node {node.name}: which branch is taken depends on the picture or its size; trace "
                    "the model instead of scripting it, or export the branch that you need"
                )
            branch = attributes(node)["then_branch" if condition else "else_branch"]
            onnx = extra("onnx")
            names = {o: self.graph.fresh(o) for n in branch.node for o in n.output if o}
            for tensor in branch.initializer:
                names[tensor.name] = self.graph.constant(onnx.numpy_helper.to_array(tensor), tensor.name)
            new = []
            for inner in branch.node:
                copy = onnx.NodeProto()
                copy.CopyFrom(inner)
                for names_of in (copy.input, copy.output):
                    for i, old in enumerate(names_of):
                        names_of[i] = names.get(old, old)
                copy.name = self.graph.fresh(f"{node.name}_{inner.op_type}")
                new.append(copy)
            for inside, outside in zip(branch.output, node.output, strict=True):
                new.append(
                    self.graph.make("Identity", [names.get(inside.name, inside.name)], outside, self.graph.fresh("If"))
                )
            self.graph.replace(node, new)
            self.changed("constant condition", node, f"only the branch for {bool(condition)} is kept")
        self.graph = Graph(self.graph.model())

    def reshapes(self, seen: Sequence[Observation]) -> None:
        """Give a Reshape whose shape is computed a constant one, with -1 for the size that follows the input's."""
        for node in list(self.graph.nodes):
            if node.op_type != "Reshape" or node.input[1] in self.graph.constants:
                continue
            befores = [s.shapes[node.input[0]] for s in seen]
            afters = [s.shapes[node.output[0]] for s in seen]
            if len({len(a) for a in afters}) > 1:
                continue
            new = [sizes[0] if len({*sizes}) == 1 else -1 for sizes in zip(*afters, strict=True)]
            for i, size in enumerate(new):
                if (
                    size < 0
                    and new.count(-1) > 1
                    and all(i < len(b) and b[i] == a[i] for b, a in zip(befores, afters, strict=True))
                ):
                    new[i] = 0
            if new.count(-1) <= 1:
                self._target(node, new)
                self.changed("shape arithmetic", node, f"reshapes to {tuple(new)}")

    # Resize -----------------------------------------------------------------------------------------------------------

    def resizes(self, seen: Sequence[Observation]) -> None:
        """Give every Resize constant scales and the modes that ncnn computes, or refuse it."""
        for node in list(self.graph.nodes):
            if node.op_type == "Resize":
                self._resize(node, [(s.shapes[node.input[0]], s.shapes[node.output[0]]) for s in seen])

    def _resize(self, node: NodeProto, seen: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
        def refuse(why: str) -> UnsupportedError:
            return UnsupportedError(f"operator Resize, node {node.name}: {why}")

        how = attributes(node)
        if len(seen[0][0]) != 4:
            raise refuse(f"its input has {len(seen[0][0])} axes; only pictures (1, C, H, W) are converted")
        if how.get("antialias"):
            raise refuse("antialias=1 is not computed by ncnn; export with antialias=False")
        if how.get("exclude_outside"):
            raise refuse("exclude_outside=1 is not computed by ncnn; export without it")
        mode = Mode(
            how.get("mode", "nearest"),
            how.get("coordinate_transformation_mode", "half_pixel"),
            how.get("nearest_mode", "round_prefer_floor"),
            how.get("cubic_coeff_a", -0.75),
        )
        scales = self._scales(node, seen)
        if scales is None:
            sizes = {after for _, after in seen}
            if len(sizes) > 1:
                raise refuse(
                    "its output is no constant multiple of its input ("
                    + ", ".join(f"{b[2:]} to {a[2:]}" for b, a in seen)
                    + "); use F.interpolate with scale_factor, or give sizes by --shape and --shape2 that are "
                    "multiples of the network's stride"
                )
            pairs = [(b[k], a[k], a[k] / b[k]) for b, a in seen for k in (2, 3)]
        else:
            if any(s != 1 for s in scales[:2]):
                raise refuse(f"it scales the batch or the channels by {_plain(scales[:2])}; only H and W are converted")
            pairs = [(n, output_size(n, s), s) for s in scales[2:] for n in range(1, 41) if output_size(n, s) > 1]
        try:
            apart = difference(mode, pairs)
            moved = [shift(mode, s) for s in scales[2:]] if apart and scales is not None else []
        except ValueError as error:
            raise refuse(f"{error} is not computed by ncnn; export with align_corners, or half_pixel") from None
        if apart and (not moved or None in moved):
            advice = {
                "nearest": "export with mode='nearest', whose coordinates are asymmetric and rounded down",
                "linear": "export with align_corners=True or False: its coordinates are align_corners or half_pixel",
                "cubic": "export with align_corners=True or False and cubic_coeff_a=-0.75",
            }[mode.mode]
            raise refuse(f"({mode}) from {apart[0]} to {apart[1]} pixels is not what ncnn computes; {advice}")
        self._canonical(node, mode, scales, seen[0][1], [k or 0 for k in moved] or [0, 0])

    def _scales(
        self, node: NodeProto, seen: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> tuple[float, ...] | None:
        """The constant scales of a Resize, also where it says sizes; None where there are none."""
        given = self.graph.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if given is not None and given.size:
            scales = [1.0] * 4
            axes = attributes(node).get("axes") or list(range(4))
            for axis, scale in zip(axes, given.reshape(-1), strict=True):
                scales[axis % 4] = float(scale)
            return tuple(scales)
        ratios = {tuple(o / i for i, o in zip(before, after, strict=True)) for before, after in seen}
        fixed = len({after for _, after in seen}) == 1 and (
            len(node.input) > 3 and node.input[3] in self.graph.constants
        )
        return ratios.pop() if len(ratios) == 1 and not fixed else None

    def _canonical(
        self,
        node: NodeProto,
        mode: Mode,
        scales: tuple[float, ...] | None,
        after: tuple[int, ...],
        moved: Sequence[int],
    ) -> None:
        if scales is not None and all(s == 1 for s in scales):
            self.graph.bypass(node, node.input[0])
            self.changed("resize", node, "removed: its scales are 1")
            return
        ours = ncnn_mode(mode)
        how = {"mode": ours.mode, "coordinate_transformation_mode": ours.coordinates}
        if mode.mode == "nearest":
            how["nearest_mode"] = ours.rounding
        inputs = [node.input[0], self._nothing()]
        if scales is not None:
            inputs.append(self.graph.constant(np.array(scales, np.float32), f"{node.name}_scales"))
            text = f"scales {_plain(scales[2:])}"
        else:
            inputs += [self._nothing(), self.graph.constant(np.array(after, np.int64), f"{node.name}_sizes")]
            text = f"fixed size {after[2:]}"
        if any(moved):
            text += f", moved by {_plain(moved)} pixels"
        new = [self.graph.make("Resize", inputs, node.output[0], node.name, **how)]
        if any(moved):
            source = self._chain(new, node)
            cut = self.graph.fresh(f"{source}_cut")
            crop, pads = np.zeros(8, np.int64), np.zeros(8, np.int64)
            for axis, k in zip((2, 3), moved, strict=True):  # drop k pixels at one end, repeat the last at the other
                front, back = (axis, axis + 4) if k > 0 else (axis + 4, axis)
                crop[front], pads[back] = -abs(k), abs(k)
            new.append(self._pad(source, cut, f"{node.name}_cut", crop))
            new.append(self._pad(cut, node.output[0], f"{node.name}_pad", pads, "edge"))
        self.graph.replace(node, new)
        self.changed("resize", node, f"{mode}: {text}")

    def _pad(self, source: str, target: str, name: str, pads: NDArray[np.int64], mode: str = "constant") -> NodeProto:
        """A Pad node. Negative padding crops: pnnx loses a Slice along an axis of free size."""
        inputs = [source, self.graph.constant(pads, f"{name}_pads")]
        return self.graph.make("Pad", inputs, target, name, mode=mode)

    def slices(self, seen: Sequence[Observation]) -> None:
        """Write a Slice along H or W as what pnnx keeps: cropping, and a step as pooling of single pixels."""
        for node in list(self.graph.nodes):
            before, after = (
                ([s.shapes[name] for s in seen if name in s.shapes] for name in (node.input[0], node.output[0]))
                if node.op_type == "Slice"
                else ([], [])
            )
            if not before or len(before) != len(seen) or len(before[0]) != 4 or before == after:
                continue
            numbers = [self.graph.constants.get(name) for name in node.input[1:]]
            if any(n is None for n in numbers) or len(numbers) < 2:
                continue
            starts, ends, axes, steps = (
                n.reshape(-1).tolist() for n in (*numbers, *self._defaults(numbers)) if n is not None
            )
            axes = [a % 4 for a in axes]
            # an axis of fixed size is pnnx's own to cut
            moving = [i for i, a in enumerate(axes) if a >= 2 and len({s[a] for s in before}) > 1]
            if not moving or any(starts[i] < 0 or 0 <= ends[i] < 1 << 30 or steps[i] < 1 for i in moving):
                continue
            pads, strides = np.zeros(8, np.int64), [1, 1]
            for i in moving:
                pads[axes[i]] = -starts[i]
                pads[axes[i] + 4] = min(ends[i], 0)
                strides[axes[i] - 2] = steps[i]
            left = [i for i in range(len(axes)) if i not in moving]
            new: list[NodeProto] = []
            if left:
                parts = [np.array([v[i] for i in left], np.int64) for v in (starts, ends, axes, steps)]
                names = [self.graph.constant(part, f"{node.name}_slice") for part in parts]
                new.append(self.graph.make("Slice", [node.input[0], *names], node.output[0], f"{node.name}_slice"))
            if pads.any():
                source = self._chain(new, node)
                new.append(self._pad(source, node.output[0], f"{node.name}_crop", pads))
            if strides != [1, 1]:
                source = self._chain(new, node)
                new.append(
                    self.graph.make(
                        "MaxPool", [source], node.output[0], f"{node.name}_step", kernel_shape=[1, 1], strides=strides
                    )
                )
            self.graph.replace(node, new)
            self.changed("slice", node, f"cut {pads[[2, 3, 6, 7]].tolist()}, every {strides} pixels")

    @staticmethod
    def _defaults(numbers: Sequence[NDArray[Any] | None]) -> list[NDArray[Any]]:
        """The axes and steps of a Slice that does not name them."""
        assert numbers[0] is not None
        count = numbers[0].size
        return [np.arange(count), np.ones(count, np.int64)][len(numbers) - 2 :]

    def _chain(self, new: list[NodeProto], node: NodeProto) -> str:
        """What the next of several nodes in the place of one reads."""
        if not new:
            return str(node.input[0])
        new[-1].output[0] = self.graph.fresh(node.output[0])
        return str(new[-1].output[0])

    def tiles(self) -> None:
        """Write a Tile as Concat, which ncnn has."""
        for node in list(self.graph.nodes):
            repeats = self.graph.constants.get(node.input[1]) if node.op_type == "Tile" else None
            if repeats is None or repeats.size < 2 or repeats.prod() > 64:
                continue
            new: list[NodeProto] = []
            for axis, count in enumerate(repeats.reshape(-1).tolist()):
                if count > 1:
                    source = self._chain(new, node)
                    name = f"{node.name}_{axis}"
                    new.append(self.graph.make("Concat", [source] * count, node.output[0], name, axis=axis))
            if new:
                self.graph.replace(node, new)
                self.changed("tile", node, f"Concat, {repeats.tolist()} times")

    # Layers -----------------------------------------------------------------------------------------------------------

    def recurrent(self, seen: Sequence[Observation]) -> None:
        """Bring recurrent layers into the one form that pnnx knows, or refuse what ncnn's do not compute."""
        for node in list(self.graph.nodes):
            if node.op_type not in ("LSTM", "GRU", "RNN"):
                continue
            how = attributes(node)
            odd: list[str] = [k for k in ("activations", "clip", "activation_alpha", "activation_beta") if k in how]
            odd += [k for k in ("layout", "input_forget") if how.get(k)]
            odd += [f"input {i}" for i in (4, 7) if len(node.input) > i and node.input[i]]
            if node.op_type == "GRU" and not how.get("linear_before_reset"):
                odd.append("linear_before_reset=0")
            if odd:
                raise UnsupportedError(
                    f"operator {node.op_type}, node {node.name}: ncnn does not compute {', '.join(odd)}; use a layer "
                    "as torch.nn has it"
                )
            for i in (5, 6):
                value = self.graph.constants.get(node.input[i]) if len(node.input) > i else None
                if value is not None and not value.any():
                    node.input[i] = ""
                    self.changed("initial state", node, "removed: it is zero")
            while not node.input[-1]:
                node.input.pop()
            self._joined(node, seen)
        self.graph.refresh()

    def _joined(self, node: NodeProto, seen: Sequence[Observation]) -> None:
        """Both directions side by side, (steps, 1, 2*hidden): exporters leave that out where the batch is 1."""
        readers = self.graph.readers.get(node.output[0], [])
        turn = readers[0] if len(readers) == 1 else None
        if turn is None or turn.op_type != "Transpose" or attributes(turn).get("perm") != [0, 2, 1, 3]:
            return
        for join in self.graph.readers.get(turn.output[0], []):
            shapes = [(s.shapes[turn.output[0]], s.shapes.get(join.output[0])) for s in seen]
            if join.op_type != "Reshape" or any(b != (1, a[0], a[2] * a[3]) for a, b in shapes):
                continue
            side = self.graph.fresh(join.output[0])
            target = self.graph.constant(np.array([0, 0, -1], np.int64), f"{join.name}_shape")
            self.graph.replace(
                join,
                [
                    self.graph.make("Reshape", [turn.output[0], target], side, f"{join.name}_joined"),
                    self.graph.make("Transpose", [side], join.output[0], join.name, perm=[1, 0, 2]),
                ],
            )
            self.changed("directions", join, "joined as (steps, 1, channels), then turned")

    def activations(self) -> None:
        """Find the activations in chains of scalar arithmetic."""
        for node in list(reversed(self.graph.nodes)):
            if self.graph.producers.get(node.output[0]) is node:
                _ = self._hard_swish(node) or self._clip(node)
        self.graph.refresh()

    def _hard_swish(self, node: NodeProto) -> bool:
        """``x * clip(a*x + b, 0, 1)``, whatever its scale is split into."""
        product, factor = node, 1.0
        if node.op_type in ("Mul", "Div"):
            step = _step(self.graph, node)
            if step is not None:  # a scale behind the product
                inside = self.graph.producers.get(step[0])
                scaled = step[1](_IDENTITY)
                if inside is None or inside.op_type != "Mul" or scaled.b or not math.isinf(scaled.high):
                    return False
                product, factor = inside, scaled.a
        if product.op_type != "Mul":
            return False
        left, right = (self._chains(name) for name in product.input)
        for lines, clips in ((left, right), (right, left)):
            for source, clip in clips:
                for other, line in lines:
                    if source != other or line.b or not (math.isinf(line.low) and math.isinf(line.high)):
                        continue
                    # line.a*x * clip(a*x + b, 0, high) = line.a*high * x * clip(a/high*x + b/high, 0, 1)
                    if clip.low != 0 or math.isinf(clip.high) or clip.high <= 0 or clip.a <= 0:
                        continue
                    if not math.isclose(line.a * clip.high * factor, 1, rel_tol=1e-5):
                        continue
                    alpha, beta = _sixth(clip.a / clip.high), clip.b / clip.high
                    self._put_hard_swish(node, source, alpha, beta)
                    return True
        return False

    def _put_hard_swish(self, node: NodeProto, source: str, alpha: float, beta: float) -> None:
        gate = self.graph.producers.get(node.input[1]) if node.op_type == "Mul" else None
        if node.op_type == "Mul" and node.input[0] == source and gate is not None and gate.op_type == "HardSigmoid":
            return  # it is written that way already
        name = self.graph.fresh(f"{node.output[0]}_gate")
        self.graph.replace(
            node,
            [
                self.graph.make("HardSigmoid", [source], name, f"{node.name}_gate", alpha=alpha, beta=beta),
                self.graph.make("Mul", [source, name], node.output[0], node.name),
            ],
        )
        self.changed("hard-swish", node, f"x * clip({alpha:.6g} * x + {beta:.6g}, 0, 1)")

    def _clip(self, node: NodeProto) -> bool:
        """ReLU, Clip or HardSigmoid, from the longest chain that is one."""
        best: tuple[str, _Affine] | None = None
        length = 0
        for n, (source, chain) in enumerate(self._chains(node.output[0])):
            if n and chain.kind:
                best, length = (source, chain), n
        if best is None or (length == 1 and node.op_type in ("Relu", "Clip", "HardSigmoid")):
            return False
        source, chain = best
        name, output = node.name, node.output[0]
        if chain.kind == "HardSigmoid":
            new = self.graph.make("HardSigmoid", [source], output, name, alpha=_sixth(chain.a), beta=chain.b)
            text = f"clip({chain.a:.6g} * x + {chain.b:.6g}, 0, 1)"
        elif chain.kind == "Relu":
            new, text = self.graph.make("Relu", [source], output, name), "max(x, 0)"
        else:
            ends = [
                "" if math.isinf(v) else self.graph.constant(np.array(v, np.float32), f"{name}_{end}")
                for end, v in (("low", chain.low), ("high", chain.high))
            ]
            new, text = (
                self.graph.make("Clip", [source, *ends], output, name),
                f"clip(x, {chain.low:g}, {chain.high:g})",
            )
        self.graph.replace(node, [new])
        self.changed({"HardSigmoid": "hard-sigmoid", "Relu": "relu"}.get(new.op_type, "clip"), new, text)
        return True

    def _chains(self, name: str) -> list[tuple[str, _Affine]]:
        """Every chain of scalar arithmetic that ends in a tensor: where it starts, and what it computes."""
        steps: list[Callable[[_Affine], _Affine]] = []
        found = [(name, _IDENTITY)]
        while (node := self.graph.producers.get(name)) is not None and len(steps) < 8:
            step = _step(self.graph, node)
            if step is None:
                break
            name, function = step
            steps.append(function)
            chain = _IDENTITY
            for apply in reversed(steps):
                chain = apply(chain)
            found.append((name, chain))
        return found


def observe_input(graph: Graph, node: NodeProto, inputs: Inputs) -> tuple[int, ...]:
    """The shape of a node's first input."""
    name = node.input[0]
    return observe(Graph(graph.before(name)), inputs).shapes[name]


def _at_least(model: ModelProto, version: int) -> ModelProto:
    """A model of an older operator set in a newer one."""
    onnx = extra("onnx")
    if opset(model) >= version:
        return model
    try:
        converted: ModelProto = onnx.version_converter.convert_version(model, version)
    except Exception as error:
        raise UnsupportedError(
            f"the model is of operator set {opset(model)} and cannot be brought to {version} ({error}); export it "
            "with opset_version=17"
        ) from None
    return converted


# clip(a*x + b, low, high) ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Affine:
    """``clip(a*x + b, low, high)``. Scalar arithmetic behind it gives another one."""

    a: float = 1.0
    b: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def times(self, k: float) -> _Affine:
        low, high = sorted((self.low * k, self.high * k))
        return _Affine(self.a * k, self.b * k, low, high)

    def plus(self, k: float) -> _Affine:
        return _Affine(self.a, self.b + k, self.low + k, self.high + k)

    def clip(self, low: float, high: float) -> _Affine:
        return replace(self, low=min(max(self.low, low), high), high=min(max(self.high, low), high))

    @property
    def kind(self) -> str | None:
        """The operator that computes this; None where none does."""
        same = math.isclose(self.a, 1, rel_tol=1e-6) and abs(self.b) < 1e-6
        if same and self.low == 0 and math.isinf(self.high):
            return "Relu"
        if same and not (math.isinf(self.low) and math.isinf(self.high)):
            return "Clip"
        if self.a > 0 and abs(self.low) < 1e-6 and math.isclose(self.high, 1, rel_tol=1e-6):
            return "HardSigmoid"
        return None


_IDENTITY = _Affine()


def _sixth(value: float) -> float:
    """1/6 where a value is meant to be, else the value: pnnx looks for exactly that."""
    return 1 / 6 if math.isclose(value, 1 / 6, rel_tol=1e-4) else value


def _step(graph: Graph, node: NodeProto) -> tuple[str, Callable[[_Affine], _Affine]] | None:
    """Scalar arithmetic of one node: its input and what it does to a chain; None where it is something else."""
    kind = node.op_type
    if kind == "Neg":
        return node.input[0], lambda f: f.times(-1)
    if kind == "Relu":
        return node.input[0], lambda f: f.clip(0, math.inf)
    if kind == "HardSigmoid":
        how = attributes(node)
        alpha, beta = how.get("alpha", 0.2), how.get("beta", 0.5)
        return node.input[0], lambda f: f.times(alpha).plus(beta).clip(0, 1)
    if kind == "Clip":
        ends = [graph.scalar(name) if name else None for name in (*node.input[1:], "", "")[:2]]
        if any(name and end is None for name, end in zip(node.input[1:], ends, strict=False)):
            return None
        low, high = ends[0] if ends[0] is not None else -math.inf, ends[1] if ends[1] is not None else math.inf
        return node.input[0], lambda f: f.clip(low, high)
    if kind not in ("Add", "Sub", "Mul", "Div", "Min", "Max") or len(node.input) != 2:
        return None
    left, right = (graph.scalar(name) for name in node.input)
    if (left is None) == (right is None):
        return None
    source, k = (node.input[0], right) if right is not None else (node.input[1], left)
    assert k is not None
    if graph.constants[node.input[1] if right is not None else node.input[0]].ndim > 1:
        return None  # it may add axes to what it is computed with
    if kind == "Add":
        return source, lambda f: f.plus(k)
    if kind == "Sub":
        return source, (lambda f: f.plus(-k)) if right is not None else (lambda f: f.times(-1).plus(k))
    if kind == "Mul" and k:
        return source, lambda f: f.times(k)
    if kind == "Div" and right:
        return source, lambda f: f.times(1 / k)
    if kind == "Min":
        return source, lambda f: f.clip(-math.inf, k)
    if kind == "Max":
        return source, lambda f: f.clip(k, math.inf)
    return None


def _plain(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:g}" for v in values) + ")"


def _short(value: NDArray[Any]) -> str:
    return str(value.tolist()) if value.size <= 6 else f"a constant {value.shape}"
