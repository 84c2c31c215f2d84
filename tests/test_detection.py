"""The detector's tiles, with the real network on a page larger than one."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import liteocr
from liteocr.detection import _tiles
from liteocr.net import Net


@given(st.integers(1, 200), st.integers(1, 200), st.integers(150_000, 2_000_000))
def test_tiles_cover_an_input_without_gaps(height: int, width: int, area: int) -> None:
    rows, columns = _tiles(32 * height, 32 * width, area, 96, 32)
    for spans, length in ((rows, 32 * height), (columns, 32 * width)):
        assert spans[0].start == 0 and spans[-1].end == length
        assert all(a.end == b.start for a, b in itertools.pairwise(spans))
        assert all(s.end > s.start and s.end % 32 == 0 for s in spans)
        assert all(0 <= s.first <= max(s.start - 96, 0) and min(s.end + 96, length) <= s.last <= length for s in spans)
        assert len({s.last - s.first for s in spans}) == 1 and all(s.first % 32 == s.last % 32 == 0 for s in spans)
    largest = max(y.last - y.first for y in rows) * max(x.last - x.first for x in columns)
    assert largest <= area
    if 1024 * height * width <= area:
        assert len(rows) == len(columns) == 1


def test_pages_are_cut_across_their_longer_side() -> None:
    rows, columns = _tiles(1728, 736, 720_000, 96, 32)
    assert (len(rows), len(columns)) == (2, 1)
    rows, columns = _tiles(736, 1728, 720_000, 96, 32)
    assert (len(rows), len(columns)) == (1, 2)


def test_the_memory_of_a_large_page_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[tuple[int, int]] = []
    run_image, release = Net.run_image, Net.release
    monkeypatch.setattr(Net, "run_image", lambda net, *a: (released.append(a[0].shape[:2]), run_image(net, *a))[1])
    monkeypatch.setattr(Net, "release", lambda net: (released.append((0, 0)), release(net))[1])
    detector = liteocr.TextDetector(options=liteocr.DetectorOptions(tile=160_000))
    detector.maps(np.full((500, 700, 3), 255, np.uint8))
    *tiles, end = released
    assert len(tiles) > 1 and len(set(tiles)) == 1 and end == (0, 0)


def test_tiles_do_not_cut_lines() -> None:
    page = np.full((900, 1300, 3), 255, np.uint8)
    for y in range(60, 880, 60):
        cv2.putText(page, "Across-the-borders-of-tiles-0123456789", (40, y), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 0, 2)
    whole, tiled = (
        liteocr.TextDetector(options=liteocr.DetectorOptions(max_side=None, tile=tile)).detect(page)
        for tile in (2_000_000, 250_000)
    )
    assert len(whole) == len(tiled) == 14

    def middle(d: liteocr.Detection) -> float:
        return float(d.quad[:, 1].mean())

    for a, b in zip(sorted(whole, key=middle), sorted(tiled, key=middle), strict=True):
        ends = [[d.quad[:, 0].min(), d.quad[:, 0].max(), middle(d)] for d in (a, b)]
        np.testing.assert_allclose(*ends, atol=10)  # lines are 60 apart


def test_a_tile_must_hold_its_halo() -> None:
    with pytest.raises(liteocr.OptionError, match="tile"):
        liteocr.DetectorOptions(tile=100_000)
