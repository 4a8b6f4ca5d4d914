"""Reading an object's records: REST query for few, Bulk API 2.0 query for many, the same frames from both.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm

A cursor is good in another process days later. By REST it names the last Id read, because a
``nextRecordsUrl`` dies after two days. By Bulk it names the job, the locator of its result part and the
rows of that part already given; a job lives seven days, and where it is gone reading starts over, which
repeats records but loses none.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from tempfile import TemporaryFile
from typing import Any, Final
from urllib.parse import quote

import polars as pl

from connectors.answers import Answer
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_errors import BulkUnsupported, PlaceDropped
from connectors.clients.salesforce_schema import BLOBS, Blob
from connectors.clients.salesforce_session import SalesforceSession
from connectors.contents import reference_columns
from connectors.errors import ContractChanged, NotFound, SettingsInvalid, Unavailable
from connectors.pagination import Batch, KeysetPagination, MoreFlag, NextLink, batch_from, follow
from connectors.types import Cursor, EntitySchema, FieldType, Page
from connectors.values import csv_to_frame, empty_frame, iso_datetime, plain_number, records_to_frame

BULK_ABOVE: Final = 2_000  # records; one REST page holds as many, and CumulusCI switches there, too
LONGEST_QUERY: Final = 12_000  # characters; URI and headers together may have 16,384 bytes, and quoting grows it
RESULT_PART: Final = 10_000  # records of one download
PAGE_SIZE: Final = 2_000  # records
VALUES: Final = 400_000  # of one page of a bulk result: wide records come in smaller pages
POLL_WAITS: Final = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0)  # seconds, the last one repeated
BREATH: Final = 10.0  # seconds of waiting after which an empty page lets the engine take a decision
JOB_DEADLINE: Final = timedelta(hours=2)

_NUMBERS: Final = (FieldType.INTEGER, FieldType.DECIMAL, FieldType.FLOAT)
_KEYSET: Final = KeysetPagination(end=MoreFlag(("done",), when=False), field="Id", param="q")
_DEAD: Final = frozenset({"Failed", "Aborted"})

# Airbyte's list of objects the Bulk API refuses; for any other it says so itself (INVALIDENTITY).
_NOT_IN_BULK: Final = frozenset(
    "AcceptedEventRelation Attachment CaseStatus ContractStatus DeclinedEventRelation EventWhoRelation OrderStatus "  # noqa: SIM905
    "PartnerRole RecentlyViewed SolutionStatus TaskPriority TaskStatus TaskWhoRelation UndecidedEventRelation".split()
)

# Salesforce archives activities after a year; "query" then passes over them in silence.
_ARCHIVING: Final = frozenset({"Task", "Event"})


class SalesforceQuery:
    """One reading of one object: chosen fields, and the conditions that all records must meet."""

    def __init__(
        self,
        session: SalesforceSession,
        schema: EntitySchema,
        fields: Sequence[str],
        where: Sequence[str] = (),
        *,
        resource: str = "query",
        bulk_above: int = BULK_ABOVE,
    ) -> None:
        unknown = [field for field in fields if field not in schema.names]
        if unknown:
            raise SettingsInvalid(
                f"The object {schema.entity.name} has no readable field {', '.join(unknown[:5])}. Correct the mapping."
            )
        self._session = session
        self._schema = schema
        self._entity = schema.entity.name
        self._fields = list(fields)
        self._blob = BLOBS.get(self._entity)
        self._columns = _columns(self._fields, self._blob)
        self._where = list(where)
        self._resource = resource
        self._bulk_above = bulk_above
        if self._entity in _ARCHIVING and resource == "query":
            self._resource = "queryAll"
            self._where.append(soql.condition(field="IsDeleted", operator="=", value=False))

    def count(self) -> int:
        """The exact number of matching records (``/limits/recordCount`` is approximate and knows no filter)."""
        answer = self._session.query(soql.count(self._entity, self._where), resource=self._resource)
        return int(answer.value("totalSize"))

    def sample(self, size: int) -> pl.DataFrame:
        """A few records, by one REST query whatever the size of the object."""
        return self.first(size)

    def first(self, size: int, *, order_by: str = "") -> pl.DataFrame:
        """The first records in an order, by one REST query."""
        text = soql.select(self._columns, self._entity, self._where, order_by=order_by)
        answer = self._session.query(f"{text} LIMIT {int(size)}", resource=self._resource)
        return self.frame(batch_from(answer, ("records",)))

    def frame(self, batch: Batch) -> pl.DataFrame:
        """The records of an answered page in the one notation."""
        return self._normal(records_to_frame(batch.records, self._columns))

    def pages(self, cursor: Cursor | None) -> Iterator[Page]:
        """All pages behind ``cursor``."""
        if cursor is not None:
            yield from self._job_pages(cursor) if "job" in cursor else self.rest_pages(cursor)
        elif self._wants_bulk():
            yield from self._bulk_or_rest()
        else:
            yield from self.rest_pages(None)

    def rest_pages(self, cursor: Cursor | None) -> Iterator[Page]:
        """Pages by REST, in the order of Id.

        Within one reading Salesforce's own links are followed, so that it need not run the query anew for each page;
        where it has dropped its place, and in another process, the query goes on behind the last Id.
        """
        batches = self._linked(cursor)

        def fetch(position: Cursor | None) -> Batch:
            nonlocal batches
            try:
                found = next(batches, None)
            except PlaceDropped:
                found = None
            if found is None:
                batches = self._linked(position)
                found = next(batches)
            return found

        for batch, behind in follow(_KEYSET, fetch, cursor):
            yield Page(self.frame(batch), behind)

    def _linked(self, position: Cursor | None) -> Iterator[Batch]:
        """The pages of one query, those without records left out unless nothing comes after them."""
        beyond = [] if position is None else [soql.condition("Id", ">", str(position["after"]))]
        text = soql.select(self._columns, self._entity, [*self._where, *beyond], order_by="Id")

        def fetch(link: Cursor | None) -> Batch:
            if link is None:
                return batch_from(self._session.query(text, resource=self._resource), ("records",))
            return batch_from(self._get(str(link["link"])), ("records",))

        for batch, behind in follow(NextLink(("nextRecordsUrl",)), fetch):
            if batch.records or behind is None:
                yield batch

    @property
    def address(self) -> str:
        """Path and query string that ask for the first page."""
        text = soql.select(self._columns, self._entity, self._where)
        return f"{self._session.path(self._resource)}?q={quote(text)}"

    @property
    def is_long(self) -> bool:
        """Whether it would not fit into an address."""
        return len(soql.select(self._columns, self._entity, self._where)) > LONGEST_QUERY

    def _wants_bulk(self) -> bool:
        # A SELECT of many fields does not fit into an address; Bulk takes it in the body.
        is_long = self.is_long
        return self._entity not in _NOT_IN_BULK and (is_long or self.count() > self._bulk_above)

    def _bulk_or_rest(self) -> Iterator[Page]:
        try:
            yield from self.bulk_pages()
        except BulkUnsupported:
            yield from self.rest_pages(None)

    def bulk_pages(self) -> Iterator[Page]:
        """Pages by Bulk; raises BulkUnsupported, before the first page, for an object it does not serve."""
        if self._entity in _NOT_IN_BULK:
            raise BulkUnsupported(f"The Bulk API does not serve the object {self._entity}.")
        job = self._create_job()
        # Committed before the first wait: a crash meanwhile finds the job again instead of starting another.
        yield Page(empty_frame(self._fields), job)
        yield from self._finished_job_pages(job)

    def _create_job(self) -> Cursor:
        body = {"operation": self._resource, "query": soql.select(self._columns, self._entity, self._where)}
        # Repeatable: a job whose id was lost reads and nothing more, and vanishes by itself.
        answer = self._session.http.send("POST", self._session.path("jobs", "query"), json=body, repeatable=True)
        return {
            "job": str(answer.value("id")),
            "version": self._session.version,  # results must be fetched with the version that made the job
            "started": self._session.clock.now().isoformat(),
            "locator": "",
            "skip": 0,
        }

    def _job_pages(self, cursor: Cursor) -> Iterator[Page]:
        """What is left of a job from an earlier process; everything anew where the job is gone."""
        try:
            is_dead = self._job(cursor).get("state") in _DEAD
        except NotFound:
            is_dead = True
        yield from self.pages(None) if is_dead else self._finished_job_pages(cursor)

    def _finished_job_pages(self, cursor: Cursor) -> Iterator[Page]:
        for _ in self._waited(cursor):
            yield Page(empty_frame(self._fields), cursor)
        while True:
            frame, locator = self._part(cursor)
            skip = int(cursor["skip"] or 0)
            size = max(PAGE_SIZE, VALUES // len(self._fields))
            for start in range(skip, max(frame.height, skip + 1), size):
                position = {**cursor, "skip": start + size}
                is_last_slice = start + size >= frame.height
                behind = ({**cursor, "locator": locator, "skip": 0} if locator else None) if is_last_slice else position
                yield Page(frame.slice(start, size), behind)
            if not locator:
                return
            if locator == cursor["locator"]:
                raise ContractChanged(f"Salesforce repeats the part {locator} of job {cursor['job']}; stopped.")
            cursor = {**cursor, "locator": locator, "skip": 0}

    def _waited(self, cursor: Cursor) -> Iterator[None]:
        """Return when the job is complete; yield now and then meanwhile. Raises ContractChanged where it
        failed, Unavailable where it has not ended by its deadline (it is then aborted)."""
        clock = self._session.clock
        deadline = datetime.fromisoformat(str(cursor["started"])) + JOB_DEADLINE
        polls, waited = 0, 0.0
        while not self._is_complete(cursor):
            wait = POLL_WAITS[min(polls, len(POLL_WAITS) - 1)]
            if clock.now() + timedelta(seconds=wait) > deadline:
                self._abort(cursor)
            clock.sleep(wait)
            polls, waited = polls + 1, waited + wait
            if waited >= BREATH:
                waited = 0.0
                yield

    def _is_complete(self, cursor: Cursor) -> bool:
        job = self._job(cursor)
        if job.get("state") in _DEAD:
            raise ContractChanged(
                f"Salesforce ended the bulk query of {self._entity} as “{job['state']}” (job {cursor['job']}). "
                f"It says: “{job.get('errorMessage') or 'nothing'}”. "
                "Start the step again; if it recurs, ask for fewer fields."
            )
        return job.get("state") == "JobComplete"

    def _abort(self, cursor: Cursor) -> None:
        path = self._session.path("jobs", "query", str(cursor["job"]), version=str(cursor["version"]))
        self._session.http.send("PATCH", path, json={"state": "Aborted"}, repeatable=True)
        raise Unavailable(
            f"Salesforce did not finish the bulk query of {self._entity} (job {cursor['job']}) in {JOB_DEADLINE}; "
            "it was aborted and starts anew."
        )

    def _part(self, cursor: Cursor) -> tuple[pl.DataFrame, str]:
        """The part of the results at the cursor's locator, and the next locator (blank at the end)."""
        path = self._session.path("jobs", "query", str(cursor["job"]), "results", version=str(cursor["version"]))
        locator = {"locator": str(cursor["locator"])} if cursor["locator"] else {}
        with TemporaryFile() as file:
            answer = self._session.http.download(
                path, file, params={"maxRecords": str(RESULT_PART), **locator}, headers={"Accept": "text/csv"}
            )
            file.seek(0)
            frame = csv_to_frame(file)
        return self._normal(self._complete(frame, answer)), _next_locator(answer)

    def _complete(self, frame: pl.DataFrame, answer: Answer) -> pl.DataFrame:
        if not frame.width and answer.header("sforce-numberofrecords") in ("", "0"):
            return empty_frame(self._columns)
        missing = [field for field in self._columns if field not in frame.columns]
        if missing:
            raise ContractChanged(
                f"The bulk result of {self._entity} lacks the column {missing[0]}.", detail=answer.detail
            )
        announced = answer.header("sforce-numberofrecords")
        if announced and int(announced) != frame.height:
            raise Unavailable(
                f"Salesforce announced {announced} records of {self._entity}, but {frame.height} arrived; asking again."
            )
        return frame.select(self._columns)

    def _normal(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The one notation: REST writes +0000 where Bulk writes Z, and 1.0 where Bulk writes 1. Contents are told by
        reference."""
        kinds = {name: self._schema.field(name).type for name in self._columns}
        moments = [name for name, kind in kinds.items() if kind is FieldType.DATETIME]
        numbers = [name for name, kind in kinds.items() if kind in _NUMBERS]
        frame = frame.with_columns(iso_datetime(pl.col(moments)), plain_number(pl.col(numbers)))
        if self._blob is not None and self._blob.field in self._fields:
            frame = frame.with_columns(_reference(self._entity, self._blob).alias(self._blob.field))
        return frame.select(self._fields)

    def _job(self, cursor: Cursor) -> dict[str, Any]:
        path = self._session.path("jobs", "query", str(cursor["job"]), version=str(cursor["version"]))
        return self._get(path).object()

    def _get(self, path: str) -> Answer:
        return self._session.http.get(path)


def _columns(fields: Sequence[str], blob: Blob | None) -> list[str]:
    """What is asked for: in place of contents, what tells of them."""
    if blob is None or blob.field not in fields:
        return list(fields)
    facts = [name for name in ("Id", blob.size, blob.md5) if name]
    return list(dict.fromkeys([*(name for name in fields if name != blob.field), *facts]))


def _reference(entity: str, blob: Blob) -> pl.Expr:
    return reference_columns(
        pl.format(f"{entity}/{{}}/{blob.field}", "Id"),
        size=pl.col(blob.size),
        md5=pl.col(blob.md5) if blob.md5 else pl.lit(None, pl.String),
    )


def _next_locator(answer: Answer) -> str:
    locator = answer.header("sforce-locator")
    if not locator:
        raise ContractChanged(
            "Salesforce gave a bulk result without Sforce-Locator, so its end is unknown.", detail=answer.detail
        )
    return "" if locator == "null" else locator  # the literal word, says the vendor's guide
