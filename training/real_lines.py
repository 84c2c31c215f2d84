"""Cut the text lines of labelled pictures, once, for training on real lines.

    python -m training.real_lines INDEX.jsonl LINES.pickle --teacher rec.onnx --dictionary dict.txt

INDEX.jsonl: {"image": path beside the index, "items": [{"quad": 4 points, "text":, "ignore":}]} a picture.
LINES.pickle is read by `read_lines`. Labels of receipts are upper case whatever is printed; the teacher, a larger
recogniser, reads each line and its reading decides the case of the letters. Lines that the teacher reads very
differently are left out: label or quad is wrong there.
"""

import argparse
import json
import pickle
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

from training import crnn
from training.eval_recognizer import decode, normal, onnx_reader, prepare

MARGIN = 0.4  # of the line's height, kept around each crop so that training can cut it loose or tight
AGREE = 0.6  # share of characters in which label and teacher must agree


class RealLine(NamedTuple):
    """A line with surroundings."""

    jpeg: bytes
    box: tuple[int, int, int, int]
    """Left, top, right, bottom of the line in the picture of `jpeg`, pixels."""
    text: str


def cased(label: str, teacher: str) -> str | None:
    """The label's characters and spaces in the teacher's case; None where the two differ too much to be one line.

    >>> cased("TAX INVOICE", "Tax lnvoice")
    'Tax Invoice'
    """
    mine = [(i, c) for i, c in enumerate(label) if not c.isspace()]
    a, b = "".join(c for _, c in mine), "".join(teacher.split())
    folded_a, folded_b = normal(a), normal(b)
    if len(folded_a) != len(a) or len(folded_b) != len(b) or not a or not b:
        return label if folded_a == folded_b else None
    distance = Levenshtein.distance(folded_a, folded_b)
    if distance > (1 - AGREE) * max(len(a), len(b)):
        return None
    letters = [c for c in b if c.isalpha()]
    low = sum(c.islower() for c in letters) > 0.5 * len(letters)
    out = list(label)
    for i, c in mine:
        out[i] = c.lower() if low and i and label[i - 1].isalnum() else c
    for block in Levenshtein.opcodes(folded_a, folded_b):
        if block.tag == "equal":
            for k in range(block.src_end - block.src_start):
                i, c = mine[block.src_start + k]
                twin = b[block.dest_start + k]
                out[i] = c.lower() if twin.islower() else c.upper() if twin.isupper() else c
    return "".join(out)


def read_lines(path: Path) -> list[RealLine]:
    """What `main` wrote."""
    return [RealLine(*row) for row in pickle.loads(path.read_bytes())]


def cut(
    image: npt.NDArray[np.uint8], quad: list[list[float]]
) -> tuple[npt.NDArray[np.uint8], tuple[int, int, int, int]] | None:
    """Crop of the quad's bounding box with a margin, and the box inside that crop; None for a degenerate quad."""
    points = np.asarray(quad, dtype=np.float32)
    left, top = np.maximum(np.floor(points.min(0)), 0).astype(int)
    right, bottom = np.ceil(points.max(0)).astype(int)
    right, bottom = min(right, image.shape[1]), min(bottom, image.shape[0])
    if right - left < 4 or bottom - top < 6 or bottom - top > 1.5 * (right - left):
        return None
    margin = int(MARGIN * (bottom - top))
    x, y = max(0, left - margin), max(0, top - margin)
    crop = image[y : bottom + margin, x : right + margin]
    return np.ascontiguousarray(crop), (left - x, top - y, right - x, bottom - y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", required=True, help="ONNX file of the larger recogniser")
    parser.add_argument("--dictionary", required=True, help="its characters, one a line")
    args = parser.parse_args()
    read, charset = onnx_reader(args.teacher), crnn.read_dictionary(args.dictionary)
    lines: list[RealLine] = []
    seen = 0
    for row in map(json.loads, args.index.read_text(encoding="utf-8").splitlines()):
        image = cv2.imread(str(args.index.parent / row["image"]))
        if image is None:
            raise SystemExit(f"{row['image']}: cannot be read")
        for item in row["items"]:
            found = None if item.get("ignore") or not item["text"] else cut(image, item["quad"])
            if found is None:
                continue
            seen += 1
            crop, (left, top, right, bottom) = found
            text = cased(item["text"], decode(read(prepare(crop[top:bottom, left:right])), charset))
            if text is not None:
                jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                lines.append(RealLine(jpeg, (int(left), int(top), int(right), int(bottom)), text))
    args.out.write_bytes(pickle.dumps([tuple(line) for line in lines]))  # tuples: a pickle without our classes
    print(f"{len(lines)} of {seen} lines kept")


if __name__ == "__main__":
    main()
