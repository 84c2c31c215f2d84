"""Shows what was read: the boxes on the picture, and beside it the texts on white, each where its line stands."""

from __future__ import annotations

import logging
import math
import os
import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import ImageError, MissingPackageError, OptionError
from .image import MAX_PIXELS, load
from .results import Page, TextLine

__all__ = ["draw_page"]

Image = NDArray[np.uint8]
Render = Callable[[str, int], Image]
"""Text and em size in pixels → its ink, uint8, (H, W), 0 is none; H is 1.25 times the em size."""

_BOX = (0, 170, 0)
_POLYGON = (220, 90, 0)
_PANEL_BOX = (225, 225, 225)
_LINE_HEIGHT = 1.25  # of a line to its em size, with what reaches below the baseline
_BASELINE = 0.98  # from the top, in ems
_FIRST_EAST_ASIAN = "\u2e80"

_log = logging.getLogger("liteocr")


def draw_page(page: Page, image: Any, *, font: str | os.PathLike[str] | None = None) -> Image:
    """Draw a page: the picture with the lines' boxes on the left, their texts on a white panel on the right.

    Each text is as tall as its line and runs along it; where it would be longer than the line it is squeezed. Columns
    of Chinese, Japanese or Korean are written downwards.

    Args:
        page: what was read.
        image: the picture that was read, in any form that :func:`liteocr.image.load` takes; it is not changed.
        font: path of a TrueType or OpenType font. None: the one built into OpenCV 5; with OpenCV 4 a font of the
            system, for which Pillow is needed. Without either only ASCII is legible, and a warning is logged.

    Returns:
        uint8, (H, 2 W, 3), BGR.

    Raises:
        ImageError: ``image`` cannot be read, or is of another size than the page.
        OptionError: ``font`` does not exist or is no font.
        MissingPackageError: ``font`` is given, but with OpenCV 4 Pillow is needed to use it.
    """
    picture = load(image, max_pixels=max(MAX_PIXELS, page.width * page.height))
    height, width = picture.shape[:2]
    if (width, height) != (page.width, page.height):
        raise ImageError(
            f"the picture has {width} x {height} pixels, the page {page.width} x {page.height}: "
            "give the picture that was read"
        )
    render = _renderer(font)
    canvas = np.full((height, 2 * width, 3), 255, np.uint8)
    left, right = canvas[:, :width], canvas[:, width:]
    left[:] = picture
    thickness = max(1, round(min(height, width) / 500))
    for line in page:
        if line.polygon is not None:
            _outline(left, line.polygon, _POLYGON, thickness)
        _outline(left, line.quad, _BOX, thickness)
        _outline(right, line.quad, _PANEL_BOX, 1)
    for line in page:
        _write(right, line, render)
    return canvas


def _outline(image: Image, points: Any, colour: tuple[int, int, int], thickness: int) -> None:
    fixed = np.rint(np.asarray(points, np.float64) * 8).astype(np.int32)
    cv2.polylines(cast(Any, image), [fixed], True, colour, thickness, cv2.LINE_AA, shift=3)


def _write(panel: Image, line: TextLine, render: Render) -> None:
    """Write a line's text into its quad."""
    text = "".join(c if c.isprintable() else " " for c in line.text).strip()
    quad = np.array(line.quad, np.float32)
    length = (math.dist(quad[0], quad[1]) + math.dist(quad[2], quad[3])) / 2
    across = (math.dist(quad[1], quad[2]) + math.dist(quad[3], quad[0])) / 2
    if not text or length < 1 or across < 1:
        return
    dx, dy = quad[1] - quad[0]
    east_asian = sum(c >= _FIRST_EAST_ASIAN for c in text)
    if dy > 2 * abs(dx) and 2 * east_asian > len(text):
        # A column: glyphs upright, one below the other. Its upper edge is the quad's last side.
        ink = _stack(text, across, length, render)
        corners = np.roll(quad, 1, axis=0)
    else:
        ink = _along(text, across, length, render)
        corners = quad
    _blend(panel, ink, corners)


def _along(text: str, height: float, length: float, render: Render) -> Image:
    """The ink of a text that runs along its line, in the line's proportions."""
    ink = render(text, max(8, round(height / _LINE_HEIGHT)))
    wanted = round(length * ink.shape[0] / height)
    if ink.shape[1] > wanted:
        return cast(Image, cv2.resize(ink, (max(1, wanted), ink.shape[0]), interpolation=cv2.INTER_AREA))
    return np.pad(ink, ((0, 0), (0, wanted - ink.shape[1])))


def _stack(text: str, width: float, length: float, render: Render) -> Image:
    """The ink of a column, in the column's proportions: each glyph in the middle of its share of the length."""
    step = max(8, round(length / len(text)))
    breadth = max(8, round(width * step * len(text) / length))
    em = max(6, min(step, breadth))
    column = np.zeros((step * len(text), breadth), np.uint8)
    for index, char in enumerate(text):
        glyph = render(char, em)
        if glyph.shape[0] > step or glyph.shape[1] > breadth:
            scale = min(step / glyph.shape[0], breadth / glyph.shape[1])
            size = (max(1, int(glyph.shape[1] * scale)), max(1, int(glyph.shape[0] * scale)))
            glyph = cast(Image, cv2.resize(glyph, size, interpolation=cv2.INTER_AREA))
        y = index * step + (step - glyph.shape[0]) // 2
        x = (breadth - glyph.shape[1]) // 2
        column[y : y + glyph.shape[0], x : x + glyph.shape[1]] = glyph
    return column


def _blend(panel: Image, ink: Image, corners: NDArray[np.float32]) -> None:
    """Lay ink onto the panel so that its corners, clockwise from its top left, come to the given ones."""
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int), [panel.shape[1], panel.shape[0]])
    w, h = (high - low).tolist()
    if w < 1 or h < 1:
        return
    rows, columns = ink.shape
    # OpenCV's warps put pixels' centres at whole numbers, quads put their corners there.
    source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32) - 0.5
    target = (corners - low - 0.5).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    warped = cast(Image, cv2.warpPerspective(ink, matrix, (w, h), flags=cv2.INTER_LINEAR))
    region = panel[low[1] : high[1], low[0] : high[0]]
    np.minimum(region, 255 - warped[..., None], out=region)


# Fonts ---------------------------------------------------------------------------------------------------------------


def _renderer(font: str | os.PathLike[str] | None) -> Render:
    """Find what can write: OpenCV 5 by itself, else Pillow with a font of the system, else strokes for ASCII."""
    path = None if font is None else os.fspath(font)
    if path is not None:
        _check_font(path)
    if hasattr(cv2, "FontFace"):
        face = cv2.FontFace("sans")
        if face.set("uni" if path is None else path):
            return _opencv5(face)
        if path is not None:
            raise OptionError(f"{path}: OpenCV cannot read this font; give another TrueType or OpenType font")
    try:
        import PIL.Image  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        if path is not None:
            raise MissingPackageError(
                f"OpenCV {cv2.__version__} cannot use font files: pip install 'liteocr[draw]', or OpenCV 5"
            ) from error
        return _strokes("install OpenCV 5, or Pillow (pip install 'liteocr[draw]')")
    path = path or _system_font()
    if path is None:
        return _strokes("install a font with Chinese glyphs (Debian: apt-get install fonts-noto-cjk), or name one")
    return _pillow(path)


def _opencv5(face: Any) -> Render:
    cv = cast(Any, cv2)  # the stubs of OpenCV 4 know nothing of it

    def render(text: str, em: int) -> Image:
        x, _, w, _ = cv.getTextSize((0, 0), text, (0, 0), face, em)
        ink = _blank(x + w, em)
        cv.putText(ink, text, (0, round(_BASELINE * em)), (255,), face, em)
        return ink

    return render


def _pillow(path: str) -> Render:
    from PIL import Image as PILImage  # noqa: PLC0415 - optional
    from PIL import ImageDraw, ImageFont  # noqa: PLC0415

    @lru_cache(maxsize=64)
    def sized(em: int) -> Any:
        try:
            return ImageFont.truetype(path, em)
        except OSError as error:
            raise OptionError(f"{path}: Pillow cannot read this font ({error}); give another one") from error

    def render(text: str, em: int) -> Image:
        image = PILImage.fromarray(_blank(sized(em).getlength(text), em))
        # "ls": from the left end of the baseline
        ImageDraw.Draw(image).text((0, round(_BASELINE * em)), text, fill=255, font=sized(em), anchor="ls")
        return np.asarray(image, np.uint8)

    return render


def _strokes(advice: str) -> Render:
    """Write with OpenCV 4's own letters, which are ASCII; what is not becomes a question mark."""
    _warn_ascii(advice)

    def render(text: str, em: int) -> Image:
        text = text.encode("ascii", "replace").decode()
        scale, thickness = em / 30, max(1, round(em / 16))  # its capitals are 21 units tall, 0.7 em
        (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        ink = _blank(width, em)
        start = (0, round(_BASELINE * em))
        cv2.putText(ink, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, (255,), thickness, cv2.LINE_AA)
        return ink

    return render


def _blank(width: float, em: int) -> Image:
    """No ink yet, for a text of this width; a little is added for slanted ends."""
    return np.zeros((math.ceil(_LINE_HEIGHT * em), max(1, math.ceil(width + em / 16))), np.uint8)


@lru_cache(maxsize=8)
def _warn_ascii(advice: str) -> None:
    """Say it once a process."""
    _log.warning("only ASCII can be drawn legibly here: %s", advice)


def _check_font(path: str) -> None:
    """Refuse what is no font file: OpenCV 5.0 crashes on some such files.

    Raises:
        OptionError: there is no such file, or its table directory does not fit it.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(16)
            start = 0
            if head[:4] == b"ttcf":  # a collection: the first of its fonts
                (start,) = struct.unpack(">I", head[12:16])
                file.seek(start)
                head = file.read(16)
            kind, count = struct.unpack(">4sH", head[:6])
            file.seek(start + 12)
            tables = list(struct.iter_unpack(">4sIII", file.read(16 * count)))
    except OSError as error:
        raise OptionError(f"{path}: the font cannot be read ({error.strerror}); check the path") from error
    except struct.error:
        kind, count, tables = b"", 0, []
    whole = len(tables) == count and all(offset + length <= size for _, _, offset, length in tables)
    if kind not in {b"\0\1\0\0", b"OTTO", b"true"} or not count or not whole:
        raise OptionError(f"{path} is no TrueType or OpenType font, or it is truncated; give another font")


_FONT_FOLDERS = {
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": ("$WINDIR/Fonts", "$LOCALAPPDATA/Microsoft/Windows/Fonts"),
}
_FONT_FOLDERS_ELSEWHERE = ("~/.local/share/fonts", "~/.fonts", "/usr/local/share/fonts", "/usr/share/fonts")

_FONT_NAMES = (
    "notosanscjk-regular",
    "notosanssc-regular",
    "notosanscjksc-regular",
    "sourcehansans",
    "notosanscjk",
    "wqy-microhei",
    "wqy-zenhei",
    "pingfang",
    "hiragino sans gb",
    "stheiti",
    "msyh",
    "simhei",
    "simsun",
    "droidsansfallback",
    "notoserifcjk",
    "uming",
    "arial unicode",
)
"""Starts of the file names of fonts with Chinese glyphs, best first, in lower case."""


@lru_cache(maxsize=1)
def _system_font() -> str | None:
    """Path of a font of the system that has Chinese glyphs."""
    best: tuple[int, str] | None = None
    for folder in _FONT_FOLDERS.get(sys.platform, _FONT_FOLDERS_ELSEWHERE):
        for directory, _, names in os.walk(os.path.expanduser(os.path.expandvars(folder))):
            for name in names:
                if name.lower().endswith((".ttf", ".ttc", ".otf")):
                    for rank, start in enumerate(_FONT_NAMES):
                        if name.lower().startswith(start):
                            best = min(best or (rank, "~"), (rank, os.path.join(directory, name)))
                            break
    return best[1] if best else None
