"""A network of ours to ONNX, and on to ncnn by `liteocr.convert`, which proves that it computes the same.

The ONNX file lies beside the checkpoint and is committed with it: what ships is exactly what
`liteocr-model convert` makes of it, which takes no PyTorch and is checked by the tests.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn

from liteocr.convert import ConvertReport, convert
from liteocr.convert.torchin import export


def to_ncnn(
    net: nn.Module, shape: tuple[int, ...], shape2: tuple[int, ...], checkpoint: Path, destination: Path
) -> ConvertReport:
    """Write CHECKPOINT.onnx, DESTINATION.ncnn.param and DESTINATION.ncnn.bin, float16 weights.

    What differs between the two shapes of the input stays free. The report of the conversion goes beside the ONNX file.
    """
    exported = export(net.eval(), (shape,), (shape2,))
    assert exported is not None
    file = checkpoint.with_suffix(".onnx")
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(narrow(exported.model), str(file))
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report = convert(file, folder, shape=shape, shape2=shape2, name=destination.name)
        for made in (report.param, report.bin):
            shutil.copy(made, destination.parent)
        for ending in ("json", "md"):
            shutil.copy(Path(folder, f"{report.name}.convert.{ending}"), file.with_suffix(f".convert.{ending}"))
    print(report.summary())
    return report


def narrow(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights as float16 where that loses nothing, behind a Cast: half the file, and the same network."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < 64:
            continue
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), value):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [f"{name}.half"], [name], f"widen {name}", to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model
