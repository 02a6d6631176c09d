import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import prometheus


def test_without_apt_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no apt-get here" in str(prometheus.bring(tmp_path / "promtool"))
    assert not (tmp_path / "promtool").exists()


def test_a_package_that_cannot_be_fetched_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("apt-get", "dpkg-deb"):
        (tmp_path / name).write_text("#!/bin/sh\necho no network >&2\nexit 100\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert str(prometheus.bring(tmp_path / "to" / "promtool")).endswith("cannot be brought: no network")
    assert not (tmp_path / "to").exists()


def test_the_program_of_a_package_is_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("dpkg-deb"):
        pytest.skip("there is no dpkg-deb here to build a package with")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: prometheus\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: x\n"
    )
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "promtool").write_text("#!/bin/sh\necho promtool 1\n")
    (tree / "usr" / "bin" / "promtool").chmod(0o755)
    package = tmp_path / "prometheus_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(package)], check=True, capture_output=True)
    # In the place of Debian's server: what apt-get would have put into the folder it is called in.
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apt-get").write_text(f'#!/bin/sh\ncase "$*" in *download*) cp {package} . ;; esac\n')
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    place = tmp_path / "to" / "promtool"
    assert prometheus.bring(place) is None
    assert subprocess.run([place], capture_output=True, text=True, check=True).stdout == "promtool 1\n"
    assert [path.name for path in place.parent.iterdir()] == ["promtool"]
