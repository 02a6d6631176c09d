"""What all shards of a run agree on before they begin: the rows to score, how they are cut, when it began.

The first shard proposes a plan under the run's name; whoever comes later, also a shard that is tried again,
gets that plan. So every attempt reads the same rows in the same order, and calls each chunk the same name.
"""

import hashlib
import os
import re
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

import msgspec

from serving_images.runtime.config import Config
from serving_images.runtime.errors import Refused

RUN_VARIABLE = "MODELYARD_RUN"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"  # set by Kubernetes in the pods of an indexed job
# Bytes of a chunk in memory, about; a chunk is what one write adds, and what a killed shard scores again.
CHUNK_BYTES = 64 << 20
CHUNK_ROWS = (1 << 12, 1 << 22)
# BigQuery takes 1,500 load jobs per table and day; a run leaves some to others.
CHUNKS = 1200
_COMMENTED = "SELECT 1 -- "
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run does."""

    run: str
    started_us: int
    """When it began, microseconds since 1970, UTC; prediction ids carry it."""
    team: str
    model: str
    version: int
    digest: str
    """Of the model file."""
    shards: int
    source: str
    key: str | None
    """Column that says which row a prediction is of."""
    rows: int
    """Rows of the source; an estimate where BigQuery holds it."""
    chunk_rows: int
    parts: list[Any]
    """The source's own: files with their rows, or streams."""


class Agreement(Protocol):
    """Where plans are kept."""

    def find(self, run: str) -> bytes | None:
        """Return the plan of `run`, if there is one."""

    def settle(self, run: str, proposal: bytes) -> bytes:
        """Return the plan of `run`: `proposal`, unless another came first."""


class FolderAgreement:
    """Plans as files in a folder that all shards see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, run: str) -> bytes | None:
        """Return the plan of `run`, if there is one."""
        try:
            return self._path(run).read_bytes()
        except FileNotFoundError:
            return None

    def settle(self, run: str, proposal: bytes) -> bytes:
        """Return the plan of `run`; a link, unlike a rename, never replaces one that is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{run}.{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                file.write(proposal)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, self._path(run))
            except FileExistsError:
                return self._path(run).read_bytes()
        finally:
            temporary.unlink(missing_ok=True)
        return proposal

    def _path(self, run: str) -> Path:
        return self._folder / f"{run}.json"


class JobAgreement:
    """Plans as comments of BigQuery jobs: a job's id is given once, so one proposal wins.

    The job runs `SELECT 1`, which reads nothing and costs nothing. It needs no more rights than the load jobs
    by which rows are written. Its text may have a million characters: streams have names of about 200.

    Args:
        client: a `google.cloud.bigquery.Client`.
        output: the table of predictions, `project.dataset.table`; names of runs are unique in it.
        location: of the jobs.
    """

    def __init__(self, client: Any, output: str, location: str | None = None) -> None:
        self._client = client
        self._output = output
        self._location = location

    def find(self, run: str) -> bytes | None:
        """Return the plan of `run`, if there is one."""
        from google.api_core.exceptions import NotFound

        try:
            job = self._client.get_job(self._id(run), location=self._location)
        except NotFound:
            return None
        return str(job.query).removeprefix(_COMMENTED).encode()

    def settle(self, run: str, proposal: bytes) -> bytes:
        """Return the plan of `run`."""
        from google.api_core.exceptions import Conflict

        try:
            self._client.query(
                _COMMENTED + proposal.decode(),  # JSON as it is written here is one line
                job_id=self._id(run),
                location=self._location,
                job_retry=None,  # an id is given once
            )
        except Conflict:
            found = self.find(run)
            assert found is not None
            return found
        return proposal

    def _id(self, run: str) -> str:
        digest = hashlib.sha256(f"{self._output}\n{run}".encode()).hexdigest()[:32]
        return f"modelyard-run-{digest}"


def run_name(given: str | None, index: int | None) -> str:
    """Return the name of this run: given, of the environment, of the Kubernetes job, or a new one.

    Pods of an indexed job have the host name `<job>-<index>`, and a job that a schedule started carries its
    time in its name. So all shards find the same name, also when they are tried again.

    Raises:
        Refused: a single shard cannot know the run that it belongs to, or the name cannot be one.
    """
    name = given or os.environ.get(RUN_VARIABLE)
    completion = os.environ.get(INDEX_VARIABLE)
    if not name and completion is not None:
        name = socket.gethostname().removesuffix(f"-{completion}")
    if not name and index is not None:
        raise Refused(
            f"shard {index} of which run? Give --run or set {RUN_VARIABLE}, the same for all shards"
        )
    name = name or time.strftime("run-%Y%m%dT%H%M%SZ", time.gmtime())
    if not _RUN.fullmatch(name):
        raise Refused(
            f"{name!r} cannot name a run: up to 100 letters, digits and . _ -, a letter or digit first"
        )
    return name


def chunk_rows(config: Config, rows: int) -> int:
    """Return how many rows a chunk has: few enough for memory, and of many rows few enough for BigQuery."""
    width = 9 * len(config.signature.features) + 100
    low, high = CHUNK_ROWS
    return min(high, max(low, CHUNK_BYTES // width, -(-rows // CHUNKS)))


def agree(agreement: Agreement, proposal: Plan) -> Plan:
    """Return the plan of the run; see `checked`."""
    return checked(agreement.settle(proposal.run, msgspec.json.encode(proposal)), proposal)


def checked(found: bytes, mine: Plan) -> Plan:
    """Return the plan that was found, if it is of the same model and as many shards as `mine`.

    Raises:
        Refused: it is another; the message says how they differ.
    """
    plan = msgspec.json.decode(found, type=Plan)
    for what in ("team", "model", "version", "digest", "shards", "source", "key"):
        theirs, ours = getattr(plan, what), getattr(mine, what)
        if theirs != ours:
            raise Refused(
                f"run {plan.run} was begun with {what} {theirs}, and this shard has {ours}: "
                "let it end with the settings that it has, or give the new run a name of its own"
            )
    return plan
