"""The public surface."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import liteocr


def test_all_is_sorted_and_complete() -> None:
    # constants, then classes, then functions, each by name: the order that ruff keeps
    constants = [n for n in liteocr.__all__ if n.isupper()]
    classes = [n for n in liteocr.__all__ if not n.isupper() and n[0].isupper()]
    others = [n for n in liteocr.__all__ if not n[0].isupper()]
    assert liteocr.__all__ == sorted(constants) + sorted(classes) + sorted(others)
    public = {n for n, value in vars(liteocr).items() if getattr(value, "__module__", "").startswith("liteocr")}
    assert {n for n in public if not n.startswith("_")} <= set(liteocr.__all__)
    for name in liteocr.__all__:
        assert getattr(liteocr, name) is not None


def test_results_are_immutable(fake_ocr: liteocr.OCR, boxes: np.ndarray) -> None:
    page = fake_ocr.read(boxes)
    for target, field in [(page, "lines"), (page[0], "text"), (page[0].chars[0], "score")]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(target, field, None)


def test_json_round_trip(fake_ocr: liteocr.OCR, boxes: np.ndarray) -> None:
    page = fake_ocr.read(boxes)
    data = json.loads(page.to_json())
    assert data == page.to_dict()
    assert set(data["lines"][0]) == {"quad", "text", "score", "det_score", "angle", "chars"}
    assert set(data["lines"][0]["chars"][0]) == {"text", "score", "quad"}


def test_import_does_no_work() -> None:
    """Importing loads no weights and starts no thread."""
    code = (
        "import threading, liteocr, sys; assert threading.active_count() == 1; "
        "assert not [m for m in sys.modules if m.split('.')[0] in ('torch', 'onnx', 'onnxruntime', 'PIL')]; print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ok\n"


def test_a_missing_system_library_becomes_advice() -> None:
    code = (
        "import sys\n"
        "class NoGL:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cv2':\n"
        "            raise ImportError('libGL.so.1: cannot open shared object file')\n"
        "sys.meta_path.insert(0, NoGL())\n"
        "try:\n"
        "    import liteocr\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "libGL.so.1" in done.stdout
    assert "apt-get install libgl1" in done.stdout
