"""Quads, polygons, crops and reading order: pure functions.

Points are (x, y) in pixels, origin top left, y downwards; pixel (i, j) covers the square from (i, j) to (i + 1, j + 1),
so the picture spans (0, 0) to (width, height). A quad is float32, (4, 2), clockwise (as seen), from the top left of the
text that it holds: its first side is the line's upper edge, and the text runs from quad[0] to quad[1].
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import cv2
import numpy as np
import pyclipper
import shapely
from numpy.typing import NDArray

__all__ = [
    "crop_quad",
    "grow_quad",
    "inside_others",
    "is_vertical",
    "min_area_quad",
    "offset_polygon",
    "order_quad",
    "outline",
    "page_ratio",
    "quad_size",
    "reading_order",
    "slice_quad",
    "turn_quad",
    "upright",
]

Points = NDArray[np.float32]

VERTICAL_RATIO = 1.5
"""From this ratio of height to width on, a quad holds a line that runs downwards (a single tall glyph stays below)."""

_FROM = np.array([[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]])
"""Indices of a quad's points that begin at each of its corners."""
_STEEP = math.cos(math.radians(60))
_CLIPPER_SCALE = 256  # pyclipper works on integers: 1/256 pixel
_WARP_LIMIT = 32766  # the largest side that OpenCV warps


def order_quad(points: NDArray[Any]) -> Points:
    """Order four points clockwise from the text's top left, as far as a shape can tell.

    A long shape within 60 degrees of horizontal is a line that runs rightwards, and its upper edge comes first. A
    steeper one runs downwards, like columns of Chinese: its short upper edge comes first, and :func:`upright` turns it.
    A nearly square shape starts with the side that is nearest to horizontal, the higher one of the two.

    Args:
        points: (4, 2) in any order.

    Returns:
        float32, (4, 2); the same for every order of the input.

    Raises:
        ValueError: another shape.
    """
    p = np.asarray(points, np.float64)
    if p.shape != (4, 2):
        raise ValueError(f"points have shape {p.shape}; (4, 2) is expected")
    p = p[np.lexsort((p[:, 1], p[:, 0]))]  # the order of the input must not tell, not even in the last bit of a sum
    around = p - p.mean(axis=0)
    p = p[np.argsort(np.arctan2(around[:, 1], around[:, 0]), kind="stable")]
    # along[k]: where the text runs if it starts at p[k], by the mean of two opposite sides
    sides = p[_FROM[1]] - p
    along = (sides - sides[_FROM[2]]) / 2
    lengths = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    cosines = along[:, 0] / lengths
    rightwards = cosines
    if lengths.max() >= VERTICAL_RATIO * lengths.min():
        long = lengths > lengths.min() * 1.001
        flat = bool(abs(cosines[long][0]) >= _STEEP)
        rightwards = np.where(long == flat, cosines, -2.0)
    # Both ends of a diamond's tie are right; take the one whose side starts higher, and keep to it despite rounding.
    best = np.flatnonzero(rightwards > rightwards.max() - 1e-3)
    start = best[np.lexsort((p[best, 0], p[best, 1]))[0]]
    return np.asarray(p[_FROM[start]], np.float32)


def quad_size(quad: NDArray[Any]) -> tuple[float, float]:
    """Width and height: the mean length of the upper and lower side, and of the left and right side."""
    q = np.asarray(quad)
    top, right, bottom, left = (math.hypot(*side) for side in (q[_FROM[1]] - q).tolist())
    return (top + bottom) / 2, (left + right) / 2


def min_area_quad(points: NDArray[Any]) -> Points:
    """The rectangle of least area around points, ordered as by :func:`order_quad`.

    Args:
        points: (N, 2) with N of 1 or more. They are points, not pixels: :func:`outline` gives the rim of pixels.

    Returns:
        float32, (4, 2), each side 1 pixel or more, so also for a single point or points on a line.

    Raises:
        ValueError: no points, or another shape.
    """
    p = np.asarray(points, np.float32)
    if p.ndim != 2 or p.shape[1] != 2 or len(p) == 0:
        raise ValueError(f"points have shape {p.shape}; (N, 2) with N of 1 or more is expected")
    centre, (width, height), angle = cv2.minAreaRect(p)
    return order_quad(cv2.boxPoints((centre, (max(width, 1.0), max(height, 1.0)), angle)))


def outline(
    labels: NDArray[Any], label: int, box: tuple[int, int, int, int] | None = None, *, epsilon: float = 0.0
) -> Points:
    """Trace the rim of one label's pixels.

    Args:
        labels: (H, W), a map of labels or a mask.
        label: which value to trace; it must be connected (of several parts the largest is traced).
        box: (x0, y0, x1, y1) that holds all of it, x1 and y1 outside; None: look in the whole map.
        epsilon: how far the result may be from the rim, in pixels of the map.

    Returns:
        float32, (N, 2), clockwise, around the squares that the pixels cover: pixels x0..x1 give x0 to x1 + 1. Holes are
        left out. (0, 2) where the label does not occur.
    """
    x0, y0, x1, y1 = box or (0, 0, labels.shape[1], labels.shape[0])
    # The corners of the pixels are a grid of their own, one larger; a corner is in if one of its four pixels is.
    corners = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
    inside = (labels[y0:y1, x0:x1] == label).view(np.uint8)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corners[dy : dy + y1 - y0, dx : dx + x1 - x0] |= inside
    contours, _ = cv2.findContours(corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((0, 2), np.float32)
    contour = max(contours, key=cv2.contourArea) if len(contours) > 1 else contours[0]
    if epsilon > 0:
        contour = cv2.approxPolyDP(contour, epsilon, True)
    points = contour.reshape(-1, 2)[::-1] + np.array([x0, y0])
    return np.ascontiguousarray(points, np.float32)


def offset_polygon(polygon: NDArray[Any], distance: float) -> Points:
    """Move a polygon's sides outwards (distance above 0) or inwards, in pixels (Vatti clipping).

    Returns:
        float32, (N, 2), clockwise: the largest polygon that results. (0, 2), never an error, where nothing is left or
        the polygon has fewer than three points.
    """
    nothing = np.zeros((0, 2), np.float32)
    p = np.asarray(polygon, np.float64)
    if len(p) < 3 or not np.isfinite(p).all():
        return nothing
    clipper = pyclipper.PyclipperOffset(2.0)
    try:
        clipper.AddPath(
            np.round(p * _CLIPPER_SCALE).astype(np.int64).tolist(), pyclipper.JT_MITER, pyclipper.ET_CLOSEDPOLYGON
        )
        paths = clipper.Execute(distance * _CLIPPER_SCALE)
    except pyclipper.ClipperException:
        return nothing
    if not paths:
        return nothing
    largest = max(paths, key=lambda path: abs(pyclipper.Area(path)))
    if not pyclipper.Orientation(largest):  # y points down: what clipper calls counter-clockwise is clockwise as seen
        largest = largest[::-1]
    return np.asarray(largest, np.float32) / np.float32(_CLIPPER_SCALE)


def grow_quad(quad: NDArray[Any], along: float, across: float) -> Points:
    """Move a quad's ends outwards by ``along`` pixels and its upper and lower side by ``across`` pixels."""
    a, b, c, d = np.asarray(quad, np.float64)
    top, bottom, left, right = _unit(b - a), _unit(c - d), _unit(d - a), _unit(c - b)
    return np.array(
        [
            a - top * along - left * across,
            b + top * along - right * across,
            c + bottom * along + right * across,
            d - bottom * along + left * across,
        ],
        np.float32,
    )


def inside_others(quads: Sequence[NDArray[Any]], share: float) -> list[bool]:
    """Tell which quads lie inside a larger one.

    Args:
        quads: (4, 2) each.
        share: which part of a quad's area another one must cover, in [0, 1].

    Returns:
        For each quad whether a larger quad covers ``share`` of its area or more.
    """
    if len(quads) < 2:
        return [False] * len(quads)
    shapes = shapely.polygons(np.asarray(quads, np.float64))
    # a quad whose sides cross (the corners of a twisted crop) has no area until it is mended
    shapes = np.where(shapely.is_valid(shapes), shapes, shapely.make_valid(shapes))
    areas = shapely.area(shapes)
    a, b = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    larger = areas[b] > areas[a]
    a, b = a[larger], b[larger]
    covered = shapely.area(shapely.intersection(shapes[a], shapes[b])) >= share * areas[a]
    inner = set(a[covered].tolist())
    return [i in inner for i in range(len(quads))]


def is_vertical(quad: NDArray[Any], ratio: float = VERTICAL_RATIO) -> bool:
    """Whether a quad is ``ratio`` times as high as it is wide, or more: a line that runs along its height."""
    width, height = quad_size(quad)
    return height >= ratio * width


def page_ratio(quads: Sequence[NDArray[Any]]) -> float:
    """From which ratio of height to width on a line of this page runs downwards (:func:`is_vertical`).

    A quad that is about square does not tell. It is taken to run as the page does: downwards where three long lines or
    more do, and have more than twice the length of those that run across.
    """
    sizes = np.array([quad_size(quad) for quad in quads]).reshape(-1, 2)
    widths, heights = sizes.T
    down = heights[heights >= VERTICAL_RATIO * widths]
    across = widths[widths >= VERTICAL_RATIO * heights]
    return 1 / VERTICAL_RATIO if len(down) >= 3 and down.sum() > 2 * across.sum() else VERTICAL_RATIO


def upright(quad: NDArray[Any], ratio: float = VERTICAL_RATIO) -> Points:
    """Re-order the quad of a line that runs downwards (:func:`is_vertical`) so that its crop lies along the width.

    The quad then starts at its top right and runs down its right side: its crop is the picture turned by 90 degrees
    counter-clockwise. Latin text that was turned clockwise stands upright in it, text that was turned the other way
    stands upside down (the angle classifier's business), and characters of a column of Chinese lie on their side.
    Fractions along the crop are fractions along the line, top to bottom. Other quads come back as they are.
    """
    q = np.array(quad, np.float32)
    return np.asarray(q[_FROM[1]] if is_vertical(q, ratio) else q, np.float32)


def turn_quad(quad: NDArray[Any]) -> Points:
    """The same quad for text that stands upside down: it starts at the opposite corner. Twice is the quad itself."""
    return np.asarray(np.asarray(quad, np.float32)[_FROM[2]], np.float32)


def slice_quad(quad: NDArray[Any], start: float | NDArray[Any], end: float | NDArray[Any]) -> Points:
    """The part of a quad between two fractions of its length, cut along its upper and lower side.

    Args:
        quad: (4, 2).
        start: a fraction of the length, or (N,) of them.
        end: as many.

    Returns:
        float32, (4, 2) or (N, 4, 2).
    """
    a, b, c, d = np.asarray(quad, np.float64)
    top, bottom = b - a, c - d
    s, e = np.asarray(start)[..., None], np.asarray(end)[..., None]
    return np.stack([a + top * s, a + top * e, d + bottom * e, d + bottom * s], axis=-2).astype(np.float32)


def crop_quad(image: NDArray[np.uint8], quad: NDArray[Any], *, max_side: int = _WARP_LIMIT) -> NDArray[np.uint8]:
    """Cut a line out of a picture, upright and along the width.

    Only the part of the picture around the quad is touched, so the cost does not depend on the picture's size. A quad
    within half a pixel of a rectangle of whole pixels is copied (and turned in steps of 90 degrees): that is sharper
    than any interpolation. Everything else is warped with cubic interpolation, because thin strokes of small text lose
    contrast with a linear one. Beyond the picture its border pixels are repeated.

    Args:
        image: uint8, (H, W, 3) or (H, W), H and W of 1 or more.
        quad: (4, 2), may lie partly or wholly outside the picture.
        max_side: larger crops are scaled down to this side, in pixels.

    Returns:
        uint8, (h, w, 3) or (h, w), C-contiguous, colours as in the picture: w is the mean length of the quad's upper
        and lower side, h of its left and right side, in whole pixels (a copy may have one more or less than rounded).

    Raises:
        ValueError: the quad is not finite or has another shape, or the picture is empty.
    """
    q = np.asarray(quad, np.float64)
    if q.shape != (4, 2) or not np.isfinite(q).all():
        raise ValueError("a quad is four finite points, (4, 2)")
    height, width = image.shape[:2]
    if height == 0 or width == 0:
        raise ValueError(f"the picture is empty: {width}×{height}")
    w, h = (max(1, round(side)) for side in quad_size(q))
    max_side = min(max_side, _WARP_LIMIT)
    if max(w, h) <= max_side:
        copied = _copy(image, q)
        if copied is not None:
            return copied
    shrink = min(1.0, max_side / max(w, h))
    w, h = max(1, round(w * shrink)), max(1, round(h * shrink))
    # three pixels around the quad are more than cubic interpolation looks at
    (x0, y0), (x1, y1) = np.floor(q.min(axis=0)) - 3, np.ceil(q.max(axis=0)) + 3
    left, top = int(np.clip(x0, 0, width - 1)), int(np.clip(y0, 0, height - 1))
    right, bottom = int(np.clip(x1, left + 1, width)), int(np.clip(y1, top + 1, height))
    part = image[top:bottom, left:right]
    source = q - (left, top)
    # A warp that shrinks skips pixels: shrink the part itself first, by areas.
    shrink = min(shrink, _WARP_LIMIT / max(part.shape[:2]))
    if shrink < 1:
        size = max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink))
        source = source * (size[0] / part.shape[1], size[1] / part.shape[0])
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    target = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64)
    # OpenCV puts (0, 0) at the middle of the first pixel
    matrix = cv2.getPerspectiveTransform((source - 0.5).astype(np.float32), (target - 0.5).astype(np.float32))
    crop = cv2.warpPerspective(part, matrix, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(crop, np.uint8)


def reading_order(quads: Sequence[NDArray[Any]]) -> list[int]:
    """Put the lines of a page into reading order.

    The page's direction is the one that most of the text runs in, so skewed, turned and upside-down pages are read as
    if they stood upright, and columns of Chinese from right to left (they are rows on a page turned clockwise). Then:

    1. The page is cut into bands wherever a horizontal gap runs through all of it. Bands are read downwards.
    2. Neighbouring bands that share a gutter (a vertical stretch free of text) are read column by column if both sides
       are running text: three lines or more, most of them long, which fill their side. So a receipt's ``item   price``
       stays one row.
    3. Within one band, two sides whose lines do not pair up at equal baselines (a logo beside an address) are read one
       after the other; what is left is read row by row.

    Args:
        quads: (4, 2) each, clockwise from the text's own top left.

    Returns:
        Indices into ``quads``. The same lines come in the same order, whatever the order of the input.
    """
    if len(quads) == 0:
        return []
    # A fixed order first: sums of floats and ties must not depend on how the lines came.
    rows = np.asarray([np.asarray(q, np.float64).reshape(8) for q in quads])
    fixed = np.lexsort(rows.T[::-1])
    return [int(fixed[i]) for i in _order(rows[fixed].reshape(-1, 4, 2))]


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector at length 1; a vector of no length stays."""
    return vector / max(math.hypot(*vector.tolist()), 1e-9)


def _copy(image: NDArray[np.uint8], quad: NDArray[np.float64]) -> NDArray[np.uint8] | None:
    """The crop of a quad that is nearly a rectangle of whole pixels, in any of four directions; None for others."""
    xs, ys = np.sort(quad[:, 0]), np.sort(quad[:, 1])
    x0, x1 = round((xs[0] + xs[1]) / 2), round((xs[2] + xs[3]) / 2)
    y0, y1 = round((ys[0] + ys[1]) / 2), round((ys[2] + ys[3]) / 2)
    if x1 <= x0 or y1 <= y0:
        return None
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    for turns in range(4):
        if np.abs(quad - np.roll(corners, -turns, axis=0)).max() <= 0.5:
            height, width = image.shape[:2]
            if min(x0, y0) >= 0 and x1 <= width and y1 <= height:
                crop = image[y0:y1, x0:x1]
            else:
                crop = image[np.clip(np.arange(y0, y1), 0, height - 1)][:, np.clip(np.arange(x0, x1), 0, width - 1)]
            return np.array(np.rot90(crop, turns), order="C")
    return None


@dataclass(frozen=True, slots=True)
class _Item:
    """A line on the page turned upright: x along the text, y across it."""

    index: int
    x0: float
    x1: float
    y_left: float
    """Middle of the left end."""
    y_right: float
    """Middle of the right end."""
    height: float
    y0: float
    """Upper and lower rim, with a part taken off: what must be apart for two lines to be in two bands."""
    y1: float

    @property
    def y(self) -> float:
        return (self.y_left + self.y_right) / 2


def _order(quads: NDArray[np.float64]) -> list[int]:
    """Reading order of quads (N, 4, 2) in a fixed order."""
    along = (quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]) / 2
    across = (quads[:, 3] - quads[:, 0] + quads[:, 2] - quads[:, 1]) / 2
    lengths, heights = np.hypot(*along.T), np.hypot(*across.T)
    directions = np.arctan2(along[:, 1], along[:, 0])
    # A short box tells little about direction.
    weights = np.maximum(lengths - heights, 0.02 * lengths) + 1e-9
    return _order_part(np.arange(len(quads)), quads, directions, weights)


def _order_part(
    part: NDArray[np.intp], quads: NDArray[np.float64], directions: NDArray[np.float64], weights: NDArray[np.float64]
) -> list[int]:
    """Reading order of some of the quads, as indices into ``quads``."""
    page = _page_direction(directions[part], weights[part])
    turned = quads[part] @ np.array([[math.cos(page), -math.sin(page)], [math.sin(page), math.cos(page)]])
    own = np.cos(directions[part] - page)
    items = [_item(int(i), quad, float(c)) for i, quad, c in zip(part, turned, own, strict=True)]
    typical = sorted(item.height for item in items)[len(items) // 2]
    items = [_trim(item, typical) for item in items]
    gap = max(0.7 * typical, 1e-6)  # the least width of a gutter
    crosswise = {int(i) for i, c in zip(part, own, strict=True) if abs(c) < 0.7}

    def cut(items: list[_Item]) -> list[int]:
        if len(items) < 2:
            return [item.index for item in items]
        if crosswise and len(items) < len(part) and all(item.index in crosswise for item in items):
            return _order_part(np.array(sorted(item.index for item in items)), quads, directions, weights)
        # Text that stands on end beside the rest (a column in a margin, the headline of Chinese columns) is apart.
        sides = [
            list(g) for _, g in groupby(_slabs(items, gap), lambda slab: all(item.index in crosswise for item in slab))
        ]
        if len(sides) > 1:
            return [i for side in sides for i in cut([item for slab in side for item in slab])]
        bands = _bands(items)
        found: list[int] = []
        start = 0
        while start < len(bands):
            end, columns = _columns(bands, start, gap)
            if len(columns) > 1:
                for column in columns:
                    found += cut(column)
            elif len(bands) > 1:
                found += cut(bands[start])
            else:
                found += [item.index for row in _rows(bands[start]) for item in row]
            start = end
        return found

    return cut(items)


def _page_direction(directions: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The direction in which most of the text runs, in radians."""
    # The line that most of the text agrees with (the 8th power: by about 20 degrees), then the mean of those that do.
    differences = directions[:, None] - directions[None, :]
    votes = np.maximum(np.cos(differences), 0) ** 8 @ weights
    leader = int(np.argmax(votes))
    off = (directions - directions[leader] + math.pi) % (2 * math.pi) - math.pi
    near = np.abs(off) < math.radians(20)
    return float(directions[leader] + (off[near] @ weights[near]) / weights[near].sum())


def _item(index: int, quad: NDArray[np.float64], own: float) -> _Item:
    """A quad that was turned with its page; ``own`` is the cosine between its direction and the page's."""
    if abs(own) >= 0.7:
        q = quad if own > 0 else np.roll(quad, -2, axis=0)
        y_left, y_right = (q[0, 1] + q[3, 1]) / 2, (q[1, 1] + q[2, 1]) / 2
        height = (math.hypot(*(q[3] - q[0])) + math.hypot(*(q[2] - q[1]))) / 2
    else:
        height = float(np.ptp(quad[:, 1]))
        y_left = y_right = quad[:, 1].mean()
    return _Item(
        index,
        float(quad[:, 0].min()),
        float(quad[:, 0].max()),
        float(y_left),
        float(y_right),
        float(height),
        float(min(y_left, y_right) - height / 2),
        float(max(y_left, y_right) + height / 2),
    )


def _trim(item: _Item, typical: float) -> _Item:
    """Take a quarter of a line's height off its rims, so that lines set tightly or a little askew are apart.

    A high item loses a quarter of a ``typical`` line only: it stands beside all of the lines beside it.
    """
    trim = min(item.height, typical) / 4
    return replace(item, y0=item.y0 + trim, y1=item.y1 - trim)


def _bands(items: list[_Item]) -> list[list[_Item]]:
    """Cut at every gap in y, top to bottom."""
    bands: list[list[_Item]] = []
    bottom = -math.inf
    for item in sorted(items, key=lambda item: (item.y0, item.x0, item.index)):
        if item.y0 > bottom:
            bands.append([])
        bands[-1].append(item)
        bottom = max(bottom, item.y1)
    return bands


def _spans(intervals: list[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Join intervals that are less than ``gap`` apart, left to right."""
    spans: list[tuple[float, float]] = []
    for x0, x1 in sorted(intervals):
        if spans and x0 - spans[-1][1] < gap:
            spans[-1] = (spans[-1][0], max(spans[-1][1], x1))
        else:
            spans.append((x0, x1))
    return spans


def _slabs(items: list[_Item], gap: float) -> list[list[_Item]]:
    """Cut at every gutter (a gap in x through all of the items), left to right."""
    starts = [x0 for x0, _ in _spans([(item.x0, item.x1) for item in items], gap)]
    slabs: list[list[_Item]] = [[] for _ in starts]
    for item in items:
        slabs[bisect_right(starts, item.x0) - 1].append(item)
    return slabs


def _columns(bands: list[list[_Item]], start: int, gap: float) -> tuple[int, list[list[_Item]]]:
    """The columns that begin with band ``start``: the band after them, and one list a column (one list: no columns)."""

    def split(end: int) -> list[list[_Item]]:
        columns: list[list[_Item]] = []
        text = False  # whether the slab before is running text
        for slab in _slabs([item for band in bands[start:end] for item in band], gap):
            before, text = text, _running(slab)
            if columns and not (before and text and _beside(columns[-1], slab)):
                columns[-1] += slab
            else:
                columns.append(slab)
        return columns

    spans: list[tuple[float, float]] = []
    end = start
    while end < len(bands):
        joined = _spans(spans + [(item.x0, item.x1) for item in bands[end]], gap)
        # Where the columns' baselines differ, the first bands are lines of one column, and show no gutter yet.
        if len(joined) < 2 and end - start >= 2:
            break
        spans = joined
        end += 1
    # Most pages, and all receipts, have long lines on one side at most, and need no closer look.
    longs = [bisect_right(spans, (item.x0, math.inf)) for band in bands[start:end] for item in band if _long(item)]
    sides = sum(longs.count(side) >= 2 for side in set(longs))
    # The columns may end above the last band that has their gutter. Look for an end roughly, then exactly.
    low, high = end, end + 1
    while low > start and sides >= 2:
        columns = split(low)
        if len(columns) > 1:
            while high - low > 1:
                middle = (low + high) // 2
                more = split(middle)
                if len(more) > 1:
                    low, columns = middle, more
                else:
                    high = middle
            return low, columns
        high = low
        low -= 1 + (low - start) // 4
    columns = []
    for slab in _slabs(bands[start], gap):
        if columns and 2 * _pairs(columns[-1], slab) >= max(len(columns[-1]), len(slab)):
            columns[-1] += slab
        else:
            columns.append(slab)
    return start + 1, columns


def _long(item: _Item) -> bool:
    """Whether a line is long enough for running text (about 14 Latin letters, 7 Chinese characters)."""
    return item.x1 - item.x0 >= 7 * item.height


def _running(slab: list[_Item]) -> bool:
    """Whether one side of a gutter is running text: three lines or more, most of them long, that fill their side."""
    if len(slab) < 3 or 2 * sum(_long(item) for item in slab) < len(slab):
        return False
    side = max(item.x1 for item in slab) - min(item.x0 for item in slab)
    by_y = sorted(slab, key=lambda item: (item.y, item.index))
    rows = 1 + sum(b.y - a.y > 0.5 * min(a.height, b.height) for a, b in pairwise(by_y))
    return rows >= 3 and sum(item.x1 - item.x0 for item in slab) >= 0.6 * side * rows


def _beside(left: list[_Item], right: list[_Item]) -> bool:
    """Whether two sides share half of the lower one's extent in y."""
    top = max(min(item.y0 for item in left), min(item.y0 for item in right))
    bottom = min(max(item.y1 for item in left), max(item.y1 for item in right))
    extents = [max(item.y1 for item in side) - min(item.y0 for item in side) for side in (left, right)]
    return bottom - top >= 0.5 * min(extents)


def _pairs(left: list[_Item], right: list[_Item]) -> int:
    """How many lines of the left side have one of their own at the same height on the right side."""
    free = list(right)
    count = 0
    for item in sorted(left, key=lambda item: (item.y, item.index)):
        near = [other for other in free if abs(other.y_left - item.y_right) <= 0.6 * min(item.height, other.height)]
        if near:
            free.remove(min(near, key=lambda other: (abs(other.y_left - item.y_right), other.index)))
            count += 1
    return count


def _rows(items: list[_Item]) -> list[list[_Item]]:
    """Chain lines at the same height into rows, left to right; rows from the top."""
    rows: list[list[_Item]] = []
    for item in sorted(items, key=lambda item: (item.x0, item.y, item.index)):
        best, least = None, 0.5
        for row in rows:
            last = row[-1]
            if item.x0 < last.x0 + 0.5 * (last.x1 - last.x0):
                continue
            off = abs(item.y_left - last.y_right) / max(min(item.height, last.height), 1e-9)
            if off < least:
                best, least = row, off
        if best is None:
            rows.append([item])
        else:
            best.append(item)
    return sorted(rows, key=lambda row: (sum(item.y for item in row) / len(row), row[0].x0, row[0].index))
