"""Brings model files to this machine and verifies them, in a process of its own.

A client of a cloud costs 70 MB and more, which a server would keep for ever; so a child fetches and verifies,
and ends. The server reads what the child leaves in the cache and compares its digest once more.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from serving_images.runtime.config import Artifact, Config, StoredFile
from serving_images.runtime.errors import EXIT_REFUSED, Refused, run

CACHE_VARIABLE = "MODELYARD_CACHE"
# A startup probe gives a pod two minutes.
TIMEOUT_SECONDS = 110

Kind = Literal["online", "native"]


class _Order(msgspec.Struct):
    key: str
    registry: str
    uri: str
    digest: str
    into: str
    bundle: StoredFile | None
    public_key: str


def wanted(config: Config, kind: Kind) -> Artifact:
    """Return the file that serves single rows (`online`) or the model's own (`native`).

    Raises:
        Refused: the version has no ONNX file for single rows.
    """
    return config.onnx if kind == "online" else config.artifact


def cache_folder() -> Path:
    """Return the folder that `MODELYARD_CACHE` names; default: one of this user's in the temporary folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / f"modelyard-{os.getuid()}"


def begin(configs: Sequence[Config], kind: Kind, cache: Path | None = None) -> Callable[[], dict[str, Path]]:
    """Start to fetch and verify the files of `configs`; return a function that waits for them.

    That returns path by `Config.key`, and raises Refused where a file is missing or not the registered one.
    """
    root = cache or cache_folder()
    orders = []
    for config in configs:
        file = wanted(config, kind)
        # By digest, so that what is fetched for one version can never pass for another's.
        into = (
            root / config.team / config.model / str(config.version) / file.digest.removeprefix("sha256:")[:16]
        )
        signing = config.signing
        orders.append(
            _Order(
                config.key,
                config.registry,
                file.uri,
                file.digest,
                str(into),
                signing.bundle if signing else None,
                signing.public_key if signing else "",
            )
        )
    child = subprocess.Popen(
        [sys.executable, "-m", "serving_images.runtime.artifact"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    def finish() -> dict[str, Path]:
        try:
            out, err = child.communicate(msgspec.json.encode(orders), timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise Refused(
                f"the model files did not arrive within {TIMEOUT_SECONDS} s: is the registry reachable?"
            ) from None
        if child.returncode:
            said = err.decode(errors="replace").strip()
            if child.returncode != EXIT_REFUSED:
                said = (
                    said.splitlines()[-1] if said else f"the fetching process ended with {child.returncode}"
                )
            raise Refused(said.removeprefix("modelyard: "))
        return {key: Path(path) for key, path in msgspec.json.decode(out, type=dict[str, str]).items()}

    return finish


def fetch(configs: Sequence[Config], kind: Kind, cache: Path | None = None) -> dict[str, Path]:
    """Return the verified files of `configs` by `Config.key`; see `begin`."""
    return begin(configs, kind, cache)()


def read(path: Path, artifact: Artifact) -> bytes:
    """Return the content of a fetched file.

    Raises:
        Refused: it is not the registered file any more.
    """
    content = path.read_bytes()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    if digest != artifact.digest:
        raise Refused(
            f"{path} has digest {digest}, registered is {artifact.digest}: it was changed in the cache"
        )
    return content


def _main() -> int:
    from modelyard import artifacts

    paths: dict[str, str] = {}
    for order in msgspec.json.decode(sys.stdin.buffer.read(), type=list[_Order]):
        into = Path(order.into)
        try:
            into.mkdir(parents=True, exist_ok=True, mode=0o700)
            if order.bundle:
                path = artifacts.fetch_signed(
                    order.registry,
                    order.uri,
                    order.digest,
                    into,
                    bundle_uri=order.bundle.uri,
                    bundle_digest=order.bundle.digest,
                    public_key=order.public_key,
                )
            else:
                path = artifacts.fetch(order.registry, order.uri, order.digest, into)
        except (artifacts.ArtifactError, OSError) as error:
            raise Refused(f"{order.key}: {error}") from None
        paths[order.key] = str(path)
    sys.stdout.buffer.write(msgspec.json.encode(paths))
    return 0


if __name__ == "__main__":
    sys.exit(run(_main))
