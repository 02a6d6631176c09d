"""The streaming image's entry point: `python -m serving_images.streaming work`."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from serving_images.runtime.errors import run
from serving_images.runtime.pages import port
from serving_images.streaming.service import Settings, work


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code: 0, 1 where messages were left, 2 where settings are wrong."""
    parser = argparse.ArgumentParser(prog="serving_images.streaming", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("work", help="score messages until told to stop")
    command.add_argument("--config", type=Path, help="model.json; default: what MODELYARD_CONFIG names")
    command.add_argument("--log", type=Path, help="folder of the log; default: what MODELYARD_LOG_DIR names")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    given = {name: value for name in ("config", "log") if (value := getattr(options, name))}
    return run(lambda: work(replace(Settings(port=port()), **given)))


if __name__ == "__main__":
    sys.exit(main())
