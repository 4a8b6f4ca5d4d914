"""Bringing records to an object: look what is there, send what differs, and find out what became of each.

Writing goes in rounds. Each looks under the keys of the records still open, so that nothing is sent that the org
holds already, whoever put it there and whatever answer was lost. A new record is upserted by its key, and inserted only
where it brings its date or author of creation, which an upsert may not; a known one is updated by its id, never created
anew with half its fields. What stays open after a round (locked, rolled back for a neighbour, unanswered) is sent again
in smaller company, sorted by parent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from connectors.clients import salesforce_ingest as ingest
from connectors.clients import salesforce_lookup as lookup
from connectors.clients.salesforce_carrier import AGAIN_CODES, WAITS, carry, pause
from connectors.clients.salesforce_columns import differing, json_records, wire
from connectors.clients.salesforce_embedding import Embedding
from connectors.clients.salesforce_options import AUDIT_FIELDS
from connectors.clients.salesforce_refusals import REFUSALS, Class
from connectors.clients.salesforce_results import (
    NOTHING,
    REFUSAL,
    clashing,
    fixed_fields,
    given_up,
    landed,
    rejected,
    sent_mark,
    several,
)
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_sending import Operation, Sending, no_answers
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import SettingsInvalid
from connectors.types import FieldType, Outcome

_TAKEN: Final = frozenset(
    code for code, found in REFUSALS.items() if found.kind is Class.PRESENT and code != "ENTITY_IS_DELETED"
)

REOPENED: Final = AGAIN_CODES | _TAKEN
"""Codes after which a new record is looked for and sent once more."""


def write(
    session: SalesforceSession, sobject: SObject, frame: pl.DataFrame, *, key: str, kind: "Kind | None" = None
) -> pl.DataFrame:
    """A result (``RESULT_SCHEMA``) per row. Raises Unavailable where the fate of some stays unknown. ``kind`` makes
    the steps of a round of objects that are written in a way of their own.

    Created is what was not there when this call first looked; unchanged is what did not have to be sent."""
    ingest.settle(session, sobject.schema.entity.name)
    writing, clashes, rows = prepared(session, sobject, frame, key, kind)
    settled = [clashes]
    existed = pl.Series(dtype=pl.String)
    for number in range(len(WAITS)):
        if rows.is_empty():
            break
        pause(session, number, rows["code"])
        held = writing.held(rows["key"])
        if number == 0:
            existed = held["key"].unique()
        found, rows = writing.sorted_out(rows, held, existed, is_first=number == 0)
        sent, rows = writing.sent(rows, existed, number)
        settled += [found, sent]
    return pl.concat([*settled, given_up(sobject, rows)])


def prepared(
    session: SalesforceSession, sobject: SObject, frame: pl.DataFrame, key: str, kind: "Kind | None" = None
) -> "tuple[Writing, pl.DataFrame, pl.DataFrame]":
    """How to write the frame, results of the rows that cannot be, and the others, sorted by parent."""
    fields = _fields(sobject, frame, key)
    rows = wire(frame, sobject.schema, fields).select(pl.col(key).cast(pl.String).alias("key"), *fields)
    rows = rows.with_columns(NOTHING.alias(name) for name in REFUSAL)
    clashes, rows = clashing(sobject, _by_parent(sobject, rows, fields), key)
    return (kind or Writing)(session, sobject, key, fields), clashes, rows


@dataclass(frozen=True, slots=True)
class Writing:
    """The steps of a round. Rows have ``key``, the fields in the wire notation, and the refusal they had from the
    round before (``code``, ``fields``, ``said``; null where there was no answer)."""

    session: SalesforceSession
    sobject: SObject
    key: str
    names: Sequence[str]

    @property
    def audited(self) -> bool:
        return not AUDIT_FIELDS.isdisjoint(self.names)

    @property
    def inserts(self) -> bool:
        """Whether new records are inserted with their unique key, not upserted by it."""
        return self.audited

    @property
    def embedding(self) -> Embedding:
        return Embedding(self.session, self.sobject, self.session.context.contents)

    def held(self, keys: pl.Series) -> pl.DataFrame:
        """``target_id``, ``key`` and the fields, in the wire notation, of what the org holds under the keys."""
        found = lookup.find(self.session, self.sobject, key=self.key, keys=keys.to_list(), fields=self.names)
        return wire(found, self.sobject.schema, self.names)

    def sorted_out(
        self, rows: pl.DataFrame, held: pl.DataFrame, existed: pl.Series, *, is_first: bool
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Results of the rows there is nothing to send of, and the others with ``target_id`` (null: new) and a
        boolean ``name·sent`` per field."""
        doubled = held.filter(pl.col("key").is_duplicated())
        twins = rows.join(doubled.group_by("key").agg(pl.col("target_id").sort().str.join(", ")), on="key")
        rows = rows.join(doubled, on="key", how="anti")
        looked = rows.join(held, on="key", how="left", suffix="·held").with_columns(
            self._is_sent(name).alias(sent_mark(name)) for name in self.names
        )
        is_there = pl.col("target_id").is_not_null()
        differs = pl.any_horizontal(pl.lit(value=False), *(pl.col(sent_mark(name)) for name in self.names))
        fixed = [name for name in self.names if name not in self.sobject.updateable]
        stuck = is_there & pl.any_horizontal(pl.lit(value=False), *(pl.col(sent_mark(name)) for name in fixed))
        # Refused for a value that is taken, and yet nobody has the key: another record has the value.
        taken = ~is_there & pl.col("code").is_in(_TAKEN).fill_null(value=False)
        # An insert whose answer was lost is refused the second time, for the value it brought itself.
        unsure = pl.col("code").is_null() | (pl.lit(self.inserts) & pl.col("code").is_in(_TAKEN))
        ours = pl.lit(not is_first) & unsure
        outcome = pl.when(~ours).then(pl.lit(Outcome.UNCHANGED)).when(pl.col("key").is_in(existed.implode())).then(
            pl.lit(Outcome.UPDATED)
        ).otherwise(pl.lit(Outcome.CREATED))  # fmt: skip
        results = pl.concat(
            [
                several(twins, self.sobject, self.key),
                landed(looked.filter(is_there & ~differs), outcome),
                fixed_fields(looked.filter(stuck), fixed),
                rejected(looked.filter(taken)),
            ]
        )
        return results, looked.filter(~taken & ~stuck & (~is_there | differs))

    def _is_sent(self, name: str) -> pl.Expr:
        """Whether a row carries the field: a known record what differs, a new one all; a blank never where the
        platform knows no blank (it keeps its default)."""
        info = self.sobject.schema.field(name)
        differs = differing(info, pl.col(name), pl.col(f"{name}·held"))
        possible = pl.col(name).is_not_null() | pl.lit(name not in self.sobject.mandatory | AUDIT_FIELDS)
        if name in AUDIT_FIELDS:
            return possible & pl.col("target_id").is_null()
        return possible & (pl.col("target_id").is_null() | differs)

    def sent(self, rows: pl.DataFrame, existed: pl.Series, number: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Send the rows; results of those that were written or refused for good, and the rows still open."""
        is_new = rows["target_id"].is_null()
        answers = pl.concat(
            [
                self._carried(rows.filter(is_new), Operation.INSERT if self.inserts else Operation.UPSERT, number),
                self._carried(rows.filter(~is_new), Operation.UPDATE, number),
            ]
        )
        told = rows.drop(*REFUSAL).join(answers, on="key", how="left", suffix="·told")
        is_new_one = pl.col("target_id").is_null()
        again = pl.col("code").is_in(AGAIN_CODES) | pl.when(is_new_one).then(pl.col("code").is_in(_TAKEN)).otherwise(
            pl.col("code") == "ENTITY_IS_DELETED"
        )
        done = pl.col("target_id·told").is_not_null()
        is_ours = is_new_one | ~pl.col("key").is_in(existed.implode())
        outcome = pl.when(is_ours).then(pl.lit(Outcome.CREATED)).otherwise(pl.lit(Outcome.UPDATED))
        written = told.filter(done).with_columns(pl.col("target_id·told").alias("target_id"), outcome.alias("·outcome"))
        refused = told.filter(~done & pl.col("code").is_not_null() & ~again)
        open_rows = told.filter(~done & (pl.col("code").is_null() | again))
        return (
            pl.concat([landed(written, pl.col("·outcome")), rejected(refused)]),
            open_rows.select("key", *self.names, *REFUSAL),
        )

    def key_members(self, rows: pl.DataFrame) -> list[dict[str, Any]]:
        """What names a new record of its own, as JSON members, row by row."""
        keys = rows.select(pl.col("key").alias(self.key))
        return json_records(keys, keys.select(pl.all().is_not_null()), self.sobject.schema)

    def _carried(self, rows: pl.DataFrame, operation: Operation, number: int) -> pl.DataFrame:
        return self.carried(rows, operation, number)

    def carried(self, rows: pl.DataFrame, operation: Operation, number: int) -> pl.DataFrame:
        """Answers by ``key``. Records that show pictures are sent few together, the pictures inside their texts."""
        embedding = self.embedding
        showing = embedding.showing(rows, self.names)
        if not showing.any():
            return self._carried_plain(rows, operation, number)
        answers = [self._carried_plain(rows.filter(~showing), operation, number)]
        for part, refused in embedding.embedded(rows.filter(showing), self.names):
            answers.append(self._carried_plain(part, operation, number))
            for key, why in refused.items():
                told = pl.DataFrame([(key, None, *why)], schema=answers[0].schema, orient="row")
                answers.append(told)
        return pl.concat(answers)

    def _carried_plain(self, rows: pl.DataFrame, operation: Operation, number: int) -> pl.DataFrame:
        by_key = operation.by_key
        ref = "key" if by_key else "target_id"
        sending = Sending(
            self.sobject,
            operation,
            self.key if by_key else "Id",
            rows[ref],
            rows.select(self.names),
            rows.select(pl.col(sent_mark(name)).alias(name) for name in self.names),
        )
        answers = carry(self.session, sending, number=number, refusals=rows["code"]) if rows.height else no_answers()
        named = rows.select("key", pl.col(ref).alias("ref")).join(answers, on="ref")
        return named.select("key", pl.col("target_id").alias("target_id·told"), *REFUSAL)


Kind = Callable[[SalesforceSession, SObject, str, list[str]], Writing]


def _fields(sobject: SObject, frame: pl.DataFrame, key: str) -> list[str]:
    """The frame's other fields; raises SettingsInvalid where the key or one of them cannot be written so."""
    entity, schema = sobject.schema.entity.name, sobject.schema
    keys = [field.name for field in schema.fields if field.external_id]
    if key not in keys:
        raise SettingsInvalid(
            f"Records of {entity} cannot be matched by {key}, which is not an external id of it. "
            f"Choose one of: {', '.join(keys) or 'none (create an external id field in the org)'}."
        )
    names = [name for name in frame.columns if name != key]
    if not AUDIT_FIELDS.isdisjoint(names) and not schema.field(key).unique:
        raise SettingsInvalid(
            f"Records of {entity} that keep their date of creation are inserted, which is safe to repeat only by a "
            f"unique key, and {key} is not unique. Make it unique in the org, or leave these fields out."
        )
    closed = [name for name in [key, *names] if name not in sobject.createable or name not in schema.names]
    if closed:
        raise SettingsInvalid(
            f"The object {entity} does not let the migration user fill {', '.join(closed[:5])} on a new record. "
            "Give the permission set edit access, or take the field out of the mapping."
        )
    return names


def _by_parent(sobject: SObject, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Children of one parent side by side, master-detail parents first: each save locks the parent."""
    lookups = [name for name in names if sobject.schema.field(name).type is FieldType.REFERENCE]
    parents = sorted(lookups, key=lambda name: name not in sobject.masters)
    return rows.sort(parents, nulls_last=True, maintain_order=True) if parents else rows
