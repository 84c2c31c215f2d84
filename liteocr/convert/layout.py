"""Arrays of a model and of ncnn beside each other: how far apart they are, and how one lies in the other's axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Difference", "Float", "arrange", "bare", "difference", "lay", "sample", "span"]

Array = NDArray[Any]
Float = NDArray[np.float32]

_SAMPLES = 509


@dataclass(frozen=True)
class Difference:
    """How far two arrays of the same shape are apart.

    Attributes:
        cosine: of the angle between them as vectors; 1 where both are zero.
        max_abs: the largest difference of an element; infinite where one is no number.
        relative: `max_abs` to the range of the reference, the distance between its smallest and largest values, zero
            counted among them.
        where: index of that element.
    """

    cosine: float
    max_abs: float
    relative: float
    where: tuple[int, ...] = ()


def span(reference: Array) -> float:
    """The range of an array with zero counted among its values; 1 for an array of zeros."""
    if reference.size == 0:
        return 1.0
    extent = float(max(reference.max(), 0)) - float(min(reference.min(), 0))
    return extent if np.isfinite(extent) and extent > 0 else 1.0


def difference(found: Array, reference: Array, least: float = 0.0) -> Difference:
    """Compare two arrays of the same shape; `least` is a range that is assumed where the reference's is smaller.

    >>> difference(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    Difference(cosine=0.976..., max_abs=2.0, relative=0.5, where=(1,))
    """
    if found.shape != reference.shape:
        raise ValueError(f"arrays of {found.shape} and {reference.shape}")
    if found.size == 0:
        return Difference(1.0, 0.0, 0.0)
    a, b = found.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    with np.errstate(invalid="ignore"):
        gap = np.abs(a - b)
    gap[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    where = tuple(int(i) for i in np.unravel_index(worst, found.shape))
    largest = float(gap[worst])
    if not np.isfinite(largest):
        return Difference(0.0, np.inf, np.inf, where)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / norms if norms > 0 else float(not a.any() and not b.any())
    return Difference(min(1.0, cosine), largest, largest / max(span(reference), least), where)


# Layouts --------------------------------------------------------------------------------------------------------------


def arrange(value: Array, shape: Sequence[int]) -> Iterator[tuple[tuple[int, ...] | None, Array]]:
    """The ways in which a tensor may lie in a blob: in its own order first, then with its axes permuted.

    Axes of length 1, the batch among them, do not count. A permutation counts if its axes, neighbours merged, are those
    of the blob: (2, T, H) may lie in a blob (T, 2 H), as axes (1, 0, 2).

    Args:
        value: the tensor.
        shape: of the blob.

    Yields:
        The permutation of the axes longer than 1 (None: as it is), and the array in the blob's shape. Nothing where the
        sizes differ.
    """
    if value.size != int(np.prod(shape)):
        return
    yield None, value.reshape(shape)
    long = value.reshape([n for n in value.shape if n > 1])
    target = [n for n in shape if n > 1]
    if not 2 <= long.ndim <= 4:
        return
    for axes in itertools.permutations(range(long.ndim)):
        if axes != tuple(range(long.ndim)) and _merges([long.shape[a] for a in axes], target):
            yield axes, np.ascontiguousarray(long.transpose(axes)).reshape(shape)


def _merges(sizes: Sequence[int], target: Sequence[int]) -> bool:
    """Whether products of neighbours in `sizes` are `target`."""
    i = 0
    for wanted in target:
        product = 1
        while product < wanted and i < len(sizes):
            product *= sizes[i]
            i += 1
        if product != wanted:
            return False
    return i == len(sizes)


def lay(value: Array, axes: tuple[int, ...] | None, shape: Sequence[int]) -> Float:
    """A tensor as `arrange` laid it out."""
    if axes is not None:
        value = value.reshape([n for n in value.shape if n > 1]).transpose(axes)
    return np.ascontiguousarray(value, np.float32).reshape(shape)


def bare(value: Array, dims: int | None = None) -> Float:
    """A tensor as ncnn takes it: without its batch axis, and with at most `dims` axes where ones can be left out."""
    if value.ndim > 1 and value.shape[0] == 1:
        value = value[0]
    while value.ndim > (dims or 4) and 1 in value.shape:
        value = value.reshape(np.delete(value.shape, value.shape.index(1)))
    return np.ascontiguousarray(value.reshape(value.shape or (1,)), np.float32)


def sample(value: Array) -> Float:
    """Some elements, the same places in every array of a size."""
    flat = value.reshape(-1)
    return np.asarray(flat[_places(flat.size)], np.float32)


def _places(size: int) -> NDArray[np.int64]:
    if size <= 2 * _SAMPLES:
        return np.arange(size)
    return np.random.default_rng(0).integers(0, size, _SAMPLES)
