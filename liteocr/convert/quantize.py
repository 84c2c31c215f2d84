"""Make an ncnn network int8, and say what that costs and gains.

Pictures of a folder are split at random, always alike: most calibrate, every fourth is held out. The calibrating ones
tell how large the inputs of each layer get; the held-out ones tell how far the int8 network's output moves, and, for a
network of a liteocr weights directory, how much of the text changes. Times are taken in turns with the float32 network,
so that a busy machine slows both.

By itself a layer is int8 only where ncnn runs it faster than float32 on this machine; of these, those that win most
time for the noise that they bring, as long as all together move the network's output by little. The report has the
figures for every layer together, too.
"""

from __future__ import annotations

import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import weights as weights_module
from ..detection import TextDetector
from ..errors import ImageError, OptionError, WeightsError
from ..image import load as load_image
from ..net import Net, ncnn_version, to_mat
from ..orientation import AngleClassifier
from ..pipeline import OCR
from ..recognition import TextRecognizer
from ..weights import Input, Weights
from .atomic import folder
from .child import call
from .errors import ModelFileError
from .int8 import METHODS, Histogram, Method, candidates, needs_scale, to_int8
from .ncnnrun import TIMEOUT, Job, extract, feed, load, time_layers
from .param import Param
from .param import read as read_param
from .shapes import Shape, ShapeError, infer
from .weights import check_bin, read_bin, write_bin

__all__ = ["Figures", "LayerFigures", "QuantizeReport", "quantize"]

FASTER = 0.95
"""A layer becomes int8 where it takes at most this part of its float32 time."""
NOISE = 0.03
"""All layers together may move the output by this part of the output's own size (root mean square)."""
PAYS_TIME = 0.9
PAYS_TEXT = 0.005
PAYS_COSINE = 0.999
_INPUTS_A_PICTURE = 8
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


@dataclass(frozen=True)
class LayerFigures:
    """One layer that could be int8.

    Attributes:
        name, type: as in the .param.
        threshold: the absolute input value that becomes 127; 0 where the layer scales by itself.
        largest: the largest absolute input value of the calibration.
        noise: how far the output moves if only this layer is int8: root mean square of the difference over that of the
            output.
        fp32, int8: seconds, the fastest of all turns over the held-out inputs.
        chosen: whether it is int8 in the network that was written.
    """

    name: str
    type: str
    threshold: float
    largest: float
    noise: float
    fp32: float
    int8: float
    chosen: bool


@dataclass(frozen=True)
class Figures:
    """An int8 network against the float32 one, on held-out pictures.

    Attributes:
        layers: how many layers are int8.
        bytes: size of its .bin.
        seconds: time of a run by precision: ``"int8"`` and, of the float network, ``"fp32"``, ``"fp16"`` and
            ``"bf16"``, taken in turns; of each input the fastest, which a busy machine disturbs least, and of these
            the mean.
        largest: largest difference of an output value.
        mean: mean difference.
        cosine: between the outputs.
        text: part of the characters that changed, by edit distance; None without a weights directory.
        lines: how many lines each of the two read; None without a weights directory.
        examples: lines that differ: float32, int8.
    """

    layers: int
    bytes: int
    seconds: Mapping[str, float]
    largest: float
    mean: float
    cosine: float
    text: float | None = None
    lines: tuple[int, int] | None = None
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def ratio(self) -> float:
        """int8 time over float32 time."""
        return self.seconds.get("int8", 0.0) / max(self.seconds.get("fp32", 0.0), 1e-9)

    @property
    def pays(self) -> bool:
        """Faster by a tenth, and as good as unchanged."""
        same = self.cosine >= PAYS_COSINE if self.text is None else self.text <= PAYS_TEXT
        return self.ratio <= PAYS_TIME and same


@dataclass(frozen=True)
class QuantizeReport:
    """What int8 costs and gains.

    Attributes:
        name: of the network.
        role: its place in the weights directory, or None.
        method: how thresholds were found, the best where all were tried.
        calibration, held_out: numbers of pictures.
        float_bytes: size of the given .bin.
        all: figures with every candidate int8.
        chosen: figures of the network that was written.
        layers: each candidate.
        ncnn, threads: what measured.
        param, bin: the files written.
    """

    name: str
    role: str | None
    method: Method
    calibration: int
    held_out: int
    float_bytes: int
    all: Figures
    chosen: Figures
    layers: tuple[LayerFigures, ...]
    ncnn: str
    threads: int
    param: Path
    bin: Path

    @property
    def pays(self) -> bool:
        """Whether the network that was written is worth it."""
        return self.chosen.pays

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        record = asdict(self) | {"pays": self.pays, "param": str(self.param), "bin": str(self.bin)}
        for key in ("all", "chosen"):
            record[key]["ratio"] = getattr(self, key).ratio
        return record

    def text(self) -> str:
        """Everything, for people."""
        return _text(self)


def quantize(
    param: Path,
    calibration: Path,
    out: Path,
    *,
    bin: Path | None = None,
    shape: Shape | None = None,
    pixels: Input | None = None,
    method: Method | None = None,
    layers: Collection[str] | None = None,
    threads: int = 1,
    repeat: int = 10,
) -> QuantizeReport:
    """Write an int8 network ``NAME.int8.param`` and ``.bin``, and a report ``NAME.int8.json`` and ``.txt``.

    Args:
        param: the float network. Where a ``manifest.json`` beside it names it, its inputs are made by the stage that it
            serves, and texts are compared.
        calibration: folder of pictures, at least two.
        out: folder for the results.
        bin: its weights; None: beside it.
        shape: (C, H, W) that pictures are resized to, for a network without a manifest.
        pixels: how they become its input; None: BGR in [0, 1].
        method: ``"kl"``, ``"max"`` or ``"mse"``, see :meth:`liteocr.convert.int8.Histogram.threshold`; None: the best.
        layers: names of the layers to make int8; None: those where it pays.
        threads: of ncnn.
        repeat: how often times are taken.

    Raises:
        ModelFileError: a file is damaged, or the network has no layer that could be int8.
        ImageError: the folder has fewer than two pictures that can be read.
        OptionError: an option is out of its range.
        ConvertError: ncnn crashed.
    """
    if method is not None and method not in METHODS:
        raise OptionError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    if min(threads, repeat) < 1:
        raise OptionError("threads and repeat are 1 or more")
    bin = param.with_suffix(".bin") if bin is None else bin
    network = read_param(param)
    check_bin(network, bin)
    able = {layer.name: layer for layer in candidates(network)}
    if not able:
        raise ModelFileError(f"{param} has no layer that ncnn could run in int8 and that is not int8 yet")
    unknown = sorted(set(layers or ()) - set(able))
    if unknown:
        raise OptionError(f"no layer {unknown[0]} can become int8; those that can: {', '.join(able)}")
    source = replace(_source(param, bin, network, shape, pixels), threads=threads)
    pictures = _pictures(calibration)
    held = pictures[3::4] or pictures[-1:]
    used = [picture for picture in pictures if picture not in held]

    def work(function: Callable[..., Any], *args: Any) -> Any:
        return call(
            function, source, *args, timeout=10 * TIMEOUT, what=f"ncnn {ncnn_version()}, quantizing {param.name},"
        )

    blobs = {layer.inputs[0] for layer in able.values() if needs_scale(layer)}
    histograms: dict[str, Histogram] = work(_observe, used, blobs)
    weights = read_bin(network, bin)
    with folder(out) as place:

        def make(name: str, way: Method, chosen: Collection[str]) -> tuple[Path, Path]:
            files = place / f"{name}.param", place / f"{name}.bin"
            new, arrays = to_int8(network, weights, _thresholds(network, histograms, way), chosen)
            files[0].write_text(new.text(), encoding="utf-8")
            write_bin(new, arrays, files[1])
            return files

        stem = param.name.split(".")[0] + ".int8"
        ways: list[Method] = [method] if method else ["kl", "max", "mse"]
        tried: dict[Method, Figures] = {way: work(_judge, make("all", way, able), used[:4], 0) for way in ways}
        way = max(ways, key=lambda key: tried[key].cosine)
        thresholds = _thresholds(network, histograms, way)
        everything = make("all", way, able)
        noise = work(_noise, used[:2], thresholds, list(able))
        times = work(_times, *everything, held[:3], repeat)
        chosen = tuple(layers) if layers is not None else _choose(times, noise)
        figures = [
            LayerFigures(
                name,
                layer.type,
                thresholds.get(name, 0.0),
                histograms[layer.inputs[0]].largest if name in thresholds else 0.0,
                noise[name],
                times[name][0],
                times[name][1],
                name in chosen,
            )
            for name, layer in able.items()
        ]
        files = make(stem, way, chosen)
        report = QuantizeReport(
            name=param.name.removesuffix(".param"),
            role=source.role,
            method=way,
            calibration=len(used),
            held_out=len(held),
            float_bytes=bin.stat().st_size,
            all=replace(work(_judge, everything, held, repeat), layers=len(able)),
            chosen=replace(work(_judge, files, held, repeat), layers=len(chosen)),
            layers=tuple(figures),
            ncnn=ncnn_version(),
            threads=threads,
            param=out / files[0].name,
            bin=out / files[1].name,
        )
        for path in everything:
            path.unlink()
        (place / f"{stem}.json").write_text(
            json.dumps(report.to_dict(), ensure_ascii=False, indent=1), encoding="utf-8"
        )
        (place / f"{stem}.txt").write_text(report.text() + "\n", encoding="utf-8")
    return report


def _choose(times: Mapping[str, tuple[float, float]], noise: Mapping[str, float]) -> tuple[str, ...]:
    """The layers where int8 pays most, as long as their noise, which adds up by squares, stays small; at least one."""
    faster = {name: fp32 - int8 for name, (fp32, int8) in times.items() if int8 <= FASTER * fp32}
    chosen, total = [], 0.0
    for name in sorted(faster, key=lambda name: faster[name] / (noise[name] ** 2 + 1e-12), reverse=True):
        if math.sqrt(total + noise[name] ** 2) <= NOISE:
            chosen.append(name)
            total += noise[name] ** 2
    return tuple(chosen) or (min(noise, key=lambda name: noise[name]),)


def _thresholds(network: Param, histograms: Mapping[str, Histogram], method: Method) -> dict[str, float]:
    found = {blob: histogram.threshold(method) for blob, histogram in histograms.items()}
    return {layer.name: found[layer.inputs[0]] for layer in candidates(network) if needs_scale(layer)}


# Where inputs come from -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """The float network and how a picture becomes its inputs."""

    param: Path
    bin: Path
    blob: str
    outputs: tuple[str, ...]
    role: str | None
    weights: Path | None
    shape: Shape | None
    pixels: Input
    threads: int = 1

    def job(self, param: Path, bin: Path, precision: str = "fp32") -> Job:
        return Job(param, bin, precision, self.threads)


def _source(param: Path, bin: Path, network: Param, shape: Shape | None, pixels: Input | None) -> _Source:
    blob = network.inputs()[0]
    if len(network.inputs()) != 1:
        raise ModelFileError(f"{param} takes {len(network.inputs())} inputs; pictures calibrate networks with one")
    role, directory = None, None
    if (param.parent / weights_module.MANIFEST).is_file() and shape is None:
        try:
            loaded = weights_module.load(param.parent)
        except WeightsError as error:
            raise ModelFileError(str(error)) from None
        for spec in (loaded.detector, loaded.angle, loaded.recognizer):
            if spec.param.resolve() == param.resolve() and spec.bin.resolve() == bin.resolve():
                role, directory, pixels = spec.name, param.parent, spec.input
    if role is None and shape is None:
        raise OptionError(
            f"{param.name} is not named by a manifest beside it; give the shape that pictures are resized to, "
            "--shape 1,3,H,W"
        )
    if shape is not None:
        if len(shape) != 3 or shape[0] not in {1, 3}:
            raise OptionError(f"the shape of a picture is (3, H, W) or (1, H, W), not {shape}")
        try:
            infer(network, {blob: shape})
        except ShapeError as error:
            raise ModelFileError(f"{param} cannot take pictures of {shape}: {error}; give another shape") from None
    if pixels is None:
        pixels = Input("BGR", 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), None, 1)
    return _Source(
        param=param.resolve(),
        bin=bin.resolve(),
        blob=blob,
        outputs=network.outputs(),
        role=role,
        weights=directory.resolve() if directory else None,
        shape=shape,
        pixels=pixels,
    )


def _pictures(path: Path) -> list[Path]:
    if not path.is_dir():
        raise ImageError(f"{path} is no folder; give one with pictures to calibrate with")
    found = sorted(p.resolve() for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    random.Random(0).shuffle(found)  # names tell of sources, and each source should be in both parts
    if len(found) < 2:
        raise ImageError(f"{path} has {len(found)} pictures; give at least two, better thirty")
    return found


# In the child ---------------------------------------------------------------------------------------------------------


class _Recorder(Net):
    """A network that keeps what it is given."""

    kept: list[NDArray[np.float32]]

    def run_image(self, image: NDArray[np.uint8], spec: Input) -> NDArray[np.float32]:
        """Keep the planes of the picture, and run as usual."""
        self.kept.append(np.array(to_mat(image, spec), np.float32))
        return super().run_image(image, spec)


_recording: list[tuple[_Source, OCR, _Recorder]] = []


def _recorder(source: _Source) -> tuple[OCR, _Recorder]:
    """The OCR with the network in its place recording; built once in a process."""
    if not _recording:
        loaded = weights_module.load(source.weights)
        spec = getattr(loaded, str(source.role))
        net = _Recorder(spec.param, spec.bin, input=spec.input_blob, output=spec.output_blob)
        net.kept = []
        ocr = OCR(weights=source.weights, threads=1)
        stage = {"detector": ocr._detector, "angle": ocr._classifier, "recognizer": ocr._recognizer}[str(source.role)]
        stage._net = net  # type: ignore[union-attr]
        _recording.append((source, ocr, net))
    return _recording[0][1:]


def _inputs(source: _Source, pictures: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Inputs of the network for pictures, a few of each; pictures that cannot be read are passed over."""
    for picture in pictures:
        try:
            image = load_image(picture)
        except ImageError:
            continue
        if source.role is None:
            channels, height, width = source.shape or (3, 0, 0)
            resized = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            array = np.array(to_mat(resized, source.pixels), np.float32)
            yield np.ascontiguousarray(array.mean(0, keepdims=True) if channels == 1 else array)
            continue
        ocr, net = _recorder(source)
        net.kept.clear()
        ocr.read(image)
        step = max(1, math.ceil(len(net.kept) / _INPUTS_A_PICTURE))
        yield from net.kept[::step]


def _observe(source: _Source, pictures: Sequence[Path], blobs: Collection[str]) -> dict[str, Histogram]:
    """How large the values of some blobs get."""
    found = {blob: Histogram() for blob in blobs}
    param, net = load(source.job(source.param, source.bin), light=False)
    count = 0
    for array in _inputs(source, pictures):
        count += 1
        extractor = feed(net, param, {source.blob: array}, light=False)
        for blob, histogram in found.items():
            histogram.add(array if blob == source.blob else extract(extractor, param, blob))
    if not count:
        raise ImageError("no picture of the folder gives the network an input; give others")
    return found


def _run(net: Any, param: Param, source: _Source, array: NDArray[np.float32]) -> NDArray[np.float32]:
    extractor = feed(net, param, {source.blob: array}, light=True)
    return np.concatenate([extract(extractor, param, output).ravel() for output in source.outputs])


def _noise(
    source: _Source, pictures: Sequence[Path], thresholds: Mapping[str, float], layers: Sequence[str]
) -> dict[str, float]:
    """How far the output moves with one layer at a time in int8."""
    param, net = load(source.job(source.param, source.bin), light=True)
    weights = read_bin(param, source.bin)
    inputs = list(_inputs(source, pictures))[:3]
    expected = [_run(net, param, source, array) for array in inputs]
    size = math.sqrt(sum(float(np.square(e, dtype=np.float64).sum()) for e in expected))
    noise = {}
    with tempfile.TemporaryDirectory(prefix="liteocr-") as place:
        files = Path(place, "one.param"), Path(place, "one.bin")
        for name in layers:
            new, arrays = to_int8(param, weights, thresholds, {name})
            files[0].write_text(new.text(), encoding="utf-8")
            write_bin(new, arrays, files[1])
            structure, one = load(source.job(*files), light=True)
            error = sum(
                float(np.square(_run(one, structure, source, array) - e, dtype=np.float64).sum())
                for array, e in zip(inputs, expected, strict=True)
            )
            noise[name] = math.sqrt(error) / max(size, 1e-12)
    return noise


def _times(
    source: _Source, param: Path, bin: Path, pictures: Sequence[Path], repeat: int
) -> dict[str, tuple[float, float]]:
    """Seconds of each layer in float32 and in int8, taken in turns."""
    nets = [load(source.job(*files), light=True) for files in ((source.param, source.bin), (param, bin))]
    names = [layer.name for layer in candidates(nets[0][0])]
    found: list[list[NDArray[np.float64]]] = [[], []]
    for array in list(_inputs(source, pictures))[:3]:
        for (structure, net), rounds in zip(nets, found, strict=True):
            time_layers(net, structure, {source.blob: array})  # warms up
            rounds.append(np.full(len(names), np.inf))
        for _ in range(repeat):
            for (structure, net), rounds in zip(nets, found, strict=True):
                seconds = time_layers(net, structure, {source.blob: array})
                rounds[-1] = np.minimum(rounds[-1], [seconds[name][0] for name in names])
    fp32, int8 = (np.mean(rounds, axis=0) for rounds in found)
    return {name: (float(fp32[i]), float(int8[i])) for i, name in enumerate(names)}


def _judge(source: _Source, files: tuple[Path, Path], pictures: Sequence[Path], repeat: int) -> Figures:
    """Outputs of an int8 network against the float one, and, if `repeat` is not 0, times and texts."""
    param, bin = files
    inputs = list(_inputs(source, pictures))
    jobs = {"fp32": source.job(source.param, source.bin), "int8": source.job(param, bin)}
    if repeat:
        jobs |= {key: source.job(source.param, source.bin, key) for key in ("fp16", "bf16")}
    nets = {key: load(job, light=True) for key, job in jobs.items()}
    largest, total, count = 0.0, 0.0, 0
    dot = np.zeros(3)
    for array in inputs:
        a, b = (_run(nets[key][1], nets[key][0], source, array) for key in ("fp32", "int8"))
        difference = np.abs(a - b)
        largest, total, count = max(largest, float(difference.max())), total + float(difference.sum()), count + a.size
        a, b = a.astype(np.float64), b.astype(np.float64)
        dot += (a @ b, a @ a, b @ b)
    seconds: dict[str, list[float]] = {key: [] for key in nets}
    for array in inputs[:: max(1, len(inputs) // 4)][:4] if repeat else []:
        for values in seconds.values():
            values.append(math.inf)
        for turn in range(repeat + 1):
            for key, (structure, net) in nets.items():
                start = time.perf_counter()
                _run(net, structure, source, array)
                if turn:  # the first warms up
                    seconds[key][-1] = min(seconds[key][-1], time.perf_counter() - start)
    figures = Figures(
        layers=0,
        bytes=bin.stat().st_size,
        seconds={key: float(np.mean(values)) for key, values in seconds.items() if values},
        largest=largest,
        mean=total / max(count, 1),
        cosine=float(dot[0] / max(math.sqrt(dot[1] * dot[2]), 1e-12)),
    )
    if repeat and source.role is not None:
        return _with_texts(figures, source, param, bin, pictures)
    return figures


# Texts ----------------------------------------------------------------------------------------------------------------


def _with_texts(figures: Figures, source: _Source, param: Path, bin: Path, pictures: Sequence[Path]) -> Figures:
    loaded = weights_module.load(source.weights)
    spec = replace(getattr(loaded, str(source.role)), param=param, bin=bin)
    changed = replace(loaded, **{str(source.role): spec})
    pages = [[_lines(one, picture) for picture in pictures] for one in (_ocr(loaded), _ocr(changed))]
    characters = sum(len("".join(lines)) for lines in pages[0])
    wrong = sum(distance("\n".join(before), "\n".join(after)) for before, after in zip(pages[0], pages[1], strict=True))
    examples = [
        (before, after)
        for a, b in zip(pages[0], pages[1], strict=True)
        if len(a) == len(b)
        for before, after in zip(a, b, strict=True)
        if before != after
    ]
    return replace(
        figures,
        text=wrong / max(characters, 1),
        lines=(sum(map(len, pages[0])), sum(map(len, pages[1]))),
        examples=tuple(examples[:8]),
    )


def _ocr(weights: Weights) -> OCR:
    return OCR(
        threads=1,
        detector=TextDetector(weights),
        classifier=AngleClassifier(weights),
        recognizer=TextRecognizer(weights),
    )


def _lines(ocr: OCR, picture: Path) -> list[str]:
    try:
        return [line.text for line in ocr.read(picture)]
    except ImageError:
        return []


def distance(a: str, b: str) -> int:
    """Edit distance: how many characters to insert, delete or replace."""
    first, second = (np.array([ord(c) for c in text], np.int64) for text in (a, b))
    steps = np.arange(len(second) + 1)
    row = steps.copy()
    for i, char in enumerate(first, 1):
        replaced = row[:-1] + (second != char)
        best = np.concatenate([[i], np.minimum(replaced, row[1:] + 1)])
        # an insertion costs one more than the best before it
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


# Words ----------------------------------------------------------------------------------------------------------------


def _text(report: QuantizeReport) -> str:
    head = ("layer", "type", "largest", "threshold", "noise", "us fp32", "us int8", "int8")
    rows = [head] + [
        (
            one.name,
            one.type,
            f"{one.largest:.3g}" if one.largest else "",
            f"{one.threshold:.3g}" if one.threshold else "",
            f"{one.noise:.4f}",
            f"{one.fp32 * 1e6:.1f}",
            f"{one.int8 * 1e6:.1f}",
            "yes" if one.chosen else "",
        )
        for one in report.layers
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if i in {0, 1, 7} else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines = [line.rstrip() for line in lines]
    lines += [
        "",
        f"{report.name}: {report.calibration} pictures calibrate ({report.method}), {report.held_out} held out; "
        f"ncnn {report.ncnn}, {report.threads} threads",
        "",
    ]
    for label, figures in (("every layer that can", report.all), ("as written", report.chosen)):
        times = ", ".join(f"{key} {value * 1e3:.2f} ms" for key, value in figures.seconds.items())
        lines.append(f"{label}: {figures.layers} layers int8, {figures.bytes:,} bytes (float: {report.float_bytes:,})")
        lines.append(f"  time: {times}; int8 takes {figures.ratio:.2f} of fp32")
        lines.append(
            f"  output: cosine {figures.cosine:.5f}, mean difference {figures.mean:.4g}, largest {figures.largest:.4g}"
        )
        if figures.text is not None and figures.lines is not None:
            lines.append(
                f"  text: {figures.text:.2%} of the characters change, "
                f"{figures.lines[0]} lines become {figures.lines[1]}"
            )
        lines += [f"    {before!r} -> {after!r}" for before, after in figures.examples[:4]]
    measure = (
        f"at most {PAYS_TEXT:.1%} of the characters change"
        if report.chosen.text is not None
        else f"a cosine of at least {PAYS_COSINE}"
    )
    lines.append("")
    lines.append(
        f"int8 {'pays' if report.pays else 'does not pay'} here; "
        f"it would with at most {PAYS_TIME} of the time and {measure}"
    )
    return "\n".join(lines)
