"""When the whole fleet is asked less, as on a holiday, a model is compared with the fleet."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from modelyard.monitors.measuring import Measurement, WindowValue
from modelyard.monitors.measuring.statistics import median
from modelyard.monitors.values import VOLUME_RATIO

# A fleet of fewer other models is none.
LEAST_MODELS = 5
# Below this share of its usual use, in the middle, the fleet as a whole is asked less.
QUIET = 0.7
Model = tuple[str, str]


def use(measured: Mapping[Model, Measurement]) -> dict[Model, WindowValue]:
    """Return the newest use of each model, as a share of the usual."""
    return {
        key: value
        for key, found in measured.items()
        for value in found.values
        if value.measured.metric is VOLUME_RATIO and value.latest and value.measured.value is not None
    }


def others(found: Mapping[Model, WindowValue], key: Model) -> float | None:
    """Return the middle share of the usual at which the other models are asked; None where they are few."""
    shares = [
        value.measured.value
        for other, value in found.items()
        if other != key and value.measured.value is not None
    ]
    return median(shares) if len(shares) >= LEAST_MODELS else None


def level(measured: Mapping[Model, Measurement]) -> float | None:
    """Return the middle share of the usual at which the models are asked; None where they are few."""
    shares = [value.measured.value for value in use(measured).values() if value.measured.value is not None]
    return median(shares) if len(shares) > LEAST_MODELS else None


def corrected(measured: Mapping[Model, Measurement]) -> Iterator[tuple[Model, WindowValue]]:
    """Yield the uses that are judged anew, since the fleet is quiet: with a threshold lower by as much."""
    found = use(measured)
    for key, value in found.items():
        level, threshold = others(found, key), value.measured.threshold
        if threshold is None or level is None or level >= QUIET:
            continue
        words = f"{value.measured.detail or ''}; the other models are at {level:.0%} of theirs".lstrip("; ")
        yield key, replace(value, measured=replace(value.measured, threshold=threshold * level, detail=words))
