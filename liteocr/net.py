"""The one place that talks to pyncnn: a network that is checked when it loads and every time it runs.

pyncnn reports failure by return codes alone; a wrong blob name, a net that did not load or an array of the wrong dtype
end in a crash of the interpreter. :class:`Net` checks all of them and raises instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import InferenceError, OptionError, WeightsError
from .openmp import brief_waiting, idle_cores
from .weights import Input, NetworkSpec

with brief_waiting():  # the OpenMP runtime comes with ncnn, and looks at its settings once
    import ncnn

__all__ = ["PRECISIONS", "Net", "Precision", "ncnn_version", "to_mat"]

Precision = Literal["auto", "fp32", "fp16", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)

_PARAM_MAGIC = "7767517"


def ncnn_version() -> str:
    """Version of the installed ncnn, such as ``"1.0.20261020"``."""
    return str(ncnn.__version__)


class Net:
    """An ncnn network with one input and one output, safe to run from several threads at once.

    Args:
        param: path of the ``.ncnn.param`` text file.
        bin: path of the ``.ncnn.bin`` weights file.
        input: name of the input blob.
        output: name of the output blob.
        precision: ``"fp32"`` computes in float32; ``"fp16"`` and ``"bf16"`` let ncnn store and compute in half
            precision where this CPU can; ``"auto"`` is the precision that is known not to change the text: float32.
        threads: ncnn threads for one run, 1 or more; while other work keeps their cores busy, one is used.

    Raises:
        WeightsError: a file is missing, is no ncnn file, does not fit the other, or has no blob of that name.
        OptionError: ``precision`` or ``threads`` is out of its range.
    """

    def __init__(
        self,
        param: Path,
        bin: Path,
        *,
        input: str = "in0",
        output: str = "out0",
        precision: Precision = "auto",
        threads: int = 1,
    ) -> None:
        if precision not in PRECISIONS:
            raise OptionError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
        if threads < 1:
            raise OptionError(f"threads is {threads}; it must be 1 or more")
        self.name = param.name.split(".")[0]
        self._precision = precision
        self.input = input
        self.output = output
        # ncnn's own two pools keep every block that an input of any size ever needed. Of one pool for both purposes,
        # which takes the first block that is large enough, less is lost, and it can be emptied: see _extract.
        pool = ncnn.PoolAllocator()
        pool.set_size_compare_ratio(0.0)
        self._shape: tuple[int, ...] = ()
        self._threads = threads
        self._net = ncnn.Net()
        # ncnn prepares weights for a number of threads, so that another number needs another net.
        self._alone = ncnn.Net() if threads > 1 else self._net
        self._pool = pool  # the nets only borrow it: set last, it is freed last
        try:
            for net, count in ((self._net, threads), (self._alone, 1))[: min(threads, 2)]:
                self._load(net, param, bin, count)
        except WeightsError:
            self._net.clear()  # the error holds frames, and these a net, which may outlive the pool
            self._alone.clear()
            raise

    def _load(self, net: ncnn.Net, param: Path, bin: Path, threads: int) -> None:
        opt, precision = net.opt, self._precision
        opt.use_vulkan_compute = False
        opt.num_threads = threads
        opt.use_fp16_packed = opt.use_fp16_storage = opt.use_fp16_arithmetic = precision == "fp16"
        opt.use_bf16_packed = opt.use_bf16_storage = precision == "bf16"
        opt.blob_allocator = opt.workspace_allocator = self._pool
        _check_param(param)
        if not bin.is_file():
            raise WeightsError(f"{bin} is missing; put it beside {param.name} or reinstall liteocr")
        if net.load_param(str(param)) != 0:
            raise WeightsError(
                f"ncnn {ncnn_version()} refuses {param}; it is damaged or was written for another version: "
                "convert the model again"
            )
        blobs = {b.name for b in net.blobs()}
        for blob in (self.input, self.output):
            if blob not in blobs:
                raise WeightsError(f"{param} has no blob {blob!r}; correct the blob names in the manifest")
        if net.load_model(str(bin)) != 0:
            raise WeightsError(f"{bin} does not fit {param.name}; it is truncated or belongs to another network")

    @classmethod
    def from_spec(cls, spec: NetworkSpec, *, precision: Precision = "auto", threads: int = 1) -> Net:
        """Load one network of a checked weights directory; arguments and errors as for the class.

        The recogniser stays in float32 with ``"fp16"``: on arm64, convolutions that add in fp16 moved its logits five
        times as far as everything else in fp16, and changed texts; and fp16 that is only stored is three times slower.
        """
        if spec.name == "recognizer" and precision == "fp16":
            precision = "fp32"
        return cls(
            spec.param,
            spec.bin,
            input=spec.input_blob,
            output=spec.output_blob,
            precision=precision,
            threads=threads,
        )

    def run(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on one input.

        Args:
            array: float32, (C, H, W) or (H, W), any size that the network takes; C-contiguous or not.

        Returns:
            The output blob, float32, a copy of its own: (C, H, W), (H, W) or (W,).

        Raises:
            InferenceError: ncnn returned an error code or values that are not finite, or the array is empty.
        """
        # The name keeps the buffer alive: ncnn.Mat borrows it, and a temporary would be freed before clone() reads it.
        held = np.ascontiguousarray(array, dtype=np.float32)
        if held.ndim not in (2, 3) or held.size == 0:
            raise InferenceError(f"network {self.name} takes a non-empty array (C, H, W) or (H, W), not {held.shape}")
        return self._extract(ncnn.Mat(held).clone(), held.shape)

    def run_image(self, image: NDArray[np.uint8], spec: Input) -> NDArray[np.float32]:
        """Run the network on a picture; ncnn itself turns the pixels into planes, without a copy on the way.

        Args:
            image: uint8, (H, W, 3), BGR; C-contiguous or not.
            spec: channel order, scale, mean and std: the network sees ``(pixel * scale - mean) / std``.

        Returns:
            As :meth:`run`.

        Raises:
            InferenceError: as :meth:`run`.
        """
        return self._extract(to_mat(image, spec), image.shape)

    def release(self) -> None:
        """Give back the memory that is kept for further inputs of the same size."""
        self._pool.clear()

    def _choose(self) -> ncnn.Net:
        """The net on all threads where their cores are idle, or nearly all of them, else the one on a single thread."""
        return self._net if self._threads == 1 or idle_cores() >= 0.75 * self._threads else self._alone

    def _extract(self, mat: ncnn.Mat, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if shape != self._shape:
            # Blocks of other sizes would hardly fit, and would add up. (Those that another thread uses stay.)
            self._pool.clear()
            self._shape = shape
        extractor = self._choose().create_extractor()
        code = extractor.input(self.input, mat)
        if code != 0:
            raise InferenceError(f"network {self.name}: ncnn refuses the input {shape} (code {code})")
        code, out = extractor.extract(self.output)
        if code != 0 or out.empty():
            raise InferenceError(
                f"network {self.name}: ncnn failed on an input {shape} (code {code}); "
                "the picture may be too large for the memory, try a smaller max_side"
            )
        result = np.array(out, dtype=np.float32)  # copies: the Mat's memory goes with the extractor
        if not np.isfinite(result.sum()):
            raise InferenceError(
                f"network {self.name}: ncnn {ncnn_version()} gives values that are no numbers at precision "
                f"{self._precision!r} on this processor; use precision='fp32'"
            )
        return result


def to_mat(image: NDArray[np.uint8], spec: Input) -> ncnn.Mat:
    """Turn pixels into a network's input.

    Args:
        image: uint8, (H, W, 3), BGR.
        spec: channel order, scale, mean and std of the network.

    Returns:
        A Mat of its own memory, 3 planes of float32: ``(pixel * scale - mean) / std``.

    Raises:
        InferenceError: the picture is empty or has another shape or dtype.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise InferenceError(f"a network takes a non-empty uint8 picture (H, W, 3), not {image.dtype} {image.shape}")
    held = np.ascontiguousarray(image)  # from_pixels reads it as one block, whatever its strides
    order = ncnn.Mat.PixelType.PIXEL_BGR if spec.channels == "BGR" else ncnn.Mat.PixelType.PIXEL_BGR2RGB
    mat = ncnn.Mat.from_pixels(held, order, held.shape[1], held.shape[0])
    mean = [value / spec.scale for value in spec.mean] if any(spec.mean) else []
    mat.substract_mean_normalize(mean, [spec.scale / value for value in spec.std])
    return mat


def _check_param(path: Path) -> None:
    """Refuse what is no .param text before ncnn parses it."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing; reinstall liteocr or correct the weights directory") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    if head.split(maxsplit=1)[:1] != [_PARAM_MAGIC.encode()]:
        raise WeightsError(f"{path} is no ncnn .param file (its first line is not {_PARAM_MAGIC})")
