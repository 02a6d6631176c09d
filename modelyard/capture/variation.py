"""How much training's own days differ from training as a whole: what no monitor may take for drift."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.capture.frames import short
from modelyard.monitors.measuring import statistics
from modelyard.spec.manifest import Baseline, NumericBaseline

# Fewer days say nothing of what is usual, fewer rows nothing of a day.
LEAST_DAYS = 20
LEAST_ROWS = 50


def with_days(baseline: Baseline, values: pd.Series, times: pd.Series) -> Baseline:
    """Return `baseline` with `daily_psi` and `daily_missing`, or as it is where training has too few days.

    A day's weather, or its weekday, is never like the year's: an index that compares a day with all of
    training is large every day, without a fault. The days of training tell how large.

    Args:
        baseline: what `frames.baseline` returned for `values`.
        values: a column of the training rows.
        times: when each of these rows was, UTC or all in one time zone.
    """
    bins, training = _bins(baseline, values)
    present = bins >= 0
    days = times[present].dt.floor("D")
    found = [
        statistics.psi(*statistics.pooled(counts, training))
        for _, rows in pd.Series(bins[present]).groupby(days.to_numpy())
        if sum(counts := np.bincount(rows, minlength=len(training)).tolist()) >= LEAST_ROWS
    ]
    if len(found) < LEAST_DAYS:
        return baseline
    absent = pd.Series(bins < 0).groupby(times.dt.floor("D").to_numpy()).agg(["mean", "size"])
    missing = absent.loc[absent["size"] >= LEAST_ROWS, "mean"]
    update = {
        "daily_psi": short(float(np.quantile(found, 0.99))),
        "daily_missing": short(float(np.quantile(missing, 0.99))),
    }
    return baseline.model_copy(update=update)


def _bins(baseline: Baseline, values: pd.Series) -> tuple[npt.NDArray[np.intp], list[float]]:
    """Return the bin of each value, -1 where it is missing, and training's counts."""
    if isinstance(baseline, NumericBaseline):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
        place = np.searchsorted(baseline.edges, numbers, side="left")
        return np.where(np.isnan(numbers), -1, place), [float(count) for count in baseline.counts]
    texts = values.astype(object).map({category: index for index, category in enumerate(baseline.counts)})
    if texts.isna().all():  # booleans stand in a baseline as true and false
        texts = values.astype(object).map(
            lambda value: list(baseline.counts).index(str(value).lower()) if pd.notna(value) else None
        )
    return texts.fillna(-1).to_numpy(np.intp), [float(count) for count in baseline.counts.values()]
