"""The shipped networks against the checkpoints that they were made from, and torch models as references."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from liteocr.convert import ModelFileError, cli
from liteocr.convert.compare import compare
from liteocr.convert.param import Layer, Param, read
from liteocr.convert.weights import Array, read_bin, write_bin
from training import angle, crnn

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "training" / "checkpoints"
WEIGHTS = ROOT / "weights"
LINE = (1, 3, angle.HEIGHT, 192)


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    return angle.load(CHECKPOINTS / "angle.pt").eval()


def test_the_shipped_classifier_is_its_checkpoint(classifier: nn.Module) -> None:
    result = compare(classifier, WEIGHTS / "angle.ncnn.param", shape=LINE)
    assert result.equal, result.text()
    assert len(result.pairs) == result.blobs


def test_the_shipped_recogniser_is_its_checkpoint() -> None:
    net, _ = crnn.load(CHECKPOINTS / "recognizer.pt")
    result = compare(net.eval(), WEIGHTS / "recognizer.ncnn.param", shape=(1, 3, crnn.HEIGHT, 256))
    assert result.equal, result.text()
    assert len(result.pairs) == result.blobs


@pytest.mark.parametrize("kind", ["weight", "activation", "slope", "mean"])
def test_an_error_planted_in_the_classifier_is_found(classifier: nn.Module, tmp_path: Path, kind: str) -> None:
    param = read(WEIGHTS / "angle.ncnn.param")
    stored = dict(read_bin(param, WEIGHTS / "angle.ncnn.bin"))
    layers = {layer.name: layer for layer in param.layers}
    if kind == "weight":
        name = [layer.name for layer in param.layers if layer.type == "ConvolutionDepthWise"][4]
        values = stored[name][0].values.copy()
        values[7] = -values[7]
        stored[name] = (Array(values, stored[name][0].storage), *stored[name][1:])
    elif kind == "activation":
        name = [layer.name for layer in param.layers if layer.type == "GELU"][3]
        layers[name] = replace(layers[name], type="Swish", params={})
    elif kind == "slope":
        name = [layer.name for layer in param.layers if layer.type == "HardSigmoid"][1]
        layers[name] = replace(layers[name], params={0: 0.2, 1: 0.5})
    else:  # taken off once more than in the model
        name = next(layer.name for layer in param.layers if layer.type == "Convolution")
        extra = Layer("BinaryOp", "mean", ("in0",), ("centred",), {0: 1, 1: 1, 2: 0.5})
        first = replace(layers[name], inputs=("centred",))
        layers = {k: v for k, v in layers.items() if v.type == "Input"} | {"mean": extra} | layers | {name: first}
        name = "mean"
    changed = Param(tuple(layers.values()))
    (tmp_path / "net.param").write_text(changed.text(), encoding="utf-8")
    write_bin(changed, stored, tmp_path / "net.bin")
    result = compare(classifier, tmp_path / "net.param", shape=LINE, precisions=("fp32",))
    assert [pair.layer for pair in result.diverging("fp32")] == [name], result.text()


# Torch models ---------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """Changes tensors in place, and gives two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.act(self.norm(self.conv(4 * x)))
        small = nn.functional.max_pool2d(x, 2)
        return nn.functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False), small


def write_small(net: Small, folder: Path, activation: int = 3) -> Path:
    rows = [
        ("Input", "in", "", "in0", {}),
        ("BinaryOp", "four", "in0", "1", {0: 2, 1: 1, 2: 4.0}),
        ("Convolution", "conv", "1", "2", {0: 6, 1: 3, 4: 1, 5: 1, 6: 162, 9: activation, 10: (0.0, 6.0)}),
        ("Pooling", "pool", "2", "3", {0: 0, 1: 2, 2: 2}),
        ("Split", "split", "3", "4 out1", {}),
        ("Interp", "up", "4", "out0", {0: 2, 1: 2.0, 2: 2.0}),
    ]
    param = Param(tuple(Layer(kind, n, tuple(i.split()), tuple(o.split()), p) for kind, n, i, o, p in rows))
    (folder / "small.param").write_text(param.text(), encoding="utf-8")
    factor = 1 / np.sqrt(1 + net.norm.eps)
    weight = net.conv.weight.detach().numpy().ravel() * np.float32(factor)
    write_bin(param, {"conv": (Array(weight, "fp32"), Array(np.zeros(6, np.float32), "bare"))}, folder / "small.bin")
    return folder / "small.param"


def test_a_module_that_works_in_place(tmp_path: Path) -> None:
    net = Small().train()
    result = compare(net, write_small(net, tmp_path), shape=(1, 3, 16, 16), precisions=("fp32",))
    assert result.equal, result.text()
    assert net.training and net.norm.training
    found = {pair.layer: (pair.covers, pair.node) for pair in result.pairs}
    assert found["conv"][0] == ("aten::_convolution", "aten::batch_norm", "aten::hardtanh")
    wrong = compare(net, write_small(net, tmp_path, activation=1), shape=(1, 3, 16, 16), precisions=("fp32",))
    assert [pair.layer for pair in wrong.diverging("fp32")] == ["conv"]


def test_a_torchscript_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Small().eval()
    param = write_small(net, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, torch.rand(1, 3, 16, 16)).save(str(tmp_path / "small.pt"))
    assert cli.main(["compare", str(tmp_path / "small.pt"), str(param), "--shape", "1,3,24,16"]) == 0
    assert "small.pt against small.param" in capsys.readouterr().out
    assert cli.main(["compare", str(tmp_path / "small.pt"), str(param)]) == 3
    assert "give --shape" in capsys.readouterr().err
    assert cli.main(["compare", str(tmp_path / "small.pt"), str(param), "--shape", "1,4,24,16"]) == 3
    assert "torch cannot run the model" in capsys.readouterr().err


def test_files_that_are_no_torchscript(tmp_path: Path) -> None:
    param = write_small(Small(), tmp_path)
    torch.save(Small().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "noise.pt").write_bytes(np.random.default_rng(0).bytes(500))
    for name in ("weights.pt", "noise.pt", "missing.pt"):
        with pytest.raises(ModelFileError):
            compare(tmp_path / name, param, shape=(1, 3, 16, 16))
