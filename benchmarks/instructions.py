"""How many instructions an arm64 processor takes for a picture, by stage and by network, counted in emulation.

    make check-arm64                                               # once: Debian's arm64 Python, in build/arm64
    python3 benchmarks/instructions.py build/arm64 tests/data/receipt.jpg
    python3 benchmarks/instructions.py build/arm64 tests/data/*.jpg --cpu cortex-a76 --precision fp32,fp16,bf16

Seconds in emulation say nothing of a board; the number of instructions does not depend on this machine and what else it
does. Instructions are not equally fast, so compare counts of like with like: one precision's convolutions with
another's, one version of liteocr with the next.

Needs a C compiler and the dynamically linked QEMU (Debian: qemu-user, with libcapstone4 and liburing2), which alone can
load the counter, count.c.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import latency
import worker

HERE = Path(__file__).resolve().parent
NETWORKS = ("detector", "angle", "recognizer")
GIGA = 1e9


def count(job: dict[str, Any], qemu: str, cpu: str, folder: Path, counter: Path) -> dict[str, float]:
    """Run a job in emulation.

    Returns:
        Instructions of all pictures, by stage and by network, in 10^9.

    Raises:
        RuntimeError: the emulated process failed.
    """
    python = next(p for p in sorted((folder / "root/usr/bin").glob("python3.*")) if p.name[8:].isdigit())
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "count"
        paths = os.pathsep.join(map(str, (HERE.parent, folder / "site")))
        command = [qemu, "-plugin", f"{counter},out={told}", "-L", folder / "root", "-cpu", cpu]
        command += ["-E", f"PYTHONPATH={paths}", "-E", "PYTHONDONTWRITEBYTECODE=1", python, __file__, "--inside"]
        done = subprocess.run(
            [*map(str, command), json.dumps(job | {"told": str(told)})], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    counted: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return counted


def inside(job: dict[str, Any]) -> dict[str, float]:
    """The emulated part: read the pictures with a clock of instructions."""
    import liteocr  # noqa: PLC0415 - the host has no need of it
    from liteocr import pipeline  # noqa: PLC0415

    told = Path(job["told"])

    def clock() -> float:
        try:
            os.close(1_000_000)  # never open: the counter's signal to write what it has
        except OSError:
            return int(told.read_bytes()) / GIGA
        raise AssertionError

    pipeline.time = SimpleNamespace(perf_counter=clock)  # type: ignore[assignment]
    networks = worker.watch_networks(clock)
    with liteocr.OCR(threads=1, **job["options"]) as ocr:
        pages = [ocr.read(picture) for picture in job["pictures"]]
    stages = {stage: sum(page.timings[stage] for page in pages) for stage in latency.STAGES}
    return {**stages, **{f"net:{name}": value for name, value in networks.items()}, "all": sum(stages.values())}


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print the table; the exit code is 0, or 1 where nothing could be counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what make check-arm64 made")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--cpu", default="cortex-a72,cortex-a76", help="list of QEMU's cores (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="list of precisions (default: %(default)s)")
    parser.add_argument("--weights", help="as for the command liteocr")
    parser.add_argument("--qemu", default="qemu-aarch64", help="QEMU with plugins (default: %(default)s)")
    options = parser.parse_args(argv)
    folder, weights = options.folder.resolve(), options.weights and os.path.abspath(options.weights)
    pictures = [str(path.resolve()) for path in latency.find_pictures(options.pictures)]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        counter = Path(scratch) / "count.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", counter, HERE / "count.c"], check=True)
        for cpu in options.cpu.split(","):
            for precision in options.precision.split(","):
                job = {"pictures": pictures, "options": {"precision": precision, "weights": weights}}
                try:
                    counted = count(job, options.qemu, cpu, folder, counter)
                except (OSError, RuntimeError) as error:
                    print(f"instructions.py: {cpu}, {precision}: {error}", file=sys.stderr)
                    continue
                networks = [counted.get(f"net:{name}", 0.0) for name in NETWORKS]
                numbers = [*(counted[stage] for stage in latency.STAGES), counted["all"], *networks]
                share = sum(networks) / counted["all"]
                rows.append([cpu, precision, *(f"{number:.2f}" for number in numbers), f"{share:.0%}"])
    if not rows:
        return 1
    print(
        f"Instructions in 10^9 for {len(pictures)} pictures on one thread, the first runs of the networks included.\n"
    )
    heads = ["core", "precision", *latency.STAGES, "all", *(f"net: {name}" for name in NETWORKS), "networks"]
    print(latency._table(heads, rows))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(inside(json.loads(sys.argv[2]))))
    else:
        raise SystemExit(main())
