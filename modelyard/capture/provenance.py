"""Where a model version comes from: the commit, what was uncommitted, the machine, the time."""

import ast
import hashlib
import os
import platform
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.capture import installed
from modelyard.capture.errors import PublishError
from modelyard.spec.manifest import Dependencies, TrainingCode, TrainingEnvironment

_HERE = Path(__file__).resolve().parents[1]


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
    diff = _git(root, "diff", "--no-ext-diff", "--no-color", "--binary", "HEAD")
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard").decode().split("\0")[:-1]
    changes = hashlib.sha256(diff)
    for name in sorted(untracked):
        changes.update(name.encode() + b"\0" + hashlib.sha256(_content(root / name)).digest())
    dirty = bool(diff or untracked)
    return TrainingCode(
        repository=_repository(root),
        commit=_git(root, "rev-parse", "HEAD").decode().strip(),
        dirty=dirty,
        diff_digest=f"sha256:{changes.hexdigest()}" if dirty else None,
        entry_point=entry.resolve().relative_to(root.resolve()).as_posix(),
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):  # gone in the meantime, or a checkout in this one
        return b""


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
    address = urlsplit(configured)
    if address.scheme in ("https", "http", "ssh", "git") and address.hostname:
        return f"{address.scheme}://{address.hostname}{address.path}"
    try:
        return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["name"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return root.name


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise PublishError("git is not installed; a version records the commit that trained it") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().partition("\n")[0] or f"`git {' '.join(arguments)}` failed"
        raise PublishError(
            f"A version records the commit that trained it, but git says about {folder}: {reason}. "
            "Commit the training code first"
        ) from None
