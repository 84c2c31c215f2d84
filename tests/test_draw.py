"""Drawing: boxes on a copy of the picture, legible texts beside it."""

from __future__ import annotations

import logging
import struct
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from liteocr import ImageError, MissingPackageError, OptionError, Page, TextLine, draw

WIDTH, HEIGHT = 400, 300
has_font = hasattr(cv2, "FontFace") or draw._system_font() is not None


def line(center_x: float, center_y: float, length: float, height: float, *what: Any) -> TextLine:
    """A line around a centre; ``what`` is its direction (0: rightwards, 90: downwards) and its text."""
    degrees, text = what
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    half = np.array([[-length, -height], [length, -height], [length, height], [-length, height]]) / 2
    a, b, c, d = ((float(x), float(y)) for x, y in half @ turn + [center_x, center_y])
    return TextLine((a, b, c, d), text, 0.9, 0.9, 0)


def page(*lines: TextLine) -> Page:
    return Page(lines, WIDTH, HEIGHT)


def ink(canvas: np.ndarray, x0: int, y0: int, x1: int, y1: int) -> float:
    """Share of dark pixels in a rectangle of the panel."""
    return float((canvas[y0:y1, WIDTH + x0 : WIDTH + x1].max(axis=2) < 128).mean())


@pytest.fixture
def picture() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), (190, 200, 210), np.uint8)


def test_the_picture_is_on_the_left_and_is_not_drawn_upon(picture: np.ndarray) -> None:
    before = picture.copy()
    canvas = page(line(100, 50, 160, 30, 0, "HELLO")).draw(picture)
    assert canvas.shape == (HEIGHT, 2 * WIDTH, 3)
    assert canvas.dtype == np.uint8
    np.testing.assert_array_equal(picture, before)
    # the box is drawn, its inside is not
    assert (canvas[35, 100] != picture[35, 100]).any()
    np.testing.assert_array_equal(canvas[45:55, 30:170], picture[45:55, 30:170])


def test_a_page_without_lines(picture: np.ndarray) -> None:
    canvas = page().draw(picture)
    np.testing.assert_array_equal(canvas[:, :WIDTH], picture)
    assert (canvas[:, WIDTH:] == 255).all()


def test_text_stands_in_its_line_and_is_as_tall(picture: np.ndarray) -> None:
    canvas = page(line(150, 100, 280, 40, 0, "HHHHHHHH")).draw(picture)
    rows = np.flatnonzero((canvas[:, WIDTH:].max(axis=2) < 128).any(axis=1))
    assert rows[0] >= 80
    assert rows[-1] <= 120
    assert 18 <= rows[-1] - rows[0] + 1 <= 34  # capitals of a line of 40 pixels
    assert ink(canvas, 10, 80, 160, 120) > 0.05


def test_a_long_text_is_squeezed_into_its_line(picture: np.ndarray) -> None:
    canvas = page(line(100, 100, 60, 40, 0, "a rather long text")).draw(picture)
    dark = canvas[:, WIDTH:].max(axis=2) < 200
    columns = np.flatnonzero(dark.any(axis=0))
    assert columns[0] >= 69
    assert columns[-1] <= 131


@pytest.mark.skipif(not has_font, reason="no font with Chinese glyphs")
def test_chinese_is_legible(picture: np.ndarray) -> None:
    """Different characters come out as different glyphs, not as one replacement box or question mark."""
    glyphs = []
    for char in "收据合计一龍":
        canvas = page(line(60, 60, 48, 48, 0, char)).draw(picture)
        glyphs.append(canvas[36:84, WIDTH + 36 : WIDTH + 84, 0].astype(int))
    for i, glyph in enumerate(glyphs):
        assert (glyph < 128).mean() > 0.01
        for other in glyphs[:i]:
            assert np.abs(glyph - other).mean() > 5


@pytest.mark.skipif(not has_font, reason="no font with Chinese glyphs")
def test_columns_are_written_downwards_with_upright_glyphs(picture: np.ndarray) -> None:
    canvas = page(line(100, 150, 240, 40, 90, "一一一一一一")).draw(picture)
    # six horizontal strokes one below the other: many separate runs of dark rows, none of them tall
    dark = (canvas[30:270, WIDTH + 80 : WIDTH + 120].max(axis=2) < 128).any(axis=1)
    assert int(np.count_nonzero(np.diff(dark.astype(int)) == 1)) == 6


def test_turned_lines_are_written_along_their_direction(picture: np.ndarray) -> None:
    # a text that fills the first part of its line only: where the ink is tells the direction
    right, left, down, up = (page(line(150, 150, 260, 40, a, "HH")).draw(picture) for a in (0, 180, 90, 270))
    assert ink(right, 20, 130, 100, 170) > 0.05 > ink(right, 200, 130, 280, 170)
    assert ink(left, 200, 130, 280, 170) > 0.05 > ink(left, 20, 130, 100, 170)
    assert ink(down, 130, 20, 170, 100) > 0.05 > ink(down, 130, 200, 170, 280)
    assert ink(up, 130, 200, 170, 280) > 0.05 > ink(up, 130, 20, 170, 100)


def test_lines_that_reach_beyond_the_picture_or_have_no_size(picture: np.ndarray) -> None:
    lines = [
        line(395, 295, 100, 30, 0, "edge"),
        line(-500, -500, 50, 20, 10, "outside"),
        TextLine(((5, 5), (5, 5), (5, 5), (5, 5)), "point", 0.5, 0.5, 0),
        line(100, 100, 50, 20, 0, "   "),
        line(100, 100, 50, 20, 0, "tab\tand\nbreak"),
    ]
    assert page(*lines).draw(picture).shape == (HEIGHT, 2 * WIDTH, 3)


def test_polygons_are_drawn(picture: np.ndarray) -> None:
    quad = line(100, 100, 100, 40, 0, "").quad
    with_polygon = TextLine(quad, "", 0.5, 0.5, 0, polygon=((200.0, 200.0), (260.0, 200.0), (230.0, 260.0)))
    canvas = page(with_polygon).draw(picture)
    assert (canvas[200, 230] != picture[200, 230]).any()


def test_any_source_can_be_drawn_on(picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), picture)
    found = page(line(100, 50, 160, 30, 0, "HELLO"))
    np.testing.assert_array_equal(found.draw(path), found.draw(picture))
    np.testing.assert_array_equal(found.draw(picture[..., 0])[0, 0], [190, 190, 190])


def test_a_picture_of_another_size_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ImageError, match="200 x 150 pixels, the page 400 x 300"):
        page().draw(picture[::2, ::2])


def test_fonts_that_do_not_exist_or_are_none(picture: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"nowhere\.ttf: the font cannot be read"):
        page().draw(picture, font=str(tmp_path / "nowhere.ttf"))
    junk = tmp_path / "junk.ttf"
    for data in (b"", b"\0\1\0\0", b"no font at all " * 20, b"\0\1\0\0\0\x04" + b"\xff" * 100, b"ttcf" + b"\xff" * 60):
        junk.write_bytes(data)
        with pytest.raises(OptionError, match="is no TrueType or OpenType font"):
            page().draw(picture, font=str(junk))


@pytest.mark.skipif(draw._system_font() is None, reason="no font with Chinese glyphs on this system")
def test_a_font_of_ones_own(picture: np.ndarray, tmp_path: Path) -> None:
    font = draw._system_font()
    assert font is not None
    canvas = page(line(150, 100, 280, 40, 0, "收据 Receipt")).draw(picture, font=font)
    assert ink(canvas, 10, 80, 290, 120) > 0.05
    cut = tmp_path / "cut.ttf"
    cut.write_bytes(Path(font).read_bytes()[:5000])
    with pytest.raises(OptionError, match="truncated"):
        page().draw(picture, font=str(cut))


@pytest.mark.skipif(draw._system_font() is None, reason="no font with Chinese glyphs on this system")
def test_opencv_4_writes_through_pillow(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    canvas = page(line(150, 100, 280, 40, 0, "收据 Receipt")).draw(picture)
    assert ink(canvas, 10, 80, 290, 120) > 0.05
    junk = tmp_path / "junk.ttf"
    junk.write_bytes(b"\0\1\0\0\0\1" + bytes(6) + b"name" + struct.pack(">III", 0, 28, 4) + b"junk")
    with pytest.raises(OptionError, match="Pillow cannot read"):
        page(line(150, 100, 280, 40, 0, "a")).draw(picture, font=str(junk))


def test_opencv_4_alone_writes_ascii_and_says_so_once(
    picture: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    draw._warn_ascii.cache_clear()
    with caplog.at_level(logging.WARNING, "liteocr"):
        for _ in range(2):
            canvas = page(line(150, 100, 280, 40, 0, "Receipt 收据")).draw(picture)
    assert ink(canvas, 10, 80, 290, 120) > 0.03
    assert [record.message for record in caplog.records] == [
        "only ASCII can be drawn legibly here: install OpenCV 5, or Pillow (pip install 'liteocr[draw]')"
    ]
    font = draw._system_font()
    if font is not None:
        with pytest.raises(MissingPackageError, match=r"liteocr\[draw\]"):
            page().draw(picture, font=font)
    draw._warn_ascii.cache_clear()


def test_without_a_font_of_the_system_the_advice_is_another(
    picture: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    monkeypatch.setattr(draw, "_FONT_FOLDERS", {})
    monkeypatch.setattr(draw, "_FONT_FOLDERS_ELSEWHERE", (str(tmp_path),))
    draw._system_font.cache_clear()
    draw._warn_ascii.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "liteocr"):
            page().draw(picture)
        assert "fonts-noto-cjk" in caplog.text
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "simsun.ttc").touch()
        (tmp_path / "NotoSansCJK-Regular.ttc").touch()
        draw._system_font.cache_clear()
        assert draw._system_font() == str(tmp_path / "NotoSansCJK-Regular.ttc")
    finally:
        draw._system_font.cache_clear()
        draw._warn_ascii.cache_clear()
