"""Rewriting ONNX graphs: every pattern is found, and the graph computes what it did before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from liteocr.convert import UnsupportedError
from liteocr.convert.onnxrun import infer
from liteocr.convert.rewrite import Rewritten, rewrite

Nodes = Sequence[tuple[Any, ...]]
RNG = np.random.default_rng(0)
FIRST, SECOND, THIRD = (
    RNG.normal(0, 4, shape).astype(np.float32) for shape in ((1, 3, 8, 12), (1, 3, 16, 20), (1, 3, 24, 8))
)


def model(nodes: Nodes, constants: dict[str, Any] | None = None, opset: int = 13, output: str = "y") -> Any:
    """A model from `(operator, inputs, output, attributes)`; input x (1, 3, H, W), output y."""
    made = [
        helper.make_node(kind, inputs.split(" "), [out], name=f"{kind}_{n}", **(rest[0] if rest else {}))
        for n, (kind, inputs, out, *rest) in enumerate(nodes)
    ]
    arrays = {k: np.asarray(v) for k, v in (constants or {}).items()}
    arrays = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def rewritten(made: Any, *, first: np.ndarray = FIRST, second: np.ndarray | None = SECOND, **options: Any) -> Rewritten:
    return rewrite(made, {"x": first}, None if second is None else {"x": second}, **options)


def same(made: Any, done: Rewritten, *inputs: np.ndarray) -> None:
    """Both compute the same."""
    for array in inputs or (FIRST, SECOND, THIRD):
        before, after = (infer(m, {"x": array}, ["y"])["y"] for m in (made, done.model))
        assert before.shape == after.shape
        assert after == pytest.approx(before, abs=1e-4)


def kinds(done: Rewritten) -> dict[str, int]:
    return dict(Counter(node.op_type for node in done.model.graph.node))


RELU6 = {
    "clip of relu": [("Relu", "x", "a"), ("Min", "a six", "y")],
    "min of max": [("Max", "x zero", "a"), ("Min", "six a", "y")],
    "two clips": [("Clip", "x zero", "a"), ("Clip", "a  six", "y")],
    "max of min": [("Min", "x six", "a"), ("Max", "a zero", "y")],
    "relu and what is left of it": [
        ("Relu", "x", "a"),
        ("Neg", "a", "b"),
        ("Max", "b minus_six", "c"),
        ("Neg", "c", "y"),
    ],
}
NUMBERS = {"zero": 0.0, "six": 6.0, "minus_six": -6.0, "three": 3.0, "sixth": 1 / 6, "half": 0.5, "one": 1.0}


@pytest.mark.parametrize("nodes", RELU6.values(), ids=RELU6)
def test_relu6_is_one_clip(nodes: Nodes) -> None:
    made = model(nodes, NUMBERS)
    done = rewritten(made)
    assert kinds(done) == {"Clip": 1}
    same(made, done)


HARD_SIGMOID = {
    "relu6 of x + 3, over 6": [("Add", "x three", "a"), ("Clip", "a zero six", "b"), ("Div", "b six", "y")],
    "times a sixth": [("Add", "three x", "a"), ("Clip", "a zero six", "b"), ("Mul", "sixth b", "y")],
    "clamp of x / 6 + 1/2": [("Div", "x six", "a"), ("Add", "a half", "b"), ("Clip", "b zero one", "y")],
    "1 - clamp of the rest": [
        ("Mul", "x sixth", "a"), ("Sub", "half a", "b"), ("Clip", "b zero one", "c"), ("Sub", "one c", "y")
    ],
}  # fmt: skip


@pytest.mark.parametrize("nodes", HARD_SIGMOID.values(), ids=HARD_SIGMOID)
def test_hard_sigmoid_is_one_node(nodes: Nodes) -> None:
    made = model(nodes, NUMBERS)
    done = rewritten(made)
    assert kinds(done) == {"HardSigmoid": 1}
    same(made, done)


HARD_SWISH = {
    "paddle: x * relu6(x + 3) / 6": [
        ("Add", "x three", "a"), ("Clip", "a zero six", "b"), ("Mul", "x b", "c"), ("Div", "c six", "y")
    ],
    "the scale in front": [
        ("Mul", "x sixth", "s"), ("Add", "x three", "a"), ("Clip", "a zero six", "b"), ("Mul", "b s", "y")
    ],
    "a hard sigmoid": [("HardSigmoid", "x", "a", {"alpha": 1 / 6, "beta": 0.5}), ("Mul", "a x", "y")],
    "another slope": [("Mul", "x half", "a"), ("Add", "a half", "b"), ("Clip", "b zero one", "c"), ("Mul", "x c", "y")],
    "the gate divided": [
        ("Add", "three x", "a"), ("Max", "a zero", "b"), ("Min", "b six", "c"), ("Div", "c six", "d"),
        ("Mul", "x d", "y"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("nodes", HARD_SWISH.values(), ids=HARD_SWISH)
def test_hard_swish_is_what_pnnx_knows(nodes: Nodes) -> None:
    made = model(nodes, NUMBERS)
    done = rewritten(made)
    assert kinds(done) == {"HardSigmoid": 1, "Mul": 1}
    same(made, done)


def test_what_only_looks_like_an_activation_is_left() -> None:
    constants = {**NUMBERS, "other": RNG.normal(size=(3, 1, 1)).astype(np.float32)}
    cases: list[list[tuple[str, ...]]] = [
        [("Add", "x other", "a"), ("Clip", "a zero six", "b"), ("Div", "b three", "y")],  # a shift of each channel
        [("Add", "x three", "a"), ("Clip", "a zero six", "b"), ("Mul", "x b", "c"), ("Div", "c three", "y")],
        [  # the product is not of x itself
            ("Sigmoid", "x", "s"), ("Add", "x three", "a"), ("Clip", "a zero six", "b"), ("Mul", "s b", "c"),
            ("Div", "c six", "y"),
        ],
    ]  # fmt: skip
    for nodes in cases:
        made = model(nodes, constants)
        done = rewritten(made)
        assert kinds(done).get("HardSigmoid", 0) <= 1
        same(made, done)


def test_a_tensor_that_others_read_too_stays() -> None:
    made = model(
        [
            ("Add", "x three", "a"),
            ("Clip", "a zero six", "b"),
            ("Div", "b six", "c"),
            ("Mul", "x c", "d"),
            ("Add", "d b", "y"),
        ],
        NUMBERS,
    )
    same(made, rewritten(made))


# Sizes ----------------------------------------------------------------------------------------------------------------

SIZE_OF_X = [  # what exporters write for F.interpolate(z, size=x.shape[2:])
    ("MaxPool", "x", "z", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Shape", "x", "s"),
    ("Gather", "s two", "h"),
    ("Gather", "s three_i", "w"),
    ("Shape", "z", "zs"),
    ("Slice", "zs begin end", "nc"),
    ("Unsqueeze", "h begin", "h1"),
    ("Unsqueeze", "w begin", "w1"),
    ("Concat", "h1 w1", "hw", {"axis": 0}),
    ("Cast", "hw", "hwi", {"to": TensorProto.INT64}),
    ("Concat", "nc hwi", "sizes", {"axis": 0}),
]
INDEXES = {"two": np.int64(2), "three_i": np.int64(3), "begin": np.array([0]), "end": np.array([2])}
HALF_PIXEL = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}


def scales(done: Rewritten) -> list[float]:
    (node,) = (n for n in done.model.graph.node if n.op_type == "Resize")
    (found,) = (numpy_helper.to_array(t) for t in done.model.graph.initializer if t.name == node.input[2])
    return [float(v) for v in found]


def test_the_debris_of_interpolate_becomes_scales() -> None:
    made = model([*SIZE_OF_X, ("Resize", "z   sizes", "y", HALF_PIXEL)], INDEXES)
    done = rewritten(made)
    assert kinds(done) == {"MaxPool": 1, "Resize": 1}
    assert scales(done) == [1, 1, 2, 2]
    assert not done.thawed
    same(made, done)


def test_frozen_sizes_become_scales() -> None:
    nodes = [SIZE_OF_X[0], ("Resize", "z   sizes", "u", HALF_PIXEL), ("Add", "x u", "y")]
    made = model(nodes, {"sizes": np.array([1, 3, 8, 12])})
    done = rewritten(made)
    assert scales(done) == [1, 1, 2, 2]
    assert done.thawed
    same(made, done, FIRST)
    assert infer(done.model, {"x": THIRD}, ["y"])["y"].shape == THIRD.shape
    assert infer(done.model, {"x": THIRD}, ["y"])["y"] == pytest.approx(
        infer(done.reference, {"x": THIRD}, ["y"])["y"], abs=1e-5
    )


def test_frozen_sizes_are_kept_when_asked_or_when_they_are_no_multiple() -> None:
    asked = model([("Resize", "x   sizes", "y", HALF_PIXEL)], {"sizes": np.array([1, 3, 16, 24])})
    done = rewritten(asked, keep_sizes=True)
    assert infer(done.model, {"x": THIRD}, ["y"])["y"].shape == (1, 3, 16, 24)
    same(asked, done)
    odd = model([("Resize", "x   sizes", "y", HALF_PIXEL)], {"sizes": np.array([1, 3, 11, 13])})
    done = rewritten(odd)
    assert "stays fixed" in done.notes[0]
    same(odd, done)


def test_the_size_of_the_export_must_be_known_to_thaw() -> None:
    made = model([("Resize", "x   sizes", "y", HALF_PIXEL)], {"sizes": np.array([1, 3, 16, 24])})
    with pytest.raises(UnsupportedError, match=r"Resize_0.*--shape"):
        rewritten(made, exported=False)


def test_a_frozen_view_follows_its_input() -> None:
    made = model([("Reshape", "x shape", "y")], {"shape": np.array([1, 3, 96])})
    done = rewritten(made)
    assert infer(done.model, {"x": THIRD}, ["y"])["y"].shape == (1, 3, 24 * 8)
    assert done.changes[0].rule == "frozen size"


def test_a_computed_view_becomes_a_constant_one() -> None:
    nodes = [
        ("Shape", "x", "s"),
        ("Slice", "s begin end", "nc"),
        ("Concat", "nc rest", "t", {"axis": 0}),
        ("Reshape", "x t", "y"),
    ]
    made = model(nodes, {**INDEXES, "rest": np.array([-1])})
    done = rewritten(made)
    assert kinds(done) == {"Reshape": 1}
    same(made, done)


def test_what_cannot_be_freed_is_refused_by_name() -> None:
    made = model([("Add", "x grid", "y")], {"grid": np.zeros((1, 1, 8, 12), np.float32)})
    with pytest.raises(UnsupportedError, match=r"operator Add, node Add_0.*--fixed"):
        rewritten(made)
    same(made, rewritten(made, second=None), FIRST)


def test_fixed_sizes_need_no_second_shape() -> None:
    made = model([*SIZE_OF_X, ("Resize", "z   sizes", "y", HALF_PIXEL)], INDEXES)
    same(made, rewritten(made, second=None), FIRST)


# Resize ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
def test_every_rounding_of_whole_scales_is_kept_exactly(coordinates: str, rounding: str) -> None:
    how = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    made = model([("Resize", "x  scales", "y", how)], {"scales": np.array([1, 1, 4, 2], np.float32)})
    done = rewritten(made)
    same(made, done)
    (resize,) = (n for n in done.model.graph.node if n.op_type == "Resize")
    modes = {a.name: a.s.decode() for a in resize.attribute}
    assert modes == {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, "align_corners=True or False"),
        ({"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}, "tf_crop_and_resize"),
        ({"mode": "cubic", "cubic_coeff_a": -0.5}, "cubic_coeff_a"),
        ({"mode": "cubic", "exclude_outside": 1}, "exclude_outside"),
        ({"mode": "linear", "antialias": 1}, "antialias"),
    ],
)
def test_what_ncnn_would_compute_differently_is_refused(how: dict[str, Any], reason: str) -> None:
    constants = {"scales": np.array([1, 1, 2, 2], np.float32), "roi": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)}
    made = model([("Resize", "x roi scales", "y", how)], constants, opset=18)
    with pytest.raises(UnsupportedError, match=f"node Resize_0.*{reason}"):
        rewritten(made)


def test_scaling_channels_is_refused() -> None:
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    made = model([("Resize", "x  scales", "y", how)], {"scales": np.array([1, 2, 2, 2], np.float32)})
    with pytest.raises(UnsupportedError, match="channels"):
        rewritten(made)


def test_a_size_that_is_no_constant_multiple_is_refused() -> None:
    first, second = (RNG.normal(size=(1, 3, *size)).astype(np.float32) for size in ((9, 9), (12, 12)))
    made = model([*SIZE_OF_X, ("Resize", "z   sizes", "y", HALF_PIXEL)], INDEXES)
    with pytest.raises(UnsupportedError, match="no constant multiple"):
        rewritten(made, first=first, second=second)


def test_an_old_upsample_becomes_a_resize() -> None:
    made = model(
        [("Upsample", "x scales", "y", {"mode": "nearest"})], {"scales": np.array([1, 1, 2, 2], np.float32)}, opset=9
    )
    done = rewritten(made)
    assert kinds(done) == {"Resize": 1}
    same(made, done)


# Others ---------------------------------------------------------------------------------------------------------------


def test_a_slice_along_a_free_axis_is_cropping() -> None:
    constants = {"s": np.array([1, 0]), "e": np.array([2**31 - 1, -2]), "a": np.array([2, 3])}
    made = model([("Slice", "x s e a", "y")], constants)
    done = rewritten(made)
    assert kinds(done) == {"Pad": 1}
    same(made, done)


def test_a_slice_with_steps_is_pooling_of_single_pixels() -> None:
    constants = {
        "s": np.array([1, 0, 1]),
        "e": np.array([2**31 - 1, 2**31 - 1, 3]),
        "a": np.array([2, 3, 1]),
        "t": np.array([2, 3, 1]),
    }
    made = model([("Slice", "x s e a t", "y")], constants)
    done = rewritten(made)
    assert kinds(done) == {"Slice": 1, "Pad": 1, "MaxPool": 1}
    same(made, done)


def test_tile_is_concatenation() -> None:
    made = model([("Tile", "x n", "y")], {"n": np.array([1, 1, 2, 3])})
    done = rewritten(made)
    assert kinds(done) == {"Concat": 2}
    same(made, done)


def branch(kind: str) -> Any:
    """The body of an If that reads x."""
    return helper.make_graph(
        [helper.make_node(kind, ["x"], ["t"])], kind, [], [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)]
    )


def test_the_branch_that_is_taken_replaces_an_if() -> None:
    nodes = [
        ("Shape", "x", "s"), ("Gather", "s one", "c"), ("Equal", "c three", "q"),
        ("If", "q", "y", {"then_branch": branch("Relu"), "else_branch": branch("Neg")}),
    ]  # fmt: skip
    made = model(nodes, {"one": np.int64(1), "three": np.int64(3)})
    done = rewritten(made)
    assert "If" not in kinds(done)
    same(made, done)


def test_an_if_about_the_picture_is_refused() -> None:
    nodes = [
        ("ReduceMean", "x", "m", {"keepdims": 0}), ("Greater", "m zero", "q"),
        ("If", "q", "y", {"then_branch": branch("Relu"), "else_branch": branch("Neg")}),
    ]  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"operator If, node If_2.*trace"):
        rewritten(model(nodes, NUMBERS))


@pytest.mark.parametrize(
    ("node", "advice"),
    [
        (("NonZero", "x", "y"), "end the model before it"),
        (("RandomNormalLike", "x", "y"), r"model.eval\(\)"),
        (("DynamicQuantizeLinear", "x", "y"), "float model"),
    ],
)
def test_operators_without_a_place_in_ncnn_are_refused_with_advice(node: Any, advice: str) -> None:
    with pytest.raises(UnsupportedError, match=f"operator {node[0]}, node {node[0]}_0.*{advice}"):
        rewritten(model([node]))


def test_operators_of_a_runtime_are_refused() -> None:
    made = model([("Relu", "x", "y")])
    made.graph.node[0].op_type, made.graph.node[0].domain = "FusedConv", "com.microsoft"
    with pytest.raises(UnsupportedError, match=r"com.microsoft.FusedConv, node Relu_0"):
        rewritten(made)


def test_a_gru_that_ncnn_computes_otherwise_is_refused() -> None:
    constants = {
        "w": np.ones((1, 6, 3), np.float32), "r": np.ones((1, 6, 2), np.float32), "b": np.array([1]),
    }  # fmt: skip
    nodes = [
        ("ReduceMean", "x", "m", {"axes": [2], "keepdims": 0}), ("Transpose", "m", "t", {"perm": [2, 0, 1]}),
        ("GRU", "t w r", "g", {"hidden_size": 2}), ("Squeeze", "g b", "y"),
    ]  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"operator GRU, node GRU_2.*linear_before_reset"):
        rewritten(model(nodes, constants))


def test_integer_inputs_are_refused() -> None:
    made = model([("Cast", "x", "y", {"to": TensorProto.FLOAT})])
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(UnsupportedError, match="input x is UINT8"):
        rewrite(made, {"x": FIRST.astype(np.uint8)}, None)
