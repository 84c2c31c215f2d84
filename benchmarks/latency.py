"""How fast liteocr reads on this machine: time per stage, start-up time, memory, clock and heat, as a Markdown table.

On a Raspberry Pi or any other board, in a checkout with liteocr installed (``pip install .``):

    python3 benchmarks/latency.py                                   # the test pictures, 1 to all threads
    python3 benchmarks/latency.py ~/photos -o results.json          # your pictures; the figures also as JSON
    python3 benchmarks/latency.py --threads 1,4 --precision fp32,fp16,bf16
    python3 benchmarks/latency.py --max-side 640,960,default receipt.jpg
    python3 benchmarks/latency.py --cores little,big,all            # boards with two kinds of cores

Every combination of the lists is a configuration. In each round every configuration runs once, in a fresh process of
its own, in alternating order, so that a machine that grows hot or has other work slows all of them alike; the ratio
column compares within rounds. See benchmarks/README.md for how to read the tables.

Needs the standard library and liteocr with its packages, nothing else.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine

HERE = Path(__file__).resolve().parent
STAGES = ("load", "detect", "crop", "angle", "recognize", "order")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
CORES = ("all", "big", "little")

Report = dict[str, Any]
"""What worker.py prints."""


class BenchmarkError(Exception):
    """The benchmark cannot run; the message says what to do."""


@dataclass(frozen=True)
class Configuration:
    """One point of the sweep."""

    cores: str
    cpus: tuple[int, ...]
    """The cores that the process is bound to."""
    threads: int
    precision: str
    max_side: int | None
    """Long side of the detector's input in pixels; None: liteocr's default."""

    def options(self, weights: str | None) -> dict[str, Any]:
        """Arguments of liteocr.OCR."""
        return {
            "threads": self.threads,
            "precision": self.precision,
            "max_side": self.max_side,
            "weights": weights,
        }


# The sweep -----------------------------------------------------------------------------------------------------------


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The pictures among and under paths, each folder's by name.

    Raises:
        BenchmarkError: a path is missing, or there are no pictures.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        elif path.is_file():
            found.append(path)
        else:
            raise BenchmarkError(f"{path} does not exist: check the path")
    if not found:
        where = ", ".join(map(str, paths))
        raise BenchmarkError(f"no pictures in {where}: give files, or a folder with {' '.join(SUFFIXES)}")
    return found


def default_threads(cores: int) -> list[int]:
    """1, 2, 4, ... and the number of cores.

    >>> default_threads(6)
    [1, 2, 4, 6]
    """
    return sorted({2**i for i in range(cores.bit_length())} | {cores})


def configurations(
    cores: Sequence[str],
    threads: Sequence[int] | None,
    precisions: Sequence[str],
    max_sides: Sequence[int | None],
    groups: list[tuple[int, ...]],
) -> list[Configuration]:
    """Every combination, in the order of the lists; ``groups`` as :func:`machine.clusters` gives them.

    Without a list of threads each choice of cores gets 1 to as many as it has. A choice of cores that is the same as an
    earlier one is left out.
    """
    chosen: dict[tuple[int, ...], str] = {}
    for kind in cores:
        chosen.setdefault(machine.choose(kind, groups), kind)
    return [
        Configuration(kind if len(groups) > 1 else "all", cpus, count, precision, max_side)
        for cpus, kind in chosen.items()
        for precision, max_side in itertools.product(precisions, max_sides)
        for count in threads or default_threads(len(cpus))
    ]


@contextmanager
def bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    """Let processes started meanwhile use these cores only, where the system has such a setting."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_worker(configuration: Configuration, pictures: Sequence[Path], warmup: int, weights: str | None) -> Report:
    """Run one configuration once, in a fresh process.

    Raises:
        BenchmarkError: liteocr refused something, or the process died.
    """
    job = {
        "options": configuration.options(weights),
        "pictures": [str(picture) for picture in pictures],
        "warmup": warmup,
    }
    environment = dict(os.environ)
    checkout = HERE.parent
    if (checkout / "liteocr/__init__.py").is_file():  # measure this checkout, whatever else is installed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(checkout), environment.get("PYTHONPATH")]))
    with bound_to(configuration.cpus):
        done = subprocess.run(
            [sys.executable, str(HERE / "worker.py")],
            input=json.dumps(job) + "\n",
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            check=False,
        )
    lines = done.stdout.splitlines()
    report: Report = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    if "error" in report:
        raise BenchmarkError(report["error"])
    if done.returncode or not report:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        hint = "; perhaps out of memory: try a smaller --max-side" if done.returncode == -9 else ""
        raise BenchmarkError(f"the process ended with code {done.returncode} ({last}){hint}")
    return report


def measure(
    todo: Sequence[Configuration],
    pictures: Sequence[Path],
    *,
    rounds: int,
    warmup: int,
    weights: str | None = None,
) -> tuple[dict[Configuration, list[Report | None]], dict[Configuration, str]]:
    """Run every configuration once a round, in alternating order; Ctrl-C ends it after what is done.

    Returns:
        By configuration its reports, one a round (None where the round was not finished), and the messages of the
        configurations that failed; those are not tried again.
    """
    reports: dict[Configuration, list[Report | None]] = {configuration: [] for configuration in todo}
    failed: dict[Configuration, str] = {}
    try:
        for number in range(rounds):
            order = list(todo) if number % 2 == 0 else list(reversed(todo))
            for place, configuration in enumerate(order):
                _progress(f"round {number + 1}/{rounds}, configuration {place + 1}/{len(order)}")
                if configuration in failed:
                    continue
                try:
                    report = run_worker(configuration, pictures, warmup, weights)
                except BenchmarkError as error:
                    failed[configuration] = str(error)
                    continue
                reports[configuration] += [None] * (number - len(reports[configuration])) + [report]
    except KeyboardInterrupt:
        _progress("")
        print("interrupted: the figures are those of the finished runs", file=sys.stderr)
    _progress("")
    return reports, failed


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# Figures -------------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and 90th percentile (linear between the neighbours) of one value or more."""
    p90 = statistics.quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]
    return {"median": statistics.median(values), "p90": p90}


def ratio(reports: Sequence[Report | None], first: Sequence[Report | None]) -> dict[str, float] | None:
    """Time of all pictures over that of the first configuration in the same round: median, least and most."""
    ratios = [_seconds(a) / _seconds(b) for a, b in zip(reports, first, strict=False) if a and b]
    if not ratios:
        return None
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def _seconds(report: Report) -> float:
    return float(sum(reading["seconds"] for reading in report["readings"]))


def clock_under_load(report: Report, cpus: Sequence[int]) -> float | None:
    """The highest clock among a configuration's cores right after its last reading, in MHz."""
    used = [c["now"] for c in report["state"]["clocks"] if c["now"] is not None and set(c["cpus"]) & set(cpus)]
    return max(used, default=None)


def summarize(configuration: Configuration, reports: Sequence[Report | None], first: Sequence[Report | None]) -> Report:
    """The figures of one configuration over all its rounds, as JSON types; times are in seconds, memory is in MB."""
    done = [report for report in reports if report]
    readings = [reading for report in done for reading in report["readings"]]
    lines = sum(reading["lines"] for reading in readings)
    networks = [reading["networks"] for reading in readings]
    clocks = [clock for report in done if (clock := clock_under_load(report, configuration.cpus)) is not None]
    memory = {
        name: max((r["memory"][name] for r in done if r["memory"][name] is not None), default=None)
        for name in ("imports", "load", "peak")
    }
    return {
        **asdict(configuration),
        "rounds": len(done),
        "stages": {stage: spread([reading["stages"].get(stage, 0.0) for reading in readings]) for stage in STAGES},
        "total": spread([reading["seconds"] for reading in readings]),
        "networks": None if None in networks else sum(networks) / sum(map(_seconds, done)),
        "lines": lines,
        "lines_per_second": lines / sum(map(_seconds, done)),
        "ratio": ratio(reports, first),
        "start": {name: statistics.median(r["start"][name] for r in done) for name in done[0]["start"]},
        "memory_mb": memory,
        "clock_under_load_mhz": statistics.median(clocks) if clocks else None,
        "ncnn_options": done[0]["ncnn"]["options"],
        "opencv_threads": done[0]["opencv_threads"],
        "seconds_by_round": [[reading["seconds"] for reading in report["readings"]] for report in done],
    }


def result(
    reports: dict[Configuration, list[Report | None]],
    failed: dict[Configuration, str],
    pictures: Sequence[Path],
    warmup: int,
    states: tuple[Report, Report],
) -> Report:
    """Everything that is printed and written, as JSON types.

    Raises:
        BenchmarkError: no configuration gave figures.
    """
    good = {configuration: runs for configuration, runs in reports.items() if any(runs)}
    if not good:
        raise BenchmarkError(next(iter(failed.values()), "interrupted before the first figures"))
    first = next(iter(good.values()))
    example = next(run for run in first if run)
    sizes = [reading["size"] for reading in example["readings"]]
    return {
        "versions": example["versions"],
        "machine": machine.describe(),
        "cpu_features": example["ncnn"]["cpu"],
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(("OMP_", "GOMP_", "KMP_"))},
        "before": states[0],
        "after": states[1],
        "pictures": [{"name": p.name, "width": w, "height": h} for p, (w, h) in zip(pictures, sizes, strict=True)],
        "warmup": warmup,
        "configurations": [summarize(configuration, runs, first) for configuration, runs in good.items()],
        "failed": [{**asdict(configuration), "error": message} for configuration, message in failed.items()],
    }


# Tables --------------------------------------------------------------------------------------------------------------


def markdown(figures: Report) -> str:
    """The figures as Markdown: the machine, a row a configuration, a row of stages a configuration."""
    rows = figures["configurations"]
    varying = [name for name in ("cores", "threads", "precision", "max_side") if len({r[name] for r in rows}) > 1]
    labels = [_label(row, varying or ["threads"]) for row in rows]
    parts = ["\n".join(f"- {line}" for line in _facts(figures))]
    head = ["configuration", "median ms", "p90 ms", "lines/s", "ratio", "import ms", "load ms", "first call ms"]
    table = [
        [
            label,
            _ms(row["total"]["median"]),
            _ms(row["total"]["p90"]),
            f"{row['lines_per_second']:.1f}",
            _ratio(row["ratio"]),
            f"{_ms(row['start']['packages'])} + {_ms(row['start']['liteocr'])}",
            _ms(row["start"]["load"]),
            _ms(row["start"]["first_call"]),
            _memory(row["memory_mb"]),
            _whole(row["clock_under_load_mhz"]),
        ]
        for label, row in zip(labels, rows, strict=True)
    ]
    parts.append(_table([*head, "peak MB", "clock MHz"], table))
    stages = [
        [
            label,
            *(f"{_ms(row['stages'][stage]['median'])} / {_ms(row['stages'][stage]['p90'])}" for stage in STAGES),
            "–" if row["networks"] is None else f"{row['networks']:.0%}",
        ]
        for label, row in zip(labels, rows, strict=True)
    ]
    parts.append(
        "Stages, median / p90 in ms a picture, and the networks' share of the time of all pictures on one thread:"
        "\n\n" + _table(["configuration", *STAGES, "networks"], stages)
    )
    for failure in figures["failed"]:
        parts.append(f"Failed: {_label(failure, ['cores', 'threads', 'precision', 'max_side'])}: {failure['error']}")
    return "\n\n".join(parts)


def _facts(figures: Report) -> list[str]:
    """The machine, the versions and the work, a line each."""
    described, before, after = figures["machine"], figures["before"], figures["after"]
    facts = [
        ", ".join(filter(None, [described["board"], described["cpu"], described["architecture"], described["system"]]))
    ]
    if len(described["clusters"]) > 1:
        kinds = [f"cores {', '.join(map(str, group))}" for group in described["clusters"]]
        facts.append(f"kinds of cores, slowest first: {'; '.join(kinds)}")
    clocks = [_clock(clock) for clock in before["clocks"]]
    if clocks:
        facts.append("clock before: " + "; ".join(dict.fromkeys(clocks)))
    if before["temperatures"]:
        heat = [f"{k} {v:.0f} → {after['temperatures'].get(k, v):.0f} °C" for k, v in before["temperatures"].items()]
        facts.append("temperature before → after: " + ", ".join(heat))
    if after["throttling"] is not None:
        facts.append("power and heat, says the firmware: " + (", ".join(after["throttling"]) or "all is well"))
    if before["load_average"] is not None:
        facts.append(f"load average before: {before['load_average']}")
    facts.append(", ".join(f"{name} {version}" for name, version in figures["versions"].items()))
    facts.append("ncnn on this CPU: " + (", ".join(k for k, v in figures["cpu_features"].items() if v) or "plain"))
    if figures["environment"]:
        facts.append("environment: " + " ".join(f"{k}={v}" for k, v in figures["environment"].items()))
    pictures, rows = figures["pictures"], figures["configurations"]
    sides = sorted(max(p["width"], p["height"]) for p in pictures)
    rounds = max(row["rounds"] for row in rows)
    lines = round(rows[0]["lines"] / rows[0]["rounds"])
    facts.append(
        f"pictures: {len(pictures)}, long side {sides[0]} to {sides[-1]} px, {lines} lines found; "
        f"{rounds} rounds, {figures['warmup']} warm-up passes each; "
        + ", ".join(
            f"{name} {_value(rows[0][name])}"
            for name in ("cores", "precision", "max_side")
            if len({row[name] for row in rows}) == 1
        )
    )
    return facts


def _clock(clock: Report) -> str:
    limits = f" ({_whole(clock['min'])} to {_whole(clock['max'])})" if clock["max"] else ""
    return f"{_whole(clock['now'])} MHz{limits}{' ' + clock['governor'] if clock['governor'] else ''}"


def _label(row: Report, names: Sequence[str]) -> str:
    """What tells a configuration from the others, such as ``"2 threads, fp32"``."""
    words = {
        "cores": f"{row['cores']} cores",
        "threads": f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}",
        "precision": row["precision"],
        "max_side": f"max side {_value(row['max_side'])}",
    }
    return ", ".join(words[name] for name in names)


def _value(value: Any) -> str:
    return "default" if value is None else str(value)


def _ms(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}"


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _ratio(value: dict[str, float] | None) -> str:
    return "–" if value is None else f"{value['median']:.2f} ({value['min']:.2f}–{value['max']:.2f})"


def _memory(memory: dict[str, float | None]) -> str:
    peak, imports = memory["peak"], memory["imports"]
    return _whole(peak) if peak is None or imports is None else f"{peak:.0f} ({peak - imports:+.0f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


# Command line --------------------------------------------------------------------------------------------------------


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _max_side(text: str) -> int | None:
    return None if text == "default" else _positive(text)


def _one_of(*choices: str) -> Any:
    def choice(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return choice


def _list_of(kind: Any, expected: str) -> Any:
    """An argparse type: a list of values between commas, without repeats."""

    def parse(text: str) -> list[Any]:
        try:
            return list(dict.fromkeys(kind(item.strip()) for item in text.split(",")))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of {expected} between commas") from None

    return parse


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = out.add_argument
    add("pictures", nargs="*", type=Path, help="pictures or folders of them (default: the test pictures)")
    add("--threads", type=_list_of(_positive, "numbers"), help="list of thread counts (default: 1,2,4,… and all cores)")
    add("--cores", type=_list_of(_one_of(*CORES), "/".join(CORES)), default=["all"], help="list of all, big, little")
    add(
        "--precision",
        type=_list_of(_one_of(*PRECISIONS), "/".join(PRECISIONS)),
        default=["auto"],
        help=f"list of {', '.join(PRECISIONS)}",
    )
    add(
        "--max-side",
        type=_list_of(_max_side, "numbers or default"),
        default=[None],
        help="list of long sides of the detector's input in pixels, or default",
    )
    add("--rounds", type=int, default=5, help="measured readings of every picture (default: 5)")
    add("--warmup", type=int, default=1, help="unmeasured passes over the pictures before each (default: 1)")
    add("--weights", help="directory of other weights")
    add("-o", "--output", type=Path, help="write the figures as JSON")
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code is 0, or 1 where nothing could be measured."""
    arguments = parser().parse_args(argv)
    if arguments.rounds < 1 or arguments.warmup < 0:
        parser().error("--rounds must be 1 or more, --warmup 0 or more")
    groups = machine.clusters(machine.allowed_cpus())
    if len(groups) < 2 and arguments.cores != ["all"]:
        print("this machine shows one kind of cores: --cores has no effect", file=sys.stderr)
    todo = configurations(arguments.cores, arguments.threads, arguments.precision, arguments.max_side, groups)
    try:
        pictures = find_pictures(arguments.pictures or [HERE.parent / "tests/data"])
        before = machine.state()
        reports, failed = measure(
            todo, pictures, rounds=arguments.rounds, warmup=arguments.warmup, weights=arguments.weights
        )
        figures = result(reports, failed, pictures, arguments.warmup, (before, machine.state()))
    except BenchmarkError as error:
        print(f"latency.py: {error}", file=sys.stderr)
        return 1
    figures["date"] = time.strftime("%Y-%m-%d")
    print(markdown(figures))
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # Windows has code pages without the arrows and dashes
        sys.stdout.reconfigure(encoding="utf-8")
    raise SystemExit(main())
