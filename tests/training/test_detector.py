"""The detector's network, losses and pictures. Needs torch, and for the pictures the fonts of training/fonts.txt."""

import numpy as np
import pytest
import torch

from training.losses import dice, hard_pixels, psenet_loss
from training.psenet import Design, PSENet, tame
from training.scenes import Scenes


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (32, 320)])
def test_maps_are_half_the_picture(size: tuple[int, int]) -> None:
    net = PSENet().eval()
    with torch.inference_mode():
        maps = net(torch.rand(2, 3, *size))
    assert maps.shape == (2, 6, size[0] // 2, size[1] // 2)
    assert maps.min() >= 0 and maps.max() <= 1


def test_taming_the_neck_changes_nothing() -> None:
    torch.manual_seed(0)
    net = PSENet(Design("published")).eval()
    assert net.neck.head.norm.running_var is not None
    net.neck.head.norm.running_var.fill_(1e7)
    picture = torch.rand(1, 3, 96, 128)
    with torch.inference_mode():
        before = net.logits(picture)
        tame(net)
        after = net.logits(picture)
    assert torch.allclose(before, after, atol=1e-4)


def test_dice_is_zero_for_the_truth_and_near_one_for_its_opposite() -> None:
    target = torch.zeros(1, 20, 20)
    target[:, 5:15] = 1
    everywhere = torch.ones_like(target)
    assert float(dice(target, target, everywhere)) == pytest.approx(0)
    assert float(dice(1 - target, target, everywhere)) > 0.99


def test_hard_pixels_are_all_text_and_three_times_as_much_of_the_most_doubtful_background() -> None:
    probability = torch.linspace(0, 1, 400).reshape(1, 20, 20)
    target = torch.zeros(1, 20, 20)
    target[0, 0] = 1
    care = torch.ones(1, 20, 20)
    care[0, 19] = 0
    mask = hard_pixels(probability, target, care)
    assert mask[0, 0].all()
    assert not mask[0, 19].any()
    assert int(mask[0, 1:].sum()) == 60
    assert mask[0, 16:19].all()


def test_a_step_down_the_gradient_lowers_the_loss() -> None:
    logits = torch.zeros(2, 6, 24, 24, requires_grad=True)
    kernels = torch.zeros(2, 6, 24, 24)
    kernels[:, :, 8:16] = 1
    care, weight = torch.ones(2, 24, 24), torch.ones(2, 24, 24)
    loss = psenet_loss(logits, kernels, care, weight)[0]
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    later = psenet_loss((logits - 100 * logits.grad).detach(), kernels, care, weight)[0]
    assert later < loss


def test_the_same_seed_gives_the_same_pictures() -> None:
    first, second = (Scenes(3, 128).sample() for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert len(first.lines) == len(second.lines)


def test_pictures_have_the_size_and_finite_outlines() -> None:
    scenes = Scenes(5, 192)
    for _ in range(12):
        scene = scenes.sample()
        assert scene.image.shape == (192, 192, 3)
        assert scene.image.dtype == np.uint8
        assert all(np.isfinite(p).all() for p in scene.lines)
