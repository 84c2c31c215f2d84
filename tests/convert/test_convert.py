"""convert, all the way: exports of torch's two exporters, the project's own networks, what is left behind, errors."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from liteocr import LiteOCRError, OptionError
from liteocr import weights as shipped
from liteocr.convert import (
    ConvertReport,
    MissingExtraError,
    ModelExitCode,
    ModelFileError,
    NotEqualError,
    UnsupportedError,
    convert,
    onnxrun,
    pnnxrun,
    proof,
)
from liteocr.convert.cli import main
from liteocr.convert.compare import compare
from liteocr.convert.ncnnrun import run_all
from liteocr.convert.onnxrun import load_onnx, run_all_onnx
from liteocr.convert.param import read as read_param

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
ROOT = HERE.parents[1]
CHECKPOINTS = ROOT / "training" / "checkpoints"

# shapes where the file does not tell, and layers that tell whether the rewriting worked
EXPORTS: dict[str, tuple[tuple[int, ...] | None, dict[str, int]]] = {
    "example.old.fixed": (None, {"Interp": 5, "Clip": 2, "HardSwish": 3}),
    "example.old.free": ((1, 3, 160, 160), {"Interp": 5, "Clip": 2, "HardSwish": 3}),
    "example.new.fixed": (None, {"Interp": 5, "Clip": 2, "HardSwish": 3}),
    "debris.old.fixed": (None, {"Interp": 3, "HardSwish": 1, "HardSigmoid": 1, "Crop": 2, "Softmax": 1}),
    "debris.old.free": (None, {"Interp": 3, "HardSwish": 1, "HardSigmoid": 1, "Crop": 2, "Softmax": 1}),
    "debris.new.fixed": (None, {"Interp": 3, "HardSwish": 1, "HardSigmoid": 1, "Crop": 2, "Softmax": 1}),
    "debris.new.free": (None, {"Interp": 3, "HardSwish": 1, "HardSigmoid": 1, "Crop": 2, "Softmax": 1}),
    "lines.old.fixed": (None, {"LSTM": 1, "GELU": 1, "Gemm": 1}),
    "lines.old.free": (None, {"LSTM": 1, "GELU": 1, "Gemm": 1}),
    "lines.new.fixed": (None, {"LSTM": 1, "GELU": 1, "Gemm": 1}),
    "lines.new.free": (None, {"LSTM": 1, "GELU": 1, "Gemm": 1}),
    "byhand.old.fixed": (None, {"Clip": 2, "HardSwish": 3, "HardSigmoid": 2}),
    "byhand.old.free": (None, {"Clip": 2, "HardSwish": 3, "HardSigmoid": 2}),
    "byhand.new.fixed": (None, {"Clip": 2, "HardSwish": 3, "HardSigmoid": 2}),
    "byhand.new.free": (None, {"Clip": 2, "HardSwish": 3, "HardSigmoid": 2}),
}


def test_every_export_is_tested() -> None:
    assert {path.stem for path in DATA.glob("*.*.*.onnx")} == set(EXPORTS)


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_of_both_exporters_with_fixed_and_free_sizes(name: str, tmp_path: Path) -> None:
    shape, layers = EXPORTS[name]
    report = convert(DATA / f"{name}.onnx", tmp_path, shape=shape, name="net")
    found = Counter(report.layers)
    found["HardSwish"] += sum(layer.integer(9) == 6 for layer in read_param(report.param).layers)  # fused
    assert {kind: found[kind] for kind in layers} == layers
    unseen = [p for p in report.proofs if p.unseen and p.storage == "fp32"]
    assert len({p.shape for p in unseen}) >= 2
    assert all(p.equal and p.relative < 1e-4 for p in unseen)
    assert report.shape2 is not None
    # and not only by its own account: once more, at yet another size, without its help
    height = 16 if name.startswith("lines") else 96
    image = np.random.default_rng(1).normal(0, 1, (1, 3, height, 160)).astype(np.float32)
    got = run_all(report.param, report.bin, {"in0": image[0]}, only=["out0"])["out0"]
    if name.endswith("free") and not name.startswith("example"):
        model = load_onnx(DATA / f"{name}.onnx")
        (wanted,) = run_all_onnx(model, {model.graph.input[0].name: image}, only=[model.graph.output[0].name]).values()
        assert got.reshape(-1) == pytest.approx(wanted.reshape(-1), abs=0.02 * float(np.abs(wanted).max()))
    if name.startswith("example"):
        assert got.shape == (3, height, 160)  # not what the export froze


def test_what_is_written(tmp_path: Path) -> None:
    report = convert(DATA / "byhand.old.free.onnx", tmp_path / "deep" / "out", fp16=False, keep_onnx=True)
    names = [
        "byhand.convert.json",
        "byhand.convert.md",
        "byhand.ncnn.bin",
        "byhand.ncnn.param",
        "byhand.rewritten.onnx",
    ]
    assert sorted(p.name for p in (tmp_path / "deep" / "out").iterdir()) == names
    told = json.loads((tmp_path / "deep" / "out" / "byhand.convert.json").read_text(encoding="utf-8"))
    assert told["storage"] == "fp32"
    assert told["shape2"] is not None
    assert all(p["equal"] for p in told["proofs"])
    assert {c["rule"] for c in told["changes"]} == {"hard-sigmoid", "hard-swish", "clip"}
    page = (tmp_path / "deep" / "out" / "byhand.convert.md").read_text(encoding="utf-8")
    assert page == report.markdown()
    assert "NOT EQUAL" not in page
    assert "hard-swish, /Div:" in page
    assert report.worst.unseen
    load_onnx(tmp_path / "deep" / "out" / "byhand.rewritten.onnx")


def test_weights_are_half_as_large_in_float16(tmp_path: Path) -> None:
    half = convert(DATA / "lines.old.free.onnx", tmp_path, name="half")
    full = convert(DATA / "lines.old.free.onnx", tmp_path, name="full", fp16=False)
    assert half.bin.stat().st_size < 0.65 * full.bin.stat().st_size
    assert {p.storage for p in half.proofs} == {"fp32", "fp16"}


def test_weights_that_must_not_be_rounded_stay_float32(tmp_path: Path) -> None:
    # y = 1000.4 x - 1000 x: float16 has 1000.5 for the one and 1000 for the other
    weights = np.full((4, 6, 1, 1), 1000.4, np.float32)
    weights[:, 3:] = -1000
    model = small(
        helper.make_node("Concat", ["x", "x"], ["xx"], axis=1),
        helper.make_node("Conv", ["xx", "w"], ["y"], kernel_shape=[1, 1]),
        constants={"w": weights},
    )
    report = convert(model, tmp_path, shape=(1, 3, 32, 32), name="net")
    assert report.storage == "fp32"
    assert report.notes == ("all weights stay float32: in float16 they would move y by 0.25 of its largest value",)
    assert "fp32 weights" in report.summary()
    x = np.random.default_rng(0).normal(0, 1, (3, 8, 8)).astype(np.float32)
    got = run_all(report.param, report.bin, {"in0": x}, only=["out0"])["out0"]
    assert got == pytest.approx(np.tile(0.4 * x.sum(0), (4, 1, 1)), abs=0.01)


def test_sizes_that_leave_a_pooling_nothing_to_pool_prove_nothing(tmp_path: Path) -> None:
    # at a height of 4, where ONNX pools nothing, ncnn pools what there is
    model = small(
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["p"], ["y"]),
    )
    report = convert(model, tmp_path, shape=(1, 3, 12, 64), name="net", fp16=False)
    heights = {p.shape[0][2] for p in report.proofs if p.unseen}
    assert min(heights) >= 8
    assert all(p.equal for p in report.proofs)


def test_the_same_file_gives_the_same_network(tmp_path: Path) -> None:
    one, two = (convert(DATA / "debris.new.free.onnx", tmp_path, name=name) for name in ("one", "two"))
    assert one.param.read_bytes() == two.param.read_bytes()
    assert one.bin.read_bytes() == two.bin.read_bytes()


def test_a_fixed_size_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    report = convert(DATA / "example.old.fixed.onnx", tmp_path, fixed=True)
    assert report.shape2 is None
    assert report.sizes == "fixed at 1×3×160×160"
    assert all(not p.unseen and p.equal for p in report.proofs)


# The project's own networks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["angle", "detector", "recognizer"])
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ConvertReport:
    """One of the three, converted from the ONNX file beside its checkpoint, by the command that its report names."""
    name = request.param
    told = json.loads((CHECKPOINTS / f"{name}.convert.json").read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp(name)
    return convert(CHECKPOINTS / f"{name}.onnx", folder, shape=told["shape"], shape2=told["shape2"], name=name)


def test_the_shipped_networks_are_what_convert_makes(own: ConvertReport) -> None:
    directory = shipped.default_directory()
    assert own.param.read_bytes() == (directory / own.param.name).read_bytes()
    assert own.bin.read_bytes() == (directory / own.bin.name).read_bytes()


def test_the_shipped_networks_are_proven(own: ConvertReport) -> None:
    assert own.worst.unseen
    assert own.worst.relative < 1e-4
    assert all(p.equal for p in own.proofs)
    assert "Interp" not in own.layers or all(
        layer.integer(3) == layer.integer(4) == 0 for layer in read_param(own.param).layers if layer.type == "Interp"
    )


def test_the_shipped_networks_are_equal_layer_by_layer(own: ConvertReport) -> None:
    told = json.loads((CHECKPOINTS / f"{own.name}.convert.json").read_text(encoding="utf-8"))
    unseen = next(p["shape"][0] for p in told["proofs"] if p["unseen"])
    directory = shipped.default_directory()
    found = compare(CHECKPOINTS / f"{own.name}.onnx", directory / own.param.name, shape=unseen, precisions=("fp32",))
    assert found.equal, found.text()
    assert len(found.pairs) > 0.6 * found.blobs  # most layers have a counterpart


# What cannot be converted ---------------------------------------------------------------------------------------------


def small(
    *nodes: Any, shape: tuple[Any, ...] = (1, 3, "h", "w"), constants: dict[str, Any] | None = None, opset: int = 17
) -> Any:
    """A model of given nodes, input x, output y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def nothing_left(folder: Path) -> None:
    """No output, no part of one."""
    assert not folder.exists() or not list(folder.iterdir())


def test_an_operator_that_ncnn_lacks_is_named_with_its_node(tmp_path: Path) -> None:
    model = small(
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Det", ["a"], ["d"], name="the_culprit"),
        helper.make_node("Relu", ["d"], ["y"], name="last"),
        shape=(1, 3, 4, 4),
    )
    with pytest.raises(UnsupportedError, match=r"operator Det, node the_culprit.*write it in other operators"):
        convert(model, tmp_path / "out", fixed=True)
    nothing_left(tmp_path / "out")


def test_a_network_that_would_compute_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translate = pnnxrun.translate

    def wrong(*args: Any, **kwargs: Any) -> proof.Net:
        net = translate(*args, **kwargs)
        text = net.param.read_text()
        assert "6=1" in text
        net.param.write_text(text.replace("2=2.0 6=1", "2=2.0 6=0"))  # align_corners is lost
        return net

    monkeypatch.setattr(pnnxrun, "translate", wrong)
    with pytest.raises(NotEqualError, match=r"off by.*diverge is interp\w* \(Interp\), node /Resize"):
        convert(DATA / "example.old.fixed.onnx", tmp_path / "out")
    nothing_left(tmp_path / "out")


def test_the_exit_codes_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["convert", str(DATA / "byhand.old.fixed.onnx"), out]) == ModelExitCode.OK
    assert "equal: at" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "none.onnx"), out]) == ModelExitCode.FILE
    assert "is missing" in capsys.readouterr().err
    onnx.save(small(helper.make_node("NonZero", ["x"], ["y"], name="n")), tmp_path / "nonzero.onnx")
    assert main(["convert", str(tmp_path / "nonzero.onnx"), out]) == ModelExitCode.UNSUPPORTED
    assert "operator NonZero, node n" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        main(["convert", str(DATA / "byhand.old.fixed.onnx"), out, "--shape", "1,3,many"])
    assert error.value.code == ModelExitCode.USAGE


# Bad input ------------------------------------------------------------------------------------------------------------

WHOLE = (DATA / "debris.old.free.onnx").read_bytes()


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated_files(part: float, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(WHOLE[: int(part * len(WHOLE))])
    with pytest.raises(ModelFileError, match=r"truncated|damaged"):
        convert(path, tmp_path / "out")
    nothing_left(tmp_path / "out")


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    path.write_bytes(np.random.default_rng(seed).integers(0, 256, 3000, np.uint8).tobytes())
    with pytest.raises(ModelFileError, match="no ONNX"):
        convert(path, tmp_path / "out")


@pytest.mark.parametrize("seed", range(8))
def test_files_with_wrong_bytes_never_end_the_interpreter(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray((DATA / "byhand.old.fixed.onnx").read_bytes())
    for at in rng.integers(0, len(data), 4):
        data[at] = rng.integers(0, 256)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(data)
    try:
        report = convert(path, tmp_path / "out")  # a wrong weight is a network, too
    except LiteOCRError as error:
        assert str(error)
        nothing_left(tmp_path / "out")
    else:
        assert all(p.equal for p in report.proofs)


def test_what_is_no_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="missing"):
        convert(tmp_path / "none.onnx", tmp_path / "out")
    with pytest.raises(ModelFileError, match=r"cannot be read"):
        convert(tmp_path, tmp_path / "out")
    (tmp_path / "text.onnx").write_text("7767517\n")
    with pytest.raises(ModelFileError, match="no ONNX"):
        convert(tmp_path / "text.onnx", tmp_path / "out")


@pytest.mark.parametrize(
    ("shape", "shape2", "error", "reason"),
    [
        ((1, 3, 64), None, ModelFileError, "does not fit"),
        ((1, 4, 64, 64), None, ModelFileError, "cannot run the model"),
        ((2, 3, 64, 64), None, OptionError, "batch"),
        ((1, 3, 0, 64), None, OptionError, "no shape"),
        ((1, 3, 64, 64), (1, 3, 64), ModelFileError, "does not fit"),
        (((1, 3, 64, 64), (1, 3, 64, 64)), None, ModelFileError, "for each input"),
        ((1, 3, 64, 64), (1, 3, 30, 31), UnsupportedError, "does not run at both sizes"),
    ],
)
def test_shapes_that_do_not_fit(shape: Any, shape2: Any, error: type[Exception], reason: str, tmp_path: Path) -> None:
    # the constant grid of the last case's Add fits one size alone
    model: Any = DATA / "debris.old.free.onnx"
    if error is UnsupportedError:
        add = helper.make_node("Add", ["x", "grid"], ["y"], name="add")
        model = small(add, constants={"grid": np.ones((1, 1, 64, 64), np.float32)})
    with pytest.raises(error, match=reason):
        convert(model, tmp_path / "out", shape=shape, shape2=shape2)
    nothing_left(tmp_path / "out")


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="fixed"):
        convert(DATA / "byhand.old.free.onnx", tmp_path, shape=(1, 3, 32, 32), shape2=(1, 3, 64, 64), fixed=True)
    with pytest.raises(OptionError, match="file name"):
        convert(DATA / "byhand.old.free.onnx", tmp_path, name="../up")
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        convert(DATA / "byhand.old.free.onnx", tmp_path / "file")


def test_operators_of_a_newer_set(tmp_path: Path) -> None:
    newer = small(helper.make_node("Relu", ["x"], ["y"]))
    newer.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    path = tmp_path / "newer.onnx"
    path.write_bytes(newer.SerializeToString())
    with pytest.raises(UnsupportedError, match=f"operator set {onnx.defs.onnx_opset_version() + 1}.*opset_version=17"):
        convert(path, tmp_path / "out")


def with_external(path: Path, **entry: str) -> Path:
    """A model whose weights lie in another file."""
    conv = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])
    model = small(conv, constants={"w": np.ones((4, 3, 1, 1), np.float32)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entry.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(struct.pack("<12f", *range(12)))
    report = convert(with_external(tmp_path / "m.onnx", location="w.bin"), tmp_path / "out", shape=(1, 3, 8, 8))
    assert report.worst.equal


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"location": "gone.bin"}, "missing"),
        ({"location": "../w.bin"}, "outside"),
        ({"location": "/etc/hosts"}, "outside"),
        ({"location": "w.bin", "offset": "40"}, "damaged: the values of w"),
        ({"location": "w.bin", "length": "4096"}, "too short"),
        ({"location": "w.bin", "offset": "many"}, "offset"),
    ],
)
def test_external_weights_that_are_missing_or_elsewhere(entry: dict[str, str], reason: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(struct.pack("<12f", *range(12)))
    with pytest.raises(ModelFileError, match=reason):
        convert(with_external(tmp_path / "m.onnx", **entry), tmp_path / "out", shape=(1, 3, 8, 8))
    nothing_left(tmp_path / "out")


def test_more_than_two_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "w.bin").open("wb") as file:  # a sparse file: nothing is written
        file.truncate(onnxrun.LIMIT + 1)
    with pytest.raises(ModelFileError, match="2 GiB"):
        convert(with_external(tmp_path / "m.onnx", location="w.bin"), tmp_path / "out")
    os.replace(tmp_path / "w.bin", tmp_path / "big.onnx")
    with pytest.raises(ModelFileError, match="2 GiB"):
        convert(tmp_path / "big.onnx", tmp_path / "out")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxslim", "pnnx"])
def test_missing_packages_are_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "pnnx":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install 'liteocr\[convert\]'"):
        convert(DATA / "byhand.old.free.onnx", tmp_path / "out")
    nothing_left(tmp_path / "out")


def test_torch_is_asked_for_only_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "net.pt").write_bytes(b"anything")
    with pytest.raises(MissingExtraError, match="pip install torch"):
        convert(tmp_path / "net.pt", tmp_path / "out", shape=(1, 3, 8, 8))
    assert convert(DATA / "byhand.old.fixed.onnx", tmp_path / "out").worst.equal
