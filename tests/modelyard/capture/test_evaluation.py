"""What estimates a model's error before labels arrive is true of the rows it was learned on."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, roc_auc_score

from modelyard.capture import PublishError, evaluation
from modelyard.spec.manifest import PREDICTION, LossTree


def leaf(tree: LossTree, row: dict[str, float]) -> int:
    """Return the leaf of a row, as SQL would find it: values at or below the threshold go left."""
    index = 0
    while (node := tree.nodes[index]).feature is not None:
        value = row[node.feature]
        assert node.threshold is not None and node.left is not None and node.right is not None
        left = node.missing_left if np.isnan(value) else value <= node.threshold
        index = node.left if left else node.right
    return index


def noisy(rows: int = 2000) -> tuple[npt.NDArray[np.float32], Any, Any]:
    """Return inputs, labels and predictions whose error grows with the second feature."""
    random = np.random.default_rng(1)
    inputs = random.normal(size=(rows, 2)).astype(np.float32)
    inputs[random.random(rows) < 0.2, 1] = np.nan
    predicted = inputs[:, 0].astype(np.float64)
    scale = np.where(np.isnan(inputs[:, 1]), 5, np.where(inputs[:, 1] > 0, 2, 0.1))
    return inputs, predicted + random.normal(size=rows) * scale, predicted


def test_loss_tree_gives_each_row_the_mean_error_of_its_like() -> None:
    inputs, truth, predicted = noisy()
    tree = evaluation.loss_tree(inputs, ["a", "b"], truth, predicted)
    assert 3 <= len(tree.nodes) <= 31 and tree.nodes[0].feature == "b"
    leaves = np.array(
        [
            leaf(tree, {"a": row[0], "b": row[1], PREDICTION: p})
            for row, p in zip(inputs.astype(float), predicted, strict=True)
        ]
    )
    error = np.abs(truth - predicted)
    for index in np.unique(leaves):
        node, here = tree.nodes[index], error[leaves == index]
        assert node.rows == len(here) >= evaluation.LEAF_ROWS
        assert node.absolute_error == pytest.approx(here.mean(), rel=1e-5)
        assert node.squared_error == pytest.approx((here**2).mean(), rel=1e-5)
    estimated = np.array([tree.nodes[index].absolute_error for index in leaves])
    missing = np.isnan(inputs[:, 1])
    assert estimated[missing].mean() > 3 > 1 > estimated[~missing & (inputs[:, 1] < 0)].mean()
    assert estimated.mean() == pytest.approx(error.mean(), rel=1e-4)


def test_few_rows_make_a_tree_of_one_leaf() -> None:
    tree = evaluation.loss_tree(np.zeros((5, 1), np.float32), ["a"], np.arange(5.0), np.zeros(5))
    assert [(node.feature, node.absolute_error, node.rows) for node in tree.nodes] == [(None, 2.0, 5)]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=300))
def test_calibration_counts_every_row_once(rows: list[tuple[float, bool]]) -> None:
    probability = np.array([p for p, _ in rows])
    truth = np.array([float(t) for _, t in rows])
    made = evaluation.calibration(truth, probability)
    assert sum(made.counts) == len(rows)
    counts = np.array(made.counts)
    assert counts @ np.array(made.observed) == pytest.approx(truth.sum(), rel=1e-4, abs=1e-4)
    assert counts @ np.array(made.predicted) == pytest.approx(probability.sum(), rel=1e-4, abs=1e-4)


def test_spread_of_a_metric_is_that_of_samples_of_1000_rows() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(size=50_000)
    made = evaluation.metric_std("mae", truth, np.zeros_like(truth))
    assert made == pytest.approx(np.abs(truth).std() / np.sqrt(1000), rel=0.15)
    assert evaluation.metric_std("profit", truth, truth) is None


def test_metrics_stand_beside_those_without_a_model() -> None:
    _, truth, predicted = noisy()
    made = evaluation.regression(truth, predicted, naive=np.median(truth))
    assert made.values["mae"] == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-4)
    assert made.values["naive_mae"] > made.values["mae"] and not made.higher_is_better
    yes = (truth > 0).astype(float)
    probability = 1 / (1 + np.exp(-predicted))
    made = evaluation.binary(yes, probability, naive=yes.mean())
    assert made.values["roc_auc"] == pytest.approx(roc_auc_score(yes, probability), rel=1e-4)
    assert made.higher_is_better and made.values["naive_brier"] == pytest.approx(0.25, abs=0.01)
    made = evaluation.multiclass(np.array([0.0, 1, 2, 2]), np.array([0.0, 1, 2, 0]), naive=2)
    assert (made.values["accuracy"], made.values["naive_accuracy"]) == (0.75, 0.5)
    with pytest.raises(PublishError, match="The test rows hold one class only"):
        evaluation.binary(np.ones(5), np.ones(5), naive=1)
