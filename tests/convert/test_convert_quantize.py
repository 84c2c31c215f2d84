"""int8: thresholds worked by hand, layers that ncnn computes as NumPy says, and a report that adds up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from liteocr import ImageError, OptionError
from liteocr import weights as shipped
from liteocr.convert import ModelFileError, quantize
from liteocr.convert import param as param_module
from liteocr.convert.cli import main
from liteocr.convert.int8 import Histogram, candidates, to_int8
from liteocr.convert.quantize import _choose, distance
from liteocr.convert.weights import Array, read_bin, write_bin

Compute = Callable[..., np.ndarray]
PICTURES = Path(__file__).resolve().parent.parent / "data"


# Thresholds -----------------------------------------------------------------------------------------------------------


def test_histogram_grows() -> None:
    """Values in any order give the same counts; zeros and what is no number are left out."""
    values = np.linspace(-8, 8, 1001, dtype=np.float32)
    whole, parts = Histogram(), Histogram()
    whole.add(values)
    for part in (values[np.abs(values) < 1], values[np.abs(values) >= 1], np.array([np.nan, 0], np.float32)):
        parts.add(part)
    assert (whole.largest, parts.largest) == (8, 8)
    assert whole.counts.sum() == parts.counts.sum() == 1000
    assert parts.limit >= 8
    assert Histogram().threshold("kl") == 0


def test_thresholds() -> None:
    """Without rare values nothing is clipped; with one, the methods differ as they should."""
    even = Histogram()
    even.add(np.linspace(0.01, 1, 20_000, dtype=np.float32))
    for method in ("max", "kl", "mse"):
        assert even.threshold(method) == 1
    far = Histogram()
    far.add(np.concatenate([np.linspace(0.01, 1, 20_000), [10]]).astype(np.float32))
    assert far.threshold("max") == 10
    bell = Histogram()
    bell.add(np.append(np.random.default_rng(0).normal(0, 0.25, 20_000), 10).astype(np.float32))
    assert 0.7 < bell.threshold("kl") < 1
    # Steps of T / 127 cost T^2 / 127^2 / 12 each, the far value (10 - T)^2: the sum is smallest near T = 9.
    cost = {t: 20_000 * (t / 127) ** 2 / 12 + (10 - t) ** 2 for t in np.arange(1, 10.01, 0.05)}
    assert far.threshold("mse") == pytest.approx(min(cost, key=cost.__getitem__), abs=0.1)


# Layers ---------------------------------------------------------------------------------------------------------------


def rounded(values: np.ndarray, scale: np.ndarray | float, top: int = 127) -> np.ndarray:
    """What int8 makes of values: rounded steps, clipped."""
    return np.asarray(np.clip(np.rint(values * scale), -top, top) / scale)


@pytest.mark.parametrize(
    "case",
    [
        ("Convolution c 1 1 in0 out0 0=6 1=1 5=1 6=24", (24, 6), (4, 5, 7), 127),
        ("Convolution c 1 1 in0 out0 0=6 1=3 4=1 3=2 5=1 6=216", (216, 6), (4, 8, 8), 127),
        ("Convolution c 1 1 in0 out0 0=16 1=3 4=1 5=1 6=576", (576, 16), (4, 8, 8), 31),
        ("ConvolutionDepthWise c 1 1 in0 out0 0=8 1=3 4=1 5=1 6=72 7=8", (72, 8), (8, 6, 6), 127),
        ("InnerProduct c 1 1 in0 out0 0=6 1=1 2=120", (120, 6), (20,), 127),
    ],
)
def test_layers_with_a_fixed_scale(
    case: tuple[str, tuple[int, int], tuple[int, ...], int], compute: Compute, tmp_path: Path
) -> None:
    """ncnn's int8 is float arithmetic with rounded weights and rounded inputs, to the last digits."""
    line, counts, source, top = case
    rng = np.random.default_rng(1)
    param = param_module.parse(f"7767517\n2 2\nInput in0 0 1 in0\n{line}\n")
    values, bias = (rng.normal(0, 1, n).astype(np.float32) for n in counts)
    image = rng.normal(0, 1, source).astype(np.float32)
    threshold = float(np.abs(image).max()) * 0.8  # some values are clipped
    new, weights = to_int8(param, {"c": (Array(values, "fp32"), Array(bias, "bare"))}, {"c": threshold}, {"c"})
    write_bin(new, weights, tmp_path / "int8.bin")
    assert read_bin(new, tmp_path / "int8.bin")["c"][0].storage == "int8"
    result = compute(new, {"in0": image}, bin=(tmp_path / "int8.bin").read_bytes())
    rows = values.reshape(counts[1], -1)
    expected_weights = rounded(rows, top / np.abs(rows).max(1, keepdims=True), top)
    floats = bytes(4) + expected_weights.astype(np.float32).tobytes() + bias.tobytes()
    expected = compute(param, {"in0": rounded(image, 127 / threshold)}, bin=floats)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("line", "counts", "source"),
    [
        ("LSTM c 1 1 in0 out0 0=5 1=240 2=2", (240, 40, 200), (7, 6)),
        ("GRU c 1 1 in0 out0 0=5 1=90", (90, 20, 75), (7, 6)),
        ("RNN c 1 1 in0 out0 0=5 1=30", (30, 5, 25), (7, 6)),
        ("Gemm c 1 1 in0 out0 3=1 5=1 6=1 8=5 9=6 10=4", (30, 5), (7, 6)),
    ],
)
def test_layers_that_scale_by_themselves(
    line: str, counts: tuple[int, ...], source: tuple[int, ...], compute: Compute, tmp_path: Path
) -> None:
    """Recurrent layers and products of matrices stay within a percent of float."""
    rng = np.random.default_rng(1)
    param = param_module.parse(f"7767517\n2 2\nInput in0 0 1 in0\n{line}\n")
    arrays = tuple(Array(rng.normal(0, 0.5, n).astype(np.float32), "fp32") for n in counts)
    image = rng.normal(0, 1, source).astype(np.float32)
    new, weights = to_int8(param, {"c": arrays}, {}, {"c"})
    for name, structure, what in (("float", param, {"c": arrays}), ("int8", new, weights)):
        write_bin(structure, what, tmp_path / f"{name}.bin")
    result, expected = (
        compute(structure, {"in0": image}, bin=(tmp_path / f"{name}.bin").read_bytes())
        for name, structure in (("int8", new), ("float", param))
    )
    error = np.linalg.norm(result - expected) / np.linalg.norm(expected)
    assert 0 < error < 0.02


def test_candidates() -> None:
    """Layers that ncnn has in int8 and that are not yet so; no grouped convolution, no projected LSTM."""
    lines = [
        "Input in0 0 1 in0",
        "Convolution a 1 1 in0 1 0=6 1=1 6=18",
        "Convolution b 1 1 1 2 0=6 1=1 6=36 8=1",
        "ConvolutionDepthWise c 1 1 2 3 0=6 1=1 6=18 7=2",
        "LSTM d 1 1 3 4 0=5 1=240 3=8",
        "Gemm e 1 1 4 5 3=1 5=1 8=5 9=6 10=-1 6=1",
        "ReLU f 1 1 5 6",
    ]
    param = param_module.parse("\n".join(["7767517", f"{len(lines)} 9", *lines]))
    assert [layer.name for layer in candidates(param)] == ["a", "e"]


def test_choice() -> None:
    """Slower layers stay float; noise adds up by squares; the best time for the noise comes first."""
    times = {"slow": (1.0, 2.0), "good": (1.0, 0.5), "loud": (1.0, 0.1), "quiet": (1.0, 0.9), "edge": (1.0, 0.5)}
    noise = {"slow": 0.0, "good": 0.02, "loud": 0.5, "quiet": 0.001, "edge": 0.025}
    assert _choose(times, noise) == ("quiet", "good")
    assert _choose({"a": (1, 2), "b": (1, 2)}, {"a": 0.2, "b": 0.1}) == ("b",)


@pytest.mark.parametrize(
    ("a", "b", "count"), [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "", 3), ("flaw", "lawn", 2)]
)
def test_distance(a: str, b: str, count: int) -> None:
    """Known edit distances, both ways."""
    assert distance(a, b) == distance(b, a) == count


# The command ----------------------------------------------------------------------------------------------------------

NET = """\
7767517
4 4
Input         in0   0 1 in0
Convolution   conv  1 1 in0 1 0=8 1=3 3=2 4=1 5=1 6=216 9=1
Pooling       pool  1 1 1 2 0=1 4=1
InnerProduct  fc    1 1 2 out0 0=4 1=1 2=32
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A small network with weights, and a folder of eight pictures beside it."""
    rng = np.random.default_rng(0)
    (tmp_path / "net.param").write_text(NET)
    arrays = [bytes(4), rng.normal(0, 0.3, 216), rng.normal(0, 0.1, 8), bytes(4), rng.normal(0, 0.3, 32), np.ones(4)]
    data = b"".join(a if isinstance(a, bytes) else a.astype(np.float32).tobytes() for a in arrays)
    (tmp_path / "net.bin").write_bytes(data)
    (tmp_path / "pictures").mkdir()
    for i in range(8):
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), rng.integers(0, 256, (40, 60, 3), np.uint8))
    return tmp_path / "net.param"


def test_a_network_without_a_manifest(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files and report are written; the figures fit each other, and the int8 network runs as they say."""
    out = net.parent / "out"
    command = ["quantize", str(net), str(net.parent / "pictures"), str(out), "--shape", "1,3,24,32", "--repeat", "2"]
    code = main([*command, "--layers", "conv,fc", "--mean", "0.5,0.5,0.5", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert sorted(os.listdir(out)) == ["net.int8.bin", "net.int8.json", "net.int8.param", "net.int8.txt"]
    assert json.loads((out / "net.int8.json").read_text()) == report
    assert (report["calibration"], report["held_out"], report["role"]) == (6, 2, None)
    assert [layer["name"] for layer in report["layers"]] == ["conv", "fc"]
    assert all(layer["chosen"] and 0 < layer["noise"] < 0.1 for layer in report["layers"])
    assert report["layers"][0]["largest"] == pytest.approx(0.45, abs=0.05)
    assert report["chosen"]["cosine"] > 0.999
    assert report["chosen"]["text"] is None
    assert set(report["chosen"]["seconds"]) == {"fp32", "int8", "fp16", "bf16"}
    written = param_module.read(out / "net.int8.param")
    assert [layer.integer(8) for layer in written.layers] == [0, 1, 0, 1]
    assert (
        report["chosen"]["bytes"]
        == (out / "net.int8.bin").stat().st_size
        == (4 + 216 + 4 * (8 + 8 + 1)) + (4 + 32 + 4 * (4 + 4 + 1))
    )
    words = (out / "net.int8.txt").read_text()
    assert ("int8 pays here" in words) == report["pays"]
    assert main(["info", str(out / "net.int8.param"), "--shape", "1,3,24,32", "--repeat", "1", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [layer["runs_in"].get("fp32") for layer in layers] == [None, "int8", "fp32", "int8"]


def test_a_network_of_the_package(tmp_path: Path) -> None:
    """The angle classifier gets its inputs from the pipeline, and the report says how much text changes."""
    path = shipped.default_directory() / "angle.ncnn.param"
    (tmp_path / "pictures").mkdir()
    for name in ("screen.png", "digits.png", "turned.jpg"):
        image = cv2.imread(str(PICTURES / name))
        small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) if image.shape[0] > 400 else image
        cv2.imwrite(str(tmp_path / "pictures" / name), small)
    report = quantize(path, tmp_path / "pictures", tmp_path / "out", method="mse", repeat=1)
    assert (report.role, report.calibration, report.held_out) == ("angle", 2, 1)
    assert report.all.layers == len(candidates(param_module.read(path)))
    assert 1 <= report.chosen.layers == sum(layer.chosen for layer in report.layers)
    assert report.chosen.text is not None
    assert 0 <= report.chosen.text <= 1
    assert report.chosen.cosine > 0.99
    assert report.all.bytes < report.float_bytes
    assert "of the characters change" in report.text()
    faster = replace(report.chosen, seconds={"fp32": 1.0, "int8": 0.8}, text=0.001)
    assert faster.pays
    assert not replace(faster, text=0.01).pays
    assert not replace(faster, seconds={"fp32": 1.0, "int8": 0.95}).pays


def test_what_cannot_be(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No shape, too few pictures, no such layer, nothing to make int8; nothing is left behind."""
    pictures, out = net.parent / "pictures", net.parent / "out"
    before = sorted(os.listdir(net.parent))
    for arguments, code, message in (
        ([str(pictures)], 2, "not named by a manifest"),
        ([str(net.parent / "none"), "--shape", "1,3,24,32"], 3, "is no folder"),
        ([str(pictures), "--shape", "1,3,24,32", "--layers", "pool"], 2, "no layer pool can become int8"),
        ([str(pictures), "--shape", "1,3,24"], 2, "--shape is 1,C,H,W"),
        ([str(pictures), "--shape", "1,5,24,32"], 2, "not (5, 24, 32)"),
        ([str(pictures), "--shape", "1,1,24,32"], 3, "takes 3 channels"),
    ):
        assert main(["quantize", str(net), arguments[0], str(out), *arguments[1:]]) == code
        assert message in capsys.readouterr().err
    assert sorted(os.listdir(net.parent)) == before
    with pytest.raises(SystemExit):
        main(["quantize", str(net), str(pictures), str(out), "--mean", "1,2"])
    with pytest.raises(OptionError, match="method"):
        quantize(net, pictures, out, method="best")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="1 or more"):
        quantize(net, pictures, out, repeat=0)
    (net.parent / "few").mkdir()
    with pytest.raises(ImageError, match="at least two"):
        quantize(net, net.parent / "few", out, shape=(3, 24, 32))
    plain = net.with_name("plain.param")
    plain.write_text("7767517\n2 2\nInput in0 0 1 in0\nReLU r 1 1 in0 out0\n")
    plain.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelFileError, match="no layer that ncnn could run in int8"):
        quantize(plain, pictures, out, shape=(3, 24, 32))
