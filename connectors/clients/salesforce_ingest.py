"""Bulk API 2.0 ingest: one file of records per job, results that carry every record's key.

https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0_ingest.htm

A job does nothing until it is closed, and what it did can be asked for seven days. So no lost answer is a
riddle: a job whose number was lost stays open and empty; one whose upload went astray is aborted and made anew;
one whose closing went unanswered says itself whether it was closed. The number is in the write's journal before the
upload, so that another worker waits for the job to end before it looks what is left to send.
"""

from collections.abc import Container, Mapping
from contextlib import suppress
from datetime import timedelta
from io import BytesIO
from tempfile import TemporaryFile
from typing import Any, Final

import polars as pl

from connectors.clients.salesforce_columns import CSV_NULL, csv_cells
from connectors.clients.salesforce_errors import DAILY_WAIT
from connectors.clients.salesforce_query import JOB_DEADLINE
from connectors.clients.salesforce_refusals import Class, refusal
from connectors.clients.salesforce_sending import Operation, Sending, no_answers, stop_for
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import ConnectorError, ContractChanged, NotFound, RateLimited, Unavailable
from connectors.values import csv_to_frame

LARGEST_FILE: Final = 100_000_000  # bytes; 150 MB after base64 is the limit
LONGEST_VALUE: Final = 32_000  # characters
TRIES: Final = 3
DONE: Final = "successfulResults"
REFUSED: Final = "failedResults"
_ENDED: Final = ("JobComplete", "Failed", "Aborted")

# "CODE:words:fields --", the words with colons of their own, nothing before "--" where no field is named.
_ERROR: Final = r"(?s)^([A-Za-z_]+):(.*):([^:]*?)\s*--\s*$"
_PASSING: Final = ("InternalServerError", "ServerUnavailable", "TooManyLockFailure", "Timeout", "UnknownException")


def send(session: SalesforceSession, sending: Sending) -> pl.DataFrame:
    """``ANSWERS`` of the records the job tells of. Raises BulkUnsupported before anything is sent, Unavailable
    where the job failed or was aborted with some records written and others not."""
    body = csv_of(file_of(sending))
    if len(body) > LARGEST_FILE and len(sending) > 1:
        halves = sending.parts(-(-len(sending) // 2))
        return pl.concat(send(session, half) for half in halves)
    job = _closed_job(session, sending, body)
    state = awaited(session, sending.entity, job, records=len(sending))
    if state.get("state") != "JobComplete":
        raise failure(session, sending.entity, job, state)
    answers = _answers(session, sending, job, _empty_files(state, len(sending)))
    said = str(state.get("errorMessage") or "")
    if answers.is_empty() and said:
        # The job ends well, with no record processed and none failed, where its header was refused.
        raise ContractChanged(f"Salesforce refused the bulk file of {sending.entity}: “{session.http.redact(said)}”.")
    return answers


def unfit(sending: Sending) -> pl.Series:
    """The rows that a bulk file cannot carry: a text it would take for “blank”, or one longer than it takes."""
    if not sending.values.width:
        return pl.Series([False] * len(sending), dtype=pl.Boolean)
    odd = (pl.all() == CSV_NULL) | (pl.all().str.len_chars() > LONGEST_VALUE)
    return sending.values.select(pl.any_horizontal(odd.fill_null(value=False))).to_series()


def file_of(sending: Sending) -> pl.DataFrame:
    """The cells of the file, with the field that names a record where there is one."""
    cells = csv_cells(sending.values, sending.sent)
    carried = [name for name in sending.sent.columns if sending.sent[name].any()]
    named = [sending.refs.alias(sending.match)] if sending.match else []
    return pl.DataFrame([*named, *(cells[name] for name in carried)])


def csv_of(file: pl.DataFrame) -> bytes:
    written = BytesIO()
    file.write_csv(written, quote_style="always", line_terminator="\n")
    return written.getvalue()


def _closed_job(session: SalesforceSession, sending: Sending, body: bytes) -> str:
    """A job with the file in it that Salesforce has begun, or will begin, to process."""
    for left in reversed(range(TRIES)):
        job = ""
        try:
            job = created(session, sending)
            # Before it can do anything, whoever takes this write over knows whom to ask.
            session.journal.note(job)
            upload(session, job, body)
        except Unavailable:
            # Created or filled for all we know, but certainly not closed, so it will never do anything.
            if job:
                abort(session, job)
            if not left:
                raise
        else:
            break
    close(session, job)
    return job


def upload(session: SalesforceSession, job: str, body: bytes) -> None:
    """Once only: a job with two files fails. Raises Unavailable where the answer was lost."""
    path = session.path("jobs", "ingest", job, "batches")
    session.http.send("PUT", path, content=body, headers={"Content-Type": "text/csv"}, repeatable=False)


def created(session: SalesforceSession, sending: Sending) -> str:
    body = {
        "object": sending.entity,
        "operation": str(sending.operation),
        "contentType": "CSV",
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    if sending.operation is Operation.UPSERT:
        body["externalIdFieldName"] = sending.match
    if sending.operation.by_key and (rule := session.options.assignment_rule(sending.entity)):
        body["assignmentRuleId"] = rule
    return str(session.http.send("POST", session.path("jobs", "ingest"), json=body, repeatable=False).value("id"))


def close(session: SalesforceSession, job: str) -> None:
    """Let Salesforce begin. A job that somebody else has closed meanwhile is closed."""
    path = session.path("jobs", "ingest", job)
    for left in reversed(range(TRIES)):
        try:
            session.http.send("PATCH", path, json={"state": "UploadComplete"}, repeatable=False)
        except (Unavailable, ContractChanged) as error:
            if described(session, job).get("state") != "Open":
                return
            if not left or isinstance(error, ContractChanged):
                raise
        else:
            return


def settle(session: SalesforceSession, entity: str) -> None:
    """See to it that no job of an earlier try of this write is still at work: one that is not closed is aborted,
    one that is closed is waited for. Raises Unavailable where one does not end."""
    for job in session.journal.jobs():
        try:
            state = described(session, job).get("state")
        except NotFound:
            continue  # what it did is forgotten after seven days, and done
        if state == "Open":
            abort(session, job)
        elif state not in _ENDED:
            session.journal.tell(f"An earlier try left the bulk job {job} of {entity} at work; it is waited for first.")
            awaited(session, entity, job)


def awaited(
    session: SalesforceSession, entity: str, job: str, *, aborts: bool = True, records: int = 0
) -> dict[str, Any]:
    """The last state of a job of so many ``records`` (0: nobody knows) that was closed just now; raises Unavailable
    where it has none by the deadline. It is then aborted, unless what it writes can be told by its results alone: these
    are whole only where it comes to its own end."""
    closed = session.clock.now()
    for wait in session.pace.waits(entity, records):
        if session.clock.now() + timedelta(seconds=wait) > closed + JOB_DEADLINE:
            break
        session.clock.sleep(wait)
        state = described(session, job)
        if state.get("state") in _ENDED:
            session.pace.learn(entity, records, (session.clock.now() - closed).total_seconds())
            return state
    if aborts:
        abort(session, job)
    raise Unavailable(
        f"Salesforce did not finish the bulk job {job} of {entity} in {JOB_DEADLINE}; it was "
        f"{'aborted' if aborts else 'left at work'}. What it wrote is found before anything is sent again."
    )


def failure(session: SalesforceSession, entity: str, job: str, state: Mapping[str, Any]) -> ConnectorError:
    """What a job that did not come to a good end means for the write."""
    said = session.http.redact(str(state.get("errorMessage") or "nothing"))[:300]
    code = said.partition(":")[0].strip()
    message = f"Salesforce ended the bulk job {job} of {entity} as “{state.get('state')}”. It says: “{said}”."
    if refusal(code).kind is Class.THROTTLE:
        return RateLimited(message, retry_after=DAILY_WAIT)
    if state.get("state") == "Aborted" or code in _PASSING:
        return Unavailable(f"{message} What it wrote is found before anything is sent again.")
    return ContractChanged(f"{message} Describe the object again; if it recurs, have the mapping corrected.")


def _empty_files(state: Mapping[str, Any], records: int) -> frozenset[str]:
    """The result files of an ended job that need not be fetched, by what it counted. Where it counted wrongly, the
    records of such a file stay unanswered, and so are looked for before anything is sent again."""
    processed, refused = state.get("numberRecordsProcessed"), state.get("numberRecordsFailed")
    if processed != records:
        return frozenset()
    return frozenset({REFUSED} if refused == 0 else {DONE} if refused == records else ())


def _answers(session: SalesforceSession, sending: Sending, job: str, empty: Container[str]) -> pl.DataFrame:
    """What both result files tell, by key; a record they tell of in two ways stays unanswered."""
    done, failed = (
        _nothing(column) if name in empty else _results(session, job, name, column, sending.match)
        for name, column in ((DONE, "sf__Id"), (REFUSED, "sf__Error"))
    )
    told = pl.concat([landed(done), refusals(failed)]).unique(maintain_order=True)
    stop_for_any(told)
    strangers = told.filter(~pl.col("ref").is_in(sending.refs.implode()) | pl.col("ref").is_null())
    if strangers.height:
        raise ContractChanged(
            f"The bulk job {job} of {sending.entity} has results for records that were not in it, among them "
            f"{strangers['ref'][0]}; nothing was recorded."
        )
    return pl.concat([no_answers(), told.filter(~pl.col("ref").is_duplicated())])


def landed(done: pl.DataFrame) -> pl.DataFrame:
    """``ANSWERS`` of rows with ``ref`` and ``sf__Id``."""
    nothing = (pl.lit(None, pl.String).alias(name) for name in ("code", "fields", "said"))
    return done.select("ref", pl.col("sf__Id").alias("target_id"), *nothing)


def refusals(failed: pl.DataFrame) -> pl.DataFrame:
    """``ANSWERS`` of rows with ``ref`` and ``sf__Error``."""
    parts = pl.col("sf__Error").str.extract_groups(_ERROR)
    return failed.select(
        "ref",
        pl.lit(None, pl.String).alias("target_id"),
        parts.struct[0].fill_null("UNKNOWN_EXCEPTION").alias("code"),
        parts.struct[2].fill_null("").str.replace_all(r"[\s,]+", ",").alias("fields"),
        parts.struct[1].fill_null(pl.col("sf__Error")).fill_null("").alias("said"),
    )


def stop_for_any(answers: pl.DataFrame) -> None:
    """Raise where one of the refusals means that no other record will do better."""
    for code, said in answers.select("code", "said").drop_nulls("code").unique("code").iter_rows():
        stop_for(code, said)


def _nothing(column: str) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys([column, "ref"], pl.String))


def _results(session: SalesforceSession, job: str, name: str, wanted: str, match: str) -> pl.DataFrame:
    """The wanted column of a result file, and the record's ``ref``."""
    frame = result_file(session, job, name, wanted, match)
    return frame.select(wanted, pl.col(match).alias("ref")) if frame.height else _nothing(wanted)


def result_file(session: SalesforceSession, job: str, name: str, *columns: str) -> pl.DataFrame:
    """A result file of an ended job, whole; raises ContractChanged where it has rows and not these columns, and
    NotFound where the job's results are not kept any more."""
    with TemporaryFile() as file:
        path = session.path("jobs", "ingest", job, name)
        answer = session.http.download(path, file, headers={"Accept": "text/csv"})
        file.seek(0)
        frame = csv_to_frame(file)
    missing = [column for column in columns if column not in frame.columns]
    if frame.height and missing:
        raise ContractChanged(f"The file {name} of a bulk job lacks the column {missing[0]}.", detail=answer.detail)
    return frame


def abort(session: SalesforceSession, job: str) -> None:
    # Tidiness only: an open job that is not closed never does anything.
    with suppress(ConnectorError):
        session.http.send("PATCH", session.path("jobs", "ingest", job), json={"state": "Aborted"})


def described(session: SalesforceSession, job: str) -> dict[str, Any]:
    """The job as it stands; raises NotFound where Salesforce does not know it any more."""
    return session.http.get(session.path("jobs", "ingest", job)).object()
