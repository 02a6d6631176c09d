"""Replays real flights into a prediction log, moved by whole weeks to end in this one, with a fault if asked.

`python -m examples.replay --warehouse build/replay --fault distance` asks a running server about every
flight of seven weeks of October and November 2013, and logs its answers under the flights' own times, moved:
what a log would hold if they were being asked about now.
"""

import argparse
import http.client
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa

from examples import traffic
from modelyard import warehouse
from modelyard.naming import Names
from modelyard.spec.load import load_environment, load_team
from modelyard.tables import arrow_schema, prediction_log

TEAM = "flight-ops"
END = pd.Timestamp("2013-11-18 06:00")  # midnight in New York is at five, and nobody flies then
WEEK = pd.Timedelta(weeks=1)
ROWS = 1000  # in one request, the most that a server takes by default
KILOMETRES = 1.609344


def broken(table: pd.DataFrame, fault: str, since: pd.Timestamp) -> pd.DataFrame:
    """Return `table` with a fault from `since` on.

    `distance`: a change upstream sends kilometres in place of miles. `feed`: the airline's feed of recent
    losses ends. `half`: every second flight is asked about no more.
    """
    late = table["departed"] >= since
    if fault == "distance":
        return table.assign(distance=table["distance"].where(~late, (table["distance"] * KILOMETRES).round()))
    if fault == "feed":
        return table.assign(recent_loss=table["recent_loss"].mask(late))
    if fault == "half":
        return table[~late | (np.arange(len(table)) % 2 == 0)]
    return table


def answered(url: str, table: pd.DataFrame, version: int) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Ask the server about all rows; yield those of each request with its answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    for start in range(0, len(table), ROWS):
        part = table.iloc[start : start + ROWS]
        body = json.dumps({"instances": list(traffic.requests(part, version))}).encode()
        path = f"/models/{traffic.MODEL}/versions/{version}/predict"
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise SystemExit(f"{url} answered {response.status}: {answer.get('detail', answer)}")
        yield part, answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m examples.replay", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the server [%(default)s]")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="folder of environments/ and teams/")
    parser.add_argument("--environment", default="local", help="[%(default)s]")
    parser.add_argument("--warehouse", type=Path, required=True, help="folder the log is written to")
    parser.add_argument("--weeks", type=int, default=7, help="how many [%(default)s]")
    parser.add_argument("--fault", choices=["distance", "feed", "half", "none"], default="none")
    parser.add_argument("--fault-days", type=int, default=3, help="days that it lasts [%(default)s]")
    options = parser.parse_args(arguments)
    environment = load_environment(options.root, options.environment)
    team = load_team(options.root, TEAM, environment)
    model = next(model for model in team.models if model.name == traffic.MODEL)
    names = Names.of(environment).team(TEAM).model(traffic.MODEL)
    definition = prediction_log(model, names)
    since = END - pd.Timedelta(days=options.fault_days)
    table = traffic.asked(model.manifest.version, str(END - options.weeks * WEEK), str(END))
    table = broken(table, options.fault, since)
    moved = (pd.Timestamp.now("UTC").tz_localize(None) - END) // WEEK * WEEK
    table["departed"] += moved
    schema = arrow_schema(definition)
    features = {field.name: field.type for field in schema.field("features").type}
    parts = []
    for part, answer in answered(options.url, table, model.manifest.version):
        parts.append(_rows(part, answer, schema, features))
    store = warehouse.local(options.warehouse)
    reference = f"{names.team.project}.{names.team.dataset}.{names.log_table}"
    rows = pa.concat_tables(parts)
    store.append(reference, definition, rows, f"replay-{END + moved:%Y%m%d}-{options.weeks}-{options.fault}")
    said = {"rows": rows.num_rows, "end": f"{END + moved}Z", "fault_since": f"{since + moved}Z"}
    print(json.dumps(said))
    return 0


def _rows(
    part: pd.DataFrame, answer: dict[str, Any], schema: pa.Schema, features: dict[str, pa.DataType]
) -> pa.Table:
    count = len(part)
    random = np.random.default_rng(count)
    columns = [
        pa.array(part[name], kind, from_pandas=True) if name in part else pa.nulls(count, kind)
        for name, kind in features.items()
    ]
    constant = {"team": TEAM, "model": traffic.MODEL, "pattern": "rest", "caller": "tower@example.com"}
    values: dict[str, Any] = {
        **{name: [value] * count for name, value in constant.items()},
        "prediction_id": answer["prediction_ids"],
        "time": pa.array(part["departed"].dt.tz_localize("UTC")),
        "version": [answer["version"]] * count,
        "features": pa.StructArray.from_arrays(columns, list(features)),
        "prediction": answer["predictions"],
        "latency_ms": random.lognormal(0.7, 0.3, count),
        "flags": answer.get("flags") or [[]] * count,
    }
    return pa.table([_column(values.get(field.name), field, count) for field in schema], schema=schema)


def _column(values: Any, field: pa.Field, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, field.type)
    return values if isinstance(values, pa.Array) else pa.array(values, field.type)


if __name__ == "__main__":
    sys.exit(main())
