"""`modelyard demo`: the whole blueprint deployed on this machine, with no cloud account.

Everything it makes is under `build/demo`; each run starts from nothing.
"""

import fcntl
import getpass
import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli import demo_models
from cli.demo_models import ModelsError, Training, World
from modelyard.spec.load import load_environment, load_team, team_names
from modelyard.toolchain import cdktf_command, find_terraform, tool_environment
from plan_review.standin import NOTICE
from plan_review.standin.launch import running

ENVIRONMENT = "local"
CHANGED_TEAM = "flight-ops"
SILENCE_SECONDS = 10.0  # where there is no terminal to show progress on
CHANGE = {"monitors": {"latency": {"threshold": 400}}}
_RESOURCE_CHANGE = re.compile(r"^\s*# (.+) will be (.+)$")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return "unknown"


class DemoError(Exception):
    """A step of the demo did not do what it shows. The message says which, and where its output is."""


class Demo:
    """The steps, over one workspace that is a copy of `environments/` and `teams/`."""

    def __init__(self, root: Path, console: Console, folder: Path | None = None) -> None:
        self.root = root
        self.console = console
        self.folder = folder or root / "build" / "demo"
        self.workspace = self.folder / "workspace"
        self.out = self.folder / "cdktf.out"
        self.log = self.folder / "demo.log"
        self.warehouse = self.folder / "warehouse"

    def run(self) -> None:
        """Show validation, synthesis, deployment, an empty second plan, and the diff of one changed file.

        Then the models: trained, published, pinned, served, asked about real flights, traced and watched.

        Raises:
            DemoError, ModelsError: a step failed.
            ToolError: a tool is missing.
            SpecError: an input is wrong.
        """
        with self._alone():
            self._run()

    def _run(self) -> None:
        started = time.monotonic()
        self._prepare()
        self._validate()
        models = World(self.root, self.workspace, self.folder, ENVIRONMENT, self._step, self._print)
        with Training(models) as training:
            self._infrastructure()
            demo_models.run(models, training, self._record)
        self._print(f"\n[bold green]Done[/] in {time.monotonic() - started:.0f} s. {NOTICE}")
        self._print(f"State, plans, tables and logs are in {self._shown}/.")

    def _infrastructure(self) -> None:
        with running() as provider:
            environment = tool_environment(self.root) | dict(provider)
            environment |= {
                "MODELYARD_ROOT": str(self.workspace),
                "MODELYARD_STACKS": f"{ENVIRONMENT}-*",
                "CI": "1",
                "FORCE_COLOR": "0",
            }
            self._synthesize(environment)
            self._deploy(environment)
            self._plan_again(environment)
            self._change(environment)

    @property
    def _shown(self) -> Path:
        return self.folder.relative_to(self.root) if self.folder.is_relative_to(self.root) else self.folder

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock: a second demo at the same time would take the first one's files away."""
        path = self.folder.with_name("demo.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DemoError("another demo of this checkout is running. Wait for its end.") from None
            yield

    def _prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.workspace.mkdir(parents=True)
        for name in ("environments", "teams"):
            shutil.copytree(self.root / name, self.workspace / name)

    def _validate(self) -> None:
        with self._step("Validate environments and teams"):
            environment = load_environment(self.workspace, ENVIRONMENT)
            teams = [load_team(self.workspace, name, environment) for name in team_names(self.workspace)]
        for team in teams:
            models = ", ".join(f"{model.name} ({model.spec.pattern})" for model in team.models)
            self._print(f"    {team.team}: {models}")

    def _synthesize(self, environment: Mapping[str, str]) -> None:
        with self._step("Synthesize all stacks with cdktf"):
            self._cdktf(environment, "synth")
        table = Table("stack", "resources", box=None, pad_edge=False)
        for stack, document in self._stacks().items():
            table.add_row(f"    {stack}", str(sum(map(len, document.get("resource", {}).values()))))
        self.console.print(table)

    def _deploy(self, environment: Mapping[str, str]) -> None:
        total = sum(len(made) for doc in self._stacks().values() for made in doc.get("resource", {}).values())
        with self._step(f"Deploy {total} resources with Terraform, through cdktf deploy") as tell:
            lines = 0
            command = ["deploy", f"{ENVIRONMENT}-*", "--auto-approve", "--skip-synth", "--parallelism", "2"]
            for line in self._lines(environment, *command):
                lines += "Creation complete" in line
                tell(f"{lines} of {total} resources")
        # What was made stands in the states: cdktf leaves lines out when two stacks speak at once.
        if (made := self._deployed()) != total:
            raise DemoError(f"{made} of {total} resources were made. The log is {self.log}.")

    def _record(self) -> None:
        """Record the deployment, so that `modelyard trace` knows who deployed what answers."""
        from plan_review.deployment_record import record_applied

        files = sorted((self.out / "stacks").glob("*/cdk.tf.json"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        with self._step("Record who deployed what"):
            told = record_applied(
                self.workspace,
                environment=ENVIRONMENT,
                stacks=list(self._stacks()),
                plan_digest=f"sha256:{digest}",
                actor=_user(),
                repository=self.root.name,
                commit=self._commit(),
                folder=self.warehouse,
            )
        self._print(f"    {escape(told.replace(str(self.folder), str(self._shown)))}")

    def _commit(self) -> str:
        git = ["git", "-C", str(self.root), "rev-parse", "HEAD"]
        try:
            return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return "unknown"

    def _deployed(self) -> int:
        """Return how many resources the states hold."""
        states = (
            json.loads(path.read_text()) for path in (self.folder / "build" / "state").glob("*.tfstate")
        )
        resources = (resource for state in states for resource in state["resources"])
        return sum(len(resource["instances"]) for resource in resources if resource["mode"] == "managed")

    def _plan_again(self, environment: Mapping[str, str]) -> None:
        terraform = find_terraform(self.root, environment)

        def plan(stack: str) -> tuple[str, int]:
            folder = self.out / "stacks" / stack
            command = [
                terraform,
                f"-chdir={folder}",
                "plan",
                "-detailed-exitcode",
                "-input=false",
                "-no-color",
            ]
            with self.log.open("a") as log:
                finished = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
            return stack, finished.returncode

        with self._step("Plan again: nothing may be left to do"), ThreadPoolExecutor(2) as pool:
            plans = list(pool.map(plan, self._stacks()))
        changed = [stack for stack, code in plans if code != 0]
        if changed:
            raise DemoError(f"the second plan of {', '.join(changed)} is not empty. The log is {self.log}.")
        self._print(f"    {len(plans)} of {len(plans)} plans are empty")

    def _change(self, environment: Mapping[str, str]) -> None:
        path = self.workspace / "teams" / CHANGED_TEAM / "team.yaml"
        path.write_text(path.read_text() + yaml.safe_dump({"defaults": CHANGE}))
        before = self._stacks()
        with self._step(f"Change one file: teams/{CHANGED_TEAM}/team.yaml, latency threshold to 400 ms"):
            self._cdktf(environment, "synth")
        changed = [stack for stack, document in self._stacks().items() if document != before[stack]]
        expected = f"{ENVIRONMENT}-team-{CHANGED_TEAM}"
        if changed != [expected]:
            raise DemoError(f"{expected} alone should have changed, not {', '.join(changed) or 'nothing'}.")
        self._print(f"    of {len(before)} stacks, {expected} changed")
        with self._step(f"cdktf diff {expected}"):
            plan = [
                _COLOURS.sub("", line) for line in self._lines(environment, "diff", expected, "--skip-synth")
            ]
        for line in plan:
            text = line.removeprefix(expected).strip()
            if (match := _RESOURCE_CHANGE.match(text)) is not None:
                self._print(f"    {escape(match[1])} will be {match[2]}")
            elif text.startswith("Plan:"):
                self._print(f"    [bold]{text}[/]")

    def _stacks(self) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
        paths = sorted((self.out / "stacks").glob("*/cdk.tf.json"))
        return {path.parent.name: json.loads(path.read_text()) for path in paths}

    def _cdktf(self, environment: Mapping[str, str], *arguments: str) -> None:
        for _ in self._lines(environment, *arguments):
            pass

    def _lines(self, environment: Mapping[str, str], *arguments: str) -> Iterator[str]:
        """Run cdktf; give its lines as they come, and keep them in the log."""
        command = [*cdktf_command(self.root, environment), *arguments, "--output", str(self.out)]
        with (
            self.log.open("a") as log,
            subprocess.Popen(
                command,
                cwd=self.root,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                yield line.rstrip("\n")
        if process.returncode:
            tail = "".join(f"\n    {line}" for line in self.log.read_text().splitlines()[-15:])
            raise DemoError(f"cdktf {arguments[0]} ended with {process.returncode}:{tail}")

    @contextmanager
    def _step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show a step while it runs, and how long it took; what it yields tells how far it is."""
        started = told = time.monotonic()
        with self.console.status(title) as status:

            def tell(detail: str) -> None:
                nonlocal told
                status.update(f"{title}: {detail}")
                if not self.console.is_terminal and time.monotonic() - told >= SILENCE_SECONDS:
                    told = time.monotonic()
                    self._print(f"    {detail}")

            yield tell
        self._print(f"[green]✓[/] {title} [dim]({time.monotonic() - started:.1f} s)[/]")

    def _print(self, line: str) -> None:
        """Print a line whole: names that are broken in two can be neither copied nor found."""
        self.console.print(line, soft_wrap=True, highlight=False)


def run(root: Path) -> int:
    """Run the demo on the checkout at `root`; return the exit code."""
    console = Console()
    try:
        Demo(root, console).run()
    except (DemoError, ModelsError) as error:
        console.print(f"[red]The demo failed:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        return 1
    return 0
