"""Install the built wheel alone in a clean virtual environment and read a picture with it, outside the checkout.

    python tests/check_wheel.py DIST_DIR VENV_DIR

Fails when the wheel is too large, when it brings other run-time packages than the five, when the weights are not in it,
or when the installed command does not read the test picture. Then liteocr-model: what needs no extra works without,
what needs it says so, and with the extra a model is converted, compared, looked into, upgraded and quantized, without
PyTorch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

MAX_WHEEL_BYTES = 12_000_000
RUN_TIME = {"ncnn", "numpy", "opencv-python", "pyclipper", "shapely"}
TESTS = Path(__file__).resolve().parent
PICTURE = TESTS / "data" / "receipt.jpg"
MODEL = TESTS / "convert" / "data" / "example.old.fixed.onnx"
NEEDS_EXTRA = 6
TIME_IMPORT = """
import time, cv2, ncnn, numpy
start = time.perf_counter()
import liteocr
print(f"import liteocr: {time.perf_counter() - start:.3f} s beyond cv2, numpy and ncnn")
"""


def main() -> None:
    """Run the check; the first thing that is wrong ends it with a message."""
    dist, env = Path(sys.argv[1]), Path(sys.argv[2])
    (wheel,) = dist.glob("liteocr-*.whl")
    (sdist,) = dist.glob("liteocr-*.tar.gz")
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1e6:.2f} MB, {sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB")
    if size > MAX_WHEEL_BYTES:
        sys.exit(f"the wheel has {size} bytes, more than {MAX_WHEEL_BYTES}")
    venv.create(env, with_pip=True, clear=True)
    scripts = env.resolve() / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel.resolve()], check=True)
    with tempfile.TemporaryDirectory() as outside:

        def run(*command: str | Path) -> str:
            done = subprocess.run(command, cwd=outside, check=True, stdout=subprocess.PIPE, text=True)
            return done.stdout

        requires = run(
            python, "-c", "import importlib.metadata as m; print('\\n'.join(m.requires('liteocr')))"
        ).splitlines()
        needed = {r.split(">")[0].strip() for r in requires if "extra ==" not in r}
        if needed != RUN_TIME:
            sys.exit(f"run-time packages are {sorted(needed)}, not {sorted(RUN_TIME)}")
        print(run(python, "-c", TIME_IMPORT).strip())
        print(run(scripts / "liteocr", "--version").strip())
        page = json.loads(run(scripts / "liteocr", "--format", "json", PICTURE))
        text = " ".join(line["text"] for line in page["lines"])
        if "TOTAL" not in text.upper():
            sys.exit(f"the installed command read {text!r} from {PICTURE.name}, without TOTAL")
        print(f"read {len(page['lines'])} lines of {PICTURE.name}")

        command = scripts / "liteocr-model"
        param = run(python, "-c", "import liteocr.weights as w; print(w.load().recognizer.param)").strip()
        if "has every layer" not in run(command, "info", param, "--repeat", "1"):
            sys.exit("liteocr-model info does not find every layer of the recogniser")
        run(command, "upgrade", param, "upgraded.param")
        for needs in (["convert", MODEL, "out"], ["compare", MODEL, param]):
            bare = subprocess.run([command, *needs], cwd=outside, check=False, capture_output=True, text=True)
            if bare.returncode != NEEDS_EXTRA or "liteocr[convert]" not in bare.stderr or Path(outside, "out").exists():
                sys.exit(f"without the extra, liteocr-model {needs[0]} ends with {bare.returncode}: {bare.stderr}")
        wanted = [r.split(";")[0].strip() for r in requires if "extra == 'convert'" in r.replace('"', "'")]
        others = [r for r in wanted if not r.startswith("pnnx")]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *others], check=True)
        # pnnx asks for torch, which the tests do without
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "pnnx"], check=True)
        made = "out/example.ncnn.param"
        print(run(command, "convert", MODEL, "out").strip().splitlines()[0])
        print(run(command, "compare", MODEL, made, "--html", "out/example.html").strip().splitlines()[0])
        print(run(command, "info", made, "--repeat", "1").strip().splitlines()[0])
        print(run(command, "upgrade", made, "out/upgraded.param").strip().splitlines()[-1])
        options = ("--shape", "1,3,160,160", "--method", "max", "--repeat", "1")
        print(run(command, "quantize", made, PICTURE.parent, "out/int8", *options).strip().splitlines()[-1])
        written = {path.name for path in Path(outside, "out").rglob("*") if path.is_file()}
        if not written >= {"example.convert.md", "example.html", "upgraded.param", "example.int8.bin"}:
            sys.exit(f"liteocr-model wrote only {sorted(written)}")


if __name__ == "__main__":
    main()
