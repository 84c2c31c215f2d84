"""Greedy CTC decoding, on examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteocr.ctc import greedy


def steps(*classes: int, count: int = 4, logit: float = 5.0) -> np.ndarray:
    scores = np.zeros((len(classes), count), np.float32)
    scores[np.arange(len(classes)), classes] = logit
    return scores


def test_runs_merge_and_blanks_separate() -> None:
    found = greedy(steps(1, 1, 0, 1, 3, 3, 0))
    assert [(e.index, e.start, e.end) for e in found] == [(1, 0, 2), (1, 3, 4), (3, 4, 6)]


def test_repeated_digits_need_a_blank_between_them() -> None:
    assert [e.index for e in greedy(steps(2, 0, 2, 0, 2, 0, 2))] == [2, 2, 2, 2]
    assert [e.index for e in greedy(steps(2, 2, 2, 2))] == [2]


def test_score_is_the_softmax_of_the_best_step() -> None:
    logits = np.array([[0, 2, 0], [0, 4, 0]], np.float32)  # the same class twice: e^4 / (e^4 + 2) is the higher one
    (only,) = greedy(logits)
    assert only.score == pytest.approx(np.exp(4) / (np.exp(4) + 2), abs=1e-6)
    assert only.peak == 1


def test_probabilities_are_taken_as_they_are() -> None:
    (only,) = greedy(np.array([[0.1, 0.7, 0.2]], np.float32), logits=False)
    assert only.score == pytest.approx(0.7)


def test_large_logits_do_not_overflow() -> None:
    (only,) = greedy(np.array([[0, 30000.0, 29999.0]], np.float32))
    assert only.score == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)


def test_the_blank_may_be_any_class() -> None:
    assert [e.index for e in greedy(steps(0, 3, 0), blank=3)] == [0, 0]


def test_nothing_to_read() -> None:
    assert greedy(steps(0, 0, 0)) == ()
    assert greedy(np.zeros((0, 5), np.float32)) == ()


@pytest.mark.parametrize(("shape", "blank"), [((4,), 0), ((2, 3, 4), 0), ((2, 3), 3), ((2, 3), -1)])
def test_wrong_arguments_are_refused(shape: tuple[int, ...], blank: int) -> None:
    with pytest.raises(ValueError, match=r"scores must be|blank is"):
        greedy(np.zeros(shape, np.float32), blank=blank)


@given(st.lists(st.integers(0, 3), max_size=30))
def test_equals_the_definition(path: list[int]) -> None:
    """Merge runs, then drop blanks, as the paper defines the map from paths to labellings."""
    merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
    assert [e.index for e in greedy(steps(*path).reshape(-1, 4))] == [c for c in merged if c != 0]
