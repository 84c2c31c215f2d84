"""Print the run-time requirements of pyproject.toml with every lower bound as the exact version, for pip."""

from __future__ import annotations

import re
from pathlib import Path

text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
if block is None:
    raise SystemExit("pyproject.toml has no list of dependencies")
print(" ".join(re.findall(r'"([^"]+)"', block[1])).replace(">=", "=="))
