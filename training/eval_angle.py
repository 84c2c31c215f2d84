"""How often the angle classifier is right: lines rendered with a fresh seed, by height, and line crops.

    python -m training.eval_angle [--checkpoint FILE] [--count 400] [--seed 20260101] [--index LINES/index.jsonl]
    python -m training.eval_angle --ncnn weights

Every line is shown both ways up, but for those that read the same when turned (`BOTH_WAYS`). "digits" are strings of 5
to 20 digits, as likely to be small as large; "plain" is one colour on another, the rest as worn as the training lines.
"right" is the share of right answers at one half, "kept" and "found" are what a threshold of 0.9 makes of upright and
of turned lines.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from liteocr.orientation import AngleClassifier
from training import angle
from training.eval_recognizer import crops
from training.lines import Lines
from training.train_angle import BOTH_WAYS, SURE

HEIGHTS = (8, 10, 12, 16, 24, 32, 48)
Picture = npt.NDArray[np.uint8]


def rendered(count: int, seed: int) -> Iterator[tuple[str, Picture]]:
    """(group, upright crop): `count` of each height, and as many digit strings."""
    lines = Lines(seed)
    for height in (*HEIGHTS, 0):
        found = 0
        while found < count:
            if height:
                kind, text = lines.texts.sample()
                group = f"{height} px"
            else:
                kind, text, group = "number", lines.texts.digits(5, 20), "digits"
            if kind in ("blank", "rule") or set(text) <= BOTH_WAYS:
                continue
            found += 1
            size = height or lines.rng.uniform(8, 40)
            yield group, lines.draw(kind, text, size)
            yield f"{group}, plain", lines.plain(text, size)


def labelled(index: Path) -> Iterator[tuple[str, Picture]]:
    """(group, upright crop) of line crops, each in several groups."""
    for _, source, crop, text in crops(index):
        if set(text) <= BOTH_WAYS:
            continue
        digits = sum(c.isdigit() for c in text) > 0.7 * len(text)
        groups = ("crops", source, "crops of digits" if digits else "", "crops < 16 px" if len(crop) < 16 else "")
        yield from ((group, crop) for group in groups if group)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("training/checkpoints/angle.pt"))
    parser.add_argument("--ncnn", help="the classifier of a weights directory, as the package runs it")
    parser.add_argument("--index", type=Path, help="index of line crops, in addition")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=20260101)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    turned: Callable[[Picture], float]
    if args.ncnn:
        classifier = AngleClassifier(args.ncnn)

        def turned(crop: Picture) -> float:
            found = classifier.classify(crop)
            return found.score if found.degrees else 1 - found.score
    else:
        net = angle.load(args.checkpoint)

        def turned(crop: Picture) -> float:
            return angle.probability(net, crop)

    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for group, crop in (*rendered(args.count, args.seed), *(labelled(args.index) if args.index else ())):
        scores[group].append((turned(crop), turned(np.ascontiguousarray(crop[::-1, ::-1]))))
    print(f"{'lines':<18}{'number':>8}{'right':>8}{'kept':>8}{'found':>8}")
    for group, pairs in scores.items():
        up, down = np.array(pairs).T
        right = ((up <= 0.5).mean() + (down > 0.5).mean()) / 2
        print(f"{group:<18}{len(up):>8}{right:>8.4f}{(up <= SURE).mean():>8.4f}{(down > SURE).mean():>8.4f}")


if __name__ == "__main__":
    main()
