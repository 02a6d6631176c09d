"""This project's server with its log taken out, to say what the log costs.

unlogged.py CONFIG PORT
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from serving_images.prediction_log import Outcome
from serving_images.rest.batching import Batcher, Job
from serving_images.rest.server import Server, Settings
from serving_images.runtime.model import Answer


class Unlogged(Batcher):
    """Answers at once."""

    def log(self, jobs: Sequence[Job], scores: Sequence[Answer]) -> None:
        """Make the answers as `Batcher` does, and let them go."""
        start = 0
        for job in jobs:
            count = len(job.rows.values)
            job.ids = self._ids.take(count)
            job.predictions = list(scores[start : start + count])
            start += count
            job.reply = job.render(job)
            job.done(Outcome.DURABLE)


async def _serve(config: Path, port: int) -> None:
    server = Server(Settings(host="127.0.0.1", port=port, config=config, log=config.parent / "unused-log"))
    await server.start()
    server.app.batcher = Unlogged(server._log)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
