"""Measure where the detector finds text, by source, on pictures with quads.

    python -m training.eval_detector data/dev/index.jsonl --weights weights [--pictures FOLDER]

Recall and precision are of text area in pixels, ignored regions left out; f is their harmonic mean, `macro` the
mean of the sources' f. `lines` is detections per labelled line or word: far below 1 where lines are lost or
joined. `--pictures` writes every picture with the detections (red) over the labels (green), worst first by name,
beside the text map.
"""

import argparse
import collections
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from liteocr import image
from liteocr.detection import DetectorOptions, Frame, TextDetector

SIDE = 1000
"""Areas are counted on pictures of at most this long side."""
WITHOUT_QUADS = ("eye_labelled", "plates", "trad_book_lines", "word_crops")
"""Sources whose pictures are one line, or have text alone."""


def area_f(hit: float, labelled: float, found: float) -> float:
    """Harmonic mean of recall and precision; 1 where there is nothing to find and nothing is found."""
    return 2 * hit / (labelled + found) if labelled + found else 1.0


def filled(quads: list[npt.NDArray[np.float32]], scale: float, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mask (H, W) of all quads."""
    mask = np.zeros(size, np.uint8)
    for quad in quads:
        cv2.fillPoly(mask, [np.round(quad * scale).astype(np.int32)], 1)
    return mask.astype(bool)


def show(
    path: Path,
    picture: npt.NDArray[np.uint8],
    quads: list[npt.NDArray[np.float32]],
    found: list[npt.NDArray[np.float32]],
    answer: tuple[npt.NDArray[np.float32], Frame],
) -> None:
    """Write the picture with labels (green) and detections (red) beside its maps."""
    h, w = picture.shape[:2]
    maps, frame = answer
    shown = picture.copy()
    for quad_list, colour in ((quads, (0, 200, 0)), (found, (0, 0, 255))):
        cv2.polylines(shown, [np.round(q).astype(np.int32) for q in quad_list], True, colour, max(1, max(h, w) // 500))
    text = cv2.resize(
        maps[0], (round(w * frame.input_width / frame.width), round(h * frame.input_height / frame.height))
    )
    deep = cv2.resize(maps[-1], text.shape[::-1])
    beside = np.clip(np.stack([0 * text, text * 120, deep * 255], -1), 0, 255).astype(np.uint8)
    high = max(h, text.shape[0])
    panes = [cv2.copyMakeBorder(p, 0, high - p.shape[0], 0, 4, cv2.BORDER_CONSTANT) for p in (shown, beside)]
    cv2.imwrite(str(path), np.hstack(panes))


def measure(
    index: Path, detector: TextDetector, *, sources: list[str] | None = None, pictures: Path | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """For each source: pixels hit, labelled and found, labelled lines, detections."""
    sums: dict[str, npt.NDArray[np.float64]] = collections.defaultdict(lambda: np.zeros(5))
    for row in index.read_text(encoding="utf-8").splitlines():
        item = json.loads(row)
        labelled = [i for i in item["items"] if i["quad"]]
        if (not labelled and item["kind"] != "crop") or (sources and item["source"] not in sources):
            continue
        picture = image.load(index.parent / item["image"])
        maps, frame = detector.maps(picture)
        h, w = picture.shape[:2]
        found = [d.quad for d in detector.regions(maps, frame, w, h)]
        scale = min(1.0, SIDE / max(h, w))
        size = (int(h * scale) + 1, int(w * scale) + 1)
        quads = [np.array(i["quad"], np.float32) for i in labelled if not i["ignore"]]
        if not labelled:  # a crop without quads is one line
            quads = [np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)]
        ignored = filled([np.array(i["quad"], np.float32) for i in labelled if i["ignore"]], scale, size)
        want, got = filled(quads, scale, size) & ~ignored, filled(found, scale, size) & ~ignored
        numbers = np.array([(want & got).sum(), want.sum(), got.sum(), len(quads), len(found)], float)
        sums[item["source"]] += numbers
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            name = f"{item['source']}-{area_f(*numbers[:3]):.2f}-{Path(item['image']).stem}.png"
            show(pictures / name, picture, quads, found, (maps, frame))
    return dict(sums)


def macro(sums: dict[str, npt.NDArray[np.float64]]) -> float:
    """Mean of f over the sources with quads."""
    scores = [area_f(*row[:3]) for source, row in sums.items() if source not in WITHOUT_QUADS]
    return float(np.mean(scores or [0]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--weights", type=Path, help="weights directory; default: the package's")
    parser.add_argument("--source", action="append", help="only this source; may be given several times")
    parser.add_argument("--pictures", type=Path, help="folder for pictures to look at")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="a number of DetectorOptions"
    )
    args = parser.parse_args()
    changes = {
        name: float(value) if "." in value else int(value) for name, _, value in (o.partition("=") for o in args.option)
    }
    detector = TextDetector(args.weights, options=dataclasses.replace(DetectorOptions(), **changes))
    sums = measure(args.index, detector, sources=args.source, pictures=args.pictures)
    for source, (hit, labelled_area, found_area, lines, count) in sorted(sums.items()):
        recall, precision = hit / max(labelled_area, 1), hit / max(found_area, 1)
        score, ratio = area_f(hit, labelled_area, found_area), count / max(lines, 1)
        print(f"{source:18} f {score:.3f}  recall {recall:.3f}  precision {precision:.3f}  lines {ratio:.2f}")
    print(f"{'macro':18} f {macro(sums):.3f} (sources with quads)")


if __name__ == "__main__":
    main()
