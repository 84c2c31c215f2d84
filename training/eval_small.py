"""Measure how small the text may be: recall on freshly rendered pages of lines of one height.

    python -m training.eval_small --weights weights --seed 1 [--read] [--photos PHOTOS] [--pictures FOLDER]

Each page is 1280 x 1280 pixels of lines whose outline is HEIGHT pixels high, a tenth of them on a photo or on clutter,
with some noise and JPEG compression, and is given to the detector as it is. A line counts as found when
a detection's quad and its outline overlap by half of their union. Words, sentences and numbers are counted apart.
With `--read` the pages are read, too, and `right` is 1 minus the edit distance of the found lines by their characters.
"""

import argparse
import collections
import random
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from rapidfuzz.distance import Levenshtein

import liteocr
from training.labels import Polygon
from training.scenes import Picture, Scene, Scenes

SIDE = 1280
OVERLAP = 0.5
CONTRAST = 70
"""Between ink and ground, in grey levels."""


class Pages(Scenes):
    """Pages of lines of one height, with what they say."""

    def sized(self, text: str, height: float) -> tuple[Picture, Polygon] | None:
        """A line in some font, its outline within a pixel of the height; None where the font does not manage."""
        size = height
        for _ in range(3):
            ink, outline = self.mask(text, self.face(text, size))
            got = float(np.ptp(outline[:, 1]))
            if abs(got - height) <= 0.75:
                return ink, outline
            size = max(4.0, size * height / max(got, 1.0))
        return None

    def dense(self, height: float) -> tuple[Scene, list[tuple[str, str]]]:
        """A page, and the kind and text of each of its lines."""
        rng, n = self.rng, self.size
        image = self.photo(n, n) if rng.random() < 0.1 else self.paper(n, n)
        scene, said = Scene(np.empty(0, np.uint8)), []
        ground = image.mean((0, 1))
        pen = self.pen(ground)
        while abs(float((pen - ground).mean())) < CONTRAST:
            pen = self.pen(ground)
        y = 20.0
        while y < n - 3 * height:
            x = float(rng.randint(10, 60))
            while x < n - 12 * height:
                kind, text = rng.choice(
                    (
                        ("chinese", self.words.chinese(rng.randint(2, 14))),
                        ("english", self.words.english(rng.randint(1, 5))),
                        ("digits", "".join(rng.choices("0123456789", k=rng.randint(12, 24)))),
                        ("numbers", self.texts.number()),
                    )
                )
                try:
                    made = self.sized(text, height)
                except (OSError, ValueError):
                    continue
                if made is None:
                    continue
                ink, outline = made
                if x + ink.shape[1] > n - 8:
                    break
                self.write(scene, image, ink, outline, (int(x), int(y)), pen=pen)
                said.append((kind, text))
                x += ink.shape[1] + rng.uniform(1.5, 6) * height
            y += height * rng.uniform(1.35, 2.2)
        noise = self.noise.normal(0, rng.uniform(0, 6), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        _, file = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, rng.randint(70, 95)))
        scene.image = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
        return scene, said


def plain(text: str) -> str:
    """Compared without spaces and in compatibility form, full width being a matter of fonts."""
    return unicodedata.normalize("NFKC", text).replace(" ", "")


def best(quads: list[npt.NDArray[np.float32]], outline: Polygon) -> tuple[int, float]:
    """The quad that overlaps an outline most, and by how much of their union; (-1, 0) where none does."""
    wanted = shapely.Polygon(outline).buffer(0)
    shapes = [shapely.Polygon(q).buffer(0) for q in quads]
    overlaps = [s.intersection(wanted).area / s.union(wanted).area if s.intersects(wanted) else 0.0 for s in shapes]
    if not overlaps:
        return -1, 0.0
    k = int(np.argmax(overlaps))
    return k, overlaps[k]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="weights directory; default: the package's")
    parser.add_argument("--heights", type=float, nargs="+", default=[8, 12], help="of the lines, in pixels")
    parser.add_argument("--pages", type=int, default=6, help="of each height")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--photos", type=Path, help="folder of photos without text")
    parser.add_argument("--read", action="store_true", help="measure the text, too")
    parser.add_argument("--pictures", type=Path, help="folder for pictures to look at")
    args = parser.parse_args()
    detector = liteocr.TextDetector(args.weights, options=liteocr.DetectorOptions(max_side=SIDE))
    recognizer = liteocr.TextRecognizer(args.weights) if args.read else None
    ocr = None if recognizer is None else liteocr.OCR(weights=args.weights, max_side=SIDE, min_score=0.0)
    for height in args.heights:
        pages = Pages(args.seed * 1_000_003 + int(height), SIDE, photos=args.photos)
        random.seed(args.seed)
        sums: dict[str, npt.NDArray[np.float64]] = collections.defaultdict(lambda: np.zeros(4))
        extra = 0
        for number in range(args.pages):
            scene, said = pages.dense(height)
            if ocr is None:
                quads, texts = [d.quad for d in detector.detect(scene.image)], []
            else:
                page = ocr.read(scene.image)
                quads, texts = [np.array(line.quad, np.float32) for line in page], [line.text for line in page]
            used = set()
            for (kind, text), outline in zip(said, scene.lines, strict=True):
                k, overlap = best(quads, outline)
                found = overlap >= OVERLAP
                used |= {k} if found else set()
                row = np.array([1, found, 0, 0], float)
                if found and texts:
                    wrong = Levenshtein.distance(plain(text), plain(texts[k]))
                    row[2:] = min(wrong, len(text)), len(text)
                sums[kind] += row
                sums["all"] += row
            extra += len(quads) - len(used)
            if args.pictures:
                args.pictures.mkdir(parents=True, exist_ok=True)
                shown = scene.image.copy()
                for group, colour in ((scene.lines, (0, 200, 0)), (quads, (0, 0, 255))):
                    cv2.polylines(shown, [np.round(q).astype(np.int32) for q in group], True, colour, 1)
                cv2.imwrite(str(args.pictures / f"{height:g}-{number}.png"), shown)
        for kind, (total, found, wrong, chars) in sorted(sums.items(), key=lambda item: item[0] == "all"):
            right = f"  right {1 - wrong / chars:.3f}" if chars else ""
            print(f"{height:>4g} px  {kind:8} lines {total:5.0f}  recall {found / total:.3f}{right}")
        print(f"{height:>4g} px  detections that are no line: {extra}")


if __name__ == "__main__":
    main()
