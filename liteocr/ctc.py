"""Greedy CTC decoding (Graves et al., "Connectionist Temporal Classification", ICML 2006, section 3.2).

The recogniser gives, for each step along the line, a score for each class; class ``blank`` means "no character here".
The best path takes the best class of every step, merges runs of the same class, and drops the blanks:

    step      0  1  2  3  4  5  6
    best      1  1  -  1  7  7  -        (- is the blank)
    merged    1     -  1  7     -
    text      1        1  7

A blank between two equal classes keeps them apart: that is how ``11`` differs from a wide ``1``. Not handled here:
beam search and language models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Emission", "greedy"]


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
    if scores.ndim != 2:
        raise ValueError(f"scores must be (steps, classes), not {scores.shape}")
    steps, classes = scores.shape
    if not 0 <= blank < classes:
        raise ValueError(f"blank is {blank}, which is none of {classes} classes")
    if steps == 0:
        return ()
    best = scores.argmax(axis=1)
    emits = np.flatnonzero(best != blank)
    if emits.size == 0:
        return ()
    rows = scores[emits]
    top = rows[np.arange(emits.size), best[emits]]
    # softmax of the best class: exp(top) / sum(exp(row)), with top subtracted so that nothing overflows
    probability = 1.0 / np.exp(rows - top[:, None]).sum(axis=1) if logits else top
    value = np.zeros(steps, np.float32)
    value[emits] = probability
    edges = np.flatnonzero(np.diff(best)) + 1
    starts = np.concatenate(([0], edges))
    ends = np.concatenate((edges, [steps]))
    return tuple(
        Emission(int(best[s]), float(value[s:e].max()), int(s), int(e), int(s + value[s:e].argmax()))
        for s, e in zip(starts, ends, strict=True)
        if best[s] != blank
    )
