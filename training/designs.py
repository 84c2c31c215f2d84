"""Measure what the choices behind the detector's backbone cost and bring.

    python -m training.designs OUT --start training/checkpoints/detector.pt --dev DEV/index.jsonl \\
        --receipts TRAIN/index.jsonl --photos PHOTOS

For every design the same number of batches trains what follows the backbone of `--start`, which stays as it is; the
network is exported and measured in ncnn: area f on the development pictures (`eval_detector`), and milliseconds for 960
x 960 pixels on one thread, all designs in turn. Kernels and the input's side need no training: the first network is
measured with some of its maps left out, and at several sides. OUT/designs.md is the table.
"""

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from liteocr.detection import DetectorOptions, Frame, TextDetector
from liteocr.weights import default_directory
from training import eval_detector, manifest

DESIGNS: dict[str, dict[str, str]] = {
    "light: 64 channels, separable, nearest, half size": {},
    "output at a quarter": {"output": "4"},
    "output at full size": {"output": "1"},
    "bilinear upsampling": {"smooth": "yes"},
    "plain 3x3 convolutions": {"separable": "no"},
    "32 channels": {"channels": "32"},
    "48 channels to the maps": {"width": "48"},
    "PP-OCRv3's neck and head": {"neck": "published"},
}
KERNELS = {6: [0, 1, 2, 3, 4, 5], 4: [0, 1, 3, 5], 3: [0, 3, 5], 2: [0, 5]}
SIDES = (960, 1280, 1536, 2048)
ROUNDS = 12


class SomeKernels(TextDetector):
    """A detector of whose maps some are left out."""

    chosen: list[int]

    def maps(self, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Frame]:
        """See the base class."""
        maps, frame = super().maps(image)
        return np.ascontiguousarray(maps[self.chosen]), frame


def run(module: str, *arguments: str) -> None:
    """One step of the training, in a process of its own."""
    subprocess.run([sys.executable, "-m", f"training.{module}", *arguments], check=True)


def prepare(name: str, choices: dict[str, str], args: argparse.Namespace) -> Path:
    """Train and export one design; returns its weights directory."""
    folder = args.out / "".join(c if c.isalnum() else "-" for c in name)
    weights = folder / "weights"
    if not (weights / "done").exists():
        options = [text for key, value in choices.items() for text in (f"--{key}", value)]
        sources = [t for k in ("receipts", "photos", "taught") if (v := getattr(args, k)) for t in (f"--{k}", str(v))]
        bf16 = ["--bf16"] if args.bf16 else []
        run(
            "train_detector", str(folder), "--start", str(args.start), "--batches", str(args.batches), "--frozen",
            "--threads", "1", *bf16, *options, *sources,
        )  # fmt: skip
        shutil.copytree(default_directory(), weights, dirs_exist_ok=True)
        run("export_detector", str(folder / "average.pt"), str(weights / "detector"))
        manifest.refresh(weights)
        (weights / "done").touch()
    return weights


def milliseconds(detectors: list[TextDetector]) -> list[float]:
    """Median time of the network at 960 x 960, all in turn."""
    picture = np.random.default_rng(0).integers(0, 256, (960, 960, 3), dtype=np.uint8)
    times: list[list[float]] = [[] for _ in detectors]
    for _ in range(ROUNDS):
        for row, detector in zip(times, detectors, strict=True):
            start = time.perf_counter()
            detector.maps(picture)
            row.append(1000 * (time.perf_counter() - start))
    return [float(np.median(row)) for row in times]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="checkpoint whose backbone is used")
    parser.add_argument("--dev", type=Path, required=True, help="index.jsonl to measure on")
    parser.add_argument("--receipts", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--taught", type=Path)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    folders = [prepare(name, choices, args) for name, choices in DESIGNS.items()]
    bare = DetectorOptions(margin=0)
    times = milliseconds([TextDetector(f, options=bare) for f in folders])
    rows = ["| design | area f | time, ratio |", "|---|---|---|"]
    for name, folder, spent in zip(DESIGNS, folders, times, strict=True):
        score = eval_detector.macro(eval_detector.measure(args.dev, TextDetector(folder)))
        rows.append(f"| {name} | {score:.3f} | {spent / times[0]:.2f} |")
    rows += ["", "| kernels | area f |", "|---|---|"]
    for count, chosen in KERNELS.items():
        detector = SomeKernels(folders[0])
        detector.chosen = chosen
        rows.append(f"| {count} | {eval_detector.macro(eval_detector.measure(args.dev, detector)):.3f} |")
    rows += ["", "| longest side | area f | time, ratio |", "|---|---|---|"]
    spent = {}
    for side in SIDES:
        detector = TextDetector(folders[0], options=dataclasses.replace(DetectorOptions(), max_side=side))
        start = time.perf_counter()
        score = eval_detector.macro(eval_detector.measure(args.dev, detector))
        spent[side] = time.perf_counter() - start
        rows.append(f"| {side} | {score:.3f} | {spent[side] / spent[SIDES[0]]:.2f} |")
    (args.out / "designs.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(json.dumps({"batches": args.batches}), *rows, sep="\n")


if __name__ == "__main__":
    main()
