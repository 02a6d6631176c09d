"""Publish a trained model as an immutable version: the model's file and its manifest, side by side.

A registry is a folder of `<team>/<model>/<version>/{model.*, manifest.json}`. A version appears whole or not
at all, and is never overwritten.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from examples import describe, provenance
from examples.describe import About
from examples.errors import PublishError
from modelyard.spec.manifest import (
    FORMAT,
    Baselines,
    FeatureType,
    Manifest,
    Metrics,
    Prediction,
    Signature,
    Task,
    TrainingData,
    digest_of,
)

# Parts of a manifest that may differ between two runs that made the same version.
PROVENANCE = {"code", "created", "digest"}


@dataclass(frozen=True)
class Published:
    """A version in the registry."""

    manifest: Manifest
    folder: Path
    new: bool
    """False if the registry held this very version before."""

    def __str__(self) -> str:
        m = self.manifest
        metric = f"{m.metrics.primary} {m.metrics.values[m.metrics.primary]:g}"
        state = "published" if self.new else "unchanged"
        return (
            f"{m.team}/{m.model}@{m.version} {state}: {metric} on {m.metrics.rows:,} held-out rows,"
            f" trained on {m.data.rows:,}"
        )


def registry() -> Path:
    """Return the registry's folder: `MODELYARD_REGISTRY`, or `.modelyard/registry` in the checkout."""
    return Path(os.environ.get("MODELYARD_REGISTRY") or provenance.ROOT / ".modelyard" / "registry")


def publish(
    name: str,
    version: int,
    *,
    model: Any,
    task: Task,
    features: pd.DataFrame,
    about: Mapping[str, About],
    target: pd.Series,
    prediction: Prediction,
    predictions: npt.ArrayLike,
    metrics: Metrics,
    source: str,
    source_is: str,
    description: str,
    entry_point: str,
) -> Published:
    """Write a version of the model `name`, which is `<team>/<model>`, to the registry.

    Args:
        name: team and model, such as `flight-ops/arrival-delay`.
        version: number of the version, from 1.
        model: an XGBoost or LightGBM booster trained on `describe.encode(features)`, or a scikit-learn
            estimator trained on `features` itself.
        task: what the model predicts.
        features: the training rows' features, before encoding.
        about: description, unit and sensitivity of each feature, in the order of the columns.
        target: what was to be predicted, for the same rows.
        prediction: name, type and unit of the output; with two classes it is the probability of the second.
        predictions: the model's output on the same rows.
        metrics: results on held-out rows.
        source: where the data came from.
        source_is: what the training rows are, for people.
        description: one sentence for people.
        entry_point: `__file__` of the training script.

    Raises:
        PublishError: the registry holds another model under this version, the model's kind is unknown, or the
            code is in no commit.
    """
    team, _, short_name = name.partition("/")
    entry = Path(entry_point)
    content, suffix, kind = _serialize(model)
    output = pd.Series(predictions, features.index)
    document = {
        "format": FORMAT,
        "team": team,
        "model": short_name,
        "version": version,
        "created": provenance.created(),
        "task": task,
        "description": description,
        "artifact": {
            "uri": f"{name}/{version}/model.{suffix}",
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
            "format": kind,
            "size_bytes": len(content),
        },
        "signature": Signature(features=describe.features(features, about), prediction=prediction),
        "metrics": metrics,
        "data": TrainingData(
            uri=source,
            digest=describe.digest(features.assign(**{prediction.name: target})),
            rows=len(features),
            description=source_is,
        ),
        "code": provenance.code(entry),
        "dependencies": provenance.dependencies(entry),
        "baselines": Baselines(
            features={str(column): describe.baseline(values) for column, values in features.items()},
            prediction=describe.baseline(output),
        ),
        "digest": "sha256:" + "0" * 64,
    }
    plain = Manifest.model_validate(document).model_dump(mode="json", exclude_none=True)
    plain["digest"] = digest_of(plain)
    folder = registry() / name / str(version)
    registry().mkdir(parents=True, exist_ok=True)
    (registry() / ".gitignore").write_text("*\n")  # what is published must not make the checkout look changed
    new = _write(folder, {f"model.{suffix}": content, "manifest.json": render(plain).encode()}, plain)
    return Published(Manifest.model_validate_json((folder / "manifest.json").read_bytes()), folder, new)


def probability_of(name: str, negative: str, positive: str) -> Prediction:
    """Return the output of a classifier of two classes: the probability of `positive`."""
    return Prediction(name=name, type=FeatureType.FLOAT64, unit="probability", classes=(negative, positive))


def main(train: Callable[[], Published]) -> None:
    """Run `train` as a script: say what was published, or end with what is wrong and exit code 2."""
    try:
        print(train())
    except PublishError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def render(value: Any, indent: str = "") -> str:
    """Return `value` as JSON in which all that fits on a line is on a line, for people and for diffs."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= 110 or not isinstance(value, dict | list):
        return flat if indent else flat + "\n"
    inner = indent + "  "
    if isinstance(value, dict):
        brackets = "{}"
        parts = [f"{json.dumps(key)}: {render(item, inner)}" for key, item in value.items()]
    else:
        brackets = "[]"
        parts = [render(item, inner) for item in value]
    lines = [parts[0]]
    items = value.values() if isinstance(value, dict) else value
    packed = not any(isinstance(item, dict | list) for item in items) and len(parts) > 12
    for part in parts[1:]:
        if packed and len(inner) + len(lines[-1]) + len(part) < 110:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    body = f",\n{inner}".join(lines)
    return f"{brackets[0]}\n{inner}{body}\n{indent}{brackets[1]}" + ("" if indent else "\n")


def _serialize(model: Any) -> tuple[bytes, str, str]:
    """Return the model's bytes, their file suffix and their format; no format here can hold code."""
    library = type(model).__module__.partition(".")[0]
    if library == "xgboost":
        return bytes(model.save_raw("ubj")), "ubj", "xgboost"
    if library == "lightgbm":
        return model.model_to_string().encode(), "txt", "lightgbm"
    if library == "sklearn":
        import skops.io

        return _reproducible(skops.io.dumps(model)), "skops", "skops"
    raise PublishError(
        f"a {type(model).__name__} is none of: XGBoost booster, LightGBM booster, scikit-learn estimator"
    )


def _reproducible(archive: bytes) -> bytes:
    """Return a skops archive without what differs between runs: memory addresses and the time."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return match[1] + numbers.setdefault(match[2], str(len(numbers))) + match[3]

    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(result, "w") as new:
        schema = re.sub(r'("__id__": |"file": ")(\d+)(\.npy"|\b)', number, old.read("schema.json").decode())
        files = {"schema.json": schema.encode()}
        for name in old.namelist():
            if name != "schema.json":
                files[numbers[name.removesuffix(".npy")] + ".npy"] = old.read(name)
        for name in sorted(files):
            new.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
    return result.getvalue()


def _write(folder: Path, files: Mapping[str, bytes], document: dict[str, Any]) -> bool:
    """Write the version's folder whole, unless it is there; return whether it is new."""
    if (folder / "manifest.json").is_file():
        _same(folder, document)
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in files.items():
            (draft / name).write_bytes(content)
        draft.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        draft.rename(folder)
    except OSError:
        if not (folder / "manifest.json").is_file():
            raise
        _same(folder, document)  # another run published the version in the meantime
        return False
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def _same(folder: Path, document: dict[str, Any]) -> None:
    held = json.loads((folder / "manifest.json").read_bytes())
    keys = (held.keys() | document.keys()) - PROVENANCE
    changed = sorted(key for key in keys if held.get(key) != document.get(key))
    if changed:
        raise PublishError(
            f"{document['team']}/{document['model']}@{document['version']} is published already, with other"
            f" {', '.join(changed)}. A version never changes: publish under a new number, or delete {folder}"
        )
