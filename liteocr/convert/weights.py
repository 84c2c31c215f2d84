"""ncnn's .bin: the weights of all layers, one after the other, without names or sizes.

How many numbers belong to a layer follows from its parameters in the .param alone. Most large arrays begin with four
bytes that tell how they are stored: zero for float32, and tags for float16, bfloat16, int8 and unscaled float32; any
other value announces 256 float32 and one byte an element that points into them. Biases, scales and the like are bare
float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ModelFileError
from .param import Layer, Param

__all__ = ["Array", "Storage", "array_sizes", "check_bin", "read_bin", "write_bin"]

Storage = Literal["fp32", "fp16", "bf16", "int8", "raw", "table", "bare", "bytes"]
"""How an array is stored: with a tag (``raw``: the tag of unscaled float32), ``table``: 256 values and indexes,
``bare``: float32 without a tag, ``bytes``: packed weights of few bits without a tag."""

_TAGS: dict[int, tuple[Storage, Any]] = {
    0x01306B47: ("fp16", np.dtype("<f2")),
    0x01348B83: ("bf16", np.dtype("<u2")),
    0x000D4B38: ("int8", np.dtype("i1")),
    0x0002C056: ("raw", np.dtype("<f4")),
}
_TAG_OF = {storage: tag for tag, (storage, _) in _TAGS.items()} | {"fp32": 0}
_MAX_ELEMENTS = 2**31 - 1

_Sizes = list[tuple[int, bool]]
"""Elements of each array and whether it begins with a tag; None there: as many bytes."""


@dataclass(frozen=True)
class Array:
    """One array of the file.

    Attributes:
        values: float32, or int8 where it is stored so; uint8 for packed weights of few bits. (n,)
        storage: how it stands in the file.
    """

    values: NDArray[Any]
    storage: Storage


def array_sizes(layer: Layer) -> list[tuple[int, bool]]:
    """How many elements each array of a layer has, and whether a tag stands before it.

    Raises:
        ModelFileError: the parameters contradict each other.
    """
    sizes = _SIZES[layer.type](layer) if layer.type in _SIZES else []
    for size, _ in sizes:
        if not 0 < size <= _MAX_ELEMENTS:
            raise ModelFileError(
                f"layer {layer.name} ({layer.type}) cannot have {size} weights; its parameters are damaged or "
                "of another ncnn, convert the model again"
            )
    return sizes


def read_bin(param: Param, path: Path | str) -> dict[str, tuple[Array, ...]]:
    """Read the weights of every layer that has some.

    Returns:
        Arrays by layer name, in the order of the file.

    Raises:
        ModelFileError: the file is missing, shorter or longer than the .param wants, or the names of layers repeat.
    """
    return {layer.name: tuple(arrays) for layer, arrays in _walk(param, Path(path), load=True)}


def check_bin(param: Param, path: Path | str) -> dict[str, tuple[tuple[int, Storage], ...]]:
    """Check that a .bin belongs to a .param without reading its numbers.

    Returns:
        Number of elements and kind of storage of each array, by layer name.

    Raises:
        ModelFileError: as for :func:`read_bin`.
    """
    walk = _walk(param, Path(path), load=False)
    return {layer.name: tuple((len(a.values), a.storage) for a in arrays) for layer, arrays in walk}


def write_bin(param: Param, weights: Mapping[str, Sequence[Array]], path: Path | str) -> None:
    """Write the weights of every layer in the order of the .param.

    Raises:
        ModelFileError: they do not fit the .param.
        OSError: the file cannot be written.
    """
    with Path(path).open("wb") as file:
        for layer in param.layers:
            arrays = weights.get(layer.name, ())
            sizes = array_sizes(layer)
            if [len(a.values) for a in arrays] != [size for size, _ in sizes]:
                raise ModelFileError(
                    f"layer {layer.name} ({layer.type}) takes arrays of {[size for size, _ in sizes]} elements, not "
                    f"{[len(a.values) for a in arrays]}"
                )
            for array in arrays:
                file.write(_bytes(array))


def _bytes(array: Array) -> bytes:
    values, storage = array.values, array.storage
    if storage == "bytes":
        data = values.astype(np.uint8).tobytes()
        return data + bytes(-len(data) % 4)
    if storage == "bare":
        return values.astype("<f4").tobytes()
    if storage in {"table", "fp32"}:  # a table would be a second quantization: the values are kept as they are
        return bytes(4) + values.astype("<f4").tobytes()
    if storage == "bf16":
        bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
        data = ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype("<u2").tobytes()
    else:
        data = values.astype(_TAGS[_TAG_OF[storage]][1]).tobytes()
    return _TAG_OF[storage].to_bytes(4, "little") + data + bytes(-len(data) % 4)


def _walk(param: Param, path: Path, *, load: bool) -> Iterator[tuple[Layer, list[Array]]]:
    try:
        size = path.stat().st_size
        data: Any = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror}); correct the path") from None
    place, seen = 0, set()

    def take(count: int, layer: Layer) -> NDArray[np.uint8]:
        nonlocal place
        if place + count > size:
            raise ModelFileError(
                f"{path} ends in the weights of layer {layer.name} ({layer.type}): it has {size} bytes and at least "
                f"{place + count} are needed; it is truncated or does not belong to this .param"
            )
        place += count
        part: NDArray[np.uint8] = data[place - count : place]
        return part

    for layer in param.layers:
        sizes = array_sizes(layer)
        if not sizes:
            continue
        if layer.name in seen:
            raise ModelFileError(f"two layers with weights are called {layer.name}; rename one of them")
        seen.add(layer.name)
        arrays = []
        for count, tagged in sizes:
            try:
                arrays.append(_array(count, tagged, lambda n, layer=layer: take(n, layer), load))  # type: ignore[misc]
            except MemoryError:
                raise ModelFileError(f"layer {layer.name} has {count} weights, too many for the memory") from None
        yield layer, arrays
    if place != size:
        raise ModelFileError(
            f"{path} has {size} bytes and the .param accounts for {place}; the .bin does not belong to this .param"
        )


def _array(count: int, tagged: bool, take: Callable[[int], NDArray[np.uint8]], load: bool) -> Array:
    if not tagged:
        return Array(_floats(take(4 * count), "<f4", count, load), "bare")
    head = take(4)
    tag = int.from_bytes(head.tobytes(), "little")
    if tag in _TAGS:
        storage, dtype = _TAGS[tag]
        length = dtype.itemsize * count
        raw = take(length + -length % 4)[:length]
        if storage == "bf16":
            wide = raw.view(dtype).astype("<u4") << np.uint32(16) if load else raw.view(dtype)
            return Array(wide.view("<f4") if load else wide, storage)
        if storage == "int8":
            return Array(raw.view(np.int8).copy() if load else raw, storage)
        return Array(_floats(raw, dtype, count, load), storage)
    if int(head.sum()) == 0:
        return Array(_floats(take(4 * count), "<f4", count, load), "fp32")
    table = take(1024).copy().view("<f4")
    index = take(count + -count % 4)[:count]
    return Array(table[index] if load else index, "table")


def _floats(raw: NDArray[np.uint8], dtype: Any, count: int, load: bool) -> NDArray[Any]:
    """float32 of raw bytes; without `load` something of the right length that costs nothing."""
    if not load:
        return np.broadcast_to(np.float32(0), (count,))
    values: NDArray[Any] = raw.copy().view(dtype).astype(np.float32)
    return values


# How many weights -----------------------------------------------------------------------------------------------------


def _convolution(layer: Layer, *, groups: bool = False, dynamic: int | None = 19, int8: bool = False) -> _Sizes:
    if dynamic is not None and layer.integer(dynamic):
        return []
    output, term = layer.integer(0), layer.integer(8) if int8 else 0
    sizes = [(layer.integer(6), True)] + ([(output, False)] if layer.integer(5) else [])
    if groups:
        sizes += {1: [(layer.integer(7, 1), False), (1, False)], 2: [(1, False), (1, False)]}.get(term % 100, [])
    elif term:
        sizes += [(output, False), (1, False)]
    return sizes + ([(1, False)] if term > 100 else [])


def _inner_product(layer: Layer) -> _Sizes:
    output = layer.integer(0)
    sizes = [(layer.integer(2), True)] + ([(output, False)] if layer.integer(1) else [])
    return sizes + ([(output, False), (1, False)] if layer.integer(8) else [])


def _recurrent(layer: Layer, gates: int, biases: int) -> _Sizes:
    output, directions = layer.integer(0), 2 if layer.integer(2) == 2 else 1
    hidden = layer.integer(3, output) if layer.type == "LSTM" else output
    rows = hidden * gates
    width = layer.integer(1) // max(1, directions * rows)
    sizes = [(width * rows, True), (hidden * biases, True), (output * rows, True)]
    if hidden != output:
        sizes.append((hidden * output, True))
    sizes += [(rows, False)] * 2 if layer.integer(8) else []
    return [(size * directions, tagged) for size, tagged in sizes]


def _gemm(layer: Layer) -> _Sizes:
    m, n, k, form, quantized = (
        layer.integer(7),
        layer.integer(8),
        layer.integer(9),
        layer.integer(10),
        layer.integer(18),
    )
    if quantized > 1:
        raise ModelFileError(f"layer {layer.name}: Gemm in blocks of few bits is not read; use the network before")
    sizes = [(k * m, True)] if layer.integer(4) == 1 else []
    sizes += [(n * k, True)] if layer.integer(5) == 1 else []
    if layer.integer(6) == 1 and form != -1:
        sizes.append(({0: 1, 1: m, 2: m, 3: n * m, 4: n}.get(form, 0), True))
    if quantized:
        sizes += ([(m, False)] if layer.integer(4) == 1 else []) + ([(1, False)] if layer.integer(5) == 1 else [])
    return sizes


def _attention(layer: Layer) -> _Sizes:
    embed, quantized = layer.integer(0), layer.integer(18)
    if quantized > 1:
        raise ModelFileError(f"layer {layer.name}: attention in blocks of few bits is not read; use the network before")
    width = layer.integer(2) // max(1, embed)
    sizes: _Sizes = []
    for size, bias in (
        (width, embed),
        (layer.integer(3, embed), embed),
        (layer.integer(4, embed), embed),
        (width, width),
    ):
        sizes += [(embed * size, True), (bias, False)]
    return sizes + ([(embed, False)] * 3 + [(1, False)] if quantized else [])


def _memory(layer: Layer) -> _Sizes:
    sides = [layer.integer(key) for key in (0, 1, 11, 2)]
    size = 1
    for side in sides:
        size *= side or 1
    return [(size, layer.integer(21, 1) == 0)] if any(sides) else []


def _embed(layer: Layer) -> _Sizes:
    sizes = [(layer.integer(3), True)] + ([(layer.integer(0), False)] if layer.integer(2) else [])
    return sizes + ([(1, False)] if layer.integer(18) else [])


def _bare(*keys: int) -> Callable[[Layer], _Sizes]:
    return lambda layer: [(layer.integer(key), False) for key in keys]


def _affine(size_key: int, flag_key: int, count: int) -> Callable[[Layer], _Sizes]:
    return lambda layer: [(layer.integer(size_key), False)] * count if layer.integer(flag_key, 1) else []


def _scale(layer: Layer) -> _Sizes:
    size = layer.integer(0)
    return [] if size == -233 else [(size, False)] * (2 if layer.integer(1) else 1)


def _scales(first: tuple[int, ...], bias: int) -> Callable[[Layer], _Sizes]:
    """Quantize and its kin: scales that are there, and a bias that may be."""

    def sizes(layer: Layer) -> _Sizes:
        found = [(layer.integer(key, 1), False) for key in first]
        return found + ([(layer.integer(bias), False)] if bias >= 0 and layer.integer(bias) else [])

    return sizes


def _padding(layer: Layer) -> _Sizes:
    return [(layer.integer(6), False)] if layer.integer(6) else []


_SIZES: dict[str, Callable[[Layer], _Sizes]] = {
    "BatchNorm": _bare(0, 0, 0, 0),
    "Bias": _bare(0),
    "Convolution": lambda layer: _convolution(layer, int8=True),
    "Convolution1D": _convolution,
    "Convolution3D": lambda layer: _convolution(layer, dynamic=None),
    "ConvolutionDepthWise": lambda layer: _convolution(layer, groups=True, int8=True),
    "ConvolutionDepthWise1D": _convolution,
    "ConvolutionDepthWise3D": lambda layer: _convolution(layer, dynamic=None),
    "Deconvolution": lambda layer: _convolution(layer, dynamic=28),
    "Deconvolution1D": lambda layer: _convolution(layer, dynamic=28),
    "Deconvolution3D": lambda layer: _convolution(layer, dynamic=None),
    "DeconvolutionDepthWise": lambda layer: _convolution(layer, dynamic=28),
    "DeconvolutionDepthWise1D": lambda layer: _convolution(layer, dynamic=28),
    "DeconvolutionDepthWise3D": lambda layer: _convolution(layer, dynamic=None),
    "DeformableConv2D": lambda layer: _convolution(layer, dynamic=None),
    "Dequantize": _scales((0,), 1),
    "Embed": _embed,
    "Gemm": _gemm,
    "GroupNorm": _affine(1, 3, 2),
    "GRU": lambda layer: _recurrent(layer, 3, 4),
    "InnerProduct": _inner_product,
    "InstanceNorm": _affine(0, 2, 2),
    "LayerNorm": _affine(0, 2, 2),
    "LSTM": lambda layer: _recurrent(layer, 4, 4),
    "MemoryData": _memory,
    "MultiHeadAttention": _attention,
    "Normalize": _bare(3),
    "PReLU": _bare(0),
    "Padding": _padding,
    "Quantize": _scales((0,), -1),
    "RMSNorm": _affine(0, 2, 1),
    "RNN": lambda layer: _recurrent(layer, 1, 1),
    "Requantize": _scales((0, 1), 2),
    "Scale": _scale,
}
