"""A promoted model told as one: versions, test metric, data, code, features and dependencies.

It is read from the manifests that the two checkouts pin; where only plans are at hand, from the settings of
the model's pods, which carry version, artefact and signature alone.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from modelyard.spec.base import Sensitivity
from plan_review.changes import Change, at
from plan_review.fleet import Fleet, features
from plan_review.subject import Subject
from plan_review.words import number


@dataclass(frozen=True)
class Vulnerability:
    """A known weakness of a package that a model was trained with."""

    id: str
    package: str
    version: str
    summary: str
    fixed_in: str


@dataclass(frozen=True)
class Promotion:
    """What another version of a model brings."""

    team: str
    model: str
    role: str
    """What changes: `served`, or `canary`."""
    before: int | None
    after: int | None
    metric: str = ""
    """Name of the primary test metric."""
    metric_before: float | None = None
    metric_after: float | None = None
    metric_worse: bool = False
    data: str = ""
    """What it was trained on, where that is another set than before."""
    rows: int | None = None
    commit: str = ""
    repository: str = ""
    repository_changed: bool = False
    dirty: bool = False
    added: Mapping[str, Sensitivity] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    retyped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sensitivity: Mapping[str, tuple[Sensitivity, Sensitivity]] = field(default_factory=dict)
    prediction_retyped: tuple[str, str] | None = None
    packages: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Package -> version before and after; empty where it was not, or is no more."""
    vulnerabilities: tuple[Vulnerability, ...] = ()
    """Known weaknesses of packages that came or changed."""

    @property
    def title(self) -> str:
        """The promotion in one line."""
        what = "canary of " if self.role == "canary" else ""
        if self.before is None:
            return f"{what}{self.team}/{self.model}: version {self.after} is new"
        if self.after is None:
            return f"{what}{self.team}/{self.model}: version {self.before} is taken out"
        arrow = "is rolled back" if self.after < self.before else "is promoted"
        return f"{what}{self.team}/{self.model} {arrow}: version {self.before} -> {self.after}"

    def lines(self) -> Iterator[str]:
        """Yield what there is to say, most important first."""
        if self.metric and self.metric_after is not None:
            now = number(round(self.metric_after, 6))
            if self.metric_before is None:
                yield f"test {self.metric}: {now}"
            else:
                verdict = "worse" if self.metric_worse else "not worse"
                yield f"test {self.metric}: {number(round(self.metric_before, 6))} -> {now} ({verdict})"
        if self.data:
            yield f"trained on {self.data}" + (f", {self.rows:,} rows" if self.rows else "")
        if self.commit:
            dirty = ", with uncommitted changes" if self.dirty else ""
            yield f"code: {self.repository} at {self.commit[:12]}{dirty}"
        for name, level in self.added.items():
            yield f"feature {name} added ({level})"
        for name in self.removed:
            yield f"feature {name} removed"
        for name, (old, new) in self.retyped.items():
            yield f"feature {name} retyped: {old} -> {new}"
        for name, (was, now_level) in self.sensitivity.items():
            yield f"feature {name}: {was} -> {now_level}"
        if self.prediction_retyped:
            yield f"prediction retyped: {self.prediction_retyped[0]} -> {self.prediction_retyped[1]}"
        for name, (old, new) in self.packages.items():
            yield f"dependency {name}: {old or 'not there'} -> {new or 'removed'}"
        for found in self.vulnerabilities:
            fixed = f"fixed in {found.fixed_in}" if found.fixed_in else "not fixed"
            yield f"{found.package} {found.version}: {found.id}, {found.summary} ({fixed})"


def from_checkouts(base: Fleet, head: Fleet, teams: Iterable[str]) -> Iterator[Promotion]:
    """Yield the promotions of `teams` between two checkouts."""
    for team in teams:
        facts = head.teams[team]
        old_models = base.teams[team].models if team in base.teams else {}
        for model in facts.models:
            served = base.manifest(team, model) if model in old_models else {}
            for role in ("served", "canary"):
                canary = role == "canary"
                before = base.manifest(team, model, canary) if model in old_models else {}
                after = head.manifest(team, model, canary)
                if before.get("digest") == after.get("digest"):
                    continue
                # A new canary is compared with the version that is served beside it.
                old = before or served if canary else before
                yield _compared(team, model, role, before, after, old, (base, head))


def _compared(
    team: str,
    model: str,
    role: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    old: Mapping[str, Any],
    fleets: tuple[Fleet, Fleet],
) -> Promotion:
    if not after:
        return Promotion(team, model, role, _version(before), None)
    canary = role == "canary"
    levels = fleets[1].sensitivity(team, model, canary)
    old_levels = fleets[0].sensitivity(team, model, canary and old is before)
    was, now = features(old), features(after)
    metric, better_high, value = _metric(after)
    old_value = _metric(old)[2] if _metric(old)[0] == metric else None
    worse = (
        old_value is not None
        and value is not None
        and (value < old_value if better_high else value > old_value)
    )
    kinds = [str(at(m, "signature.prediction.type", "")) for m in (old, after)]
    packages = _packages(old, after)
    return Promotion(
        team=team,
        model=model,
        role=role,
        before=_version(before),
        after=_version(after),
        metric=metric,
        metric_before=old_value,
        metric_after=value,
        metric_worse=worse,
        data=str(at(after, "data.description") or at(after, "data.uri", ""))
        if at(old, "data.digest") != at(after, "data.digest")
        else "the same data as before",
        rows=_whole(at(after, "data.rows")),
        commit=str(at(after, "code.commit", "")),
        repository=str(at(after, "code.repository", "")),
        repository_changed=bool(old) and at(old, "code.repository") != at(after, "code.repository"),
        dirty=at(after, "code.dirty") is True,
        added={name: levels.get(name, Sensitivity.INTERNAL) for name in now if name not in was}
        if old
        else {},
        removed=tuple(name for name in was if name not in now),
        retyped={
            name: (str(was[name].get("type")), str(feature.get("type")))
            for name, feature in now.items()
            if name in was and was[name].get("type") != feature.get("type")
        },
        sensitivity={
            name: (old_levels[name], level)
            for name, level in levels.items()
            if name in old_levels and name in was and old_levels[name] is not level
        },
        prediction_retyped=(kinds[0], kinds[1]) if old and kinds[0] != kinds[1] else None,
        packages=packages,
        vulnerabilities=tuple(
            found for name, (_, new) in packages.items() if new for found in known_vulnerabilities(name, new)
        )
        if old
        else tuple(
            found for name, new in _all_packages(after).items() for found in known_vulnerabilities(name, new)
        ),
    )


def _version(manifest: Mapping[str, Any]) -> int | None:
    return _whole(manifest.get("version"))


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _metric(manifest: Mapping[str, Any]) -> tuple[str, bool, float | None]:
    primary = str(at(manifest, "metrics.primary", ""))
    values = at(manifest, "metrics.values", {})
    value = values.get(primary) if isinstance(values, Mapping) else None
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return primary, at(manifest, "metrics.higher_is_better") is True, number


def _all_packages(manifest: Mapping[str, Any]) -> dict[str, str]:
    packages = at(manifest, "dependencies.packages", {})
    return {str(n): str(v) for n, v in packages.items()} if isinstance(packages, Mapping) else {}


def _packages(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    if not old:
        return {}
    before, after = _all_packages(old), _all_packages(new)
    python = [str(at(m, "dependencies.python", "")) for m in (old, new)]
    if python[0] != python[1]:
        before["python"], after["python"] = python
    names = sorted({**before, **after})
    return {
        name: (before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name) != after.get(name)
    }


def from_settings(changes: Iterable[tuple[Change, Subject]]) -> Iterator[Promotion]:
    """Yield promotions as the settings of pods show them, which carry version and features."""
    for change, subject in changes:
        if change.type not in ("kubernetes_config_map_v1", "kubernetes_config_map"):
            continue
        documents = [v.get("data") or {} for v in (change.before, change.after)]
        old, new = (d.get("model.json") if isinstance(d, Mapping) else None for d in documents)
        if not isinstance(new, Mapping) or (
            isinstance(old, Mapping) and old.get("version") == new.get("version")
        ):
            continue
        name = str(at(change.values, "metadata.name", ""))
        role = "canary" if "-canary" in name else "served"
        was, now = features(old) if isinstance(old, Mapping) else {}, features(new)
        yield Promotion(
            team=subject.team,
            model=subject.model,
            role=role,
            before=_version(old) if isinstance(old, Mapping) else None,
            after=_version(new),
            added={n: _level(f) for n, f in now.items() if n not in was} if was else {},
            removed=tuple(name for name in was if name not in now),
            retyped={
                name: (str(was[name].get("type")), str(feature.get("type")))
                for name, feature in now.items()
                if name in was and was[name].get("type") != feature.get("type")
            },
        )


def _level(feature: Mapping[str, Any]) -> Sensitivity:
    try:
        return Sensitivity(str(feature.get("sensitivity", "internal")))
    except ValueError:
        return Sensitivity.INTERNAL


# Known vulnerabilities, from a dated file in the repository.


@cache
def advisories() -> Mapping[str, Any]:
    """Return the repository's advisory file: its date, source, coverage and entries."""
    text = files("plan_review").joinpath("data/advisories.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def known_vulnerabilities(package: str, version: str) -> Iterator[Vulnerability]:
    """Yield what the repository's advisory file says of a package's version."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    for entry in advisories()["advisories"]:
        if entry["package"] == name and _between(
            version, entry.get("introduced", "0"), entry.get("fixed", "")
        ):
            yield Vulnerability(entry["id"], package, version, entry["summary"], entry.get("fixed", ""))


def _between(version: str, introduced: str, fixed: str) -> bool:
    at_least = _ordered(version) >= _ordered(introduced)
    return at_least and (not fixed or _ordered(version) < _ordered(fixed))


def _ordered(version: str) -> tuple[int, ...]:
    """Return the numbers of a release; pre-releases count as their release, local parts are left out."""
    numbers = re.match(r"\d+(\.\d+)*", version.partition("+")[0])
    parts = [int(part) for part in numbers[0].split(".")] if numbers else [0]
    return tuple(parts + [0] * (6 - len(parts)))
