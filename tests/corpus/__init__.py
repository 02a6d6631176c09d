"""Inputs as people write them: `good/*` are whole trees, `bad/*` are changes to `good/base`.

In a folder of `bad`, a file replaces that of `good/base`, a file `<name>.removed` removes it, and
`expected.txt` holds what `modelyard validate` must say. `python -m tests.corpus` writes these anew; read the
difference.
"""

import shutil
from pathlib import Path

from modelyard.spec.load import validate

CORPUS = Path(__file__).parent
EXPECTED = "expected.txt"
REFRESH = ".venv/bin/python -m tests.corpus"
GOOD = sorted(path for path in (CORPUS / "good").iterdir() if path.is_dir())
BAD = sorted(path for path in (CORPUS / "bad").iterdir() if path.is_dir())


def build(case: Path, root: Path) -> Path:
    """Write the tree of a bad case under `root`."""
    shutil.copytree(CORPUS / "good" / "base", root, dirs_exist_ok=True)
    for source in sorted(path for path in case.rglob("*") if path.is_file() and path.name != EXPECTED):
        target = root / source.relative_to(case)
        if source.suffix == ".removed":
            target.with_suffix("").unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return root


def told(root: Path) -> str:
    """Return what is told of a tree, a line each problem."""
    return "".join(f"{problem}\n" for problem in validate(root))
