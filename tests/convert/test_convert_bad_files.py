"""Damaged .param and .bin files: a clear error from every command, never a crash, never a part of an output."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liteocr import LiteOCRError
from liteocr import weights as shipped
from liteocr.convert import info, upgrade
from liteocr.convert import param as param_module
from liteocr.convert.cli import main
from liteocr.convert.ncnnrun import run_all

PARAM = shipped.default_directory() / "angle.ncnn.param"
TEXT = PARAM.read_text()
DATA = PARAM.with_suffix(".bin").read_bytes()
NUMBERS = (0, -1, 1, 2, 7, -233, 1_000_000, 2**31 - 1, -(2**31))
TYPES = ("Softmax", "Crop", "LSTM", "Pooling", "MatMul", "Slice", "Padding", "Tile", "Embed", "Einsum", "GridSample")

Damage = Callable[[random.Random], tuple[str, bytes]]


def a_line_is_missing(rng: random.Random) -> tuple[str, bytes]:
    """One layer less, counts as they should be."""
    lines = TEXT.splitlines()
    del lines[rng.randrange(2, len(lines))]
    lines[1] = f"{len(lines) - 2} {len(lines)}00"
    return "\n".join(lines), DATA


def a_number_is_wrong(rng: random.Random) -> tuple[str, bytes]:
    """One parameter has another value."""
    lines = TEXT.splitlines()
    where = [(i, j) for i, line in enumerate(lines) for j, word in enumerate(line.split()) if "=" in word]
    i, j = rng.choice(where)
    words = lines[i].split()
    words[j] = f"{words[j].partition('=')[0]}={rng.choice(NUMBERS)}"
    lines[i] = " ".join(words)
    return "\n".join(lines), DATA


def a_layer_is_another(rng: random.Random) -> tuple[str, bytes]:
    """One layer has another type."""
    lines = TEXT.splitlines()
    i = rng.randrange(2, len(lines))
    lines[i] = " ".join([rng.choice(TYPES), *lines[i].split()[1:]])
    return "\n".join(lines), DATA


def weights_are_cut(rng: random.Random) -> tuple[str, bytes]:
    """The .bin ends early."""
    return TEXT, DATA[: rng.randrange(len(DATA))]


def weights_are_noise(rng: random.Random) -> tuple[str, bytes]:
    """The .bin has the right length and nothing else right."""
    return TEXT, rng.randbytes(len(DATA))


def text_is_noise(rng: random.Random) -> tuple[str, bytes]:
    """Any characters after the first line."""
    return "7767517\n" + rng.randbytes(500).decode("latin-1"), DATA


@pytest.mark.parametrize(
    "damage",
    [a_line_is_missing, a_number_is_wrong, a_layer_is_another, weights_are_cut, weights_are_noise, text_is_noise],
    ids=lambda damage: damage.__name__,
)
@pytest.mark.parametrize("seed", [1, 2])
def test_damage(damage: Damage, seed: int, tmp_path: Path) -> None:
    """Whatever happened to the files: a result, or an error of this package with a message that says what to do."""
    text, data = damage(random.Random(seed))
    path = tmp_path / "net.param"
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".bin").write_bytes(data)
    image = np.zeros((3, 48, 64), np.float32)
    for work in (
        lambda: run_all(path, path.with_suffix(".bin"), dict.fromkeys(param_module.read(path).inputs(), image)),
        lambda: upgrade(text, dynamic=True),
        lambda: info(path, times=False),
    ):
        try:
            work()
        except LiteOCRError as error:
            assert len(str(error)) > 20


def test_commands_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that are none, in every place where a command takes one."""
    (tmp_path / "noise.param").write_bytes(random.Random(0).randbytes(300))
    (tmp_path / "empty.param").write_bytes(b"")
    (tmp_path / "folder.param").mkdir()
    (tmp_path / "net.param").write_text(TEXT)
    (tmp_path / "net.bin").write_bytes(DATA[:5000])
    before = sorted(os.listdir(tmp_path))
    out = str(tmp_path / "out.param")
    for name in ("noise.param", "empty.param", "folder.param", "missing.param", "net.param"):
        path = str(tmp_path / name)
        for command in (["upgrade", path, out], ["info", path], ["quantize", path, str(tmp_path), out]):
            assert main(command) == 3, command
            message = capsys.readouterr().err
            assert message.startswith("liteocr-model: ")
            assert path in message or path.replace(".param", ".bin") in message
    assert sorted(os.listdir(tmp_path)) == before
