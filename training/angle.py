"""The angle classifier: is a line crop upright or turned by 180 degrees?

A narrow MobileNetV3, the network of PaddleOCR's `ch_ppocr_mobile_v2.0_cls` (Apache-2.0), read from its ONNX file.
Howard et al.: "Searching for MobileNetV3" (2019). Its last step is a mean over the whole picture, so that any width
goes in.

Input: float32 (N, 3, 48, W), BGR, (pixel - 127.5) / 127.5, any W >= 8. Output: logits float32 (N, 2): upright,
turned.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.crnn import SqueezeExcite, copy_, onnx_convolutions, onnx_linears, shipped

HEIGHT = 48

# kernel, channels in, inside, out; squeeze-and-excitation; hard-swish rather than ReLU; vertical stride
_BLOCKS = (
    (3, 8, 8, 8, True, False, 2),
    (3, 8, 24, 8, False, False, 2),
    (3, 8, 32, 8, False, False, 1),
    (5, 8, 32, 16, True, True, 2),
    (5, 16, 88, 16, True, True, 1),
    (5, 16, 88, 16, True, True, 1),
    (5, 16, 40, 16, True, True, 1),
    (5, 16, 48, 16, True, True, 1),
    (5, 16, 104, 32, True, True, 2),
    (5, 32, 200, 32, True, True, 1),
    (5, 32, 200, 32, True, True, 1),
)


class Block(nn.Module):
    def __init__(
        self, kernel: int, channels: int, inside: int, out: int, *, gate: bool, swish: bool, stride: int
    ) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, inside, 1)
        self.depthwise = nn.Conv2d(inside, inside, kernel, (stride, 1), kernel // 2, groups=inside)
        self.gate = SqueezeExcite(inside) if gate else nn.Identity()
        self.project = nn.Conv2d(inside, out, 1)
        self.act = nn.Hardswish() if swish else nn.ReLU()
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.gate(self.act(self.depthwise(self.act(self.expand(x))))))
        return x + y if self.residual else y


class AngleNet(nn.Module):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.Sequential(*(Block(*row[:4], gate=row[4], swish=row[5], stride=row[6]) for row in _BLOCKS))
        self.last = nn.Conv2d(32, 200, 1)
        self.classes = nn.Linear(200, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.last(self.blocks(F.hardswish(self.stem(x)))))
        x = F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 1)
        logits: Tensor = self.classes(x.flatten(1))
        return logits


def start(path: str | Path) -> AngleNet:
    """The classifier with the weights of `ch_ppocr_mobile_v2.0_cls_infer.onnx`."""
    net = AngleNet()
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    for layer, (weight, bias) in zip(layers, onnx_convolutions(path), strict=True):
        copy_(layer, weight, bias)
    ((weight, bias),) = onnx_linears(path)
    copy_(net.classes, weight, bias)
    for block in net.blocks:
        if isinstance(block.gate, SqueezeExcite):  # the file's gate is clamp(x / 5 + 0.5), ours clamp(x / 6 + 0.5)
            for parameter in block.gate.expand.parameters():
                parameter.data *= 1.2
    return net.eval()


def save(net: AngleNet, path: str | Path) -> None:
    """Write a checkpoint: weights as they ship."""
    torch.save({"model": {name: shipped(value) for name, value in net.state_dict().items()}}, path)


def load(path: str | Path) -> AngleNet:
    """The network that `save` wrote."""
    net = AngleNet()
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    net.load_state_dict({name: value.float() for name, value in state.items()})
    return net.eval()
