"""The benchmarks: what they say about a machine, how they score, and one run of each as a user runs it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # as for a script that is run from there

import accuracy  # noqa: E402
import check_arm64  # noqa: E402
import compare  # noqa: E402
import latency  # noqa: E402
import machine  # noqa: E402
import peer  # noqa: E402
import soak  # noqa: E402

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 158
model name\t: Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz
cpu MHz\t\t: 3192.000

processor\t: 1
vendor_id\t: GenuineIntel
model\t\t: 158
model name\t: Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz
cpu MHz\t\t: 4300.500
"""


def arm64(part: str, cores: range, model: str = "") -> str:
    """The text of /proc/cpuinfo of ARM's own cores on a 64-bit kernel."""
    core = (
        "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {}\nCPU revision\t: 3\n\n"
    )
    return "".join(core.format(i, part) for i in cores) + (f"Model\t\t: {model}\n" if model else "")


RASPBERRY_4 = arm64("0xd08", range(4), "Raspberry Pi 4 Model B Rev 1.4")
RASPBERRY_5 = arm64("0xd0b", range(4), "Raspberry Pi 5 Model B Rev 1.0")
RK3588 = arm64("0xd05", range(4)) + arm64("0xd0b", range(4, 8))


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The root of a board with eight cores of two kinds, as far as the benchmark looks."""

    def put(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text.encode())

    put("proc/cpuinfo", RK3588)
    put("proc/meminfo", "MemTotal:        8131700 kB\nMemFree:         5000000 kB\n")
    put("proc/device-tree/model", "Radxa ROCK 5B\0")
    cpu = "sys/devices/system/cpu"
    # the two pairs of big cores have policies of their own and differ a little, as on real ones
    policies = {0: ("0 1 2 3", 1008, 1800), 4: ("4 5", 2352, 2352), 6: ("6 7", 408, 2304)}
    for first, (cpus, now, high) in policies.items():
        policy = f"{cpu}/cpufreq/policy{first}"
        put(f"{policy}/related_cpus", f"{cpus}\n")
        put(f"{policy}/scaling_cur_freq", f"{now}000\n")
        put(f"{policy}/cpuinfo_min_freq", "408000\n")
        put(f"{policy}/cpuinfo_max_freq", f"{high}000\n")
        put(f"{policy}/scaling_governor", "ondemand\n")
    for i in range(8):
        put(f"{cpu}/cpu{i}/cpu_capacity", "530\n" if i < 4 else "1024\n")
    put("sys/class/thermal/thermal_zone0/type", "soc-thermal\n")
    put("sys/class/thermal/thermal_zone0/temp", "48076\n")
    put("sys/class/thermal/thermal_zone1/type", "soc-thermal\n")
    put("sys/class/thermal/thermal_zone1/temp", "51000\n")
    put("sys/class/thermal/thermal_zone2/type", "broken\n")
    put("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    return tmp_path


# The machine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpuinfo", "models"),
    [
        (X86, {0: "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", 1: "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz"}),
        (RASPBERRY_4, dict.fromkeys(range(4), "Cortex-A72")),
        (RASPBERRY_5, dict.fromkeys(range(4), "Cortex-A76")),
        (RK3588, {i: "Cortex-A55" if i < 4 else "Cortex-A76" for i in range(8)}),
        # a 32-bit kernel names the architecture only, and the part number must win
        ("processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n",
         {0: "Cortex-A53"}),
        ("processor\t: 0\nCPU implementer\t: 0x51\nCPU part\t: 0x802\n", {0: "Qualcomm 0x802"}),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xfff\n", {0: "ARM 0xfff"}),
        ("", {}),
    ],
)  # fmt: skip
def test_cpu_models(cpuinfo: str, models: dict[int, str]) -> None:
    assert machine.cpu_models(cpuinfo) == models


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-2,5\n", (0, 1, 2, 5)), ("0 1 2 5\n", (0, 1, 2, 5)), ("7", (7,)), ("", ())]
)
def test_cpu_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert machine.cpu_list(text) == cpus


def test_a_board_with_two_kinds_of_cores(board: Path) -> None:
    assert machine.cpu_name(board) == "Cortex-A55 ×4 + Cortex-A76 ×4"
    assert machine.board(board) == "Radxa ROCK 5B"
    groups = machine.clusters(tuple(range(8)), board)
    assert groups == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert machine.choose("little", groups) == (0, 1, 2, 3)
    assert machine.choose("big", groups) == (4, 5, 6, 7)
    assert machine.choose("all", groups) == tuple(range(8))
    assert machine.clusters((4, 5), board) == [(4, 5)]  # a process bound to the big cores sees one kind


def test_kinds_of_cores_by_clock_where_capacity_is_not_told(board: Path) -> None:
    for file in board.glob("sys/devices/system/cpu/cpu*/cpu_capacity"):
        file.unlink()
    assert machine.clusters(tuple(range(8)), board) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_a_prime_core_counts_as_big(board: Path) -> None:
    (board / "sys/devices/system/cpu/cpu7/cpu_capacity").write_text("1400\n")
    groups = machine.clusters(tuple(range(8)), board)
    assert groups == [(0, 1, 2, 3), (4, 5, 6), (7,)]
    assert machine.choose("big", groups) == (4, 5, 6, 7)


def test_clocks(board: Path) -> None:
    first, second, third = machine.clocks(board)
    assert first == machine.Clock((0, 1, 2, 3), 1008.0, 408.0, 1800.0, "ondemand")
    assert (second.cpus, second.now, third.cpus, third.now) == ((4, 5), 2352.0, (6, 7), 408.0)


def test_clocks_without_cpufreq(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(X86)
    assert [(c.cpus, c.now, c.max) for c in machine.clocks(tmp_path)] == [((0,), 3192.0, None), ((1,), 4300.5, None)]


def test_heat_and_power(board: Path) -> None:
    assert machine.temperatures(board) == {"soc-thermal": pytest.approx(48.076), "soc-thermal 1": 51.0}
    assert machine.throttling(board) == [
        "under-voltage now",
        "throttled now",
        "under-voltage since boot",
        "throttled since boot",
    ]


@pytest.mark.parametrize(
    ("text", "flags"),
    [("throttled=0x0", []), ("0", []), ("throttled=0x80008", [machine.THROTTLE_BITS[3], machine.THROTTLE_BITS[19]]),
     ("error", None)],
)  # fmt: skip
def test_throttle_flags(text: str, flags: list[str] | None) -> None:
    assert machine.throttle_flags(text) == flags


def test_a_system_that_shows_nothing(tmp_path: Path) -> None:
    assert machine.clusters((0, 1), tmp_path) == [(0, 1)]
    assert machine.choose("big", [(0, 1)]) == (0, 1)
    assert machine.board(tmp_path) is None
    assert machine.throttling(tmp_path) is None
    assert machine.describe(tmp_path)["memory_mb"] is None
    state = machine.state(tmp_path)
    assert (state["clocks"], state["temperatures"]) == ([], {})


# The sweep -----------------------------------------------------------------------------------------------------------


def test_default_threads() -> None:
    assert [latency.default_threads(n) for n in (1, 2, 4, 6, 8)] == [[1], [1, 2], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_every_combination_is_a_configuration() -> None:
    groups = [(0, 1, 2, 3), (4, 5)]
    found = latency.configurations(["little", "big"], None, ["fp32", "fp16"], [None, 640], groups)
    assert len(found) == 2 * 2 * (3 + 2)
    assert found[0] == latency.Configuration("little", (0, 1, 2, 3), 1, "fp32", None)
    assert found[-1] == latency.Configuration("big", (4, 5), 2, "fp16", 640)


def test_cores_of_one_kind_are_swept_once() -> None:
    found = latency.configurations(["big", "little", "all"], [2], ["auto"], [None], [(0, 1)])
    assert found == [latency.Configuration("all", (0, 1), 2, "auto", None)]


def test_ratios_are_taken_within_rounds() -> None:
    def report(seconds: float) -> dict[str, Any]:
        return {"readings": [{"seconds": seconds / 2}, {"seconds": seconds / 2}]}

    first, second = [report(1), report(10), None, report(4)], [report(2), report(30), report(5)]
    assert latency.ratio(second, first) == {"median": 2.5, "min": 2.0, "max": 3.0}
    assert latency.ratio([None], first) is None


def test_spread() -> None:
    assert latency.spread([3.0]) == {"median": 3.0, "p90": 3.0}
    assert latency.spread([float(i) for i in range(11)]) == {"median": 5.0, "p90": 9.0}


def picture(path: Path) -> Path:
    """A small picture with one line of text."""
    image = np.full((64, 240, 3), 255, np.uint8)
    cv2.putText(image, "690123456789", (10, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2)
    cv2.imwrite(str(path), image)
    return path


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a benchmark as a user does."""
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_latency_prints_tables_and_writes_json(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    out = tmp_path / "out.json"
    arguments = ["--rounds", "1", "--warmup", "0", "--threads", "1", "--max-side", "default,128"]
    done = script("latency.py", tmp_path, *arguments, "-o", out)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| max side")]
    assert [row.split("|")[1].strip() for row in rows] == ["max side default", "max side 128"] * 2
    assert rows[0].count("|") == 11
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["pictures"] == [{"name": "a.png", "width": 240, "height": 64}]
    assert set(figures["versions"]) == {"liteocr", "ncnn", "numpy", "opencv", "python"}
    assert figures["machine"]["cpu"]
    assert figures["failed"] == []
    first = figures["configurations"][0]
    assert first["threads"] == first["rounds"] == 1
    assert list(first["stages"]) == list(latency.STAGES)
    parts = sum(stage["median"] for stage in first["stages"].values())
    assert 0 < parts <= first["total"]["median"] == first["total"]["p90"]
    assert first["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert first["lines_per_second"] == pytest.approx(first["lines"] / first["total"]["median"])
    assert all(first["start"][name] > 0 for name in ("packages", "liteocr", "load", "first_call"))
    assert set(first["ncnn_options"]) == {"detector", "classifier", "recognizer"}
    assert first["ncnn_options"]["detector"]["num_threads"] == 1
    assert 0 < first["networks"] < 1
    if sys.platform == "linux":
        memory = first["memory_mb"]
        assert 10 < memory["imports"] <= memory["load"] <= memory["peak"]


def test_a_configuration_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    good, bad = latency.configurations(["all"], [1], ["auto"], [128, 8], [machine.allowed_cpus()])
    reports, failed = latency.measure([bad, good], [tmp_path / "a.png"], rounds=1, warmup=0)
    assert list(failed) == [bad]
    assert "max_side is 8" in failed[bad]
    figures = latency.result(reports, failed, [tmp_path / "a.png"], 0, (machine.state(), machine.state()))
    assert [row["max_side"] for row in figures["configurations"]] == [128]
    assert "Failed: all cores, 1 thread, auto, max side 8: max_side is 8" in latency.markdown(figures)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.jpg"], 1, "missing.jpg does not exist"),
        ([str(BENCHMARKS)], 1, "no pictures in"),
        (["--threads", "0"], 2, "'0' is no list of numbers"),
        (["--precision", "fp8"], 2, "'fp8' is no list of auto/fp32/fp16/bf16"),
        (["--rounds", "0"], 2, "--rounds must be 1 or more"),
    ],
)
def test_latency_says_what_is_wrong(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Any
    try:
        found = latency.main(arguments)
    except SystemExit as end:  # argparse's way
        found = end.code
    assert found == code
    assert message in capsys.readouterr().err


def test_latency_without_a_readable_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    done = script("latency.py", tmp_path, "--rounds", "1", "--threads", "1")
    assert done.returncode == 1
    assert "not a picture" in done.stderr
    assert "Traceback" not in done.stderr


# Accuracy ------------------------------------------------------------------------------------------------------------


def box(x: float, y: float, width: float, height: float = 16) -> list[list[float]]:
    """An upright quad."""
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


def entry(text: str, quad: list[list[float]] | None, **more: Any) -> dict[str, Any]:
    """An item of an index or a line of a prediction."""
    return {"text": text, "quad": quad, **more}


TRUTH = {
    "image": "a.png",
    "source": "made",
    "width": 400,
    "height": 200,
    "items": [
        entry("Hello world", box(10, 10, 200)),
        entry("6901-2345 6789", box(10, 50, 200, 10)),
        entry("end", box(10, 90, 60, 30)),
    ],
}


def scores(lines: list[dict[str, Any]]) -> tuple[accuracy.Score, dict[str, accuracy.Score]]:
    """Score one prediction of ``TRUTH``."""
    sources, classes = accuracy.evaluate([TRUTH], [{"image": "a.png", "lines": lines}])
    return sources["made"], classes


def exact_lines() -> list[dict[str, Any]]:
    """A perfect prediction, but for what normalisation takes away."""
    return [entry(item["text"].upper(), item["quad"]) for item in TRUTH["items"]]


def test_perfect() -> None:
    score, classes = scores(exact_lines())
    assert (score.e2e, score.area_f, score.exact, score.groups, score.chars) == (1.0, 1.0, 3, 3, 10 + 13 + 3)
    assert [(s.groups, s.chars) for s in classes.values()] == [(1, 13), (1, 10), (1, 3), (1, 13)]


def test_a_missed_line_costs_its_characters() -> None:
    score, classes = scores(exact_lines()[1:])
    assert score.e2e == 1 - 10 / 26
    assert (score.exact, score.groups) == (2, 3)
    assert score.area_f is not None
    assert 0.5 < score.area_f < 1
    assert classes["height 12 to 20 px"].e2e == 0


def test_an_invented_line_costs_its_characters() -> None:
    score, classes = scores([*exact_lines(), entry("ghost", box(250, 150, 100, 40))])
    assert score.e2e == 1 - 5 / 31
    assert (score.exact, score.groups) == (3, 3)  # what has no item is no group of its own in this share
    assert classes["height above 20 px"].e2e == 1 - 5 / 8
    assert classes["height up to 12 px"].e2e == 1


def test_split_and_joined_lines_cost_nothing() -> None:
    _, *others = exact_lines()
    split = [entry("world", box(115, 11, 95)), entry("hello", box(10, 9, 100))]
    assert scores([*split, *others])[0].e2e == 1.0
    both = {**TRUTH, "items": [entry("world", box(115, 11, 95)), entry("hello", box(10, 9, 100))]}
    sources, _ = accuracy.evaluate([both], [{"image": "a.png", "lines": [entry("Hello world", box(10, 10, 200))]}])
    assert sources["made"].e2e == 1.0


def test_what_is_ignored_does_not_count() -> None:
    truth = {**TRUTH, "items": [*TRUTH["items"], entry("###", box(250, 150, 100), ignore=True)]}
    lines = [*exact_lines(), entry("whatever", box(255, 150, 90))]
    sources, _ = accuracy.evaluate([truth], [{"image": "a.png", "lines": lines}])
    assert (sources["made"].e2e, sources["made"].area_f) == (1.0, 1.0)


def test_a_picture_without_prediction_is_all_missed() -> None:
    sources, _ = accuracy.evaluate([TRUTH], [])
    assert (sources["made"].e2e, sources["made"].area_f) == (0.0, 0.0)


def test_without_quads_lines_are_paired_by_likeness() -> None:
    items = [entry("first line", None), entry("second line", None), entry("third", None)]
    assert accuracy.without_quads(items, [entry(t, None) for t in ("third", "second lime", "first line")]) == (1, 24)
    assert accuracy.without_quads(items, [entry("second line", None)]) == (14, 24)
    assert accuracy.without_quads(items, []) == (24, 24)
    # split otherwise: the whole text is the better comparison
    assert accuracy.without_quads(items, [entry("first line second", None), entry("line third", None)]) == (0, 24)


def test_height_is_measured_across_the_line() -> None:
    assert accuracy.text_height(box(0, 0, 100, 16), "abc") == 16
    assert accuracy.text_height(box(0, 0, 16, 100), "abc") == 16  # runs down
    assert accuracy.text_height(box(0, 0, 6, 16), "1") == 16  # one narrow character
    tilted = np.array(box(0, 0, 100, 16)) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    assert accuracy.text_height(tilted, "abc") == pytest.approx(16)


@pytest.mark.parametrize(
    ("text", "long"),
    [
        ("6901234567890", True),
        ("1234567", False),
        ("2024-03-12 08:41", True),
        ("a12345678", False),
        ("号12345678", False),
    ],
)
def test_long_numbers(text: str, long: bool) -> None:
    assert accuracy.is_long_number(text) is long


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_edit_distance_equals_the_textbook(a: str, b: str) -> None:
    table = [[i + j if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            replaced = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, replaced)
    assert accuracy.edit_distance(a, b) == table[-1][-1]


def test_groups_hold_everything_once() -> None:
    rng = random.Random(7)
    quads = [box(rng.uniform(0, 300), rng.uniform(0, 150), rng.uniform(5, 120)) for _ in range(40)]
    items, lines = (
        [entry(str(i), q) for i, q in enumerate(quads[:20])],
        [entry(str(i), q) for i, q in enumerate(quads[20:])],
    )
    found = list(accuracy.groups(items, lines))
    assert sorted(i["text"] for inside, _ in found for i in inside) == sorted(i["text"] for i in items)
    assert sorted(i["text"] for _, read in found for i in read) == sorted(i["text"] for i in lines)


def test_accuracy_reads_scores_and_scores_again(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    truth = {**TRUTH, "width": 240, "height": 64, "items": [entry("690123456789", box(10, 22, 215, 20))]}
    gone = {**truth, "image": "gone.png", "source": "lost"}
    index, out = tmp_path / "index.jsonl", tmp_path / "out.jsonl"
    index.write_text(f"{json.dumps(truth)}\n{json.dumps(gone)}\n", encoding="utf-8")
    done = script("accuracy.py", index, "--predictions", out, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("gone.png: ")
    assert "| made | 1 | 12 |" in done.stdout
    assert "| lost | 1 | 12 | 0.000 | 0.000 |" in done.stdout
    record = json.loads(out.read_text(encoding="utf-8"))
    assert (record["image"], record["width"], record["height"]) == ("a.png", 240, 64)
    assert script("accuracy.py", index, "--score", out).stdout == done.stdout


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_what_is_found_in_a_turned_picture_is_turned_back(degrees: int) -> None:
    image = np.zeros((20, 50), np.uint8)
    image[3, 7] = 1
    y, x = np.argwhere(np.rot90(image, -degrees // 90))[0]
    ((found_x, found_y),) = accuracy.turned_back([[x + 0.5, y + 0.5]], degrees, 50, 20)
    assert (found_x, found_y) == (7.5, 3.5)


def test_accuracy_of_turned_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    truth = {**TRUTH, "width": 240, "height": 64, "items": [entry("690123456789", box(10, 22, 215, 20))]}
    index, out = tmp_path / "index.jsonl", tmp_path / "out.jsonl"
    index.write_text(f"{json.dumps(truth)}\n", encoding="utf-8")
    done = script("accuracy.py", index, "--predictions", out, "--threads", "1", "--turn", "90")
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text(encoding="utf-8"))
    assert (record["width"], record["height"]) == (240, 64)
    assert any(abs(line["quad"][0][1] - 22) < 12 and line["quad"][2][0] < 240 for line in record["lines"])


def test_accuracy_says_what_is_wrong(tmp_path: Path) -> None:
    done = script("accuracy.py", tmp_path / "none.jsonl")
    assert done.returncode == 1
    assert "none.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


# Other OCRs ----------------------------------------------------------------------------------------------------------


def rounds(*seconds: float, text: str = "690123456789") -> list[compare.Round]:
    """Rounds of a peer that reads one picture, whose start takes as long as the reading."""
    lines = [{"quad": box(10, 22, 215, 20), "text": text, "score": 0.9}]
    end = {"peak_mb": 100.0, "weights": 4_000_000, "packages": 300_000_000}
    return [compare.Round(s, {"/made/a.png": s}, {"/made/a.png": lines}, end) for s in seconds]


def test_comparing_takes_ratios_within_rounds_and_scores_the_text() -> None:
    index = [{**TRUTH, "width": 240, "height": 64, "items": [entry("690123456789", box(10, 22, 215, 20))]}]
    done = {"liteocr": rounds(1.0, 2.0, 1.0), "rapidocr": rounds(10.0, 10.0, 5.0, text="690123456780")}
    own, other = compare.figures(index, Path("/made"), done, "rapidocr")
    assert own["ratio"] == pytest.approx({"median": 0.2, "min": 0.1, "max": 0.2})
    assert own["start_ratio"] == own["ratio"] == other["liteocr_ratio"]
    assert other["ratio"] == own["liteocr_ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert (own["e2e"], own["weights_mb"], own["packages_mb"], own["peak_mb"]) == (1.0, 4.0, 300.0, 100.0)
    assert other["e2e"] == pytest.approx(11 / 12)
    table = compare.markdown([own, other], "rapidocr")
    assert "| liteocr | 1.000 |" in table and "0.20 (0.10–0.20)" in table
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1


def test_pictures_are_taken_evenly_and_peers_in_turns() -> None:
    assert compare.evenly(range(269), 22)[:3] == [0, 12, 24]
    assert compare.evenly("abc", 10) == compare.evenly("abc", None) == ["a", "b", "c"]
    assert [compare.turned(["a", "b", "c"], k)[0] for k in range(4)] == ["a", "b", "c", "a"]
    assert compare.turned([], 3) == []


def test_words_of_tesseract_become_lines() -> None:
    words = [
        {"left": "10", "top": "20", "width": "30", "height": "10", "conf": "90", "text": "Total"},
        {"left": "50", "top": "18", "width": "20", "height": "14", "conf": "70", "text": "9.90"},
    ]
    line = peer.tesseract_line(words)
    assert line == {"quad": [[10, 18], [70, 18], [70, 32], [10, 32]], "text": "Total 9.90", "score": 0.8}


def test_compare_goes_on_without_the_peers_that_fail(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    truth = {**TRUTH, "width": 240, "height": 64, "items": [entry("690123456789", box(10, 22, 215, 20))]}
    index, out = tmp_path / "index.jsonl", tmp_path / "out.json"
    index.write_text(f"{json.dumps(truth)}\n", encoding="utf-8")
    arguments = ["--peers", "liteocr,chineseocr_lite", "--chineseocr-lite", tmp_path, "--rounds", "1", "--threads", "1"]
    done = script("compare.py", index, *arguments, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "chineseocr_lite" in done.stderr and "left out" in done.stderr
    (row,) = json.loads(out.read_text(encoding="utf-8"))["peers"]
    assert row["peer"] == "liteocr" and row["e2e"] == 1.0
    assert row["start"] > 0 and 50 < row["peak_mb"] < 1000 and 1 < row["weights_mb"] < 20
    assert row["packages_mb"] > row["weights_mb"]


def test_compare_says_what_is_wrong(tmp_path: Path) -> None:
    done = script("compare.py", tmp_path / "none.jsonl", "--peers", "liteocr")
    assert done.returncode == 1 and "none.jsonl" in done.stderr
    done = script("compare.py", tmp_path / "none.jsonl", "--peers", "abbyy")
    assert done.returncode == 2 and "rapidocr-onnxruntime" in done.stderr


# Long runs and other processors --------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_soak_tells_memory_after_each_page() -> None:
    rng = np.random.default_rng(0)
    pages = [soak.drawn(rng, (200, 300)) for _ in range(3)]
    assert all(200 <= side < 300 for page in pages for side in page.shape[:2])
    read: list[Any] = []
    memory = list(soak.soak(read.append, pages, 5, rng))
    assert len(read) == len(memory) == 5 and all(20 < m < 2000 for m in memory)


def test_pages_of_another_processor_are_compared() -> None:
    def page(name: str, *texts: str, score: float = 0.9, x: float = 0.0) -> dict[str, Any]:
        quad = [[x, 0], [9, 0], [9, 9], [0, 9]]
        return {"image": f"/somewhere/{name}", "lines": [{"text": t, "score": score, "quad": quad} for t in texts]}

    expected = [page("a.png", "one", "two"), page("b.png", "three")]
    same = [page("b.png", "three", score=0.8, x=0.5), page("a.png", "one", "two")]
    count, differences, scores, corners = check_arm64.compare(expected, same)
    assert (count, differences, corners) == (3, [], 0.5) and scores == pytest.approx(0.1)
    _, differences, _, _ = check_arm64.compare(expected, [page("a.png", "one", "tvvo"), page("c.png")])
    assert differences == ["a.png: 'two' is 'tvvo'", "b.png: not read", "c.png: not asked for"]
    _, differences, _, _ = check_arm64.compare(expected, [page("a.png", "one"), page("b.png", "three")])
    assert differences == ["a.png: 2 lines are 1"]
