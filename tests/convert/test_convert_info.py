"""What info says about a network: counted by hand for a small one, compared with ncnn for the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from liteocr import OptionError
from liteocr import weights as shipped
from liteocr.convert import ModelFileError, info
from liteocr.convert import param as param_module
from liteocr.convert.cli import main
from liteocr.convert.info import macs
from liteocr.convert.ncnnrun import run_all
from liteocr.convert.shapes import ShapeError, infer, ranks

SHAPES = {"angle": (3, 32, 123), "detector": (3, 96, 160), "recognizer": (3, 48, 200)}
NETWORKS = [(shipped.default_directory() / f"{name}.ncnn.param", shape) for name, shape in SHAPES.items()]

SMALL = """\
7767517
7 8
Input         in0   0 1 in0
Convolution   conv  1 1 in0 a 0=4 1=3 3=2 4=1 5=1 6=108
Split         split 1 2 a b c
Pooling       pool  1 1 b d 0=1 4=1
InnerProduct  fc    1 1 d e 0=4 1=0 2=16
BinaryOp      mul   2 1 c e f 0=2
Interp        up    1 1 f out0 0=1 1=2 2=2
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The network above with weights."""
    rng = np.random.default_rng(0)
    (tmp_path / "small.param").write_text(SMALL)
    weights = [bytes(4), rng.random(108, np.float32), rng.random(4, np.float32), bytes(4), rng.random(16, np.float32)]
    (tmp_path / "small.bin").write_bytes(b"".join(bytes(w) for w in weights))
    return tmp_path / "small.param"


def test_counted_by_hand(small: Path) -> None:
    """Shapes, multiply-accumulates, weights and bytes of each layer at 3 x 8 x 6."""
    found = info(small, shapes={"in0": (3, 8, 6)}, times=False)
    by_name = {layer.name: layer for layer in found.layers}
    assert [layer.shape for layer in found.layers] == [
        (3, 8, 6), (4, 4, 3), (4, 4, 3), (4,), (4,), (4, 4, 3), (4, 8, 6)
    ]  # fmt: skip
    assert by_name["conv"].macs == 4 * 3 * 108
    assert by_name["fc"].macs == 16
    assert found.macs == 4 * 3 * 108 + 16
    assert (by_name["conv"].weights, by_name["conv"].weight_bytes) == (112, 4 + 4 * 112)
    assert by_name["conv"].bytes == 4 + 4 * 112 + 4 * (144 + 48)
    assert (found.blobs, list(found.outputs.items())) == (8, [("out0", (4, 8, 6))])
    assert not found.proven
    assert found.seconds("fp32") == 0


def test_free_sides(small: Path) -> None:
    """Both sides of the small network are free, and ncnn ran it at two other sizes."""
    found = info(small, shapes={"in0": (3, 8, 6)}, precisions=("fp32", "bf16"), repeat=2)
    height, width = found.inputs[0].sides
    assert (str(height), str(width)) == ("height free from 1", "width free from 1")
    assert [sizes["in0"] for sizes in found.proven] == [(3, 9, 7), (3, 10, 9)]
    assert found.seconds("fp32") > 0
    assert {layer.name: dict(layer.runs_in) for layer in found.layers}["conv"] == {"fp32": "fp32", "bf16": "bf16"}


def test_frozen_sides(small: Path) -> None:
    """Multiples that a skip connection wants, a range that a pooling allows, one size that a layer needs."""
    path = small.with_name("other.param")
    pooled = SMALL.replace(" b d 0=1 4=1", " b d 0=0 1=2 2=2 5=1")
    path.write_text(pooled.replace("InnerProduct  fc    1 1 d e 0=4 1=0 2=16", "Interp fc 1 1 d e 0=1 1=2 2=2"))
    height, width = info(path, shapes={"in0": (3, 8, 12)}).inputs[0].sides
    assert (height.step, height.free, width.step, width.free) == (4, True, 4, True)
    flat = SMALL.replace("Pooling       pool  1 1 b d 0=1 4=1", "Flatten       pool  1 1 b d")
    path.write_text(flat.replace("2=16", "2=192"))
    height, width = info(path, shapes={"in0": (3, 8, 6)}).inputs[0].sides
    assert str(height).startswith("height 7 to 8, held by layer fc (InnerProduct): it takes 48 values")
    assert (width.low, width.high) == (5, 6)
    # Without a shape, one is looked for that fits the frozen sides.
    path.write_text(flat.replace("3=2 4=1", "3=1 4=1").replace("2=16", f"2={4 * 4 * 64 * 64}"))
    (one,) = info(path).inputs
    assert one.shape == (3, 64, 64)
    assert str(one.sides[1]).startswith("width frozen at 64 by layer fc (InnerProduct)")


@pytest.mark.parametrize(("path", "shape"), NETWORKS, ids=SHAPES)
def test_shapes_of_the_shipped_networks(path: Path, shape: tuple[int, ...]) -> None:
    """What follows from the .param is what ncnn computes, for every blob."""
    image = np.random.default_rng(0).random(shape, np.float32)
    computed = run_all(path, path.with_suffix(".bin"), {"in0": image})
    assert infer(param_module.read(path), {"in0": shape}) == {name: blob.shape for name, blob in computed.items()}
    assert None not in ranks(param_module.read(path)).values()


@pytest.mark.parametrize(
    ("line", "shapes", "output", "count"),
    [
        ("ConvolutionDepthWise c 1 1 a b 0=8 1=3 4=1 6=72 7=8", [(8, 5, 6)], (8, 5, 6), 30 * 72),
        ("Deconvolution c 1 1 a b 0=2 1=2 3=2 6=24", [(3, 5, 6)], (2, 10, 12), 30 * 24),
        ("LSTM c 1 1 a b 0=4 1=320 2=2", [(7, 10)], (7, 8), 7 * (2 * 160 + 2 * 64)),
        ("Gemm c 1 1 a b 2=0 3=1 5=1 6=1 8=5 9=6 10=4", [(7, 6)], (7, 5), 7 * 5 * 6),
        ("MatMul c 2 1 a d b", [(7, 6), (6, 5)], (7, 5), 7 * 5 * 6),
        ("InnerProduct c 1 1 a b 0=4 2=24", [(7, 6)], (7, 4), 7 * 24),
        ("ReLU c 1 1 a b", [(7, 6)], (7, 6), 0),
    ],
)
def test_operations(line: str, shapes: list[tuple[int, ...]], output: tuple[int, ...], count: int) -> None:
    """Multiply-accumulates of each kind of layer, and the shape of what it makes."""
    names = ["a", "d"][: len(shapes)]
    lines = [*(f"Input {name} 0 1 {name}" for name in names), line]
    param = param_module.parse("\n".join(["7767517", f"{len(lines)} 9", *lines]))
    assert infer(param, dict(zip(names, shapes, strict=True)))["b"] == output
    assert macs(param.layers[-1], list(shapes), output) == count


@pytest.mark.parametrize(
    ("line", "shape", "expected"),
    [
        ("Pooling l 1 1 in0 out0 0=0 1=2 2=2", (3, 5, 7), (3, 3, 4)),
        ("Pooling l 1 1 in0 out0 0=0 1=2 2=2 5=1", (3, 5, 7), (3, 2, 3)),
        ("Pooling l 1 1 in0 out0 0=0 1=3 2=2 5=2", (3, 5, 7), (3, 3, 4)),
        ("Pooling l 1 1 in0 out0 0=1 7=1 8=2 18=-233", (3, 5, 7), (3, 5, 2)),
        ("Interp l 1 1 in0 out0 0=2 1=0.5 2=1.5", (3, 5, 7), (3, 2, 10)),
        ("Reshape l 1 1 in0 out0 0=0 1=-1", (3, 5, 7), (15, 7)),
        ("Permute l 1 1 in0 out0 0=5", (3, 5, 7), (7, 5, 3)),
        ("Permute l 1 1 in0 out0 0=3", (3, 5, 7), (5, 7, 3)),
        ("Permute l 1 1 in0 out0 0=4", (3, 5, 7), (7, 3, 5)),
        ("Squeeze l 1 1 in0 out0 -23303=1,0", (1, 5, 7), (5, 7)),
        ("ExpandDims l 1 1 in0 out0 -23303=2,0,-1", (5,), (1, 5, 1)),
        ("Reduction l 1 1 in0 out0 0=3 1=0 -23303=2,0,2 4=0 5=1", (3, 5, 7), (5,)),
        ("Crop l 1 1 in0 out0 -23309=2,1,-3 -23310=2,3,-233 -23311=2,0,2", (3, 5, 7), (2, 5, 3)),
        ("Crop l 1 1 in0 out0 3=-233 4=2 5=-233 1=1 6=3", (3, 5, 7), (3, 2, 4)),
        ("Padding l 1 1 in0 out0 0=1 1=2 2=3 3=4", (3, 5, 7), (3, 8, 14)),
        ("PixelShuffle l 1 1 in0 out0 0=2", (4, 5, 7), (1, 10, 14)),
        ("Flatten l 1 1 in0 out0", (3, 5, 7), (105,)),
        ("Slice l 1 2 in0 out0 out1 -23300=2,2,-233 1=1", (3, 5, 7), (3, 2, 7)),
        ("Slice l 1 2 in0 out0 out1 -23302=1,-2 1=0", (3, 5, 7), (1, 5, 7)),
    ],
)
def test_shape_rules(line: str, shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path) -> None:
    """Each rule against ncnn itself."""
    path = tmp_path / "net.param"
    path.write_text(f"7767517\n2 9\nInput in0 0 1 in0\n{line}\n")
    path.with_suffix(".bin").write_bytes(b"")
    assert infer(param_module.read(path), {"in0": shape})["out0"] == expected
    computed = run_all(path, path.with_suffix(".bin"), {"in0": np.zeros(shape, np.float32)}, only=["out0"])
    assert computed["out0"].shape == expected


@pytest.mark.parametrize(
    ("lines", "shape"),
    [
        (["BinaryOp l 2 1 a b out0", "Crop b 1 1 in1 b 3=3 4=-233 5=-233"], (3, 5, 7)),
        (["Concat l 2 1 a b out0", "Crop b 1 1 in1 b 3=3 4=-233 5=-233"], (3, 5, 7)),
        (["InnerProduct l 1 1 in0 out0 0=1 2=9"], (3, 5, 7)),
        (["Convolution l 1 1 in0 out0 0=1 1=3 6=9"], (3, 5, 7)),
        (["Convolution l 1 1 in0 out0 0=1 1=9 6=243"], (3, 5, 7)),
        (["Reshape l 1 1 in0 out0 0=4 1=-1"], (3, 5, 7)),
        (["LSTM l 1 1 in0 out0 0=4 1=112"], (3, 5, 7)),
        (["PixelShuffle l 1 1 in0 out0 0=0"], (3, 5, 7)),
        (["Crop l 1 1 in0 out0 -23309=2,1,1 -23310=1,4"], (3, 5, 7)),
        (["Permute l 1 1 in0 out0 0=-9"], (3, 5, 7)),
    ],
)
def test_what_does_not_fit(lines: list[str], shape: tuple[int, ...]) -> None:
    """The layer that cannot take its inputs is named; leniently, what follows is unknown."""
    pair = ["Split s 1 2 in0 a in1"] if len(lines) > 1 else []
    lines = ["Input in0 0 1 in0", *pair, *reversed(lines)]
    param = param_module.parse("\n".join(["7767517", f"{len(lines)} 9", *lines]))
    with pytest.raises(ShapeError, match=r"layer l \("):
        infer(param, {"in0": shape})
    assert infer(param, {"in0": shape}, strict=False)["out0"] is None


def test_command(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people, JSON for programs."""
    assert main(["info", str(small), "--shape", "1,3,8,6", "--repeat", "1", "--precision", "fp32"]) == 0
    table = capsys.readouterr().out
    assert "7 layers, 8 blobs, 128 weights" in table
    assert "input in0 3 x 8 x 6: height free from 1; width free from 1" in table
    assert "has every layer" in table
    assert main(["info", str(small), "--shape", "in0=1,3,8,6", "--no-times", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["macs"], found["layers"][1]["type"]) == (4 * 3 * 108 + 16, "Convolution")


def test_bad_input(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Layers that ncnn does not have are marked; shapes that do not fit, and files, are refused."""
    strange = small.with_name("strange.param")
    strange.write_text(SMALL.replace("Interp   ", "Enlarge  "))
    assert main(["info", str(strange), "--shape", "1,3,8,6"]) == 4
    assert "has no layer Enlarge" in capsys.readouterr().out
    for arguments, code, message in (
        (["--shape", "1,5,8,6"], 3, "takes 3 channels, not 5"),
        (["--shape", "data=1,3,8,6"], 2, "has no input 'data'"),
        (["--bin", str(small)], 3, "belong"),
    ):
        assert main(["info", str(small), *arguments]) == code
        assert message in capsys.readouterr().err
    for value in ("2,3,8,6", "3", "x", "1,3,8,-6", "=1,3,8,6"):
        with pytest.raises(SystemExit):
            main(["info", str(small), "--shape", value])
    with pytest.raises(OptionError):
        info(small, threads=0)
    with pytest.raises(ModelFileError, match="cannot be read"):
        info(small.with_name("none.param"))
