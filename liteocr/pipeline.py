"""Wires the stages: detect, crop, classify the angle, recognise, order."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import geometry, vertical
from .detection import Detection, DetectorOptions, TextDetector
from .errors import InferenceError, LiteOCRError, OptionError
from .image import MAX_PIXELS, frames
from .net import Precision
from .openmp import default_threads
from .orientation import NO_ANSWER, Angle, AngleClassifier, line_odds, page_angle, reading_odds, unanimous
from .recognition import Recognition, TextRecognizer
from .results import Char, Page, TextLine, as_quads
from .weights import load

__all__ = ["MIN_SCORE", "OCR", "Classifier", "Detector", "Recognizer", "in_order"]

Image = NDArray[np.uint8]
MIN_SCORE = 0.6
"""Lines with a lower recognition score are left out: what the recogniser is so unsure of is no text more often than it
is text. On photos with much clutter 0.7 keeps out more; 0 keeps everything."""

MARGIN = 0.03
"""How much wider a line is cut than its quad, in heights of the line, on each side: the recogniser wants loose crops, a
reader of quads tight ones."""

_ASKED = 8
"""How many lines of a page, its longest, the classifier sees first: where it is sure that all stand one way up, it sees
no others. A line that stands the other way up all the same reads badly (:data:`_POOR`)."""
_DOUBT = 3.0
"""Log-odds of a line's way up (:func:`liteocr.orientation.line_odds`) below which it is read both ways."""
_POOR = 0.8
"""Recognition score below which a line is read the other way up, too: upside down, text reads badly."""

_COLUMN = 0.8
"""Recognition score from which on a long line that runs down the picture is not read as a column of upright characters,
too: lying on their side, these would read badly."""

_LONGEST_SINGLE = 4.0
"""How many times as high as wide a single upright character can be."""

T = TypeVar("T")
R = TypeVar("R")


class Detector(Protocol):
    """What the pipeline asks of a detector; :class:`liteocr.TextDetector` is one."""

    def detect(self, image: Image) -> list[Detection]:
        """Find the lines of a picture: uint8, (H, W, 3), BGR."""


class Classifier(Protocol):
    """What the pipeline asks of an angle classifier; :class:`liteocr.AngleClassifier` is one."""

    def classify(self, crop: Image) -> Angle:
        """Tell whether a line stands upside down: uint8, (H, W, 3), BGR, along the width."""


class Recognizer(Protocol):
    """What the pipeline asks of a recogniser; :class:`liteocr.TextRecognizer` is one."""

    def recognize(self, crop: Image) -> Recognition:
        """Read one line: uint8, (H, W, 3), BGR, upright along the width."""


class OCR:
    """Reads pictures. Built once, reused for any number of pictures, also from several threads at a time.

    Args:
        weights: directory of a set of weights; None: the weights that came with the package.
        precision: arithmetic of the networks: ``"auto"``, ``"fp32"``, ``"fp16"`` or ``"bf16"``.
        threads: how many threads one picture may use; None: every core that this process may use. The result does not
            depend on it.
        max_side: pictures longer than this are scaled down for the detector, in pixels; None: the detector's default.
            Lines are always read from the original pixels.
        min_score: lines with a recognition score below this are left out, in [0, 1].
        angle: whether to turn lines that stand upside down; without it every line is taken as upright.
        page_angle: whether the lines vote and all of a page's lines are turned alike. For scans and receipts, where a
            line that reads both ways (``6901``) is safer with its neighbours.
        line: whether each picture is one line of text: nothing is detected, the whole picture is read.
        charset: the only characters that can be read, such as ``"0123456789."``; None: all that the network knows.
        lexicon: the only lines that can be read; None: any. See :class:`liteocr.TextRecognizer` for these three.
        beam: how many beginnings of a line are kept while decoding; 1: the best path alone.
        polygons: whether lines carry the outline of their region, too.
        max_pixels: a file whose header claims more pixels is refused before memory is allocated; None: no limit.
        detector: replaces the text detector.
        classifier: replaces the angle classifier.
        recognizer: replaces the recogniser.

    Raises:
        OptionError: an option is out of its range.
        WeightsError: the weights are missing, damaged or do not fit each other.
    """

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        precision: Precision = "auto",
        threads: int | None = None,
        max_side: int | None = None,
        min_score: float = MIN_SCORE,
        angle: bool = True,
        page_angle: bool = False,
        line: bool = False,
        charset: str | None = None,
        lexicon: Iterable[str] | None = None,
        beam: int = 1,
        polygons: bool = False,
        max_pixels: int | None = MAX_PIXELS,
        detector: Detector | None = None,
        classifier: Classifier | None = None,
        recognizer: Recognizer | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"threads is {threads}; it must be 1 or more, or None for every core")
        if not 0.0 <= min_score <= 1.0:
            raise OptionError(f"min_score is {min_score}; it must be in [0, 1]")
        if max_pixels is not None and max_pixels < 1:
            raise OptionError(f"max_pixels is {max_pixels}; it must be 1 or more, or None for no limit")
        if recognizer is not None and (charset is not None or lexicon is not None or beam != 1):
            raise OptionError("charset, lexicon and beam are the built-in recogniser's; give them to your own instead")
        threads = default_threads() if threads is None else threads
        needs_detector = detector is None and not line
        needs_classifier = classifier is None and angle
        self._make_detector: Callable[..., Detector] | None = None
        if needs_detector or needs_classifier or recognizer is None:
            loaded = load(weights)
            if needs_detector:
                options = DetectorOptions() if max_side is None else DetectorOptions(max_side=max_side)
                self._make_detector = partial(
                    TextDetector, loaded, precision=precision, options=options, polygons=polygons
                )
                detector = self._make_detector(threads=threads)
            if needs_classifier:
                classifier = AngleClassifier(loaded, precision=precision)
            if recognizer is None:
                recognizer = TextRecognizer(loaded, precision=precision, charset=charset, lexicon=lexicon, beam=beam)
        self._detector = None if line else detector
        self._classifier = classifier if angle else None
        self._recognizer: Recognizer = recognizer
        self._threads = threads
        self._min_score = min_score
        self._page_angle = page_angle
        self._max_pixels = max_pixels
        # pyncnn lets other Python threads run during extract, so lines go to Python threads with one ncnn thread each:
        # twice as fast on two cores, where two ncnn threads on one small net are often slower than one.
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="liteocr") if threads > 1 else None
        self._single: OCR | None = None if threads > 1 else self

    def read(self, image: Any) -> Page:
        """Read one picture; of an animated or multi-page file the first frame.

        Args:
            image: a path, the bytes of a file, a binary file object, a PIL image, or an array: grey (H, W), grey+alpha
                (H, W, 2), BGR (H, W, 3) or BGRA (H, W, 4); uint8, uint16, bool, or float in [0, 1].

        Returns:
            The page with its lines in reading order; without lines where there is no text.

        Raises:
            ImageError: the picture cannot be read.
            InferenceError: ncnn failed.
        """
        for page in self.read_all(image):
            return page
        raise AssertionError("frames() gives at least one frame or raises")

    def read_all(self, image: Any) -> Iterator[Page]:
        """Read every frame of an animated or multi-page file, one at a time; arguments and errors as :meth:`read`."""
        start = time.perf_counter()
        for frame in frames(image, max_pixels=self._max_pixels):
            yield self._read(frame, start)
            start = time.perf_counter()

    def read_many(self, images: Iterable[Any], *, ahead: int | None = None) -> Iterator[Page | LiteOCRError]:
        """Read many pictures, several at a time, and give their results in order, one for each picture::

            for name, page in zip(names, ocr.read_many(names)):
                if isinstance(page, liteocr.LiteOCRError):
                    print(f"{name}: {page}")
                else:
                    print(page.text)

        Each picture is decoded, detected and recognised on one thread, as many pictures at a time as this OCR has
        threads. No thread waits for another, so more pictures are done in a minute than by :meth:`read`, though one
        picture alone takes longer; ``seconds`` of pages that were read at the same time add up to more than the whole.

        Args:
            images: pictures as for :meth:`read`; of a file with several frames, the first is read. They are taken one
                by one, in the caller's thread, and only when there is room for them.
            ahead: how many pictures may be waiting, under way, or read and not yet asked for, which bounds the memory;
                None: twice the threads. Decoded pictures are never more than the threads.

        Returns:
            An iterator. A picture that cannot be read gives the :class:`LiteOCRError` that :meth:`read` would raise (an
            :class:`InferenceError` where the memory was not enough), and the others are read all the same. Closing the
            iterator early drops the pictures that are not begun, waits for those under way, and ends the threads.

        Raises:
            OptionError: ``ahead`` is below 1.

        Other errors, those of ``images`` itself among them, are raised in their place, after the results before them.
        """
        if ahead is not None and ahead < 1:
            raise OptionError(f"ahead is {ahead}; it must be 1 or more, or None for twice the threads")
        if self._single is None:
            self._single = copy.copy(self)
            self._single._pool = None
            if self._make_detector is not None:
                self._single._detector = self._make_detector(threads=1)
        return in_order(self._single._read_or_error, images, workers=self._threads, ahead=ahead or 2 * self._threads)

    def close(self) -> None:
        """Stop the threads. Reading afterwards is an error; an OCR that is never closed stops them at exit."""
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> OCR:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read_or_error(self, image: Any) -> Page | LiteOCRError:
        try:
            return self.read(image)
        except LiteOCRError as error:
            return error
        except MemoryError:
            return InferenceError("out of memory; give a smaller max_side or fewer threads, or scale the picture down")

    def _read(self, image: Image, start: float) -> Page:
        clock = _Clock({"load": time.perf_counter() - start})
        height, width = image.shape[:2]
        with clock("detect"):
            if self._detector is None:
                whole = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
                found = [Detection(whole, 1.0)]
            else:
                found = self._detector.detect(image)
        with clock("crop"):
            margin = 0.0 if self._detector is None else MARGIN
            ratio = geometry.page_ratio([detection.quad for detection in found])
            crops = [_cut(image, detection, margin, ratio) for detection in found]
        with clock("angle"):
            crops = self._stand_up(crops)
        with clock("recognize"):
            readings = self._map(self._recognize, crops)
        with clock("order"):
            kept = [
                (crop, reading)
                for crop, reading in readings
                if reading.recognition.text and reading.recognition.score >= self._min_score
            ]
            order = geometry.reading_order([crop.quad for crop, _ in kept])
            lines = tuple(_line(*kept[i]) for i in order)
        return Page(
            lines=lines,
            width=width,
            height=height,
            seconds=time.perf_counter() - start,
            timings=MappingProxyType(clock.seconds),
        )

    def _stand_up(self, crops: list[_Crop]) -> list[_Crop]:
        """Turn the crops that stand upside down."""
        if self._classifier is None:
            return crops
        lengths = [crop.image.shape[1] / crop.image.shape[0] for crop in crops]
        angles = self._angles(self._classifier, crops, lengths)
        if self._page_angle:
            return [crop.turned() for crop in crops] if page_angle(angles, lengths) else crops
        return [
            replace(crop.turned() if odds > 0 else crop, odds=abs(odds))
            for crop, odds in zip(crops, line_odds(angles, lengths), strict=True)
        ]

    def _angles(self, classifier: Classifier, crops: list[_Crop], lengths: list[float]) -> list[Angle]:
        """Ask the classifier, long lines first, and no further where all of these agree."""
        order = sorted(range(len(crops)), key=lengths.__getitem__, reverse=True)
        found: dict[int, Angle] = {}
        for part in (order[:_ASKED], order[_ASKED:]):
            if found and unanimous(found.values()):
                break
            answers = self._map(classifier.classify, [crops[i].image for i in part])
            found |= zip(part, answers, strict=True)
        return [found.get(i, NO_ANSWER) for i in range(len(crops))]

    def _recognize(self, crop: _Crop) -> tuple[_Crop, _Reading]:
        """Read a crop. One whose way up is in doubt, or that reads badly, is read the other way up, too, and one that
        runs down the picture also as a column of upright characters: the better one wins."""
        found = self._recognizer.recognize(crop.image)
        if math.isfinite(crop.odds) and (crop.odds < _DOUBT or found.score < _POOR):
            turned = crop.turned()
            other = self._recognizer.recognize(turned.image)
            if reading_odds(found.score, other.score) > crop.odds:
                crop, found = turned, other
        reading = _Reading(found, column=False)
        column = crop.turned().image if crop.degrees else crop.image
        single = column.shape[1] < _LONGEST_SINGLE * column.shape[0]
        if not crop.vertical or (found.score >= _COLUMN and not single):
            return crop, reading
        ways = [vertical.cut_column(column)]
        if single:
            ways.append([(0.0, 1.0)])  # one narrow character, such as a digit 1, that stands upright
        for cells in ways:
            row = self._recognizer.recognize(vertical.lay_row(column, cells))
            if row.score > reading.recognition.score:
                reading = _Reading(_along_column(row, cells), column=True)
        return crop, reading

    def _map(self, function: Callable[[T], R], items: list[T]) -> list[R]:
        """Apply a stage to every crop, on the pool when there are several."""
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))


def in_order(function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int) -> Iterator[R]:
    """Apply a function on several threads; give the results in the order of the items.

    Args:
        function: called from ``workers`` threads at a time; with one worker in the caller's thread.
        items: taken one by one, in the caller's thread.
        workers: how many threads, which start with the first item and end with the iterator.
        ahead: how many items may be taken before the result of the first of them is.

    Raises:
        What the function or the items raise, in the place of the result, after the results before it.
    """
    if workers == 1:
        yield from map(function, items)
        return
    source = iter(items)
    failed: Exception | None = None
    more = True
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="liteocr-many")
    try:
        while more or pending:
            # One item in for each result out: the threads stay busy, and items that come slowly, as from a camera, do
            # not hold back results that are ready.
            if more and len(pending) < ahead:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                except Exception as error:
                    failed, more = error, False
                else:
                    pending.append(pool.submit(function, item))
                    del item
            if pending and (not more or len(pending) >= ahead or pending[0].done()):
                yield pending.popleft().result()
        if failed is not None:
            raise failed
    finally:
        pool.shutdown(cancel_futures=True)


class _Clock:
    """Adds up wall seconds by stage."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class _Crop:
    """One line on its way through the stages."""

    detection: Detection
    quad: NDArray[np.float32]
    """Where the line is, from the crop's own top left, clockwise."""
    image: Image
    """The line with its margin."""
    vertical: bool
    """Whether the line runs down the picture; ``image`` is then turned by 90 degrees counter-clockwise."""
    margin: float
    """Which part of the length of ``image`` lies before the line, and as much behind it."""
    degrees: int = 0
    """By how many degrees ``image`` was turned to stand upright: 0 or 180."""
    odds: float = math.inf
    """Log-odds that ``image`` stands upright rather than upside down; infinite where that is no question."""

    def turned(self) -> _Crop:
        """The same crop turned by 180 degrees."""
        image = np.ascontiguousarray(self.image[::-1, ::-1])
        return replace(
            self, quad=geometry.turn_quad(self.quad), image=image, degrees=180 - self.degrees, odds=-self.odds
        )


@dataclass(frozen=True)
class _Reading:
    """What a crop says, and whether it was read as a column of upright characters."""

    recognition: Recognition
    column: bool


def _cut(image: Image, detection: Detection, margin: float, ratio: float) -> _Crop:
    """Cut a line with a margin of so many times its height: strokes at the rim of a tight quad would be lost. It runs
    downwards if it is ``ratio`` times as high as wide."""
    quad = geometry.upright(detection.quad, ratio)
    length, height = geometry.quad_size(quad)
    wide = geometry.grow_quad(quad, margin * height, margin * height) if margin else quad
    part = margin * height / (length + 2 * margin * height)
    return _Crop(detection, quad, geometry.crop_quad(image, wide), geometry.is_vertical(detection.quad, ratio), part)


def _along_column(row: Recognition, cells: list[tuple[float, float]]) -> Recognition:
    """Move the characters of a row that was laid out of a column's cells back to where the cells are."""
    chars = []
    for char in row.chars:
        start, end = cells[min(int((char.start + char.end) / 2 * len(cells)), len(cells) - 1)]
        chars.append(replace(char, start=start, end=end))
    return replace(row, chars=tuple(chars))


def _line(crop: _Crop, reading: _Reading) -> TextLine:
    recognition, polygon = reading.recognition, crop.detection.polygon
    # A column's characters stand upright, so its text's own top left is the picture's: one corner before the one that
    # the running direction starts at. It was read as it stood, whatever the classifier made of it lying on its side.
    running = geometry.turn_quad(crop.quad) if reading.column and crop.degrees else crop.quad
    # The line itself and its characters, from fractions of the crop to ones of the line.
    places = np.array([(crop.margin, 1 - crop.margin), *((c.start, c.end) for c in recognition.chars)])
    places = ((places - crop.margin) / (1 - 2 * crop.margin)).clip(0, 1)
    quads = geometry.slice_quad(running, places[:, 0], places[:, 1])
    line, *chars = as_quads(np.roll(quads, 1, axis=1) if reading.column else quads)
    return TextLine(
        quad=line,
        text=recognition.text,
        score=recognition.score,
        det_score=crop.detection.score,
        angle=0 if reading.column else crop.degrees,
        chars=tuple(Char(c.text, c.score, quad) for c, quad in zip(recognition.chars, chars, strict=True)),
        polygon=None if polygon is None else tuple((round(float(x), 2), round(float(y), 2)) for x, y in polygon),
    )
