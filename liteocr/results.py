"""What reading a picture gives: one frozen object a text line, and the page that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Char", "Page", "Point", "Quad", "TextLine", "as_quads"]

Point = tuple[float, float]
"""(x, y) in pixels of the original image, origin top left."""

Quad = tuple[Point, Point, Point, Point]
"""Four points, clockwise from the text's own top left (so an upside-down line starts at its bottom right)."""


def as_quads(points: NDArray[Any]) -> list[Quad]:
    """Turn an array (N, 4, 2) of (x, y) into one :data:`Quad` of Python floats each, rounded to 1/100 pixel."""
    rounded = np.asarray(points, np.float64).round(2).tolist()
    return [((ax, ay), (bx, by), (cx, cy), (dx, dy)) for (ax, ay), (bx, by), (cx, cy), (dx, dy) in rounded]


@dataclass(frozen=True, slots=True)
class Char:
    """One character of a line."""

    text: str
    """The character: one code point, a space included."""
    score: float
    """Probability that the recogniser gives it, in [0, 1]."""
    quad: Quad
    """Where it stands: along the line to about one step of the network, across the line the line's own height."""

    def to_dict(self) -> dict[str, Any]:
        """The character as JSON types: ``{"text", "score", "quad"}``."""
        return {
            "text": self.text,
            "score": round(self.score, 4),
            "quad": [list(p) for p in self.quad],
        }


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text."""

    quad: Quad
    """The line's corners, clockwise from the text's own top left."""
    text: str
    """What it says; may be empty where the recogniser saw no character."""
    score: float
    """Recognition score in [0, 1]: the mean of the characters' scores, 0 for an empty text."""
    det_score: float
    """Detection score in [0, 1]: the mean of the detector's text map inside the region; 1 without detection."""
    angle: int
    """By how many degrees the crop was turned back to stand upright: 0 or 180 from the classifier."""
    chars: tuple[Char, ...] = ()
    """The characters of ``text`` in order: ``"".join(c.text for c in chars) == text``."""
    polygon: tuple[Point, ...] | None = None
    """The region's outline, clockwise, where polygons were asked for."""

    @property
    def height(self) -> float:
        """Height of the text in pixels: the mean length of the quad's left and right side."""
        a, b, c, d = (np.asarray(p) for p in self.quad)
        return float((np.linalg.norm(d - a) + np.linalg.norm(c - b)) / 2)

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON types: quad, text, score, det_score, angle, chars, and polygon where there is one."""
        out: dict[str, Any] = {
            "quad": [list(p) for p in self.quad],
            "text": self.text,
            "score": round(self.score, 4),
            "det_score": round(self.det_score, 4),
            "angle": self.angle,
            "chars": [c.to_dict() for c in self.chars],
        }
        if self.polygon is not None:
            out["polygon"] = [list(p) for p in self.polygon]
        return out


@dataclass(frozen=True, slots=True)
class Page:
    """One picture, read: an immutable sequence of its lines in reading order.

    ``len(page)``, ``page[0]``, ``for line in page`` work on the lines. A page without text is empty, not an error.
    """

    lines: tuple[TextLine, ...]
    """The lines in reading order."""
    width: int
    """Width of the picture in pixels, after EXIF orientation."""
    height: int
    """Height of the picture in pixels, after EXIF orientation."""
    seconds: float = 0.0
    """Wall time for this picture, decoding included."""
    timings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Wall seconds a stage: ``load``, ``detect``, ``crop``, ``angle``, ``recognize``, ``order``."""

    @property
    def text(self) -> str:
        """The lines' texts joined by newlines."""
        return "\n".join(line.text for line in self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[TextLine]:
        return iter(self.lines)

    @overload
    def __getitem__(self, index: int) -> TextLine: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TextLine, ...]: ...
    def __getitem__(self, index: int | slice) -> TextLine | tuple[TextLine, ...]:
        return self.lines[index]

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """The page as JSON types: ``{"width", "height", "seconds", "timings", "lines"}``."""
        return {
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 4),
            "timings": {k: round(v, 4) for k, v in self.timings.items()},
            "lines": [line.to_dict() for line in self.lines],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """The page as JSON text, characters beyond ASCII unescaped."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def draw(self, image: Any, *, font: str | None = None) -> NDArray[np.uint8]:
        """Draw the lines' boxes on a copy of ``image`` and their texts on a panel beside it.

        Args:
            image: the picture that was read, in any form that :func:`liteocr.read` takes.
            font: path of a TrueType or OpenType font; without it a font of the system that has CJK glyphs is looked
                for, and a warning is logged when there is none.

        Returns:
            A new picture, uint8, (H, W', 3), BGR, with W' about twice the width of ``image``.

        Raises:
            ImageError: ``image`` cannot be read or is of another size than the page.
        """
        from .draw import draw_page  # noqa: PLC0415 - draw.py imports this module

        return draw_page(self, image, font=font)
