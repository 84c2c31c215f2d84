"""Train the recogniser with CTC on rendered and real lines.

    python -m training.train_recognizer OUT --start rec.onnx --dictionary dict.txt --real LINES.pickle --minutes 40
    python -m training.train_recognizer OUT --start CHECKPOINT.pt --real LINES.pickle --minutes 40
    python -m training.train_recognizer OUT --resume --real LINES.pickle --minutes 40
    python -m training.train_recognizer OUT --start rec.onnx --dictionary dict.txt --minutes 0     # the untrained start

OUT is a folder: `state.pt` to resume from, `last.pt` the running mean of the weights as it ships, `best.pt` the one
that did best on --dev, `log.jsonl`. Without --real all lines are rendered, each as it is needed unless --drawn has
them. The learning rate falls to zero as the minutes run out, so a run is cut by time, not by steps, and may share a
busy machine.
"""

import argparse
import copy
import json
import math
import random
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from training import crnn
from training.eval_recognizer import evaluate, torch_reader
from training.lines import Lines, read_drawn
from training.real_lines import RealLine, read_lines

Picture = npt.NDArray[np.uint8]
POOL = 384  # lines sorted by width together
REUSE = 0.6  # share of rendered lines that are shown again
KEPT = (300, 6000)  # how many are kept for that, at the least and at the most
AREA = 24 * 320  # columns in a batch
MAX_WIDTH = 1600
SQUEEZE = 1.15  # widths in a batch differ by no more than this factor; all are stretched to one, nothing is padded


def real_crop(line: RealLine, rng: random.Random) -> Picture:
    """A line of a labelled picture, cut looser or tighter than its quad and sometimes degraded."""
    picture = cv2.imdecode(np.frombuffer(line.jpeg, np.uint8), cv2.IMREAD_COLOR)
    left, top, right, bottom = line.box
    tall = bottom - top
    slack = [rng.uniform(-0.06, 0.12) if rng.random() < 0.7 else rng.uniform(-0.08, 0.35) for _ in range(4)]
    x0, x1 = max(0, round(left - slack[0] * tall)), round(right + slack[1] * tall)
    y0, y1 = max(0, round(top - slack[2] * tall)), round(bottom + slack[3] * tall)
    return worn(np.asarray(picture[y0:y1, x0:x1], dtype=np.uint8), rng)


def worn(crop: Picture, rng: random.Random) -> Picture:
    """A crop, sometimes degraded."""
    if rng.random() < 0.25:  # smaller than it was
        factor = rng.uniform(0.4, 0.9)
        if crop.shape[0] * factor > 8:
            crop = cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.15:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.25:
        gain, shift = rng.uniform(0.6, 1.2), rng.uniform(-30, 30)
        crop = np.clip(crop.astype(np.float32) * gain + shift, 0, 255).astype(np.uint8)
    if rng.random() < 0.05:
        crop = 255 - crop
    return np.asarray(crop, dtype=np.uint8)


class Batches:
    """Endless batches of equal width: (images (N, 3, 48, W), labels, lengths)."""

    def __init__(
        self, charset: list[str], real: list[RealLine], share: float, seed: int, drawn: list[tuple[bytes, str]]
    ) -> None:
        self.classes = {c: i + 1 for i, c in enumerate(charset)}
        self.drawn = drawn
        self.rng = random.Random(seed)
        self.lines = Lines(seed)
        self.real, self.share = real, share if real else 0.0
        self.rendered: list[tuple[Picture, str]] = []

    def encode(self, text: str) -> list[int] | None:
        """Classes of a text; None where a character has none."""
        classes = [self.classes.get(c) for c in text]
        return None if None in classes else [c for c in classes if c is not None]

    def render(self) -> tuple[Picture, str]:
        """A rendered line: a new one or, as drawing takes longer than training, one that was drawn before."""
        if self.drawn:
            png, text = self.rng.choice(self.drawn)
            crop = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
            return worn(crop, self.rng) if self.rng.random() < 0.3 else crop, text
        if len(self.rendered) >= KEPT[0] and self.rng.random() < REUSE:
            return self.rng.choice(self.rendered)
        line = self.lines.sample()
        if len(self.rendered) < KEPT[1]:
            self.rendered.append(line)
        else:
            self.rendered[self.rng.randrange(KEPT[1])] = line
        return line

    def pool(self) -> list[tuple[int, Picture, list[int]]]:
        """Lines as (width at 48 px height, crop, classes), by width."""
        out: list[tuple[int, Picture, list[int]]] = []
        while len(out) < POOL:
            if self.rng.random() < self.share:
                line = self.rng.choice(self.real)
                crop, text = real_crop(line, self.rng), " ".join(line.text.split())
            else:
                crop, text = self.render()
            classes = self.encode(text)
            width = round(crop.shape[1] * crnn.HEIGHT / crop.shape[0]) if crop.size else MAX_WIDTH + 1
            if classes is None or width > MAX_WIDTH:
                continue
            repeats = sum(a == b for a, b in pairwise(classes))
            if width // crnn.STRIDE < len(classes) + repeats + 1:
                continue  # narrower than CTC can spell
            out.append((max(width, crnn.MIN_WIDTH), crop, classes))
        return sorted(out, key=lambda row: row[0])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while True:
            groups: list[list[tuple[int, Picture, list[int]]]] = [[]]
            for row in self.pool():
                group = groups[-1]
                if group and (row[0] > SQUEEZE * group[0][0] or row[0] * (len(group) + 1) > AREA):
                    groups.append([])
                groups[-1].append(row)
            self.rng.shuffle(groups)
            for group in groups:
                yield self.batch(group)

    def batch(self, group: list[tuple[int, Picture, list[int]]]) -> tuple[Tensor, Tensor, Tensor]:
        width = -(-group[-1][0] // crnn.STRIDE) * crnn.STRIDE
        images = np.stack(
            [cv2.resize(crop, (width, crnn.HEIGHT), interpolation=cv2.INTER_LINEAR) for _, crop, _ in group]
        )
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)
        labels = torch.tensor([c for _, _, classes in group for c in classes], dtype=torch.long)
        return x, labels, torch.tensor([len(classes) for _, _, classes in group])


def groups(net: crnn.CRNN, args: argparse.Namespace) -> list[dict[str, object]]:
    """Parameters and their learning rates: the new branch learns fast, what was trained before slowly or not at all."""
    stages = (net.stem, net.stem2, *net.blocks, net.mix, net.point)
    for module in stages[: args.frozen]:
        module.requires_grad_(False)
    return [
        {"params": [*net.lstm.parameters(), *net.join.parameters()], "peak": args.rate, "weight_decay": 1e-3},
        {"params": [*net.narrow.parameters(), *net.classes.parameters()], "peak": args.head_rate, "weight_decay": 0.0},
        {
            "params": [p for m in stages[args.frozen :] for p in m.parameters()],
            "peak": args.conv_rate,
            "weight_decay": 0.0,
        },
    ]


def settled(net: crnn.CRNN, anchor: dict[str, Tensor], share: float) -> crnn.CRNN:
    """A copy whose layers around the new branch are `share` of the way from the start's (`anchor`) to the trained.

    Halfway reads the start's kind of lines nearly as well as the start did and the new kind as well as the trained.
    """
    out = copy.deepcopy(net)
    with torch.no_grad():
        for name, value in out.named_parameters():
            if name in anchor:
                value.copy_(torch.lerp(anchor[name], value, share))
    return out


def right(scores: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Which lines the best path of (T, N, classes) reads as labelled: bool (N,)."""
    best = scores.argmax(2).T
    new = torch.ones_like(best, dtype=torch.bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    found = [row[fresh & (row != 0)] for row, fresh in zip(best, new, strict=True)]
    wanted = labels.split(lengths.tolist())
    return torch.tensor([torch.equal(a, b) for a, b in zip(found, wanted, strict=True)])


def keeping(scores: Tensor, before: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """How far the network has moved from its start where the start was right: what it knows is not to be forgotten for
    what it learns (Li, Hoiem: "Learning without Forgetting", ECCV 2016).

    Kullback-Leibler divergence of `scores` from `before`, logarithms of probabilities (T, N, classes), mean over the
    steps; lines that the start misreads count nothing.
    """
    moved = F.kl_div(scores, before, reduction="none", log_target=True).sum(2).mean(0)
    return (moved * right(before, labels, lengths)).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="PP-OCRv6 tiny's rec.onnx, or a checkpoint")
    parser.add_argument("--dictionary", type=Path, help="its characters, one a line")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--real", type=Path, help="lines written by training.real_lines")
    parser.add_argument("--share", type=float, default=0.45, help="share of real lines")
    parser.add_argument("--dev", type=Path, help="index of line crops to measure on")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of the new branch")
    parser.add_argument("--head-rate", type=float, default=5e-5, help="of the layers around the new branch")
    parser.add_argument("--keep", type=float, default=0.0, help="weight of keeping() for Chinese lines, beside CTC's 1")
    parser.add_argument("--drawn", type=Path, nargs="+", default=[], help="lines written by training.lines")
    parser.add_argument("--keeper", type=Path, help="checkpoint that keeping() goes by, if not the start")
    parser.add_argument("--settle", type=float, default=0.5, help="see settled()")
    parser.add_argument("--conv-rate", type=float, default=3e-5, help="of the convolutions")
    parser.add_argument("--frozen", type=int, default=13, help="convolutional stages, of 13, that stay as they are")
    parser.add_argument("--hidden", type=int, default=crnn.HIDDEN)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)

    state = torch.load(args.out / "state.pt", weights_only=True) if args.resume else None
    if state is not None:
        net, charset = crnn.CRNN(args.hidden), state["charset"]
        net.load_state_dict(state["model"])
    else:
        torch.manual_seed(args.seed)
        if args.start is None or (args.start.suffix == ".onnx" and args.dictionary is None):
            raise SystemExit("--start is needed unless --resume, and --dictionary with an ONNX file")
        if args.start.suffix == ".onnx":
            net, charset = crnn.start(args.start, args.hidden), crnn.read_dictionary(args.dictionary)
        else:
            net, charset = crnn.load(args.start)
    crnn.save(net, charset, args.out / "last.pt")
    if args.minutes <= 0:
        return

    anchor = {k: v.detach().clone() for k, v in net.named_parameters() if not k.startswith(("lstm.", "join."))}
    start = crnn.load(args.keeper)[0] if args.keeper else copy.deepcopy(net)
    start = start.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    chinese = torch.tensor([False] + [c > "\u2e80" for c in charset])
    net = net.train().to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net).eval()
    optimizer = torch.optim.AdamW(groups(net, args), betas=(0.9, 0.98))
    best, steps, used, seen = -1.0, 0, 0.0, 0
    if state is not None:
        mean.load_state_dict(state["mean"])
        optimizer.load_state_dict(state["optimizer"])
        anchor = state["anchor"]
        start.load_state_dict(state["start"])
        best, steps, used, seen = state["best"], state["steps"], state["used"], state["seen"]
    real = read_lines(args.real) if args.real else []
    batches = iter(Batches(charset, real, args.share, args.seed + steps, read_drawn(args.drawn)))
    begin = saved = time.monotonic()
    losses: list[float] = []
    while True:
        now = time.monotonic()
        part = (used + now - begin) / 60 / args.minutes
        if now - saved > 60 * args.save_minutes or part >= 1:
            saved = now
            crnn.save(settled(mean, anchor, args.settle), charset, args.out / "last.pt")
            entry = {
                "minutes": (used + now - begin) / 60,
                "steps": steps,
                "lines": seen,
                "loss": float(np.mean(losses[-300:])),
            }
            if args.dev:
                table, _ = evaluate(torch_reader(crnn.load(args.out / "last.pt")[0]), charset, args.dev, 1)
                entry |= {"ned": table["ALL"][1], "exact": table["ALL"][2], "by": {k: v[1:4] for k, v in table.items()}}
                if table["ALL"][1] > best:
                    best = table["ALL"][1]
                    shutil.copyfile(args.out / "last.pt", args.out / "best.pt")
            print(json.dumps({k: v for k, v in entry.items() if k != "by"}), flush=True)
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
            held = {
                "model": net.state_dict(),
                "mean": mean.state_dict(),
                "optimizer": optimizer.state_dict(),
                "anchor": anchor,
                "start": start.state_dict(),
                "charset": charset,
            }
            torch.save(
                held | {"best": best, "steps": steps, "used": used + now - begin, "seen": seen}, args.out / "state.part"
            )
            (args.out / "state.part").replace(args.out / "state.pt")
            if part >= 1:
                return
        rate = min(1.0, (steps + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(part, 1)))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        images, labels, lengths = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.set_grad_enabled(args.frozen < 13):
            features = net.features(images.contiguous(memory_format=torch.channels_last))
        scores = net.head(features.float()).log_softmax(2).transpose(0, 1)
        width = torch.full((len(images),), scores.shape[0])
        loss = F.ctc_loss(scores, labels, width, lengths, reduction="none", zero_infinity=True)
        loss = (loss / lengths.clamp(min=4)).mean()
        wanted = labels.split(lengths.tolist())
        kept = torch.tensor([bool(chinese[row].any()) for row in wanted])
        if args.keep and kept.any():
            with torch.no_grad():
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    before = start.features(images[kept].contiguous(memory_format=torch.channels_last))
                before = start.head(before.float()).log_softmax(2).transpose(0, 1)
            known = torch.cat([row for row, keep in zip(wanted, kept.tolist(), strict=True) if keep])
            loss = loss + args.keep / len(images) * keeping(scores[:, kept], before, known, lengths[kept])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], 2.0)
        optimizer.step()
        steps, seen = steps + 1, seen + len(images)
        losses.append(loss.item())
        decay = min(0.996, steps / (steps + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(mean.parameters()), list(net.parameters()), 1 - decay)


if __name__ == "__main__":
    main()
