"""Progressive scale expansion: from nested kernels to one label a text line.

Wang et al., "Shape Robust Text Detection with Progressive Scale Expansion Network", CVPR 2019, section 3.2 and
Algorithm 1.

The network gives n maps of the same lines, from the whole text region (kernels[0]) to its shrunk core (kernels[-1]).
Neighbouring lines often touch in the whole region and never in the core. So the cores are numbered, and each number
spreads outwards, one kernel after the other, and never beyond the kernel of its turn. Where two numbers want the same
pixel, the first to arrive has it.

The rule, to the last tie:

1. The seeds are the connected components of kernels[-1] (4 neighbours), numbered 1, 2, ... by their first pixel in
   raster order (row by row from the top, each row from the left).
2. One list holds the labelled pixels in the order in which they were labelled. It starts with the seeds' pixels in
   raster order, whatever their number.
3. For each kernel from kernels[-2] to kernels[0]: walk the list from its beginning. For each pixel look at its
   neighbours in the order up, left, right, down; a neighbour that is in the kernel and has no label gets the pixel's
   label and is appended to the list. (The list grows while it is walked: this is the paper's breadth-first search with
   the list as its FIFO queue; for each kernel all pixels labelled so far are queued anew, in the order of labelling.)

(The order of the four neighbours never shows: it only orders pixels of one label among themselves.)

A worked example with one row, two kernels and two seeds:

    pixel             0  1  2  3  4  5  6
    kernels[0]        #  #  #  #  #  #  .
    kernels[1]        #  .  .  .  .  #  .      seeds 1 and 2; the list is 0 5
    walk 0, 5         1  1  .  .  2  2  .      pixel 0 labels 1, pixel 5 labels 4; the list is 0 5 1 4
    walk 1, 4         1  1  1  2  2  2  .      they meet half way

With one pixel less between them, 0 and 4, both reach pixel 2 in the second step; pixel 0 was queued before pixel 4, so
pixel 1 is walked before pixel 3, and the pixel is 1's.

How it is fast without compiled code:

- A whole generation of the search is taken at once: the neighbours of all pixels of the frontier, as one array in the
  order in which the loop would look at them. Where a pixel occurs several times, its first occurrence wins, and the
  first occurrences in their order are the next frontier. That is the same search, not an approximation.
- Where all kernels lie inside kernels[0], no label leaves its connected component of kernels[0], and the last kernel
  fills a component to its rim. A component that holds one seed is therefore that seed's to the last pixel, and one
  without a seed stays empty. OpenCV labels both, and only lines that touch another line are searched.

What is not handled: kernels larger than 2**31 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Region", "expand", "regions"]


@dataclass(frozen=True, slots=True)
class Region:
    """One label of a label map."""

    label: int
    """Its value in the map."""
    box: tuple[int, int, int, int]
    """(x0, y0, x1, y1) in pixels of the map; x1 and y1 are outside."""
    area: int
    """How many pixels it has."""
    score: float
    """Mean of the score map over its pixels."""


def expand(kernels: NDArray[Any], *, min_area: int = 0) -> NDArray[np.int32]:
    """Label the text lines by progressive scale expansion; the module's docstring gives the rule.

    Args:
        kernels: bool or integers (other than 0 is true), (n, H, W): kernels[0] the whole text region, kernels[-1] the
            smallest kernel. They need not be nested.
        min_area: lines of fewer pixels are taken out of the result; they keep others off their pixels all the same.

    Returns:
        int32, (H, W): 0 where there is no line, else the number of the line, 1, 2, ... without gaps.

    Raises:
        ValueError: ``kernels`` has another shape.
    """
    kernels = np.asarray(kernels)
    if kernels.ndim != 3 or len(kernels) == 0:
        raise ValueError(f"kernels have shape {kernels.shape}; (n, H, W) with n of 1 or more is expected")
    _, height, width = kernels.shape
    if height == 0 or width == 0:
        return np.zeros((height, width), np.int32)
    masks = [_framed(kernel) for kernel in kernels]
    labels = _expand(masks)[1:-1, 1:-1]
    if min_area > 1:
        areas = np.bincount(labels.ravel())
        keep = areas >= min_area
        keep[0] = False
        labels = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    return np.ascontiguousarray(labels)


def regions(labels: NDArray[np.int32], score_map: NDArray[np.floating[Any]]) -> list[Region]:
    """Measure all labels of a map at once.

    Args:
        labels: int32, (H, W), 0 for none.
        score_map: floats, (H, W).

    Returns:
        One region for every label that occurs, by ascending label.

    Raises:
        ValueError: the two shapes differ.
    """
    if labels.ndim != 2 or labels.shape != score_map.shape:
        raise ValueError(f"labels have shape {labels.shape} and scores {score_map.shape}; the same (H, W) is expected")
    height, width = labels.shape
    if height == 0 or width == 0:
        return []
    # Work on runs (stretches of one label in one row), some hundred times fewer than pixels. The column of zeros ends
    # the last run of each row.
    flat = np.zeros((height, width + 1), np.int32)
    flat[:, :-1] = labels
    scores = np.zeros((height, width + 1), np.float64)
    scores[:, :-1] = score_map
    flat = flat.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    sums = np.add.reduceat(scores.reshape(-1), starts)
    text = flat[starts] != 0
    starts, lengths, sums = starts[text], lengths[text], sums[text]
    if not len(starts):
        return []
    order = np.argsort(flat[starts], kind="stable")  # by label, and by row within a label
    starts, lengths, sums = starts[order], lengths[order], sums[order]
    run_labels = flat[starts]
    y, x = np.divmod(starts, width + 1)
    first = np.concatenate([[0], np.flatnonzero(run_labels[1:] != run_labels[:-1]) + 1])
    last = np.append(first[1:], len(starts)) - 1
    left = np.minimum.reduceat(x, first)
    right = np.maximum.reduceat(x + lengths, first)
    areas = np.add.reduceat(lengths, first)
    means = np.add.reduceat(sums, first) / areas
    return [
        Region(label, (x0, y0, x1, y1 + 1), area, score)
        for label, x0, y0, x1, y1, area, score in zip(
            run_labels[first].tolist(),
            left.tolist(),
            y[first].tolist(),
            right.tolist(),
            y[last].tolist(),
            areas.tolist(),
            means.tolist(),
            strict=True,
        )
    ]


def _framed(kernel: NDArray[Any]) -> NDArray[np.uint8]:
    """The kernel as 0 and 1 with a frame of zeros, so that every pixel has four neighbours."""
    framed = np.zeros((kernel.shape[0] + 2, kernel.shape[1] + 2), np.uint8)
    framed[1:-1, 1:-1] = kernel if kernel.dtype == bool else kernel != 0
    return framed


def _components(mask: NDArray[np.uint8]) -> tuple[int, NDArray[np.int32]]:
    """Number the connected components (4 neighbours) from 1 by their first pixel in raster order."""
    count, labels = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    return count - 1, np.asarray(labels, np.int32)


def _expand(masks: list[NDArray[np.uint8]]) -> NDArray[np.int32]:
    """Expand framed masks to framed labels."""
    n_seeds, seeds = _components(masks[-1])
    if n_seeds == 0 or len(masks) == 1:
        return seeds
    text = masks[0]
    if any(cv2.countNonZero(cv2.subtract(mask, text)) for mask in masks[1:]):
        _search(masks, seeds)
        return seeds
    n_parts, parts = _components(text)
    # which part a seed lies in; the pixels where a row of a seed begins are enough to tell
    begins = np.flatnonzero(masks[-1].reshape(-1)[1:] > masks[-1].reshape(-1)[:-1]) + 1
    part_of = np.zeros(n_seeds + 1, np.intp)
    part_of[seeds.reshape(-1)[begins]] = parts.reshape(-1)[begins]
    owner = np.zeros(n_parts + 1, np.int32)
    owner[part_of[1:]] = np.arange(1, n_seeds + 1)
    shared = np.bincount(part_of[1:], minlength=n_parts + 1) > 1
    if not shared.any():
        return owner.take(parts)
    # The search sees the seeds of shared parts alone, and cannot leave these parts.
    searched = np.where(shared[part_of], np.arange(n_seeds + 1), 0).astype(np.int32).take(seeds)
    _search(masks, searched)
    owner[shared] = 0
    return np.add(owner.take(parts), searched, out=searched)


def _search(masks: list[NDArray[np.uint8]], labels: NDArray[np.int32]) -> None:
    """Breadth-first search, from the seeds' labels (framed) in place to the lines' labels."""
    stride = labels.shape[1]
    steps = np.array([-stride, -1, 1, stride], np.intp)
    flat = labels.reshape(-1)
    place = np.empty(flat.size, np.int32)  # where a pixel first occurs among the candidates; written before it is read
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    unlabelled = (labels == 0).view(np.uint8)
    anywhere = np.bitwise_or.reduce(masks[:-1])
    # Only labelled pixels beside a free one can label, in this kernel or a later one; the others never enter the queue.
    queue = np.flatnonzero(cv2.dilate(anywhere & unlabelled, cross) > unlabelled)
    for mask in masks[-2::-1]:
        free = (mask & unlabelled).reshape(-1)
        walked = [queue]
        frontier = queue
        while len(frontier):
            candidates = (frontier[:, None] + steps).reshape(-1)
            taken = np.flatnonzero(free.take(candidates).view(bool))
            candidates = candidates.take(taken)
            numbers = np.arange(len(candidates), dtype=np.int32)
            place[candidates[::-1]] = numbers[::-1]  # of several writes the last stays: the first occurrence
            first = np.flatnonzero(place.take(candidates) == numbers)
            parents = frontier.take(taken.take(first) >> 2)
            frontier = candidates.take(first)
            flat[frontier] = flat.take(parents)
            free[frontier] = 0
            walked.append(frontier)
        queue = np.concatenate(walked)
        unlabelled.reshape(-1)[queue] = 0
        rim = cv2.dilate(anywhere & unlabelled, cross)
        queue = queue[rim.reshape(-1).take(queue).view(bool)]
