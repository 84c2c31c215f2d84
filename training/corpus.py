"""What training pictures are written with: real words, and the fonts of the machine.

Words come from packages that are installed where training runs, and nothing of them is kept in this repository:
English from Debian's `wamerican` (/usr/share/dict), Chinese with word frequencies from `jieba` (MIT), turned into
traditional characters with `opencc-python-reimplemented` (Apache-2.0). Fonts are those fontconfig lists;
`training/fonts.txt` names Debian packages with a good many.

    Texts(random.Random(0)).chinese(6)      # "发动机里面的"
    Fonts().pick(random.Random(0), "发动机")  # a Face whose font has all three characters
"""

import bisect
import functools
import importlib.util
import itertools
import random
import subprocess
from pathlib import Path
from typing import NamedTuple

from opencc import OpenCC  # type: ignore[import-untyped]

COMMON = (  # noqa: SIM905
    "the of and to a in is you that it he was for on are as with his they I at be this have from or one had by "
    "word but not what all were we when your can said there use an each which she do how their if will up other "
    "about out many then them these so some her would make like him into time has look two more write go see "
    "number no way could people my than first water been call who oil its now find long down day did get come "
    "made may part over new sound take only little work know place year live me back give most very after thing "
    "our just name good sentence man think say great where help through open closed sale street road hotel bank "
    "coffee shop store exit push pull stop price total date house street north south"
).split()
DICTIONARIES = ("/usr/share/dict/american-english", "/usr/share/dict/words")


class Words(NamedTuple):
    """Words to draw from, with the running sums of their weights."""

    words: list[str]
    sums: list[float]

    def draw(self, rng: random.Random) -> str:
        return self.words[bisect.bisect(self.sums, rng.random() * self.sums[-1])]


@functools.cache
def _english() -> list[str]:
    for path in DICTIONARIES:
        if Path(path).exists():
            lines = Path(path).read_text(encoding="utf-8").splitlines()
            return [w for w in lines if w.isascii() and not w.endswith("'s")]
    raise FileNotFoundError(f"{DICTIONARIES[0]} is missing; install Debian's wamerican")


@functools.cache
def _chinese(power: float = 0.5) -> Words:
    """Words by their counts raised to a power: 1 is how often they are written, 0.5 gives rare characters a chance."""
    found = importlib.util.find_spec("jieba")
    if found is None or found.origin is None:
        raise FileNotFoundError("the word list of jieba is missing: pip install jieba")
    words, weights = [], []
    for line in (Path(found.origin).parent / "dict.txt").read_text(encoding="utf-8").splitlines():
        word, count, *_ = line.split()
        if int(count) > 3 and all("\u4e00" <= c <= "\u9fff" for c in word):
            words.append(word)
            weights.append(int(count) ** power)
    return Words(words, list(itertools.accumulate(weights)))


@functools.cache
def _traditional(power: float = 0.5) -> Words:
    simplified = _chinese(power)
    return Words(OpenCC("s2t").convert("\n".join(simplified.words)).split("\n"), simplified.sums)


@functools.cache
def _characters() -> list[str]:
    """Every character of the word list once, rare ones too."""
    return sorted(set("".join(_chinese().words)))


@functools.cache
def _traditional_characters() -> list[str]:
    return sorted(set("".join(_traditional().words)))


class Texts:
    """Words strung together, the same ones for the same generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def english(self, words: int) -> str:
        """Words with single spaces between them."""
        rng = self.rng
        return " ".join(rng.choice(COMMON) if rng.random() < 0.35 else rng.choice(_english()) for _ in range(words))

    def chinese(self, characters: int) -> str:
        """Simplified Chinese of that many characters; now and then without sense, for rare characters."""
        if self.rng.random() < 1 / 20:
            return "".join(self.rng.choices(_characters(), k=characters))
        return self._words(_chinese(self._power()), characters)

    def traditional(self, characters: int) -> str:
        return self._words(_traditional(self._power()), characters)

    def _power(self) -> float:
        # small print is read by what is likely, so likely words must be likely here, too
        return 1.0 if self.rng.random() < 0.6 else 0.5

    def rare(self, characters: int) -> str:
        """Characters without sense, simplified or traditional, all of them equally likely."""
        known = _characters() if self.rng.random() < 0.3 else _traditional_characters()
        return "".join(self.rng.choices(known, k=characters))

    def _words(self, words: Words, characters: int) -> str:
        text = ""
        while len(text) < characters:
            text += words.draw(self.rng)
        return text[:characters]


class Face(NamedTuple):
    """One face of a font file."""

    path: str
    index: int
    family: str
    ranges: tuple[tuple[int, int], ...]

    def covers(self, text: str) -> bool:
        for c in set(text):
            at = bisect.bisect(self.ranges, (ord(c), 0x110000)) - 1
            if at < 0 or self.ranges[at][1] < ord(c):
                return False
        return True


@functools.cache
def _faces() -> tuple[Face, ...]:
    listing = subprocess.run(
        ["fc-list", "--format", "%{file}\t%{index}\t%{family[0]}\t%{charset}\n", ":scalable=true"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    faces = {}
    for line in listing.splitlines():
        path, index, family, charset = line.split("\t")
        # beyond 16 bits are named instances of variable fonts; symbol and weather fonts show no letters
        if int(index) > 0xFFFF or not path.endswith((".ttf", ".otf", ".ttc", ".t1", ".pfb")):
            continue
        if any(word in family for word in ("Symbols", "D050000L", "Weather", "Math", "Emoji")):
            continue
        ends = (part.split("-") for part in charset.split())
        faces[path, index] = Face(
            path, int(index), family, tuple(sorted((int(e[0], 16), int(e[-1], 16)) for e in ends))
        )
    if not faces:
        raise FileNotFoundError("fontconfig lists no fonts; training/fonts.txt names packages")
    return tuple(faces[key] for key in sorted(faces))


class Fonts:
    """The fonts of the machine, by what they can write."""

    def __init__(self) -> None:
        self.latin: dict[str, list[Face]] = {}
        self.chinese: dict[str, list[Face]] = {}
        self.digital: dict[str, list[Face]] = {}
        for face in _faces():
            family = face.family.split(" ")[0] if "CJK" not in face.family else face.family
            if face.family.startswith("DSEG"):
                self.digital.setdefault(face.family.split(" ")[0], []).append(face)
            elif face.covers("的一是我") or face.covers("這國學"):
                self.chinese.setdefault(face.family, []).append(face)
            elif face.covers("AZaz09"):
                self.latin.setdefault(family if family in ("Nimbus", "DejaVu") else face.family, []).append(face)
        if not self.chinese or not self.latin:
            raise FileNotFoundError("Latin or Chinese fonts are missing; training/fonts.txt names packages")
        self._whole = max((f for faces in self.chinese.values() for f in faces), key=lambda f: len(f.ranges))

    def pick(self, rng: random.Random, text: str) -> Face:
        """A random face that has all characters of the text, families being equally likely.

        Where twenty tries find none, it is the face with the largest character set.
        """
        visible = "".join(text.split())
        for _ in range(20):
            groups = self.chinese
            if visible.isascii() and rng.random() < 0.8:
                plain = all(c in "0123456789.:-" for c in visible)
                groups = self.digital if plain and self.digital and rng.random() < 0.08 else self.latin
            face = rng.choice(groups[rng.choice(list(groups))])
            if face.covers(visible):
                return face
        return self._whole
