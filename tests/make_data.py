"""Make the test pictures in ``tests/data`` again: rendered text that looks a little like photos, and its ground truth.

    python tests/make_data.py [DIRECTORY]

Fonts, by their Debian packages: Noto Sans CJK and Noto Serif CJK (fonts-noto-cjk), DejaVu (fonts-dejavu-core),
Liberation (fonts-liberation). The pictures are the same at every run with the same fonts and the same Pillow.

``index.jsonl`` has one object a picture: ``{"image", "source", "width", "height", "lang", "kind", "level", "items"}``,
with an item ``{"quad", "text", "ignore"}`` for each line in reading order. Quads are clockwise from the text's own top
left.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SANS = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
SANS_BOLD = "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc"
SERIF = "/usr/share/fonts/opentype/noto/NotoSerifCJK-Bold.ttc"
MONO = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"
ROMAN = "/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf"
SIMPLIFIED = 2  # index of Simplified Chinese in the Noto collections


Pen = tuple[str, int, tuple[int, int, int]]
"""Font, size in pixels, colour as RGB."""


@dataclass
class Sheet:
    """A sheet that text is set on, and where each line came to stand."""

    image: Image.Image
    lines: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, pen: Pen, *, right: bool = False) -> None:
        """Set a line with its top left (``right``: its top right) at (x, y)."""
        font, size, colour = pen
        loaded = ImageFont.truetype(font, size, index=SIMPLIFIED if font.endswith(".ttc") else 0)
        draw = ImageDraw.Draw(self.image)
        anchor = "ra" if right else "la"
        draw.text((x, y), text, font=loaded, fill=colour, anchor=anchor)
        x0, y0, x1, y1 = draw.textbbox((x, y), text, font=loaded, anchor=anchor)
        pad = size / 16
        corners = [[x0 - pad, y0 - pad], [x1 + pad, y0 - pad], [x1 + pad, y1 + pad], [x0 - pad, y1 + pad]]
        self.lines.append((text, np.array(corners, np.float32)))

    def rule(self, y: int, x0: int, x1: int, colour: Any) -> None:
        """A thin horizontal rule."""
        ImageDraw.Draw(self.image).line((x0, y, x1, y), fill=colour, width=1)


def texture(rng: np.random.Generator, height: int, width: int, colour: tuple[int, ...], strength: float) -> np.ndarray:
    """A plaster-like surface: noise at several scales around a colour; float32, (H, W, 3), RGB."""
    surface = np.zeros((height, width), np.float32)
    for cells in (4, 12, 40, 160):
        noise = rng.standard_normal((cells, cells)).astype(np.float32)
        surface += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.array(colour, np.float32) + strength * surface[..., None]


def photograph(
    sheet: Sheet, rng: np.random.Generator, corners: Any, size: tuple[int, int], table: np.ndarray, *, blur: float
) -> Sheet:
    """Lay a sheet with its corners onto a table of ``size`` (width, height), and blur, light and spoil it a little."""
    page = np.asarray(sheet.image.convert("RGB"), np.float32)
    h, w = page.shape[:2]
    matrix = cv2.getPerspectiveTransform(np.float32([[0, 0], [w, 0], [w, h], [0, h]]), np.float32(corners))
    warped = cv2.warpPerspective(page, matrix, size, flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.ones((h, w), np.float32), matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    photo = warped * mask + table * (1 - mask)
    light = np.linspace(0.86, 1.04, size[0], dtype=np.float32)[None, :, None]
    photo = cv2.GaussianBlur(photo * light, (0, 0), blur) + rng.normal(0, 3, photo.shape)
    moved = [(text, cv2.perspectiveTransform(quad[None], matrix)[0]) for text, quad in sheet.lines]
    return Sheet(Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)), moved)


def receipt() -> Sheet:
    """A receipt from a till on a wooden table, seen at a slant."""
    rng = np.random.default_rng(1)
    sheet = Sheet(Image.fromarray(np.clip(texture(rng, 900, 560, (238, 236, 230), 2.0), 0, 255).astype(np.uint8)))
    ink = (52, 50, 58)
    sheet.text(140, 40, "CORNER BAKERY", (MONO, 36, ink))
    sheet.text(152, 92, "18 Station Road", (MONO, 28, ink))
    sheet.text(128, 132, "Tel 020 7946 0958", (MONO, 28, ink))
    sheet.text(40, 196, "12/03/2024 08:41", (MONO, 28, ink))
    sheet.rule(246, 40, 520, ink)
    y = 266
    for name, price in [
        ("Rye bread", "3.20"),
        ("2x Croissant", "4.50"),
        ("Cappuccino", "2.95"),
        ("Orange juice", "3.10"),
        ("Apple cake", "4.75"),
    ]:
        sheet.text(40, y, name, (MONO, 28, ink))
        sheet.text(520, y, price, (MONO, 28, ink), right=True)
        y += 50
    sheet.rule(y + 4, 40, 520, ink)
    sheet.text(40, y + 22, "TOTAL", (MONO, 36, ink))
    sheet.text(520, y + 22, "18.50", (MONO, 36, ink), right=True)
    sheet.text(40, y + 84, "CASH", (MONO, 28, ink))
    sheet.text(520, y + 84, "20.00", (MONO, 28, ink), right=True)
    sheet.text(40, y + 134, "CHANGE", (MONO, 28, ink))
    sheet.text(520, y + 134, "1.50", (MONO, 28, ink), right=True)
    sheet.text(70, y + 204, "Thank you, come again!", (MONO, 28, ink))
    table = texture(rng, 900, 640, (122, 84, 56), 4.0) + 10 * np.sin(np.arange(900) / 9)[:, None, None]
    return photograph(sheet, rng, [[66, 34], [590, 22], [612, 880], [40, 868]], (640, 900), table, blur=0.7)


def notice() -> Sheet:
    """A Chinese notice painted on a wall."""
    rng = np.random.default_rng(2)
    sheet = Sheet(Image.fromarray(np.clip(texture(rng, 560, 900, (176, 190, 184), 6.0), 0, 255).astype(np.uint8)))
    sheet.text(260, 36, "图书馆开放时间", (SERIF, 54, (150, 24, 28)))
    dark = (38, 48, 56)
    for row, text in enumerate(
        [
            "周一至周五：上午九点到下午六点",
            "周六和周日：上午十点到下午四点",
            "请保持安静，不要带食物进入阅览室",
            "借书请带上学生证，每人最多五本",
        ]
    ):
        sheet.text(110, 150 + 84 * row, text, (SANS, 42, dark))
    sheet.text(800, 490, "二〇二四年三月", (SANS, 34, dark), right=True)
    wall = texture(rng, 560, 900, (150, 160, 154), 8.0)
    return photograph(sheet, rng, [[8, 22], [886, 4], [896, 540], [20, 556]], (900, 560), wall, blur=0.8)


def screen() -> Sheet:
    """A dark settings page with Chinese and English."""
    sheet = Sheet(Image.new("RGB", (760, 480), (30, 33, 40)))
    light, grey, blue = (232, 234, 238), (150, 156, 168), (110, 170, 255)
    sheet.text(32, 22, "设置 Settings", (SANS_BOLD, 32, light))
    sheet.rule(80, 0, 760, (60, 64, 74))
    for row, (name, value) in enumerate(
        [
            ("语言", "简体中文"),
            ("Wi-Fi 网络", "Office-5G"),
            ("存储空间", "128 GB"),
            ("系统版本", "Version 14.2.1"),
            ("电池健康", "96%"),
        ]
    ):
        sheet.text(32, 104 + 60 * row, name, (SANS, 26, light))
        sheet.text(728, 104 + 60 * row, value, (SANS, 26, grey), right=True)
    sheet.text(32, 420, "检查更新 Check for updates", (SANS, 26, blue))
    return sheet


def turned() -> Sheet:
    """A page that lies upside down on the scanner."""
    rng = np.random.default_rng(4)
    sheet = Sheet(Image.fromarray(np.clip(texture(rng, 520, 760, (246, 244, 238), 1.5), 0, 255).astype(np.uint8)))
    ink = (40, 40, 46)
    sheet.text(80, 50, "Delivery note 送货单", (SANS_BOLD, 40, ink))
    for row, text in enumerate(
        [
            "Order number: A-40718",
            "收货人：王小明",
            "Two boxes of printer paper",
            "地址：人民路二十八号",
            "Please sign on delivery",
        ]
    ):
        sheet.text(80, 136 + 66 * row, text, (SANS, 34, ink))
    table = np.full((520, 760, 3), 40, np.float32)
    return photograph(sheet, rng, [[757, 518], [4, 514], [3, 2], [758, 6]], (760, 520), table, blur=0.6)


def columns() -> Sheet:
    """A page of a book in two columns; the left one is read first."""
    rng = np.random.default_rng(5)
    sheet = Sheet(Image.fromarray(np.clip(texture(rng, 620, 900, (250, 248, 240), 1.0), 0, 255).astype(np.uint8)))
    left = [
        "The lighthouse stood alone",
        "at the end of the long pier,",
        "and every evening its lamp",
        "swept slowly over the bay.",
        "Fishing boats came home by",
        "its light, one after another,",
        "until the harbour was full.",
    ]
    right = [
        "In winter the storms threw",
        "spray against the windows.",
        "The keeper wrote the hour",
        "and the wind in a green book,",
        "then climbed the stairs again",
        "to trim the wick and polish",
        "the great lens until it shone.",
    ]
    for x, column in ((56, left), (490, right)):
        for row, text in enumerate(column):
            sheet.text(x, 60 + 72 * row, text, (ROMAN, 32, (34, 32, 30)))
    return sheet


def digits() -> Sheet:
    """One very long line."""
    sheet = Sheet(Image.new("RGB", (1800, 60), (250, 250, 250)))
    sheet.text(
        16, 9, "31415926535897932384626433832795028841971693993751058209749445923078164062", (MONO, 38, (20, 20, 20))
    )
    return sheet


def small() -> Sheet:
    """A parts list in small print: Chinese, English and long numbers, 9 to 16 pixels high."""
    sheet = Sheet(Image.new("RGB", (720, 500), (244, 244, 240)))
    ink = (36, 36, 44)
    rows = [
        ("配件清单 Parts list", "No. 20240317-0086"),
        ("Hex bolt M6 x 25, zinc plated", "8801643712059"),
        ("不锈钢垫圈，外径十二毫米", "6921734900117"),
        ("Timing belt, 180 teeth", "4006381333931"),
        ("锂电池组 48V 20Ah", "9312650874410"),
        ("Serial number", "350047718926004483"),
        ("合同编号", "110105194912310021"),
        ("Account", "6222 0211 0603 4471 895"),
    ]
    y = 16
    for size in (16, 12, 10):
        for name, number in rows:
            sheet.text(24, y, name, (SANS, size, ink))
            sheet.text(690, y, number, (MONO, size, ink), right=True)
            y += round(size * 1.55)
        y += 8
    return sheet


def meters() -> Sheet:
    """Labels of meters: numbers of 12 to 20 digits, some with one digit over and over."""
    rng = np.random.default_rng(8)
    sheet = Sheet(Image.fromarray(np.clip(texture(rng, 420, 640, (206, 208, 204), 3.0), 0, 255).astype(np.uint8)))
    ink = (30, 32, 36)
    numbers = ["000012113344", "77700011122299", "5550123444490001", "901111000088887777", "20241103081500736642"]
    for row, number in enumerate(numbers):
        sheet.text(40, 30 + 74 * row, number, (MONO if row % 2 else ROMAN, 30 - 3 * row, ink))
        sheet.text(600, 34 + 74 * row, f"kWh {row + 1}", (SANS, 20, ink), right=True)
    table = texture(rng, 420, 660, (96, 104, 110), 5.0)
    return photograph(sheet, rng, [[14, 10], [648, 4], [640, 412], [22, 404]], (660, 420), table, blur=0.5)


PICTURES = (
    ("receipt.jpg", receipt, "en", "receipt"),
    ("notice.jpg", notice, "zh", "scene"),
    ("screen.png", screen, "zh", "screen"),
    ("turned.jpg", turned, "zh", "doc"),
    ("columns.jpg", columns, "en", "doc"),
    ("digits.png", digits, "en", "crop"),
    ("small.png", small, "zh", "doc"),
    ("meters.jpg", meters, "en", "scene"),
)


def main() -> None:
    """Write the pictures and their index."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for name, make, lang, kind in PICTURES:
        sheet = make()
        keywords: dict[str, Any] = {"quality": 80} if name.endswith(".jpg") else {"optimize": True}
        sheet.image.save(folder / name, **keywords)
        items = [
            {"quad": [[round(float(x), 1), round(float(y), 1)] for x, y in quad], "text": text, "ignore": False}
            for text, quad in sheet.lines
        ]
        size = {"width": sheet.image.width, "height": sheet.image.height}
        records.append(
            {"image": name, "source": "rendered", **size, "lang": lang, "kind": kind, "level": "line", "items": items}
        )
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (folder / "index.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
