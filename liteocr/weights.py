"""Find a set of weights, check it against its manifest, and say what each network expects.

A weights directory holds ``manifest.json`` and the files that it names. The manifest gives for each network its files
with their SHA-256, its blobs, and how pixels become its input; loading checks all of it, so that a truncated download
or a mix of two versions is an error that names the file, not a wrong text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .errors import WeightsError

__all__ = ["MANIFEST", "Input", "NetworkSpec", "Weights", "default_directory", "load", "sha256"]

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Input:
    """How a picture becomes a network's input: ``(pixel * scale - mean) / std`` for each channel."""

    channels: str
    """``"BGR"`` or ``"RGB"``: order of the three input planes."""
    scale: float
    """Factor on the pixel's 0..255; 1/255 gives [0, 1]."""
    mean: tuple[float, float, float]
    """Subtracted after scaling, in the order of ``channels``."""
    std: tuple[float, float, float]
    """Divides after the mean, in the order of ``channels``."""
    height: int | None
    """Height that every input is resized to, for networks that read lines; None: free."""
    stride: int
    """Pixels of the input that one step of the coarsest map covers: a page is rounded up to a multiple of it, and a
    line is at least this wide."""


@dataclass(frozen=True)
class NetworkSpec:
    """One network of a weights directory, its files checked."""

    name: str
    param: Path
    bin: Path
    input_blob: str
    output_blob: str
    input: Input
    classes: int
    """Channels of the output: kernels of the detector, angles of the classifier, characters (and the blank) of the
    recogniser."""
    blank: int | None
    """The recogniser's blank class; None for the others."""
    charset: tuple[str, ...] | None
    """The recogniser's characters in class order, the blank left out; None for the others."""


@dataclass(frozen=True)
class Weights:
    """The three networks."""

    directory: Path
    version: str
    detector: NetworkSpec
    angle: NetworkSpec
    recognizer: NetworkSpec


def default_directory() -> Path:
    """The weights that came with the package: inside the wheel, or at the top of a source checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "data"
    return inside if inside.is_dir() else here.parent / "weights"


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(directory: str | Path | None = None) -> Weights:
    """Read and check a weights directory.

    Args:
        directory: where ``manifest.json`` is; None: the weights that came with the package.

    Raises:
        WeightsError: the directory, the manifest or a file is missing, a checksum differs, an entry is of the wrong
            type, or the charset does not have as many characters as the recogniser has classes beside the blank.
    """
    root = default_directory() if directory is None else Path(directory)
    manifest = _read_manifest(root)
    if manifest.get("format") != FORMAT:
        raise WeightsError(
            f"{root / MANIFEST} has format {manifest.get('format')!r}, this liteocr reads {FORMAT}; "
            "use weights of this release"
        )
    return Weights(
        directory=root,
        version=str(manifest.get("version", "")),
        detector=_network(root, manifest, "detector"),
        angle=_network(root, manifest, "angle"),
        recognizer=_network(root, manifest, "recognizer"),
    )


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "has no " + MANIFEST if root.is_dir() else "is no directory"
        raise WeightsError(f"weights: {root} {what}; reinstall liteocr or name a weights directory") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON ({error}); restore it from the release") from None
    if not isinstance(data, dict):
        raise WeightsError(f"{path} is no JSON object; restore it from the release")
    return cast("dict[str, Any]", data)


def _network(root: Path, manifest: dict[str, Any], name: str) -> NetworkSpec:
    where = f"{root / MANIFEST}: {name}"
    try:
        entry = manifest[name]
        pixels = entry["input"]
        blank = entry.get("blank")
        spec = NetworkSpec(
            name=name,
            param=_file(root, entry["param"]),
            bin=_file(root, entry["bin"]),
            input_blob=str(entry["input_blob"]),
            output_blob=str(entry["output_blob"]),
            input=Input(
                channels=str(pixels["channels"]),
                scale=float(pixels["scale"]),
                mean=_three(pixels["mean"]),
                std=_three(pixels["std"]),
                height=None if pixels["height"] is None else int(pixels["height"]),
                stride=int(pixels["stride"]),
            ),
            classes=int(entry["classes"]),
            blank=None if blank is None else int(blank),
            charset=_charset(_file(root, entry["charset"])) if "charset" in entry else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{where}: wrong or missing entry ({type(error).__name__}: {error}); restore the manifest from the release"
        ) from None
    if spec.input.channels not in ("BGR", "RGB"):
        raise WeightsError(f"{where}: channels is {spec.input.channels!r}; it must be BGR or RGB")
    if spec.input.stride < 1 or (spec.input.height or 1) < 1 or 0 in spec.input.std:
        raise WeightsError(f"{where}: stride and height must be positive, std must not hold 0")
    if name == "recognizer":
        _check_charset(where, spec)
    return spec


def _check_charset(where: str, spec: NetworkSpec) -> None:
    if spec.charset is None or spec.blank is None:
        raise WeightsError(f"{where}: charset and blank are missing")
    if len(spec.charset) + 1 != spec.classes or not 0 <= spec.blank < spec.classes:
        raise WeightsError(
            f"{where}: the charset has {len(spec.charset)} characters and the network {spec.classes} classes with the "
            f"blank at {spec.blank}; that must be one more. Use the charset that the network was trained with"
        )


def _three(values: Any) -> tuple[float, float, float]:
    a, b, c = values
    return float(a), float(b), float(c)


def _file(root: Path, entry: Any) -> Path:
    """Check one ``{"file", "sha256"}`` and return its path."""
    path = root / str(entry["file"])
    if not path.is_file():
        raise WeightsError(f"{path} is missing; reinstall liteocr or correct the weights directory")
    if sha256(path) != entry["sha256"]:
        raise WeightsError(
            f"{path} is not the file that {MANIFEST} names (its SHA-256 differs): it is truncated, changed or of "
            "another version. Restore it; if you changed it on purpose, write its new SHA-256 into the manifest"
        )
    return path


def _charset(path: Path) -> tuple[str, ...]:
    """One character a line, in class order without the blank; a line may hold a space."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise WeightsError(f"{path} is not UTF-8; write the charset again, one character a line") from None
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return tuple(lines)
