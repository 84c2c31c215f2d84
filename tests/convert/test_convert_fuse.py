"""Hard-swish goes into the convolution in front of it, and nothing else changes."""

from pathlib import Path

import numpy as np

from liteocr.convert.fuse import fuse_hard_swish
from liteocr.convert.param import parse
from liteocr.net import Net

NET = """7767517
9 11
Input in0 0 1 in0
Convolution first 1 1 in0 a 0=4 1=3 4=1 5=1 6=108
HardSwish act 1 1 a b 0=1.666667e-01 1=5.000000e-01
Split split 1 2 b c d
ConvolutionDepthWise second 1 1 c e 0=4 1=3 4=1 5=1 6=36 7=4
Split twice 1 2 e f g
HardSwish kept 1 1 f h 0=1.666667e-01 1=5.000000e-01
BinaryOp sum 2 1 h g i 0=0
BinaryOp out 2 1 i d out0 0=0
"""


def test_only_what_one_layer_uses_is_fused() -> None:
    fused = fuse_hard_swish(parse(NET))
    assert [layer.name for layer in fused.layers] == ["in0", "first", "split", "second", "twice", "kept", "sum", "out"]
    first = fused.layers[1]
    assert first.outputs == ("b",)
    assert first.integer(9) == 6
    np.testing.assert_allclose(first.array(10), (1 / 6, 0.5), atol=1e-6)
    assert parse(fused.text()) == fused


def test_ncnn_computes_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = b""
    for count, bias in ((108, 4), (36, 4)):
        weights += b"\0\0\0\0" + rng.normal(0, 1, count).astype("<f4").tobytes()
        weights += rng.normal(0, 1, bias).astype("<f4").tobytes()
    results = []
    image = rng.normal(0, 2, (3, 20, 24)).astype(np.float32)
    for name, param in (("plain", parse(NET)), ("fused", fuse_hard_swish(parse(NET)))):
        (tmp_path / f"{name}.param").write_text(param.text())
        (tmp_path / f"{name}.bin").write_bytes(weights)
        results.append(Net(tmp_path / f"{name}.param", tmp_path / f"{name}.bin").run(image))
    assert np.abs(results[0]).max() > 1
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
