"""Loading: every kind of source and file comes out as the same upright BGR picture."""

from __future__ import annotations

import io
import struct
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, ImageSequence, features

from liteocr import ImageError, ImageTooLargeError, headers, image

BLOCKS = np.random.default_rng(7).integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGB = np.kron(BLOCKS, np.ones((8, 8, 1), np.uint8))
"""(48, 72, 3): blocks of 8 pixels, which also lossy formats keep nearly."""
BGR = np.ascontiguousarray(RGB[..., ::-1])

needs_avif = pytest.mark.skipif(
    not features.check("avif") or "AVIF:                        NO" in cv2.getBuildInformation(),
    reason="needs AVIF in Pillow and OpenCV",
)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference; infinite for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def is_picture(array: np.ndarray) -> bool:
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.flags["C_CONTIGUOUS"]


PNG = encode(Image.fromarray(RGB), "PNG")


# Sources -------------------------------------------------------------------------------------------------------------


def test_every_source_gives_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "发票 ü.png"  # a path that is not ASCII
    path.write_bytes(PNG)
    with path.open("rb") as file, tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(PNG)
        spooled.seek(0)
        sources = [
            path,
            str(path),
            PNG,
            bytearray(PNG),
            memoryview(PNG),
            memoryview(bytes(2 * len(PNG)))[::2],
            file,
            io.BytesIO(PNG),
            spooled,
            Image.open(path),
            Image.fromarray(RGB),
            BGR,
        ]
        twice = bytearray(2 * len(PNG))
        twice[::2] = PNG
        sources[5] = memoryview(twice)[::2]
        for source in sources:
            loaded = image.load(source)
            assert is_picture(loaded), source
            np.testing.assert_array_equal(loaded, BGR)


def test_a_bgr_array_is_not_copied_and_never_written_to() -> None:
    assert np.shares_memory(image.load(BGR), BGR)
    read_only = BGR.copy()
    read_only.flags.writeable = False
    loaded = image.load(read_only)
    loaded[:] = 0
    np.testing.assert_array_equal(read_only, BGR)


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::-1], np.s_[::2, ::3], np.s_[5:20, 7:30], np.s_[..., ::-1]])
def test_views_of_arrays(view: Any) -> None:
    strided = BGR[view]
    before = BGR.copy()
    loaded = image.load(strided)
    assert is_picture(loaded)
    np.testing.assert_array_equal(loaded, strided.copy())
    np.testing.assert_array_equal(BGR, before)


def test_fortran_order_and_other_byte_orders() -> None:
    np.testing.assert_array_equal(image.load(np.asfortranarray(BGR)), BGR)
    wide = BGR.astype(np.uint16) * 257
    np.testing.assert_array_equal(image.load(wide.astype(">u2")), BGR)
    np.testing.assert_array_equal(image.load((BGR / 255).astype(">f4")), BGR)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (BGR.astype(np.uint16) * 257, BGR),
        (np.full((2, 2, 3), 65535, np.uint16), np.full((2, 2, 3), 255)),
        (np.full((2, 2), 32768, np.uint16), np.full((2, 2, 3), 128)),
        (np.array([[True, False]]), np.array([[[255] * 3, [0] * 3]])),
        ((BGR / 255).astype(np.float64), BGR),
        ((BGR / 255).astype(np.float32), BGR),
        (np.array([[0.0, 0.5, 1.0]], np.float16), np.array([[[0] * 3, [128] * 3, [255] * 3]])),
        (BGR[..., 0], np.repeat(BGR[..., :1], 3, axis=2)),
        (BGR[..., :1], np.repeat(BGR[..., :1], 3, axis=2)),
    ],
)
def test_dtypes_and_shapes(array: np.ndarray, expected: np.ndarray) -> None:
    loaded = image.load(array)
    assert is_picture(loaded)
    np.testing.assert_array_equal(loaded, expected)


def test_alpha_is_flattened_on_white() -> None:
    # by hand: 100 at 40 % over white is 0.4 * 100 + 0.6 * 255 = 193
    np.testing.assert_array_equal(image.load(np.full((3, 2, 2), (100, 102), np.uint8)), np.full((3, 2, 3), 193))
    bgra = np.dstack([BGR, np.full(BGR.shape[:2], 102, np.uint8)])
    expected = np.rint(BGR * 0.4 + 255 * 0.6)
    assert np.abs(image.load(bgra) - expected).max() <= 0.5
    np.testing.assert_array_equal(image.load(np.zeros((300, 2, 4), np.uint8)), np.full((300, 2, 3), 255))
    np.testing.assert_array_equal(image.load(np.zeros((3, 2, 4), np.float32)), np.full((3, 2, 3), 255))
    np.testing.assert_array_equal(image.load(np.dstack([BGR, np.full(BGR.shape[:2], 255, np.uint8)])), BGR)


# Files ---------------------------------------------------------------------------------------------------------------

ORIENTED = [
    ("JPEG", {"quality": 95, "subsampling": 0}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    pytest.param("AVIF", {"quality": 95, "subsampling": "4:4:4"}, marks=needs_avif),
]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), ORIENTED)
def test_exif_orientation(kind: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(RGB), kind, exif=exif, **options)
    tagged = Image.fromarray(RGB)
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged))[..., ::-1]
    assert difference(image.load(data), expected) < 4
    assert difference(image.load(Image.open(io.BytesIO(data))), expected) < 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation_with_alpha(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = Image.fromarray(np.dstack([RGB, np.tile(np.arange(72, dtype=np.uint8) * 3, (48, 1))]))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encode(rgba, kind, exif=exif, **options)
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    expected = np.rot90(np.asarray(white)[..., 2::-1], -1)
    assert difference(image.load(data), expected) < 1
    assert difference(image.load(Image.open(io.BytesIO(data))), expected) < 1


def test_a_pil_image_may_carry_an_orientation() -> None:
    picture = Image.fromarray(RGB)
    picture.getexif()[0x0112] = 3
    np.testing.assert_array_equal(image.load(picture), BGR[::-1, ::-1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP", "WEBP", "GIF", "JPEG2000", None])
def test_modes_of_files(mode: str, kind: str | None) -> None:
    """Palettes, CMYK, 1-bit and so on, against Pillow's own conversion; kind None: the PIL image itself."""
    picture = Image.fromarray(RGB).convert(mode)
    if kind is None:
        source: Any = picture
    else:
        try:
            source = encode(picture, kind, **({"lossless": True} if kind == "WEBP" else {}))
        except (OSError, KeyError, ValueError):
            pytest.skip(f"{kind} has no mode {mode}")
    if kind == "TIFF" and mode == "LA":
        pytest.skip("OpenCV leaves out the alpha of grey TIFFs")
    if kind == "JPEG2000" and mode in {"LA", "CMYK", "YCbCr"}:
        pytest.skip("OpenCV refuses these JPEG 2000, or takes YCbCr for RGB")
    if kind == "GIF" and not hasattr(cv2, "imdecodeanimation"):
        pytest.skip("this OpenCV reads no GIF")
    opened = source if kind is None else Image.open(io.BytesIO(source))
    if kind == "TIFF" and mode == "YCbCr":
        opened = picture  # Pillow 12 cannot read what it wrote
    expected = np.asarray(opened.convert("RGB"))[..., ::-1]
    loaded = image.load(source)
    assert is_picture(loaded)
    # CMYK and YCbCr have no single way back to RGB
    assert difference(loaded, expected) < (14 if mode == "CMYK" and kind == "JPEG" else 2)


def test_transparent_palette() -> None:
    picture = Image.new("P", (4, 2))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1] * 4)
    data = encode(picture, "PNG", transparency=0)
    row = [[255, 255, 255], [255, 0, 0]] * 2
    np.testing.assert_array_equal(image.load(data), [row, row])
    np.testing.assert_array_equal(image.load(Image.open(io.BytesIO(data))), [row, row])


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".jp2", ".pgm"])
def test_16_bits_are_scaled_not_clipped(suffix: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    good, data = cv2.imencode(suffix, ramp)
    assert good
    expected = np.repeat(np.rint(ramp / 257)[..., None], 3, axis=2)
    # JPEG 2000 is lossy here
    assert difference(image.load(data.tobytes()), expected) < (1 if suffix == ".jp2" else 0.01)
    if suffix in {".png", ".tiff"}:
        assert difference(image.load(Image.open(io.BytesIO(data.tobytes()))), expected) < 0.01


def test_16_bits_in_colour_with_alpha() -> None:
    bgra = np.full((4, 5, 4), (65535, 0, 32768, 65535), np.uint16)
    bgra[:, 2:, 3] = 0
    good, data = cv2.imencode(".png", bgra)
    assert good
    loaded = image.load(data.tobytes())
    np.testing.assert_array_equal(loaded[:, :2], np.full((4, 2, 3), (255, 0, 128)))
    np.testing.assert_array_equal(loaded[:, 2:], np.full((4, 3, 3), 255))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P5 2 1 1023\n" + struct.pack(">HH", 1023, 512), [255, 128]),
        (b"P5 2 1 100\n\x64\x32", [255, 128]),
        (b"P2 # a comment\n 2 1 1023\n1023 512\n", [255, 128]),
        (b"P1 2 1\n0 1\n", [255, 0]),
        (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\n\xff\x80", [255, 128]),
        (b"Pf\n2 1\n-1.0\n" + struct.pack("<ff", 1.0, 0.5), [255, 128]),
    ],
)
def test_portable_maps_with_any_white(data: bytes, expected: list[int]) -> None:
    assert image.load(data)[0, :, 1].tolist() == expected


@needs_avif
@pytest.mark.parametrize("depth", [10, 12])
def test_deep_avif(depth: int) -> None:
    grey = np.repeat(BGR[..., :1], 3, axis=2)
    wide = grey.astype(np.uint16) << (depth - 8)
    good, data = cv2.imencode(".avif", wide, [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 95])
    assert good
    assert difference(image.load(data.tobytes()), grey) < 3


def test_floats_beyond_1_in_a_file_are_refused() -> None:
    data = encode(Image.fromarray(np.full((4, 4), 200, np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"values in \[200, 200\], expected \[0, 1\]"):
        image.load(data)


def test_unused_fourth_byte_of_a_bmp() -> None:
    good, data = cv2.imencode(".bmp", np.dstack([BGR, np.zeros(BGR.shape[:2], np.uint8)]))
    assert good
    np.testing.assert_array_equal(image.load(data.tobytes()), BGR)


def test_bytes_after_the_end_do_not_matter() -> None:
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        if kind == "GIF" and not hasattr(cv2, "imdecodeanimation"):
            continue
        data = encode(Image.fromarray(RGB), kind)
        np.testing.assert_array_equal(image.load(data + b"\xff\xd8trailing"), image.load(data))


def test_a_thumbnail_inside_a_jpeg_does_not_end_it() -> None:
    data = encode(Image.fromarray(RGB), "JPEG", quality=95)
    thumbnail = encode(Image.new("RGB", (8, 8)), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    np.testing.assert_array_equal(image.load(data[:2] + segment + data[2:]), image.load(data))
    with pytest.raises(ImageError, match="truncated"):
        image.load((data[:2] + segment + data[2:])[: len(segment) + len(data) // 2])


def test_progressive_jpeg_with_restart_markers() -> None:
    for options in ({"progressive": True}, {"restart_marker_blocks": 1}, {"optimize": True}):
        data = encode(Image.fromarray(RGB), "JPEG", quality=95, subsampling=0, **options)
        assert difference(image.load(data), BGR) < 4


def test_big_tiff_and_thumbnails_in_tiff() -> None:
    data = encode(Image.fromarray(RGB), "TIFF", big_tiff=True)
    assert data[2] == 43
    np.testing.assert_array_equal(image.load(data), BGR)
    small = Image.new("RGB", (8, 8))
    thumbnail = {254: 1}  # NewSubfileType: of reduced resolution
    small.encoderinfo = {"tiffinfo": thumbnail}
    data = encode(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[small])
    assert [frame.shape for frame in image.frames(data)] == [BGR.shape]


# Frames --------------------------------------------------------------------------------------------------------------

COLOURS = [(250, 10, 10), (10, 240, 10), (10, 10, 230), (200, 200, 30), (20, 190, 210)]


def animation(kind: str, **options: Any) -> bytes:
    pictures = [Image.new("RGB", (40, 30), colour) for colour in COLOURS]
    for index, picture in enumerate(pictures):
        picture.paste((0, 0, 0), (index * 5, 10, index * 5 + 5, 20))
    return encode(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GIF", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        pytest.param("AVIF", {"quality": 95, "subsampling": "4:4:4"}, marks=needs_avif),
    ],
)
@pytest.mark.parametrize("batch", [1, 1200 * 2, 1 << 26])
def test_every_frame_in_order(kind: str, options: dict[str, Any], batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind != "TIFF" and not hasattr(cv2, "imdecodeanimation"):
        pytest.skip("this OpenCV reads no animations")
    monkeypatch.setattr(image, "_BATCH_PIXELS", batch)
    data = animation(kind, **options)
    expected = [np.asarray(f.convert("RGB"))[..., ::-1] for f in ImageSequence.Iterator(Image.open(io.BytesIO(data)))]
    loaded = list(image.frames(data))
    assert len(loaded) == len(COLOURS)
    for frame, other in zip(loaded, expected, strict=True):
        assert is_picture(frame)
        assert difference(frame, other) < 3
    np.testing.assert_array_equal(image.load(data), loaded[0])


def test_frames_are_decoded_only_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = cv2.imdecode

    def counting(*arguments: Any) -> Any:
        calls.append(1)
        return decode(*arguments)

    monkeypatch.setattr(cv2, "imdecode", counting)
    frames = image.frames(animation("TIFF"))
    next(frames)
    next(frames)
    assert len(calls) == 2


def test_tiff_pages_of_different_size_and_orientation() -> None:
    pages = [Image.new("L", (30, 20), 50), Image.new("RGB", (10, 40), (1, 2, 3)), Image.new("1", (9, 7), 1)]
    data = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert [frame.shape for frame in image.frames(data)] == [(20, 30, 3), (40, 10, 3), (7, 9, 3)]
    assert [int(frame[0, 0, 0]) for frame in image.frames(data)] == [50, 3, 255]


def test_an_apng_whose_first_picture_is_no_frame() -> None:
    if not hasattr(cv2, "imdecodeanimation"):
        pytest.skip("this OpenCV reads no animations")
    data = animation("PNG", default_image=True)
    assert len(list(image.frames(data))) == len(COLOURS) - 1


def test_frames_of_a_pil_image_start_where_it_stands_and_it_goes_back_there() -> None:
    picture = Image.open(io.BytesIO(animation("TIFF")))
    assert len(list(image.frames(picture))) == len(COLOURS)
    assert picture.tell() == 0
    for index, frame in enumerate(ImageSequence.Iterator(picture)):
        assert difference(image.load(frame), np.asarray(picture.convert("RGB"))[..., ::-1]) == 0
        assert picture.tell() == index


# Limits and the process ----------------------------------------------------------------------------------------------


def test_the_limit_is_inclusive_and_configurable() -> None:
    size = RGB.shape[0] * RGB.shape[1]
    for source in (PNG, BGR, Image.fromarray(RGB)):
        np.testing.assert_array_equal(image.load(source, max_pixels=size), BGR)
        np.testing.assert_array_equal(image.load(source, max_pixels=None), BGR)
        with pytest.raises(ImageTooLargeError, match=r"72 x 48 pixels, more than the limit of 3,455.*max_pixels"):
            image.load(source, max_pixels=size - 1)


def test_the_log_level_of_opencv_comes_back() -> None:
    logging = getattr(cv2.utils, "logging", cv2)
    before = logging.getLogLevel()
    logging.setLogLevel(3)  # warnings
    try:
        broken = encode(Image.fromarray(RGB), "BMP")[:500]

        def work(index: int) -> bool:
            try:
                image.load(broken if index % 2 else PNG)
            except ImageError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(40))) == [True, False] * 20
        assert logging.getLogLevel() == 3
    finally:
        logging.setLogLevel(before)


def test_headers_say_what_pillow_says() -> None:
    for kind, options in [("PNG", {}), ("JPEG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {}), ("PPM", {})]:
        data = encode(Image.fromarray(RGB), kind, **options)
        (header,) = headers.parse(data)
        assert (header.width, header.height, header.frames, header.orientation) == (72, 48, 1, 1), kind
