"""The road from PyTorch to ncnn: convert, upgrade, compare, look into and quantize a network.

The command is ``liteocr-model``; the functions are here. They need the extra: ``pip install 'liteocr[convert]'``.
Nothing of this is imported with ``import liteocr``, and no package of the extra before a function needs it.
"""

from __future__ import annotations

from .errors import (
    ConvertError,
    MissingExtraError,
    ModelExitCode,
    ModelFileError,
    NotEqualError,
    UnsupportedError,
)
from .info import NetInfo, info
from .upgrade import Change, upgrade

__all__ = [
    "Change",
    "ConvertError",
    "MissingExtraError",
    "ModelExitCode",
    "ModelFileError",
    "NetInfo",
    "NotEqualError",
    "UnsupportedError",
    "info",
    "upgrade",
]
