"""Find lines of text: PSENet (Wang et al., "Shape Robust Text Detection With Progressive Scale Expansion Network",
CVPR 2019) with a MobileNetV3 backbone."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from . import geometry, pse
from .errors import OptionError, WeightsError
from .net import Net, Precision
from .weights import Weights, load

__all__ = ["Detection", "DetectorOptions", "Frame", "TextDetector", "fit"]

_HALO = 96
"""How many pixels a tile sees beyond its own part, at least."""
_LEAST_TILE = (4 * _HALO) ** 2


@dataclass(frozen=True, eq=False, slots=True)
class Detection:
    """One region of text."""

    quad: NDArray[np.float32]
    """(4, 2), (x, y) pixels of the picture, clockwise from the top left."""
    score: float
    """Mean of the text map inside the region, in [0, 1]."""
    polygon: NDArray[np.float32] | None = None
    """(N, 2) outline, clockwise, where polygons were asked for."""


@dataclass(frozen=True)
class DetectorOptions:
    """How a picture is scaled for the network and how its maps become regions. The defaults were tuned together."""

    max_side: int | None = 1536
    """Longer pictures are scaled down to this long side, in pixels; None: never."""
    min_side: int = 128
    """Pictures whose short side is below this are enlarged to it: text that fills a small crop is otherwise too small
    to be found."""
    tile: int = 1_000_000
    """Inputs of more pixels than this go through the network in overlapping tiles, whose maps are put together before
    lines are made of them: no line is cut at a border. Memory stays bounded, at about 150 bytes a pixel of a tile."""
    margin: int = 16
    """Pixels of replicated border around the scaled picture: text cut by the picture's edge is found up to the edge."""
    text_threshold: float = 0.5
    """A pixel belongs to text from this value of the text map on."""
    kernel_threshold: float = 0.35
    """A pixel belongs to a kernel from this value of its map on."""
    min_area: int = 16
    """Regions of fewer pixels of the map are dropped."""
    min_score: float = 0.7
    """Regions whose mean text map is below this are dropped."""
    min_height: float = 3.0
    """Regions whose quad is lower than this many pixels of the network's input are dropped."""
    max_inside: float = 0.6
    """Regions of whose quad a larger one covers this part are dropped: a stroke that came off its line, or a spot
    between the words of a slanted one."""
    grow_along: float = -0.05
    """By how many of its heights a quad grows at both ends; negative: shrinks."""
    grow_across: float = -0.05
    """By how many of its heights a quad grows at its upper and its lower side; negative: shrinks."""
    grow: float = 2.0
    """By how many pixels it grows besides, on every side, however large the text is: of the network's input, or of the
    picture where the input is the larger of the two."""

    def __post_init__(self) -> None:
        if self.max_side is not None and self.max_side < 32:
            raise OptionError(f"max_side is {self.max_side}; it must be 32 or more, or None for no limit")
        if self.tile < _LEAST_TILE:
            raise OptionError(f"tile is {self.tile} pixels; it must be {_LEAST_TILE} or more")
        for name in ("text_threshold", "kernel_threshold", "min_score", "max_inside"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be in [0, 1]")


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a picture lies in the network's input."""

    width: int
    """Width of the scaled picture, without margin."""
    height: int
    """Height of the scaled picture, without margin."""
    input_width: int
    """Width of the network's input: margins added, rounded up to the stride."""
    input_height: int
    """Height of the network's input."""


def fit(width: int, height: int, options: DetectorOptions, stride: int) -> Frame:
    """Choose the size of the network's input for a picture of ``width`` × ``height`` pixels.

    The picture keeps its own size unless it is longer than ``max_side`` or its short side is below ``min_side``; the
    input is that size with the margins, rounded up to the network's stride.
    """
    scale = max(1.0, options.min_side / min(width, height))
    if options.max_side is not None:
        scale = min(scale, options.max_side / max(width, height))
    w, h = max(1, round(width * scale)), max(1, round(height * scale))

    def up(side: int) -> int:
        return math.ceil((side + 2 * options.margin) / stride) * stride

    return Frame(w, h, up(w), up(h))


class _Span(NamedTuple):
    """A tile's part of a side of the input, in pixels."""

    first: int
    """Where what the network sees begins."""
    last: int
    """Where it ends."""
    start: int
    """Where the tile's own part begins."""
    end: int
    """Where that ends."""

    def own(self, step: int) -> slice:
        """The own part among what the network saw, in pixels of a map of which one is ``step`` pixels of the input."""
        return slice((self.start - self.first) // step, (self.end - self.first) // step)


def _tiles(height: int, width: int, area: int, halo: int, stride: int) -> tuple[list[_Span], list[_Span]]:
    """Cut an input into the tiles that cost least, all of one size: each fits into the memory of the one before.

    Args:
        height: of the input, a multiple of the stride.
        width: of the input, a multiple of the stride.
        area: how many pixels a tile may have, halo included.
        halo: how many pixels a tile sees beyond its own part, at least; a multiple of the stride.
        stride: of the network.

    Returns:
        The tiles' rows and their columns.
    """
    best = (math.inf, 1, 1)
    for rows in range(1, height // stride + 1):
        tall = _size(height, rows, halo, stride)
        own = area // tall // stride * stride - 2 * halo
        columns = 1 if tall * width <= area else math.ceil((width - 2 * halo) / own) if own > 0 else 0
        if columns:
            best = min(best, (rows * columns * tall * _size(width, columns, halo, stride), rows, columns))
        if columns == 1:  # more rows would only overlap more
            break
    return _spans(height, best[1], halo, stride), _spans(width, best[2], halo, stride)


def _size(length: int, parts: int, halo: int, stride: int) -> int:
    """The least size of so many equal tiles along a side that overlap by two halos or more."""
    return math.ceil((length + 2 * halo * (parts - 1)) / parts / stride) * stride


def _spans(length: int, parts: int, halo: int, stride: int) -> list[_Span]:
    """Lay so many equal tiles along a side; the cuts between their own parts are in the middle of what both see."""
    size = _size(length, parts, halo, stride)
    firsts = [k * (length - size) // max(parts - 1, 1) // stride * stride for k in range(parts)]
    cuts = [(a + size + b) // 2 // stride * stride for a, b in itertools.pairwise(firsts)]
    return [
        _Span(first, first + size, *own)
        for first, own in zip(firsts, itertools.pairwise([0, *cuts, length]), strict=True)
    ]


class TextDetector:
    """Finds lines of text in a picture of any size.

    Args:
        weights: a weights directory, or one already loaded; None: the weights that came with the package.
        precision: see :class:`liteocr.net.Net`.
        threads: ncnn threads for one picture.
        options: scaling and thresholds.
        polygons: whether to trace the regions' outlines, too.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit.
    """

    def __init__(
        self,
        weights: Weights | str | Path | None = None,
        *,
        precision: Precision = "auto",
        threads: int = 1,
        options: DetectorOptions | None = None,
        polygons: bool = False,
    ) -> None:
        self._spec = (weights if isinstance(weights, Weights) else load(weights)).detector
        self._net = Net.from_spec(self._spec, precision=precision, threads=threads)
        self.options = options or DetectorOptions()
        self._polygons = polygons

    def maps(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Frame]:
        """Run the network.

        Args:
            image: uint8, (H, W, 3), BGR.

        Returns:
            The maps, float32 in [0, 1], (kernels, h, w), from the whole text region to the smallest kernel, and where
            the picture lies in them (in pixels of the input, of which a map pixel covers several).

        Raises:
            InferenceError: ncnn failed.
            WeightsError: the network does not give the maps that its manifest promises.
        """
        height, width = image.shape[:2]
        frame = fit(width, height, self.options, self._spec.input.stride)
        if (frame.width, frame.height) != (width, height):
            smaller = frame.width < width
            scaled = cv2.resize(
                image,
                (frame.width, frame.height),
                interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC,
            )
            image = np.asarray(scaled, np.uint8)
        margin = self.options.margin
        padded = cv2.copyMakeBorder(
            image,
            margin,
            frame.input_height - frame.height - margin,
            margin,
            frame.input_width - frame.width - margin,
            cv2.BORDER_REPLICATE,
        )
        maps = self._run(np.asarray(padded, np.uint8))
        if maps.ndim != 3 or maps.shape[0] != self._spec.classes:
            raise WeightsError(
                f"{self._spec.param} gives {maps.shape} where ({self._spec.classes}, h, w) is expected; "
                "these weights are no text detector"
            )
        return maps, frame

    def _run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps of an input whose sides are multiples of the stride, in tiles if it is large."""
        height, width = image.shape[:2]
        stride = self._spec.input.stride
        halo = math.ceil(_HALO / stride) * stride
        if height * width <= self.options.tile:
            return self._net.run_image(image, self._spec.input)
        maps = np.empty(0, np.float32)
        rows, columns = _tiles(height, width, self.options.tile, halo, stride)
        for y, x in itertools.product(rows, columns):
            part = image[y.first : y.last, x.first : x.last]
            found = self._net.run_image(part, self._spec.input)
            if found.ndim != 3:
                return found
            step = part.shape[0] // found.shape[1]
            if not maps.size:
                maps = np.empty((found.shape[0], height // step, width // step), np.float32)
            maps[:, y.start // step : y.end // step, x.start // step : x.end // step] = found[
                :, y.own(step), x.own(step)
            ]
        self._net.release()  # for the stages that follow: a large page has many lines
        return maps

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the lines of a picture, in no particular order.

        Args:
            image: uint8, (H, W, 3), BGR, any size from 1×1 on.

        Raises:
            InferenceError: ncnn failed.
            WeightsError: the network does not give the maps that its manifest promises.
        """
        maps, frame = self.maps(image)
        return self.regions(maps, frame, image.shape[1], image.shape[0])

    def regions(self, maps: NDArray[np.float32], frame: Frame, width: int, height: int) -> list[Detection]:
        """Turn maps into regions: threshold, progressive scale expansion, minimum-area rectangles.

        Args:
            maps: float32, (kernels, h, w), as :meth:`maps` gives them.
            frame: where the picture lies in them.
            width: width of the picture in pixels.
            height: height of the picture in pixels.
        """
        o = self.options
        text = maps[0] > o.text_threshold
        kernels = np.concatenate([text[None], (maps[1:] > o.kernel_threshold) & text])
        labels = pse.expand(kernels, min_area=o.min_area)
        # a map pixel covers `step` pixels of the input, and `scale` turns those into pixels of the picture
        step = np.array([frame.input_width / maps.shape[2], frame.input_height / maps.shape[1]], np.float32)
        scale = np.array([width / frame.width, height / frame.height], np.float32)
        grow = o.grow * max(1.0, frame.height / height)
        found = []
        for region in pse.regions(labels, maps[0]):
            if region.score < o.min_score:
                continue
            outline = geometry.outline(labels, region.label, region.box)
            quad = geometry.min_area_quad(outline) * step
            width_px, height_px = geometry.quad_size(quad)
            size = min(width_px, height_px)  # height of the text: a line that runs downwards is long, not high
            if size < o.min_height:
                continue
            along, across = o.grow_along * size + grow, o.grow_across * size + grow
            quad = geometry.grow_quad(quad, *((along, across) if width_px >= height_px else (across, along)))
            polygon = None
            if self._polygons:
                rim = geometry.outline(labels, region.label, region.box, epsilon=1.0)
                polygon = (geometry.offset_polygon(rim * step, across) - o.margin) * scale
            found.append(Detection((quad - o.margin) * scale, region.score, polygon))
        inner = geometry.inside_others([d.quad for d in found], o.max_inside)
        return [d for d, inside in zip(found, inner, strict=True) if not inside]
