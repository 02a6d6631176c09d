"""Plan files of any kind are read, or refused in words."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan_review.changes import Action, stack_plan
from plan_review.errors import ReviewError
from plan_review.masking import UNKNOWN
from plan_review.plan import PlanFile, decode, read, read_all
from tests.plan_review import plans

ADDRESS = "google_storage_bucket.b"


def refused(text: bytes) -> str:
    with pytest.raises(ReviewError) as error:
        decode(text, "plan.json")
    message = str(error.value)
    assert message.startswith("plan.json: ")
    return message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"PK\x03\x04rest", "binary plan"),
        (b"\xff\xfe{\x00", "UTF-16"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\x1f\x8b\x08", "compressed"),
        (b'{"@level":"info"}\n{"@level":"info"}\n', "log of `terraform plan -json`"),
        (b"Terraform will perform the following actions", "not valid JSON"),
        (b"[1, 2]", "no Terraform plan"),
        (b'"text"', "no Terraform plan"),
        (b"{}", "no format_version"),
        (b'{"format_version": "0.1"}', "'0.1' is not supported"),
        (b'{"format_version": "2.0"}', "'2.0' is not supported"),
        (b'{"format_version": "1.0", "values": {}}', "a state"),
        (b'{"version": 4, "lineage": "a", "serial": 1}', "state file"),
        (b'{"format_version": "1.2", "resource_changes": [{"address": 3}]}', "$.resource_changes[0].address"),
        (b'{"format_version": "1.2", "resource_changes": [{"address": "a"}]}', "missing required field"),
        (b'{"format_version": "\xff"}', "not valid JSON"),
        (b'{"format_version": "1.2", "resource_changes": ' + b"[" * 100_000, "no Terraform plan"),
    ],
)
def test_what_is_no_plan_is_refused_in_words(text: bytes, words: str) -> None:
    assert words in refused(text)


def test_a_truncated_plan_is_refused() -> None:
    whole = json.dumps(plans.document(plans.change(ADDRESS, None, {"name": "b"}))).encode()
    assert "cut off" in refused(whole[:-20])


@given(st.data())
def test_no_prefix_of_a_plan_ends_in_a_traceback(data: st.DataObject) -> None:
    whole = json.dumps(plans.document(plans.change(ADDRESS, None, {"name": "b"}))).encode()
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ReviewError):
        decode(whole[:end], "plan.json")


@given(st.binary(max_size=200))
def test_no_bytes_end_in_a_traceback(text: bytes) -> None:
    with pytest.raises(ReviewError):
        decode(text, "plan.json")


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="no such file"):
        read(tmp_path / "nothing.json")
    with pytest.raises(ReviewError, match="directory"):
        read(tmp_path)


def test_newer_minor_versions_and_unknown_keys_are_read() -> None:
    document = plans.document(
        plans.change(ADDRESS, None, {"name": "b"}), format_version="1.99", news={"a": [1]}
    )
    assert len(decode(json.dumps(document).encode(), "p").resource_changes) == 1


def test_two_plans_of_one_stack_are_refused(tmp_path: Path) -> None:
    first = plans.write(tmp_path / "a.json")
    second = plans.write(tmp_path / "b.json")
    with pytest.raises(ReviewError, match=r"second plan of stack dev-platform.*a\.json"):
        read_all([f"dev-platform={first}", f"dev-platform={second}"])


def test_the_stack_is_named_by_argument_file_folder_or_labels(tmp_path: Path) -> None:
    path = plans.write(tmp_path / "x.json")
    assert read_all([f"prod-catalog={path}"])[0].stack == "prod-catalog"
    assert read_all([str(plans.write(tmp_path / "prod-platform.json"))])[0].stack == "prod-platform"
    folder = tmp_path / "dev-team-flight-ops"
    folder.mkdir()
    assert read_all([str(plans.write(folder / "plan.json"))])[0].stack == "dev-team-flight-ops"
    labelled = plans.write(tmp_path / "y.json", plans.change(ADDRESS, None, {"labels": plans.LABELS}))
    assert read_all([str(labelled)])[0].stack == "dev-team-pricing"
    assert read_all([str(path)])[0].stack == "x"


@pytest.mark.parametrize(
    ("actions", "action"),
    [
        (["create"], Action.CREATE),
        (["update"], Action.UPDATE),
        (["delete"], Action.DELETE),
        (["delete", "create"], Action.REPLACE),
        (["create", "delete"], Action.REPLACE),
        (["forget"], Action.FORGET),
        (["no-op"], Action.NONE),
    ],
)
def test_actions(actions: list[str], action: Action) -> None:
    stack = stack_plan(plans.plan(plans.change(ADDRESS, {"a": 1}, {"a": 2}, actions)))
    assert [change.action for change in stack.all()] == [action]


def test_an_unknown_action_is_named() -> None:
    stack = stack_plan(plans.plan(plans.change(ADDRESS, {"a": 1}, {"a": 2}, ["transmogrify"])))
    assert stack.unknown_actions == ("transmogrify",)
    assert stack.changes[0].action is Action.UPDATE


def test_plans_without_prior_state_or_with_errors() -> None:
    document = plans.document(plans.change(ADDRESS, None, {"name": "b"}), errored=True)
    del document["prior_state"]
    text = json.dumps(document).encode()
    stack = stack_plan(PlanFile("dev-catalog", decode(text, "p"), "p"))
    assert stack.errored
    assert not stack.has_prior_state


def test_moved_imported_and_data_sources() -> None:
    stack = stack_plan(
        plans.plan(
            plans.change(ADDRESS, {"a": 1}, {"a": 1}, previous_address="google_storage_bucket.old"),
            plans.change("google_storage_bucket.c", {"a": 1}, {"a": 1}, importing={"id": "c"}),
            {**plans.change("google_project.p", None, {"a": 1}), "mode": "data"},
        )
    )
    assert [(c.moved, c.imported) for c in stack.changes] == [(True, False), (False, True)]


def test_unknown_values_take_the_place_of_what_is_not_known() -> None:
    stack = stack_plan(
        plans.plan(
            plans.change(
                ADDRESS, None, {"name": "b", "list": [{"x": 1}]}, unknown={"id": True, "list": [{"y": True}]}
            )
        )
    )
    after = stack.changes[0].after
    assert after["id"] is UNKNOWN
    assert after["list"][0] == {"x": 1, "y": UNKNOWN}


def test_a_real_plan_of_terraform_is_read(tmp_path: Path, root: Path) -> None:
    """Made with the Terraform that is installed, and with no provider at all."""
    from modelyard.toolchain import find_terraform

    terraform = find_terraform(root)
    (tmp_path / "main.tf.json").write_text(
        json.dumps(
            {
                "resource": {"terraform_data": {"one": {"input": "a"}}},
                "output": {"secret": {"value": "hunter2-hunter2", "sensitive": True}},
            }
        )
    )
    for arguments in (["init"], ["plan", "-out=tfplan"]):
        subprocess.run([terraform, *arguments], cwd=tmp_path, check=True, capture_output=True)
    shown = subprocess.run(
        [terraform, "show", "-json", "tfplan"], cwd=tmp_path, check=True, capture_output=True
    )
    stack = stack_plan(PlanFile("dev-catalog", decode(shown.stdout, "p"), "p"))
    assert [(c.address, c.action) for c in stack.changes] == [("terraform_data.one", Action.CREATE)]
    assert "hunter2" not in repr(stack)
    assert "binary plan" in refused((tmp_path / "tfplan").read_bytes())


def test_values_nested_too_deeply_are_refused() -> None:
    text = json.dumps(plans.document(plans.change(ADDRESS, None, {"name": "DEEP"})))
    deep = text.replace('"DEEP"', "[" * 50_000 + "]" * 50_000).encode()
    with pytest.raises(ReviewError):
        stack_plan(PlanFile("dev-catalog", decode(deep, "plan.json"), "plan.json"))
