"""Read thousands of pages of mixed sizes in one process and watch its memory.

    python3 benchmarks/soak.py --pages 2000                       # pages that are drawn, 200 to 1600 pixels
    python3 benchmarks/soak.py --pages 500 ~/photos               # your own, over and over

Prints the memory of the process (MB beyond the interpreter with its imports) as it goes, and at the end the highest of
each tenth of the run. The exit code is 1 where the last half needed more than the first by a tenth: memory grows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import latency
import numpy as np

PAGES = 32
"""How many different pages are drawn; they come in another order each time."""


def drawn(rng: np.random.Generator, sides: tuple[int, int]) -> Any:
    """A page of a size of its own with rows of words."""
    width, height = (int(side) for side in rng.integers(*sides, 2))
    page = np.full((height, width, 3), 240, np.uint8)
    scale = float(rng.uniform(0.5, 1.2))
    for y in range(30, height - 10, int(60 * scale)):
        text = " ".join(str(rng.integers(10, 10**6)) for _ in range(max(1, width // 200)))
        cv2.putText(page, text, (10, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 2)
    return page


def resident() -> float:
    """Memory of this process now, in MB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith("VmRSS:"))


def soak(read: Any, pages: Sequence[Any], count: int, rng: np.random.Generator) -> Iterator[float]:
    """Read so many pages; give the memory after each."""
    for _ in range(count):
        read(pages[int(rng.integers(len(pages)))])
        yield resident()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak; the exit code is 1 where memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path, help="pictures or folders (default: drawn pages)")
    parser.add_argument("--pages", type=int, default=2000, help="how many to read (default: 2000)")
    parser.add_argument("--sides", type=int, nargs=2, default=(200, 1600), help="least and most pixels of a drawn side")
    parser.add_argument("--threads", type=int, help="as for the command liteocr")
    parser.add_argument("--weights", help="as for the command liteocr")
    options = parser.parse_args(argv)
    if (latency.HERE.parent / "liteocr/__init__.py").is_file():
        sys.path.insert(0, str(latency.HERE.parent))
    import liteocr  # noqa: PLC0415 - the checkout's

    rng = np.random.default_rng(0)
    pages: Sequence[Any] = [drawn(rng, options.sides) for _ in range(PAGES)]
    if options.pictures:
        pages = latency.find_pictures(options.pictures)
    before = resident()
    ocr = liteocr.OCR(threads=options.threads, weights=options.weights)
    memory: list[float] = []
    start = time.monotonic()
    for now in soak(ocr.read, pages, options.pages, rng):
        memory.append(now - before)
        latency._progress(f"{len(memory)} pages, {now - before:+.0f} MB")
    latency._progress("")
    parts = np.array_split(np.array(memory), min(10, len(memory)))
    print(f"{len(memory)} pages in {time.monotonic() - start:.0f} s; {before:.0f} MB before the networks were loaded")
    print("highest of each tenth, MB beyond that:", " ".join(f"{part.max():.0f}" for part in parts))
    half = len(memory) // 2
    return int(half > 0 and max(memory[half:]) > 1.1 * max(memory[:half]))


if __name__ == "__main__":
    raise SystemExit(main())
