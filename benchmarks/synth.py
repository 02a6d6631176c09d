"""Measures synthesis of the real app: `make bench-synth`.

Fleets are made of the example teams: each team gets one REST, one batch and one streaming model of theirs.
Written to `build/bench/synth.json` and printed:

- `one_team_seconds`: one team's stack, the whole process, median of three runs.
- `one_team_speedup`: the same with the stock bindings, the faster of two runs, over `one_team_seconds`. The
  output of both must be the same to the byte.
- `hundred_teams_seconds`: every stack of one environment with 100 teams.
- `hundred_teams_peak_mb`: the largest sum over that run's processes of the memory they use (PSS, Linux).
- `growth`: time of 100 teams over time of 50.

Absolute times drift with the machine; ratios are of runs in one go. Caches are warmed first.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modelyard.spec.manifest import digest_of
from modelyard.toolchain import tool_environment

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = "dev"
PATTERNS = ("rest", "batch", "streaming")
OUT = ROOT / "build" / "bench"
ONE_TEAM = f"{ENVIRONMENT}-team-fleet-001"
GOALS = {"one_team_speedup": (12, 1e9), "hundred_teams_seconds": (0, 60), "hundred_teams_peak_mb": (0, 600)}
GOALS["growth"] = (0, 2.2)


class Example(NamedTuple):
    """A model of an example team."""

    team: Mapping[str, Any]
    model: Mapping[str, Any]
    manifest: Mapping[str, Any]


class Run(NamedTuple):
    """One run of the app."""

    seconds: float
    peak_mb: float


def examples() -> list[Example]:
    """Return one model of each pattern from the example teams."""
    found: dict[str, Example] = {}
    for file in sorted((ROOT / "teams").glob("*/team.yaml")):
        team = yaml.safe_load(file.read_text(encoding="utf-8"))
        for model in team["models"]:
            manifest = json.loads((file.parent / f"{model['name']}.json").read_text(encoding="utf-8"))
            plain = {key: value for key, value in model.items() if key != "canary"}
            found.setdefault(model["pattern"], Example(team, plain, manifest))
    return [found[pattern] for pattern in PATTERNS]


def write_fleet(folder: Path, teams: int) -> Path:
    """Write a workspace of `teams` teams and one environment; return its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "environments").mkdir(parents=True)
    shutil.copy(ROOT / "environments" / f"{ENVIRONMENT}.yaml", folder / "environments")
    chosen = examples()
    for number in range(1, teams + 1):
        name = f"fleet-{number:03}"
        home = folder / "teams" / name
        home.mkdir(parents=True)
        team = {key: chosen[0].team[key] for key in ("owners", "cost_center")}
        team |= {"team": name, "models": [example.model for example in chosen]}
        (home / "team.yaml").write_text(yaml.safe_dump(team, sort_keys=False), encoding="utf-8")
        for example in chosen:
            manifest = {**example.manifest, "team": name}
            manifest["digest"] = digest_of(manifest)
            (home / f"{example.model['name']}.json").write_text(
                json.dumps(manifest, indent=2), encoding="utf-8"
            )
    return folder


def synthesize(workspace: Path, stacks: str, out: Path, bindings: str = "auto") -> Run:
    """Run the app once; raise CalledProcessError if it fails."""
    shutil.rmtree(out, ignore_errors=True)
    own = {"MODELYARD_ROOT": workspace, "MODELYARD_STACKS": stacks, "MODELYARD_BINDINGS": bindings}
    environment = (
        tool_environment(ROOT) | {key: str(value) for key, value in own.items()} | {"CDKTF_OUTDIR": str(out)}
    )
    command = [sys.executable, "-m", "stacks"]
    peak = 0.0
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    while True:
        try:
            code = process.wait(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, sum(map(memory_mb, family(process.pid))))
    seconds = time.perf_counter() - started
    if code:
        raise subprocess.CalledProcessError(code, command)
    print(
        f"  {stacks} of {workspace.name}, {bindings}: {seconds:.2f} s, {peak:.0f} MB",
        file=sys.stderr,
        flush=True,
    )
    return Run(seconds, peak)


def family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants; on Linux alone those are known."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # it has ended
            continue
        for child in found:
            yield from family(int(child))


def memory_mb(pid: int) -> float:
    """Return what a process uses of memory, its share of shared pages included; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of all files under `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main() -> int:
    """Measure, write and print the results; return 1 if the bindings' outputs differ."""
    os.environ.pop("MODELYARD_BINDINGS", None)
    fleets = {teams: write_fleet(OUT / f"fleet-{teams}", teams) for teams in (1, 50, 100)}

    print("One team's stack, to warm the caches, then measured:", file=sys.stderr)
    lazy, stock = OUT / "out-lazy", OUT / "out-stock"
    synthesize(fleets[1], ONE_TEAM, lazy)
    one = statistics.median(synthesize(fleets[1], ONE_TEAM, lazy).seconds for _ in range(3))
    slow = min(synthesize(fleets[1], ONE_TEAM, stock, "stock").seconds for _ in range(2))
    if files(lazy) != files(stock):
        print(f"The outputs differ: compare {lazy} and {stock}.", file=sys.stderr)
        return 1

    print("All stacks of one environment:", file=sys.stderr)
    fifty = synthesize(fleets[50], f"{ENVIRONMENT}-*", OUT / "out-50")
    hundred = synthesize(fleets[100], f"{ENVIRONMENT}-*", OUT / "out-100")
    results = {
        "one_team_seconds": round(one, 2),
        "one_team_speedup": round(slow / one, 1),
        "hundred_teams_seconds": round(hundred.seconds, 1),
        "hundred_teams_peak_mb": round(hundred.peak_mb) or None,
        "growth": round(hundred.seconds / fifty.seconds, 2),
    }
    for name, (least, most) in GOALS.items():
        value = results[name]
        if value is None:
            print(f"{name} was not measured: it needs Linux's /proc.", file=sys.stderr)
        elif not least <= value <= most:
            print(f"{name} misses its goal: {value} is not in {least:g} to {most:g}.", file=sys.stderr)
    (OUT / "synth.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
