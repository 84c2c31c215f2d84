"""CTC decoding (Graves et al., "Connectionist Temporal Classification", ICML 2006): the best path, a beam, a lexicon.

The recogniser gives, for each step along the line, a score for each class; class ``blank`` means "no character here".
The best path takes the best class of every step, merges runs of the same class, and drops the blanks:

    step      0  1  2  3  4  5  6
    best      1  1  -  1  7  7  -        (- is the blank)
    merged    1     -  1  7     -
    text      1        1  7

A blank between two equal classes keeps them apart: that is how ``11`` differs from a wide ``1``.

The best path is not always the best text, as many paths spell one text. Two steps with a blank at 0.6 and a 1 at 0.4:

    path      - -     - 1     1 -     1 1
              0.36    0.24    0.24    0.16      best path: no text, 0.36; best text: 1, 0.24 + 0.24 + 0.16 = 0.64

:func:`beam` adds up the paths of the likeliest texts, :func:`likeliest` those of given texts, and :func:`align` says
where the characters of a text are. Not handled here: language models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Emission", "align", "beam", "greedy", "likeliest", "log_softmax"]

_TINY = 1e-4
"""Classes less probable than this at a step are not tried there by :func:`beam`: of thousands, a handful is left."""


@dataclass(frozen=True, slots=True)
class Emission:
    """One character that CTC emits."""

    index: int
    """Class index."""
    score: float
    """Highest probability of the class within the run, in [0, 1]."""
    start: int
    """First step of the run."""
    end: int
    """Step after the last one of the run."""
    peak: int
    """Step of the highest probability (the first one of equals)."""


def greedy(scores: NDArray[np.float32], *, blank: int = 0, logits: bool = True) -> tuple[Emission, ...]:
    """Decode the best path.

    Args:
        scores: float32 (steps, classes): logits, or probabilities if ``logits`` is false.
        blank: index of the blank class.
        logits: whether a softmax over the classes is still to be taken. It is taken only of the steps that emit.

    Returns:
        The characters in order along the line; empty when every step is blank.

    Raises:
        ValueError: ``scores`` is not two-dimensional or ``blank`` is not a class.
    """
    _check(scores, blank)
    steps = len(scores)
    if steps == 0:
        return ()
    best = scores.argmax(axis=1)
    emits = np.flatnonzero(best != blank)
    if emits.size == 0:
        return ()
    rows = scores[emits]
    top = rows[np.arange(emits.size), best[emits]]
    if logits:
        # softmax of the best class: exp(top) / sum(exp(row)), with top subtracted so that nothing overflows
        rows -= top[:, None]
        top = 1.0 / np.exp(rows, out=rows).sum(axis=1)
    value = np.zeros(steps, np.float32)
    value[emits] = top
    starts = np.concatenate(([0], np.flatnonzero(np.diff(best)) + 1))
    index, begin, end = best[starts].tolist(), starts.tolist(), [*starts[1:].tolist(), steps]
    values = value.tolist()
    return tuple(
        Emission(k, score := max(values[s:e]), s, e, values.index(score, s))
        for k, s, e in zip(index, begin, end, strict=True)
        if k != blank
    )


def log_softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithms of the probabilities of logits, float32 (steps, classes)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)


def beam(log_probs: NDArray[np.float32], *, width: int, blank: int = 0) -> tuple[int, ...]:
    """The likeliest text by prefix beam search (Hannun et al., "First-Pass Large Vocabulary Continuous Speech
    Recognition using Bi-Directional Recurrent DNNs", 2014, without the language model).

    Args:
        log_probs: float32 (steps, classes), logarithms of probabilities.
        width: how many beginnings of texts are kept after each step, 1 or more.
        blank: index of the blank class.

    Returns:
        The classes of the text, the blank not among them.

    Raises:
        ValueError: ``log_probs`` is not two-dimensional, ``width`` is below 1 or ``blank`` is not a class.
    """
    _check(log_probs, blank)
    if width < 1:
        raise ValueError(f"width is {width}; it must be 1 or more")
    probs = np.exp(log_probs.astype(np.float64))
    # A beginning's probability in two parts: of the paths that end in a blank, and of those that end in its last class.
    # After each step they are divided by the best one's, as only their ratios count and the product would underflow.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}
    for row in probs:
        tried = [int(c) for c in np.flatnonzero(row >= _TINY) if c != blank]
        grown: dict[tuple[int, ...], tuple[float, float]] = {}

        for text, (in_blank, in_last) in beams.items():
            both = in_blank + in_last
            _add(grown, text, both * float(row[blank]), in_last * float(row[text[-1]]) if text else 0.0)
            for c in tried:
                # the last class again is a new character only behind a blank
                before = in_blank if text and text[-1] == c else both
                if before:
                    _add(grown, (*text, c), 0.0, before * float(row[c]))
        best = sorted(grown.items(), key=lambda item: -sum(item[1]))[:width]
        top = sum(best[0][1]) or 1.0
        beams = {text: (a / top, b / top) for text, (a, b) in best}
    return max(beams.items(), key=lambda item: sum(item[1]))[0]


def likeliest(log_probs: NDArray[np.float32], texts: Sequence[Sequence[int]], *, blank: int = 0) -> int | None:
    """Which of the texts is the likeliest: all paths of each are added up (the paper's forward variables).

    Args:
        log_probs: float32 (steps, classes), logarithms of probabilities.
        texts: classes of each text, the blank not among them.
        blank: index of the blank class.

    Returns:
        Index of the likeliest text, the first one of equals; None where there are too few steps for any of them.

    Raises:
        ValueError: ``log_probs`` is not two-dimensional or ``blank`` is not a class.
    """
    _check(log_probs, blank)
    if not texts:
        return None
    longest = max(len(text) for text in texts)
    # States of a text: a blank before, between and behind its characters. Texts are filled up with blanks, which
    # states of the text itself never come from.
    states = np.full((len(texts), 2 * longest + 1), blank)
    for row, text in zip(states, texts, strict=True):
        row[1 : 2 * len(text) : 2] = text
    ends = np.array([2 * len(text) for text in texts])
    skip = np.zeros(states.shape, bool)  # a character may follow another one without the blank between
    skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    with np.errstate(divide="ignore"):
        total = np.full(states.shape, -np.inf)
        total[:, 0] = 0.0
        for step, row in enumerate(log_probs.astype(np.float64)):
            reach = total.copy()
            if step:
                reach[:, 1:] = np.logaddexp(reach[:, 1:], total[:, :-1])
                reach[:, 2:] = np.where(skip[:, 2:], np.logaddexp(reach[:, 2:], total[:, :-2]), reach[:, 2:])
            else:
                reach[:, 1:2] = 0.0
            total = reach + row[states]
        rows = np.arange(len(texts))
        before = np.where(ends > 0, total[rows, np.maximum(ends - 1, 0)], -np.inf)
        score = np.logaddexp(total[rows, ends], before)
    best = int(score.argmax())
    return best if np.isfinite(score[best]) else None


def align(log_probs: NDArray[np.float32], text: Sequence[int], *, blank: int = 0) -> tuple[Emission, ...] | None:
    """Where the characters of a text are: the likeliest of its paths (Viterbi).

    Args:
        log_probs: float32 (steps, classes), logarithms of probabilities.
        text: its classes, the blank not among them.
        blank: index of the blank class.

    Returns:
        The characters in order; None where there are too few steps for the text.

    Raises:
        ValueError: ``log_probs`` is not two-dimensional or ``blank`` is not a class.
    """
    _check(log_probs, blank)
    states = np.full(2 * len(text) + 1, blank)
    states[1::2] = text
    skip = np.zeros(len(states), bool)
    skip[2:] = (states[2:] != blank) & (states[2:] != states[:-2])
    total = np.full(len(states), -np.inf)
    origins = np.zeros((len(log_probs), len(states)), np.intp)
    for step, row in enumerate(log_probs.astype(np.float64)):
        if step == 0:
            total[:2] = row[states[:2]]
            continue
        ways = np.full((3, len(states)), -np.inf)
        ways[0] = total
        ways[1, 1:] = total[:-1]
        ways[2, 2:] = np.where(skip[2:], total[:-2], -np.inf)
        origins[step] = ways.argmax(axis=0)
        total = ways.max(axis=0) + row[states]
    if len(log_probs) == 0:
        return None if len(text) else ()
    state = len(states) - 1
    if state and total[state - 1] > total[state]:
        state -= 1
    if not np.isfinite(total[state]):
        return None
    path = np.zeros(len(log_probs), np.intp)
    for step in range(len(log_probs) - 1, -1, -1):
        path[step] = state
        state -= int(origins[step, state])
    found = []
    for position, index in enumerate(text):
        steps = np.flatnonzero(path == 2 * position + 1)
        values = np.exp(log_probs[steps, index])
        peak = int(values.argmax())
        start, end = int(steps[0]), int(steps[-1]) + 1
        found.append(Emission(int(index), float(values[peak]), start, end, int(steps[peak])))
    return tuple(found)


def _add(
    beams: dict[tuple[int, ...], tuple[float, float]], text: tuple[int, ...], in_blank: float, in_last: float
) -> None:
    a, b = beams.get(text, (0.0, 0.0))
    beams[text] = (a + in_blank, b + in_last)


def _check(scores: NDArray[np.float32], blank: int) -> None:
    if scores.ndim != 2:
        raise ValueError(f"scores must be (steps, classes), not {scores.shape}")
    if not 0 <= blank < scores.shape[1]:
        raise ValueError(f"blank is {blank}, which is none of {scores.shape[1]} classes")
