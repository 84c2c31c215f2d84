"""Read line crops and compare with their text.

    python -m training.eval_recognizer LINES/index.jsonl [--checkpoint FILE] [--worst N]
    python -m training.eval_recognizer LINES/index.jsonl --ncnn weights/recognizer
    python -m training.eval_recognizer LINES/index.jsonl --onnx rec.onnx --dictionary dict.txt
    python -m training.eval_recognizer --digits 400 [--seed 20260101]

LINES/index.jsonl holds one object a crop: {"image": path beside the index, "source":, "items": [{"text":}]}.

Figures: `ned`, one minus edits per character (the longer of the two texts), the mean over lines; `exact`, the share
of lines without an edit; both after NFKC, with white space removed and letters case-folded. `spaced`: the share of
lines without an edit where white space and case count too. `ms`: median time of the network a line, one thread.

--digits reads rendered strings of 12 to 24 digits, 10 px high, in all fonts: `plain` is one colour on another, a good
deal apart, and the crop a little loose; `worn` is all that `training.lines` does to a line, which now and then nobody
could read. `given digits` are read with the classes of the digits alone.
"""

import argparse
import json
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import ncnn
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from rapidfuzz.distance import Levenshtein

from training import crnn
from training.lines import Lines

Logits = npt.NDArray[np.float32]
Reader = Callable[[npt.NDArray[np.float32]], Logits]


def normal(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def prepare(crop: npt.NDArray[np.uint8], stride: int = crnn.STRIDE) -> npt.NDArray[np.float32]:
    """BGR crop -> (3, 48, W) float32 in [-1, 1]; W keeps the aspect, rounded up to `stride`."""
    height, width = crop.shape[:2]
    width = max(crnn.MIN_WIDTH, -(-round(width * crnn.HEIGHT / height) // stride) * stride)
    resized = cv2.resize(crop, (width, crnn.HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(((resized.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1))


def decode(scores: Logits, charset: list[str]) -> str:
    """Best path of (T, classes): repeats merged, blanks dropped."""
    best = scores.argmax(1)
    kept = best[(best != 0) & (best != np.concatenate(([0], best[:-1])))]
    return "".join(charset[c - 1] for c in kept).strip()


def torch_reader(net: crnn.CRNN) -> Reader:
    def read(x: npt.NDArray[np.float32]) -> Logits:
        with torch.no_grad():
            out: Logits = net(torch.from_numpy(x[None]))[0].numpy()
        return out

    return read


def ncnn_reader(stem: str) -> Reader:
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(f"{stem}.ncnn.param") or net.load_model(f"{stem}.ncnn.bin"):
        raise SystemExit(f"{stem}: no ncnn network")

    def read(x: npt.NDArray[np.float32]) -> Logits:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x).clone())
        failed, out = extractor.extract("out0")
        if failed:
            raise RuntimeError(f"extract returned {failed}")
        return np.array(out)

    return read


def onnx_reader(path: str) -> Reader:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def read(x: npt.NDArray[np.float32]) -> Logits:
        out: Logits = session.run(None, {name: x[None]})[0][0]
        return out

    return read


def crops(index: Path) -> Iterable[tuple[str, str, npt.NDArray[np.uint8], str]]:
    """(image, source, BGR crop, text); tall crops are turned by 90 degrees to the left, as vertical lines are read."""
    for row in map(json.loads, index.read_text(encoding="utf-8").splitlines()):
        crop = cv2.imread(str(index.parent / row["image"]))
        text = row["items"][0]["text"]
        if crop is None or not normal(text):
            continue
        if crop.shape[0] > 1.5 * crop.shape[1] and len(text) > 1:
            crop = cv2.rotate(crop, cv2.ROTATE_90_COUNTERCLOCKWISE)
        yield row["image"], row["source"], np.asarray(crop, dtype=np.uint8), text


def evaluate(
    read: Reader, charset: list[str], index: Path, stride: int = crnn.STRIDE
) -> tuple[dict[str, list[float]], list[tuple[float, str, str, str]]]:
    """({source: [lines, ned, exact, spaced, ms]}, [(ned, image, text, read)]); source "ALL" is every line."""
    rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    lines = []
    for image, source, crop, text in crops(index):
        x = prepare(crop, stride)
        begin = time.perf_counter()
        scores = read(x)
        milliseconds = 1000 * (time.perf_counter() - begin)
        got = decode(scores, charset)
        truth, mine = normal(text), normal(got)
        ned = 1 - Levenshtein.distance(truth, mine) / max(len(truth), len(mine))
        for key in (source, "ALL"):
            rows[key].append((ned, float(truth == mine), float(" ".join(text.split()) == got), milliseconds))
        lines.append((ned, image, text, got))
    table = {
        k: [len(v), *np.mean(v, 0)[:3].tolist(), float(np.median([r[3] for r in v]))] for k, v in sorted(rows.items())
    }
    return table, sorted(lines)


def digit_strings(count: int, seed: int) -> dict[str, list[tuple[npt.NDArray[np.uint8], str]]]:
    """(crop, digits) of each kind that --digits reads."""
    lines = Lines(seed)
    kinds: dict[str, list[tuple[npt.NDArray[np.uint8], str]]] = {"plain": [], "worn": []}
    for _ in range(count):
        text = lines.texts.digits(12, 24)
        kinds["worn"].append((lines.draw("number", text, 10), text))
        kinds["plain"].append((lines.plain(text, 10), text))
    return kinds


def read_digits(read: Reader, charset: list[str], count: int, seed: int) -> None:
    kept = np.array([0, *(1 + charset.index(c) for c in "0123456789")])
    print(f"{'10 px high':<18}{'strings':>8}{'exact':>8}{'given digits':>14}")
    for kind, strings in digit_strings(count, seed).items():
        right = []
        for crop, text in strings:
            scores = read(prepare(crop, 1))
            right.append((decode(scores, charset) == text, decode(scores[:, kept], list("0123456789")) == text))
        free, given = np.mean(right, 0)
        print(f"{kind:<18}{len(strings):>8}{free:>8.4f}{given:>14.4f}")


def show(table: dict[str, list[float]]) -> None:
    print(f"{'source':<18}{'lines':>6}{'ned':>8}{'exact':>8}{'spaced':>8}{'ms':>8}")
    for source, (count, ned, exact, spaced, ms) in table.items():
        print(f"{source:<18}{int(count):>6}{ned:>8.4f}{exact:>8.4f}{spaced:>8.4f}{ms:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, nargs="?")
    parser.add_argument("--checkpoint", default="training/checkpoints/recognizer.pt")
    parser.add_argument("--ncnn", help="read with STEM.ncnn.param and .bin instead; the charset stays the checkpoint's")
    parser.add_argument("--onnx", help="read with an ONNX file instead")
    parser.add_argument("--dictionary", help="the ONNX file's characters, one a line")
    parser.add_argument("--stride", type=int, default=crnn.STRIDE, help="round widths up to this")
    parser.add_argument("--worst", type=int, default=0, help="show so many lines")
    parser.add_argument("--digits", type=int, help="read so many rendered strings of digits, in place of an index")
    parser.add_argument("--seed", type=int, default=20260101)
    args = parser.parse_args()
    if (args.index is None) == (args.digits is None):
        parser.error("give an index or --digits")
    torch.set_num_threads(1)
    if args.onnx:
        read, charset = onnx_reader(args.onnx), crnn.read_dictionary(args.dictionary)
    else:
        net, charset = crnn.load(args.checkpoint)
        read = ncnn_reader(args.ncnn) if args.ncnn else torch_reader(net)
    if args.digits:
        read_digits(read, charset, args.digits, args.seed)
        return
    table, lines = evaluate(read, charset, args.index, args.stride)
    show(table)
    for ned, image, text, got in lines[: args.worst]:
        print(f"{ned:.3f} {image}\n      {text}\n      {got}")


if __name__ == "__main__":
    main()
