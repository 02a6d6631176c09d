"""A batch run: every row once, with the model's own predictions, whatever is killed meanwhile."""

import http.client
import json
import random
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import modelyard.warehouse
from modelyard.prediction_id import is_prediction_id
from modelyard.tables import arrow_schema, batch_output, prediction_log
from serving_images.batch import plan
from serving_images.batch.rows import RowMaker
from serving_images.runtime import artifact
from serving_images.runtime.config import load
from serving_images.runtime.inputs import Inputs
from serving_images.runtime.model import OnlineModel
from tests.modelyard.sample import deployed
from tests.serving_images.batch.batches import (
    BATCH,
    Runner,
    command,
    configured,
    environment,
    fill,
    once,
    rows,
    run,
    run_processes,
    table_folder,
    written,
)

__all__ = ["run"]


def test_a_run_scores_every_row_as_the_rest_image_does(tmp_path: Path) -> None:
    tables = [rows(3000, odd=0.1), rows(500, start=3000, odd=0.1), rows(0, start=3500)]
    fill(tmp_path, *tables, row_group=700)
    config = configured(tmp_path)
    done = run_processes(tmp_path, config, "--run", "first", "--shards", "3")
    assert done.returncode == 0, done.stderr
    assert "first: 3,500 of 3,500 rows (100%)" in done.stderr
    source = pa.concat_tables(tables).to_pylist()
    once(tmp_path, [row["row_id"] for row in source])

    (settings,) = load(config)
    model = OnlineModel(settings, artifact.fetch([settings], "online", tmp_path / "cache")[settings.key])
    inputs = Inputs(settings)
    log = {row["prediction_id"]: row for row in written(tmp_path, "delay")}
    by_key = {row["row_id"]: row for row in written(tmp_path, "delay_predictions")}
    failed = 0
    for given in source:
        row = by_key[given["row_id"]]
        logged = log[row["prediction_id"]]
        features = {name: value for name, value in given.items() if name != "row_id"}
        assert logged["features"] == features
        assert (row["run"], row["version"], logged["pattern"]) == ("first", 1, "batch")
        assert is_prediction_id(row["prediction_id"])
        if given["stops"] is None:  # it must be there
            failed += 1
            assert row["prediction"] is None
            assert {"missing:stops", "unscored"} <= set(logged["flags"])
            continue
        plain = features | {"departure": given["departure"].isoformat()}
        values, flags = inputs.check([plain])
        assert logged["flags"] == (list(flags[0]) if flags else [])
        assert row["prediction"] == pytest.approx(model.answers(model(values))[0], rel=1e-5)
    assert failed > 100
    runs = written(tmp_path, "delay_runs")
    assert sorted((each["shard"], each["shards"]) for each in runs) == [(0, 3), (1, 3), (2, 3)]
    assert sum(each["rows_scored"] for each in runs) == 3500
    assert sum(each["rows_failed"] for each in runs) == failed
    assert all(each["started"] < each["ended"] for each in runs)


def test_a_run_without_a_name_is_a_new_one(tmp_path: Path) -> None:
    fill(tmp_path, rows(100))
    config = configured(tmp_path)
    done = run_processes(tmp_path, config)
    assert done.returncode == 0, done.stderr
    (name,) = {row["run"] for row in written(tmp_path, "delay_predictions")}
    assert name.startswith("run-20")
    assert f"{name}: 100 of 100 rows (100%)" in done.stderr


def test_the_same_run_again_writes_nothing_and_a_new_one_all(run: Runner, tmp_path: Path) -> None:
    fill(tmp_path, rows(1000, odd=0.05))
    config = configured(tmp_path)
    for _ in range(2):
        assert run(config, "--run", "one").returncode == 0
        once(tmp_path, [f"row-{number}" for number in range(1000)])
    assert len(written(tmp_path, "delay_runs")) == 2
    assert run(config, "--run", "two").returncode == 0
    ids = [row["prediction_id"] for row in written(tmp_path, "delay")]
    assert len(ids) == len(set(ids)) == 2000


def small_chunks(folder: Path, config: Path, name: str, shards: int, chunk_rows: int) -> None:
    """Begin a run whose chunks are small: shards that come later keep to its plan."""
    from serving_images.batch.run import Order, _World

    (settings,) = load(config)
    world = _World(Order(settings, name, 0, shards))
    made = world.plan()
    path = table_folder(folder, "delay_predictions") / ".runs" / f"{name}.json"
    document = json.loads(path.read_text())
    assert document["chunk_rows"] == made.chunk_rows
    path.write_text(json.dumps(document | {"chunk_rows": chunk_rows}))


def test_killed_shards_lose_no_row_and_repeat_none(tmp_path: Path) -> None:
    """Processes of a run are killed at random, again and again, until it has ended."""
    count = 60_000
    fill(tmp_path, rows(count // 2, odd=0.02), rows(count // 2, start=count // 2, odd=0.02), row_group=9000)
    config = configured(tmp_path)
    small_chunks(tmp_path, config, "killed", 2, 1000)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    output = table_folder(tmp_path, "delay_predictions")
    finished: set[int] = set()
    kills = cut_short = 0
    for _ in range(200):
        before = {path.name for path in output.glob("day=*/*.parquet")}
        processes = {
            index: subprocess.Popen(
                command(config, "--run", "killed", "--index", str(index), "--shards", "2", "--threads", "1"),
                env=environment(tmp_path),
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in {0, 1} - finished
        }
        if kills < 4:
            # Until something new is there, and then a moment more: in the middle of the next chunk.
            end = time.monotonic() + 60
            while time.monotonic() < end and any(process.poll() is None for process in processes.values()):
                if {path.name for path in output.glob("day=*/*.parquet")} - before:
                    break
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.08))
            for process in processes.values():
                process.send_signal(signal.SIGKILL)
                kills += 1
        for index, process in processes.items():
            _, said = process.communicate(timeout=120)
            if process.returncode == 0:
                finished.add(index)
            else:
                assert process.returncode == -signal.SIGKILL, f"seed {seed}: {said}"
                cut_short += 1
        if finished == {0, 1}:
            break
    assert finished == {0, 1}, f"seed {seed}"
    assert cut_short
    once(tmp_path, [f"row-{number}" for number in range(count)])
    runs = written(tmp_path, "delay_runs")
    assert sum(each["rows_scored"] for each in runs) == count
    empty = sum(row["prediction"] is None for row in written(tmp_path, "delay_predictions"))
    assert sum(each["rows_failed"] for each in runs) == empty > 0
    left = [path for path in (tmp_path / "warehouse").rglob("*.part")]
    assert not left


def test_a_run_starts_a_dead_process_again(tmp_path: Path) -> None:
    count = 40_000
    fill(tmp_path, rows(count))
    config = configured(tmp_path)
    small_chunks(tmp_path, config, "mended", 2, 1000)
    output = table_folder(tmp_path, "delay_predictions")
    process = subprocess.Popen(
        command(config, "--run", "mended"), env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 100
    while time.monotonic() < end and not list(output.glob("day=*/mended-00000-*.parquet")):
        time.sleep(0.002)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    threads = [path.name for path in Path(f"/proc/{process.pid}/task").iterdir()]
    for thread in threads:
        children += Path(f"/proc/{process.pid}/task/{thread}/children").read_text().split()
    subprocess.run(["kill", "-KILL", *set(children)], check=True)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "ended by signal 9; starting it again" in said
    once(tmp_path, [f"row-{number}" for number in range(count)])


def test_a_pod_knows_its_shard_and_its_run(run: Runner, tmp_path: Path) -> None:
    fill(tmp_path, rows(101))
    config = configured(tmp_path)
    for index in ("0", "1"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        pod = {"JOB_COMPLETION_INDEX": index, "MODELYARD_RUN": "delay-29384000", "MODELYARD_PORT": port}
        done = run(config, pod=pod)
        assert done.returncode == 0, done.stderr
    once(tmp_path, [f"row-{number}" for number in range(101)])
    assert {row["run"] for row in written(tmp_path, "delay_runs")} == {"delay-29384000"}


def test_the_warehouse_reads_what_a_run_writes(run: Runner, tmp_path: Path) -> None:
    fill(tmp_path, rows(50))
    assert run(configured(tmp_path), "--run", "one").returncode == 0
    warehouse = modelyard.warehouse.local(tmp_path / "warehouse")
    (row,) = warehouse.query(
        "SELECT COUNT(*) AS n, COUNT(DISTINCT p.prediction_id) AS ids, "
        "COUNTIF(ARRAY_LENGTH(flags) > 0) AS odd, MIN(l.features.distance) AS least, ANY_VALUE(p.run) AS run "
        "FROM `test.predictions.delay` AS l JOIN `test.predictions.delay_predictions` AS p "
        "ON l.prediction_id = p.prediction_id AND l.prediction = p.prediction"
    ).to_pylist()
    assert (row["n"], row["ids"], row["odd"], row["run"]) == (50, 50, 0, "one")
    assert row["least"] >= 0


def test_rows_have_the_columns_of_the_tables(tmp_path: Path) -> None:
    """The image has no definition of its log: what it writes must be what the deployment made."""
    _, model, names = deployed()
    features = [json.loads(feature.model_dump_json()) for feature in model.manifest.signature.features]
    prediction = json.loads(model.manifest.signature.prediction.model_dump_json())
    config = configured(tmp_path, signature={"features": features, "prediction": prediction})
    (settings,) = load(config)
    made = plan.Plan(
        run="r", started_us=0, team="t", model="m", version=1, digest="", shards=1, source="", key=None,
        rows=0, chunk_rows=1, parts=[],
    )  # fmt: skip
    maker = RowMaker(settings, made)

    def plain(schema: pa.Schema) -> list[tuple[str, pa.DataType, bool]]:
        return [
            (f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type, f.nullable)
            for f in schema
        ]

    assert plain(maker.log_schema) == plain(arrow_schema(prediction_log(model, names)))
    wanted = arrow_schema(batch_output("o", model.manifest.signature.prediction))
    assert plain(maker.output_schema) == plain(wanted)


def test_other_parquet_can_be_scored(run: Runner, tmp_path: Path) -> None:
    config = configured(tmp_path)
    pq.write_table(rows(20), tmp_path / "mine.parquet")
    done = run(config, "--source", str(tmp_path / "mine.parquet"), "--run", "mine")
    assert done.returncode == 0, done.stderr
    assert [row["row_id"] for row in written(tmp_path, "delay_predictions")] == [None] * 20
    done = run(config, "--source", str(tmp_path / "mine.parquet"), "--run", "b", "--key", "row_id")
    assert done.returncode == 0, done.stderr
    assert {row["row_id"] for row in written(tmp_path, "delay_predictions")} == {None} | {
        f"row-{number}" for number in range(20)
    }


def test_what_training_never_saw_is_refused_where_the_team_says_so(run: Runner, tmp_path: Path) -> None:
    fill(tmp_path, rows(400, odd=0.1))
    config = configured(tmp_path, serving={"out_of_range": "reject"})
    assert run(config, "--run", "strict").returncode == 0
    for row in written(tmp_path, "delay"):
        refused = {"out_of_range:distance", "unknown_category:carrier", "missing:stops"} & set(row["flags"])
        assert (row["prediction"] is None) == bool(refused) == ("unscored" in row["flags"])


NAMED = ["--run", "r"]
BAD: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "no such table": ({}, NAMED, "the local warehouse has no table test.predictions.delay_input"),
    "no such path": ({}, [*NAMED, "--source", "/no/such/path"], "/no/such/path does not exist"),
    "no shards": ({}, [*NAMED, "--shards", "-1"], "a run has one shard at least"),
    "which run": ({}, [], "shard 0 of which run?"),
    "no such shard": ({}, [*NAMED, "--index", "2"], "there is no shard 2 of 2"),
    "name of a run": ({}, ["--run", "a/b"], "'a/b' cannot name a run"),
    "no settings": ({"batch": {}}, NAMED, "missing required field `source`"),
    "another pattern": ({"pattern": "rest"}, NAMED, "is a rest model, and this is the batch image"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_says_why(run: Runner, tmp_path: Path, case: str) -> None:
    changes, arguments, message = BAD[case]
    done = run(configured(tmp_path, **changes), *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not table_folder(tmp_path, "delay").exists()


def test_what_all_shards_refuse_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"no Parquet")
    config = configured(tmp_path)
    done = run_processes(tmp_path, config, "--run", "a", "--source", str(tmp_path / "rows.parquet"))
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "rows.parquet is no Parquet that can be read" in said


def test_values_of_another_type_are_no_guess(run: Runner, tmp_path: Path) -> None:
    """A request with such a value is refused: a text is no number, and a number is no boolean."""
    given = rows(30)
    for name, values in {
        "distance": pa.array(["1.5"] * 30),
        "stops": pa.array(["1"] * 30),
        "holiday": pa.array([2] * 30),
        "carrier": pa.array([1.0] * 30),
        "departure": pa.array([1_700_000_000] * 30),
    }.items():
        index = given.column_names.index(name)
        fill(tmp_path, given.set_column(index, name, values))
        done = run(configured(tmp_path), "--run", name)
        assert done.returncode == 2
        assert f"column {name} is {values.type}, and its values are no" in done.stderr


def test_numbers_and_times_may_be_stored_as_frames_store_them(run: Runner, tmp_path: Path) -> None:
    """NaN for missing whole numbers, dictionaries of texts, 32 bits, decimals, nanoseconds."""
    given = rows(40, odd=0.2)

    def changed(name: str, column: pa.ChunkedArray) -> pa.Table:
        return given.set_column(given.column_names.index(name), name, column)

    stops = pa.array([float("nan") if v is None else float(v) for v in given["stops"].to_pylist()])
    stored = changed("stops", stops)
    given = stored
    given = changed("carrier", given["carrier"].dictionary_encode())
    given = changed("distance", given["distance"].cast(pa.decimal128(20, 5), safe=False))
    fine = pa.array([v.value + 999 for v in given["departure"].to_pandas()]).cast(pa.timestamp("ns", "UTC"))
    given = changed("departure", fine)
    config = configured(tmp_path)
    answers = {}
    for name, table in (("plain", rows(40, odd=0.2)), ("stored", given)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
        source = str(tmp_path / f"{name}.parquet")
        done = run(config, "--run", name, "--source", source, "--key", "row_id")
        assert done.returncode == 0, done.stderr
        found = [row for row in written(tmp_path, "delay_predictions") if row["run"] == name]
        answers[name] = {row["row_id"]: row["prediction"] for row in found}
    assert answers["stored"] == answers["plain"] and None in answers["plain"].values()


def test_a_source_that_does_not_fit_says_how(run: Runner, tmp_path: Path) -> None:
    config = configured(tmp_path)
    fill(tmp_path, rows(30).drop_columns(["wind"]))
    done = run(config, "--run", "a")
    assert done.returncode == 2
    assert "part-0.parquet has no column wind; it has row_id, distance" in done.stderr
    texts = rows(30).set_column(1, "distance", pa.array(["far"] * 30))
    fill(tmp_path, texts)
    done = run(config, "--run", "b")
    assert done.returncode == 2
    assert "column distance is string, and its values are no float64" in done.stderr
    fill(tmp_path, rows(30))
    (table_folder(tmp_path) / "day=all" / "broken.parquet").write_bytes(b"PAR1")
    done = run(config, "--run", "c")
    assert done.returncode == 2
    assert "broken.parquet is no Parquet that can be read" in done.stderr
    assert not list(table_folder(tmp_path, "delay_predictions").glob("day=*/*.parquet"))


def test_a_run_keeps_to_its_plan(run: Runner, tmp_path: Path) -> None:
    fill(tmp_path, rows(30))
    config = configured(tmp_path)
    assert run(config, "--run", "a").returncode == 0
    done = run(config, "--run", "a", "--shards", "3", shards=3)
    assert done.returncode == 2
    assert "run a was begun with shards 2, and this shard has 3" in done.stderr
    small_chunks(tmp_path, config, "b", 2, 10)
    fill(tmp_path, rows(40))
    done = run(config, "--run", "b")
    assert done.returncode == 2
    assert "has changed since the run began" in done.stderr
    # A file that comes later belongs to the next run.
    fill(tmp_path, rows(30))
    small_chunks(tmp_path, config, "c", 2, 10)
    pq.write_table(rows(5, start=30), table_folder(tmp_path) / "day=all" / "later.parquet")
    assert run(config, "--run", "c").returncode == 0
    assert sum(row["run"] == "c" for row in written(tmp_path, "delay_predictions")) == 30


def test_a_source_without_rows_is_a_complete_run(run: Runner, tmp_path: Path) -> None:
    fill(tmp_path, rows(0))
    done = run(configured(tmp_path), "--run", "none")
    assert done.returncode == 0, done.stderr
    assert [row["rows_scored"] for row in written(tmp_path, "delay_runs")] == [0, 0]


def test_pages_tell_how_far_a_shard_is(tmp_path: Path) -> None:
    fill(tmp_path, rows(40_000))
    config = configured(tmp_path, batch=BATCH | {"shards": 1})
    small_chunks(tmp_path, config, "pages", 1, 1000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = subprocess.Popen(
        command(config, "--run", "pages", "--index", "0", "--threads", "1"),
        env=environment(tmp_path, MODELYARD_PORT=port),
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = ""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                seen = answer.read().decode()
        except (OSError, http.client.HTTPException):  # not there yet, or gone within an answer
            time.sleep(0.01)
    assert process.communicate()[1].count("rows/s")
    assert process.returncode == 0
    assert 'modelyard_predictions_total{team="flights",model="delay",version="1"}' in seen
    assert 'modelyard_log_rows_total{team="flights",model="delay",state="sent"}' in seen
