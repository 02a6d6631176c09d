"""Hypothesis strategies of valid environments, teams and manifests, edge cases among them; small examples.

`environments()` and `teams(environment)` draw loaded objects, as stacks get them; `trees()` draws what lies
on disk, and `Tree.write` puts it there.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from modelyard.spec.base import NAME_PATTERN, Pattern, Sensitivity, Severity
from modelyard.spec.environment import RESTRICTED_WORDS, Environment, Images
from modelyard.spec.load import load_team
from modelyard.spec.manifest import FORMAT, RESERVED_PREFIXES, FeatureType, digest_of
from modelyard.spec.regions import MULTI_REGIONS, REGIONS
from modelyard.spec.team import DeployedTeam

Document = dict[str, Any]
DIGEST = "sha256:" + "0" * 64
DOMAIN = "example.com"
# Those of the other types stand in one team's project.
SHARED_CHANNELS = ("email", "pubsub")

# Examples


def feature(name: str, type_: str = "float64", **more: Any) -> Document:
    """Return a feature of a signature."""
    return {"name": name, "type": type_, **more}


def manifest_document(
    team: str = "flight-ops", model: str = "arrival-delay", version: int = 3, **changed: Any
) -> Document:
    """Return a small valid manifest; `changed` replaces keys, and the digest fits."""
    features = changed.pop("features", [feature("distance", unit="km"), feature("carrier", "string")])
    document = {
        "format": FORMAT,
        "team": team,
        "model": model,
        "version": version,
        "created": "2025-01-31T09:30:00Z",
        "task": "regression",
        "artifact": {
            "uri": f"{team}/{model}/{version}/model.onnx",
            "digest": DIGEST,
            "format": "onnx",
            "size_bytes": 9,
        },
        "signature": {
            "features": features,
            "prediction": {"name": "delay", "type": "float64", "unit": "min"},
        },
        "metrics": {"primary": "mae", "higher_is_better": False, "values": {"mae": 12.5}, "rows": 100},
        "data": {"uri": "example", "digest": DIGEST, "rows": 1000},
        "code": {
            "repository": "example/models",
            "commit": "0" * 40,
            "dirty": False,
            "entry_point": "train.py",
        },
        "dependencies": {"python": "3.11.8", "packages": {"numpy": "2.2.0"}},
        "baselines": {
            "features": {},
            "prediction": {
                "kind": "numeric",
                "edges": [0],
                "counts": [1, 2],
                "missing": 0,
                "mean": 1,
                "std": 1,
            },
        },
        **changed,
    }
    return signed(document)


def signed(document: Document) -> Document:
    """Return a manifest with the digest of its content."""
    return {**document, "digest": digest_of(document)}


def environment_document(name: str = "dev", **changed: Any) -> Document:
    """Return a small valid environment; `changed` replaces keys."""
    return {
        "environment": name,
        "project": f"example-models-{name}",
        "project_number": "123456789012",
        "organization": DOMAIN,
        "region": "europe-west4",
        "state": {"bucket": f"example-state-{name}"},
        "tenants": {
            "parent": "folders/123456789012",
            "billing_account": "012345-6789AB-CDEF01",
            "prefix": f"ex-{name}",
        },
        "groups": {
            persona: f"{persona}@{DOMAIN}" for persona in ("platform", "approvers", "auditors", "viewers")
        },
        "channels": [{"name": "pager", "type": "email", "address": f"pager@{DOMAIN}"}],
        "ci": {"repository": "example/models"},
        "images": dict.fromkeys(Images.model_fields, DIGEST),
        **changed,
    }


def team_document(team: str = "flight-ops", models: list[Document] | None = None, **changed: Any) -> Document:
    """Return a small valid team file; `changed` replaces keys."""
    return {
        "team": team,
        "owners": {"group": f"{team}@{DOMAIN}", "escalation": "pager"},
        "cost_center": "4711",
        "models": [{"name": "arrival-delay", "pattern": "rest", "version": 3}] if models is None else models,
        **changed,
    }


@dataclass
class Team:
    """A team's folder: its file, and the manifests by file name."""

    document: Document
    manifests: dict[str, Document] = field(default_factory=dict)


@dataclass
class Tree:
    """What lies under `environments/` and `teams/`."""

    environments: dict[str, Document]
    teams: dict[str, Team]

    def write(self, root: Path) -> Path:
        """Write the files under `root`; YAML is written as JSON, which is YAML too."""
        (root / "environments").mkdir(parents=True, exist_ok=True)
        (root / "teams").mkdir(exist_ok=True)
        for name, document in self.environments.items():
            (root / "environments" / f"{name}.yaml").write_text(text_of(document), encoding="utf-8")
        for name, team in self.teams.items():
            folder = root / "teams" / name
            folder.mkdir(exist_ok=True)
            (folder / "team.yaml").write_text(text_of(team.document), encoding="utf-8")
            for file, manifest in team.manifests.items():
                (folder / file).write_text(text_of(manifest), encoding="utf-8")
        return root


def text_of(document: Document) -> str:
    """Return a document as JSON."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def example_tree() -> Tree:
    """Return one environment and one team with one model."""
    team = Team(team_document(), {"arrival-delay.json": manifest_document()})
    return Tree({"dev": environment_document()}, {"flight-ops": team})


# Strategies


def names(max_size: int = 40) -> st.SearchStrategy[str]:
    """Names of teams and models, many as long as they may be."""
    word = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
    joined = st.lists(word, min_size=1, max_size=4).map("-".join)
    anything = st.from_regex(NAME_PATTERN.replace("$", r"\Z"), fullmatch=True)
    longest = st.integers(1, 4).map(lambda n: ("model-" * 10)[: max_size - n].strip("-") + "x" * n)
    return (
        st.one_of(joined.map(lambda text: f"m{text}"), anything, longest)
        .map(lambda text: text[:max_size].strip("-"))
        .filter(lambda text: len(text) >= 2 and _allowed(text))
    )


def _allowed(name: str) -> bool:
    return (
        not name.startswith("goog")
        and not any(word in name for word in RESTRICTED_WORDS)
        and name not in _TAKEN
    )


_TAKEN = {"platform", "shared"}
# What templates, queries, HTML and shells could stumble over, and no control characters.
texts = st.one_of(
    st.text(
        st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters="\u2028\u2029"), max_size=40
    ),
    st.sampled_from(
        [
            "",
            "${x}",
            "%{ if true }",
            '"',
            "'",
            "\\",
            "a\nb",
            "<b>&amp;",
            "{{ x }}",
            "$(x)",
            "`x`",
            "ü€😀",
            "no",
            "-- ;",
        ]
    ),
)
column_names = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True),
    st.sampled_from(["team", "prediction_id", "select", "time", "x" * 128]),
).filter(lambda name: not name.lower().startswith(RESERVED_PREFIXES))
emails = st.sampled_from([f"{name}@{DOMAIN}" for name in ("a", "b-c", "d.e+f")] + [f"g@sub.{DOMAIN}"])
principals = st.one_of(
    emails.map(lambda email: f"group:{email}"),
    st.just("serviceAccount:caller@other-project.iam.gserviceaccount.com"),
)
finite = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: round(value, 3) + 0.0)
severities = st.sampled_from([str(severity) for severity in Severity])
shares = st.floats(0.001, 1).map(lambda value: round(value, 4))


def _some(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    """Draw some of the keys."""
    return st.fixed_dictionaries({}, optional=options)


def _monitor(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    windows = st.sampled_from(["1m", "90s", "5m", "36h", "7d", "30d"])
    return _some(enabled=st.booleans(), severity=severities, window=windows, **more)


@st.composite
def settings(draw: st.DrawFn) -> Document:
    """Settings as an environment or a team may give them; those that depend on each other come whole."""
    low = draw(st.integers(1, 5))
    monitors = _some(
        latency=_monitor(threshold=st.floats(0.5, 1e6), error_rate=shares),
        usage=_monitor(threshold=shares),
        quality=_monitor(threshold=shares),
        drift=_monitor(threshold=st.floats(0.01, 10)),
        performance=_monitor(threshold=shares),
    )
    return draw(
        _some(
            resources=_some(
                cpu=st.sampled_from(["50m", "250m", "1", "2"]),
                memory=st.sampled_from(["64Mi", "512Mi", "4Gi"]),
            ),
            replicas=st.fixed_dictionaries(
                {"min": st.just(low), "max": st.integers(low, 1000)},
                optional={"target_cpu": st.integers(10, 95)},
            ),
            batch=_some(
                schedule=st.sampled_from(
                    ["0 3 * * *", "*/5 0-6,22 1 JAN-MAR ?", "0 0 29 2 *", "59 23 * * SUN"]
                ),
                source=st.sampled_from(["stock.cars", "other-project.d.t"]),
                shards=st.integers(1, 1000),
                deadline=st.sampled_from(["1m", "4h", "7d"]),
            ),
            serving=_some(
                out_of_range=st.sampled_from(["flag", "reject"]),
                log_unavailable=st.sampled_from(["keep-serving", "stop-serving"]),
                max_rows=st.integers(1, 100_000),
                max_body=st.sampled_from(["1Ki", "256Ki", "1Mi", "64Mi"]),
            ),
            streaming=_some(
                max_backlog=st.integers(1, 10_000_000),
                retention=st.sampled_from(["10m", "31d"]),
                max_delivery_attempts=st.integers(5, 100),
            ),
            monitors=monitors,
            access=_some(
                callers=st.lists(st.just("serviceAccount:a@other.iam.gserviceaccount.com"), max_size=1),
                log_readers=st.lists(principals, max_size=2, unique=True),
                pii_readers=st.lists(principals, max_size=2, unique=True),
            ),
        )
    )


@st.composite
def features(draw: st.DrawFn) -> Document:
    """Features of every type, with and without what is known of their values."""
    kind = draw(st.sampled_from(FeatureType))
    document = draw(
        st.fixed_dictionaries(
            {"name": column_names, "type": st.just(str(kind))},
            optional={
                "description": texts,
                "unit": st.sampled_from(["", "km", "m/s", "%"]),
                "sensitivity": st.sampled_from([str(level) for level in Sensitivity]),
                "nullable": st.booleans(),
            },
        )
    )
    if kind.numeric and draw(st.booleans()):
        document["range"] = sorted((draw(finite), draw(finite)))
    if kind is FeatureType.STRING and draw(st.booleans()):
        document["categories"] = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    return document


@st.composite
def baselines(draw: st.DrawFn, *, numeric: bool) -> Document:
    """Distributions of training data."""
    missing = draw(st.floats(0, 1))
    if not numeric:
        categories = draw(st.dictionaries(texts, st.integers(0, 10**9), max_size=4))
        return {"kind": "categorical", "counts": categories, "missing": missing}
    edges = sorted(draw(st.sets(finite, max_size=9)))
    counts = draw(st.lists(st.integers(0, 10**9), min_size=len(edges) + 1, max_size=len(edges) + 1))
    std = draw(st.floats(0, 1e9))
    return {"kind": "numeric", "edges": edges, "counts": counts, "missing": missing, "mean": 0, "std": std}


@st.composite
def manifests(draw: st.DrawFn, team: str, model: str, version: int) -> Document:
    """Manifests of a model version."""
    found = draw(st.lists(features(), min_size=1, max_size=5, unique_by=lambda f: f["name"].lower()))
    kind = draw(st.sampled_from(FeatureType))
    primary = draw(st.sampled_from(["mae", "roc_auc", "r2 (test)"]))
    watched = [f for f in found if draw(st.booleans())]
    return manifest_document(
        team,
        model,
        version,
        task=draw(st.sampled_from(["regression", "classification"])),
        description=draw(texts),
        signature={
            "features": found,
            "prediction": {"name": draw(column_names), "type": str(kind), "unit": draw(texts)},
        },
        metrics={
            "primary": primary,
            "higher_is_better": draw(st.booleans()),
            "values": {"other": 0.0, primary: draw(finite)},
            "rows": 5,
        },
        baselines={
            "features": {
                f["name"]: draw(baselines(numeric=FeatureType(f["type"]).numeric and draw(st.booleans())))
                for f in watched
            },
            "prediction": draw(baselines(numeric=kind.numeric)),
        },
    )


_ONLY_FOR = {"batch": {"batch"}, "streaming": {"streaming"}, "replicas": {"rest", "streaming"}}


@st.composite
def _models(draw: st.DrawFn, team: str, name: str, pii_known: bool) -> tuple[Document, dict[str, Document]]:
    """A model of a team file, and its manifests by file name."""
    pattern = str(draw(st.sampled_from(Pattern)))
    version = draw(st.integers(1, 1_000_000))
    manifest = draw(manifests(team, name, version))
    own = draw(settings())
    own = {key: value for key, value in own.items() if pattern in _ONLY_FOR.get(key, {pattern})}
    if pattern != "rest":
        own.get("replicas", {}).pop("target_cpu", None)
        own.get("monitors", {}).get("latency", {}).pop("threshold", None)
        for key in ("log_unavailable", "max_rows", "max_body"):
            own.get("serving", {}).pop(key, None)
    if pattern == "batch":
        own.get("access", {}).pop("callers", None)
    model: Document = {"name": name, "pattern": pattern, "version": version, **own}
    model |= draw(
        _some(
            description=texts,
            sensitivity=st.dictionaries(
                st.sampled_from([f["name"] for f in manifest["signature"]["features"]]),
                st.sampled_from([str(level) for level in Sensitivity]),
            ),
            label=st.fixed_dictionaries(
                {"table": st.just("labels.t")},
                optional={"key": column_names, "column": column_names, "delay": st.just("90d")},
            ),
            impact=st.fixed_dictionaries(
                {"kpi": texts.filter(bool), "unit_value": finite},
                optional={"stakeholders": st.lists(emails, max_size=2)},
            ),
        )
    )
    levels = {f["name"]: f.get("sensitivity", "internal") for f in manifest["signature"]["features"]}
    levels |= model.get("sensitivity", {})
    if not pii_known and any(Sensitivity(level).restricted for level in levels.values()):
        model.setdefault("access", {}).setdefault("pii_readers", draw(st.lists(principals, max_size=1)))
    files = {f"{name}.json": manifest}
    if pattern == "rest" and draw(st.booleans()):
        other = version + 1 if version < 1_000_000 else 1
        model["canary"] = {"version": other, "percent": draw(st.integers(1, 99))}
        files[f"{name}.canary.json"] = signed({**manifest, "version": other, "description": draw(texts)})
    return model, files


@st.composite
def team_folders(draw: st.DrawFn, name: str, channels: list[str]) -> Team:
    """Folders of a team, with up to three models."""
    defaults = draw(settings())
    owners = {"group": draw(emails), "escalation": draw(st.sampled_from(channels))}
    document = {
        "team": name,
        "owners": owners | draw(_some(developers=emails, viewers=emails)),
        "cost_center": draw(st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", fullmatch=True)),
        **draw(_some(monthly_budget=st.floats(0.5, 1e6), defaults=st.just(defaults))),
        "models": [],
    }
    pii_known = "pii_readers" in document.get("defaults", {}).get("access", {})
    files: dict[str, Document] = {}
    # Several models share no name once their names have become those of tables and topics.
    for model_name in draw(st.lists(names(), max_size=3, unique=True)):
        if any(model_name in (f"{m['name']}-input", f"{m['name']}-canary") for m in document["models"]):
            continue
        if any(m["name"] in (f"{model_name}-input", f"{model_name}-canary") for m in document["models"]):
            continue
        model, manifests_of_it = draw(_models(name, model_name, pii_known))
        document["models"].append(model)
        files |= manifests_of_it
    return Team(document, files)


@st.composite
def environment_documents(draw: st.DrawFn, name: str | None = None) -> Document:
    """Environments: autopilot or node pools, any residency, real or stand-in, with settings of their own."""
    name = name or draw(st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True).filter(_allowed))
    residency = draw(st.sampled_from(["EU", "US", "region"]))
    document = environment_document(name)
    document |= {
        "region": draw(st.sampled_from(sorted(MULTI_REGIONS.get(residency, REGIONS)))),
        "data_residency": residency,
        "channels": [
            {"name": "pager", "type": "email", "address": f"pager@{DOMAIN}"},
            *draw(
                st.lists(
                    st.sampled_from(
                        [
                            {"name": "ops", "type": "pubsub", "address": "projects/p-alerts/topics/alerts"},
                            {
                                "name": "duty",
                                "type": "pagerduty",
                                "address": "projects/p-alerts/notificationChannels/1",
                            },
                            {
                                "name": "chat",
                                "type": "slack",
                                "address": "projects/p-alerts/notificationChannels/2",
                            },
                        ]
                    ),
                    unique_by=lambda channel: channel["name"],
                )
            ),
        ],
    }
    if draw(st.booleans()):
        document |= {"stand_in": True, "state": {}}
    if draw(st.booleans()):
        pools = [
            {"name": "serving", "machine_type": "n2-standard-8", "max_nodes": draw(st.integers(1, 1000))}
        ]
        if draw(st.booleans()):
            pools.append(
                {"name": "gpu", "machine_type": "g2-standard-8", "gpu": {"type": "nvidia-l4"}, "spot": True}
            )
        document["cluster"] = {"mode": "standard", "node_pools": pools}
    document |= draw(
        _some(
            cost_center=st.just("4711"),
            retention=_some(predictions=st.integers(1, 3650), artifacts=st.integers(1, 3650)),
            budget=_some(currency=st.sampled_from(["EUR", "USD"]), team=st.floats(1, 1e6)),
            defaults=settings(),
        )
    )
    return document


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """One environment and up to three teams."""
    document = draw(environment_documents())
    channels = [channel["name"] for channel in document["channels"] if channel["type"] in SHARED_CHANNELS]
    teams = draw(st.lists(names(), max_size=3, unique=True))
    return Tree(
        {document["environment"]: document}, {team: draw(team_folders(team, channels)) for team in teams}
    )


def environments() -> st.SearchStrategy[Environment]:
    """Environments as they are loaded."""
    return environment_documents().map(Environment.model_validate)


@st.composite
def teams(draw: st.DrawFn, environment: Environment) -> DeployedTeam:
    """Teams as `environment` deploys them, loaded from files."""
    name = draw(names())
    channels = [channel.name for channel in environment.channels if channel.type in SHARED_CHANNELS]
    folder = draw(team_folders(name, channels))
    with tempfile.TemporaryDirectory() as scratch:
        root = Tree({}, {name: folder}).write(Path(scratch))
        return load_team(root, name, environment)
