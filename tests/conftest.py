"""The pipeline with fakes for its stages, and the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import BoxDetector, ColourRecognizer, RedIsUpsideDown
from hypothesis import settings

import liteocr
from liteocr import weights as weights_module

# A busy machine is no failure: properties are about results, not time.
settings.register_profile("liteocr", deadline=None)
settings.load_profile("liteocr")


@pytest.fixture
def boxes() -> np.ndarray:
    """A dark picture with a blue bar above a green one above a red one."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[20:50, 30:250, 0] = 255
    image[80:110, 30:250, 1] = 255
    image[140:170, 30:250, 2] = 255
    return image


@pytest.fixture
def fake_ocr() -> liteocr.OCR:
    """The pipeline with fakes for all three stages, without weights."""
    return liteocr.OCR(detector=BoxDetector(), classifier=RedIsUpsideDown(), recognizer=ColourRecognizer())


@pytest.fixture(scope="session")
def ocr() -> liteocr.OCR:
    """The real networks."""
    return liteocr.OCR()


@pytest.fixture
def own_weights(tmp_path: Path) -> Path:
    """A copy of the shipped weights that a test may damage."""
    target = tmp_path / "weights"
    shutil.copytree(weights_module.default_directory(), target)
    return target
