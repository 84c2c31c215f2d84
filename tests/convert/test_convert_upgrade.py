"""Old .param files: each old form, written by hand, computes afterwards what it meant."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liteocr import weights as shipped
from liteocr.convert import ModelFileError, UnsupportedError, upgrade
from liteocr.convert import param as param_module
from liteocr.convert.cli import main
from liteocr.convert.param import Param
from liteocr.convert.shapes import infer

Compute = Callable[..., np.ndarray]
CHW = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def network(*lines: str, size: tuple[int, ...] = ()) -> str:
    """A .param text of layers after the input in0."""
    sides = " ".join(f"{key}={side}" for key, side in zip((0, 1, 2), reversed(size), strict=False))
    layers = [f"Input in0 0 1 in0 {sides}", *lines]
    return "\n".join(["7767517", f"{len(layers)} 99", *layers]) + "\n"


def done(changes: object) -> list[str]:
    """Types of the layers that were changed."""
    return [change.type for change in changes if change.done]  # type: ignore[attr-defined]


# Reduction ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        # Axes with the batch in front: 2 and 3 are height and width.
        ("0=3 1=0 -23303=2,2,3", CHW.mean((1, 2))),
        ("0=3 1=0 -23303=2,2,3 4=1", CHW.mean((1, 2), keepdims=True)),
        ("0=0 1=0 -23303=1,1 4=1", CHW.sum(0, keepdims=True)),
        ("0=4 1=0 -23303=2,-1,-2", CHW.max((1, 2))),
        ("0=0 1=0 -23303=2,0,3 4=1", CHW.sum(2, keepdims=True)),
        # The flag was once "by axes", the opposite of today's "all".
        ("0=3 1=1 -23303=1,3", CHW.mean(2)),
        ("0=3 1=0", CHW.mean().reshape(1)),
        ("0=3 -23303=1,2", CHW.mean().reshape(1)),
        # Before there were axes, key 1 named what stays.
        ("0=0 1=2 2=2.0", 2 * CHW.sum(2)),
        ("0=3 1=-1 2=1.0", CHW.mean((0, 1))),
        ("0=0 1=-2 2=1.0", CHW.sum(0)),
    ],
)
def test_reduction(params: str, expected: np.ndarray, compute: Compute) -> None:
    """All three old forms, against NumPy."""
    new, changes = upgrade(network(f"Reduction r 1 1 in0 out0 {params}"))
    assert done(changes) == ["Reduction"]
    result = compute(new, {"in0": CHW})
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_reduction_of_today_stays() -> None:
    """Files of today are left, and a form that may be either is only named."""
    for params in ("0=3 1=0 -23303=2,1,2 4=0 5=1", "0=3", "0=3 4=1"):
        text = network(f"Reduction r 1 1 in0 out0 {params}")
        assert upgrade(text) == (param_module.parse(text), ())
    _, changes = upgrade(network("Reduction r 1 1 in0 out0 0=3 1=1 2=1.0"))
    assert [change.done for change in changes] == [False]
    assert str(changes[0]).startswith("to check: Reduction r:")
    with pytest.raises(UnsupportedError, match=r"layer r \(Reduction\).*convert the model again"):
        upgrade(network("Reduction r 1 1 in0 out0 0=3 1=2 2=1.0", size=(3, 4)))


# Softmax --------------------------------------------------------------------------------------------------------------


def softmax(array: np.ndarray, axis: int) -> np.ndarray:
    """As in the books."""
    powers = np.exp(array - array.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def test_softmax_of_rows(compute: Compute) -> None:
    """Two axes: old and new mean the same, so nothing is left to check."""
    rows = CHW[0] / 7
    new, changes = upgrade(network("Softmax s 1 1 in0 out0 0=1", size=rows.shape))
    np.testing.assert_allclose(compute(new, {"in0": rows}), softmax(rows, 1), rtol=1e-5)
    np.testing.assert_allclose(compute(new, {"in0": rows}).sum(1), 1, rtol=1e-6)
    assert [change.done for change in changes] == [True]


def test_softmax_of_three_axes(compute: Compute) -> None:
    """The axis is the one that the model named, and that old ncnn took the other is said."""
    new, changes = upgrade(network("Softmax s 1 1 in0 out0 0=1"))
    np.testing.assert_allclose(compute(new, {"in0": CHW / 7}), softmax(CHW / 7, 1), rtol=1e-5)
    assert [change.done for change in changes] == [True, False]
    assert "write 0=2" in changes[1].why
    text = network("Softmax s 1 1 in0 out0 0=0", "Softmax t 1 1 out0 out1 0=1 1=1")
    assert upgrade(text) == (param_module.parse(text), ())


# Reshape, ExpandDims, Squeeze, Crop -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "source", "expected"),
    [
        # As if the values lay in the order (h, w, c): turn, reshape, turn back.
        ("0=-1 3=1", CHW, CHW.transpose(1, 2, 0).ravel()),
        ("0=-1 3=1", CHW[0], CHW[0].T.ravel()),
        ("0=2 1=3 2=4 3=1", CHW, CHW.transpose(1, 2, 0).reshape(3, 2, 4).transpose(2, 0, 1)),
        ("0=0 1=-1 2=1 3=1", CHW, CHW.transpose(1, 2, 0).reshape(6, 4, 1).transpose(2, 0, 1)),
        ("0=6 1=4 3=1", CHW, CHW.transpose(1, 2, 0).reshape(6, 4).T),
        ("0=6 1=2 3=1", CHW[0], CHW[0].T.reshape(6, 2).T),
        ("0=2 1=3 2=2 3=1", CHW[0], CHW[0].T.reshape(3, 2, 2).transpose(2, 0, 1)),
    ],
)
def test_reshape_in_another_order(params: str, source: np.ndarray, expected: np.ndarray, compute: Compute) -> None:
    """Key 3, which today's ncnn does not read."""
    new, changes = upgrade(network(f"Reshape r 1 1 in0 out0 {params}", size=source.shape))
    assert done(changes) == ["Reshape"]
    result = compute(new, {"in0": source})
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


def test_reshape_that_cannot_be_told() -> None:
    """A side that is copied has no counterpart where the number of axes changes."""
    with pytest.raises(UnsupportedError, match="layer r"):
        upgrade(network("Reshape r 1 1 in0 out0 0=0 1=-1 3=1"))


@pytest.mark.parametrize(
    ("flags", "source", "shape"),
    [
        ("0=1", CHW[0, 0], (4, 1)),
        ("1=1", CHW[0, 0], (1, 4)),
        ("0=1 1=1", CHW[0, 0], (4, 1, 1)),
        ("0=1 2=1", CHW[0, 0], (1, 4, 1)),
        ("1=1 2=1", CHW[0, 0], (1, 1, 4)),
        ("0=1", CHW[0], (3, 4, 1)),
        ("1=1", CHW[0], (3, 1, 4)),
        ("2=1", CHW[0], (1, 3, 4)),
    ],
)
def test_expand_dims(flags: str, source: np.ndarray, shape: tuple[int, ...], compute: Compute) -> None:
    """Flags for w, h and c, which today's ncnn does not read."""
    new, changes = upgrade(network(f"ExpandDims e 1 1 in0 out0 {flags}", size=source.shape))
    assert done(changes) == ["ExpandDims"]
    np.testing.assert_array_equal(compute(new, {"in0": source}), source.reshape(shape))


def test_squeeze_and_crop(compute: Compute) -> None:
    """No parameters squeezed everything; -234 left out the last row."""
    new, changes = upgrade(network("Squeeze s 1 1 in0 out0"))
    assert compute(new, {"in0": CHW[:1, :1]}).shape == (4,)
    assert done(changes) == ["Squeeze"]
    new, changes = upgrade(network("Crop c 1 1 in0 out0 3=-233 4=-234 5=-233 1=1"))
    np.testing.assert_array_equal(compute(new, {"in0": CHW}), CHW[:, 1:2])
    assert done(changes) == ["Crop"]


def test_convolution_of_one_axis(compute: Compute, capfd: pytest.CaptureFixture[str]) -> None:
    """It becomes InnerProduct with the same .bin, and ncnn does not warn any more."""
    text = network(
        "Pooling p 1 1 in0 1 0=1 4=1", "Convolution c 1 1 1 out0 0=3 1=1 5=1 6=6 9=2 -23310=1,0.5", size=(2, 3, 4)
    )
    weights = np.array([1, 0, 0, 1, -1, -1], np.float32)
    bias = np.array([0, 1, 2], np.float32)
    binary = bytes(4) + weights.tobytes() + bias.tobytes()
    new, changes = upgrade(text)
    assert [layer.type for layer in new.layers] == ["Input", "Pooling", "InnerProduct"]
    assert done(changes) == ["Convolution"]
    # Means are 5.5 and 17.5; the third sum, -23 + 2, is halved by the leaky ReLU.
    np.testing.assert_allclose(compute(new, {"in0": CHW}, bin=binary), [5.5, 18.5, -10.5])
    assert "deprecated" not in capfd.readouterr().err


def test_blob_with_several_takers(compute: Compute) -> None:
    """A Split goes between, and an in-place layer does not change what the others see."""
    text = network("ReLU r 1 1 in0 1", "BinaryOp b 2 1 in0 1 2 0=0", "BinaryOp d 2 1 2 in0 out0 0=1")
    new, changes = upgrade(text)
    assert done(changes) == ["Split"]
    array = np.array([-1, 0, 2], np.float32)
    np.testing.assert_array_equal(compute(new, {"in0": array}), np.maximum(array, 0))


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_file_of_2017(compute: Compute) -> None:
    """No magic number, values without keys, arrays with their length before them."""
    text = """\
    6 8
    Input data 0 1 data 0 0 0
    Convolution conv 1 1 data conv 4 1 1 1 0 1 8
    Slice slice 1 2 conv a b 2 1 -233
    Pooling pool 1 1 b pool 0 1 1 0 0
    Split split 1 2 pool p q
    Eltwise sum 2 1 p q out0 1 2 1.0 -2.0
    """
    new, changes = upgrade(text)
    assert changes[0].what.startswith("the magic number")
    assert new.layers[2].params == {0: (1, -233)}
    assert new.layers[5].params == {0: 1, 1: (1.0, -2.0)}
    weights = np.array([[1, 0], [0, 1], [1, 1], [2, 0]], np.float32)
    binary = bytes(4) + weights.tobytes() + np.array([0, 1, 2, 3], np.float32).tobytes()
    expected = -((weights @ CHW.reshape(2, 12)).reshape(4, 3, 4) + np.arange(4)[:, None, None])[1:]
    np.testing.assert_allclose(compute(new, {"data": CHW}, bin=binary), expected)
    with pytest.raises(UnsupportedError, match="PriorBox"):
        upgrade("1 1\nPriorBox p 0 1 a 1 2 3\n")
    with pytest.raises(ModelFileError, match="is no layer"):
        upgrade("1 1\nPriorBox p x\n")


def test_counts() -> None:
    """Too small a count is counted again; a larger one says that layers are missing."""
    lines = "Input in0 0 1 in0\nReLU r 1 1 in0 out0\n"
    new, changes = upgrade(f"7767517\n1 1\n{lines}")
    assert new.text().splitlines()[1] == "2 2"
    assert [change.what for change in changes] == ["the counts 1 1 became 2 2"]
    with pytest.raises(ModelFileError, match="truncated"):
        upgrade(f"7767517\n9 9\n{lines}")


def test_what_has_no_counterpart() -> None:
    """An LSTM of 2017 is refused; an average over SAME padding and an uneven scale are named."""
    with pytest.raises(UnsupportedError, match=r"layer l \(LSTM\)"):
        upgrade(network("Split s 1 2 in0 1 2", "LSTM l 2 1 1 2 out0 0=4 1=64"))
    _, changes = upgrade(network("Pooling p 1 1 in0 1 0=1 1=2 2=2 5=2", "Interp i 1 1 1 out0 0=2 1=1.5 2=1.5"))
    assert [change.done for change in changes] == [False, False]


@pytest.mark.parametrize("path", sorted(shipped.default_directory().glob("*.param")), ids=lambda path: path.stem)
def test_networks_of_today_are_left(path: Path) -> None:
    """Nothing to change, nothing to check."""
    for dynamic in (False, True):
        assert upgrade(path.read_text(), dynamic=dynamic) == (param_module.read(path), ())


# Frozen sizes ---------------------------------------------------------------------------------------------------------

STEM = (  # three feature maps at strides 2, 4 and 8; the weights do not matter
    "Convolution a 1 1 in0 a 0=4 1=3 3=2 4=1 5=0 6=108",
    "Split sa 1 2 a a0 a1",
    "Convolution b 1 1 a0 b 0=4 1=3 3=2 4=1 5=0 6=144",
    "Split sb 1 2 b b0 b1",
    "Convolution c 1 1 b0 c 0=4 1=3 3=2 4=1 5=0 6=144",
)


def size_at(param: Param, height: int, width: int, blob: str = "out0") -> tuple[int, ...] | None:
    """Shape of a blob for an input of three channels."""
    return infer(param, {"in0": (3, height, width)})[blob]


def test_frozen_sizes_become_scales(compute: Compute) -> None:
    """A top-down path exported at 96 x 160 works at any other size; the size of the export is found from the sizes."""
    text = network(
        *STEM,
        "Interp u 1 1 c u 0=1 3=24 4=40",
        "BinaryOp p 2 1 u b1 p 0=0",
        "Interp v 1 1 p v 0=2 3=48 4=80 6=1",
        "BinaryOp q 2 1 v a1 q 0=0",
        "Interp w 1 1 q out0 0=2 3=96 4=160",
    )
    new, changes = upgrade(text, dynamic=True)
    assert done(changes) == ["Interp"] * 3
    for name, kind in (("u", 1), ("v", 2), ("w", 2)):
        (layer,) = (layer for layer in new.layers if layer.name == name)
        assert layer.params == {0: kind, 1: 2.0, 2: 2.0} | ({6: 1} if name == "v" else {})
    for height, width in ((96, 160), (64, 64), (256, 32)):
        assert size_at(new, height, width) == (4, height, width)
    rng = np.random.default_rng(0)
    binary = b"".join(bytes(4) + rng.normal(0, 0.1, n).astype(np.float32).tobytes() for n in (108, 144, 144))
    image = rng.random((3, 96, 160), np.float32)
    same = compute(new, {"in0": image}, bin=binary), compute(text, {"in0": image}, bin=binary)
    np.testing.assert_allclose(*same, atol=1e-6)
    assert compute(new, {"in0": image[:, :64, :64]}, bin=binary).shape == (4, 64, 64)


def test_size_of_another_blob(compute: Compute) -> None:
    """A pooled map that was stretched to its partner's size takes that size from the partner."""
    text = network(
        *STEM,
        "Split sc 1 2 c c0 c1",
        "Pooling g 1 1 c0 g 0=1 7=1 8=1",
        "Interp u 1 1 g u 0=2 3=12 4=20",
        "Concat k 2 1 u c1 out0 0=0",
        "Interp v 1 1 b1 v 0=1 3=48 4=80",
        "BinaryOp q 2 1 v a1 out1 0=0",
    )
    new, changes = upgrade(text, dynamic=True, size=(96, 160))
    assert done(changes) == ["Interp", "Interp"]
    assert "became the size of c1" in changes[0].what
    rng = np.random.default_rng(0)
    binary = b"".join(bytes(4) + rng.normal(0, 0.1, n).astype(np.float32).tobytes() for n in (108, 144, 144))
    image = rng.random((3, 96, 160), np.float32)
    np.testing.assert_allclose(compute(new, {"in0": image}, bin=binary), compute(text, {"in0": image}, bin=binary))
    assert compute(new, {"in0": image[:, :64, :64]}, bin=binary).shape == (8, 8, 8)


def test_frozen_reshapes_and_pooling() -> None:
    """Constant sides stay, one is computed; a kernel as large as its map becomes adaptive."""
    text = network(
        *STEM[:1],
        "Split sa 1 3 a a0 a1 a2",
        "Reshape r 1 1 a0 rows 0=1536 1=4",
        "Permute t 1 1 rows out0 0=1",
        "Pooling g 1 1 a1 out1 0=1 1=32 11=48 5=1",
        "Reshape s 1 1 a2 out2 0=32 1=48 2=4",
        size=(3, 96, 64),
    )
    new, changes = upgrade(text, dynamic=True)
    assert sorted(done(changes)) == ["Input", "Pooling", "Reshape", "Reshape"]
    assert size_at(new, 96, 64) == (1536, 4)
    assert size_at(new, 32, 128) == (16 * 64, 4)
    assert size_at(new, 32, 128, "out1") == (4, 1, 1)
    assert size_at(new, 32, 128, "out2") == (4, 16, 64)


def test_frozen_crops(compute: Compute) -> None:
    """What went to the end of its input still does; what ended before is left."""
    text = network(
        "Crop c 1 1 in0 a 0=1 3=5 4=-233 5=-233",
        "Crop d 1 1 a b -23309=2,1,1 -23310=2,4,5 -23311=2,1,2",
        "Crop e 1 1 b out0 3=2 4=-233 5=-233",
        size=(2, 4, 6),
    )
    new, changes = upgrade(text, dynamic=True)
    assert done(changes) == ["Crop", "Crop", "Input"]
    small, large = (np.arange(n, dtype=np.float32).reshape(2, 4, -1) for n in (48, 80))
    np.testing.assert_array_equal(compute(new, {"in0": small}), compute(text, {"in0": small}))
    np.testing.assert_array_equal(compute(new, {"in0": large}), large[:, 1:, 2:4])


def test_size_of_the_export_is_needed() -> None:
    """Where frozen sizes fit many inputs, the message says what to give; a wrong one is refused."""
    text = network("Convolution a 1 1 in0 a 0=4 1=3 3=2 4=1 5=0 6=108", "Interp w 1 1 a out0 0=2 3=96 4=160")
    with pytest.raises(ModelFileError, match="give it with --shape"):
        upgrade(text, dynamic=True)
    new, _ = upgrade(text, dynamic=True, size=(96, 160))
    assert new.layers[2].params == {0: 2, 1: 2.0, 2: 2.0}
    with pytest.raises(ModelFileError, match="does not fit an input of 90 x 90"):
        upgrade(
            network(*STEM, "Interp u 1 1 c u 0=1 3=24 4=40", "BinaryOp p 2 1 u b1 p 0=0"), dynamic=True, size=(90, 90)
        )


def test_what_stays_frozen_is_said() -> None:
    """A size that is no multiple and that nobody else has; a layer as wide as its input."""
    text = network(STEM[0], "Interp w 1 1 a out0 0=2 3=50 4=50")
    new, changes = upgrade(text, dynamic=True, size=(96, 160))
    assert new.layers[2].params == {0: 2, 3: 50, 4: 50}
    assert [change.done for change in changes] == [False]
    text = network(STEM[0], "InnerProduct i 1 1 a out0 0=2 1=0 2=15360", size=(3, 96, 80))
    _, changes = upgrade(text, dynamic=True)
    assert "still frozen" in changes[-1].what
    assert not changes[-1].done


# The command ----------------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Changes are listed, as text and as JSON; the new file loads."""
    old, new = tmp_path / "old.param", tmp_path / "new.param"
    old.write_text(network("Reduction r 1 1 in0 out0 0=3 1=0 -23303=2,2,3"))
    assert main(["upgrade", str(old), str(new)]) == 0
    assert "Reduction r: axes (2, 3) counted with the batch became (1, 2)" in capsys.readouterr().out
    assert param_module.read(new).layers[1].params[5] == 1
    assert main(["upgrade", str(old), str(new), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["layer"] == "r"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (network("Foo f 1 1 in0 out0"), 4, "has no layer Foo"),
        (network("LSTM l 2 1 in0 x out0 0=4 1=64"), 4, "LSTM"),
        ("garbage", 3, "is no ncnn .param text"),
        (network("Permute p 1 1 in0 out0 0=99"), 3, "ncnn says"),
    ],
)
def test_command_leaves_nothing_behind(
    text: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an error there is no new file, nor a part of one."""
    (tmp_path / "old.param").write_text(text)
    assert main(["upgrade", str(tmp_path / "old.param"), str(tmp_path / "out" / "new.param")]) == code
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["old.param"]


def test_command_checks_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A .bin beside the old file must fit; the file itself cannot be the target; --shape needs --dynamic."""
    old, new = tmp_path / "old.param", tmp_path / "new.param"
    old.write_text(network("InnerProduct i 1 1 in0 out0 0=2 1=0 2=4"))
    (tmp_path / "old.bin").write_bytes(bytes(8))
    assert main(["upgrade", str(old), str(new)]) == 3
    assert "truncated or does not belong" in capsys.readouterr().err
    (tmp_path / "old.bin").write_bytes(bytes(20))
    assert main(["upgrade", str(old), str(new)]) == 0
    assert main(["upgrade", str(old), str(old)]) == 2
    assert main(["upgrade", str(old), str(new), "--shape", "1,3,96,96"]) == 2
