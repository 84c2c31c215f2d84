"""Rewrite the .param of an older ncnn for today's.

ncnn's text format stayed the same since 2017, but what some layers make of their parameters did not. Today's ncnn
refuses a few old forms ("param is too old, please regenerate"), and computes something else from others without a word.
Most files can be rewritten, because what they meant is known:

==========================  ==========================================================================================
old form                    today
==========================  ==========================================================================================
no magic number; values     ``7767517`` and ``key=value``: the position was the key
without keys (2017)
wrong counts in line 2      counted again
Reduction: key 1 named the  key 1 is a flag, "reduce all": axes go into key 3
axes that stay (to 2019)
Reduction: axes counted     axes of the blob, which has no batch, and the mark ``5=1``
with the batch (to 2020)
Softmax: axes 1 and 2 of    the axis that is named, and the mark ``1=1``
three swapped (to 2018)
Reshape ``3=1``: as if the  Permute, Reshape, Permute
blob were stored (h, w, c)
ExpandDims: flags for w,    axes in key 3
h, c (to 2020)
Squeeze without keys: all   flags for w, h and c
axes of one (2017)
Crop ``-234``: to the last  ``-233`` with an offset from the end
but one
Convolution of a blob with  InnerProduct with the same weights; the other form works today and is announced to go
one axis
a blob taken by several     a Split between
layers without a Split
==========================  ==========================================================================================

What cannot be decided from the file alone is listed, not touched.

With ``dynamic``, sizes that the export froze become sizes that follow the input: output sizes of Interp become scales,
or the size of the blob that the result meets; Reshape keeps its constant sides and computes the others; a Pooling as
large as its input becomes adaptive, and a Crop to the end of its input stays one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from .errors import ModelFileError, UnsupportedError
from .param import MAGIC, Layer, Param, Value, parse
from .shapes import Shape, ShapeError, infer, ranks

__all__ = ["Change", "upgrade"]


@dataclass(frozen=True)
class Change:
    """Something that was rewritten, or that somebody should look at.

    Attributes:
        layer: name of the layer; empty for the file as a whole.
        type: its type.
        what: the old form and the new one.
        why: what today's ncnn would make of the old form.
        done: False where nothing was touched, because the file does not tell what was meant.
    """

    layer: str
    type: str
    what: str
    why: str
    done: bool = True

    def __str__(self) -> str:
        where = f"{self.type} {self.layer}: " if self.layer else ""
        return f"{'' if self.done else 'to check: '}{where}{self.what} ({self.why})"


def upgrade(
    old: str | Param, *, dynamic: bool = False, size: tuple[int, int] | None = None, name: str = "the .param text"
) -> tuple[Param, tuple[Change, ...]]:
    """Rewrite a network's structure for today's ncnn; the weights fit as before.

    Args:
        old: the text of a .param file, or one that was read.
        dynamic: also turn frozen sizes into such that follow the input.
        size: height and width of the input that the network was exported with; needed where the file does not tell.
        name: what error messages call the file.

    Returns:
        The new structure, and what was changed or should be looked at.

    Raises:
        ModelFileError: it is no .param text, or ``size`` is needed.
        UnsupportedError: an old form that has no counterpart today.
    """
    changes: list[Change] = []
    param = _parse(old, name, changes) if isinstance(old, str) else old
    param = _splits(param, changes)
    param = _layers(param, changes)
    if dynamic:
        param = _dynamic(param, size, changes)
    return param, tuple(changes)


# The file -------------------------------------------------------------------------------------------------------------


def _parse(text: str, name: str, changes: list[Change]) -> Param:
    words = next((line.split() for line in text.splitlines() if line.strip()), [])
    if len(words) == 2 and all(word.isdigit() for word in words):
        text = _keyed(text, name)
        why = "ncnn of 2017 wrote none; today's refuses the file as too old"
        changes.append(Change("", "", f"the magic number {MAGIC} and a key before every value", why))
    param = parse(text, name=name, counts=False)
    counts = text.split(None, 3)[1:3]
    # More blobs than there are, the second number, does no harm.
    if int(counts[0]) != len(param.layers) or int(counts[1]) < len(param.blobs()):
        what = f"the counts {counts[0]} {counts[1]} became {len(param.layers)} {len(param.blobs())}"
        if int(counts[0]) > len(param.layers):
            raise ModelFileError(
                f"{name} promises {counts[0]} layers and has {len(param.layers)}: it is truncated; get it again"
            )
        changes.append(Change("", "", what, "ncnn reads as many layers as the second line says"))
    return param


def _keyed(text: str, name: str) -> str:
    """The text of 2017 with keys: the n-th value of a layer has key n, an array comes with its length before."""
    lines = [str(MAGIC)]
    for number, line in enumerate([line for line in text.splitlines() if line.strip()]):
        words = line.split()
        if number == 0:
            lines.append(line)
            continue
        try:
            end = 4 + int(words[2]) + int(words[3])
        except (IndexError, ValueError):
            raise ModelFileError(f"{name}: {line.strip()!r} is no layer; give ncnn's .param text") from None
        values = words[end:]
        array = _ARRAYS_2017.get(words[0])
        if words[0] in _UNKNOWN_2017:
            raise UnsupportedError(
                f"layer {words[1]} ({words[0]}): its values of 2017 stand in another order; convert the model again"
            )
        if array is not None and len(values) > array:
            head, length, rest = values[:array], values[array], values[array + 1 :]
            pairs = [f"{key}={value}" for key, value in enumerate(head)]
            pairs.append(f"{-23300 - array}={','.join([length, *rest])}")
        else:
            pairs = [f"{key}={value}" for key, value in enumerate(values)]
        lines.append(" ".join([*words[:end], *pairs]))
    return "\n".join(lines)


_ARRAYS_2017 = {"Slice": 0, "Eltwise": 1}
_UNKNOWN_2017 = {"PriorBox", "DetectionOutput"}


def _splits(param: Param, changes: list[Change]) -> Param:
    """A Split after every blob that several layers take."""
    taken = Counter(blob for layer in param.layers for blob in layer.inputs)
    if max(taken.values(), default=0) < 2:
        return param
    names = _Names(param)
    layers: list[Layer] = []
    copies: dict[str, list[str]] = {}
    for layer in param.layers:
        inputs = tuple(copies[blob].pop(0) if blob in copies else blob for blob in layer.inputs)
        layers.append(replace(layer, inputs=inputs))
        for blob in layer.outputs:
            if taken[blob] > 1:
                copies[blob] = [names.new(blob) for _ in range(taken[blob])]
                split = Layer("Split", names.new("split"), (blob,), tuple(copies[blob]), {})
                layers.append(split)
                why = "ncnn frees a blob after the first layer that takes it"
                changes.append(Change(split.name, "Split", f"{taken[blob]} layers take {blob}; it is split", why))
    return Param(tuple(layers))


class _Names:
    """Names that no layer and no blob has yet."""

    def __init__(self, param: Param) -> None:
        self._taken = set(param.blobs()) | {layer.name for layer in param.layers}

    def new(self, stem: str) -> str:
        number = 0
        while f"{stem}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{stem}_{number}")
        return f"{stem}_{number}"


# Layers ---------------------------------------------------------------------------------------------------------------


@dataclass
class _Place:
    """A layer among the others."""

    layer: Layer
    ranks: tuple[int | None, ...]
    """How many axes its inputs have."""
    names: _Names
    changes: list[Change]

    def note(self, what: str, why: str, *, done: bool = True) -> None:
        self.changes.append(Change(self.layer.name, self.layer.type, what, why, done))

    def with_params(self, params: Mapping[int, Value]) -> Layer:
        return replace(self.layer, params=dict(params))


def _layers(param: Param, changes: list[Change]) -> Param:
    names = _Names(param)
    done: list[Layer] = []
    for i, layer in enumerate(param.layers):
        rule = _RULES.get(layer.type)
        if rule is None:
            done.append(layer)
            continue
        # How many axes a blob has depends on the layers before it as they are by now.
        known = ranks(Param((*done, *param.layers[i:]))) if layer.type in _NEED_RANKS else {}
        rank = tuple(known.get(blob) for blob in layer.inputs)
        done += rule(_Place(layer, rank, names, changes))
    return Param(tuple(done))


_REDUCTION_DIMS = {2: (2,), -1: (0, 1), -2: (0,)}
"""The axes of a blob (c, h, w) that were reduced, by what key 1 said."""


def _reduction(place: _Place) -> list[Layer]:
    layer, params = place.layer, dict(place.layer.params)
    axes, first = layer.array(3), layer.integer(1, 1)
    if layer.integer(5) or (not axes and 1 not in params):
        return [layer]
    if not axes and first == 1:
        why = "before 2020 it meant: all but the channels; since then, and in the models that it came from: all"
        place.note("1=1 without axes is left: all axes are reduced", why, done=False)
        return [layer]
    if axes and 1 in params:
        # The batch, axis 0, has one entry: to reduce it changes nothing.
        new = tuple(int(axis) - 1 if axis > 0 else int(axis) for axis in axes if axis != 0)
        what = f"axes {_list(axes)} counted with the batch became {_list(new)}, with the mark 5=1"
        place.note(what, "axes without the mark are refused as too old")
        params |= {1: 0, 3: new, 5: 1}
    elif axes or first == 0:
        place.note("1=1: all axes are reduced", "before 2020 this was what no axes, or axes without a 1=, meant")
        params.pop(3, None)
        params[1] = 1
    else:
        if first not in _REDUCTION_DIMS or place.ranks[0] != 3:
            raise UnsupportedError(
                f"layer {layer.name} (Reduction) names by 1={first} what it keeps, and that cannot be told for its "
                "input; convert the model again"
            )
        new = _REDUCTION_DIMS[first]
        what = f"1={first}, which named what stays, became the axes {_list(new)}"
        place.note(what, "today key 1 is a flag, and any value but 0 reduces all")
        params |= {1: 0, 3: new, 5: 1}
    return [place.with_params(params)]


def _softmax(place: _Place) -> list[Layer]:
    layer, params = place.layer, dict(place.layer.params)
    if layer.integer(0) == 0 or layer.integer(1):
        return [layer]
    params[1] = 1
    axis, rank = layer.integer(0), place.ranks[0]
    place.note(f"the mark 1=1 beside the axis {axis}", "an axis without the mark is refused as too old")
    if rank not in {1, 2} and axis in {1, 2}:
        place.note(
            f"the axis is {axis}, as the model had it",
            f"before 2018 ncnn took {3 - axis} for it on three axes; if a network relied on it, write 0={3 - axis}",
            done=False,
        )
    return [place.with_params(params)]


def _reshape(place: _Place) -> list[Layer]:
    layer, params = place.layer, dict(place.layer.params)
    if not layer.integer(3):
        if 3 in params:
            del params[3]
            return [place.with_params(params)]
        return [layer]
    del params[3]
    rank = place.ranks[0]
    target = len([key for key in (0, 1, 2) if layer.integer(key, -233) != -233])
    if rank is None or (rank != target and target > 1 and 0 in [layer.integer(key, -233) for key in (0, 1, 2)]):
        raise UnsupportedError(
            f"layer {layer.name} (Reshape) goes through the order (h, w, c) by 3=1, and the shape of its input cannot "
            "be told; convert the model again"
        )
    layers = []
    source, result = layer.inputs[0], layer.outputs[0]
    if rank > 1:
        blob = place.names.new(source)
        order = 1 if rank == 2 else 3
        layers.append(Layer("Permute", place.names.new("permute"), (source,), (blob,), {0: order}))
        source = blob
    if target == 1:
        layers.append(Layer("Reshape", layer.name, (source,), (result,), params))
    else:
        # (h, w, c) lies in memory as ncnn's w = c, h = w, c = h
        sides = [layer.integer(key) for key in range(target)]
        turned = {0: sides[-1], 1: sides[0]} if target == 2 else {0: sides[2], 1: sides[0], 2: sides[1]}
        blob = place.names.new(result)
        layers.append(Layer("Reshape", layer.name, (source,), (blob,), turned))
        back = 1 if target == 2 else 4
        layers.append(Layer("Permute", place.names.new("permute"), (blob,), (result,), {0: back}))
    place.note("3=1 became Permute layers around it", "today key 3 is not read, and the values end up in other places")
    return layers


_EXPAND_AXES: dict[int, dict[tuple[bool, ...], tuple[int, ...]]] = {
    1: {
        (True, False, False): (1,),
        (False, True, False): (0,),
        (True, True, False): (1, 2),
        (True, False, True): (0, 2),
        (False, True, True): (0, 1),
    },
    2: {(True, False, False): (2,), (False, True, False): (1,), (False, False, True): (0,)},
}
"""Axes of one that are put in, by the number of axes that are there and the old flags for w, h and c."""


def _expand(place: _Place) -> list[Layer]:
    layer = place.layer
    if 3 in layer.params or not layer.params:
        return [layer]
    flags = tuple(bool(layer.integer(key)) for key in (0, 1, 2))
    axes = _EXPAND_AXES.get(place.ranks[0] or 0, {})
    if place.ranks[0] == 3 or not any(flags):
        new: tuple[int, ...] = ()
    elif flags in axes:
        new = axes[flags]
    else:
        raise UnsupportedError(
            f"layer {layer.name} (ExpandDims) has flags for w, h and c, and the shape of its input cannot be told; "
            "convert the model again"
        )
    place.note(f"the flags for w, h, c became the axes {_list(new)}", "today only axes are read, and nothing happens")
    return [place.with_params({3: new} if new else {})]


def _squeeze(place: _Place) -> list[Layer]:
    if place.layer.params:
        return [place.layer]
    place.note("flags for w, h and c", "in 2017 no parameters meant all axes of one; today they mean none")
    return [place.with_params({0: 1, 1: 1, 2: 1})]


def _crop(place: _Place) -> list[Layer]:
    layer, params = place.layer, dict(place.layer.params)
    for size, end in ((3, 6), (4, 7), (5, 8)):
        if layer.integer(size) == -234:
            params[size], params[end] = -233, layer.integer(end) + 1
            place.note(f"{size}=-234 became {size}=-233 {end}={params[end]}", "-234 is not known any more")
    if len(layer.inputs) == 2 and not any(key in params for key in (2, 5, 8, 9)):
        place.note(
            "it crops to the size of another blob",
            "old ncnn kept all channels, today it takes as many as the other blob has",
            done=False,
        )
    return [place.with_params(params)]


def _convolution(place: _Place) -> list[Layer]:
    layer = place.layer
    kernel = layer.integer(1)
    if place.ranks != (1,) or (kernel, layer.integer(11, kernel)) != (1, 1) or layer.integer(8) > 100:
        return [layer]
    keys = {0: 0, 5: 1, 6: 2, 8: 8, 9: 9, 10: 10}
    params = {keys[key]: value for key, value in layer.params.items() if key in keys}
    place.note("became InnerProduct", "its input has one axis; ncnn announces to drop convolutions of such blobs")
    return [replace(layer, type="InnerProduct", params=params)]


def _interp(place: _Place) -> list[Layer]:
    layer = place.layer
    scales = [layer.number(key, 1.0) for key in (1, 2)]
    uneven = any(scale >= 1 and not float(scale).is_integer() for scale in scales)
    if layer.integer(0) > 1 and uneven and not (layer.integer(3) and layer.integer(4)) and not layer.integer(6):
        place.note(
            f"it scales by {scales[0]:g} and {scales[1]:g}",
            "today the scale itself steps through the input, before 2022 the quotient of the sizes did, as rounded",
            done=False,
        )
    return [layer]


def _pooling(place: _Place) -> list[Layer]:
    layer = place.layer
    if layer.integer(0) == 1 and layer.integer(5) == 2 and not layer.integer(4) and not layer.integer(6):
        place.note(
            "an average with padding SAME",
            "before 2020 ncnn counted the padding, today it does not, as TensorFlow; 6=1 counts it",
            done=False,
        )
    return [layer]


def _recurrent(place: _Place) -> list[Layer]:
    layer = place.layer
    if len(layer.inputs) == 2 and len(layer.outputs) == 1:
        raise UnsupportedError(
            f"layer {layer.name} ({layer.type}) takes a second input that marks where sequences go on, and its weights "
            "stand in another order; convert the model again"
        )
    return [layer]


_RULES: dict[str, Callable[[_Place], list[Layer]]] = {
    "Convolution": _convolution,
    "Crop": _crop,
    "ExpandDims": _expand,
    "Interp": _interp,
    "LSTM": _recurrent,
    "Pooling": _pooling,
    "RNN": _recurrent,
    "Reduction": _reduction,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
}
_NEED_RANKS = frozenset(_RULES) - {"Crop", "Interp", "LSTM", "Pooling", "RNN", "Squeeze"}


def _list(values: Sequence[int | float]) -> str:
    return "(" + ", ".join(str(int(value)) for value in values) + ")"


# Frozen sizes ---------------------------------------------------------------------------------------------------------


def _dynamic(param: Param, size: tuple[int, int] | None, changes: list[Change]) -> Param:
    pictures = [blob for blob in param.inputs() if _rank_of_input(param, blob) == 3]
    if not pictures:
        return param
    channels = _channels(param, pictures[0])
    frozen = [layer for layer in param.layers if _is_frozen(layer)]
    size = size or _stated_size(param, pictures)
    if not frozen and size is None and any(_holds(param, pictures, channels, sizes) for sizes in _TESTS):
        return param  # sizes follow the input already
    export = _export_size(param, pictures, channels, size)
    names = _Names(param)
    shapes = _shapes(param, pictures, channels, export)
    layers: list[Layer] = []
    for layer in param.layers:
        source = shapes.get(layer.inputs[0]) if layer.inputs else None
        if layer.type == "Interp" and _is_frozen(layer) and source is not None:
            layers += _free_interp(layer, source, layers, _Around(param, shapes, names, changes))
        else:
            layers.append(layer)
    param = Param(tuple(layers))
    param = _free_pooling(param, pictures, channels, export, changes)
    param = _free_crops(param, pictures, channels, export, changes)
    param = _free_reshapes(param, pictures, channels, export, changes)
    param = _free_hints(param, changes)
    twice = (2 * export[0], 2 * export[1])
    try:
        infer(param, dict.fromkeys(pictures, (channels, *twice)))
    except ShapeError as error:
        why = f"at {twice[0]} x {twice[1]}: {error}"
        changes.append(Change(error.layer.name, error.layer.type, "its sizes are still frozen", why, done=False))
    return param


_TESTS = (((256, 384), (320, 192)), ((48, 320), (48, 200)), ((32, 320), (32, 200)))
"""Sizes of pictures, or of lines of text, at which a network with free sizes must hold together."""


def _is_frozen(layer: Layer) -> bool:
    return layer.type == "Interp" and not layer.integer(5) and 9 not in layer.params and layer.integer(3) > 0


def _rank_of_input(param: Param, blob: str) -> int:
    for layer in param.layers:
        if layer.type == "Input" and blob in layer.outputs and layer.integer(0):
            return 3 if layer.integer(2) else 2 if layer.integer(1) else 1
    return 3


def _channels(param: Param, blob: str) -> int:
    """Channels of an input, as the first convolution after it wants them."""
    for layer in param.layers:
        if blob in layer.inputs and layer.type == "Convolution":
            kernel = layer.integer(1) * layer.integer(11, layer.integer(1))
            return max(1, layer.integer(6) // max(1, kernel * layer.integer(0)))
    return 3


def _shapes(param: Param, pictures: Sequence[str], channels: int, size: tuple[int, int]) -> dict[str, Shape | None]:
    return infer(param, dict.fromkeys(pictures, (channels, *size)), strict=False)


def _holds(param: Param, pictures: Sequence[str], channels: int, sizes: Sequence[tuple[int, int]]) -> bool:
    try:
        for size in sizes:
            infer(param, dict.fromkeys(pictures, (channels, *size)))
    except ShapeError:
        return False
    return True


def _stated_size(param: Param, pictures: Sequence[str]) -> tuple[int, int] | None:
    """Height and width of the input that the file itself states."""
    for layer in param.layers:
        if layer.type == "Input" and layer.outputs[0] in pictures:
            hint = layer.array(30)
            if layer.integer(0) and layer.integer(1):
                return layer.integer(1), layer.integer(0)
            if len(hint) >= 3 and hint[0] == 3:
                return int(hint[2]), int(hint[1])
    return None


def _export_size(param: Param, pictures: Sequence[str], channels: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the input at which all frozen sizes fit each other."""
    if size is not None:
        try:
            infer(param, dict.fromkeys(pictures, (channels, *size)))
        except ShapeError as error:
            raise ModelFileError(
                f"the network does not fit an input of {size[0]} x {size[1]}: {error}; give the size of the export"
            ) from None
        return size
    found = _search(param, pictures, channels)
    if found is None:
        raise ModelFileError(
            "the size of the picture that the network was exported with cannot be told from its frozen sizes; "
            "give it with --shape 1,C,H,W"
        )
    return found


def _search(param: Param, pictures: Sequence[str], channels: int) -> tuple[int, int] | None:
    """The one export size at which the network holds together, if there is exactly one."""
    frozen = [layer for layer in param.layers if _is_frozen(layer)]

    def candidates(key: int) -> list[int]:
        powers = {layer.integer(key) * 2**power for layer in frozen for power in range(8)}
        return sorted(side for side in powers | {32 * n for n in range(1, 65)} if 16 <= side <= 4096)

    def fits(height: int, width: int, axis: int) -> bool:
        try:
            infer(param, dict.fromkeys(pictures, (channels, height, width)))
        except ShapeError as error:
            return error.axis is not None and error.axis != axis
        return True

    # Most networks were exported with a square, and each side can be looked for on its own.
    squares = [side for side in candidates(3) if _holds(param, pictures, channels, [(side, side)])]
    if len(squares) == 1:
        return squares[0], squares[0]
    if squares:
        return None
    heights = [side for side in candidates(3) if fits(side, side, -2)]
    widths = [side for side in candidates(4) if fits(side, side, -1)]
    pairs = [pair for pair in product(heights[:40], widths[:40]) if _holds(param, pictures, channels, [pair])]
    return pairs[0] if len(pairs) == 1 else None


@dataclass
class _Around:
    param: Param
    shapes: Mapping[str, Shape | None]
    names: _Names
    changes: list[Change]


def _free_interp(layer: Layer, source: Shape, before: list[Layer], around: _Around) -> list[Layer]:
    """An Interp that scales instead of giving a size; it may put a Split among the layers before it."""
    wanted = layer.integer(3), layer.integer(4)
    sides = (1, source[-1]) if len(source) == 2 else source[-2:] if len(source) > 2 else (1, 1)
    params = {key: value for key, value in layer.params.items() if key not in {3, 4}}
    old = f"the size {wanted[0]} x {wanted[1]}"
    why = "the export froze it; at another input it would not fit"
    if tuple(sides) != (1, 1):
        scales = [_scale(have, want) for have, want in zip(sides, wanted, strict=True)]
        if None not in scales:
            new = replace(layer, params=params | {1: float(scales[0] or 0), 2: float(scales[1] or 0)})
            what = f"{old} became the scales {scales[0]:g} and {scales[1]:g}"
            around.changes.append(Change(layer.name, "Interp", what, why))
            return [new]
    partner = _partner(layer, wanted, before, around)
    if partner is None:
        what = f"{old} from {sides[0]} x {sides[1]} stays"
        around.changes.append(
            Change(layer.name, "Interp", what, "it is no plain multiple, and no other blob has it", done=False)
        )
        return [layer]
    copy = _copy(partner, before, around.names)
    around.changes.append(Change(layer.name, "Interp", f"{old} became the size of {partner}", why))
    return [replace(layer, inputs=(*layer.inputs, copy), params=params | {5: 1})]


def _scale(have: int, want: int) -> float | None:
    """want / have where it is a whole number or one over a whole number, and ncnn's float32 gives `want` back."""
    ratio = want / have
    if not (ratio.is_integer() or (have / want).is_integer()):
        return None
    single = np.float32(ratio)
    return float(single) if int(np.float32(have) * single) == want else None


def _partner(layer: Layer, wanted: tuple[int, int], before: Sequence[Layer], around: _Around) -> str | None:
    """A blob from before the layer that the result meets, and that has the wanted size."""
    made = {blob for earlier in before for blob in earlier.outputs}
    reach = set(layer.outputs)
    for later in around.param.layers:
        if not reach & set(later.inputs):
            continue
        if later.type in {"BinaryOp", "Concat", "Eltwise"}:
            for blob in later.inputs:
                shape = around.shapes.get(blob)
                if blob not in reach and blob in made and shape is not None and shape[-2:] == wanted:
                    return blob
        shape = around.shapes.get(later.outputs[0]) if later.outputs else None
        if shape is not None and len(shape) == 3 and shape[-2:] == wanted:
            reach |= set(later.outputs)
    return None


def _copy(blob: str, before: list[Layer], names: _Names) -> str:
    """A second blob equal to `blob`, by a Split right after the layer that makes it."""
    copy, kept = names.new(blob), names.new(blob)
    for i, layer in enumerate(before):
        if blob in layer.outputs:
            if layer.type == "Split":
                before[i] = replace(layer, outputs=(*layer.outputs, copy))
                return copy
            # The layer's own output gets a new name, so that whoever takes the blob goes on to do so.
            before[i] = replace(layer, outputs=tuple(kept if out == blob else out for out in layer.outputs))
            before.insert(i + 1, Layer("Split", names.new("split"), (kept,), (blob, copy), {}))
            return copy
    raise KeyError(blob)


def _each(
    param: Param, pictures: Sequence[str], channels: int, sizes: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, Layer, list[Shape | None]]]:
    """Layers with the shape of their first input at several sizes of the picture."""
    found = [_shapes(param, pictures, channels, size) for size in sizes]
    for i, layer in enumerate(param.layers):
        yield i, layer, [shapes.get(layer.inputs[0]) if layer.inputs else None for shapes in found]


def _free_pooling(
    param: Param, pictures: Sequence[str], channels: int, export: tuple[int, int], changes: list[Change]
) -> Param:
    layers = list(param.layers)
    for i, layer, (shape,) in _each(param, pictures, channels, [export]):
        if layer.type != "Pooling" or layer.integer(4) or layer.integer(7) or shape is None or len(shape) != 3:
            continue
        kernel = layer.integer(1)
        pads = [layer.integer(key) for key in (3, 13, 14, 15)]
        if (layer.integer(11, kernel), kernel) == shape[1:] and max(shape[1:]) > 3 and not any(pads):
            layers[i] = replace(layer, params={0: layer.integer(0), 7: 1, 8: 1})
            what = f"a kernel as large as its input, {shape[1]} x {shape[2]}, became adaptive to 1 x 1"
            changes.append(Change(layer.name, "Pooling", what, "the export froze it"))
    return Param(tuple(layers))


def _free_crops(
    param: Param, pictures: Sequence[str], channels: int, export: tuple[int, int], changes: list[Change]
) -> Param:
    layers = list(param.layers)
    for i, layer, (shape,) in _each(param, pictures, channels, [export]):
        if layer.type != "Crop" or shape is None or len(shape) != 3 or len(layer.inputs) > 1:
            continue
        params = dict(layer.params)
        ends = layer.array(10)
        if ends:
            axes = [int(axis) % 3 for axis in layer.array(11)] or [0, 1, 2]
            params[10] = tuple(
                -233 if axis > 0 and end == shape[axis] else end for axis, end in zip(axes, ends, strict=False)
            )
        else:
            for key, side in ((0, shape[2]), (1, shape[1])):
                if layer.integer(key + 3) > 0 and layer.integer(key + 3) == side - layer.integer(key):
                    params[key + 3] = -233
        if params != layer.params:
            layers[i] = replace(layer, params=params)
            changes.append(Change(layer.name, "Crop", "sizes became -233, all that is left", "the export froze them"))
    return Param(tuple(layers))


def _free_reshapes(
    param: Param, pictures: Sequence[str], channels: int, export: tuple[int, int], changes: list[Change]
) -> Param:
    """Reshape layers whose sides follow the input, one after the other: each needs the shapes after those before it."""
    height, width = export
    for index in range(len(param.layers)):
        layer = param.layers[index]
        if layer.type != "Reshape" or not layer.inputs or 6 in layer.params:
            continue
        sizes = [export, (2 * height, width), (height, 2 * width)]
        found = [_shapes(param, pictures, channels, size).get(layer.inputs[0]) for size in sizes]
        if any(shape is None for shape in found):
            continue
        base, tall, wide = (shape or () for shape in found)
        keys = [key for key in (0, 1, 2) if layer.integer(key, -233) != -233]
        sides = {key: layer.integer(key) for key in keys}
        if base == tall == wide or not any(side > 0 for side in sides.values()):
            continue
        new = _free_sides(sides, (base, tall, wide))
        if new is None:
            what = f"its sides {_list(list(sides.values()))} are left"
            changes.append(Change(layer.name, "Reshape", what, "which of them follow the input cannot be told", False))
            continue
        if new != sides:
            layers = list(param.layers)
            layers[index] = replace(layer, params=dict(layer.params) | new)
            param = Param(tuple(layers))
            what = f"its sides (w, h, c) {_list(list(sides.values()))} became {_list(list(new.values()))}"
            changes.append(Change(layer.name, "Reshape", what, "the export froze them"))
    return param


def _free_sides(sides: Mapping[int, int], shapes: tuple[Shape, Shape, Shape]) -> dict[int, int] | None:
    """New sides by key (0: w, 1: h, 2: c): constant ones stay, one is computed, others are taken from the input."""
    base, tall, wide = shapes
    own = dict(zip(range(len(base)), reversed(base), strict=True)) if len(base) < 4 else {}
    moving = {
        key for key, side in own.items() if side != list(reversed(tall))[key] or side != list(reversed(wide))[key]
    }
    constant = {side for key, side in own.items() if key not in moving}
    if -1 in sides.values():
        # The side to compute is there; what else moves must be copied.
        rest = {key: (0 if key in moving and own[key] == side else side) for key, side in sides.items()}
        return rest
    new = dict(sides)
    free = [key for key, side in sides.items() if side > 0 and side not in constant]
    if len(free) > 1:
        copied = [key for key in free if key in moving and own[key] == sides[key]]
        for key in copied[: len(free) - 1]:
            new[key] = 0
            free.remove(key)
    if len(free) != 1:
        return None
    new[free[0]] = -1
    return new


def _free_hints(param: Param, changes: list[Change]) -> Param:
    """Without the sizes that a file states beside its layers."""
    layers = []
    for layer in param.layers:
        drop = {30} | ({0, 1, 2, 11} if layer.type == "Input" else set())
        params = {key: value for key, value in layer.params.items() if key not in drop}
        if layer.type == "Input" and len(params) != len(layer.params):
            changes.append(Change(layer.name, "Input", "its size is dropped", "any size goes in"))
        layers.append(replace(layer, params=params))
    return Param(tuple(layers))
