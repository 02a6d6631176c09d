"""When a measured metric stands out, and where it stands between cause and consequence."""

from dataclasses import dataclass
from enum import IntEnum


class Stage(IntEnum):
    """Where a metric stands on the way from cause to consequence: an earlier one explains a later one."""

    SERVICE = 0
    """Slow or failing answers, late batches: callers turn away."""
    TRAFFIC = 1
    """Silence or doubled traffic."""
    USAGE = 2
    """More or less traffic than usual: another mix of requests."""
    QUALITY = 3
    """Broken inputs."""
    DRIFT = 4
    """Inputs that moved."""
    OUTPUT = 5
    """Predictions that moved."""
    PERFORMANCE = 6
    """Predictions that are wrong."""
    LABELS = 7
    """Labels that do not come: nothing follows for the predictions."""


@dataclass(frozen=True)
class Rule:
    """When a metric stands out, and when it no longer does.

    Args:
        stage: where it stands between cause and consequence.
        opens_after: windows beyond the threshold, of the last `of`, that open an episode.
        of: see `opens_after`.
        far: how many times beyond the threshold a single window opens one.
        resolves_after: consecutive windows within the threshold that end one.
        learns: whether the model's own earlier windows widen the threshold: for metrics that compare one
            window with the whole of training, which differ from window to window without a fault. Windows
            shorter than a day are compared with those of the same hours.
        pools: whether windows shorter than a day are judged also together, as the last 24 hours: what is too
            little to be sure of in an hour may be enough in a day. For shares of rows.
        centred: whether the threshold counts from the metric's usual value, where that is better than 0.
    """

    stage: Stage
    opens_after: int = 2
    of: int = 3
    far: float = 2.0
    resolves_after: int = 2
    learns: bool = False
    pools: bool = False
    centred: bool = False
