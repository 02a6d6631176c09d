"""The linters and the type checker: `make lint` runs these commands, and so do the tests."""

import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports", "--no-logo"],
}


def run(name: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run one of `COMMANDS` on the checkout at `root`, its output in one text."""
    program, *arguments = COMMANDS[name]
    return subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def main() -> int:
    """Run them all; returns 1 if any has findings."""
    failed = []
    for name in COMMANDS:
        finished = run(name, Path(__file__).resolve().parent.parent)
        print(f"{name}: {finished.stdout.strip()}")
        failed += [name] if finished.returncode else []
    if failed:
        print(f"Not clean: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
