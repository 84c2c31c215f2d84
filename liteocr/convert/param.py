"""ncnn's .param text: read, checked, written.

The first line is the magic number 7767517, the second counts layers and blobs, and every further line is a layer::

    Convolution  conv0  1 1  in0 1  0=16 1=3 3=2 4=1 5=1 6=432

type, name, number of inputs and outputs, the names of these blobs, and parameters ``key=value``. A value is an integer,
a float (it has a point or an exponent), a text, or an array: ``-23303=2,1,3`` is the array (1, 3) of key 3 with its
length in front, and newer files may write ``3=1,3``. Here every key is the plain one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import ModelFileError

__all__ = ["MAGIC", "Layer", "Param", "Value", "parse", "read", "read_text"]

Value = int | float | str | tuple[int | float, ...]

MAGIC = 7767517
MAX_KEYS = 32
"""ncnn knows the keys 0 to 31."""
MAX_BYTES = 64 << 20
"""A longer file is no .param text; the largest in use have about 1 MB."""

_ARRAY = 23300  # the array of key k is written under the key -23300 - k
_FLOAT_MAX = float(np.finfo(np.float32).max)
_INT = re.compile(r"[+-]?\d+\Z")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        type: ncnn's name of the operation, such as ``"Convolution"``.
        name: the layer's own name.
        inputs: names of the blobs that it takes ("bottoms").
        outputs: names of the blobs that it makes ("tops").
        params: values by key; what is left out has ncnn's default.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[int, Value]

    def integer(self, key: int, default: int = 0) -> int:
        """An integer parameter as today's ncnn reads it: a value of another kind counts as left out."""
        value = self.params.get(key, default)
        return value if isinstance(value, int) else default

    def number(self, key: int, default: float = 0.0) -> float:
        """A number as today's ncnn reads it where it wants a float: integers count, too."""
        value = self.params.get(key, default)
        return float(value) if isinstance(value, (int, float)) else default

    def array(self, key: int) -> tuple[int | float, ...]:
        """An array; empty where it is left out or no array."""
        value = self.params.get(key, ())
        return value if isinstance(value, tuple) else ()

    def line(self) -> str:
        """The layer as a line of the file."""
        head = f"{self.type:24} {self.name:24} {len(self.inputs)} {len(self.outputs)}"
        values = [_value(key, value) for key, value in sorted(self.params.items())]
        return " ".join([head, *self.inputs, *self.outputs, *values])


@dataclass(frozen=True)
class Param:
    """A network's structure: its layers in the order in which they run."""

    layers: tuple[Layer, ...]

    def blobs(self) -> tuple[str, ...]:
        """Names of all blobs in order of appearance."""
        return tuple(dict.fromkeys(blob for layer in self.layers for blob in layer.inputs + layer.outputs))

    def inputs(self) -> tuple[str, ...]:
        """Names of the blobs that the network takes: outputs of Input layers, and what no layer makes."""
        made = {blob for layer in self.layers if layer.type != "Input" for blob in layer.outputs}
        return tuple(blob for blob in self.blobs() if blob not in made)

    def outputs(self) -> tuple[str, ...]:
        """Names of the blobs that no layer takes."""
        taken = {blob for layer in self.layers for blob in layer.inputs}
        return tuple(blob for blob in self.blobs() if blob not in taken)

    def producer(self, blob: str) -> Layer:
        """The layer that makes a blob.

        Raises:
            KeyError: no layer does.
        """
        for layer in self.layers:
            if blob in layer.outputs:
                return layer
        raise KeyError(blob)

    def text(self) -> str:
        """The file's text, counts included."""
        lines = [str(MAGIC), f"{len(self.layers)} {len(self.blobs())}", *(layer.line() for layer in self.layers)]
        return "\n".join(lines) + "\n"


def parse(text: str, *, name: str = "the .param text", counts: bool = True) -> Param:
    """Read a .param text.

    Args:
        text: the whole file.
        name: what error messages call it.
        counts: refuse a second line whose numbers do not fit the lines below it.

    Raises:
        ModelFileError: it is no such text; the message names the line.
    """

    def bad(number: int, what: str) -> ModelFileError:
        return ModelFileError(f"{name}, line {number}: {what}; convert the model again")

    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines or lines[0][1] != [str(MAGIC)]:
        raise ModelFileError(
            f"{name} is no ncnn .param text: its first line is not {MAGIC}; "
            "give the .param of ncnn, not a model of another library and not ncnn's binary .param.bin"
        )
    if len(lines) < 2 or len(lines[1][1]) != 2 or not all(_INT.match(word) for word in lines[1][1]):
        raise bad(lines[1][0] if len(lines) > 1 else 2, "here stand the numbers of layers and blobs")
    layers: list[Layer] = []
    known: set[str] = set()
    made: set[str] = set()
    for number, words in lines[2:]:
        try:
            layer = _layer(words, text.splitlines()[number - 1] if '"' in "".join(words) else None)
        except ValueError as error:
            raise bad(number, str(error)) from None
        known.update(layer.inputs)
        for blob in layer.outputs:
            if blob in known:
                raise bad(number, f"blob {blob!r} is made " + ("twice" if blob in made else "after it is taken"))
            known.add(blob)
            made.add(blob)
        layers.append(layer)
    param = Param(tuple(layers))
    claimed = tuple(int(word) for word in lines[1][1])
    if not layers:
        raise bad(lines[1][0], f"it promises {claimed[0]} layers, and there are none: the file is truncated")
    if counts and claimed[0] != len(layers):
        cause = "the file is truncated" if claimed[0] > len(layers) else "ncnn would leave out the last"
        raise bad(lines[1][0], f"it promises {claimed[0]} layers, and there are {len(layers)}: {cause}")
    if counts and claimed[1] < len(known):  # more than there are does no harm
        raise bad(lines[1][0], f"it promises {claimed[1]} blobs, and there are {len(known)}")
    return param


def read(path: Path | str) -> Param:
    """Read a .param file.

    Raises:
        ModelFileError: it is missing, unreadable, or no such file.
    """
    return parse(read_text(path), name=str(path))


def read_text(path: Path | str) -> str:
    """The text of a .param file.

    Raises:
        ModelFileError: it is missing, unreadable, or no text.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"{path} has more than {MAX_BYTES} bytes, it is no .param text; give the .param file")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror}); correct the path") from None
    except UnicodeDecodeError:
        raise ModelFileError(f"{path} is no text; give ncnn's .param text, not the .bin or .param.bin") from None


def _layer(words: list[str], line: str | None) -> Layer:
    """A layer from the words of its line; `line` itself where texts in quotes may hold spaces."""
    if len(words) < 4:
        raise ValueError("a layer's type, name and numbers of inputs and outputs are expected")
    kind, name = words[:2]
    counts = [int(word) if _INT.match(word) else -1 for word in words[2:4]]
    if min(counts) < 0:
        raise ValueError(f"layer {name}: {words[2]} {words[3]} are no numbers of inputs and outputs")
    end = 4 + sum(counts)
    if len(words) < end:
        raise ValueError(f"layer {name}: {sum(counts)} blobs are announced, and {len(words) - 4} words follow")
    blobs = words[4:end]
    for word in blobs:
        if re.match(r"-?\d+=", word):
            raise ValueError(f"layer {name}: {word} stands where a blob's name is expected")
    values = words[end:]
    if line is not None:
        values = re.findall(r'[^\s"]+(?:"[^"]*")?', line.split(None, end)[end] if values else "")
    params: dict[int, Value] = {}
    for word in values:
        key, value = _parameter(word, name)
        params[key] = value
    repeated = [blob for blob, count in Counter(blobs[counts[0] :]).items() if count > 1]
    if repeated:
        raise ValueError(f"layer {name}: blob {repeated[0]!r} is made twice")
    return Layer(kind, name, tuple(blobs[: counts[0]]), tuple(blobs[counts[0] :]), params)


def _parameter(word: str, layer: str) -> tuple[int, Value]:
    left, equals, right = word.partition("=")
    if not equals or not _INT.match(left):
        raise ValueError(f"layer {layer}: {word!r} is no parameter KEY=VALUE")
    key = int(left)
    array = key <= -_ARRAY
    if array:
        key = -key - _ARRAY
    if not 0 <= key < MAX_KEYS:
        raise ValueError(f"layer {layer}: there is no key {left}, keys are 0 to {MAX_KEYS - 1}")
    if array:
        length, *items = right.split(",")
        if not _INT.match(length) or int(length) != len(items):
            raise ValueError(f"layer {layer}: the array {word} has not the length that it begins with")
        return key, _alike(tuple(_number(item, layer) for item in items))
    if right[:1] == '"' or right[:1].isalpha():
        return key, right.strip('"')
    if "," in right:  # a comma at the end marks an array of one
        return key, _alike(tuple(_number(item, layer) for item in right.removesuffix(",").split(",")))
    return key, _number(right, layer)


def _number(word: str, layer: str) -> int | float:
    if not _NUMBER.match(word):
        raise ValueError(f"layer {layer}: {word!r} is no number")
    if _INT.match(word):
        value = int(word)
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"layer {layer}: {word} does not fit into 32 bits")
        return value
    number = float(word)
    return float(np.float32(math.copysign(min(abs(number), _FLOAT_MAX), number)))


def _alike(values: tuple[int | float, ...]) -> tuple[int | float, ...]:
    """An array holds integers or floats, not both: one float makes floats of all."""
    return tuple(float(v) for v in values) if any(isinstance(v, float) for v in values) else values


def _value(key: int, value: Value) -> str:
    if isinstance(value, tuple):
        return f"{-_ARRAY - key}=" + ",".join([str(len(value)), *map(_plain, value)])
    if isinstance(value, str):
        return f'{key}="{value}"'
    return f"{key}={_plain(value)}"


def _plain(value: int | float) -> str:
    """A number as ncnn reads it: the shortest decimal of its float32 value, always with a point or an exponent."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value) or abs(value) >= _FLOAT_MAX:  # ncnn's text knows no infinity
        return "3.402823466e+38" if value > 0 else "-3.402823466e+38"
    short = np.format_float_scientific(np.float32(value), unique=True, trim="0", exp_digits=2)
    plain = np.format_float_positional(np.float32(value), unique=True, trim="0")
    return plain if len(plain) <= len(short) else short
