"""Every command that the documents show is proven.

It is run here, run by another test, or, where it needs Google, of words that exist. A new command needs an
entry in PROOFS, or `# needs Google` as the first line of its block.
"""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from modelyard.naming import Names
from modelyard.spec.load import environment_names, load_environment, team_names
from modelyard.toolchain import cdktf_command
from tests.docs.documents import ROOT, Command, commands

# Guides whose commands a test of their own runs, all of them and in order.
GUIDES = {
    "docs/guides/first-model.md": (
        "tests/examples/test_first_model_guide.py::test_guide_leads_to_a_valid_team_file"
    ),
    "docs/guides/onboarding-a-team.md": (
        "tests/cli/test_onboarding_guide.py::test_every_command_of_the_guide_runs"
    ),
    "docs/guides/reviewing-a-plan.md": (
        "tests/plan_review/test_guide.py::test_every_command_of_the_guide_runs"
    ),
}


class Run:
    """Runs in a copy of the checkout's files, after the document's earlier commands of this kind."""


@dataclass(frozen=True)
class Shell:
    """Runs in the checkout, which it does not change; a shell then finds these programs."""

    finds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Elsewhere:
    """Other tests run it, or what it stands for."""

    by: str


@dataclass(frozen=True)
class Target:
    """A target of the Makefile, of which another test runs the recipe; here make says what it would run."""

    recipe: str
    by: str = ""


PYTEST = "python -m pytest -n 2"
PROOFS: dict[str, Run | Shell | Elsewhere | Target] = {
    'eval "$(make -s env)"': Shell(("modelyard", "cdktf")),
    "source .venv/bin/activate": Shell(("modelyard", "python")),
    "make help": Shell(),
    "make setup": Target("scripts.setup", "tests/test_setup.py::test_set_up_does_what_is_needed_and_no_more"),
    "make demo": Target("modelyard demo"),
    "make test": Target(PYTEST),
    "make lint": Target("scripts.lint", "tests/test_lint.py::test_checkout_is_clean"),
    "make schemas": Target("modelyard schemas", "tests/cli/test_main.py::test_schemas"),
    "make golden": Target(
        "tests.golden", "tests/stacks/test_inventories.py::test_stack_is_as_its_inventory_says"
    ),
    "make bench-synth": Target("benchmarks/synth.py"),
    "make bench-standin": Target("plan_review.standin.bench"),
    "make bench-serving": Target("benchmarks.serving"),
    "make bench-alerts": Target("benchmarks.alerts"),
    "python -m serving_images.monitor run --at 2026-03-01T06:05:00Z --team flight-ops": Elsewhere(
        "tests/serving_images/monitor/test_job.py::test_the_process_measures_the_checkouts_models"
    ),
    "python -m serving_images.monitor run --since 2026-02-01T00:00:00Z": Elsewhere(
        "tests/modelyard/monitors/measuring/test_incremental.py::test_long_ago_is_measured_only_if_asked_for"
    ),
    'make test ARGS="-k naming"': Target(f"{PYTEST} --dist loadfile -k naming"),
    'make test ARGS="tests/modules -k notification"': Target(f"{PYTEST} --dist loadfile tests/modules"),
    'make test ARGS="tests/modules/test_examples.py"': Target("tests/modules/test_examples.py"),
    'make test ARGS="tests/stacks"': Target(f"{PYTEST} --dist loadfile tests/stacks"),
    "modelyard validate --environment dev": Run(),
    "modelyard serve flight-ops/arrival-delay": Elsewhere(
        "tests/cli/test_serve.py::test_pinned_version_and_canary_answer_and_are_logged"
    ),
    "make train": Target(
        "examples.train_all",
        "tests/examples/test_training.py::test_training_reproduces_the_pinned_manifest",
    ),
    "make images": Target(
        "scripts.images", "tests/test_images.py::test_it_holds_the_packages_that_it_imports"
    ),
    "modelyard serve pricing": Elsewhere(
        "tests/cli/test_serve.py::test_pinned_version_and_canary_answer_and_are_logged"
    ),
    "modelyard score pricing/diamond-value --input stones.parquet": Elsewhere(
        "tests/cli/test_serve.py::test_a_batch_model_scores_a_file"
    ),
    "python -m examples.traffic --rows 5000": Elsewhere(
        "tests/cli/test_demo.py::test_the_demo_shows_what_a_newcomer_is_told"
    ),
    "modelyard trace 019cadfa-9480-7345-8678-9abcdef01234": Elsewhere(
        "tests/cli/test_trace.py::test_the_id_alone"
    ),
    (
        "modelyard record-deployment --environment dev --report review.json --actor me@example.com "
        "--repository example/models --commit HEAD --to local"
    ): Elsewhere("tests/plan_review/test_deployment_record.py::test_the_local_warehouse_takes_the_row"),
    "modelyard alerts": Elsewhere("tests/cli/test_alerts.py::test_open_alerts_are_listed_the_gravest_first"),
    "modelyard alerts show 9c6cd3": Elsewhere("tests/cli/test_alerts.py::test_the_life_of_an_alert"),
    'modelyard alerts ack 9c6cd3 --note "looking at the feed"': Elsewhere(
        "tests/cli/test_alerts.py::test_the_life_of_an_alert"
    ),
    "modelyard alerts assign 9c6cd3 carl@example.com": Elsewhere(
        "tests/cli/test_alerts.py::test_the_life_of_an_alert"
    ),
    'modelyard alerts close 9c6cd3 --cause upstream --note "the feed sent metres"': Elsewhere(
        "tests/cli/test_alerts.py::test_the_life_of_an_alert"
    ),
    "modelyard alerts silences": Elsewhere("tests/cli/test_alerts.py::test_what_is_silenced_is_listed"),
    'modelyard alerts silence flight-ops/arrival-delay --until 4h --reason "backfill of October"': Elsewhere(
        "tests/cli/test_alerts.py::test_a_silence_is_kept_until_it_ends"
    ),
    "python -m modelyard.monitors": Run(),
    "python -m modelyard.tables": Run(),
    "cdktf list": Elsewhere("tests/stacks/test_app.py::test_all_stacks_of_all_environments"),
    "modelyard standin -- cdktf deploy 'local-*' --auto-approve": Elsewhere(
        "tests/plan_review/standin/test_lifecycle.py::test_cdktf_deploys_several_stacks_at_once"
    ),
    "modelyard standin -- cdktf diff local-team-pricing": Elsewhere(
        "tests/plan_review/standin/test_lifecycle.py::test_cdktf_deploys_several_stacks_at_once"
    ),
    "MODELYARD_STACKS=local-platform modelyard standin -- cdktf deploy local-platform --auto-approve": Run(),
    "MODELYARD_STACKS=local-platform cdktf synth": Run(),
    "modelyard standin -- terraform -chdir=cdktf.out/stacks/local-platform init": Run(),
    "modelyard standin -- terraform -chdir=cdktf.out/stacks/local-platform plan": Run(),
    "MODELYARD_STACKS=prod-platform cdktf synth": Run(),
    "modelyard standin -- terraform -chdir=cdktf.out/stacks/prod-platform init -backend=false": Run(),
    "modelyard standin -- terraform -chdir=cdktf.out/stacks/prod-platform validate": Run(),
    "python -m plan_review.standin mirror build/mirror": Run(),
    'export TF_CLI_CONFIG_FILE="$PWD/build/mirror/terraform.tfrc"': Run(),
}
# Commands of gcloud and their options, as `gcloud <command> --help` of version 527 lists them.
GCLOUD = {
    "auth application-default login": {"--impersonate-service-account"},
    "beta services identity create": {"--service", "--project"},
    "projects describe": {"--format"},
    "services enable": {"--project"},
    "storage buckets create": {
        "--location",
        "--project",
        "--public-access-prevention",
        "--uniform-bucket-level-access",
    },
    "storage buckets update": {"--versioning"},
    "storage cp": {"--recursive"},
}
COMMANDS = tuple(commands())
GUIDED = {command.text for command in COMMANDS if command.document in GUIDES}
LOCAL = {c.text for c in COMMANDS if not c.needs_google and c.document not in GUIDES and c.text not in GUIDED}
RUNNABLE = sorted({c.document for c in COMMANDS if isinstance(PROOFS.get(c.text), Run)})
ON_GOOGLE = sorted({c.text for c in COMMANDS if c.needs_google and not isinstance(PROOFS.get(c.text), Shell)})


def output(command: list[str], folder: Path = ROOT, **environment: str) -> str:
    """Return what a command says; it must succeed."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=given | {"CI": "1", "FORCE_COLOR": "0"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}"
    return done.stdout


def assert_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), (
        f"there is no test {test}"
    )


def test_every_command_has_a_proof() -> None:
    unknown = [f"{c.document}: {c.text}" for c in COMMANDS if c.text in LOCAL and c.text not in PROOFS]
    assert not unknown, "\n".join(
        [
            *unknown,
            "Say in PROOFS of this file how each is proven, or begin its block with # needs Google.",
        ]
    )


def test_every_proof_is_of_a_command_that_a_document_shows() -> None:
    assert set(PROOFS) <= {command.text for command in COMMANDS}


@pytest.mark.parametrize("guide", GUIDES)
def test_guides_with_a_test_of_their_own_are_run_by_it(guide: str) -> None:
    assert any(command.document == guide for command in COMMANDS)
    assert_test_exists(GUIDES[guide])
    assert Path(guide).name in (ROOT / GUIDES[guide].partition("::")[0]).read_text("utf-8")


@pytest.mark.parametrize(
    "command", [text for text, proof in PROOFS.items() if isinstance(proof, Elsewhere | Target)]
)
def test_tests_and_targets_exist(command: str) -> None:
    proof = PROOFS[command]
    assert isinstance(proof, Elsewhere | Target)
    if proof.by:
        assert_test_exists(proof.by)
    if isinstance(proof, Target):
        assert proof.recipe in output([*shlex.split(command), "--dry-run", "--no-print-directory"])
        for word in shlex.split(shlex.split(command)[-1]):
            assert not word.startswith("ARGS=tests/") or (ROOT / word.removeprefix("ARGS=")).exists()


@pytest.mark.parametrize("command", [text for text, proof in PROOFS.items() if isinstance(proof, Shell)])
def test_the_shell_takes_it(command: str) -> None:
    proof = PROOFS[command]
    assert isinstance(proof, Shell)
    outside = [folder for folder in os.environ["PATH"].split(os.pathsep) if not folder.startswith(str(ROOT))]
    lines = [command, *(f"command -v {program}" for program in proof.finds)]
    found = output(["bash", "-euc", "\n".join(lines)], PATH=os.pathsep.join(outside)).splitlines()
    assert all(line.startswith(str(ROOT)) for line in found[len(found) - len(proof.finds) :])


@pytest.mark.parametrize("document", RUNNABLE)
def test_commands_run_in_order(document: str, tmp_path: Path) -> None:
    for folder in ("docs", "environments", "modelyard", "teams"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "cdktf.json", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    before = {path: path.read_bytes() for path in (tmp_path / "docs").rglob("*") if path.is_file()}
    lines = [c.text for c in COMMANDS if c.document == document and isinstance(PROOFS.get(c.text), Run)]

    output(["bash", "-euc", "\n".join(dict.fromkeys(lines))], tmp_path, MODELYARD_ROOT=str(tmp_path))

    assert {path: path.read_bytes() for path in before} == before, "generated pages are current"


@pytest.mark.parametrize("text", ON_GOOGLE)
def test_commands_for_google_are_of_words_that_exist(text: str) -> None:
    words = shlex.split(text)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        assert name == "MODELYARD_STACKS", f"{name} is no variable of the product"
        assert_stacks_exist(value.split(","))
    program, *arguments = words
    options = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    given = [word for word in arguments if not word.startswith("-")]
    if program == "gcloud":
        (known,) = [name for name in GCLOUD if f"{' '.join(given)} ".startswith(f"{name} ")]
        assert options <= GCLOUD[known]
    elif program == "cdktf":
        assert f"cdktf {given[0]} " in cdktf_help()
        assert options <= set(re.findall(r"--[\w-]+", cdktf_help(given[0])))
        assert_stacks_exist(given[1:])
    elif program == "modelyard":
        help_text = output([str(ROOT / ".venv" / "bin" / "modelyard"), given[0], "--help"], FORCE_COLOR="")
        assert options <= set(re.findall(r"--[\w-]+", help_text))
    else:
        pytest.fail(f"no check for {program}: add one, or mark the block as one that needs no Google")


def assert_stacks_exist(patterns: list[str]) -> None:
    for pattern in patterns:
        assert any(fnmatchcase(stack, pattern) for stack in stacks()), f"no stack matches {pattern}"


@cache
def stacks() -> frozenset[str]:
    """Return the ids of all stacks of the repository's environments and teams."""
    found = set()
    for name in environment_names(ROOT):
        names = Names.of(load_environment(ROOT, name))
        found |= {
            names.stack(room) for room in ("foundation", "platform", "cluster", "catalog", "operations")
        }
        for team in team_names(ROOT):
            found |= {names.team(team).stack, names.team(team).tenant_stack}
    return frozenset(found)


@cache
def cdktf_help(*subcommand: str) -> str:
    return output([*cdktf_command(ROOT), *subcommand, "--help"])


def test_commands_are_read_as_people_type_them() -> None:
    texts = {command.text for command in COMMANDS}
    assert "make demo" in texts, "a comment after a command is none of it"
    assert any("--uniform-bucket-level-access" in text and "storage buckets create" in text for text in texts)
    assert not any(text.startswith("#") for text in texts)
    assert Command("docs/guides/first-deployment.md", "cdktf list", False) in COMMANDS
