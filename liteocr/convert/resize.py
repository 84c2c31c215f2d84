"""What ONNX's Resize computes along one axis, what ncnn's Interp computes, and where the two are the same.

Both are linear along each axis: row `y` of a matrix (out, in) says how much every input pixel adds to output pixel `y`.
Comparing the matrices over many sizes decides whether a combination of coordinate and rounding modes can be kept.
ncnn's Interp is: nearest = asymmetric coordinates rounded down; bilinear and bicubic = half_pixel coordinates, or
align_corners where its parameter 6 is set. A test holds these formulas against onnxruntime and ncnn themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mode", "difference", "matrix", "ncnn_mode", "output_size", "shift"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Mode:
    """The attributes of a Resize that decide what it computes."""

    mode: str
    """``nearest``, ``linear`` or ``cubic``."""
    coordinates: str = "half_pixel"
    """ONNX's coordinate_transformation_mode."""
    rounding: str = "round_prefer_floor"
    """ONNX's nearest_mode; of no meaning to the others."""
    cubic: float = -0.75
    """ONNX's cubic_coeff_a."""

    def __str__(self) -> str:
        return f"{self.mode}, {self.coordinates}" + (f", {self.rounding}" if self.mode == "nearest" else "")


def output_size(size: int, scale: float) -> int:
    """The output's size along an axis where a scale is given; ONNX and ncnn agree on it."""
    return int(np.floor(np.float32(size) * np.float32(scale)))


def _coordinates(size: int, out: int, scale: float, name: str) -> Matrix:
    """Where the output pixels lie on the input, in input pixels. ValueError for a mode that is not known here."""
    x = np.arange(out, dtype=np.float64)
    if name == "half_pixel" or (name == "pytorch_half_pixel" and out > 1):
        return (x + 0.5) / scale - 0.5
    if name == "half_pixel_symmetric":
        return size / 2 * (1 - out / (scale * size)) + (x + 0.5) / scale - 0.5
    if name == "asymmetric":
        return x / scale
    if name == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if name == "align_corners":
        return x * (size - 1) / (out - 1) if out > 1 else np.zeros(out)
    if name == "pytorch_half_pixel":
        return np.zeros(out)
    raise ValueError(f"coordinate_transformation_mode {name!r}")


def matrix(size: int, out: int, scale: float, how: Mode) -> Matrix:
    """What a Resize computes along one axis.

    Args:
        size: input pixels.
        out: output pixels.
        scale: output pixels for an input pixel, as the node says or, where it gives sizes, ``out / size``.
        how: the node's attributes.

    Returns:
        float64 (out, size); each row sums to 1.

    Raises:
        ValueError: a mode that is not known here.
    """
    at = _coordinates(size, out, scale, how.coordinates)
    found = np.zeros((out, size))
    rows = np.arange(out)
    if how.mode == "nearest":
        rounds: dict[str, Callable[[Matrix], Matrix]] = {
            "floor": np.floor,
            "ceil": np.ceil,
            "round_prefer_floor": lambda v: np.ceil(v - 0.5),
            "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        }
        if how.rounding not in rounds:
            raise ValueError(f"nearest_mode {how.rounding!r}")
        # The sizes are small integers: what float arithmetic puts a hair below a whole number is one.
        near = np.where(np.abs(at * 2 - np.round(at * 2)) < 1e-6, np.round(at * 2) / 2, at)
        found[rows, np.clip(rounds[how.rounding](near), 0, size - 1).astype(int)] = 1
    elif how.mode == "linear":
        at = np.clip(at, 0, size - 1)
        left = np.floor(at).astype(int)
        np.add.at(found, (rows, left), 1 - (at - left))
        np.add.at(found, (rows, np.minimum(left + 1, size - 1)), at - left)
    elif how.mode == "cubic":
        left = np.floor(at).astype(int)
        for k in range(-1, 3):
            np.add.at(found, (rows, np.clip(left + k, 0, size - 1)), _cubic(np.abs(left + k - at), how.cubic))
    else:
        raise ValueError(f"mode {how.mode!r}")
    return found


def _cubic(d: Matrix, a: float) -> Matrix:
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, far)


def ncnn_mode(how: Mode) -> Mode:
    """The Resize that ncnn's Interp computes in the place of this one."""
    if how.mode == "nearest":
        return Mode("nearest", "asymmetric", "floor")
    corners = how.coordinates == "align_corners"
    return Mode(how.mode, "align_corners" if corners else "half_pixel")


def difference(how: Mode, pairs: Iterable[tuple[int, int, float]]) -> tuple[int, int] | None:
    """Where a Resize and ncnn's Interp differ.

    Args:
        how: the Resize.
        pairs: sizes to look at: input pixels, output pixels, scale.

    Returns:
        Input and output pixels of the first pair where they do; None where they are the same on all.
    """
    for size, out, scale in pairs:
        if np.abs(matrix(size, out, scale, how) - matrix(size, out, scale, ncnn_mode(how))).max(initial=0) > 1e-6:
            return size, out
    return None


def shift(how: Mode, scale: float) -> int | None:
    """How far the output of a nearest Resize lies off that of ncnn's, at whole scales.

    Rounding other than down moves every border between two input pixels by the same number of output pixels.

    Returns:
        k where pixel `y` of this Resize is pixel ``y + k`` of ncnn's, clamped to the picture; None where there is none.
    """
    if how.mode != "nearest" or scale != round(scale):
        return None
    whole = int(scale)
    sizes = (1, 2, 3, 7, 16, 33)
    wanted = [matrix(size, size * whole, scale, how).argmax(1) for size in sizes]
    for k in sorted(range(-whole, whole + 1), key=abs):
        ours = [np.clip(np.arange(size * whole) + k, 0, size * whole - 1) // whole for size in sizes]
        if all(np.array_equal(a, b) for a, b in zip(ours, wanted, strict=True)):
            return k
    return None
