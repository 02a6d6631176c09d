"""The batch image's entry point: `python -m serving_images.batch score`."""

import argparse
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from serving_images.batch.plan import INDEX_VARIABLE, Plan, run_name
from serving_images.batch.progress import Progress, Reporter, as_json, as_line
from serving_images.batch.run import Order, cores, score, settings
from serving_images.batch.workers import supervise
from serving_images.runtime.config import Config, load
from serving_images.runtime.errors import Refused, run
from serving_images.runtime.metrics import Metrics
from serving_images.runtime.pages import PORT_VARIABLE, Pages, port

EVERY_SECONDS = 5.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serving_images.batch", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "score",
        help="score a table",
        description="Scores every row of a table once, and writes predictions and prediction log. In a pod "
        "of an indexed Kubernetes job it scores the pod's shard, else all shards, each in a process.",
    )
    command.add_argument("--config", type=Path, help="model.json; default: what MODELYARD_CONFIG names")
    command.add_argument("--run", help="name of the run; the same name again finishes what is left of it")
    command.add_argument("--source", help="table, or path of Parquet; default: the table of the settings")
    command.add_argument("--key", help="column that says which row a prediction is of")
    command.add_argument("--shards", type=int, help="how many shards the run has; default: the settings'")
    command.add_argument("--index", type=int, help="score this shard alone")
    command.add_argument("--threads", type=int, help="batches scored at once in each process")
    command.add_argument("--json", action="store_true", help="print progress as lines of JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code: 0, 1 where a shard died, 2 where something is to be mended."""
    options = _parser().parse_args(arguments)
    return run(lambda: _score(options))


def _score(options: argparse.Namespace) -> int:
    config = _one(load(options.config, "batch"))
    index = options.index
    if index is None and INDEX_VARIABLE in os.environ:
        index = int(os.environ[INDEX_VARIABLE])
    shards = options.shards or settings(config).shards
    if shards < 1:
        raise Refused(f"--shards {shards}: a run has one shard at least")
    name = run_name(options.run, index)
    if index is None:
        threads = options.threads or max(1, cores() // shards)
        given = {"--config": options.config, "--source": options.source, "--key": options.key}
        passed = [text for option, value in given.items() if value for text in (option, str(value))]
        return supervise(name, shards, [*passed, "--threads", str(threads)], EVERY_SECONDS)
    order = Order(config, name, index, shards, options.source, options.key, options.threads or cores())
    return _shard(order, as_json_lines=options.json)


def _one(configs: list[Config]) -> Config:
    if len(configs) > 1:
        raise Refused(
            f"{len(configs)} models are configured, and a batch scores with one: name it by --config"
        )
    return configs[0]


def _shard(order: Order, *, as_json_lines: bool) -> int:
    progress = Progress()
    label = f"{order.run} shard {order.index} of {order.shards}"
    tell = as_json if as_json_lines else as_line(label)
    with ExitStack() as stack:
        if PORT_VARIABLE in os.environ or INDEX_VARIABLE in os.environ:
            stack.enter_context(Pages(_metrics(order, progress), port=port()))
        reporting = threading.Event()

        def planned(_: Plan) -> None:
            if not reporting.is_set():
                reporting.set()
                stack.enter_context(Reporter(tell, progress, 0.5 if as_json_lines else EVERY_SECONDS))

        score(order, progress, planned)
    return 0


def _metrics(order: Order, progress: Progress) -> Metrics:
    config = order.config
    labels = {"team": config.team, "model": config.model}
    metrics = Metrics()
    metrics.version(config.team, config.model, config.version)
    version = {**labels, "version": str(config.version)}
    metrics.add(
        "modelyard_predictions_total",
        "counter",
        "Rows scored.",
        lambda: [("", version, progress.written - progress.failed)],
    )
    metrics.add(
        "modelyard_log_rows_total",
        "counter",
        "Log rows by state.",
        lambda: [("", {**labels, "state": state}, progress.written) for state in ("accepted", "sent")],
    )
    metrics.add("modelyard_batch_rows", "gauge", "Rows to score.", lambda: [("", version, progress.total)])
    return metrics


if __name__ == "__main__":
    sys.exit(main())
