"""What a picture's file says about itself, read before anything is decoded.

:func:`parse` finds the size of a picture, so that a file of a few bytes that claims 30,000 x 30,000 pixels is refused
before memory is allocated; how many frames it holds; how it has to be turned; and whether the file is complete. The
last matters because decoders fill what is missing from a JPEG with grey, and grey is read as "no text".

Only containers are read here, never pixels: chunks, segments, boxes and tags. Pixels are OpenCV's work.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .errors import ImageError

__all__ = ["Header", "parse", "sniff"]


@dataclass(frozen=True, slots=True)
class Header:
    """One picture of a file, as its header describes it."""

    format: str
    """Name of the format, such as ``"PNG"``."""
    width: int
    """Width in pixels, as stored, before orientation."""
    height: int
    """Height in pixels, as stored, before orientation."""
    frames: int = 1
    """How many frames the animation has; pages of a TIFF are headers of their own."""
    orientation: int = 1
    """EXIF orientation, 1 to 8: how to turn the stored pixels."""
    white: int | None = None
    """Value of white where it is not the largest value of the decoded type, such as 1023 in a 10-bit AVIF."""
    premultiplied: bool = False
    """Whether the decoded colours are already multiplied by alpha."""
    allocation: int = 0
    """Pixels that decoding allocates at least, where that is more than width x height (the tiles of a TIFF)."""
    patches: tuple[tuple[int, bytes], ...] = ()
    """(offset, bytes) to write into the file's bytes before they go to the decoder."""
    keep: tuple[tuple[int, int], ...] = ()
    """(start, end) of the parts of the file that the decoder is to see; empty: all of it."""

    def encoded(self, data: bytes) -> bytes:
        """The bytes for the decoder, from the bytes of the file."""
        if self.patches:
            copy = bytearray(data)
            for offset, new in self.patches:
                copy[offset : offset + len(new)] = new
            return bytes(copy)
        return b"".join(data[a:b] for a, b in self.keep) if self.keep else data


def sniff(data: bytes) -> str:
    """Name the format of a picture by the first bytes of its file (64 are enough).

    Raises:
        ImageError: the file is empty, or of a format that is not read here.
    """
    if not data:
        raise ImageError("the file is empty: copy or download it again")
    for name, pattern, _ in _FORMATS:
        if re.match(pattern, data, re.DOTALL):
            return name
    for pattern, advice in _KNOWN_BUT_NOT_READ:
        if re.match(pattern, data, re.DOTALL):
            raise ImageError(advice)
    raise ImageError(
        f"not a picture of a known format (it starts with {data[:12]!r}): give one of "
        + ", ".join(dict.fromkeys(name for name, _, _ in _FORMATS))
    )


def parse(data: bytes) -> tuple[Header, ...]:
    """Read the header of a picture: one for each page of a TIFF, else a single one.

    Raises:
        ImageError: the file is empty, of an unknown format, truncated or damaged.
    """
    name = sniff(data[:64])
    reader = next(reader for known, _, reader in _FORMATS if known == name)
    try:
        pages = reader(data)
    except (struct.error, IndexError):
        raise _truncated(name, len(data)) from None
    for page in pages:
        if page.width < 1 or page.height < 1:
            raise ImageError(f"its header says {page.width} x {page.height} pixels: the {name} is damaged")
    return pages


def _truncated(name: str, size: int) -> ImageError:
    return ImageError(f"the {name} is truncated: it ends after {size:,} bytes, too early; copy or download it again")


def _damaged(name: str, what: str) -> ImageError:
    return ImageError(f"the {name} is damaged: {what}; copy or download it again")


# PNG -----------------------------------------------------------------------------------------------------------------

# Chunks that make the pixels. The others are withheld from the decoder: it has warnings about colour profiles to print,
# and their damage does not matter.
_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}


def _png(data: bytes) -> tuple[Header, ...]:
    if data[12:16] != b"IHDR":
        raise _damaged("PNG", "its first chunk is not IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    view = memoryview(data)
    keep = [(0, 8)]
    frames, orientation, position = 1, 1, 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _truncated("PNG", len(data))
        if kind in _PNG_PIXELS:
            if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise _damaged("PNG", f"the checksum of its {kind.decode()} chunk at byte {position:,} is wrong")
            keep.append((position, end))
        if kind == b"acTL":
            frames = max(1, struct.unpack_from(">I", data, position + 8)[0])
        elif kind == b"eXIf":
            orientation = _exif(data[position + 8 : end - 4])
        elif kind == b"IEND":
            return (Header("PNG", width, height, frames, orientation, keep=tuple(keep)),)
        position = end


# JPEG ----------------------------------------------------------------------------------------------------------------

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
"""The next marker in coded data: not a stuffed 0xFF00, not a restart marker."""
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


def _jpeg(data: bytes) -> tuple[Header, ...]:
    size: tuple[int, int] | None = None
    orientation, position, coded = 1, 2, False
    while True:
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            raise _truncated("JPEG", len(data))
        marker, position = found[1][0], found.end()
        if marker == 0xD9:
            if size is None or not coded:
                raise _damaged("JPEG", "it ends before its first scan")
            return (Header("JPEG", size[0], size[1], orientation=orientation),)
        if marker in {0x01, 0xD8}:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_FRAMES and size is None:
            height, width = struct.unpack_from(">HH", data, position + 3)
            size = (width, height)
            if not width or not height:
                return (Header("JPEG", width, height),)
        elif marker == 0xE1 and orientation == 1 and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = _exif(data[position + 8 : position + length])
        elif marker == 0xDA:
            coded = True
        position += length


# TIFF, and EXIF, which is a TIFF without pixels ----------------------------------------------------------------------

_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


class _Tag(NamedTuple):
    """The first value of a tag, and where it is stored, as a struct format."""

    value: int
    offset: int
    code: str


def _directory(data: bytes, order: str, big: bool, offset: int) -> tuple[dict[int, _Tag], int]:
    """Read the integer tags of a TIFF's directory, and the offset of the next directory (0: none)."""
    count_code, entry_size, inline = ("Q", 20, 8) if big else ("H", 12, 4)
    word = "Q" if big else "I"
    (count,) = struct.unpack_from(order + count_code, data, offset)
    start = offset + struct.calcsize(order + count_code)
    if start + count * entry_size > len(data):
        raise _truncated("TIFF", len(data))
    tags = {}
    for position in range(start, start + count * entry_size, entry_size):
        tag, kind, values = struct.unpack_from(f"{order}HH{word}", data, position)
        code = _TIFF_TYPES.get(kind)
        if code is None or not values:
            continue
        at = position + entry_size - inline
        if values * struct.calcsize(code) > inline:
            (at,) = struct.unpack_from(order + word, data, at)
        if at + struct.calcsize(code) <= len(data):
            tags[tag] = _Tag(struct.unpack_from(order + code, data, at)[0], at, order + code)
    following = start + count * entry_size
    return tags, struct.unpack_from(order + word, data, following)[0] if following + inline <= len(data) else 0


def _exif(data: bytes) -> int:
    """The orientation that EXIF data give, 1 to 8; 1 where they are damaged: a wrong tag is no reason to refuse."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return 1
    try:
        tags, _ = _directory(data, order, False, struct.unpack_from(order + "I", data, 4)[0])
    except (struct.error, ImageError):
        return 1
    return _orientation(tags)


def _orientation(tags: dict[int, _Tag]) -> int:
    value = tags[274].value if 274 in tags else 1
    return value if 1 <= value <= 8 else 1


def _tiff(data: bytes) -> tuple[Header, ...]:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    word, first = (order + "Q", 8) if big else (order + "I", 4)
    (offset,) = struct.unpack_from(word, data, first)
    pages: list[Header] = []
    extras: list[Header] = []
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        at = offset
        tags, offset = _directory(data, order, big, at)
        value = {tag: entry.value for tag, entry in tags.items()}
        # The decoder starts at the first directory and turns the page itself in some cases only, so each page's
        # directory is made the first, and its orientation the normal one.
        patches = [(first, struct.pack(word, at))]
        if 274 in tags:
            patches.append((tags[274].offset, struct.pack(tags[274].code, 1)))
        alpha = value.get(338, 0)
        page = Header(
            "TIFF",
            value.get(256, 0),
            value.get(257, 0),
            orientation=_orientation(tags),
            # libtiff multiplies straight alpha (2) in only where it converts to 8 bits.
            premultiplied=alpha == 1 or (alpha == 2 and value.get(258, 8) <= 8),
            allocation=value.get(322, 0) * value.get(323, 0),
            patches=tuple(patches),
        )
        # Thumbnails (1) and masks (4) are not pages.
        (extras if value.get(254, 0) & 5 else pages).append(page)
    if not pages and not extras:
        raise _damaged("TIFF", "it has no pages")
    return tuple(pages or extras)


# GIF -----------------------------------------------------------------------------------------------------------------


def _gif(data: bytes) -> tuple[Header, ...]:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x21:
            position += 2
        elif data[position] == 0x2C:
            left, top, w, h, flags = struct.unpack_from("<HHHHB", data, position + 1)
            if left + w > width or top + h > height:
                raise _damaged("GIF", f"frame {frames} reaches beyond the picture")
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            frames += 1
        else:
            raise _damaged("GIF", f"there is no block at byte {position:,}")
        while data[position]:
            position += data[position] + 1
        position += 1
    if not frames:
        raise _truncated("GIF", len(data))
    # A missing trailer alone loses nothing, but the decoder wants it.
    patches = ((position, b";"),) if position >= len(data) else ()
    return (Header("GIF", width, height, frames, patches=patches),)


# WebP ----------------------------------------------------------------------------------------------------------------


def _webp(data: bytes) -> tuple[Header, ...]:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise _truncated("WebP", len(data))
    width = height = frames = 0
    orientation, position = 1, 12
    while position + 8 <= size + 8:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if kind == b"VP8X":
            width = 1 + int.from_bytes(data[body + 4 : body + 7], "little")
            height = 1 + int.from_bytes(data[body + 7 : body + 10], "little")
        elif kind == b"VP8 " and not width:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, body + 6))
        elif kind == b"VP8L" and not width:
            (bits,) = struct.unpack_from("<I", data, body + 1)
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            orientation = _exif(data[body : body + length])
        position = body + length + length % 2
    return (Header("WebP", width, height, max(1, frames), orientation),)


# AVIF ----------------------------------------------------------------------------------------------------------------


def _boxes(data: bytes, kind: bytes) -> Iterator[int]:
    """Where the bodies of the boxes of a kind start, at whatever depth. Coded data may hold the name by chance; a size
    read there can only be refused, not believed, since the decoder checks its own."""
    position = data.find(kind)
    while position >= 0:
        yield position + 4
        position = data.find(kind, position + 4)


def _avif(data: bytes) -> tuple[Header, ...]:
    # Of the sizes of the picture, its alpha plane, thumbnails and grid cells, the picture's is the largest.
    sizes = [struct.unpack_from(">II", data, at + 4) for at in _boxes(_before_media(data), b"ispe")]
    if not sizes:
        raise _damaged("AVIF", "it gives no size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    # imir mirrors after irot has turned, counterclockwise; together they make an EXIF orientation.
    turn = next((data[at] & 3 for at in _boxes(_before_media(data), b"irot")), 0)
    mirror = next((data[at] & 1 for at in _boxes(_before_media(data), b"imir")), None)
    orientation = {None: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}[mirror][turn]
    depth = next((data[at + 2] for at in _boxes(_before_media(data), b"av1C")), 0)
    white = 4095 if depth & 0x20 else 1023 if depth & 0x40 else None
    frames = 1
    if data[8:12] == b"avis":
        frames = max((struct.unpack_from(">I", data, at + 8)[0] for at in _boxes(data, b"stsz")), default=1)
    return (Header("AVIF", width, height, max(1, frames), orientation, white),)


def _before_media(data: bytes) -> bytes:
    """The boxes that describe the picture, without its coded data."""
    end = data.find(b"mdat")
    return data if end < 0 or b"ispe" not in data[:end] else data[:end]


# The rest ------------------------------------------------------------------------------------------------------------


def _bmp(data: bytes) -> tuple[Header, ...]:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return (Header("BMP", width, abs(height)),)


def _jpeg2000(data: bytes) -> tuple[Header, ...]:
    start = data.find(b"\xff\x4f\xff\x51")
    # The end mark cannot occur in coded data.
    if start < 0 or data.find(b"\xff\xd9", start) < 0:
        raise _truncated("JPEG 2000", len(data))
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    bits = (data[start + 42] & 0x7F) + 1
    white = (1 << bits) - 1 if bits not in {8, 16} else None
    return (Header("JPEG 2000", right - left, bottom - top, white=white),)


_PNM_TOKENS = re.compile(rb"P[1-6Ff](?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)(?:(?:\s+|#[^\n]*\n)+(\d+))?")


def _pnm(data: bytes) -> tuple[Header, ...]:
    white: int | None = None
    if data[:2] == b"P7":
        head = data[: data.find(b"ENDHDR")]
        found = [re.search(key + rb"\s+(\d{1,9})\b", head) for key in (rb"WIDTH", rb"HEIGHT", rb"MAXVAL")]
        if any(match is None for match in found):
            raise _truncated("PNM", len(data))
        width, height, white = (int(match[1]) for match in found if match is not None)
    else:
        match = _PNM_TOKENS.match(data[:4096])
        if match is None:
            raise _truncated("PNM", len(data))
        width, height = int(match[1][:10]), int(match[2][:10])
        if data[1:2] in b"2356" and match[3]:
            white = int(match[3])
    return (Header("PNM", width, height, white=None if white in {255, 65535} else white),)


def _hdr(data: bytes) -> tuple[Header, ...]:
    match = re.search(rb"\n([-+])Y (\d{1,10}) ([-+])X (\d{1,10})\n", data[:65536])
    if match is None:
        raise _damaged("Radiance HDR", "it gives no size")
    return (Header("Radiance HDR", int(match[4]), int(match[2])),)


def _sun(data: bytes) -> tuple[Header, ...]:
    width, height = struct.unpack_from(">II", data, 4)
    return (Header("Sun raster", width, height),)


_FORMATS: tuple[tuple[str, bytes, Callable[[bytes], tuple[Header, ...]]], ...] = (
    ("JPEG", rb"\xff\xd8\xff", _jpeg),
    ("PNG", rb"\x89PNG\r\n\x1a\n", _png),
    ("WebP", rb"RIFF....WEBP", _webp),
    ("TIFF", rb"II[*+]\0|MM\0[*+]", _tiff),
    ("GIF", rb"GIF8[79]a", _gif),
    ("BMP", rb"BM.{12}[\x0c-\x7c]\0\0\0", _bmp),
    ("AVIF", rb"....ftyp(avif|avis)", _avif),
    ("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _jpeg2000),
    ("PNM", rb"P[1-7Ff][\s#]", _pnm),
    ("Radiance HDR", rb"#\?(RADIANCE|RGBE)\s", _hdr),
    ("Sun raster", rb"\x59\xa6\x6a\x95", _sun),
)

_KNOWN_BUT_NOT_READ = (
    (rb"%PDF", "it is a PDF: turn its pages into pictures first, such as by: pdftoppm -r 200 -png FILE.pdf page"),
    (rb"....ftyp(hei[cfmsx]|hev[cmsx]|mif1|msf1)", "it is HEIC/HEIF, which is not read: convert it to JPEG or PNG"),
    (rb"....ftyp", "it is a film or of another format of that family: take a frame out as JPEG or PNG"),
    (rb"\s*(<\?xml|<svg|<!DOCTYPE|<html)", "it is SVG, HTML or XML, not a picture of pixels: render it to PNG first"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "it is an archive: unpack it first"),
    (rb"8BPS", "it is a Photoshop file: export it as PNG"),
)
