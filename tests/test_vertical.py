"""Columns of upright characters."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import liteocr
from liteocr.vertical import cut_column, lay_row


def column(marks: list[tuple[int, int]], width: int, height: int = 40) -> np.ndarray:
    """A white strip that lies along the width, with a black mark from x0 to x1 for each character."""
    strip = np.full((height, width, 3), 255, np.uint8)
    for x0, x1 in marks:
        strip[4 : height - 4, x0:x1] = 0
    return strip


def test_cuts_fall_into_the_gaps() -> None:
    marks = [(4, 36), (46, 80), (88, 122), (132, 164)]
    cells = cut_column(column(marks, 170))
    assert len(cells) == 4
    for (start, end), (x0, x1) in zip(cells, marks, strict=True):
        assert start * 170 <= x0 + 2
        assert end * 170 >= x1 - 2


def test_a_gap_within_a_character_is_not_cut() -> None:
    # like 二: two strokes with a gap between them, closer than the gap to the next character
    cells = cut_column(column([(4, 14), (24, 36), (48, 80)], 86))
    assert [round(start * 86) for start, _ in cells][1] in range(36, 49)
    assert len(cells) == 2


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 50), (30, 40), (2000, 3)])
def test_any_size_is_covered_without_gaps(width: int, height: int) -> None:
    rng = np.random.default_rng(5)
    cells = cut_column(rng.integers(0, 255, (height, width, 3), np.uint8))
    assert cells[0][0] == 0.0
    assert cells[-1][1] == 1.0
    assert all(a[1] == b[0] and a[0] < a[1] for a, b in pairwise(cells))
    row = lay_row(rng.integers(0, 255, (height, width, 3), np.uint8), cells)
    assert row.shape[1] == len(cells) * height


def test_cells_are_turned_upright() -> None:
    # lying on its side (turned counter-clockwise), a character's top points left
    strip = column([], 80)
    strip[:, 2:10] = (0, 0, 255)  # red at the top of the first character
    strip[2:10, 40:80] = (255, 0, 0)  # blue at the right of the second one
    row = lay_row(strip, [(0.0, 0.5), (0.5, 1.0)])
    assert row.shape == (40, 80, 3)
    assert row[5, 20].tolist() == [0, 0, 255]
    assert row[35, 20].tolist() == [255, 255, 255]
    assert row[20, 74].tolist() == [255, 0, 0]
    assert row[20, 46].tolist() == [255, 255, 255]


class TopLightRecognizer:
    """Reads characters that are bright at the top and dark at the bottom, so only those that stand upright."""

    def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
        """``abc`` for three of them, else ``?`` with a low score."""
        upper, lower = crop[: crop.shape[0] // 3].mean(), crop[-crop.shape[0] // 3 :].mean()
        if upper > lower + 40 and crop.shape[1] > 2 * crop.shape[0]:
            chars = tuple(liteocr.RecognizedChar(c, 0.9, i / 3, (i + 1) / 3) for i, c in enumerate("abc"))
            return liteocr.Recognition("abc", 0.9, chars)
        return liteocr.Recognition("?", 0.2, (liteocr.RecognizedChar("?", 0.2, 0.0, 1.0),))


class OneColumn:
    """Finds a column of three characters."""

    def detect(self, image: np.ndarray) -> list[liteocr.Detection]:
        """The same place in every picture."""
        return [liteocr.Detection(np.array([[40, 20], [90, 20], [90, 170], [40, 170]], np.float32), 0.9)]


def test_a_column_is_read_downwards_with_upright_quads() -> None:
    image = np.zeros((200, 120, 3), np.uint8)
    for top in (20, 70, 120):
        image[top + 3 : top + 25, 44:86] = 250
        image[top + 25 : top + 47, 44:86] = 60
    (line,) = liteocr.OCR(detector=OneColumn(), recognizer=TopLightRecognizer(), angle=False).read(image)
    assert (line.text, line.angle) == ("abc", 0)
    assert line.quad == ((40, 20), (90, 20), (90, 170), (40, 170))
    tops = [char.quad[0] for char in line.chars]
    assert [x for x, _ in tops] == [40, 40, 40]
    assert tops[0] == (40, 20)
    assert tops == sorted(tops, key=lambda p: p[1])
    assert line.chars[-1].quad[2] == (90, 170)
