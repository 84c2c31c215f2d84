"""liteocr beside other OCRs on the same pictures: accuracy, time, memory, start and size, as one Markdown table.

    make peers                                                     # once: their packages, in build/peers
    python3 benchmarks/compare.py my/index.jsonl --python build/peers/bin/python
    python3 benchmarks/compare.py my/index.jsonl --python build/peers/bin/python --chineseocr-lite DIR --pictures 22

The index is accuracy.py's, which also scores. Each OCR runs in a process of its own; for each picture they take turns,
one after the other and in another order for each picture, so that a machine that grows hot or has other work slows all
of them alike. A round reads every picture once, in fresh processes. Ratios are taken within rounds. See
benchmarks/README.md for what the columns mean and for what is fair about it and what is not.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accuracy
import latency
import machine

HERE = Path(__file__).resolve().parent
PEERS = ("liteocr", "rapidocr", "rapidocr-onnxruntime", "tesseract", "chineseocr_lite")
TITLES = {
    "liteocr": "liteocr",
    "rapidocr": "RapidOCR 3 (`rapidocr`, `onnxruntime`)",
    "rapidocr-onnxruntime": "RapidOCR 1 (`rapidocr-onnxruntime`)",
    "tesseract": "Tesseract (chi_sim+eng)",
    "chineseocr_lite": "chineseocr_lite's networks, ncnn",
}

Answer = dict[str, Any]


class PeerError(Exception):
    """A peer cannot run; the message says what it said."""


@dataclass
class Round:
    """What one peer took in one round."""

    start: float
    """Seconds from the start of the process to the first picture's text."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By picture."""
    lines: dict[str, list[Answer]] = field(default_factory=dict)
    end: Answer = field(default_factory=dict)
    """Peak memory in MB, bytes of weights and packages."""

    @property
    def total(self) -> float:
        """Seconds of all pictures."""
        return sum(self.seconds.values())


class Worker:
    """One peer's process.

    Raises:
        PeerError: from every method, when the peer fails.
    """

    def __init__(self, python: str, job: Answer) -> None:
        self.began = time.perf_counter()
        command = [python, str(HERE / "peer.py"), json.dumps(job)]
        # Installed packages come with their compiled modules; a checkout has them from the second start on.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", env=environment
        )
        self._answer()

    def read(self, path: Path) -> Answer:
        """Read one picture."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> Answer:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        answer = self._answer()
        self.process.wait()
        return answer

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()

    def _answer(self) -> Answer:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = self.process.stderr.read().strip().splitlines() or ["no message"]
            raise PeerError(f"ended with code {self.process.returncode}: {said[-1]}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer


def measure(
    jobs: dict[str, Answer], python: str, pictures: Sequence[Path], rounds: int
) -> tuple[dict[str, list[Round]], dict[str, str]]:
    """Let the peers read the pictures in turns.

    Returns:
        Each peer's rounds, and the messages of those that failed, which have none.
    """
    done: dict[str, list[Round]] = {name: [] for name in jobs}
    failed: dict[str, str] = {}
    for number in range(rounds):
        workers: dict[str, Worker] = {}
        running: dict[str, Round] = {}
        try:
            for name in turned([name for name in jobs if name not in failed], number):
                try:
                    workers[name] = worker = Worker(python, jobs[name])
                    worker.read(pictures[0])
                    running[name] = Round(time.perf_counter() - worker.began)
                except PeerError as error:
                    failed[name] = str(error)
            for place, picture in enumerate(pictures):
                latency._progress(f"round {number + 1}/{rounds}, picture {place + 1}/{len(pictures)}")
                for name in turned([name for name in running if name not in failed], number + place):
                    try:
                        answer = workers[name].read(picture)
                    except PeerError as error:
                        failed[name] = f"{picture.name}: {error}"
                        continue
                    running[name].seconds[str(picture)] = answer["seconds"]
                    running[name].lines[str(picture)] = answer["lines"]
            for name, one in running.items():
                if name not in failed:
                    one.end = workers[name].close()
                    done[name].append(one)
        finally:
            for worker in workers.values():
                worker.kill()
    latency._progress("")
    return {name: found for name, found in done.items() if found and name not in failed}, failed


def turned(names: list[str], by: int) -> list[str]:
    """The list begun at another place.

    >>> turned(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    by %= max(len(names), 1)
    return names[by:] + names[:by]


def evenly(items: Sequence[Any], count: int | None) -> list[Any]:
    """So many of the items, spread evenly.

    >>> evenly("abcdefg", 3)
    ['a', 'c', 'e']
    """
    count = len(items) if count is None else min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def figures(index: Sequence[Answer], folder: Path, done: dict[str, list[Round]], first: str) -> list[Answer]:
    """A row for each peer, as JSON types; ratios are to the peer ``first``."""
    rows = []
    for name, rounds in done.items():
        predictions = [{"image": t["image"], "lines": rounds[0].lines[str(folder / t["image"])]} for t in index]
        sources, _ = accuracy.evaluate(index, predictions)
        total = accuracy.Score()
        for score in sources.values():
            total.merge(score)
        areas = [score.area_f for score in sources.values() if score.area_f is not None]
        seconds = [second for one in rounds for second in one.seconds.values()]
        rows.append(
            {
                "peer": name,
                "macro_e2e": statistics.fmean(score.e2e for score in sources.values()),
                "e2e": total.e2e,
                "macro_area_f": statistics.fmean(areas) if areas else None,
                "e2e_by_source": {source: score.e2e for source, score in sources.items()},
                "mean_seconds": statistics.fmean(seconds),
                **latency.spread(seconds),
                "ratio": ratio(rounds, done[first], lambda one: one.total),
                "liteocr_ratio": ratio(done["liteocr"], rounds, lambda one: one.total) if "liteocr" in done else None,
                "start": statistics.median(one.start for one in rounds),
                "start_ratio": ratio(rounds, done[first], lambda one: one.start),
                "peak_mb": max(one.end["peak_mb"] for one in rounds),
                "weights_mb": rounds[0].end["weights"] / 1e6,
                "packages_mb": rounds[0].end["packages"] / 1e6,
            }
        )
    return rows


def ratio(rounds: Sequence[Round], others: Sequence[Round], what: Any) -> dict[str, float]:
    """A figure by that of another peer in the same round: median, least and most."""
    ratios = [what(a) / what(b) for a, b in zip(rounds, others, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def markdown(rows: Sequence[Answer], first: str) -> str:
    """The table."""
    head = [
        "",
        "e2e",
        "e2e, macro",
        "area_f, macro",
        "s/picture",
        "median",
        "time ÷",
        "liteocr ÷ it",
        "start s",
        "start ÷",
    ]
    table = [
        [
            TITLES[row["peer"]],
            f"{row['e2e']:.3f}",
            f"{row['macro_e2e']:.3f}",
            "–" if row["macro_area_f"] is None else f"{row['macro_area_f']:.3f}",
            f"{row['mean_seconds']:.3f}",
            f"{row['median']:.3f}",
            latency._ratio(row["ratio"]),
            latency._ratio(row["liteocr_ratio"]),
            f"{row['start']:.2f}",
            latency._ratio(row["start_ratio"]),
            f"{row['peak_mb']:.0f}",
            f"{row['weights_mb']:.1f}",
            f"{row['packages_mb']:.0f}",
        ]
        for row in rows
    ]
    by = (
        f"÷ is by {TITLES[first].split(' (')[0]}, and liteocr ÷ it is liteocr's time by that of the row; "
        "both within rounds: median (least–most)."
    )
    return latency._table([*head, "peak MB", "weights MB", "installed MB"], table) + "\n\n" + by


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = out.add_argument
    add("index", type=Path, help="JSON lines: pictures and their text, as for accuracy.py")
    add("--python", default=sys.executable, help="interpreter that has the peers' packages (default: this one)")
    add("--peers", default=",".join(PEERS), help=f"list of them (default: {','.join(PEERS)})")
    add("--chineseocr-lite", metavar="DIR", help="where its networks are, upgraded; without it that peer is left out")
    add("--weights", metavar="DIR", help="other weights for liteocr")
    add("--precision", help="as for the command liteocr")
    add("--threads", type=int, default=machine_threads(), help="threads of each peer (default: all cores)")
    add("--rounds", type=int, default=3, help="how often each picture is read (default: 3)")
    add("--pictures", type=int, metavar="N", help="take N pictures only, evenly from the index")
    add("--ratio-to", choices=PEERS, default="rapidocr", help="the peer that ratios are taken to (default: rapidocr)")
    add("-o", "--output", type=Path, help="write the figures as JSON")
    return out


def machine_threads() -> int:
    """How many cores this process may use."""
    return len(machine.allowed_cpus())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; the exit code is 0, or 1 where there is nothing to compare."""
    options = parser().parse_args(argv)
    names = options.peers.split(",")
    unknown = set(names) - set(PEERS)
    if unknown or options.rounds < 1 or (options.pictures is not None and options.pictures < 1) or options.threads < 1:
        parser().error(f"--peers takes {', '.join(PEERS)}; numbers must be 1 or more")
    folders = {"liteocr": options.weights, "chineseocr_lite": options.chineseocr_lite}
    own = {"precision": options.precision} if options.precision else {}
    jobs = {
        name: {
            "peer": name,
            "threads": options.threads,
            "folder": folders.get(name) and os.path.abspath(folders[name]),
            "options": own if name == "liteocr" else {},
        }
        for name in names
    }
    skipped = {}
    if "chineseocr_lite" in jobs and not options.chineseocr_lite:
        skipped["chineseocr_lite"] = "its networks are not given (--chineseocr-lite)"
    if "tesseract" in jobs and not shutil.which("tesseract"):
        skipped["tesseract"] = "not installed (apt-get install tesseract-ocr tesseract-ocr-chi-sim)"
    try:
        index = evenly(accuracy._read_jsonl(options.index), options.pictures)
    except (OSError, ValueError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    folder = options.index.resolve().parent
    pictures = [folder / truth["image"] for truth in index]
    jobs = {name: job for name, job in jobs.items() if name not in skipped}
    done, failed = measure(jobs, options.python, pictures, options.rounds)
    for name, message in (skipped | failed).items():
        print(f"compare.py: {TITLES[name]} is left out: {message}", file=sys.stderr)
    if not done:
        return 1
    first = options.ratio_to if options.ratio_to in done else next(iter(done))
    rows = figures(index, folder, done, first)
    print(
        f"{len(pictures)} pictures, {options.rounds} rounds, {options.threads} threads; "
        f"{machine.describe()['cpu']}, {platform.machine()}\n\n{markdown(rows, first)}"
    )
    if options.output:
        record = {"pictures": len(pictures), "rounds": options.rounds, "threads": options.threads, "peers": rows}
        options.output.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # Windows has code pages without the signs
        sys.stdout.reconfigure(encoding="utf-8")
    raise SystemExit(main())
