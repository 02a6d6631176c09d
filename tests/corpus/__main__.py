"""Writes what is told of each bad case: `python -m tests.corpus`."""

import tempfile
from pathlib import Path

from tests.corpus import BAD, EXPECTED, build, told

if __name__ == "__main__":
    for case in BAD:
        with tempfile.TemporaryDirectory() as scratch:
            (case / EXPECTED).write_text(told(build(case, Path(scratch))), encoding="utf-8")
    print(f"wrote {len(BAD)} files")
