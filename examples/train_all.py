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

from examples.publish import PublishError, registry


def scripts() -> Iterator[ModuleType]:
    """Yield the training scripts, in order of their models' names."""
    for file in sorted(Path(__file__).parent.glob("*/train_*.py")):
        yield importlib.import_module(f"examples.{file.parent.name}.{file.stem}")


def versions(only: Sequence[str]) -> list[tuple[ModuleType, int]]:
    """Return the scripts and versions that `only` names: `team/model` or `team/model@version`; empty: all.

    Raises:
        ValueError: a name is unknown.
    """
    every = [(script, version) for script in scripts() for version in script.VERSIONS]
    called = {f"{script.NAME}@{version}" for script, version in every} | {script.NAME for script, _ in every}
    if unknown := [name for name in only if name not in called]:
        raise ValueError(f"--only: unknown {', '.join(unknown)}; known are {', '.join(sorted(called))}")
    return [
        (script, version)
        for script, version in every
        if not only or script.NAME in only or f"{script.NAME}@{version}" in only
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.train_all")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEAM/MODEL[@VERSION]", help="train this; may repeat"
    )
    options = parser.parse_args(arguments)
    try:
        for script, version in versions(options.only):
            begin = time.monotonic()
            print(f"{script.train(version)}  ({time.monotonic() - begin:.1f} s)", flush=True)
    except (PublishError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"registry: {registry()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
