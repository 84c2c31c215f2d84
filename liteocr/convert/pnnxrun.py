"""Run pnnx, in a folder and a process of its own, and find the node to blame where it fails."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from pathlib import Path

from ..net import ncnn_version
from . import ncnnrun
from .errors import ConvertError, MissingExtraError, UnsupportedError, extra
from .fuse import fuse_hard_swish
from .param import read as read_param
from .proof import Net, Shapes

__all__ = ["program", "translate"]

TIMEOUT = 600.0
"""Seconds for one run of pnnx."""


def translate(
    model: bytes, first: Shapes, second: Shapes | None, folder: Path, *, fp16: bool, blame: bool = True
) -> Net:
    """Translate an ONNX model to ncnn.

    Args:
        model: the serialised model.
        first: shapes of its inputs.
        second: shapes of another size; what differs stays free. None: all sizes are fixed.
        folder: where to work; it is made.
        fp16: store the weights in float16.
        blame: look for the node to name in the error, which takes some runs.

    Raises:
        UnsupportedError: an operator that pnnx cannot translate, or that ncnn does not have.
        ConvertError: pnnx does not start, or takes too long.
    """
    folder.mkdir()
    log = _run(model, first, second, folder, fp16=fp16)
    net = Net(folder / "net.ncnn.param", folder / "net.ncnn.bin")
    if not (net.param.is_file() and net.bin.is_file()):
        where = (blame and _blame(model, first, second, None)) or "the model"
        raise UnsupportedError(
            f"{where}: pnnx cannot translate it; write it in other operators in the model. pnnx said last: {log}"
        )
    param = read_param(net.param)
    unknown = ncnnrun.unknown_layers(param)
    if unknown:
        kind = unknown[0].type
        where = (blame and _blame(model, first, second, kind)) or f"layer {unknown[0].name}"
        raise UnsupportedError(
            f"{where}: ncnn {ncnn_version()} has nothing that computes it (pnnx left a layer {kind}); write it in "
            "other operators in the model, or end the model before it and do the rest in code"
        )
    net.param.write_text(fuse_hard_swish(param).text(), encoding="utf-8")
    return net


def program() -> Path:
    """The program that the package pnnx brings; the package itself imports torch, which an ONNX model does not need."""
    spec = importlib.util.find_spec("pnnx")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the package pnnx is needed; pip install 'liteocr[convert]'")
    return Path(next(iter(spec.submodule_search_locations))) / ("pnnx.exe" if os.name == "nt" else "pnnx")


def _run(model: bytes, first: Shapes, second: Shapes | None, folder: Path, *, fp16: bool) -> str:
    """Run pnnx in a folder; returns the last lines that it printed, with its exit code where that is not 0."""
    (folder / "net.onnx").write_bytes(model)
    shapes = []
    for key, given in (("inputshape", first), ("inputshape2", second)):
        if given:
            shapes.append(f"{key}=" + ",".join("[" + ",".join(map(str, one)) + "]f32" for one in given))
    try:
        run = subprocess.run(
            [program(), "net.onnx", f"fp16={int(fp16)}", *shapes],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConvertError(f"pnnx took more than {TIMEOUT:g} s and was stopped; try smaller shapes") from None
    except OSError as error:
        raise ConvertError(
            f"pnnx does not start ({error}); install it again: pip install --force-reinstall pnnx"
        ) from None
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout.decode("utf-8", "replace")).splitlines()
    told = [line.strip() for line in lines if re.search(r"error|fail|not support|unsupport|assert|invalid", line, re.I)]
    return " | ".join((told or lines)[-3:])[:600] + (f" (exit code {run.returncode})" if run.returncode else "")


def _blame(model: bytes, first: Shapes, second: Shapes | None, kind: str | None) -> str | None:
    """The first node with which pnnx fails, or, with `kind`, leaves a layer of that type; None where there is none.

    pnnx forgets the nodes' names. So the model is cut off behind ever fewer nodes until the failure goes away.
    """
    onnx = extra("onnx")
    whole = onnx.ModelProto.FromString(model)

    def fails(count: int) -> bool:
        part = onnx.ModelProto()
        part.CopyFrom(whole)
        del part.graph.node[count:]
        read = {name for node in part.graph.node for name in node.input}
        made = [o for node in part.graph.node for o in node.output if o and o not in read]
        del part.graph.output[:]
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
        with tempfile.TemporaryDirectory(prefix="liteocr-") as folder:
            try:
                _run(part.SerializeToString(), first, second, Path(folder), fp16=False)
                left = ncnnrun.unknown_layers(read_param(Path(folder, "net.ncnn.param")))
            except ConvertError:
                return kind is None
            return kind is not None and any(layer.type == kind for layer in left)

    works, breaks = 0, len(whole.graph.node)
    if not fails(breaks):
        return None
    while breaks - works > 1:
        middle = (works + breaks) // 2
        works, breaks = (works, middle) if fails(middle) else (middle, breaks)
    node = whole.graph.node[breaks - 1]
    return f"operator {node.op_type}, node {node.name}"
