"""The command ``liteocr-model``: convert, upgrade, compare, look into and quantize a network.

Standard output carries results only; errors go to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import LiteOCRError, OptionError
from ..weights import Input
from .atomic import files
from .compare import compare
from .convert import convert
from .errors import ModelExitCode, exit_code
from .html import report
from .info import info
from .int8 import candidates
from .ncnnrun import check_loads
from .param import read, read_text
from .quantize import quantize
from .reference import Picture
from .upgrade import upgrade

__all__ = ["main"]

_EPILOG = """\
exit codes: 0 done, and equal; 1 the networks do not compute the same; 2 wrong usage; 3 a model file or an input cannot
be read or does not fit; 4 an operator or a layer that ncnn does not have; 5 another failure, such as a crash of a tool
or an output that cannot be written; 6 a package is missing (pip install 'liteocr[convert]'); 130 interrupted.

Outputs appear when all of them are complete; after an error nothing has changed."""

_Subparsers = Any  # argparse has no public name for what add_subparsers returns


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments after the command's name; None: those of the process.

    Returns:
        The exit code, see :class:`liteocr.convert.ModelExitCode`.

    Raises:
        SystemExit: with 2 where the arguments are wrong, with 0 after ``--help`` and ``--version``.
    """
    options = _parser().parse_args(argv)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except LiteOCRError as error:
        print(f"liteocr-model: {error}", file=sys.stderr)
        return int(exit_code(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered must not fail again at exit.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ModelExitCode.OK)
    except (OSError, MemoryError) as error:
        print(f"liteocr-model: {error or 'the memory does not suffice; try a smaller input'}", file=sys.stderr)
        return int(ModelExitCode.FAILURE)
    except KeyboardInterrupt:
        return int(ModelExitCode.INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="liteocr-model",
        description="The road from PyTorch to ncnn: convert a network, and see that it computes the same.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"liteocr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_convert, _add_upgrade, _add_compare, _add_info, _add_quantize):
        add(commands)
    return parser


def _command(
    commands: _Subparsers, name: str, run: Callable[[argparse.Namespace], int], help: str, description: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_pixels(parser: argparse.ArgumentParser) -> None:
    """How pictures become inputs."""
    add = parser.add_argument
    add("--scale", type=float, default=1 / 255, metavar="F", help="a picture's pixels are multiplied (default: 1/255),")
    add("--mean", type=_channels, default=(0.0,), metavar="M[,M,M]", help="then this is subtracted (default: 0),")
    add("--std", type=_channels, default=(1.0,), metavar="S[,S,S]", help="then they are divided (default: 1)")
    add("--rgb", action="store_true", help="red is the first channel (default: blue)")


# convert --------------------------------------------------------------------------------------------------------------


def _add_convert(commands: _Subparsers) -> None:
    parser = _command(
        commands,
        "convert",
        _run_convert,
        "ONNX or TorchScript to ncnn, proven at sizes that the export never saw",
        "Simplify a model, rewrite what ncnn would not take, convert it, and prove the result.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", type=Path, help="an .onnx file or a TorchScript .pt")
    add("out", metavar="OUT_DIR", type=Path, help="where NAME.ncnn.param, NAME.ncnn.bin and the report go")
    once = "once for each input"
    add("--shape", type=_shape, action="append", metavar="1,3,H,W", help=f"input shape (default: the model's), {once}")
    add("--shape2", type=_shape, action="append", metavar="1,3,H,W", help=f"a second one; what differs is free, {once}")
    add("--fixed", action="store_true", help="keep all sizes as the export fixed them")
    add("--keep-sizes", action="store_true", help="keep constant sizes of Resize, even where they look frozen")
    add("--keep-onnx", action="store_true", help="write the rewritten model, too, as NAME.rewritten.onnx")
    add("--name", help="name of the results (default: the model's)")
    storage = parser.add_mutually_exclusive_group()
    storage.add_argument("--fp16", action="store_true", default=True, help="store the weights in float16 (default)")
    storage.add_argument("--fp32", dest="fp16", action="store_false", help="store the weights in float32")


def _run_convert(options: argparse.Namespace) -> int:
    report = convert(
        options.model,
        options.out,
        shape=options.shape,
        shape2=options.shape2,
        name=options.name,
        fp16=options.fp16,
        fixed=options.fixed,
        keep_sizes=options.keep_sizes,
        keep_onnx=options.keep_onnx,
    )
    print(report.summary())
    return int(ModelExitCode.OK)


# upgrade --------------------------------------------------------------------------------------------------------------


def _add_upgrade(commands: _Subparsers) -> None:
    parser = _command(
        commands,
        "upgrade",
        _run_upgrade,
        "an old .param for today's ncnn",
        "Rewrite what today's ncnn refuses, or computes differently without a word, and list each change with its\n"
        "reason. What the file alone cannot tell is listed as 'to check' and left. The .bin stays as it is; where\n"
        "OLD.bin lies beside OLD.param, ncnn loads both to prove that they fit.",
    )
    add = parser.add_argument
    add("old", metavar="OLD.param", type=Path, help="the .param of an older ncnn")
    add("new", metavar="NEW.param", type=Path, help="where the new one goes; an old one there is replaced")
    add(
        "--dynamic",
        action="store_true",
        help="also free the sizes that the export froze: Interp sizes become scales, Reshape sides are computed",
    )
    add(
        "--shape",
        type=_shape,
        metavar="1,C,H,W",
        help="the input that the network was exported with, where its frozen sizes do not tell (with --dynamic)",
    )
    add("--json", action="store_true", help="print the changes as JSON")


def _run_upgrade(options: argparse.Namespace) -> int:
    if options.shape is not None and (not options.dynamic or len(options.shape) < 2):
        raise OptionError("--shape goes with --dynamic and ends with the height and width, such as 1,3,640,640")
    size = None if options.shape is None else (options.shape[-2], options.shape[-1])
    text = read_text(options.old)
    param, changes = upgrade(text, dynamic=options.dynamic, size=size, name=str(options.old))
    with files(options.new, sources=(options.old,)) as (path,):
        path.write_text(param.text(), encoding="utf-8")
        weights = options.old.with_suffix(".bin")
        check_loads(path, weights if weights.exists() else None)
    if options.json:
        print(json.dumps([asdict(change) for change in changes], indent=1))
    else:
        for change in changes:
            print(change)
        count = sum(change.done for change in changes)
        print(f"{options.new}: {count} changes, {len(changes) - count} to check, {len(param.layers)} layers")
    return int(ModelExitCode.OK)


# compare --------------------------------------------------------------------------------------------------------------


def _add_compare(commands: _Subparsers) -> None:
    parser = _command(
        commands,
        "compare",
        _run_compare,
        "which layer is the first to diverge",
        "Run a model and its ncnn network once, pair all tensors, and say where they part.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", type=Path, help="the .onnx file or a TorchScript .pt")
    add("param", metavar="NET.param", type=Path, help="the ncnn network; its .bin lies beside it")
    add("--bin", type=Path, metavar="NET.bin", help="its weights, where they lie elsewhere")
    add(
        "--input",
        metavar="IMAGE|NPY",
        type=Path,
        action="append",
        help="what both read: a picture, an .npy file with the batch axis, or an .npz file with an array for each "
        "input; once for each input (default: noise, always the same)",
    )
    add(
        "--shape", type=_shape, metavar="1,3,H,W", help="size of the noise or of the picture (default: the model's own)"
    )
    _add_pixels(parser)
    add(
        "--precision",
        type=lambda text: tuple(text.split(",")),
        default=("fp32", "fp16"),
        metavar="P[,P]",
        help="what ncnn computes in: fp32, fp16, bf16 (default: fp32,fp16)",
    )
    add(
        "--tolerance",
        type=_tolerance,
        action="append",
        default=[],
        metavar="P=T",
        help="the largest difference of a layer run by itself, as a part of its range, at a precision "
        "(default: fp32=1e-4, fp16=1e-2, bf16=5e-2); what rounding of stored weights explains is added",
    )
    add(
        "--output-tolerance",
        type=_tolerance,
        action="append",
        default=[],
        metavar="P=T",
        help="the same of the outputs of the whole network (default: fp32=1e-2, or 5e-2 with weights stored in half "
        "precision, fp16=5e-2, bf16=2e-1)",
    )
    add("--top", type=int, default=10, metavar="N", help="how many of the worst layers to show (default: %(default)s)")
    add("--html", type=Path, metavar="REPORT", help="write a report with plots and feature maps")
    add("--json", action="store_true", help="print everything as JSON")


def _run_compare(options: argparse.Namespace) -> int:
    if options.top < 0:
        raise OptionError(f"--top is {options.top}; give 0 or more")
    with ExitStack() as stack:
        # Before the work, so that a report that cannot be written is known at once.
        read = (options.model, options.param, *(options.input or ()))
        page = stack.enter_context(files(options.html, sources=read))[0] if options.html else None
        result = compare(
            options.model,
            options.param,
            options.bin,
            inputs=options.input[0] if options.input and len(options.input) == 1 else options.input,
            shape=options.shape,
            picture=Picture(options.scale, options.mean, options.std, options.rgb),
            precisions=options.precision,
            layer_tolerances=dict(options.tolerance),
            output_tolerances=dict(options.output_tolerance),
            maps=options.top if page else 0,
        )
        if page:
            page.write_text(report(result, options.top), encoding="utf-8")
    print(result.json() if options.json else result.text(options.top))
    return int(ModelExitCode.OK if result.equal else ModelExitCode.NOT_EQUAL)


def _tolerance(text: str) -> tuple[str, float]:
    precision, _, value = text.partition("=")
    try:
        return precision, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no tolerance such as fp32=1e-3") from None


# info -----------------------------------------------------------------------------------------------------------------


def _add_info(commands: _Subparsers) -> None:
    parser = _command(
        commands,
        "info",
        _run_info,
        "layers, sizes, operations and times of a network",
        "Tell what is in an ncnn network: layers, blobs, which sizes are free and which frozen and by what,\n"
        "operations and bytes at a given input, the time of each layer and the precision it runs in at each option\n"
        "of ncnn, and whether this machine's ncnn has every layer. Times need the .bin.",
    )
    add = parser.add_argument
    add("param", metavar="NET.param", type=Path, help="the ncnn network; its .bin lies beside it")
    add("--bin", type=Path, metavar="NET.bin", help="its weights, where they lie elsewhere")
    add(
        "--shape",
        action="append",
        default=[],
        type=_named_shape,
        metavar="[BLOB=]1,C,H,W",
        help="the input that the figures are for (default: one that fits); once for every input",
    )
    add("--precision", action="append", choices=["fp32", "fp16", "bf16"], help="measure with this (default: all three)")
    add("--threads", type=_positive, default=1, metavar="N", help="threads of ncnn (default: %(default)s)")
    add(
        "--repeat", type=_positive, default=10, metavar="N", help="how often each layer is timed (default: %(default)s)"
    )
    add("--no-times", action="store_true", help="do not run it: shapes, operations and bytes only")
    add("--json", action="store_true", help="print JSON")


def _run_info(options: argparse.Namespace) -> int:
    inputs = read(options.param).inputs()
    shapes = {(name or inputs[0]): shape[1:] for name, shape in options.shape}
    found = info(
        options.param,
        options.bin,
        shapes=shapes,
        precisions=tuple(options.precision or ("fp32", "fp16", "bf16")),
        threads=options.threads,
        repeat=options.repeat,
        times=not options.no_times,
    )
    print(json.dumps(found.to_dict(), indent=1) if options.json else found.table())
    return int(ModelExitCode.OK if all(layer.known for layer in found.layers) else ModelExitCode.UNSUPPORTED)


# quantize -------------------------------------------------------------------------------------------------------------


def _add_quantize(commands: _Subparsers) -> None:
    parser = _command(
        commands,
        "quantize",
        _run_quantize,
        "int8, and what it costs and gains",
        "Make a network int8 with ncnn's own layers, and report accuracy lost and time won on pictures held out.\n"
        "A layer becomes int8 where this machine's ncnn runs it faster and the output hardly moves. For a network of\n"
        "a liteocr weights directory the report says how much of the text changes. It ends with whether int8 pays.",
    )
    add = parser.add_argument
    add("param", metavar="NET.param", type=Path, help="the float network; its .bin lies beside it")
    add("calibration", metavar="CALIBRATION_DIR", type=Path, help="a folder of pictures, best thirty or more")
    add("out", metavar="OUT", type=Path, help="the folder for NAME.int8.param, .bin, and the report as .txt and .json")
    add("--bin", type=Path, metavar="NET.bin", help="its weights, where they lie elsewhere")
    add("--method", choices=["kl", "max", "mse"], help="how the scales of inputs are found (default: the best of them)")
    add("--layers", metavar="NAME,...", help="the layers to make int8, or 'all' (default: those where it pays)")
    add(
        "--shape",
        type=_shape,
        metavar="1,C,H,W",
        help="what pictures are resized to, for a network without a manifest.json beside it; with these:",
    )
    _add_pixels(parser)
    add("--threads", type=_positive, default=1, metavar="N", help="threads of ncnn (default: %(default)s)")
    add("--repeat", type=_positive, default=10, metavar="N", help="how often times are taken (default: %(default)s)")
    add("--json", action="store_true", help="print the report as JSON")


def _run_quantize(options: argparse.Namespace) -> int:
    if options.shape is not None and (len(options.shape) != 4 or options.shape[0] != 1):
        raise OptionError("--shape is 1,C,H,W, such as 1,3,48,320")
    mean, std = (values * (3 // len(values)) for values in (options.mean, options.std))
    pixels = Input("RGB" if options.rgb else "BGR", options.scale, mean, std, None, 1)
    layers = None if options.layers is None else tuple(options.layers.split(","))
    if options.layers == "all":
        layers = tuple(layer.name for layer in candidates(read(options.param)))
    report = quantize(
        options.param,
        options.calibration,
        options.out,
        bin=options.bin,
        shape=None if options.shape is None else options.shape[1:],
        pixels=pixels,
        method=options.method,
        layers=layers,
        threads=options.threads,
        repeat=options.repeat,
    )
    print(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) if options.json else report.text())
    return int(ModelExitCode.OK)


# Values ---------------------------------------------------------------------------------------------------------------


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(word) for word in text.replace("x", ",").split(","))
    except ValueError:
        shape = (0,)
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape such as 1,3,48,320")
    return shape


def _named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, numbers = text.rpartition("=")
    shape = _shape(numbers)
    if shape[0] != 1 or not 2 <= len(shape) <= 5 or (equals and not name):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no shape with a batch of 1, such as 1,3,48,320 or in0=1,3,48,320"
        )
    return name, shape


def _channels(text: str) -> tuple[float, ...]:
    with suppress(ValueError):
        numbers = tuple(float(word) for word in text.split(","))
        if len(numbers) in (1, 3):
            return numbers
    raise argparse.ArgumentTypeError(f"{text!r} is not one number, nor three such as 0.5,0.5,0.5")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
