"""TorchScript -> pnnx -> ncnn, for a network whose input width, or width and height, stay free."""

import os
import tempfile
from pathlib import Path

import pnnx
import torch
from torch import nn


def to_ncnn(
    net: nn.Module, height: int, widths: tuple[int, int], destination: Path, *, height2: int | None = None
) -> None:
    """Write DESTINATION.ncnn.param and .bin (float16 storage) of a network that takes (1, 3, height, any width).

    pnnx is told two widths, and what differs between them stays free; the height, too, where `height2` names a second
    one. Blobs are `in0` and `out0`.
    """
    inputs = torch.rand(1, 3, height, widths[0])
    inputs2 = torch.rand(1, 3, height2 or height, widths[1])
    destination.parent.mkdir(parents=True, exist_ok=True)
    param, weights = (destination.with_name(f"{destination.name}.ncnn.{end}").absolute() for end in ("param", "bin"))
    back = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pnnx leaves by-products where it runs
        try:
            pnnx.export(
                net.eval(),
                "net.pt",
                inputs,
                inputs2,
                ncnnparam=str(param),
                ncnnbin=str(weights),
                fp16=True,
                check_trace=False,
            )
        finally:
            os.chdir(back)
    if not (param.exists() and weights.exists()):
        raise RuntimeError("pnnx wrote no network")
