"""Write the detector's checkpoint as ncnn files, and check that ncnn gives what PyTorch gives.

    python -m training.export_detector training/checkpoints/detector.pt weights/detector
    python -m training.export_detector --start ch_PP-OCRv3_det_infer.onnx start/detector    # untrained

The network goes through `liteocr.convert`, by way of an ONNX file beside the checkpoint. The weights are stored as
float16 and computed as float32. Checked are pictures with writing, of three sizes that the conversion has not seen; the
largest difference of a map is printed, and more than 0.02 is an error.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import cv2
import ncnn
import numpy as np
import numpy.typing as npt
import torch

from training.psenet import STRIDE, Design, PSENet, load, tame, transfer
from training.to_ncnn import to_ncnn

TOLERANCE = 0.02
SIZES = ((96, 608), (352, 256), (640, 480))


def run_ncnn(files: Path, picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Maps (6, H/2, W/2) of a picture (3, H, W) in [0, 1] by FILES.ncnn.param and .bin, in float32."""
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.opt.num_threads = 1
    if net.load_param(f"{files}.ncnn.param") or net.load_model(f"{files}.ncnn.bin"):
        raise RuntimeError(f"ncnn does not load {files}")
    array = np.ascontiguousarray(picture, np.float32)
    with net.create_extractor() as extractor:
        extractor.input("in0", ncnn.Mat(array).clone())
        code, out = extractor.extract("out0")
        if code:
            raise RuntimeError(f"ncnn gives error {code}")
        return np.array(out)


def difference(net: PSENet, files: Path, pictures: Iterable[npt.NDArray[np.float32]]) -> float:
    """The largest difference between PyTorch's and ncnn's maps over pictures (3, H, W) in [0, 1]."""
    worst = 0.0
    for picture in pictures:
        with torch.inference_mode():
            wanted = net(torch.from_numpy(picture)[None])[0].numpy()
        got = run_ncnn(files, picture)
        if got.shape != wanted.shape:
            raise RuntimeError(f"ncnn gives maps of {got.shape}, PyTorch {wanted.shape}")
        worst = max(worst, float(np.abs(got - wanted).max()))
    return worst


def test_pictures() -> list[npt.NDArray[np.float32]]:
    """Pictures with writing and noise, of three sizes."""
    pictures = []
    for seed, (height, width) in enumerate(SIZES):
        noise = np.random.default_rng(seed)
        small = noise.uniform(60, 255, (height // STRIDE + 1, width // STRIDE + 1, 3)).astype(np.float32)
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8)
        for y in range(20, height, 36):
            cv2.putText(
                image, f"Line {y} of text 0123", (10, y), cv2.FONT_HERSHEY_SIMPLEX, 0.3 + y / 900, (20, 30, 40), 1
            )
        image = np.clip(image + noise.normal(0, 5, image.shape), 0, 255)
        pictures.append(np.ascontiguousarray(image.transpose(2, 0, 1) / 255, np.float32))
    return pictures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint of train_detector, or its plain weights")
    parser.add_argument("destination", type=Path, help="DESTINATION.ncnn.param and DESTINATION.ncnn.bin are written")
    parser.add_argument("--start", type=Path, help="instead of a checkpoint: the published ONNX file, untrained")
    args = parser.parse_args()
    if (args.checkpoint is None) == (args.start is None):
        parser.error("give either a checkpoint or --start")
    if args.start:
        net = PSENet(Design("published"))
        transfer(net, args.start)
        net.eval()
    else:
        net = load(args.checkpoint)
    tame(net)
    origin = args.checkpoint or args.destination.with_suffix(".pt")
    to_ncnn(net, (1, 3, 320, 320), (1, 3, 448, 640), origin, args.destination)
    worst = difference(net, args.destination, test_pictures())
    size = args.destination.with_name(args.destination.name + ".ncnn.bin").stat().st_size
    print(f"largest difference of a map between PyTorch and ncnn: {worst:.5f}; {size} bytes")
    if worst > TOLERANCE:
        raise SystemExit("ncnn and PyTorch disagree")


if __name__ == "__main__":
    main()
