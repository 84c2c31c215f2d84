"""The errors of the road from PyTorch to ncnn, and the exit codes of the command ``liteocr-model``.

    LiteOCRError
    └── ConvertError           something on the road failed; also a tool that crashed or took too long
        ├── MissingExtraError  a package of ``liteocr[convert]`` is missing (also a MissingPackageError)
        ├── ModelFileError     a model file is unreadable, truncated, damaged, or does not belong to the other
        ├── UnsupportedError   an operator or a layer that ncnn does not have, or computes differently
        └── NotEqualError      the proof failed: two networks do not compute the same

Every message ends with what to do next.
"""

from __future__ import annotations

import importlib
from enum import IntEnum
from typing import Any

from ..errors import ImageError, LiteOCRError, MissingPackageError, OptionError

__all__ = [
    "ConvertError",
    "MissingExtraError",
    "ModelExitCode",
    "ModelFileError",
    "NotEqualError",
    "UnsupportedError",
    "exit_code",
    "extra",
]


class ModelExitCode(IntEnum):
    """Exit codes of the command ``liteocr-model``."""

    OK = 0
    """Done; for ``compare``: equal."""
    NOT_EQUAL = 1
    """The two networks do not compute the same."""
    USAGE = 2
    """The command line was wrong (argparse's own code)."""
    FILE = 3
    """A model file, or an input, cannot be read or does not fit."""
    UNSUPPORTED = 4
    """An operator that cannot be converted, or a layer that this ncnn does not have."""
    FAILURE = 5
    """Any other failure: a tool crashed, a file could not be written."""
    PACKAGE = 6
    """A package is missing."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C."""


class ConvertError(LiteOCRError):
    """Something on the road from PyTorch to ncnn failed."""

    log: str = ""
    """What native code printed before, the last lines."""


class MissingExtraError(ConvertError, MissingPackageError):
    """A package of the extra ``convert`` is missing."""


class ModelFileError(ConvertError):
    """A model file is unreadable, truncated, damaged, or does not belong to the other one."""


class UnsupportedError(ConvertError):
    """An operator or a layer that ncnn does not have or computes differently; the message names the node."""


class NotEqualError(ConvertError):
    """Two networks that should compute the same do not."""


def exit_code(error: Exception) -> ModelExitCode:
    """The exit code of ``liteocr-model`` for an error."""
    codes = (
        ((MissingPackageError,), ModelExitCode.PACKAGE),
        ((ModelFileError, ImageError), ModelExitCode.FILE),
        ((UnsupportedError,), ModelExitCode.UNSUPPORTED),
        ((NotEqualError,), ModelExitCode.NOT_EQUAL),
        ((OptionError,), ModelExitCode.USAGE),
    )
    return next((code for kinds, code in codes if isinstance(error, kinds)), ModelExitCode.FAILURE)


def extra(module: str) -> Any:
    """Import a package of the extra ``convert``, or torch, at the moment when it is needed.

    Args:
        module: dotted name, such as ``"onnx"`` or ``"onnx.helper"``.

    Raises:
        MissingExtraError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        wanted = "torch" if package == "torch" else "'liteocr[convert]'"
        raise MissingExtraError(f"the package {package} is needed ({error}); pip install {wanted}") from error
