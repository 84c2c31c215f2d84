"""The shipped networks on real pictures: they read, at every size, the same with any number of threads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import liteocr
from liteocr.ctc import Emission
from liteocr.detection import Frame, fit
from liteocr.pipeline import MIN_SCORE
from liteocr.recognition import char_spans

DATA = Path(__file__).resolve().parent / "data"
INDEX = [json.loads(line) for line in (DATA / "index.jsonl").read_text(encoding="utf-8").splitlines()]


def similarity(found: str, expected: str) -> float:
    """1 - edits / characters, white space left out."""
    a, b = "".join(found.split()).casefold(), "".join(expected.split()).casefold()
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return 1 - row[-1] / max(len(a), len(b), 1)


def said_at(page: liteocr.Page, quad: np.ndarray) -> str:
    """What a page says inside a quad, from left to right as the quad runs."""
    direction = quad[1] - quad[0]
    inside = [
        line
        for line in page
        if cv2.pointPolygonTest(quad.astype(np.float32), [float(v) for v in np.mean(line.quad, axis=0)], False) > 0
    ]
    return "".join(line.text for line in sorted(inside, key=lambda line: float(np.mean(line.quad, axis=0) @ direction)))


def picture(name: str) -> np.ndarray:
    image = cv2.imread(str(DATA / name))
    assert image is not None
    return image


@pytest.mark.parametrize("truth", INDEX, ids=[t["image"] for t in INDEX])
def test_every_test_picture_is_read(ocr: liteocr.OCR, truth: dict[str, Any]) -> None:
    page = ocr.read(DATA / truth["image"])
    if truth["image"] != "small.png":  # a list in two columns may be read by rows or by columns
        expected = "".join(item["text"] for item in truth["items"] if not item["ignore"])
        assert similarity(page.text, expected) > 0.9
    right = [similarity(said_at(page, np.array(item["quad"])), item["text"]) for item in truth["items"]]
    assert np.mean(right) > 0.9


def test_every_line_of_the_receipt_is_found_where_it_stands(ocr: liteocr.OCR) -> None:
    (truth,) = (t for t in INDEX if t["image"] == "receipt.jpg")
    page = ocr.read(DATA / "receipt.jpg")
    for item in truth["items"]:
        center = np.mean(item["quad"], axis=0)
        inside = [q for q in page if cv2.pointPolygonTest(np.array(q.quad, np.float32), center.tolist(), False) >= 0]
        assert len(inside) == 1, item["text"]


def test_the_result_does_not_depend_on_threads() -> None:
    image = picture("receipt.jpg")
    one, two, five = ([line.to_dict() for line in liteocr.OCR(threads=threads).read(image)] for threads in (1, 2, 5))
    assert one == two == five
    assert len(one) > 3


@pytest.mark.parametrize("size", [(1, 1), (31, 1), (2, 400), (97, 333), (640, 480), (700, 1001)])
def test_pages_of_any_size_go_in(size: tuple[int, int]) -> None:
    detector = liteocr.TextDetector()
    height, width = size
    image = np.random.default_rng(3).integers(0, 255, (height, width, 3), np.uint8)
    maps, frame = detector.maps(image)
    assert frame.input_width % 32 == frame.input_height % 32 == 0
    # the maps follow the input: nothing in the network is bound to a size
    assert maps.shape[1:] == (frame.input_height // 2, frame.input_width // 2)
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1


def test_a_page_is_scaled_only_when_it_must_be() -> None:
    options = liteocr.DetectorOptions(max_side=1000, min_side=64, margin=16)
    assert fit(640, 480, options, 32) == Frame(640, 480, 672, 512)
    assert fit(641, 480, options, 32) == Frame(641, 480, 704, 512)
    assert fit(2000, 500, options, 32) == Frame(1000, 250, 1056, 288)
    assert fit(94, 24, options, 32) == Frame(251, 64, 288, 96)
    # the long side's limit wins over the short side's: a 3 × 20000 strip stays a strip
    assert fit(20000, 3, options, 32) == Frame(1000, 1, 1056, 64)


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 47, 48, 100, 321, 1000, 2500])
def test_lines_of_any_width_go_in(width: int) -> None:
    recognizer = liteocr.TextRecognizer()
    found = recognizer.recognize(np.full((48, width, 3), 255, np.uint8))
    assert found.score < MIN_SCORE  # nothing to read: no text, or one that the pipeline leaves out


def test_a_line_keeps_its_width() -> None:
    """Steps follow the width, so nothing is padded or squeezed into a fixed box."""
    recognizer = liteocr.TextRecognizer()
    steps: list[int] = []
    run = recognizer._net.run_image
    recognizer._net.run_image = lambda x, s: steps.append(x.shape[1]) or run(x, s)  # type: ignore[method-assign, func-returns-value]
    for width in (30, 111, 999):
        recognizer.recognize(np.full((24, width, 3), 255, np.uint8))
    assert steps == [60, 222, 1998]


def test_the_angle_classifier_takes_any_width_and_knows_up(ocr: liteocr.OCR) -> None:
    classifier = liteocr.AngleClassifier()
    (truth,) = (t for t in INDEX if t["image"] == "receipt.jpg")
    image = picture("receipt.jpg")
    right = total = 0
    for item in truth["items"]:
        quad = np.array(item["quad"])
        (x0, y0), (x1, y1) = quad.min(axis=0).astype(int), quad.max(axis=0).astype(int)
        crop = image[y0:y1, x0:x1]
        right += classifier.classify(crop).degrees == 0
        right += classifier.classify(np.ascontiguousarray(crop[::-1, ::-1])).degrees == 180
        total += 2
    assert right / total > 0.8


def test_characters_stand_where_they_are_drawn(ocr: liteocr.OCR) -> None:
    image = np.full((80, 700, 3), 255, np.uint8)
    edges = []
    x = 30
    for digit in "1234567890":
        cv2.putText(image, digit, (x, 58), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 4, cv2.LINE_AA)
        edges.append((x, x + 32))
        x += 36
    (line,) = ocr.read(image)
    assert line.text == "1234567890"
    for char, (left, right) in zip(line.chars, edges, strict=True):
        xs = [p[0] for p in char.quad]
        assert left - 12 < (min(xs) + max(xs)) / 2 < right + 12
        assert min(xs) < max(xs)


def test_char_spans_are_ordered_and_inside() -> None:
    emissions = [Emission(1, 0.9, s, s + 1, s) for s in (0, 3, 4, 19)]
    spans = char_spans(emissions, ["1", "中", "文", "2"], 20, aspect=4.0)
    flat = [edge for span in spans for edge in span]
    assert flat == sorted(flat)
    assert all(0 <= a < b <= 1 for a, b in spans)
    # a lone digit reaches 0.35 of the height to either side: 0.35 / 4 of the width
    assert spans[3] == pytest.approx((19.5 / 20 - 0.0875, 1.0))


def test_stages_work_alone() -> None:
    image = picture("receipt.jpg")
    detections = liteocr.TextDetector(polygons=True).detect(image)
    assert len(detections) > 3
    for detection in detections:
        assert detection.quad.shape == (4, 2)
        assert 0 <= detection.score <= 1
        assert detection.polygon is not None
        assert len(detection.polygon) >= 4
        area = cv2.contourArea(detection.polygon.astype(np.float32))
        assert 0.3 * cv2.contourArea(detection.quad) < area < 1.3 * cv2.contourArea(detection.quad)


def test_half_precision_reads_the_same_text() -> None:
    image = picture("receipt.jpg")
    full = liteocr.OCR(precision="fp32").read(image).text
    for precision in ("fp16", "bf16", "auto"):
        assert similarity(liteocr.OCR(precision=precision).read(image).text, full) > 0.95  # type: ignore[arg-type]
