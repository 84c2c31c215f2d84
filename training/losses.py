"""PSENet's losses (section 3.5 of the paper), with a cross entropy beside them.

L = 0.7 Lc + 0.3 Ls: Lc is the dice loss of the whole text over text and the hardest background, three pixels of it
for every pixel of text; Ls is the mean dice loss of the kernels, counted only where text is found, because outside
nothing is expanded. Dice counts areas, so that a large word outweighs a hundred small ones; the weighted cross
entropy evens that out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BALANCE = 0.7
HARD_RATIO = 3
CROSS_ENTROPY = 0.5


def dice(probability: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Dice loss of every picture, (N,), from maps (N, H, W)."""
    p, t = (probability * mask).flatten(1), (target * mask).flatten(1)
    return 1 - (2 * (p * t).sum(1) + 1) / ((p * p).sum(1) + (t * t).sum(1) + 1)


def hard_pixels(probability: Tensor, target: Tensor, care: Tensor) -> Tensor:
    """Mask (N, H, W) of all text and, of the background, the pixels that look most like text."""
    mask = torch.zeros_like(care)
    for p, t, c, out in zip(probability.detach(), target, care, mask, strict=True):
        text = (t > 0.5) & (c > 0.5)
        background = (t <= 0.5) & (c > 0.5)
        available = int(background.sum())
        count = min(available, max(HARD_RATIO * int(text.sum()), p.numel() // 50))
        out[text] = 1
        if count:
            values = p[background]
            limit = values.kthvalue(available - count + 1).values
            out[background & (p >= limit)] = 1
    return mask


def psenet_loss(logits: Tensor, kernels: Tensor, care: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss, and its parts: whole text, kernels, cross entropy.

    Args:
        logits: (N, 6, H, W).
        kernels: what they should show, 0 or 1, the same shape.
        care: (N, H, W), 0 where nothing is asked.
        weight: (N, H, W), how much a pixel counts in the cross entropy.
    """
    probability = torch.sigmoid(logits)
    hard = hard_pixels(probability[:, 0], kernels[:, 0], care)
    whole = dice(probability[:, 0], kernels[:, 0], hard).mean()
    found = ((probability[:, 0].detach() > 0.5) | (kernels[:, 0] > 0.5)).float() * care
    parts = [dice(probability[:, k], kernels[:, k], found) for k in range(1, logits.shape[1])]
    shrunk = torch.stack(parts).mean()
    pixels = hard * weight
    entropy = F.binary_cross_entropy_with_logits(logits, kernels, reduction="none").mean(1)
    cross = (entropy * pixels).sum() / (pixels.sum() + 1)
    return BALANCE * whole + (1 - BALANCE) * shrunk + CROSS_ENTROPY * cross, whole, shrunk, cross
