"""How the lines of a page decide together which way up they stand."""

import numpy as np
import pytest

import liteocr
from liteocr.orientation import NO_ANSWER, Angle, line_odds, page_angle, reading_odds, unanimous

SURE, LIKELY = 0.9999, 0.8


def line_angles(angles: list[Angle], lengths: list[float]) -> list[int]:
    """How lines would be turned if their odds alone decided."""
    return [180 if odds > 0 else 0 for odds in line_odds(angles, lengths)]


def test_a_line_that_is_sure_keeps_its_own_way() -> None:
    angles = [Angle(0, SURE)] * 9 + [Angle(180, SURE)]
    assert line_angles(angles, [10.0] * 10) == [0] * 9 + [180]


def test_a_line_in_doubt_follows_the_page() -> None:
    assert line_angles([Angle(180, SURE)] * 5 + [Angle(0, LIKELY)], [10.0] * 6) == [180] * 6
    assert line_angles([Angle(0, SURE)] * 5 + [Angle(180, 0.99)], [10.0] * 6) == [0] * 6


def test_a_line_alone_is_turned_from_eighty_percent_on() -> None:
    assert line_angles([Angle(180, 0.79)], [10.0]) == [0]
    assert line_angles([Angle(180, 0.81)], [10.0]) == [180]


def test_sure_and_long_lines_weigh_more_in_the_page() -> None:
    # six short lines in doubt against one long line that is sure
    assert page_angle([Angle(0, 0.6)] * 6 + [Angle(180, SURE)], [1.0] * 6 + [16.0]) == 180
    assert page_angle([Angle(0, 0.6)] * 6 + [Angle(180, 0.7)], [1.0] * 7) == 0


@pytest.mark.parametrize("angles", [[], [Angle(0, 0.9), Angle(180, 0.9)]])
def test_a_tie_is_upright(angles: list[Angle]) -> None:
    assert page_angle(angles, [3.0] * len(angles)) == 0
    assert line_angles(angles, [3.0] * len(angles)) == [0] * len(angles)


def test_the_odds_of_a_lone_line_by_hand() -> None:
    # ln(0.9 / 0.1) - ln(0.8 / 0.2), no neighbours
    assert line_odds([Angle(180, 0.9)], [5.0]) == pytest.approx([2.1972 - 1.3863], abs=1e-4)
    # the same as 10 % for 180 degrees
    assert line_odds([Angle(0, 0.9)], [5.0]) == pytest.approx([-2.1972 - 1.3863], abs=1e-4)


def test_the_better_reading_wins() -> None:
    assert reading_odds(0.5, 0.9) == pytest.approx(2 * 2.1972, abs=1e-4)
    assert reading_odds(0.9, 0.5) == -reading_odds(0.5, 0.9)
    assert reading_odds(0.0, 1.0) > 20  # no text one way, and it stays finite
    assert reading_odds(0.7, 0.7) == 0


def test_unanimous_lines_agree_and_each_is_sure() -> None:
    assert unanimous([Angle(0, 0.81)] * 3) and unanimous([Angle(180, 0.81)] * 3)
    assert not unanimous([Angle(0, SURE), Angle(180, SURE)])
    assert not unanimous([Angle(0, SURE), Angle(0, 0.79)])
    assert line_odds([Angle(0, SURE), NO_ANSWER], [9.0, 9.0])[0] == line_odds([Angle(0, SURE)], [9.0])[0]


class Stripes:
    """Finds lines 20 px high, the whole width of the page, one below the other."""

    def detect(self, image: np.ndarray) -> list[liteocr.Detection]:
        height, width = image.shape[:2]
        return [
            liteocr.Detection(np.array([[0, y], [width, y], [width, y + 20], [0, y + 20]], np.float32), 1.0)
            for y in range(0, height, 20)
        ]


class BrightTop:
    """Tells the way up by the brighter half; counts its crops."""

    def __init__(self) -> None:
        self.crops = 0

    def classify(self, crop: np.ndarray) -> Angle:
        self.crops += 1
        half = crop.shape[0] // 2
        return Angle(0 if crop[:half].mean() > crop[half:].mean() else 180, SURE)


@pytest.mark.parametrize(("turned", "asked"), [(0, 8), (20, 8), (1, 8), (10, 20)])
def test_a_page_whose_first_lines_agree_is_not_asked_further(turned: int, asked: int) -> None:
    """And a line that stands another way than its page is read right nevertheless."""
    line = np.zeros((20, 200, 3), np.uint8)
    line[:10] = 250
    last = range(19, 19 - 2 * turned, -2) if turned < 20 else range(20)  # every other line, from below
    page = np.concatenate([line[::-1] if row in last else line for row in range(20)])
    classifier, reader = BrightTop(), TopLight(0.02)
    ocr = liteocr.OCR(detector=Stripes(), classifier=classifier, recognizer=reader, threads=1, min_score=0)
    lines = ocr.read(page).lines
    assert [found.text for found in lines] == ["up"] * 20
    assert [found.angle for found in lines].count(180) == turned
    assert classifier.crops == asked


class Classifier:
    """Calls every line upright, with one score."""

    def __init__(self, score: float) -> None:
        self.score = score

    def classify(self, crop: np.ndarray) -> Angle:
        return Angle(0, self.score)


class TopLight:
    """Reads ``up`` where a crop is bright at the top, else ``?`` with a lower score; counts its crops."""

    def __init__(self, lower: float) -> None:
        self.lower, self.crops = lower, 0

    def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
        self.crops += 1
        half = crop.shape[0] // 2
        text, score = ("up", 0.9) if crop[:half].mean() > crop[half:].mean() else ("?", self.lower)
        return liteocr.Recognition(text, score, (liteocr.RecognizedChar(text, score, 0.0, 1.0),))


@pytest.mark.parametrize(
    ("score", "lower", "text", "crops"),
    [
        (0.2, 0.85, "up", 2),  # the classifier is in doubt: the better of two readings
        (0.999, 0.85, "?", 1),  # it is sure, and the line reads well
        (0.999, 0.7, "?", 2),  # it is sure, the line reads badly, and not much better the other way up
        (0.999, 0.02, "up", 2),  # it is sure, but wrong: the line is only read the other way up
    ],
)
def test_a_line_in_doubt_is_read_both_ways(score: float, lower: float, text: str, crops: int) -> None:
    image = np.zeros((30, 120, 3), np.uint8)
    image[15:] = 250
    for upside_down, picture in ((True, image), (False, image[::-1])):
        reader = TopLight(lower)
        ocr = liteocr.OCR(line=True, classifier=Classifier(score), recognizer=reader, threads=1, min_score=0)
        (line,) = ocr.read(picture)
        if upside_down:
            assert (line.text, line.angle) == (text, 180 if text == "up" else 0)
            assert reader.crops == crops
        else:
            assert (line.text, line.angle) == ("up", 0)


@pytest.mark.parametrize("options", [{"page_angle": True}, {"angle": False}])
def test_nothing_is_read_both_ways_where_that_is_no_question(options: dict[str, bool]) -> None:
    image = np.zeros((30, 120, 3), np.uint8)
    image[15:] = 250
    reader = TopLight(0.3)
    ocr = liteocr.OCR(line=True, classifier=Classifier(0.2), recognizer=reader, threads=1, min_score=0, **options)
    (line,) = ocr.read(image)
    # the page's vote has no prior: 0.8 for upside down is enough
    assert (line.text, line.angle) == (("up", 180) if "page_angle" in options else ("?", 0))
    assert reader.crops == 1
