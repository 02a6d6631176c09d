"""Checks what is given to `publish`, and says in words what is wrong with it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from modelyard.artifacts import ArtifactError
from modelyard.capture import sources
from modelyard.capture.errors import PublishError
from modelyard.spec.base import ModelName, Spec, TeamName, Version
from modelyard.spec.manifest import Task

S = TypeVar("S", bound=Spec)
T = TypeVar("T")


def name_of(name: str) -> tuple[str, str]:
    """Return team and model of `team/model`."""
    team, _, model = name.partition("/")
    try:
        return TypeAdapter(TeamName).validate_python(team), TypeAdapter(ModelName).validate_python(model)
    except ValidationError:
        raise PublishError(
            f"name: '{name}' is not TEAM/MODEL, two names of 2 to 40 lower-case letters, digits and single "
            "hyphens, such as flight-ops/arrival-delay"
        ) from None


def version_of(version: int | None) -> int | None:
    """Return a version's number, if it can be one."""
    try:
        return None if version is None else TypeAdapter(Version).validate_python(version, strict=True)
    except ValidationError:
        raise PublishError(f"version: {version!r} is none; versions are whole numbers from 1") from None


def task_of(task: Task | str | None) -> Task | None:
    """Return a task that is given by its name."""
    try:
        return None if task is None else Task(task)
    except ValueError:
        raise PublishError(f"task: '{task}' is neither regression nor classification") from None


def times_of(rows: pd.DataFrame, column: str | None) -> pd.Series | None:
    """Return when each row was, if a column says so."""
    if column is None:
        return None
    if column not in rows.columns:
        raise PublishError(f"time: data has no column '{column}'; it has {', '.join(map(str, rows.columns))}")
    times = rows[column]
    if not pd.api.types.is_datetime64_any_dtype(times):
        raise PublishError(
            f"time: column '{column}' holds {times.dtype}, not times: convert it with pandas.to_datetime"
        )
    if times.isna().any():
        raise PublishError(f"time: column '{column}' lacks a time in {int(times.isna().sum()):,} rows")
    return times


def rows_of(
    rows: Any, role: str, target: str, columns: Sequence[str] = (), snapshot: datetime | None = None
) -> pd.DataFrame:
    """Return rows as a data frame with `target`, known in each row, and `columns`.

    Args:
        rows: a data frame of pandas, Arrow or Polars, or where to read one.
        role: the argument, for messages.
        target: column of labels.
        columns: other columns that must be there.
        snapshot: time as of which a table is read.
    """
    if isinstance(rows, str | Path):
        rows = sources.read(rows, snapshot)
    elif hasattr(rows, "to_pandas"):
        rows = rows.to_pandas()
    if not isinstance(rows, pd.DataFrame):
        raise PublishError(
            f"{role}: expected a data frame, or where to read one, not a {type(rows).__name__}"
        )
    if rows.empty:
        raise PublishError(f"{role}: there are no rows")
    if target not in rows.columns:
        raise PublishError(f"target: {role} has no column '{target}'; it has {', '.join(map(str, rows))}")
    if missing := int(rows[target].isna().sum()):
        raise PublishError(f"target: '{target}' is missing in {missing:,} rows of {role}; leave them out")
    if absent := [column for column in columns if column not in rows.columns]:
        raise PublishError(f"{role}: there is no column '{absent[0]}', which the model takes")
    return rows


def valid(kind: type[S], role: str, /, **content: Any) -> S:
    """Return the part `role` of the manifest, or say what is wrong with its content."""
    try:
        return kind(**content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        raise PublishError(f"{role}: {path} {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def explained(action: Callable[[], T]) -> T:
    """Return what `action` does; what a store or a key refuses is a publication that fails."""
    try:
        return action()
    except ArtifactError as error:
        raise PublishError(str(error)) from None
