"""convert on models of torch: the documented example, a module, a TorchScript file. The rest is tests/convert."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from liteocr.convert import ModelFileError, UnsupportedError, convert
from liteocr.convert.ncnnrun import run_all

ROOT = Path(__file__).resolve().parents[2]
# TorchScript is old, and so are the files that people have.
pytestmark = [  # TorchScript is on its way out, in newer versions of torch with another kind of warning
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),
]
SHAPES: dict[str, Any] = {"shape": (1, 3, 64, 64), "shape2": (1, 3, 96, 128)}


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("example", ROOT / "docs" / "from_pytorch_to_ncnn.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documented_example_goes_all_the_way(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["example", str(tmp_path)])
    example.main()
    assert "equal: at" in capsys.readouterr().out
    # the tolerance that the page states, against torch itself, at a size that the export has not seen
    image = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, 200, 312)).astype(np.float32))
    with torch.inference_mode():
        wanted = example.model()(image).numpy()
    found = run_all(
        tmp_path / "example.ncnn.param", tmp_path / "example.ncnn.bin", {"in0": image[0].numpy()}, only=["out0"]
    )
    assert np.abs(found["out0"] - wanted[0]).max() < 1e-3


def test_the_committed_export_is_that_of_the_example(example: Any, tmp_path: Path) -> None:
    example.export(example.model(), tmp_path / "example.onnx")
    made, committed = (
        convert(path, tmp_path / name, name="net", fp16=False)
        for path, name in (
            (tmp_path / "example.onnx", "made"),
            (ROOT / "tests" / "convert" / "data" / "example.old.fixed.onnx", "committed"),
        )
    )
    assert made.bin.read_bytes() == committed.bin.read_bytes()
    assert made.param.read_bytes() == committed.param.read_bytes()


class Net(nn.Module):
    """Two convolutions and what is between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 2, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.relu6(self.first(x))
        y = nn.functional.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)
        return torch.sigmoid(self.second(y))


def test_a_module(tmp_path: Path) -> None:
    report = convert(Net(), tmp_path, name="net", **SHAPES)
    assert {p.reference for p in report.proofs} >= {"model", "torch"}
    assert all(p.equal for p in report.proofs)
    assert report.layers["Interp"] == 1
    assert any(p.reference == "torch" and p.unseen for p in report.proofs)


def test_a_torchscript_file(tmp_path: Path) -> None:
    torch.jit.trace(Net().eval(), torch.zeros(1, 3, 64, 64)).save(str(tmp_path / "net.pt"))
    report = convert(tmp_path / "net.pt", tmp_path / "out", **SHAPES)
    assert report.name == "net"
    assert any(p.reference == "torch" and p.unseen and p.equal for p in report.proofs)


def test_a_scripted_file_that_torch_cannot_export_is_told_apart(tmp_path: Path) -> None:
    # torch's exporter writes a list of sizes as a Concat that no runtime takes
    torch.jit.script(Net().eval()).save(str(tmp_path / "net.pt"))
    with pytest.raises(UnsupportedError, match=r"exporter wrote.*torch.jit.trace"):
        convert(tmp_path / "net.pt", tmp_path / "out", **SHAPES)
    assert not (tmp_path / "out").exists()


def test_what_is_no_torchscript(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "random.pt").write_bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes())
    script = torch.jit.trace(Net().eval(), torch.zeros(1, 3, 64, 64))
    script.save(str(tmp_path / "whole.pt"))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:3000])
    for name in ("weights.pt", "random.pt", "cut.pt"):
        with pytest.raises(ModelFileError, match=r"no TorchScript file.*torch.jit.trace"):
            convert(tmp_path / name, tmp_path / "out", **SHAPES)
    with pytest.raises(ModelFileError, match="missing"):
        convert(tmp_path / "none.pt", tmp_path / "out", **SHAPES)
    with pytest.raises(ModelFileError, match="--shape"):
        convert(tmp_path / "whole.pt", tmp_path / "out")
    with pytest.raises(UnsupportedError, match="torch cannot"):
        convert(Net(), tmp_path / "out", shape=(1, 4, 64, 64))
    assert not (tmp_path / "out").exists()
