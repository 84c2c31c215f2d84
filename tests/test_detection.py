"""The detector's tiles, with the real network on a page larger than one."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import liteocr
from liteocr.detection import _spans


@given(st.integers(1, 400), st.integers(12, 60))
def test_tiles_cover_a_side_without_gaps(strides: int, tile: int) -> None:
    spans = _spans(32 * strides, 32 * tile, 96, 32)
    assert spans[0][0] == 0 and spans[-1][1] == 32 * strides
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert all(b > a and a % 32 == 0 for a, b in spans)
    if len(spans) > 1:
        assert max(b - a for a, b in spans) + 2 * 96 <= 32 * (tile + 1)


def test_tiles_do_not_cut_lines() -> None:
    page = np.full((900, 1300, 3), 255, np.uint8)
    for y in range(60, 880, 60):
        cv2.putText(page, "Lines across the borders of tiles 0123456789", (40, y), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 0, 2)
    whole, tiled = (
        liteocr.TextDetector(options=liteocr.DetectorOptions(max_side=None, tile=tile)).detect(page)
        for tile in (1600, 512)
    )
    assert len(whole) == len(tiled) == 14

    def middle(d: liteocr.Detection) -> float:
        return float(d.quad[:, 1].mean())

    for a, b in zip(sorted(whole, key=middle), sorted(tiled, key=middle), strict=True):
        np.testing.assert_allclose(a.quad, b.quad, atol=6)


def test_a_tile_must_hold_its_halo() -> None:
    with pytest.raises(liteocr.OptionError, match="tile"):
        liteocr.DetectorOptions(tile=100)
