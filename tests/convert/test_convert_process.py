"""Children that crash, files that appear whole, and networks that run in a process of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liteocr import InferenceError, OptionError
from liteocr import weights as shipped
from liteocr.convert import ConvertError, MissingExtraError, ModelExitCode, ModelFileError, UnsupportedError, child
from liteocr.convert import errors as errors_module
from liteocr.convert import param as param_module
from liteocr.convert.atomic import files, folder
from liteocr.convert.child import call
from liteocr.convert.ncnnrun import check_layers, check_loads, layer_times, run_all, run_each, unknown_layers

PARAM = shipped.default_directory() / "angle.ncnn.param"
BIN = PARAM.with_suffix(".bin")


# What the children run; they find it by its name.


def _double(array: np.ndarray) -> np.ndarray:
    print("a line on standard output")
    return array * 2


def _crash() -> None:
    os.write(2, b"about to fall\n")
    os.abort()


def _exit() -> None:
    os._exit(3)


def _sleep() -> None:
    time.sleep(60)


def _refuse() -> None:
    os.write(2, b"native words\n")
    raise ModelFileError("no good; get another")


def _blunder() -> None:
    raise ZeroDivisionError("by nought")


def _unpicklable() -> object:
    return lambda: 1


def test_a_result_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    """Arrays of some size, and what native code prints stays away."""
    array = np.arange(300_000, dtype=np.float32)
    np.testing.assert_array_equal(call(_double, array, what="doubling"), array * 2)
    assert capfd.readouterr() == ("", "")


def test_a_crash_is_an_error() -> None:
    """The signal and the child's last words."""
    with pytest.raises(ConvertError, match=r"falling crashed \(SIGABRT\).*about to fall") as caught:
        call(_crash, what="falling")
    assert caught.value.log == "about to fall"


def test_other_ends() -> None:
    """An exit without a result, too long a time, and results that cannot travel."""
    with pytest.raises(ConvertError, match=r"leaving ended without a result \(exit code 3\)"):
        call(_exit, what="leaving")
    with pytest.raises(ConvertError, match="sleeping took more than 1 s"):
        call(_sleep, timeout=1, what="sleeping")
    with pytest.raises(ConvertError, match="work failed with ZeroDivisionError: by nought"):
        call(_blunder, what="work")
    with pytest.raises(ConvertError, match="pickl"):
        call(_unpicklable, what="work")


def test_own_errors_come_through() -> None:
    """With their type, their message, and the log."""
    with pytest.raises(ModelFileError, match="no good; get another") as caught:
        call(_refuse, what="work")
    assert caught.value.log == "native words"


# Files ----------------------------------------------------------------------------------------------------------------


def test_files_appear_together(tmp_path: Path) -> None:
    """Nothing is there before the end, and nothing else after it."""
    targets = tmp_path / "deep" / "a.param", tmp_path / "deep" / "a.bin"
    with files(*targets) as (one, two):
        one.write_text("1")
        two.write_text("2")
        assert not any(target.exists() for target in targets)
    assert [target.read_text() for target in targets] == ["1", "2"]
    assert sorted(os.listdir(tmp_path / "deep")) == ["a.bin", "a.param"]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    """What was there stays; folders that were made go."""
    (tmp_path / "old.param").write_text("old")
    with pytest.raises(RuntimeError), files(tmp_path / "old.param") as (path,):
        path.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), folder(tmp_path / "new" / "deep") as place:
        (place / "x").write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["old.param"]
    assert (tmp_path / "old.param").read_text() == "old"


def test_a_folder_takes_its_files(tmp_path: Path) -> None:
    """Files of the same name are replaced, others stay."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "kept").write_text("kept")
    (target / "a").write_text("old")
    with folder(target) as place:
        (place / "a").write_text("new")
        (place / "sub").mkdir()
    assert sorted(os.listdir(target)) == ["a", "kept", "sub"]
    assert (target / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    """The source itself, a folder for a file, a file for a folder."""
    path = tmp_path / "a.param"
    path.write_text("source")
    with pytest.raises(OptionError, match="give another name"), files(path, sources=(path,)):
        pass
    with pytest.raises(OptionError, match="is a folder"), files(tmp_path):
        pass
    with pytest.raises(OptionError, match="is a file"), folder(path):
        pass


# Networks -------------------------------------------------------------------------------------------------------------


def test_every_blob_of_a_network() -> None:
    """All blobs, in-place layers included, have the values that they had when they were made."""
    image = np.random.default_rng(1).random((3, 48, 96), np.float32)
    found = run_all(PARAM, BIN, {"in0": image})
    param = param_module.read(PARAM)
    assert tuple(found) == param.blobs()
    for layer in param.layers:
        if layer.type == "HardSwish":
            source = found[layer.inputs[0]]
            expected = source * np.clip(source / 6 + 0.5, 0, 1)
            np.testing.assert_allclose(found[layer.outputs[0]], expected, atol=1e-5)
    only = run_all(PARAM, BIN, {"in0": image}, only=["out0"])
    assert list(only) == ["out0"]
    np.testing.assert_array_equal(only["out0"], found["out0"])
    half = run_all(PARAM, BIN, {"in0": image}, only=["out0"], precision="bf16")
    assert 0 < np.abs(half["out0"] - only["out0"]).max() < 0.5


def test_several_inputs_in_one_process() -> None:
    """Each has its blobs or its own error, whatever the others do."""
    image = np.random.default_rng(1).random((3, 48, 96), np.float32)
    wide, wrong, narrow = run_each(PARAM, BIN, [{"in0": image}, {"in0": image[:2]}, {"in0": image[:, :, :64]}])
    assert isinstance(wide, dict) and isinstance(wrong, ModelFileError) and isinstance(narrow, dict)
    for found, width in ((wide, 96), (narrow, 64)):
        alone = run_all(PARAM, BIN, {"in0": image[:, :, :width]}, only=["out0"])["out0"]
        np.testing.assert_array_equal(found["out0"], alone)


def test_a_crash_on_one_input_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(1).random((3, 48, 96), np.float32)
    """What ended the process that ran all is found by running each alone."""

    def crash(function: Any, job: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        if any(one["in0"].shape[2] == 64 for one in inputs):
            raise ConvertError("crashed (SIGSEGV)")
        return call(function, job, inputs, *args, **options)

    monkeypatch.setattr(child, "call", crash)
    found = run_each(PARAM, BIN, [{"in0": image}, {"in0": image[:, :, :64]}], only=["out0"])
    assert isinstance(found[0], dict)
    assert isinstance(found[1], ConvertError)


def test_times_of_all_layers() -> None:
    """Every layer but the input has one, and their sum is about the time of the whole."""
    image = np.random.default_rng(1).random((3, 48, 96), np.float32)
    times = layer_times(PARAM, BIN, {"in0": image}, repeat=3)
    assert list(times) == [layer.name for layer in param_module.read(PARAM).layers if layer.type != "Input"]
    assert all(
        0 <= seconds < 1 and bits in {16, 32} and packing in {1, 4, 8, 16} for seconds, bits, packing in times.values()
    )
    assert sum(seconds for seconds, _, _ in times.values()) > 1e-5


def test_inputs_that_do_not_fit() -> None:
    """A name that is none, none at all, a batch axis, nothing in it."""
    image = np.zeros((3, 48, 96), np.float32)
    for inputs, message in (
        ({"data": image}, "no blob data; its inputs are in0"),
        ({}, "needs an array for its input in0"),
        ({"in0": image[None, None]}, "one to four axes"),
        ({"in0": image[:0]}, "one to four axes"),
    ):
        with pytest.raises(ModelFileError, match=message):
            run_all(PARAM, BIN, inputs)
    with pytest.raises(ModelFileError, match="no blob nowhere; its outputs are out0"):
        run_all(PARAM, BIN, {"in0": image}, only=["nowhere"])
    with pytest.raises(OptionError, match="precision"):
        run_all(PARAM, BIN, {"in0": image}, precision="fp8")  # type: ignore[arg-type]


def test_shapes_that_a_layer_cannot_take() -> None:
    """Five channels where three are wanted; ncnn itself would go on and compute with what lies behind the weights."""
    with pytest.raises(ModelFileError, match=r"input in0 \(5, 48, 96\): layer .* takes 3 channels, not 5"):
        run_all(PARAM, BIN, {"in0": np.zeros((5, 48, 96), np.float32)}, only=["out0"])


def test_a_blob_that_no_memory_holds(tmp_path: Path) -> None:
    """Refused before ncnn asks for the memory."""
    path = tmp_path / "net.param"
    path.write_text("7767517\n2 2\nInput in0 0 1 in0\nInterp i 1 1 in0 out0 0=1 1=100000.0 2=100000.0\n")
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelFileError, match="blob out0 would have the shape"):
        run_all(path, path.with_suffix(".bin"), {"in0": np.zeros((3, 4, 4), np.float32)})


def test_layers_that_ncnn_does_not_have() -> None:
    """A stranger, an operator of PyTorch, and one that ncnn knows by name and was built without."""
    text = "7767517\n4 4\nInput a 0 1 a\nFoo f 1 1 a b\naten::foo g 1 1 b c\nArgMax h 1 1 c d\n"
    param = param_module.parse(text)
    assert [layer.name for layer in unknown_layers(param)] == ["f", "g", "h"]
    with pytest.raises(UnsupportedError, match=r"has no layer Foo \(layer f, and 2 more layers\)"):
        check_layers(param)
    with pytest.raises(UnsupportedError, match="PyTorch that pnnx did not translate"):
        check_layers(param_module.parse("7767517\n2 2\nInput a 0 1 a\naten::foo g 1 1 a c\n"))


def test_a_network_that_ncnn_refuses(tmp_path: Path) -> None:
    """ncnn's own last words are in the message."""
    path = tmp_path / "old.param"
    path.write_text("7767517\n2 2\nInput a 0 1 a\nSoftmax s 1 1 a b 0=1\n")
    with pytest.raises(ModelFileError, match=r"try liteocr-model upgrade.*layer load_param 1 s failed"):
        check_loads(path)


def test_exit_codes() -> None:
    """Each error has its own; what a missing package is called."""
    with pytest.raises(MissingExtraError, match=r"no_such_package is needed .*liteocr\[convert\]") as caught:
        errors_module.extra("no_such_package.part")
    codes = {
        caught.value: ModelExitCode.PACKAGE,
        ModelFileError("x"): ModelExitCode.FILE,
        UnsupportedError("x"): ModelExitCode.UNSUPPORTED,
        errors_module.NotEqualError("x"): ModelExitCode.NOT_EQUAL,
        OptionError("x"): ModelExitCode.USAGE,
        ConvertError("x"): ModelExitCode.FAILURE,
        InferenceError("x"): ModelExitCode.FAILURE,
    }
    assert {error: errors_module.exit_code(error) for error in codes} == codes
