"""The number of threads on boards of several kinds, and how threads wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import liteocr
from liteocr.openmp import brief_waiting, default_threads, idle_cores

ASK = "import liteocr.net, os; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, and no settings of whoever runs the tests."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)


def board(root: Path, name: str, values: list[int]) -> Path:
    """A system whose cores show these values in a file."""
    for cpu, value in enumerate(values):
        path = root / f"sys/devices/system/cpu/cpu{cpu}/{name}"
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    return root


@pytest.mark.parametrize(
    ("name", "values", "threads"),
    [
        ("cpu_capacity", [530] * 4 + [1024] * 4, 4),  # RK3588
        ("cpu_capacity", [1024] * 8, 8),
        ("cpu_capacity", [250] * 4 + [800] * 3 + [1024], 4),  # three kinds
        ("cpufreq/cpuinfo_max_freq", [1416000] * 4 + [2400000] * 4, 4),
        ("cpufreq/cpuinfo_max_freq", [3900000] * 6 + [5100000] * 2, 8),
        ("nothing", [0] * 8, 8),
    ],
)
def test_threads_are_for_the_big_cores(tmp_path: Path, name: str, values: list[int], threads: int) -> None:
    assert default_threads(board(tmp_path, name, values)) == threads


def test_only_cores_that_the_process_may_use_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board(tmp_path, "cpu_capacity", [530] * 4 + [1024] * 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 7}, raising=False)
    assert default_threads(root) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert default_threads(root) == 3


@pytest.mark.parametrize(
    ("name", "value", "threads"),
    [
        ("OMP_NUM_THREADS", "3", 3),
        ("OMP_NUM_THREADS", "2,4", 2),
        ("OMP_NUM_THREADS", "64", 8),
        ("OMP_NUM_THREADS", "0", 8),
        ("OMP_NUM_THREADS", "many", 8),
        ("OMP_THREAD_LIMIT", "1", 1),
    ],
)
def test_openmp_settings_of_the_user_are_kept_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, threads: int
) -> None:
    monkeypatch.setenv(name, value)
    assert default_threads(tmp_path) == threads


@pytest.mark.parametrize(
    ("text", "threads"),
    [("max 100000", 8), ("150000 100000", 2), ("200000 100000", 2), ("5000 100000", 1), ("?", 8), ("400000 0", 8)],
)
def test_the_share_of_a_container(tmp_path: Path, text: str, threads: int) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(text + "\n")
    assert default_threads(tmp_path) == threads


def test_threads_soon_sleep_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    with brief_waiting():
        assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
        assert int(os.environ["GOMP_SPINCOUNT"]) > 0
    assert "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    with brief_waiting():
        assert "OMP_WAIT_POLICY" not in os.environ and os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize(
    ("text", "idle"),
    [
        ("0.10 0.20 0.30 1/300 4711", 4),  # only who asks
        ("4.10 0.20 0.30 2/300 4711", 3),  # the load of the last minute is past
        ("0.10 0.20 0.30 9/300 4711", 1),
        ("0.10 0.20 0.30 0/300 4711", 4),
        ("?", 4),
    ],
)
def test_cores_that_are_idle_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, idle: int) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert idle_cores(tmp_path) == 4  # no such file
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text(text + "\n")
    assert idle_cores(tmp_path) == idle


@pytest.mark.parametrize(("idle", "used"), [(1, 1), (2, 1), (3, 4), (8, 4)])
def test_a_network_leaves_busy_cores_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], idle: int, used: int
) -> None:
    detector = liteocr.TextDetector(threads=4)
    monkeypatch.setattr("liteocr.net.idle_cores", lambda: idle)
    assert detector._net._choose().opt.num_threads == used
    detector.maps(np.zeros((64, 64, 3), np.uint8))
    assert capfd.readouterr() == ("", "")  # ncnn has complaints of its own


def test_importing_leaves_the_environment_as_it_was() -> None:
    checkout = Path(__file__).resolve().parent.parent
    for value in (None, "ACTIVE"):
        environment = {**os.environ, **({"OMP_WAIT_POLICY": value} if value else {})}
        done = subprocess.run(
            [sys.executable, "-c", ASK], cwd=checkout, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [str(value), "None"]
