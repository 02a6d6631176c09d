"""What changes from one version of a model to another, in words."""

from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import Feature, Manifest, Prediction


def version_changes(old: Manifest | None, new: Manifest) -> list[str]:
    """Return what people should know of `new`, compared with `old` where there is one; a line each."""
    lines = [_metric(old, new)]
    lines += _features(old, new)
    before = old.signature.prediction if old else None
    after = new.signature.prediction
    if before and (before.name, before.type, before.unit) != (after.name, after.type, after.unit):
        lines.append(f"prediction: {_typed(before)} -> {_typed(after)}")
    dirty = ", with uncommitted changes" if new.code.dirty else ""
    lines.append(
        f"trained on {new.data.rows:,} rows of {new.data.uri} at commit {new.code.commit[:12]}{dirty}"
    )
    return lines


def _metric(old: Manifest | None, new: Manifest) -> str:
    name = new.metrics.primary
    value = new.metrics.values[name]
    if old is None or name not in old.metrics.values:
        return f"test {name}: {value:.6g}"
    before = old.metrics.values[name]
    better = (value > before) == new.metrics.higher_is_better
    verdict = "the same" if value == before else "better" if better else "worse"
    return f"test {name}: {before:.6g} -> {value:.6g}, {verdict}"


def _features(old: Manifest | None, new: Manifest) -> list[str]:
    after = {feature.name: feature for feature in new.signature.features}
    if old is None:
        restricted = [_described(f) for f in after.values() if f.sensitivity.restricted]
        protected = f", of which protected: {', '.join(restricted)}" if restricted else ""
        return [f"features: {len(after)}{protected}"]
    before = {feature.name: feature for feature in old.signature.features}
    lines = [f"feature added: {_described(after[name])}" for name in after if name not in before]
    lines += [f"feature removed: {_described(before[name])}" for name in before if name not in after]
    for name in before:
        if name in after and _described(before[name]) != _described(after[name]):
            lines.append(f"feature changed: {_described(before[name])} -> {_described(after[name])}")
    return lines or [f"features: the same {len(after)}"]


def _described(feature: Feature) -> str:
    level = "" if feature.sensitivity is Sensitivity.INTERNAL else f", {feature.sensitivity}"
    unit = f" in {feature.unit}" if feature.unit else ""
    return f"{feature.name} ({feature.type}{unit}{level})"


def _typed(prediction: Prediction) -> str:
    unit = f" in {prediction.unit}" if prediction.unit else ""
    return f"{prediction.name} ({prediction.type}{unit})"
