"""Builds and starts container images with docker, podman or buildah, whichever works on this machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# User and group that pods run as.
USER = 65532


class ImageError(Exception):
    """An image cannot be built or started. The message says why, and how to mend it."""


@dataclass(frozen=True)
class Build:
    """One image to build."""

    tag: str
    dockerfile: Path
    context: Path
    contexts: Mapping[str, Path]
    arguments: Mapping[str, str]
    epoch: int
    """Seconds since 1970 that files and layers are stamped with: the same content is the same image."""


@dataclass(frozen=True)
class Container:
    """Commands on one container."""

    start: list[str]
    """Runs it to its end."""
    stop: list[str]
    """Tells its first process to stop; empty: whoever started it tells that process itself."""
    remove: list[str]
    """Removes what is left of it."""


class Builder(Protocol):
    """A program that builds and starts images."""

    name: str

    def pull(self, reference: str) -> bool:
        """Return whether an image is there or can be fetched."""

    def build(self, build: Build) -> str:
        """Build an image; return its digest. Raises ImageError."""

    def size(self, tag: str) -> int:
        """Return the size of an image in bytes."""

    def push(self, tag: str, reference: str) -> str:
        """Push an image; return the digest that the registry gives it. Raises ImageError."""

    def container(
        self, tag: str, arguments: Sequence[str], *, mounts: Mapping[Path, str], env: Mapping[str, str]
    ) -> Container:
        """Return the commands on a container that runs as pods run it.

        The network is the machine's. `arguments` replace entry point and command.
        """


def run(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command whose output is asked for."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def shown(command: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a command whose output is shown only when it fails. Raises ImageError."""
    finished = subprocess.run(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if finished.returncode:
        tail = "\n".join(finished.stdout.splitlines()[-30:])
        raise ImageError(f"{' '.join(command[:3])} failed:\n{tail}")


class Docker:
    """Docker with BuildKit, or podman, which takes the same words."""

    def __init__(self, name: str) -> None:
        self.name = name

    def works(self) -> bool:
        """Return whether there is one and, for docker, a daemon that answers."""
        words = ["version", "--format", "{{.Server.Version}}"] if self.name == "docker" else ["info"]
        return bool(shutil.which(self.name)) and run([self.name, *words]).returncode == 0

    def pull(self, reference: str) -> bool:  # noqa: D102 - as in Builder
        present = run([self.name, "image", "inspect", reference]).returncode == 0
        return present or run([self.name, "pull", "--quiet", reference]).returncode == 0

    def build(self, build: Build) -> str:  # noqa: D102
        stamp = [] if self.name == "docker" else [f"--timestamp={build.epoch}"]
        command = [self.name, "build", *_options(build), *stamp, str(build.context)]
        shown(command, {"DOCKER_BUILDKIT": "1", "SOURCE_DATE_EPOCH": str(build.epoch)})
        return self._inspect(build.tag, "{{.Id}}" if self.name == "docker" else "{{.Digest}}")

    def size(self, tag: str) -> int:  # noqa: D102
        return int(self._inspect(tag, "{{.Size}}"))

    def push(self, tag: str, reference: str) -> str:  # noqa: D102
        shown([self.name, "tag", tag, reference], {})
        shown([self.name, "push", reference], {})
        repository = reference.rpartition(":")[0]
        pushed = json.loads(self._inspect(reference, "{{json .RepoDigests}}"))
        return next(str(name).partition("@")[2] for name in pushed if name.startswith(f"{repository}@"))

    def container(  # noqa: D102
        self, tag: str, arguments: Sequence[str], *, mounts: Mapping[Path, str], env: Mapping[str, str]
    ) -> Container:
        name = f"modelyard-start-{os.getpid()}-{os.urandom(4).hex()}"
        locked = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        volumes = [f"--volume={path}:{target}" for path, target in mounts.items()]
        variables = [f"--env={key}={value}" for key, value in env.items()]
        start = [self.name, "run", "--rm", f"--name={name}", "--network=host", f"--user={USER}:{USER}"]
        words = [*start, *locked, *volumes, *variables, f"--entrypoint={arguments[0]}", tag, *arguments[1:]]
        return Container(
            words, [self.name, "kill", "--signal=TERM", name], [self.name, "rm", "--force", name]
        )

    def _inspect(self, tag: str, what: str) -> str:
        finished = run([self.name, "image", "inspect", "--format", what, tag])
        if finished.returncode:
            raise ImageError(f"{self.name} does not find {tag}: {finished.stderr.strip()}")
        return finished.stdout.strip()


class Buildah:
    """Buildah, which needs no daemon. As root in a container it works without namespaces of its own."""

    name = "buildah"

    def __init__(self) -> None:
        # What works everywhere, unless somebody chose better.
        self._env = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"} if os.geteuid() == 0 else {}
        self._env = {key: os.environ.get(key, value) for key, value in self._env.items()}

    def works(self) -> bool:
        """Return whether there is one that can keep images."""
        return bool(shutil.which("buildah")) and self._run("images", "--quiet").returncode == 0

    def pull(self, reference: str) -> bool:  # noqa: D102
        present = self._run("inspect", "--type=image", reference).returncode == 0
        return present or self._run("pull", "--quiet", reference).returncode == 0

    def build(self, build: Build) -> str:  # noqa: D102
        stamp = f"--timestamp={build.epoch}"
        shown(["buildah", "build", *_options(build), stamp, str(build.context)], self._env)
        return str(self._inspect(build.tag)["FromImageDigest"])

    def size(self, tag: str) -> int:  # noqa: D102
        listed = json.loads(self._run("images", "--json", tag).stdout)
        return _bytes(str(listed[0]["size"]))

    def push(self, tag: str, reference: str) -> str:  # noqa: D102
        digest = Path(os.environ.get("TMPDIR", "/tmp")) / f"modelyard-digest-{os.getpid()}"
        try:
            shown(["buildah", "push", f"--digestfile={digest}", tag, f"docker://{reference}"], self._env)
            return digest.read_text().strip()
        finally:
            digest.unlink(missing_ok=True)

    def container(  # noqa: D102
        self, tag: str, arguments: Sequence[str], *, mounts: Mapping[Path, str], env: Mapping[str, str]
    ) -> Container:
        # Without namespaces the root file system cannot be made read-only; its files are root's all the same.
        made = self._run("from", "--pull-never", tag)
        if made.returncode:
            raise ImageError(f"buildah does not start {tag}: {made.stderr.strip()}")
        container = made.stdout.strip()
        prefix = ["env", *(f"{key}={value}" for key, value in self._env.items()), "buildah"]
        volumes = [f"--volume={path}:{target}" for path, target in mounts.items()]
        variables = [f"--env={key}={value}" for key, value in env.items()]
        words = [*prefix, "run", f"--user={USER}:{USER}", *volumes, *variables, container, "--", *arguments]
        return Container(words, [], [*prefix, "rm", container])

    def image_from(self, folder: Path, tag: str) -> None:
        """Make an image of the files in `folder`. Raises ImageError."""
        made = self._run("from", "scratch")
        container = made.stdout.strip()
        try:
            shown(["buildah", "add", "--quiet", container, str(folder), "/"], self._env)
            shown(["buildah", "commit", "--quiet", "--timestamp=0", container, tag], self._env)
        finally:
            self._run("rm", container)

    def _inspect(self, tag: str) -> dict[str, object]:
        finished = self._run("inspect", "--type=image", tag)
        if finished.returncode:
            raise ImageError(f"buildah does not find {tag}: {finished.stderr.strip()}")
        found: dict[str, object] = json.loads(finished.stdout)
        return found

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(["buildah", *words], env={**os.environ, **self._env})


def _options(build: Build) -> list[str]:
    contexts = [f"--build-context={name}={path}" for name, path in build.contexts.items()]
    arguments = [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
    return [f"--file={build.dockerfile}", f"--tag={build.tag}", *contexts, *arguments]


def _bytes(size: str) -> int:
    number, unit = size.split()
    return int(float(number) * {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}[unit.upper()])


def find(wanted: str | None = None) -> Docker | Buildah:
    """Return the builder that is asked for, or the first that works. Raises ImageError."""
    builders: list[Docker | Buildah] = [Docker("docker"), Docker("podman")]
    if sys.platform == "linux":
        builders.append(Buildah())
    for builder in builders:
        if wanted in (None, builder.name) and builder.works():
            return builder
    names = wanted or "docker, podman or buildah"
    raise ImageError(
        f"No {names} works here. Start docker's daemon, or install one: apt-get install buildah"
        " builds without a daemon."
    )
