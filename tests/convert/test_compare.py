"""One network twice, written by hand as ONNX and as ncnn from the same weights; every planted error must be found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from liteocr import OptionError
from liteocr.convert import ModelFileError, UnsupportedError, child, cli
from liteocr.convert.compare import Comparison, compare
from liteocr.convert.html import report
from liteocr.convert.param import Layer, Param
from liteocr.convert.reference import Picture, picture_input
from liteocr.convert.weights import Array, write_bin

PICTURE = Path(__file__).resolve().parents[1] / "data" / "digits.png"
SHAPE = (1, 3, 24, 32)
MEAN = 0.25


class Twin:
    """A convolution with batch norm and ReLU6, a depthwise one with hard-swish, a squeeze-and-excite block, a residual
    connection, a resize with aligned corners, a head of pixels, and a head of lines with its axes permuted.
    """

    def __init__(self) -> None:
        random = np.random.default_rng(7)

        def normal(*shape: int, by: float = 1.0) -> np.ndarray:
            return (random.normal(0, by, shape)).astype(np.float32)

        self.conv, self.gamma, self.beta = normal(8, 3, 3, 3, by=0.4), np.full(8, 3, np.float32), normal(8)
        self.mean, self.var = normal(8, by=0.1), np.full(8, 0.5, np.float32)
        self.wise, self.wise_bias = normal(8, 1, 3, 3, by=0.3), normal(8)
        # Two channels live behind the ReLU and two are dead.
        sign = np.array([1, -1, 1, -1], np.float32)
        self.squeeze, self.squeeze_bias = np.abs(normal(4, 8, 1, 1, by=0.5)) * sign[:, None, None, None], 0.1 * sign
        self.excite, self.excite_bias = normal(8, 4, 1, 1, by=0.5), normal(8)
        self.head, self.head_bias = normal(2, 8, 1, 1, by=0.3), normal(2)
        self.line, self.line_bias = normal(8, 5, by=0.3), normal(5)

    def onnx(self) -> onnx.ModelProto:
        """As an exporter writes it: nothing fused, hard-swish in two operators, shapes with a batch axis."""
        weights = {
            "offset": np.float32(MEAN),
            "conv.w": self.conv,
            "bn.g": self.gamma,
            "bn.b": self.beta,
            "bn.m": self.mean,
            "bn.v": self.var,
            "zero": np.float32(0),
            "six": np.float32(6),
            "wise.w": self.wise,
            "wise.b": self.wise_bias,
            "squeeze.w": self.squeeze,
            "squeeze.b": self.squeeze_bias,
            "excite.w": self.excite,
            "excite.b": self.excite_bias,
            "scales": np.array([1, 1, 2, 2], np.float32),
            "head.w": self.head,
            "head.b": self.head_bias.reshape(1, 2, 1, 1),
            "line.w": self.line,
            "line.b": self.line_bias,
            "flat": np.array([1, -1, 8], np.int64),
        }
        node = helper.make_node
        nodes = [
            node("Sub", ["x", "offset"], ["centred"], "sub"),
            node("Conv", ["centred", "conv.w"], ["conv"], "conv", strides=[2, 2], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["conv", "bn.g", "bn.b", "bn.m", "bn.v"], ["bn"], "bn", epsilon=0.0),
            node("Clip", ["bn", "zero", "six"], ["relu6"], "relu6"),
            node("Conv", ["relu6", "wise.w", "wise.b"], ["wise"], "wise", group=8, pads=[1, 1, 1, 1]),
            node("HardSigmoid", ["wise"], ["gate"], "gate", alpha=1 / 6, beta=0.5),
            node("Mul", ["wise", "gate"], ["swish"], "swish"),
            node("GlobalAveragePool", ["swish"], ["pool"], "pool"),
            node("Conv", ["pool", "squeeze.w", "squeeze.b"], ["squeeze"], "squeeze"),
            node("Relu", ["squeeze"], ["squeezed"], "squeezed"),
            node("Conv", ["squeezed", "excite.w", "excite.b"], ["excite"], "excite"),
            node("HardSigmoid", ["excite"], ["weight"], "weight", alpha=0.2, beta=0.5),
            node("Mul", ["swish", "weight"], ["weighted"], "weighted"),
            node("Add", ["weighted", "relu6"], ["sum"], "sum"),
            node(
                "Resize",
                ["sum", "", "scales"],
                ["large"],
                "large",
                mode="linear",
                coordinate_transformation_mode="align_corners",
            ),
            node("Conv", ["large", "head.w"], ["head"], "head"),
            node("Add", ["head", "head.b"], ["head.sum"], "head.add"),
            node("Sigmoid", ["head.sum"], ["map"], "sigmoid"),
            node("Transpose", ["sum"], ["permuted"], "permuted", perm=[0, 2, 3, 1]),
            node("Reshape", ["permuted", "flat"], ["rows"], "rows"),
            node("MatMul", ["rows", "line.w"], ["product"], "product"),
            node("Add", ["product", "line.b"], ["line"], "line"),
            node("Softmax", ["line"], ["classes"], "softmax", axis=2),
        ]
        sizes = ["batch", 3, "height", "width"]
        graph = helper.make_graph(
            nodes,
            "twin",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("map", "classes")],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def ncnn(self) -> Ncnn:
        """As a converter writes it: batch norm folded, activations fused, other names, no batch axis."""
        factor = self.gamma / np.sqrt(self.var)
        stem = {0: 8, 1: 3, 3: 2, 4: 1, 5: 1, 6: 216, 9: 3, 10: (0.0, 6.0)}
        wise = {0: 8, 1: 3, 4: 1, 5: 1, 6: 72, 7: 8}
        rows = [
            ("Input", "in0", "", "in0", {}),
            ("BinaryOp", "sub_0", "in0", "1", {0: 1, 1: 1, 2: MEAN}),
            ("Convolution", "convclip_0", "1", "2", stem),
            ("Split", "split_0", "2", "3 4", {}),
            ("ConvolutionDepthWise", "convdw_0", "3", "5", wise),
            ("HardSwish", "hswish_0", "5", "6", {0: 1 / 6, 1: 0.5}),
            ("Split", "split_1", "6", "7 8", {}),
            ("Pooling", "gap_0", "7", "9", {0: 1, 4: 1}),
            ("InnerProduct", "fcrelu_0", "9", "10", {0: 4, 1: 1, 2: 32, 9: 1}),
            ("InnerProduct", "fc_0", "10", "11", {0: 8, 1: 1, 2: 32}),
            ("HardSigmoid", "hsigmoid_0", "11", "12", {0: 0.2, 1: 0.5}),
            ("BinaryOp", "mul_0", "8 12", "13", {0: 2}),
            ("BinaryOp", "add_0", "13 4", "14", {0: 0}),
            ("Split", "split_2", "14", "15 16", {}),
            ("Interp", "interp_0", "15", "17", {0: 2, 1: 2.0, 2: 2.0, 6: 1}),
            ("Convolution", "conv_0", "17", "18", {0: 2, 1: 1, 5: 1, 6: 16}),
            ("Sigmoid", "sigmoid_0", "18", "out0", {}),
            ("Reshape", "reshape_0", "16", "19", {0: -1, 1: 8}),
            ("Permute", "permute_0", "19", "20", {0: 1}),
            ("InnerProduct", "fc_1", "20", "21", {0: 5, 1: 1, 2: 40}),
            ("Softmax", "softmax_0", "21", "out1", {0: 1, 1: 1}),
        ]
        layers = [Layer(kind, name, tuple(i.split()), tuple(o.split()), params) for kind, name, i, o, params in rows]
        weights = {
            "convclip_0": (self.conv * factor[:, None, None, None], self.beta - self.mean * factor),
            "convdw_0": (self.wise, self.wise_bias),
            "fcrelu_0": (self.squeeze, self.squeeze_bias),
            "fc_0": (self.excite, self.excite_bias),
            "conv_0": (self.head, self.head_bias),
            "fc_1": (self.line.T, self.line_bias),
        }
        return Ncnn({layer.name: layer for layer in layers}, {k: [a.ravel() for a in v] for k, v in weights.items()})


class Ncnn:
    """An ncnn network that tests change before they write it."""

    def __init__(self, layers: dict[str, Layer], weights: dict[str, list[np.ndarray]]) -> None:
        self.layers = layers
        self.weights = weights

    def set(self, name: str, **params: object) -> None:
        """Change parameters of a layer: ``set("interp_0", _6=0)``; None leaves one out."""
        changed = {**self.layers[name].params, **{int(key[1:]): value for key, value in params.items()}}
        kept = {key: value for key, value in changed.items() if value is not None}
        self.layers[name] = replace(self.layers[name], params=kept)

    def drop(self, name: str) -> None:
        """Take out a layer with one input and one output."""
        gone = self.layers.pop(name)
        for key, layer in self.layers.items():
            inputs = tuple(gone.inputs[0] if blob == gone.outputs[0] else blob for blob in layer.inputs)
            self.layers[key] = replace(layer, inputs=inputs)

    def write(self, folder: Path, storage: str = "fp32") -> Path:
        """Write net.param and net.bin; returns the path of the first."""
        param = Param(tuple(self.layers.values()))
        stored = {}
        for name, (weight, *bias) in self.weights.items():
            values = weight.astype(np.float32)
            if storage == "fp16":
                values = np.where(np.abs(values) < 2**-14, 0, values.astype(np.float16)).astype(np.float32)
            arrays = [Array(values, storage), *(Array(b.astype(np.float32), "bare") for b in bias)]
            stored[name] = tuple(arrays)
        (folder / "net.param").write_text(param.text(), encoding="utf-8")
        write_bin(param, stored, folder / "net.bin")
        return folder / "net.param"


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs everything in the test's own process, which is faster; the files are known to be whole."""
    monkeypatch.setattr(child, "call", lambda function, *arguments, timeout, what: function(*arguments))


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return Twin().onnx()


@pytest.fixture
def net() -> Ncnn:
    return Twin().ncnn()


def run(model: onnx.ModelProto, net: Ncnn, folder: Path, storage: str = "fp32", **options: object) -> Comparison:
    options = {"shape": SHAPE, "precisions": ("fp32",), "maps": 0, **options}
    return compare(model, net.write(folder, storage), **options)


# Right networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_right_networks_are_equal_at_every_precision(
    model: onnx.ModelProto, net: Ncnn, tmp_path: Path, storage: str
) -> None:
    result = run(model, net, tmp_path, storage, precisions=("fp32", "fp16", "bf16"))
    assert result.equal, result.text()
    assert result.first_divergence is None
    assert result.rounded == (storage == "fp16")
    assert result.outputs == ("out0", "out1")
    assert result.intermediates == ()


@pytest.mark.usefixtures("inside")
def test_every_blob_is_paired_with_its_own_tensor(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    result = run(model, net, tmp_path)
    assert {pair.layer: pair.tensor for pair in result.pairs} == {
        "sub_0": "centred",
        "convclip_0": "relu6",
        "convdw_0": "wise",
        "hswish_0": "swish",
        "gap_0": "pool",
        "fcrelu_0": "squeezed",
        "fc_0": "excite",
        "hsigmoid_0": "weight",
        "mul_0": "weighted",
        "add_0": "sum",
        "interp_0": "large",
        "conv_0": "head.sum",
        "sigmoid_0": "map",
        "reshape_0": "permuted",  # whose axes lie otherwise in it
        "permute_0": "permuted",
        "fc_1": "line",
        "softmax_0": "classes",
    }
    covers = {pair.layer: pair.covers for pair in result.pairs}
    assert covers["convclip_0"] == ("Conv", "BatchNormalization", "Clip")
    assert covers["hswish_0"] == ("HardSigmoid", "Mul")
    assert covers["fc_1"] == ("MatMul", "Add")


@pytest.mark.usefixtures("inside")
def test_rounded_weights_make_differences_that_are_explained(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    own = [p.errors["fp32"] for p in run(model, net, tmp_path, "fp16").pairs if p.layer in net.weights]
    assert all(errors.excess < 0.8 for errors in own)
    assert max(errors.own.relative for errors in own if errors.own) > 1e-4  # more than the tolerance of fp32


@pytest.mark.usefixtures("inside")
def test_weights_that_half_precision_makes_zero_are_no_error_but_told(tmp_path: Path) -> None:
    twin = Twin()
    twin.head *= 2e-4  # its values are about 2**-14, below which float16 as ncnn writes it has nothing
    result = run(twin.onnx(), twin.ncnn(), tmp_path, "fp16")
    assert result.first_divergence is None, result.text()
    assert list(result.lost) == ["conv_0"]
    assert "of the weights of conv_0, which are too small for it" in result.text()
    assert run(twin.onnx(), twin.ncnn(), tmp_path).lost == {}


# Planted errors -------------------------------------------------------------------------------------------------------


def change_weight(net: Ncnn, layer: str, by: float) -> None:
    weight = net.weights[layer][0] = net.weights[layer][0].copy()
    weight[len(weight) // 2] += by


def no_bias(net: Ncnn, layer: str) -> None:
    net.weights[layer][1] = np.zeros_like(net.weights[layer][1])


def other_type(net: Ncnn, layer: str, kind: str) -> None:
    net.layers[layer] = replace(net.layers[layer], type=kind, params={})


PLANTED: dict[str, tuple[str, Callable[[Ncnn], None]]] = {
    "corners that are not aligned": ("interp_0", lambda net: net.set("interp_0", _6=0)),
    "nearest for bilinear": ("interp_0", lambda net: net.set("interp_0", _0=1)),
    "ReLU for ReLU6": ("convclip_0", lambda net: net.set("convclip_0", _9=1, _10=None)),
    "no activation": ("convclip_0", lambda net: net.set("convclip_0", _9=0, _10=None)),
    "one weight of a convolution": ("convclip_0", lambda net: change_weight(net, "convclip_0", 0.5)),
    "one weight of a depthwise convolution": ("convdw_0", lambda net: change_weight(net, "convdw_0", 0.1)),
    "one weight of a small layer": ("fc_0", lambda net: change_weight(net, "fc_0", 0.05)),
    "one weight of the last layer but one": ("fc_1", lambda net: change_weight(net, "fc_1", 0.02)),
    "no bias": ("convdw_0", lambda net: no_bias(net, "convdw_0")),
    "no bias that was an Add": ("conv_0", lambda net: no_bias(net, "conv_0")),
    "a mean left in": ("convclip_0", lambda net: net.drop("sub_0")),
    "another mean": ("sub_0", lambda net: net.set("sub_0", _2=0.3)),
    "swish for hard-swish": ("hswish_0", lambda net: other_type(net, "hswish_0", "Swish")),
    "another slope": ("hsigmoid_0", lambda net: net.set("hsigmoid_0", _0=1 / 6)),
    "largest for average": ("gap_0", lambda net: net.set("gap_0", _0=0)),
    "difference for sum": ("add_0", lambda net: net.set("add_0", _0=1)),
    "a missing activation": ("fcrelu_0", lambda net: net.set("fcrelu_0", _9=0)),
    "tanh for sigmoid": ("sigmoid_0", lambda net: other_type(net, "sigmoid_0", "TanH")),
    "the other axis": ("softmax_0", lambda net: net.set("softmax_0", _0=0)),
    "no padding": ("convdw_0", lambda net: net.set("convdw_0", _4=0)),
    "another size": ("interp_0", lambda net: net.set("interp_0", _1=3.0, _2=3.0)),
}


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("storage", ["fp32", "fp16"])
@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_found_at_its_layer(
    model: onnx.ModelProto, net: Ncnn, tmp_path: Path, error: str, storage: str
) -> None:
    layer, plant = PLANTED[error]
    plant(net)
    result = run(model, net, tmp_path, storage)
    assert not result.equal
    assert result.first_divergence is not None
    assert result.first_divergence.layer == layer, result.text()
    if error != "no padding":  # its sizes go on, and some readers cannot run on them
        assert [pair.layer for pair in result.diverging("fp32")] == [layer], result.text()


@pytest.mark.usefixtures("inside")
def test_an_error_in_a_dead_branch_is_not_seen_but_warned_of(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in changed.graph.initializer}
    weights["squeeze.b"].CopyFrom(numpy_helper.from_array(np.full(4, -100, np.float32), "squeeze.b"))
    net.weights["fcrelu_0"][1] = np.full(4, -100, np.float32)
    change_weight(net, "fc_0", 1.0)
    result = run(changed, net, tmp_path)
    assert result.equal
    assert result.flat == ("fcrelu_0",)
    assert "fcrelu_0 gives the same value everywhere" in result.text()


@pytest.mark.usefixtures("inside")
def test_an_error_does_not_hide_the_next(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    net.set("convclip_0", _9=1, _10=None)
    other_type(net, "hswish_0", "Swish")
    net.set("interp_0", _6=0)
    result = run(model, net, tmp_path)
    assert [pair.layer for pair in result.diverging("fp32")] == ["convclip_0", "hswish_0", "interp_0"]
    text = result.text()
    assert "NOT EQUAL: 3 layers diverge, the first is convclip_0" in text
    assert "is relu6 1 x 8 x 12 x 16 of relu6 (Clip), covers Conv + BatchNormalization + Clip" in text


@pytest.mark.usefixtures("inside")
def test_a_layer_that_should_not_be_there_is_found(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    layers = {}
    for name, layer in net.layers.items():
        if name == "interp_0":
            layers["extra"] = Layer("BinaryOp", "extra", ("15",), ("15b",), {0: 2, 1: 1, 2: 1.5})
        layers[name] = replace(layer, inputs=("15b",)) if name == "interp_0" else layer
    net.layers = layers
    result = run(model, net, tmp_path)
    assert [pair.layer for pair in result.diverging("fp32")] == ["extra"]


@pytest.mark.usefixtures("inside")
def test_a_missing_last_layer_is_told(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    net.layers.pop("sigmoid_0")
    net.layers["conv_0"] = replace(net.layers["conv_0"], outputs=("out0",))
    result = run(model, net, tmp_path)
    assert result.first_divergence is not None
    assert (result.first_divergence.layer, result.first_divergence.tensor) == ("conv_0", "map")


@pytest.mark.usefixtures("inside")
def test_fewer_outputs_than_the_model_are_not_equal(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    for name in ("softmax_0", "fc_1", "permute_0", "reshape_0", "split_2"):
        net.layers.pop(name)
    net.layers["interp_0"] = replace(net.layers["interp_0"], inputs=("14",))
    net.weights.pop("fc_1")
    result = run(model, net, tmp_path)
    assert result.first_divergence is None
    assert not result.equal
    assert "nothing in the network is classes" in result.text()


def test_a_network_that_ncnn_cannot_run_is_told_where(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    net.set("mul_0", _0=2)
    net.layers["mul_0"] = replace(net.layers["mul_0"], inputs=("8", "9b"))
    layers = dict(net.layers)
    net.layers = {}
    for name, layer in layers.items():
        net.layers[name] = layer
        if name == "hsigmoid_0":
            net.layers["bad"] = Layer("Reshape", "bad", ("12",), ("9b",), {0: 4, 1: 2})
    result = run(model, net, tmp_path)
    assert not result.equal
    assert result.failed == ("mul_0",)


# Inputs ---------------------------------------------------------------------------------------------------------------


def test_pictures_become_inputs() -> None:
    how = Picture(scale=1.0, mean=(1.0, 2.0, 3.0), std=(2.0,), rgb=True)
    image = np.zeros((32, 64, 3), np.uint8)
    image[...] = (10, 20, 30)
    found = picture_input(image, (1, 3, 16, None), how)
    assert (found.shape, found.dtype) == ((1, 3, 16, 64), np.float32)
    assert found[0, :, 0, 0].tolist() == [14.5, 9.0, 3.5]
    assert picture_input(image, (1, 1, None, None)).shape == (1, 1, 32, 64)
    with pytest.raises(ModelFileError, match="no picture"):
        picture_input(image, (1, 80, 6625))
    with pytest.raises(OptionError, match="std is not 0"):
        picture_input(image, (1, 3, 8, 8), Picture(std=(0.0,)))


@pytest.mark.usefixtures("inside")
def test_inputs_by_array_name_and_file(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", x=array)
    for given in (array, [array], {"x": array}, tmp_path / "x.npy", str(tmp_path / "x.npz"), {"x": tmp_path / "x.npy"}):
        result = run(model, net, tmp_path, inputs=given, shape=None)
        assert result.equal
        assert result.inputs["x"].endswith("1 x 3 x 24 x 32")
    result = run(model, net, tmp_path, inputs=PICTURE, picture=Picture(mean=(0.5,)))
    assert result.equal
    assert result.inputs == {"x": "digits.png, 1 x 3 x 24 x 32"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": np.zeros((1, 4, 24, 32), np.float32)}, "the model takes"),
        ({"inputs": np.zeros((2, 3, 24, 32), np.float32)}, "a batch of one"),
        ({"inputs": np.zeros((3, 24, 32), np.float32)}, "the model takes"),
        ({"inputs": np.full(SHAPE, np.nan, np.float32)}, "no numbers"),
        ({"inputs": np.zeros((1, 3, 0, 32), np.float32)}, "empty"),
        ({"inputs": {"y": np.zeros(SHAPE, np.float32)}}, "inputs are x"),
        ({"inputs": [np.zeros(SHAPE, np.float32)] * 2}, "inputs are x"),
        ({"shape": (1, 1, 24, 32)}, "the model takes"),
    ],
)
def test_inputs_that_do_not_fit(
    model: onnx.ModelProto, net: Ncnn, tmp_path: Path, given: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        run(model, net, tmp_path, **given)


@pytest.mark.usefixtures("inside")
def test_two_inputs_and_a_shape_of_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["a", "b"], ["product"]), helper.make_node("Relu", ["product"], ["y"])]
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("a", [1, 4, 8, 8]), ("b", [1, 4, 1, 1]))
    ]
    graph = helper.make_graph(nodes, "two", infos, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rows = [
        Layer("Input", "in0", (), ("in0",), {}),
        Layer("Input", "in1", (), ("in1",), {}),
        Layer("BinaryOp", "mul", ("in0", "in1"), ("1",), {0: 2}),
        Layer("ReLU", "relu", ("1",), ("out0",), {}),
    ]
    net = Ncnn({row.name: row for row in rows}, {})
    assert run(model, net, tmp_path, shape=None).equal
    net.set("mul", _0=0)
    result = run(model, net, tmp_path, shape=None)
    assert result.first_divergence is not None
    assert result.first_divergence.layer == "mul"


# Bad files ------------------------------------------------------------------------------------------------------------


def test_files_that_do_not_belong_together(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    param = net.write(tmp_path)
    weights = param.with_suffix(".bin")
    whole = weights.read_bytes()
    for data in (whole[:-4], whole + bytes(4), b""):
        weights.write_bytes(data)
        with pytest.raises(ModelFileError):
            compare(model, param, shape=SHAPE)
    weights.unlink()
    with pytest.raises(ModelFileError):
        compare(model, param, shape=SHAPE)


def test_a_layer_that_ncnn_does_not_have(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    other_type(net, "hswish_0", "Fancy")
    with pytest.raises(UnsupportedError, match="hswish_0"):
        run(model, net, tmp_path)


def test_options_out_of_range(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    for options in (
        {"precisions": ()},
        {"precisions": ("fp64",)},
        {"layer_tolerances": {"fp32": -1.0}},
        {"output_tolerances": {"int4": 1.0}},
    ):
        with pytest.raises(OptionError):
            run(model, net, tmp_path, **options)
    with pytest.raises(OptionError, match="is no model"):
        compare(3, net.write(tmp_path))


# The command and the report -------------------------------------------------------------------------------------------


@pytest.fixture
def files(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> tuple[str, str]:
    onnx.save(model, tmp_path / "net.onnx")
    return str(tmp_path / "net.onnx"), str(net.write(tmp_path))


def test_the_command_says_equal(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *files, "--shape", "1,3,24,32", "--precision", "fp32,bf16"]) == 0
    out = capsys.readouterr().out
    assert "input x: noise (seed 0), 1 x 3 x 24 x 32" in out
    assert "fp32: equal" in out
    assert "bf16: equal" in out


def test_the_command_says_not_equal(
    files: tuple[str, str], net: Ncnn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net.set("interp_0", _6=0)
    net.write(tmp_path)
    page = tmp_path / "deep" / "report.html"
    arguments = ["compare", *files, "--input", str(PICTURE), "--shape", "1,3,24,32", "--json", "--html", str(page)]
    assert cli.main(arguments) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["equal"] is False
    assert told["first_divergence"] == "interp_0"
    assert told["precisions"]["fp16"]["first_divergence"] == "interp_0"
    text = page.read_text(encoding="utf-8")
    assert "First to diverge at fp32, fp16: interp_0" in text
    assert text.count("data:image/png;base64,") >= 3
    assert "<polyline" in text
    assert "http" not in text.replace("http-equiv", "")  # needs nothing from elsewhere
    loose = [
        f"--{which}={precision}=10" for which in ("tolerance", "output-tolerance") for precision in ("fp32", "fp16")
    ]
    assert cli.main([*arguments[:7], *loose, "--top", "0"]) == 0


@pytest.mark.usefixtures("inside")
def test_the_report_escapes_names(model: onnx.ModelProto, net: Ncnn, tmp_path: Path) -> None:
    result = replace(run(model, net, tmp_path), model="<script>alert(1)</script>.onnx")
    assert "<script>" not in report(result)


def test_a_missing_package(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert cli.main(["compare", *files]) == 6
    assert "pip install 'liteocr[convert]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("truncated model", 3),
        ("random model", 3),
        ("missing model", 3),
        ("random param", 3),
        ("random bin", 3),
        ("missing input", 3),
        ("input without numbers", 3),
        ("no picture", 3),
        ("shape", 2),
        ("tolerance", 2),
        ("top", 2),
        ("report over model", 2),
        ("report in a file", 5),
    ],
)
def test_bad_input_ends_with_its_code_and_without_a_report(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, code: int
) -> None:
    model, param = map(Path, files)
    page = tmp_path / "new" / "report.html"
    more = ["--html", str(page)]
    noise = np.random.default_rng(1).bytes(3000)
    match what:
        case "truncated model":
            model.write_bytes(model.read_bytes()[:2000])
        case "random model":
            model.write_bytes(noise)
        case "missing model":
            model.unlink()
        case "random param":
            param.write_bytes(noise)
        case "random bin":
            param.with_suffix(".bin").write_bytes(noise)
        case "missing input":
            more += ["--input", str(tmp_path / "none.npy")]
        case "input without numbers":
            np.save(tmp_path / "x.npy", np.array(["a"]))
            more += ["--input", str(tmp_path / "x.npy")]
        case "no picture":
            (tmp_path / "x.png").write_bytes(noise)
            more += ["--input", str(tmp_path / "x.png")]
        case "shape":
            more += ["--shape", "1,3,x"]
        case "tolerance":
            more += ["--tolerance", "fp31=1"]
        case "top":
            more += ["--top", "-1"]
        case "report over model":
            more = ["--html", str(model)]
        case "report in a file":
            more = ["--html", str(model / "report.html")]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    try:
        found = cli.main(["compare", str(model), str(param), *more])
    except SystemExit as error:
        found = int(error.code or 0)
    assert found == code, capsys.readouterr().err
    assert capsys.readouterr().err.strip()
    assert not page.parent.exists()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
