"""Checks what is given to `publish`, and says in words what is wrong with it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
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
    team, _, model = str(name).partition("/")
    try:
        return TypeAdapter(TeamName).validate_python(team), TypeAdapter(ModelName).validate_python(model)
    except ValidationError:
        raise PublishError(
            f"name: '{name}' is not TEAM/MODEL, two names of 2 to 40 lower-case letters, digits and single "
            "hyphens, such as flight-ops/arrival-delay"
        ) from None


def kinds(**given: tuple[Any, type | UnionType, str]) -> None:
    """Check the types of arguments: name=(value, type, what is expected, in words)."""
    for name, (value, kind, expected) in given.items():
        if not isinstance(value, kind):
            raise PublishError(f"{name}: expected {expected}, but this is of type {type(value).__name__}")


def names_of(names: Sequence[str] | None, role: str) -> list[str] | None:
    """Return a list of names; one text alone is a list of letters, which nobody means."""
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise PublishError(f'{role}: expected a list of texts, such as ["a", "b"], not {names!r}')
    return list(names)


def naive_of(naive: Any, rows: int) -> npt.NDArray[np.float64]:
    """Return a prediction without a model: one number, or one for each of the held-out rows."""
    try:
        numbers = np.asarray(naive, np.float64)
    except (ValueError, TypeError):
        raise PublishError(f"naive: expected a number, or one per row of test, not {naive!r:.100}") from None
    if numbers.shape not in ((), (rows,)) or not np.isfinite(numbers).all():
        raise PublishError(
            f"naive: expected a finite number, or one per row of test, which has {rows:,}; these are of "
            f"shape {numbers.shape}"
        )
    return numbers


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
            f"{role}: expected a data frame, or where to read one, but this is of type {type(rows).__name__}"
        )
    if rows.empty:
        raise PublishError(f"{role}: there are no rows")
    if strange := [name for name in rows.columns if not isinstance(name, str)]:
        raise PublishError(
            f"{role}: column {strange[0]!r} is not named by a text: rename the columns, such as with "
            "data.columns = [...]"
        )
    if twice := [name for name in (target, *columns) if list(rows.columns).count(name) > 1]:
        raise PublishError(f"{role}: there are several columns '{twice[0]}': keep one, or rename them")
    if target not in rows.columns:
        raise PublishError(f"target: {role} has no column '{target}'; it has {', '.join(map(str, rows))}")
    if missing := int(rows[target].isna().sum()):
        raise PublishError(f"target: '{target}' is missing in {missing:,} rows of {role}; leave them out")
    if pd.api.types.is_float_dtype(rows[target]) and (infinite := int(np.isinf(rows[target]).sum())):
        raise PublishError(f"target: '{target}' is infinite in {infinite:,} rows of {role}; leave them out")
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
