"""Command line of the stand-in.

python -m plan_review.standin -- <command ...>   run a command with the stand-in beside it
python -m plan_review.standin mirror <folder>    write a mirror for plain `terraform init`
"""

from __future__ import annotations

import sys
from pathlib import Path

from plan_review.standin import NOTICE, launch, server, sources
from plan_review.standin.sources import StandinError

BAD_INPUT = 2


def main(arguments: list[str]) -> int:
    """Run one subcommand; returns the exit code."""
    try:
        match arguments:
            case ["--", _, *_]:
                return launch.run_command(arguments[1:])
            case ["mirror", folder]:
                configuration = launch.write_mirror(Path(folder))
                print(NOTICE, file=sys.stderr)
                print(f"TF_CLI_CONFIG_FILE={configuration}")
                return 0
            case ["serve"]:  # started by launch.running
                server.serve(sources.installed())
            case ["plugin", name] if name in (source.name for source in sources.ALL):  # started by Terraform
                server.serve_plugin(next(source for source in sources.ALL if source.name == name))
            case _:
                print((__doc__ or "").strip(), file=sys.stderr)
                return BAD_INPUT
    except (StandinError, OSError) as error:
        print(f"stand-in provider: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
