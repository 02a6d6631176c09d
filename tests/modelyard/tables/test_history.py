"""Schemas only grow."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.tables import DEPLOYMENTS, SHARED_TABLES, TableError
from modelyard.tables.history import COMMAND, LOCK, Schemas, breaks, check, described, read, rendered

NOW = described(SHARED_TABLES)
KEY = "metadata.deployments"


def changed(path: str, kind: str | None) -> Schemas:
    """Return the schemas with one column of `deployments` set to `kind`, or removed."""
    schemas = copy.deepcopy(NOW)
    if kind is None:
        del schemas[KEY]["columns"][path]
    else:
        schemas[KEY]["columns"][path] = kind
    return schemas


def test_the_lock_file_is_current() -> None:
    assert LOCK.read_text(encoding="utf-8") == rendered(SHARED_TABLES), f"run: {COMMAND}"


def test_the_tables_only_grew() -> None:
    assert breaks(read(), NOW) == []


@pytest.mark.parametrize(
    ("path", "kind", "problem"),
    [
        ("actor", None, "metadata.deployments.actor: the column was removed"),
        ("models.percent", None, "metadata.deployments.models.percent: the column was removed"),
        ("succeeded", "REQUIRED STRING", "succeeded: changed from REQUIRED BOOL to REQUIRED STRING"),
        ("stacks", "NULLABLE STRING", "stacks: changed from REPEATED STRING to NULLABLE STRING"),
        ("extra", "REQUIRED STRING", "extra: a new column cannot be REQUIRED"),
        ("models.extra", "REQUIRED STRING", "models.extra: a new column cannot be REQUIRED"),
    ],
)
def test_a_loss_is_named(path: str, kind: str | None, problem: str) -> None:
    (found,) = breaks(NOW, changed(path, kind))
    assert problem in found


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("extra", "NULLABLE STRING"),
        ("models.extra", "REPEATED INT64"),
        ("actor", "NULLABLE STRING"),
    ],
)
def test_growth_is_fine(path: str, kind: str) -> None:
    assert breaks(NOW, changed(path, kind)) == []


def test_a_new_record_may_have_required_fields() -> None:
    schemas = changed("who", "NULLABLE RECORD")
    schemas[KEY]["columns"]["who.name"] = "REQUIRED STRING"
    assert breaks(NOW, schemas) == []


def test_a_removed_table_and_other_partitions_are_named() -> None:
    schemas = copy.deepcopy(NOW)
    del schemas["monitoring.monitor_runs"]
    schemas[KEY]["partition"] = "DAY time"
    assert breaks(NOW, schemas) == [
        "metadata.deployments: partitioning changed from MONTH time to DAY time",
        "monitoring.monitor_runs: the table was removed",
    ]


def test_check_refuses_with_every_loss(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    lock.write_text(rendered(SHARED_TABLES))
    check(SHARED_TABLES, lock)
    with pytest.raises(TableError, match=r"schemas only grow:(?s:.*)model_versions(?s:.*)alert_events"):
        check([DEPLOYMENTS], lock)


def test_the_command_writes_what_is_committed(tmp_path: Path, root: Path) -> None:
    package = tmp_path / "modelyard"
    (package / "tables").mkdir(parents=True)
    for source in (root / "modelyard").rglob("*.py"):
        target = package / source.relative_to(root / "modelyard")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    lock = package / "tables" / LOCK.name

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelyard.tables"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run().returncode == 0
    assert lock.read_text() == LOCK.read_text()

    lock.write_text(lock.read_text().replace('"actor": "REQUIRED STRING"', '"actor": "REQUIRED INT64"'))
    before = lock.read_text()
    refused = run()
    assert refused.returncode == 2
    assert "metadata.deployments.actor: changed from REQUIRED INT64 to REQUIRED STRING" in refused.stderr
    assert lock.read_text() == before, "nothing is written when it is refused"
