"""Publish a trained model as an immutable version: one call, from which all that can be inferred is."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.artifacts import open_store
from modelyard.artifacts.digests import digest_of
from modelyard.artifacts.signing import sign, signing_key
from modelyard.capture import (
    checks,
    evaluation,
    frames,
    parity,
    provenance,
    registry,
    results,
    sources,
    subject,
)
from modelyard.capture.bom import bill_of_materials
from modelyard.capture.catalog import catalog
from modelyard.capture.errors import PublishError
from modelyard.capture.formats import capture
from modelyard.capture.formats.captured import Captured
from modelyard.capture.frames import About
from modelyard.capture.results import HeldOut
from modelyard.spec import manifest as spec
from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import Manifest, Metrics, Prediction, Signature, Task

_MAX_TEXT = 200
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """A version in the registry."""

    manifest: Manifest
    registry: str
    """The registry: a folder, `gs://...` or `s3://...`."""
    new: bool
    """False if the registry held this very version before."""

    def __str__(self) -> str:
        m = self.manifest
        metric = f"{m.metrics.primary} {m.metrics.values[m.metrics.primary]:g}"
        state = "published" if self.new else "unchanged"
        dirty = "; its code has uncommitted changes" if m.code.dirty else ""
        return (
            f"{m.team}/{m.model}@{m.version} {state}: {metric} on {m.metrics.rows:,} held-out rows,"
            f" trained on {m.data.rows:,}{dirty}"
        )


def _told_to_the_caller(function: Callable[P, T]) -> Callable[P, T]:
    """Let an error show the line that called, and not the ways in here that led to it."""

    @functools.wraps(function)
    def called(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except PublishError as error:
            raise error.with_traceback(None) from None

    return called


@_told_to_the_caller
def publish(
    model: Any,
    *,
    name: str,
    data: pd.DataFrame | str | Path,
    target: str,
    test: pd.DataFrame | str | Path | None = None,
    version: int | None = None,
    description: str = "",
    features: Sequence[str] | None = None,
    about: Mapping[str, About | str] = {},
    prediction: Prediction | str | None = None,
    unit: str = "",
    classes: Sequence[str] | None = None,
    task: Task | str | None = None,
    naive: npt.ArrayLike | None = None,
    metrics: Metrics | None = None,
    parameters: Mapping[str, Any] = {},
    source: str | Path | None = None,
    source_is: str = "",
    snapshot: datetime | None = None,
    time: str | None = None,
    online: bool = True,
    environment: str | None = None,
    registry_at: str | Path | None = None,
    entry_point: str | Path | None = None,
) -> Published:
    """Publish a version of a model, with all that serving, monitoring and an audit need to know of it.

    The least is `publish(model, name="team/model", data=train, target="price", test=test)`.

    Args:
        model: a fitted scikit-learn estimator or pipeline, XGBoost or LightGBM model, an ONNX model or its
            path, or a Python function of the columns. One that was trained on a matrix was trained on
            `encode(*categorize(...))`.
        name: team and model, such as `flight-ops/arrival-delay`.
        data: the training rows, features and target, as a data frame; or a .csv or .parquet file, here or in
            gs:// or s3://, or `bigquery://project.dataset.table`.
        target: the column that is predicted.
        test: held-out rows of the same columns, for the metrics.
        version: number of the version, from 1; default: the next free one.
        description: one sentence for people.
        features: columns that the model takes, in its order; default: as the model says, else all but the
            target.
        about: description of a feature, or with `About` its unit and sensitivity too.
        prediction: name of the output, or all about it; default: made of the target's name.
        unit: unit of the output.
        classes: names of a classifier's classes, in its order; of two, the output is the second's
            probability; of more, the name of the most probable one.
        task: regression or classification; default: as the model or the target says.
        naive: what one would predict without a model, a number or one per row of `test`; default: the
            median, the mean rate, or the commonest class.
        metrics: results on held-out rows, where they are not to be computed from `test`.
        parameters: parameters of the training beside those that the model tells.
        source: where the rows came from, where `data` is a frame: a file, gs://, s3://,
            bigquery://project.dataset.table, or another address. What is there is hashed and noted.
        source_is: what the training rows are, for people.
        snapshot: time as of which a table was read.
        time: column of `data` that says when each row was, UTC or all in one time zone. Monitors then know
            how much the days of training differ by themselves, and take that for no drift.
        online: whether there must be an ONNX model that answers as the model does; without one a version
            can be served in batch only.
        environment: name of a file in `environments/`; default: `MODELYARD_ENVIRONMENT`, else `local`.
        registry_at: a folder, `gs://bucket` or `s3://bucket`; default: `MODELYARD_REGISTRY`, else the
            environment's bucket, or on this machine `.modelyard/registry` in the checkout.
        entry_point: file of the training code; default: the file that calls this function.

    Raises:
        PublishError: something is missing, wrong or not reproducible; the message says how to mend it.
    """
    team, short_name = checks.name_of(name)
    version = checks.version_of(version)
    if isinstance(model, type):
        raise PublishError(f"model: {model.__name__} is a class, not a model: fit one, and publish that")
    features, classes = checks.names_of(features, "features"), checks.names_of(classes, "classes")
    checks.kinds(
        target=(target, str, "the name of a column"),
        about=(about, Mapping, 'a dictionary such as {"distance": About("Great circle", "km")}'),
        parameters=(parameters, Mapping, 'a dictionary such as {"seed": 1}'),
        metrics=(metrics, Metrics | None, "modelyard.capture.Metrics"),
        snapshot=(snapshot, datetime | None, "a datetime with its time zone"),
    )
    entry = Path(entry_point) if entry_point else provenance.entry_point()
    code, root = provenance.code(entry), provenance.checkout(entry)
    where_to = catalog(environment, root)

    train = checks.rows_of(data, "data", target, snapshot=snapshot)
    columns = subject.feature_columns(model, train, target, features)
    kind = checks.task_of(task) or subject.task_of(model, train[target])
    if classes and kind is Task.REGRESSION:
        raise PublishError(
            "classes: they are of a classifier, and this looks like a regression: leave them out, or give "
            'task="classification"'
        )
    labels = subject.labels_of(model, train[target], classes) if kind is Task.CLASSIFICATION else None
    output = subject.prediction_of(prediction, unit, target, labels)
    (inputs,) = frames.categorize(train[columns])
    described = frames.features(inputs, {key: _about(value) for key, value in about.items()})
    signature = checks.valid(Signature, "signature", features=described, prediction=output)
    private = [feature.name for feature in described if feature.sensitivity is Sensitivity.PII]
    truth = results.as_numbers(train[target], labels)
    held_out = None
    if test is not None:
        unseen = checks.rows_of(test, "test", target, columns, snapshot)
        held_out = HeldOut(
            frames.categorize(inputs, unseen[columns])[1], results.as_numbers(unseen[target], labels)
        )

    captured = _captured(model, signature, kind, online=online)
    parity.check_given(model, captured, described, output.classes, train[columns])
    parity.check_rounding(captured, described, inputs)
    parity.check(captured, described, inputs, *([held_out.inputs] if held_out else []))

    error, spread = None, None
    if held_out is not None:
        answers = results.predict(captured, held_out.inputs, signature)
        if metrics is None:
            if len(held_out.truth) < 2:
                raise PublishError("test: one row does not tell how good a model is: hold more rows out")
            without = checks.naive_of(
                results.usual(truth, labels) if naive is None else naive, len(held_out.truth)
            )
            metrics = results.measured(held_out.truth, answers, without, labels)
        spread = evaluation.metric_std(metrics.primary, held_out.truth, answers)
        error = results.expected_error(held_out, answers, labels, private)
    if metrics is None:
        raise PublishError(
            "A version is published with its result on rows that it was not trained on: give them as "
            "test=..., or the result as metrics=..."
        )
    predicted = results.predict(captured, inputs, signature)
    times = checks.times_of(train, time)

    origin = source if source is not None else data if isinstance(data, str | Path) else sources.DATAFRAME
    created = provenance.created()
    files = _Files.of(captured, bill_of_materials(name, created), root)
    content: dict[str, Any] = {
        "format": spec.FORMAT,
        "team": team,
        "model": short_name,
        "created": created,
        "task": kind,
        "description": description,
        "signature": signature,
        "metrics": metrics,
        "data": spec.TrainingData(
            **vars(sources.look_at(origin, root, snapshot)),
            digest=frames.digest(train[[*columns, target]]),
            rows=len(train),
            description=source_is,
        ),
        "code": code,
        "dependencies": provenance.dependencies(entry, model),
        "environment": provenance.environment(),
        "parameters": _plain({**captured.parameters, **parameters}),
        "baselines": results.baselines(
            inputs, predicted, truth, labels, error=error, metric_std=spread, times=times, private=private
        ),
        "digest": "sha256:" + "0" * 64,
    }

    def document(number: int) -> dict[str, Any]:
        stored = files.described(f"{name}/{number}", captured.format)
        manifest = checks.valid(Manifest, "manifest", **content, version=number, **stored)
        plain: dict[str, Any] = manifest.model_dump(mode="json", exclude_none=True)
        return {**plain, "digest": spec.digest_of(plain)}

    at = where_to.registry(registry_at)
    held, new = checks.explained(
        lambda: registry.add(open_store(at), name, version, files.contents, document)
    )
    where_to.enter(held, at)
    return Published(Manifest.model_validate(held), at, new)


def main(train: Callable[[], Published]) -> None:
    """Run `train` as a script: say what was published, or end with what is wrong and exit code 2."""
    try:
        print(train())
    except PublishError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _captured(model: Any, signature: Signature, task: Task, *, online: bool) -> Captured:
    """Return the model as files; without an ONNX model only where that is allowed."""
    captured = capture(model, signature.features, task, signature.prediction.classes)
    if not online:
        return replace(captured, online=None)
    if captured.onnx is None:
        raise PublishError(
            f"No ONNX model can be made of this one ({captured.why_not_online}). Publish with online=False "
            "to serve it in batch only, or export it to ONNX yourself and publish that"
        )
    return captured


@dataclass(frozen=True)
class _Files:
    """Files of a version by name; names carry digests, so that files of different content never meet."""

    contents: Mapping[str, bytes]
    native: str
    online: str | None
    bom: str
    bundle: str
    public_key: str

    @classmethod
    def of(cls, captured: Captured, materials: bytes, root: Path) -> "_Files":
        """Return the files of `captured`, signed."""
        native = _file_name("model", captured.native, captured.suffix)
        models = {native: captured.native}
        online = None
        if captured.online is not None:
            online = _file_name("model", captured.online, "onnx")
            models[online] = captured.online
        signed, public_key = checks.explained(lambda: sign(models, signing_key(root / ".modelyard")))
        bom, bundle = _file_name("bom", materials, "cdx.json"), _file_name("signature", signed, "json")
        return cls({**models, bom: materials, bundle: signed}, native, online, bom, bundle, public_key)

    def described(self, folder: str, form: str) -> dict[str, Any]:
        """Return what a manifest says of the files, which lie in `folder` of the registry."""

        def file(name: str) -> dict[str, Any]:
            return {"uri": f"{folder}/{name}", "digest": digest_of(self.contents[name])}

        def artifact(name: str, form: str) -> dict[str, Any]:
            return {**file(name), "format": form, "size_bytes": len(self.contents[name])}

        return {
            "artifact": artifact(self.native, form),
            "online": artifact(self.online, "onnx") if self.online else None,
            "signing": {"bundle": file(self.bundle), "public_key": self.public_key},
            "bom": file(self.bom),
        }


def _file_name(stem: str, content: bytes, suffix: str) -> str:
    return f"{stem}-{digest_of(content).removeprefix('sha256:')[:12]}.{suffix}"


def _about(given: About | str) -> About:
    checks.kinds(about=(given, About | str, 'About("...") or a text for each feature'))
    return About(given) if isinstance(given, str) else given


def _plain(parameters: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return the parameters that are text, numbers or booleans."""
    plain: dict[str, str | int | float | bool] = {}
    for name, value in sorted(parameters.items()):
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not np.isfinite(value):
            value = str(value)
        if isinstance(value, str | int | float | bool):
            plain[name] = value[:_MAX_TEXT] if isinstance(value, str) else value
    return plain
