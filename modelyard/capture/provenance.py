"""Where a model version comes from: the commit, what was uncommitted, the machine, the time."""

import ast
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from modelyard.capture import installed
from modelyard.capture.errors import PublishError
from modelyard.spec.manifest import Dependencies, TrainingCode, TrainingEnvironment

_HERE = Path(__file__).resolve().parents[1]
_PIECE = 1 << 20
_SHORT = re.compile(r"(?:[^@/\s]+@)?(?P<host>[A-Za-z0-9.-]{2,}):(?!//)(?P<path>[^\s?#]+)")
# What changed in a submodule, not that something did; and no setting of this user's that changes the text.
_WHOLE = ("--submodule=diff", "--no-textconv", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/")
# Git's own variables, of a hook for example, would have it look at another checkout.
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def entry_point() -> Path:
    """Return the file of the code that called into this package, or the working folder of a notebook."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _HERE in Path(frame.f_code.co_filename).resolve().parents:
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    return file.resolve() if file.is_file() else Path.cwd()


def checkout(entry: Path) -> Path:
    """Return the root of the git checkout that holds `entry`.

    Raises:
        PublishError: it is in none, so the version could not be traced.
    """
    folder = entry if entry.is_dir() else entry.parent
    return Path(_git(folder, "rev-parse", "--show-toplevel").decode().rstrip("\n"))


def code(entry: Path) -> TrainingCode:
    """Return the state of the checkout that holds `entry`; ignored files do not count.

    Raises:
        PublishError: this is no git checkout with a commit, so the version could not be traced.
    """
    root = checkout(entry)
    changes = hashlib.sha256()
    # A changed file of gigabytes is no reason to need as much memory.
    differs = _hashed(root, changes, "diff", "--no-ext-diff", "--no-color", "--binary", *_WHOLE, "HEAD")
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")[:-1]
    for name in sorted(untracked):
        changes.update(name + b"\0" + _digest(root / os.fsdecode(name)))
    dirty = bool(differs or untracked)
    return TrainingCode(
        repository=_repository(root),
        commit=_git(root, "rev-parse", "HEAD").decode().strip(),
        dirty=dirty,
        diff_digest=f"sha256:{changes.hexdigest()}" if dirty else None,
        entry_point=entry.resolve().relative_to(root.resolve()).as_posix(),
    )


def _digest(path: Path) -> bytes:
    """Return the digest of a file that git does not know."""
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(os.readlink(path))).digest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (FileNotFoundError, IsADirectoryError):  # gone in the meantime, or a checkout in this one
        return hashlib.sha256(b"").digest()
    except OSError as error:
        raise PublishError(
            f"A version records uncommitted changes, but {path} cannot be read: {error.strerror}. Let it be "
            "read, commit it, or name it in .gitignore"
        ) from None


def created() -> datetime:
    """Return the time, to the second; or `SOURCE_DATE_EPOCH`, for builds that must repeat."""
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(stamp), UTC) if stamp else datetime.now(UTC).replace(microsecond=0)


def environment() -> TrainingEnvironment:
    """Return facts about this machine that may matter to a result, and none that name it."""
    release = re.match(r"\d+(\.\d+)?", platform.release())
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return TrainingEnvironment(
        system=f"{platform.system()} {release[0] if release else ''}".strip(),
        machine=platform.machine(),
        processors=processors,
        image=os.environ.get("MODELYARD_IMAGE", ""),
    )


def dependencies(entry: Path, model: object) -> Dependencies:
    """Return the versions of the packages that `entry`, and the code beside it that it uses, import.

    The model's own package is always among them. The bill of materials lists all that is installed.
    """
    modules = {type(model).__module__.partition(".")[0]}
    if entry.is_file():
        root = checkout(entry)
        modules |= _imports(entry, root, seen=set())
    else:  # a notebook: what it has imported so far
        modules |= {
            name.partition(".")[0] for name, module in vars(sys.modules["__main__"]).items() if module
        }
        modules |= {
            module.__name__.partition(".")[0]
            for module in vars(sys.modules["__main__"]).values()
            if type(module) is type(sys)
        }
    packages = {
        package
        for module, names in installed.packages_by_module().items()
        if module in modules and len(names) < 10  # more share a namespace, such as google
        for package in names
    }
    return Dependencies(
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in sorted(packages)},
    )


def package_url(package: str, table: str) -> str:
    """Return the package URL of `table` in an installed Python package, as the source of training data."""
    return f"pkg:pypi/{package}@{metadata.version(package)}#{table}"


def _imports(file: Path, root: Path, seen: set[Path]) -> set[str]:
    """Return the modules from elsewhere that `file` imports, also through other files of its checkout."""
    seen.add(file)
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            if module.partition(".")[0] == "modelyard":
                continue  # its own needs are none of the model's
            paths = [folder / module.replace(".", "/") for folder in (root, file.parent)]
            local = [
                f for path in paths for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()
            ]
            if not local and not (root / module.partition(".")[0]).is_dir():
                found.add(module.partition(".")[0])
            for each in local:
                if each not in seen:
                    found |= _imports(each, root, seen)
    return found - sys.stdlib_module_names


def _repository(root: Path) -> str:
    """Return the origin's address without credentials, or the project's name if there is none to share."""
    configured = _git(root, "config", "--default", "", "--get", "remote.origin.url").decode().strip()
    if short := _SHORT.fullmatch(configured):  # as git writes ssh addresses
        return f"ssh://{short['host']}/{short['path'].lstrip('/')}"
    address = urlsplit(configured)
    if address.scheme in ("https", "http", "ssh", "git") and address.hostname:
        return f"{address.scheme}://{address.hostname}{address.path}"
    try:
        return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["name"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return root.name


def _git(folder: Path, *arguments: str) -> bytes:
    with tempfile.TemporaryFile() as said:
        with _started(folder, said, arguments) as process:
            assert process.stdout is not None
            output = process.stdout.read()
        _check(process, said, folder, arguments)
    return output


def _hashed(folder: Path, digest: Any, *arguments: str) -> bool:
    """Add what git says to a digest, piece by piece; return whether it says anything."""
    anything = False
    with tempfile.TemporaryFile() as said:
        with _started(folder, said, arguments) as process:
            assert process.stdout is not None
            while piece := process.stdout.read(_PIECE):
                digest.update(piece)
                anything = True
        _check(process, said, folder, arguments)
    return anything


def _started(folder: Path, said: IO[bytes], arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    variables = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=variables)
    except FileNotFoundError:
        raise PublishError("git is not installed; a version records the commit that trained it") from None


def _check(process: subprocess.Popen[bytes], said: IO[bytes], folder: Path, arguments: Sequence[str]) -> None:
    if process.returncode == 0:
        return
    said.seek(0)
    reason = said.read().decode(errors="replace").partition("\n")[0] or f"`git {' '.join(arguments)}` failed"
    raise PublishError(
        f"A version records the commit that trained it, but git says about {folder}: {reason}. "
        "Commit the training code first"
    )
