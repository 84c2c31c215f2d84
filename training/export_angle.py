"""Write the angle classifier's ncnn files from a checkpoint.

python -m training.export_angle [--checkpoint training/checkpoints/angle.pt] [--out weights]
"""

import argparse
from pathlib import Path

from training import angle
from training.to_ncnn import to_ncnn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("training/checkpoints/angle.pt"))
    parser.add_argument("--out", type=Path, default=Path("weights"))
    args = parser.parse_args()
    shapes = ((1, 3, angle.HEIGHT, width) for width in (192, 320))
    to_ncnn(angle.load(args.checkpoint), *shapes, args.checkpoint, args.out / "angle")


if __name__ == "__main__":
    main()
