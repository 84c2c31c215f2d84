"""Columns of upright characters (Chinese and Japanese signs, spines, couplets), laid out as a row that a line
recogniser can read.

A column arrives as its crop turned by 90 degrees counter-clockwise, as :func:`liteocr.geometry.upright` makes it: the
text runs along the width from left to right, each character lying on its side. It is cut between the characters, and
the pieces are turned back and set side by side:

    ┌──┐      column       row
    │上│
    │海│  →  ⌊上⌋⌊海⌋⌊路⌋  →  上海路
    │路│    (on their side)
    └──┘
"""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["cut_column", "lay_row"]

_SHORTEST, _LONGEST = 0.55, 1.6
"""A character's length along the column, in units of the column's width."""
_BINS = 12
"""Positions that are looked at per column width."""


def cut_column(crop: NDArray[np.uint8]) -> list[tuple[float, float]]:
    """Cut a column between its characters.

    Of all ways to cut the column into cells of a likely length the one is taken that crosses the least ink and whose
    cells are nearest to one length (dynamic programming over the positions).

    Args:
        crop: uint8, (H, W, 3), BGR: the column lying along the width.

    Returns:
        (start, end) of each cell as fractions of the width, in order, without gaps: the first starts at 0, the last
        ends at 1.
    """
    height, width = crop.shape[:2]
    n = max(1, round(_BINS * width / height))  # positions along the column
    shortest, longest = max(1, math.floor(_SHORTEST * _BINS)), math.ceil(_LONGEST * _BINS)
    if n < 2 * shortest:
        return [(0.0, 1.0)]
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    # Ink at a position: how much the grey varies across the column there, whatever the colours of text and ground.
    spread = cv2.resize(grey, (n, 32), interpolation=cv2.INTER_AREA).astype(np.float32).std(axis=0)
    ink = np.append(spread, 0.0)
    ink[0] = 0.0
    ink /= max(float(np.percentile(spread, 90)), 1e-6)
    pitch = n / max(1, round(n / (1.08 * _BINS)))
    cost = np.full(n + 1, np.inf)
    cost[0] = 0.0
    origin = np.zeros(n + 1, np.intp)
    for end in range(shortest, n + 1):
        starts = np.arange(max(0, end - longest), end - shortest + 1)
        unlike = ((end - starts) / pitch - 1.0) ** 2
        total = cost[starts] + unlike
        best = int(total.argmin())
        cost[end] = total[best] + min(float(ink[end]), 1.0)
        origin[end] = starts[best]
    if not math.isfinite(cost[n]):
        return [(0.0, 1.0)]
    cuts = [n]
    while cuts[-1]:
        cuts.append(int(origin[cuts[-1]]))
    edges = [cut / n for cut in reversed(cuts)]
    return list(pairwise(edges))


def lay_row(crop: NDArray[np.uint8], cells: list[tuple[float, float]]) -> NDArray[np.uint8]:
    """Turn the cells of a column upright and set them side by side.

    Args:
        crop: uint8, (H, W, 3), BGR: the column lying along the width.
        cells: as :func:`cut_column` gives them.

    Returns:
        uint8, (h, len(cells) * H, 3), BGR, h the length of the longest cell: shorter ones are centred between
        repetitions of their rims. Every cell is as wide as the column, so fraction f of the row's width lies in cell
        ``int(f * len(cells))``.
    """
    width = crop.shape[1]
    edges = [(round(a * width), max(round(b * width), round(a * width) + 1)) for a, b in cells]
    length = max(b - a for a, b in edges)
    row = []
    for a, b in edges:
        piece = cv2.rotate(crop[:, min(a, width - 1) : b], cv2.ROTATE_90_CLOCKWISE)
        above = (length - piece.shape[0]) // 2
        below = length - piece.shape[0] - above
        row.append(cv2.copyMakeBorder(piece, above, below, 0, 0, cv2.BORDER_REPLICATE))
    return np.ascontiguousarray(np.hstack(row), np.uint8)
