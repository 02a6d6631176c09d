"""Start the stand-in and tell Terraform of it: for a block of Python, a command, or a mirror on disk."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from plan_review.standin import NOTICE, schema, sources
from plan_review.standin.server import PROTOCOL
from plan_review.standin.sources import StandinError

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 180.0  # the first start derives the schemas, on a busy machine
STOP_TIMEOUT_SECONDS = 10.0
DEFAULT_HOST = "registry.terraform.io"  # the host that Terraform means when a source names none
CLI_CONFIGURATION = "disable_checkpoint = true\n"
COMMAND_NOT_FOUND = 127
# Where Terraform is sent for states in buckets, since what the stand-in makes up must not get into one. For
# its blanks Terraform refuses at once and shows the sentence: no name is looked up and nothing tried again.
NO_BUCKET = "https://the stand-in works on no state in a bucket"


@contextlib.contextmanager
def running(environment: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """Run one stand-in for all installed providers; yields the environment variables to add to Terraform's.

    Any number of Terraforms may use it at the same time. When the block ends, or this process does, however
    it ends, the stand-in ends too. Raises StandinError if it cannot start.
    """
    given = os.environ if environment is None else environment
    process = subprocess.Popen(
        [sys.executable, "-m", "plan_review.standin", "serve"],
        stdin=subprocess.PIPE,  # closes when we end; the stand-in then ends too
        stdout=subprocess.PIPE,
        env=_python_environment(given),
        start_new_session=os.name == "posix",  # Ctrl-C is for Terraform first
    )
    try:
        started = _handshake(process)
        yield _terraform_environment(started, process.pid, given)
    finally:
        _end(process)


def _python_environment(given: Mapping[str, str]) -> dict[str, str]:
    inherited = given.get("PYTHONPATH")
    return {**given, "PYTHONPATH": f"{ROOT}{os.pathsep}{inherited}" if inherited else str(ROOT)}


def _handshake(process: subprocess.Popen[bytes]) -> dict[str, object]:
    assert process.stdout is not None
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    reader.join(START_TIMEOUT_SECONDS)
    if not lines or not lines[0]:
        raise StandinError("the stand-in provider did not start: see its message above")
    started: dict[str, object] = json.loads(lines[0])
    return started


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _terraform_environment(started: dict[str, object], pid: int, given: Mapping[str, str]) -> dict[str, str]:
    addresses, folder = started["addresses"], str(started["folder"])
    assert isinstance(addresses, dict)
    attached = {
        source: {
            "Protocol": "grpc",
            "ProtocolVersion": PROTOCOL,
            "Pid": pid,
            "Test": True,  # Terraform must not stop it: others use it too
            "Addr": {"Network": "tcp", "String": address},
        }
        for source, address in addresses.items()
    }
    return {
        "TF_REATTACH_PROVIDERS": json.dumps(attached),
        **_quiet(given, Path(folder)),
        # Terraform writes a local state file anew after every resource; less eager collection of that garbage
        # saves a quarter of its time
        "GOGC": given.get("GOGC", "400"),
        "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": NO_BUCKET,
        "CDKTF_SKIP_PROVIDER_LOCK": "true",  # an attached provider has no package, so nothing to lock
    }


def _quiet(given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """No calls home, and no warning about a configuration file that is named but not there."""
    quiet = {"CHECKPOINT_DISABLE": "1"}
    named = given.get("TF_CLI_CONFIG_FILE")
    if named and not Path(named).exists():
        file = folder / "terraform.tfrc"
        file.write_text(CLI_CONFIGURATION)
        quiet["TF_CLI_CONFIG_FILE"] = str(file)
    return quiet


def run_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run a command with a stand-in beside it; returns the command's exit code (127 if it is not found).

    Says on stderr, once, what the stand-in is. Raises StandinError if the stand-in cannot start.
    """
    print(NOTICE, file=sys.stderr, flush=True)
    given = os.environ if environment is None else environment
    with running(given) as added:
        try:
            child = subprocess.Popen(list(command), env={**given, **added})
        except FileNotFoundError:
            print(f"command not found: {command[0]}", file=sys.stderr)
            return COMMAND_NOT_FOUND
        with _passing_signals(child):
            code = child.wait()
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _passing_signals(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C reaches the child by itself; other requests to stop are passed on; the child decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None)}
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        previous[number] = signal.signal(number, lambda received, _: child.send_signal(received))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def write_mirror(folder: Path) -> Path:
    """Write a file-system mirror from which plain `terraform init` installs the stand-in.

    Returns the Terraform CLI configuration file to name in TF_CLI_CONFIG_FILE. Raises StandinError on a
    system that does not run shell scripts, OSError if the folder cannot be written.
    """
    if os.name != "posix":
        raise StandinError("the mirror needs a POSIX shell; use `running` or the wrapper command instead")
    folder = folder.resolve()
    installed = sources.installed()
    for source in installed:
        version = schema.load(source).provider_version
        place = folder / DEFAULT_HOST / source.address / version / _platform()
        place.mkdir(parents=True, exist_ok=True)
        script = place / f"terraform-provider-{source.name}_v{version}"
        script.write_text(
            "#!/bin/sh\n"
            f"PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}} "
            f"exec {shlex.quote(sys.executable)} -m plan_review.standin plugin {source.name}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    names = json.dumps([f"{DEFAULT_HOST}/{source.address}" for source in installed])
    configuration = folder / "terraform.tfrc"
    configuration.write_text(
        f"{CLI_CONFIGURATION}provider_installation {{\n"
        f"  filesystem_mirror {{\n    path    = {json.dumps(str(folder))}\n    include = {names}\n  }}\n"
        f"  direct {{\n    exclude = {names}\n  }}\n}}\n"
    )
    return configuration


def _platform() -> str:
    """This machine as Terraform names it, `linux_amd64` for one."""
    machine = platform.machine().lower()
    processor = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386"}.get(machine, machine)
    return f"{sys.platform.removesuffix('2')}_{processor}"
