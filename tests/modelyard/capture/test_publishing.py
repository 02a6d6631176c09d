"""One call registers a version with all that others need; what is wrong is said, and nothing registered."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LinearRegression

from modelyard import warehouse
from modelyard.artifacts import fetch_signed
from modelyard.artifacts.digests import digest_of
from modelyard.capture import About, PublishError, Sensitivity, publish
from modelyard.capture.publishing import Published
from modelyard.capture.rendering import render
from modelyard.spec.manifest import Manifest, Metrics, Task
from modelyard.spec.manifest import digest_of as manifest_digest
from modelyard.tables import MODEL_VERSIONS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)
ROOT = Path(__file__).resolve().parents[3]
TABLE = "example-models-local.modelyard_local_metadata.model_versions"


def frame(slope: float = 2.0) -> pd.DataFrame:
    x = np.arange(40.0)
    return pd.DataFrame({"x": x, "note": "unused", "y": slope * x + 1 + np.sin(x)})


def line(slope: float = 2.0, **changes: Any) -> Published:
    """Publish a straight line."""
    rows = frame(slope)
    model = LinearRegression().fit(rows[["x"]], rows["y"])
    arguments = {"name": "geometry/line", "data": rows, "test": rows.iloc[::2], "target": "y", **changes}
    return publish(arguments.pop("model", model), **arguments)


def registered(registry: Path) -> list[dict[str, Any]]:
    tables = warehouse.local(registry.parent / "warehouse")
    sql = f"SELECT model, version, manifest_digest FROM `{TABLE}` ORDER BY version"
    rows: list[dict[str, Any]] = tables.query(sql, tables={TABLE: MODEL_VERSIONS}).to_pylist()
    return rows


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_least_call_captures_everything(registry: Path, tmp_path: Path) -> None:
    published = line()
    manifest = published.manifest
    assert published.new and str(published).startswith("geometry/line@1 published: mae 0.6")

    document = json.loads((registry / "geometry/line/1/manifest.json").read_bytes())
    assert manifest_digest(document) == document["digest"] == manifest.digest
    (feature,) = manifest.signature.features
    assert (feature.name, feature.type.value, feature.range) == ("x", "float64", (0, 39))
    assert (manifest.task, manifest.signature.prediction.name) == (Task.REGRESSION, "predicted_y")
    assert manifest.metrics.primary == "mae" and manifest.metrics.rows == 20
    assert manifest.metrics.values["mae"] < manifest.metrics.values["naive_mae"]
    assert (manifest.data.uri, manifest.data.rows) == ("dataframe", 40)
    assert manifest.code.entry_point == "tests/modelyard/capture/test_publishing.py"
    subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{manifest.code.commit}^{{commit}}"], check=True)
    assert {"numpy", "pandas", "pytest", "scikit-learn"} <= set(manifest.dependencies.packages)
    assert manifest.parameters == {"copy_X": True, "fit_intercept": True, "positive": False, "tol": 1e-06}
    assert manifest.environment is not None and manifest.environment.processors > 0
    assert manifest.baselines.target and manifest.baselines.target.kind == "numeric"
    assert manifest.baselines.error and manifest.baselines.error.kind == "loss_tree"
    assert manifest.baselines.metric_std and manifest.baselines.metric_std < 1

    assert manifest.bom is not None
    content = (registry / manifest.bom.uri).read_bytes()
    assert digest_of(content) == manifest.bom.digest
    bom = json.loads(content)
    versions = {component["name"]: component["version"] for component in bom["components"]}
    assert (bom["bomFormat"], versions["numpy"]) == ("CycloneDX", np.__version__)
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert any(ref.startswith("pkg:pypi/numpy@") for ref in needs[f"pkg:pypi/pandas@{pd.__version__}"])

    assert manifest.online is not None and manifest.signing is not None
    for artifact in (manifest.artifact, manifest.online):
        path = fetch_signed(
            registry,
            artifact.uri,
            artifact.digest,
            tmp_path / "served",
            bundle_uri=manifest.signing.bundle.uri,
            bundle_digest=manifest.signing.bundle.digest,
            public_key=manifest.signing.public_key,
        )
        assert path.stat().st_size == artifact.size_bytes

    assert registered(registry) == [{"model": "line", "version": 1, "manifest_digest": manifest.digest}]


def test_publishing_twice_registers_once(registry: Path) -> None:
    first = line()
    before = contents(registry)
    for again in (line(), line(version=1)):
        assert not again.new and again.manifest == first.manifest
        assert str(again).startswith("geometry/line@1 unchanged: ")
    assert contents(registry) == before
    assert len(registered(registry)) == 1


def test_other_content_is_another_version(registry: Path) -> None:
    line()
    before = contents(registry)
    with pytest.raises(PublishError, match=r"geometry/line@1 is published already, with other artifact, "):
        line(slope=3.0, version=1)
    assert contents(registry) == before
    assert line(slope=3.0).manifest.version == 2
    assert line().manifest.version == 1, "what is there is not registered again"
    assert [row["version"] for row in registered(registry)] == [1, 2]


def test_a_registry_that_lost_its_row_in_the_table_is_mended_by_publishing_again(registry: Path) -> None:
    line()
    for file in (registry.parent / "warehouse").rglob("*.parquet"):
        file.unlink()
    assert registered(registry) == []
    assert not line().new
    assert len(registered(registry)) == 1


RACER = """
import sys
from tests.modelyard.capture.test_publishing import line, PublishError
slope, entry = float(sys.argv[1]), sys.argv[2]
line(slope=slope, name=f"warm/up-{slope:g}".replace(".", "-"), entry_point=entry)
print("ready", flush=True)
sys.stdin.readline()
for name, version in (("geometry/line", 1), ("geometry/free", None)):
    try:
        published = line(slope=slope, name=name, version=version, entry_point=entry)
        print("won" if published.new else "unchanged", published.manifest.version)
    except PublishError as error:
        print("refused", error)
"""


def test_of_two_processes_with_other_content_one_wins(registry: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, slope, __file__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for slope in ("2", "3")
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(2) as pool:
        said = [out.splitlines() for out, _ in pool.map(lambda racer: racer.communicate("go\n"), racers)]
    same_number, next_free = (sorted(lines) for lines in zip(*said, strict=True))
    assert same_number[0].startswith("refused geometry/line@1 is published already, with other artifact")
    assert same_number[1] == "won 1"
    assert next_free == ["won 1", "won 2"]
    for version in ("geometry/line/1", "geometry/free/1", "geometry/free/2"):
        held = Manifest.model_validate_json((registry / version / "manifest.json").read_bytes())
        assert digest_of((registry / held.artifact.uri).read_bytes()) == held.artifact.digest
    rows = [(row["model"], row["version"]) for row in registered(registry)]
    assert sorted(row for row in rows if row[0] in ("line", "free")) == [
        ("free", 1),
        ("free", 2),
        ("line", 1),
    ]


def test_classifiers_are_described_by_their_labels(registry: Path) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(300, 2))
    rows = pd.DataFrame(x, columns=["a", "b"]).assign(ok=np.where(x.sum(1) > 0, "yes", "no"))
    model = GradientBoostingClassifier(n_estimators=5).fit(rows[["a", "b"]], rows["ok"])
    manifest = publish(model, name="team/model", data=rows, test=rows[:100], target="ok").manifest
    assert manifest.signature.prediction.classes == ("no", "yes")
    assert manifest.signature.prediction.name == "ok_probability"
    assert manifest.metrics.primary == "roc_auc" and manifest.metrics.values["roc_auc"] > 0.9
    target, error = manifest.baselines.target, manifest.baselines.error
    assert target and target.kind == "categorical" and set(target.counts) == {"no", "yes"}
    assert error and error.kind == "calibration" and sum(error.counts) == 100


def test_what_data_cannot_say_is_given(registry: Path) -> None:
    manifest = line(
        about={"x": About("Where", "m", Sensitivity.PII)},
        description="A straight line",
        prediction="height",
        unit="m",
        parameters={"seed": 1, "note": "x" * 500, "skipped": object(), "ratio": float("inf")},
        source="pkg:pypi/lines@1#straight",
        source_is="A line",
    ).manifest
    (feature,) = manifest.signature.features
    assert (feature.description, feature.unit, feature.sensitivity) == ("Where", "m", Sensitivity.PII)
    assert (manifest.signature.prediction.name, manifest.signature.prediction.unit) == ("height", "m")
    assert (manifest.description, manifest.data.description) == ("A straight line", "A line")
    assert manifest.data.uri == "pkg:pypi/lines@1#straight"
    assert manifest.parameters["seed"] == 1 and len(str(manifest.parameters["note"])) == 200
    assert "skipped" not in manifest.parameters and manifest.parameters["ratio"] == "inf"


def test_no_number_of_a_person_stands_in_a_manifest(registry: Path) -> None:
    """Salaries are unique; neither range nor bins nor the loss tree may tell one."""
    random = np.random.default_rng(3)
    salary = np.unique(random.lognormal(10, 0.4, 500).round(2))
    account = 4_000_000_000 + random.permutation(len(salary)) * 7919 + 3
    rows = pd.DataFrame({"salary": salary, "account": account, "y": salary / 100})
    rows["y"] += (salary > 25_000) * random.normal(0, 300, len(salary))  # there is something to split on
    model = LinearRegression().fit(rows[["salary", "account"]] / [1, 1e9], rows["y"])

    def numbers(value: Any) -> Iterator[float]:
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from numbers(item)
        elif isinstance(value, float | int):
            yield float(value)

    def told(level: Sensitivity) -> set[float]:
        about = {name: About(sensitivity=level) for name in ("salary", "account")}
        manifest = line(model=model, data=rows, test=rows, about=about, name=f"people/{level}").manifest
        document = manifest.model_dump(mode="json")
        assert manifest.baselines.features["salary"].missing == 0
        low, high = document["signature"]["features"][0]["range"]
        assert low <= salary.min() and salary.max() <= high
        counts = document["baselines"]["features"]["salary"]["counts"]
        assert len(counts) > 5 and sum(counts) == len(salary)
        return set(numbers(document)) & {*map(float, salary), *map(float, account)}

    assert told(Sensitivity.INTERNAL)
    assert told(Sensitivity.PII) == set()


def test_texts_of_few_people_are_refused(registry: Path) -> None:
    rows = frame().assign(town=["Ulm"] * 15 + ["Bonn"] * 16 + ["Prerow"] * 9)
    town = About(sensitivity=Sensitivity.PII)

    def fare(columns: Any) -> Any:
        return np.where(columns["town"] == "Ulm", 1.0, 2.0)

    changes: dict[str, Any] = {"model": fare, "features": ["town"], "about": {"town": town}}
    with pytest.raises(PublishError, match="'town' is pii, and 1 of its texts are in fewer than 10 rows"):
        line(data=rows, test=rows, **changes)
    grouped = rows.replace({"town": {"Prerow": "Bonn"}})
    line(data=grouped, test=grouped, **changes)


def test_the_days_of_training_tell_what_is_usual(registry: Path) -> None:
    """A feature that is another every day: without the times, a day of it would look like drift."""
    days = np.repeat(np.arange(30), 60)
    rows = pd.DataFrame({"x": days + np.tile(np.arange(60) / 100, 30), "y": days / 10})
    rows["when"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(days, unit="D")
    model = LinearRegression().fit(rows[["x"]], rows["y"])

    def baselines(**more: Any) -> Any:
        return line(model=model, data=rows, test=rows[::7], features=["x"], **more).manifest.baselines

    with_days, without = baselines(time="when"), baselines(version=2)
    assert with_days.features["x"].daily_psi > 1
    assert with_days.prediction.daily_psi > 1
    assert without.features["x"].daily_psi is None
    unknown = rows.assign(when=rows["when"].where(rows.index > 0))
    with pytest.raises(PublishError, match="time: column 'when' lacks a time in 1 rows"):
        line(model=model, data=unknown, features=["x"], time="when")


def test_rows_after_any_sample_change_the_fingerprint(registry: Path) -> None:
    """What is hashed is every row, not the first thousand."""
    rows = pd.concat([frame()] * 100, ignore_index=True)
    changed = rows.copy()
    changed.loc[len(rows) - 1, "y"] += 1e-9
    metrics = Metrics(primary="mae", higher_is_better=False, values={"mae": 1}, rows=1)
    model = LinearRegression().fit(frame()[["x"]], frame()["y"])
    digests = {
        line(model=model, data=data, test=None, metrics=metrics).manifest.data.digest
        for data in (rows, changed, rows[::-1])
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "line"}, "name: 'line' is not TEAM/MODEL, two names"),
        ({"name": "Geo/Line"}, "name: 'Geo/Line' is not TEAM/MODEL"),
        ({"version": 0}, "version: 0 is none; versions are whole numbers from 1"),
        ({"version": "2"}, "version: '2' is none"),
        ({"target": "z"}, "target: data has no column 'z'; it has x, note, y"),
        ({"features": ["w"]}, r"features: data has no column 'w'; it has x, note"),
        ({"features": ["x", "note"]}, r"The model takes 1 features, but there are 2: x, note"),
        ({"features": ["y"]}, "features: 'y' is the target"),
        ({"about": {"w": "?"}}, "about: 'w' is no feature; the features are x"),
        ({"task": "guess"}, "task: 'guess' is neither regression nor classification"),
        ({"test": None}, r"rows that it was not trained on: give them as test="),
        ({"test": frame().drop(columns="x")}, "test: there is no column 'x', which the model takes"),
        ({"test": frame().iloc[:0]}, "test: there are no rows"),
        ({"data": [1, 2]}, "data: expected a data frame, or where to read one, but this is of type list"),
        ({"name": None}, "name: 'None' is not TEAM/MODEL"),
        ({"target": 1}, "target: expected the name of a column, but this is of type int"),
        ({"model": LinearRegression}, "model: LinearRegression is a class, not a model: fit one"),
        ({"model": LinearRegression()}, "model: this LinearRegression is not fitted: fit it first"),
        ({"features": "x"}, r"features: expected a list of texts, such as \["),
        ({"classes": ["low", "high"]}, 'classes: .* looks like a regression: .* task="classification"'),
        ({"about": ["x"]}, "about: expected a dictionary .* but this is of type list"),
        ({"about": {"x": 1}}, r'about: expected About\("...".* but this is of type int'),
        ({"parameters": [1]}, "parameters: expected a dictionary .* of type list"),
        ({"metrics": {"mae": 1.0}}, "metrics: expected modelyard.capture.Metrics, .* of type dict"),
        ({"snapshot": "2026-01-01"}, "snapshot: expected a datetime with its time zone, .* of type str"),
        ({"naive": "x"}, "naive: expected a number, or one per row of test, not 'x'"),
        ({"naive": [1, 2]}, r"naive: .* which has 20; these are of shape \(2,\)"),
        ({"test": frame().iloc[:1]}, "test: one row does not tell how good a model is"),
        ({"data": frame().assign(y=np.inf)}, "target: 'y' is infinite in 40 rows of data"),
        ({"data": pd.concat([frame(), frame()[["y"]]], axis=1)}, "data: there are several columns 'y'"),
        ({"data": pd.concat([frame(), frame()[["x"]]], axis=1)}, "data: there are several columns 'x'"),
        (
            {"data": frame().set_axis([("a", "x"), ("a", "n"), "y"], axis=1)},
            r"data: column \('a', 'x'\) is not",
        ),
        (
            {"data": frame().assign(y=["a", 1] * 20), "task": "classification"},
            "several types, int, str: convert",
        ),
        ({"data": frame().assign(y=np.nan)}, "target: 'y' is missing in 40 rows of data"),
        ({"data": "rows.txt"}, r"rows\.txt is no \.csv or \.parquet"),
        ({"time": "when"}, "time: data has no column 'when'; it has x, note, y"),
        ({"time": "note"}, "time: column 'note' holds .*, not times"),
        ({"prediction": "a-b"}, "prediction: .*should match pattern"),
        ({"source": "nowhere.csv"}, r"source: there is no file nowhere\.csv"),
        ({"environment": "prodd"}, r"there is no environments/prodd\.yaml.*Did you mean 'prod'\?"),
        ({"registry_at": "ftp://x"}, "'ftp://x' is no store"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    changes: dict[str, Any], message: str, registry: Path
) -> None:
    with pytest.raises(PublishError, match=message):
        line(**changes)
    assert not list(registry.rglob("manifest.json"))
    assert registered(registry) == []


def test_scripts_end_with_the_message_and_exit_code_2(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelyard.capture import main

    with pytest.raises(SystemExit) as ended:
        main(lambda: line(name="line"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("name: 'line' is not TEAM/MODEL")
    main(line)
    assert capsys.readouterr().out.startswith("geometry/line@1 published")


def test_what_fails_in_a_script_shows_its_line_and_the_message_alone(registry: Path) -> None:
    """A data scientist's own script, without any wrapper: no walk through the insides of this package."""
    script = (
        "from tests.modelyard.capture.test_publishing import frame\n"
        "from modelyard.capture import publish\n"
        "rows = frame()\n"
        f"publish(rows.mean, name='a/b', data=rows, target='z', entry_point={__file__!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[-1].startswith("modelyard.capture.PublishError: name: 'a/b' is not TEAM/MODEL")
    assert sum(line.startswith("  File ") for line in said) == 2, done.stderr
    assert "During handling" not in done.stderr


def test_a_name_that_no_column_may_have_is_told_with_one_that_may(registry: Path) -> None:
    rows = frame().rename(columns={"x": "Loan amount (EUR)"})
    model = LinearRegression().fit(rows[["Loan amount (EUR)"]], rows["y"])
    with pytest.raises(PublishError, match=r"'Loan amount \(EUR\)' cannot .* such as to 'Loan_amount__EUR_'"):
        line(model=model, data=rows, test=rows)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_read_from_files(suffix: str, registry: Path, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{suffix}"
    frame().to_csv(path, index=False) if suffix == "csv" else frame().to_parquet(path)
    manifest = line(data=path, test=str(path)).manifest
    assert manifest.data.uri == path.name, "no path of this machine"
    assert [entry.digest for entry in manifest.data.objects] == [digest_of(path.read_bytes())]


@given(JSON)
def test_rendered_json_reads_back_as_it_was(value: Any) -> None:
    text = render(value)
    assert json.loads(text) == value
    assert text.endswith("\n")
