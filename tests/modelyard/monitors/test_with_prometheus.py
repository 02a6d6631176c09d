"""The conditions do what they should, by the word of the real Prometheus."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.monitors import MONITORS, Alert, PromqlCondition, monitors_of, platform
from modelyard.spec.base import Pattern
from scripts import prometheus
from tests.modelyard.sample import NAMES, deployed, manifest

PROMTOOL = prometheus.find()
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: python3 -m scripts.prometheus")

WHOLE = 'team="flights",model="delay"'
MODEL = 'team="flights",model="delay",version="1"'
OTHER = 'team="flights",model="delay",version="7"'
VALUE = "custom_googleapis_com:modelyard_monitor_value"
EXPLAINED = "custom_googleapis_com:modelyard_monitor_explained"
SILENCED = "custom_googleapis_com:modelyard_silenced_until"
LAST_RUN = "custom_googleapis_com:modelyard_monitor_last_run"
SUBSCRIPTION = 'project_id="example-flights",subscription_id="delay-input"'
AGE = "pubsub_googleapis_com:subscription_oldest_unacked_message_age"
SINK = 'logging_googleapis_com:exports_error_count{monitored_resource="logging_sink",name="s"}'
DEAD = "pubsub_googleapis_com:subscription_dead_letter_message_count"


def rules(pattern: Pattern, **settings: Any) -> list[dict[str, Any]]:
    """Return the model's alerts as Prometheus takes them."""
    return [_rule(alert) for alert in monitors_of(*deployed(pattern, **settings))]


def _rule(alert: Alert) -> dict[str, Any]:
    assert isinstance(alert.condition, PromqlCondition)
    return {
        "alert": alert.key.replace("-", "_"),
        "expr": alert.condition.query,
        "for": f"{alert.condition.for_seconds}s",
    }


PLATFORM = [
    {"alert": m.key.replace("-", "_"), "expr": m.condition(NAMES).query, "for": f"{m.for_seconds}s"}
    for m in platform.MONITORS
    if isinstance(m, platform.PlatformMonitor)
]


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    result = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def written(folder: Path, rules: list[dict[str, Any]]) -> Path:
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "interval": "1m", "rules": rules}]}))
    return path


@dataclass
class Case:
    """Series at one point per minute, and what fires after `minutes`: alert -> number of its instances."""

    name: str
    pattern: Pattern
    series: dict[str, str]
    fires: dict[str, int]
    minutes: int = 60
    settings: dict[str, Any] = field(default_factory=dict)


def served(seconds: str = "0.05", per_minute: int = 100, labels: str = MODEL) -> dict[str, str]:
    """Return the series of a service that answers `per_minute` requests, all within `seconds`."""
    bounds = ["0.01", "0.05", "0.1", "0.5", "1", "+Inf"]
    found = {}
    for bound in bounds:
        counted = per_minute if float(bound.replace("+", "")) >= float(seconds) else 0
        found[f'modelyard_request_seconds_bucket{{{labels},le="{bound}"}}'] = f"0+{counted}x200"
    found[f"modelyard_request_seconds_count{{{labels}}}"] = f"0+{per_minute}x200"
    found[f'modelyard_requests_total{{{labels},code="200"}}'] = f"0+{per_minute}x200"
    return found


def failing(code: str, per_minute: int) -> dict[str, str]:
    return {f'modelyard_requests_total{{{MODEL},code="{code}"}}': f"0+{per_minute}x200"}


def value(metric: str, family: str, points: str, labels: str = MODEL) -> dict[str, str]:
    return {f'{VALUE}{{{labels},family="{family}",metric="{metric}"}}': points}


def explained(metric: str, family: str, points: str, labels: str = MODEL) -> dict[str, str]:
    """Return whether a value needs no alert of its own, as the monitor job says."""
    return {f'{EXPLAINED}{{{labels},family="{family}",metric="{metric}"}}': points}


def silenced(until: int, alert: str = "all", team: str = "flights") -> dict[str, str]:
    """Return a silence that ends `until` seconds after the test began, said once."""
    return {f'{SILENCED}{{team="{team}",model="delay",alert="{alert}"}}': f"{until} _x300"}


HEALTHY = served()
RESTART = {name: "0+100x30 0+100x60" for name in HEALTHY if "bucket" not in name} | {
    name: (points if points.startswith("0+0") else "0+100x30 0+100x60")
    for name, points in HEALTHY.items()
    if "bucket" in name
}
# A pod that stopped after half an hour: its series end, and are stale.
ENDED = {name[:-1] + ',pod="old"}': "0+100x30 stale" for name in HEALTHY if "bucket" not in name} | {
    name[:-1] + ',pod="old"}': ("0+0x30 stale" if points.startswith("0+0") else "0+100x30 stale")
    for name, points in HEALTHY.items()
    if "bucket" in name
}
REST, BATCH, STREAMING = Pattern.REST, Pattern.BATCH, Pattern.STREAMING
CASES = [
    Case("healthy", REST, HEALTHY, {}),
    Case("slow", REST, served("0.5"), {"latency_p95": 1}),
    Case("slow for less than five minutes", REST, served("0.5"), {}, minutes=4),
    Case("slow, but fast enough for this team", REST, served("0.5"), {}, 60, {"latency": {"threshold": 501}}),
    Case("no request at all", REST, served(per_minute=0), {}),
    Case("too few requests to judge", REST, served("1", per_minute=3), {}),
    Case("five in a hundred fail", REST, HEALTHY | failing("500", 5), {"latency_errors": 1}),
    Case("the server says error", REST, HEALTHY | failing("error", 5), {"latency_errors": 1}),
    Case("all requests fail", REST, served(per_minute=0) | failing("503", 10), {"latency_errors": 1}),
    Case("one in a thousand fails", REST, served(per_minute=1000) | failing("500", 1), {}),
    Case("the clients' own mistakes", REST, HEALTHY | failing("422", 50), {}),
    Case(
        "a handful of failures",
        REST,
        served(per_minute=0) | {f'modelyard_requests_total{{{MODEL},code="500"}}': "0x30 1x10 2x10 3x100"},
        {},
        minutes=45,
    ),
    Case("a restart resets the counters", REST, RESTART, {}, minutes=33),
    Case("not served", REST, {}, {"latency_unavailable": 1}),
    Case("not served for less than ten minutes", REST, {}, {}, minutes=9),
    Case("another version is served", REST, served(labels=OTHER), {"latency_unavailable": 1}),
    Case("batch in time", BATCH, value("last_success", "latency", "0x60", WHOLE), {}),
    Case(
        "batch overdue",
        BATCH,
        value("last_success", "latency", "-101000x60", WHOLE),
        {"latency_freshness": 1},
    ),
    Case(
        "batch with holes",
        BATCH,
        value("failed_share", "latency", "0.02x60", WHOLE),
        {"latency_failed_rows": 1},
    ),
    Case("batch of which nothing is known", BATCH, {}, {}),
    Case("stream keeps up", STREAMING, {f"{AGE}{{{SUBSCRIPTION}}}": "20x60"}, {}),
    Case("stream lags", STREAMING, {f"{AGE}{{{SUBSCRIPTION}}}": "301x60"}, {"latency_backlog": 1}),
    Case(
        "another team's stream lags",
        STREAMING,
        {f'{AGE}{{project_id="example-other",subscription_id="delay-input"}}': "301x60"},
        {},
    ),
    Case(
        "messages are given up, none is scored",
        STREAMING,
        {f"{DEAD}{{{SUBSCRIPTION}}}": "0+1x60"},
        {"latency_dead_letters": 1},
    ),
    Case(
        "few messages are given up",
        STREAMING,
        {f"{DEAD}{{{SUBSCRIPTION}}}": "0+1x60", f"modelyard_predictions_total{{{MODEL}}}": "0+1000x60"},
        {},
    ),
    Case("no message is given up", STREAMING, {f"{DEAD}{{{SUBSCRIPTION}}}": "0x60"}, {}),
    Case("usage falls", BATCH, value("volume_ratio", "usage", "0.3x60", WHOLE), {"usage_drop": 1}),
    Case(
        "usage falls a little, as it does at this hour",
        BATCH,
        value("volume_ratio", "usage", "0.3x60", WHOLE) | explained("volume_ratio", "usage", "1x60", WHOLE),
        {},
    ),
    Case("usage is fourfold", BATCH, value("volume_rise", "usage", "4x60", WHOLE), {"usage_rise": 1}),
    Case("usage is double", BATCH, value("volume_rise", "usage", "2x60", WHOLE), {}),
    Case("silence", REST, HEALTHY | value("silence", "usage", "40x60", WHOLE), {"usage_silence": 1}),
    Case("silence at night", REST, HEALTHY | value("silence", "usage", "4x60", WHOLE), {}),
    Case(
        "requests are repeated",
        REST,
        HEALTHY | value("duplicate_share", "quality", "0.5x60", WHOLE),
        {"quality_duplicates": 1},
    ),
    Case(
        "as many requests are repeated as usual",
        REST,
        HEALTHY
        | value("duplicate_share", "quality", "0.5x60", WHOLE)
        | explained("duplicate_share", "quality", "1x60", WHOLE),
        {},
    ),
    Case(
        "a feature is gone", REST, HEALTHY | value("schema_changes", "quality", "1x60"), {"quality_schema": 1}
    ),
    Case(
        "a feature is stuck",
        REST,
        HEALTHY | value("constant", "quality", "1x60", MODEL + ',feature="a"'),
        {"quality_stuck": 1},
    ),
    Case(
        "a feature stands still for a day",
        REST,
        HEALTHY | value("stuck", "drift", "1x60", MODEL + ',feature="a"'),
        {"drift_stuck": 1},
    ),
    Case(
        "no feature is stuck or gone",
        REST,
        HEALTHY
        | value("constant", "quality", "0x60", MODEL + ',feature="a"')
        | value("schema_changes", "quality", "0x60"),
        {},
    ),
    Case(
        "a broken feature drifts and costs performance: the root alone tells",
        REST,
        HEALTHY
        | value("excess_invalid_share", "quality", "0.5x60", MODEL + ',feature="a"')
        | explained("excess_invalid_share", "quality", "0x60", MODEL + ',feature="a"')
        | value("psi", "drift", "3x60", MODEL + ',feature="a"')
        | explained("psi", "drift", "1x60", MODEL + ',feature="a"')
        | value("prediction_psi", "drift", "2x60")
        | explained("prediction_psi", "drift", "1x60")
        | value("loss", "performance", "0.9x60")
        | explained("loss", "performance", "1x60"),
        {"quality_invalid": 1},
    ),
    Case(
        "another feature explains nothing of this one",
        BATCH,
        value("psi", "drift", "3x60", MODEL + ',feature="a"')
        | explained("psi", "drift", "1x60", MODEL + ',feature="b"'),
        {"drift_features": 1},
    ),
    Case(
        "what explained it is over",
        BATCH,
        value("loss", "performance", "0.9x60") | explained("loss", "performance", "1x30 0x30"),
        {"performance_loss": 1},
    ),
    Case(
        "estimated loss",
        REST,
        HEALTHY | value("estimated_loss", "performance", "0.5x60"),
        {"performance_estimate": 1},
    ),
    Case(
        "unexpected loss",
        REST,
        HEALTHY | value("unexpected_loss", "performance", "0.5x60"),
        {"performance_unexpected": 1},
    ),
    Case(
        "labels stay away",
        BATCH,
        value("label_coverage", "performance", "0.1x60", WHOLE),
        {"performance_labels": 1},
    ),
    Case("labels come", BATCH, value("label_coverage", "performance", "0.9x60", WHOLE), {}),
    Case("slow, and silenced", REST, served("0.5") | silenced(7200), {}),
    Case("slow, and the silence is over", REST, served("0.5") | silenced(3000), {"latency_p95": 1}),
    Case("slow, and this alert is silenced", REST, served("0.5") | silenced(7200, "latency-p95"), {}),
    Case(
        "slow, and another alert is silenced",
        REST,
        served("0.5") | silenced(7200, "usage-drop"),
        {"latency_p95": 1},
    ),
    Case(
        "slow, and another team is silenced",
        REST,
        served("0.5") | silenced(7200, team="other"),
        {"latency_p95": 1},
    ),
    Case("not served, and silenced while it starts", REST, silenced(7200, "latency-unavailable"), {}),
    Case(
        "a stream lags, and is silenced",
        STREAMING,
        {f"{AGE}{{{SUBSCRIPTION}}}": "301x60"} | silenced(7200),
        {},
    ),
    Case(
        "a deployment: the old version's counters end, the new one's begin",
        REST,
        ENDED | served(labels=OTHER.replace('"7"', '"1"') + ',pod="new"'),
        {},
        minutes=45,
    ),
    Case(
        "midnight: a value of yesterday is in force until today's is there",
        BATCH,
        value("psi", "drift", "0.9x10 _x60 0.01x60", MODEL + ',feature="a"'),
        {"drift_features": 1},
        minutes=60,
    ),
    Case(
        "midnight: today's value is within the threshold",
        BATCH,
        value("psi", "drift", "0.9x10 _x60 0.01x60", MODEL + ',feature="a"'),
        {},
        minutes=90,
    ),
    Case("usage as usual", BATCH, value("volume_ratio", "usage", "0.9x60", WHOLE), {}),
    Case(
        "two features are broken",
        BATCH,
        value("excess_invalid_share", "quality", "0.5x60", MODEL + ',feature="a"')
        | value("excess_invalid_share", "quality", "0.5x60", MODEL + ',feature="b"')
        | value("excess_invalid_share", "quality", "0.01x60", MODEL + ',feature="c"'),
        {"quality_invalid": 2},
    ),
    Case(
        "features drift",
        BATCH,
        value("psi", "drift", "0.21x60", MODEL + ',feature="a"'),
        {"drift_features": 1},
    ),
    Case("predictions drift", BATCH, value("prediction_psi", "drift", "0.21x60"), {"drift_predictions": 1}),
    Case(
        "a version that is no longer pinned drifts",
        BATCH,
        value("psi", "drift", "0.9x60", OTHER + ',feature="a"'),
        {},
    ),
    Case("performance falls", BATCH, value("loss", "performance", "0.3x60"), {"performance_loss": 1}),
    Case("performance got better", BATCH, value("loss", "performance", "-0.3x60"), {}),
    Case(
        "a value pushed once stays in force between two runs",
        BATCH,
        value("loss", "performance", "0.3 _x1200"),
        {"performance_loss": 1},
        minutes=1200,
    ),
    Case("a value is forgotten at last", BATCH, value("loss", "performance", "0.3 _x2000"), {}, minutes=1600),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_fires(case: Case, tmp_path: Path) -> None:
    check(tmp_path, rules(case.pattern, monitors=case.settings), case.series, case.fires, case.minutes)


def check(
    folder: Path, rules: list[dict[str, Any]], series: dict[str, str], fires: dict[str, int], minutes: int
) -> None:
    """Let Prometheus say what fires after `minutes`."""
    test = {
        "rule_files": [str(written(folder, rules))],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": points} for name, points in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{minutes}m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": count}
                            for name, count in fires.items()
                        ],
                    }
                ],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(path))


def test_a_slow_canary_is_named(tmp_path: Path) -> None:
    found = [_rule(alert) for alert in monitors_of(*deployed(canary=manifest(2)))]
    both = HEALTHY | served("0.5", labels=MODEL.replace('"1"', '"2"'))
    check(tmp_path, found, both, {"latency_p95": 1}, 60)
    check(tmp_path, found, HEALTHY, {"latency_unavailable": 1}, 60)


ROWS = 'modelyard_log_rows_total{team="a",model="m",state="dropped"}'
RUNS = {LAST_RUN: "0+60x400"}
NODES = 'monitored_resource="k8s_node",cluster_name="modelyard-dev"'


@pytest.mark.parametrize(
    ("series", "fires", "minutes"),
    [
        (RUNS, {}, 60),
        ({}, {"platform_monitor_job": 1}, 60),
        ({LAST_RUN: "0+60x10 600x400"}, {}, 120),
        ({LAST_RUN: "0+60x10 600x400"}, {"platform_monitor_job": 1}, 180),
        (RUNS | {ROWS: "0x60"}, {}, 60),
        (RUNS | {ROWS: "0x55 3x60"}, {"platform_log_dropped": 1}, 60),
        (RUNS | {'modelyard_log_lag_seconds{team="a",model="m"}': "1000x60"}, {"platform_log_lag": 1}, 60),
        (
            RUNS
            | {
                f'kubernetes_io:node_cpu_allocatable_utilization{{{NODES},node_name="{n}"}}': f"{use}x60"
                for n, use in (("a", 0.99), ("b", 0.2))
            },
            {},
            60,
        ),
        (
            RUNS | {f'{platform.NODE_MEMORY}{{{NODES},memory_type="non-evictable"}}': "0.95x60"},
            {"platform_node_memory": 1},
            60,
        ),
        (
            RUNS
            | {
                "router_googleapis_com:nat_dropped_sent_packets_count"
                '{monitored_resource="nat_gateway",reason="OUT_OF_RESOURCES",gateway_name="n"}': "0+5x60"
            },
            {"platform_nat_ports": 1},
            60,
        ),
        (
            RUNS | {SINK: "0+1x60"},
            {"platform_audit_sink": 1},
            60,
        ),
    ],
)
def test_what_fires_on_the_platform(
    series: dict[str, str], fires: dict[str, int], minutes: int, tmp_path: Path
) -> None:
    check(tmp_path, PLATFORM, series, fires, minutes)


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    tiles = [tile.query for tile in platform.fleet_tiles(NAMES)]
    queries = [{"record": f"tile{number}", "expr": query} for number, query in enumerate(tiles)]
    every = [rule for pattern in Pattern for rule in rules(pattern)]
    assert {rule["alert"] for rule in every} == {monitor.key.replace("-", "_") for monitor in MONITORS}
    promtool("check", "rules", "--lint=none", str(written(tmp_path, [*every, *PLATFORM, *queries])))
