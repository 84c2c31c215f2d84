"""Output files that appear when all of them are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OptionError

__all__ = ["files", "folder"]


@contextmanager
def files(*targets: Path, sources: tuple[Path, ...] = ()) -> Iterator[tuple[Path, ...]]:
    """Paths to write to; what was written takes the targets' places at the end, after an error nothing has changed.

    Args:
        targets: where the files shall be; missing folders are made. One that was not written is left alone.
        sources: files that are read meanwhile and must not be among the targets.

    Raises:
        OptionError: a target is a source or a folder.
        OSError: a target cannot be written.
    """
    targets = tuple(Path(os.path.realpath(target)) for target in targets)
    for target in targets:
        if any(source.exists() and target == Path(os.path.realpath(source)) for source in sources):
            raise OptionError(f"{target.name} is read and cannot be written at once; give another name")
        if target.is_dir():
            raise OptionError(f"{target} is a folder; give a file's name")
    made = _make(targets[0].parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".liteocr-", dir=targets[0].parent) as place:
            temporary = tuple(Path(place, f"{i}-{target.name}") for i, target in enumerate(targets))
            yield temporary
            for path, target in zip(temporary, targets, strict=True):
                if path.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
    except BaseException:
        _remove(made)
        raise


@contextmanager
def folder(target: Path) -> Iterator[Path]:
    """A folder to write to; its files move into `target` at the end, after an error nothing has changed.

    Files of the same names in `target` are replaced, others stay.

    Raises:
        OptionError: `target` is a file.
        OSError: it cannot be written.
    """
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_dir():
        raise OptionError(f"{target} is a file; give a folder")
    made = _make(target.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as place:
            yield Path(place)
            target.mkdir(exist_ok=True)
            for path in sorted(Path(place).iterdir()):
                there = target / path.name
                if path.is_dir() and there.is_dir():
                    shutil.rmtree(there)
                os.replace(path, there)
    except BaseException:
        _remove(made)
        raise


def _make(path: Path) -> list[Path]:
    """Make a folder and its parents; returns those that were not there, innermost first."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _remove(made: list[Path]) -> None:
    for path in made:
        try:
            path.rmdir()
        except OSError:  # somebody else has put something there
            return
