"""How ncnn's threads wait for each other, and how many there should be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["brief_waiting", "default_threads", "idle_cores"]

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_BRIEF = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "5000"}
"""Sleep at once, but in GNU's runtime, which ncnn comes with on Linux, after some ten microseconds: to be woken takes
longer, and the next layer mostly comes sooner."""
_BIG = 0.6
"""A core is big from this part of the fastest one's capacity on: a Cortex-A55 beside a Cortex-A76 has 0.5, a core of
the middle kind of three 0.7 or more."""


@contextmanager
def brief_waiting() -> Iterator[None]:
    """Let an OpenMP runtime that is loaded meanwhile have threads that soon sleep as they wait, unless the user chose.

    The threads of a network wait for each other at every layer, by default in a busy loop that may go on for
    milliseconds and keeps a core from whatever else runs.
    """
    if any(name in os.environ for name in _WAITING):
        yield
        return
    os.environ.update(_BRIEF)
    try:
        yield
    finally:
        for name in _BRIEF:  # other libraries, and children, are not ours to set
            del os.environ[name]


def idle_cores(root: Path = Path("/")) -> int:
    """How many of the machine's cores are idle at this moment, the one that asks included; at least 1.

    All threads of a network wait for the slowest at every layer, and on a busy core that is one that has no core: on
    two busy cores the detector took two to three times as long on two threads as on one.

    Args:
        root: the directory that stands for ``/``; where it has no ``proc/loadavg``, all cores count as idle.
    """
    cores = os.cpu_count() or 1
    try:
        running = (root / "proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0]
    except (OSError, ValueError, IndexError):
        return cores
    return max(1, cores + 1 - int(_number(running) or 1))


def default_threads(root: Path = Path("/")) -> int:
    """How many threads to use: as many as there are big cores that this process may use.

    Threads that share a layer equally wait for the slowest, so small cores beside big ones would slow these down. No
    more than the user allows OpenMP (``OMP_NUM_THREADS``, ``OMP_THREAD_LIMIT``), and no more than a container's share
    of processor time.

    Args:
        root: the directory that stands for ``/``.
    """
    try:
        cpus = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cpus = list(range(os.cpu_count() or 1))
    capacities = [_capacity(root / f"sys/devices/system/cpu/cpu{cpu}") for cpu in cpus]
    big = sum(capacity >= _BIG * max(capacities) for capacity in capacities)
    limits = [_number(os.environ.get(name, "").split(",")[0]) for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT")]
    return max(1, min([big, *(int(limit) for limit in (*limits, _share(root)) if limit)]))


def _capacity(cpu: Path) -> float:
    """Speed of a core by the system's measure, else its highest clock; 0 where neither is told."""
    return _read(cpu / "cpu_capacity") or _read(cpu / "cpufreq/cpuinfo_max_freq")


def _share(root: Path) -> float:
    """How many cores' time the container has, rounded up; 0 where there is no limit."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0.0
    return -(-_number(quota) // (_number(period) or 1.0))


def _read(path: Path) -> float:
    try:
        return _number(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0


def _number(text: str) -> float:
    """A whole number of at least 1, else 0."""
    return float(text) if text.strip().isdecimal() else 0.0
