"""Reading an object's records: REST query for few, Bulk API 2.0 query for many, the same frames from both.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm

A cursor is good in another process days later. By REST it names the last Id read, because a
``nextRecordsUrl`` dies after two days. By Bulk it names the job, the locator of its result part, the list
that part stands on and the rows of it already given; a job lives seven days, and where it is gone reading
starts over, which repeats records but loses none.
"""

from collections.abc import Generator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import polars as pl

from connectors.answers import Answer
from connectors.clients import salesforce_pictures
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_errors import BulkUnsupported, PlaceDropped
from connectors.clients.salesforce_parts import Part, Parts, Place
from connectors.clients.salesforce_schema import BLOBS, Blob
from connectors.clients.salesforce_session import SalesforceSession
from connectors.contents import reference_columns
from connectors.errors import ContractChanged, NotFound, SettingsInvalid, Unavailable
from connectors.pagination import Batch, KeysetPagination, MoreFlag, NextLink, batch_from, follow
from connectors.types import Cursor, EntitySchema, FieldType, Page
from connectors.values import csv_pieces, csv_to_frame, empty_frame, iso_datetime, plain_number, records_to_frame

BULK_ABOVE: Final = 2_000  # records; one REST page holds as many, and CumulusCI switches there, too
LONGEST_QUERY: Final = 12_000  # characters; URI and headers together may have 16,384 bytes, and quoting grows it
PAGE_SIZE: Final = 2_000  # records
VALUES: Final = 400_000  # of one page of a bulk result: wide records come in smaller pages
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
            "listing": "",
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
        records = yield from self._waited(cursor)
        parts = Parts(self._session, str(cursor["job"]), str(cursor["version"]))
        here = Place(str(cursor["locator"]), str(cursor.get("listing") or ""))
        skip = int(cursor["skip"] or 0)
        for part in parts.read(here, records):
            at = {**cursor, "locator": here.locator, "listing": here.listing}
            for frame, given, is_last in self._slices(part, skip):
                yield Page(frame, {**at, "skip": given} if not is_last else self._behind(cursor, part))
            if part.behind is None:
                return
            here, skip = part.behind, 0

    @staticmethod
    def _behind(cursor: Cursor, part: Part) -> Cursor | None:
        place = part.behind
        return None if place is None else {**cursor, "locator": place.locator, "listing": place.listing, "skip": 0}

    def _slices(self, part: Part, skip: int) -> Iterator[tuple[pl.DataFrame, int, bool]]:
        """The records of a part in pages, without the first ``skip``; how many of the part were given with each, and
        whether it is the last. There is at least one."""
        size = max(PAGE_SIZE, VALUES // len(self._fields))
        given, held = 0, empty_frame(self._fields)
        for piece in csv_pieces(part.body):
            for page in self._normal(self._complete(csv_to_frame(piece), part)).iter_slices(size):
                if held.height:
                    yield held, given, False
                given += page.height
                held = page.tail(max(0, min(page.height, given - skip)))
        if part.announced is not None and part.announced != given:
            raise Unavailable(
                f"Salesforce announced {part.announced} records of {self._entity}, but {given} arrived; asking again."
            )
        yield held, given, True

    def _waited(self, cursor: Cursor) -> Generator[Page, None, int]:
        """Return the number of records (0: it is not told) when the job is complete; an empty page now and then
        meanwhile. Raises ContractChanged where it failed, Unavailable where it has not ended by its deadline (it is
        then aborted)."""
        clock = self._session.clock
        deadline = datetime.fromisoformat(str(cursor["started"])) + JOB_DEADLINE
        waits, waited = self._session.pace.waits(self._entity), 0.0
        while (records := self._completed(cursor)) is None:
            wait = next(waits)
            if clock.now() + timedelta(seconds=wait) > deadline:
                self._abort(cursor)
            clock.sleep(wait)
            waited += wait
            if waited >= BREATH:
                waited = 0.0
                yield Page(empty_frame(self._fields), cursor)
        return records

    def _completed(self, cursor: Cursor) -> int | None:
        job = self._job(cursor)
        if job.get("state") in _DEAD:
            raise ContractChanged(
                f"Salesforce ended the bulk query of {self._entity} as “{job['state']}” (job {cursor['job']}). "
                f"It says: “{job.get('errorMessage') or 'nothing'}”. "
                "Start the step again; if it recurs, ask for fewer fields."
            )
        return int(job.get("numberRecordsProcessed") or 0) if job.get("state") == "JobComplete" else None

    def _abort(self, cursor: Cursor) -> None:
        path = self._session.path("jobs", "query", str(cursor["job"]), version=str(cursor["version"]))
        self._session.http.send("PATCH", path, json={"state": "Aborted"}, repeatable=True)
        raise Unavailable(
            f"Salesforce did not finish the bulk query of {self._entity} (job {cursor['job']}) in {JOB_DEADLINE}; "
            "it was aborted and starts anew."
        )

    def _complete(self, frame: pl.DataFrame, part: Part) -> pl.DataFrame:
        if not frame.width and not part.announced:
            return empty_frame(self._columns)
        missing = [field for field in self._columns if field not in frame.columns]
        if missing:
            raise ContractChanged(
                f"The bulk result of {self._entity} lacks the column {missing[0]}.", detail=part.detail
            )
        return frame.select(self._columns)

    def _normal(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The one notation: REST writes +0000 where Bulk writes Z, and 1.0 where Bulk writes 1. Contents are told by
        reference."""
        kinds = {name: self._schema.field(name).type for name in self._columns}
        moments = [name for name, kind in kinds.items() if kind is FieldType.DATETIME]
        numbers = [name for name, kind in kinds.items() if kind in _NUMBERS]
        frame = frame.with_columns(iso_datetime(pl.col(moments)), plain_number(pl.col(numbers)))
        if self._session.tells_pictures:
            frame = salesforce_pictures.told(self._session, self._schema, frame)
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
