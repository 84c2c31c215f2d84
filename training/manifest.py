"""Write the SHA-256 of every file that a weights directory's manifest names into the manifest.

python -m training.manifest weights
"""

import argparse
import json
import re
from pathlib import Path

from liteocr.convert.param import read
from liteocr.convert.weights import check_bin
from liteocr.weights import MANIFEST, sha256


def refresh(directory: Path) -> list[str]:
    """Bring the checksums up to date, leaving the manifest's layout as it is; returns the names that changed.

    Raises:
        ModelFileError: a .bin does not belong to its .param; ncnn itself would read some such files without a word.
    """
    path = directory / MANIFEST
    text = path.read_text(encoding="utf-8")
    changed = []
    for network in json.loads(text).values():
        if isinstance(network, dict):
            check_bin(read(directory / network["param"]["file"]), directory / network["bin"]["file"])

    def entry(match: re.Match[str]) -> str:
        digest = sha256(directory / match[1])
        if digest != match[2]:
            changed.append(match[1])
        return f'{{"file": "{match[1]}", "sha256": "{digest}"}}'

    text = re.sub(r'\{"file": "([^"]+)", "sha256": "([0-9a-f]*)"\}', entry, text)
    json.loads(text)
    path.write_text(text, encoding="utf-8")
    return changed


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="holds manifest.json and the files that it names")
    for name in refresh(parser.parse_args().directory):
        print(f"{name}: checksum updated")


if __name__ == "__main__":
    main()
