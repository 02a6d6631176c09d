"""`modelyard serve` and `modelyard score`: the images' own code as processes of this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.local import Choice, Folders, choose, settings
from modelyard.spec.base import Pattern


def serve(
    root: Path,
    target: str,
    *,
    port: int,
    environment: str | None,
    registry: Path,
    warehouse: Path | None,
) -> int:
    """Serve REST models until Ctrl-C; return the server's exit code.

    Raises:
        CommandError: there is no such model, or its files are missing.
        SpecError: an input has problems.
    """
    choice = choose(root, target, pattern=Pattern.REST, environment=environment, registry=registry)
    folders = Folders.of(root, registry, warehouse)
    log = folders.log / choice.team.team
    log.mkdir(parents=True, exist_ok=True)
    with settings(choice, folders) as config:
        _tell(choice, folders, port)
        return run_image(
            "rest",
            ["serve", "--host=127.0.0.1"],
            {
                "MODELYARD_CONFIG": str(config),
                "MODELYARD_LOG_DIR": str(log),
                "MODELYARD_PORT": str(port),
                # No gateway needs time to learn that this server goes.
                "MODELYARD_DRAIN_SECONDS": "0",
            },
        )


def score(
    root: Path,
    target: str,
    *,
    source: Path | None,
    key: str | None,
    environment: str | None,
    registry: Path,
    warehouse: Path | None,
) -> int:
    """Score a batch model's table, or Parquet files in its place; return the scorer's exit code.

    Raises:
        CommandError: there is no such model, or its files are missing.
        SpecError: an input has problems.
    """
    choice = choose(root, target, pattern=Pattern.BATCH, environment=environment, registry=registry)
    folders = Folders.of(root, registry, warehouse)
    log = folders.log / choice.team.team
    log.mkdir(parents=True, exist_ok=True)
    options = [f"--source={source.absolute()}"] if source else []
    options += [f"--key={key}"] if key else []
    with settings(choice, folders) as config:
        return run_image(
            "batch",
            ["score", *options],
            {"MODELYARD_CONFIG": str(config), "MODELYARD_LOG_DIR": str(log)},
        )


def run_image(image: str, arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run an image's entry point until it ends; who stops this process stops it, as in the cluster."""
    command = [sys.executable, "-m", f"serving_images.{image}", *arguments]
    with subprocess.Popen(command, env={**os.environ, **env}) as process:
        # A terminal tells both of Ctrl-C; others tell this process alone. What is under way is finished.
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
        }
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _tell(choice: Choice, folders: Folders, port: int) -> None:
    for chosen in choice.versions:
        model, version = chosen.model.name, chosen.manifest.version
        role = "canary" if chosen.canary else "stable"
        print(
            f"{choice.team.team}/{model}@{version} ({role}): http://127.0.0.1:{port}/models/{model}/predict"
        )
    print(f"API: http://127.0.0.1:{port}/openapi.json; rows go to {folders.warehouse}", flush=True)
