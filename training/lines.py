"""Rendered text lines for the recogniser and the angle classifier.

`Lines(seed).sample()` gives a BGR crop as a detector would cut it, and its text: receipts, meters, invoices, boards,
plates, codes, English with its spaces, simplified and traditional Chinese, and mixtures; then print, light, camera
and cutting as they go wrong in practice: dot-matrix and thermal print, blur, noise, JPEG, small text, slant,
neighbours' strokes.

    python -m training.lines SHEET.png [--seed 0] [--photos PHOTOS]                 # a sheet of samples to look at
    python -m training.lines LINES.pickle --count 20000 [--seed 0] [--photos PHOTOS]   # drawn once, for `read_drawn`
"""

import argparse
import functools
import pickle
import random
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training import corpus

Picture = npt.NDArray[np.uint8]

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
HEIGHTS = {"plate": (12, 32), "serial": (8, 18), "rare": (24, 64), "block": (40, 64)}
"""Pixels, where they are not those of all kinds."""
KINDS = {
    "number": 20, "serial": 7, "mixed": 15, "english": 16, "chinese": 23, "traditional": 8, "rare": 2, "plate": 4,
    "character": 2, "rule": 2, "blank": 3,
}  # fmt: skip
"""How often each kind of text is drawn."""
PLATE = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNITS = ("kg", "g", "ml", "L", "kWh", "MPa", "°C", "m³", "km/h", "mm", "V", "A", "Hz", "PCS", "元", "吨")
RECEIPT = (
    "Total", "Sub Total", "TOTAL AMOUNT", "Cash", "CASH", "Change", "Rounding Adj", "GST 6%", "Tax Invoice",
    "TAX INVOICE NO", "GST Reg No", "Tel", "TEL", "Fax", "Date", "Time", "Invoice No", "Receipt #", "Cashier",
    "Table", "Qty", "QTY", "Price", "Amount (RM)", "Disc", "Item", "Thank You", "Please come again",
    "Company Reg No", "Bill No", "Order No", "Member", "Balance", "Service Charge (10%)", "Unit Price", "S/P",
    "Incl. GST @ 6%", "SDN BHD", "JALAN", "No.", "Ref", "Card No", "VISA", "Approval Code", "Terminal ID",
    "Total Qty", "Round Amt", "合计", "小计", "金额", "数量", "单价", "税额", "发票号码", "开票日期", "电话",
    "地址", "收银员", "实收", "找零", "编号", "日期", "时间",
)  # fmt: skip


class Texts:
    """Random texts, by kind."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.corpus = corpus.Texts(rng)

    def digits(self, low: int, high: int) -> str:
        """Digits with the runs of one digit that CTC finds hard."""
        rng, out = self.rng, ""
        length = rng.randint(low, high)
        while len(out) < length:
            out += rng.choice("0123456789") * (rng.randint(2, 5) if rng.random() < 0.18 else 1)
        return out[:length]

    def amount(self) -> str:
        rng = self.rng
        value = rng.choice((rng.randint(0, 999), rng.randint(0, 99999), rng.randint(0, 9999999)))
        whole, cents = divmod(value, 100)
        text = f"{whole:,}" if rng.random() < 0.5 else str(whole)
        text += rng.choice((f".{cents:02d}",) * 6 + (f".{cents % 10}", f".{cents:02d}0", "", f",{cents:02d}"))
        if rng.random() < 0.4:
            text = rng.choice(("$", "RM", "RM ", "¥", "￥", "€", "-", "(", "USD ", "£", "$ ", "@", "x ")) + text
        if rng.random() < 0.2:
            text += rng.choice(("-", "%", " SR", " S", "*", ")", " T", "元", " x", " @", " Z", " RM"))
        return text

    def date(self) -> str:
        rng = self.rng
        y, m, d = rng.randint(1990, 2030), rng.randint(1, 12), rng.randint(1, 28)
        h, n, s = rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)
        month = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"][m - 1]
        day = rng.choice(
            (
                f"{d:02d}/{m:02d}/{y}",
                f"{d}/{m}/{y}",
                f"{d:02d}-{m:02d}-{y}",
                f"{y}-{m:02d}-{d:02d}",
                f"{d:02d}.{m:02d}.{y}",
                f"{y}/{m:02d}/{d:02d}",
                f"{d} {month} {y}",
                f"{d:02d}-{month}-{y % 100:02d}",
                f"{y}年{m}月{d}日",
                f"{month.title()} {d}, {y}",
                f"{d:02d}/{m:02d}/{y % 100:02d}",
            )
        )
        clock = rng.choice(
            (
                f"{h:02d}:{n:02d}",
                f"{h:02d}:{n:02d}:{s:02d}",
                f"{h % 12}:{n:02d} PM",
                f"{h % 12 or 12:02d}:{n:02d}:{s:02d} AM",
                f"{h}:{n:02d}pm",
            )
        )
        return rng.choice((day, clock, f"{day} {clock}", f"{day} {clock}", f"{clock} {day}"))

    def code(self) -> str:
        """Serial, part and document numbers."""
        rng = self.rng
        parts = []
        for _ in range(rng.randint(1, 4)):
            kind = rng.random()
            if kind < 0.45:
                parts.append(self.digits(1, 8))
            elif kind < 0.65:
                parts.append("".join(rng.choices(UPPER, k=rng.randint(1, 4))))
            else:
                parts.append("".join(rng.choices(UPPER + "0123456789" * 3, k=rng.randint(2, 8))))
        text = rng.choice(("-", "-", "/", ".", "", "", " ", "_", ":", "#", "*")).join(parts)
        return rng.choice(("", "", "", "", "#", "-", "*", "No.", "(", "S/N:", "+", "=")) + text

    def phone(self) -> str:
        rng = self.rng
        d = self.digits
        return rng.choice(
            (
                f"{d(2, 4)}-{d(7, 8)}",
                f"1{d(10, 10)}",
                f"+{d(2, 2)} {d(3, 3)} {d(4, 4)} {d(4, 4)}",
                f"({d(3, 3)}) {d(3, 3)}-{d(4, 4)}",
                f"400-{d(3, 3)}-{d(4, 4)}",
            )
        )

    def rule(self) -> str:
        """A row of one sign, as between the parts of a receipt."""
        rng = self.rng
        sign = rng.choice(("*", "*", "*", "-", "=", "#", "+", ".", "x", "~", "* ", "- ", "=-", "*-"))
        return (sign * rng.randint(3, 40))[: rng.randint(4, 44)].strip()

    def ratio(self) -> str:
        rng = self.rng
        a, b = rng.randint(0, 999), rng.randint(0, 9999)
        return rng.choice(
            (
                f"{a}%",
                f"({a}/{b})",
                f"{a}:{b}",
                f"{a / 10}%",
                f"{b / 100:.2f}",
                f"{b / 1000:.3f} {rng.choice(UNITS)}",
                f"{a}x{b}",
                f"{a} x {b / 100:.2f}",
                f"-{a / 10}",
                f"{b}{rng.choice(UNITS)}",
                f"{a}*{b}",
                f"{a}~{b}",
                f"±{a / 100}",
                f"φ{a}",
            )
        )

    def plate(self) -> str:
        """A number plate's text; the dot behind its second character is a rivet or ornament and no part of it."""
        rng = self.rng
        rest = rng.choices(PLATE, k=5 if rng.random() < 0.85 else 6)
        return rng.choice(PROVINCES) + rng.choice(PLATE[:24]) + "".join(rest)

    def number(self) -> str:
        rng = self.rng
        make = rng.choice(
            (
                lambda: self.digits(1, 6),
                lambda: self.digits(6, 14),
                lambda: self.digits(12, 24),
                self.amount,
                self.amount,
                self.date,
                self.date,
                self.code,
                self.code,
                self.phone,
                self.ratio,
                self.ratio,
            )
        )
        return make()

    def english(self) -> str:
        """Words with their spaces, in the case that signs, forms and receipts have them."""
        rng = self.rng
        text = self.corpus.english(rng.choice((1, 1, 1, 2, 2, 3, 4, 5, 6, 7)))
        kind = rng.random()
        text = text.upper() if kind < 0.35 else text.title() if kind < 0.55 else text.lower() if kind < 0.6 else text
        if rng.random() < 0.2:
            words = text.split(" ")
            i = rng.randrange(len(words))
            words[i] += rng.choice((",", ".", ":", ";", "!", "?", "'s", "-", "/", "&", ")", "..."))
            text = " ".join(words)
        return text

    def mixed(self) -> str:
        """A label and a value, as forms, receipts and screens have them."""
        rng = self.rng
        label = (
            rng.choice(RECEIPT)
            if rng.random() < 0.6
            else self.english()
            if rng.random() < 0.5
            else self.corpus.chinese(rng.randint(1, 5))
        )
        return label + rng.choice((": ", ":", " : ", " ", ".", "：", " - ", "  ", "")) + self.number()

    def chinese(self) -> str:
        rng = self.rng
        text = self.corpus.chinese(rng.choice((1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 10, 12, 16)))
        kind = rng.random()
        if kind < 0.12:
            i = rng.randint(0, len(text))
            text = text[:i] + rng.choice((self.digits(1, 4), self.ratio(), "NPC", self.code())) + text[i:]
        elif kind < 0.25:
            i = rng.randint(1, len(text))
            text = text[:i] + rng.choice("，。：、；！？（）《》“”·—/-.:,!") + text[i:]
        if rng.random() < 0.12:
            i = rng.randrange(len(text))
            j = rng.randint(i + 1, len(text))
            before, after = rng.choice(("《》", "《》", "“”", "（）", "()", "【】", "「」"))
            text = text[:i] + before + text[i:j] + after + text[j:]
        if rng.random() < 0.3:
            text += rng.choice(("。", "。", "。", "！", "？", "：", "，", "；", "……", "——", "(0/1)", "1份！", "、"))
        return text

    def rare(self) -> str:
        """Chinese characters that words seldom have."""
        return self.corpus.rare(self.rng.choice((1, 2, 3, 4, 5, 7)))

    def sample(self) -> tuple[str, str]:
        """(kind, text)."""
        rng = self.rng
        kind = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        if kind == "character":
            return kind, rng.choice("0123456789" * 2 + UPPER + UPPER.lower() + "%@&*#$+-()/:.")
        if kind == "serial":
            return kind, self.digits(12, 24)
        if kind == "blank":  # only its size counts
            return kind, self.digits(1, 12)
        if kind == "traditional":
            return kind, self.corpus.traditional(rng.choice((1, 2, 3, 4, 5, 7, 7, 8, 10, 14)))
        text = getattr(self, kind)()
        return kind, " ".join(text.split()) or "0"


@functools.lru_cache(maxsize=512)
def _font(path: str, index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, index=index)


def ink(text: str, font: ImageFont.FreeTypeFont, spacing: float = 0.0) -> tuple[Picture, tuple[int, int, int, int]]:
    """Text drawn white on black with room around it, and the box of its line: left, top, right, bottom.

    The line is at least as high as a digit, so that a dash or a point keeps its size and place.
    """
    size = int(font.size)
    advance = [font.getlength(c) + spacing * size for c in text] if spacing else [font.getlength(text)]
    width, room = int(sum(advance)) + 1, size
    image = Image.new("L", (width + 2 * room, 3 * size))
    draw = ImageDraw.Draw(image)
    baseline = 2 * size
    if spacing:
        x = float(room)
        for c, step in zip(text, advance, strict=True):
            draw.text((x, baseline), c, fill=255, font=font, anchor="ls")
            x += step
    else:
        draw.text((room, baseline), text, fill=255, font=font, anchor="ls")
    left, top, right, bottom = image.getbbox() or (room, baseline - size // 2, room + width, baseline)
    if bottom - top < 0.6 * size:
        top, bottom = min(top, baseline - int(0.7 * size)), max(bottom, baseline)
    return np.array(image), (left, top, right, bottom)


@functools.lru_cache(maxsize=200)
def _photo(path: Path) -> Picture:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path} is no picture")
    return np.asarray(picture, np.uint8)


class Lines:
    """Endless random lines; the same seed gives the same lines."""

    def __init__(self, seed: int, photos: Path | None = None) -> None:
        self.rng = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self.texts = Texts(self.rng)
        self.photos = sorted(photos.glob("*.jpg")) if photos else []
        self.fonts = corpus.Fonts()
        self.before: Picture | None = None

    def field(self, height: int, width: int, cell: float) -> npt.NDArray[np.float32]:
        """Smooth noise in [-1, 1], changing over about `cell` pixels."""
        small = self.noise.uniform(-1, 1, (max(2, round(height / cell)), max(2, round(width / cell)))).astype(
            np.float32
        )
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)

    def dots(self, mask: Picture, height: int) -> Picture:
        """Redraw ink as a dot-matrix printer or display would, about `height` dots to a line."""
        rows = max(5, round(height * mask.shape[0]))
        thick = cv2.dilate(mask, np.ones((max(2, mask.shape[0] // (2 * rows)),) * 2, np.uint8))
        small = (
            cv2.resize(thick, (max(1, round(rows * mask.shape[1] / mask.shape[0])), rows), interpolation=cv2.INTER_AREA)
            > 95
        )
        pitch = max(3, round(mask.shape[0] / rows))
        dot = np.zeros((pitch, pitch), np.uint8)
        cv2.circle(dot, (pitch // 2, pitch // 2), max(1, int(pitch * self.rng.uniform(0.35, 0.55))), 255, -1)
        return np.asarray(
            cv2.resize(np.kron(small.astype(np.uint8), dot), mask.shape[::-1], interpolation=cv2.INTER_AREA)
        )

    def photo(self, height: int, width: int) -> npt.NDArray[np.float32]:
        """A piece of a photo, at times so much enlarged that little is on it."""
        picture = _photo(self.rng.choice(self.photos))
        h, w = picture.shape[:2]
        tall = min(h, max(4, round(h * self.rng.uniform(0.03, 0.3))))
        wide = min(w, max(4, tall * width // height))
        y, x = self.rng.randint(0, h - tall), self.rng.randint(0, w - wide)
        return cv2.resize(picture[y : y + tall, x : x + wide], (width, height)).astype(np.float32)

    def colours(self, kind: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Paper and ink, BGR."""
        rng = self.rng
        style = rng.random()
        if kind == "plate":
            pairs = (
                ((180, 80, 20), (245, 245, 245)),
                ((30, 190, 240), (20, 20, 20)),
                ((120, 200, 110), (20, 20, 20)),
                ((235, 235, 235), (20, 20, 20)),
            )
            paper, pen = (
                np.array(c, np.float32) + self.noise.uniform(-20, 20, 3).astype(np.float32)
                for c in pairs[rng.choices(range(4), (7, 1, 1, 1))[0]]
            )
            return paper * rng.uniform(0.4, 1.1), pen * rng.uniform(0.6, 1.05)
        if style < 0.55:
            paper = rng.uniform(150, 255) + self.noise.uniform(-14, 14, 3)
            pen = rng.uniform(0, 0.62) * paper.mean() + self.noise.uniform(-12, 12, 3)
        elif style < 0.7:
            paper = rng.uniform(0, 110) + self.noise.uniform(-20, 20, 3)
            pen = rng.uniform(paper.mean() + 70, 255) + self.noise.uniform(-25, 25, 3)
        else:
            for _ in range(50):
                paper, pen = self.noise.uniform(0, 255, 3), self.noise.uniform(0, 255, 3)
                if abs(float((paper - pen) @ (0.114, 0.587, 0.299))) > 55:
                    break
            else:
                paper, pen = np.full(3, 230.0), np.full(3, 40.0)
        return paper.astype(np.float32), pen.astype(np.float32)

    def sample(self) -> tuple[Picture, str]:
        """A BGR crop, 8 to 64 pixels high, and its text; now and then there is none on it."""
        kind, text = self.texts.sample()
        drawn = text[:2] + "·" + text[2:] if kind == "plate" and self.rng.random() < 0.75 else text
        return self.draw(kind, drawn), "" if kind == "blank" else text

    def plain(self, text: str, height: float) -> Picture:
        """A crop of the text as it is printed: one colour on another, a good deal apart; a little loose."""
        rng = self.rng
        face = self.fonts.pick(rng, text)
        mask, (left, top, right, bottom) = ink(text, _font(face.path, face.index, 40))
        room = round(0.1 * (bottom - top))
        mask = mask[top - room : bottom + room, left - room : right + room]
        rows = round(1.2 * height)
        size = (max(1, round(mask.shape[1] * rows / mask.shape[0])), rows)
        small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        dark, light = rng.uniform(0, 90), rng.uniform(170, 255)
        paper, pen = rng.choice(((light, dark), (light, dark), (dark, light)))
        grey = (paper + (pen - paper) * (small / 255.0)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, 2)

    def draw(self, kind: str, text: str, height: float | None = None) -> Picture:
        """A crop of the text; `height` fixes the pixels of the line's height."""
        rng, noise = self.rng, self.noise
        face = self.fonts.pick(rng, text)
        if kind == "plate":  # as a rule without serifs
            tries = (self.fonts.pick(rng, text) for _ in range(6))
            face = next((f for f in tries if "Sans" in f.family or "Hei" in f.family), face)
        block = kind in ("traditional", "rare") and rng.random() < 0.4  # a woodblock print
        if height is None:
            height = min(64.0, 8 * 8 ** rng.betavariate(1.6, 1.5))
            if block or kind in HEIGHTS:
                height = rng.uniform(*HEIGHTS["block" if block else kind])
        size = round(min(44, max(20, 1.5 * height)))
        spaced = kind == "plate" or block or rng.random() < 0.25
        spacing = rng.uniform(0.05 if kind == "plate" else -0.04, 0.3) if spaced else 0.0
        mask, (left, top, right, bottom) = ink(text, _font(face.path, face.index, size), spacing)
        if kind == "rule":  # as high as its sign
            rows = np.flatnonzero(mask.any(1))
            top, bottom = int(rows[0]), int(rows[-1]) + 1
        tall = bottom - top

        if text.isascii() and rng.random() < 0.07:
            mask = self.dots(mask, rng.randint(9, 16) / tall)
        elif block or rng.random() < 0.15:
            kernel = np.ones((2, 2) if rng.random() < 0.7 else (3, 3), np.uint8)
            mask = np.asarray(
                cv2.dilate(mask, kernel) if rng.random() < 0.7 or size < 30 else cv2.erode(mask, kernel[:2, :2])
            )
        if kind == "blank":
            mask = np.zeros_like(mask)
        if self.before is not None and rng.random() < 0.25:  # a line above or below reaches in
            other = self.before[:, : mask.shape[1]]
            gap = round(rng.uniform(-0.04, 0.3) * tall)
            base = bottom + gap if rng.random() < 0.5 else top - gap - other.shape[0]
            y0, y1 = max(0, base), min(mask.shape[0], base + other.shape[0])
            if y1 > y0:
                x0 = max(0, left - rng.randint(0, size))
                part = other[y0 - base : y1 - base, : mask.shape[1] - x0]
                region = mask[y0:y1, x0 : x0 + part.shape[1]]
                np.maximum(region, part, out=region)
        self.before = np.ascontiguousarray(mask[top:bottom, left:right])
        if rng.random() < 0.06:
            y = (
                bottom + rng.randint(1, max(2, tall // 6))
                if rng.random() < 0.75
                else top - rng.randint(1, max(2, tall // 6))
            )
            cv2.line(mask, (0, y), (mask.shape[1], y + rng.randint(-1, 1)), rng.randint(120, 255), rng.randint(1, 2))
        if rng.random() < 0.03:
            x = (
                right + rng.randint(1, max(2, tall // 4))
                if rng.random() < 0.5
                else left - rng.randint(1, max(2, tall // 4))
            )
            cv2.line(mask, (x, 0), (x, mask.shape[0]), rng.randint(120, 255), rng.randint(1, 2))

        # where the crop's corners lie in the drawing: loose or tight, slanted, turned, in perspective
        loose = rng.random() < 0.8
        above, below = (tall * (rng.uniform(0, 0.22) if loose else rng.uniform(-0.05, 0.03)) for _ in range(2))
        before, after = (tall * (rng.uniform(0, 0.4) if loose else rng.uniform(-0.04, 0.06)) for _ in range(2))
        quad = np.array(
            [
                [left - before, top - above],
                [right + after, top - above],
                [right + after, bottom + below],
                [left - before, bottom + below],
            ],
            np.float32,
        )
        if rng.random() < 0.2:
            quad[:2, 0] += rng.uniform(-0.3, 0.3) * tall
        if rng.random() < 0.4:
            quad[[1, 2], 1] += rng.uniform(-1, 1) * min(0.18 * tall, 0.06 * (right - left))
        if rng.random() < 0.3:
            quad += noise.uniform(-0.06, 0.06, (4, 2)).astype(np.float32) * tall
        scale = height / tall
        rows = max(6, round((bottom - top + above + below) * scale))
        columns = max(4, round((right - left + before + after) * scale * rng.uniform(0.88, 1.14)))
        if kind == "plate":  # narrow letters
            columns = max(4, round(columns * rng.uniform(0.55, 0.95)))
        detail = 2 if rows < 24 else 1  # small lines are drawn twice as large, then shrunk, as a lens does
        big = (columns * detail, rows * detail)
        corners = np.array([[0, 0], [big[0], 0], [big[0], big[1]], [0, big[1]]], np.float32)
        matrix = cv2.getPerspectiveTransform(quad, corners)
        if big[1] < 0.6 * tall:
            mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.35 * tall / big[1]))
        alpha = cv2.warpPerspective(mask, matrix, big, flags=cv2.INTER_LINEAR).astype(np.float32) / 255

        h, w = alpha.shape
        if rng.random() < 0.25:  # faded print
            alpha *= np.clip(1 - rng.uniform(0.1, 0.6) * (0.5 + 0.5 * self.field(h, w, rng.uniform(2, 30))), 0, 1)
        if rng.random() < 0.1:
            alpha *= rng.uniform(0.35, 0.8)
        paper, pen = self.colours(kind)
        ground = np.broadcast_to(paper, (h, w, 3)).astype(np.float32)
        photographed = {"plate": 0.0, "number": 0.0, "serial": 0.0, "blank": 0.8}.get(kind, 0.25)
        if self.photos and rng.random() < photographed:
            ground = self.photo(h, w)
            if kind != "blank" and rng.random() < 0.6:  # paler, as behind most texts
                ground = ground + (paper - ground) * rng.uniform(0.2, 0.8)
            level = float((ground @ (0.114, 0.587, 0.299)).mean())
            pen = noise.uniform(0, 255, 3).astype(np.float32)
            if abs(float(pen @ (0.114, 0.587, 0.299)) - level) < 70:
                pen = np.full(3, 255.0 if level < 128 else 0.0, np.float32)
        if rng.random() < 0.5:
            ground = ground + self.field(h, w, rng.uniform(3, 80))[..., None] * rng.uniform(2, 28)
        if rng.random() < 0.12:
            ground = ground + noise.normal(0, rng.uniform(3, 25), (h, w, 1)).astype(np.float32)
        style = rng.random()
        if style < 0.1:  # a rim around the strokes
            wide = rng.choice((3, 3, 5)) if h >= 24 else 3
            rim = cv2.dilate(alpha, np.ones((wide, wide), np.uint8))
            ground = ground + (255 - pen - ground) * rim[..., None] * rng.uniform(0.4, 1)
        elif style < 0.16:  # a shadow
            away = max(1, h // 20)
            shadow = np.roll(alpha, (away, away), (0, 1))
            ground = ground * (1 - shadow[..., None] * rng.uniform(0.3, 0.9))
        image = ground + (pen - ground) * alpha[..., None]
        if rng.random() < 0.3:
            image = image * (1 + rng.uniform(0.05, 0.35) * self.field(h, w, rng.uniform(0.6, 3) * h)[..., None])
        if rng.random() < 0.35:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.045 * h + 0.3))
        elif rng.random() < 0.1:
            length = max(2, round(rng.uniform(0.05, 0.14) * h))
            kernel = np.eye(length, dtype=np.float32) if rng.random() < 0.3 else np.zeros((length, length), np.float32)
            kernel[length // 2] += 0 if kernel.any() else 1
            image = cv2.filter2D(image, -1, kernel / kernel.sum())
        if detail > 1:
            image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.4:
            image = image + noise.normal(0, rng.uniform(1, 12), image.shape)
        picture = np.clip(image, 0, 255).astype(np.uint8)
        if rng.random() < 0.15:
            picture = np.repeat(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))[..., None], 3, 2)
        if rng.random() < (0.7 if block else 0.05):
            picture = np.where(picture.mean(2, keepdims=True) > picture.mean(), 255, 0).astype(np.uint8).repeat(3, 2)
        if rng.random() < 0.45:
            coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, rng.randint(35, 95)])[1]
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
        return np.ascontiguousarray(picture)


def read_drawn(paths: list[Path]) -> list[tuple[bytes, str]]:
    """Lines that `main` drew: (PNG, text)."""
    return [row for path in paths for row in pickle.loads(path.read_bytes())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs, backgrounds")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    lines = Lines(args.seed, args.photos)
    if args.out.suffix == ".pickle":
        drawn = []
        for _ in range(args.count):
            crop, text = lines.sample()
            drawn.append((cv2.imencode(".png", crop)[1].tobytes(), text))
        args.out.write_bytes(pickle.dumps(drawn))
        return
    rows = []
    for _ in range(args.count):
        crop, text = lines.sample()
        print(crop.shape[:2], text)
        row = np.full((50, 700, 3), 90, np.uint8)
        width = min(700, max(1, round(crop.shape[1] * 48 / crop.shape[0])))
        row[:48, :width] = cv2.resize(crop, (width, 48))
        rows.append(row)
    half = len(rows) // 2
    cv2.imwrite(str(args.out), np.hstack([np.vstack(rows[:half]), np.vstack(rows[half : 2 * half])]))


if __name__ == "__main__":
    main()
