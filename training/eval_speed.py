"""Compare the time of a network with that of a published one in ONNX Runtime, on one thread, in turns.

    python -m training.eval_speed ppocrv6/tiny/det/det.onnx [--weights weights] [--side 960] [--rounds 20]
    python -m training.eval_speed ppocrv6/tiny/rec/rec.onnx --lines LINES/index.jsonl [--source sroie]

The other network gets an input of the same size and nothing behind it; ours is measured twice, the network alone, and
with everything up to quads or text: scaling, expansion and regions, or resizing and decoding. With --lines a round is
one line. Machines are noisy: times are medians, and what counts is the median of the ratios of each round.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from liteocr.detection import DetectorOptions, TextDetector
from liteocr.net import Net
from liteocr.recognition import TextRecognizer
from liteocr.weights import load
from training.eval_recognizer import crops, prepare

PAGE = Path(__file__).parents[1] / "tests" / "data" / "receipt.jpg"


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def session(path: Path) -> Callable[[npt.NDArray[np.float32]], object]:
    """Run an ONNX file on one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    net = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    name = net.get_inputs()[0].name
    return lambda x: net.run(None, {name: x})


def detectors(args: argparse.Namespace) -> Iterator[list[Callable[[], object]]]:
    """The work of each round: the other network, ours, ours with what is around it."""
    page = cv2.imread(str(args.page), cv2.IMREAD_COLOR)
    if page is None:
        raise SystemExit(f"{args.page} is no picture")
    page = np.asarray(cv2.resize(page, (args.side, args.side), interpolation=cv2.INTER_AREA), np.uint8)
    other, x = session(args.onnx), (page.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    detector = TextDetector(args.weights, threads=1, options=DetectorOptions(margin=0, max_side=None, tile=args.tile))
    for _ in range(args.rounds):
        yield [lambda: other(x), lambda: detector.maps(page), lambda: detector.detect(page)]


def recognizers(args: argparse.Namespace) -> Iterator[list[Callable[[], object]]]:
    """The same for lines, one a round."""
    other, weights = session(args.onnx), load(args.weights)
    recognizer, spec = TextRecognizer(weights, threads=1), weights.recognizer
    net = Net.from_spec(spec)
    for _, source, crop, _ in crops(args.lines):
        if args.source in (None, source):
            x = prepare(crop, 1)
            image = np.ascontiguousarray(np.rint(x.transpose(1, 2, 0) * 127.5 + 127.5).astype(np.uint8))
            yield [
                lambda x=x: other(x[None]),  # type: ignore[misc]
                lambda image=image: net.run_image(image, spec.input),  # type: ignore[misc]
                lambda crop=crop: recognizer.recognize(crop),  # type: ignore[misc]
            ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path, help="the other network")
    parser.add_argument("--weights", type=Path, help="weights directory; default: the package's")
    parser.add_argument("--page", type=Path, default=PAGE, help="picture, scaled to the side")
    parser.add_argument("--side", type=int, default=960)
    parser.add_argument("--tile", type=int, default=DetectorOptions.tile, help="see DetectorOptions")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--lines", type=Path, help="index of line crops: compare recognisers, not detectors")
    parser.add_argument("--source", help="only its lines of this source")
    args = parser.parse_args()

    cv2.setNumThreads(1)
    times = []
    for work in recognizers(args) if args.lines else detectors(args):
        if not times:
            [do() for do in work]  # the first run is not like the others
        times.append([seconds(do) for do in work])
    table = np.array(times)
    print(f"{f'{args.side} x {args.side}' if not args.lines else 'lines'}, one thread, {len(table)} rounds")
    names = (
        f"{args.onnx.name} in ONNX Runtime",
        "liteocr, network",
        f"liteocr, up to the {'text' if args.lines else 'quads'}",
    )
    for name, column in zip(names, table.T, strict=True):
        low, middle, high = np.percentile(column / table[:, 0], (10, 50, 90))
        print(f"{name:<32}{1000 * np.median(column):8.2f} ms   ratio {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
