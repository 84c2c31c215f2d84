"""The shipped recogniser on lines: what it computes; allowed characters, a lexicon, a beam."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

import liteocr
from liteocr.geometry import crop_quad

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"


def line(text: str) -> np.ndarray:
    """A line of text as it is cut, drawn by OpenCV."""
    image = np.full((48, 30 + 24 * len(text), 3), 235, np.uint8)
    cv2.putText(image, text, (12, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (40, 40, 40), 2, cv2.LINE_AA)
    return image


def test_only_allowed_characters_are_read() -> None:
    crop = line("SO0l 12.50")
    assert any(c.isalpha() for c in liteocr.TextRecognizer().recognize(crop).text)
    digits = liteocr.TextRecognizer(charset="0123456789.").recognize(crop)
    assert digits.text.endswith("12.50")
    assert set(digits.text) <= set("0123456789.")
    assert all(0 <= c.score <= 1 and 0 <= c.start < c.end <= 1 for c in digits.chars)


def test_allowed_characters_leave_what_they_allow() -> None:
    crop = line("12.50")
    free, bound = (
        liteocr.TextRecognizer().recognize(crop),
        liteocr.TextRecognizer(charset="0123456789.").recognize(crop),
    )
    assert bound.text == free.text == "12.50"
    assert [(c.start, c.end) for c in bound.chars] == [(c.start, c.end) for c in free.chars]


def test_a_line_is_the_likeliest_of_a_lexicon() -> None:
    reader = liteocr.TextRecognizer(lexicon=["TOTAL", "TAXES", "CASH"])
    found = reader.recognize(line("T0TAL"))
    assert found.text == "TOTAL"
    assert [c.text for c in found.chars] == list("TOTAL")
    assert [c.start for c in found.chars] == sorted(c.start for c in found.chars)
    # what the lexicon does not have gets one of its texts, and a lower score
    assert reader.recognize(line("98765")).score < found.score


def test_a_lexicon_of_texts_too_long_for_the_line() -> None:
    assert liteocr.TextRecognizer(lexicon=["1" * 40]).recognize(line("12")).text == ""


def test_a_beam_reads_clear_text_as_the_best_path_does() -> None:
    crop = line("Invoice 1100 2233")
    best, beam = liteocr.TextRecognizer().recognize(crop), liteocr.TextRecognizer(beam=8).recognize(crop)
    assert beam.text == best.text
    assert beam.score == pytest.approx(best.score, abs=1e-4)


def test_spaces_around_a_line_are_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = liteocr.TextRecognizer(charset=" 1")
    logits = np.full((12, reader._spec.classes), -9, np.float32)
    for step, kind in enumerate([2, 0, 1, 1, 2, 1, 0, 2, 0, 0, 2, 0]):  # of blank, 1 and space
        logits[step, (reader._blank, *reader._kept[[2, 1]])[kind]] = 9
    monkeypatch.setattr(reader._net, "run_image", lambda *_: logits)
    found = reader.recognize(line("1"))
    assert found.text == "1 1"
    assert [c.text for c in found.chars] == ["1", " ", "1"]
    monkeypatch.setattr(reader._net, "run_image", lambda *_: logits[[0, 1, 7]])
    assert reader.recognize(line("1")) == liteocr.Recognition("", 0.0, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"charset": ""}, "empty text in charset"),
        ({"charset": "0\u1234"}, "no class for"),
        ({"lexicon": []}, "lexicon is empty"),
        ({"lexicon": "TOTAL"}, "give a list"),
        ({"lexicon": ["TOTAL", ""]}, "empty text in lexicon"),
        ({"lexicon": ["12"], "charset": "1"}, "no class for '2'"),
        ({"beam": 0}, "beam is 0"),
        ({"beam": 2, "lexicon": ["TOTAL"]}, "leave out beam"),
    ],
)
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(liteocr.OptionError, match=message):
        liteocr.TextRecognizer(**options)


def test_the_pipeline_hands_them_on() -> None:
    crop = line("12.50")
    assert liteocr.read(crop, line=True, charset="0123456789.").text == "12.50"
    assert liteocr.read(crop, line=True, lexicon=["12.50", "12.80"]).text == "12.50"
    with pytest.raises(liteocr.OptionError, match="built-in"):
        liteocr.OCR(recognizer=liteocr.TextRecognizer(), beam=4)


def test_lines_of_ten_widths_are_computed_as_onnx_runtime_does() -> None:
    crops = {}
    for row in map(json.loads, (DATA / "index.jsonl").read_text(encoding="utf-8").splitlines()):
        image = np.asarray(cv2.imread(str(DATA / row["image"])), np.uint8)
        for item in row["items"]:
            crop = crop_quad(image, np.array(item["quad"], np.float32))
            crops[round(crop.shape[1] / crop.shape[0], 2)] = crop
    aspects = sorted(crops)
    reader = liteocr.TextRecognizer(precision="fp32")
    session = onnxruntime.InferenceSession(ROOT / "training" / "checkpoints" / "recognizer.onnx")
    widths = set()
    for i in range(10):
        shape = reader._resize(crops[aspects[i * (len(aspects) - 1) // 9]])
        widths.add(shape.shape[1])
        x = ((shape.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        (wanted,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x)})
        found = reader._net.run_image(shape, reader._spec.input)
        assert found.shape == wanted[0].shape
        assert np.abs(found - wanted[0]).max() < 2e-3
    assert len(widths) == 10
