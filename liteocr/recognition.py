"""Read one line of text: CRNN (Shi et al., "An End-to-End Trainable Neural Network for Image-based Sequence
Recognition", TPAMI 2017) with CTC decoding."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .ctc import Emission, align, beam, greedy, likeliest, log_softmax
from .errors import OptionError, WeightsError
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
        charset: the only characters that a line can have, such as ``"0123456789."``; None: all that the network knows.
            Every character is then read as the likeliest of these, and scores compare it with these alone.
        lexicon: the only texts that a line can have; None: any text. A line is read as the likeliest of them, whatever
            it says; its score tells how far the picture agrees.
        beam: how many beginnings of texts are kept while decoding, which finds a likelier text now and then, and costs
            time; 1: the best path alone.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit.
        OptionError: ``charset`` or ``lexicon`` is empty or has a character that the network does not know, ``beam`` is
            below 1, or a beam and a lexicon are asked for at once (a lexicon is always searched exactly).
    """

    def __init__(
        self,
        weights: Weights | str | Path | None = None,
        *,
        precision: Precision = "auto",
        threads: int = 1,
        charset: str | None = None,
        lexicon: Iterable[str] | None = None,
        beam: int = 1,
    ) -> None:
        if beam < 1:
            raise OptionError(f"beam is {beam}; it must be 1 or more")
        if isinstance(lexicon, str):
            raise OptionError("the lexicon is one string; give a list of texts")
        if beam > 1 and lexicon is not None:
            raise OptionError("a lexicon is searched exactly: leave out beam")
        self._spec = spec = (weights if isinstance(weights, Weights) else load(weights)).recognizer
        if spec.charset is None or spec.blank is None or spec.input.height is None:
            raise WeightsError(f"{spec.param}: a recogniser needs a charset, a blank and a height in the manifest")
        self._height = spec.input.height
        # class index -> character; the blank's own entry is never looked up
        alphabet = (*spec.charset[: spec.blank], "", *spec.charset[spec.blank :])
        self._blank = spec.blank
        self._kept: NDArray[np.intp] | None = None
        if charset is not None:
            # the blank moves to the front
            self._kept = np.array([spec.blank, *_classes(charset, alphabet, "charset")], np.intp)
            alphabet = ("", *(alphabet[i] for i in self._kept[1:]))
            self._blank = 0
        self._alphabet = alphabet
        self._lexicon = None
        if lexicon is not None:
            self._lexicon = [_classes(text, alphabet, "lexicon") for text in lexicon]
            if not self._lexicon:
                raise OptionError("the lexicon is empty; give at least one text, or None for any")
        self._beam = beam
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
        emissions = self._decode(logits if self._kept is None else logits[:, self._kept])
        # what is blank at a line's ends is no text
        shown = [i for i, e in enumerate(emissions) if not self._alphabet[e.index].isspace()]
        if not shown:
            return Recognition("", 0.0, ())
        emissions = emissions[shown[0] : shown[-1] + 1]
        texts = [self._alphabet[e.index] for e in emissions]
        spans = char_spans(emissions, texts, logits.shape[0], aspect=line.shape[1] / line.shape[0])
        chars = tuple(
            RecognizedChar(text, e.score, start, end)
            for text, e, (start, end) in zip(texts, emissions, spans, strict=True)
        )
        return Recognition("".join(texts), float(np.mean([e.score for e in emissions])), chars)

    def _decode(self, logits: NDArray[np.float32]) -> tuple[Emission, ...]:
        if self._beam == 1 and self._lexicon is None:
            return greedy(logits, blank=self._blank)
        log_probs = log_softmax(logits)
        if self._lexicon is None:
            text: Sequence[int] = beam(log_probs, width=self._beam, blank=self._blank)
        else:
            index = likeliest(log_probs, self._lexicon, blank=self._blank)
            text = () if index is None else self._lexicon[index]
        return align(log_probs, text, blank=self._blank) or ()

    def _resize(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = crop.shape[:2]
        # one step of the network at the least: a narrower line has no column to read
        scaled = max(self._spec.input.stride, round(width * self._height / height))
        # Enlarged small text keeps its strokes' slopes with a cubic; reducing by area averages instead of skipping.
        interpolation = cv2.INTER_AREA if height > 1.5 * self._height else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(crop, (scaled, self._height), interpolation=interpolation), np.uint8)


def _classes(text: str, alphabet: Sequence[str], option: str) -> list[int]:
    """Classes of the characters of a text; OptionError where it is empty or has characters without a class."""
    if not text:
        raise OptionError(f"an empty text in {option}; give at least one character")
    known = {c: i for i, c in enumerate(alphabet) if c}
    unknown = sorted(set(text) - known.keys())
    if unknown:
        raise OptionError(f"{option}: no class for {' '.join(map(repr, unknown))}; leave these characters out")
    return [known[c] for c in text]


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
