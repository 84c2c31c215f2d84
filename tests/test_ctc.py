"""CTC decoding, on examples worked by hand and against every path there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from liteocr.ctc import align, beam, greedy, likeliest, log_softmax


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


# Two steps, blank 0.6 and class 1 with 0.4 at both: the best path is two blanks (0.36), yet the texts' probabilities
# are 0.36 for none and 0.24 + 0.24 + 0.16 = 0.64 for the 1.
TWO = np.log(np.array([[0.6, 0.4], [0.6, 0.4]], np.float32))


def test_a_beam_finds_the_text_that_the_best_path_misses() -> None:
    assert greedy(TWO) == ()
    assert beam(TWO, width=2) == (1,)


def test_a_beam_of_one_goes_on_from_the_likeliest_beginning_alone() -> None:
    # "nothing" (0.6) is kept behind the first step; behind the second it has 0.6 * 0.6, the 1 has 0.6 * 0.4
    assert beam(TWO, width=1) == ()


def test_a_beam_keeps_repeated_digits_apart() -> None:
    log_probs = log_softmax(steps(1, 1, 0, 1, 0, 2, 2))
    assert beam(log_probs, width=4) == (1, 1, 2)


def test_the_likeliest_of_given_texts() -> None:
    assert likeliest(TWO, [(), (1,)]) == 1
    assert likeliest(TWO, [(1, 1), ()]) == 1  # two equal characters need three steps
    assert likeliest(TWO, [(1, 1)]) is None
    assert likeliest(TWO, []) is None


def test_where_the_characters_of_a_text_are() -> None:
    log_probs = log_softmax(steps(0, 1, 1, 0, 1, 2, 0))
    found = align(log_probs, (1, 1, 2))
    assert found is not None
    assert [(e.index, e.start, e.end) for e in found] == [(1, 1, 3), (1, 4, 5), (2, 5, 6)]
    assert all(e.score == pytest.approx(np.exp(5) / (np.exp(5) + 3), rel=1e-5) for e in found)


def test_a_text_without_room() -> None:
    assert align(TWO, (1, 1)) is None
    assert align(TWO, ()) == ()
    assert align(np.zeros((0, 2), np.float32), (1,)) is None


logits = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(3)),
    elements=st.floats(-4, 4, width=32),
)


def every_text(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """Probability of each text: all of its paths, written out."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(c for c, _ in itertools.groupby(path) if c)
        found[text] = found.get(text, 0.0) + float(np.exp(log_probs[range(len(path)), path].astype(float).sum()))
    return found


@given(logits)
def test_a_wide_beam_is_the_best_of_all_paths(scores: np.ndarray) -> None:
    log_probs = log_softmax(scores)
    texts = every_text(log_probs)
    assert texts[beam(log_probs, width=1000)] == pytest.approx(max(texts.values()), rel=0.01)


@given(logits)
def test_the_likeliest_of_all_texts_is_the_best_of_all_paths(scores: np.ndarray) -> None:
    log_probs = log_softmax(scores)
    texts = every_text(log_probs)
    index = likeliest(log_probs, list(texts))
    assert index is not None
    assert list(texts.values())[index] == pytest.approx(max(texts.values()), rel=1e-4)


@given(logits)
def test_a_greedy_text_is_aligned_as_it_was_read(scores: np.ndarray) -> None:
    read = greedy(scores)
    log_probs = log_softmax(scores)
    found = align(log_probs, [e.index for e in read])
    assert found is not None
    # the best path is a path of its text, and the likeliest one but for ties, which rounding makes, too
    assert [(e.index, e.start, e.end) for e in found] == [(e.index, e.start, e.end) for e in read] or (
        np.diff(np.sort(log_probs, axis=1)[:, -2:]) < 1e-6
    ).any()


@pytest.mark.parametrize(
    "decode", [lambda x: beam(x, width=2), lambda x: likeliest(x, [(1,)]), lambda x: align(x, (1,))]
)
def test_wrong_shapes_are_refused(decode) -> None:
    with pytest.raises(ValueError, match="scores must be"):
        decode(np.zeros(4, np.float32))
