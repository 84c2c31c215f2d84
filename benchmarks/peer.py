"""One process of compare.py: an OCR that reads pictures on request.

The command line is a JSON object, ``{"peer", "threads", "folder", "options"}``. It says ``{"ready": true}`` when it can
read; then, for each path on a line of standard input, it prints ``{"seconds", "lines"}``; at the end of the input
``{"peak_mb", "weights", "packages"}``, the last two in bytes. A failure is ``{"error"}``.
"""
# ruff: noqa: PLC0415 - only the peer that is asked for is imported

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]
Read = Callable[[str], list[Line]]
TESSERACT = ("tesseract-ocr", "libtesseract5", "liblept5", "tesseract-ocr-chi-sim", "tesseract-ocr-eng")


def liteocr_reader(threads: int, folder: str | None, options: dict[str, Any]) -> tuple[Read, list[Path], int]:
    """This project. ``folder`` is a directory of weights, or none."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import liteocr
    from liteocr import weights

    ocr = liteocr.OCR(threads=threads, weights=folder, **options)
    directory = Path(folder) if folder else weights.default_directory()
    # the package is the checkout's, so its own files are counted there
    own = size(Path(liteocr.__file__).parent.rglob("*.py")) + size(directory.iterdir())
    needed = distributions(["ncnn", "numpy", "opencv-python", "pyclipper", "shapely"])
    return (
        lambda path: ocr.read(path).to_dict()["lines"],
        [path for path in directory.iterdir() if path.name.endswith((".bin", ".param", "charset.txt"))],
        own + needed,
    )


def rapidocr_reader(threads: int, folder: str | None, options: dict[str, Any]) -> tuple[Read, list[Path], int]:
    """RapidOCR 3 with ONNX Runtime, as it is configured when it is installed."""
    import rapidocr

    params = {"EngineConfig.onnxruntime.intra_op_num_threads": threads, "Global.log_level": "error"}
    ocr = rapidocr.RapidOCR(params=params | options)

    def read(path: str) -> list[Line]:
        found = ocr(path)
        if found.boxes is None:
            return []
        rows = zip(found.boxes.tolist(), found.txts, found.scores, strict=True)
        return [{"quad": quad, "text": text, "score": float(score)} for quad, text, score in rows]

    models = list((Path(rapidocr.__file__).parent / "models").glob("*.onnx"))
    return read, models, distributions(["rapidocr", "onnxruntime"])


def rapidocr_onnxruntime_reader(
    threads: int, folder: str | None, options: dict[str, Any]
) -> tuple[Read, list[Path], int]:
    """RapidOCR 1."""
    import rapidocr_onnxruntime

    ocr = rapidocr_onnxruntime.RapidOCR(intra_op_num_threads=threads, **options)

    def read(path: str) -> list[Line]:
        found, _ = ocr(path)
        return [{"quad": quad, "text": text, "score": float(score)} for quad, text, score in found or []]

    models = list((Path(rapidocr_onnxruntime.__file__).parent / "models").glob("*.onnx"))
    return read, models, distributions(["rapidocr-onnxruntime"])


def chineseocr_lite_reader(threads: int, folder: str | None, options: dict[str, Any]) -> tuple[Read, list[Path], int]:
    """chineseocr_lite's networks through pyncnn; ``folder`` has them."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():  # as liteocr has it: networks are compared
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="5000")
    from chineseocr_lite import ChineseOcrLite

    ocr = ChineseOcrLite(Path(folder or "."), threads)
    files = [path for path in Path(folder or ".").iterdir() if path.suffix in (".bin", ".param", ".txt")]
    return ocr.read, files, distributions(["ncnn", "numpy", "opencv-python", "pyclipper"]) + size(files)


def tesseract_reader(threads: int, folder: str | None, options: dict[str, Any]) -> tuple[Read, list[Path], int]:
    """Tesseract's command, started for each picture, with Debian's Chinese and English."""
    environment = {**os.environ, "OMP_THREAD_LIMIT": str(threads)}

    def read(path: str) -> list[Line]:
        command = ["tesseract", path, "stdout", "-l", "chi_sim+eng", "tsv"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            return []
        lines: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for row in csv.DictReader(io.StringIO(done.stdout), delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["level"] == "5" and row["text"].strip():
                lines.setdefault((row["block_num"], row["par_num"], row["line_num"]), []).append(row)
        return [tesseract_line(words) for words in lines.values()]

    files = subprocess.run(["dpkg-query", "-L", *TESSERACT], capture_output=True, text=True, check=True).stdout
    installed = [Path(line) for line in files.splitlines() if Path(line).is_file()]
    return read, [path for path in installed if path.suffix == ".traineddata"], size(installed)


def tesseract_line(words: list[dict[str, str]]) -> Line:
    """One line of the words that Tesseract puts into it."""
    boxes = [[int(word[key]) for key in ("left", "top", "width", "height")] for word in words]
    x0, y0 = min(b[0] for b in boxes), min(b[1] for b in boxes)
    x1, y1 = max(b[0] + b[2] for b in boxes), max(b[1] + b[3] for b in boxes)
    score = sum(float(word["conf"]) for word in words) / len(words) / 100
    text = " ".join(word["text"] for word in words)
    return {"quad": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "text": text, "score": score}


READERS: dict[str, Callable[[int, str | None, dict[str, Any]], tuple[Read, list[Path], int]]] = {
    "liteocr": liteocr_reader,
    "rapidocr": rapidocr_reader,
    "rapidocr-onnxruntime": rapidocr_onnxruntime_reader,
    "chineseocr_lite": chineseocr_lite_reader,
    "tesseract": tesseract_reader,
}


def size(paths: Iterable[Path]) -> int:
    """Bytes of files."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def distributions(names: Iterable[str]) -> int:
    """Bytes of installed packages with all that they need."""
    seen: dict[str, int] = {}
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another system or Python
            continue
        seen[name] = size(Path(str(file.locate())) for file in found.files or ())
        todo += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in found.requires or () if "extra ==" not in line]
    return sum(seen.values())


def answers(job: dict[str, Any], requests: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What there is to say to each line of the input, and after the last."""
    read, weights, packages = READERS[job["peer"]](job["threads"], job.get("folder"), job.get("options") or {})
    yield {"ready": True}
    for path in requests:
        start = time.perf_counter()
        lines = read(path.rstrip("\n"))
        yield {"seconds": time.perf_counter() - start, "lines": lines}
    import resource

    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    yield {"peak_mb": peak * 1024 / 1e6, "weights": size(weights), "packages": packages}


def main() -> int:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what packages print goes elsewhere
    try:
        for answer in answers(json.loads(sys.argv[1]), sys.stdin):
            print(json.dumps(answer), file=out, flush=True)
    except Exception as error:  # whatever a peer fails with is told, not judged
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
