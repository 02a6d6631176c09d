"""The REST image's entry point: `python -m serving_images.rest serve`."""

import argparse
import math
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from serving_images.runtime.config import config_path, log_folder
from serving_images.runtime.errors import Refused, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the models that the settings name, until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving_images.rest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="serve models over HTTP")
    serving.add_argument(
        "--config",
        type=Path,
        default=config_path(),
        help="model.json, or a folder of several [MODELYARD_CONFIG]",
    )
    serving.add_argument(
        "--log", type=Path, default=log_folder(), help="folder of the prediction log [MODELYARD_LOG_DIR]"
    )
    serving.add_argument(
        "--host", default=os.environ.get("MODELYARD_HOST", "0.0.0.0"), help="[MODELYARD_HOST]"
    )
    serving.add_argument("--port", type=_port, default=_port(os.environ.get("MODELYARD_PORT", "8080")))
    serving.add_argument(
        "--drain-seconds",
        type=_seconds,
        default=_seconds(os.environ.get("MODELYARD_DRAIN_SECONDS", "10")),
        help="between SIGTERM and accepting no more [MODELYARD_DRAIN_SECONDS]",
    )
    serving.add_argument(
        "--log-bytes", type=int, default=1 << 30, help="disk for log rows that are not yet sent"
    )
    serving.add_argument("--request-seconds", type=_seconds, default=20.0, help="for a request to arrive")
    chosen = parser.parse_args(arguments)
    return run(lambda: _serve(chosen))


def _serve(chosen: argparse.Namespace) -> int:
    from serving_images.rest.http import Limits
    from serving_images.rest.server import Settings, serve

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a descriptor for each connection
    return serve(
        Settings(
            host=chosen.host,
            port=chosen.port,
            config=chosen.config,
            log=chosen.log,
            log_bytes=chosen.log_bytes,
            drain_seconds=chosen.drain_seconds,
            limits=Limits(request_seconds=chosen.request_seconds),
        )
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise Refused(f"'{text}' is no port; MODELYARD_PORT is 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise Refused(
            f"'{text}' is no time; MODELYARD_DRAIN_SECONDS and --request-seconds are seconds, such as 10"
        )
    return seconds


if __name__ == "__main__":
    sys.exit(run(main))
