"""Train the detector from PP-OCRv3's, on rendered pictures and real receipts.

    python -m training.train_detector RUN --start ch_PP-OCRv3_det_infer.onnx --receipts train/index.jsonl --minutes 60
    python -m training.train_detector RUN --resume --receipts train/index.jsonl --minutes 90

RUN is a folder: `last.pt` (network, its running average, optimiser, progress), `average.pt` (the running average
alone, which is what is shipped), `config.json` and `log.jsonl` (the figures). The learning rate falls along a
cosine over the minutes of training, pauses not counted. Pictures come from one process beside the training;
`--seed` fixes them.
"""

import argparse
import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.labels import make_labels
from training.losses import psenet_loss
from training.psenet import BACKBONE, Design, PSENet, checkpoint, load, take_over, transfer
from training.scenes import Scenes

WARM = 40
"""Batches over which the learning rate rises."""
TEACHING = 2.0
"""Weight of the teacher's maps at the start; it falls to zero over the training."""


class Batches(IterableDataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Endless batches: pictures uint8 (N, 3, S, S) BGR, and labels as the network gives maps: kernels uint8, care
    uint8, weight float32."""

    def __init__(self, seed: int, size: int, batch: int, *, step: int, **sources: Path | None) -> None:
        self.seed, self.size, self.batch, self.step = seed, size, batch, step
        self.sources = sources

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        cv2.setNumThreads(1)
        worker = get_worker_info()
        scenes = Scenes(self.seed * 1000 + (worker.id if worker else 0), self.size, **self.sources)
        while True:
            rows = []
            for _ in range(self.batch):
                scene = scenes.sample()
                labels = make_labels(scene.lines, scene.ignored, self.size, self.size, step=self.step)
                rows.append((scene.image.transpose(2, 0, 1), *labels))
            images, kernels, care, weight = (
                torch.from_numpy(np.ascontiguousarray(np.stack(part))) for part in zip(*rows, strict=True)
            )
            yield images, kernels, care, weight


def average(kept: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the running average towards the network."""
    with torch.no_grad():
        for a, b in zip(kept.state_dict().values(), net.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - decay)
            else:
                a.copy_(b)


def taught(teacher: PSENet, pixels: Tensor, logits: Tensor, *, bf16: bool) -> Tensor:
    """Cross entropy to the maps of a trained network."""
    with torch.no_grad(), torch.autocast(pixels.device.type, torch.bfloat16, enabled=bf16):
        maps = teacher(pixels).float()
    maps = F.interpolate(maps, logits.shape[-2:], mode="bilinear") if maps.shape != logits.shape else maps
    return F.binary_cross_entropy_with_logits(logits.float(), maps)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write, and only then replace."""
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def train(args: argparse.Namespace) -> None:
    """Run the training; see the module's description."""
    run: Path = args.run
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    step, spent = 0, 0.0
    state: dict[str, Any] = {}
    if args.resume:
        state = torch.load(run / "last.pt", map_location=device, weights_only=True)
        design = Design(**state["design"])
    else:
        design = Design(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Design)})
    net = PSENet(design).to(device)
    if args.resume:
        net.load_state_dict(state["net"])
        step, spent = state["step"], state["minutes"]
    elif args.start is None:
        raise SystemExit("give --start with the published network or a checkpoint, or --resume")
    elif args.start.suffix == ".onnx":
        transfer(net, args.start)
    else:
        print(f"{take_over(net, load(args.start), BACKBONE if args.frozen else ('',))} tensors taken over")
    teacher = load(args.teacher).to(device) if args.teacher else None
    kept = copy.deepcopy(net)
    if state:
        kept.load_state_dict(state["average"])
    kept.eval()
    if args.frozen:
        for part in (net.stem, net.stages):
            part.requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-4)
    if state:
        optimizer.load_state_dict(state["optimizer"])
    settings = {k: v.name if isinstance(v, Path) else v for k, v in vars(args).items()}
    if state and (run / "config.json").exists():
        # where the network came from is not said again when it goes on
        before = json.loads((run / "config.json").read_text(encoding="utf-8"))
        settings |= {k: before[k] for k in ("start", "teacher") if settings[k] is None and k in before}
    (run / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    sources = {name: getattr(args, name) for name in ("receipts", "photos", "taught")}
    data = Batches(args.seed + step, args.size, args.batch, step=design.output, **sources)
    loader = DataLoader(data, batch_size=None, num_workers=args.workers, prefetch_factor=4 if args.workers else None)
    began = time.monotonic()
    sums: list[float] = []
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # the start's statistics: batches of 8 are too few for better ones, and it is faster
    for images, kernels, care, weight in loader:
        minutes = spent + (time.monotonic() - began) / 60
        done = min(1.0, step / args.batches if args.batches else minutes / args.minutes)
        rate = args.rate * min(1.0, (step + 1) / WARM) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        pixels = images.to(device).float() / 255
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            logits = net.logits(pixels)
        masks = kernels.to(device).float(), care.to(device).float(), weight.to(device)
        loss, *parts = psenet_loss(logits.float(), *masks)
        if teacher is not None:
            loss = loss + TEACHING * (1 - done) * taught(teacher, pixels, logits, bf16=args.bf16)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        if torch.isfinite(norm):
            optimizer.step()
        step += 1
        average(kept, net, min(args.average, step / (step + 10)))
        sums.append(float(loss.detach()))
        if step % 20 == 0:
            row = {
                "step": step,
                "minutes": round(minutes, 2),
                "rate": round(rate, 6),
                "loss": round(sum(sums) / len(sums), 4),
            }
            for name, part in zip(("whole", "kernels", "cross"), parts, strict=True):
                row[name] = round(float(part.detach()), 4)
            print(row, flush=True)
            with (run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            sums.clear()
        last = done >= 1
        if step % args.save_every == 0 or last:
            save(
                run / "last.pt",
                checkpoint(
                    net, average=kept.state_dict(), optimizer=optimizer.state_dict(), step=step, minutes=minutes
                ),
            )
            save(run / "average.pt", checkpoint(kept, step=step))
        if last:
            break


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder for checkpoints and figures")
    parser.add_argument(
        "--start", type=Path, help="ch_PP-OCRv3_det_infer.onnx, or a checkpoint: what fits is taken over"
    )
    parser.add_argument("--teacher", type=Path, help="checkpoint of another design whose maps are learnt from, too")
    parser.add_argument("--resume", action="store_true", help="go on from RUN/last.pt")
    parser.add_argument("--receipts", type=Path, help="index.jsonl of real receipts with line quads")
    parser.add_argument("--photos", type=Path, help="folder of photos (.jpg) and cut-out things (.png) without text")
    parser.add_argument("--taught", type=Path, help="index.jsonl of pictures that training.teach labelled")
    parser.add_argument("--minutes", type=float, default=60, help="of training in all")
    parser.add_argument("--batches", type=int, help="in all, instead of minutes")
    parser.add_argument("--rate", type=float, default=0.0015, help="largest learning rate")
    parser.add_argument("--average", type=float, default=0.99, help="decay of the running average, per batch")
    parser.add_argument("--frozen", action="store_true", help="train what follows the backbone alone")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=448, help="side of the pictures")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=1, help="processes that render")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where the processor does")
    parser.add_argument("--save-every", type=int, default=100, help="batches")
    parser.add_argument("--seed", type=int, default=0)
    for field in dataclasses.fields(Design):
        kind = (lambda text: text == "yes") if isinstance(field.default, bool) else type(field.default)
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help="see psenet.Design")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
