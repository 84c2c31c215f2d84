"""The formulas of liteocr.convert.resize against onnxruntime and ncnn themselves."""

from __future__ import annotations

import ncnn
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from liteocr.convert.resize import Mode, difference, matrix, ncnn_mode, output_size, shift

SCALES = (2.0, 3.0, 4.0, 8.0, 1.5, 0.5, 0.25)
SIZES = (1, 2, 3, 5, 8, 13)
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
MODES = [
    *(Mode("nearest", c, r) for c in ("asymmetric", "half_pixel", "align_corners") for r in ROUNDINGS),
    *(
        Mode(mode, coordinates)
        for mode in ("linear", "cubic")
        for coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    ),
]


def onnx_matrix(size: int, scale: float, how: Mode) -> np.ndarray:
    """What onnxruntime computes along the width, measured with unit vectors."""
    attributes = {"mode": how.mode, "coordinate_transformation_mode": how.coordinates, "cubic_coeff_a": how.cubic}
    if how.mode == "nearest":
        attributes["nearest_mode"] = how.rounding
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, size, 4, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 1, 1, scale], np.float32), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    unit = np.eye(size, dtype=np.float32)[None, :, None, :].repeat(4, 2)
    (found,) = session.run(None, {"x": unit})
    return np.asarray(found)[0, :, 0, :].T


def ncnn_matrix(size: int, scale: float, how: Mode, tmp_path) -> np.ndarray:  # type: ignore[no-untyped-def]
    """What ncnn's Interp computes along the width."""
    kind = {"nearest": 1, "linear": 2, "cubic": 3}[how.mode]
    corners = int(how.coordinates == "align_corners")
    path = tmp_path / "net.param"
    path.write_text(f"7767517\n2 2\nInput in0 0 1 in0\nInterp r 1 1 in0 out0 0={kind} 1=1.0 2={scale} 6={corners}\n")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(path)) == 0
    (tmp_path / "net.bin").write_bytes(b"")
    net.load_model(str(tmp_path / "net.bin"))
    unit = np.ascontiguousarray(np.eye(size, dtype=np.float32)[:, None, :].repeat(4, 1))
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(unit).clone())
    code, out = extractor.extract("out0")
    assert code == 0
    return np.array(out)[:, 0, :].T


@pytest.mark.parametrize("how", MODES, ids=str)
def test_the_formulas_are_those_of_onnxruntime(how: Mode) -> None:
    for scale in SCALES:
        for size in SIZES:
            out = output_size(size, scale)
            # one output pixel: onnxruntime calls align_corners of one pixel by its own rule, which no network needs
            if out > 1:
                ours = matrix(size, out, scale, how)
                assert ours == pytest.approx(onnx_matrix(size, scale, how), abs=1e-5), (size, scale)


@pytest.mark.parametrize("how", [m for m in MODES if ncnn_mode(m) == m], ids=str)
def test_the_formulas_are_those_of_ncnn(how: Mode, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for scale in SCALES:
        for size in SIZES:
            out = output_size(size, scale)
            if out > 1:
                measured = ncnn_matrix(size, scale, how, tmp_path)
                assert measured == pytest.approx(matrix(size, out, scale, how), abs=1e-5), (size, scale)


def pairs(scale: float) -> list[tuple[int, int, float]]:
    return [(n, output_size(n, scale), scale) for n in range(1, 30) if output_size(n, scale) > 1]


def test_what_pytorch_exports_is_kept() -> None:
    for scale in SCALES:
        for how in (
            Mode("nearest", "asymmetric", "floor"),
            Mode("linear", "half_pixel"),
            Mode("linear", "pytorch_half_pixel"),
            Mode("linear", "align_corners"),
            Mode("cubic", "half_pixel"),
            Mode("cubic", "align_corners"),
        ):
            assert difference(how, pairs(scale)) is None


def test_rounding_of_doubled_pixels_makes_no_difference() -> None:
    how = Mode("nearest", "asymmetric", "round_prefer_floor")
    assert difference(how, pairs(2.0)) is None
    assert difference(how, pairs(4.0)) == (2, 8)


def test_what_ncnn_does_not_compute_is_told() -> None:
    assert difference(Mode("linear", "asymmetric"), pairs(2.0)) is not None
    assert difference(Mode("cubic", "half_pixel", cubic=-0.5), pairs(2.0)) is not None
    with pytest.raises(ValueError, match="tf_crop_and_resize"):
        difference(Mode("linear", "tf_crop_and_resize"), pairs(2.0))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
def test_a_shift_makes_every_rounding_exact(coordinates: str, rounding: str) -> None:
    how = Mode("nearest", coordinates, rounding)
    for scale in (2, 3, 4, 8):
        k = shift(how, scale)
        assert k is not None
        for size in (1, 4, 9):
            out = size * scale
            ours = matrix(size, out, scale, ncnn_mode(how))[np.clip(np.arange(out) + k, 0, out - 1)]
            assert np.array_equal(ours, matrix(size, out, scale, how))


def test_no_shift_where_there_is_none() -> None:
    assert shift(Mode("nearest", "align_corners", "round_prefer_floor"), 3.0) is None
    assert shift(Mode("nearest", "asymmetric", "ceil"), 1.5) is None
    assert shift(Mode("linear", "asymmetric"), 2.0) is None
