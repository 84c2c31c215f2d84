"""Run a network in ncnn, every blob or chosen ones, in a process of its own.

Foreign .param and .bin files can end the interpreter that ncnn runs in, and a kernel may do so on an input that it does
not expect. Before ncnn sees the files, they are parsed here, the layers' types are looked up, and the size of the .bin
is compared with what the .param accounts for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import ncnn
import numpy as np
from numpy.typing import NDArray

from ..errors import InferenceError, LiteOCRError, OptionError
from ..net import ncnn_version
from . import child
from .errors import ConvertError, ModelFileError, UnsupportedError
from .param import Layer, Param
from .param import read as read_param
from .shapes import ShapeError, infer
from .weights import check_bin

__all__ = [
    "PRECISIONS",
    "RunPrecision",
    "check_layers",
    "check_loads",
    "layer_times",
    "run_all",
    "run_each",
    "unknown_layers",
]

RunPrecision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(RunPrecision)
_MAX_ELEMENTS = 2**31 - 1
"""What an index of ncnn can count."""
TIMEOUT = 600.0
"""Seconds for one run. A network of OCR takes less than one."""


def unknown_layers(param: Param) -> tuple[Layer, ...]:
    """The layers whose type the installed ncnn does not have, or names and was built without."""
    return tuple(layer for layer in param.layers if not _exists(layer.type))


@cache
def _exists(kind: str) -> bool:
    return kind == "Input" or (ncnn.layer_to_index(kind) >= 0 and ncnn.create_layer(kind) is not None)


def check_layers(param: Param, name: str = "the network") -> None:
    """Refuse a network with a layer that the installed ncnn does not have.

    Raises:
        UnsupportedError: naming the first such layer.
    """
    unknown = unknown_layers(param)
    if unknown:
        first = unknown[0]
        more = f", and {len(unknown) - 1} more layers" if len(unknown) > 1 else ""
        hint = (
            "an operator of PyTorch that pnnx did not translate: rewrite it in the model and convert again"
            if "." in first.type or "::" in first.type
            else "a custom layer, or one of another ncnn: install a newer ncnn or convert the model again"
        )
        raise UnsupportedError(
            f"{name}: ncnn {ncnn_version()} has no layer {first.type} (layer {first.name}{more}); it is {hint}"
        )


def check_loads(param: Path, bin: Path | None = None) -> None:
    """Let ncnn load a .param, and its .bin where it is given.

    Raises:
        ModelFileError: ncnn refuses it, or the files do not fit each other.
        UnsupportedError: a layer that this ncnn does not have.
        ConvertError: ncnn crashed.
    """
    what = f"ncnn {ncnn_version()}, loading {Path(param).name},"
    try:
        child.call(_check, Path(param), bin, timeout=TIMEOUT, what=what)
    except ConvertError as error:
        raise _with_log(error) from None


def run_all(
    param: Path,
    bin: Path,
    inputs: Mapping[str, NDArray[Any]],
    *,
    precision: RunPrecision = "fp32",
    only: Sequence[str] | None = None,
    threads: int = 1,
) -> dict[str, NDArray[np.float32]]:
    """Run a network once.

    Args:
        param: the .param file.
        bin: the .bin file.
        inputs: an array for every input blob: float32, or int32 for what is an index; (W,), (H, W), (C, H, W) or
            (C, D, H, W), without a batch axis.
        precision: ``"fp16"`` and ``"bf16"`` where this CPU can; ``"int8"`` runs layers with int8 weights as such, as
            all do, and the rest in float32.
        only: names of the blobs wanted; None: all, the inputs included.
        threads: of ncnn.

    Returns:
        Copies of the blobs, float32, in the network's order. A blob that ncnn leaves empty is an array of size 0.

    Raises:
        ModelFileError: a file is damaged, or they do not fit each other, or the inputs do not fit.
        UnsupportedError: a layer that this ncnn does not have.
        InferenceError: ncnn returned an error code.
        ConvertError: ncnn crashed.
    """
    (found,) = run_each(param, bin, [inputs], precision=precision, only=only, threads=threads)
    if isinstance(found, LiteOCRError):
        raise found
    return found


def run_each(
    param: Path,
    bin: Path,
    inputs: Sequence[Mapping[str, NDArray[Any]]],
    *,
    precision: RunPrecision = "fp32",
    only: Sequence[str] | None = None,
    threads: int = 1,
) -> list[dict[str, NDArray[np.float32]] | LiteOCRError]:
    """As :func:`run_all` on each of several inputs, in one process as long as ncnn does not crash.

    Returns:
        For each its blobs, or the error that it ended with.

    Raises:
        ModelFileError, UnsupportedError: the network itself is what cannot be run.
    """
    held = [{name: _array(array, name) for name, array in one.items()} for one in inputs]
    _precision(precision)
    what = f"ncnn {ncnn_version()}, running {Path(param).name},"
    job = Job(Path(param), Path(bin), precision, threads)
    try:
        return child.call(_run, job, held, None if only is None else tuple(only), timeout=TIMEOUT, what=what)
    except (ModelFileError, UnsupportedError) as error:
        raise _with_log(error) from None
    except ConvertError as error:
        if len(held) == 1:
            return [_with_log(error)]
    return [run_each(param, bin, [one], precision=precision, only=only, threads=threads)[0] for one in held]


def layer_times(
    param: Path,
    bin: Path,
    inputs: Mapping[str, NDArray[Any]],
    *,
    precision: RunPrecision = "fp32",
    threads: int = 1,
    repeat: int = 10,
) -> dict[str, tuple[float, int, int]]:
    """Time every layer inside the running network, with the data and the memory layout that it meets there.

    Returns:
        By layer name: seconds (the median), and bits and packing of the elements of its first output as it lies in
        memory, which tells the precision the layer ran in.

    Raises:
        As :func:`run_all`.
    """
    held = {name: _array(array, name) for name, array in inputs.items()}
    _precision(precision)
    what = f"ncnn {ncnn_version()}, timing {Path(param).name},"
    job = Job(Path(param), Path(bin), precision, threads)
    try:
        return child.call(_time, job, held, repeat, timeout=TIMEOUT, what=what)
    except ConvertError as error:
        raise _with_log(error) from None


def _array(array: NDArray[Any], name: str) -> NDArray[Any]:
    array = np.asarray(array)
    kind = np.int32 if array.dtype.kind in "iu" else np.float32
    if not 1 <= array.ndim <= 4 or array.size == 0:
        raise ModelFileError(
            f"the input {name} has the shape {array.shape}; ncnn takes one to four axes without the batch: (C, H, W)"
        )
    return np.ascontiguousarray(array, dtype=kind)


def _precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise OptionError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")


def _with_log(error: ConvertError) -> ConvertError:
    """The same error, with ncnn's own last word where it said one."""
    if error.log and "said last" not in str(error):
        new = type(error)(f"{error} (ncnn says: {error.log.splitlines()[-1]})")
        new.log = error.log
        return new
    return error


# In the child ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What to load and how."""

    param: Path
    bin: Path
    precision: str
    threads: int


def _options(net: Any, precision: str, threads: int, light: bool) -> None:
    opt = net.opt
    opt.use_vulkan_compute = False
    opt.num_threads = threads
    opt.lightmode = light
    opt.use_fp16_packed = opt.use_fp16_storage = opt.use_fp16_arithmetic = precision == "fp16"
    opt.use_bf16_packed = opt.use_bf16_storage = precision == "bf16"


def _load_param(net: Any, path: Path) -> Param:
    param = read_param(path)
    check_layers(param, str(path))
    if net.load_param(str(path)) != 0:
        raise ModelFileError(
            f"ncnn {ncnn_version()} refuses {path}; it is damaged or was written for another version: "
            "try liteocr-model upgrade, or convert the model again"
        )
    return param


def _load_bin(net: Any, param: Param, path: Path) -> None:
    check_bin(param, path)
    # ncnn refuses the path of a .bin without a byte, which a network without weights has.
    empty = path.stat().st_size == 0
    if net.load_model(ncnn.DataReaderFromEmpty() if empty else str(path)) != 0:
        raise ModelFileError(f"ncnn {ncnn_version()} refuses {path}; it is damaged or belongs to another network")


def _check(param: Path, bin: Path | None) -> None:
    net = ncnn.Net()
    _options(net, "fp32", 1, light=True)
    structure = _load_param(net, param)
    if bin is not None:
        _load_bin(net, structure, bin)


def load(job: Job, *, light: bool) -> tuple[Param, Any]:
    """The network, loaded. Only for a process of its own; errors as for :func:`run_all`."""
    net = ncnn.Net()
    _options(net, job.precision, job.threads, light)
    param = _load_param(net, job.param)
    _load_bin(net, param, job.bin)
    return param, net


def feed(net: Any, param: Param, inputs: Mapping[str, NDArray[Any]], light: bool) -> Any:
    """An extractor with its inputs.

    Raises:
        ModelFileError: an input is missing, is none of the network, or has a shape that it cannot take.
        InferenceError: ncnn refuses it.
    """
    known = set(param.blobs())
    for name in inputs:
        if name not in known:
            raise ModelFileError(f"the network has no blob {name}; its inputs are {', '.join(param.inputs())}")
    missing = [name for name in param.inputs() if name not in inputs]
    if missing:
        raise ModelFileError(f"the network needs an array for its input {missing[0]}")
    shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
    try:  # ncnn itself would read beyond the end of its weights
        expected = infer(param, {name: array.shape for name, array in inputs.items()})
    except ShapeError as error:
        raise ModelFileError(f"the network cannot take the input {shapes}: {error}; give another shape") from None
    for name, shape in expected.items():
        if shape is not None and math.prod(shape) > _MAX_ELEMENTS:
            raise ModelFileError(
                f"with the input {shapes} blob {name} would have the shape {shape}; the .param is damaged, or the "
                "input is too large"
            )
    extractor = net.create_extractor()
    extractor.set_light_mode(light)
    for name, array in inputs.items():
        code = extractor.input(name, ncnn.Mat(array).clone())
        if code != 0:
            raise InferenceError(f"ncnn refuses the input {name} {array.shape} (code {code}); give another shape")
    return extractor


def extract(extractor: Any, param: Param, name: str) -> NDArray[np.float32]:
    """A copy of a blob, float32; of size 0 where ncnn leaves it empty.

    Raises:
        InferenceError: ncnn returned an error code.
    """
    code, mat = extractor.extract(name)
    if code != 0:
        layer = param.producer(name)
        raise InferenceError(
            f"ncnn failed at layer {layer.name} ({layer.type}) or before it (code {code}); the shapes do not fit the "
            "network, or the memory does not suffice"
        )
    return np.zeros(0, np.float32) if mat.empty() else np.array(mat, dtype=np.float32)


def time_layers(net: Any, param: Param, inputs: Mapping[str, NDArray[Any]]) -> dict[str, tuple[float, int, int]]:
    """Run a network once, layer by layer.

    An extractor keeps what it has computed, so asking for the blobs in the order of the layers runs one layer a time.
    What asking itself costs (a copy) is measured by asking again, and taken off.

    Returns:
        By layer: seconds, and bits and packing of the elements of its first output as it lies in memory.

    Raises:
        InferenceError: ncnn returned an error code.
    """
    found = {}
    clock = time.perf_counter
    extractor = feed(net, param, inputs, light=True)
    for layer in param.layers:
        if not layer.outputs or layer.outputs[0] in inputs:
            continue
        start = clock()
        code, mat = extractor.extract(layer.outputs[0], 1)
        middle = clock()
        if code != 0:
            raise InferenceError(
                f"ncnn failed at layer {layer.name} ({layer.type}) (code {code}); the shapes do not fit the network"
            )
        bits, packing = 8 * mat.elemsize // max(1, mat.elempack), mat.elempack
        del mat  # else a layer that works in place would copy what it shares with us
        again = clock()
        code, mat = extractor.extract(layer.outputs[0], 1)
        end = clock()
        del mat
        found[layer.name] = max(0.0, (middle - start) - (end - again)), bits, packing
    return found


def _run(
    job: Job, inputs: Sequence[Mapping[str, NDArray[Any]]], only: tuple[str, ...] | None
) -> list[dict[str, NDArray[np.float32]] | LiteOCRError]:
    param, net = load(job, light=False)
    for name in only or ():
        if name not in param.blobs():
            raise ModelFileError(f"the network has no blob {name}; its outputs are {', '.join(param.outputs())}")
    found: list[dict[str, NDArray[np.float32]] | LiteOCRError] = []
    for one in inputs:
        try:
            extractor = feed(net, param, one, light=False)
            blobs = {n: None if n in one else extract(extractor, param, n) for n in only or param.blobs()}
            found.append({n: one[n].astype(np.float32) if blob is None else blob for n, blob in blobs.items()})
        except LiteOCRError as error:
            found.append(error)
    return found


def _time(job: Job, inputs: Mapping[str, NDArray[Any]], repeat: int) -> dict[str, tuple[float, int, int]]:
    param, net = load(job, light=True)
    time_layers(net, param, inputs)  # warms up
    turns = [time_layers(net, param, inputs) for _ in range(repeat)]
    return {name: (float(np.median([turn[name][0] for turn in turns])), *turns[0][name][1:]) for name in turns[0]}
