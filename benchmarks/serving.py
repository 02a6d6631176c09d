"""Measures the REST image beside other servers: `make bench-serving`.

All serve the same XGBoost model, 100 trees over 20 features, for requests of one row. Each server has the
first core alone; wrk asks on another core, over 16 connections. Rounds are shuffled, and whoever is not
measured is stopped. Figures are medians of rounds; absolute ones drift with the machine.

Written to `build/bench/serving.json` and printed:

- `rps_over_mlserver`, `rps_over_kserve`, `rps_over_fastapi`: requests per second, this server with its
  durable log over MLServer 1.7.1 with its XGBoost runtime, KServe's SDK 0.21 with onnxruntime, and FastAPI
  with onnxruntime.
- `limit_ratio`: the same over a bare asyncio.Protocol with onnxruntime, which checks and logs nothing.
- `logging_overhead_pct`: requests per second that the log costs, of this server without its log.
- `cpu_us_per_request`: processor time of the server; that of the log's processes is in `detail`.
- `start_seconds`: from the start of the process to the first `/readyz` that is 200.
- `pss_mb`: memory of the server and the log's processes together after the load, shared pages by share.

The log's processes, which make rows durable and send them to local Parquet, share wrk's core.

Sixteen connections keep a server busy that does not wait for a disk. One that does has a part of them
waiting, so `many_connections` says the same of the first three over 64.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
WORK = OUT / "serving"
PEERS = ROOT / "benchmarks" / "serving_peers"
FEATURES = 20
CONNECTIONS = 16
MANY_CONNECTIONS = 64
TICK = os.sysconf("SC_CLK_TCK")
ROW = [round(((n * 37) % 41) / 20.5 - 1, 4) for n in range(FEATURES)]
# MLServer listens on three.
PORTS = {"HTTP": "", "GRPC": "_1", "METRICS": "_2"}
GOALS = {
    "rps_over_mlserver": (12.0, True),
    "rps_over_kserve": (9.0, True),
    "limit_ratio": (0.65, True),
    "logging_overhead_pct": (12.0, False),
    "start_seconds": (2.0, False),
    "pss_mb": (100.0, False),
}


@dataclass
class Subject:
    """A server to measure.

    Attributes:
        name: in the results.
        command: starts it; `{port}` is its port.
        path: where it takes requests.
        body: a request of one row.
        environment: variables of its own.
        folder: where it runs.
    """

    name: str
    command: Sequence[str]
    path: str
    body: Any
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    ready: str = ""
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    rounds: list[dict[str, float]] = field(default_factory=list)

    def start(self, core: int) -> None:
        """Start it on one core; return when it answers."""
        self.port = _free_port()
        ports = {"port": self.port, "port_1": _free_port(), "port_2": _free_port()}
        log = (WORK / f"{self.name}.log").open("wb")
        begun = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *(part.format(port=self.port) for part in self.command)],
            cwd=self.folder,
            env=os.environ
            | {"OMP_NUM_THREADS": "1"}
            | {k: v.format(**ports) for k, v in self.environment.items()},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        while time.monotonic() - begun < 180:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                status = self._get(self.ready)[0] if self.ready else self.ask()[0]
                if status == 200:
                    self.started = time.monotonic() - begun
                    return
            time.sleep(0.02)
        raise SystemExit(f"{self.name} does not start; see {log.name}")

    def ask(self) -> tuple[int, Any]:
        """Ask once; return status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", self.path, json.dumps(self.body), {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def processes(self) -> list[int]:
        """Return the ids of its processes, its own first, then those that it has started."""
        parents: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        found = [self.process.pid] if self.process else []
        for pid in found:  # it grows while it is walked
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def stop(self) -> None:
        """End it and all that it started."""
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped, it starts nothing again
            self.signal(number)
        if self.process:
            self.process.wait()


def prepare() -> Path:
    """Train the model; write it in both formats, and this server's settings. Return the settings' file."""
    import numpy as np
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    shutil.rmtree(WORK, ignore_errors=True)
    registry = WORK / "registry"
    place = registry / "bench" / "trees" / "1"
    place.mkdir(parents=True)
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(20_000, FEATURES)).astype(np.float32)
    target = rows[:, 0] * 2 + np.sin(rows[:, 1]) + rows[:, 2] * rows[:, 3]
    booster = xgboost.train({"max_depth": 6, "seed": 1}, xgboost.DMatrix(rows, target), 100)
    shapes = [("input", FloatTensorType([None, FEATURES]))]
    (place / "online.onnx").write_bytes(
        convert_xgboost(booster, initial_types=shapes, target_opset=15).SerializeToString()
    )
    booster.save_model(place / "model.ubj")
    booster.save_model(place / "model.json")

    def artifact(name: str, kind: str) -> dict[str, Any]:
        content = (place / name).read_bytes()
        return {
            "uri": f"bench/trees/1/{name}",
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
            "format": kind,
            "size_bytes": len(content),
        }

    features = [{"name": f"x{n}", "type": "float64", "range": [-6.0, 6.0]} for n in range(FEATURES)]
    settings = {
        "format": "modelyard.container/1",
        "team": "bench",
        "model": "trees",
        "version": 1,
        "pattern": "rest",
        "task": "regression",
        "registry": str(registry),
        "artifact": artifact("model.ubj", "xgboost"),
        "online": artifact("online.onnx", "onnx"),
        "signature": {"features": features, "prediction": {"name": "y", "type": "float64"}},
        "log": {"table": "bench.predictions.trees"},
        "warehouse": str(WORK / "warehouse"),
    }
    path = WORK / "model.json"
    path.write_text(json.dumps(settings))
    mlserver = WORK / "mlserver"
    mlserver.mkdir()
    (mlserver / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "trees",
                "implementation": "mlserver_xgboost.XGBoostModel",
                "parameters": {"uri": str(place / "model.json")},
            }
        )
    )
    return path


def subjects(settings: Path) -> list[Subject]:
    """Return the servers to measure; this one first, the limit second."""
    here = str(ROOT / ".venv" / "bin" / "python")
    kserve = str(ROOT / ".venv-kserve" / "bin" / "python")
    place = WORK / "registry" / "bench" / "trees" / "1"
    named = {"instances": [{f"x{n}": value for n, value in enumerate(ROW)}]}
    tensor = {"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}
    ours = ["serve", "--config", str(settings), "--log", str(WORK / "log"), "--host", "127.0.0.1"]
    cache = {"MODELYARD_CACHE": str(WORK / "cache")}
    listed = {"instances": [ROW]}
    return [
        Subject(
            "modelyard",
            [here, "-m", "serving_images.rest", *ours, "--port", "{port}"],
            "/predict",
            named,
            cache,
            ready="/readyz",
        ),
        Subject("limit", [here, str(PEERS / "limit.py"), str(place / "online.onnx"), "{port}"], "/", named),
        Subject(
            "modelyard-unlogged",
            [here, "-m", "benchmarks.serving_peers.unlogged", str(settings), "{port}"],
            "/predict",
            named,
            cache,
        ),
        Subject(
            "fastapi",
            [kserve, str(PEERS / "fastapi_onnx.py"), str(place / "online.onnx"), "{port}"],
            "/predict",
            named,
        ),
        Subject(
            "kserve-onnx",
            [kserve, str(PEERS / "kserve_model.py"), "onnx", str(place / "online.onnx"), "{port}"],
            "/v1/models/trees:predict",
            listed,
        ),
        Subject(
            "kserve-xgboost",
            [kserve, str(PEERS / "kserve_model.py"), "xgboost", str(place / "model.ubj"), "{port}"],
            "/v1/models/trees:predict",
            listed,
        ),
        Subject(
            "mlserver-xgboost",
            [str(ROOT / ".venv-mlserver" / "bin" / "mlserver"), "start", "."],
            "/v2/models/trees/infer",
            {"inputs": [tensor]},
            {f"MLSERVER_{kind}_PORT": "{port" + plus + "}" for kind, plus in PORTS.items()},
            folder=WORK / "mlserver",
        ),
    ]


def measure(
    subject: Subject, seconds: int, cores: tuple[int, int], connections: int = CONNECTIONS
) -> dict[str, float]:
    """Put load on a server; return requests per second, latencies in ms, processor time per request in us."""
    script = WORK / f"{subject.name}.lua"
    body = json.dumps(subject.body)
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\nwrk.headers['Content-Type'] = 'application/json'\n"
    )
    pids = subject.processes()
    for pid in filter(_is_of_log, pids):
        os.sched_setaffinity(pid, {cores[1]})
    before = {pid: _cpu_seconds(pid) for pid in pids}
    out = subprocess.run(
        [
            *("taskset", "-c", str(cores[1]), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"),
            *("--latency", "-s", str(script), f"http://127.0.0.1:{subject.port}{subject.path}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    used = {pid: _cpu_seconds(pid) - before[pid] for pid in pids}
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"{subject.name} did not answer all requests:\n{out}")
    requests = int(_found(r"(\d+) requests in", out))
    log = sum(cpu for pid, cpu in used.items() if _is_of_log(pid))
    return {
        "rps": float(_found(r"Requests/sec:\s+([\d.]+)", out)),
        "p50_ms": _milliseconds(_found(r"\n\s+50%\s+(\S+)", out)),
        "p99_ms": _milliseconds(_found(r"\n\s+99%\s+(\S+)", out)),
        "cpu_us": (sum(used.values()) - log) / requests * 1e6,
        "log_cpu_us": log / requests * 1e6,
    }


def start_seconds(settings: Path, runs: int, core: int) -> float:
    """Return how long this server takes to start, the median of some runs."""
    times = []
    for _ in range(runs):
        subject = subjects(settings)[0]
        shutil.rmtree(WORK / "log", ignore_errors=True)
        try:
            subject.start(core)
            times.append(subject.started)
        finally:
            subject.stop()
    shutil.rmtree(WORK / "log", ignore_errors=True)
    return statistics.median(times)


def pss_mb(pid: int) -> float:
    """Return a process's memory, pages that others share counted by share, in MB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


@contextlib.contextmanager
def running(chosen: Sequence[Subject], core: int) -> Iterator[None]:
    """Start servers, and stop each until it is measured; end them."""
    try:
        for subject in chosen:
            subject.start(core)
            status, answer = subject.ask()
            print(f"  {subject.name}: started in {subject.started:.1f} s", flush=True)
            if status != 200 or abs(_prediction(answer) - _prediction(chosen[0].ask()[1])) > 1e-4:
                raise SystemExit(f"{subject.name} does not answer as {chosen[0].name} does: {answer}")
            if subject is not chosen[0]:
                subject.signal(signal.SIGSTOP)
        yield
    finally:
        for subject in chosen:
            subject.stop()


def run(rounds: int, seconds: int) -> dict[str, Any]:
    """Measure; return the results."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the server, one for wrk")
    pair = (cores[0], cores[1])
    settings = prepare()
    starting = start_seconds(settings, 5, pair[0])
    chosen = subjects(settings)
    ours, limit, unlogged = chosen[:3]
    order = random.Random(1)
    with running(chosen, pair[0]):
        ours.signal(signal.SIGSTOP)
        memory: dict[str, list[float]] = {subject.name: [] for subject in chosen}
        for number in range(rounds):
            for subject in order.sample(chosen, len(chosen)):
                subject.signal(signal.SIGCONT)
                measure(subject, 1, pair)  # warms caches and connections
                result = measure(subject, seconds, pair)
                memory[subject.name].append(sum(map(pss_mb, subject.processes())))
                subject.rounds.append(result)
                subject.signal(signal.SIGSTOP)
                print(f"  round {number + 1}, {subject.name}: {result['rps']:,.0f} requests/s", flush=True)
        many: dict[str, list[float]] = {subject.name: [] for subject in (ours, limit, unlogged)}
        for _ in range(rounds):
            for subject in order.sample([ours, limit, unlogged], 3):
                subject.signal(signal.SIGCONT)
                measure(subject, 1, pair, MANY_CONNECTIONS)
                many[subject.name].append(measure(subject, seconds, pair, MANY_CONNECTIONS)["rps"])
                subject.signal(signal.SIGSTOP)
        split = [(_is_of_log(pid), pss_mb(pid)) for pid in ours.processes()]
    detail = {
        subject.name: {
            **{key: round(_median(subject, key), 2) for key in subject.rounds[0]},
            "start_seconds": round(subject.started, 2),
            "pss_mb": round(statistics.median(memory[subject.name]), 1),
            "rounds_rps": [round(each["rps"]) for each in subject.rounds],
        }
        for subject in chosen
    }
    detail[ours.name]["server_pss_mb"] = round(sum(size for of_log, size in split if not of_log), 1)
    detail[ours.name]["log_pss_mb"] = round(sum(size for of_log, size in split if of_log), 1)
    at_many = {name: statistics.median(rounds) for name, rounds in many.items()}
    over_many = {
        "connections": MANY_CONNECTIONS,
        "rps": round(at_many[ours.name]),
        "limit_ratio": round(at_many[ours.name] / at_many[limit.name], 3),
        "logging_overhead_pct": round((1 - at_many[ours.name] / at_many[unlogged.name]) * 100, 1),
    }
    rps = {subject.name: _median(subject, "rps") for subject in chosen}
    mine = rps[ours.name]
    return {
        "rps_over_mlserver": round(mine / rps["mlserver-xgboost"], 2),
        "rps_over_kserve": round(mine / rps["kserve-onnx"], 2),
        "rps_over_fastapi": round(mine / rps["fastapi"], 2),
        "limit_ratio": round(mine / rps[limit.name], 3),
        "logging_overhead_pct": round((1 - mine / rps[unlogged.name]) * 100, 1),
        "cpu_us_per_request": round(_median(ours, "cpu_us"), 1),
        "start_seconds": round(starting, 2),
        "pss_mb": detail[ours.name]["pss_mb"],
        "many_connections": over_many,
        "detail": detail,
    }


def main() -> int:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description="Measure the REST image beside other servers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of load, per server and round")
    chosen = parser.parse_args()
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            print(
                f"bench-serving needs {program}: on Debian, `apt-get install wrk util-linux`", file=sys.stderr
            )
            return 2
    results = run(chosen.rounds, chosen.seconds)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "serving.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, figures in results["detail"].items():
        print(
            f"{name:20} {figures['rps']:>9,.0f} requests/s, p50 {figures['p50_ms']:.2f} ms, p99 "
            f"{figures['p99_ms']:.2f} ms, processor {figures['cpu_us']:,.0f} us, {figures['pss_mb']:.0f} MB"
        )
    for name, value in results.items():
        if name != "detail":
            goal, more = GOALS.get(name, (None, True))
            said = f"  (goal {'at least' if more else 'at most'} {goal:g})" if goal is not None else ""
            print(f"{name}: {value}{said}")
    return 0


def _median(subject: Subject, key: str) -> float:
    return statistics.median(each[key] for each in subject.rounds)


def _prediction(answer: Any) -> float:
    values = answer["outputs"][0]["data"] if "outputs" in answer else answer["predictions"]
    return float(values[0])


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    return 0.0


def _is_of_log(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"prediction_log" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"wrk did not say {pattern}:\n{text}")
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
