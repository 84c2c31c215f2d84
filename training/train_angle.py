"""Train the angle classifier on rendered and real lines, upright and turned.

    python -m training.train_angle OUT.pt --recognizer FILE.pt --real LINES.pickle --minutes 40 [--dev index.jsonl]
    python -m training.train_angle OUT.pt --start OUT.pt ...                                   # go on
    python -m training.train_angle OUT.pt --start FILE.pt --minutes 0 --dev index.jsonl        # only measure

Lines that read the same when turned (`6901`, `88`, `*****`), and pictures without text, shall be in doubt: one half
either way. Of any line, colours are changed, inverted and made fainter, and the height goes down to 8 pixels. OUT.pt is
written every few minutes; with --dev it holds the weights that did best there, OUT.last.pt beside it the latest, and a
table is printed.
"""

import argparse
import copy
import math
import random
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from training import angle
from training.eval_recognizer import crops
from training.lines import Lines, read_drawn
from training.real_lines import RealLine, read_lines
from training.train_recognizer import real_crop, worn

BOTH_WAYS = set("01689HINOSXZosxzl-.:=+|/%~·,'*# ()一二三回田口日中王十工")
POOL = 256
BATCH = 32
SQUEEZE = 1.25
MAX_WIDTH = 160

SURE = 0.9  # the score from which on "kept" and "found" count

Picture = npt.NDArray[np.uint8]


class Crops:
    """Endless upright crops from real and rendered lines, and whether their way up can be told."""

    def __init__(self, seed: int, real: list[RealLine], share: float, drawn: list[tuple[bytes, str]]) -> None:
        self.lines = Lines(seed)
        self.rng = self.lines.rng
        self.real, self.share, self.drawn = real, share if real else 0.0, drawn

    def sample(self) -> tuple[Picture, str]:
        if self.rng.random() < self.share:
            line = self.rng.choice(self.real)
            return real_crop(line, self.rng), line.text
        if self.drawn:
            png, text = self.rng.choice(self.drawn)
            return worn(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), self.rng), text
        return self.lines.sample()

    def varied(self, crop: Picture) -> Picture:
        """In other colours, and at times smaller."""
        rng = self.rng
        if rng.random() < 0.2 and crop.shape[0] > 12:
            rows = rng.uniform(8, min(20, crop.shape[0]))
            size = (max(4, round(crop.shape[1] * rows / crop.shape[0])), round(rows))
            crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        if rng.random() < 0.3:
            crop = 255 - crop
        if rng.random() < 0.4:
            crop = crop[..., rng.sample(range(3), 3)]
        if rng.random() < 0.3:  # tinted, fainter, lighter or darker
            gain = np.array([rng.uniform(0.3, 1.2) for _ in range(3)], np.float32) * rng.uniform(0.4, 1)
            shift = np.array([rng.uniform(-20, 90) for _ in range(3)], np.float32)
            crop = np.clip(crop * gain + shift, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(crop, dtype=np.uint8)

    def pool(self) -> list[tuple[Picture, bool]]:
        """Crops as high as the network wants them, by width. A part is cut out of long ones."""
        out: list[tuple[Picture, bool]] = []
        while len(out) < POOL:
            crop, text = self.sample()
            if not crop.size:
                continue
            resized = angle.prepare(self.varied(crop))
            width = resized.shape[1]
            spare = max(0, width - MAX_WIDTH)
            begin = self.rng.randint(0, spare)
            out.append((resized[:, begin : begin + width - spare], not set(text) <= BOTH_WAYS))
        return sorted(out, key=lambda sample: sample[0].shape[1])


def batches(pool: list[tuple[Picture, bool]], rng: random.Random) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Both turns of every line, in batches of one width, with how likely each is upright and turned, (N, 2)."""
    groups: list[list[tuple[Picture, bool]]] = [[]]
    for crop, certain in pool:
        group = groups[-1]
        if group and (crop.shape[1] > SQUEEZE * group[0][0].shape[1] or len(group) >= BATCH // 2):
            groups.append([])
        groups[-1].append((crop, certain))
    rng.shuffle(groups)
    out = []
    for group in groups:
        size = (group[-1][0].shape[1], angle.HEIGHT)
        up = np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR) for crop, _ in group])
        x = angle.tensor(np.concatenate((up, up[:, ::-1, ::-1])))
        upright = torch.tensor([1.0 if certain else 0.5 for _, certain in group])
        upright = torch.cat((upright, 1 - upright))
        out.append((x.contiguous(memory_format=torch.channels_last), torch.stack((upright, 1 - upright), 1)))
    return out


def measure(net: angle.AngleNet, index: Path) -> dict[str, float]:
    """Accuracy over both turns of every line that has an upright side, by kind."""
    right: dict[str, list[float]] = defaultdict(list)
    for _, source, crop, text in crops(index):
        if set(text) <= BOTH_WAYS:
            continue
        for turn in (0, 1):
            turned = angle.probability(net, np.ascontiguousarray(crop[::-1, ::-1]) if turn else crop)
            hit = float((turned > 0.5) == bool(turn))
            right[f"{'turned' if turn else 'upright'} at {SURE}"].append(float((turned > SURE) == bool(turn)))
            digits = sum(c.isdigit() for c in text) > 0.7 * len(text)
            for key in (
                "ALL",
                source,
                "under 16 px" if crop.shape[0] < 16 else "16 px and up",
                "digits" if digits else "letters",
            ):
                right[key].append(hit)
    return {key: float(np.mean(value)) for key, value in sorted(right.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    begin_with = parser.add_mutually_exclusive_group(required=True)
    begin_with.add_argument(
        "--recognizer", type=Path, help="a recogniser's checkpoint, whose convolutions to begin with"
    )
    begin_with.add_argument("--start", type=Path, help="a classifier's checkpoint")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--share", type=float, default=0.4, help="share of real lines")
    parser.add_argument("--drawn", type=Path, nargs="+", default=[], help="lines written by training.lines")
    parser.add_argument("--dev", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    net = angle.start(args.recognizer) if args.recognizer else angle.load(args.start)
    best = -1.0

    def keep(candidate: angle.AngleNet, note: str) -> None:
        nonlocal best
        score = 0.0
        if args.dev:
            table = measure(candidate, args.dev)
            score = table["ALL"]
            print(note, " ".join(f"{key} {value:.4f}" for key, value in table.items()), flush=True)
        angle.save(candidate, args.out.with_suffix(".last.pt"))
        if score >= best:
            best = score
            angle.save(candidate, args.out)

    keep(net, "start:")
    net = net.train().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net).eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-4)
    source = Crops(args.seed, read_lines(args.real) if args.real else [], args.share, read_drawn(args.drawn))
    begin = saved = time.monotonic()
    steps, losses = 0, [0.0]
    while (now := time.monotonic()) - begin < 60 * args.minutes:
        for x, turned in batches(source.pool(), source.rng):
            part = min(1.0, (time.monotonic() - begin) / 60 / args.minutes)
            for group in optimizer.param_groups:
                group["lr"] = args.rate * min(1.0, (steps + 1) / 100) * 0.5 * (1 + math.cos(math.pi * part))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = net(x)
            loss = F.cross_entropy(logits.float(), turned, label_smoothing=0.01)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            steps += 1
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(mean.parameters()), list(net.parameters()), 1 - min(0.99, steps / (steps + 10))
                )
        if now - saved > 60 * args.save_minutes:
            saved = now
            keep(mean, f"{(now - begin) / 60:.1f} min, {steps} steps, loss {np.mean(losses[-200:]):.3f}:")
    if steps:
        keep(mean, f"end, {steps} steps, loss {np.mean(losses[-200:]):.3f}:")


if __name__ == "__main__":
    main()
