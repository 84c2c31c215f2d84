"""Stages without a network, for the tests of what is around them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import liteocr

DATA = Path(__file__).resolve().parent / "data"


class BoxDetector:
    """Finds every bright rectangle of a dark picture: a detector without a network."""

    def detect(self, image: np.ndarray) -> list[liteocr.Detection]:
        """Regions of pixels above 128, as quads."""
        bright = (image.max(axis=2) > 128).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        found = []
        for x, y, w, h, _ in stats[1:count]:
            quad = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)
            found.append(liteocr.Detection(quad, 0.9))
        return found


class ColourRecognizer:
    """Reads a crop as the name of its colour, which tells the tests where the crop came from."""

    def recognize(self, crop: np.ndarray) -> liteocr.Recognition:
        """``b``, ``g``, ``r`` or ``w``, by the channels that are bright in the crop's middle."""
        middle = crop[crop.shape[0] // 2, crop.shape[1] // 2] > 128
        text = {(1, 0, 0): "b", (0, 1, 0): "g", (0, 0, 1): "r", (1, 1, 1): "w"}[tuple(int(c) for c in middle)]
        char = liteocr.RecognizedChar(text, 0.8, 0.0, 0.5)
        return liteocr.Recognition(text, 0.8, (char,))


class RedIsUpsideDown:
    """Calls a crop upside down when it is red."""

    def classify(self, crop: np.ndarray) -> liteocr.Angle:
        """180 degrees for red, else 0, both with 0.9995."""
        b, g, r = crop[crop.shape[0] // 2, crop.shape[1] // 2] > 128
        return liteocr.Angle(180 if r and not g and not b else 0, 0.9995)
