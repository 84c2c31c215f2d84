"""Print the run-time requirements of pyproject.toml, and those of the extra [convert], with every lower bound as the
exact version, for pip: one on a line."""

from __future__ import annotations

import re
from pathlib import Path

text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
for name in ("dependencies", "convert"):
    block = re.search(rf"^{name} = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    if block is None:
        raise SystemExit(f"pyproject.toml has no list {name}")
    print("\n".join(re.findall(r'"([^"]+)"', block[1])).replace(">=", "=="))
