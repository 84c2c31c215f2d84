"""What ships is what the export makes of the committed checkpoint, and it computes what PyTorch computes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from liteocr.detection import DetectorOptions, TextDetector
from training.export_detector import difference
from training.export_detector import main as export
from training.psenet import load

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "training" / "checkpoints" / "detector.pt"
SHIPPED = ROOT / "weights" / "detector"


def test_the_shipped_detector_is_the_export_of_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["export", str(CHECKPOINT), str(tmp_path / "detector")])
    export()
    for end in (".ncnn.param", ".ncnn.bin"):
        made, shipped = (Path(f"{stem}{end}").read_bytes() for stem in (tmp_path / "detector", SHIPPED))
        assert made == shipped, f"detector{end} is not what the export writes"


def test_ncnn_computes_what_pytorch_computes() -> None:
    pictures = []
    for name, (width, height) in {
        "receipt.jpg": (640, 896),
        "screen.png": (800, 480),
        "notice.jpg": (352, 608),
    }.items():
        image = cv2.imread(str(ROOT / "tests" / "data" / name), cv2.IMREAD_COLOR)
        assert image is not None
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        pictures.append(np.ascontiguousarray(image.transpose(2, 0, 1) / 255, np.float32))
    # the weights are stored in half precision
    assert difference(load(CHECKPOINT), SHIPPED, pictures) < 0.01


def test_the_package_feeds_the_network_as_the_training_does() -> None:
    image = cv2.imread(str(ROOT / "tests" / "data" / "receipt.jpg"), cv2.IMREAD_COLOR)
    assert image is not None
    image = np.ascontiguousarray(image[:640, :480])
    maps, _ = TextDetector(options=DetectorOptions(margin=0)).maps(image)
    with torch.inference_mode():
        wanted = load(CHECKPOINT)(torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(255)))[0].numpy()
    assert np.abs(maps - wanted).max() < 0.01
