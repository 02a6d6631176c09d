"""The demo's second part: models are trained, published, pinned, served, asked, traced and watched.

All of it runs the code of the images and of the example teams, as processes of this machine.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.markup import escape

from cli import local
from cli.pin import pin
from modelyard.spec.base import Pattern
from modelyard.spec.load import load_environment, load_team, team_names

Tell = Callable[[str], None]
Step = Callable[[str], AbstractContextManager[Tell]]
FLIGHTS = 5000
TEAM, MODEL = "flight-ops", "arrival-delay"
PATIENCE = 60.0
_READY = re.compile(r"serving .* on (http://\S+)")
# What training depends on: while these stay, so do the models.
_TRAINED_BY = (
    "examples/**/*.py",
    "modelyard/capture/**/*.py",
    "modelyard/spec/manifest.py",
    "requirements.txt",
)


class ModelsError(Exception):
    """A step did not do what it shows. The message says which, and where its output is."""


@dataclass(frozen=True)
class World:
    """Where the demo's things are."""

    root: Path
    """The checkout."""
    workspace: Path
    """The demo's copy of `environments/` and `teams/`."""
    folder: Path
    environment: str
    step: Step
    say: Callable[[str], None]

    @property
    def trained(self) -> Path:
        """Folder of the registry and the table of versions, kept while the training stays as it is."""
        digest = hashlib.sha256()
        for pattern in _TRAINED_BY:
            for path in sorted(self.root.glob(pattern)):
                digest.update(f"{path.relative_to(self.root)}\n".encode())
                digest.update(path.read_bytes())
        return self.root / ".modelyard" / "demo" / digest.hexdigest()[:12]

    @property
    def warehouse(self) -> Path:
        """The local warehouse."""
        return self.folder / "warehouse"

    @property
    def watched(self) -> Path:
        """The warehouse of the replayed flights, which the monitors read."""
        return self.folder / "replay"

    @property
    def log(self) -> Path:
        """What the demo's processes say."""
        return self.folder / "models.log"

    def variables(self, **more: object) -> dict[str, str]:
        """Return the environment variables of the demo's processes."""
        own = {
            "MODELYARD_ROOT": self.workspace,
            "MODELYARD_REGISTRY": self.trained / "registry",
            "MODELYARD_WAREHOUSE": self.warehouse,
            "MODELYARD_LOG_DIR": self.folder / "log",
            "MODELYARD_CACHE": self.folder / "cache",
            "PYTHONPATH": self.root,
        }
        return os.environ | {key: str(value) for key, value in {**own, **more}.items()}

    def pinned(self) -> list[tuple[str, int, bool]]:
        """Return (team/model, version, whether it is a canary) of all pinned versions."""
        environment = load_environment(self.workspace, self.environment)
        found = []
        for name in team_names(self.workspace):
            for model in load_team(self.workspace, name, environment).models:
                found.append((f"{name}/{model.name}", model.spec.version, False))
                if model.spec.canary:
                    found.append((f"{name}/{model.name}", model.spec.canary.version, True))
        return found


class Training:
    """The training of all pinned versions, which goes on while the infrastructure is deployed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._done = world.trained / "done"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Training":
        world = self._world
        world.trained.parent.mkdir(parents=True, exist_ok=True)
        # Two demos of one checkout share what is trained; the second waits and finds it.
        self._lock = world.trained.parent.with_suffix(".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if not self._done.is_file():
            # What an older training made, or one that was cut short.
            shutil.rmtree(world.trained.parent, ignore_errors=True)
            world.trained.mkdir(parents=True)
            chosen = [f"--only={name}@{version}" for name, version, _ in world.pinned()]
            self._process = _started(
                world,
                ["-m", "examples.train_all", *chosen],
                world.variables(MODELYARD_WAREHOUSE=world.trained / "warehouse", MODELYARD_ROOT=world.root),
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            _end(self._process)
        self._lock.close()

    def finish(self, tell: Tell) -> bool:
        """Wait for the end; return whether there was anything to train.

        Raises:
            ModelsError: the training failed.
        """
        if self._process is None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            return False
        for line in _lines(self._world, self._process):
            tell(line.partition(" published")[0])
        if self._process.returncode:
            raise ModelsError(f"the training failed. The log is {self._world.log}.")
        self._done.touch()
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return True


def run(world: World, training: Training, record: Callable[[], None]) -> None:
    """Show the steps; `record` notes who deployed what is pinned then.

    Raises:
        ModelsError: one of them failed.
    """
    with world.step("Train the example models on public data, and publish them") as tell:
        trained = training.finish(tell)
    shutil.copytree(world.trained / "warehouse", world.warehouse, dirs_exist_ok=True)
    _show_published(world, trained)
    _pin(world)
    record()
    with _serving(world) as url:
        prediction_id = _ask(world, url)
        fault_since = _replay(world, url)
    _trace(world, prediction_id)
    _watch(world, fault_since)


def _show_published(world: World, trained: bool) -> None:
    for name, version, _ in world.pinned():
        path = world.trained / "registry" / name / str(version) / "manifest.json"
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        value = metrics["values"][metrics["primary"]]
        world.say(
            f"    {name}@{version}: {metrics['primary']} {value:.4g} on {metrics['rows']:,} held-out rows"
        )
    if not trained:
        world.say(f"    trained before and unchanged since: {world.trained.relative_to(world.root)}")


def _pin(world: World) -> None:
    pinned = world.pinned()
    with world.step(f"Pin {len(pinned)} published versions: modelyard pin TEAM/MODEL@VERSION"):
        for name, version, canary in pinned:
            registry = world.trained / "registry"
            pin(world.workspace, f"{name}@{version}", as_canary=canary, registry_folder=registry)


@contextmanager
def _serving(world: World) -> Iterator[str]:
    """Serve all pinned REST models by the REST image's code; yield its address."""
    registry = world.trained / "registry"
    folders = local.Folders(registry, world.warehouse, world.folder / "log")
    settings = world.folder / "settings"
    names = []
    with world.step("Serve the REST models from the image's own code: modelyard serve TEAM"):
        for team in team_names(world.workspace):
            if not any(name.startswith(f"{team}/") for name in _rest(world)):
                continue
            choice = local.choose(
                world.workspace, team, pattern=Pattern.REST, environment=world.environment, registry=registry
            )
            local.write(choice, folders, settings)
            names += [f"{team}/{each.model.name}@{each.manifest.version}" for each in choice.versions]
        variables = world.variables(MODELYARD_CONFIG=settings, MODELYARD_DRAIN_SECONDS=0, MODELYARD_PORT=0)
        process = _started(world, ["-m", "serving_images.rest", "serve", "--host=127.0.0.1"], variables)
        try:
            lines = _lines(world, process)
            ready = next((found for line in lines if (found := _READY.search(line))), None)
        except BaseException:
            _end(process)
            raise
    if ready is None:
        _end(process)
        raise ModelsError(f"the server ended with {process.returncode}. The log is {world.log}.")
    world.say(f"    {', '.join(names)}")
    try:
        yield ready[1]
    finally:
        _end(process)


def _rest(world: World) -> list[str]:
    environment = load_environment(world.workspace, world.environment)
    return [
        f"{team}/{model.name}"
        for team in team_names(world.workspace)
        for model in load_team(world.workspace, team, environment).models
        if model.spec.pattern is Pattern.REST
    ]


def _ask(world: World, url: str) -> str:
    """Send real flights, and show the log growing; return the id of one prediction."""
    said: dict[str, Any] = {"sent": 0, "failed": 0, "prediction_id": ""}
    with world.step(f"Ask {TEAM}/{MODEL} about {FLIGHTS:,} flights of October 2013 and later") as tell:
        command = ["-m", "examples.traffic", f"--url={url}", f"--rows={FLIGHTS}", "--json"]
        process = _started(world, command, world.variables())
        try:
            for line in _lines(world, process):
                if line.startswith("{"):
                    said = json.loads(line)
                    tell(f"{said['sent']:,} answered, {_logged(world):,} in the log")
        finally:
            _end(process)
        deadline = time.monotonic() + PATIENCE
        while (logged := _logged(world)) < said["sent"] and time.monotonic() < deadline:
            tell(f"{said['sent']:,} answered, {logged:,} in the log")
            time.sleep(0.2)
    if process.returncode or said["failed"] or logged != said["sent"]:
        raise ModelsError(
            f"{said['sent']} flights were sent, {said['failed']} failed, {logged} are in the log {world.log}."
        )
    world.say(f"    {said['sent']:,} answered, {logged:,} in the log, none lost")
    return str(said["prediction_id"])


def _logged(world: World) -> int:
    import pyarrow.parquet as pq

    folders = world.warehouse.glob(f"*/*_predictions/{MODEL.replace('-', '_')}")
    files = (path for folder in folders for path in folder.glob("day=*/[!.]*.parquet"))
    return sum(pq.read_metadata(path).num_rows for path in files)


def _trace(world: World, prediction_id: str) -> None:
    with world.step(f"Trace one of them: modelyard trace {prediction_id}"):
        lines = list(_command(world, ["trace", prediction_id]))
    for line in lines:
        if line.strip():
            world.say(f"    {escape(line.rstrip())}")


def _replay(world: World, url: str) -> datetime:
    """Log seven weeks of flights, at their end with a fault; return when that began."""
    with world.step("Replay seven weeks of flights; in the last two days a feed upstream is empty"):
        command = ["-m", "examples.replay", f"--url={url}", f"--root={world.workspace}"]
        command += [f"--warehouse={world.watched}", "--fault=feed", "--fault-days=2"]
        process = _started(world, command, world.variables())
        try:
            said = [line for line in _lines(world, process) if line.startswith("{")]
        finally:
            _end(process)
    if process.returncode or not said:
        raise ModelsError(f"the replay failed. The log is {world.log}.")
    found = json.loads(said[-1])
    since = datetime.fromisoformat(found["fault_since"]).astimezone(UTC)
    world.say(f"    {found['rows']:,} flights; the fault begins {since:%Y-%m-%d %H:%M} UTC")
    return since


def _watch(world: World, fault_since: datetime) -> None:
    """Run the monitors before and under the fault, and show what they tell.

    Raises:
        ModelsError: they tell something of the healthy days, or nothing of the fault.
    """
    runs = (
        ("Run the monitors on five healthy days", fault_since - timedelta(days=5), fault_since),
        ("Run the monitors on ten hours of the fault", fault_since, fault_since + timedelta(hours=10)),
    )
    for faulty, (title, begin, end) in enumerate(runs):
        with world.step(title):
            at = f"{end + timedelta(minutes=10):%Y-%m-%dT%H:%M:%SZ}"
            command = ["-m", "serving_images.monitor", "run", f"--at={at}", f"--team={TEAM}"]
            command += [f"--since={begin:%Y-%m-%dT%H:%M:%SZ}", f"--environment={world.environment}"]
            process = _started(world, command, world.variables(MODELYARD_WAREHOUSE=world.watched))
            try:
                said = [json.loads(line) for line in _lines(world, process) if line.startswith("{")]
            finally:
                _end(process)
        if process.returncode or not said:
            raise ModelsError(f"the monitor job failed. The log is {world.log}.")
        alerts = json.loads("".join(_command(world, ["alerts", "--json"], world.watched)))
        world.say(f"    {said[-1]['values']:,} values measured, {_many(len(alerts), 'alert')} open")
        if bool(alerts) != bool(faulty):
            raise ModelsError(f"{_many(len(alerts), 'alert')} should not be. The log is {world.log}.")
    for alert in alerts:
        with world.step(f"modelyard alerts show {alert['alert_id']}"):
            lines = _command(world, ["alerts", "show", alert["alert_id"]], world.watched)
        for line in lines:
            world.say(f"    {escape(line)}")


def _many(count: int, noun: str) -> str:
    return f"no {noun}" if not count else f"{count} {noun}{'' if count == 1 else 's'}"


def _command(world: World, words: Sequence[str], warehouse: Path | None = None) -> list[str]:
    """Run `modelyard`; return the lines it printed. Raises ModelsError."""
    variables = world.variables(COLUMNS=120, **({"MODELYARD_WAREHOUSE": warehouse} if warehouse else {}))
    finished = subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    with world.log.open("a", encoding="utf-8") as log:
        log.write(finished.stdout + finished.stderr)
    if finished.returncode:
        raise ModelsError(f"modelyard {words[0]} ended with {finished.returncode}: {finished.stderr.strip()}")
    return finished.stdout.splitlines()


def _started(world: World, arguments: Sequence[str], variables: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=world.root,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _lines(world: World, process: "subprocess.Popen[str]") -> Iterator[str]:
    """Yield what a process prints, as it comes, and keep it in the log."""
    assert process.stdout is not None
    with world.log.open("a", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            log.flush()
            yield line.rstrip("\n")
    process.wait()


def _end(process: "subprocess.Popen[str]") -> None:
    """Stop a process that still runs, and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
    process.communicate()
