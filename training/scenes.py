"""Rendered pictures with text for the detector.

`Scenes(seed).sample()` gives a square BGR picture and the outlines of its lines: pages, tables, receipts, screens,
signs on photos (slanted, in perspective, curved, vertical), pictures that one word fills, pages turned by
quarters; then what paper, light, lens and compression do to them. A line is words with normal spaces between them;
columns that stand apart are lines of their own. Scribble that nobody can read is returned apart, to be ignored.

    python -m training.scenes SHEET.png [--seed 0] [--receipts train/index.jsonl]     # a sheet of samples to look at
"""

import argparse
import functools
import importlib.util
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training import corpus, lines
from training.labels import Polygon, make_labels

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Labelled = tuple[Path, list[Polygon], list[Polygon]]
"""A real picture, the quads of its lines, and those that are ignored."""

# public domain or CC0 pictures among those that scikit-image brings
PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "motorcycle_left.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "rocket.jpg",
)
STOCK = 32
"""Backgrounds that are kept and used again."""


@functools.cache
def _shipped() -> list[Picture]:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        return []
    files = (Path(found.origin).parent / "data" / name for name in PHOTOS)
    return [np.asarray(image, np.uint8) for f in files if (image := cv2.imread(str(f), cv2.IMREAD_COLOR)) is not None]


@functools.lru_cache(maxsize=160)
def _read(path: Path) -> Picture:
    """A picture with its alpha, if it has any."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3:
        raise ValueError(f"{path} is no colour picture")
    return np.asarray(image, np.uint8)


@functools.lru_cache(maxsize=256)
def _labelled(index: Path) -> list[Labelled]:
    """The pictures of an index that have text, with their quads."""
    found = []
    for row in index.read_text(encoding="utf-8").splitlines():
        item = json.loads(row)
        quads = [(np.array(i["quad"], np.float32), i["ignore"]) for i in item["items"] if i["quad"]]
        texts, ignored = ([q for q, ig in quads if ig == which] for which in (False, True))
        if texts:
            found.append((index.parent / item["image"], texts, ignored))
    return found


def _font(path: str, index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, index=index)


@dataclass
class Scene:
    """A picture under construction."""

    image: Picture
    """(H, W, 3), BGR."""
    lines: list[Polygon] = field(default_factory=list)
    """Outlines, (N, 2), (x, y) pixels."""
    ignored: list[Polygon] = field(default_factory=list)

    def warp(self, matrix: npt.NDArray[np.float64], size: tuple[int, int], **options: object) -> None:
        """Through a homography, to (width, height)."""
        self.image = np.asarray(
            cv2.warpPerspective(self.image, matrix, size, flags=cv2.INTER_LINEAR, **options), np.uint8
        )  # type: ignore[call-overload]
        self.lines = [transform(p, matrix) for p in self.lines]
        self.ignored = [transform(p, matrix) for p in self.ignored]

    def quarter_turns(self, turns: int) -> None:
        """Turn anticlockwise by quarters, without resampling."""
        for _ in range(turns % 4):
            width = self.image.shape[1]
            self.image = np.ascontiguousarray(np.rot90(self.image))
            for group in (self.lines, self.ignored):
                group[:] = [np.stack([p[:, 1], width - p[:, 0]], 1).astype(np.float32) for p in group]


def transform(polygon: Polygon, matrix: npt.NDArray[np.float64]) -> Polygon:
    """Points through a homography."""
    return np.asarray(cv2.perspectiveTransform(polygon[None].astype(np.float64), matrix)[0], np.float32)


def box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """A rectangle's corners, clockwise from the top left."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


class Scenes:
    """Endless random pictures; the same seed gives the same pictures."""

    def __init__(
        self,
        seed: int,
        size: int = 448,
        receipts: Path | None = None,
        photos: Path | None = None,
        taught: Path | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self.size = size
        self.texts = lines.Texts(self.rng)
        self.words = corpus.Texts(self.rng)
        self.fonts = corpus.Fonts()
        self.receipts = _labelled(receipts) if receipts else []
        self.taught = _labelled(taught) if taught else []
        files = sorted(photos.iterdir()) if photos else []
        self.photos = [f for f in files if f.suffix in (".jpg", ".jpeg", ".webp")]
        self.objects = [f for f in files if f.suffix == ".png"]
        self._stock: list[Picture] = []

    # ---- backgrounds

    def smooth(self, height: int, width: int, cell: float) -> Floats:
        """Noise in [-1, 1], changing over about `cell` pixels."""
        small = self.noise.uniform(-1, 1, (max(2, round(height / cell)), max(2, round(width / cell)))).astype(
            np.float32
        )
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)

    def colour(self, low: float = 0, high: float = 255, tint: float = 40) -> Floats:
        grey = self.rng.uniform(low, high)
        return np.clip(grey + self.noise.uniform(-tint, tint, 3), 0, 255).astype(np.float32)

    def paper(self, height: int, width: int) -> Floats:
        """Even ground with a gradient, some mottling and grain."""
        rng = self.rng
        dark = rng.random() < 0.2
        ground = np.empty((height, width, 3), np.float32)
        ground[:] = self.colour(10, 110, 30) if dark else self.colour(150, 255, rng.choice((4, 15, 50)))
        if rng.random() < 0.6:
            ground += rng.uniform(2, 30) * self.smooth(height, width, rng.uniform(100, 500))[..., None]
        if rng.random() < 0.3:
            ground += rng.uniform(2, 10) * self.smooth(height, width, rng.uniform(2, 12))[..., None]
        if rng.random() < 0.1:  # a patch of halftone
            x, y, w, h = (rng.randint(0, side) for side in (width, height, width, height))
            part = ground[y : y + h, x : x + w]
            dots = self.noise.random(part.shape[:2]) < rng.uniform(0.03, 0.5)
            part -= dots[..., None] * np.float32(rng.uniform(30, 220))
        return ground

    def photo(self, height: int, width: int) -> Floats:
        """A piece of a photo, a texture, or clutter of shapes."""
        rng = self.rng
        if len(self._stock) < STOCK or rng.random() < 0.35:
            made_up = (self._clutter, self._strokes)
            make = rng.choice((*made_up, self._piece, self._collage, self._collage) if _shipped() else made_up)
            if len(self._stock) < STOCK:
                self._stock.append(make())
            else:
                self._stock[rng.randrange(STOCK)] = make()
        image = rng.choice(self._stock)
        side = image.shape[0]
        part = rng.uniform(0.3, 1)
        w = h = max(32, int(side * part))
        x, y = rng.randint(0, side - w), rng.randint(0, side - h)
        piece = cv2.resize(image[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        return np.asarray(piece, np.float32) * rng.uniform(0.4, 1.1) + rng.uniform(0, 25)

    def _piece(self, size: int = 512) -> Picture:
        """A square of a photo."""
        rng = self.rng
        image = _read(rng.choice(self.photos)) if self.photos and rng.random() < 0.7 else rng.choice(_shipped())
        side = rng.randint(min(120, *image.shape[:2]), min(image.shape[:2]))
        x, y = rng.randint(0, image.shape[1] - side), rng.randint(0, image.shape[0] - side)
        piece = cv2.resize(image[y : y + side, x : x + side, :3], (size, size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(piece[..., rng.sample(range(3), 3)] if rng.random() < 0.3 else piece)

    def _collage(self) -> Picture:
        """Things in heaps and rows, as on shelves, in streets and on desks."""
        rng, n = self.rng, 512
        image = self._piece().astype(np.float32)
        row = rng.random() < 0.4
        repeat = rng.randint(1, 12) if row else 1
        for _ in range(rng.randint(4, 40)):
            size = round(12 * 16 ** rng.betavariate(1.2, 1.6))
            if self.objects and rng.random() < 0.65:
                thing = _read(rng.choice(self.objects))
                height = max(4, round(size * thing.shape[0] / thing.shape[1]))
                thing = np.asarray(cv2.resize(thing, (size, height), interpolation=cv2.INTER_AREA), np.uint8)
            else:
                height = round(size * rng.uniform(0.3, 3))
                piece = cv2.resize(self._piece(64), (size, height), interpolation=cv2.INTER_AREA)
                thing = np.dstack([piece, np.full((height, size), 255, np.uint8)])
            thing = np.rot90(thing, rng.choice((0, 0, 0, 1, 3)))
            x, y = rng.randint(-20, n), rng.randint(-20, n)
            for _ in range(repeat):
                self.paint(image, np.ascontiguousarray(thing[..., 3]), x, y, thing[..., :3])
                x += round(thing.shape[1] * rng.uniform(0.9, 1.2))
        if rng.random() < 0.3:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5)))
        return np.clip(image, 0, 255).astype(np.uint8)

    def _strokes(self) -> Picture:
        """Leaves, twigs, gravel, dots and weaves: fine, busy, and no text."""
        rng, n = self.rng, 512
        image = self._piece().astype(np.float32) * rng.uniform(0.3, 1) if rng.random() < 0.5 else self.paper(n, n)
        base, spread = self.colour(), rng.uniform(10, 110)
        if rng.random() < 0.3:  # in a grid
            pitch, r = rng.uniform(5, 40), rng.uniform(0.1, 0.45)
            for y in np.arange(0, n, pitch):
                shift = rng.choice((0.0, pitch / 2))
                for x in np.arange(shift, n, pitch):
                    cv2.circle(
                        image, (round(x * 8), round(y * 8)), round(8 * r * pitch), base.tolist(), -1, cv2.LINE_AA, 3
                    )
        else:
            count = round(100 * 25 ** rng.random())
            size, slope = rng.uniform(2, 18), rng.uniform(0, 180)
            wild = rng.choice((10, 40, 180))
            for x, y, along, across, turn in self.noise.uniform(0, 1, (count, 5)):
                colour = np.clip(base + self.noise.uniform(-spread, spread, 3), 0, 255).tolist()
                axes = (1 + round(size * along), 1 + round(size * across * 0.5))
                thick = -1 if across > 0.3 else 1
                angle = slope + wild * (turn - 0.5)
                cv2.ellipse(image, (int(x * n), int(y * n)), axes, angle, 0, 360, colour, thick, cv2.LINE_AA)
        if rng.random() < 0.6:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5)))
        return np.clip(image, 0, 255).astype(np.uint8)

    def _clutter(self) -> Picture:
        rng, n = self.rng, 512
        image = np.empty((n, n, 3), np.float32)
        image[:] = self.colour()
        for cell in (300, 80, 25, 6):
            if rng.random() < 0.6:
                image += (
                    rng.uniform(5, 45)
                    * np.stack([self.smooth(n, n, cell)] * 3, -1)
                    * self.noise.uniform(0.5, 1.2, 3).astype(np.float32)
                )
        for _ in range(rng.randint(0, 40)):
            colour = tuple(float(c) for c in self.colour())
            x, y, r = rng.randint(0, n), rng.randint(0, n), int(n * rng.betavariate(1, 5)) + 3
            kind = rng.random()
            thick = -1 if rng.random() < 0.6 else rng.randint(1, 6)
            if kind < 0.35:
                cv2.rectangle(image, (x, y), (x + r, y + int(r * rng.uniform(0.1, 3))), colour, thick)
            elif kind < 0.5:
                cv2.ellipse(
                    image,
                    (x, y),
                    (r, max(1, int(r * rng.uniform(0.2, 1)))),
                    rng.uniform(0, 180),
                    0,
                    rng.choice((360, 360, 200)),
                    colour,
                    thick,
                    cv2.LINE_AA,
                )
            elif kind < 0.8:
                cv2.line(image, (x, y), (rng.randint(0, n), rng.randint(0, n)), colour, rng.randint(1, 14), cv2.LINE_AA)
            else:
                points = self.noise.normal((x, y), r, (rng.randint(3, 7), 2)).astype(np.int32)
                cv2.fillPoly(image, [points], colour, cv2.LINE_AA)
        if rng.random() < 0.35:  # fences, tiles, grilles: what looks like strokes and is none
            pitch, thick, colour = rng.randint(6, 50), rng.randint(1, 8), tuple(float(c) for c in self.colour())
            for k in range(0, n, pitch):
                cv2.line(image, (k, 0), (k, n), colour, thick)
                if pitch % 2:
                    cv2.line(image, (0, k), (n, k), colour, thick)
        image = np.clip(image, 0, 255)
        if rng.random() < 0.7:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 4)))
        return image.astype(np.uint8)

    def symbols(self, image: Floats) -> None:
        """Rules, bar codes, dot codes, icons and frames: no text."""
        rng = self.rng
        h, w = image.shape[:2]
        x, y = rng.randint(0, w), rng.randint(0, h)
        colour = tuple(float(c) for c in self.colour(0, 255))
        kind = rng.random()
        if kind < 0.25:
            x1, y1 = x + rng.randint(40, 200), y + rng.randint(20, 80)
            image[y:y1, x:x1] = 235
            while x < x1:
                x += rng.randint(1, 5)
                image[y:y1, x : x + rng.randint(1, 4)] = 20
        elif kind < 0.45:
            cell, n = rng.randint(2, 5), rng.randint(17, 29)
            code = np.kron(self.noise.integers(0, 2, (n, n)), np.ones((cell, cell))) * 220 + 15
            part = image[y : y + n * cell, x : x + n * cell]
            part[:] = code[: part.shape[0], : part.shape[1], None]
        elif kind < 0.7:
            r = rng.randint(4, 40)
            for _ in range(rng.randint(1, 4)):
                dx, dy = rng.randint(-r, r), rng.randint(-r, r)
                if rng.random() < 0.5:
                    cv2.circle(
                        image,
                        (x + dx // 2, y + dy // 2),
                        rng.randint(2, r),
                        colour,
                        rng.choice((-1, 1, 2, 3)),
                        cv2.LINE_AA,
                    )
                else:
                    cv2.line(image, (x + dx, y + dy), (x - dy, y + dx), colour, rng.randint(1, 4), cv2.LINE_AA)
        elif rng.random() < 0.5:
            cv2.line(image, (0, y), (w, y + rng.randint(-4, 4)), colour, rng.randint(1, 3))
        else:
            cv2.rectangle(
                image, (x, y), (x + rng.randint(20, 260), y + rng.randint(15, 120)), colour, rng.choice((-1, 1, 2))
            )

    # ---- text

    def text(self) -> str:
        return self.texts.sample()[1]

    def fitting(self, width: float, size: float) -> str:
        """Running text that takes about so many pixels at a font size."""
        rng = self.rng
        if rng.random() < 0.5:
            make = self.words.chinese if rng.random() < 0.85 else self.words.traditional
            count = max(1, int(width / size))
            out = make(count)
            if count > 8 and rng.random() < 0.7:
                at = rng.randint(3, count - 3)
                out = out[:at] + rng.choice("，。、：；！") + out[at + 1 :]
            return out
        return self.words.english(max(1, int(width / (0.5 * size) / 7)))

    def face(self, text: str, size: float) -> ImageFont.FreeTypeFont:
        face = self.fonts.pick(self.rng, text)
        return _font(face.path, face.index, max(5, round(size)))

    def mask(self, text: str, font: ImageFont.FreeTypeFont, vertical: bool = False) -> tuple[Picture, Polygon]:
        """Ink of a line, with some room around it, and its outline in it."""
        rng, size = self.rng, int(font.size)
        if vertical:
            step = size * rng.uniform(0.95, 1.35)
            image = Image.new("L", (2 * size + 8, int(step * len(text)) + 2 * size))
            draw = ImageDraw.Draw(image)
            for i, c in enumerate(text):
                draw.text((size + 4, size + i * step), c, fill=255, font=font, anchor="mm")
            ink = np.array(image)
            found = image.getbbox()
            bounds = found or (0, 0, size, size)
        else:
            ink, bounds = lines.ink(text, font, rng.uniform(0, 0.35) if rng.random() < 0.12 else 0.0)
        pad = max(3, size // 5)
        x0, y0, x1, y1 = bounds
        a, b = max(0, y0 - pad), max(0, x0 - pad)
        ink = ink[a : y1 + pad, b : x1 + pad]
        return np.ascontiguousarray(ink), box(x0 - b, y0 - a, x1 - b, y1 - a)

    def bend(self, ink: Picture, outline: Polygon) -> tuple[Picture, Polygon]:
        """Onto an arc."""
        h, w = ink.shape
        sweep = self.rng.uniform(0.3, 1.6) * self.rng.choice((-1, 1))  # radians over the width
        radius = w / abs(sweep)
        x0, y0, x1, y1 = outline[0, 0], outline[0, 1], outline[2, 0], outline[2, 1]

        def place(
            x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
        ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
            angle = (x / w - 0.5) * abs(sweep)
            r = radius + (h / 2 - y if sweep > 0 else y - h / 2)
            py = radius - r * np.cos(angle) if sweep > 0 else r * np.cos(angle) - radius
            return r * np.sin(angle), py

        grid = np.linspace(0, w, 16)
        corners = [place(grid, np.full(16, y)) for y in (0.0, float(h))]
        xs, ys = np.concatenate([c[0] for c in corners]), np.concatenate([c[1] for c in corners])
        left, top = xs.min(), ys.min()
        width, height = int(np.ptp(xs)) + 2, int(np.ptp(ys)) + 2
        gx, gy = np.meshgrid(np.arange(width) + left, np.arange(height) + top)
        gy = radius - gy if sweep > 0 else gy + radius
        r, angle = np.hypot(gx, gy), np.arctan2(gx, gy)
        sx = (angle / abs(sweep) + 0.5) * w
        sy = h / 2 - (r - radius) if sweep > 0 else (r - radius) + h / 2
        bent = cv2.remap(ink, sx.astype(np.float32), sy.astype(np.float32), cv2.INTER_LINEAR, borderValue=0)
        along = np.linspace(float(x0), float(x1), 10)
        upper, lower = place(along, np.full(10, float(y0))), place(along[::-1], np.full(10, float(y1)))
        points = np.stack([np.concatenate([upper[0], lower[0]]) - left, np.concatenate([upper[1], lower[1]]) - top], 1)
        return np.asarray(bent, np.uint8), points.astype(np.float32)

    def slant(self, ink: Picture, outline: Polygon, degrees: float, depth: float) -> tuple[Picture, Polygon]:
        """Turned, and with corners moved by `depth` of the height."""
        h, w = ink.shape
        corners = box(0, 0, w, h)
        turn = np.deg2rad(degrees)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        target = corners @ rotation.T + self.noise.uniform(-depth, depth, (4, 2)) * min(h, w)
        target -= target.min(0)
        width, height = (int(v) + 1 for v in target.max(0))
        matrix = cv2.getPerspectiveTransform(corners, target.astype(np.float32))
        return np.asarray(cv2.warpPerspective(ink, matrix, (width, height)), np.uint8), transform(outline, matrix)

    def paint(self, image: Floats, ink: Picture, x: int, y: int, pen: Floats | Picture, *, alpha: float = 1.0) -> None:
        """Lay a colour, or a picture of the mask's size, through a mask; parts outside the picture are cut off."""
        h, w = image.shape[:2]
        x0, y0, x1, y1 = max(0, x), max(0, y), min(w, x + ink.shape[1]), min(h, y + ink.shape[0])
        if x1 <= x0 or y1 <= y0:
            return
        cover = ink[y0 - y : y1 - y, x0 - x : x1 - x, None].astype(np.float32) * (alpha / 255)
        part = image[y0:y1, x0:x1]
        part += cover * ((pen if pen.ndim == 1 else pen[y0 - y : y1 - y, x0 - x : x1 - x].astype(np.float32)) - part)

    def pen(self, ground: Floats) -> Floats:
        """A colour that stands out from the ground's."""
        rng = self.rng
        light = float(ground @ np.array((0.114, 0.587, 0.299), np.float32))
        needed = rng.choice((35, 60, 60, 90, 120))
        for _ in range(20):
            colour = self.colour(0, 255, rng.choice((5, 60, 120)))
            if abs(float(colour @ np.array((0.114, 0.587, 0.299), np.float32)) - light) > needed:
                return colour
        return np.full(3, 15.0 if light > 128 else 240.0, np.float32)

    def write(
        self,
        scene: Scene,
        image: Floats,
        ink: Picture,
        outline: Polygon,
        at: tuple[int, int],
        *,
        pen: Floats | None = None,
        fancy: bool = False,
    ) -> None:
        """Lay a line on the picture at (x, y), note its outline."""
        rng = self.rng
        x, y = at
        h, w = image.shape[:2]
        x0, y0, x1, y1 = max(0, x), max(0, y), min(w, x + ink.shape[1]), min(h, y + ink.shape[0])
        if x1 - x0 < 3 or y1 - y0 < 3:
            return
        if pen is None:
            pen = self.pen(image[y0:y1:3, x0:x1:3].mean((0, 1)))
        if fancy and rng.random() < 0.35:
            edge = max(1, round(ink.shape[0] * rng.uniform(0.02, 0.06)))
            contrast = self.pen(pen)
            if rng.random() < 0.5:
                self.paint(image, ink, x + edge, y + edge, contrast, alpha=rng.uniform(0.4, 1))
            else:
                self.paint(image, np.asarray(cv2.dilate(ink, np.ones((2 * edge + 1,) * 2, np.uint8))), x, y, contrast)
        self.paint(image, ink, x, y, pen, alpha=rng.uniform(0.65, 1) if rng.random() < 0.3 else 1.0)
        scene.lines.append(outline + np.array((x, y), np.float32))

    # ---- layouts

    def page(self) -> Scene:
        """Running text in one or two columns, on paper or on a screen."""
        rng, n = self.rng, self.size
        image = self.paper(n, n)
        scene = Scene(np.empty(0, np.uint8))
        pen = self.pen(image.mean((0, 1)))
        columns = rng.choice((1, 1, 1, 2, 3))
        size = 6 * 10 ** rng.betavariate(1.2, 2.2)
        left = rng.randint(-10, 40)
        width = (n - left) / columns
        for c in range(columns):
            y = float(rng.randint(-10, 40))
            x = left + c * width
            while y < n:
                here = size * (rng.uniform(1.1, 2.5) if rng.random() < 0.08 else 1)
                spacing = rng.uniform(1.0, 1.15) if rng.random() < 0.15 else rng.uniform(1.15, 1.3)
                face_text = self.fitting(width, here)
                font = self.face(face_text, here)
                for k in range(rng.randint(1, 9)):
                    room = width - rng.choice((6, 10, 16)) - here
                    text = (
                        face_text
                        if k == 0
                        else self.fitting(room * (1 if rng.random() < 0.8 else rng.uniform(0.1, 0.9)), here)
                    )
                    try:
                        ink, outline = self.mask(text, font)
                    except (OSError, ValueError):
                        break
                    if outline[1, 0] - outline[0, 0] > room and columns > 1:
                        keep = max(1, int(len(text) * room / (outline[1, 0] - outline[0, 0])))
                        ink, outline = self.mask(text[:keep].strip() or "1", font)
                    self.write(scene, image, ink, outline, (int(x), int(y)), pen=pen)
                    y += (
                        float(outline[2, 1] - outline[0, 1]) * 0.35 + here * 0.65 * spacing + 1
                        if rng.random() < 0.5
                        else here * spacing + 1
                    )
                    if y > n:
                        break
                y += here * rng.uniform(0.2, 1.8)
        if rng.random() < 0.2:
            self.symbols(image)
        scene.image = np.clip(image, 0, 255).astype(np.uint8)
        return scene

    def table(self) -> Scene:
        """Labels and values in columns: forms, tables, receipts, lists, settings pages."""
        rng, n = self.rng, self.size
        image = self.paper(n, n)
        scene = Scene(np.empty(0, np.uint8))
        pen = self.pen(image.mean((0, 1)))
        size = 6 * 5 ** rng.betavariate(1.3, 1.8)
        leading = size * rng.choice((1.0, 1.1, 1.2, 1.4, 1.7, 2.3))
        columns = rng.randint(1, 4)
        edges = sorted(rng.uniform(0, n * 0.85) for _ in range(columns))
        edges[0] = float(rng.randint(-8, 50))
        ruled = rng.random() < 0.3
        family = self.text()
        font = self.face(family, size)
        y = float(rng.randint(-8, 30))
        while y < n:
            if ruled:
                cv2.line(image, (0, int(y) - 1), (n, int(y) - 1), tuple(float(v) for v in pen), 1)
            ends = -1e9
            here = font
            if rng.random() < 0.15:
                here = self.face(family, size * rng.uniform(1, 2))
            for x in edges:
                if x < ends + 1.6 * size or rng.random() < 0.15:
                    continue
                text = self.text() if rng.random() < 0.6 else self.texts.number()
                if not text.isascii() and not self.fonts_cover(here, text):
                    here = self.face(text, here.size)
                try:
                    ink, outline = self.mask(text, here)
                except (OSError, ValueError):
                    continue
                dx = 0.0
                if rng.random() < 0.15:
                    dx = max(0.0, (n - outline[1, 0]) / 2 - x)
                self.write(scene, image, ink, outline, (int(x + dx), int(y)), pen=pen)
                ends = x + dx + float(outline[1, 0])
            y += max(leading, here.size * 1.02) + 1
        for x in edges[1:]:
            if ruled and rng.random() < 0.6:
                cv2.line(image, (int(x) - 4, 0), (int(x) - 4, n), tuple(float(v) for v in pen), 1)
        if rng.random() < 0.3:
            self.symbols(image)
        if rng.random() < 0.35:  # thermal print fades in bands
            fade = 0.5 + 0.5 * self.smooth(n, n, rng.uniform(30, 300))[..., None]
            image += rng.uniform(0, 0.75) * fade * (image.max((0, 1)) - image)
        scene.image = np.clip(image, 0, 255).astype(np.uint8)
        return scene

    def fonts_cover(self, font: ImageFont.FreeTypeFont, text: str) -> bool:
        """Whether a loaded font has the text's characters."""
        path = str(font.path)
        return any(f.path == path and f.covers("".join(text.split())) for f in corpus._faces())

    def street(self) -> Scene:
        """Lines of any size and slant on a photo, or on panels on it; some vertical, some curved."""
        rng, n = self.rng, self.size
        image = self.photo(n, n) if rng.random() < 0.75 else self.paper(n, n)
        scene = Scene(np.empty(0, np.uint8))
        for _ in range(rng.choice((0, 0, 1, 3))):
            self.symbols(image)
        taken = np.zeros((n, n), np.uint8)
        tilt = rng.gauss(0, 12) if rng.random() < 0.5 else 0.0
        largest = rng.choice((16, 30, 60, 120, 200))
        smallest = rng.choice((6, 8, 10, 14))
        for _ in range(rng.randint(0, 2) if rng.random() < 0.15 else rng.randint(2, 26)):
            size = smallest * (max(largest, smallest + 2) / smallest) ** rng.random()
            vertical = rng.random() < 0.15
            text = self.text()
            if len(text) * size * (0.55 if text.isascii() else 1) > 1.5 * n:
                text = text[: max(1, int(1.2 * n / size))].strip() or "8"
            if vertical:
                text = (
                    (self.words.chinese if rng.random() < 0.7 else self.words.traditional)(rng.randint(2, 10))
                    if rng.random() < 0.8
                    else text.replace(" ", "")[:8]
                )
            try:
                ink, outline = self.mask(text, self.face(text, size), vertical)
            except (OSError, ValueError):
                continue
            many = 1 if rng.random() < 0.75 else rng.randint(2, 4)  # lines that stand together
            if rng.random() < 0.1 and not vertical and len(text) > 3:
                ink, outline = self.bend(ink, outline)
                many = 1
            degrees = (
                tilt + rng.gauss(0, 4) if rng.random() < 0.6 else rng.uniform(-50, 50) if rng.random() < 0.2 else 0.0
            )
            if rng.random() < 0.07:
                degrees += rng.choice((90, -90))
            depth = rng.uniform(0, 0.25) if rng.random() < 0.3 else 0.0
            if many > 1:
                degrees = depth = 0.0
            if abs(degrees) > 0.5 or depth:
                ink, outline = self.slant(ink, outline, degrees, depth)
            h, w = ink.shape
            for _ in range(8):
                # one in eight may be cut by the picture's edge, or touch it
                reach = 3 if rng.random() < 0.12 else 10**6
                x = round(rng.uniform(-w / reach, max(0, n - w) + w / reach))
                y = round(rng.uniform(-h / reach, max(0, n - h) + h / reach))
                if not taken[max(0, y) : y + h * many, max(0, x) : x + w].any():
                    break
            else:
                continue
            if rng.random() < 0.3:
                margin = rng.randint(-2, 10)
                panel = (
                    box(x - margin, y - margin, x + w + margin, y + h * many + margin)
                    if rng.random() < 0.4 or abs(degrees) < 2
                    else np.asarray(cv2.boxPoints(cv2.minAreaRect(outline)), np.float32) + np.array((x, y), np.float32)
                )
                cv2.fillPoly(
                    image,
                    [np.round(panel).astype(np.int32)],
                    tuple(float(v) for v in self.colour(0, 255, 90)),
                    cv2.LINE_AA,
                )
            pen = None
            for k in range(many):
                if k:
                    text = self.text()[:24].strip() or "6"
                    try:
                        ink, outline = self.mask(text, self.face(text, size * rng.uniform(0.6, 1.1)))
                    except (OSError, ValueError):
                        break
                if k and taken[max(0, y + ink.shape[0] // 3) : y + ink.shape[0], max(0, x) : x + ink.shape[1]].any():
                    break
                self.write(scene, image, ink, outline, (x, y), pen=pen, fancy=True)
                y0, x0 = max(0, y - 2), max(0, x - 2)
                taken[y0 : y + ink.shape[0] + 2, x0 : x + ink.shape[1] + 2] = 1
                y += int(ink.shape[0] * rng.uniform(0.75, 1.1))
        if rng.random() < 0.25:
            self.scribble(scene, image, taken)
        scene.image = np.clip(image, 0, 255).astype(np.uint8)
        return scene

    def vertical_page(self) -> Scene:
        """Columns of Chinese set downwards, as in old books and on signboards."""
        rng, n = self.rng, self.size
        image = self.paper(n, n)
        scene = Scene(np.empty(0, np.uint8))
        pen = self.pen(image.mean((0, 1)))
        size = 8 * 8 ** rng.betavariate(1.2, 1.6)
        pitch = size * rng.uniform(1.25, 2.2)
        x = rng.uniform(0, pitch)
        make = self.words.traditional if rng.random() < 0.6 else self.words.chinese
        first = make(4)
        font = self.face(first, size)
        while x < n - size:
            y = rng.randint(-6, 40)
            while y < n - size:
                text = make(max(1, int((n - y) / size * rng.choice((0.95, 0.95, 0.5, 0.25)))))
                if not self.fonts_cover(font, text):
                    font = self.face(text, size)
                ink, outline = self.mask(text, font, vertical=True)
                self.write(scene, image, ink, outline, (int(x), y), pen=pen)
                y += ink.shape[0] + int(size * rng.uniform(1, 3))
            if rng.random() < 0.3:
                cv2.line(image, (int(x - 0.1 * size), 0), (int(x - 0.1 * size), n), tuple(float(v) for v in pen), 1)
            x += max(pitch, float(np.ptp(outline[:, 0])) + 4)
        scene.image = np.clip(image, 0, 255).astype(np.uint8)
        return scene

    def scribble(self, scene: Scene, image: Floats, taken: Picture) -> None:
        """What looks like writing and cannot be read."""
        rng, n = self.rng, self.size
        w, h = rng.randint(20, 160), rng.randint(5, 30)
        x, y = rng.randint(0, n - w), rng.randint(0, n - h)
        if taken[y : y + h, x : x + w].any():
            return
        pen = tuple(float(v) for v in self.pen(image[y : y + h, x : x + w].mean((0, 1))))
        steps = max(6, 2 * w // h)
        points = np.stack(
            [
                np.linspace(x, x + w, steps) + self.noise.uniform(-h / 3, h / 3, steps),
                y + self.noise.uniform(0, h, steps),
            ],
            1,
        )
        cv2.polylines(image, [np.round(points * 8).astype(np.int32)], False, pen, rng.randint(1, 2), cv2.LINE_AA, 3)
        scene.ignored.append(box(x - 3, y - 2, x + w + 3, y + h + 2))

    def crops(self) -> Scene:
        """Small pictures that one word fills, enlarged and with replicated borders as the detector feeds them."""
        rng, n = self.rng, self.size
        scene = Scene(np.zeros((n, n, 3), np.uint8))
        y = 0
        while y < n:
            height = round(64 * 2.6 ** rng.betavariate(1, 2))  # of the enlarged crop
            x, margin = 0, rng.randint(8, 20)
            while x < n:
                crop = self.crop()
                factor = height / crop.image.shape[0]
                w = max(32, round(crop.image.shape[1] * factor))
                enlarged = cv2.resize(
                    crop.image, (w, height), interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
                )
                right, below = margin + rng.randint(0, 31), margin + rng.randint(0, 31)
                cell = cv2.copyMakeBorder(enlarged, margin, below, margin, right, cv2.BORDER_REPLICATE)[
                    : n - y, : n - x
                ]
                scene.image[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
                scale = np.array((w / crop.image.shape[1], factor), np.float32)
                scene.lines += [p * scale + np.array((x + margin, y + margin), np.float32) for p in crop.lines]
                x += cell.shape[1]
            y += margin + height + below
        return scene

    def crop(self) -> Scene:
        """One word or line (now and then two lines), cut tightly, as small as a camera saw it."""
        rng = self.rng
        kind = rng.random()
        texts = [self.texts.plate() if kind < 0.2 else self.text()]
        if rng.random() < 0.1:
            texts.append(self.text())
        size = rng.choice((22, 30, 40))
        parts = []
        for text in texts:
            try:
                parts.append(self.mask(text[:18].strip() or "0", self.face(text, size)))
            except (OSError, ValueError):
                parts.append(self.mask("2026", self.face("2026", size)))
        if rng.random() < 0.4:
            parts = [self.slant(*p, rng.gauss(0, 5), rng.uniform(0, 0.15)) for p in parts[:1]]
        width = max(p[0].shape[1] for p in parts)
        height = sum(p[0].shape[0] for p in parts)
        image = self.paper(height, width) if rng.random() < 0.6 else self.photo(height, width)
        if kind < 0.2:
            image[:] = np.array(
                rng.choice(((180, 80, 20), (30, 190, 240), (120, 200, 110), (235, 235, 235))), np.float32
            ) * rng.uniform(0.4, 1.1)
        scene = Scene(np.empty(0, np.uint8))
        y = 0
        for ink, outline in parts:
            self.write(scene, image, ink, outline, (rng.randint(0, width - ink.shape[1]), y), fancy=True)
            y += ink.shape[0]
        points = np.concatenate(scene.lines or [box(0, 0, width, height)])
        low, high = points.min(0), points.max(0)
        tall = high[1] - low[1]
        # the cut: from a little inside the ink to half a line outside
        loose = rng.choice((0.03, 0.08, 0.25, 0.5))
        cut = [rng.uniform(-0.04, loose) * tall for _ in range(4)]
        x0, y0, x1, y1 = (
            int(low[0] - cut[0]),
            int(low[1] - cut[1]),
            int(high[0] + cut[2]) + 1,
            int(high[1] + cut[3]) + 1,
        )
        pad = [max(0, v) for v in (-y0, y1 - height, -x0, x1 - width)]
        picture = cv2.copyMakeBorder(np.clip(image, 0, 255).astype(np.uint8), *pad, cv2.BORDER_REPLICATE)
        picture = picture[y0 + pad[0] : y1 + pad[0], x0 + pad[2] : x1 + pad[2]]
        tall = picture.shape[0]
        native = rng.randint(13, 60) * len(parts)
        scale = min(1.0, native / tall)
        w, h = max(6, round(picture.shape[1] * scale)), max(6, round(tall * scale))
        factor = np.array((w / picture.shape[1], h / tall), np.float32)
        scene.lines = [(p - np.array((x0, y0), np.float32)) * factor for p in scene.lines]
        scene.image = np.asarray(cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
        self.camera(scene, gentle=True)
        return scene

    def receipt(self) -> Scene:
        """A piece of a real receipt."""
        return self.real(self.receipts)

    def lesson(self) -> Scene:
        """A piece of a real picture that another network labelled."""
        return self.real(self.taught)

    def real(self, pool: list[Labelled]) -> Scene:
        """A piece of a real picture, scaled, turned and laid on something."""
        rng, n = self.rng, self.size
        path, texts, ignored = rng.choice(pool)
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise FileNotFoundError(f"{path} is no picture")
        tall = float(np.median([min(np.ptp(q[:, 0]), np.ptp(q[:, 1])) for q in texts]))
        wanted = 7 * 6 ** rng.betavariate(1.3, 2)  # height of a line afterwards, in pixels
        scale = min(1.5, max(wanted / tall, 0.2))
        aim = rng.choice(texts).mean(0)
        reach = int(0.75 * n / scale) + 8  # what a turn can bring into view
        x0, y0 = max(0, int(aim[0]) - reach), max(0, int(aim[1]) - reach)
        part = image[y0 : int(aim[1]) + reach, x0 : int(aim[0]) + reach]
        w, h = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
        part = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        factor = np.array(
            (
                w / max(1, min(image.shape[1], int(aim[0]) + reach) - x0),
                h / max(1, min(image.shape[0], int(aim[1]) + reach) - y0),
            ),
            np.float32,
        )
        corner = np.array((x0, y0), np.float32)
        scene = Scene(
            np.asarray(part, np.uint8), [(q - corner) * factor for q in texts], [(q - corner) * factor for q in ignored]
        )
        degrees = rng.gauss(0, 4) if rng.random() < 0.5 else 0.0
        matrix = np.vstack([cv2.getRotationMatrix2D((0.0, 0.0), degrees, 1.0), (0, 0, 1)])
        at = transform(((aim - corner) * factor)[None], matrix)[0]
        matrix[:2, 2] += np.array([rng.uniform(0.3, 0.7) * n, rng.uniform(0.3, 0.7) * n]) - at
        if rng.random() < 0.5:
            scene.warp(matrix, (n, n), borderMode=cv2.BORDER_REPLICATE)
        else:
            seen = cv2.warpPerspective(np.full(part.shape[:2], 255, np.uint8), matrix, (n, n))[..., None] > 127
            scene.warp(matrix, (n, n))
            ground = self.photo(n, n) if rng.random() < 0.5 else self.paper(n, n)
            scene.image = np.where(seen, scene.image, np.clip(ground, 0, 255).astype(np.uint8))
        return scene

    # ---- what happens to a picture

    def camera(self, scene: Scene, gentle: bool = False) -> None:
        """Light, focus, sensor and compression."""
        rng = self.rng
        image = scene.image
        h, w = image.shape[:2]
        if rng.random() < 0.3:
            x = image.astype(np.float32)
            if rng.random() < 0.5:  # shadow or lamp
                x *= 1 + rng.uniform(0.1, 0.5) * self.smooth(h, w, rng.uniform(60, 400))[..., None]
            else:  # low light, low contrast, or a tint
                x = x * rng.uniform(0.25, 1.1) + rng.uniform(0, 70)
                x *= self.noise.uniform(0.85, 1.1, 3).astype(np.float32)
            image = np.clip(x, 0, 255).astype(np.uint8)
        if rng.random() < (0.3 if gentle else 0.25):
            part = rng.uniform(0.55, 0.95)
            small = cv2.resize(image, (max(4, round(w * part)), max(4, round(h * part))), interpolation=cv2.INTER_AREA)
            image = np.asarray(
                cv2.resize(small, (w, h), interpolation=rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC))), np.uint8
            )
        if rng.random() < 0.2:
            if rng.random() < 0.6:
                image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
            else:
                length = rng.randint(2, 5)
                kernel = np.zeros((length, length), np.float32)
                cv2.line(kernel, (0, rng.randrange(length)), (length - 1, rng.randrange(length)), 1.0)
                image = np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
        if rng.random() < 0.3:
            grain = self.noise.normal(0, rng.uniform(2, 16), (h, w, 1 if rng.random() < 0.5 else 3)).astype(np.float32)
            image = np.clip(image + grain, 0, 255).astype(np.uint8)
        if rng.random() < 0.08:
            image = np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[..., None], 3, 2)
        if rng.random() < 0.05:
            image = 255 - image
        if rng.random() < 0.45:
            code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, rng.randint(25, 92)])[1]
            image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
        scene.image = np.ascontiguousarray(image)

    def view(self, scene: Scene) -> None:
        """Perspective, skew and quarter turns."""
        rng, n = self.rng, self.size
        if rng.random() < 0.35:
            corners = box(0, 0, n, n)
            depth = rng.choice((0.03, 0.08, 0.15))
            turn = np.deg2rad(rng.gauss(0, 5) if rng.random() < 0.8 else rng.uniform(-45, 45))
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            target = (corners - n / 2) @ rotation.T * rng.uniform(0.85, 1.15) + n / 2
            target += self.noise.uniform(-depth, depth, (4, 2)) * n
            matrix = cv2.getPerspectiveTransform(corners, target.astype(np.float32))
            fill = tuple(float(v) for v in self.colour())
            border = rng.choice((cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE))
            scene.warp(matrix, (n, n), borderMode=border, borderValue=fill)

    def sample(self) -> Scene:
        """A picture of size x size pixels and its lines."""
        rng = self.rng
        kinds: list[tuple[float, Callable[[], Scene]]] = [
            (0.16, self.page), (0.14, self.table), (0.34, self.street), (0.06, self.vertical_page), (0.12, self.crops),
            (0.18 if self.receipts else 0.0, self.receipt), (0.1 if self.taught else 0.0, self.lesson),
        ]  # fmt: skip
        make = rng.choices([k[1] for k in kinds], [k[0] for k in kinds])[0]
        scene = make()
        if make not in (self.crops, self.receipt, self.lesson):
            self.view(scene)
        if make != self.crops:
            if rng.random() < 0.3:
                scene.quarter_turns(rng.randint(1, 3))
            self.camera(scene)
        elif rng.random() < 0.15:
            scene.quarter_turns(rng.randint(1, 3))
        return scene


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sheet", type=Path, help="PNG to write: samples beside their labels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--receipts", type=Path, help="index.jsonl of real receipts")
    parser.add_argument("--photos", type=Path, help="folder of photos (.jpg) and cut-out things (.png) without text")
    parser.add_argument("--taught", type=Path, help="index.jsonl of pictures that training.teach labelled")
    parser.add_argument("--count", type=int, default=12)
    args = parser.parse_args()
    scenes = Scenes(args.seed, receipts=args.receipts, photos=args.photos, taught=args.taught)
    tiles = []
    for _ in range(args.count):
        scene = scenes.sample()
        labels = make_labels(scene.lines, scene.ignored, *scene.image.shape[:2])
        shown = scene.image.copy()
        whole, kernel, care = (
            cv2.resize(m, shown.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            for m in (labels.kernels[0], labels.kernels[-1], labels.care)
        )
        shown[..., 1] = np.maximum(shown[..., 1] // 2, whole * 90)
        shown[..., 2] = np.maximum(shown[..., 2] // 2, kernel * 255)
        shown[care == 0] = (255, 0, 0)
        tiles.append(np.hstack([scene.image, shown]))
    rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles) // 3 * 3, 3)]
    cv2.imwrite(str(args.sheet), np.vstack(rows))


if __name__ == "__main__":
    main()
