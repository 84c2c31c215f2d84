"""What the machine is and how it feels: CPU, clusters of cores, clock, temperature, throttling.

Read from ``/proc`` and ``/sys``; what a system does not show is None or empty, never an error. Functions take ``root``,
the directory that stands for ``/``. Frequencies are in MHz, temperatures in degrees Celsius. Only the standard library.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path("/")

IMPLEMENTERS = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x51: "Qualcomm",
    0x53: "Samsung",
    0x61: "Apple",
    0xC0: "Ampere",
}
"""MIDR_EL1.Implementer, "CPU implementer" in /proc/cpuinfo."""

ARM_PARTS = {
    0xB76: "ARM1176",
    0xC05: "Cortex-A5",
    0xC07: "Cortex-A7",
    0xC08: "Cortex-A8",
    0xC09: "Cortex-A9",
    0xC0E: "Cortex-A17",
    0xC0F: "Cortex-A15",
    0xD01: "Cortex-A32",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD0E: "Cortex-A76AE",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4B: "Cortex-A78C",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xD85: "Cortex-X925",
    0xD87: "Cortex-A725",
}
"""MIDR_EL1.PartNum of ARM's own cores, "CPU part" in /proc/cpuinfo."""

THROTTLE_BITS = {
    0: "under-voltage now",
    1: "clock capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since boot",
    17: "clock capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}
"""Bits of the Raspberry Pi firmware's get_throttled."""

SAME_KIND = 0.9
"""Cores this close in capacity or clock are of one kind: boost clocks differ a little between equal cores."""


@dataclass(frozen=True)
class Clock:
    """The clock of a group of cores that share it, in MHz."""

    cpus: tuple[int, ...]
    now: float | None
    min: float | None
    max: float | None
    governor: str | None


def read(path: Path) -> str | None:
    """A small text file of the kernel, stripped of white space and NUL; None where it is missing or unreadable."""
    try:
        return path.read_bytes().decode(errors="replace").replace("\0", "").strip()
    except OSError:
        return None


def cpu_list(text: str) -> tuple[int, ...]:
    """The numbers of a kernel list of cores: ``"0-2,5"`` or ``"0 1 2 5"``.

    >>> cpu_list("0-2,5")
    (0, 1, 2, 5)
    """
    numbers: list[int] = []
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def cpu_models(cpuinfo: str) -> dict[int, str]:
    """The model of every core in the text of /proc/cpuinfo, by the core's number.

    x86 names it; ARM gives an implementer and a part number, which win over the "model name" of 32-bit kernels, as that
    only names the architecture.
    """
    models = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        fields = dict(re.findall(r"^([^:\n\t]+?)\s*: *(.*)$", block, re.MULTILINE))
        if not fields.get("processor", "").isdigit():
            continue
        name = fields.get("model name") or fields.get("uarch") or "unknown"
        if "CPU part" in fields:
            implementer, part = int(fields.get("CPU implementer", "0"), 16), int(fields["CPU part"], 16)
            name = f"{IMPLEMENTERS.get(implementer, hex(implementer))} {hex(part)}"
            if implementer == 0x41:
                name = ARM_PARTS.get(part, name)
        models[int(fields["processor"])] = name
    return models


def cpu_name(root: Path = ROOT) -> str:
    """The cores in words, such as ``"Cortex-A55 ×4 + Cortex-A76 ×4"``."""
    models = cpu_models(read(root / "proc/cpuinfo") or "")
    counts: dict[str, int] = {}
    for model in models.values():
        counts[model] = counts.get(model, 0) + 1
    if counts:
        return " + ".join(f"{model} ×{count}" for model, count in counts.items())
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    return platform.processor() or platform.machine()


def board(root: Path = ROOT) -> str | None:
    """The board's name in the device tree, such as ``"Raspberry Pi 5 Model B Rev 1.0"``; None on PCs."""
    return read(root / "proc/device-tree/model") or read(root / "sys/firmware/devicetree/base/model") or None


def allowed_cpus() -> tuple[int, ...]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def clocks(root: Path = ROOT) -> list[Clock]:
    """The clocks by cpufreq policy; without cpufreq (virtual machines) what /proc/cpuinfo gives for every core."""
    found = []
    for policy in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"), key=lambda path: path.name):
        cpus = read(policy / "related_cpus") or read(policy / "affected_cpus") or ""
        now = _mhz(policy / "scaling_cur_freq") or _mhz(policy / "cpuinfo_cur_freq")
        low, high = _mhz(policy / "cpuinfo_min_freq"), _mhz(policy / "cpuinfo_max_freq")
        found.append(Clock(cpu_list(cpus), now, low, high, read(policy / "scaling_governor")))
    if found:
        return found
    values = re.findall(r"^cpu MHz\s*: *([\d.]+)", read(root / "proc/cpuinfo") or "", re.MULTILINE)
    return [Clock((cpu,), float(value), None, None, None) for cpu, value in enumerate(values)]


def clusters(cpus: tuple[int, ...], root: Path = ROOT) -> list[tuple[int, ...]]:
    """Group cores by kind, the slowest kind first; one group where the machine has one kind or does not tell.

    A core's speed is the kernel's ``cpu_capacity``, else the highest clock that it can have.
    """
    folder = root / "sys/devices/system/cpu"
    highest = {cpu: clock.max for clock in clocks(root) for cpu in clock.cpus}
    speeds = {cpu: _number(folder / f"cpu{cpu}/cpu_capacity") for cpu in cpus}
    if len(set(speeds.values())) < 2:  # all the same where the device tree does not describe them
        speeds = {cpu: highest.get(cpu) for cpu in cpus}
    known = {cpu: speed for cpu, speed in speeds.items() if speed}
    if len(known) < len(cpus):
        return [tuple(cpus)]
    groups: list[list[int]] = []
    for cpu in sorted(cpus, key=lambda cpu: (-known[cpu], cpu)):
        if groups and known[cpu] >= SAME_KIND * known[groups[-1][0]]:
            groups[-1].append(cpu)
        else:
            groups.append([cpu])
    return [tuple(sorted(group)) for group in reversed(groups)]


def choose(kind: str, groups: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The cores of a kind: ``"little"`` is the slowest group, ``"big"`` all others, ``"all"`` every one."""
    if kind == "all" or len(groups) < 2:
        return tuple(sorted(cpu for group in groups for cpu in group))
    if kind == "little":
        return groups[0]
    return tuple(sorted(cpu for group in groups[1:] for cpu in group))


def temperatures(root: Path = ROOT) -> dict[str, float]:
    """Degrees Celsius by thermal zone; the zone's number follows where two have the same name."""
    found: dict[str, float] = {}
    for zone in sorted(
        (root / "sys/class/thermal").glob("thermal_zone*"), key=lambda path: (len(path.name), path.name)
    ):
        value = _number(zone / "temp")
        if value is not None:
            name = read(zone / "type") or zone.name
            found[f"{name} {zone.name.removeprefix('thermal_zone')}" if name in found else name] = value / 1000
    return found


def throttling(root: Path = ROOT) -> list[str] | None:
    """What a Raspberry Pi's firmware says about its power and heat; empty: all is well; None: no Raspberry Pi."""
    text = read(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if text is None and root == ROOT:
        text = _output("vcgencmd", "get_throttled")
    return None if text is None else throttle_flags(text)


def throttle_flags(text: str) -> list[str] | None:
    """The bits of ``"throttled=0x50005"`` or ``"50005"`` (hexadecimal) in words; None where it is no such text."""
    match = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]+)", text.strip())
    if match is None:
        return None
    value = int(match[1], 16)
    return [words for bit, words in THROTTLE_BITS.items() if value >> bit & 1]


def describe(root: Path = ROOT) -> dict[str, Any]:
    """What does not change during a benchmark, as JSON types."""
    memory = re.search(r"^MemTotal:\s*(\d+) kB", read(root / "proc/meminfo") or "", re.MULTILINE)
    cpus = allowed_cpus()
    return {
        "board": board(root),
        "cpu": cpu_name(root),
        "architecture": platform.machine(),
        "cpus": list(cpus),
        "clusters": [list(group) for group in clusters(cpus, root)],
        "memory_mb": int(memory[1]) // 1024 if memory else None,
        "system": f"{platform.system()} {platform.release()}",
    }


def state(root: Path = ROOT) -> dict[str, Any]:
    """What changes during a benchmark, as JSON types."""
    return {
        "clocks": [asdict(clock) for clock in clocks(root)],
        "temperatures": temperatures(root),
        "throttling": throttling(root),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _number(path: Path) -> float | None:
    try:
        return float(read(path) or "")
    except ValueError:
        return None


def _mhz(path: Path) -> float | None:
    khz = _number(path)
    return None if khz is None else khz / 1000


def _output(*command: str) -> str | None:
    """What a command prints; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
