"""Starts an image once, as pods run it, with a small model that is published for that."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.builders import USER, Builder, Container, ImageError, run

if TYPE_CHECKING:
    from modelyard.naming import ModelNames

ROOT = Path(__file__).resolve().parent.parent
TEAM, MODEL = "smoke", "delay"
PATIENCE = 60.0
# Whether the image keeps what pods ask of it: another user than root, no installer, nothing to overwrite.
CHECK = f"""
import importlib.util, os, sys
wrong = [name for name in ("pip", "setuptools", "ensurepip._bundled") if name in sys.modules]
wrong += [name for name in ("pip", "setuptools") if importlib.util.find_spec(name)]
assert not wrong, f"installers are left: {{wrong}}"
assert (os.getuid(), os.getgid()) == ({USER}, {USER}), f"runs as {{os.getuid()}}"
for folder in ("/", "/app", "/usr", "/etc"):
    assert not os.access(folder, os.W_OK), f"{{folder}} can be written to"
"""


def start(builder: Builder, image: str, tag: str) -> str:
    """Start an image with a small model, and use it; return what it did, in words.

    Raises:
        ImageError: it did not do that.
    """
    # Below /tmp, so that another user may reach it.
    folder = Path(tempfile.mkdtemp(prefix="modelyard-image-"))
    try:
        world = World(builder, image, tag, folder)
        world.checked()
        return _STARTS[image](world)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class World:
    """A folder that stands for registry, warehouse and settings, and containers of one image on it."""

    def __init__(self, builder: Builder, image: str, tag: str, folder: Path) -> None:
        self.image = image
        self._builder, self._tag, self.folder = builder, tag, folder
        for name in ("registry", "warehouse", "log", "config", "tree"):
            (folder / name).mkdir()
        folder.chmod(0o755)
        self.mounts: dict[Path, str] = {
            folder / "registry": "/registry",
            folder / "warehouse": "/warehouse",
            folder / "log": "/var/lib/modelyard/log",
            folder / "config": "/etc/modelyard",
        }
        self.env = {"MODELYARD_CONFIG": "/etc/modelyard/model.json"}

    def checked(self) -> None:
        """Check user, files and installers. Raises ImageError."""
        self.ended(["-c", CHECK])

    def ended(self, arguments: Sequence[str]) -> str:
        """Run Python in the image to its end; return what it printed. Raises ImageError."""
        with self._running(arguments) as (process, _):
            try:
                out, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                raise ImageError(f"{self.image}: no end after {PATIENCE:.0f} s: {arguments}") from None
            if process.returncode:
                raise ImageError(f"{self.image} ended with {process.returncode}:\n{out}")
            return out

    @contextmanager
    def serving(self, arguments: Sequence[str], ready: Callable[[], bool]) -> Iterator[None]:
        """Run the image until the body is left, and check that it stops cleanly. Raises ImageError."""
        with self._running(arguments) as (process, container):
            deadline = time.monotonic() + PATIENCE
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise ImageError(f"{self.image} is not ready:\n{process.communicate()[0]}")
                time.sleep(0.1)
            yield
            if container.stop:
                run(container.stop)
            else:
                os.kill(_first_process(process.pid, self.image), signal.SIGTERM)
            try:
                out, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                raise ImageError(f"{self.image} does not stop when it is told to") from None
            if process.returncode:
                raise ImageError(f"{self.image} stopped with {process.returncode}:\n{out}")

    @contextmanager
    def _running(self, arguments: Sequence[str]) -> Iterator[tuple["subprocess.Popen[str]", Container]]:
        open_to_all(self.folder)
        container = self._builder.container(
            self._tag, ["python3", *arguments], mounts=self.mounts, env=self.env
        )
        process = subprocess.Popen(
            container.start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process, container
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            run(container.remove)

    def publish(self, pattern: str) -> "ModelNames":
        """Publish a small model, and write the settings by which the image finds it; return its names."""
        # Here, since they take a second or two to import.
        import pandas as pd
        from sklearn.linear_model import LinearRegression

        from modelyard.capture import publish
        from modelyard.naming import Names
        from modelyard.spec.container import Local, container_config, rendered
        from modelyard.spec.team import DeployedModel, Model

        data = pd.DataFrame(
            {"distance": [float(n) for n in range(100)], "late": [n % 7.0 for n in range(100)]}
        )
        data["delay"] = 2 * data["late"] + data["distance"] / 10
        model = LinearRegression().fit(data[["distance", "late"]], data["delay"])
        manifest = publish(
            model,
            name=f"{TEAM}/{MODEL}",
            data=data[:70],
            test=data[70:],
            target="delay",
            registry_at=self.folder / "registry",
            entry_point=Path(__file__),
        ).manifest
        data[["distance", "late"]].to_parquet(self.folder / "config" / "rows.parquet")
        spec = Model.model_validate({"name": MODEL, "pattern": pattern, "version": manifest.version})
        names = Names("dev", "example-dev", "1", "europe-west1", "EU", "example").team(TEAM).model(MODEL)
        config = container_config(
            DeployedModel(spec=spec, manifest=manifest),
            manifest,
            names,
            local=Local("/registry", "/warehouse"),
        )
        (self.folder / "config" / "model.json").write_text(rendered(config))
        return names

    def rows(self, table: str) -> int:
        """Return how many rows a table of the warehouse has."""
        import pyarrow.parquet as pq

        files = (self.folder / "warehouse").glob(f"*/*/{table}/**/*.parquet")
        return sum(pq.read_metadata(file).num_rows for file in files)


def open_to_all(folder: Path) -> None:
    """Let the image's user read and write what is in `folder`."""
    for path, _, names in os.walk(folder):
        os.chmod(path, 0o777)
        for name in names:
            os.chmod(Path(path) / name, 0o666)


def _first_process(ancestor: int, image: str) -> int:
    """Return the process below `ancestor` that runs the image's entry point."""
    waiting = [ancestor]
    while waiting:
        found = waiting.pop(0)
        words = Path(f"/proc/{found}/cmdline").read_bytes().split(b"\0")
        if words[0].endswith(b"python3") and f"serving_images.{image}".encode() in words:
            return found
        waiting += [int(child) for child in run(["pgrep", "--parent", str(found)]).stdout.split()]
    raise ImageError(f"{image} does not run")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answer(url: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def _rest(world: World) -> str:
    world.publish("rest")
    port = _free_port()
    world.env |= {"MODELYARD_PORT": str(port), "MODELYARD_DRAIN_SECONDS": "0", "MODELYARD_HOST": "127.0.0.1"}
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    with world.serving(["-m", "serving_images.rest", "serve"], lambda: _answer(f"{url}/readyz")[0] == 200):
        seconds = time.monotonic() - started
        status, body = _answer(f"{url}/predict", {"distance": 50.0, "late": 3.0})
        if status != 200 or abs(json.loads(body)["prediction"] - 11.0) > 1e-3:
            raise ImageError(f"rest answered {status}: {body.decode()}")
    if world.rows(MODEL) != 1:
        raise ImageError(f"rest logged {world.rows(MODEL)} rows of 1")
    return f"ready after {seconds:.1f} s, answered, logged, stopped"


def _batch(world: World) -> str:
    world.publish("batch")
    said = ["-m", "serving_images.batch", "score", "--source=/etc/modelyard/rows.parquet", "--run=smoke"]
    world.ended(said)
    scored, logged = world.rows(f"{MODEL}_predictions"), world.rows(MODEL)
    if (scored, logged) != (100, 100):
        raise ImageError(f"batch wrote {scored} predictions and {logged} log rows of 100")
    return "scored and logged 100 rows in 2 shards"


def _streaming(world: World) -> str:
    # The Pub/Sub that the tests run: Google's protocol, on this machine.
    import google.cloud.pubsub_v1 as pubsub_v1

    from tests.pubsub_server import PubSubServer

    names = world.publish("streaming")
    topics = f"projects/{names.team.project}/topics"
    source = f"{topics}/{names.topic}"
    port = _free_port()
    with PubSubServer() as server:
        for topic in (names.topic, names.predictions_topic, names.dead_letter_topic):
            server.topic(f"{topics}/{topic}")
        subscription = f"projects/{names.team.project}/subscriptions/{names.topic}"
        dead = f"{topics}/{names.dead_letter_topic}"
        server.subscription(subscription, source, dead_letters=dead, max_attempts=5)
        os.environ["PUBSUB_EMULATOR_HOST"] = server.address
        world.env |= {"MODELYARD_PORT": str(port), "PUBSUB_EMULATOR_HOST": server.address}
        ready = f"http://127.0.0.1:{port}/readyz"
        command = ["-m", "serving_images.streaming", "work"]
        with world.serving(command, lambda: _answer(ready)[0] == 200):
            client = pubsub_v1.PublisherClient()
            client.publish(source, json.dumps({"distance": 50.0, "late": 3.0}).encode()).result(PATIENCE)
            deadline = time.monotonic() + PATIENCE
            while not server.published(f"{topics}/{names.predictions_topic}"):
                if time.monotonic() > deadline:
                    raise ImageError("streaming published no prediction")
                time.sleep(0.1)
            client.stop()
    if world.rows(MODEL) != 1:
        raise ImageError(f"streaming logged {world.rows(MODEL)} rows of 1")
    return "took a message, published its prediction, logged, stopped"


def _monitor(world: World) -> str:
    world.publish("rest")
    team = world.folder / "tree" / "teams" / TEAM
    team.mkdir(parents=True)
    shutil.copytree(ROOT / "environments", world.folder / "tree" / "environments")
    manifest = next((world.folder / "registry").glob(f"{TEAM}/{MODEL}/*/manifest.json"))
    shutil.copyfile(manifest, team / f"{MODEL}.json")
    (team / "team.yaml").write_text(
        f"team: {TEAM}\nowners: {{group: {TEAM}@example.com, escalation: pager-flight-ops}}\n"
        f'cost_center: "1"\nmodels: [{{name: {MODEL}, pattern: rest, version: 1}}]\n'
    )
    for name in ("environments", "teams"):
        world.mounts[world.folder / "tree" / name] = f"/app/{name}"
    world.env |= {"MODELYARD_WAREHOUSE": "/warehouse"}
    said = json.loads(
        world.ended(["-m", "serving_images.monitor", "run", "--series=/warehouse/monitor.prom"]).splitlines()[
            -1
        ]
    )
    if said["failed"] or said["models"] != 1:
        raise ImageError(f"monitor measured {said}")
    return f"measured {said['models']} model: {said['values']} values, {said['series']} series"


_STARTS: dict[str, Callable[[World], str]] = {
    "rest": _rest,
    "batch": _batch,
    "streaming": _streaming,
    "monitor": _monitor,
}
