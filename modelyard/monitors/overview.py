"""Charts of a model that raise no alert, but are where a person looks first."""

from modelyard.monitors.alert import Tile
from modelyard.monitors.monitor import Subject
from modelyard.monitors.promql import DAY, LOG_LAG, LOG_ROWS, PREDICTIONS, series
from modelyard.monitors.values import LABEL_COVERAGE

_RATE = 300  # seconds over which rates are taken


def tiles(subject: Subject) -> tuple[Tile, ...]:
    """Return the charts of use and log, and of the labels' coverage where labels arrive."""
    whose: dict[str, str] = {"team": subject.team, "model": subject.model}
    predictions = series(PREDICTIONS, _RATE, **whose)
    rows = series(LOG_ROWS, _RATE, **whose)
    charts = (
        Tile("Predictions per version", f"sum by (version) (rate({predictions}))", "1/s"),
        Tile("Rows of the prediction log", f"sum by (state) (rate({rows}))", "1/s"),
        Tile("Age of the oldest log row not yet sent", f"max({series(LOG_LAG, **whose)})", "s"),
    )
    if subject.label is None:
        return charts
    coverage = Tile(
        "Share of predictions with a label", f"max({LABEL_COVERAGE.last(DAY, **whose)})", "10^2.%"
    )
    return (*charts, coverage)
