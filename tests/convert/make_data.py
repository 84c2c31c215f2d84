"""Make the ONNX files of tests/convert/data: small networks as torch's two exporters write them.

    pip install torch==2.13.0 onnxscript
    python -m tests.convert.make_data

Each network is exported by the old exporter (TorchScript) and the new one (dynamo), with fixed sizes and with free
ones: NETWORK.EXPORTER.fixed|free.onnx. Weights are random but always the same.
"""

import importlib.util
import warnings
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
DOCS = HERE.parents[1] / "docs"


class Debris(nn.Module):
    """Upsampling to the size of another tensor, cropping, a view: what leaves Shape, Gather and Concat behind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 2, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.hardswish(self.first(x))
        b = F.hardtanh(self.second(a), -1.0, 2.0)
        b = b * self.gate(b)
        up = F.interpolate(b, size=a.shape[2:], mode="bilinear", align_corners=False)
        near = F.interpolate(b, size=(a.size(2), a.size(3)), mode="nearest")
        y = torch.cat([a + up, near], 1)
        y = F.pad(y[:, :, 1:, 1:], (1, 0, 1, 0))
        y = F.interpolate(self.last(y), scale_factor=2, mode="bilinear", align_corners=True)
        n, c, h, w = y.shape
        return torch.softmax(y.view(n, c, h * w).permute(0, 2, 1), 2)


class Lines(nn.Module):
    """A small recogniser: columns of a line, an LSTM in both directions, classes of each column."""

    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 12, 3, (2, 1), 1), nn.GELU(), nn.AvgPool2d((4, 1))
        )
        self.lstm = nn.LSTM(12, 8, batch_first=True, bidirectional=True)
        self.classes = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x).squeeze(2).transpose(1, 2)
        return torch.log_softmax(self.classes(self.lstm(x)[0]), 2).exp()


class ByHand(nn.Module):
    """Activations as people write them by hand, and as old exporters and Paddle decompose them."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if n == 0 else 4, 4, 3, 1, 1) for n in range(7))

    def forward(self, x: Tensor) -> Tensor:
        acts = (
            lambda v: torch.clamp(torch.clamp(v, min=0), max=6),
            lambda v: torch.min(torch.relu(v), torch.tensor(6.0)),
            lambda v: v * F.relu6(v + 3) / 6,
            lambda v: v * (F.relu6(v + 3) * (1 / 6)),
            lambda v: v * torch.clamp(v / 6 + 0.5, 0, 1),
            lambda v: v * torch.clamp(0.2 * v + 0.5, 0, 1),
            lambda v: F.relu6(3 + v) / 6,
        )
        for conv, act in zip(self.convs, acts, strict=True):
            x = act(conv(x) * 4)
        return x


def example() -> nn.Module:
    """The network of the documented example."""
    spec = importlib.util.spec_from_file_location("example", DOCS / "from_pytorch_to_ncnn.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.model()  # type: ignore[no-any-return]


NETWORKS = {
    "example": (example, (1, 3, 160, 160), (2, 3)),
    "debris": (Debris, (1, 3, 64, 64), (2, 3)),
    "lines": (Lines, (1, 3, 16, 64), (3,)),
    "byhand": (ByHand, (1, 3, 32, 32), (2, 3)),
}


def export(net: nn.Module, shape: tuple[int, ...], free: tuple[int, ...], *, new: bool, path: Path) -> None:
    """Export with one of the exporters, some axes of the input free."""
    image = (torch.zeros(shape),)
    names = {axis: f"d{axis}" for axis in free}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if new:
            dims = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
            shapes = (dims,) if free else None
            program = torch.onnx.export(net, image, dynamo=True, dynamic_shapes=shapes, verbose=False)
            assert program is not None
            program.save(str(path), external_data=False)
        else:
            axes = {"x": names} if free else None
            torch.onnx.export(
                net, image, str(path), opset_version=17, input_names=["x"], dynamic_axes=axes, dynamo=False
            )
    slim(path)


def slim(path: Path) -> None:
    """Drop what nothing reads but a debugger: the places in the source code that nodes come from."""
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.save(model, str(path))


def main() -> None:
    """Write all files."""
    DATA.mkdir(exist_ok=True)
    for name, (make, shape, axes) in NETWORKS.items():
        torch.manual_seed(0)
        net = make().eval()
        for new in (False, True):
            for free in ((), axes):
                if new and free and name == "example":
                    continue  # the new exporter refuses what becomes a number, where the old one writes it down
                kind = f"{name}.{'new' if new else 'old'}.{'free' if free else 'fixed'}"
                path = DATA / f"{kind}.onnx"
                export(net, shape, free, new=new, path=path)
                print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
