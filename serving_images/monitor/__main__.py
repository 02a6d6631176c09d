"""`python -m serving_images.monitor run`: one run of the monitor job."""

import argparse
import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from modelyard.naming import Names
from modelyard.spec.errors import SpecError
from modelyard.warehouse import WarehouseError
from serving_images.monitor.job import Report, run

# The checkout, where the code runs from one, or another folder of environments/ and teams/.
ROOT = Path(os.environ.get("MODELYARD_ROOT") or Path(__file__).parents[2])


def main(arguments: list[str] | None = None) -> int:
    """Run once; return 0, 1 if a model could not be measured or pushed, or 2 if nothing could begin."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        report = _in_cloud(options) if "GOOGLE_CLOUD_PROJECT" in os.environ else _locally(options)
    except (SpecError, WarehouseError, OSError, ValueError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        return 2
    for problem in report.errors:
        print(f"monitor: {problem}", file=sys.stderr)
    print(json.dumps(_summary(report)))
    return 0 if report.succeeded else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving_images.monitor", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="measure what is due, keep it and push it")
    command.add_argument("--at", type=_time, help="as if it were this time, such as 2026-03-01T06:05:00Z")
    command.add_argument("--team", help="of this team alone")
    command.add_argument("--again", action="store_true", help="also what was measured this hour")
    command.add_argument("--since", type=_time, help="all windows that end after it and were not measured")
    command.add_argument("--run-id", help="id of the run; repeated, it writes nothing twice")
    command.add_argument(
        "--environment",
        default=os.environ.get("MODELYARD_ENVIRONMENT", "local"),
        help="which environments/<name>.yaml, on one machine (default: %(default)s)",
    )
    command.add_argument(
        "--series",
        type=Path,
        help="file of the pushed series, on one machine (default: <warehouse>/../monitor.prom)",
    )
    return parser


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _setting(name: str) -> str:
    if not os.environ.get(name):
        raise ValueError(f"set the environment variable {name}")
    return os.environ[name]


def _in_cloud(options: argparse.Namespace) -> Report:
    import modelyard.warehouse
    from serving_images.monitor.documents import from_cluster
    from serving_images.monitor.push import Pusher

    project, location = _setting("GOOGLE_CLOUD_PROJECT"), _setting("MODELYARD_DATA_LOCATION")
    prefix = _setting("MODELYARD_TENANT_PREFIX")
    names = Names(_setting("MODELYARD_ENVIRONMENT"), project, "", "", location, prefix)
    warehouse = modelyard.warehouse.bigquery(project, location=location)
    at = options.at or datetime.now(UTC)
    return run(
        warehouse,
        from_cluster(names),
        Pusher(project),
        at,
        team=options.team,
        again=options.again or options.since is not None,
        since=options.since,
        run_id=options.run_id,
    )


def _locally(options: argparse.Namespace) -> Report:
    import modelyard.warehouse
    from serving_images.monitor.documents import from_checkout
    from serving_images.monitor.exposition import TextFile

    root = modelyard.warehouse.find_root()
    at = options.at or datetime.now(UTC)
    return run(
        modelyard.warehouse.local(root),
        from_checkout(ROOT, options.environment),
        TextFile(options.series or root.parent / "monitor.prom"),
        at,
        team=options.team,
        again=options.again or options.since is not None,
        since=options.since,
        run_id=options.run_id,
        now=lambda: at if options.at else datetime.now(UTC),
    )


def _summary(report: Report) -> dict[str, object]:
    return {
        "run_id": report.run_id,
        "models": len(report.measured),
        "skipped": report.skipped,
        "values": sum(len(found.values) for found in report.measured.values()),
        "series": report.pushed.written,
        "failed": len(report.errors) + report.pushed.failed,
    }


if __name__ == "__main__":
    sys.exit(main())
