"""What a model is about, inferred: its task, its inputs, its classes, its labels as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modelyard.capture.checks import valid
from modelyard.capture.errors import PublishError
from modelyard.capture.formats import library_of
from modelyard.capture.formats.captured import Scores
from modelyard.capture.frames import column_name
from modelyard.spec.errors import nearest
from modelyard.spec.manifest import FeatureType, Prediction, Task


@dataclass(frozen=True)
class Labels:
    """The values that a classifier's target takes, and their names."""

    values: tuple[Any, ...]
    names: tuple[str, ...]

    def index(self, column: pd.Series) -> Scores:
        """Return the labels of `column` as indexes of the classes.

        Raises:
            PublishError: it holds another value.
        """
        place = {value: i for i, value in enumerate(self.values)}
        places = pd.Series([place.get(value) for value in column], dtype=np.float64)
        if places.isna().any():
            strange = column.iloc[int(places.isna().argmax())]
            raise PublishError(
                f"target: {strange!r} is none of the classes of training, {', '.join(map(repr, self.values))}"
            )
        result: Scores = places.to_numpy(np.float64)
        return result


def task_of(model: Any, target: pd.Series) -> Task:
    """Return what the model predicts: as it says itself, else as the labels look."""
    kind = getattr(model, "_estimator_type", None)
    if kind is None and hasattr(model, "get_params") and hasattr(model, "predict"):
        from sklearn.base import is_classifier

        kind = "classifier" if is_classifier(model) else "regressor"
    if kind is None and library_of(model) == "xgboost":
        import json

        objective = json.loads(model.save_config())["learner"]["objective"]["name"]
        kind = "classifier" if objective.startswith(("binary:", "multi:")) else "regressor"
    if kind is None and library_of(model) == "lightgbm":
        objective = model.params.get("objective") or model.dump_model(num_iteration=1).get("objective", "")
        kind = "classifier" if str(objective).startswith(("binary", "multiclass")) else "regressor"
    if kind is None:
        kind = "regressor" if _is_number(target) else "classifier"
    return Task.CLASSIFICATION if kind == "classifier" else Task.REGRESSION


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def feature_columns(model: Any, data: pd.DataFrame, target: str, chosen: Sequence[str] | None) -> list[str]:
    """Return the features' columns of `data`, in the order that the model takes them.

    They are those that are chosen, else those that the model was fitted on by name, else all but the target.

    Raises:
        PublishError: a column is missing, or the model takes another number of features.
    """
    named = list(chosen) if chosen is not None else _named_features(model)
    others = [str(name) for name in data.columns if name != target]
    columns = named if named is not None else others
    if double := [name for name in columns if others.count(name) > 1]:
        raise PublishError(f"data: there are several columns '{double[0]}': keep one, or rename them")
    for name in columns:
        if name not in data.columns:
            raise PublishError(
                f"features: data has no column '{name}'; it has {', '.join(others)}.{nearest(name, others)}"
            )
    if target in columns:
        raise PublishError(f"features: '{target}' is the target; a model that is given it predicts nothing")
    if twice := {name for name in columns if columns.count(name) > 1}:
        raise PublishError(f"features: '{twice.pop()}' is there twice")
    expected = _feature_count(model)
    if expected is not None and expected != len(columns):
        raise PublishError(
            f"The model takes {expected} features, but there are {len(columns)}: {', '.join(columns)}. Name "
            "those it takes, in its order, with features=[...]"
        )
    return columns


def _named_features(model: Any) -> list[str] | None:
    try:
        if (names := getattr(model, "feature_names_in_", None)) is not None:
            return [str(name) for name in names]
    except AttributeError:  # XGBoost's classes, where they were fitted on a matrix
        return None
    match library_of(model):
        case "xgboost":
            booster = model if hasattr(model, "feature_names") else model.get_booster()
            return list(booster.feature_names) if booster.feature_names else None
        case "lightgbm":
            names = model.feature_name() if callable(getattr(model, "feature_name", None)) else None
            return None if not names or names[0] == "Column_0" else list(names)
    return None


def _feature_count(model: Any) -> int | None:
    if library_of(model) == "xgboost" and hasattr(model, "num_features"):
        return int(model.num_features())
    if library_of(model) == "lightgbm" and hasattr(model, "num_feature"):
        return int(model.num_feature())
    count = getattr(model, "n_features_in_", None)
    return None if count is None else int(count)


def labels_of(model: Any, target: pd.Series, names: Sequence[str] | None) -> Labels:
    """Return the classes of a classifier: the model's own, else the values in training, in order.

    Args:
        model: the classifier.
        target: labels in training.
        names: names to give them, in order; default: the values as text.

    Raises:
        PublishError: there are fewer than two classes, or another number of names.
    """
    if isinstance(target.dtype, pd.CategoricalDtype):
        values = list(target.cat.categories)
    else:
        values = target.unique().tolist()
        try:
            values.sort()
        except TypeError:
            kinds = ", ".join(sorted({type(value).__name__ for value in values}))
            raise PublishError(
                f"target: '{target.name}' holds values of several types, {kinds}: convert them to one"
            ) from None
    own = getattr(model, "classes_", None)
    if own is not None and list(own) != values:  # equal ones look as people wrote them: True is 1
        values = [value.item() if isinstance(value, np.generic) else value for value in own]
    if len(values) < 2:
        raise PublishError(f"target: '{target.name}' has one value only; a classifier needs two classes")
    if len(values) > 1000:
        raise PublishError(f"target: '{target.name}' has {len(values):,} values: too many for classes")
    if names is None:
        names = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    if len(names) != len(values):
        raise PublishError(
            f"classes: {len(names)} names for {len(values)} classes, {', '.join(map(repr, values))}"
        )
    return Labels(tuple(values), tuple(map(str, names)))


def prediction_of(
    given: Prediction | str | None, unit: str, target: str, labels: Labels | None
) -> Prediction:
    """Return the output of a signature.

    A regression is a number; of two classes, the output is the probability of the second; of more classes,
    the name of the most probable one.
    """
    if isinstance(given, Prediction):
        return given
    default = f"{target}_probability" if labels and len(labels.names) == 2 else f"predicted_{target}"
    if labels is None or len(labels.names) == 2:
        kind, unit = FeatureType.FLOAT64, unit or ("probability" if labels else "")
    else:
        kind = FeatureType.STRING
    return valid(
        Prediction,
        "prediction",
        name=given or column_name(default),
        type=kind,
        unit=unit,
        classes=labels.names if labels else None,
    )
