"""Small networks for ncnn, run inside the test's own process: they are known to be whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import ncnn
import numpy as np
import pytest

from liteocr.convert import param as param_module


@pytest.fixture
def compute(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Run a network's text and give back one blob: ``compute(text, {"in0": array}, "out0", bin=b"")``."""

    def run(
        text: str | param_module.Param, inputs: Mapping[str, np.ndarray], output: str = "out0", *, bin: bytes = b""
    ) -> np.ndarray:
        if not isinstance(text, str):
            text = text.text()
        (tmp_path / "net.param").write_text(text, encoding="utf-8")
        (tmp_path / "net.bin").write_bytes(bin)
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = 1
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        assert net.load_param(str(tmp_path / "net.param")) == 0
        source = str(tmp_path / "net.bin") if bin else ncnn.DataReaderFromEmpty()
        assert net.load_model(source) == 0
        extractor = net.create_extractor()
        held = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in inputs.items()}
        for name, array in held.items():
            assert extractor.input(name, ncnn.Mat(array).clone()) == 0
        code, mat = extractor.extract(output)
        assert code == 0
        return np.array(mat)

    return run
