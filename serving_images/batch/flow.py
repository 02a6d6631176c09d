"""Threads beside the scoring: one reads ahead, one writes behind, each with a bounded queue."""

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


class _End:
    """Follows the last item; carries what went wrong, if anything did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield `items`, computed in a thread that is at most `depth` of them ahead."""
    queue: Queue[T | _End] = Queue(depth)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_POLL_SECONDS)
                return
            except Full:
                continue

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as caught:  # raised again where the items are used
            error = caught
        put(_End(error))

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, _End):
                if item.error:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()


class Behind(Generic[T]):
    """Does `work` on items in a thread that is at most `depth` of them behind; use as a context manager.

    What `work` raises is raised again by the next `put`, or at the end of the context.
    """

    def __init__(self, work: Callable[[T], None], depth: int) -> None:
        self._work = work
        self._queue: Queue[T | None] = Queue(depth)
        self._error: BaseException | None = None
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)

    def __enter__(self) -> "Behind[T]":
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Have `work` done on an item, later; waits while too many are waiting."""
        while True:
            self._raise()
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
                return
            except Full:
                continue

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._abandoned.set()
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=_POLL_SECONDS)
                break
            except Full:
                continue
        self._thread.join()
        if kind is None:
            self._raise()

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_POLL_SECONDS)
            except Empty:
                if self._abandoned.is_set():
                    return
                continue
            if item is None or self._abandoned.is_set():
                return
            try:
                self._work(item)
            except BaseException as error:  # raised again where the items come from
                self._error = error
                return

    def _raise(self) -> None:
        if self._error:
            raise self._error
