"""`python -m serving_images.prediction_log ship <folder>`: send what a log's folder holds."""

import argparse
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path

from serving_images.prediction_log import folder as folders
from serving_images.prediction_log.folder import LogInUseError
from serving_images.prediction_log.shipper import Shipper
from serving_images.prediction_log.sinks import Sink, open_sink

_POLL_SECONDS = 0.25
_LINGER_SECONDS = 10.0  # for what is left when the server was killed
_NICE = 10  # requests come first


class _Without(MetaPathFinder):
    """Hides libraries that pyarrow imports where they are installed: 60 MB, and of no use here."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse them, and leave all others to the next finder."""
        if name in ("numpy", "pandas"):
            raise ModuleNotFoundError(f"the shipper does without {name}", name=name)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving_images.prediction_log", description=__doc__)
    commands = parser.add_subparsers(required=True)
    ship = commands.add_parser("ship", help="send what the folder of a log holds, and end")
    ship.add_argument("folder", type=Path, help="folder of the log")
    ship.add_argument("--warehouse", type=Path, help="folder of a local warehouse; without it: BigQuery")
    ship.add_argument("--bigquery-endpoint", metavar="HOST:PORT", help="another BigQuery, without TLS")
    ship.add_argument(
        "--until-stdin-ends", action="store_true", help="as the server starts it: go on until the server ends"
    )
    options = parser.parse_args(arguments)
    sys.meta_path.insert(0, _Without())
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    folder: Path = options.folder
    if not folder.is_dir():
        print(f"{folder}: there is no such folder; name the one that the server logs into", file=sys.stderr)
        return 2

    def sink() -> Sink:
        return open_sink(options.warehouse, options.bigquery_endpoint)

    if options.until_stdin_ends:
        return _follow(folder, sink)
    return _once(folder, sink)


def _once(folder: Path, sink: Callable[[], Sink]) -> int:
    """Send all there is, of a server that is no more too."""
    try:
        lock = folders.lock(folder)
    except LogInUseError:
        lock = None  # its server lives: only what it has closed is sent
    try:
        folders.lock(folder, "shipper.lock")
    except LogInUseError as error:
        print(f"{error}\nIt sends already what is there.", file=sys.stderr)
        return 2
    if lock is not None:
        folders.recover(folder)
    shipper = Shipper(folder, sink)
    all_sent = shipper.pass_over()
    shipper.close()
    if not all_sent:
        print(f"{folder}: rows are left that the store does not take now; try again later", file=sys.stderr)
    return 0 if all_sent else 1


def _follow(folder: Path, sink: Callable[[], Sink]) -> int:
    """Send until the server ends, and for a while after."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which tells by its pipe
    os.nice(_NICE)
    server = _Server()
    while not _taken(folder):  # the shipper of a server that was killed may still be at work
        if server.ended(_POLL_SECONDS) and time.monotonic() > server.patience:
            return 0
    shipper = Shipper(folder, sink)
    while not server.ended(_POLL_SECONDS):
        shipper.pass_over()
    shipper.hurry()
    closed = _closed(folder, server.pid)
    while not (shipper.pass_over() and closed) and time.monotonic() < server.patience:
        time.sleep(min(shipper.next_attempt() or _POLL_SECONDS, _POLL_SECONDS))
        closed = closed or _closed(folder, server.pid)
    shipper.close()
    return 0


def _closed(folder: Path, server: int) -> bool:
    """Close what the server left open; return whether it is: the server's last writes may be under way."""
    try:
        lock = folders.lock(folder)
    except LogInUseError:
        # Another server that has the folder by now has closed it.
        return folders.holder(folder) != server or not folders.segments(folder, folders.OPEN)
    folders.recover(folder)
    os.close(lock)
    return True


def _taken(folder: Path) -> bool:
    try:
        folders.lock(folder, "shipper.lock")
    except LogInUseError:
        return False
    return True


class _Server:
    """The server at the other end of stdin. At its end it may say how many seconds to go on."""

    def __init__(self) -> None:
        self.pid = os.getppid()
        self.patience = 0.0  # time.monotonic() until which to go on; 0: the server lives
        self._said = b""

    def ended(self, timeout: float) -> bool:
        """Return whether it has ended; wait `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.patience and (left := deadline - time.monotonic()) > 0:
            if select.select([0], [], [], left)[0]:
                data = os.read(0, 64)
                self._said += data
                if not data:
                    self.patience = time.monotonic() + float(self._said or _LINGER_SECONDS)
                    return True
        if self.patience:
            time.sleep(timeout)
        return bool(self.patience)


if __name__ == "__main__":
    sys.exit(main())
