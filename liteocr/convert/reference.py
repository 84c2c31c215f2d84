"""The model that a network was made from: what it reads, and what each of its tensors is then."""

from __future__ import annotations

import os
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..image import load as load_image
from . import child, onnxrun
from .errors import ModelFileError, extra
from .modelgraph import Node, Reference
from .param import Param

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["TIMEOUT", "Picture", "by", "load_model", "noise", "picture_input", "prepare", "run_model"]

Array = NDArray[Any]

TIMEOUT = 900.0
"""Seconds for one run of a model or a network."""
SEED = 0
_FREE = (160, 224)
"""Height and width of the input where neither the model nor the caller says: multiples of 32, and not the same."""


@dataclass(frozen=True)
class Script:
    """A TorchScript file."""

    path: Path


def load_model(reference: Any) -> tuple[Any, str]:
    """The model, and what to call it."""
    if isinstance(reference, (str, os.PathLike)):
        path = Path(reference)
        if path.suffix.lower() in (".pt", ".pth", ".ts", ".torchscript"):
            extra("torch")
            if not path.is_file():
                raise ModelFileError(f"{path} is missing; correct the path")
            return Script(path), path.name
        return onnxrun.load_onnx(path), path.name
    if "torch" in sys.modules and isinstance(reference, sys.modules["torch"].nn.Module):
        return reference, type(reference).__name__
    if hasattr(reference, "graph") and hasattr(reference, "opset_import"):
        return reference, "the ONNX model"
    raise OptionError(f"{type(reference).__name__} is no model; give an ONNX or TorchScript file, or a torch module")


def _shapes(model: Any) -> dict[str, tuple[int | None, ...]]:
    """The model's inputs with their shapes, None where a size is free; empty where it does not say, as in torch."""
    return onnxrun.input_shapes(model) if hasattr(model, "opset_import") else {}


def prepare(
    model: Any, given: Any, shape: Sequence[int] | None, picture: Picture | None, param: Param
) -> tuple[dict[str, Array], dict[str, str]]:
    """What both read, by the model's names, and in words."""
    shapes = _shapes(model)
    names = list(shapes) or [f"input{i}" for i in range(len(param.inputs()))]
    if len(names) != len(param.inputs()):
        raise ModelFileError(
            f"the model has the inputs {', '.join(names)}, the network {', '.join(param.inputs())}; "
            "they do not belong together"
        )
    arrays, words = {}, {}
    if given is None:
        kinds = _kinds(model)
        for name in names:
            wanted = tuple(shape) if shape is not None and name == names[0] else _default_shape(shapes.get(name))
            arrays[name] = noise(wanted, integer=kinds.get(name, False))
            words[name] = f"noise (seed {SEED}), {by(arrays[name].shape)}"
    else:
        for name, one in _named(given, names).items():
            size = shapes.get(name) if shape is None or name != names[0] else tuple(shape)
            file = Path(one) if isinstance(one, (str, os.PathLike)) else None
            array = np.asarray(one) if file is None else _read_input(file, size, picture)
            arrays[name] = array if array.dtype.kind in "iu" else array.astype(np.float32)
            words[name] = f"{'given' if file is None else file.name}, {by(array.shape)}"
    for name, array in arrays.items():
        _check_shape(name, array, shapes.get(name))
    return arrays, words


def _named(given: Any, names: Sequence[str]) -> dict[str, Any]:
    """Inputs by name, in the model's order."""
    if isinstance(given, (str, os.PathLike)) and Path(given).suffix.lower() == ".npz":
        given = _load_numpy(Path(given))
    if isinstance(given, (str, os.PathLike, np.ndarray)):
        given = [given]
    if not isinstance(given, Mapping):
        given = dict(zip(names, given, strict=True)) if len(given) == len(names) else {}
    if set(given) != set(names):
        raise ModelFileError(f"the model's inputs are {', '.join(names)}; give an array or a file for each")
    return {name: given[name] for name in names}


def _read_input(path: Path, shape: Sequence[int | None] | None, picture: Picture | None) -> Array:
    if path.suffix.lower() == ".npy":
        return cast(Array, _load_numpy(path))
    if shape is None:
        raise ModelFileError("the model does not tell the shape of its input, which the picture becomes; give --shape")
    return picture_input(path, shape, picture)


def _load_numpy(path: Path) -> Any:
    """The array of an .npy file, or the arrays of an .npz file by name."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            found = {"": found}
        arrays = {name: np.asarray(found[name]) for name in found}
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or error}); correct the path") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{path.name} holds no arrays of numbers ({_first_line(error)}); write it again") from None
    if any(array.dtype.kind not in "fiub" for array in arrays.values()):
        raise ModelFileError(f"{path.name} holds something else than numbers; write it again")
    return arrays[""] if path.suffix.lower() == ".npy" else arrays


def _check_shape(name: str, array: Array, wanted: tuple[int | None, ...] | None) -> None:
    if array.size == 0 or array.ndim == 0 or not np.isfinite(array).all():
        raise ModelFileError(f"the input {name} {array.shape} is empty or has values that are no numbers")
    fits = wanted is None or (
        len(wanted) == array.ndim and all(w in (None, n) for w, n in zip(wanted, array.shape, strict=True))
    )
    if wanted is not None and not fits:
        sizes = ", ".join("any" if w is None else str(w) for w in wanted)
        raise ModelFileError(f"the input {name} has the shape {array.shape}, the model takes ({sizes})")
    if array.ndim > 2 and array.shape[0] != 1:
        raise ModelFileError(f"the input {name} has the shape {array.shape}; a batch of one is compared: (1, ...)")


def _default_shape(wanted: tuple[int | None, ...] | None) -> tuple[int, ...]:
    """A shape for an input whose sizes may be free: batch 1, three channels, and something for height and width."""
    if wanted is None:
        raise ModelFileError("a torch model does not tell the shape of its input; give --shape 1,3,H,W or an input")
    if not wanted:
        raise ModelFileError("the model does not tell the shape of its input; give --shape or an input")
    free = {4: (1, 3, *_FREE), 3: (1, _FREE[0], _FREE[1])}.get(len(wanted), (1, *[64] * (len(wanted) - 1)))
    return tuple(f if w is None else w for w, f in zip(wanted, free, strict=True))


def _kinds(model: Any) -> dict[str, bool]:
    """Whether each input holds integers."""
    if not hasattr(model, "opset_import"):
        return {}
    tensor = extra("onnx").TensorProto
    integers = {tensor.INT64, tensor.INT32, tensor.UINT8, tensor.INT8}
    return {i.name: i.type.tensor_type.elem_type in integers for i in model.graph.input}


def noise(shape: Sequence[int], *, integer: bool = False) -> Array:
    """Noise, always the same: half of it coarse, so that it survives pooling.

    Returns:
        float32 of mean 0 and variance about 1, or int64 zeros and ones.
    """
    random = np.random.default_rng(SEED)
    if integer:
        return random.integers(0, 2, shape)
    fine = random.normal(0, 0.8, shape).astype(np.float32)
    coarse = random.normal(0, 0.8, [-(-n // 16) for n in shape[-2:]])
    for axis, size in zip((0, 1), shape[-2:], strict=False):
        coarse = coarse.repeat(16, axis).take(range(size), axis)
    return fine + coarse.astype(np.float32)


@dataclass(frozen=True)
class Picture:
    """How a picture becomes an input: ``(pixel * scale - mean) / std`` for each channel.

    Attributes:
        scale: factor on the pixel's 0..255.
        mean: one number, or one a channel, in the order of the input.
        std: likewise.
        rgb: the first channel is red, not blue.
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    rgb: bool = False


def picture_input(source: Any, shape: Sequence[int | None], how: Picture | None = None) -> NDArray[np.float32]:
    """Turn a picture into an input.

    Args:
        source: anything that :func:`liteocr.image.load` takes.
        shape: of the input, (1, C, H, W) with C 1 or 3. Where H or W is None, the picture's own size is rounded to a
            multiple of 32.
        how: scale, mean, std and order of channels.

    Returns:
        float32, (1, C, H, W).

    Raises:
        ImageError: the picture cannot be read.
        ModelFileError: the model does not take pictures.
        OptionError: mean or std have another number of channels, or std is 0.
    """
    how = how or Picture()
    if len(shape) != 4 or shape[1] not in (1, 3, None):
        raise ModelFileError(f"the model's input {tuple(shape)} is no picture (1, 3, H, W); give an .npy file")
    image = load_image(source)
    channels = shape[1] or 3
    if any(len(v) not in (1, channels) for v in (how.mean, how.std)) or 0 in how.std:
        raise OptionError(f"mean and std are one number or {channels}, and std is not 0")
    height, width = (
        shape[2] or max(32, round(image.shape[0] / 32) * 32),
        shape[3] or max(32, round(image.shape[1] / 32) * 32),
    )
    if image.shape[:2] != (height, width):
        smaller = height * width < image.shape[0] * image.shape[1]
        method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        image = cast(NDArray[np.uint8], cv2.resize(image, (width, height), interpolation=method))
    if channels == 1:
        image = cast(NDArray[np.uint8], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None])
    elif how.rgb:
        image = image[..., ::-1]
    mean, std = (np.asarray(values, np.float32) for values in (how.mean, how.std))
    pixels = (image.astype(np.float32) * np.float32(how.scale) - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def run_model(model: Any, arrays: dict[str, Array]) -> Reference:
    if isinstance(model, Script):
        return child.call(_run_script, model.path, arrays, timeout=TIMEOUT, what=f"torch, running {model.path.name},")
    if hasattr(model, "opset_import"):
        return _run_onnx(model, arrays)
    return _run_torch(model, arrays)


def _run_onnx(model: ModelProto, arrays: dict[str, Array]) -> Reference:
    onnx = extra("onnx")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    types = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    fed = {n: a.astype(onnx.helper.tensor_dtype_to_np_dtype(types[n])) for n, a in arrays.items()}
    values = onnxrun.run_all_onnx(model, fed)
    nodes = tuple(Node(n.op_type, n.name, tuple(n.input), tuple(o for o in n.output if o)) for n in model.graph.node)
    outputs = tuple(o.name for o in model.graph.output)
    return Reference(nodes, tuple(arrays), outputs, _floats({**arrays, **values}, outputs))


def _floats(values: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
    """Tensors as float32; integers are kept where they are outputs (an index, say)."""
    return {
        name: value.astype(np.float32, copy=False)
        for name, value in values.items()
        if value.dtype.kind == "f" or (name in outputs and value.dtype.kind in "iub")
    }


def _run_script(path: Path, arrays: dict[str, Array]) -> Reference:
    torch = extra("torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise ModelFileError(
            f"{path.name} is no TorchScript file ({_first_line(error)}); save the model with "
            "torch.jit.trace(model, example).save(...), a checkpoint holds no network"
        ) from None
    return _run_torch(module, arrays)


def _run_torch(module: Any, arrays: dict[str, Array]) -> Reference:
    """Run a module with every tensor of its graph as an output."""
    torch = extra("torch")
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays.values())
    training = [m for m in module.modules() if m.training]
    try:
        module.eval()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            script = module
            if not isinstance(module, torch.jit.ScriptModule):
                script = torch.jit.trace(module, tensors, check_trace=False)
            graph = torch.jit.freeze(script.eval(), optimize_numerics=False).graph.copy()
            torch._C._jit_pass_inline(graph)
            torch._C._jit_pass_remove_mutation(graph)  # what is changed in place would be seen changed
            return _run_graph(torch, graph, tensors, tuple(arrays))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        shapes = ", ".join(f"{n} {a.shape}" for n, a in arrays.items())
        raise ModelFileError(f"torch cannot run the model on {shapes} ({_first_line(error)})") from None
    finally:
        for part in training:
            part.training = True


def _run_graph(torch: Any, graph: Any, tensors: tuple[Any, ...], names: tuple[str, ...]) -> Reference:
    places = list(graph.inputs())
    if len(places) > len(tensors):  # the module itself, which is frozen and not read any more
        graph.eraseInput(0)
        places = places[1:]
    renamed = {p.debugName(): n for p, n in zip(places, names, strict=True)}
    outputs = _flat_outputs(graph)
    nodes, seen = [], []
    for node in graph.nodes():
        made = [v for v in node.outputs() if v.type().isSubtypeOf(torch._C.TensorType.get())]
        reads = tuple(renamed.get(v.debugName(), v.debugName()) for v in node.inputs())
        nodes.append(Node(node.kind(), node.scopeName(), reads, tuple(v.debugName() for v in node.outputs())))
        seen += made
    for value in seen:
        graph.registerOutput(value)
    graph.makeMultiOutputIntoTuple()
    results = torch._C._create_function_from_graph("every_tensor", graph)(*tensors)
    values = {v.debugName(): r for v, r in zip(seen, results[len(results) - len(seen) :], strict=True)}
    floats = {n: r for n, r in values.items() if isinstance(r, torch.Tensor) and r.is_floating_point()}
    arrays = {name: np.array(r.detach().float().numpy()) for name, r in floats.items()}
    fed = {n: np.asarray(t.float().numpy()) for n, t in zip(names, tensors, strict=True)}
    return Reference(tuple(nodes), names, tuple(outputs), _floats({**fed, **arrays}, ()))


def _flat_outputs(graph: Any) -> list[str]:
    """Names of the tensors that a graph returns, those in tuples and lists included."""
    names: list[str] = []

    def add(value: Any) -> None:
        if value.node().kind() in ("prim::TupleConstruct", "prim::ListConstruct"):
            for part in value.node().inputs():
                add(part)
        else:
            names.append(value.debugName())

    for value in graph.outputs():
        add(value)
    return names


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def by(shape: Sequence[int]) -> str:
    """A shape in words."""
    return " x ".join(map(str, shape))
