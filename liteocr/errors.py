"""The errors that liteocr raises, and the exit codes that the command line maps them to.

    LiteOCRError
    ├── OptionError        an option's value is out of its range (also a ValueError)
    ├── ImageError         a picture cannot be read or is not a picture (also a ValueError)
    │   └── ImageTooLargeError   its header claims more pixels than the limit
    ├── WeightsError       weights are missing, damaged, or do not fit each other
    ├── InferenceError     ncnn failed while it ran a network
    └── MissingPackageError      an optional or system package is needed (also an ImportError)

Every message ends with what to do next.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "ExitCode",
    "ImageError",
    "ImageTooLargeError",
    "InferenceError",
    "LiteOCRError",
    "MissingPackageError",
    "OptionError",
    "WeightsError",
]


class ExitCode(IntEnum):
    """Exit codes of the command ``liteocr``."""

    OK = 0
    """Every picture was read (finding no text is reading, too)."""
    FAILURE = 1
    """An error with no code of its own, such as an output file that cannot be written."""
    USAGE = 2
    """The command line was wrong (argparse's own code)."""
    IMAGE = 3
    """At least one picture could not be read; the others were printed."""
    WEIGHTS = 4
    """Weights are missing, damaged or do not fit each other."""
    INFERENCE = 5
    """ncnn failed while it ran a network."""
    PACKAGE = 6
    """A package is missing."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C."""


class LiteOCRError(Exception):
    """Base of all errors that liteocr raises on purpose."""

    exit_code: ExitCode = ExitCode.FAILURE


class OptionError(LiteOCRError, ValueError):
    """An option's value is out of its range; the message names the range."""

    exit_code = ExitCode.USAGE


class ImageError(LiteOCRError, ValueError):
    """A picture cannot be read: missing, damaged, of an unknown format, or an array of the wrong shape or dtype."""

    exit_code = ExitCode.IMAGE


class ImageTooLargeError(ImageError):
    """The header of a picture claims more pixels than ``max_pixels``; nothing was allocated."""


class WeightsError(LiteOCRError):
    """Weights are missing, truncated, changed, or do not fit each other."""

    exit_code = ExitCode.WEIGHTS


class InferenceError(LiteOCRError):
    """ncnn returned an error code while it ran a network, or the output has an unexpected shape."""

    exit_code = ExitCode.INFERENCE


class MissingPackageError(LiteOCRError, ImportError):
    """A package that this feature needs, or a system library under it, is missing."""

    exit_code = ExitCode.PACKAGE
