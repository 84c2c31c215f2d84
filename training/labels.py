"""What the detector is to answer: every line's polygon, shrunk to six sizes (PSENet, section 3.4).

A polygon of area A and perimeter L shrinks to the ratio r by moving its edges inwards by d = A (1 - r^2) / L; the
ratios run evenly from 1 to 0.5. Example: a line of 100 x 20 pixels at r = 0.5 loses 2000 * 0.75 / 240 = 6.25
pixels on every side, so 87.5 x 7.5 remain.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pyclipper

RATIOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
MIN_HEIGHT = 4.5
"""Lower text, in pixels, counts as unreadable."""

RIM = 0.5
"""In pixels of the map: fillPoly fills every pixel that the outline touches, half a pixel too much on each side."""

Polygon = npt.NDArray[np.float32]


def shrink(polygon: Polygon, ratio: float, inset: float = 0.0) -> list[Polygon]:
    """The polygon, (N, 2), moved inwards for the ratio, and by `inset` pixels more.

    Several pieces, one, or none where nothing remains.
    """
    if ratio >= 1 and not inset:
        return [polygon]
    area = abs(float(cv2.contourArea(polygon)))
    perimeter = float(cv2.arcLength(polygon, True))
    if area <= 0 or perimeter <= 0:
        return []
    grain = 16.0  # pyclipper counts in integers
    offset = pyclipper.PyclipperOffset()
    offset.AddPath(np.round(polygon * grain).astype(int).tolist(), pyclipper.JT_MITER, pyclipper.ET_CLOSEDPOLYGON)
    pieces = offset.Execute(-grain * (area * (1 - ratio**2) / perimeter + inset))
    return [np.asarray(piece, np.float32) / np.float32(grain) for piece in pieces]


def height(polygon: Polygon) -> float:
    """The shorter side of the smallest rectangle around the polygon, in pixels."""
    return float(min(cv2.minAreaRect(polygon.astype(np.float32))[1]))


class Labels(NamedTuple):
    """Maps of one picture; a pixel of them covers `step` pixels of the picture, two unless said otherwise."""

    kernels: npt.NDArray[np.uint8]
    """(6, H/step, W/step), 0 or 1, the whole lines first."""
    care: npt.NDArray[np.uint8]
    """(H/step, W/step), 0 where text is unreadable and nothing is asked, else 1."""
    weight: npt.NDArray[np.float32]
    """(H/step, W/step), larger where text is small, so that small lines count beside large ones; 1 outside text."""


def make_labels(
    lines: Sequence[Polygon], ignored: Sequence[Polygon], height_px: int, width_px: int, *, step: int = 2
) -> Labels:
    """Labels for a picture of the given size from the outlines of its lines, in pixels of the picture."""
    size = (height_px // step, width_px // step)
    kernels = np.zeros((len(RATIOS), *size), np.uint8)
    care = np.ones(size, np.uint8)
    weight = np.ones(size, np.float32)

    def fill(target: npt.NDArray[np.uint8] | npt.NDArray[np.float32], polygon: Polygon, value: float) -> None:
        # fillPoly counts from pixel centres, in sixteenths
        points = np.round((polygon / step - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(target, [points], value, cv2.LINE_8, 4)

    for polygon in ignored:
        fill(care, polygon, 0)
    for polygon in lines:
        tall = height(polygon)
        if tall < MIN_HEIGHT:
            fill(care, polygon, 0)
            continue
        fill(weight, polygon, float(np.clip(24 / tall, 0.5, 2)))
        for kernel, ratio in zip(kernels, RATIOS, strict=True):
            for piece in shrink(polygon, ratio, RIM * step) or shrink(polygon, ratio):
                fill(kernel, piece, 1)
    return Labels(kernels, care, weight)
