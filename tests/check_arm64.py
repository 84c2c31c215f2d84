"""Read the test pictures with the built wheel on arm64, in emulation, and compare with this machine.

    python tests/check_arm64.py DIST_DIR WORK_DIR [--all]

DIST_DIR has the wheel. WORK_DIR gets Debian's arm64 Python with the libraries that OpenCV links to, and the wheel with
its packages' arm64 wheels: some 500 MB, made at the first run and kept. Nothing is installed on this machine, and
nothing needs root: the packages are unpacked, and qemu runs the foreign Python by name, without binfmt.

Needs Debian (or one of its kin whose archive has arm64 beside this machine's architecture) with apt, dpkg-deb and
``qemu-aarch64-static`` (package qemu-user-static), and the interpreter's own environment with liteocr's packages.

Fails where a text or a number of lines differs, or a picture is missing. Scores and quads may differ in their last
digits and are told. Some minutes on two cores; ``--all`` reads all test pictures with every precision, in half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parent / "data"
PICTURES = ("digits.png", "meters.jpg", "screen.png", "turned.jpg")
"""Digits, photos of meters, a screen and a page upside down."""
RUNS = (("cortex-a72", "fp32"), ("cortex-a76", "auto"))
"""Cores as of the Raspberry Pi 4 and 5: without and with arithmetic in half precision."""
ALL_RUNS = tuple((cpu, precision) for precision in ("fp32", "auto", "fp16", "bf16") for cpu in ("cortex-a72", "max"))
DEBIAN_PACKAGES = ("python3", "libgl1", "libglib2.0-0")
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 26, 27, 28, 31, 34)]
"""Wheels' platforms; a C library newer than the Debian Python's own is left to fail at import."""

Page = dict[str, Any]
"""What ``liteocr --format jsonl`` prints."""


def run(command: Sequence[str | Path], **options: Any) -> str:
    """Run a command and give its standard output; a failure ends the check with what the command said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def unpack_debian(work: Path) -> Path:
    """Debian's arm64 Python in a folder of its own, with all that it depends on.

    apt resolves that by a state of its own that knows no installed package, so the machine's own state is neither
    used nor touched.
    """
    root = work / "root"
    if root.is_dir():
        return root
    state, cache = work / "apt/lists", work / "apt/cache"
    (state / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives/partial").mkdir(parents=True, exist_ok=True)
    (work / "apt/status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
        "Dir::State::lists": state,
        "Dir::State::status": work / "apt/status",
        "Dir::Cache": cache,
        "Dir::Log": work / "apt",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    run([*apt, "update"])
    run([*apt, "install", "--yes", "--download-only", *DEBIAN_PACKAGES])
    half = work / "root.partial"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    for package in sorted((cache / "archives").glob("*.deb")):
        run(["dpkg-deb", "--extract", package, half])
    shutil.rmtree(work / "apt")
    half.rename(root)
    return root


def python_of(root: Path) -> Path:
    """The real interpreter, such as ``usr/bin/python3.11``."""
    return next(path for path in sorted((root / "usr/bin").glob("python3.*")) if path.name[8:].isdigit())


def install_wheel(wheel: Path, python: Path, work: Path) -> Path:
    """The wheel and its requirements for that Python, unpacked in a folder."""
    site = work / "site"
    if not site.is_dir():
        version = python.name.removeprefix("python")
        platforms = [f"--platform={platform}" for platform in PLATFORMS]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", f"--python-version={version}"]
        half = work / "site.partial"
        shutil.rmtree(half, ignore_errors=True)
        run([*pip, "--implementation=cp", *platforms, f"--target={half}", wheel])
        half.rename(site)
    # the wheel itself is taken anew each time
    shutil.rmtree(site / "liteocr", ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site, [name for name in archive.namelist() if name.startswith("liteocr/")])
    return site


def emulator(root: Path, cpu: str, environment: dict[str, str]) -> list[str | Path]:
    """The command that runs an arm64 program of ``root``."""
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is None:
        sys.exit("qemu-aarch64-static is missing: apt-get install qemu-user-static")
    # The links in root that begin with / are found below root, those of libraries' folders included.
    return [qemu, "-L", root, "-cpu", cpu, *(p for item in environment.items() for p in ("-E", "=".join(item)))]


def read(command: Sequence[str | Path], precision: str, pictures: Sequence[Path], **options: Any) -> list[Page]:
    """Read pictures by the command line."""
    arguments = ["--format", "jsonl", "--threads", "1", "--precision", precision]
    lines = run([*command, "-m", "liteocr", *arguments, *pictures], **options)
    return [json.loads(line) for line in lines.splitlines()]


def compare(expected: Iterable[Page], found: Iterable[Page]) -> tuple[int, list[str], float, float]:
    """How many lines there are, what differs, and by how much scores (0..1) and corners (pixels) do at most."""
    count, differences, scores, corners = 0, [], 0.0, 0.0
    others = {Path(page["image"]).name: page for page in found}
    for page in expected:
        name = Path(page["image"]).name
        count += len(page["lines"])
        other = others.pop(name, None)
        if other is None:
            differences.append(f"{name}: not read")
            continue
        texts, other_texts = ([line["text"] for line in p["lines"]] for p in (page, other))
        if texts != other_texts:
            differences += [f"{name}: {a!r} is {b!r}" for a, b in zip(texts, other_texts, strict=False) if a != b]
            if len(texts) != len(other_texts):
                differences.append(f"{name}: {len(texts)} lines are {len(other_texts)}")
            continue
        for a, b in zip(page["lines"], other["lines"], strict=True):
            scores = max(scores, abs(a["score"] - b["score"]))
            corners = max(corners, float(np.abs(np.subtract(a["quad"], b["quad"])).max()))
    differences += [f"{name}: not asked for" for name in others]
    return count, differences, scores, corners


def main() -> None:
    """Run the check; the exit code is 0 where all texts are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path, help="folder with the wheel")
    parser.add_argument("work", type=Path, help="folder for the arm64 files; kept for the next time")
    parser.add_argument("--all", action="store_true", help="all pictures, precisions and kinds of cores")
    arguments = parser.parse_args()
    wheel = max(arguments.dist.glob("liteocr-*.whl"), key=os.path.getmtime)
    work = arguments.work.resolve()
    root = unpack_debian(work)
    python = python_of(root)
    site = install_wheel(wheel, python, work)
    with zipfile.ZipFile(wheel) as archive:  # the same files here, with the packages of this interpreter
        archive.extractall(work / "host")
    pictures = [DATA / name for name in PICTURES]
    if arguments.all:
        pictures = sorted(path for path in DATA.iterdir() if path.suffix in (".jpg", ".png"))
    expected = read([sys.executable], "fp32", pictures, env={**os.environ, "PYTHONPATH": str(work / "host")})

    def check(case: tuple[str, str]) -> bool:
        """Read in one emulated process, report, and tell whether what is promised holds."""
        cpu, precision = case
        start = time.monotonic()
        command = [*emulator(root, cpu, {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}), python]
        count, differences, scores, corners = compare(expected, read(command, precision, pictures))
        report = (
            f"{cpu}, {precision}: {count} lines, {len(differences)} differ from x86-64 in fp32; "
            f"scores by {scores:.1e}, corners by {corners:.1e} px at most; {time.monotonic() - start:.0f} s"
        )
        print("\n  ".join([report, *differences]), flush=True)
        return not differences or precision not in ("fp32", "auto")  # others are looked at, not promised

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        held = list(pool.map(check, ALL_RUNS if arguments.all else RUNS))
    if not all(held):
        sys.exit("arm64 reads other texts than this machine")


if __name__ == "__main__":
    main()
