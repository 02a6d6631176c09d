"""Revisions are checked out beside the work tree; what cannot be is refused in words."""

from pathlib import Path

import pytest

from plan_review import git
from plan_review.errors import ReviewError
from tests.plan_review import repositories


@pytest.fixture
def repository(root: Path, tmp_path: Path) -> Path:
    return repositories.make(root, tmp_path / "repository")


def test_a_folder_outside_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="no git repository"):
        git.top_level(tmp_path)


@pytest.mark.parametrize("name", ["nothing", "HEAD~99", "-x", "", "a b", "--help", "main:teams", "\x00"])
def test_refs_that_do_not_exist_are_refused(repository: Path, name: str) -> None:
    with pytest.raises(ReviewError):
        git.resolve(repository, name)


def test_a_branch_that_only_the_remote_has_is_named(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    repositories.git(repository, "branch", "topic")
    repositories.git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    with pytest.raises(ReviewError, match="origin/topic"):
        git.resolve(clone, "topic")


def test_a_shallow_clone_is_told_how_to_get_the_rest(repository: Path, tmp_path: Path) -> None:
    first = repositories.git(repository, "rev-parse", "HEAD")
    (repository / "teams" / "note.txt").write_text("x")
    repositories.commit(repository, "second")
    clone = tmp_path / "clone"
    repositories.git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(clone))
    with pytest.raises(ReviewError, match="fetch --unshallow"):
        git.resolve(clone, first)


def test_histories_without_a_common_commit_are_refused(repository: Path) -> None:
    repositories.git(repository, "checkout", "--quiet", "--orphan", "other")
    repositories.commit(repository, "other")
    with pytest.raises(ReviewError, match="no commit in common"):
        git.common(repository, git.resolve(repository, "main"), git.resolve(repository, "other"))


def test_a_dirty_tree_is_refused(repository: Path) -> None:
    git.refuse_dirty(repository, repository)
    (repository / "README.md").write_text("not looked at")
    git.refuse_dirty(repository, repository)
    (repository / "teams" / "pricing" / "team.yaml").write_text("team: pricing\n")
    with pytest.raises(ReviewError, match=r"teams/pricing/team\.yaml.*--head \."):
        git.refuse_dirty(repository, repository)


def test_new_files_make_a_tree_dirty(repository: Path) -> None:
    (repository / "teams" / "pricing" / "more.json").write_text("{}")
    with pytest.raises(ReviewError, match=r"more\.json"):
        git.refuse_dirty(repository, repository)


def test_the_base_is_where_the_branch_began(repository: Path) -> None:
    began = repositories.git(repository, "rev-parse", "main")
    repositories.git(repository, "checkout", "--quiet", "-b", "topic")
    repositories.commit(repository, "on topic")
    repositories.git(repository, "checkout", "--quiet", "main")
    repositories.commit(repository, "on main")
    base = git.common(repository, git.resolve(repository, "main"), git.resolve(repository, "topic"))
    assert base.commit == began


def test_a_revision_is_checked_out_and_the_tree_left_alone(repository: Path, tmp_path: Path) -> None:
    old = git.resolve(repository, "main")
    path = repository / "teams" / "pricing" / "team.yaml"
    before = path.read_text()
    path.write_text(before + "# changed\n")
    repositories.commit(repository, "second")
    found = git.check_out(repository, repository, old, tmp_path / "out")
    assert (found / "teams" / "pricing" / "team.yaml").read_text() == before
    assert repositories.git(repository, "status", "--porcelain") == ""
    assert repositories.git(repository, "worktree", "list").count("\n") == 0


def test_changed_files_have_any_name(repository: Path) -> None:
    base = git.resolve(repository, "main")
    repositories.git(repository, "checkout", "--quiet", "-b", "topic")
    names = ["teams/pricing/ä ö.json", 'teams/pricing/"quoted".json', "teams/pricing/new\nline.json"]
    for name in names:
        (repository / name).write_text("{}")
    repositories.commit(repository, "names")
    head = git.resolve(repository, "topic")
    assert set(git.changed_files(repository, repository, base, head)) == set(names)


def test_a_repository_may_hold_the_folder_deeper(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mono" / "platform"
    repositories.make(root, folder)
    top = tmp_path / "mono"
    (folder / ".git").rename(top / ".git")
    repositories.commit(top, "moved")
    repository = git.top_level(folder)
    found = git.check_out(repository, folder, git.resolve(repository, "HEAD"), tmp_path / "out")
    assert (found / "environments" / "dev.yaml").is_file()


def test_links_that_lead_out_are_not_followed(repository: Path, tmp_path: Path) -> None:
    (repository / "teams" / "evil").symlink_to("/etc")
    repositories.commit(repository, "link")
    with pytest.raises(ReviewError, match="cannot be checked out"):
        git.check_out(repository, repository, git.resolve(repository, "HEAD"), tmp_path / "out")
