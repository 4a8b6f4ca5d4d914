"""Bringing records to an object: look what is there, send what differs, and find out what became of each.

Writing goes in rounds. Each looks under the keys of the records still open, so that nothing is sent that the org
holds already, whoever put it there and whatever answer was lost. A new record is upserted by its key, never
inserted; a known one is updated by its id, never created anew with half its fields. What stays open after a round
(locked, rolled back for a neighbour, unanswered) is sent again in smaller company, sorted by parent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from connectors.clients import salesforce_lookup as lookup
from connectors.clients.salesforce_carrier import AGAIN_CODES, WAITS, carry, pause
from connectors.clients.salesforce_columns import comparable, long_ids, wire
from connectors.clients.salesforce_refusals import REFUSALS, Class, sentence
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_sending import Operation, Sending, no_answers
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import SettingsInvalid, Unavailable
from connectors.types import FieldType, Outcome

_TAKEN: Final = frozenset(
    code for code, found in REFUSALS.items() if found.kind is Class.PRESENT and code != "ENTITY_IS_DELETED"
)
_NOTHING: Final = pl.lit(None, pl.String)
_GONE: Final = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"})
_ID: Final = r"^[A-Za-z0-9]{18}$"
_REFUSAL: Final = ("code", "fields", "said")


def write(session: SalesforceSession, sobject: SObject, frame: pl.DataFrame, *, key: str) -> pl.DataFrame:
    """A result (``RESULT_SCHEMA``) per row. Raises Unavailable where the fate of some stays unknown.

    Created is what was not there when this call first looked; unchanged is what did not have to be sent."""
    fields = _fields(sobject, frame, key)
    rows = wire(frame, sobject.schema, fields).select(pl.col(key).cast(pl.String).alias("key"), *fields)
    rows = rows.with_columns(_NOTHING.alias(name) for name in _REFUSAL)
    ways = _Ways(session, sobject, key, fields)
    results, rows = _clashes(sobject, _by_parent(sobject, rows, fields), key)
    settled = [results]
    existed = pl.Series(dtype=pl.String)
    for number in range(len(WAITS)):
        if rows.is_empty():
            break
        pause(session, number, rows["code"])
        held = ways.held(rows["key"])
        if number == 0:
            existed = held["key"].unique()
        found, rows = ways.sorted_out(rows, held, existed, is_first=number == 0)
        sent, rows = ways.sent(rows, existed, number)
        settled += [found, sent]
    return pl.concat([*settled, _given_up(sobject, rows)])


@dataclass(frozen=True, slots=True)
class _Ways:
    """The steps of a round. Rows have ``key``, the fields in the wire notation, and the refusal they had from the
    round before (``code``, ``fields``, ``said``; null where there was no answer)."""

    session: SalesforceSession
    sobject: SObject
    key: str
    names: Sequence[str]

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
            self._is_sent(name).alias(_sent(name)) for name in self.names
        )
        is_there = pl.col("target_id").is_not_null()
        differs = pl.any_horizontal(pl.lit(value=False), *(pl.col(_sent(name)) for name in self.names))
        fixed = [name for name in self.names if name not in self.sobject.updateable]
        stuck = is_there & pl.any_horizontal(pl.lit(value=False), *(pl.col(_sent(name)) for name in fixed))
        # Refused for a value that is taken, and yet nobody has the key: another record has the value.
        taken = ~is_there & pl.col("code").is_in(_TAKEN).fill_null(value=False)
        ours = pl.lit(not is_first) & pl.col("code").is_null()
        landed = pl.when(~ours).then(pl.lit(Outcome.UNCHANGED)).when(pl.col("key").is_in(existed.implode())).then(
            pl.lit(Outcome.UPDATED)
        ).otherwise(pl.lit(Outcome.CREATED))  # fmt: skip
        results = pl.concat(
            [
                _several(twins, self.sobject, self.key),
                _landed(looked.filter(is_there & ~differs), landed),
                _fixed(looked.filter(stuck), fixed),
                _rejected(looked.filter(taken)),
            ]
        )
        return results, looked.filter(~taken & ~stuck & (~is_there | differs))

    def _is_sent(self, name: str) -> pl.Expr:
        """Whether a row carries the field: a known record what differs, a new one all; a blank never where the
        platform knows no blank (it keeps its default)."""
        info = self.sobject.schema.field(name)
        differs = comparable(info, pl.col(name)).ne_missing(comparable(info, pl.col(f"{name}·held")))
        possible = pl.col(name).is_not_null() | pl.lit(name not in self.sobject.mandatory)
        return possible & (pl.col("target_id").is_null() | differs)

    def sent(self, rows: pl.DataFrame, existed: pl.Series, number: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Send the rows; results of those that were written or refused for good, and the rows still open."""
        is_new = rows["target_id"].is_null()
        answers = pl.concat(
            [
                self._carried(rows.filter(is_new), Operation.UPSERT, number),
                self._carried(rows.filter(~is_new), Operation.UPDATE, number),
            ]
        )
        told = rows.drop(*_REFUSAL).join(answers, on="key", how="left", suffix="·told")
        is_new_one = pl.col("target_id").is_null()
        again = pl.col("code").is_in(AGAIN_CODES) | pl.when(is_new_one).then(pl.col("code").is_in(_TAKEN)).otherwise(
            pl.col("code") == "ENTITY_IS_DELETED"
        )
        done = pl.col("target_id·told").is_not_null()
        is_ours = is_new_one | ~pl.col("key").is_in(existed.implode())
        outcome = pl.when(is_ours).then(pl.lit(Outcome.CREATED)).otherwise(pl.lit(Outcome.UPDATED))
        landed = told.filter(done).with_columns(pl.col("target_id·told").alias("target_id"), outcome.alias("·outcome"))
        refused = told.filter(~done & pl.col("code").is_not_null() & ~again)
        open_rows = told.filter(~done & (pl.col("code").is_null() | again))
        return (
            pl.concat([_landed(landed, pl.col("·outcome")), _rejected(refused)]),
            open_rows.select("key", *self.names, *_REFUSAL),
        )

    def _carried(self, rows: pl.DataFrame, operation: Operation, number: int) -> pl.DataFrame:
        """Answers by ``key``."""
        by_key = operation is Operation.UPSERT
        ref = "key" if by_key else "target_id"
        sending = Sending(
            self.sobject,
            operation,
            self.key if by_key else "Id",
            rows[ref],
            rows.select(self.names),
            rows.select(pl.col(_sent(name)).alias(name) for name in self.names),
        )
        answers = carry(self.session, sending, number=number, refusals=rows["code"]) if rows.height else no_answers()
        named = rows.select("key", pl.col(ref).alias("ref")).join(answers, on="ref")
        return named.select("key", pl.col("target_id").alias("target_id·told"), *_REFUSAL)


def delete(session: SalesforceSession, sobject: SObject, target_ids: Sequence[str]) -> pl.DataFrame:
    """A result per id: deleted what was there, unchanged what was gone or never was an id."""
    keys = pl.Series("key", target_ids, dtype=pl.String).unique(maintain_order=True)
    rows = pl.DataFrame([keys, long_ids(keys).alias("target_id")])
    rows = rows.with_columns(_NOTHING.alias(name) for name in _REFUSAL)
    is_id = pl.col("target_id").str.contains(_ID)
    settled = [_landed(rows.filter(~is_id), pl.lit(Outcome.UNCHANGED))]
    rows = rows.filter(is_id)
    existed = lookup.existing(session, sobject, rows["target_id"].to_list())
    gone = (
        pl.when(pl.col("target_id").is_in(existed.implode()))
        .then(pl.lit(Outcome.DELETED))
        .otherwise(pl.lit(Outcome.UNCHANGED))
    )
    for number in range(len(WAITS)):
        if number and rows.height:
            pause(session, number, rows["code"])
            left = lookup.existing(session, sobject, rows["target_id"].to_list())
            settled.append(_landed(rows.filter(~pl.col("target_id").is_in(left.implode())), gone))
            rows = rows.filter(pl.col("target_id").is_in(left.implode()))
        if rows.is_empty():
            break
        told = rows.drop(*_REFUSAL).join(_deletion(session, sobject, rows, number), on="target_id", how="left")
        is_gone = (pl.col("is_done") | pl.col("code").is_in(_GONE)).fill_null(value=False)
        again = pl.col("code").is_null() | pl.col("code").is_in(AGAIN_CODES)
        settled += [_landed(told.filter(is_gone), gone), _rejected(told.filter(~is_gone & ~again))]
        rows = told.filter(~is_gone & again).drop("is_done")
    return pl.concat([*settled, _given_up(sobject, rows)])


def _deletion(session: SalesforceSession, sobject: SObject, rows: pl.DataFrame, number: int) -> pl.DataFrame:
    """Answers by ``target_id``, with ``is_done``."""
    ids = rows["target_id"].unique(maintain_order=True)
    nothing = pl.DataFrame()
    sending = Sending(sobject, Operation.DELETE, "Id", ids, nothing, nothing)
    answers = carry(session, sending, number=number, refusals=rows["code"])
    return answers.select(pl.col("ref").alias("target_id"), pl.col("code").is_null().alias("is_done"), *_REFUSAL)


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


def _clashes(sobject: SObject, rows: pl.DataFrame, key: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Refusals of rows whose keys the org takes for the same, and the other rows: neither of two may win."""
    clash = lookup.folded(sobject, key, rows["key"]).is_duplicated()
    clashing = rows.filter(clash)
    message = pl.format(
        "Several records come with the key “{}”, which {} does not tell apart. Make the keys differ by more than "
        "capitals.",
        "key",
        pl.lit(f"{sobject.schema.entity.name}.{key}"),
    )
    return _results(clashing, code="DUPLICATE_EXTERNAL_ID", fields=pl.lit(key), message=message), rows.filter(~clash)


def _several(twins: pl.DataFrame, sobject: SObject, key: str) -> pl.DataFrame:
    message = pl.format(
        "Several {} of the org have the {} “{}”: {}. Leave the key on one of them only.",
        pl.lit(sobject.schema.entity.label),
        pl.lit(key),
        "key",
        "target_id",
    )
    return _results(twins, code="DUPLICATE_EXTERNAL_ID", fields=pl.lit(key), message=message)


def _fixed(rows: pl.DataFrame, fixed: Sequence[str]) -> pl.DataFrame:
    """Refusals of known records that differ in fields which are set on creation only."""
    named = [pl.when(pl.col(_sent(name))).then(pl.lit(name)) for name in fixed]
    fields = pl.concat_str(named, separator=",", ignore_nulls=True) if named else pl.lit("")
    message = pl.format(
        "The record in the org has another value in {}, which is set on creation only. Leave the field out of the "
        "mapping, or delete the record there and load it again.",
        fields,
    )
    return _results(rows, code="FIELD_NOT_UPDATABLE", fields=fields, message=message)


def _landed(rows: pl.DataFrame, outcome: pl.Expr) -> pl.DataFrame:
    return rows.select(
        "key",
        "target_id",
        outcome.cast(pl.String).alias("outcome"),
        *(_NOTHING.alias(name) for name in ("code", "fields", "message")),
    )


def _rejected(rows: pl.DataFrame) -> pl.DataFrame:
    """Refusals in Salesforce's words and ours."""
    told = [sentence(code, said or "") for code, said in rows.select("code", "said").iter_rows()]
    message = pl.lit(pl.Series(told, dtype=pl.String))
    return _results(rows, code=pl.col("code"), fields=pl.col("fields"), message=message)


def _results(rows: pl.DataFrame, *, code: pl.Expr | str, fields: pl.Expr, message: pl.Expr) -> pl.DataFrame:
    return rows.select(
        "key",
        _NOTHING.alias("target_id"),
        pl.lit(Outcome.REJECTED).cast(pl.String).alias("outcome"),
        (pl.lit(code) if isinstance(code, str) else code).alias("code"),
        fields.cast(pl.String).alias("fields"),
        message.alias("message"),
    )


def _given_up(sobject: SObject, rows: pl.DataFrame) -> pl.DataFrame:
    """Refusals of what is open after the last round; raises Unavailable where Salesforce never answered."""
    silent = rows.filter(pl.col("code").is_null())
    if silent.height:
        raise Unavailable(
            f"Salesforce told nothing about {silent.height} records of {sobject.schema.entity.name}, among them "
            f"{silent['key'][0]}. They are looked for before anything is sent again."
        )
    return _rejected(rows)


def _sent(name: str) -> str:
    return f"{name}·sent"
