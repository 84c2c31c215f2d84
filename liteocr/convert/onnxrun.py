"""Read ONNX files and run them in onnxruntime, every tensor or chosen ones, in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import child
from .errors import ModelFileError, UnsupportedError, extra

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

__all__ = ["LIMIT", "failing_node", "infer", "input_shapes", "load_onnx", "opset", "run_all_onnx"]

LIMIT = 2**31 - 1
"""Bytes of a model with its weights: what protobuf, which onnxruntime and pnnx read models with, can hold."""
TIMEOUT = 600.0
"""Seconds for one run."""


def load_onnx(path: Path | str) -> ModelProto:
    """Read an ONNX file with its external data.

    Raises:
        ModelFileError: missing, empty, truncated, no ONNX file, or external data missing, outside its folder or larger
            than ``LIMIT``.
        UnsupportedError: an operator set newer than the installed onnx.
        MissingExtraError: onnx is not installed.
    """
    onnx = extra("onnx")
    path = Path(path)
    data = _read(path)
    try:
        model: ModelProto = onnx.ModelProto.FromString(data)
    except Exception:  # protobuf's own exception types differ between its implementations
        raise ModelFileError(f"{path.name} is no ONNX file, or a truncated one; export or download it again") from None
    if not model.graph.node or not model.graph.output or not model.opset_import or model.ir_version < 1:
        raise ModelFileError(f"{path.name} holds no ONNX graph, or a truncated one; export or download it again")
    _load_external(model, path)
    for tensor in _tensors(model.graph):
        try:
            onnx.numpy_helper.to_array(tensor)
        except Exception:
            raise ModelFileError(
                f"{path.name} is damaged: the values of {tensor.name} do not fit its shape; export or download it again"
            ) from None
    newest = int(onnx.defs.onnx_opset_version())
    if opset(model) > newest:
        raise UnsupportedError(
            f"{path.name} is of operator set {opset(model)}, the installed onnx knows up to {newest}; export it with "
            "opset_version=17, or install a newer onnx"
        )
    return model


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LIMIT:
            raise ModelFileError(f"{path.name} has {size / 2**30:.1f} GiB, more than the 2 GiB that a model can have")
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"{path} is missing; correct the path") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror}); give an .onnx file") from None


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every constant tensor of a graph and of its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sub in (attribute.g, *attribute.graphs):
                yield from _tensors(sub)


def _load_external(model: ModelProto, path: Path) -> None:
    """Read the weights that lie in files beside the model, after a look at where they lie and how long they are."""
    onnx = extra("onnx")
    total = 0
    external = [t for t in _tensors(model.graph) if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in external:
        where = {entry.key: entry.value for entry in tensor.external_data}
        name = where.get("location", "")
        parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
        if not name or ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
            raise ModelFileError(f"{path.name}: weights of {tensor.name} lie at {name!r}, outside the model's folder")
        file = path.parent / name
        if not file.is_file():
            raise ModelFileError(
                f"{path.name}: the weights of {tensor.name} are in {name}, which is missing; put it beside the model, "
                "or save the model with its weights inside"
            )
        try:
            offset, length = (int(where.get(key, 0) or 0) for key in ("offset", "length"))
        except ValueError:
            raise ModelFileError(
                f"{path.name}: offset or length of {tensor.name} is no number; export it again"
            ) from None
        length = length or file.stat().st_size - offset
        if offset < 0 or length < 0 or offset + length > file.stat().st_size:
            raise ModelFileError(f"{path.name}: {name} is too short for the weights of {tensor.name}; copy it again")
        total += length
    if total > LIMIT:
        raise ModelFileError(
            f"{path.name} has {total / 2**30:.1f} GiB of external weights, more than the 2 GiB that a model can have"
        )
    if external:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))


def opset(model: ModelProto) -> int:
    """The version of the standard operators that a model uses; 1 where it tells none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def input_shapes(model: ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Each input with its shape, None where a size is free; inputs that only give a weight its default are left out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in value.type.tensor_type.shape.dim
        )
        for value in model.graph.input
        if value.name not in weights
    }


def run_all_onnx(
    model: ModelProto | Path, inputs: Mapping[str, NDArray[Any]], *, only: Sequence[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Run a model once.

    Args:
        model: the model, or its file.
        inputs: an array for every input; any size that the model takes.
        only: names of the tensors to return; None: all that a node of the main graph computes.

    Returns:
        The tensors by name, in the graph's order; what is no tensor (a sequence, say) is left out.

    Raises:
        ModelFileError: the model is damaged, or does not take these inputs.
        UnsupportedError: onnxruntime does not have an operator of it.
        ConvertError: onnxruntime crashed or took too long.
    """
    extra("onnxruntime")
    loaded = model if not isinstance(model, (str, Path)) else load_onnx(model)
    data = loaded.SerializeToString()
    held = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    names = None if only is None else tuple(only)
    return child.call(_run_all, data, held, names, timeout=TIMEOUT, what="onnxruntime")


def _run_all(data: bytes, inputs: dict[str, NDArray[Any]], only: tuple[str, ...] | None) -> dict[str, NDArray[Any]]:
    onnx = extra("onnx")
    model = onnx.ModelProto.FromString(data)
    if only is None:
        only = tuple(name for node in model.graph.node for name in node.output if name)
    return infer(model, inputs, only)


def infer(model: ModelProto, inputs: Mapping[str, NDArray[Any]], only: Sequence[str]) -> dict[str, NDArray[Any]]:
    """As `run_all_onnx`, in this process: for callers that are children already. The model is not changed."""
    onnx, ort = extra("onnx"), extra("onnxruntime")
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    inside = {name for node in asked.graph.node for name in node.output}
    for name in only:
        if name in inside:
            asked.graph.output.append(onnx.ValueInfoProto(name=name))
    if not asked.graph.output:
        return {}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # What is asked for must be what the graph says, not what an optimiser made of it.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        text = _message(error)
        if "NOT_IMPLEMENTED" in text or "No Op registered" in text or "not a registered function" in text:
            raise UnsupportedError(
                f"onnxruntime {ort.__version__} does not have an operator of the model ({text}); "
                "export with opset_version=17, or install a newer onnxruntime"
            ) from None
        raise ModelFileError(f"onnxruntime refuses the model ({text}); export it again") from None
    names = [output.name for output in session.get_outputs()]
    try:
        results = session.run(names, dict(inputs))
    except Exception as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
        raise ModelFileError(
            f"onnxruntime cannot run the model on {shapes} ({_message(error)}); give another shape"
        ) from None
    return {n: r for n, r in zip(names, results, strict=True) if isinstance(r, np.ndarray)}


def _message(error: Exception) -> str:
    """The message of an onnxruntime error on one line, without its stack."""
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else text[:400] + "..."


def failing_node(text: str) -> str | None:
    """The name of the node in which onnxruntime says that it failed."""
    found = re.search(r"Name:\s*'([^']*)'", text) or re.search(r"[Nn]ode\s*\(([^)]*)\)", text)
    return found[1] if found and found[1] else None
