"""Does an ncnn network compute what the model computes that it was made from, and if not, from which layer on?

Both are run once on the same input. Every tensor of the model is kept, every blob of ncnn, and :mod:`.pairing` tells
which belong together. A pair has two differences: the *total* one, of ncnn running by itself, in which everything adds
up that went before; and the layer's *own*, when it is run on the model's values of its inputs. The own difference is
held against a tolerance, so an error is found at its layer and not where it has grown, and a second error behind the
first is found, too.

Weights that are stored in half precision differ from the model's by their rounding. How much of that reaches an element
of a convolution's output is computed: the weights' errors are uniform within half a unit of their last place, so the
variance is the convolution of the squared input with their variances. Six standard deviations are allowed for.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import ncnn
import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..image import load as load_image
from . import child, ncnnrun, onnxrun
from .errors import ModelFileError, UnsupportedError, extra
from .ncnnrun import RunPrecision
from .pairing import (
    Alignment,
    Difference,
    Float,
    How,
    Match,
    Node,
    Reference,
    Result,
    align,
    allowed,
    bare,
    difference,
    excess,
    lay,
)
from .param import Layer, Param
from .param import read as read_param
from .weights import Array as Stored
from .weights import check_bin, read_bin, write_bin

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "LAYER_TOLERANCES",
    "OUTPUT_TOLERANCES",
    "Comparison",
    "Errors",
    "FeatureMap",
    "Pair",
    "Picture",
    "compare",
    "describe",
    "firsts",
    "picture_input",
    "short_number",
    "verdict",
]

Array = NDArray[Any]

LAYER_TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}
"""The largest own difference of a layer by precision, as a part of its range."""
OUTPUT_TOLERANCES: Mapping[str, float] = {"fp32": 1e-2, "fp16": 5e-2, "bf16": 2e-1}
"""The largest total difference of an output by precision, as a part of its range."""

ROUNDED_OUTPUT_TOLERANCE = 5e-2
"""The same at ``"fp32"`` where weights are stored in half precision."""

TIMEOUT = 900.0
SEED = 0
_FREE = (160, 224)
"""Height and width of the input where neither the model nor the caller says: multiples of 32, and not the same."""
_MAP_SIDE = 160
"""Feature maps in a report are reduced to this many pixels a side."""
_HALF = {"fp16": np.dtype(np.float16), "bf16": None}


@dataclass(frozen=True)
class Errors:
    """How far a blob is from its tensor at one precision.

    Attributes:
        total: of ncnn running by itself; None where the shapes differ or a layer before it failed.
        own: of the layer alone, run on the model's values of its inputs; None likewise.
        excess: the own difference as a multiple of what is allowed for, where that is largest; more than 1 diverges.
    """

    total: Difference | None
    own: Difference | None
    excess: float

    @property
    def diverges(self) -> bool:
        """Whether the layer itself computes something else."""
        return self.excess > 1


@dataclass(frozen=True)
class FeatureMap:
    """The channel of a tensor where ncnn is farthest off.

    Attributes:
        channel: its number.
        expected: the model's values, float32, (H, W).
        found: ncnn's.
        own: whether the layer was run on the model's values.
    """

    channel: int
    expected: Float
    found: Float
    own: bool


@dataclass(frozen=True)
class Pair:
    """A blob of the network and its counterpart in the model.

    Attributes:
        layer: the ncnn layer that makes the blob.
        type: its type.
        blob: the blob.
        tensor: the model's tensor.
        node: name and type of the operator that makes it.
        covers: types of the model's operators that the layer stands for.
        behind: layers before it that make intermediates, and that stand for these operators together with it.
        how: by what the two were paired.
        shape: of the blob.
        tensor_shape: of the tensor, with its batch axis.
        errors: by precision.
        maps: pictures of the worst channel, for the worst layers only.
    """

    layer: str
    type: str
    blob: str
    tensor: str
    node: str
    covers: tuple[str, ...]
    behind: tuple[str, ...]
    how: How
    shape: tuple[int, ...]
    tensor_shape: tuple[int, ...]
    errors: Mapping[str, Errors]
    maps: FeatureMap | None = None


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        model: the model's name.
        network: the network's name.
        inputs: what both read, in words, by the model's names.
        pairs: in the order of ncnn's layers; those of the inputs are left out.
        outputs: the blobs of `pairs` that are the network's outputs.
        intermediates: blobs that the model has no counterpart of.
        failed: layers that ncnn could not run.
        blobs: how many blobs there are, those of Split layers and constants left out.
        precisions: those compared, in this order.
        layer_tolerances: by precision, for own differences.
        output_tolerances: by precision, for total differences of outputs.
        problem: why the networks cannot be equal although no layer diverges; "" if nothing of the kind.
        rounded: whether weights are stored in half precision.
        flat: layers that should give the same value everywhere on this input, where an error may not show.
    """

    model: str
    network: str
    inputs: Mapping[str, str]
    pairs: tuple[Pair, ...]
    outputs: tuple[str, ...]
    intermediates: tuple[str, ...]
    failed: tuple[str, ...]
    blobs: int
    precisions: tuple[str, ...]
    layer_tolerances: Mapping[str, float]
    output_tolerances: Mapping[str, float]
    problem: str = ""
    rounded: bool = False
    flat: tuple[str, ...] = ()

    def diverging(self, precision: str) -> tuple[Pair, ...]:
        """The layers whose own difference is more than allowed, in their order."""
        return tuple(pair for pair in self.pairs if pair.errors[precision].diverges)

    def equal_at(self, precision: str) -> bool:
        """Whether no layer diverges and every output is within its tolerance."""
        return not (self.problem or self.failed or self.diverging(precision) or self.output_far(precision))

    def output_far(self, precision: str) -> tuple[Pair, ...]:
        """The outputs whose total difference is more than allowed."""
        limit = self.output_tolerances[precision]
        totals = [(pair, pair.errors[precision].total) for pair in self.pairs if pair.blob in self.outputs]
        return tuple(pair for pair, total in totals if total is None or not total.relative <= limit)

    @property
    def equal(self) -> bool:
        """Whether the two are equal at every precision that was compared."""
        return all(self.equal_at(precision) for precision in self.precisions)

    @property
    def first_divergence(self) -> Pair | None:
        """The first layer to diverge, at the first precision at which one does."""
        return next((pair for precision in self.precisions for pair in self.diverging(precision)), None)

    def worst(self, count: int) -> tuple[Pair, ...]:
        """The pairs with the largest own differences, measured by what is allowed at each precision, worst first."""
        key = {pair.blob: max(e.excess for e in pair.errors.values()) for pair in self.pairs}
        return tuple(sorted(self.pairs, key=lambda pair: -key[pair.blob])[:count])

    def text(self, top: int = 10) -> str:
        """The result in words and a table of the worst layers."""
        return "\n".join(_lines(self, top))

    def json(self) -> str:
        """The result as one line of JSON; numbers that are not finite are null."""
        return json.dumps(_plain(self), ensure_ascii=False, allow_nan=False)


def compare(
    reference: Any,
    param: Path | str,
    bin: Path | str | None = None,
    *,
    inputs: Any = None,
    shape: Sequence[int] | None = None,
    picture: Picture | None = None,
    precisions: Sequence[RunPrecision] = ("fp32", "fp16"),
    layer_tolerances: Mapping[str, float] | None = None,
    output_tolerances: Mapping[str, float] | None = None,
    maps: int = 10,
) -> Comparison:
    """Compare a model with the ncnn network that was made from it.

    Args:
        reference: path of an .onnx file or of a TorchScript file, an onnx.ModelProto, or a torch.nn.Module.
        param: the .param file.
        bin: the .bin file; None: the one beside it.
        inputs: an array with the batch axis or the path of a picture, an .npy or an .npz file; a sequence of them in
            the model's order, or a mapping by the model's names. None: noise, always the same, of the model's own
            shape.
        shape: of the noise, with the batch axis, or that pictures are resized to; of the first input where there are
            several.
        picture: how pictures become inputs.
        precisions: which of ``"fp32"``, ``"fp16"``, ``"bf16"``.
        layer_tolerances: replaces those of `LAYER_TOLERANCES`.
        output_tolerances: replaces those of `OUTPUT_TOLERANCES`.
        maps: for how many of the worst layers to keep pictures.

    Raises:
        ModelFileError: a file is damaged or does not belong to the other, or the input does not fit.
        UnsupportedError: onnxruntime or ncnn does not have an operator.
        MissingExtraError: a package is missing.
        OptionError: a precision or a tolerance is none.
        ConvertError: one of the two crashed.
    """
    param = Path(param)
    bin = param.with_suffix(".bin") if bin is None else Path(bin)
    layer_limits = _limits(LAYER_TOLERANCES, layer_tolerances)
    output_limits = _limits(OUTPUT_TOLERANCES, output_tolerances)
    rounded_limit = output_limits["fp32"] if "fp32" in (output_tolerances or {}) else ROUNDED_OUTPUT_TOLERANCE
    if not precisions or any(p not in LAYER_TOLERANCES for p in precisions):
        raise OptionError(f"precisions are {list(precisions)}; choose among {', '.join(LAYER_TOLERANCES)}")
    parsed = read_param(param)  # the cheap checks come first
    ncnnrun.check_layers(parsed, str(param))
    stored = {storage for arrays in check_bin(parsed, bin).values() for _, storage in arrays}
    if stored & set(_HALF):
        output_limits["fp32"] = rounded_limit
    model, name = _model(reference)
    arrays, words = _inputs(model, inputs, shape, picture, parsed)
    told = _run_reference(model, arrays)
    fed = _feeds(parsed, told)
    job = _Job(param, bin, told, fed, tuple(dict.fromkeys(precisions)), layer_limits, output_limits, maps)
    found = child.call(_measure, job, timeout=TIMEOUT, what=f"ncnn {ncnn.__version__}, running {param.name},")
    return replace(found, model=name, network=param.name, inputs=words)


def _limits(default: Mapping[str, float], given: Mapping[str, float] | None) -> dict[str, float]:
    for precision, value in (given or {}).items():
        if precision not in default or not (math.isfinite(value) and value >= 0):
            raise OptionError(f"the tolerance {precision}={value} is none; give fp32, fp16 or bf16 and 0 or more")
    return {**default, **(given or {})}


# The model ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Script:
    """A TorchScript file."""

    path: Path


def _model(reference: Any) -> tuple[Any, str]:
    """The model, and what to call it."""
    if isinstance(reference, (str, os.PathLike)):
        path = Path(reference)
        if path.suffix.lower() in (".pt", ".pth", ".ts", ".torchscript"):
            extra("torch")
            if not path.is_file():
                raise ModelFileError(f"{path} is missing; correct the path")
            return _Script(path), path.name
        return onnxrun.load_onnx(path), path.name
    if "torch" in sys.modules and isinstance(reference, sys.modules["torch"].nn.Module):
        return reference, type(reference).__name__
    if hasattr(reference, "graph") and hasattr(reference, "opset_import"):
        return reference, "the ONNX model"
    raise OptionError(f"{type(reference).__name__} is no model; give an ONNX or TorchScript file, or a torch module")


def _shapes(model: Any) -> dict[str, tuple[int | None, ...]]:
    """The model's inputs with their shapes, None where a size is free; empty where it does not say, as in torch."""
    return onnxrun.input_shapes(model) if hasattr(model, "opset_import") else {}


def _inputs(
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
            words[name] = f"noise (seed {SEED}), {_by(arrays[name].shape)}"
    else:
        for name, one in _named(given, names).items():
            size = shapes.get(name) if shape is None or name != names[0] else tuple(shape)
            file = Path(one) if isinstance(one, (str, os.PathLike)) else None
            array = np.asarray(one) if file is None else _read_input(file, size, picture)
            arrays[name] = array if array.dtype.kind in "iu" else array.astype(np.float32)
            words[name] = f"{'given' if file is None else file.name}, {_by(array.shape)}"
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


def _run_reference(model: Any, arrays: dict[str, Array]) -> Reference:
    if isinstance(model, _Script):
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


def _feeds(param: Param, reference: Reference) -> dict[str, str]:
    """Which input of the network is which of the model's: by name where all names are the same, else by order."""
    blobs, tensors = param.inputs(), reference.inputs
    if set(blobs) == set(tensors):
        return {blob: blob for blob in blobs}
    return dict(zip(sorted(blobs, key=lambda b: (len(b), b)) if _numbered(blobs) else blobs, tensors, strict=True))


def _numbered(blobs: Sequence[str]) -> bool:
    return all(blob.startswith("in") and blob[2:].isdigit() for blob in blobs)


# In the child ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    param: Path
    bin: Path
    reference: Reference
    inputs: dict[str, str]
    precisions: tuple[RunPrecision, ...]
    layer_limits: dict[str, float]
    output_limits: dict[str, float]
    maps: int


_LINEAR = {
    "Convolution",
    "Convolution1D",
    "ConvolutionDepthWise",
    "ConvolutionDepthWise1D",
    "Deconvolution",
    "Deconvolution1D",
    "DeconvolutionDepthWise",
    "DeconvolutionDepthWise1D",
    "Gemm",
    "InnerProduct",
}
_SLACK = 1e-2
"""Added to the tolerance of recurrent and other layers with weights in half precision."""
_SLACK_CONSTANT = 2e-3
"""Added to that of layers that read a constant in half precision."""
_SLACK_INT8 = 5e-2
_SLACK_EXPONENTIAL = 1e-3
"""Added to that of layers that give probabilities: ncnn and onnxruntime each have their own exponential."""


_FLUSHED = 2.0**-13
"""ncnn's and pnnx's conversion to float16 makes zero of whatever is smaller than 2**-14, on either side."""
_PROBABILITIES = {"Sigmoid", "Softmax", "HardSigmoid", "TanH"}


class _Runner:
    """Runs single layers of a network."""

    def __init__(self, job: _Job, precision: RunPrecision) -> None:
        self.param, self.net = ncnnrun.load(ncnnrun.Job(job.param, job.bin, precision, 1), light=False)
        self.weights = read_bin(self.param, job.bin)
        self.rounded = {
            layer.name
            for layer in self.param.layers
            if any(a.storage in _HALF for a in self.weights.get(layer.name, ()))
        }
        self.constants = {
            blob
            for layer in self.param.layers
            if layer.type == "MemoryData" and layer.name in self.rounded
            for blob in layer.outputs
        }
        while True:  # a constant through a Split is still that constant
            more = {
                blob
                for layer in self.param.layers
                if layer.type == "Split" and layer.inputs[0] in self.constants
                for blob in layer.outputs
            }
            if more <= self.constants:
                break
            self.constants |= more
        self.noises: dict[str, Any] = {}

    def arrays(self, layer: Layer, values: Sequence[Float]) -> tuple[Float, ...] | None:
        """The outputs of a layer; None where ncnn fails."""
        if not _fits(layer, self.weights.get(layer.name, ()), [v.shape for v in values]):
            return None
        print(f"layer {layer.name} ({layer.type})", file=sys.stderr)  # the last word, should it crash
        extractor = self.net.create_extractor()
        extractor.set_light_mode(False)
        held = _feed(extractor, layer.inputs, values)
        if held is None:
            return None
        found = []
        for blob in layer.outputs:
            code, mat = extractor.extract(blob)
            if code != 0 or mat.empty():
                return None
            found.append(np.array(mat, dtype=np.float32))
        return tuple(found)

    def __call__(self, layer: Layer, values: Sequence[Float]) -> Result | None:
        arrays = self.arrays(layer, values)
        return None if arrays is None else self.explained(layer, values, arrays)

    def explained(self, layer: Layer, values: Sequence[Float], arrays: tuple[Float, ...]) -> Result:
        """A layer's outputs with what rounding of its weights explains."""
        slack = _SLACK_CONSTANT if self.constants.intersection(layer.inputs) else 0.0
        if any(a.storage == "int8" for a in self.weights.get(layer.name, ())):
            slack += _SLACK_INT8
        if layer.name not in self.rounded or layer.type == "MemoryData":
            if layer.type in _PROBABILITIES:
                return Result(arrays, None, slack + _SLACK_EXPONENTIAL, 1.0)
            return Result(arrays, None, slack)
        noise = self.noise(layer, values) if layer.type in _LINEAR else None
        if noise is None or noise.shape != arrays[0].shape:
            return Result(arrays, None, slack + _SLACK)
        return Result(arrays, noise, slack)

    def noise(self, layer: Layer, values: Sequence[Float]) -> Float | None:
        """Standard deviation of the output that rounding of the stored weights causes; None where it is not known.

        The layer itself computes it: on the squared input, with the weights' variances for weights.
        """
        if layer.name not in self.noises:
            self.noises[layer.name] = self._variances(layer)
        net = self.noises[layer.name]
        if net is None:
            return None
        extractor = net.create_extractor()
        held = _feed(extractor, layer.inputs, [v * v for v in values])
        if held is None:
            return None
        code, mat = extractor.extract(layer.outputs[0])
        return None if code != 0 or mat.empty() else np.sqrt(np.maximum(np.array(mat, dtype=np.float32), 0))

    def _variances(self, layer: Layer) -> Any:
        params = {k: v for k, v in layer.params.items() if layer.type == "Gemm" or k not in (9, 10)}
        if layer.type == "Gemm":
            params |= {0: 1.0, 1: 1.0}
        inputs = [Layer("Input", f"input {i}".replace(" ", ""), (), (b,), {}) for i, b in enumerate(layer.inputs)]
        alone = Param((*inputs, replace(layer, params=params)))
        stored = []
        for array in self.weights[layer.name]:
            if array.storage in _HALF:
                stored.append(Stored(_variance(array.values, array.storage), "fp32"))
            elif array.storage in ("fp32", "raw", "bare"):
                stored.append(Stored(np.zeros_like(array.values), array.storage))
            else:
                return None
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = 1
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
        net.opt.use_winograd_convolution = False  # it subtracts, and variances are small
        with tempfile.TemporaryDirectory(prefix="liteocr-") as place:
            text, weights = Path(place, "net.param"), Path(place, "net.bin")
            text.write_text(alone.text(), encoding="utf-8")
            write_bin(alone, {layer.name: stored}, weights)
            good = net.load_param(str(text)) == 0 and net.load_model(str(weights)) == 0
        return net if good else None


def _fits(layer: Layer, weights: Sequence[Stored], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether a layer may be run on inputs of these shapes: ncnn reads and writes beyond its memory on some others."""
    kind, first = layer.type, shapes[0] if shapes else ()
    if kind == "Concat":
        axis = layer.integer(0)
        others = {(*s[:axis], *s[axis:][1:]) if axis >= 0 else (*s[:axis], *s[len(s) + axis + 1 :]) for s in shapes}
        return len({len(s) for s in shapes}) == 1 and -len(first) <= axis < len(first) and len(others) == 1
    if kind == "Eltwise":
        return len(set(shapes)) == 1
    if kind == "BinaryOp" and len(shapes) == 2:
        return any(_broadcasts(a, b) for a, b in (shapes, [s[::-1] for s in shapes]))
    if kind.startswith(("Convolution", "Deconvolution")) and weights:
        kernel = layer.integer(1) * layer.integer(11, layer.integer(1))
        if kind.endswith("1D"):
            kernel = layer.integer(1)
        groups = max(1, layer.integer(7, 1)) if "DepthWise" in kind else 1
        flat = len(first) == 1 and kernel == 1  # run as an inner product
        return (flat or len(first) == (2 if kind.endswith("1D") else 3)) and first[0] * kernel * layer.integer(
            0
        ) == len(weights[0].values) * groups
    if kind == "InnerProduct" and weights:
        width = len(weights[0].values) // max(1, layer.integer(0))
        return width in (math.prod(first), first[-1])
    if kind in ("BatchNorm", "PReLU", "Scale") and weights:
        return len(weights[0].values) in (1, first[0])
    return True


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=False))


def _variance(values: Float, storage: str) -> Float:
    """Variance of the rounding of numbers: uniform within half a unit of the last place on either side."""
    if storage == "fp16":
        unit = np.spacing(np.abs(values).astype(np.float16)).astype(np.float32)
        unit[values == 0] = _FLUSHED
    else:
        unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(values), np.float32(1e-30)))) - 7).astype(np.float32)
    variance: Float = unit * unit / np.float32(12)
    return variance


def _feed(extractor: Any, blobs: Sequence[str], values: Sequence[Float]) -> list[Float] | None:
    """Give an extractor its inputs; the arrays must outlive the clones. None where ncnn refuses one."""
    held = []
    for blob, value in zip(blobs, values, strict=True):
        if value.ndim > 4:
            return None
        held.append(np.ascontiguousarray(value, np.float32))
        if extractor.input(blob, ncnn.Mat(held[-1]).clone()) != 0:
            return None
    return held


def _measure(job: _Job) -> Comparison:
    runner = _Runner(job, "fp32")
    for name, value in job.reference.values.items():
        if not np.isfinite(value).all():
            raise UnsupportedError(
                f"the model itself computes values that are no numbers (tensor {name}); give a likelier input"
            )
    alignment = align(job.reference, runner.param, runner, job.inputs, tolerance=job.layer_limits["fp32"])
    explained: dict[str, Result] = {}
    errors: dict[str, dict[str, Errors]] = {blob: {} for blob in alignment.matches}
    seen: dict[str, tuple[dict[str, Float], dict[str, Float]]] = {}
    for precision in job.precisions:
        here = runner if precision == "fp32" else _Runner(job, precision)
        free, forced = _passes(job, here, alignment, explained, runner)
        seen[precision] = (free, forced)
        for blob, match in alignment.matches.items():
            errors[blob][precision] = _errors(
                job, match, (free.get(blob), forced.get(blob)), explained.get(blob), job.layer_limits[precision]
            )
    matches = [match for match in alignment.matches.values() if match.how != "input"]
    shapes = {b: next((s[1][b].shape for s in seen.values() if b in s[1]), ()) for b in alignment.matches}
    pairs = [_pair(job.reference, m, shapes[m.blob], errors[m.blob]) for m in matches]
    result = Comparison(
        "",
        "",
        {},
        tuple(pairs),
        tuple(m.blob for m in matches if m.tensor in job.reference.outputs and m.blob in runner.param.outputs()),
        tuple(alignment.intermediates),
        tuple(alignment.failed),
        len(matches) + len(alignment.intermediates),
        job.precisions,
        job.layer_limits,
        job.output_limits,
        _problem(job, runner.param, alignment),
        bool(runner.rounded),
        tuple(m.layer.name for m in matches if _is_flat(job.reference.values[m.tensor])),
    )
    chosen = {pair.blob for pair in result.worst(job.maps)} | {pair.blob for _, pair in firsts(result)}
    final = [
        replace(pair, maps=_feature_map(job, alignment.matches[pair.blob], seen, pair)) if pair.blob in chosen else pair
        for pair in pairs
    ]
    return replace(result, pairs=tuple(final))


def _is_flat(value: Array) -> bool:
    return value.size > 1 and float(value.min()) == float(value.max())


def _passes(
    job: _Job, here: _Runner, alignment: Alignment, explained: dict[str, Result], exact: _Runner
) -> tuple[dict[str, Float], dict[str, Float]]:
    """All blobs: of the network running by itself, and of its layers run on the model's values.

    What rounding explains is computed on the first call and added to `explained`.
    """
    free: dict[str, Float] = {}
    forced: dict[str, Float] = {}
    fed: dict[str, Float] = {}
    for blob, tensor in job.inputs.items():
        free[blob] = forced[blob] = fed[blob] = bare(job.reference.values[tensor])
    slack: dict[str, float] = {}
    for layer in here.param.layers:
        if all(blob in free for blob in layer.outputs):
            continue
        if all(blob in free for blob in layer.inputs):
            arrays = here.arrays(layer, [free[blob] for blob in layer.inputs])
            free.update(zip(layer.outputs, arrays or (), strict=False))
        if not all(blob in fed for blob in layer.inputs):
            continue
        values = [fed[blob] for blob in layer.inputs]
        arrays = here.arrays(layer, values)
        if arrays is None:
            arrays = ()
        carried = max((slack.get(blob, 0.0) for blob in layer.inputs), default=0.0)
        for i, blob in enumerate(layer.outputs):
            match = alignment.matches.get(blob)
            if i < len(arrays):
                forced[blob] = fed[blob] = arrays[i]
                if blob not in explained and match is not None:
                    result = exact.explained(layer, values, (arrays[i],))
                    explained[blob] = replace(result, slack=result.slack + carried)
            if match is not None:
                value = job.reference.values[match.tensor]
                shape = arrays[i].shape if i < len(arrays) else None
                if shape is not None and match.same_shape:
                    fed[blob] = lay(value, match.axes, shape)
                else:
                    fed[blob] = bare(value, None if shape is None else len(shape))
            elif layer.type == "Split":
                fed[blob] = fed[layer.inputs[0]]
                slack[blob] = carried
            else:
                slack[blob] = carried + (_SLACK if layer.name in here.rounded and layer.type != "MemoryData" else 0.0)
    return free, forced


def _errors(
    job: _Job, match: Match, found: tuple[Float | None, Float | None], result: Result | None, tolerance: float
) -> Errors:
    free, forced = found
    value = job.reference.values[match.tensor]
    least = float(match.layer.type in _PROBABILITIES)
    total = own = None
    over = math.inf
    if free is not None and free.size == value.size:
        total = difference(free, lay(value, match.axes, free.shape), least)
    if forced is not None and forced.size == value.size:
        laid = lay(value, match.axes, forced.shape)
        own = difference(forced, laid, least)
        over = excess(forced, laid, allowed(result or Result((forced,), least=least), laid, tolerance))
    return Errors(total, own, 0.0 if match.how == "input" else over)


def _pair(reference: Reference, match: Match, shape: tuple[int, ...], errors: Mapping[str, Errors]) -> Pair:
    node = next((n for n in reference.nodes if match.tensor in n.outputs), None)
    label = "" if node is None else f"{node.name} ({node.op})" if node.name else node.op
    covers = match.covers if len(match.covers) <= 8 else (*match.covers[:3], "...", *match.covers[-3:])
    shapes = (shape, reference.values[match.tensor].shape)
    return Pair(
        match.layer.name,
        match.layer.type,
        match.blob,
        match.tensor,
        label,
        covers,
        match.behind,
        match.how,
        *shapes,
        errors,
    )


def _problem(job: _Job, param: Param, alignment: Alignment) -> str:
    """Why the networks differ although each layer may be right."""
    paired = {match.tensor for match in alignment.matches.values()}
    missing = [name for name in job.reference.outputs if name not in paired and name in job.reference.values]
    if not missing:
        return ""
    blobs = param.outputs()
    if len(blobs) != len(job.reference.outputs):
        return (
            f"the network gives {', '.join(blobs)}, the model {', '.join(job.reference.outputs)}; nothing in the "
            f"network is {', '.join(missing)}"
        )
    return f"nothing in the network is the model's output {', '.join(missing)}"


def _feature_map(
    job: _Job, match: Match, seen: Mapping[str, tuple[dict[str, Float], dict[str, Float]]], pair: Pair
) -> FeatureMap | None:
    """The worst channel of a pair, at the precision and of the kind of run where it is worst."""
    precision = max(job.precisions, key=lambda p: pair.errors[p].excess)
    own = pair.errors[precision].own is not None
    found = seen[precision][1 if own else 0].get(match.blob)
    value = job.reference.values[match.tensor]
    if found is None:
        return None
    expected = lay(value, match.axes, found.shape) if found.size == value.size else bare(value, found.ndim)
    a, b = _planes(expected), _planes(found)
    channel = 0
    if a.shape == b.shape:
        gap = np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf)
        channel = int(np.argmax(gap.reshape(len(gap), -1).max(axis=1)))
    return FeatureMap(channel, _reduced(a[min(channel, len(a) - 1)]), _reduced(b[min(channel, len(b) - 1)]), own)


def _planes(value: Float) -> Float:
    """An array as (C, H, W)."""
    if value.ndim == 1:
        side = math.ceil(math.sqrt(value.size))
        rows = -(-value.size // side)
        padded: Float = np.pad(value, (0, rows * side - value.size)).reshape(1, rows, side)
        return padded
    return value.reshape(-1, *value.shape[-2:]) if value.ndim > 2 else value[None]


def _reduced(plane: Float) -> Float:
    """A plane of at most `_MAP_SIDE` pixels a side; cut, not averaged, so that single wrong elements stay."""
    steps = [-(-n // _MAP_SIDE) for n in plane.shape]
    if max(steps) == 1:
        return plane.copy()
    height, width = (n // s * s for n, s in zip(plane.shape, steps, strict=True))
    blocks = plane[:height, :width].reshape(height // steps[0], steps[0], width // steps[1], steps[1])
    low, high = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    return cast(Float, np.where(np.abs(low) > np.abs(high), low, high).astype(np.float32))


# In words -------------------------------------------------------------------------------------------------------------


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def short_number(value: float) -> str:
    """A difference with two digits."""
    if math.isinf(value) or math.isnan(value):
        return "inf"
    return "0" if value == 0 else f"{value:.2g}" if value >= 1e-2 else f"{value:.1e}"


def firsts(result: Comparison) -> list[tuple[str, Pair]]:
    """The first pairs to diverge, each once, with the precisions at which they are the first."""
    found: dict[str, tuple[list[str], Pair]] = {}
    for precision in result.precisions:
        for pair in result.diverging(precision)[:1]:
            found.setdefault(pair.blob, ([], pair))[0].append(precision)
    return [(", ".join(precisions), pair) for precisions, pair in found.values()]


def verdict(result: Comparison, precision: str) -> str:
    """Equal or not, and why not, at one precision."""
    diverging, far = result.diverging(precision), result.output_far(precision)
    if result.problem:
        return f"NOT EQUAL: {result.problem}"
    if result.failed:
        return f"NOT EQUAL: ncnn cannot run layer {result.failed[0]}"
    if diverging:
        many = f"{len(diverging)} layers diverge" if len(diverging) > 1 else "one layer diverges"
        return f"NOT EQUAL: {many}, the first is {diverging[0].layer}"
    if far:
        total = far[0].errors[precision].total
        size = "" if total is None else f" to {short_number(total.relative)} of its range"
        return f"NOT EQUAL: every layer is right, but rounding adds up{size} at the output {far[0].blob}"
    return "equal"


def _idle(result: Comparison, precision: str) -> str:
    """A remark where a half precision changed nothing."""
    if precision == "fp32" or "fp32" not in result.precisions:
        return ""
    same = all(pair.errors[precision].total == pair.errors["fp32"].total for pair in result.pairs)
    return " (on this processor ncnn computes as in fp32)" if same else ""


def _lines(result: Comparison, top: int) -> list[str]:
    by = {how: sum(pair.how == how for pair in result.pairs) for how in ("name", "value", "order", "output")}
    stored = "weights in half precision" if result.rounded else "weights in single precision"
    lines = [f"{result.model} against {result.network}, {stored}"]
    lines += [f"input {name}: {words}" for name, words in result.inputs.items()]
    kinds = ", ".join(f"{count} by {how}" for how, count in by.items() if count)
    lines.append(
        f"{len(result.pairs)} of {result.blobs} blobs paired ({kinds}); "
        f"{len(result.intermediates)} are intermediates that the model does not have"
    )
    if result.flat:
        more = f" and {len(result.flat) - 1} more layers give" if len(result.flat) > 1 else " gives"
        lines.append(
            f"{result.flat[0]}{more} the same value everywhere on this input, and an error before may not show: try "
            "another input, too"
        )
    for precision in result.precisions:
        lines.append(f"{precision}: {verdict(result, precision)}{_idle(result, precision)}")
        for pair in result.pairs:
            total = pair.errors[precision].total
            if pair.blob in result.outputs and total is not None:
                lines.append(
                    f"    output {pair.blob} = {pair.tensor} {_by(pair.shape)}: cosine {total.cosine:.6f}, largest "
                    f"difference {short_number(total.max_abs)}, {short_number(total.relative)} of its range "
                    f"(allowed {short_number(result.output_tolerances[precision])})"
                )
    for at, first in firsts(result):
        lines += ["", f"first to diverge at {at}:", *describe(first, result.precisions)]
    if top > 0 and result.pairs:
        worst = result.worst(top)
        lines += ["", f"the {len(worst)} layers with the largest differences of their own:", *_table(worst, result)]
    return lines


def describe(pair: Pair, precisions: Sequence[str]) -> list[str]:
    """A pair in words, a few lines."""
    lines = [
        f"    layer {pair.layer} ({pair.type}), blob {pair.blob} {_by(pair.shape)}",
        f"    is {pair.tensor} {_by(pair.tensor_shape)} of {pair.node}"
        + (f", covers {' + '.join(pair.covers)}" if pair.covers else "")
        + f", paired by {pair.how}",
    ]
    if pair.behind:
        lines.append(f"    or one of the layers before it, which the model does not have: {', '.join(pair.behind)}")
    if not pair.shape:
        lines.append("    ncnn fails at this layer on the model's values of its inputs")
    for precision in precisions:
        errors = pair.errors[precision]
        for what, found in (("own", errors.own), ("total", errors.total)):
            if found is not None:
                lines.append(
                    f"    {precision} {what:5}: cosine {found.cosine:.6f}, largest difference "
                    f"{short_number(found.max_abs)} at {list(found.where)}, {short_number(found.relative)} of the range"
                    + (f", {short_number(errors.excess)} times what is allowed" if what == "own" else "")
                )
            elif what == "own" and pair.shape:
                lines.append(f"    {precision}: the shapes differ")
    return lines


def _table(pairs: Sequence[Pair], result: Comparison) -> list[str]:
    head = ["layer", "type", "blob", "tensor"]
    head += [f"{p} {c}" for p in result.precisions for c in ("own", "/allowed", "total", "cosine")]
    rows = [head]
    for pair in pairs:
        row = [pair.layer, pair.type, pair.blob, _short(pair.tensor)]
        for precision in result.precisions:
            errors = pair.errors[precision]
            row += ["-" if errors.own is None else short_number(errors.own.relative), short_number(errors.excess)]
            total = errors.total
            row += ["-", "-"] if total is None else [short_number(total.relative), f"{total.cosine:.5f}"]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["    " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _short(name: str) -> str:
    return name if len(name) <= 36 else "..." + name[-33:]


def _plain(result: Comparison) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    def one(found: Difference | None) -> dict[str, Any] | None:
        if found is None:
            return None
        return {
            "cosine": number(found.cosine),
            "max_abs": number(found.max_abs),
            "relative": number(found.relative),
            "where": list(found.where),
        }

    first = result.first_divergence
    return {
        "model": result.model,
        "network": result.network,
        "inputs": dict(result.inputs),
        "equal": result.equal,
        "first_divergence": None if first is None else first.layer,
        "problem": result.problem or None,
        "failed": list(result.failed),
        "intermediates": list(result.intermediates),
        "outputs": list(result.outputs),
        "flat": list(result.flat),
        "precisions": {
            p: {
                "equal": result.equal_at(p),
                "layer_tolerance": result.layer_tolerances[p],
                "output_tolerance": result.output_tolerances[p],
                "first_divergence": next((pair.layer for pair in result.diverging(p)), None),
            }
            for p in result.precisions
        },
        "pairs": [
            {
                "layer": pair.layer,
                "type": pair.type,
                "blob": pair.blob,
                "shape": list(pair.shape),
                "tensor": pair.tensor,
                "tensor_shape": list(pair.tensor_shape),
                "node": pair.node,
                "covers": list(pair.covers),
                "behind": list(pair.behind),
                "how": pair.how,
                "errors": {
                    p: {"total": one(e.total), "own": one(e.own), "excess": number(e.excess), "diverges": e.diverges}
                    for p, e in pair.errors.items()
                },
            }
            for pair in result.pairs
        ],
    }
