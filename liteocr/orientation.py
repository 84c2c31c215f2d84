"""Which way up a line stands: 0 or 180 degrees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import WeightsError
from .net import Net, Precision
from .weights import Weights, load

__all__ = ["NO_ANSWER", "Angle", "AngleClassifier", "line_odds", "page_angle", "reading_odds", "unanimous"]

ANGLES = (0, 180)

_UPRIGHT = math.log(0.8 / 0.2)
"""Most text stands upright: a line alone is turned only when the classifier is 80 % sure."""
_READING = 2.0
"""Weight of the log-odds of the two readings, which say more than the classifier where it is in doubt: on line crops of
real pictures, the better reading is the upright one for 0.976, the classifier's answer right for 0.923."""
_PAGE_LIMIT = 4.5
"""How much the other lines can weigh: a line that is 99.9 % sure (log-odds 6.9) still keeps its own way."""


@dataclass(frozen=True, slots=True)
class Angle:
    """By how many degrees a line is turned."""

    degrees: int
    """0 or 180."""
    score: float
    """Probability of ``degrees``, in [0, 1]."""


NO_ANSWER = Angle(0, 0.5)
"""Stands for a line that was not looked at: it says nothing, of itself or of its page."""


class AngleClassifier:
    """Tells lines that stand upright from lines that stand upside down, by a small network.

    Args:
        weights: a weights directory, or one already loaded; None: the weights that came with the package.
        precision: see :class:`liteocr.net.Net`.
        threads: ncnn threads for one line.
        max_width: widest input in pixels at the network's height; of a longer line the middle is looked at. Half a
            dozen characters tell the direction, and a long line costs no more than they do.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit.
    """

    def __init__(
        self,
        weights: Weights | str | Path | None = None,
        *,
        precision: Precision = "auto",
        threads: int = 1,
        max_width: int = 320,
    ) -> None:
        self._spec = spec = (weights if isinstance(weights, Weights) else load(weights)).angle
        if spec.classes != len(ANGLES) or spec.input.height is None:
            raise WeightsError(
                f"{spec.param}: an angle classifier has 2 classes and a fixed height; correct the manifest's entry"
            )
        self._height = spec.input.height
        self._net = Net.from_spec(spec, precision=precision, threads=threads)
        self._max_width = max_width

    def classify(self, crop: NDArray[np.uint8]) -> Angle:
        """Classify one line.

        Args:
            crop: uint8, (H, W, 3), BGR, the line lying along the width.

        Raises:
            InferenceError: ncnn failed.
        """
        height, width = crop.shape[:2]
        scaled = max(1, round(width * self._height / height))
        if scaled > self._max_width:
            keep = max(1, round(width * self._max_width / scaled))
            left = (width - keep) // 2
            crop, scaled = crop[:, left : left + keep], self._max_width
        # reducing by area averages instead of skipping
        interpolation = cv2.INTER_AREA if height > 1.5 * self._height else cv2.INTER_LINEAR
        line = cv2.resize(crop, (scaled, self._height), interpolation=interpolation)
        output = self._net.run_image(np.asarray(line, np.uint8), self._spec.input).reshape(-1)
        if output.size != len(ANGLES):
            raise WeightsError(
                f"{self._spec.param} gives {output.size} values, not 2; these weights are no angle classifier"
            )
        # softmax of two logits
        upside_down = 1.0 / (1.0 + math.exp(min(float(output[0] - output[1]), 500.0)))
        return Angle(180, upside_down) if upside_down > 0.5 else Angle(0, 1.0 - upside_down)


def line_odds(angles: Sequence[Angle], lengths: Sequence[float]) -> list[float]:
    """Which way up each line stands, its page considered: a line needs to be the surer, the more its neighbours differ.

    Log-odds add up: what the classifier says of the line itself, what it says of the others (as in :func:`page_angle`,
    but limited, so that a line that is sure keeps its own way), and that most text stands upright.

    Args:
        angles: one for each line.
        lengths: length of each line in units of its own height.

    Returns:
        For each line the logarithm of how many times likelier it is upside down than upright: it is to be turned where
        this is above 0.
    """
    own = [_log_odds(angle) for angle in angles]
    votes = [_vote(angle, length) for angle, length in zip(angles, lengths, strict=True)]
    total = sum(votes)
    page = [min(max((total - vote) / 2, -_PAGE_LIMIT), _PAGE_LIMIT) for vote in votes]
    return [a + b - _UPRIGHT for a, b in zip(own, page, strict=True)]


def unanimous(angles: Iterable[Angle]) -> bool:
    """Whether all lines stand the same way up, and each is sure enough to be turned on its own word."""
    odds = [_log_odds(angle) for angle in angles]
    return min(odds) > _UPRIGHT or max(odds) < -_UPRIGHT


def reading_odds(upright: float, turned: float) -> float:
    """What reading a line both ways says: text that is upside down reads badly.

    Args:
        upright: the recognition score of the line as it is, in [0, 1]; 0 where no text was read.
        turned: the same of the line turned by 180 degrees.

    Returns:
        Log-odds as those of :func:`line_odds`, to be added to them.
    """
    return _READING * (_logit(turned) - _logit(upright))


def page_angle(angles: Sequence[Angle], lengths: Sequence[float]) -> int:
    """Which way up a whole page stands: the vote of its lines, each weighted by how sure and how long it is.

    Args:
        angles: one for each line.
        lengths: length of each line in units of its own height, about its number of characters.

    Returns:
        0 or 180; 0 for a tie and for a page without lines.
    """
    return 180 if sum(_vote(angle, length) for angle, length in zip(angles, lengths, strict=True)) > 0 else 0


def _log_odds(angle: Angle) -> float:
    """Logarithm of how many times likelier 180 degrees are than 0, bounded."""
    return _logit(angle.score if angle.degrees == 180 else 1.0 - angle.score)


def _logit(p: float) -> float:
    p = min(max(p, 1e-3), 1.0 - 1e-3)
    return math.log(p / (1.0 - p))


def _vote(angle: Angle, length: float) -> float:
    # two sure lines outweigh ten that cannot tell; the square root keeps one long line from deciding
    return _log_odds(angle) * math.sqrt(max(length, 0.0))
