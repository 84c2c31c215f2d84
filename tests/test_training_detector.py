"""The detector's labels: what is shrunk by how much, and what is asked where."""

import itertools

import numpy as np
import pytest

from training.labels import RATIOS, height, make_labels, shrink

LINE = np.array([[10, 20], [110, 20], [110, 40], [10, 40]], np.float32)


def test_the_example_of_the_paper_s_rule() -> None:
    (piece,) = shrink(LINE, 0.5)
    low, high = piece.min(0), piece.max(0)
    assert low == pytest.approx((16.25, 26.25), abs=0.07)
    assert high == pytest.approx((103.75, 33.75), abs=0.07)


def test_ratio_one_changes_nothing() -> None:
    (piece,) = shrink(LINE, 1.0)
    assert np.array_equal(piece, LINE)


def test_nothing_remains_of_a_polygon_without_area() -> None:
    assert shrink(np.array([[0, 0], [50, 0], [50, 0], [0, 0]], np.float32), 0.5) == []


def test_an_hourglass_falls_into_two_pieces() -> None:
    glass = np.array([[0, 0], [100, 0], [52, 50], [100, 100], [0, 100], [48, 50]], np.float32)
    assert len(shrink(glass, 0.7)) == 2


@pytest.mark.parametrize("turn", [0, 1])
def test_kernels_nest_and_the_whole_line_is_first(turn: int) -> None:
    line = LINE if not turn else LINE[::-1]  # the direction of the outline does not matter
    kernels = make_labels([line], [], 64, 128).kernels
    assert kernels.shape == (len(RATIOS), 32, 64)
    assert int(kernels[0].sum()) == pytest.approx(50 * 10, rel=0.05)
    for outer, inner in itertools.pairwise(kernels):
        assert inner.any()
        assert not (inner & ~outer & 1).any()


def test_touching_lines_are_apart_in_the_smallest_kernel() -> None:
    second = LINE + np.array((0, 20), np.float32)
    kernels = make_labels([LINE, second], [], 96, 128).kernels
    column = kernels[:, :, 30]
    assert np.count_nonzero(np.diff(column[0].astype(int)) == 1) == 1
    assert np.count_nonzero(np.diff(column[-1].astype(int)) == 1) == 2


def test_nothing_is_asked_of_scribble_and_of_tiny_text() -> None:
    tiny = np.array([[10, 60], [100, 60], [100, 63], [10, 63]], np.float32)
    labels = make_labels([tiny], [LINE], 96, 128)
    assert not labels.kernels.any()
    assert labels.care[15, 30] == 0
    assert labels.care[30, 30] == 0
    assert labels.care[45, 60] == 1


def test_small_text_weighs_more_than_large() -> None:
    small = np.array([[10, 60], [100, 60], [100, 68], [10, 68]], np.float32)
    large = np.array([[10, 100], [200, 100], [200, 180], [10, 180]], np.float32)
    weight = make_labels([small, large], [], 192, 256).weight
    assert weight[32, 30] > 1 > weight[70, 50]


def test_height_of_a_slanted_line() -> None:
    turn = np.deg2rad(30)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
    assert height(LINE @ rotation.T) == pytest.approx(20, abs=0.1)
