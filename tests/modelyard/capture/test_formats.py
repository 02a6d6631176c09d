"""Every format answers as the model does, natively and as ONNX, and none can run code when it is loaded."""

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import skops.io
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC

from modelyard.capture import About, PublishError, Sensitivity, categorize, encode, parity, publish
from modelyard.capture.formats import capture, onnx_graph
from modelyard.capture.formats.lightgbm import with_float32_thresholds
from modelyard.capture.formats.sklearn import reproducible
from modelyard.capture.frames import features
from modelyard.spec.manifest import Task
from tests.modelyard.capture.conftest import FEATURES, rows

TRAIN, TEST = rows(), rows(150, seed=2)
(INPUTS,) = categorize(TRAIN[FEATURES])
MATRIX = encode(INPUTS)
CODES = TRAIN["grade"].map({"low": 0, "middle": 1, "top": 2})


def pipeline(final: Any) -> Any:
    return make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["x", "count"]),
            (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
            ("passthrough", ["flag"]),
        ),
        final,
    )


def lgb(objective: str, target: Any, **options: Any) -> Any:
    data = lightgbm.Dataset(MATRIX, target, categorical_feature=[2])
    return lightgbm.train({"objective": objective, "verbose": -1, "num_threads": 1, **options}, data, 20)


def xgb(objective: str, target: Any, **options: Any) -> Any:
    return xgboost.train(
        {"objective": objective, "nthread": 1, **options}, xgboost.DMatrix(MATRIX, target), 20
    )


MODELS: dict[str, tuple[Any, str, Any]] = {
    "xgboost regression": (lambda: xgb("reg:squarederror", TRAIN["value"]), "value", "matrix"),
    "xgboost poisson": (lambda: xgb("count:poisson", TRAIN["count"]), "count_target", "matrix"),
    "xgboost binary": (lambda: xgb("binary:logistic", TRAIN["high"]), "high", "matrix"),
    "xgboost classes": (lambda: xgb("multi:softprob", CODES, num_class=3), "grade", "matrix"),
    "XGBRegressor": (
        lambda: xgboost.XGBRegressor(n_estimators=20).fit(MATRIX, TRAIN["value"]),
        "value",
        "matrix",
    ),
    "XGBClassifier": (
        lambda: xgboost.XGBClassifier(n_estimators=20).fit(MATRIX, TRAIN["high"]),
        "high",
        "matrix",
    ),
    "lightgbm regression": (lambda: lgb("regression", TRAIN["value"]), "value", "matrix"),
    "lightgbm binary": (lambda: lgb("binary", TRAIN["high"]), "high", "matrix"),
    "lightgbm classes": (lambda: lgb("multiclass", CODES, num_class=3), "grade", "matrix"),
    "LGBMClassifier": (
        lambda: lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(MATRIX, TRAIN["grade"]),
        "grade",
        "matrix",
    ),
    "LGBMRegressor": (
        lambda: lightgbm.LGBMRegressor(n_estimators=20, verbose=-1).fit(INPUTS, TRAIN["value"]),
        "value",
        "matrix",
    ),
    "pipeline regression": (
        lambda: pipeline(Ridge()).fit(TRAIN[FEATURES], TRAIN["value"]),
        "value",
        "columns",
    ),
    "pipeline binary": (
        lambda: pipeline(LogisticRegression()).fit(TRAIN[FEATURES], TRAIN["high"]),
        "high",
        "columns",
    ),
    "pipeline classes": (
        lambda: pipeline(RandomForestClassifier(10, random_state=1)).fit(TRAIN[FEATURES], TRAIN["grade"]),
        "grade",
        "columns",
    ),
    "forest on a matrix": (
        lambda: make_pipeline(SimpleImputer(), RandomForestClassifier(10, random_state=1)).fit(
            MATRIX, TRAIN["high"]
        ),
        "high",
        "matrix",
    ),
}
SHUFFLED = ["flag", "kind", "x", "count"]


@pytest.mark.parametrize("name", MODELS)
def test_published_files_answer_as_the_model_does(name: str, registry: Path) -> None:
    make, target, inputs = MODELS[name]
    train, test = (frame.assign(count_target=frame["count"]) for frame in (TRAIN, TEST))
    published = publish(make(), name="team/model", data=train, test=test, target=target, features=FEATURES)
    manifest = published.manifest
    assert manifest.online is not None
    session = onnxruntime.InferenceSession(registry / manifest.online.uri)
    assert session.get_modelmeta().custom_metadata_map == {"modelyard.inputs": inputs}
    (output,) = session.get_outputs()
    assert (output.name, output.type, len(output.shape)) == ("prediction", "tensor(float)", 1)
    if inputs == "matrix":
        (entry,) = session.get_inputs()
        assert (entry.name, entry.type) == ("features", "tensor(float)")
    else:
        kinds = {entry.name: entry.type for entry in session.get_inputs()}
        assert kinds == {
            "x": "tensor(float)",
            "count": "tensor(float)",
            "kind": "tensor(string)",
            "flag": "tensor(float)",
        }
    # The metrics are those of the model itself, not of a copy that knows no better than chance.
    good = {"mae": lambda m: m < 2, "roc_auc": lambda m: m > 0.9, "accuracy": lambda m: m > 0.7}
    assert good[manifest.metrics.primary](manifest.metrics.values[manifest.metrics.primary])
    classes = manifest.signature.prediction.classes
    assert classes == {"high": ("false", "true"), "grade": ("low", "middle", "top")}.get(target) or (
        target == "grade" and classes is not None and len(classes) == 3
    )


def test_pipelines_need_no_choice_of_features(registry: Path) -> None:
    model = pipeline(Ridge()).fit(TRAIN[SHUFFLED], TRAIN["value"])
    published = publish(model, name="team/model", data=TRAIN, test=TEST, target="value")
    assert [feature.name for feature in published.manifest.signature.features] == SHUFFLED


def test_skops_file_holds_no_code_and_is_the_same_whenever_it_is_made() -> None:
    def archive() -> bytes:
        model = LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0, 2.0]}), [1.0, 2.0, 4.0])
        return reproducible(skops.io.dumps(model))

    keep_memory_busy = [archive()]
    assert archive() == keep_memory_busy[0]
    assert skops.io.get_untrusted_types(data=archive()) == []


@pytest.mark.parametrize("name", ["xgboost binary", "lightgbm classes", "pipeline regression"])
def test_capturing_twice_gives_the_same_bytes(name: str) -> None:
    make, target, _ = MODELS[name]
    task = Task.REGRESSION if target == "value" else Task.CLASSIFICATION
    classes = {"high": ("no", "yes"), "grade": ("low", "middle", "top")}.get(target)
    model, described = make(), features(INPUTS, {})
    first, second = (capture(model, described, task, classes) for _ in range(2))
    assert (first.native, first.online) == (second.native, second.online)
    assert first.online is not None


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=8, unique=True),
    st.lists(st.integers(-2, 2), min_size=1, max_size=20),
)
def test_thresholds_between_32_bit_numbers_do_not_change_sides(values: list[float], steps: list[int]) -> None:
    """Ask at 32-bit numbers right around each threshold: there, rounding to the nearest goes wrong."""
    column = np.repeat(np.array(values), 30)
    data = lightgbm.Dataset(column.reshape(-1, 1), np.arange(len(column), dtype=float))
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_in_bin": 1}
    model = lightgbm.train(options, data, 3)
    rounded = lightgbm.Booster(model_str=with_float32_thresholds(model.model_to_string()))
    thresholds = np.array([float(t) for t in _thresholds(model.model_to_string())])
    asked = thresholds.astype(np.float32)
    for step in steps:
        toward = np.float32(np.inf if step > 0 else -np.inf)
        for _ in range(abs(step)):
            asked = np.append(asked, np.nextafter(asked, toward)).astype(np.float32)[:2000]
    if len(asked):
        rows_asked = asked.astype(np.float64).reshape(-1, 1)
        np.testing.assert_array_equal(model.predict(rows_asked), rounded.predict(rows_asked))
    assert all(np.float32(t) == t for t in map(float, _thresholds(rounded.model_to_string())))


def _thresholds(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("threshold=")]
    return [value for line in lines for value in line.removeprefix("threshold=").split()]


def test_a_wrong_conversion_is_refused_and_the_worst_row_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    described = features(INPUTS, {})
    good = capture(xgb("reg:squarederror", TRAIN["value"]), described, Task.REGRESSION, None)
    other = capture(
        xgb("reg:squarederror", TRAIN["value"] + (TRAIN["count"] == 7) * 9), described, Task.REGRESSION, None
    )
    wrong = type(good)("xgboost", good.native, "ubj", other.online, good.score)
    with pytest.raises(PublishError) as refused:
        parity.check(wrong, described, INPUTS)
    message = str(refused.value)
    assert "The ONNX form answers otherwise than the model for " in message
    shown = json.loads(message[message.index("{") : message.index("}") + 1])
    assert set(shown) == set(FEATURES)
    assert shown["count"] == 7
    # Messages end up in the logs of workflows.
    protected = features(INPUTS, {"count": About(sensitivity=Sensitivity.CONFIDENTIAL)})
    with pytest.raises(PublishError, match='"count": "not shown, confidential"'):
        parity.check(wrong, protected, INPUTS)


def test_a_forest_that_splits_on_missing_values_is_refused(registry: Path) -> None:
    """What skl2onnx makes of one goes the wrong way where a value is missing."""
    model = RandomForestClassifier(10, random_state=1).fit(MATRIX, TRAIN["high"])
    with pytest.raises(PublishError, match=r"The ONNX form answers otherwise than the model for .*null"):
        publish(model, name="team/model", data=TRAIN, test=TEST, target="high", features=FEATURES)


def test_edge_rows_miss_values_and_hold_what_training_never_saw() -> None:
    described = features(INPUTS, {})
    edges = parity.edge_rows(INPUTS, described)
    assert edges["x"].isna().any() and edges["kind"].isna().any() and not edges["count"].isna().any()
    assert (edges["kind"] == parity.UNKNOWN).any()
    low, high = described[1].range or (0, 0)
    assert edges["count"].min() < low and edges["count"].max() > high


def test_features_that_32_bits_cannot_hold_are_named(registry: Path) -> None:
    moment = 1.7e9 + np.arange(400) * 10.0
    frame = pd.DataFrame({"moment": moment, "y": np.arange(400) // 2 % 2.0})
    model = lightgbm.train(
        {"verbose": -1, "min_data_in_leaf": 1, "min_data_in_bin": 1, "max_bin": 1000, "num_leaves": 400},
        lightgbm.Dataset(frame[["moment"]].to_numpy(), frame["y"]),
        20,
    )
    with pytest.raises(PublishError, match=r"get another prediction when .*; 'moment' loses most"):
        publish(model, name="team/model", data=frame, test=frame, target="y", features=["moment"])
    assert not list(registry.rglob("model*"))


def test_a_model_that_fails_on_unknown_texts_is_refused(registry: Path) -> None:
    model = make_pipeline(make_column_transformer((OrdinalEncoder(), ["kind"])), Ridge())
    train = TRAIN.dropna(subset="kind")
    model.fit(train[["kind"]], train["value"])
    with pytest.raises(PublishError, match=r"fails on rows that it may be asked about: .*handle_unknown="):
        publish(model, name="team/model", data=train, test=TEST.dropna(), target="value", features=["kind"])


def test_classifiers_without_probabilities_and_code_in_models_are_refused(registry: Path) -> None:
    matrix = MATRIX[:, [1, 3]]
    arguments: dict[str, Any] = {
        "name": "team/model",
        "data": TRAIN,
        "test": TEST,
        "features": ["count", "flag"],
    }
    with pytest.raises(PublishError, match="SVC has no predict_proba"):
        publish(SVC().fit(matrix, TRAIN["high"]), target="high", **arguments)
    own = make_pipeline(FunctionTransformer(_twice), LinearRegression()).fit(matrix, TRAIN["value"])
    with pytest.raises(PublishError, match=r"The model holds .*_twice, which a server would have to trust"):
        publish(own, target="value", **arguments)


def _twice(values: Any) -> Any:
    return values * 2


def test_what_cannot_be_converted_can_be_published_for_batch(registry: Path) -> None:
    model = lgb("cross_entropy", TRAIN["value"].rank(pct=True))
    arguments: dict[str, Any] = {
        "name": "team/model",
        "data": TRAIN,
        "test": TEST,
        "target": "value",
        "features": FEATURES,
    }
    with pytest.raises(
        PublishError, match=r"No ONNX model can be made of this one \(onnxmltools: Unsupported"
    ):
        publish(model, **arguments)
    manifest = publish(model, online=False, **arguments).manifest
    assert (manifest.artifact.format, manifest.online) == ("lightgbm", None)


def test_other_things_are_no_models(registry: Path) -> None:
    with pytest.raises(PublishError, match=r"A builtins\.dict is none of: scikit-learn estimator, XGBoost"):
        publish({}, name="team/model", data=TRAIN, test=TEST, target="value", features=FEATURES)


def linear(
    output: int = TensorProto.FLOAT, outputs: int = 1, kind: int = TensorProto.FLOAT, width: int = 2
) -> Any:
    """Return an ONNX model: the sum of two features."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)]
    nodes += [helper.make_node("Identity", ["y"], [f"y{i}"]) for i in range(1, outputs)]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "sum",
            [helper.make_tensor_value_info("x", kind, [None, width])],
            [
                helper.make_tensor_value_info(name, output, [None, 1])
                for name in ("y", *(f"y{i}" for i in range(1, outputs)))
            ],
            [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_an_onnx_model_is_taken_as_it_is(kind: int, registry: Path, tmp_path: Path) -> None:
    model = linear(output=kind, kind=kind)
    onnx.save(model, tmp_path / "sum.onnx")
    arguments: dict[str, Any] = {
        "data": TRAIN,
        "test": TEST,
        "target": "value",
        "features": ["count", "flag"],
    }
    first = publish(tmp_path / "sum.onnx", name="team/model", **arguments).manifest
    assert (first.artifact.format, first.online) == ("onnx", None)
    content = (registry / first.artifact.uri).read_bytes()
    answers = onnx_graph.run(content, TRAIN[["count", "flag"]], first.signature.features)
    np.testing.assert_allclose(answers, TRAIN["count"] + TRAIN["flag"])
    assert publish(model, name="team/model", **arguments).manifest.digest == first.digest


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (linear(outputs=2), "Of the ONNX model's outputs, y, y1, none is clearly the prediction"),
        (linear(width=3), "The ONNX model takes 3 features, but the signature has 2: count, flag"),
        (b"nonsense", "No ONNX model can be read from what was given"),
    ],
)
def test_onnx_models_that_do_not_fit_are_refused(model: Any, message: str, registry: Path) -> None:
    with pytest.raises(PublishError, match=message):
        publish(model, name="team/model", data=TRAIN, test=TEST, target="value", features=["count", "flag"])


def test_operators_of_others_are_refused(registry: Path) -> None:
    model = linear()
    model.graph.node[0].domain = "com.example"
    with pytest.raises(PublishError, match=r"uses operators of com\.example, which need code"):
        publish(model, name="team/model", data=TRAIN, test=TEST, target="value", features=["count", "flag"])


def priced(rows: Any) -> Any:
    base = 3 * np.nan_to_num(rows["x"], nan=0.5) + 0.2 * rows["count"]
    return np.where(
        (rows["kind"] == "red") & ~rows["flag"], base + 2, np.clip(base, -1, 10)
    ) ** 2 / 2 - np.log1p(np.abs(base))


def test_a_python_function_is_traced_and_its_code_stays_at_home(registry: Path) -> None:
    manifest = publish(
        priced, name="team/model", data=TRAIN, test=TEST, target="value", features=FEATURES
    ).manifest
    content = (registry / manifest.artifact.uri).read_bytes()
    assert manifest.artifact.format == "onnx" and b"priced" not in content
    expected = priced({name: INPUTS[name] for name in FEATURES})
    answers = onnx_graph.run(content, INPUTS, manifest.signature.features)
    np.testing.assert_allclose(answers, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rows: rows["x"] if rows["x"] > 0 else 0, "it branches on a value of a column: use np.where"),
        (
            lambda rows: rows["y"],
            "it takes 'y', and the features are x, count, kind, flag",
        ),
        (lambda rows: [value for value in rows["x"]], "it loops over the rows"),
        (lambda rows: rows["x"].rolling(3), r"it uses \.rolling of a column"),
        (lambda rows: np.cumsum(rows["x"]), "cannot be traced"),
        (
            lambda rows: rows["kind"] == "pink",
            "it compares with 'pink', which training never saw; it saw blue",
        ),
        (lambda rows: float(rows["x"]), "it takes one number out of a column"),
        (lambda rows: 3.0, "it returns a float, not a column"),
    ],
)
def test_functions_that_need_their_code_are_refused(function: Any, message: str, registry: Path) -> None:
    with pytest.raises(PublishError, match=message):
        publish(function, name="team/model", data=TRAIN, test=TEST, target="value", features=FEATURES)
    assert not list(registry.rglob("model*"))


def test_texts_whose_case_a_server_would_have_to_change_are_refused() -> None:
    """onnxruntime loads such a model only where the languages of a desktop are installed."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TRAIN.assign(kind=TRAIN["kind"].fillna("none"))
    columns = make_column_transformer((TfidfVectorizer(), "kind"), ("passthrough", ["count"]))
    model = make_pipeline(columns, Ridge()).fit(words[["kind", "count"]], words["value"])
    with pytest.raises(
        PublishError, match=r"No ONNX .* the model changes the case of texts.*lowercase=False"
    ):
        publish(model, name="team/model", data=words, test=words, target="value")


def test_categories_of_xgboosts_own_are_told_in_a_line() -> None:
    model = xgboost.XGBRegressor(n_estimators=3, enable_categorical=True, n_jobs=1).fit(
        INPUTS, TRAIN["value"]
    )
    with pytest.raises(
        PublishError, match=r"enable_categorical\) have no ONNX form: train on .*encode"
    ) as told:
        publish(model, name="team/model", data=TRAIN, test=TEST, target="value", features=FEATURES)
    assert "\n" not in str(told.value)


def test_a_model_of_several_numbers_a_row_is_refused() -> None:
    from sklearn.cluster import KMeans

    model = KMeans(3, n_init=1).fit(TRAIN[["count", "flag"]])
    with pytest.raises(PublishError, match=r"gives \(1200,\) numbers for 400 rows; expected one each"):
        publish(model, name="team/model", data=TRAIN, test=TEST, target="value")


def with_missing(missing: Any) -> pd.DataFrame:
    return TRAIN.assign(kind=TRAIN["kind"].astype(object).where(TRAIN["kind"].notna(), missing))


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9, encoded_missing_value=-5),
    ],
)
def test_missing_texts_are_to_a_server_what_they_were_in_training(encoder: Any, registry: Path) -> None:
    """They are a category of their own, apart from texts that training never saw."""
    data = with_missing(np.nan)
    data["value"] += data["kind"].isna() * 50
    columns = make_column_transformer((encoder, ["kind"]), ("passthrough", ["count", "flag"]))
    model = make_pipeline(columns, Ridge()).fit(data[["kind", "count", "flag"]], data["value"])
    held = publish(model, name="team/model", data=data, test=data, target="value").manifest
    assert held.online
    content = (registry / held.online.uri).read_bytes()
    asked = pd.DataFrame({"kind": ["red", np.nan, "new"], "count": [1, 1, 1], "flag": [True] * 3})
    answers = onnx_graph.run(content, asked, held.signature.features)
    np.testing.assert_allclose(answers, model.predict(asked), rtol=1e-4)
    assert abs(answers[1] - answers[2]) > 10


def test_a_model_that_took_none_for_a_category_is_refused(registry: Path) -> None:
    """scikit-learn tells None from NaN; a server cannot."""
    data = with_missing(None)
    data["value"] += data["kind"].isna() * 50
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["kind"]))
    model = make_pipeline(columns, Ridge()).fit(data[["kind"]], data["value"])
    with pytest.raises(PublishError, match=r"other predictions .* of 400 training rows.*NaN, not None"):
        publish(model, name="team/model", data=data, test=data, target="value")


def test_categories_in_another_order_than_in_training_are_refused(registry: Path) -> None:
    order = pd.CategoricalDtype(["red", "blue", "green"])
    past = TRAIN[["x", "kind"]].astype({"kind": order})
    model = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1).fit(past, TRAIN["value"])
    with pytest.raises(PublishError, match=r"other predictions .* and categories in the same order"):
        publish(model, name="team/model", data=TRAIN, test=TEST, target="value")
    same = TRAIN.astype({"kind": order})
    manifest = publish(model, name="team/model", data=same, test=same, target="value").manifest
    assert manifest.signature.features[1].categories == ("red", "blue", "green")
