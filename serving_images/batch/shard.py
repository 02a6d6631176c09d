"""One shard of a run: reads its streams, scores them batch by batch, writes them chunk by chunk."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving_images.batch.flow import Behind, ahead
from serving_images.batch.plan import Plan
from serving_images.batch.progress import Progress
from serving_images.batch.rows import Ids, RowMaker, predictions
from serving_images.batch.source import Source, Stream
from serving_images.batch.stores import Chunk, Store
from serving_images.runtime import tables
from serving_images.runtime.config import Config
from serving_images.runtime.errors import Refused

# Batches that wait between two threads.
DEPTH = 2
# So many rows in a row that the model fails on are no bad rows, but a bad model.
HOPELESS = 20
# Flag of a row without a prediction.
UNSCORED = "unscored"

Model = Callable[[pa.RecordBatch], npt.NDArray[Any]]


@dataclass(frozen=True)
class Piece:
    """Rows of one chunk that were read together."""

    stream: Stream
    chunk: int
    first: int
    """Number of the first row in its stream."""
    rows: pa.RecordBatch


@dataclass(frozen=True)
class _Checked:
    """Rows of a piece that are ready for the model."""

    piece: Piece
    features: pa.RecordBatch
    hits: tables.Hits
    unfit: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Scored:
    chunk: Chunk
    log: pa.RecordBatch
    output: pa.RecordBatch
    failed: int


@dataclass(frozen=True)
class _Commit:
    chunk: Chunk


class Shard:
    """Scores what one shard of a run has to score, and skips what earlier attempts have written.

    Args:
        plan: the run.
        index: number of the shard.
        config: the version's settings.
        source: the rows.
        store: where chunks go.
        model: scores a typed batch, on one core; any thread may call it.
        progress: is kept up to date.
        threads: how many batches are scored at once.
    """

    def __init__(
        self,
        plan: Plan,
        index: int,
        config: Config,
        source: Source,
        store: Store,
        model: Model,
        progress: Progress,
        threads: int = 1,
    ) -> None:
        self._plan = plan
        self._index = index
        self._config = config
        self._features = config.signature.features
        self._source = source
        self._store = store
        self._model = model
        self._maker = RowMaker(config, plan)
        self._ids = {stream.number: Ids(plan, stream.number) for stream in source.streams(index)}
        self._reject = config.serving.out_of_range == "reject"
        self._threads = threads
        self._progress = progress
        self._rows = self._failed = 0  # of the chunk that is being written

    def run(self) -> None:
        """Score everything; returns when it is durable.

        Raises:
            Refused: the source has not the columns of the signature, or the model fails on any row.
        """
        chunk: Chunk | None = None
        begun: tuple[int, int] | None = None
        waiting: deque[Future[_Scored] | _Commit] = deque()
        try:
            with Behind(self._write, DEPTH) as behind, ThreadPoolExecutor(self._threads, "score") as pool:
                # Checks run beside the model, in the thread that reads.
                for checked in ahead(map(self._checked, self._pieces()), DEPTH):
                    piece = checked.piece
                    if begun != (piece.stream.number, piece.chunk):
                        if chunk:
                            waiting.append(_Commit(chunk))
                        begun = (piece.stream.number, piece.chunk)
                        chunk = self._store.begin(self.name(*begun))
                    assert chunk is not None
                    waiting.append(pool.submit(self._score, checked, chunk))
                    while len(waiting) > self._threads:
                        behind.put(_result(waiting.popleft()))
                if chunk:
                    waiting.append(_Commit(chunk))
                for item in waiting:
                    behind.put(_result(item))
        except BaseException:
            if chunk:
                chunk.drop()
            raise

    def name(self, stream: int, chunk: int) -> str:
        """Return the name of a chunk: the same in every attempt."""
        return f"{self._plan.run}-{stream:05}-{chunk:06}"

    def _pieces(self) -> Iterator[Piece]:
        """Yield the rows that are not written yet, cut where chunks end."""
        size = self._plan.chunk_rows
        for stream in self._source.streams(self._index):
            self._store.clean(f"{self._plan.run}-{stream.number:05}-")
            chunks = count() if stream.rows is None else range(-(-stream.rows // size))
            done = self._store.written(self.name(stream.number, chunk) for chunk in chunks)
            # Of a stream of unknown length the last chunk is read again: it may have been the end.
            position = max(0, done - (stream.rows is None)) * size
            self._progress.resumed += min(position, stream.rows) if stream.rows is not None else position
            for batch in self._source.read(stream, position) if position != stream.rows else ():
                while batch.num_rows:
                    chunk = position // size
                    rows = batch.slice(0, size - position % size)
                    batch = batch.slice(rows.num_rows)
                    if chunk >= done:
                        yield Piece(stream, chunk, position, rows)
                    else:
                        self._progress.resumed += rows.num_rows
                    position += rows.num_rows

    def _checked(self, piece: Piece) -> _Checked:
        features = tables.typed(piece.rows, self._features)
        hits = tables.flags(features, self._features)
        unfit = tables.unfit(features, self._features)
        for flag, rows in hits.items():
            if self._reject and not flag.startswith("missing:"):
                unfit |= rows
        return _Checked(piece, features, hits, unfit)

    def _score(self, checked: _Checked, chunk: Chunk) -> _Scored:
        """Return the rows that a piece becomes."""
        piece, features, hits = checked.piece, checked.features, checked.hits
        scores, bad = self._scores(features, checked.unfit)
        answers = predictions(self._config, scores, bad)
        if answers.null_count:
            hits[UNSCORED] = answers.is_null().to_numpy(zero_copy_only=False)
        flags = tables.listed(hits, piece.rows.num_rows)
        ids = self._ids[piece.stream.number].take(piece.first, piece.rows.num_rows)
        keys = piece.rows.column(self._plan.key) if self._plan.key else None
        log, output = self._maker.rows(ids, chunk.time_us, features, keys, answers, flags)
        return _Scored(chunk, log, output, answers.null_count)

    def _scores(
        self, features: pa.RecordBatch, unfit: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return the model's output on all rows, and which rows it is not to be trusted on."""
        if not unfit.any():
            scores, failed = self._careful(features)
            return scores, failed if failed.any() else None
        scores = np.full(len(unfit), np.nan)
        fit = np.flatnonzero(~unfit)
        if len(fit):
            scores[fit], failed = self._careful(features.take(pa.array(fit)))
            unfit[fit[failed]] = True
        return scores, unfit

    def _careful(self, features: pa.RecordBatch) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the model's output, and the rows that it fails on; those are searched by halving."""
        try:
            scores = self._model(features)
            return scores, np.zeros(len(scores), bool)
        except Refused:
            raise
        except Exception as error:  # each library has its own errors
            rows = features.num_rows
            if rows == 1:
                return np.array([np.nan]), np.array([True])
            if rows <= HOPELESS:
                parts = [self._careful(features.slice(row, 1)) for row in range(rows)]
            else:
                parts = [self._careful(features.slice(0, rows // 2))]
                if parts[0][1].all():
                    raise Refused(
                        f"{self._config.key}: the model fails on every one of {rows // 2} rows: {error}"
                    ) from error
                parts.append(self._careful(features.slice(rows // 2)))
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _write(self, item: _Scored | _Commit) -> None:
        if isinstance(item, _Scored):
            item.chunk.add(item.log, item.output)
            self._rows += item.log.num_rows
            self._failed += item.failed
            return
        item.chunk.commit()
        self._progress.written += self._rows
        self._progress.failed += self._failed
        self._rows = self._failed = 0


def _result(item: Future[_Scored] | _Commit) -> _Scored | _Commit:
    return item if isinstance(item, _Commit) else item.result()
