"""The pipeline with fake stages: what goes where, without any network."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import BoxDetector, ColourRecognizer, RedIsUpsideDown

import liteocr


def test_lines_come_in_reading_order_with_their_quads(fake_ocr: liteocr.OCR, boxes: np.ndarray) -> None:
    page = fake_ocr.read(boxes)
    assert page.text == "b\ng\nr"
    assert (page.width, page.height) == (300, 200)
    assert page[0].quad == ((30, 20), (250, 20), (250, 50), (30, 50))
    assert page[0].det_score == pytest.approx(0.9)
    assert page[0].score == pytest.approx(0.8)


def test_a_line_that_stands_upside_down_starts_at_its_own_top_left(fake_ocr: liteocr.OCR, boxes: np.ndarray) -> None:
    blue, _, red = fake_ocr.read(boxes)
    assert (blue.angle, red.angle) == (0, 180)
    assert red.quad == ((250, 170), (30, 170), (30, 140), (250, 140))
    # its first half, from where the text starts, is the right half of the picture
    assert red.chars[0].quad == ((250, 170), (140, 170), (140, 140), (250, 140))
    assert blue.chars[0].quad == ((30, 20), (140, 20), (140, 50), (30, 50))


def test_the_page_may_decide_the_angle(boxes: np.ndarray) -> None:
    ocr = liteocr.OCR(
        detector=BoxDetector(), classifier=RedIsUpsideDown(), recognizer=ColourRecognizer(), page_angle=True
    )
    assert [line.angle for line in ocr.read(boxes)] == [0, 0, 0]


def test_without_angle_nothing_is_turned(boxes: np.ndarray) -> None:
    ocr = liteocr.OCR(detector=BoxDetector(), classifier=RedIsUpsideDown(), recognizer=ColourRecognizer(), angle=False)
    assert {line.angle for line in ocr.read(boxes)} == {0}


def test_line_mode_reads_the_whole_picture(boxes: np.ndarray) -> None:
    ocr = liteocr.OCR(recognizer=ColourRecognizer(), line=True, angle=False)
    page = ocr.read(boxes[85:105, 30:250])
    assert page.text == "g"
    assert page[0].quad == ((0, 0), (220, 0), (220, 20), (0, 20))
    assert page[0].det_score == 1.0


def test_min_score_leaves_lines_out(boxes: np.ndarray) -> None:
    ocr = liteocr.OCR(detector=BoxDetector(), recognizer=ColourRecognizer(), angle=False, min_score=0.81)
    assert len(ocr.read(boxes)) == 0


def test_nothing_found_is_an_empty_page(fake_ocr: liteocr.OCR) -> None:
    page = fake_ocr.read(np.zeros((40, 60, 3), np.uint8))
    assert (list(page), page.text, page.to_dict()["lines"]) == ([], "", [])


def test_timings_name_every_stage(fake_ocr: liteocr.OCR, boxes: np.ndarray) -> None:
    page = fake_ocr.read(boxes)
    assert list(page.timings) == ["load", "detect", "crop", "angle", "recognize", "order"]
    assert 0 < sum(page.timings.values()) <= page.seconds
    with pytest.raises(TypeError):
        page.timings["load"] = 0.0  # type: ignore[index]


def test_several_lines_are_recognised_at_once(boxes: np.ndarray) -> None:
    together = threading.Barrier(3, timeout=20)

    class Waits(ColourRecognizer):
        """Passes only when three lines are in it at the same time."""

        def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
            together.wait()
            return super().recognize(crop)

    ocr = liteocr.OCR(detector=BoxDetector(), recognizer=Waits(), angle=False, threads=3)
    assert ocr.read(boxes).text == "b\ng\nr"


def test_one_ocr_serves_several_threads(fake_ocr: liteocr.OCR, boxes: np.ndarray) -> None:
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(fake_ocr.read, [boxes] * 12))
    assert {page.text for page in pages} == {"b\ng\nr"}


def test_an_error_in_a_stage_reaches_the_caller(boxes: np.ndarray) -> None:
    class Broken(ColourRecognizer):
        """Fails on every line."""

        def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
            raise liteocr.InferenceError("no")

    with pytest.raises(liteocr.InferenceError):
        liteocr.OCR(detector=BoxDetector(), recognizer=Broken(), angle=False).read(boxes)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"min_score": 1.5},
        {"max_side": 8},
        {"max_pixels": 0},
        {"precision": "fp8"},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(liteocr.OptionError):
        liteocr.OCR(**options)  # type: ignore[arg-type]


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="treads"):
        liteocr.read(np.zeros((8, 8, 3), np.uint8), treads=2)
