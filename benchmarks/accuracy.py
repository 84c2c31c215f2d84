"""How well liteocr reads pictures whose text is known.

    python3 benchmarks/accuracy.py tests/data/index.jsonl                         # the pictures of the tests
    python3 benchmarks/accuracy.py my/index.jsonl --predictions out.jsonl         # keep what was read
    python3 benchmarks/accuracy.py my/index.jsonl --score out.jsonl --by kind     # score it again, without reading
    python3 benchmarks/accuracy.py my/index.jsonl --turn 180                      # pages that lie upside down

The index has one JSON object a picture::

    {"image": path relative to the index, "source": any name, "width": pixels, "height": pixels,
     "items": [{"quad": [[x, y] × 4] or null, "text": what it says, "ignore": true for what nobody can read}]}

Quads start at the corner that is top left in the picture and run clockwise; an item may be a word or a line.
Predictions are what ``liteocr --format jsonl`` prints.

Figures, each in [0, 1], higher is better:

e2e     1 - edits / characters. Items and predicted lines that overlap, directly or over others, are one group; its
        texts are joined in reading order on both sides and compared by edit distance. Characters are the longer side of
        each group, so what was missed and what was invented both cost. Groups with an ignored item do not count.
area_f  Harmonic mean of the recall and the precision of text area, in pixels of the picture at most 1000 wide and high;
        ignored areas are left out.
exact   Share of the groups with items that were read without an edit.

Pictures with items without quads have no area_f. There, items and predicted lines are paired by likeness, the most
alike first, and what is left over counts as missed or invented; or, where that is better, as when lines are split
otherwise, the whole texts are compared in the order given. The best assignment could pair a little better.

Text is compared after NFKC, without white space, letters case-folded. "macro" is the mean over the sources, so that one
large source does not decide.

A second table looks at what small networks lose first: groups by the height of their text in pixels of the picture
(an invented line counts by its own height), and groups that are long numbers: 8 digits or more and no letter.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.strtree import STRtree

CHECKOUT = Path(__file__).resolve().parent.parent
OVERLAP = 0.35
"""Two quads belong together when their intersection is more than this part of the smaller one."""
AREA_SIDE = 1000
"""Long side at which areas are compared, in pixels."""
SMALL, MIDDLE = 12, 20
"""Limits of the height classes, in pixels."""
LONG_NUMBER = 8
"""Digits from which a number is long."""
HEIGHTS = (f"height up to {SMALL} px", f"height {SMALL} to {MIDDLE} px", f"height above {MIDDLE} px")
LONG_NUMBERS = f"numbers of {LONG_NUMBER} digits or more"

Record = dict[str, Any]
"""One object of an index or of predictions."""


# Texts ---------------------------------------------------------------------------------------------------------------


def normalize(text: str) -> str:
    """The text as it is compared: NFKC, case-folded, without white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance, a row of the table at a time.

    Insertions run along the row: ``row[j] = min over k <= j of row[k] + j - k``, a running minimum of ``row[k] - k``.
    """
    if a == b or not a or not b:
        return 0 if a == b else len(a) + len(b)
    codes = np.array([ord(c) for c in b])
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for i, c in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (codes != ord(c)))
        row = np.minimum.accumulate(np.concatenate([[i], best]) - steps) + steps
    return int(row[-1])


def is_long_number(text: str) -> bool:
    """Whether a text is a barcode, a telephone or an account number, a time stamp: many digits, no letter."""
    return sum(c.isdigit() for c in text) >= LONG_NUMBER and not any(c.isalpha() for c in text)


# Shapes --------------------------------------------------------------------------------------------------------------


def text_height(quad: Any, text: str) -> float:
    """Height of the text in pixels: across the line, which runs down where a quad of several characters is tall."""
    q = np.asarray(quad, float)[:4]
    width = (np.linalg.norm(q[1] - q[0]) + np.linalg.norm(q[2] - q[3])) / 2
    height = (np.linalg.norm(q[3] - q[0]) + np.linalg.norm(q[2] - q[1])) / 2
    return float(width if height > 2 * width and len(text) > 1 else height)


def joined(entries: Sequence[Record]) -> str:
    """The texts of a group in reading order: rows from the top, each from the left, compared as one string.

    An entry joins the row of the one above when their centres are nearer than half the larger one's height.
    """
    shapes = []
    for entry in entries:
        q = np.asarray(entry["quad"], float)
        height = min(float(np.ptp(q[:, 1])), float(np.linalg.norm(q[1] - q[2])))
        shapes.append((float(q[:, 1].mean()), float(q[:, 0].min()), height, entry["text"] or ""))
    rows: list[list[tuple[float, float, float, str]]] = []
    for shape in sorted(shapes):
        last = rows[-1][-1] if rows else None
        if last and shape[0] - last[0] < max(shape[2], last[2]) / 2:
            rows[-1].append(shape)
        else:
            rows.append([shape])
    return normalize("".join(shape[3] for row in rows for shape in sorted(row, key=lambda s: s[1])))


def groups(items: Sequence[Record], lines: Sequence[Record]) -> Iterator[tuple[list[Record], list[Record]]]:
    """Split a picture's items and predicted lines into groups that overlap; what overlaps nothing is alone."""
    truth, found = [_polygon(i["quad"]) for i in items], [_polygon(line["quad"]) for line in lines]
    near: list[set[int]] = [set() for _ in range(len(items) + len(lines))]  # items first, then lines
    tree = STRtree(truth)
    for j, b in enumerate(found, len(items)):
        for i in map(int, tree.query(b)):
            smaller = min(truth[i].area, b.area)
            if smaller > 0 and truth[i].intersection(b).area > OVERLAP * smaller:
                near[i].add(j)
                near[j].add(i)
    seen: set[int] = set()
    for start in range(len(near)):
        if start in seen:
            continue
        group, todo = {start}, [start]
        while todo:
            new = near[todo.pop()] - group
            group |= new
            todo += new
        seen |= group
        ordered = sorted(group)
        yield [items[k] for k in ordered if k < len(items)], [lines[k - len(items)] for k in ordered if k >= len(items)]


def _polygon(quad: Any) -> Polygon:
    polygon = Polygon(quad)
    return polygon if polygon.is_valid else polygon.buffer(0)


def areas(items: Sequence[Record], lines: Sequence[Record], width: int, height: int) -> tuple[int, int, int]:
    """Pixels of text that both have, that the items have, that the lines have; outside the ignored items."""
    scale = min(1.0, AREA_SIDE / max(width, height))
    shape = (int(height * scale) + 1, int(width * scale) + 1)

    def mask(entries: Iterable[Record]) -> NDArray[np.bool_]:
        drawn = np.zeros(shape, np.uint8)
        for entry in entries:
            cv2.fillPoly(drawn, [np.rint(np.asarray(entry["quad"], float) * scale).astype(np.int32)], 1)
        return drawn > 0

    counted = ~mask(i for i in items if i.get("ignore"))
    truth, found = mask(i for i in items if not i.get("ignore")) & counted, mask(lines) & counted
    return int((truth & found).sum()), int(truth.sum()), int(found.sum())


# Scores --------------------------------------------------------------------------------------------------------------


@dataclass
class Score:
    """Counts of one row of a table."""

    images: int = 0
    groups: int = 0
    """Groups with an item, where items have quads."""
    exact: int = 0
    edits: int = 0
    chars: int = 0
    area: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    """Pixels: both, items, lines."""
    seconds: float = 0.0

    def add(self, truth: str, found: str, *, group: bool = True) -> None:
        """Count one comparison of normalised texts."""
        edits = edit_distance(truth, found)
        self.edits += edits
        self.chars += max(len(truth), len(found))
        self.groups += group
        self.exact += group and not edits

    def merge(self, other: Score) -> None:
        """Add another row's counts."""
        for name in ("images", "groups", "exact", "edits", "chars", "area", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def e2e(self) -> float:
        """1 - edits / characters; 1 where there was nothing to read and nothing was."""
        return 1 - self.edits / max(self.chars, 1)

    @property
    def area_f(self) -> float | None:
        """Harmonic mean of recall and precision of area; None without items that have quads."""
        both, truth, found = (int(v) for v in self.area)
        return 2 * both / (truth + found) if truth else None


def score_picture(truth: Record, lines: Sequence[Record], classes: dict[str, Score]) -> Score:
    """Score one picture; its groups are counted in ``classes``, too, by height and where they are long numbers."""
    items = truth["items"]
    score = Score(images=1)
    if not all(item.get("quad") for item in items):
        score.edits, score.chars = without_quads(items, lines)
        return score
    lines = [line for line in lines if len(line.get("quad") or ()) >= 4]
    for inside, read in groups(items, lines):
        if any(item.get("ignore") for item in inside):
            continue
        expected, found = joined(inside), joined(read)
        heights = [text_height(entry["quad"], entry["text"]) for entry in inside or read]
        height = float(np.median(heights))
        rows = [score, classes[HEIGHTS[sum(height > limit for limit in (SMALL, MIDDLE))]]]
        if is_long_number(expected):
            rows.append(classes[LONG_NUMBERS])
        for row in rows:
            row.add(expected, found, group=bool(expected))
    score.area += areas(items, lines, truth["width"], truth["height"])
    return score


def without_quads(items: Sequence[Record], lines: Sequence[Record]) -> tuple[int, int]:
    """Edits and characters where it is not known which item is where: the better of pairing and the whole text."""
    truth = [t for t in (normalize(item["text"] or "") for item in items if not item.get("ignore")) if t]
    found = [t for t in (normalize(line["text"] or "") for line in lines) if t]
    costs = [
        (edits := edit_distance(a, b), max(len(a), len(b)), i, j)
        for i, a in enumerate(truth)
        for j, b in enumerate(found)
    ]
    edits = chars = 0
    left, right = set(range(len(truth))), set(range(len(found)))
    for cost, size, i, j in sorted(costs, key=lambda c: (c[0] / c[1], -c[1])):
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            edits, chars = edits + cost, chars + size
    alone = sum(len(truth[i]) for i in left) + sum(len(found[j]) for j in right)
    paired = (edits + alone, chars + alone)
    a, b = "".join(truth), "".join(found)
    whole = (edit_distance(a, b), max(len(a), len(b)))
    return min(paired, whole, key=lambda r: r[0] / max(r[1], 1))


def evaluate(
    index: Iterable[Record], predictions: Iterable[Record], by: str = "source"
) -> tuple[dict[str, Score], dict[str, Score]]:
    """Score all pictures of an index; one without a prediction counts as one where nothing was found.

    Returns:
        Scores by source (or what else ``by`` names), and by class of text.
    """
    found = {record["image"]: record for record in predictions}
    sources: dict[str, Score] = {}
    classes = {name: Score() for name in (*HEIGHTS, LONG_NUMBERS)}
    for truth in index:
        record = found.get(truth["image"], {})
        score = score_picture(truth, record.get("lines", []), classes)
        score.seconds = record.get("seconds") or 0.0
        sources.setdefault(truth.get(by) or "?", Score()).merge(score)
    return dict(sorted(sources.items())), classes


# Reading, printing ---------------------------------------------------------------------------------------------------


def turned_back(quad: Any, degrees: int, width: int, height: int) -> list[list[float]]:
    """Where a quad of a picture that was turned clockwise lies in the picture as it was, of this width and height."""
    ways = {0: (1, 0, 0, 0, 1, 0), 90: (0, 1, 0, -1, 0, height), 180: (-1, 0, width, 0, -1, height)}
    ways[270] = (0, -1, width, 1, 0, 0)
    a, b, c, d, e, f = ways[degrees]
    return [[a * x + b * y + c, d * x + e * y + f] for x, y in quad]


def read_all(index: Sequence[Record], folder: Path, options: Record, degrees: int = 0) -> Iterator[Record]:
    """Read every picture of an index as ``liteocr --format jsonl`` would; what cannot be read is told and left out.

    Pictures are turned clockwise by so many degrees before they are read, and what is found is turned back.
    """
    if (CHECKOUT / "liteocr/__init__.py").is_file():  # measure this checkout, whatever else is installed
        sys.path.insert(0, str(CHECKOUT))
    import liteocr  # noqa: PLC0415 - not needed to score
    from liteocr.image import load  # noqa: PLC0415

    ocr = liteocr.OCR(**options)
    for truth in index:
        try:
            path = folder / truth["image"]
            record = ocr.read(np.rot90(load(path), -degrees // 90) if degrees else path).to_dict()
        except liteocr.ImageError as error:
            print(f"{truth['image']}: {error}", file=sys.stderr)
            continue
        if degrees % 180:
            record["width"], record["height"] = record["height"], record["width"]
        for line in record["lines"]:
            line["quad"] = turned_back(line["quad"], degrees, record["width"], record["height"])
        yield {"image": truth["image"], **record}


def markdown(sources: dict[str, Score], classes: dict[str, Score], by: str = "source") -> str:
    """Both tables."""
    total = Score()
    for score in sources.values():
        total.merge(score)
    rows = [
        [name, str(s.images), str(s.chars), f"{s.e2e:.3f}", _or_dash(s.area_f), f"{s.seconds / max(s.images, 1):.3f}"]
        for name, s in [*sources.items(), ("all", total)]
    ]
    e2e = float(np.mean([s.e2e for s in sources.values()]))
    area = [s.area_f for s in sources.values() if s.area_f is not None]
    rows.append(["**macro**", "", "", f"**{e2e:.3f}**", f"**{_or_dash(float(np.mean(area)) if area else None)}**", ""])
    details = [
        [name, str(s.groups), str(s.chars), f"{s.e2e:.3f}", _or_dash(s.exact / s.groups if s.groups else None)]
        for name, s in classes.items()
        if s.chars
    ]
    tables = [_table([by, "pictures", "characters", "e2e", "area_f", "s/picture"], rows)]
    if details:
        tables.append(_table(["text", "groups", "characters", "e2e", "exact"], details))
    return "\n\n".join(tables)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _read_jsonl(path: Path) -> list[Record]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    """Read and score; the exit code is 0, or 1 where a file is missing or no JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("index", type=Path, help="JSON lines: pictures and their text")
    add("--predictions", type=Path, help="write what was read as JSON lines")
    add("--score", type=Path, help="score these predictions instead of reading the pictures")
    add("--by", default="source", help="field of the index that makes the rows (default: source)")
    add("--turn", type=int, choices=(0, 90, 180, 270), default=0, help="degrees to turn the pictures clockwise first")
    for name, kind in (("--weights", str), ("--precision", str), ("--threads", int), ("--max-side", int)):
        add(name, type=kind, help="as for the command liteocr")
    arguments = parser.parse_args(argv)
    names = ("weights", "precision", "threads", "max_side")
    options = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    try:
        index = _read_jsonl(arguments.index)
        if arguments.score:
            predictions = _read_jsonl(arguments.score)
        else:
            predictions = list(read_all(index, arguments.index.parent, options, arguments.turn))
    except (OSError, ValueError) as error:
        print(f"accuracy.py: {error}", file=sys.stderr)
        return 1
    if arguments.predictions:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in predictions)
        arguments.predictions.write_text(text, encoding="utf-8")
    print(markdown(*evaluate(index, predictions, arguments.by), arguments.by))
    return 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # Windows has code pages without the arrows and dashes
        sys.stdout.reconfigure(encoding="utf-8")
    raise SystemExit(main())
