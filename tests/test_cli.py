"""The command: what it prints where, what it writes, and its exit codes; with fake stages, so without networks."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from fakes import BoxDetector, ColourRecognizer, RedIsUpsideDown
from PIL import Image

import liteocr
from liteocr import ExitCode, Page, TextLine, cli, image, pipeline

Run = Callable[..., int]


class Fake:
    """An OCR that finds on each picture one line that says the picture's size."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        Fake.options = options

    def read_all(self, source: Any) -> Iterator[Page]:
        """One page a frame."""
        for frame in image.frames(source, max_pixels=self.options["max_pixels"]):
            height, width = frame.shape[:2]
            quad = ((1.0, 2.0), (width - 1.0, 2.0), (width - 1.0, 12.5), (1.0, 12.5))
            line = TextLine(quad, f"{width} by {height}", 0.9, 0.8, 0)
            yield Page((line,), width, height, 0.25, {"load": 0.125, "detect": 0.125})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with pictures, which is the current one."""
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    for name, width in [("b.png", 40), ("a.JPG", 50), ("sub/c.webp", 60), ("sub/.hidden/d.png", 70), (".e.png", 80)]:
        picture = np.full((30, width, 3), 230, np.uint8)
        assert cv2.imencode(Path(name).suffix, picture)[1].tofile(str(tmp_path / name)) is None
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.bin").write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes()[:50])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run() -> Run:
    """Run the command with fakes."""

    def run(*arguments: str | os.PathLike[str], ocr: Any = Fake) -> int:
        return cli.main([os.fspath(a) for a in arguments], make_ocr=ocr)

    return run


@pytest.fixture
def output(capfd: pytest.CaptureFixture[str]) -> Callable[[], tuple[str, str]]:
    """What came on standard output and standard error since the last call."""
    return lambda: tuple(capfd.readouterr())


Output = Callable[[], tuple[str, str]]


# What is printed -----------------------------------------------------------------------------------------------------


def test_one_picture_is_its_text_alone(folder: Path, run: Run, output: Output) -> None:
    assert run("b.png") == ExitCode.OK
    assert output() == ("40 by 30\n", "")


def test_several_pictures_have_headings(folder: Path, run: Run, output: Output) -> None:
    assert run("b.png", "a.JPG") == ExitCode.OK
    assert output() == ("==> b.png <==\n40 by 30\n\n==> a.JPG <==\n50 by 30\n", "")


def test_json_of_one_picture_is_one_object(folder: Path, run: Run, output: Output) -> None:
    assert run("--format", "json", "./b.png") == ExitCode.OK
    out, err = output()
    assert err == ""
    assert json.loads(out) == {
        "image": "./b.png",
        "width": 40,
        "height": 30,
        "seconds": 0.25,
        "lines": [
            {
                "quad": [[1.0, 2.0], [39.0, 2.0], [39.0, 12.5], [1.0, 12.5]],
                "text": "40 by 30",
                "score": 0.9,
                "det_score": 0.8,
                "angle": 0,
                "chars": [],
            }
        ],
    }


def test_json_of_several_is_a_list_and_jsonl_one_line_each(folder: Path, run: Run, output: Output) -> None:
    assert run("--format", "json", "b.png", "a.JPG") == ExitCode.OK
    assert [page["image"] for page in json.loads(output()[0])] == ["b.png", "a.JPG"]
    assert run("--format", "json", "b.png", "missing.png") == ExitCode.IMAGE
    assert [page["image"] for page in json.loads(output()[0])] == ["b.png"]
    assert run("--format", "jsonl", "b.png", "a.JPG") == ExitCode.OK
    assert [json.loads(line)["width"] for line in output()[0].splitlines()] == [40, 50]


def test_tsv(folder: Path, run: Run, output: Output) -> None:
    class Odd(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            for page in super().read_all(source):
                yield Page((TextLine(page[0].quad, "a\tb\\c\nd", 0.5, 1.0, 180),), page.width, page.height)

    assert run("--format", "tsv", "b.png", ocr=Odd) == ExitCode.OK
    head, row = output()[0].splitlines()
    record = dict(zip(head.split("\t"), row.split("\t"), strict=True))
    assert record["text"] == r"a\tb\\c\nd"
    assert (record["image"], record["frame"], record["line"]) == ("b.png", "0", "0")
    assert (record["x2"], record["y2"], record["score"], record["angle"]) == ("39", "12.5", "0.5000", "180")


def test_frames_are_numbered_where_there_are_several(folder: Path, run: Run, output: Output) -> None:
    pages = [Image.new("L", (30 + i, 20)) for i in range(3)]
    pages[0].save("pages.tif", save_all=True, append_images=pages[1:])
    assert run("pages.tif") == ExitCode.OK
    assert output()[0].splitlines()[:4] == [
        "==> pages.tif (frame 0) <==",
        "30 by 20",
        "",
        "==> pages.tif (frame 1) <==",
    ]
    assert run("--format", "json", "pages.tif") == ExitCode.OK
    assert [(page["image"], page["frame"]) for page in json.loads(output()[0])] == [("pages.tif", i) for i in range(3)]


def test_frames_before_a_damaged_one_are_printed(folder: Path, run: Run, output: Output) -> None:
    class Breaks(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            yield from super().read_all(source)
            raise liteocr.ImageError("frame 1 is damaged")

    assert run("b.png", ocr=Breaks) == ExitCode.IMAGE
    assert output() == ("==> b.png (frame 0) <==\n40 by 30\n", "liteocr: b.png: frame 1 is damaged\n")


def test_nothing_found_is_success(folder: Path, run: Run, output: Output) -> None:
    class Blind(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            yield Page((), 40, 30)

    assert run("b.png", ocr=Blind) == ExitCode.OK
    assert output() == ("", "")
    assert run("--format", "json", "b.png", ocr=Blind) == ExitCode.OK
    assert json.loads(output()[0])["lines"] == []


def test_chinese_comes_out_as_utf8_whatever_the_locale(folder: Path) -> None:
    code = (
        "import sys; from liteocr import cli, Page, TextLine\n"
        "class Fake:\n"
        "    def __init__(self, **options): pass\n"
        "    def read_all(self, source):\n"
        "        yield Page((TextLine(((0,0),(1,0),(1,1),(0,1)), '收据', 1, 1, 0),), 1, 1)\n"
        "sys.exit(cli.main(sys.argv[1:], make_ocr=Fake))\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    for kind, expected in [("text", "收据"), ("json", '"收据"')]:
        done = subprocess.run(
            [sys.executable, "-c", code, "--format", kind, "b.png"], capture_output=True, env=environment, check=True
        )
        assert expected in done.stdout.decode("utf-8")
        assert done.stderr == b""


# What is read --------------------------------------------------------------------------------------------------------


def test_directories_are_walked_without_what_is_hidden(folder: Path, run: Run, output: Output) -> None:
    assert run("--format", "jsonl", ".") == ExitCode.OK
    images = [json.loads(line)["image"] for line in output()[0].splitlines()]
    assert images == [os.path.join(".", "a.JPG"), os.path.join(".", "b.png"), os.path.join(".", "sub", "c.webp")]


def test_patterns_that_the_shell_left(folder: Path, run: Run, output: Output) -> None:
    assert run("--format", "jsonl", "*.[jJ]*", "**/*.webp") == ExitCode.OK
    images = [json.loads(line)["image"] for line in output()[0].splitlines()]
    assert images == ["a.JPG", os.path.join("sub", "c.webp")]
    (folder / "x[1].png").write_bytes((folder / "b.png").read_bytes())
    assert run("x[1].png") == ExitCode.OK  # a file of that very name
    assert output() == ("40 by 30\n", "")


def test_standard_input(folder: Path, run: Run, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "b.png").read_bytes())))
    assert run("-", "--format", "json") == ExitCode.OK
    assert json.loads(output()[0])["image"] == "-"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run("-") == ExitCode.IMAGE
    assert output() == ("", "liteocr: -: the file is empty: copy or download it again\n")
    assert run("-", "-") == ExitCode.USAGE


# Bad pictures --------------------------------------------------------------------------------------------------------


def test_bad_pictures_have_one_line_each_and_the_good_are_printed(folder: Path, run: Run, output: Output) -> None:
    (folder / "none").mkdir()
    code = run("missing.png", "b.png", "broken.bin", "none", "*.nothing", "notes.txt", "a.JPG")
    out, err = output()
    assert code == ExitCode.IMAGE
    assert out == "==> b.png <==\n40 by 30\n\n==> a.JPG <==\n50 by 30\n"
    assert sorted(line.split(": ")[1] for line in err.splitlines()) == [
        "*.nothing",
        "broken.bin",
        "missing.png",
        "none",
        "notes.txt",
    ]
    assert "liteocr: missing.png: there is no such file: check the path\n" in err
    assert "liteocr: none: there are no pictures in this directory" in err


def test_a_directory_without_pictures_is_an_error_and_loads_nothing(folder: Path, run: Run, output: Output) -> None:
    (folder / "none").mkdir()

    def no_ocr(**options: Any) -> Any:
        raise AssertionError("the networks were loaded")

    assert run("none", ocr=no_ocr) == ExitCode.IMAGE
    assert run("none", "*.nothing", "--format", "json", ocr=no_ocr) == ExitCode.IMAGE
    assert output()[0] == "[]\n"


def test_too_many_pixels(folder: Path, run: Run, output: Output) -> None:
    assert run("--max-pixels", "1199", "b.png") == ExitCode.IMAGE
    assert "40 x 30 pixels, more than the limit of 1,199" in output()[1]
    assert run("--max-pixels", "0", "b.png") == ExitCode.OK
    assert Fake.options["max_pixels"] is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (liteocr.WeightsError("the weights are damaged: install again"), ExitCode.WEIGHTS),
        (liteocr.OptionError("max_side is 8"), ExitCode.USAGE),
        (liteocr.MissingPackageError("install it"), ExitCode.PACKAGE),
    ],
)
def test_an_ocr_that_cannot_be_built(folder: Path, run: Run, output: Output, error: Exception, code: ExitCode) -> None:
    def build(**options: Any) -> Any:
        raise error

    assert run("b.png", ocr=build) == code
    assert output() == ("", f"liteocr: {error}\n")


@pytest.mark.parametrize(
    ("error", "code"), [(liteocr.InferenceError("ncnn\nfailed"), ExitCode.INFERENCE), (MemoryError(), ExitCode.FAILURE)]
)
def test_a_failure_on_one_picture_leaves_the_others(
    folder: Path, run: Run, output: Output, error: Exception, code: ExitCode
) -> None:
    class Fails(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            if source == "b.png":
                raise error
            return super().read_all(source)

    assert run("b.png", "a.JPG", ocr=Fails) == code
    out, err = output()
    assert out == "==> a.JPG <==\n50 by 30\n"
    assert err.startswith("liteocr: b.png: ")
    assert err.count("\n") == 1


def test_the_gravest_code_wins(folder: Path, run: Run) -> None:
    class Fails(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            raise liteocr.InferenceError("no") if source == "b.png" else liteocr.ImageError("no")

    assert run("b.png", "a.JPG", ocr=Fails) == ExitCode.INFERENCE


# Options -------------------------------------------------------------------------------------------------------------


def test_options_reach_the_ocr(folder: Path, run: Run) -> None:
    assert run("b.png") == ExitCode.OK
    assert Fake.options == {
        "weights": None,
        "precision": "auto",
        "threads": None,
        "max_side": None,
        "min_score": pipeline.MIN_SCORE,
        "angle": True,
        "page_angle": False,
        "line": False,
        "charset": None,
        "lexicon": None,
        "beam": 1,
        "polygons": False,
        "max_pixels": image.MAX_PIXELS,
    }
    (folder / "words.txt").write_text("总计\n\nTotal\n", encoding="utf-8")
    reading = "--line --charset 0123456789. --lexicon words.txt --beam 4"
    given = "--weights w --precision fp32 --threads 3 --max-side 640 --min-score 0.5 --no-angle --page-angle"
    assert run("b.png", *given.split(), *reading.split(), "--polygons", "--max-pixels", "99999") == ExitCode.OK
    assert Fake.options == {
        "weights": "w",
        "precision": "fp32",
        "threads": 3,
        "max_side": 640,
        "min_score": 0.5,
        "angle": False,
        "page_angle": True,
        "line": True,
        "charset": "0123456789.",
        "lexicon": ["总计", "Total"],
        "beam": 4,
        "polygons": True,
        "max_pixels": 99999,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["b.png", "--min-score", "2"],
        ["b.png", "--min-score", "nan"],
        ["b.png", "--min-score", "much"],
        ["b.png", "--threads", "0"],
        ["b.png", "--threads", "1.5"],
        ["b.png", "--max-side", "-5"],
        ["b.png", "--max-pixels", "-1"],
        ["b.png", "--beam", "0"],
        ["b.png", "--format", "xml"],
        ["b.png", "--precision", "int8"],
        ["b.png", "--no-such-option"],
        ["b.png", "--quiet", "--verbose"],
    ],
)
def test_wrong_usage(folder: Path, run: Run, output: Output, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == ExitCode.USAGE
    out, err = output()
    assert out == ""
    assert "liteocr: error: " in err


def test_a_lexicon_that_cannot_be_read(folder: Path, run: Run, output: Output) -> None:
    (folder / "words.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("words.txt", "none.txt"):
        assert run("b.png", "--lexicon", name) == ExitCode.USAGE
        assert f"--lexicon {name}" in output()[1]


def test_version_and_help(run: Run, output: Output) -> None:
    for option, expected in [("--version", f"liteocr {liteocr.__version__}\n"), ("--help", "exit codes")]:
        with pytest.raises(SystemExit) as stopped:
            run(option)
        assert stopped.value.code == 0
        assert expected in output()[0]


def test_timings_go_to_standard_error(folder: Path, run: Run, output: Output) -> None:
    assert run("--timings", "b.png") == ExitCode.OK
    out, err = output()
    assert out == "40 by 30\n"
    assert re.search(r"^networks: \d+\.\d{3} s\nb\.png: 0\.250 s \(load 0\.125, detect 0\.125\), 1 lines\n$", err)


def pages_of_many(fails: str = "") -> tuple[type[Fake], set[str]]:
    """An OCR that notes which threads call it, and fails on one picture."""
    threads: set[str] = set()

    class Noting(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            threads.add(threading.current_thread().name)
            if source == fails:
                raise MemoryError
            return super().read_all(source)

    return Noting, threads


def test_many_pictures_are_read_at_once_and_printed_as_one_after_the_other(
    folder: Path, run: Run, output: Output
) -> None:
    shutil.copy("a.JPG", "broken.jpg")
    os.truncate("broken.jpg", 100)
    frames = [Image.new("L", (30 + i, 20)) for i in range(3)]
    frames[0].save("frames.tif", save_all=True, append_images=frames[1:])
    names = ["b.png", "frames.tif", "broken.jpg", "a.JPG", "missing.png", "sub/c.webp"]
    wide, threads = pages_of_many("sub/c.webp")
    assert run("--threads", "2", "--format", "tsv", *names, ocr=wide) == ExitCode.IMAGE
    at_once = output()
    assert all(name.startswith("liteocr-many") for name in threads)
    assert Fake.options["threads"] == 1
    one, threads = pages_of_many("sub/c.webp")
    assert run("--threads", "1", "--format", "tsv", *names, ocr=one) == ExitCode.IMAGE
    assert threads == {"MainThread"}
    assert output() == at_once
    assert [line.split("\t")[:2] for line in at_once[0].splitlines()[1:]] == [
        ["b.png", "0"], *(["frames.tif", str(i)] for i in range(3)), ["a.JPG", "0"]
    ]  # fmt: skip
    assert [line.split(": ")[1] for line in at_once[1].splitlines()] == ["broken.jpg", "missing.png", "sub/c.webp"]


def test_a_few_pictures_get_all_threads_each(folder: Path, run: Run) -> None:
    few, threads = pages_of_many()
    assert run("--threads", "2", "b.png", "a.JPG", "sub/c.webp", ocr=few) == ExitCode.OK
    assert (threads, Fake.options["threads"]) == ({"MainThread"}, 2)


def test_the_progress_bar_is_for_terminals_and_several_pictures(
    folder: Path, run: Run, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("b.png", "a.JPG") == ExitCode.OK
    assert output()[1] == ""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    assert run("b.png", "a.JPG") == ExitCode.OK
    out, err = output()
    assert "0/2 b.png" in err
    assert "1/2 a.JPG" in err
    assert err.endswith("\r\x1b[K")
    assert "\x1b" not in out
    for arguments in (["b.png"], ["b.png", "a.JPG", "--quiet"]):
        assert run(*arguments) == ExitCode.OK
        assert output()[1] == ""


def test_the_log_is_left_as_it_was(folder: Path, run: Run) -> None:
    import logging  # noqa: PLC0415 - its state is what is tested

    log = logging.getLogger("liteocr")
    before = (list(log.handlers), log.level)
    run("b.png", "-vv")
    run("missing.png")
    assert (list(log.handlers), log.level) == before


# Output files --------------------------------------------------------------------------------------------------------


def test_output_appears_when_it_is_complete(folder: Path, run: Run, output: Output) -> None:
    target = folder / "out.txt"
    target.write_text("old")

    class Watches(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            yield from super().read_all(source)
            assert target.read_text() == "old"

    assert run("b.png", "a.JPG", "-o", target, ocr=Watches) == ExitCode.OK
    assert target.read_text().startswith("==> b.png <==\n40 by 30\n")
    assert output() == ("", "")
    assert not list(folder.glob(".*.tmp"))


def test_output_is_unchanged_after_a_crash(folder: Path, run: Run) -> None:
    target = folder / "out.txt"
    target.write_text("old")

    class Stops(Fake):
        def read_all(self, source: Any) -> Iterator[Page]:
            if source != "b.png":
                raise KeyboardInterrupt
            return super().read_all(source)

    assert run("b.png", "a.JPG", "-o", target, ocr=Stops) == ExitCode.INTERRUPTED
    assert target.read_text() == "old"
    assert not list(folder.glob(".*.tmp"))


def test_output_that_cannot_be_written_is_found_before_reading(folder: Path, run: Run, output: Output) -> None:
    def no_ocr(**options: Any) -> Any:
        raise AssertionError("the networks were loaded")

    assert run("b.png", "-o", folder / "no" / "such" / "out.txt", ocr=no_ocr) == ExitCode.FAILURE
    assert output()[1].startswith("liteocr: ")


def test_output_to_a_device_does_not_replace_it(folder: Path, run: Run) -> None:
    if not os.path.exists("/dev/null"):
        pytest.skip("needs /dev/null")
    assert run("b.png", "-o", "/dev/null") == ExitCode.OK
    assert not os.path.isfile("/dev/null")


def test_output_keeps_a_link_and_the_mode(folder: Path, run: Run) -> None:
    real = folder / "real.txt"
    real.write_text("old")
    real.chmod(0o640)
    link = folder / "link.txt"
    link.symlink_to(real)
    assert run("b.png", "-o", link) == ExitCode.OK
    assert link.is_symlink()
    assert real.read_text() == "40 by 30\n"
    assert real.stat().st_mode & 0o777 == 0o640


def test_draw_to_a_file(folder: Path, run: Run) -> None:
    assert run("b.png", "--draw", "drawn.png") == ExitCode.OK
    assert cv2.imread("drawn.png").shape == (30, 80, 3)


def test_draw_to_a_directory_keeps_names_apart(folder: Path, run: Run) -> None:
    (folder / "b.jpg").write_bytes((folder / "a.JPG").read_bytes())
    (folder / "b-ocr.jpg").write_bytes((folder / "a.JPG").read_bytes())
    own = (folder / "b-ocr.jpg").read_bytes()
    assert run("b.png", "b.jpg", "b-ocr.jpg", "--draw", ".") == ExitCode.OK
    assert (folder / "b-ocr.jpg").read_bytes() == own
    assert sorted(path.name for path in folder.glob("*-ocr*.jpg")) == [
        "b-ocr-2.jpg",
        "b-ocr-3.jpg",
        "b-ocr-ocr.jpg",
        "b-ocr.jpg",
    ]
    assert run("b.png", "--draw", "new/") == ExitCode.OK
    assert (folder / "new" / "b-ocr.jpg").exists()


def test_draw_every_frame(folder: Path, run: Run) -> None:
    pages = [Image.new("L", (30 + i, 20)) for i in range(3)]
    pages[0].save("pages.tif", save_all=True, append_images=pages[1:])
    assert run("pages.tif", "--draw", "drawn.png") == ExitCode.OK
    widths = [cv2.imread(name).shape[1] for name in ("drawn.png", "drawn-1.png", "drawn-2.png")]
    assert widths == [60, 62, 64]


@pytest.mark.parametrize(
    "arguments",
    [
        ["b.png", "a.JPG", "--draw", "one.png"],
        ["b.png", "--draw", "one.xyz"],
        ["b.png", "--draw", "b.png"],
        ["b.png", "--draw", "./sub/../b.png"],
    ],
)
def test_draw_that_makes_no_sense(folder: Path, run: Run, output: Output, arguments: list[str]) -> None:
    before = (folder / "b.png").read_bytes()
    assert run(*arguments) == ExitCode.USAGE
    assert "--draw" in output()[1]
    assert (folder / "b.png").read_bytes() == before


# The process ---------------------------------------------------------------------------------------------------------


def test_a_closed_pipe_ends_quietly(folder: Path) -> None:
    code = (
        "import sys; from liteocr import cli, Page, TextLine\n"
        "class Fake:\n"
        "    def __init__(self, **options): pass\n"
        "    def read_all(self, source):\n"
        "        yield Page(tuple(TextLine(((0,0),(1,0),(1,1),(0,1)), 'x' * 99, 1, 1, 0) for _ in range(9999)), 1, 1)\n"
        "sys.exit(cli.main(['b.png', 'a.JPG'], make_ocr=Fake))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == ExitCode.OK


def test_the_module_runs(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "liteocr", "--version"], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == f"liteocr {liteocr.__version__}\n"


def test_through_the_pipeline(folder: Path, run: Run, output: Output, boxes: np.ndarray) -> None:
    assert cv2.imwrite("boxes.png", boxes)

    def build(**options: Any) -> liteocr.OCR:
        return liteocr.OCR(
            detector=BoxDetector(),
            classifier=RedIsUpsideDown(),
            recognizer=ColourRecognizer(),
            min_score=options["min_score"],
        )

    assert run("boxes.png", "--format", "jsonl", "--draw", "drawn.png", ocr=build) == ExitCode.OK
    record = json.loads(output()[0])
    assert list(record) == ["image", "width", "height", "seconds", "lines"]
    assert [line["text"] for line in record["lines"]] == ["b", "g", "r"]
    assert record["seconds"] > 0
    assert cv2.imread("drawn.png").shape == (200, 600, 3)
    assert run("boxes.png", "--min-score", "0.9", ocr=build) == ExitCode.OK
    assert output()[0] == ""
