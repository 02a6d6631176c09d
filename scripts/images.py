"""Builds the serving images and starts each once: `make images`.

Packages are fetched to this machine by the hashes of each image's lock file, with this machine's settings
of pip; the builds themselves reach for no index. Where no registry can be reached for the base image, one is
made of Debian's packages by debootstrap. Run as `python -m scripts.images [rest] [batch] ...`.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts import start_images
from scripts.builders import Build, Buildah, Builder, Docker, ImageError, find, run, shown

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ("rest", "batch", "streaming", "monitor")
REPORT = Path("build/images.json")
# What the images run on: these bases' Python, and wheels for any C library from Debian 10 on.
PYTHON = "3.11"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 16, -1)] + ["manylinux2014_x86_64"]
SUITE = "bookworm"
LOCAL = {"BUILD_IMAGE": "localhost/modelyard-build", "BASE_IMAGE": "localhost/modelyard-base"}
PACKAGES = ("python3", "python3-venv", "ca-certificates", "libgomp1")
# What only the build stage needs.
INSTALLERS = ("python3-venv", "python3.11-venv", "python3-pip-whl", "python3-setuptools-whl")


def dockerfile(image: str) -> Path:
    """Return the path of an image's Dockerfile."""
    return ROOT / "serving_images" / image / "Dockerfile"


def lock(image: str) -> Path:
    """Return the path of an image's lock file."""
    return ROOT / "serving_images" / image / "requirements.txt"


def wheels(image: str) -> Path:
    """Fetch what an image's lock file names, unless it is there; return the folder. Raises ImageError."""
    folder = ROOT / ".cache" / "wheels" / image
    stamp, wanted = folder / ".lock", hashlib.sha256(lock(image).read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    command += [f"--requirement={lock(image)}", f"--dest={folder}", "--only-binary=:all:", *platforms]
    command += ["--implementation=cp", f"--python-version={PYTHON}"]
    shown(command, {})
    stamp.write_text(wanted)
    return folder


def bases(builder: Builder, chosen: dict[str, str]) -> dict[str, str]:
    """Return the base images: the chosen ones, else those the Dockerfiles name, else ones made here.

    Raises:
        ImageError: there is none, and none can be made.
    """
    names = _defaults() | chosen
    missing = [reference for reference in names.values() if not builder.pull(reference)]
    if not missing:
        return names
    if chosen or not isinstance(builder, Buildah) or not shutil.which("debootstrap") or os.geteuid():
        raise ImageError(
            f"{builder.name} has no {' and no '.join(missing)}, and cannot fetch it. Name images that it"
            " has, with --build-image and --base-image; or let them be made here, as root, by buildah and"
            " debootstrap: apt-get install buildah debootstrap"
        )
    local = {name: f"{reference}:{SUITE}" for name, reference in LOCAL.items()}
    if not all(builder.pull(reference) for reference in local.values()):
        print(f"No registry gives {missing[0]}: making a base of Debian's packages, once")
        _bootstrap(builder, local)
    return local


def _defaults() -> dict[str, str]:
    lines = dockerfile("rest").read_text().splitlines()
    arguments = (line.removeprefix("ARG ").partition("=") for line in lines if line.startswith("ARG "))
    return {name: value for name, _, value in arguments if name in LOCAL}


def _bootstrap(builder: Buildah, local: dict[str, str]) -> None:
    folder = ROOT / "build" / "bases"
    root = folder / "root"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        included = f"--include={','.join(PACKAGES)}"
        shown(["debootstrap", "--variant=minbase", included, SUITE, str(root)], {})
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(root / leftover, ignore_errors=True)
        builder.image_from(root, local["BUILD_IMAGE"])
        shown(["chroot", str(root), "dpkg", "--purge", "--force-depends", *INSTALLERS], {})
        builder.image_from(root, local["BASE_IMAGE"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _git(*words: str) -> str:
    finished = run(["git", *words], cwd=ROOT)
    return finished.stdout.strip() if finished.returncode == 0 else ""


def build(builder: Builder, image: str, base: dict[str, str]) -> str:
    """Build one image; return its digest. Raises ImageError."""
    revision = _git("rev-parse", "HEAD") or "unknown"
    changed = _git("status", "--porcelain", "--", "serving_images", "modelyard", ".dockerignore")
    return builder.build(
        Build(
            tag=f"localhost/modelyard-{image}:latest",
            dockerfile=dockerfile(image),
            context=ROOT,
            contexts={"wheels": wheels(image)},
            arguments={**base, "REVISION": f"{revision}-dirty" if changed else revision},
            epoch=int(_git("log", "-1", "--format=%ct") or 0),
        )
    )


def record(path: Path, digests: Mapping[str, str]) -> None:
    """Write digests into the group `images` of an environment file, and leave all else as it is.

    Raises:
        ImageError: the file names no digest of one of them.
    """
    text = path.read_text(encoding="utf-8")
    for image, digest in digests.items():
        text, found = re.subn(rf"(?m)^(  {image}: )sha256:[0-9a-f]{{64}}", rf"\g<1>{digest}", text)
        if found != 1:
            raise ImageError(f"{path} has no line '  {image}: sha256:...' below images")
    path.write_text(text, encoding="utf-8")
    print(f"Written: {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, start, push and report."""
    parser = argparse.ArgumentParser(prog="python -m scripts.images", description=__doc__)
    parser.add_argument("images", nargs="*", metavar="image", help=f"{', '.join(IMAGES)}; default: all")
    parser.add_argument("--builder", choices=["docker", "podman", "buildah"])
    parser.add_argument("--build-image", help="image with Python and venv, for the build stage")
    parser.add_argument("--base-image", help="image with the same Python and no installer, to run on")
    parser.add_argument("--push", metavar="PREFIX", help="push to PREFIX/<image>, and report those digests")
    parser.add_argument("--tag", default="latest", help="tag to push")
    parser.add_argument(
        "--record", metavar="FILE", type=Path, help="environment file to write the digests to"
    )
    parser.add_argument("--no-start", action="store_true", help="build only")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.images) - set(IMAGES)):
        print(f"There is no image {', '.join(unknown)}; there are {', '.join(IMAGES)}", file=sys.stderr)
        return 2
    try:
        builder: Docker | Buildah = find(options.builder)
        chosen = {"BUILD_IMAGE": options.build_image, "BASE_IMAGE": options.base_image}
        base = bases(builder, {name: value for name, value in chosen.items() if value})
        report = {}
        for image in options.images or IMAGES:
            report[image] = _one(builder, image, base, options)
        if options.record:
            record(options.record, {image: str(said["digest"]) for image, said in report.items()})
    except ImageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: nothing was pushed that is not told above", file=sys.stderr)
        return 130
    path = ROOT / REPORT
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"builder": builder.name, "images": report}, indent=2) + "\n")
    print(f"Written: {REPORT}")
    return 0


def _one(
    builder: Builder, image: str, base: dict[str, str], options: argparse.Namespace
) -> dict[str, object]:
    started = time.monotonic()
    digest = build(builder, image, base)
    tag = f"localhost/modelyard-{image}:latest"
    size = builder.size(tag)
    built = time.monotonic() - started
    print(f"{image:10} {digest}  {size / 1e6:.0f} MB, built in {built:.0f} s", flush=True)
    if not options.no_start:
        said = start_images.start(builder, image, tag)
        print(f"{'':10} {said}", flush=True)
    if options.push:
        digest = builder.push(tag, f"{options.push}/{image}:{options.tag}")
        print(f"{'':10} pushed as {options.push}/{image}@{digest}", flush=True)
    return {"digest": digest, "size_bytes": size, "seconds": round(built, 1)}


if __name__ == "__main__":
    sys.exit(main())
