"""Gather pictures without text for the backgrounds of rendered scenes.

    python -m training.photos PHOTOS /usr/share/backgrounds /usr/share/wallpapers /usr/share/tuxpaint/stamps

Photos and wallpapers become JPEGs of at most 1400 pixels, pictures with transparency cut-out things of at most 256.
Folders whose things bear writing are left out, and of a wallpaper that comes in several sizes one is kept. Look
through the folder afterwards, and delete what shows letters.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

PHOTO_SIDE, THING_SIDE = 1400, 256
WRITTEN = {"symbols", "flags", "roadsigns", "alphabets", "screenshots"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def at_most(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """The picture, scaled down where its long side is longer."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def gather(destination: Path, folders: list[Path]) -> int:
    """Copy what is usable, numbered; returns how many."""
    destination.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    count = 0
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file()):
        # a KDE wallpaper is a folder with the same picture in many sizes
        key = str(path).split("/contents/")[0]
        if path.is_symlink() or key in seen or WRITTEN & set(path.parts):
            continue
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3 or image.dtype != np.uint8:
            continue
        seen.add(key)
        cut_out = image.shape[2] == 4 and bool((image[..., 3] < 128).any())
        picture = at_most(
            np.asarray(image if cut_out else image[..., :3], np.uint8), THING_SIDE if cut_out else PHOTO_SIDE
        )
        cv2.imwrite(str(destination / f"{count:04d}{'.png' if cut_out else '.jpg'}"), picture)
        count += 1
    return count


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("destination", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    args = parser.parse_args()
    print(f"{gather(args.destination, args.folders)} pictures")


if __name__ == "__main__":
    main()
