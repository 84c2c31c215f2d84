"""The recogniser: a convolutional stage, a bidirectional LSTM, a class layer for CTC.

The convolutional stage and the class layer are those of PP-OCRv6 tiny (Apache-2.0), read from its ONNX file. The LSTM
is a branch beside the layer that feeds the class layer, and its output projection starts at zero, so that an
untrained network computes exactly what the file computes. Shi, Bai, Yao: "An End-to-End Trainable Neural Network for
Image-based Sequence Recognition" (2016) is the design; Graves et al.: "Connectionist Temporal Classification" (2006)
the loss.

Input: float32 (N, 3, 48, W), BGR, (pixel - 127.5) / 127.5, any W >= 8. Output: logits float32 (N, T, classes), T
about W / 8, class 0 the blank.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

HEIGHT = 48
STRIDE = 8
MIN_WIDTH = 8
CLASSES = 6906
HIDDEN = 96

# channels in, inside, out; vertical stride of the depthwise convolution; squeeze-and-excitation
_BLOCKS = (
    (48, 96, 48, 1, True),
    (48, 96, 48, 1, False),
    (48, 96, 96, 2, False),
    (96, 192, 96, 1, True),
    (96, 192, 96, 1, False),
    (96, 192, 160, 2, False),
    (160, 320, 160, 1, True),
    (160, 320, 160, 1, False),
    (160, 320, 160, 1, False),
)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate in [0, 1] computed from its mean over the whole line."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.adaptive_avg_pool2d(x, 1)
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(gate))))


class Block(nn.Module):
    """Depthwise 3x3 convolution, then two 1x1 convolutions; these are a residual where nothing changes shape."""

    def __init__(self, channels: int, inside: int, out: int, stride: int, gate: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, (stride, 1), 1, groups=channels)
        self.gate = SqueezeExcite(channels) if gate else nn.Identity()
        self.expand = nn.Conv2d(channels, inside, 1)
        self.project = nn.Conv2d(inside, out, 1)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        x = self.gate(self.depthwise(x))
        y = self.project(F.gelu(self.expand(x)))
        return x + y if self.residual else y


class CRNN(nn.Module):
    """See the module's docstring. `features` is everything in front of the recurrent layer."""

    def __init__(self, hidden: int = HIDDEN, classes: int = CLASSES) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, 2, 1)
        self.stem2 = nn.Conv2d(24, 48, 3, 2, 1)
        self.blocks = nn.Sequential(*(Block(*row) for row in _BLOCKS))
        self.mix = nn.Conv2d(160, 160, (1, 5), 1, (0, 2), groups=160)
        self.point = nn.Conv2d(160, 160, 1)
        self.narrow = nn.Linear(160, 80)
        self.lstm = nn.LSTM(160, hidden, batch_first=True, bidirectional=True)
        self.join = nn.Linear(2 * hidden, 80, bias=False)
        self.classes = nn.Linear(80, classes)
        nn.init.zeros_(self.join.weight)

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, 48, W) -> (N, T, 160)."""
        x = self.stem2(F.gelu(self.stem(x)))
        x = F.avg_pool2d(self.blocks(x), (3, 2))
        x = F.hardswish(self.mix(x))
        x = F.hardswish(self.point(x))
        return x.squeeze(2).transpose(1, 2)

    def head(self, x: Tensor) -> Tensor:
        """(N, T, 160) -> logits (N, T, classes)."""
        return self.classes(self.narrow(x) + self.join(self.lstm(x)[0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


Array = npt.NDArray[np.float32]


def _constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Every constant tensor of a graph by name."""
    found = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in graph.node:  # Paddle hides biases behind a reshape
        if node.op_type in ("Reshape", "Identity", "Unsqueeze") and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def onnx_convolutions(path: str | Path) -> Iterator[tuple[Array, Array]]:
    """Weight and bias of each convolution of an ONNX file, in graph order, with batch normalisation folded in.

    The fold is exact: a convolution followed by a per-channel scale and shift is a convolution. A bias kept in an `Add`
    behind the convolution is found too, and a squeezed axis between the two is looked through.
    """
    graph = onnx.load(str(path)).graph
    constants = _constants(graph)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    for node in graph.node:
        if node.op_type != "Conv":
            continue
        weight = constants[node.input[1]].astype(np.float64)
        bias = constants[node.input[2]].astype(np.float64) if len(node.input) > 2 else np.zeros(len(weight))
        after = readers[node.output[0]][0]
        while after.op_type in ("Squeeze", "Identity"):
            after = readers[after.output[0]][0]
        if after.op_type == "BatchNormalization":
            gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in after.input[1:5])
            epsilon = next(a.f for a in after.attribute if a.name == "epsilon")
            scale = gamma / np.sqrt(variance + epsilon)
            weight = weight * scale.reshape(-1, 1, 1, 1)
            bias = (bias - mean) * scale + beta
        elif after.op_type == "Add":
            shift = [constants[name] for name in after.input if name in constants]
            if shift and shift[0].size == len(weight):
                bias = bias + shift[0].reshape(-1)
        yield weight.astype(np.float32), bias.astype(np.float32)


def onnx_linears(path: str | Path) -> Iterator[tuple[Array, Array]]:
    """Weight (out, in) and bias of each matrix product with a constant, in graph order."""
    graph = onnx.load(str(path)).graph
    constants = _constants(graph)
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            add = next(n for n in graph.node if n.op_type == "Add" and node.output[0] in n.input)
            bias = next(constants[name] for name in add.input if name in constants)
            yield constants[node.input[1]].T.copy(), bias.reshape(-1)


def copy_(layer: nn.Conv2d | nn.Linear, weight: Array, bias: Array) -> None:
    """Copy arrays into a layer. ValueError where the shapes differ."""
    if layer.bias is None or layer.weight.shape != weight.shape or layer.bias.shape != bias.shape:
        raise ValueError(f"a layer of {tuple(layer.weight.shape)} cannot take weights of {weight.shape}")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        layer.bias.copy_(torch.from_numpy(bias.copy()))


def start(path: str | Path, hidden: int = HIDDEN) -> CRNN:
    """The untrained CRNN: everything but the LSTM from PP-OCRv6 tiny's `rec.onnx`."""
    net = CRNN(hidden)
    layers: list[nn.Conv2d] = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    for layer, (weight, bias) in zip(layers, onnx_convolutions(path), strict=True):
        copy_(layer, weight, bias)
    for linear, (weight, bias) in zip((net.narrow, net.classes), onnx_linears(path), strict=True):
        copy_(linear, weight, bias)
    return net.eval()


def read_dictionary(path: str | Path) -> list[str]:
    """Characters of classes 1, 2, ... from a file of one character a line; the space, which it leaves out, is last."""
    characters = Path(path).read_text(encoding="utf-8").split("\n")
    return [c for c in characters if c] + [" "]


def shipped(value: Tensor) -> Tensor:
    """Float16 as the ncnn file stores it: pnnx writes what is below float16's smallest normal number as zero."""
    half = value.half()
    return torch.where(half.abs() < torch.finfo(torch.float16).tiny, torch.zeros_like(half), half)


def save(net: CRNN, charset: list[str], path: str | Path) -> None:
    """Write a checkpoint: weights as they ship (`shipped`) and the character of each class but the blank."""
    if len(charset) + 1 != net.classes.out_features:
        raise ValueError(f"{len(charset)} characters and a blank, but {net.classes.out_features} classes")
    state = {name: shipped(value) for name, value in net.state_dict().items()}
    torch.save({"model": state, "charset": charset}, path)


def load(path: str | Path) -> tuple[CRNN, list[str]]:
    """The network and charset that `save` wrote."""
    held = torch.load(path, map_location="cpu", weights_only=True)
    state = {name: value.float() for name, value in held["model"].items()}
    net = CRNN(hidden=state["lstm.weight_hh_l0"].shape[1], classes=len(state["classes.bias"]))
    net.load_state_dict(state)
    return net.eval(), held["charset"]
