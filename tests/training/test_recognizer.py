"""The recogniser and the angle classifier as they ship, against PyTorch; their training's own parts."""

import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from liteocr.geometry import crop_quad
from liteocr.orientation import AngleClassifier
from liteocr.recognition import TextRecognizer
from training import angle, crnn
from training.blend import blend
from training.calibrate import error, scored
from training.eval_recognizer import ncnn_reader, prepare
from training.export_angle import main as export_angle
from training.export_recognizer import main as export_recognizer
from training.lines import Lines
from training.train_angle import Crops, batches
from training.train_recognizer import Batches, keeping, right

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / "training" / "checkpoints"
WEIGHTS = ROOT / "weights"
DATA = ROOT / "tests" / "data"


def crops() -> list[np.ndarray]:
    """Lines of the test pictures, ten of ten different widths, from short to long."""
    found = {}
    for row in map(json.loads, (DATA / "index.jsonl").read_text(encoding="utf-8").splitlines()):
        image = np.asarray(cv2.imread(str(DATA / row["image"])), np.uint8)
        for item in row["items"]:
            crop = crop_quad(image, np.array(item["quad"], np.float32))
            found[round(crop.shape[1] * crnn.HEIGHT / crop.shape[0])] = crop
    widths = sorted(found)
    assert len(widths) >= 10
    return [found[widths[i * (len(widths) - 1) // 9]] for i in range(10)]


def test_the_recogniser_computes_what_pytorch_computes() -> None:
    net, charset = crnn.load(CHECKPOINTS / "recognizer.pt")
    assert "".join(c + "\n" for c in charset) == (WEIGHTS / "charset.txt").read_text(encoding="utf-8")
    read = ncnn_reader(str(WEIGHTS / "recognizer"))
    widths = set()
    for crop in crops():
        x = prepare(crop, 1)
        widths.add(x.shape[2])
        with torch.no_grad():
            wanted = net(torch.from_numpy(x[None]))[0].numpy()
        found = read(x)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 2e-3
        assert (found.argmax(1) == wanted.argmax(1)).all()
    assert len(widths) == 10


def test_the_package_reads_what_pytorch_reads() -> None:
    net, charset = crnn.load(CHECKPOINTS / "recognizer.pt")
    reader = TextRecognizer(precision="fp32")
    for crop in crops():
        line = reader._resize(crop)
        x = torch.from_numpy(line.transpose(2, 0, 1)[None].astype(np.float32)).sub(127.5).div(127.5)
        with torch.no_grad():
            best = net(x)[0].argmax(1).numpy()
        text = "".join(charset[c - 1] for c, before in zip(best, [0, *best[:-1]], strict=True) if c and c != before)
        assert reader.recognize(crop).text == text


def test_the_classifier_computes_what_pytorch_computes() -> None:
    net, classifier = angle.load(CHECKPOINTS / "angle.pt"), AngleClassifier(precision="fp32", max_width=10**6)
    for crop in crops():
        turned = angle.probability(net, crop)
        found = classifier.classify(crop)
        assert found.score == pytest.approx(turned if found.degrees else 1 - turned, abs=1e-3)


@pytest.mark.parametrize("name", ["recognizer", "angle"])
def test_what_ships_is_the_export_of_its_checkpoint(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / f"{name}.pt"
    checkpoint.write_bytes((CHECKPOINTS / f"{name}.pt").read_bytes())
    monkeypatch.setattr("sys.argv", ["export", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")])
    (export_recognizer if name == "recognizer" else export_angle)()
    for end in (".ncnn.param", ".ncnn.bin"):
        made, shipped = ((folder / f"{name}{end}").read_bytes() for folder in (tmp_path / "out", WEIGHTS))
        assert made == shipped, f"{name}{end} is not what the export writes"


def test_both_networks_weigh_less_than_four_megabytes() -> None:
    files = [WEIGHTS / f"{name}.ncnn.{end}" for name in ("recognizer", "angle") for end in ("param", "bin")]
    assert sum(file.stat().st_size for file in files) < 4e6


@pytest.mark.parametrize("width", [8, 9, 100, 321])
def test_one_step_is_eight_pixels(width: int) -> None:
    steps = crnn.CRNN(hidden=4, classes=10).eval()(torch.zeros(1, 3, crnn.HEIGHT, width)).shape[1]
    assert abs(steps - width / crnn.STRIDE) <= 1


def test_a_new_branch_changes_nothing() -> None:
    net = crnn.CRNN(hidden=4, classes=10).eval()
    features = torch.rand(1, 7, 160)
    with torch.no_grad():
        assert torch.equal(net.head(features), net.classes(net.narrow(features)))


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    net = crnn.CRNN(hidden=4, classes=3)
    crnn.save(net, ["a", "b"], tmp_path / "net.pt")
    read, charset = crnn.load(tmp_path / "net.pt")
    assert charset == ["a", "b"]
    for name, value in read.state_dict().items():
        assert torch.equal(value, crnn.shipped(net.state_dict()[name]).float())
    with pytest.raises(ValueError, match="3 characters and a blank, but 3 classes"):
        crnn.save(net, ["a", "b", "c"], tmp_path / "net.pt")


def test_a_blend_lies_between() -> None:
    first, second = crnn.CRNN(hidden=4, classes=3), crnn.CRNN(hidden=4, classes=3)
    with torch.no_grad():
        first.classes.bias.fill_(1)
        second.classes.bias.fill_(3)
    assert blend(first, second, 0.25).classes.bias.tolist() == [1.5] * 3
    assert torch.equal(blend(first, second, 0).stem.weight, first.stem.weight)


def test_keeping_counts_only_lines_that_the_start_reads() -> None:
    # two lines of three steps: the start reads "1" and "2", the labels are "1" and "1"
    before = torch.tensor([[[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]] * 3).log()
    labels, lengths = torch.tensor([1, 1]), torch.tensor([1, 1])
    assert right(before, labels, lengths).tolist() == [True, False]
    assert keeping(before, before, labels, lengths).item() == pytest.approx(0)
    now = torch.full_like(before, 1 / 3).log()
    # 0.8 ln(0.8 * 3) + 2 * 0.1 ln(0.1 * 3), the first line's alone
    assert keeping(now, before, labels, lengths).item() == pytest.approx(0.4596, abs=1e-4)


def test_batches_are_of_one_width_and_can_be_spelled() -> None:
    drawn = []
    lines = Lines(3)
    for _ in range(40):
        crop, text = lines.sample()
        drawn.append((cv2.imencode(".png", crop)[1].tobytes(), text))
    charset = sorted(set("".join(text for _, text in drawn)))
    source = iter(Batches(charset, [], 0.5, 1, drawn))
    for _ in range(5):
        images, labels, lengths = next(source)
        assert images.shape[1:3] == (3, crnn.HEIGHT) and images.shape[3] % crnn.STRIDE == 0
        assert len(images) == len(lengths) and lengths.sum() == len(labels)
        assert lengths.max() < images.shape[3] // crnn.STRIDE + 1
        assert images.min() >= -1 and images.max() <= 1 and labels.min() >= 1 and labels.max() <= len(charset)


def test_the_classifier_sees_every_line_both_ways_up() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:10] = 255
    source = Crops(1, [], 0.0, [(cv2.imencode(".png", image)[1].tobytes(), "top")])
    for x, turned in batches(source.pool()[:8], random.Random(0)):
        half = len(x) // 2
        assert turned.tolist() == [[1, 0]] * half + [[0, 1]] * half
        assert torch.equal(x[:half].flip(2, 3), x[half:])


def test_the_classifier_learns_to_be_in_doubt() -> None:
    png = cv2.imencode(".png", np.zeros((20, 60, 3), np.uint8))[1].tobytes()
    source = Crops(1, [], 0.0, [(png, "6901"), (png, "")])
    assert all(
        row == [0.5, 0.5] for _, turned in batches(source.pool()[:8], random.Random(0)) for row in turned.tolist()
    )


def test_a_line_is_drawn_at_its_height() -> None:
    lines = Lines(5)
    heights = [lines.draw("number", "1234567", 20).shape[0] for _ in range(20)]
    assert 18 <= np.median(heights) <= 30
    assert np.array_equal(Lines(9).sample()[0], Lines(9).sample()[0])


def test_the_calibration_error_by_hand() -> None:
    # ten characters at 0.9, of which eight are right, and ten at 0.4, of which four are
    scores, right_ = np.array([0.9] * 10 + [0.4] * 10), np.array([1] * 8 + [0] * 2 + [1] * 4 + [0] * 6)
    found, rows = error(scores, right_)
    assert found == pytest.approx(0.05)
    assert [(n, round(r, 3)) for n, _, r in rows] == [(10, 0.4), (10, 0.8)]
    # logits 2 and 0 at a temperature of 2: a sigmoid of 1
    (score,), (hit,) = scored([(np.array([[0.0, 2.0]], np.float32), [True])], 2.0)
    assert (score, hit) == (pytest.approx(0.7311, abs=1e-4), 1)
