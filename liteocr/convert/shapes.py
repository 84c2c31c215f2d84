"""Shapes of all blobs of a network, from its .param alone.

A shape is (w,), (h, w), (c, h, w) or (c, d, h, w), as NumPy would say it. Where a layer is not known, or its size
depends on data or on an expression, the shape is None, and so are those that follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from .param import Layer, Param

__all__ = ["Shape", "ShapeError", "infer", "ranks"]

Shape = tuple[int, ...]
_KEEP = -233  # ncnn's number for "what is left"


class ShapeError(Exception):
    """A layer cannot take blobs of these shapes.

    Attributes:
        layer: the layer.
        axis: which axis does not fit, counted from the end (-1 is the width), where it is one.
    """

    def __init__(self, layer: Layer, what: str, axis: int | None = None) -> None:
        super().__init__(f"layer {layer.name} ({layer.type}): {what}")
        self.layer = layer
        self.axis = axis


def infer(param: Param, inputs: Mapping[str, Shape], *, strict: bool = True) -> dict[str, Shape | None]:
    """The shapes of all blobs.

    Args:
        inputs: shapes of the inputs; what is not named is unknown.
        strict: raise where shapes do not fit each other; else what follows is unknown.

    Raises:
        ShapeError: the first layer that cannot take its inputs.
    """
    found: dict[str, Shape | None] = {}
    for layer in param.layers:
        if layer.type == "Input":
            for blob in layer.outputs:
                found[blob] = inputs.get(blob)
            continue
        shapes = [found.get(blob, inputs.get(blob)) for blob in layer.inputs]
        try:
            try:
                outputs = _outputs(layer, shapes)
            except (ArithmeticError, LookupError, ValueError) as error:
                raise ShapeError(layer, "its parameters contradict each other") from error
        except ShapeError:
            if strict:
                raise
            outputs = [None] * len(layer.outputs)
        found.update(zip(layer.outputs, outputs, strict=True))
    return found


def ranks(param: Param) -> dict[str, int | None]:
    """How many axes every blob has; an input counts as a picture of three unless its layer says otherwise."""
    stated: dict[str, Shape] = {}
    for layer in param.layers:
        if layer.type == "Input" and layer.integer(0):
            sides = tuple(side for side in (layer.integer(key) for key in (2, 11, 1, 0)) if side)
            stated.update((blob, sides) for blob in layer.outputs)
    best: dict[str, Shape | None] = {}
    # Sizes are made up: a page, and lines of text that some networks squeeze to one row. What gets furthest counts.
    for size in ((3, 512, 512), (3, 32, 512), (3, 48, 512)):
        found = infer(param, dict.fromkeys(param.inputs(), size) | stated, strict=False)
        if not best or list(found.values()).count(None) < list(best.values()).count(None):
            best = found
    return {blob: None if shape is None else len(shape) for blob, shape in best.items()}


def _outputs(layer: Layer, shapes: Sequence[Shape | None]) -> list[Shape | None]:
    if layer.type == "MemoryData":
        sides = [layer.integer(key) for key in (2, 11, 1, 0)]
        return [tuple(side for side in sides if side) or (1,)]
    if not shapes or any(shape is None for shape in shapes):
        return [None] * len(layer.outputs)
    known = [shape for shape in shapes if shape is not None]
    if any(isinstance(value, str) for value in layer.params.values()):  # an expression
        return [None] * len(layer.outputs)
    if layer.type in _MANY:
        return _MANY[layer.type](layer, known)
    if layer.type in _ONE:
        shape = _ONE[layer.type](layer, known)
        if shape is not None and min(shape) < 1:
            raise ShapeError(layer, f"an input {known[0]} leaves nothing, {shape}")
        return [shape] + [None] * (len(layer.outputs) - 1)
    if layer.type in _SAME:
        return [known[0]] * len(layer.outputs)
    return [None] * len(layer.outputs)


# Sliding windows ------------------------------------------------------------------------------------------------------


def _pads(layer: Layer) -> tuple[int, int, int, int]:
    """Left, right, top, bottom of a convolution."""
    left = layer.integer(4)
    top = layer.integer(14, left)
    return left, layer.integer(15, left), top, layer.integer(16, top)


def _window(layer: Layer) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Extent of the kernel, stride and padding of a convolution: along the height, along the width."""
    kernel_w, dilation_w, stride_w = layer.integer(1), layer.integer(2, 1), layer.integer(3, 1)
    kernel_h, dilation_h = layer.integer(11, kernel_w), layer.integer(12, dilation_w)
    left, right, top, bottom = _pads(layer)
    extents = dilation_h * (kernel_h - 1) + 1, dilation_w * (kernel_w - 1) + 1
    same = {left, right, top, bottom} in ({-233}, {-234})
    pads = (-1, -1) if same else (max(0, top) + max(0, bottom), max(0, left) + max(0, right))
    return (extents[0], layer.integer(13, stride_w), pads[0]), (extents[1], stride_w, pads[1])


def _slide(layer: Layer, size: int, extent: int, stride: int, pad: int) -> int:
    if stride < 1:
        raise ShapeError(layer, f"its stride is {stride}")
    if pad < 0:  # SAME
        return (size - 1) // stride + 1
    return (size + pad - extent) // stride + 1


def _convolution(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    if len(shapes) > 1:  # the weights come in as a blob
        return None
    shape, output = shapes[0], layer.integer(0)
    kernel = layer.integer(1) * layer.integer(11, layer.integer(1))
    groups = layer.integer(7, 1) if "DepthWise" in layer.type else 1
    channels = layer.integer(6) // max(1, kernel * output) * groups
    if len(shape) == 1 and kernel == 1:
        if shape[0] != channels:
            raise ShapeError(layer, f"it takes {channels} values, not {shape[0]}")
        return (output,)
    if len(shape) != 3:
        raise ShapeError(layer, f"it takes a blob of three axes, not {shape}")
    if shape[0] != channels:
        raise ShapeError(layer, f"it takes {channels} channels, not {shape[0]}")
    high, wide = _window(layer)
    return output, _slide(layer, shape[1], *high), _slide(layer, shape[2], *wide)


def _convolution1d(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    if len(shapes) > 1 or len(shapes[0]) != 2:
        return None
    return layer.integer(0), _slide(layer, shapes[0][1], *_window(layer)[1])


def _deconvolution(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    if len(shapes) > 1 or len(shapes[0]) != 3:
        return None
    (extent_h, stride_h, _), (extent_w, stride_w, _) = _window(layer)
    right = layer.integer(18)
    size = [
        (shapes[0][1] - 1) * stride_h + extent_h + layer.integer(19, right),
        (shapes[0][2] - 1) * stride_w + extent_w + right,
    ]
    pads = _pads(layer)
    fixed_w = layer.integer(20)
    fixed = [layer.integer(21, fixed_w), fixed_w]
    if max(pads) > 0:
        size = [size[0] - pads[2] - pads[3], size[1] - pads[0] - pads[1]]
    elif min(fixed) > 0:
        size = fixed
    return layer.integer(0), size[0], size[1]


def _pooling(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape = shapes[0]
    if len(shape) != 3:
        return None
    if layer.integer(4):
        return (shape[0],)
    if layer.integer(7):
        wide = layer.integer(8)
        high = layer.integer(18, wide)
        return shape[0], shape[1] if high == _KEEP else high, shape[2] if wide == _KEEP else wide
    kernel_w, stride_w, left = layer.integer(1), layer.integer(2, 1), layer.integer(3)
    kernel_h, stride_h, top = layer.integer(11, kernel_w), layer.integer(12, stride_w), layer.integer(13, left)
    pads = top + layer.integer(15, top), left + layer.integer(14, left)
    mode = layer.integer(5)
    size = []
    for side, kernel, stride, pad in zip(shape[1:], (kernel_h, kernel_w), (stride_h, stride_w), pads, strict=True):
        if stride < 1 or kernel < 1:
            raise ShapeError(layer, "its kernel or stride is not positive")
        if mode in {2, 3}:
            size.append((side - 1) // stride + 1)
        elif mode == 0:
            size.append(-(-(side + pad - kernel) // stride) + 1)
        else:
            size.append((side + pad - kernel) // stride + 1)
    return shape[0], size[0], size[1]


def _interp(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape = shapes[0]
    if layer.integer(5) and len(shapes) > 1:
        high, wide = (*shapes[1][-2:],) if len(shapes[1]) > 1 else (1, shapes[1][0])
    else:
        high, wide = layer.integer(3), layer.integer(4)
        sides = (1, 1) if len(shape) == 1 else (1, shape[-1]) if len(shape) == 2 else shape[-2:]
        if high == 0 or wide == 0:
            high, wide = int(sides[0] * layer.number(1, 1.0)), int(sides[1] * layer.number(2, 1.0))
    if len(shape) == 2:
        return shape[0], wide
    return shape[0], high, wide


# Shapes alone ---------------------------------------------------------------------------------------------------------


def _reshape(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape = shapes[0]
    total = math.prod(shape)
    present = [key for key in (2, 11, 1, 0) if layer.integer(key, _KEEP) != _KEEP]
    wanted = [layer.integer(key) for key in present]
    own = dict(zip({1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 11, 1, 0)}[len(shape)], shape, strict=True))
    size = [own.get(key, 1) if value == 0 else value for key, value in zip(present, wanted, strict=True)]
    if not size or size.count(-1) > 1:
        return None
    if -1 in size:
        rest = math.prod(side for side in size if side != -1)
        if rest < 1 or total % rest:
            raise ShapeError(layer, f"{shape} cannot become {tuple(size)}")
        size[size.index(-1)] = total // rest
    if math.prod(size) != total:
        raise ShapeError(layer, f"{shape} cannot become {tuple(size)}")
    return tuple(size)


_ORDERS: dict[int, tuple[tuple[int, ...], ...]] = {
    2: ((0, 1), (1, 0)),
    3: ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
}
"""Which axis of the input each axis of the output is, by Permute's order type."""


def _permute(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape, order = shapes[0], layer.integer(0)
    if len(shape) == 1:
        return shape
    orders = _ORDERS.get(len(shape), ())
    return tuple(shape[axis] for axis in orders[order]) if order < len(orders) else None


def _axes(layer: Layer, key: int, rank: int) -> set[int]:
    return {int(axis) + rank if axis < 0 else int(axis) for axis in layer.array(key)}


def _squeeze(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape = shapes[0]
    if layer.params.get(3):
        axes = _axes(layer, 3, len(shape))
    else:
        keys = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 11, 1, 0)}[len(shape)]
        axes = {axis for axis, key in enumerate(keys) if layer.integer(key)}
    return tuple(side for axis, side in enumerate(shape) if side != 1 or axis not in axes) or (1,)


def _expand(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    rank = len(shapes[0]) + len(layer.array(3))
    axes, sides = _axes(layer, 3, rank), iter(shapes[0])
    if rank > 4 or len(axes) + len(shapes[0]) != rank:
        return None
    return tuple(1 if axis in axes else next(sides) for axis in range(rank))


def _flatten(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    return (math.prod(shapes[0]),)


def _reduction(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape = shapes[0]
    axes = set(range(len(shape))) if layer.integer(1, 1) else _axes(layer, 3, len(shape))
    if layer.integer(4):
        return tuple(1 if axis in axes else side for axis, side in enumerate(shape))
    return tuple(side for axis, side in enumerate(shape) if axis not in axes) or (1,)


def _padding(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape = list(shapes[0])
    if len(shapes) > 1:
        return None
    shape[-1] += layer.integer(2) + layer.integer(3)
    if len(shape) > 1:
        shape[-2] += layer.integer(0) + layer.integer(1)
    if len(shape) > 2:
        shape[0 if len(shape) == 3 else 1] += layer.integer(7) + layer.integer(8)
    return tuple(shape)


def _crop(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape, rank = list(shapes[0]), len(shapes[0])
    starts, ends = layer.array(9), layer.array(10)
    if starts and ends:
        axes = [int(axis) for axis in layer.array(11)] or list(range(len(starts)))
        for axis, start, end in zip(axes, starts, ends, strict=True):
            side = shape[axis]
            begin = 0 if start == _KEEP else int(start) + (side if start < 0 else 0)
            stop = side if end == _KEEP else min(side, int(end) + (side if end <= 0 else 0))
            shape[axis] = stop - begin
        return tuple(shape)
    keys = {1: (0,), 2: (1, 0), 3: (2, 1, 0)}.get(rank)
    if keys is None or layer.integer(0) == _KEEP:
        return None
    if len(shapes) > 1:
        reference = shapes[1]
        return tuple(
            reference[axis - rank] if len(reference) >= rank - axis else side for axis, side in enumerate(shape)
        )
    for axis, key in enumerate(keys):
        left = shape[axis] - layer.integer(key) - layer.integer(key + 6)
        wanted = layer.integer(key + 3)
        shape[axis] = left if wanted == _KEEP else min(left, wanted)
    return tuple(shape)


# Arithmetic -----------------------------------------------------------------------------------------------------------


def _binary(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    if len(shapes) == 1:
        return shapes[0]
    a, b = sorted(shapes, key=len)
    if len(a) < len(b):
        # ncnn's own rule: what has fewer axes has the first ones, except that a row goes along the last if it must
        ones = (1,) * (len(b) - len(a))
        last = len(a) == 1 and a[0] != b[0]
        a = (*ones, *a) if last else (*a, *ones)
    for axis in range(-len(b), 0):
        if a[axis] != b[axis] and 1 not in (a[axis], b[axis]):
            raise ShapeError(layer, f"{shapes[0]} and {shapes[1]} do not go together", axis)
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _alike(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    for shape in shapes[1:]:
        if shape != shapes[0]:
            axes = [a for a in range(-min(map(len, (shape, shapes[0]))), 0) if shape[a] != shapes[0][a]]
            raise ShapeError(layer, f"{shapes[0]} and {shape} do not go together", axes[-1] if axes else None)
    return shapes[0]


def _concat(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    rank = len(shapes[0])
    along = layer.integer(0) % rank
    for shape in shapes[1:]:
        for axis in range(rank):
            if len(shape) != rank or (axis != along and shape[axis] != shapes[0][axis]):
                raise ShapeError(layer, f"{shapes[0]} and {shape} do not go together", axis - rank)
    total = sum(shape[along] for shape in shapes)
    return tuple(total if axis == along else side for axis, side in enumerate(shapes[0]))


def _inner_product(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    shape, output = shapes[0], layer.integer(0)
    values = layer.integer(2) // max(1, output)
    if len(shape) == 2 and shape[1] == values:
        return shape[0], output
    if math.prod(shape) != values:
        raise ShapeError(layer, f"it takes {values} values, not {shape}")
    return (output,)


def _gemm(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    def side(shape: Shape, transposed: int, first: bool) -> int:
        rows = shape[0] if len(shape) > 1 else 1
        return rows if bool(transposed) != first else shape[-1]

    blobs = list(shapes)
    for shape in blobs:
        if len(shape) == 3 and shape[1] != 1:
            raise ShapeError(layer, f"it takes rows, a blob of two axes, not {shape}")
    rows = layer.integer(7) if layer.integer(4) else side(blobs.pop(0), layer.integer(2), True)
    if layer.integer(5):
        columns = layer.integer(8)
    elif blobs:
        columns = side(blobs.pop(0), layer.integer(3), False)
    else:
        return None
    m, n = (columns, rows) if layer.integer(14) else (rows, columns)
    return (m, 1, n) if layer.integer(11) else (m, n)


def _matmul(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    if len(shapes) != 2 or min(map(len, shapes)) < 2:
        return None
    a, b = shapes
    columns = b[-2] if layer.integer(0) else b[-1]
    if a[-1] != (b[-1] if layer.integer(0) else b[-2]):
        raise ShapeError(layer, f"{a} and {b} do not go together")
    return (*max(a[:-2], b[:-2], key=math.prod), a[-2], columns)


def _recurrent(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    if len(shapes[0]) > 2 and max(shapes[0][:-2]) > 1:
        raise ShapeError(layer, f"it takes rows, a blob of two axes, not {shapes[0]}")
    return (1, *shapes[0])[-2], layer.integer(0) * (2 if layer.integer(2) == 2 else 1)


def _shuffle(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    if len(shapes[0]) != 3:
        return None
    c, h, w = shapes[0]
    factor = layer.integer(0, 1)
    if layer.type == "Reorg":
        return c * factor * factor, h // factor, w // factor
    return c // (factor * factor), h * factor, w * factor


def _embed(layer: Layer, shapes: Sequence[Shape]) -> Shape | None:
    return math.prod(shapes[0]), layer.integer(0)


def _slice(layer: Layer, shapes: Sequence[Shape]) -> list[Shape | None]:
    shape = shapes[0]
    axis = layer.integer(1) % len(shape)
    slices, indices = layer.array(0), layer.array(2)
    count, start, found = len(layer.outputs), 0, []
    for i in range(count):
        if indices:
            place = int(indices[i]) if i < count - 1 else shape[axis]
            size = place + (shape[axis] if place < 0 else 0) - start
        else:
            if i >= len(slices):
                return [None] * count
            size = (shape[axis] - start) // (count - i) if slices[i] == _KEEP else int(slices[i])
        if size < 1 or start + size > shape[axis]:
            raise ShapeError(layer, f"{shape} has not the parts that it cuts")
        found.append((*shape[:axis], size, *shape[axis + 1 :]))
        start += size
    return list(found)


_ONE: dict[str, Callable[[Layer, Sequence[Shape]], Shape | None]] = {
    "BinaryOp": _binary,
    "Concat": _concat,
    "Convolution": _convolution,
    "Convolution1D": _convolution1d,
    "ConvolutionDepthWise": _convolution,
    "ConvolutionDepthWise1D": _convolution1d,
    "Crop": _crop,
    "Deconvolution": _deconvolution,
    "DeconvolutionDepthWise": _deconvolution,
    "Eltwise": _alike,
    "Embed": _embed,
    "ExpandDims": _expand,
    "Flatten": _flatten,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "InnerProduct": _inner_product,
    "Interp": _interp,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "Padding": _padding,
    "Permute": _permute,
    "PixelShuffle": _shuffle,
    "Pooling": _pooling,
    "RNN": _recurrent,
    "Reduction": _reduction,
    "Reorg": _shuffle,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
}
_MANY: dict[str, Callable[[Layer, Sequence[Shape]], list[Shape | None]]] = {"Slice": _slice}
_SAME = frozenset(
    (
        "AbsVal",
        "BNLL",
        "BatchNorm",
        "Bias",
        "CELU",
        "Cast",
        "Clip",
        "CumulativeSum",
        "DeepCopy",
        "Dequantize",
        "Dropout",
        "ELU",
        "Erf",
        "Exp",
        "Flip",
        "GELU",
        "GroupNorm",
        "HardSigmoid",
        "HardSwish",
        "InstanceNorm",
        "LRN",
        "LayerNorm",
        "Log",
        "MVN",
        "Mish",
        "Noop",
        "Normalize",
        "PReLU",
        "Power",
        "Quantize",
        "RMSNorm",
        "ReLU",
        "Requantize",
        "SELU",
        "Scale",
        "Shrink",
        "ShuffleChannel",
        "Sigmoid",
        "Softmax",
        "Softplus",
        "Split",
        "Swish",
        "TanH",
        "Threshold",
        "UnaryOp",
    )
)
"""Layers whose outputs have the first input's shape."""
