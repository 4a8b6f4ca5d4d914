"""Bulk API 2.0 ingest jobs: a CSV upload written in batches, with results in another order than the input.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0_ingest.htm
"""

import copy
import itertools
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from sandbox.salesforce import ids
from sandbox.salesforce.deleting import Deleter
from sandbox.salesforce.errors import ApiError, not_found
from sandbox.salesforce.incoming import BadColumn, from_columns
from sandbox.salesforce.org import Org
from sandbox.salesforce.render import DELIMITERS, LINE_ENDINGS
from sandbox.salesforce.rows import Asked, Outcome
from sandbox.salesforce.schema import Field, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.upload import JobFailed, parsed
from sandbox.salesforce.writing import Writer

OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
FINISHED = ("JobComplete", "Failed", "Aborted")
_ROW, _ID, _CREATED, _ERROR = "?row", "sf__Id", "sf__Created", "sf__Error"
_RESULTS = {"successfulResults": (_ID, _CREATED), "failedResults": (_ID, _ERROR), "unprocessedrecords": ()}


@dataclass
class IngestJob:
    """One ingest job. ``uploads`` is what was sent, ``rows`` those of the input, ``done`` those worked on."""

    id: str
    subject: SObject
    operation: str
    key: Field | None
    version: str
    delimiter: str
    line_ending: str
    created: str
    created_by: str
    stamp: str
    state: str = "Open"
    polls: int = 0
    uploads: list[bytes] = field(default_factory=list)
    rows: pl.DataFrame = field(default_factory=pl.DataFrame)
    done: list[pl.DataFrame] = field(default_factory=list)
    taken: int = 0
    failed: int = 0
    finished: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    assignment: str = ""
    error: str | None = None
    milliseconds: int = 0

    @property
    def processed(self) -> int:
        return sum(each.height for each in self.done)


class IngestJobs:
    def __init__(self, store: Store, org: Org, writer: Writer, deleter: Deleter) -> None:
        self.store = store
        self.org = org
        self.writer = writer
        self.deleter = deleter
        self._jobs: dict[str, IngestJob] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ingest")

    def acting(self, store: Store, writer: Writer, deleter: Deleter) -> "IngestJobs":
        """The same jobs, for a user who sees ``store``; what they begin is written by ``writer``."""
        view = copy.copy(self)
        view.store, view.writer, view.deleter = store, writer, deleter
        return view

    def close(self) -> None:
        for job in self._jobs.values():
            job.stopped.set()
        self._workers.shutdown(cancel_futures=True)

    def create(self, request: Mapping[str, Any], version: str) -> dict[str, Any]:
        """A new job, Open for its upload. Raises ApiError."""
        subject, operation, key = self._asked(request)
        delimiter, ending = _format(request)
        number = next(self._numbers)
        job_id = ids.record_id("750", self.org.first + 62**6 + number)
        job = IngestJob(
            job_id, subject, operation, key, version, delimiter, ending, _now(), self.writer.user_id, _now()
        )
        job.assignment = str(request.get("assignmentRuleId") or "")
        with self._lock:
            self._jobs[job_id] = job
        return {**_described(job), "contentUrl": _content_url(job)}

    def _asked(self, request: Mapping[str, Any]) -> tuple[SObject, str, Field | None]:
        operation, name = str(request.get("operation")), str(request.get("object"))
        if operation not in OPERATIONS:
            raise ApiError(400, "INVALIDJOB", f"InvalidJob : Invalid operation: {operation}")
        subject = self.store.schema.get(name)
        if subject is None:
            raise ApiError(400, "INVALIDJOB", f"InvalidJob : Unknown object: {name}")
        may = {"insert": subject.createable, "update": subject.may_change}
        if not subject.bulk or not may.get(
            operation, subject.deletable if "elete" in operation else subject.createable
        ):
            raise ApiError(400, "INVALIDENTITY", f"Entity '{subject.name}' is not supported by the Bulk API.")
        if operation == "hardDelete" and not self.org.settings.hard_delete:
            message = "FeatureNotEnabled : hardDelete operation requires special user profile permission, please contact your system administrator"  # noqa: E501
            raise ApiError(400, "FEATURENOTENABLED", message)
        return subject, operation, _external_id(subject, operation, request.get("externalIdFieldName"))

    def listed(self, locator: str | None, version: str) -> dict[str, Any]:
        """Jobs in no particular order, a page at a time."""
        with self._lock:
            jobs = sorted(self._jobs.values(), key=lambda job: job.id[::-1])
        start = int(locator) if locator and locator.isdigit() else 0
        end = start + self.org.settings.jobs_page
        following = f"/services/data/v{version}/jobs/ingest?queryLocator={end}" if end < len(jobs) else None
        shown = [{**_described(job), "jobType": "V2Ingest"} for job in jobs[start:end]]
        return {"done": following is None, "records": shown, "nextRecordsUrl": following}

    def upload(self, key: str, body: bytes, version: str) -> None:
        """Keep a job's content. A second upload is taken as well, and fails the job once it is worked on."""
        job = self._job(key)
        if job.version != version:
            raise ApiError(409, "API_ERROR", f"The job was created with API version {job.version}")
        if job.state != "Open":
            raise ApiError(400, "INVALIDJOBSTATE", f"Content can only be uploaded to an open job; this is {job.state}")
        if len(body) > self.org.settings.upload_bytes:
            most = self.org.settings.upload_bytes
            raise ApiError(400, "LIMIT_EXCEEDED", f"The upload holds {len(body)} bytes; at most {most} are taken")
        with self._lock:
            job.uploads.append(body)

    def change(self, key: str, state: object) -> dict[str, Any]:
        """``UploadComplete`` starts the work, ``Aborted`` ends it where it stands."""
        job = self._job(key)
        with self._lock:
            if state == "UploadComplete" and job.state == "Open":
                job.state = "UploadComplete"
                self._workers.submit(self._work, job)
            elif state == "Aborted" and job.state not in FINISHED:
                job.state = "Aborted"
                job.stopped.set()
            else:
                raise ApiError(400, "INVALIDJOBSTATE", f"A job cannot go from {job.state} to {state}")
            job.stamp = _now()
        if state == "Aborted" and job.taken:
            job.finished.wait()  # the batch under way is written to its end
        return _described(job)

    def poll(self, key: str) -> dict[str, Any]:
        """A job's description with its counters; asking moves it on towards JobComplete."""
        job = self._job(key)
        with self._lock:
            if job.state in ("UploadComplete", "InProgress"):
                self._advance(job)
            return _described(job, detailed=True)

    def _advance(self, job: IngestJob) -> None:
        job.polls += 1
        job.stamp = _now()
        waiting = job.polls <= self.org.settings.bulk_polls or not job.finished.is_set()
        job.state = "InProgress" if waiting else ("Failed" if job.error else "JobComplete")

    def delete(self, key: str) -> None:
        job = self._job(key)
        if job.state not in (*FINISHED, "UploadComplete"):
            raise ApiError(400, "INVALIDJOBSTATE", f"A job in the state {job.state} cannot be deleted")
        job.stopped.set()
        with self._lock:
            del self._jobs[job.id]

    def fail(self, key: str, message: str) -> bool:
        """Make a job end as Failed where it stands, as a control request may ask; false where there is none."""
        job = self._jobs.get(ids.normalised(key))
        if job is None:
            return False
        job.stopped.set()
        if job.taken:
            job.finished.wait()
        with self._lock:
            job.state, job.error, job.stamp = "Failed", message, _now()
        return True

    def results(self, key: str, kind: str) -> bytes:
        """One of the three result files of a finished job, every value quoted."""
        job = self._job(key)
        if job.state not in FINISHED:
            raise ApiError(400, "INVALIDJOBSTATE", f"Job is in state {job.state}; results are there once it is done")
        done = pl.concat(job.done) if job.done else None
        frame = _unprocessed(job) if kind == "unprocessedrecords" else _result(job, done, kind)
        return frame.write_csv(
            separator=DELIMITERS[job.delimiter], line_terminator=LINE_ENDINGS[job.line_ending], quote_style="always"
        ).encode()

    def _work(self, job: IngestJob) -> None:
        started = time.monotonic()
        try:
            self._run(job)
        except JobFailed as failed:
            job.error = str(failed)
        except Exception as bug:  # noqa: BLE001 - a job must end, and the text is the only place it can be seen
            job.error = f"InternalServerError : {bug!r}"
        finally:
            self.writer.automation.locks.drop(job.id)
            job.milliseconds = int((time.monotonic() - started) * 1000)
            job.finished.set()

    def _run(self, job: IngestJob) -> None:
        if len(job.uploads) > 1:
            raise JobFailed(
                f"ClientInputError : Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' "
                "the current Job then create a new Job and make sure you only do 'PUT' once on a given Job."
            )
        job.rows = parsed(b"".join(job.uploads), DELIMITERS[job.delimiter], job.line_ending)
        _check_header(job)
        size = self.org.settings.bulk_batch
        for start in range(0, job.rows.height, size):
            self._wait(job, start // size)
            if job.stopped.is_set():
                return
            self._use_batch()
            job.taken = min(start + size, job.rows.height)
            self._batch(job, job.rows.slice(start, size).with_row_index(_ROW, start))

    def _wait(self, job: IngestJob, batches: int) -> None:
        while 0 <= self.org.settings.bulk_hold <= batches and not job.stopped.is_set():
            job.stopped.wait(0.005)

    def _use_batch(self) -> None:
        if self.org.batches >= self.org.settings.bulk_batches:
            raise JobFailed("ExceededQuota : ApiBatchItems Limit exceeded.")
        self.org.batches += 1

    def _batch(self, job: IngestJob, rows: pl.DataFrame) -> None:
        columns = {name: rows[name] for name in rows.columns if name != _ROW}
        try:
            outcome = self._written(job, columns)
        except BadColumn as wrong:
            raise JobFailed(f"InvalidBatch : {wrong}") from wrong
        lines: list[str | None] = [None] * rows.height
        for row, error in outcome.errors.items():
            lines[row] = error.line()
        flags = pl.Series(outcome.created).replace_strict({True: "true", False: "false"}, return_dtype=pl.String)
        result = rows.select(
            _ROW,
            pl.Series(_ID, outcome.ids, dtype=pl.String),
            flags.alias(_CREATED),
            pl.Series(_ERROR, lines, dtype=pl.String),
        )
        job.failed += len(outcome.errors)
        job.done.append(result)

    def _written(self, job: IngestJob, columns: Mapping[str, pl.Series]) -> Outcome:
        if "elete" in job.operation:
            sent = next(iter(columns.values()))
            hard = job.operation == "hardDelete"
            return self.deleter.delete(job.subject, sent.set(sent == "", None), hard=hard, holder=job.id)
        named = job.key if job.key is not None and job.key.type != "id" else None
        subject = self.store.schema.require(job.subject.name)
        incoming = from_columns(self.store.schema, subject, columns, named)
        asked = Asked(assignment=job.assignment)
        return self.writer.save(incoming, job.operation, job.key, asked=asked, holder=job.id)

    def _job(self, key: str) -> IngestJob:
        job = self._jobs.get(ids.normalised(key))
        if job is None:
            raise not_found()
        return job


def _check_header(job: IngestJob) -> None:
    names = [name.lower() for name in job.rows.columns]
    if "elete" in job.operation and names != ["id"]:
        raise JobFailed("InvalidBatch : Delete batch must contain only ids")
    if job.operation == "update" and "id" not in names:
        raise JobFailed("InvalidBatch : Field name not found : Id")
    if job.key is not None and job.key.name.lower() not in names:
        raise JobFailed(f"InvalidBatch : Field name not found : {job.key.name}")


def _external_id(subject: SObject, operation: str, name: object) -> Field | None:
    if operation != "upsert":
        return None
    found = subject.field(str(name)) if name else None
    if found is None or not (found.external_id or found.id_lookup):
        message = f"InvalidJob : Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for {subject.name}"  # noqa: E501
        raise ApiError(400, "INVALIDJOB", message)
    return found


def _format(request: Mapping[str, Any]) -> tuple[str, str]:
    delimiter = str(request.get("columnDelimiter") or "COMMA")
    ending = str(request.get("lineEnding") or "LF")
    if delimiter not in DELIMITERS or ending not in LINE_ENDINGS or request.get("contentType", "CSV") != "CSV":
        raise ApiError(400, "INVALIDJOB", "columnDelimiter, lineEnding or contentType has an unknown value")
    return delimiter, ending


def _result(job: IngestJob, done: pl.DataFrame | None, kind: str) -> pl.DataFrame:
    columns = _RESULTS[kind]
    if done is None:
        return pl.DataFrame(
            {name: [] for name in (*columns, *job.rows.columns)},
            dict.fromkeys((*columns, *job.rows.columns), pl.String),
        )
    good = pl.col(_ERROR).is_null()
    picked = done.filter(good if kind == "successfulResults" else ~good)
    shuffled = picked.sort(pl.col(_ROW).hash(seed=7))
    return pl.concat(
        [shuffled.select(columns), job.rows[shuffled[_ROW].to_list()] if shuffled.height else job.rows.clear()],
        how="horizontal",
    )


def _unprocessed(job: IngestJob) -> pl.DataFrame:
    """Rows no batch took up, where the job was aborted or failed; those beyond the day's batches are in no result."""
    if job.error is not None and job.error.startswith("ExceededQuota"):
        return job.rows.clear()
    return job.rows.slice(job.taken)


def _content_url(job: IngestJob) -> str:
    return f"services/data/v{job.version}/jobs/ingest/{job.id}/batches"


def _described(job: IngestJob, *, detailed: bool = False) -> dict[str, Any]:
    """A job as the resources show it; counters only where one job is asked for."""
    description: dict[str, Any] = {
        "id": job.id,
        "operation": job.operation,
        "object": job.subject.name,
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
    if job.key is not None:
        description["externalIdFieldName"] = job.key.name
    if detailed:
        description |= {
            "jobType": "V2Ingest",
            "contentUrl": _content_url(job),
            "numberRecordsProcessed": job.processed,
            "numberRecordsFailed": job.failed,
            "retries": 0,
            "totalProcessingTime": job.milliseconds,
            "apiActiveProcessingTime": job.milliseconds,
            "apexProcessingTime": 0,
        }
        if job.state == "Failed":
            description["errorMessage"] = job.error
    return description


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
