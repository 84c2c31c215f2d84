"""Mix two trained recognisers (Wortsman et al.: "Robust fine-tuning of zero-shot models", CVPR 2022).

    python -m training.blend FIRST.pt SECOND.pt --shares 0.5,0.7,0.9 --dev LINES/index.jsonl     # a table each
    python -m training.blend FIRST.pt SECOND.pt --shares 0.7 --out MIXED.pt

A share of 0.7 is seven tenths of the way from the first to the second. Where the second was trained from the first,
what lies between keeps more of what the first knew than the second does, and most of what the second learned.
"""

import argparse
from pathlib import Path

import torch

from training import crnn
from training.eval_recognizer import evaluate, show, torch_reader


def blend(first: crnn.CRNN, second: crnn.CRNN, share: float) -> crnn.CRNN:
    """A network whose weights are `share` of the way from the first's to the second's."""
    mixed = crnn.CRNN(first.lstm.hidden_size, first.classes.out_features)
    other = second.state_dict()
    mixed.load_state_dict({k: torch.lerp(v, other[k], share) for k, v in first.state_dict().items()})
    return mixed.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--shares", default="0.5")
    parser.add_argument("--dev", type=Path, help="index of line crops to measure on")
    parser.add_argument("--out", type=Path, help="where the mixture goes; with several shares the last one")
    args = parser.parse_args()
    torch.set_num_threads(1)
    (first, charset), (second, same) = crnn.load(args.first), crnn.load(args.second)
    if charset != same:
        raise SystemExit("the two read different characters")
    for share in map(float, args.shares.split(",")):
        mixed = blend(first, second, share)
        if args.dev:
            print(f"share {share}")
            show(evaluate(torch_reader(mixed), charset, args.dev, 1)[0])
        if args.out:
            crnn.save(mixed, charset, args.out)


if __name__ == "__main__":
    main()
