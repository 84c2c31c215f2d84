"""Pictures that are wrong: a clear error or a correct result, no crash, no garbage, nothing on standard error."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import liteocr
from liteocr import ImageError, ImageTooLargeError, headers, image

NOISE = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def encode(kind: str, array: np.ndarray = NOISE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def cv_encode(suffix: str, array: np.ndarray = NOISE) -> bytes:
    good, data = cv2.imencode(suffix, array)
    assert good
    return data.tobytes()


FILES: dict[str, bytes] = {
    "png": encode("PNG"),
    "jpeg": encode("JPEG"),
    "progressive": encode("JPEG", progressive=True),
    "gif": encode("GIF"),
    "webp": encode("WEBP"),
    "webp_lossless": encode("WEBP", lossless=True),
    "webp_extended": encode("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "tiff": encode("TIFF"),
    "tiff_lzw": encode("TIFF", compression="tiff_lzw"),
    "bmp": encode("BMP"),
    "jp2": cv_encode(".jp2"),
    "ppm": encode("PPM"),
    "pam": cv_encode(".pam"),
    "pfm": cv_encode(".pfm", NOISE.astype(np.float32) / 255),
    "hdr": cv_encode(".hdr", NOISE.astype(np.float32) / 255),
    "sun": cv_encode(".ras"),
}


def read(source: Any) -> np.ndarray:
    """Load, and check the form of the result."""
    loaded = image.load(source)
    assert loaded.dtype == np.uint8
    assert loaded.ndim == 3
    assert loaded.shape[2] == 3
    return loaded


@pytest.fixture(autouse=True)
def nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> Any:
    """Decoders must not write to standard error past Python."""
    yield
    assert capfd.readouterr().err == ""


# Paths and sources ---------------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.jpg"
    with pytest.raises(ImageError, match=re.escape(f"{path}: there is no such file: check the path")):
        image.load(path)
    with pytest.raises(ImageError, match="no such file"):
        image.load(str(tmp_path / "nowhere" / "nothing.jpg"))


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=re.escape(f"{tmp_path}: it is a directory")):
        image.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(FILES["png"])
    path.chmod(0)
    with pytest.raises(ImageError, match="permissions"):
        image.load(path)


def test_a_file_that_may_not_be_read_by_anyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "secret.png"
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=re.escape(f"{path}: its permissions forbid reading it")):
        image.load(path)


@pytest.mark.parametrize("path", ["a\0b.png", "https://example.org/a.png", ""])
def test_odd_paths(path: str) -> None:
    with pytest.raises(ImageError):
        image.load(path)


@pytest.mark.parametrize("source", [None, 3, [1, 2], object(), {"a": 1}, lambda: None])
def test_sources_of_another_type(source: Any) -> None:
    with pytest.raises(ImageError, match="cannot be made from"):
        image.load(source)


def test_a_text_file_object(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    with path.open() as file, pytest.raises(ImageError, match="'rb'"):
        image.load(file)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.write_bytes(b"")
    for source in (path, b"", io.BytesIO()):
        with pytest.raises(ImageError, match="the file is empty"):
            image.load(source)


def test_text_that_is_called_jpg(tmp_path: Path) -> None:
    path = tmp_path / "letter.jpg"
    path.write_text("Dear Sir or Madam,\n" * 20)
    with pytest.raises(ImageError, match=re.escape(str(path)) + r".*not a picture.*Dear Sir.*JPEG, PNG"):
        image.load(path)


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"%PDF-1.7\n", "pdftoppm"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "film"),
        (b'<?xml version="1.0"?><svg>', "render it"),
        (b"PK\x03\x04....", "unpack"),
        (b"8BPS....", "export"),
    ],
)
def test_other_formats_come_with_advice(data: bytes, advice: str) -> None:
    with pytest.raises(ImageError, match=advice):
        image.load(data)


# Files that are cut or changed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_whole_files_load(name: str) -> None:
    if name == "gif" and not hasattr(cv2, "imdecodeanimation"):
        pytest.skip("this OpenCV reads no GIF")
    assert read(FILES[name]).shape == NOISE.shape


@pytest.mark.parametrize("name", FILES)
def test_truncated_anywhere(name: str) -> None:
    """No proper beginning of a file is a picture, but for a missing end mark or padding."""
    data = FILES[name]
    harmless = {"gif": 2, "webp": 1, "webp_lossless": 1}.get(name, 0)
    for end in sorted({*range(0, min(len(data), 60), 7), *np.linspace(1, len(data) - 1 - harmless, 60).astype(int)}):
        with pytest.raises(ImageError):
            image.load(data[:end])


@pytest.mark.parametrize(("name", "kind"), [("jpeg", "JPEG"), ("progressive", "JPEG"), ("png", "PNG")])
def test_truncated_jpeg_and_png_say_so(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name][: len(FILES[name]) * 2 // 3])
    with pytest.raises(ImageError, match=re.escape(f"{path}: the {kind} is truncated")):
        image.load(path)
    path.write_bytes(FILES[name][:-1])
    with pytest.raises(ImageError, match="truncated"):
        image.load(path)


def test_a_changed_byte_of_a_png_is_found() -> None:
    data = bytearray(FILES["png"])
    for position in range(8, len(data) - 12, 97):
        data[position] ^= 0x20
        with pytest.raises(ImageError):
            image.load(bytes(data))
        data[position] ^= 0x20
    read(bytes(data))


def test_damage_in_a_profile_of_a_png_does_not_matter() -> None:
    profile = b"iCCP" + b"x\0\0" + zlib.compress(b"no profile")
    chunk = struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", 0)
    data = FILES["png"][:33] + chunk + FILES["png"][33:]
    np.testing.assert_array_equal(read(data), NOISE[..., ::-1])


@pytest.mark.parametrize("name", [name for name in FILES if name not in {"jpeg", "progressive"}])
def test_random_damage_is_an_error_or_a_picture(name: str) -> None:
    """JPEG is left to the next test: its decoder writes its doubts about coded data to standard error."""
    if name == "png":
        pytest.skip("checksums find it: see above")
    rng = np.random.default_rng(11)
    for _ in range(60):
        data = bytearray(FILES[name])
        for position in rng.integers(0, min(len(data), 400), rng.integers(1, 4)):
            data[position] = rng.integers(256)
        try:
            loaded = read(bytes(data))
        except ImageError:
            continue
        assert loaded.shape[0] * loaded.shape[1] <= image.MAX_PIXELS


@pytest.mark.parametrize("name", ["jpeg", "progressive"])
def test_random_damage_of_jpeg_headers(name: str) -> None:
    rng = np.random.default_rng(12)
    end = FILES[name].index(b"\xff\xda")
    for _ in range(60):
        data = bytearray(FILES[name])
        data[rng.integers(2, end)] = rng.integers(256)
        try:
            headers.parse(bytes(data))
        except ImageError:
            continue


# Sizes ---------------------------------------------------------------------------------------------------------------


def _replace(data: bytes, offset: int, code: str, *values: int) -> bytes:
    return data[:offset] + struct.pack(code, *values) + data[offset + struct.calcsize(code) :]


def _bomb_png(data: bytes) -> bytes:
    data = _replace(data, 16, ">II", 30000, 30000)
    return _replace(data, 29, ">I", zlib.crc32(data[12:29]))


def _bomb_jpeg(data: bytes) -> bytes:
    start = next(data.index(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data)
    return _replace(data, start + 5, ">HH", 30000, 30000)


def _bomb_tiff(data: bytes) -> bytes:
    (start,) = struct.unpack_from("<I", data, 4)
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] in {256, 257}:
            data = _replace(data, at + 2, "<HII", 4, 1, 30000)
    return data


def _bomb_webp_lossless(data: bytes) -> bytes:
    # 14 bits each are all that the format has
    return _replace(data, 21, "<I", 16383 | 16383 << 14)


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "png": _bomb_png,
    "jpeg": _bomb_jpeg,
    "progressive": _bomb_jpeg,
    "gif": lambda data: _replace(data, 6, "<HH", 30000, 30000),
    "webp": lambda data: _replace(data, 26, "<HH", 16383, 16383),
    "webp_lossless": _bomb_webp_lossless,
    "webp_extended": lambda data: data[:24] + (29999).to_bytes(3, "little") * 2 + data[30:],
    "tiff": _bomb_tiff,
    "tiff_lzw": _bomb_tiff,
    "bmp": lambda data: _replace(data, 18, "<ii", 30000, -30000),
    "jp2": lambda data: _replace(data, data.index(b"\xff\x4f\xff\x51") + 8, ">II", 30000, 30000),
    "ppm": lambda data: data.replace(b"80 60", b"30000 30000", 1),
    "pam": lambda data: data.replace(b"WIDTH 80", b"WIDTH 30000").replace(b"HEIGHT 60", b"HEIGHT 30000"),
    "pfm": lambda data: data.replace(b"80 60", b"30000 30000", 1),
    "hdr": lambda data: data.replace(b"-Y 60 +X 80", b"-Y 30000 +X 30000"),
    "sun": lambda data: _replace(data, 4, ">II", 30000, 30000),
}


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_claims_too_much_is_refused_before_decoding(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def decode(*arguments: Any) -> Any:
        raise AssertionError("the decoder was called")

    monkeypatch.setattr(cv2, "imdecode", decode)
    bomb = BOMBS[name](FILES[name])
    assert bomb != FILES[name]
    path = tmp_path / name
    path.write_bytes(bomb)
    side = "16,38" if name in {"webp", "webp_lossless"} else "30,000 x 30,000"
    with pytest.raises(ImageTooLargeError, match=rf"{re.escape(str(path))}: it has {side}.*--max-pixels"):
        image.load(path)
    with pytest.raises(AssertionError, match="decoder was called"):
        image.load(path, max_pixels=None)


def test_the_tiles_of_a_tiff_count_too() -> None:
    tiles = [(256, 4, 64), (257, 4, 64), (322, 4, 60000), (323, 4, 60000)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tiles)
    data = b"II*\0" + struct.pack("<IH", 8, len(tiles)) + entries + bytes(4)
    with pytest.raises(ImageTooLargeError):
        image.load(data)


def test_a_tiff_whose_pages_go_in_a_circle_ends() -> None:
    data = bytearray(FILES["tiff"])
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    assert len(list(image.frames(bytes(data)))) == 1


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "bmp", "ppm"])
def test_a_size_of_zero(name: str) -> None:
    bomb = BOMBS[name](FILES[name])
    zero = {
        "png": lambda: _replace(
            _replace(bomb, 16, ">II", 0, 0), 29, ">I", zlib.crc32(bomb[12:16] + bytes(8) + bomb[24:29])
        ),
        "jpeg": lambda: _replace(bomb, bomb.index(b"\xff\xc0") + 5, ">HH", 0, 0),
        "gif": lambda: _replace(bomb, 6, "<HH", 0, 0),
        "bmp": lambda: _replace(bomb, 18, "<ii", 0, 0),
        "ppm": lambda: bomb.replace(b"30000 30000", b"0 0"),
    }[name]()
    with pytest.raises(ImageError):
        image.load(zero)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 20000, 3), (20000, 3, 3), (1, 5, 3)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
def test_tiny_and_thin_pictures_load(shape: tuple[int, ...], suffix: str) -> None:
    if suffix == ".webp" and max(shape) > 16383:
        pytest.skip("WebP ends at 16383 pixels")
    pixels = np.full(shape, 200, np.uint8)
    loaded = read(cv_encode(suffix, pixels))
    assert loaded.shape == shape
    assert abs(int(loaded.mean()) - 200) <= 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (3, 20000, 3), (20000, 3, 3), (2, 1, 4)])
def test_tiny_and_thin_pictures_go_through_the_whole_pipeline(ocr: liteocr.OCR, shape: tuple[int, ...]) -> None:
    page = ocr.read(np.full(shape, 255, np.uint8))
    assert (page.height, page.width) == shape[:2]
    assert page.text == ""
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert isinstance(ocr.read(noise).text, str)


# Arrays --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4), np.int64), "dtype int64, expected uint8, uint16, bool, or float"),
        (np.zeros((4, 4), np.int16), "dtype int16"),
        (np.zeros((4, 4), np.uint32), "dtype uint32"),
        (np.zeros((4, 4), np.complex64), "dtype complex64"),
        (np.zeros((4, 4), object), "dtype object"),
        (np.array([["a"]]), "dtype <U1"),
        (np.full((4, 4), np.nan), "NaN or infinity"),
        (np.array([[0.5, np.inf]]), "NaN or infinity"),
        (np.array([[0.5, -np.inf]], np.float16), "NaN or infinity"),
        (np.array([[0.0, 255.0]]), r"values in \[0, 255\], expected \[0, 1\]"),
        (np.array([[-0.5, 1.0]]), r"values in \[-0.5, 1\]"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\): a picture has at least one pixel"),
        (np.zeros((4, 0), np.uint8), "at least one pixel"),
        (np.zeros((), np.uint8), r"shape \(\), expected \(H, W\)"),
        (np.zeros(7, np.uint8), r"shape \(7,\), expected"),
        (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\), expected"),
        (np.zeros((4, 4, 0), np.uint8), r"shape \(4, 4, 0\), expected"),
        (np.zeros((3, 40, 50), np.uint8), "channels first"),
        (np.zeros((2, 4, 4, 3), np.uint8), "one picture at a time"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        image.load(array)


def test_nan_hidden_among_good_values() -> None:
    array = np.full((50, 50, 3), 0.5, np.float32)
    array[31, 7, 2] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        image.load(array)


def test_read_only_and_strided_arrays_are_read_and_left_alone(fake_ocr: liteocr.OCR, boxes: np.ndarray) -> None:
    expected = fake_ocr.read(boxes).text
    before = boxes.copy()
    boxes.flags.writeable = False
    strided = np.zeros((200, 600, 3), np.uint8)[:, ::2]
    strided[:] = boxes
    assert fake_ocr.read(boxes).text == fake_ocr.read(strided).text == expected
    assert fake_ocr.read(boxes[:, ::-1][:, ::-1]).text == expected
    np.testing.assert_array_equal(boxes, before)


def test_a_damaged_pil_image() -> None:
    opened = Image.open(io.BytesIO(FILES["jpeg"][: len(FILES["jpeg"]) // 2]))
    with pytest.raises(ImageError, match="Pillow cannot decode"):
        image.load(opened)


def test_a_pil_image_of_wide_integers() -> None:
    with pytest.raises(ImageError, match="scale it"):
        image.load(Image.fromarray(np.full((3, 3), 70000, np.int32)))


def test_an_animation_that_ends_early() -> None:
    if not hasattr(cv2, "imdecodeanimation"):
        pytest.skip("this OpenCV reads no animations")
    pages = [Image.new("RGB", (20, 20), (40 * i, 0, 0)) for i in range(4)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "PNG", save_all=True, append_images=pages[1:])
    data = buffer.getvalue()
    at = data.index(b"acTL")
    body = b"acTL" + struct.pack(">II", 40, 0)
    data = data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 16 :]
    with pytest.raises(ImageError, match="damaged"):
        list(image.frames(data))
