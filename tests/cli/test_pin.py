"""`modelyard pin`: the manifest and the team file change together, and nothing else does."""

import json
from pathlib import Path

import pytest

from modelyard.naming import Names
from modelyard.spec.base import Sensitivity
from modelyard.spec.load import load_environment, load_team
from modelyard.tables import prediction_log
from tests import gcs_server
from tests.cli.conftest import Run, publish_version, snapshot
from tests.strategies import feature, manifest_document, signed

TEAM = "teams/flight-ops/team.yaml"
STABLE = "teams/flight-ops/arrival-delay.json"
CANARY = "teams/flight-ops/arrival-delay.canary.json"
YAML = """\
# Our team.
team: flight-ops   # as in the org chart
owners: {group: flight-ops@example.com, escalation: pager}
cost_center: "4711"

models:
  # The one everybody asks about.
  - name: arrival-delay
    pattern: rest
    version: 3   # since March
    description: >
      Two
      lines.
"""


@pytest.fixture(autouse=True)
def team_file(tree: Path) -> Path:
    """A team file as people write it."""
    path = tree / TEAM
    path.write_text(YAML, encoding="utf-8")
    return path


def changed(tree: Path, before: dict[str, bytes]) -> set[str]:
    """Return the files that were changed, added or removed."""
    after = snapshot(tree)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_next_version(modelyard: Run, tree: Path, registry: Path) -> None:
    features = [feature("distance", unit="km"), feature("carrier", "string"), feature("wind")]
    manifest = publish_version(registry, 4, features=features)
    before = snapshot(tree)
    told = modelyard("pin", "flight-ops/arrival-delay@4")
    assert told.out.splitlines() == [
        "flight-ops/arrival-delay: version 3 -> 4",
        "  test mae: 12.5 -> 12.5, the same",
        "  feature added: wind (float64)",
        "  trained on 1,000 rows of example at commit 000000000000",
        f"Written: {TEAM}",
        f"Written: {STABLE}",
    ]
    assert (told.code, told.err) == (0, "")
    assert changed(tree, before) == {TEAM, STABLE}
    assert (tree / TEAM).read_text() == YAML.replace("version: 3   # since", "version: 4   # since")
    assert (tree / STABLE).read_bytes() == manifest.read_bytes()
    assert modelyard("validate").code == 0
    assert "nothing to do" in modelyard("pin", "flight-ops/arrival-delay@4").out
    assert load_team(tree, "flight-ops", load_environment(tree, "dev")).models[0].spec.version == 4


@pytest.mark.parametrize("given", [[], ["--registry", "gs://models/published"]], ids=["variable", "option"])
def test_a_version_is_pinned_from_a_bucket(
    given: list[str], modelyard: Run, tree: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish_version(registry, 4)
    with gcs_server.serving("models") as (address, buckets):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        if not given:
            monkeypatch.setenv("MODELYARD_REGISTRY", "gs://models/published")
        buckets["models"]["published/flight-ops/arrival-delay/4/manifest.json"] = (1, manifest.read_bytes())
        assert modelyard("pin", "flight-ops/arrival-delay@4", *given).code == 0
        assert (tree / STABLE).read_bytes() == manifest.read_bytes()
        missing = modelyard("pin", "flight-ops/arrival-delay@5", *given)
        there = "There is no version 5 of flight-ops/arrival-delay in the registry gs://models/published"
        assert (missing.code, f"{there}; it has 4" in missing.err) == (2, True)
        monkeypatch.setenv("MODELYARD_REGISTRY", "gs://nowhere")
        refused = modelyard("pin", "flight-ops/arrival-delay@4")
        assert (refused.code, "Cannot list gs://nowhere: 404" in refused.err) == (2, True)
        served = modelyard("serve", "flight-ops")
        assert (served.code, "is a bucket; this needs a folder" in served.err) == (2, True)


def test_canary_comes_moves_and_is_promoted(modelyard: Run, tree: Path, registry: Path) -> None:
    for version in (4, 5):
        publish_version(registry, version)
    told = modelyard("pin", "flight-ops/arrival-delay@4", "--canary")
    assert told.out.startswith(
        "flight-ops/arrival-delay: canary 4\n  compared with version 3, which is served:\n"
    )
    line = "    version: 3   # since March\n"
    canary = "    canary: {version: 4, percent: 10}\n"
    assert (tree / TEAM).read_text() == YAML.replace(line, line + canary)
    assert modelyard("validate").code == 0
    modelyard("pin", "flight-ops/arrival-delay@5", "--canary")
    assert (tree / TEAM).read_text() == YAML.replace(line, line + canary.replace("4,", "5,"))
    told = modelyard("pin", "flight-ops/arrival-delay@5")
    assert f"Removed: {CANARY}" in told.out
    assert (tree / TEAM).read_text() == YAML.replace("version: 3", "version: 5")
    assert not (tree / CANARY).exists()
    assert modelyard("validate").code == 0


def test_a_lost_manifest_is_brought_back(modelyard: Run, tree: Path, registry: Path) -> None:
    publish_version(registry, 3)
    (tree / STABLE).unlink()
    told = modelyard("pin", "flight-ops/arrival-delay@3")
    assert told.out.splitlines()[0] == "flight-ops/arrival-delay: version 3"
    assert f"Written: {TEAM}" not in told.out
    assert modelyard("validate").code == 0


def test_a_changed_manifest_is_brought_back(modelyard: Run, tree: Path, registry: Path) -> None:
    publish_version(registry, 3)
    (tree / STABLE).write_text((tree / STABLE).read_text().replace("12.5", "1.5"))
    assert modelyard("validate").code == 2
    assert modelyard("pin", "flight-ops/arrival-delay@3").code == 0
    assert modelyard("validate").code == 0


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("arrival-delay@4", "'arrival-delay' is not TEAM/MODEL"),
        ("flight-ops/arrival-delay", "is not TEAM/MODEL@VERSION"),
        ("flight-ops/arrival-delay@0", "is not TEAM/MODEL@VERSION"),
        ("flight-ops/arrival-delay@four", "is not TEAM/MODEL@VERSION"),
        ("../flight-ops/arrival-delay@4", "is not TEAM/MODEL"),
        ("flight-ops/../x@4", "is not TEAM/MODEL"),
        ("flight-op/arrival-delay@4", "There is no team 'flight-op' under"),
        ("flight-ops/arival-delay@4", "which has arrival-delay. Did you mean 'arrival-delay'?"),
        ("flight-ops/arrival-delay@9", "There is no version 9 of flight-ops/arrival-delay in the registry"),
    ],
)
def test_what_is_not_there(modelyard: Run, tree: Path, registry: Path, target: str, told: str) -> None:
    publish_version(registry, 4)
    before = snapshot(tree)
    result = modelyard("pin", target)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert changed(tree, before) == set()


def test_a_canary_must_be_another_version(modelyard: Run, registry: Path) -> None:
    publish_version(registry, 3)
    assert "is served already" in modelyard("pin", "flight-ops/arrival-delay@3", "--canary").err


def test_a_canary_that_takes_other_features_is_refused(modelyard: Run, tree: Path, registry: Path) -> None:
    publish_version(registry, 4, features=[feature("distance")])
    before = snapshot(tree)
    told = modelyard("pin", "flight-ops/arrival-delay@4", "--canary")
    assert told.code == 2
    assert "Version 4 cannot be a canary of version 3" in told.err
    assert "feature 'carrier' is missing" in told.err
    assert changed(tree, before) == set()


def test_a_version_with_personal_data_needs_readers(modelyard: Run, tree: Path, registry: Path) -> None:
    publish_version(registry, 4, features=[feature("name", "string", sensitivity="pii")])
    before = snapshot(tree)
    told = modelyard("pin", "flight-ops/arrival-delay@4")
    assert told.code == 2
    assert "Say who may read 'name' (pii) in clear" in told.err
    assert changed(tree, before) == set()
    (tree / TEAM).write_text(YAML + "    access: {pii_readers: []}\n")
    assert modelyard("pin", "flight-ops/arrival-delay@4").code == 0


def test_a_bad_manifest_in_the_registry_is_refused(modelyard: Run, tree: Path, registry: Path) -> None:
    path = publish_version(registry, 4)
    path.write_text(path.read_text().replace("12.5", "1"))
    before = snapshot(tree)
    told = modelyard("pin", "flight-ops/arrival-delay@4")
    assert told.code == 2
    assert "changed after it was published" in told.err
    other = registry / "flight-ops/arrival-delay/5"
    other.mkdir()
    (other / "manifest.json").write_text((registry / "flight-ops/arrival-delay/4/manifest.json").read_text())
    path.parent.rename(path.parent.with_name("old"))
    (other / "manifest.json").write_text(json.dumps(manifest_document(version=4)))
    assert "not of flight-ops/arrival-delay@5" in modelyard("pin", "flight-ops/arrival-delay@5").err
    assert changed(tree, before) == set()


def test_problems_elsewhere_do_not_hinder(modelyard: Run, tree: Path, registry: Path) -> None:
    """A tree with several problems is mended one command at a time."""
    publish_version(registry, 4)
    (tree / TEAM).write_text(YAML + "  - {name: other, pattern: batch, version: 1}\n")
    assert modelyard("pin", "flight-ops/arrival-delay@4").code == 0
    assert (tree / TEAM).read_text().endswith("  - {name: other, pattern: batch, version: 1}\n")
    assert "Version 1 is not pinned" in modelyard("validate").out


def test_a_team_file_that_cannot_be_read_is_told(modelyard: Run, tree: Path, registry: Path) -> None:
    publish_version(registry, 4)
    (tree / TEAM).write_text(YAML + "\tx")
    told = modelyard("pin", "flight-ops/arrival-delay@4")
    assert told.code == 2
    assert told.err.startswith(f"{TEAM}:14:1: A tab")


def test_a_failed_write_leaves_everything_as_it_was(
    modelyard: Run, tree: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_version(registry, 4)
    before = snapshot(tree)
    replace = Path.replace

    def fails_once_begun(self: Path, target: Path) -> Path:
        if target.name == "arrival-delay.json" and target.is_relative_to(tree):
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails_once_begun)
    told = modelyard("pin", "flight-ops/arrival-delay@4")
    assert (told.code, told.out) == (2, "")
    assert "No space left on device" in told.err
    assert snapshot(tree) == before


def test_the_registry_may_be_named_or_lie_in_the_checkout(
    modelyard: Run, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELYARD_REGISTRY", raising=False)
    publish_version(tmp_path / "named", 4)
    assert "it has no version of that model" in modelyard("pin", "flight-ops/arrival-delay@4").err
    assert modelyard("pin", "flight-ops/arrival-delay@4", "--registry", str(tmp_path / "named")).code == 0
    publish_version(tree / ".modelyard/registry", 5)
    assert modelyard("pin", "flight-ops/arrival-delay@5").code == 0


def test_files_keep_their_line_ends_and_permissions(modelyard: Run, tree: Path, registry: Path) -> None:
    publish_version(registry, 4)
    windows = b"\xef\xbb\xbf" + YAML.replace("\n", "\r\n").encode()
    (tree / TEAM).write_bytes(windows)
    (tree / TEAM).chmod(0o640)
    assert modelyard("pin", "flight-ops/arrival-delay@4", "--canary").code == 0
    expected = windows.replace(b"March\r\n", b"March\r\n    canary: {version: 4, percent: 10}\r\n")
    assert (tree / TEAM).read_bytes() == expected
    assert (tree / TEAM).stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in (tree / "teams/flight-ops").iterdir()) == [
        "arrival-delay.canary.json",
        "arrival-delay.json",
        "team.yaml",
    ]


def test_digests_are_compared_not_trusted(modelyard: Run, registry: Path) -> None:
    path = publish_version(registry, 4)
    document = manifest_document(version=4)
    path.write_text(json.dumps(signed({**document, "team": "pricing"})))
    assert "is the manifest of pricing/arrival-delay@4" in modelyard("pin", "flight-ops/arrival-delay@4").err


RETIRED = "teams/flight-ops/arrival-delay.retired.json"


def test_a_dropped_feature_stays_in_the_log_with_its_protection(
    modelyard: Run, tree: Path, registry: Path
) -> None:
    restricted = feature("home", "string", sensitivity="confidential")
    publish_version(registry, 4, features=[feature("distance"), restricted])
    publish_version(registry, 5, features=[feature("distance")])
    publish_version(registry, 6, features=[feature("distance"), restricted])
    access = "    access: {pii_readers: []}\n"
    (tree / TEAM).write_text(YAML + access, encoding="utf-8")

    assert modelyard("pin", "flight-ops/arrival-delay@4").code == 0
    assert modelyard("pin", "flight-ops/arrival-delay@5").code == 0
    retired = json.loads((tree / RETIRED).read_text())["features"]
    assert [(f["name"], f["sensitivity"]) for f in retired] == [
        ("carrier", "internal"),
        ("home", "confidential"),
    ]
    environment = load_environment(tree, "dev")
    model = load_team(tree, "flight-ops", environment).models[0]
    names = Names.of(environment).team("flight-ops").model(model.name)
    table = prediction_log(model, names)
    assert table.paths["features.home"].policy_tag is Sensitivity.CONFIDENTIAL
    assert "features.carrier" in table.paths

    # It comes back: its column is that of the pinned version again.
    assert modelyard("pin", "flight-ops/arrival-delay@6").code == 0
    assert [f["name"] for f in json.loads((tree / RETIRED).read_text())["features"]] == ["carrier"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"features": [feature("distance", "string"), feature("carrier", "string")]},
            "Feature 'distance' is float64 in the prediction log and string in version 4",
        ),
        (
            {"signature": {"features": [feature("a")], "prediction": {"name": "delay", "type": "string"}}},
            "The prediction is float64 in the prediction log and string now",
        ),
    ],
)
def test_what_would_replace_the_log_is_refused(
    modelyard: Run, tree: Path, registry: Path, changes: dict[str, object], says: str
) -> None:
    publish_version(registry, 4, **changes)
    before = snapshot(tree)

    told = modelyard("pin", "flight-ops/arrival-delay@4")

    assert told.code == 2
    assert says in told.err
    assert snapshot(tree) == before


def test_a_retired_feature_that_comes_back_with_another_type_is_a_problem(modelyard: Run, tree: Path) -> None:
    document = {"format": "modelyard.retired/1", "features": [feature("distance", "bool")]}
    (tree / RETIRED).write_text(json.dumps(document), encoding="utf-8")
    told = modelyard("validate")
    assert told.code == 2
    assert "arrival-delay.retired.json:1:" in told.out + told.err
    assert "features[0].type: Feature 'distance' is bool in the prediction log" in told.out + told.err


def test_a_broken_note_of_retired_features_is_not_forgotten(
    modelyard: Run, tree: Path, registry: Path
) -> None:
    publish_version(registry, 4)
    (tree / RETIRED).write_text('{"format": "modelyard.retired/1", "features": [', encoding="utf-8")
    before = snapshot(tree)
    told = modelyard("pin", "flight-ops/arrival-delay@4")
    assert told.code == 2
    assert "arrival-delay.retired.json:1:" in told.err
    assert changed(tree, before) == set()
