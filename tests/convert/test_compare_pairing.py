"""Pairing by hand: layouts, differences, dependencies, and networks whose layers are Python functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from liteocr.convert.layout import Difference, arrange, bare, difference, lay, span
from liteocr.convert.modelgraph import Graph, Node, Reference, family
from liteocr.convert.pairing import Alignment, Result, align, allowed, excess
from liteocr.convert.param import parse

X = np.array([[-4.0, -1.0, 0.5], [2.0, 5.0, 9.0]], np.float32)


# Numbers --------------------------------------------------------------------------------------------------------------


def test_difference_of_arrays_worked_by_hand() -> None:
    found = difference(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
    assert found == Difference(pytest.approx(24 / 25), 1.0, 0.25, (0,))
    assert difference(np.array([[1.0], [-3.0]]), np.array([[1.0], [-2.0]])) == Difference(
        pytest.approx(7 / np.sqrt(50)), 1.0, pytest.approx(1 / 3), (1, 0)
    )


def test_difference_of_zeros_of_nothing_and_of_what_is_no_number() -> None:
    zeros = np.zeros(3)
    assert difference(zeros, zeros) == Difference(1.0, 0.0, 0.0, (0,))
    assert difference(zeros, np.ones(3)).cosine == 0.0
    assert difference(np.zeros((0, 2)), np.zeros((0, 2))) == Difference(1.0, 0.0, 0.0)
    assert difference(np.array([1.0, np.nan]), np.ones(2)) == Difference(0.0, np.inf, np.inf, (1,))
    assert difference(np.array([1.0, np.inf]), np.array([1.0, np.inf])).max_abs == 0.0
    with pytest.raises(ValueError, match="arrays of"):
        difference(zeros, np.zeros(4))


def test_the_range_has_zero_in_it() -> None:
    assert [span(np.array(v)) for v in ([2.0, 3.0], [-1.0, 3.0], [-2.0, -1.0], [0.0], [])] == [3.0, 4.0, 2.0, 1.0, 1.0]


def test_what_is_allowed_is_the_tolerance_and_six_standard_deviations() -> None:
    reference = np.array([0.0, 10.0], np.float32)
    result = Result((reference,), np.array([0.0, 0.5], np.float32))
    limit = allowed(result, reference, 0.01)
    assert np.allclose(limit, [0.1, 3.1])
    assert excess(np.array([0.05, 11.55]), reference, limit) == pytest.approx(0.5)
    assert allowed(Result((reference,), slack=0.02), reference, 0.01) == pytest.approx(0.3)
    assert allowed(Result((reference,), least=100.0), reference, 0.01) == pytest.approx(1.0)
    assert excess(np.array([np.nan, 10.0]), reference, 0.1) == np.inf


# Layouts --------------------------------------------------------------------------------------------------------------


def test_a_batch_axis_and_axes_of_one_do_not_count() -> None:
    value = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)
    ways = list(arrange(value, (6,)))
    assert [axes for axes, _ in ways] == [None]
    assert ways[0][1].tolist() == [0, 1, 2, 3, 4, 5]


def test_axes_may_be_permuted_and_merged() -> None:
    value = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    ways = dict(arrange(value, (3, 4)))
    assert set(ways) == {None, (1, 0, 2), (1, 2, 0)}
    assert ways[1, 0, 2].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    for axes, laid in ways.items():
        assert np.array_equal(lay(value, axes, (3, 4)), laid)
    assert list(arrange(value, (5,))) == []


def test_ncnn_takes_arrays_without_a_batch_and_with_four_axes_at_most() -> None:
    assert bare(np.zeros((1, 3, 4, 5))).shape == (3, 4, 5)
    assert bare(np.zeros((1, 3, 1, 5)), 2).shape == (3, 5)
    assert bare(np.zeros((1, 2, 1, 3, 4, 5))).shape == (2, 3, 4, 5)
    assert bare(np.float32(3)).shape == (1,)


# Dependencies ---------------------------------------------------------------------------------------------------------


def test_families_of_both_sides() -> None:
    pairs = (("Conv", "ConvolutionDepthWise"), ("Gemm", "InnerProduct"), ("Resize", "Interp"), ("Relu", "ReLU"))
    assert all(family(a) == family(b) for a, b in pairs)
    assert family("aten::max_pool2d") == family("Pooling") == "pool"
    assert family("Unheard") == "other"


def test_paths_between_tensors() -> None:
    nodes = (
        Node("Relu", "", ("x",), ("a",)),
        Node("Conv", "", ("a", "w"), ("b",)),
        Node("Shape", "", ("b",), ("shape",)),
        Node("Add", "", ("b", "a"), ("c",)),
        Node("Neg", "", ("w",), ("constant",)),
    )
    values = dict.fromkeys(("x", "a", "b", "c", "constant"), X) | {"shape": np.array([2, 3])}
    graph = Graph(Reference(nodes, ("x",), ("c",), values))
    path = graph.path(frozenset({"a"}), "c")
    assert path is not None
    assert graph.operators(path) == ("Conv", "Add")
    assert graph.counted(path) == {"linear": 1}
    assert graph.operators(graph.path(frozenset({"a", "b"}), "c") or 0) == ("Add",)
    assert graph.path(frozenset({"b"}), "a") is None
    assert graph.path(frozenset({"a"}), "a") == 0
    assert "constant" not in graph.values
    assert "shape" not in graph.values


# Alignment ------------------------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "Clip": lambda x: np.clip(x, 0, 6),
    "HardSigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Mul": lambda x, y: x * y,
    "Exp": lambda x: np.exp(np.minimum(x, 80) / 4),
    "Double": lambda x: 2 * x,
    "Transpose": lambda x: np.ascontiguousarray(x.T),
    "Sin": np.sin,
}


def reference(*rows: str) -> Reference:
    """Nodes such as ``"ReLU x a"``: operator, inputs, output. The first tensor is the input, the last the output."""
    values = {"x": X[None]}
    nodes = []
    for row in rows:
        op, *inputs, output = row.split()
        values[output] = FUNCTIONS[op](*(values[name][0] for name in inputs))[None].astype(np.float32)
        nodes.append(Node(op, output, tuple(inputs), (output,)))
    return Reference(tuple(nodes), ("x",), (rows[-1].split()[-1],), values)


def pair(model: Reference, text: str, wrong: Sequence[str] = ()) -> Alignment:
    """Align a network whose layers are those of `FUNCTIONS`, some of them wrong."""

    def run(layer: object, values: Sequence[np.ndarray]) -> Result | None:
        kind, name = layer.type, layer.name  # type: ignore[attr-defined]
        if kind == "Split":
            return Result((values[0], values[0]))
        made = FUNCTIONS[kind](*values).astype(np.float32)
        return (
            Result((made + 0.5 * np.sin(np.arange(made.size, dtype=np.float32)).reshape(made.shape),))
            if (name in wrong)
            else Result((made,))
        )

    rows = [line for line in text.splitlines() if line.strip()]
    param = parse("\n".join(["7767517", f"{len(rows)} 99", *rows]))
    return align(model, param, run, {"in0": "x"})


def found(alignment: Alignment) -> dict[str, tuple[str, str]]:
    return {m.layer.name: (m.tensor, m.how) for m in alignment.matches.values() if m.how != "input"}


CHAIN = "Input i 0 1 in0\nDouble d 1 1 in0 1\nClip c 1 1 1 2\nExp e 1 1 2 out0"


def test_names_do_not_matter_values_do() -> None:
    alignment = pair(reference("Double x a", "Clip a b", "Exp b c"), CHAIN)
    assert found(alignment) == {"d": ("a", "value"), "c": ("b", "value"), "e": ("c", "value")}


def test_equal_names_are_told() -> None:
    text = CHAIN.replace(" 1 2", " 1 b").replace("1 1 2 out0", "1 1 b out0")
    assert found(pair(reference("Double x a", "Clip a b", "Exp b c"), text))["c"] == ("b", "name")


def test_a_wrong_layer_is_paired_by_what_comes_after_it() -> None:
    alignment = pair(reference("Double x a", "Clip a b", "Exp b c"), CHAIN, wrong=["c"])
    assert found(alignment) == {"d": ("a", "value"), "c": ("b", "order"), "e": ("c", "value")}


def test_a_wrong_last_layer_is_paired_as_the_output() -> None:
    alignment = pair(reference("Double x a", "Clip a b", "Exp b c"), CHAIN, wrong=["e"])
    assert found(alignment)["e"] == ("c", "output")


def test_what_the_model_has_in_one_operator_leaves_an_intermediate() -> None:
    text = (
        "Input i 0 1 in0\nDouble d 1 1 in0 1\nSplit s 1 2 1 2 3\nHardSigmoid h 1 1 2 4\nMul m 2 1 3 4 5\n"
        "Exp e 1 1 5 out0"
    )
    alignment = pair(reference("Double x a", "HardSwish a b", "Exp b c"), text)
    assert alignment.intermediates == ["4"]
    assert found(alignment)["m"] == ("b", "value")
    assert alignment.matches["5"].behind == ("h",)
    assert alignment.matches["5"].covers == ("HardSwish",)


def test_a_missing_operator_is_found_at_the_layer_before() -> None:
    text = "Input i 0 1 in0\nDouble d 1 1 in0 1\nExp e 1 1 1 2\nSin s 1 1 2 out0"
    alignment = pair(reference("Double x a", "Clip a b", "Exp b c", "Sin c d"), text)
    assert found(alignment) == {"d": ("b", "order"), "e": ("c", "value"), "s": ("d", "value")}


def test_transposed_layouts_are_the_same_tensor() -> None:
    text = "Input i 0 1 in0\nDouble d 1 1 in0 1\nTranspose t 1 1 1 2\nExp e 1 1 2 out0"
    alignment = pair(reference("Double x a", "Exp a b"), text)
    assert found(alignment)["t"] == ("a", "value")
    assert alignment.matches["2"].axes == (1, 0)
    assert alignment.matches["out0"].axes == (1, 0)
