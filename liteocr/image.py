"""Brings a picture of any kind into the one form that the stages take: uint8, (H, W, 3), BGR, C-contiguous.

What comes in: a path, the bytes of a file, a binary file object, a PIL image, or an array. Arrays are grey (H, W) or
(H, W, 1), grey and alpha (H, W, 2), BGR (H, W, 3) or BGRA (H, W, 4), of uint8, uint16 (65535 is white), bool, or float
in [0, 1]. Alpha is flattened on white, EXIF orientation is applied, and no source is ever written to.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from . import headers
from .errors import ImageError, ImageTooLargeError
from .headers import Header

__all__ = ["MAX_PIXELS", "frames", "load"]

Image = NDArray[np.uint8]

MAX_PIXELS = 512 * 1024 * 1024 // 3
"""How many pixels a picture may have unless another limit is given: 178,956,970, which are 512 MiB as BGR.

An A0 poster scanned at 300 dpi has 140 million; what claims more is a mistake or an attack more often than a picture,
and on a board with 1 GiB it could not be read anyhow.
"""

_BATCH_PIXELS = 1 << 26
"""How many pixels of an animation are decoded at a time (256 MiB as BGRA): a decoder that is asked for frames from the
k-th on decodes those before it again, so one at a time would take quadratic time."""

_TURNS: dict[int, tuple[bool, int, int]] = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
"""EXIF orientation → swap the axes?, then the steps along y and x."""


def load(source: Any, *, max_pixels: int | None = MAX_PIXELS) -> Image:
    """Load a picture; of an animated or multi-page file the first frame.

    Args:
        source: see the module's docstring. Of a PIL image that has been moved to a later frame, that frame.
        max_pixels: pictures with more pixels are refused, files before anything is allocated; None: no limit.

    Returns:
        uint8, (H, W, 3), BGR, C-contiguous. It may share memory with a source that is such an array.

    Raises:
        ImageTooLargeError: the picture has more pixels than ``max_pixels``.
        ImageError: there is no such file, it is no picture, it is damaged, or the array is of another kind.
    """
    found = frames(source, max_pixels=max_pixels)
    try:
        return next(found)
    finally:
        found.close()  # type: ignore[attr-defined]


def frames(source: Any, *, max_pixels: int | None = MAX_PIXELS) -> Iterator[Image]:
    """Load every frame of an animated or multi-page file in order, a few at a time; else the one picture.

    Arguments, each frame's form and errors as for :func:`load`. Frames of an animation are whole pictures, drawn over
    what the frames before them left. ``max_pixels`` holds for each frame.
    """
    name = ""
    try:
        if isinstance(source, np.ndarray):
            _check_size(source.shape[1] if source.ndim > 1 else 0, source.shape[0] if source.ndim else 0, max_pixels)
            yield _to_bgr(source)
        elif _is_pil(source):
            yield from _pil_frames(source, max_pixels)
        else:
            if isinstance(source, (str, os.PathLike)):
                name = os.fsdecode(source)
            yield from _file_frames(_read(source), max_pixels)
    except ImageError as error:
        if not name:
            raise
        raise type(error)(f"{name}: {error}") from error


def _read(source: Any) -> bytes:
    """The bytes of a file, from its path, an open file or a buffer."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return _read_path(os.fsdecode(source))
    if callable(getattr(source, "read", None)):
        data = source.read()
        if not isinstance(data, bytes):
            raise ImageError(f"the file object gives {type(data).__name__}, not bytes: open it in mode 'rb'")
        return data
    raise ImageError(
        f"a picture cannot be made from {type(source).__module__}.{type(source).__qualname__}: give a path, the bytes "
        "of a file, a binary file object, a PIL image or a NumPy array"
    )


def _read_path(path: str) -> bytes:
    if "://" in path[:12]:
        raise ImageError("nothing is downloaded: fetch the picture first and give its path")
    try:
        with open(path, "rb") as file:
            # What is no picture is refused by its first bytes, however large it is.
            headers.sniff(file.peek(64)[:64])
            return file.read()
    except FileNotFoundError:
        raise ImageError("there is no such file: check the path") from None
    except IsADirectoryError:
        raise ImageError("it is a directory: give a picture in it") from None
    except PermissionError:
        what = "it is a directory: give a picture in it" if os.path.isdir(path) else "its permissions forbid reading it"
        raise ImageError(what) from None
    except (OSError, ValueError, MemoryError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"the file cannot be read: {error}") from error


def _check_size(width: int, height: int, max_pixels: int | None, allocation: int = 0) -> None:
    if max_pixels is not None and max(width * height, allocation) > max_pixels:
        raise ImageTooLargeError(
            f"it has {width:,} x {height:,} pixels, more than the limit of {max_pixels:,}: scale it down, or raise "
            "max_pixels (--max-pixels) if memory allows"
        )


# Files ---------------------------------------------------------------------------------------------------------------


def _file_frames(data: bytes, max_pixels: int | None) -> Iterator[Image]:
    for header in headers.parse(data):
        _check_size(header.width, header.height, max_pixels, header.allocation)
        encoded = np.frombuffer(header.encoded(data), np.uint8).reshape(1, -1)
        if header.frames == 1:
            yield _finish(_decode(encoded, header), header)
        else:
            for frame in _decode_animation(encoded, header):
                yield _finish(frame, header)


def _decode(encoded: Image, header: Header) -> NDArray[Any]:
    with _quiet():
        try:
            decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        except (cv2.error, MemoryError) as error:
            raise _undecodable(header, error) from error
    if decoded is None:
        raise _undecodable(header)
    return cast(NDArray[Any], decoded)


def _decode_animation(encoded: Image, header: Header) -> Iterator[NDArray[Any]]:
    if not hasattr(cv2, "imdecodeanimation"):
        raise ImageError(f"animations need OpenCV 4.12, this is {cv2.__version__}: pip install -U opencv-python")
    done = 0
    batch = 1  # who asks for the first frame only should not wait for more
    while done < header.frames:
        with _quiet():
            try:
                good, animation = cv2.imdecodeanimation(encoded, done, min(batch, header.frames - done))
            except (cv2.error, MemoryError) as error:
                raise _undecodable(header, error) from error
        if not good or not animation.frames:
            raise (
                _undecodable(header)
                if not done
                else ImageError(f"the {header.format} is damaged: of {header.frames} frames only {done} can be decoded")
            )
        yield from animation.frames
        done += len(animation.frames)
        batch = max(1, _BATCH_PIXELS // (header.width * header.height))


def _undecodable(header: Header, error: BaseException | None = None) -> ImageError:
    reason = getattr(error, "err", None) or (str(error) if error else "")
    return ImageError(
        f"the {header.format} of {header.width} x {header.height} pixels cannot be decoded by OpenCV {cv2.__version__}"
        + (f" ({reason})" if reason else "")
        + f": it is damaged, of a rare kind, or OpenCV is too old for {header.format}; save it as PNG elsewhere"
    )


def _finish(decoded: NDArray[Any], header: Header) -> Image:
    """Turn what the decoder gives into upright BGR."""
    if decoded.shape[:2] != (header.height, header.width):
        raise ImageError(
            f"the {header.format} is damaged: its header says {header.width} x {header.height} pixels, its data "
            f"{decoded.shape[1]} x {decoded.shape[0]}"
        )
    if header.white is not None and decoded.dtype.kind == "u":
        decoded = (np.minimum(decoded, header.white) / np.float32(header.white)).astype(np.float32)
    if header.format == "BMP" and decoded.ndim == 3 and decoded.shape[2] == 4 and not decoded[..., 3].any():
        decoded = decoded[..., :3]  # the fourth byte of a 32-bit BMP is mostly unused, and 0
    return _turn(_to_bgr(decoded, premultiplied=header.premultiplied), header.orientation)


def _turn(image: Image, orientation: int) -> Image:
    """Apply an EXIF orientation, 1 to 8."""
    swap, dy, dx = _TURNS[orientation]
    turned = image.swapaxes(0, 1) if swap else image
    return np.ascontiguousarray(turned[::dy, ::dx])


class _LogLevel:
    """How many decoders run now, and the log level that OpenCV had before the first of them."""

    lock = threading.Lock()
    depth = 0
    before = 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from logging what the caller gets as an error. The level is the process's, hence the count."""
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV before 4.13 has these functions elsewhere
    with _LogLevel.lock:
        if _LogLevel.depth == 0:
            _LogLevel.before = logging.getLogLevel()
            logging.setLogLevel(0)  # silent
        _LogLevel.depth += 1
    try:
        yield
    finally:
        with _LogLevel.lock:
            _LogLevel.depth -= 1
            if _LogLevel.depth == 0:
                logging.setLogLevel(_LogLevel.before)


# PIL images ----------------------------------------------------------------------------------------------------------


def _is_pil(source: Any) -> bool:
    """Whether it is a PIL image; PIL is not imported to find out, since then nobody could have made one."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def _pil_frames(image: Any, max_pixels: int | None) -> Iterator[Image]:
    start = image.tell()
    try:
        for index in range(start, max(start + 1, getattr(image, "n_frames", 1))):
            if index != start:
                image.seek(index)
            _check_size(image.width, image.height, max_pixels)
            yield _from_pil(image)
    except ImageError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise ImageError(f"Pillow cannot decode the picture: {error}") from error
    finally:
        if image.tell() != start:
            image.seek(start)


def _from_pil(image: Any) -> Image:
    image.load()
    orientation = image.getexif().get(0x0112, 1)  # after load(), which turns some formats by itself
    if image.mode.startswith("I"):
        # 16-bit files; mode I holds them in 32 bits, and 8-bit values in 32 bits only where someone converted.
        wide = np.asarray(image).astype(np.int64)
        low, high = wide.min(initial=0), wide.max(initial=0)
        if low < 0 or high > 65535:
            raise ImageError(
                f"the PIL image of mode {image.mode} has values in [{low}, {high}]: scale it to [0, 65535]"
            )
        pixels = wide.astype(np.uint8 if image.mode == "I" and high <= 255 else np.uint16)
    elif image.mode in {"F", "1", "L"}:
        pixels = np.asarray(image)
    elif image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]
    else:
        pixels = np.asarray(image.convert("RGB"))[..., ::-1]
    return _turn(_to_bgr(pixels), orientation if orientation in _TURNS else 1)


# Arrays --------------------------------------------------------------------------------------------------------------


def _to_bgr(array: NDArray[Any], *, premultiplied: bool = False) -> Image:
    """Turn an array of any accepted shape and dtype into uint8, (H, W, 3), BGR, C-contiguous."""
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 2, 3, 4}):
        hint = ""
        if array.ndim == 3 and array.shape[0] in {1, 3, 4}:
            hint = "; this one seems to have its channels first: array.transpose(1, 2, 0) puts them last"
        elif array.ndim == 4:
            hint = "; give one picture at a time"
        raise ImageError(
            f"the array has shape {array.shape}, expected (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4){hint}"
        )
    if 0 in array.shape:
        raise ImageError(f"the array has shape {array.shape}: a picture has at least one pixel")
    pixels = _to_uint8(array)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 3:
        # Some libraries refuse read-only buffers even for reading.
        return np.require(np.asarray(pixels), np.uint8, ["C", "W"])
    if channels == 1:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2BGR), np.uint8)
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    flat = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, pixels.shape[0], 256):  # in bands: the sums are wider than the pixels
        band = slice(top, top + 256)
        a = alpha[band].astype(np.uint32)
        c = colour[band].astype(np.uint32)
        blended = c + 255 - a if premultiplied else (c * a + 255 * (255 - a) + 127) // 255
        flat[band] = np.minimum(blended, 255)
    return flat


def _to_uint8(array: NDArray[Any]) -> Image:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "u" and size == 1:
        return cast(Image, array)
    if kind == "u" and size == 2:
        # 65535 / 257 = 255: the nearest of 256 levels, by a table, which is faster than dividing
        table = ((np.arange(65536) + 128) // 257).astype(np.uint8)
        return cast(Image, table[array])
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= -1e-5 and high <= 1 + 1e-5):
            if np.isnan(low) or np.isinf([low, high]).any():
                raise ImageError("the float array holds NaN or infinity: replace them, such as by numpy.nan_to_num")
            raise ImageError(
                f"the float array has values in [{low:g}, {high:g}], expected [0, 1]: scale it, or give uint8"
            )
        return cast(Image, np.rint(np.clip(array, 0, 1).astype(np.float32) * 255).astype(np.uint8))
    raise ImageError(f"the array has dtype {array.dtype}, expected uint8, uint16, bool, or float in [0, 1]")
