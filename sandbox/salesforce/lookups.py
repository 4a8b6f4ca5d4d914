"""Finding stored records for a whole column of values at once: by id, by an external id, by a unique value."""

import sqlite3
from collections.abc import Iterable

import orjson
import polars as pl

from sandbox.salesforce.schema import Field, SObject

Connection = sqlite3.Connection


def existing(connection: Connection, subject: SObject, record_ids: pl.Series) -> pl.DataFrame:
    """``id`` and ``deleted`` of those records of the object that ever were."""
    sql = (
        f'SELECT t."Id", t."IsDeleted" FROM json_each(?) AS k CROSS JOIN "{subject.name}" AS t '  # noqa: S608 - a schema name
        'WHERE t."Id" = k.value'
    )
    found = connection.execute(sql, (as_array(record_ids),)).fetchall()
    return pl.DataFrame(found, {"id": pl.String, "deleted": pl.Int64}, orient="row").with_columns(
        deleted=pl.col("deleted") == 1
    )


def by_value(connection: Connection, subject: SObject, field: Field, values: pl.Series) -> pl.DataFrame:
    """``value`` (as asked) and ``id`` of the records, none of them deleted, whose ``field`` has one of the values.

    Text compares without regard to case unless the field says otherwise. To be called while writing: an index for the
    field is made where there is none.
    """
    connection.execute(f'CREATE INDEX IF NOT EXISTS "{subject.name} {field.name}" ON "{subject.name}" ("{field.name}")')
    sql = (
        f'SELECT k.value, t."Id" FROM json_each(?) AS k CROSS JOIN "{subject.name}" AS t '  # noqa: S608 - schema names
        f'WHERE t."{field.name}" = k.value AND t."IsDeleted" = 0 ORDER BY t."Id"'
    )
    found = connection.execute(sql, (as_array(values),)).fetchall()
    return pl.DataFrame(found, {"value": values.dtype, "id": pl.String}, orient="row")


def fetched(connection: Connection, subject: SObject, record_ids: pl.Series, names: Iterable[str]) -> pl.DataFrame:
    """Stored values of the named fields, a row for each of ``record_ids`` (all null where there is no record)."""
    wanted = [subject.field(name) for name in dict.fromkeys(names)]
    fields = [each for each in wanted if each is not None and each.name != "Id"]
    columns = "".join(f', t."{each.name}"' for each in fields)
    sql = f'SELECT t."Id"{columns} FROM json_each(?) AS k CROSS JOIN "{subject.name}" AS t WHERE t."Id" = k.value'  # noqa: S608 - schema names
    found = connection.execute(sql, (as_array(record_ids),)).fetchall()
    types: dict[str, type[pl.DataType]] = {"Id": pl.String, **{each.name: stored_type(each) for each in fields}}
    known = pl.DataFrame(found, types, orient="row", infer_schema_length=None)
    return record_ids.alias("Id").to_frame().join(known, on="Id", how="left", maintain_order="left")


def stored_type(field: Field) -> type[pl.DataType]:
    if field.type in ("int", "boolean"):
        return pl.Int64
    return pl.Float64 if field.type in ("double", "currency", "percent") else pl.String


def folded(field: Field, values: pl.Series) -> pl.Series:
    """Values as the platform compares them for being the same."""
    return values if values.dtype != pl.String or field.case_sensitive else values.str.to_lowercase()


def as_array(values: pl.Series) -> str:
    """Values, each once and in order (so that an index is walked, not jumped about in), for ``json_each``."""
    return orjson.dumps(values.drop_nulls().unique().sort().to_list()).decode()
