"""The example of from-pytorch-to-ncnn.md: a small PSENet with all that makes the way to ncnn hard.

    python docs/from_pytorch_to_ncnn.py OUT_DIR

ReLU6, bilinear upsampling with align_corners, and upsampling to a size that the export turns into a number. The network
is exported at one size, converted, and computes the same as torch at others. Needs torch and liteocr[convert].
"""

import argparse
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPE = (1, 3, 160, 160)
"""What the example is exported at."""


class SmallPSENet(nn.Module):
    """Three levels of a feature pyramid and a head with three kernels, as PSENet has them, only small."""

    def __init__(self, channels: int = 8, kernels: int = 3) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU6(),
                nn.Conv2d(channels, channels, 3, 1, 1, groups=channels), nn.Hardswish(),
            )
            for inputs in (3, channels, channels)
        )  # fmt: skip
        self.smooth = nn.Conv2d(channels, channels, 3, 1, 1)
        self.head = nn.Conv2d(3 * channels, kernels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, H, W), H and W multiples of 8, to (1, kernels, H, W) in [0, 1]."""
        maps = []
        y = x
        for level in self.levels:
            y = level(y)
            maps.append(y)
        for k in (1, 0):
            above = F.interpolate(maps[k + 1], scale_factor=2.0, mode="bilinear", align_corners=True)
            maps[k] = F.relu6(self.smooth(maps[k] + above) * 3)
        # Trap: int() makes a number of what was a size, and the exporter writes it down.
        size = (int(maps[0].shape[2]), int(maps[0].shape[3]))
        y = torch.cat([F.interpolate(m, size=size, mode="nearest") for m in maps], 1)
        y = self.head(y)
        return torch.sigmoid(F.interpolate(y, size=(int(x.shape[2]), int(x.shape[3])), mode="bilinear"))


def model() -> SmallPSENet:
    """The network with weights that are always the same, in the state of inference."""
    torch.manual_seed(0)
    net = SmallPSENet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def export(net: nn.Module, path: Path) -> None:
    """The usual call, at one size and without dynamic axes: what most models on the web were made by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of int(), rightly
        torch.onnx.export(net, (torch.zeros(SHAPE),), str(path), opset_version=17, dynamo=False)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="where the ONNX file, the ncnn network and the report go")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    from liteocr.convert import convert  # noqa: PLC0415

    net = model()
    export(net, out / "example.onnx")
    print(convert(out / "example.onnx", out).summary())


if __name__ == "__main__":
    main()
