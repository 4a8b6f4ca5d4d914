"""Bulk API 2.0 query jobs: a result is rendered once into lines of CSV and stays as it was while the job exists.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm
"""

import copy
import itertools
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.salesforce import ids
from sandbox.salesforce.compile import Plan, compile_query
from sandbox.salesforce.errors import ApiError, not_found
from sandbox.salesforce.org import Org
from sandbox.salesforce.render import DELIMITERS, LINE_ENDINGS, csv_header, csv_row
from sandbox.salesforce.soql import parse
from sandbox.salesforce.store import Store

OPERATIONS = {"query": False, "queryAll": True}
RESULT_PAGES = 5
RESULT_PAGES_SINCE = 58
FINISHED = ("JobComplete", "Failed", "Aborted")


@dataclass
class Job:
    """One query job. ``polls`` is how often its state was asked while unfinished."""

    id: str
    operation: str
    plan: Plan
    version: str
    delimiter: str
    line_ending: str
    table: str
    created: str
    created_by: str
    work: "Future[int]"
    state: str = "UploadComplete"
    polls: int = 0
    processed: int = 0
    error: str | None = None
    stamp: str = field(default="")


class BulkJobs:
    def __init__(self, store: Store, org: Org) -> None:
        self.store = store
        self.org = org
        self.user_id = org.user_id
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bulk")

    def acting(self, store: Store, user_id: str) -> "BulkJobs":
        """The same jobs, for a user who sees ``store``."""
        view = copy.copy(self)
        view.store, view.user_id = store, user_id
        return view

    def close(self) -> None:
        self._workers.shutdown(cancel_futures=True)

    def create(self, request: Mapping[str, Any], version: str) -> dict[str, Any]:
        """Check a job and start it; returns its description. Raises ApiError."""
        operation, delimiter, ending = _options(request)
        plan = compile_query(parse(str(request["query"])), self.store.schema, deleted=OPERATIONS[operation])
        _refuse_unsupported(plan)
        number = next(self._numbers)
        table = f"_bulk_{number}"
        work = self._workers.submit(self._fill, table, plan, DELIMITERS[delimiter])
        key = ids.record_id("750", self.org.first + number)
        job = Job(key, operation, plan, version, delimiter, ending, table, _now(), self.user_id, work, stamp=_now())
        with self._lock:
            self._jobs[key] = job
            self.org.bulk_jobs += 1
        return _described(job)

    def listed(self) -> dict[str, Any]:
        with self._lock:
            records = [_described(job) for job in self._jobs.values()]
        return {"done": True, "records": records, "nextRecordsUrl": None}

    def poll(self, key: str) -> dict[str, Any]:
        """A job's description; asking moves it on: UploadComplete → InProgress → JobComplete."""
        job = self._job(key)
        with self._lock:
            self._advance(job)
            return _described(job, detailed=True)

    def abort(self, key: str, state: object) -> dict[str, Any]:
        job = self._job(key)
        if state != "Aborted":
            raise ApiError(400, "INVALIDJOBSTATE", "A query job's state can only be changed to Aborted")
        with self._lock:
            if job.state in FINISHED:
                raise ApiError(400, "INVALIDJOBSTATE", f"Aborting already {job.state} job not allowed")
            job.state, job.stamp = "Aborted", _now()
        return _described(job, detailed=True)

    def delete(self, key: str) -> None:
        job = self._job(key)
        if job.state not in FINISHED:
            raise ApiError(400, "INVALIDJOBSTATE", "Only a finished or aborted job can be deleted")
        with self._lock:
            del self._jobs[job.id]
        job.work.exception()  # a table still being filled is dropped only when that ends
        with self.store.write() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {job.table}")

    def results(self, key: str, version: str, locator: str | None, limit: int | None) -> tuple[bytes, int, str]:
        """A page of CSV, the number of records in it and the locator of the next (``null`` at the end)."""
        job = self._finished(key, version)
        start = _locator_start(job, locator)
        most = limit or self.org.settings.bulk_page
        ending = LINE_ENDINGS[job.line_ending].encode()
        sql = f"SELECT line FROM {job.table} WHERE rowid > ? AND rowid <= ? ORDER BY rowid"  # noqa: S608 - our own name
        with self.store.read() as connection:
            lines = [row[0] for row in connection.execute(sql, (start, start + most))]
        header = csv_header(job.plan, DELIMITERS[job.delimiter]).encode()
        end = start + len(lines)
        following = _locator(job, end) if end < job.processed else "null"
        return ending.join([header, *lines, b""]), len(lines), following

    def result_pages(self, key: str, version: str, locator: str | None) -> dict[str, Any]:
        """Up to five result addresses at a time, to be fetched in parallel (version 58 and later)."""
        if float(version) < RESULT_PAGES_SINCE:
            raise not_found()
        job = self._finished(key, version)
        page = self.org.settings.bulk_page
        base = f"/services/data/v{version}/jobs/query/{job.id}"
        starts = list(range(_locator_start(job, locator), max(job.processed, 1), page))
        urls = [f"{base}/results?locator={_locator(job, start)}" for start in starts[:RESULT_PAGES]]
        rest = starts[RESULT_PAGES:]
        following = f"{base}/resultPages?locator={_locator(job, rest[0])}" if rest else None
        return {"resultPages": [{"resultUrl": url} for url in urls], "nextRecordsUrl": following, "done": not rest}

    def fail(self, key: str, message: str) -> None:
        """Make a job end as Failed, as a control request may ask."""
        job = self._job(key)
        with self._lock:
            job.state, job.error, job.stamp = "Failed", message, _now()

    def _advance(self, job: Job) -> None:
        if job.state in FINISHED:
            return
        job.polls += 1
        job.stamp = _now()
        if job.polls <= self.org.settings.bulk_polls or not job.work.done():
            job.state = "InProgress"
            return
        trouble = job.work.exception()
        if trouble is not None:
            job.state, job.error = "Failed", str(trouble)
        else:
            job.processed, job.state = job.work.result(), "JobComplete"

    def _fill(self, table: str, plan: Plan, delimiter: str) -> int:
        with self.store.write() as connection:
            connection.execute(f"CREATE TABLE {table} (line BLOB NOT NULL)")
            sql = f"INSERT INTO {table} SELECT {csv_row(plan, delimiter)} {plan.source}"
            return connection.execute(sql, plan.parameters).rowcount

    def _job(self, key: str) -> Job:
        job = self._jobs.get(ids.normalised(key))
        if job is None:
            raise not_found()
        return job

    def _finished(self, key: str, version: str) -> Job:
        job = self._job(key)
        if job.version != version:
            message = (
                f"The job was created with API version {job.version}; its results are served under that version only"
            )
            raise ApiError(409, "API_ERROR", message)
        if job.state != "JobComplete":
            raise ApiError(
                400, "INVALIDJOBSTATE", f"Job is in state {job.state}; results are there once it is JobComplete"
            )
        return job


def _options(request: Mapping[str, Any]) -> tuple[str, str, str]:
    operation = request.get("operation")
    if operation not in OPERATIONS:
        raise ApiError(400, "INVALIDJOB", f"Operation {operation} is not supported for query jobs")
    if not request.get("query"):
        raise ApiError(400, "INVALIDJOB", "Query is required for query jobs")
    delimiter = str(request.get("columnDelimiter") or "COMMA")
    ending = str(request.get("lineEnding") or "LF")
    if delimiter not in DELIMITERS or ending not in LINE_ENDINGS or request.get("contentType", "CSV") != "CSV":
        raise ApiError(400, "INVALIDJOB", "columnDelimiter, lineEnding or contentType has an unknown value")
    return str(operation), delimiter, ending


def _refuse_unsupported(plan: Plan) -> None:
    if plan.compounds:
        raise ApiError(400, "API_ERROR", "Selecting compound data not supported in Bulk Query")
    if plan.count:
        raise ApiError(400, "API_ERROR", "Aggregate Relationships not supported in Bulk Query")
    if "OFFSET" in plan.window and not plan.window.endswith("OFFSET 0"):
        raise ApiError(400, "API_ERROR", "OFFSET is not supported in Bulk Query")
    if not plan.subject.bulk:
        raise ApiError(400, "INVALIDENTITY", f"Entity '{plan.subject.name}' is not supported by the Bulk API.")


def _described(job: Job, *, detailed: bool = False) -> dict[str, Any]:
    """A job as the resources show it; counters only where one job is asked for."""
    description: dict[str, Any] = {
        "id": job.id,
        "operation": job.operation,
        "object": job.plan.subject.name,
        "createdById": job.created_by,
        "createdDate": job.created,
        "systemModstamp": job.stamp,
        "state": job.state,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(job.version),
        "lineEnding": job.line_ending,
        "columnDelimiter": job.delimiter,
    }
    if detailed:
        description |= {
            "jobType": "V2Query",
            "numberRecordsProcessed": job.processed,
            "retries": 0,
            "totalProcessingTime": 0,
            "isPkChunkingSupported": not job.plan.order and not job.plan.window,
        }
        if job.error:
            description["errorMessage"] = job.error
    return description


def _locator(job: Job, start: int) -> str:
    """An opaque page address. Real ones are base64 of an internal one; clients must not read it."""
    return f"{job.id[-6:-3]}{start:x}Z" if start else "0Z"


def _locator_start(job: Job, locator: str | None) -> int:
    if not locator or locator == "0Z":
        return 0
    try:
        start = int(locator.removesuffix("Z")[3:], 16)
    except ValueError:
        start = -1
    if start <= 0 or start >= job.processed or locator != _locator(job, start):
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return start


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
