"""The pipelines keep the promises that their comments make."""

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from plan_review.fleet import Fleet
from plan_review.pipeline import entries

Workflow = dict[str, Any]


def github(root: Path, name: str) -> Workflow:
    text = (root / ".github" / "workflows" / f"modelyard-{name}.yml").read_text(encoding="utf-8")
    found: Workflow = yaml.safe_load(text)
    return found


@pytest.fixture(params=["plan", "apply", "images"])
def workflow(request: pytest.FixtureRequest, root: Path) -> Workflow:
    return github(root, request.param)


def steps(job: Workflow) -> list[Workflow]:
    found: list[Workflow] = job["steps"]
    return found


def test_actions_are_pinned_by_commit(workflow: Workflow) -> None:
    for job in workflow["jobs"].values():
        for step in steps(job):
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]


def test_tokens_start_with_no_rights(workflow: Workflow) -> None:
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert "permissions" in job or all("uses" not in step for step in steps(job)), name
        assert job.get("permissions", {}).get("contents") != "write"
        assert job["timeout-minutes"] <= 90


def test_no_untrusted_text_is_pasted_into_a_shell(workflow: Workflow) -> None:
    """Texts of the event, the matrix and outputs reach shells through variables alone."""
    for job in workflow["jobs"].values():
        for step in steps(job):
            assert "${{" not in step.get("run", ""), step["run"]


def test_shells_are_valid(workflow: Workflow) -> None:
    for job in workflow["jobs"].values():
        for step in steps(job):
            if "run" in step:
                checked = subprocess.run(
                    ["bash", "-n"], input=step["run"], text=True, capture_output=True, check=False
                )
                assert checked.returncode == 0, checked.stderr


def test_checkouts_keep_no_credentials(workflow: Workflow) -> None:
    for job in workflow["jobs"].values():
        for step in steps(job):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_pull_requests_run_without_the_rights_of_the_base(root: Path) -> None:
    plan = github(root, "plan")
    # YAML reads the key `on` as true.
    assert set(plan[True]) == {"pull_request"}  # type: ignore[index]


def with_rights(workflow: Workflow) -> dict[str, Workflow]:
    """Return the jobs that get an identity or may write."""
    return {
        name: job
        for name, job in workflow["jobs"].items()
        if {"id-token", "pull-requests"}
        & {k for k, v in (job.get("permissions") or {}).items() if v == "write"}
    }


def test_jobs_with_rights_run_code_of_the_base_alone(root: Path) -> None:
    found = with_rights(github(root, "plan"))
    assert set(found) == {"plan", "comment"}
    for job in found.values():
        checkout = next(step for step in steps(job) if step.get("uses", "").startswith("actions/checkout@"))
        assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
        assert "head.repo.full_name == github.repository" in job["if"]


def test_the_guard_stands_before_every_identity(root: Path) -> None:
    for name in ("plan", "apply"):
        job = github(root, name)["jobs"]["plan"]
        texts = [step.get("uses", "") + step.get("run", "") for step in steps(job)]
        guard = next(i for i, text in enumerate(texts) if "plan_review.guard" in text)
        identity = next(i for i, text in enumerate(texts) if text.startswith("google-github-actions/auth@"))
        synthesis = [i for i, text in enumerate(texts) if "-m stacks" in text]
        assert guard < identity
        assert all(i < identity for i in synthesis), "nothing is synthesized with an identity at hand"


def test_planners_plan_and_deployers_apply_what_was_approved(root: Path) -> None:
    jobs = github(root, "apply")["jobs"]

    def account(job: Workflow) -> str:
        found = next(s for s in steps(job) if s.get("uses", "").startswith("google-github-actions/auth@"))
        return str(found["with"]["service_account"])

    assert account(jobs["plan"]) == "${{ matrix.target.planner }}"
    assert account(jobs["apply"]) == "${{ matrix.target.deployer }}"
    # The deployer's identity asks for the GitHub environment named like the stack; so do its reviewers.
    assert jobs["apply"]["environment"] == "${{ matrix.target.stack }}"
    applied = next(step["run"] for step in steps(jobs["apply"]) if "terraform apply" in step.get("run", ""))
    assert "terraform apply -input=false tfplan" in applied
    assert "terraform plan" not in applied
    assert "environment" not in jobs["plan"]
    recorded = next(step for step in steps(jobs["apply"]) if "record-deployment" in step.get("run", ""))
    assert "always()" in recorded["if"]
    for option in ("--approved-by", "--commit", "--actor", "--report", "--failed"):
        assert option in recorded["run"]


def test_nothing_is_planned_with_a_lock_that_a_reader_cannot_take(root: Path) -> None:
    for name in ("plan", "apply"):
        run = next(
            s["run"]
            for s in steps(github(root, name)["jobs"]["plan"])
            if "terraform plan" in s.get("run", "")
        )
        assert "-lock=false" in run


def test_commands_in_the_workflows_exist(root: Path) -> None:
    texts = [
        step.get("run", "")
        for name in ("plan", "apply")
        for job in github(root, name)["jobs"].values()
        for step in steps(job)
    ]
    named = set(re.findall(r"modelyard ([a-z-]+)", "\n".join(texts)))
    assert named >= {"review", "review-comment", "record-deployment", "affected"}
    for command in named:
        done = subprocess.run(
            [root / ".venv" / "bin" / "modelyard", command, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for text in texts:
            for part in re.findall(rf"modelyard {command}\b((?:[^\n]|\\\n)*)", text):
                for option in re.findall(r"(?<!\w)--[a-z-]+", part):
                    assert option in done.stdout, f"{command} {option}"


# GitLab


def test_gitlab_template_is_yaml_and_names_its_stages(root: Path) -> None:
    template = yaml.safe_load(
        (root / "ci" / "gitlab" / "modelyard.gitlab-ci.yml").read_text(encoding="utf-8")
    )
    for name, job in template.items():
        if name.startswith("modelyard:"):
            assert job["stage"] in template["stages"]
    assert template["modelyard:review"]["allow_failure"] == {"exit_codes": [3]}


def gitlab_jobs(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("gitlab_jobs", root / "ci" / "gitlab" / "jobs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gitlab_jobs_plan_and_apply_each_stack(root: Path, inputs: Path) -> None:
    module = gitlab_jobs(root)
    found = module.jobs(entries(Fleet(inputs)))
    text = yaml.safe_dump(found)
    assert yaml.safe_load(text) == found
    apply = found["apply prod-team-pricing"]
    assert apply["needs"] == ["plan prod-team-pricing"]
    assert apply["environment"] == {"name": "prod-team-pricing"}
    assert apply["when"] == "manual"
    assert apply["variables"]["IDENTITY"].startswith("modelyard-deployer@")
    assert found["plan prod-team-pricing"]["variables"]["IDENTITY"].startswith("modelyard-planner@")
    for job in found.values():
        for line in (*job.get("before_script", ()), *job["script"]) if isinstance(job, dict) else ():
            checked = subprocess.run(["bash", "-n"], input=line, text=True, capture_output=True, check=False)
            assert checked.returncode == 0, line


def test_gitlab_without_affected_stacks_still_has_a_job(root: Path) -> None:
    assert list(gitlab_jobs(root).jobs([])) == ["nothing"]
