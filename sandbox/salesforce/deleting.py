"""Deleting records: into the bin, with their details, as the relationships to them say; or for good."""

from dataclasses import dataclass

import polars as pl

from sandbox.salesforce import lookups, person_accounts
from sandbox.salesforce.convert import ID, normalised
from sandbox.salesforce.rows import Outcome, Rows
from sandbox.salesforce.schema import Field, SObject
from sandbox.salesforce.store import now
from sandbox.salesforce.writing import Writer

Connection = lookups.Connection


@dataclass(frozen=True)
class Deleter:
    writer: Writer

    def delete(self, subject: SObject, sent: pl.Series, *, hard: bool = False, holder: str = "") -> Outcome:
        """Delete records of one object; each row's id comes back whether or not it went."""
        rows = Rows(len(sent), {})
        rows.fail(sent.is_null(), "MISSING_ARGUMENT", "Id not specified in a delete call", ("Id",))
        message = pl.select(pl.concat_str(pl.lit("malformed id "), sent.fill_null(""))).to_series()
        rows.fail(~sent.str.contains(ID), "MALFORMED_ID", message, ("Id",))
        record_ids = normalised(sent)
        with self.writer.store.write() as connection:
            self.check(connection, subject, record_ids, rows, hard=hard, holder=holder)
            gone = record_ids.filter(rows.good).unique(maintain_order=True)
            if len(gone):
                self.remove(connection, subject, gone, hard=hard)
        return Outcome(record_ids.fill_null("").to_list(), [False] * len(sent), rows.errors)

    def check(
        self, connection: Connection, subject: SObject, record_ids: pl.Series, rows: Rows, *, hard: bool, holder: str
    ) -> None:
        known = lookups.existing(connection, subject, record_ids)
        unknown = ~record_ids.is_in(known["id"].to_list())
        rows.fail(unknown, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if not hard:
            binned = known.filter("deleted")["id"].to_list()
            rows.fail(record_ids.is_in(binned), "ENTITY_IS_DELETED", "entity is deleted")
        self.check_rules(connection, subject, record_ids, rows)
        self.check_restricted(connection, subject, record_ids, rows)
        said = pl.select(
            pl.concat_str(pl.lit("unable to obtain exclusive access to this record or 200 records: "), record_ids)
        ).to_series()
        asked = record_ids.set(~rows.good, None)
        rows.fail(self.writer.automation.locks.refused(asked, holder), "UNABLE_TO_LOCK_ROW", said)

    def check_rules(self, connection: Connection, subject: SObject, record_ids: pl.Series, rows: Rows) -> None:
        for rule in self.writer.automation.of(subject, "delete"):
            stored = lookups.fetched(connection, subject, record_ids, [*rule.formula.fields])
            frame = stored.with_columns(pl.lit(value=False).alias("?new"))
            rows.fail(self.writer.automation.broken(rule, frame), rule.code, rule.message)

    def check_restricted(self, connection: Connection, subject: SObject, record_ids: pl.Series, rows: Rows) -> None:
        for child, field in self.writer.store.schema.children(subject.name):
            if field.restricted_delete and field.stored:
                held = _parents_in_use(connection, child, field, record_ids.filter(rows.good))
                message = (
                    f"Your attempt to delete this {subject.label} could not be completed because it is associated with "
                    f"the following {child.plural}"
                )
                rows.fail(record_ids.is_in(held), "DELETE_FAILED", message)

    def remove(self, connection: Connection, subject: SObject, record_ids: pl.Series, *, hard: bool) -> None:
        """The records, their details with them, and look-ups to them emptied."""
        if person_accounts.is_enabled(subject):
            contact = self.writer.store.schema.require("Contact")
            persons = pl.Series(person_accounts.contacts_of(connection, record_ids.to_list()), dtype=pl.String)
            if len(persons):
                self.remove(connection, contact, persons, hard=hard)
        for child, field in self.writer.store.schema.children(subject.name):
            if not field.stored or child.prefix is None:
                continue
            if field.cascade_delete:
                details = _children(connection, child, field, record_ids)
                if len(details):
                    self.remove(connection, child, details, hard=hard)
            elif field.nillable:
                sql = f'UPDATE "{child.name}" SET "{field.name}" = NULL WHERE "{field.name}" IN (SELECT value FROM json_each(?)) AND "IsDeleted" = 0'  # noqa: S608, E501 - schema names
                connection.execute(sql, (lookups.as_array(record_ids),))
        if hard:
            sql = f'DELETE FROM "{subject.name}" WHERE "Id" IN (SELECT value FROM json_each(?))'  # noqa: S608 - a schema name
        else:
            moment = now()
            stamp = f", \"SystemModstamp\" = '{moment}'" if subject.field("SystemModstamp") else ""
            sql = f'UPDATE "{subject.name}" SET "IsDeleted" = 1, "_DeletedAt" = \'{moment}\'{stamp} WHERE "Id" IN (SELECT value FROM json_each(?)) AND "IsDeleted" = 0'  # noqa: S608, E501 - a schema name and our own stamps
        connection.execute(sql, (lookups.as_array(record_ids),))


def _children(connection: Connection, child: SObject, field: Field, parents: pl.Series) -> pl.Series:
    sql = (
        f'SELECT "Id" FROM "{child.name}" WHERE "{field.name}" IN (SELECT value FROM json_each(?)) AND "IsDeleted" = 0'  # noqa: S608 - schema names
    )
    found = connection.execute(sql, (lookups.as_array(parents),)).fetchall()
    return pl.Series([row[0] for row in found], dtype=pl.String)


def _parents_in_use(connection: Connection, child: SObject, field: Field, parents: pl.Series) -> list[str]:
    sql = f'SELECT DISTINCT "{field.name}" FROM "{child.name}" WHERE "{field.name}" IN (SELECT value FROM json_each(?)) AND "IsDeleted" = 0'  # noqa: S608, E501 - schema names
    return [row[0] for row in connection.execute(sql, (lookups.as_array(parents),))]
