"""Progressive scale expansion as the paper writes it, pixel by pixel with a queue: slow, and plain enough to trust."""

from __future__ import annotations

from collections import deque

import numpy as np

NEIGHBOURS = ((-1, 0), (0, -1), (0, 1), (1, 0))  # up, left, right, down as (dy, dx)


def components(mask: np.ndarray) -> np.ndarray:
    """Connected components (4 neighbours), numbered by their first pixel in raster order."""
    height, width = mask.shape
    labels = np.zeros((height, width), np.int32)
    count = 0
    for y, x in np.argwhere(mask).tolist():
        if labels[y, x]:
            continue
        count += 1
        labels[y, x] = count
        queue = deque([(y, x)])
        while queue:
            y0, x0 = queue.popleft()
            for dy, dx in NEIGHBOURS:
                y1, x1 = y0 + dy, x0 + dx
                if 0 <= y1 < height and 0 <= x1 < width and mask[y1, x1] and not labels[y1, x1]:
                    labels[y1, x1] = count
                    queue.append((y1, x1))
    return labels


def expand(kernels: np.ndarray) -> np.ndarray:
    """Labels, int32 (H, W), of kernels (n, H, W): kernels[0] the whole text, kernels[-1] the seeds.

    A pixel that still has a neighbour without a label when it is walked is queued again for the next kernel, in the
    order of the walk.
    """
    labels = components(kernels[-1])
    height, width = labels.shape
    queue = deque((y, x) for y, x in np.argwhere(labels).tolist())
    for kernel in kernels[-2::-1]:
        rim: deque[tuple[int, int]] = deque()
        while queue:
            y, x = queue.popleft()
            at_rim = False
            for dy, dx in NEIGHBOURS:
                y1, x1 = y + dy, x + dx
                if not (0 <= y1 < height and 0 <= x1 < width) or labels[y1, x1]:
                    continue
                if kernel[y1, x1]:
                    labels[y1, x1] = labels[y, x]
                    queue.append((y1, x1))
                else:
                    at_rim = True
            if at_rim:
                rim.append((y, x))
        queue = rim
    return labels
