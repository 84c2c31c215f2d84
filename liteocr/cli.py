"""The command ``liteocr``: pictures in, text out.

Standard output carries results only; errors, warnings, timings and the progress bar go to standard error.
"""

from __future__ import annotations

import argparse
import glob
import json
import logging
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol, TextIO, cast

import cv2

from . import __version__
from .draw import draw_page
from .errors import ExitCode, ImageError, LiteOCRError, OptionError
from .image import MAX_PIXELS, frames
from .openmp import default_threads
from .pipeline import MIN_SCORE, OCR, in_order
from .results import Page

__all__ = ["main"]

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".avif",
    ".jp2",
    ".pbm",
    ".pgm",
    ".ppm",
    ".pnm",
)
"""What counts as a picture in a directory; a file that is named is read whatever it is called."""

_DRAWN = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_EPILOG = f"""\
exit codes: 0 every picture was read (finding no text is reading, too), 1 a file could not be written, 2 wrong usage,
3 a picture could not be read (the others are printed all the same), 4 broken weights, 5 a network failed,
6 a package is missing, 130 interrupted.

In directories, files with these suffixes are read: {" ".join(SUFFIXES)}.
Every frame of an animated or multi-page file is read; with several, JSON has "frame", counted from 0."""

_log = logging.getLogger("liteocr")

_Numbered = tuple[int | None, Page]
"""A page, and which frame of its file it is; None for the only one."""


class Reader(Protocol):
    """What the command asks of an OCR."""

    def read_all(self, image: Any) -> Iterator[Page]:
        """Read every frame of a picture."""


def main(argv: Sequence[str] | None = None, *, make_ocr: Callable[..., Reader] = OCR) -> int:
    """Run the command.

    Args:
        argv: the arguments after the command's name; None: those of the process.
        make_ocr: builds the OCR from the options of :class:`liteocr.OCR`.

    Returns:
        The exit code, see :class:`liteocr.ExitCode`.

    Raises:
        SystemExit: with 2 where the arguments are wrong, with 0 after ``--help`` and ``--version``.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    with _logging(options.verbose - options.quiet):
        try:
            return _run(options, make_ocr)
        except LiteOCRError as error:
            _log.error("%s", error)
            return int(error.exit_code)
        except BrokenPipeError:
            # Whoever read our output has seen enough. What is still buffered must not fail again at exit.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return int(ExitCode.OK)
        except OSError as error:
            _log.error("%s", error)
            return int(ExitCode.FAILURE)
        except KeyboardInterrupt:
            return int(ExitCode.INTERRUPTED)


def _run(options: argparse.Namespace, make_ocr: Callable[..., Reader]) -> int:
    images, code = _expand(options.images)
    drawing = _Drawing(options.draw, images) if options.draw is not None else None
    # The output is opened first: that it cannot be written should not be found out after an hour of reading.
    with _output(options.output) as out:
        printer = _PRINTERS[options.format](out, len(images) > 1 or len(options.images) > 1)
        if images:
            threads = options.threads or default_threads()
            # Several pictures at a time, one thread each, are read faster than one after the other. Where they would
            # not keep all threads busy to the end, each gets all threads instead.
            workers = threads if len(images) >= 2 * threads else 1
            ocr = _build(options, make_ocr, threads=1 if workers > 1 else options.threads)
            progress = _Progress(len(images), options.quiet)
            progress.show(0, images[0])
            readings = in_order(partial(_read, ocr, at_once=workers > 1), images, workers=workers, ahead=2 * workers)
            for index, (image, (source, pages)) in enumerate(zip(images, readings, strict=True), 1):
                try:
                    for frame, page in pages:
                        progress.clear()
                        printer.add(image, frame, page)
                        out.flush()
                        if options.timings:
                            _print_timings(image, page)
                        if drawing:
                            drawing.add(image, source, frame, page)
                except (LiteOCRError, MemoryError) as error:
                    progress.clear()
                    code = max(code, _report(image, error))
                if index < len(images):
                    progress.show(index, images[index])
        printer.close()
        out.flush()
    return int(code)


def _read(ocr: Reader, image: str, *, at_once: bool) -> tuple[str | bytes, Iterator[_Numbered]]:
    """What to open again, and the pages; read now, all of them, or one by one as they are asked for."""
    source: str | bytes = sys.stdin.buffer.read() if image == "-" else image
    pages = _numbered(ocr, source)
    return source, _now(pages) if at_once else pages


def _now(pages: Iterator[_Numbered]) -> Iterator[_Numbered]:
    """Take what an iterator has; the result gives the same and ends with the same error."""
    taken: list[_Numbered] = []
    failed: LiteOCRError | MemoryError | None = None
    try:
        taken.extend(pages)
    except (LiteOCRError, MemoryError) as error:
        failed = error

    def again() -> Iterator[_Numbered]:
        yield from taken
        if failed is not None:
            raise failed

    return again()


def _lexicon(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--lexicon {path}: {error}; give a text file in UTF-8") from error
    return [line for line in lines if line.strip()]


def _build(options: argparse.Namespace, make_ocr: Callable[..., Reader], *, threads: int | None) -> Reader:
    start = time.perf_counter()
    ocr = make_ocr(
        weights=options.weights,
        precision=options.precision,
        threads=threads,
        max_side=options.max_side,
        min_score=options.min_score,
        angle=not options.no_angle,
        page_angle=options.page_angle,
        line=options.line,
        charset=options.charset,
        lexicon=None if options.lexicon is None else _lexicon(options.lexicon),
        beam=options.beam,
        polygons=options.polygons,
        max_pixels=options.max_pixels or None,
    )
    if options.timings:
        print(f"networks: {time.perf_counter() - start:.3f} s", file=sys.stderr)
    return ocr


def _report(image: str, error: LiteOCRError | MemoryError) -> ExitCode:
    """One line about one picture."""
    if isinstance(error, MemoryError):
        _log.error("%s: out of memory; give a smaller --max-side, or scale the picture down", image)
        return ExitCode.FAILURE
    message = " ".join(str(error).split("\n"))
    _log.error("%s", message if message.startswith(f"{image}: ") else f"{image}: {message}")
    return error.exit_code


def _print_timings(image: str, page: Page) -> None:
    stages = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in page.timings.items())
    print(f"{image}: {page.seconds:.3f} s ({stages}), {len(page)} lines", file=sys.stderr)


def _numbered(ocr: Reader, source: str | bytes) -> Iterator[_Numbered]:
    """Read the frames of a picture, numbered from 0 where there are several."""
    pages = ocr.read_all(source)
    first = next(pages)
    failed: ImageError | None = None
    second: Page | None = None
    try:
        second = next(pages, None)
    except ImageError as error:
        failed = error
    if second is None and failed is None:
        yield None, first
        return
    yield 0, first
    if failed is not None:
        raise failed
    if second is not None:
        yield 1, second
    yield from enumerate(pages, 2)


# What to read --------------------------------------------------------------------------------------------------------


def _expand(arguments: Sequence[str]) -> tuple[list[str], ExitCode]:
    """Walk directories and expand patterns; complain about those that give nothing."""
    images: list[str] = []
    code = ExitCode.OK
    for argument in arguments:
        if os.path.isdir(argument):
            found = list(_walk(argument))
            if not found:
                code = _report(argument, ImageError("there are no pictures in this directory: check the path"))
            images += found
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            # the shell expands patterns, but not all shells do, and none inside quotes
            matches = sorted(glob.glob(argument, recursive=True))
            found = [path for match in matches for path in (_walk(match) if os.path.isdir(match) else [match])]
            if not found:
                code = _report(argument, ImageError("no picture matches this pattern: check the path"))
            images += found
        else:
            images.append(argument)
    if images.count("-") > 1:
        raise OptionError("standard input (-) can be read once only; give it once")
    return images, code


def _walk(directory: str) -> Iterator[str]:
    """The pictures under a directory, by name; hidden files and directories are left out."""
    for folder, names, files in os.walk(directory):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(folder, name)


# What to print -------------------------------------------------------------------------------------------------------


class _Text:
    """The texts; several pages each under a heading like those of head(1), with a blank line between."""

    def __init__(self, out: TextIO, several: bool) -> None:
        self.out, self.several, self.separator = out, several, ""

    def add(self, image: str, frame: int | None, page: Page) -> None:
        if self.several or frame is not None:
            which = "" if frame is None else f" (frame {frame})"
            self.out.write(f"{self.separator}==> {image}{which} <==\n")
            self.separator = "\n"
        if page.text:
            self.out.write(page.text + "\n")

    def close(self) -> None:
        pass


class _JsonLines:
    """One object a line, as they come."""

    def __init__(self, out: TextIO, several: bool) -> None:
        self.out = out

    def add(self, image: str, frame: int | None, page: Page) -> None:
        self.out.write(_json(image, frame, page) + "\n")

    def close(self) -> None:
        pass


class _Json:
    """One object for one page, a list for several pictures or frames."""

    def __init__(self, out: TextIO, several: bool) -> None:
        self.out, self.several = out, several
        self.pages: list[str] = []

    def add(self, image: str, frame: int | None, page: Page) -> None:
        self.several = self.several or frame is not None
        self.pages.append(_json(image, frame, page))

    def close(self) -> None:
        if self.several:
            self.out.write("[\n" + ",\n".join(self.pages) + "\n]\n" if self.pages else "[]\n")
        elif self.pages:
            self.out.write(self.pages[0] + "\n")


class _Tsv:
    """One line of text a line, under a line of headings; backslash, tab and line breaks in texts are escaped."""

    def __init__(self, out: TextIO, several: bool) -> None:
        self.out = out
        out.write("image\tframe\tline\tx0\ty0\tx1\ty1\tx2\ty2\tx3\ty3\tscore\tdet_score\tangle\ttext\n")

    def add(self, image: str, frame: int | None, page: Page) -> None:
        for number, line in enumerate(page):
            corners = [f"{value:g}" for point in line.quad for value in point]
            scores = [f"{line.score:.4f}", f"{line.det_score:.4f}", str(line.angle)]
            fields = [_escape(image), str(frame or 0), str(number), *corners, *scores, _escape(line.text)]
            self.out.write("\t".join(fields) + "\n")

    def close(self) -> None:
        pass


_PRINTERS: dict[str, Callable[[TextIO, bool], _Text | _Json | _JsonLines | _Tsv]] = {
    "text": _Text,
    "json": _Json,
    "jsonl": _JsonLines,
    "tsv": _Tsv,
}


def _json(image: str, frame: int | None, page: Page) -> str:
    record: dict[str, Any] = {"image": image}
    if frame is not None:
        record["frame"] = frame
    record |= {"width": page.width, "height": page.height, "seconds": round(page.seconds, 4)}
    record["lines"] = [line.to_dict() for line in page]
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a path that is not UTF-8
        return json.dumps(record)
    return text


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when all of it is written."""
    if path is None or path == "-":
        out = sys.stdout
        if hasattr(out, "reconfigure"):
            # results are UTF-8 everywhere; paths that are not go out as the bytes they are
            out.reconfigure(encoding="utf-8", errors="surrogateescape")
        yield out
        out.flush()
        return
    with _replacing(path) as file:
        yield cast(TextIO, file)


@contextmanager
def _replacing(path: str, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a new file that takes the place of ``path`` at the end; after an error nothing has changed."""
    keywords: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
    if binary:
        keywords = {}
    kind = "b" if binary else ""
    target = os.path.realpath(path)
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
        # a pipe or a device is written to, not replaced
        with open(path, "w" + kind, **keywords) as file:
            yield file
        return
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise PermissionError(f"{path} cannot be written: its permissions forbid it")
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w" + kind, **keywords) as file:
            if os.path.exists(target):
                shutil.copymode(target, temporary)
            yield file
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


# What to draw --------------------------------------------------------------------------------------------------------


class _Drawing:
    """Writes annotated pictures: one to a file, several to a directory.

    Raises:
        OptionError: a file for several pictures, a suffix of no picture, or the picture itself.
    """

    def __init__(self, target: str, images: Sequence[str]) -> None:
        suffix = os.path.splitext(target)[1].lower()
        into_directory = os.path.isdir(target) or target.endswith(("/", os.sep)) or not suffix
        if not into_directory:
            if len(images) > 1:
                raise OptionError(f"--draw {target}: there are {len(images)} pictures; give a directory")
            if suffix not in _DRAWN:
                raise OptionError(f"--draw {target}: give a file name that ends with one of {' '.join(_DRAWN)}")
            if images and os.path.exists(target) and images[0] != "-" and os.path.samefile(target, images[0]):
                raise OptionError(f"--draw {target}: this is the picture itself; give another name")
        elif os.path.exists(target) and not os.path.isdir(target):
            raise OptionError(f"--draw {target}: this is a file without a picture's suffix; give a directory")
        self._target = target
        self._directory = into_directory
        self._taken = {os.path.realpath(image) for image in images}
        self._path = ""
        self._frames: Iterator[Any] = iter(())

    def add(self, image: str, source: str | bytes, frame: int | None, page: Page) -> None:
        """Draw a frame; those of one picture come in order."""
        if not frame:
            self._path = self._name(image) if self._directory else self._target
            self._frames = frames(source, max_pixels=max(MAX_PIXELS, page.width * page.height))
        stem, suffix = os.path.splitext(self._path)
        path = f"{stem}-{frame}{suffix}" if frame else self._path
        good, data = cv2.imencode(suffix.lower(), draw_page(page, next(self._frames)))
        if not good:
            raise OSError(f"{path}: OpenCV cannot write a picture of this size and format; give a .png")
        with _replacing(path, binary=True) as file:
            file.write(data.tobytes())

    def _name(self, image: str) -> str:
        """A path in the directory that is neither a picture to read nor taken by another one of this run."""
        os.makedirs(self._target, exist_ok=True)
        stem = "stdin" if image == "-" else os.path.splitext(os.path.basename(image))[0]
        path, count = os.path.join(self._target, f"{stem}-ocr.jpg"), 1
        while os.path.realpath(path) in self._taken:
            count += 1
            path = os.path.join(self._target, f"{stem}-ocr-{count}.jpg")
        self._taken.add(os.path.realpath(path))
        return path


# Progress and logs ---------------------------------------------------------------------------------------------------


class _Progress:
    """A bar on standard error, where that is a terminal and there is more than one picture."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.total = total
        self.active = total > 1 and not quiet and sys.stderr.isatty()

    def show(self, done: int, image: str) -> None:
        if self.active:
            bar = "#" * (20 * done // self.total)
            sys.stderr.write(f"\r[{bar:20}] {done}/{self.total} {os.path.basename(image)[:40]}\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        if self.active:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def _logging(verbosity: int) -> Iterator[None]:
    """Send the package's log to standard error for as long as the command runs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("liteocr: %(message)s"))
    before = _log.level
    _log.setLevel({-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)


# Options -------------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="liteocr",
        description="Read the text in pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+", help="a picture, a directory, a pattern, or - for standard input")
    add("--format", choices=list(_PRINTERS), default="text", help="what to print (default: text)")
    add("-o", "--output", metavar="FILE", help="write to FILE, which appears only when all of it is written")
    add("--draw", metavar="FILE_OR_DIR", help="also write the picture with boxes and texts; DIR for several pictures")
    add(
        "--min-score",
        type=_score,
        default=MIN_SCORE,
        metavar="S",
        help="leave out lines with a lower score, 0 to 1 (default: %(default)s)",
    )
    add("--threads", type=_positive, metavar="N", help="cores to use (default: every core)")
    add("--max-side", type=_positive, metavar="PX", help="scale longer pictures down to this to find the lines")
    add("--no-angle", action="store_true", help="take every line as upright")
    add("--page-angle", action="store_true", help="let all lines of a page decide together whether it is upside down")
    add("--line", action="store_true", help="each picture is one line of text: find nothing, read all of it")
    add("--charset", metavar="CHARS", help="the only characters that can be read, such as 0123456789.")
    add("--lexicon", metavar="FILE", help="the only lines that can be read, one a line, UTF-8")
    add("--beam", type=_positive, metavar="N", default=1, help="decode with a beam of N (default 1: the best path)")
    add("--polygons", action="store_true", help="add the outline of each line (json, jsonl, --draw)")
    add("--weights", metavar="DIR", help="another set of weights than the one that comes with the package")
    add("--precision", choices=["auto", "fp32", "fp16", "bf16"], default="auto", help="arithmetic of the networks")
    add(
        "--max-pixels",
        type=_count,
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse pictures with more pixels (default: {MAX_PIXELS}; 0: no limit)",
    )
    add("--timings", action="store_true", help="print how long each stage took, on standard error")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="count", default=0, help="no progress bar and no warnings")
    loudness.add_argument("-v", "--verbose", action="count", default=0, help="say more on standard error")
    add("--version", action="version", version=f"liteocr {__version__}")
    return parser


def _number(text: str, low: float, high: float, kind: type[int] | type[float], expected: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


def _score(text: str) -> float:
    return float(_number(text, 0, 1, float, "a number from 0 to 1"))


def _positive(text: str) -> int:
    return int(_number(text, 1, sys.maxsize, int, "a whole number of 1 or more"))


def _count(text: str) -> int:
    return int(_number(text, 0, sys.maxsize, int, "a whole number of 0 or more"))
