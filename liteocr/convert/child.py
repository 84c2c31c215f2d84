"""Run a function in a process of its own: what crashes there does not end this interpreter.

ncnn, pnnx and onnxruntime are native code that ends the process on files that they do not expect.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import LiteOCRError
from .errors import ConvertError

__all__ = ["call"]

T = TypeVar("T")

_START = """\
import pickle, sys
sys.path[:] = pickle.loads(bytes.fromhex(sys.argv[3]))
from liteocr.convert.child import _main
_main(sys.argv[1], sys.argv[2])
"""
_LOG_LINES = 6


def call(function: Callable[..., T], /, *args: Any, timeout: float | None = None, what: str) -> T:
    """Call a function in a fresh interpreter.

    Args:
        function: a function of a module, found there by its name.
        args: its arguments, which must be picklable.
        timeout: seconds after which the child is ended; None: never.
        what: what the child does, in the words of an error message, such as ``"ncnn, loading det.param,"``.

    Returns:
        What the function returned; it travels through a file, so large arrays are fine.

    Raises:
        LiteOCRError: the function raised it; what native code printed is in ``log`` where the error has it.
        ConvertError: the child crashed, took too long, ran out of memory or raised anything else.
    """
    with tempfile.TemporaryDirectory(prefix="liteocr-") as place:
        request, answer, output = (Path(place, name) for name in ("request", "answer", "output"))
        request.write_bytes(pickle.dumps((function.__module__, function.__qualname__, args), protocol=5))
        path = pickle.dumps([entry or os.getcwd() for entry in sys.path]).hex()
        with output.open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-c", _START, str(request), str(answer), path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=os.name == "posix",
            )
            try:
                code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                _end(child)
                raise _error(
                    f"{what} took more than {timeout:g} s and was stopped; try a smaller input", output
                ) from None
            except BaseException:
                _end(child)
                raise
        if not answer.exists():
            raise _error(f"{what} {_death(code)}; the model may be damaged or ask for too much memory", output)
        good, result = pickle.loads(answer.read_bytes())
        if good:
            return result  # type: ignore[no-any-return]
        if isinstance(result, LiteOCRError):
            if isinstance(result, ConvertError):
                result.log = result.log or _tail(output)
            raise result
        raise _error(f"{what} failed with {result}", output)


def _main(request: str, answer: str) -> None:
    """The child's side."""
    with suppress(OSError):  # where memory runs out, Linux ends this process and not its parent
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    result: Any
    try:
        module, name, args = pickle.loads(Path(request).read_bytes())
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        good, result = True, function(*args)
    except LiteOCRError as error:
        good, result = False, error
    except Exception as error:
        good, result = False, f"{type(error).__name__}: {error}"
    try:
        data = pickle.dumps((good, result), protocol=5)
        pickle.loads(data) if not good else None
    except Exception as error:
        good = isinstance(result, LiteOCRError)
        data = pickle.dumps((False, ConvertError(str(result)) if good else f"{type(error).__name__}: {error}"))
    unfinished = Path(answer + ".part")
    unfinished.write_bytes(data)
    unfinished.rename(answer)
    sys.stdout.flush()
    # Without the destructors of native libraries, which have crashed at exit after all the work was done.
    os._exit(0)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _death(code: int) -> str:
    if code < 0:
        try:
            return f"crashed ({signal.Signals(-code).name})"
        except ValueError:
            return f"crashed (signal {-code})"
    return f"ended without a result (exit code {code})"


def _error(message: str, output: Path) -> ConvertError:
    log = _tail(output)
    error = ConvertError(f"{message}. It said last: {log}" if log else message)
    error.log = log
    return error


def _tail(output: Path) -> str:
    """The last lines that the child printed."""
    with suppress(OSError), output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - 4096))
        lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join([line.rstrip() for line in lines if line.strip()][-_LOG_LINES:])
    return ""
