"""The pipeline with fake stages: what goes where, without any network."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes import DATA, BoxDetector, ColourRecognizer, RedIsUpsideDown

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


# Many pictures -------------------------------------------------------------------------------------------------------


def page_threads() -> list[str]:
    """The threads that read_many has running."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("liteocr-many")]


class Meter(BoxDetector):
    """Counts how many pictures were begun and the most that were in it at the same time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.begun, self.inside, self.most = seconds, 0, 0, 0
        self.lock = threading.Lock()

    def detect(self, image: np.ndarray) -> list[liteocr.Detection]:
        with self.lock:
            self.begun, self.inside = self.begun + 1, self.inside + 1
            self.most = max(self.most, self.inside)
        time.sleep(self.seconds)
        with self.lock:
            self.inside -= 1
        return super().detect(image)


def metered(threads: int, seconds: float = 0.0) -> tuple[liteocr.OCR, Meter]:
    """A fake OCR and its meter."""
    meter = Meter(seconds)
    return liteocr.OCR(detector=meter, recognizer=ColourRecognizer(), angle=False, threads=threads), meter


def bar(colour: int, height: int) -> np.ndarray:
    """A picture of its own height that reads as one letter."""
    image = np.zeros((height, 100, 3), np.uint8)
    image[5:-5, 10:90, colour] = 255
    return image


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_many_pictures_come_in_their_order(threads: int) -> None:
    class Uneven(Meter):
        """Takes the longer, the lower the picture is: the last ones are done first."""

        def detect(self, image: np.ndarray) -> list[liteocr.Detection]:
            time.sleep(max(0.0, 0.05 - 0.001 * image.shape[0]))
            return super().detect(image)

    ocr = liteocr.OCR(detector=Uneven(), recognizer=ColourRecognizer(), angle=False, threads=threads)
    pages = list(ocr.read_many(bar(i % 3, 20 + i) for i in range(30)))
    assert [(page.text, page.height) for page in pages] == [("bgr"[i % 3], 20 + i) for i in range(30)]
    assert page_threads() == []


def test_many_pictures_are_read_at_the_same_time_but_not_more_than_threads() -> None:
    ocr, meter = metered(threads=3, seconds=0.02)
    assert len(list(ocr.read_many([bar(0, 30)] * 12))) == 12
    assert meter.most == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_picture_among_many_gives_its_error_in_its_place(threads: int, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    ocr, _ = metered(threads)
    images = [bar(0, 30), tmp_path / "missing.png", bar(1, 30), tmp_path / "broken.png", np.zeros(3), bar(2, 30)]
    results = list(ocr.read_many(images))
    texts = [type(r) if isinstance(r, Exception) else r.text for r in results]
    assert texts == ["b", liteocr.ImageError, "g", liteocr.ImageError, liteocr.ImageError, "r"]
    assert "missing.png" in str(results[1])


def test_a_picture_for_which_memory_is_not_enough_is_one_error(boxes: np.ndarray) -> None:
    class Full(ColourRecognizer):
        """Has no memory for green."""

        def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
            if crop[crop.shape[0] // 2, crop.shape[1] // 2, 1]:
                raise MemoryError
            return super().recognize(crop)

    ocr = liteocr.OCR(detector=BoxDetector(), recognizer=Full(), angle=False, threads=2)
    page, error, last = ocr.read_many([bar(0, 30), boxes, bar(2, 30)])
    assert isinstance(error, liteocr.InferenceError)
    assert (page.text, last.text) == ("b", "r")


def test_pictures_are_taken_only_as_far_ahead_as_asked() -> None:
    taken: list[int] = []

    def images() -> Iterator[np.ndarray]:
        for i in range(20):
            taken.append(i)
            yield bar(0, 30)

    ocr, _ = metered(threads=2)
    results = ocr.read_many(images(), ahead=4)
    assert taken == []  # nothing before the first is asked for
    for done, _ in enumerate(results, 1):
        assert len(taken) <= min(done + 3, 20)
    assert len(taken) == 20


def test_results_do_not_wait_for_pictures_that_come_slowly() -> None:
    ready = threading.Event()

    def camera() -> Iterator[np.ndarray]:
        yield bar(0, 30)
        assert ready.wait(20)  # the first has been read
        time.sleep(0.1)
        yield bar(1, 30)
        raise AssertionError("a third picture was asked for before the first result was given")

    class Tells(ColourRecognizer):
        """Says when the first picture has been read."""

        def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
            ready.set()
            return super().recognize(crop)

    ocr = liteocr.OCR(detector=BoxDetector(), recognizer=Tells(), angle=False, threads=2)
    results = ocr.read_many(camera(), ahead=8)
    assert next(results).text == "b"
    results.close()


def test_closing_early_ends_the_threads_and_drops_what_is_not_begun() -> None:
    ocr, meter = metered(threads=2, seconds=0.01)
    results = ocr.read_many([bar(0, 30)] * 1000, ahead=100)
    assert next(results).text == "b"
    assert page_threads() != []
    results.close()
    assert page_threads() == []
    assert meter.begun < 100
    assert next(results, None) is None
    # the OCR itself goes on
    assert ocr.read(bar(1, 30)).text == "g"
    assert [page.text for page in ocr.read_many([bar(2, 30)])] == ["r"]


def test_an_iterator_that_is_dropped_leaves_no_threads() -> None:
    ocr, _ = metered(threads=2)
    for _ in ocr.read_many([bar(0, 30)] * 10):
        break
    gc.collect()
    assert page_threads() == []


def test_errors_of_the_pictures_source_come_after_the_results_before_them() -> None:
    def images() -> Iterator[np.ndarray]:
        yield bar(0, 30)
        yield bar(1, 30)
        raise OSError("the card was taken out")

    ocr, _ = metered(threads=2, seconds=0.01)
    texts = []
    with pytest.raises(OSError, match="card"):
        for page in ocr.read_many(images()):
            texts.append(page.text)
    assert texts == ["b", "g"]
    assert page_threads() == []


def test_a_stage_that_breaks_otherwise_raises_in_its_place() -> None:
    class Broken(ColourRecognizer):
        """Fails on green, as a programming error would."""

        def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
            if crop[crop.shape[0] // 2, crop.shape[1] // 2, 1]:
                raise ZeroDivisionError
            return super().recognize(crop)

    ocr = liteocr.OCR(detector=BoxDetector(), recognizer=Broken(), angle=False, threads=2)
    results = ocr.read_many([bar(0, 30), bar(1, 30), bar(2, 30)])
    assert next(results).text == "b"
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert page_threads() == []


def test_many_of_nothing_is_nothing() -> None:
    ocr, _ = metered(threads=2)
    assert list(ocr.read_many([])) == []


def test_ahead_is_checked_at_once() -> None:
    ocr, _ = metered(threads=2)
    with pytest.raises(liteocr.OptionError, match="ahead"):
        ocr.read_many([], ahead=0)


def test_many_at_once_read_what_one_at_a_time_reads(ocr: liteocr.OCR) -> None:
    pictures = sorted(DATA.glob("*.png"))
    several = liteocr.OCR(threads=2)
    assert [page.text for page in several.read_many(pictures)] == [ocr.read(picture).text for picture in pictures]
