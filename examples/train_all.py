"""Train the example models and publish them to the registry.

Run `python -m examples.train_all`, or name some: `--only pricing/vehicle-price@2`.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from modelyard.capture import PublishError


def scripts() -> dict[str, str]:
    """Return the training scripts as model -> module, in the order of their names."""
    return {
        f"{file.parent.name}/{file.stem.removeprefix('train_')}".replace("_", "-"): (
            f"examples.{file.parent.name}.{file.stem}"
        )
        for file in sorted(Path(__file__).parent.glob("*/train_*.py"))
    }


def chosen(only: Sequence[str]) -> Iterator[tuple[ModuleType, int]]:
    """Yield the scripts and versions that `only` names: `team/model` or `team/model@version`; empty: all.

    Raises:
        ValueError: a name is unknown.
    """
    known = scripts()
    for name in only or known:
        model, at, version = name.partition("@")
        if model not in known:
            raise ValueError(f"--only: unknown model {model}; known are {', '.join(known)}")
        script = importlib.import_module(known[model])
        if at and version not in map(str, script.VERSIONS):
            versions = ", ".join(map(str, script.VERSIONS))
            raise ValueError(f"--only: {model} has no version {version}; it has {versions}")
        for each in [int(version)] if at else script.VERSIONS:
            yield script, each


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.train_all")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEAM/MODEL[@VERSION]", help="train this; may repeat"
    )
    options = parser.parse_args(arguments)
    published = None
    try:
        for script, version in list(chosen(options.only)):
            begin = time.monotonic()
            published = script.train(version)
            print(f"{published}  ({time.monotonic() - begin:.1f} s)", flush=True)
    except (PublishError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if published:
        print(f"registry: {published.registry}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
