"""How far the scores of characters can be believed, and the temperature that makes them honest.

    python -m training.calibrate LINES/index.jsonl                                    # a table and a figure
    python -m training.calibrate LINES/index.jsonl --checkpoint FILE --out CALIBRATED   # with the temperature in it

A character's score is the highest probability that its class has within its run (`liteocr.ctc.greedy`). Whether the
character is right tells the alignment of the line with its label that needs the fewest edits, after NFKC, without
white space and case, so the labels' faults count as the network's. The expected calibration error is the mean distance
between score and share of right characters over ten bins of scores, weighted by how many characters are in each.

Probabilities are those of logits divided by a temperature (Guo et al.: "On Calibration of Modern Neural Networks",
ICML 2017), which leaves the best path as it is. It is chosen on every other line, for the likelihood of right and
wrong, and the tables are those of the other lines. --out writes it into the class layer: nothing else needs to know.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rapidfuzz.distance import Levenshtein

from liteocr.ctc import greedy
from training import crnn
from training.eval_recognizer import Logits, Reader, crops, ncnn_reader, normal, prepare, torch_reader

BINS = 10
TEMPERATURES = np.geomspace(0.4, 2.5, 43)


def read_lines(read: Reader, charset: list[str], index: Path) -> list[tuple[Logits, list[bool]]]:
    """(logits, which of the emitted characters are right) of each line. Spaces count as right: labels differ in them;
    of a character that normalises to several the first one counts."""
    lines = []
    for _, _, crop, text in crops(index):
        logits = read(prepare(crop, 1))
        mine = [normal(charset[e.index - 1])[:1] or " " for e in greedy(logits.copy())]
        truth = normal(text)
        right = [c == " " for c in mine]
        shown = [i for i, c in enumerate(mine) if c != " "]
        for block in Levenshtein.opcodes("".join(mine[i] for i in shown), truth):
            if block.tag == "equal":
                for i in range(block.src_start, block.src_end):
                    right[shown[i]] = True
        lines.append((logits, right))
    return lines


def scored(lines: list[tuple[Logits, list[bool]]], temperature: float) -> tuple[npt.NDArray[np.float64], ...]:
    """Scores of all characters at a temperature, and 1 where they are right."""
    scores = [e.score for logits, _ in lines for e in greedy(logits / np.float32(temperature))]
    return np.array(scores, np.float64), np.array([r for _, right in lines for r in right], np.float64)


def unlikelihood(scores: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Mean negative logarithm of the probability of what happened."""
    p = np.clip(scores, 1e-4, 1 - 1e-4)
    return float(-(right * np.log(p) + (1 - right) * np.log(1 - p)).mean())


def error(scores: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> tuple[float, list[tuple[int, ...]]]:
    """The expected calibration error, and (number, mean score, share right) of each bin that is not empty."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    rows = [(int((bins == b).sum()), scores[bins == b].mean(), right[bins == b].mean()) for b in np.unique(bins)]
    return sum(n * abs(p - r) for n, p, r in rows) / len(scores), rows


def show(name: str, lines: list[tuple[Logits, list[bool]]], temperature: float) -> None:
    scores, right = scored(lines, temperature)
    wrong, rows = error(scores, right)
    print(f"{name}: temperature {temperature:.3f}, {len(scores)} characters, calibration error {wrong:.4f}")
    print(f"{'characters':>12}{'score':>8}{'right':>8}")
    for count, score, share in rows:
        print(f"{count:>12}{score:>8.3f}{share:>8.3f}  {'#' * round(40 * share)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("training/checkpoints/recognizer.pt"))
    parser.add_argument("--ncnn", help="look at STEM.ncnn.param and .bin; the charset stays the checkpoint's")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    net, charset = crnn.load(args.checkpoint)
    lines = read_lines(ncnn_reader(args.ncnn) if args.ncnn else torch_reader(net), charset, args.index)
    fit, rest = lines[::2], lines[1::2]
    best = float(min(TEMPERATURES, key=lambda t: unlikelihood(*scored(fit, t))))
    show("as it is", rest, 1.0)
    show("fitted", rest, best)
    if args.out:
        with torch.no_grad():
            net.classes.weight /= best
            net.classes.bias /= best
        crnn.save(net, charset, args.out)


if __name__ == "__main__":
    main()
