"""Read one line of text: CRNN (Shi et al., "An End-to-End Trainable Neural Network for Image-based Sequence
Recognition", TPAMI 2017) with greedy CTC decoding."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .ctc import Emission, greedy
from .errors import WeightsError
from .net import Net, Precision
from .weights import Weights, load

__all__ = ["Recognition", "RecognizedChar", "TextRecognizer", "char_spans"]


@dataclass(frozen=True, slots=True)
class RecognizedChar:
    """One character of a crop."""

    text: str
    """The character, one code point."""
    score: float
    """Its probability, in [0, 1]."""
    start: float
    """Left edge, as a fraction of the crop's width."""
    end: float
    """Right edge, as a fraction of the crop's width."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a crop says."""

    text: str
    """The text; empty where no character was seen."""
    score: float
    """Mean of the characters' scores, in [0, 1]; 0 for an empty text."""
    chars: tuple[RecognizedChar, ...]
    """The characters in order: their texts joined are ``text``."""


class TextRecognizer:
    """Reads crops of single lines of any width.

    Args:
        weights: a weights directory, or one already loaded; None: the weights that came with the package.
        precision: see :class:`liteocr.net.Net`.
        threads: ncnn threads for one line.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit.
    """

    def __init__(
        self,
        weights: Weights | str | Path | None = None,
        *,
        precision: Precision = "auto",
        threads: int = 1,
    ) -> None:
        self._spec = spec = (weights if isinstance(weights, Weights) else load(weights)).recognizer
        if spec.charset is None or spec.blank is None or spec.input.height is None:
            raise WeightsError(f"{spec.param}: a recogniser needs a charset, a blank and a height in the manifest")
        self._height = spec.input.height
        self._blank = spec.blank
        # class index -> character; the blank's own entry is never looked up
        self._alphabet = (*spec.charset[: spec.blank], "", *spec.charset[spec.blank :])
        self._net = Net.from_spec(spec, precision=precision, threads=threads)

    def recognize(self, crop: NDArray[np.uint8]) -> Recognition:
        """Read one line.

        Args:
            crop: uint8, (H, W, 3), BGR, the line lying upright along the width; any size from 1×1 on. It is resized
                to the network's height; its width follows and is neither padded nor cut.

        Raises:
            InferenceError: ncnn failed.
            WeightsError: the network does not give one column a class of the charset.
        """
        line = self._resize(crop)
        logits = self._net.run_image(line, self._spec.input)
        if logits.ndim != 2 or logits.shape[1] != self._spec.classes:
            raise WeightsError(
                f"{self._spec.param} gives {logits.shape} where (steps, {self._spec.classes}) is expected; "
                "the charset or the manifest belongs to another network"
            )
        emissions = greedy(logits, blank=self._blank)
        if not emissions:
            return Recognition("", 0.0, ())
        texts = [self._alphabet[e.index] for e in emissions]
        spans = char_spans(emissions, texts, logits.shape[0], aspect=line.shape[1] / line.shape[0])
        chars = tuple(
            RecognizedChar(text, e.score, start, end)
            for text, e, (start, end) in zip(texts, emissions, spans, strict=True)
        )
        return Recognition("".join(texts), float(np.mean([e.score for e in emissions])), chars)

    def _resize(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = crop.shape[:2]
        # one step of the network at the least: a narrower line has no column to read
        scaled = max(self._spec.input.stride, round(width * self._height / height))
        # Enlarged small text keeps its strokes' slopes with a cubic; reducing by area averages instead of skipping.
        interpolation = cv2.INTER_AREA if height > 1.5 * self._height else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(crop, (scaled, self._height), interpolation=interpolation), np.uint8)


def char_spans(
    emissions: Sequence[Emission], texts: Sequence[str], steps: int, *, aspect: float
) -> list[tuple[float, float]]:
    """Estimate where characters begin and end; CTC itself only says about where each one is.

    A character reaches half-way to its neighbours, but no further than is likely for its kind: 0.6 of the line's height
    to either side for a full-width character, 0.35 for any other.

    Args:
        emissions: the characters in order.
        texts: their texts.
        steps: number of steps along the line.
        aspect: width of the crop divided by its height.

    Returns:
        (start, end) of each character as fractions of the crop's width, start < end, in order, not overlapping.
    """
    centers = [(e.start + e.end) / 2 / steps for e in emissions]
    spans = []
    for i, (center, text) in enumerate(zip(centers, texts, strict=True)):
        wide = unicodedata.east_asian_width(text[:1] or " ") in "WF"
        reach = (0.6 if wide else 0.35) / max(aspect, 1e-6)
        left = (centers[i - 1] + center) / 2 if i else 0.0
        right = (center + centers[i + 1]) / 2 if i + 1 < len(centers) else 1.0
        spans.append((max(left, center - reach, 0.0), min(right, center + reach, 1.0)))
    return spans
