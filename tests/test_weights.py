"""Weights that are wrong, missing or mixed up are an error that names the file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import liteocr
from liteocr import cli
from liteocr.weights import MANIFEST, default_directory, load, sha256
from training.manifest import refresh

FILES = [
    "detector.ncnn.param",
    "detector.ncnn.bin",
    "angle.ncnn.param",
    "angle.ncnn.bin",
    "recognizer.ncnn.param",
    "recognizer.ncnn.bin",
    "charset.txt",
]


def edit(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = directory / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def accept(directory: Path, network: str, kind: str) -> None:
    """Write a changed file's new checksum, as somebody who changed it on purpose would."""

    def change(manifest: dict[str, Any]) -> None:
        entry = manifest[network][kind]
        entry["sha256"] = sha256(directory / entry["file"])

    edit(directory, change)


def test_the_shipped_weights_are_whole() -> None:
    weights = load()
    assert weights.directory == default_directory()
    assert weights.recognizer.charset is not None
    assert len(weights.recognizer.charset) == weights.recognizer.classes - 1
    assert all(len(c) == 1 for c in weights.recognizer.charset)
    assert " " in weights.recognizer.charset


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(own_weights: Path, name: str) -> None:
    (own_weights / name).unlink()
    with pytest.raises(liteocr.WeightsError, match=name):
        liteocr.OCR(weights=own_weights)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named(own_weights: Path, name: str) -> None:
    data = (own_weights / name).read_bytes()
    (own_weights / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(liteocr.WeightsError, match=name):
        liteocr.OCR(weights=own_weights)


@pytest.mark.parametrize("network", ["detector", "angle", "recognizer"])
@pytest.mark.parametrize("kind", ["param", "bin"])
def test_a_truncated_file_with_a_right_checksum_does_not_crash(own_weights: Path, network: str, kind: str) -> None:
    path = own_weights / f"{network}.ncnn.{kind}"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    accept(own_weights, network, kind)
    with pytest.raises(liteocr.WeightsError, match=path.name):
        liteocr.OCR(weights=own_weights)


def test_a_bin_of_another_network_does_not_crash(own_weights: Path) -> None:
    (own_weights / "recognizer.ncnn.bin").write_bytes((own_weights / "angle.ncnn.bin").read_bytes())
    accept(own_weights, "recognizer", "bin")
    with pytest.raises(liteocr.WeightsError, match=r"recognizer\.ncnn\.bin"):
        liteocr.OCR(weights=own_weights)


def test_checksums_are_not_written_for_a_bin_of_another_network(own_weights: Path) -> None:
    before = (own_weights / MANIFEST).read_text(encoding="utf-8")
    assert refresh(own_weights) == []
    for name, other in itertools.permutations(("detector", "angle", "recognizer"), 2):
        data = (own_weights / f"{name}.ncnn.bin").read_bytes()
        (own_weights / f"{name}.ncnn.bin").write_bytes((own_weights / f"{other}.ncnn.bin").read_bytes())
        with pytest.raises(liteocr.LiteOCRError, match=rf"{name}\.ncnn\.bin"):
            refresh(own_weights)
        (own_weights / f"{name}.ncnn.bin").write_bytes(data)
    assert (own_weights / MANIFEST).read_text(encoding="utf-8") == before


def test_text_in_place_of_a_param_is_refused(own_weights: Path) -> None:
    (own_weights / "angle.ncnn.param").write_text("no network", encoding="utf-8")
    accept(own_weights, "angle", "param")
    with pytest.raises(liteocr.WeightsError, match=r"no ncnn \.param"):
        liteocr.OCR(weights=own_weights)


def test_networks_swapped_are_told_apart(own_weights: Path) -> None:
    def swap(manifest: dict[str, Any]) -> None:
        for kind in ("param", "bin"):
            manifest["angle"][kind] = manifest["detector"][kind]

    edit(own_weights, swap)
    ocr = liteocr.OCR(weights=own_weights, line=True)
    with pytest.raises(liteocr.WeightsError, match="no angle classifier"):
        ocr.read(np.full((48, 200, 3), 255, np.uint8))


def test_a_wrong_blob_name_is_refused(own_weights: Path) -> None:
    edit(own_weights, lambda m: m["recognizer"].update(output_blob="out7"))
    with pytest.raises(liteocr.WeightsError, match="out7"):
        liteocr.OCR(weights=own_weights)


def test_a_charset_that_does_not_fit_is_refused(own_weights: Path) -> None:
    charset = own_weights / "charset.txt"
    charset.write_text("".join(charset.read_text(encoding="utf-8").splitlines(keepends=True)[:-3]), encoding="utf-8")
    accept(own_weights, "recognizer", "charset")
    with pytest.raises(liteocr.WeightsError, match="charset has"):
        liteocr.OCR(weights=own_weights)


def test_a_charset_and_manifest_of_another_network_are_refused(own_weights: Path) -> None:
    """The manifest and the charset agree, the network does not: told at the first line, before any text comes out."""
    (own_weights / "charset.txt").write_text("0\n1\n2\n", encoding="utf-8")
    accept(own_weights, "recognizer", "charset")
    edit(own_weights, lambda m: m["recognizer"].update(classes=4))
    ocr = liteocr.OCR(weights=own_weights, line=True)
    with pytest.raises(liteocr.WeightsError, match="belongs to another network"):
        ocr.read(np.full((48, 200, 3), 255, np.uint8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ("[]", "no JSON object"),
        ("{}", "format None"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1}', "detector"),
        ('{"format": 1, "detector": 3}', "wrong or missing entry"),
    ],
)
def test_a_manifest_that_is_none_is_refused(own_weights: Path, text: str, message: str) -> None:
    (own_weights / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(liteocr.WeightsError, match=message):
        load(own_weights)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(liteocr.WeightsError, match=r"has no manifest\.json"):
        load(tmp_path)
    with pytest.raises(liteocr.WeightsError, match="is no directory"):
        load(tmp_path / "nowhere")


def test_the_command_line_has_a_code_for_it(
    own_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_weights / "charset.txt").unlink()
    picture = Path(__file__).parent / "data" / "receipt.jpg"
    assert cli.main([str(picture), "--weights", str(own_weights)]) == liteocr.ExitCode.WEIGHTS
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "charset.txt is missing" in captured.err
