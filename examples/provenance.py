"""Where a model version comes from: the commit, what was uncommitted, and the packages the code imports."""

import ast
import hashlib
import os
import platform
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from examples.errors import PublishError
from modelyard.spec.manifest import Dependencies, TrainingCode

ROOT = Path(__file__).resolve().parents[1]


def code(entry_point: Path) -> TrainingCode:
    """Return the state of the checkout that holds `entry_point`.

    Raises:
        PublishError: this is no git checkout with a commit, so the version could not be traced.
    """
    diff = _git("diff", "--no-ext-diff", "--no-color", "--binary", "HEAD")
    untracked = _git("ls-files", "-z", "--others", "--exclude-standard").decode().split("\0")[:-1]
    changes = hashlib.sha256(diff)
    for name in sorted(untracked):
        changes.update(name.encode() + b"\0" + hashlib.sha256((ROOT / name).read_bytes()).digest())
    dirty = bool(diff or untracked)
    return TrainingCode(
        repository=_repository(),
        commit=_git("rev-parse", "HEAD").decode().strip(),
        dirty=dirty,
        diff_digest=f"sha256:{changes.hexdigest()}" if dirty else None,
        entry_point=entry_point.resolve().relative_to(ROOT).as_posix(),
    )


def created() -> datetime:
    """Return the time of the commit, or `SOURCE_DATE_EPOCH`: the same code gives the same manifest."""
    stamp = os.environ.get("SOURCE_DATE_EPOCH") or _git("show", "-s", "--format=%ct", "HEAD").decode()
    return datetime.fromtimestamp(int(stamp), UTC)


def dependencies(entry_point: Path) -> Dependencies:
    """Return the versions of the packages that `entry_point`, and the code here that it uses, import."""
    modules = _imports(entry_point, seen=set())
    packages = {
        package
        for module, names in metadata.packages_distributions().items()
        if module in modules
        for package in names
    }
    return Dependencies(
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in sorted(packages)},
    )


def package_url(package: str, table: str) -> str:
    """Return the package URL of `table` in an installed Python package."""
    return f"pkg:pypi/{package}@{metadata.version(package)}#{table}"


def _imports(file: Path, seen: set[Path]) -> set[str]:
    """Return the modules from elsewhere that `file` imports, also through other files of this checkout."""
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
            path = ROOT / module.replace(".", "/")
            local = [f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()]
            if not local and not (ROOT / module.partition(".")[0]).is_dir():
                found.add(module.partition(".")[0])
            for each in local:
                if each not in seen:
                    found |= _imports(each, seen)
    return found - sys.stdlib_module_names


def _repository() -> str:
    """Return the origin's address without credentials, or the project's name if there is none to share."""
    configured = _git("config", "--default", "", "--get", "remote.origin.url").decode().strip()
    address = urlsplit(configured)
    if address.scheme in ("https", "http", "ssh", "git") and address.hostname:
        return f"{address.scheme}://{address.hostname}{address.path}"
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"])


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise PublishError("git is not installed; a version records the commit that trained it") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().strip()
        raise PublishError(f"a version records the commit that trained it, but git says: {reason}") from None
