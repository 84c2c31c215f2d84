"""The ncnn wrapper: what pyncnn answers with a return code or a crash is an error here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import liteocr
from liteocr.net import Net, to_mat
from liteocr.weights import Input, load

# y = 2 * x, on an input of any shape
DOUBLE = "7767517\n2 2\nInput in0 0 1 in0\nBinaryOp twice 1 1 in0 out0 0=2 1=1 2=2.0\n"


@pytest.fixture
def double(tmp_path: Path) -> Net:
    return Net(*files(tmp_path, DOUBLE))


def files(folder: Path, param: str) -> tuple[Path, Path]:
    (folder / "double.ncnn.param").write_text(param, encoding="utf-8")
    (folder / "double.ncnn.bin").write_bytes(b"")
    return folder / "double.ncnn.param", folder / "double.ncnn.bin"


def test_any_shape_and_layout_comes_back_right(double: Net) -> None:
    rng = np.random.default_rng(1)
    for shape in [(3, 5, 7), (1, 1, 1), (2, 33, 1), (4, 9)]:
        x = rng.random(shape, np.float32)
        np.testing.assert_allclose(double.run(x), 2 * x, rtol=1e-6)
    x = rng.random((8, 10, 3), np.float32)
    np.testing.assert_allclose(double.run(x.transpose(2, 0, 1)), 2 * x.transpose(2, 0, 1), rtol=1e-6)
    np.testing.assert_allclose(double.run(x[::2, ::-1]), 2 * x[::2, ::-1], rtol=1e-6)
    np.testing.assert_allclose(double.run(x.astype(np.float64)), 2 * x, rtol=1e-6)  # type: ignore[arg-type]


def test_results_outlive_the_run(double: Net) -> None:
    kept = [double.run(np.full((1, 64, 64), i, np.float32)) for i in range(20)]
    assert [float(k.min()) for k in kept] == [float(k.max()) for k in kept] == [2.0 * i for i in range(20)]


@pytest.mark.parametrize("shape", [(0, 4, 4), (3,), (1, 3, 4, 4), ()])
def test_arrays_that_ncnn_cannot_take_are_refused(double: Net, shape: tuple[int, ...]) -> None:
    with pytest.raises(liteocr.InferenceError, match="non-empty array"):
        double.run(np.zeros(shape, np.float32))


def test_unknown_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(liteocr.WeightsError, match="refuses"):
        Net(*files(tmp_path, DOUBLE.replace("BinaryOp", "Resize")))


@pytest.mark.parametrize("blobs", [{"input": "x"}, {"output": "y"}])
def test_unknown_blobs_are_refused(tmp_path: Path, blobs: dict[str, str]) -> None:
    with pytest.raises(liteocr.WeightsError, match="has no blob"):
        Net(*files(tmp_path, DOUBLE), **blobs)  # type: ignore[arg-type]


def test_a_network_that_fails_while_it_runs_is_an_error(tmp_path: Path) -> None:
    # crops more than there is
    net = Net(*files(tmp_path, "7767517\n2 2\nInput in0 0 1 in0\nCrop cut 1 1 in0 out0 0=50 1=50 3=9 4=9\n"))
    with pytest.raises(liteocr.InferenceError, match="failed on an input"):
        net.run(np.zeros((1, 4, 4), np.float32))


def test_results_that_are_no_numbers_are_an_error(double: Net) -> None:
    with pytest.raises(liteocr.InferenceError, match="no numbers"):
        double.run(np.full((1, 2, 2), np.nan, np.float32))
    with pytest.raises(liteocr.InferenceError, match="no numbers"):
        double.run(np.array([[1.0, 3e38]], np.float32))


@pytest.mark.parametrize("options", [{"threads": 0}, {"precision": "double"}])
def test_options_are_checked(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(liteocr.OptionError):
        Net(*files(tmp_path, DOUBLE), **options)  # type: ignore[arg-type]


@given(st.sampled_from(["BGR", "RGB"]), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_pixels_follow_the_channel_order(channels: str, b: int, g: int, r: int) -> None:
    spec = Input(channels, 1 / 255, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0), None, 32)
    out = np.array(to_mat(np.full((2, 3, 3), (b, g, r), np.uint8), spec))
    order = (b, g, r) if channels == "BGR" else (r, g, b)
    expected = [(v / 255 - m) / s for v, m, s in zip(order, spec.mean, spec.std, strict=True)]
    np.testing.assert_allclose(out, np.broadcast_to(np.array(expected)[:, None, None], (3, 2, 3)), atol=1e-5)


def test_pixels_may_come_in_strides() -> None:
    spec = load().detector.input
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for view in (image[::2, 3:-4], image[:, ::-1], image.transpose(1, 0, 2)):
        expected = np.ascontiguousarray(view).transpose(2, 0, 1) * np.float32(spec.scale)
        np.testing.assert_allclose(np.array(to_mat(view, spec)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 5, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_what_is_no_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(liteocr.InferenceError, match="picture"):
        to_mat(image, load().detector.input)


def test_the_recogniser_does_not_add_in_half_precision() -> None:
    def options(net: Net) -> tuple[bool, bool, bool]:
        opt = net._net.opt  # keeps the network, but not its memory pool: not to be kept
        return opt.use_fp16_storage, opt.use_fp16_arithmetic, opt.use_bf16_storage

    weights = load()
    for spec in (weights.detector, weights.angle, weights.recognizer):
        fp16 = spec.name != "recognizer"
        assert options(Net.from_spec(spec, precision="fp16")) == (fp16, fp16, False)
        assert options(Net.from_spec(spec, precision="bf16")) == (False, False, True)
        assert options(Net.from_spec(spec, precision="fp32")) == (False, False, False)
        assert options(Net.from_spec(spec, precision="auto")) == (False, False, False)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "auto"])
def test_every_precision_loads_and_runs(precision: str) -> None:
    spec = load().angle
    net = Net.from_spec(spec, precision=precision)  # type: ignore[arg-type]
    grey = np.full((48, 96, 3), 200, np.uint8)
    out = net.run_image(grey, spec.input).reshape(-1)
    full = Net.from_spec(spec, precision="fp32").run_image(grey, spec.input)
    np.testing.assert_allclose(out, full.reshape(-1), atol=0.1)
