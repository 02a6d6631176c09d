"""Brings `promtool` from Debian's package `prometheus` into `.cache/prometheus`, without root.

Run as `python3 -m scripts.prometheus`. Where it is installed, or was brought before, there is nothing to do;
where there is no apt, it says so, and the tests that need it are skipped with that reason. apt checks the
package's signature; its lists are kept apart from the system's, which only root may renew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".cache" / "prometheus" / "promtool"
PACKAGE = "prometheus"


def find() -> str | None:
    """Return the path of promtool, or None."""
    installed = shutil.which("promtool")
    return installed or (str(PLACE) if PLACE.is_file() else None)


def bring(place: Path = PLACE) -> str | None:
    """Bring promtool to `place`; return why that is not possible, or None."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "there is no apt-get here; install Prometheus, so that promtool is on PATH"
    with tempfile.TemporaryDirectory() as folder:
        lists, cache = Path(folder) / "lists", Path(folder) / "cache"
        for made in (lists / "partial", cache / "archives" / "partial"):
            made.mkdir(parents=True)
        options = [f"Dir::State::Lists={lists}", f"Dir::Cache={cache}", "Debug::NoLocking=1"]
        options.append("APT::Sandbox::User=")
        apt = ["apt-get", "-qq", *(part for option in options for part in ("-o", option))]
        try:
            for command in (["update"], ["download", PACKAGE]):
                subprocess.run([*apt, *command], cwd=folder, check=True, capture_output=True, timeout=300)
            (package,) = Path(folder).glob(f"{PACKAGE}_*.deb")
            subprocess.run(["dpkg-deb", "-x", package, "all"], cwd=folder, check=True, capture_output=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = place.with_name(f".{place.name}.{Path(folder).name}")
            shutil.copy2(Path(folder) / "all" / "usr" / "bin" / "promtool", temporary)
            temporary.replace(place)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip()
            return f"Debian's package {PACKAGE} cannot be brought: {said or error}"
    return None


def main() -> int:
    """Bring promtool if it is missing, or say why not: the tests go without it."""
    if find():
        return 0
    print("Bringing promtool", flush=True)
    if reason := bring():
        print(f"Conditions are not tried with Prometheus: {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
