"""chineseocr_lite's three networks of 2020/21 through pyncnn, as a peer of compare.py.

The folder has ``dbnet_op``, ``angle_op`` and ``crnn_lite_op`` as .param and .bin, and ``keys.txt``. Today's ncnn takes
the .param files only after ``liteocr-model upgrade --dynamic OLD.param NEW.param``.

The steps and thresholds are those that these networks were published with: a page of at most 1024 pixels with a white
border, DBNet (a differentiable binarisation detector), its regions offset by area / perimeter, an angle classifier
on 192×32 pixels, and a CRNN 32 pixels high.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import ncnn
import numpy as np
import pyclipper
from numpy.typing import NDArray

BORDER = 50
MAX_SIDE = 1024
TEXT, REGION = 0.3, 0.5
"""From where on a pixel is text, and the least mean of a region."""
UNCLIP = 2.0
HALF = [127.5] * 3


class Network:
    """One network in float32."""

    def __init__(self, folder: Path, name: str, blobs: tuple[str, str], threads: int) -> None:
        self.net, self.blobs = ncnn.Net(), blobs
        opt = self.net.opt
        opt.num_threads = threads
        opt.use_fp16_packed = opt.use_fp16_storage = opt.use_fp16_arithmetic = False
        for load, suffix in ((self.net.load_param, ".param"), (self.net.load_model, ".bin")):
            if load(str(folder / (name + suffix))) != 0:
                raise RuntimeError(f"ncnn refuses {folder / (name + suffix)}: liteocr-model upgrade --dynamic")

    def run(self, image: NDArray[np.uint8], mean: list[float], std: list[float]) -> NDArray[np.float32]:
        """The output for an RGB picture."""
        mat = ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_RGB, image.shape[1], image.shape[0])
        mat.substract_mean_normalize(mean, [1 / value for value in std])
        extractor = self.net.create_extractor()
        extractor.input(self.blobs[0], mat)
        code, out = extractor.extract(self.blobs[1])
        if code != 0:
            raise RuntimeError(f"ncnn failed with code {code} on {image.shape}")
        return np.array(out)


class ChineseOcrLite:
    """Reads pictures.

    Args:
        folder: where the networks are.
        threads: for the detector; lines are read on as many threads at a time, each with one.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.detector = Network(folder, "dbnet_op", ("input0", "out1"), threads)
        self.classifier = Network(folder, "angle_op", ("input", "out"), 1)
        self.recognizer = Network(folder, "crnn_lite_op", ("input", "out"), 1)
        self.keys = (folder / "keys.txt").read_text(encoding="utf-8").split("\n")
        self.pool = ThreadPoolExecutor(threads)

    def read(self, path: str) -> list[dict[str, Any]]:
        """The lines of a picture: quad in pixels, text, score."""
        bgr = cv2.imread(path)
        if bgr is None:
            return []
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        page = cv2.copyMakeBorder(rgb, *[BORDER] * 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        quads = list(self.detect(page))
        crops = [cut(page, quad) for quad in quads]
        readings = self.pool.map(self.recognize, crops)
        return [
            {"quad": (quad - BORDER).tolist(), "text": text, "score": score}
            for quad, (text, score) in zip(quads, readings, strict=True)
            if text
        ]

    def detect(self, page: NDArray[np.uint8]) -> Iterator[NDArray[np.float64]]:
        """The quads of a page, clockwise from the top left."""
        height, width = page.shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        w, h = (max(32, round(side * scale / 32) * 32) for side in (width, height))
        mean, std = ([255 * v for v in values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        probability = self.detector.run(cv2.resize(page, (w, h)), mean, std)[0]
        contours, _ = cv2.findContours((probability > TEXT).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        for contour in contours:
            if min(cv2.minAreaRect(contour)[1]) < 3:
                continue
            x0, y0, bw, bh = cv2.boundingRect(contour)
            mask = np.zeros((bh, bw), np.uint8)
            cv2.fillPoly(mask, [contour - (x0, y0)], 1)
            if cv2.mean(probability[y0 : y0 + bh, x0 : x0 + bw], mask)[0] < REGION:
                continue
            box = cv2.boxPoints(cv2.minAreaRect(contour))
            distance = cv2.contourArea(box) * UNCLIP / cv2.arcLength(box, True)
            offset = pyclipper.PyclipperOffset()
            offset.AddPath(np.rint(box).astype(int).tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
            grown = offset.Execute(distance)
            if not grown:
                continue
            rectangle = cv2.minAreaRect(np.array(grown[0], np.float32))
            if min(rectangle[1]) < 5:
                continue
            quad = cv2.boxPoints(rectangle)
            by_x = quad[np.argsort(quad[:, 0], kind="stable")]
            (a, d), (b, c) = (sorted(side.tolist(), key=lambda point: point[1]) for side in (by_x[:2], by_x[2:]))
            yield np.array([a, b, c, d]) * (width / w, height / h)

    def recognize(self, crop: NDArray[np.uint8]) -> tuple[str, float]:
        """Text and mean probability of a line."""
        small = cv2.resize(crop, (max(1, round(crop.shape[1] * 32 / crop.shape[0])), 32))
        line = np.full((32, 192, 3), 255, np.uint8)
        shown = small[:, :192]
        line[:, : shown.shape[1]] = shown
        if self.classifier.run(line, HALF, HALF).argmax() == 0:
            crop = np.ascontiguousarray(crop[::-1, ::-1])
        scaled = cv2.resize(crop, (max(8, math.ceil(crop.shape[1] * 32 / crop.shape[0])), 32))
        logits = self.recognizer.run(scaled, HALF, HALF)
        best = logits.argmax(axis=1)
        starts = np.flatnonzero((best > 0) & np.concatenate([[True], best[1:] != best[:-1]]))
        if not len(starts):
            return "", 0.0
        rows = logits[starts] - logits[starts].max(axis=1, keepdims=True)
        return "".join(self.keys[best[i] - 1] for i in starts), float((1 / np.exp(rows).sum(axis=1)).mean())


def cut(page: NDArray[np.uint8], quad: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The quad's pixels, a tall one turned by 90 degrees."""
    width = max(np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[3]))
    height = max(np.linalg.norm(quad[3] - quad[0]), np.linalg.norm(quad[2] - quad[1]))
    w, h = max(1, round(width)), max(1, round(height))
    target = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad.astype(np.float32), target)
    crop = cv2.warpPerspective(page, matrix, (w, h), borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.rot90(crop)) if h >= 1.5 * w else crop
