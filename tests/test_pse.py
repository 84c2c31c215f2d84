"""Progressive scale expansion: examples worked by hand, equality with the plain reference, and speed beside it."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pse_reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from liteocr import pse


def kernels(*pictures: str) -> np.ndarray:
    """Kernels (n, H, W) from drawings, the whole text first: rows parted by blanks, ``#`` is in."""
    return np.array([[[c == "#" for c in row] for row in picture.split()] for picture in pictures])


def drawn(labels: np.ndarray) -> str:
    """Labels as digits, ``.`` for none, rows parted by blanks."""
    return " ".join("".join(str(v) if v else "." for v in row) for row in labels.tolist())


def page(height: int, width: int, *, rows: int, columns: int, touching: float, seed: int = 0) -> np.ndarray:
    """Six nested kernels of a page of slightly slanted lines, of which ``touching`` are higher than their row."""
    rng = np.random.default_rng(seed)
    out = np.zeros((6, height, width), np.uint8)
    for row in range(rows):
        for column in range(columns):
            centre = ((column + 0.5) * width / columns, (row + 0.5) * height / rows)
            line = height / rows * (1.05 if rng.random() < touching else 0.7)
            length = width / columns * rng.uniform(0.6, 0.95)
            slant = rng.normal(0, 0.1)
            for i, kernel in enumerate(out):
                across = line * (1 - 0.1 * i)
                box = cv2.boxPoints((centre, (length - (line - across), across), slant))
                cv2.fillPoly(kernel, [np.round(box).astype(np.int32)], 1)
    return np.maximum.accumulate(out[::-1])[::-1].astype(bool)


def nested(k: np.ndarray) -> np.ndarray:
    """Each kernel joined with the smaller ones, as the network means them."""
    return np.logical_or.accumulate(k[::-1])[::-1]


# The whole text first, the seeds last; all worked by hand with the list of the module's docstring.
EXAMPLES = {
    "two lines meet half way": (["######.", "#....#."], "111222."),
    "a tie goes to the pixel that was queued first": (["#####", "#...#"], "11122"),
    # The pixel in the right column touches 2 above and 1 below: the row above was queued first, whatever its number.
    "seeds queue in raster order, not by number": (["#.# #.# ###", "#.# #.. ###"], "1.2 1.2 111"),
    # In kernels[1] only 1 may spread, so it holds four pixels before 2 moves at all.
    "an inner kernel gives a head start": (["#######", "####..#", "#.....#"], "1111122"),
    # kernels[1] lets 1 spread to x=1: the list is 0 5 1. Then 5 labels 4 before 1 labels 2, so 4 is walked before 2
    # and has x=3. In raster order 1 would have had it.
    "the order of labelling lasts into the next kernel": (["######", "##...#", "#....#"], "111222"),
    # The seed spreads to the right in kernels[1], and is queued again for the left.
    "a pixel that has spread one way spreads the other way later": (["###", ".##", ".#."], "111"),
    "no label crosses a diagonal": (["#. .#", "#. .."], "1. .."),
    "text without a seed stays empty": (["##.## ##.##", "#.... ....."], "11... 11..."),
    # x=2 is in kernels[1] alone: it is labelled there, keeps its label, and is the bridge to x=3.
    "kernels that are not nested": (["##.#", "..#.", ".#.."], "1111"),
    "one kernel: its components": (["#.# #.. ..#"], "1.2 1.. ..3"),
    "no seeds": (["###", "..."], "..."),
    "nothing at all": (["...", "..."], "..."),
    "the whole picture is a seed": (["## ##", "## ##"], "11 11"),
}


@pytest.mark.parametrize(("pictures", "expected"), EXAMPLES.values(), ids=EXAMPLES.keys())
@pytest.mark.parametrize("expand", [pse.expand, pse_reference.expand], ids=["fast", "reference"])
def test_worked_examples(expand: Callable[[np.ndarray], np.ndarray], pictures: list[str], expected: str) -> None:
    assert drawn(expand(kernels(*pictures))) == expected


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
# mostly true, so that labels meet
PIXELS = st.sampled_from([True, True, False])


@settings(max_examples=150, deadline=None)
@given(arrays(bool, SHAPES, elements=PIXELS), st.sampled_from(["as drawn", "inside the first", "nested"]))
def test_equals_the_reference(k: np.ndarray, kind: str) -> None:
    if kind == "inside the first":
        k[1:] &= k[0]
    elif kind == "nested":
        k = nested(k)
    np.testing.assert_array_equal(pse.expand(k), pse_reference.expand(k))


@pytest.mark.parametrize("kind", ["as drawn", "inside the first", "nested"])
def test_equals_the_reference_on_noise(kind: str) -> None:
    # Noise of many densities has far more ties than a page of lines, and seeds enough to search everywhere.
    rng = np.random.default_rng(5)
    for _ in range(150):
        n, height, width = rng.integers(1, 6), *rng.integers(1, 30, 2)
        k = rng.random((n, height, width)) < rng.uniform(0.05, 0.95, (n, 1, 1))
        if kind == "inside the first":
            k[1:] &= k[0]
        elif kind == "nested":
            k = nested(k)
        np.testing.assert_array_equal(pse.expand(k), pse_reference.expand(k))


def test_the_order_of_neighbours_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    cases = [nested(rng.random((4, 20, 20)) < rng.uniform(0.1, 0.5, (4, 1, 1))) for _ in range(40)]
    before = [pse_reference.expand(k) for k in cases]
    monkeypatch.setattr(pse_reference, "NEIGHBOURS", pse_reference.NEIGHBOURS[::-1])
    for k, labels in zip(cases, before, strict=True):
        np.testing.assert_array_equal(pse_reference.expand(k), labels)


def test_a_page_of_lines_is_the_reference_s_and_20_times_as_fast() -> None:
    k = page(1280, 960, rows=50, columns=2, touching=0.5)
    start = time.perf_counter()
    expected = pse_reference.expand(k)
    slow = time.perf_counter() - start
    fast = np.inf
    for _ in range(7):
        start = time.perf_counter()
        labels = pse.expand(k)
        fast = min(fast, time.perf_counter() - start)
    np.testing.assert_array_equal(labels, expected)
    assert labels.max() == 100
    assert slow / fast >= 20


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_takes_any_integers_and_any_memory(dtype: type) -> None:
    k = page(60, 80, rows=4, columns=1, touching=1.0)
    other = np.asfortranarray(k.astype(dtype) * dtype(1 if dtype is bool else 2))
    other.flags.writeable = False
    labels = pse.expand(other)
    np.testing.assert_array_equal(labels, pse.expand(k))
    assert labels.dtype == np.int32
    assert labels.flags.c_contiguous
    assert labels.flags.writeable


@pytest.mark.parametrize("shape", [(3, 0, 5), (3, 5, 0), (1, 0, 0)])
def test_an_empty_map_has_no_labels(shape: tuple[int, ...]) -> None:
    assert pse.expand(np.zeros(shape, bool)).shape == shape[1:]
    assert pse.regions(np.zeros(shape[1:], np.int32), np.zeros(shape[1:], np.float32)) == []


@pytest.mark.parametrize("shape", [(5, 5), (0, 5, 5), (1, 2, 5, 5)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        pse.expand(np.zeros(shape, bool))


def test_min_area_drops_small_lines_and_numbers_the_rest_without_gaps() -> None:
    k = kernels("##.###.#", "#..#...#")
    assert drawn(pse.expand(k)) == "11.222.3"
    assert drawn(pse.expand(k, min_area=2)) == "11.222.."
    assert drawn(pse.expand(k, min_area=3)) == "...111.."
    assert drawn(pse.expand(k, min_area=4)) == "........"


def test_regions_by_hand() -> None:
    labels = np.array([[0, 3, 3, 0], [1, 0, 3, 1]], np.int32)
    score = np.array([[9, 1, 2, 9], [4, 9, 6, 5]], np.float32)
    assert pse.regions(labels, score) == [
        pse.Region(1, (0, 1, 4, 2), 2, 4.5),
        pse.Region(3, (1, 0, 3, 2), 3, 3.0),
    ]


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 4)))
def test_regions_equal_a_mask_per_label(labels: np.ndarray) -> None:
    score = np.random.default_rng(0).random(labels.shape, np.float32)
    found = pse.regions(labels, score)
    assert [r.label for r in found] == [v for v in range(1, 5) if (labels == v).any()]
    for region in found:
        y, x = np.nonzero(labels == region.label)
        assert region.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert region.area == len(x)
        assert region.score == pytest.approx(score[y, x].astype(float).mean())


def test_regions_refuse_another_shape() -> None:
    with pytest.raises(ValueError, match="expected"):
        pse.regions(np.zeros((4, 5), np.int32), np.zeros((5, 4), np.float32))
