"""From torch to ONNX: a module, or a TorchScript file."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import child
from .errors import ModelFileError, UnsupportedError, extra

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["OPSET", "Exported", "export"]

OPSET = 17
"""The operator set to export in: the newest that both torch's exporters, onnxruntime and pnnx know well."""
SCRIPT = (".pt", ".pth", ".ts", ".jit", ".torchscript")
_Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Exported:
    """A torch model as ONNX, and a way to run the original."""

    model: ModelProto
    origin: Any
    """The module, or the path of a TorchScript file."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
        """The outputs of the original; None where it does not take these inputs."""
        if isinstance(self.origin, Path):
            return child.call(_run_file, str(self.origin), tuple(inputs), timeout=600.0, what="torch")
        return _run(self.origin, inputs)


def export(model: Any, first: _Shapes | None, second: _Shapes | None) -> Exported | None:
    """Export what is of torch.

    Args:
        model: a ``torch.nn.Module``, or the path of a TorchScript file; anything else is none of ours.
        first: shapes of the inputs.
        second: shapes of another size; what differs becomes a free axis.

    Returns:
        None for anything that is neither.

    Raises:
        ModelFileError: no shape, or a file that holds no TorchScript.
        UnsupportedError: torch cannot export it.
        MissingExtraError: torch is not installed.
    """
    is_file = isinstance(model, (str, Path))
    if is_file and Path(model).suffix.lower() not in SCRIPT:
        return None
    if not is_file and not hasattr(model, "state_dict"):
        return None
    extra("torch")
    if is_file and not Path(model).is_file():
        raise ModelFileError(f"{model} is missing; correct the path")
    if first is None:
        raise ModelFileError("a model of torch does not tell the shape of its input; give --shape 1,3,H,W")
    if is_file:
        path = Path(model).resolve()
        data = child.call(_export_file, str(path), first, second, timeout=600.0, what=f"torch, exporting {path.name},")
        return Exported(extra("onnx").ModelProto.FromString(data), path)
    return Exported(extra("onnx").ModelProto.FromString(_export(model, first, second)), model)


def _load(path: str) -> Any:
    torch = extra("torch")
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"{Path(path).name} is no TorchScript file, or a damaged one ({text}); a file of torch.save holds weights "
            "or a pickled module: save torch.jit.trace(model, example) instead, or export it to ONNX"
        ) from None


def _export_file(path: str, first: _Shapes, second: _Shapes | None) -> bytes:
    return _export(_load(path), first, second)


def _run_file(path: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
    return _run(_load(path), inputs)


def _export(module: Any, first: _Shapes, second: _Shapes | None) -> bytes:
    """Export by torch's exporter of TorchScript; weights stay as they are, nothing is folded."""
    torch = extra("torch")
    module = module.eval()
    examples = tuple(torch.zeros(shape) for shape in first)
    names = [f"in{i}" for i in range(len(first))]
    axes: dict[str, dict[int, str]] = {}
    for name, a, b in zip(names, first, second or first, strict=True):
        axes[name] = {i: f"{name}_{i}" for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y}
    with tempfile.TemporaryDirectory(prefix="liteocr-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder, "net.onnx")
        try:
            with torch.no_grad():
                sized = torch.jit.trace(module, examples, check_trace=False)
            with contextlib.redirect_stdout(io.StringIO()):
                torch.onnx.export(
                    sized,
                    examples,
                    str(file),
                    input_names=names,
                    opset_version=OPSET,
                    do_constant_folding=False,
                    training=torch.onnx.TrainingMode.PRESERVE,
                    dynamic_axes={k: v for k, v in axes.items() if v},
                    dynamo=False,
                )
        except Exception as error:
            text = " ".join(str(error).split())[:400]
            raise UnsupportedError(
                f"torch cannot trace or export the model at {first} ({text}); correct the shape, or rewrite the "
                "operator"
            ) from None
        return file.read_bytes()


def _run(module: Any, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
    torch = extra("torch")
    try:
        with torch.inference_mode():
            found = module.eval()(*(torch.from_numpy(np.ascontiguousarray(a)) for a in inputs))
    except Exception:  # a size that the module does not take
        return None
    found = (
        [found] if isinstance(found, torch.Tensor) else list(found.values()) if isinstance(found, dict) else list(found)
    )
    return [f.numpy() for f in found]
