"""One fresh process of latency.py: imports liteocr, reads pictures, and tells what it took.

Standard input is a job, ``{"options": arguments of liteocr.OCR, "pictures": [path], "warmup": passes}``; the last line
of standard output is the report, or ``{"error": message}``. Times are in seconds, memory is in MB (1,000,000 bytes).
"""
# ruff: noqa: PLC0415, I001 - what is imported when is what is measured here

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any


def import_all() -> dict[str, float]:
    """Import NumPy and OpenCV, then liteocr with ncnn and the rest, and time both.

    ncnn is left to liteocr, which also sets how its threads wait.
    """
    start = time.perf_counter()
    import numpy, cv2  # noqa: E401, F401

    between = time.perf_counter()
    import liteocr  # noqa: F401

    return {"packages": between - start, "liteocr": time.perf_counter() - between}


def peak_memory() -> float | None:
    """The most memory that this process has had so far, in MB; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    # Kilobytes on Linux, bytes on macOS. On Linux this may be the parent's, which is small, hence the file first.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter for speed."""
    import platform

    import cv2
    import ncnn
    import numpy

    import liteocr

    return {
        "liteocr": liteocr.__version__,
        "ncnn": ncnn.__version__,
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def ncnn_options(ocr: Any) -> dict[str, dict[str, bool | int]]:
    """The options of each network that an OCR built, by stage. The API does not show them, so this looks inside."""
    found = {}
    for stage in ("detector", "classifier", "recognizer"):
        wrapper = getattr(getattr(ocr, f"_{stage}", None), "_net", None)
        opt = getattr(getattr(wrapper, "_net", None), "opt", None)
        names = [] if opt is None else [n for n in dir(opt) if n.startswith("use_") or n == "num_threads"]
        if names:
            found[stage] = {name: getattr(opt, name) for name in names}
    return found


def cpu_features() -> dict[str, bool]:
    """What ncnn says this CPU can do, by the name of its function, such as ``"arm_asimdhp"``."""
    import ncnn

    prefix = "cpu_support_"
    return {name.removeprefix(prefix): bool(getattr(ncnn, name)()) for name in dir(ncnn) if name.startswith(prefix)}


def watch_networks(clock: Callable[[], float]) -> dict[str, float]:
    """Let every network add what its runs take, by this clock, to the dictionary; for one thread at a time."""
    from liteocr.net import Net

    taken: dict[str, float] = {}
    extract = Net._extract

    def timed(net: Net, *arguments: Any) -> Any:
        start = clock()
        output = extract(net, *arguments)
        taken[net.name] = taken.get(net.name, 0.0) + clock() - start
        return output

    Net._extract = timed  # type: ignore[method-assign]
    return taken


def reading(ocr: Any, picture: str, networks: dict[str, float] | None) -> dict[str, Any]:
    """Read a picture, and tell what it took."""
    before = sum(networks.values()) if networks else 0.0
    page = ocr.read(picture)
    return {
        "seconds": page.seconds,
        "stages": dict(page.timings),
        "networks": None if networks is None else sum(networks.values()) - before,
        "lines": len(page),
        "size": [page.width, page.height],
    }


def run(job: dict[str, Any], imports: dict[str, float]) -> dict[str, Any]:
    """Do the job: load, first call, warm up, measure."""
    import cv2

    import liteocr
    import machine

    memory = {"imports": peak_memory()}
    start = time.perf_counter()
    ocr = liteocr.OCR(**job["options"])
    load = time.perf_counter() - start
    memory["load"] = peak_memory()
    pictures = job["pictures"]
    networks = watch_networks(time.perf_counter) if job["options"]["threads"] == 1 else None
    start = time.perf_counter()
    ocr.read(pictures[0])
    first_call = time.perf_counter() - start
    for _ in range(job["warmup"]):
        for picture in pictures:
            ocr.read(picture)
    readings = [reading(ocr, picture, networks) for picture in pictures]
    state = machine.state()  # at once, before the clock falls
    memory["peak"] = peak_memory()
    return {
        "versions": versions(),
        "ncnn": {"options": ncnn_options(ocr), "cpu": cpu_features()},
        "opencv_threads": cv2.getNumThreads(),
        "start": {**imports, "load": load, "first_call": first_call},
        "memory": memory,
        "readings": readings,
        "state": state,
    }


def main() -> int:
    """Read the job, print the report."""
    report: dict[str, Any]
    try:
        imports = import_all()
        import json

        import liteocr

        job = json.loads(sys.stdin.readline())
        try:
            report = run(job, imports)
        except (liteocr.LiteOCRError, MemoryError) as error:
            report = {"error": str(error) or "out of memory"}
    except ImportError as error:
        import json

        report = {"error": f"liteocr or a package that it needs is not installed ({error}): pip install ."}
    print(json.dumps(report))
    return 1 if "error" in report else 0


if __name__ == "__main__":
    raise SystemExit(main())
