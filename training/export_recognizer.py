"""Write the recogniser's ncnn files and charset from a checkpoint.

python -m training.export_recognizer [--checkpoint training/checkpoints/recognizer.pt] [--out weights]
"""

import argparse
from pathlib import Path

from training import crnn
from training.to_ncnn import to_ncnn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("training/checkpoints/recognizer.pt"))
    parser.add_argument("--out", type=Path, default=Path("weights"))
    args = parser.parse_args()
    net, charset = crnn.load(args.checkpoint)
    shapes = ((1, 3, crnn.HEIGHT, width) for width in (320, 480))
    to_ncnn(net, *shapes, args.checkpoint, args.out / "recognizer")
    (args.out / "charset.txt").write_text("".join(c + "\n" for c in charset), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
