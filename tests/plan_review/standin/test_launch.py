"""The stand-in starts, is told to Terraform, and is gone afterwards however its parent ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plan_review.standin import NOTICE, launch
from tests.plan_review.standin.conftest import Workspace

MODULE = [sys.executable, "-m", "plan_review.standin"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(launch.ROOT)}
WAIT_SECONDS = 30.0
HOLD = """
import sys, time
from plan_review.standin import launch
with launch.running() as added:
    print(added["TF_REATTACH_PROVIDERS"], flush=True)
    time.sleep(600)
"""


def _attached(environment: dict[str, str]) -> tuple[int, list[str]]:
    providers = json.loads(environment["TF_REATTACH_PROVIDERS"])
    return next(iter(providers.values()))["Pid"], [one["Addr"]["String"] for one in providers.values()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # a child of a killed parent may stay as a zombie where nothing reaps it
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def test_one_process_serves_all_sources_and_ends_with_the_block(tmp_path: Path) -> None:
    with launch.running({**os.environ, "TMPDIR": str(tmp_path)}) as added:
        pid, addresses = _attached(added)
        providers = json.loads(added["TF_REATTACH_PROVIDERS"])
        assert {"hashicorp/google", "hashicorp/kubernetes"} <= providers.keys()
        assert {one["Pid"] for one in providers.values()} == {pid}
        assert all(_listens(address) for address in addresses)
        assert [folder.stat().st_mode & 0o077 for folder in tmp_path.iterdir()] == [0]

    assert not _alive(pid)
    assert not any(_listens(address) for address in addresses)
    assert list(tmp_path.iterdir()) == []


def test_it_listens_on_the_loopback_interface_only(standin: dict[str, str]) -> None:
    _, addresses = _attached(standin)

    assert {address.rpartition(":")[0] for address in addresses} == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_nothing_is_left_when_the_parent_is_ended_from_outside(name: str, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
        text=True,
    )
    assert parent.stdout is not None
    pid, addresses = _attached({"TF_REATTACH_PROVIDERS": parent.stdout.readline()})
    assert _alive(pid)

    parent.send_signal(getattr(signal, name))
    parent.wait(WAIT_SECONDS)
    parent.stdout.close()

    assert _eventually(lambda: not _alive(pid))
    assert not any(_listens(address) for address in addresses)
    assert _eventually(lambda: list(tmp_path.iterdir()) == [])


def test_an_error_inside_the_block_ends_it_too() -> None:
    with pytest.raises(RuntimeError, match="inside"), launch.running() as added:
        pid, _ = _attached(added)
        raise RuntimeError("inside")

    assert not _alive(pid)


def test_the_environment_is_quiet(tmp_path: Path) -> None:
    missing = {**os.environ, "TF_CLI_CONFIG_FILE": str(tmp_path / "missing.tfrc")}
    with launch.running(missing) as added:
        assert added["CHECKPOINT_DISABLE"] == "1"
        assert Path(added["TF_CLI_CONFIG_FILE"]).is_file()
        workspace = Workspace(tmp_path / "stack", {**missing, **added})
        workspace.write({"google_pubsub_topic": {"t": {"name": "t"}}})
        done = workspace.run("plan", "-no-color")
        assert "Warning" not in done.stdout + done.stderr

    own = tmp_path / "own.tfrc"
    own.write_text("")
    with launch.running({**os.environ, "TF_CLI_CONFIG_FILE": str(own)}) as added:
        assert "TF_CLI_CONFIG_FILE" not in added, "a configuration file that is there stays in force"


def test_ctrl_c_ends_the_wrapper_its_command_and_the_provider() -> None:
    show = "import os, time; print(os.environ['TF_REATTACH_PROVIDERS'], flush=True); time.sleep(600)"
    wrapper = subprocess.Popen(
        [*MODULE, "--", sys.executable, "-c", show],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        text=True,
        start_new_session=True,
    )
    assert wrapper.stdout is not None
    pid, _ = _attached({"TF_REATTACH_PROVIDERS": wrapper.stdout.readline()})

    os.killpg(wrapper.pid, signal.SIGINT)

    assert wrapper.wait(WAIT_SECONDS) == 128 + signal.SIGINT
    wrapper.stdout.close()
    assert _eventually(lambda: not _alive(pid))


def _wrapper(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


def test_the_wrapper_runs_a_command_with_the_provider(workspace: Workspace) -> None:
    workspace.write({"google_pubsub_topic": {"t": {"name": "t"}}})
    terraform = workspace.environment["TERRAFORM_BINARY_NAME"]

    done = _wrapper("--", terraform, "plan", "-no-color", cwd=workspace.folder)

    assert done.returncode == 0, done.stderr
    assert "google_pubsub_topic.t will be created" in done.stdout
    assert done.stderr.count(NOTICE) == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ([sys.executable, "-c", "raise SystemExit(7)"], 7),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], 128 + 9),
        (["no-such-command-anywhere"], 127),
    ],
)
def test_the_wrapper_passes_the_exit_code_on(command: list[str], code: int) -> None:
    done = _wrapper("--", *command)

    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [[], ["--"], ["mirror"], ["plugin", "azure"], ["plan"]])
def test_the_wrapper_says_how_it_is_used(words: list[str]) -> None:
    done = _wrapper(*words)

    assert done.returncode == 2
    assert "python -m plan_review.standin" in done.stderr


def test_a_plugin_is_not_for_people() -> None:
    done = _wrapper("plugin", "google")

    assert done.returncode == 2
    assert "started by Terraform" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mirror_serves_plain_terraform(workspace: Workspace) -> None:
    done = _wrapper("mirror", str(workspace.folder / "mirror"))
    assert done.returncode == 0, done.stderr
    assert NOTICE in done.stderr
    name, _, configuration = done.stdout.strip().partition("=")
    plain = {key: value for key, value in os.environ.items() if key != "TF_REATTACH_PROVIDERS"}
    workspace.environment = {**plain, name: configuration, "CHECKPOINT_DISABLE": "1"}
    before = _plugins()
    workspace.write(
        {
            "google_pubsub_topic": {"t": {"name": "t"}},
            "kubernetes_namespace_v1": {"n": {"metadata": {"name": "n"}}},
        }
    )

    workspace.run("init")
    workspace.apply()

    assert workspace.is_clean()
    assert workspace.state()["google_pubsub_topic.t"]["id"] == "projects/acme-test/topics/t"
    assert "6.50.0" in (workspace.folder / ".terraform.lock.hcl").read_text()
    assert _eventually(lambda: _plugins() <= before), "Terraform's plugins end with it"


def _keep_state_in(workspace: Workspace, backend: dict[str, Any]) -> None:
    required = {"google": {"source": "hashicorp/google"}}
    terraform = {"required_providers": required, "backend": backend}
    workspace.write({"google_pubsub_topic": {"t": {"name": "t"}}}, terraform=terraform)


def test_a_state_in_a_bucket_is_out_of_reach_beside_the_standin(workspace: Workspace) -> None:
    _keep_state_in(workspace, {"gcs": {"bucket": "the-state-of-a-real-environment"}})
    workspace.environment = {**workspace.environment, "GOOGLE_OAUTH_ACCESS_TOKEN": "none"}

    done = workspace.run("init", "-input=false", "-no-color", check=False)

    assert done.returncode == 1
    assert "the stand-in works on no state in a bucket" in done.stderr


def test_a_plugin_refuses_a_state_that_is_not_in_a_local_file(workspace: Workspace) -> None:
    written = _wrapper("mirror", str(workspace.folder / "mirror"))
    name, _, configuration = written.stdout.strip().partition("=")
    plain = {key: value for key, value in os.environ.items() if key != "TF_REATTACH_PROVIDERS"}
    workspace.environment = {**plain, name: configuration, "CHECKPOINT_DISABLE": "1"}
    _keep_state_in(workspace, {"inmem": {}})  # Terraform's own for tests
    for data_folder in (".terraform", "elsewhere"):
        workspace.environment["TF_DATA_DIR"] = data_folder
        workspace.run("init", "-input=false")

        done = workspace.run("apply", "-auto-approve", "-no-color", check=False)

        assert done.returncode == 1
        assert "The stand-in provider works on no state in a 'inmem' backend" in done.stderr


def _plugins() -> set[str]:
    """Processes of the stand-in that a Terraform started."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"plan_review.standin" in words and b"plugin" in words:
            found.add(entry.name)
    return found
