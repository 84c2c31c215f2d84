"""Reading and writing .param and .bin files: exact, and clear about what is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteocr import weights as shipped
from liteocr.convert import ModelFileError
from liteocr.convert import param as param_module
from liteocr.convert.param import Layer, Param
from liteocr.convert.weights import Array, array_sizes, check_bin, read_bin, write_bin

NETWORKS = sorted(shipped.default_directory().glob("*.param"))
TEXT = """7767517
3 3
Input            in0   0 1 in0
Convolution      conv  1 1 in0 1 0=2 1=3 4=1 5=1 6=18 9=2 -23310=1,1.000000e-01
Softmax          soft  1 1 1 out0 0=0 1=1 7="a b" 8=1.5,2.5
"""


def layer(line: str) -> Layer:
    """One layer of a network that has an input before it."""
    words = line.split()
    inputs = words[4 : 4 + int(words[2])]
    sources = [f"Input {name} 0 1 {name}" for name in inputs]
    lines = [*sources, line]
    return param_module.parse("\n".join(["7767517", f"{len(lines)} 99", *lines])).layers[-1]


def test_a_file_is_read() -> None:
    """Types, names, blobs, and every kind of value."""
    param = param_module.parse(TEXT)
    conv, soft = param.layers[1:]
    assert (conv.type, conv.name, conv.inputs, conv.outputs) == ("Convolution", "conv", ("in0",), ("1",))
    assert conv.params == {0: 2, 1: 3, 4: 1, 5: 1, 6: 18, 9: 2, 10: (np.float32(0.1),)}
    assert soft.params == {0: 0, 1: 1, 7: "a b", 8: (1.5, 2.5)}
    assert param.blobs() == ("in0", "1", "out0")
    assert (param.inputs(), param.outputs()) == (("in0",), ("out0",))
    assert param.producer("out0") is soft


def test_values_as_ncnn_reads_them() -> None:
    """An integer where a float is wanted counts; a float where an integer is wanted does not."""
    one = layer("X x 1 1 a b 0=2 1=2.5 -23302=2,3,4")
    assert (one.integer(0), one.integer(1, 7), one.integer(9, 5)) == (2, 7, 5)
    assert (one.number(0), one.number(1), one.number(2, 0.5)) == (2.0, 2.5, 0.5)
    assert (one.array(2), one.array(0)) == ((3, 4), ())


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_round_trip_of_the_shipped_networks(path: Path, tmp_path: Path) -> None:
    """Written and read again, structure and weights are the same; the .bin to the byte."""
    param = param_module.read(path)
    assert param_module.parse(param.text()) == param
    binary = path.with_suffix(".bin")
    weights = read_bin(param, binary)
    write_bin(param, weights, tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == binary.read_bytes()
    assert check_bin(param, binary) == {
        name: tuple((len(array.values), array.storage) for array in arrays) for name, arrays in weights.items()
    }


words = st.text("abcxyz012_./-", min_size=1, max_size=8)
scalars = st.integers(-(2**31), 2**31 - 1) | st.floats(width=32, allow_nan=False, allow_infinity=False)
arrays = st.lists(st.integers(-99, 99), max_size=4) | st.lists(st.floats(-1e9, 1e9, width=32), max_size=4)


@given(st.dictionaries(st.integers(0, 31), scalars | arrays.map(tuple), max_size=6), words, words)
def test_round_trip_of_any_values(params: dict[int, object], kind: str, name: str) -> None:
    """Every value that ncnn can hold comes back, floats to the last bit."""
    param = Param((Layer("Input", "in0", (), ("in0",), {}), Layer(kind, name, ("in0",), ("out0",), params)))
    assert param_module.parse(param.text()) == param


def test_numbers_beyond_float32() -> None:
    """Infinity and what rounds to it become the largest float32, which is all that ncnn's text can say."""
    one = layer("Clip c 1 1 a b 0=-1e60 1=1e60")
    assert one.number(1) == float(np.finfo(np.float32).max) == -one.number(0)
    written = Layer("Clip", "c", ("a",), ("b",), {0: -math.inf, 1: math.inf})
    assert layer(written.line()).params == one.params


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line is not 7767517"),
        ("\x00\x01", "its first line is not 7767517"),
        ("7767517\n", "line 2"),
        ("7767517\nfoo bar\n", "line 2"),
        ("7767517\n2 2\n", "there are none"),
        ("7767517\n2 2\nInput in0 0 1 in0\n", "promises 2 layers, and there are 1: the file is truncated"),
        ("7767517\n1 2\nInput a 0 1 a\nReLU r 1 1 a b\n", "ncnn would leave out the last"),
        ("7767517\n2 1\nInput a 0 1 a\nReLU r 1 1 a b\n", "promises 1 blobs, and there are 2"),
        ("7767517\n1 1\nInput in0\n", "line 3: a layer's type"),
        ("7767517\n1 1\nInput in0 zero 1 in0\n", "no numbers of inputs"),
        ("7767517\n1 1\nInput in0 0 -1 in0\n", "no numbers of inputs"),
        ("7767517\n1 1\nInput in0 0 9 in0\n", "9 blobs are announced, and 1 words follow"),
        ("7767517\n1 1\nInput in0 0 1 0=3\n", "stands where a blob's name is expected"),
        ("7767517\n1 1\nInput in0 0 1 in0 foo\n", "'foo' is no parameter"),
        ("7767517\n1 1\nInput in0 0 1 in0 0=\n", "'' is no number"),
        ("7767517\n1 1\nInput in0 0 1 in0 0=nan.\n", None),
        ("7767517\n1 1\nInput in0 0 1 in0 0=1.2.3\n", "'1.2.3' is no number"),
        ("7767517\n1 1\nInput in0 0 1 in0 0=9999999999\n", "does not fit into 32 bits"),
        ("7767517\n1 1\nInput in0 0 1 in0 32=1\n", "there is no key 32"),
        ("7767517\n1 1\nInput in0 0 1 in0 -23300=3,1,2\n", "has not the length that it begins with"),
        ("7767517\n2 2\nInput a 0 1 a\nReLU r 1 1 a a\n", "blob 'a' is made twice"),
        ("7767517\n2 3\nReLU r 1 1 b c\nReLU s 1 1 a b\n", "blob 'b' is made after it is taken"),
        ("7767517\n1 2\nSlice s 0 2 a a\n", "blob 'a' is made twice"),
    ],
)
def test_what_is_no_network_is_named(text: str, message: str | None) -> None:
    """The message says which line and what is wrong with it."""
    if message is None:  # letters are a text to ncnn
        assert param_module.parse(text).layers[0].params == {0: "nan."}
        return
    with pytest.raises(ModelFileError, match="(?s)" + message.replace("(", r"\(")):
        param_module.parse(text)


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    """Whatever the bytes, a network or a ModelFileError."""
    text = data.decode("latin-1")
    for candidate in (text, "7767517\n1 1\n" + text):
        try:
            param_module.parse(candidate)
        except ModelFileError as error:
            assert "line" in str(error) or "truncated" in str(error)


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file, a folder, and a binary one."""
    with pytest.raises(ModelFileError, match="cannot be read"):
        param_module.read(tmp_path / "none.param")
    with pytest.raises(ModelFileError, match="cannot be read"):
        param_module.read(tmp_path)
    (tmp_path / "x.param").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelFileError, match="is no text"):
        param_module.read(tmp_path / "x.param")


# .bin -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sizes"),
    [
        ("Convolution c 1 1 a b 0=4 1=3 5=1 6=36", [(36, True), (4, False)]),
        ("Convolution c 1 1 a b 0=4 1=3 5=0 6=36 8=1", [(36, True), (4, False), (1, False)]),
        ("Convolution c 1 1 a b 0=4 1=3 5=0 6=36 8=102", [(36, True), (4, False), (1, False), (1, False)]),
        ("Convolution c 2 1 a w b 0=4 1=3 6=36 19=1", []),
        ("ConvolutionDepthWise c 1 1 a b 0=4 1=3 5=1 6=36 7=4 8=1", [(36, True), (4, False), (4, False), (1, False)]),
        ("ConvolutionDepthWise c 1 1 a b 0=4 1=3 6=36 7=2 8=2", [(36, True), (1, False), (1, False)]),
        ("Deconvolution c 1 1 a b 0=4 1=3 5=1 6=36", [(36, True), (4, False)]),
        ("InnerProduct c 1 1 a b 0=4 1=1 2=12 8=1", [(12, True), (4, False), (4, False), (1, False)]),
        ("BatchNorm c 1 1 a b 0=5", [(5, False)] * 4),
        ("Scale c 1 1 a b 0=5 1=1", [(5, False)] * 2),
        ("Scale c 2 1 a s b 0=-233", []),
        ("PReLU c 1 1 a b 0=1", [(1, False)]),
        ("LSTM c 1 1 a b 0=2 1=48 2=2", [(48, True), (16, True), (32, True)]),
        ("LSTM c 1 1 a b 0=2 1=48 3=3", [(48, True), (12, True), (24, True), (6, True)]),
        ("GRU c 1 1 a b 0=2 1=18", [(18, True), (8, True), (12, True)]),
        ("RNN c 1 1 a b 0=2 1=6", [(6, True), (2, True), (4, True)]),
        ("Gemm c 1 1 a b 3=1 5=1 6=1 8=4 9=3 10=4", [(12, True), (4, True)]),
        ("MemoryData c 0 1 b 0=3 1=2", [(6, False)]),
        ("MemoryData c 0 1 b 0=3 21=0", [(3, True)]),
        ("LayerNorm c 1 1 a b 0=6", [(6, False)] * 2),
        ("LayerNorm c 1 1 a b 0=6 2=0", []),
        ("MultiHeadAttention c 1 1 a b 0=4 2=16", [(16, True), (4, False)] * 4),
        ("Embed c 1 1 a b 0=4 1=9 2=1 3=36", [(36, True), (4, False)]),
        ("ReLU c 1 1 a b", []),
    ],
)
def test_how_many_weights_a_layer_has(line: str, sizes: list[tuple[int, bool]]) -> None:
    """Counts from the parameters, one array after the other, with or without a tag before."""
    assert array_sizes(layer(line)) == sizes


def test_every_way_to_store_an_array(tmp_path: Path) -> None:
    """float32, float16, bfloat16, int8, the untagged ones, and a table with indexes."""
    lines = "\n".join(f"MemoryData m{i} 0 1 b{i} 0=3 21=0" for i in range(6)) + "\nMemoryData m6 0 1 b6 0=3"
    param = param_module.parse(f"7767517\n7 7\n{lines}\n")
    values = np.array([1, -2, 0.5], np.float32)
    table = np.linspace(-1, 1, 256, dtype=np.float32)
    parts = [
        bytes(4) + values.tobytes(),
        b"\x47\x6b\x30\x01" + values.astype(np.float16).tobytes() + bytes(2),
        b"\x83\x8b\x34\x01" + (values.view(np.uint32) >> 16).astype(np.uint16).tobytes() + bytes(2),
        b"\x38\x4b\x0d\x00" + np.array([1, -2, 127], np.int8).tobytes() + bytes(1),
        b"\x56\xc0\x02\x00" + values.tobytes(),
        b"\x01\x00\x00\x00" + table.tobytes() + bytes([0, 255, 3, 0]),
        values.tobytes(),
    ]
    (tmp_path / "net.bin").write_bytes(b"".join(parts))
    found = [arrays[0] for arrays in read_bin(param, tmp_path / "net.bin").values()]
    assert [array.storage for array in found] == ["fp32", "fp16", "bf16", "int8", "raw", "table", "bare"]
    for i in (0, 1, 2, 4, 6):
        np.testing.assert_array_equal(found[i].values, values)
    np.testing.assert_array_equal(found[3].values, [1, -2, 127])
    np.testing.assert_array_equal(found[5].values, table[[0, 255, 3]])
    write_bin(param, {f"m{i}": (array,) for i, array in enumerate(found)}, tmp_path / "again.bin")
    again = (tmp_path / "again.bin").read_bytes()
    assert again == b"".join([*parts[:5], bytes(4) + table[[0, 255, 3]].tobytes(), parts[6]])


def test_bfloat16_is_rounded_to_even(tmp_path: Path) -> None:
    """1 + 2^-8 lies between two bfloat16 numbers and goes to the even one, 1; 1 + 3 * 2^-8 goes up."""
    param = param_module.parse("7767517\n1 1\nMemoryData m 0 1 b 0=2 21=0\n")
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)
    write_bin(param, {"m": (Array(values, "bf16"),)}, tmp_path / "net.bin")
    np.testing.assert_array_equal(read_bin(param, tmp_path / "net.bin")["m"][0].values, [1, 1 + 2**-6])


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 1000, -1])
def test_a_truncated_bin(cut: int, tmp_path: Path) -> None:
    """The message names the layer in which the file ends."""
    path = NETWORKS[0]
    (tmp_path / "net.bin").write_bytes(path.with_suffix(".bin").read_bytes()[:cut])
    with pytest.raises(ModelFileError, match=r"ends in the weights of layer \w+"):
        check_bin(param_module.read(path), tmp_path / "net.bin")


def test_a_bin_that_does_not_belong(tmp_path: Path) -> None:
    """Another network's, one with a tail, and none."""
    param = param_module.read(NETWORKS[0])
    for other in NETWORKS[1:]:
        with pytest.raises(ModelFileError, match="belong"):
            check_bin(param, other.with_suffix(".bin"))
    (tmp_path / "long.bin").write_bytes(NETWORKS[0].with_suffix(".bin").read_bytes() + b"tail")
    with pytest.raises(ModelFileError, match="does not belong"):
        check_bin(param, tmp_path / "long.bin")
    with pytest.raises(ModelFileError, match="cannot be read"):
        check_bin(param, tmp_path / "none.bin")


def test_contradicting_sizes() -> None:
    """Parameters that promise no or absurdly many weights are refused before anything is allocated."""
    for line in (
        "InnerProduct c 1 1 a b 0=4 2=-3",
        "InnerProduct c 1 1 a b 0=4",
        "LSTM c 1 1 a b 0=100000 1=2147483647",
    ):
        with pytest.raises(ModelFileError, match="cannot have"):
            array_sizes(layer(line))


def test_weights_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    """The layer and both counts are named."""
    param = param_module.parse("7767517\n1 1\nMemoryData m 0 1 b 0=2\n")
    with pytest.raises(ModelFileError, match=r"takes arrays of \[2\] elements, not \[3\]"):
        write_bin(param, {"m": (Array(np.zeros(3, np.float32), "bare"),)}, tmp_path / "net.bin")
