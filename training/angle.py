"""The angle classifier: is a line crop upright or turned by 180 degrees?

Its convolutions are the first of the recogniser's (`training.crnn`), which know characters, at two thirds of the size:
the way up of a character is seen in fewer pixels than its name. A mean over the whole line decides, so that any width
goes in.

Input: float32 (N, 3, 32, W), BGR, (pixel - 127.5) / 127.5, any W >= 8. Output: logits float32 (N, 2): upright,
turned.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import crnn

HEIGHT = 32
MIN_WIDTH = 8
BLOCKS = 5
"""How many blocks of the recogniser."""
WIDTH = 192
"""Channels of the layer whose mean decides."""


class AngleNet(nn.Module):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        whole = crnn.CRNN(classes=2)
        self.stem, self.stem2, self.blocks = whole.stem, whole.stem2, whole.blocks[:BLOCKS]
        self.last = nn.Conv2d(self.blocks[-1].project.out_channels, WIDTH, (3, 3), (2, 1), (1, 1))
        self.classes = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem2(F.gelu(self.stem(x))))
        x = F.adaptive_avg_pool2d(F.gelu(self.last(x)), 1)
        logits: Tensor = self.classes(x.flatten(1))
        return logits


def start(path: str | Path) -> AngleNet:
    """An untrained classifier with the convolutions of a recogniser's checkpoint."""
    net = AngleNet()
    trained = crnn.load(path)[0].state_dict()
    net.load_state_dict(
        {name: trained.get(name, value) for name, value in net.state_dict().items() if "classes" not in name},
        strict=False,
    )
    return net.eval()


def prepare(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """BGR crop -> (32, W, 3), W keeps the aspect, as `liteocr.AngleClassifier` does it."""
    height, width = crop.shape[:2]
    size = (max(MIN_WIDTH, round(width * HEIGHT / height)), HEIGHT)
    interpolation = cv2.INTER_AREA if height > 1.5 * HEIGHT else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, size, interpolation=interpolation), np.uint8)


def tensor(crops: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 (N, 32, W, 3) -> what the network takes."""
    return torch.from_numpy(crops.copy()).permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)


def probability(net: AngleNet, crop: npt.NDArray[np.uint8]) -> float:
    """How likely a BGR crop is turned."""
    with torch.no_grad():
        return float(net(tensor(prepare(crop)[None]))[0].softmax(0)[1])


def save(net: AngleNet, path: str | Path) -> None:
    """Write a checkpoint: weights as they ship."""
    torch.save({"model": {name: crnn.shipped(value) for name, value in net.state_dict().items()}}, path)


def load(path: str | Path) -> AngleNet:
    """The network that `save` wrote."""
    net = AngleNet()
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    net.load_state_dict({name: value.float() for name, value in state.items()})
    return net.eval()
