"""Compare the detector's time with that of a published one in ONNX Runtime, on one thread, in turns.

    python -m training.eval_speed ppocrv6/tiny/det/det.onnx [--weights weights] [--side 960] [--rounds 20]

The other network gets an input of the same size and nothing behind it; ours is measured twice, the network alone, and
with everything up to the quads: scaling, expansion, regions. Machines are noisy: times are medians, and what counts is
the median of the ratios of each round.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from liteocr.detection import DetectorOptions, TextDetector

PAGE = Path(__file__).parents[1] / "tests" / "data" / "receipt.jpg"


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx", type=Path, help="the other detector")
    parser.add_argument("--weights", type=Path, help="weights directory; default: the package's")
    parser.add_argument("--page", type=Path, default=PAGE, help="picture, scaled to the side")
    parser.add_argument("--side", type=int, default=960)
    parser.add_argument("--tile", type=int, default=DetectorOptions.tile, help="see DetectorOptions")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()

    cv2.setNumThreads(1)
    page = cv2.imread(str(args.page), cv2.IMREAD_COLOR)
    if page is None:
        raise SystemExit(f"{args.page} is no picture")
    page = np.asarray(cv2.resize(page, (args.side, args.side), interpolation=cv2.INTER_AREA), np.uint8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(args.onnx), settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: (page.transpose(2, 0, 1)[None] / 255).astype(np.float32)}
    detector = TextDetector(args.weights, threads=1, options=DetectorOptions(margin=0, max_side=None, tile=args.tile))
    work: dict[str, Callable[[], object]] = {
        f"{args.onnx.name} in ONNX Runtime": lambda: session.run(None, feed),
        "liteocr, network": lambda: detector.maps(page),
        "liteocr, up to the quads": lambda: detector.detect(page),
    }
    for do in work.values():
        do()
    times = np.array([[seconds(do) for do in work.values()] for _ in range(args.rounds)])
    print(f"{args.side} x {args.side}, one thread, {len(detector.detect(page))} lines, {args.rounds} rounds")
    for name, column in zip(work, times.T, strict=True):
        low, middle, high = np.percentile(column / times[:, 0], (10, 50, 90))
        print(f"{name:<32}{1000 * np.median(column):8.1f} ms   ratio {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
