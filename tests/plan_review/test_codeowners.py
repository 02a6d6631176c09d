"""Code owners follow from the teams' owners and the platform's group."""

import re
from pathlib import Path

import pytest

from plan_review.codeowners import rendered
from plan_review.errors import ReviewError
from plan_review.fleet import Fleet
from tests.plan_review.conftest import copy_inputs


def owners(text: str) -> dict[str, list[str]]:
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {line[0]: line[1:] for line in lines}


def test_every_team_owns_its_folder(inputs: Path) -> None:
    found = owners(rendered(inputs))
    for team, facts in Fleet(inputs).teams.items():
        assert found[f"/teams/{team}/"] == [facts.group]
        assert found[f"/teams/{team}/stack.py"] == [facts.group, "ml-platform@example.com"]


def test_the_platform_owns_what_is_shared(inputs: Path) -> None:
    found = owners(rendered(inputs))
    for path in ("*", "/environments/", "/modules/", "/stacks/", "/waivers.yaml", "/.github/"):
        assert found[path] == ["ml-platform@example.com"]


def test_later_lines_win_so_teams_come_last(inputs: Path) -> None:
    lines = rendered(inputs).splitlines()
    assert lines.index("* ml-platform@example.com") < min(
        i for i, line in enumerate(lines) if "/teams/" in line
    )


def test_accounts_take_the_place_of_groups(root: Path, tmp_path: Path) -> None:
    folder = copy_inputs(root, tmp_path)
    (folder / "codeowners.yaml").write_text('pricing@example.com: "@example/pricing"\n')
    assert owners(rendered(folder))["/teams/pricing/"] == ["@example/pricing"]


@pytest.mark.parametrize("text", ["- a", "a: [b]", "a: no account", "a: '@x\\n* @evil'", "a: [", "\t"])
def test_a_wrong_mapping_is_refused(root: Path, tmp_path: Path, text: str) -> None:
    folder = copy_inputs(root, tmp_path)
    (folder / "codeowners.yaml").write_text(text)
    with pytest.raises(ReviewError, match=re.escape("codeowners.yaml")):
        rendered(folder)


def test_without_environments_there_is_no_platform(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match=r"groups\.platform"):
        rendered(tmp_path)
