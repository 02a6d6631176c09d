"""Start, reload and stop of the server: what must be refused is, and no request is dropped."""

import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from tests.serving_images import sample
from tests.serving_images.rest.serving import Served, read_answer, refused, request, served


class Clients:
    """Threads that ask all the time, each on a connection that it keeps while the server lets it."""

    def __init__(self, server: Served, count: int = 4) -> None:
        self.server = server
        self.answers: list[dict[str, Any]] = []
        self.dropped: list[str] = []
        self.closed = 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        body = request("POST", "/predict", sample.ROW)
        while not self._done.is_set():
            try:
                connection = self.server.connect()
            except ConnectionRefusedError:
                return  # it accepts no more
            with connection:
                self._ask_on(connection, body)

    def _refused(self) -> bool:
        try:
            self.server.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    def _ask_on(self, connection: socket.socket, body: bytes) -> None:
        first = True
        while not self._done.is_set():
            try:
                connection.sendall(body)
                answer = read_answer(connection)
            except OSError as error:
                if not (first and self._refused()):  # else the listener closed before it was accepted
                    self.dropped.append(repr(error))
                return
            first = False
            if answer.status == 200:
                self.answers.append(answer.json)
            else:
                self.dropped.append(f"{answer.status} {answer.body!r}")
            if answer.headers.get("connection") == "close":
                self.closed += 1
                return

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 60
        before = len(self.answers)
        while len(self.answers) < before + count and time.monotonic() < end:
            time.sleep(0.01)

    def finish(self) -> list[dict[str, Any]]:
        self._done.set()
        for thread in self._threads:
            thread.join(60)
        assert not self.dropped
        return self.answers


def logged_ids(folder: Path) -> set[str]:
    return {
        name
        for path in (folder / "warehouse").rglob("[!.]*.parquet")
        for name in parquet.read_table(path, columns=["prediction_id"], partitioning=None)[0].to_pylist()
    }


def test_a_new_version_takes_over_without_a_dropped_request(tmp_path: Path) -> None:
    config = sample.write(tmp_path, sample.settings(tmp_path, 1))
    with served(tmp_path, config) as server:
        clients = Clients(server)
        clients.wait_for(50)
        (config / "delay-1.json").unlink()
        sample.write(tmp_path, sample.settings(tmp_path, 2))
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 60
        while clients.answers[-1]["version"] == 1 and time.monotonic() < end:
            time.sleep(0.01)
        clients.wait_for(50)
        answers = clients.finish()
        versions = [answer["version"] for answer in answers]
        assert set(versions) == {1, 2} and versions[-1] == 2
        assert server.ask("POST", "/models/delay/versions/1/predict", sample.ROW).status == 404
        assert server.series("modelyard_requests_total", version="1") == 0
        assert server.series("modelyard_predictions_total", version="2") > 0
    assert logged_ids(tmp_path) >= {answer["prediction_id"] for answer in answers}


def test_changed_settings_are_noticed_unasked_and_wrong_ones_change_nothing(tmp_path: Path) -> None:
    config = sample.write(tmp_path, sample.settings(tmp_path, 1))
    with served(tmp_path, config) as server:
        wrong = sample.settings(tmp_path, 2)
        wrong["online"]["digest"] = "sha256:" + "0" * 64
        sample.write(tmp_path, wrong)
        wait(lambda: "are not served" in server.said())
        assert "not the registered file" in server.said()
        assert server.ask("POST", "/predict", sample.ROW).json["version"] == 1
        sample.write(tmp_path, sample.settings(tmp_path, 2, canary=True))
        wait(lambda: server.ask("POST", "/models/delay/versions/2/predict", sample.ROW).status == 200)
        assert server.ask("POST", "/predict", sample.ROW).json["version"] == 1


def test_a_stop_finishes_what_was_asked_and_sends_the_log(tmp_path: Path) -> None:
    config = sample.write(tmp_path, sample.settings(tmp_path, 1))
    with served(tmp_path, config, "--drain-seconds", "1") as server:
        clients = Clients(server)
        clients.wait_for(50)
        server.process.send_signal(signal.SIGTERM)
        wait(lambda: server.ask("GET", "/readyz").status == 503)
        assert server.ask("POST", "/predict", sample.ROW, connection="close").status == 200
        assert server.process.wait(60) == 0
        answers = clients.finish()
        # While it drains, each answer sends its client elsewhere.
        assert clients.closed >= 4
    ids = {answer["prediction_id"] for answer in answers}
    assert len(ids) == len(answers) and ids <= logged_ids(tmp_path)
    assert not list(server.log.glob("*.log")) and not list(server.log.glob("*.open"))


def test_a_request_on_its_way_is_answered_before_the_end(tmp_path: Path) -> None:
    config = sample.write(tmp_path, sample.settings(tmp_path, 1))
    with served(tmp_path, config) as server:
        whole = request("POST", "/predict", sample.ROW)
        with server.connect() as idle, server.connect() as busy:
            busy.sendall(whole[:-10])
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""  # connections without a request are closed
            busy.sendall(whole[-10:])
            answer = read_answer(busy)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert server.process.wait(60) == 0


def test_files_that_are_not_the_registered_ones(tmp_path: Path) -> None:
    document = sample.settings(tmp_path, 1)
    file = tmp_path / "registry" / document["online"]["uri"]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    code, said = refused(tmp_path, sample.write(tmp_path, document))
    assert code == 2 and "is not the registered file" in said and "Traceback" not in said
    file.unlink()
    code, said = refused(tmp_path, tmp_path / "config")
    assert code == 2 and "Traceback" not in said


def test_signatures(tmp_path: Path) -> None:
    from modelyard.artifacts import signing

    key = signing.signing_key(tmp_path, {"HOME": str(tmp_path / "ours")})
    document = sample.settings(tmp_path, 1)
    registry = tmp_path / "registry"
    name = document["online"]["uri"].rpartition("/")[2]
    content = (registry / document["online"]["uri"]).read_bytes()
    bundle, public = signing.sign({name: content}, key)
    stored = sample.stored(registry, "flights/delay/1/model.sig", bundle, "onnx")
    signed = document | {
        "signing": {"bundle": {k: stored[k] for k in ("uri", "digest")}, "public_key": public}
    }
    with served(tmp_path, sample.write(tmp_path, signed)) as server:
        assert server.ask("POST", "/predict", sample.ROW).status == 200

    # The same file, signed by somebody else: its digest is right, its signature is not.
    other = signing.signing_key(tmp_path, {"HOME": str(tmp_path / "theirs")})
    _, stranger = signing.sign({name: content}, other)
    forged = signed | {"signing": {**signed["signing"], "public_key": stranger}}
    code, said = refused(tmp_path, sample.write(tmp_path, forged))
    assert code == 2 and "signature is not of the key" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"online": None}, "has no ONNX file"),
        ({"pattern": "batch"}, "is a batch model, and this is the rest image"),
        ({"version": "one"}, "$.version"),
        ({"canary": True}, "a canary beside no other version"),
        ({"signature": {"features": [], "prediction": {"name": "y", "type": "float64"}}}, "has no features"),
        (
            {
                "signature": {
                    "features": sample.FEATURES[:2],
                    "prediction": {"name": "y", "type": "float64"},
                }
            },
            "takes 6 features, its signature has 2",
        ),
    ],
)
def test_settings_that_cannot_be_served(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    document = sample.settings(tmp_path, 1) | changes
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    code, said = refused(tmp_path, path)
    assert code == 2 and told in said and "Traceback" not in said


def test_no_settings_port_or_log(tmp_path: Path) -> None:
    code, said = refused(tmp_path, tmp_path / "none.json")
    assert code == 2 and "MODELYARD_CONFIG" in said
    config = sample.write(tmp_path, sample.settings(tmp_path, 1))
    with served(tmp_path, config) as server:
        second = tmp_path / "second"
        second.mkdir()
        code, said = refused(second, config, "--port", str(server.port))
        assert code == 2 and "cannot listen" in said and "Traceback" not in said
        code, said = refused(tmp_path, config)
        assert code == 2 and "log folder of its own" in said
    for variable in ("MODELYARD_PORT", "MODELYARD_DRAIN_SECONDS"):
        code, said = refused(tmp_path, config, **{variable: "many"})
        assert code == 2 and variable in said and "Traceback" not in said


def test_what_holds_answers_back_while_the_log_is_away(tmp_path: Path) -> None:
    """A log that may hold next to nothing refuses; each version does then what its policy says."""
    config = sample.write(
        tmp_path,
        sample.settings(tmp_path, 1, serving={"log_unavailable": "keep-serving"}),
        sample.settings(tmp_path, 2, serving={"log_unavailable": "stop-serving"}, canary=True),
    )
    with served(tmp_path, config, "--log-bytes", "16") as server:
        kept = [server.ask("POST", "/models/delay/versions/1/predict", sample.ROW) for _ in range(3)]
        stopped = [server.ask("POST", "/models/delay/versions/2/predict", sample.ROW) for _ in range(3)]
        assert {answer.status for answer in kept} == {200}
        assert {(answer.status, answer.headers["retry-after"]) for answer in stopped} == {(503, "1")}
        assert "log-unavailable" in stopped[0].json["type"]
        wait(lambda: server.series("modelyard_log_rows_total", state="dropped") == 3)
        assert server.series("modelyard_predictions_total", version="2") == 0
        assert server.ask("GET", "/readyz").status == 200  # version 1 still answers


def wait(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
