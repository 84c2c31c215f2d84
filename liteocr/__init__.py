"""OCR that fits on a board: text from photos, scans, receipts and screens, through ncnn.

In short::

    import liteocr

    page = liteocr.read("receipt.jpg")
    print(page.text)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from .errors import MissingPackageError

try:
    import cv2 as _cv2  # noqa: F401
except ImportError as _error:
    _advice = (
        "install it: pip install opencv-python"
        if isinstance(_error, ModuleNotFoundError)
        else "on a machine without a screen, install the libraries that it links to (Debian, Raspberry Pi OS: "
        "apt-get install libgl1 libglib2.0-0), or replace it: pip uninstall opencv-python; "
        "pip install opencv-python-headless"
    )
    raise MissingPackageError(f"OpenCV cannot be imported ({_error}); {_advice}") from _error

from .detection import Detection, DetectorOptions, TextDetector
from .errors import (
    ExitCode,
    ImageError,
    ImageTooLargeError,
    InferenceError,
    LiteOCRError,
    OptionError,
    WeightsError,
)
from .orientation import Angle, AngleClassifier
from .pipeline import OCR
from .recognition import Recognition, RecognizedChar, TextRecognizer
from .results import Char, Page, TextLine

__version__ = "0.1.0"

__all__ = [
    "OCR",
    "Angle",
    "AngleClassifier",
    "Char",
    "Detection",
    "DetectorOptions",
    "ExitCode",
    "ImageError",
    "ImageTooLargeError",
    "InferenceError",
    "LiteOCRError",
    "MissingPackageError",
    "OptionError",
    "Page",
    "Recognition",
    "RecognizedChar",
    "TextDetector",
    "TextLine",
    "TextRecognizer",
    "WeightsError",
    "__version__",
    "read",
    "read_all",
    "read_many",
]


@lru_cache(maxsize=4)
def _shared(options: tuple[tuple[str, Any], ...]) -> OCR:
    return OCR(**dict(options))


def _reader(options: dict[str, Any]) -> OCR:
    lexicon = options.get("lexicon")
    if lexicon is not None and not isinstance(lexicon, str):
        options["lexicon"] = tuple(lexicon)  # a list is no key
    return _shared(tuple(sorted(options.items())))


def read(image: Any, **options: Any) -> Page:
    """Read one picture; of an animated or multi-page file the first frame.

    The networks are loaded at the first call and kept for later calls with the same options. To choose when they are
    loaded and let go, build an :class:`OCR`.

    Args:
        image: as for :meth:`OCR.read`.
        **options: as for :class:`OCR`.

    Returns:
        The page with its lines in reading order; without lines where there is no text.

    Raises:
        ImageError: the picture cannot be read.
        OptionError: an option is out of its range.
        WeightsError: the weights are missing or damaged.
        InferenceError: ncnn failed.
        TypeError: there is no option of that name.
    """
    return _reader(options).read(image)


def read_all(image: Any, **options: Any) -> Iterator[Page]:
    """Read every frame of an animated or multi-page file; arguments and errors as :func:`read`."""
    return _reader(options).read_all(image)


def read_many(images: Iterable[Any], **options: Any) -> Iterator[Page | LiteOCRError]:
    """Read many pictures, several at a time; give a page or an error for each, in order: see :meth:`OCR.read_many`."""
    return _reader(options).read_many(images)
