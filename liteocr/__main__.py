"""``python -m liteocr`` is the command ``liteocr``."""

from .cli import main

raise SystemExit(main())
