"""The road from PyTorch to ncnn: convert, upgrade, compare, look into and quantize a network.

The command is ``liteocr-model``; the functions are here. They need the extra: ``pip install 'liteocr[convert]'``.
Nothing of this is imported with ``import liteocr``, and no package of the extra before a function needs it.
"""

from __future__ import annotations

from .compare import Comparison, Pair, compare
from .convert import ConvertReport, convert
from .errors import (
    ConvertError,
    MissingExtraError,
    ModelExitCode,
    ModelFileError,
    NotEqualError,
    UnsupportedError,
)
from .info import NetInfo, info
from .proof import Proof
from .quantize import QuantizeReport, quantize
from .reference import Picture
from .rewrite import Rewrite
from .upgrade import Change, upgrade

__all__ = [
    "Change",
    "Comparison",
    "ConvertError",
    "ConvertReport",
    "MissingExtraError",
    "ModelExitCode",
    "ModelFileError",
    "NetInfo",
    "NotEqualError",
    "Pair",
    "Picture",
    "Proof",
    "QuantizeReport",
    "Rewrite",
    "UnsupportedError",
    "compare",
    "convert",
    "info",
    "quantize",
    "upgrade",
]
