"""Records that carry no key of ours: known by ``context.id_map`` alone, inserted by bulk jobs alone, and exactly once.

An insert that is repeated makes a second record, and a collection whose answer is lost leaves nobody to ask. A bulk job
can be asked for seven days, and does nothing before it is closed. So each job is noted with a digest of every row
before its upload, and once more before it is closed: one that was not to be closed has done nothing and never will; one
that was is closed, waited for and asked. Its results repeat the rows as they were sent, in any order, and the digests
tell which record has which key. Rows alike in all that was sent are interchangeable: nothing refers to any of them
before this answer is committed, and afterwards each has its own id.
"""

import hashlib
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from connectors.clients import salesforce_ingest as ingest
from connectors.clients import salesforce_lookup as lookup
from connectors.clients.salesforce_columns import wire
from connectors.clients.salesforce_errors import BulkUnsupported
from connectors.clients.salesforce_pictures import dotted
from connectors.clients.salesforce_results import REFUSAL, sent_mark
from connectors.clients.salesforce_sending import ANSWERS, Operation, Sending, no_answers
from connectors.clients.salesforce_session import SalesforceSession
from connectors.clients.salesforce_write import Writing
from connectors.errors import ContractChanged, FatalError, NotFound, SettingsInvalid, Unavailable

_UNFIT: Final = (
    "The record has a text of more than 32,000 characters or one that a bulk file takes for “blank” (#N/A), and "
    "records without an external id are created by bulk jobs only. Shorten the text, or have an external id created "
    "for the object."
)


@dataclass(frozen=True, slots=True)
class KeylessWriting(Writing):
    """New records are inserted by jobs that can be asked, known ones updated by the id that the id map has."""

    known: dict[str, str] = field(default_factory=dict)
    """Key → target id, as last looked up: what of it the org does not hold is gone."""

    @property
    def inserts(self) -> bool:
        return True

    def held(self, keys: pl.Series) -> pl.DataFrame:
        found = fetch(self.session, self.sobject, keys.to_list(), self.names, known=self.known)
        return wire(found, self.sobject.schema, self.names)

    def carried(self, rows: pl.DataFrame, operation: Operation, number: int) -> pl.DataFrame:
        if operation is not Operation.INSERT:
            return Writing.carried(self, rows, operation, number)
        sent = rows.select(pl.col(sent_mark(name)).alias(name) for name in self.names)
        values = dotted(rows.select(self.names), self.sobject.schema)
        sending = Sending(self.sobject, operation, "", rows["key"], values, sent)
        answers = _insert(self.session, sending, self.known) if rows.height else no_answers()
        told = answers.select(pl.col("ref").alias("key"), pl.col("target_id").alias("target_id·told"), *REFUSAL)
        return self._with_pictures(rows, told, number)

    def _with_pictures(self, rows: pl.DataFrame, told: pl.DataFrame, number: int) -> pl.DataFrame:
        """The answers about new records, once those with pictures in their texts, for which a job's file has no room,
        have got them by an update."""
        embedding = self.embedding
        made = told.filter(pl.col("target_id·told").is_not_null()).select("key", pl.col("target_id·told").alias("id"))
        showing = rows.filter(embedding.showing(rows, self.names)).join(made, on="key", maintain_order="left")
        if not showing.height:
            return told
        rich = embedding.fields(self.names)
        showing = showing.with_columns(
            pl.col("id").alias("target_id"),
            *(pl.lit(value=False).alias(sent_mark(name)) for name in self.names if name not in rich),
        ).drop("id")
        later = Writing.carried(self, showing, Operation.UPDATE, number)
        return pl.concat([told.join(showing, on="key", how="anti"), later])

    def key_members(self, rows: pl.DataFrame) -> list[dict[str, Any]]:
        return [{} for _ in range(rows.height)]


def fetch(
    session: SalesforceSession,
    sobject: Any,
    keys: Sequence[str],
    fields: Sequence[str],
    *,
    known: dict[str, str] | None = None,
) -> pl.DataFrame:
    """As ``Target.fetch``, of the records that the id map has; ``known`` is told which these are."""
    entity = sobject.schema.entity.name
    ids = session.context.id_map.targets(entity, keys)
    if known is not None:
        known.update(ids)
    ours = pl.DataFrame({"key": list(ids), "target_id": list(ids.values())}, schema=_PAIR)
    rows = lookup.find(session, sobject, key="Id", keys=ours["target_id"].to_list(), fields=fields)
    return ours.join(rows.drop("key"), on="target_id").select("target_id", "key", *fields)


_PAIR: Final = {"key": pl.String, "target_id": pl.String}


def settle(session: SalesforceSession, entity: str, keys: Sequence[str]) -> None:
    """As ``Target.settle``. Raises FatalError where a job's results are not kept any more."""
    for begun in session.context.id_map.begun(entity, keys):
        if not begun.closed:
            ingest.abort(session, begun.job)
            session.context.id_map.forget(begun.job)
            continue
        session.journal.tell(
            f"An earlier try was cut short after it had given {len(begun.rows):,} records of {entity} to the bulk job "
            f"{begun.job}; the job is asked what it created before anything is sent again."
        )
        try:
            if ingest.described(session, begun.job).get("state") == "Open":
                ingest.close(session, begun.job)  # it has its rows: whoever filled it was about to
            state = ingest.awaited(session, entity, begun.job, aborts=False)
            _answered(session, entity, begun.job, state, begun.rows)
        except NotFound:
            raise FatalError(
                f"Nobody can tell any more whether {len(begun.rows):,} records of {entity} were created, among them "
                f"{min(begun.rows)}: Salesforce keeps the results of the bulk job {begun.job} for seven days only. "
                "Nothing is sent again before a person has looked: find out in the org what that job created, delete "
                "it there, and have the job forgotten (manage.py forget_job)."
            ) from None


def _insert(session: SalesforceSession, sending: Sending, known: Mapping[str, str]) -> pl.DataFrame:
    """``ANSWERS`` of the records, by key, as far as their jobs tell of them."""
    unfit = ingest.unfit(sending)
    refused = sending.refs.filter(unfit).to_frame("ref").select(
        "ref", target_id=pl.lit(None, pl.String), code=pl.lit("no_bulk_file"), fields=pl.lit(""), said=pl.lit(_UNFIT)
    )  # fmt: skip
    return pl.concat([no_answers(), refused, _by_jobs(session, sending.where(~unfit), known)])


def _by_jobs(session: SalesforceSession, sending: Sending, known: Mapping[str, str]) -> pl.DataFrame:
    if not len(sending):
        return no_answers()
    file = ingest.file_of(sending)
    if not file.width:
        raise SettingsInvalid(
            f"Records of {sending.entity} without an external id cannot be created blank: map at least one of their "
            "fields."
        )
    body = ingest.csv_of(file)
    if len(body) > ingest.LARGEST_FILE and len(sending) > 1:
        halves = sending.parts(-(-len(sending) // 2))
        return pl.concat(_by_jobs(session, half, known) for half in halves)
    rows = dict(zip(sending.refs.to_list(), digests(file), strict=True))
    job = _filled_job(session, sending, body, rows, {key: known[key] for key in rows if key in known})
    session.context.id_map.close(job)
    ingest.close(session, job)
    state = ingest.awaited(session, sending.entity, job, aborts=False, records=len(sending))
    answers = _answered(session, sending.entity, job, state, rows)
    if state.get("state") != "JobComplete":
        raise ingest.failure(session, sending.entity, job, state)
    said = str(state.get("errorMessage") or "")
    if answers.is_empty() and said:
        raise ContractChanged(f"Salesforce refused the bulk file of {sending.entity}: “{session.http.redact(said)}”.")
    ingest.stop_for_any(answers)
    return answers


def _filled_job(
    session: SalesforceSession, sending: Sending, body: bytes, rows: Mapping[str, str], gone: Mapping[str, str]
) -> str:
    """A job with the file in it that nobody has closed. Raises Unavailable where none could be filled for certain."""
    ids = session.context.id_map
    for left in reversed(range(ingest.TRIES)):
        job = ""
        try:
            job = ingest.created(session, sending)
            ids.begin(sending.entity, job, rows, gone=gone)
            ingest.upload(session, job, body)
        except BulkUnsupported:
            raise SettingsInvalid(
                f"Salesforce creates no {sending.entity} by bulk jobs, and records without an external id are created "
                "in no other way. Have an external id created for the object, then choose it again."
            ) from None
        except Unavailable:
            if job:
                ingest.abort(session, job)
                ids.forget(job)  # created or filled for all we know, but never closed
            if not left:
                raise
        else:
            return job
    raise AssertionError("unreachable")


def _answered(
    session: SalesforceSession, entity: str, job: str, state: Mapping[str, Any], rows: Mapping[str, str]
) -> pl.DataFrame:
    """``ANSWERS`` by key of what an ended job did, committed. Rows in no result were not worked on: the job's own
    counts say so, or it is asked again later (Unavailable)."""
    done = ingest.result_file(session, job, ingest.DONE, "sf__Id")
    failed = ingest.result_file(session, job, ingest.REFUSED, "sf__Error")
    counted = state.get("numberRecordsProcessed", len(rows))
    if counted != done.height + failed.height:
        raise Unavailable(
            f"Salesforce says that the bulk job {job} of {entity} worked on {counted} records, and gives results of "
            f"{done.height + failed.height}. It is asked again before anything is sent."
        )
    keys: defaultdict[str, deque[str]] = defaultdict(deque)
    for key, digest in sorted(rows.items()):
        keys[digest].append(key)
    made = _named(done.sort("sf__Id") if done.height else done, "sf__Id", keys)
    refused = _named(failed, "sf__Error", keys)
    strangers = made.filter(pl.col("ref").is_null())["sf__Id"]
    if len(strangers):
        raise FatalError(
            f"The bulk job {job} created {len(strangers):,} records of {entity} that are not as they were sent, among "
            f"them {strangers[0]}, so that nobody can tell which is which. Nothing is sent again before a person has "
            "looked: delete in the org what that job created, and have the job forgotten (manage.py forget_job)."
        )
    session.context.id_map.answer(job, dict(made.iter_rows()))
    told = refused.filter(pl.col("ref").is_not_null())
    return pl.concat([no_answers(), ingest.landed(made), ingest.refusals(told)]).select(*ANSWERS)


def _named(results: pl.DataFrame, wanted: str, keys: Mapping[str, deque[str]]) -> pl.DataFrame:
    """``ref`` and the wanted column of results, each with a key of the rows that were sent as it is; null: none."""
    if not results.height:
        return pl.DataFrame(schema={"ref": pl.String, wanted: pl.String})
    echoed = digests(results.drop("sf__Id", "sf__Created", "sf__Error", strict=False))
    refs = [keys[digest].popleft() if keys.get(digest) else None for digest in echoed]
    return pl.DataFrame({"ref": pl.Series(refs, dtype=pl.String), wanted: results[wanted]})


def digests(file: pl.DataFrame) -> list[str]:
    """128 bits over each row, whatever the order of its columns; equal where nothing but the spelling of line ends or
    blanks at the end differ, which Salesforce may change."""
    text = pl.all().fill_null("").str.replace_all("\r\n?", "\n").str.replace_all("\0", "", literal=True)
    plain = file.select(sorted(file.columns)).select(text.str.strip_chars_end())
    head = "\x1f".join(plain.columns)
    return [
        hashlib.blake2b("\x1f".join((head, *row)).encode(), digest_size=16).hexdigest() for row in plain.iter_rows()
    ]
