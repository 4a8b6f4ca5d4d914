"""Which records of an org carry given keys: few by one query, many by several queries in one request.

Not by Bulk: a job takes four calls and a wait for two thousand keys, and a composite request one call for ten thousand.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

import polars as pl

from connectors.clients import salesforce_composite
from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_columns import long_ids, typed
from connectors.clients.salesforce_composite import QUERIES_AT_ONCE
from connectors.clients.salesforce_query import PAGE_SIZE, VALUES, SalesforceQuery
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import SettingsInvalid
from connectors.types import FieldInfo, FieldType
from connectors.values import empty_frame, plain_number

LONGEST_ADDRESS: Final = 12_000  # bytes, quoted; address and headers together may have 16,384
LONGEST_STATEMENT: Final = 90_000  # characters; SOQL may have 100,000

_NUMBERS: Final = frozenset({FieldType.INTEGER, FieldType.DECIMAL})


def find(
    session: SalesforceSession, sobject: SObject, *, key: str, keys: Sequence[str], fields: Sequence[str]
) -> pl.DataFrame:
    """``target_id``, ``key`` and then ``fields``, typed, of the records whose field ``key`` is among ``keys``.

    A key is spelled as it was asked for, whatever case the org keeps it in; a key that several records carry
    comes several times. Raises SettingsInvalid for a field the object does not have."""
    info = _key_field(sobject, key)
    wanted = [name for name in dict.fromkeys(fields) if name not in ("Id", key)]
    asked = pl.DataFrame({"key": pl.Series(keys, dtype=pl.String).unique(maintain_order=True)})
    asked = asked.with_columns(_folded(sobject, info, pl.col("key")).alias("·folded"))
    columns = list(dict.fromkeys(["Id", key, *wanted]))
    pages = list(_pages(session, sobject, columns, info, asked["key"].to_list()))
    rows = pl.concat([empty_frame(columns), *pages]).with_columns(_folded(sobject, info, pl.col(key)).alias("·folded"))
    found = typed(rows, sobject.schema, [name for name in columns if name != "Id"])
    return found.join(asked, on="·folded", how="inner").select(pl.col("Id").alias("target_id"), "key", *fields)


def folded(sobject: SObject, key: str, keys: pl.Series) -> pl.Series:
    """The keys such that two the org takes for the same are equal."""
    name = keys.name
    return keys.to_frame().select(_folded(sobject, _key_field(sobject, key), pl.col(name))).to_series()


def existing(session: SalesforceSession, sobject: SObject, ids: Sequence[str]) -> pl.Series:
    """Those of the record ids that are in the org and not in its bin, in their long form."""
    return find(session, sobject, key="Id", keys=long_ids(pl.Series(ids, dtype=pl.String)).to_list(), fields=())[
        "target_id"
    ]


def count(session: SalesforceSession, sobject: SObject, *, key: str, prefix: str) -> int | None:
    """How many records have a ``key`` that begins with ``prefix``; None where the field knows no beginnings."""
    info = _key_field(sobject, key)
    if prefix and info.type is not FieldType.TEXT:
        return None
    return SalesforceQuery(session, sobject.schema, ["Id"], [soql.begins_with(key, prefix)]).count()


def keys(session: SalesforceSession, sobject: SObject, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
    """The values of ``key`` that ``count`` counts, page by page; None where the field knows no beginnings."""
    info = _key_field(sobject, key)
    if prefix and info.type is not FieldType.TEXT:
        return None
    query = SalesforceQuery(session, sobject.schema, [key], [soql.begins_with(key, prefix)])
    return (page.frame[key] for page in query.rest_pages(None))


def _key_field(sobject: SObject, key: str) -> FieldInfo:
    if key not in sobject.schema.names:
        entity = sobject.schema.entity.name
        raise SettingsInvalid(f"The object {entity} has no readable field {key} to match records by. Correct the key.")
    return sobject.schema.field(key)


def _folded(sobject: SObject, info: FieldInfo, text: pl.Expr) -> pl.Expr:
    if info.type in _NUMBERS:
        return plain_number(text)
    if info.name == "Id" or info.type is FieldType.REFERENCE:
        return text.map_batches(long_ids, return_dtype=pl.String)
    return text if info.name in sobject.case_sensitive else text.str.to_lowercase()


def _pages(
    session: SalesforceSession, sobject: SObject, columns: list[str], info: FieldInfo, keys: list[str]
) -> Iterator[pl.DataFrame]:
    literals: list[soql.Value] = [text for key in keys if (text := _literal(info, key)) is not None]
    room = LONGEST_STATEMENT - len(soql.select(columns, sobject.schema.entity.name))
    most = min(PAGE_SIZE, max(1, VALUES // QUERIES_AT_ONCE // len(columns)))
    queries = [
        SalesforceQuery(session, sobject.schema, columns, [soql.among(info.name, part)])
        for part in _parts(literals, room, most)
    ]
    if len(queries) == 1 and len(queries[0].address) <= LONGEST_ADDRESS:
        return (page.frame for page in queries[0].rest_pages(None))
    return salesforce_composite.frames(session, queries)


def _literal(info: FieldInfo, key: str) -> soql.Value:
    """None where no value of the field's type is spelled like this."""
    if info.type not in _NUMBERS:
        return key
    return Decimal(key) if key.removeprefix("-").replace(".", "", 1).isdecimal() else None


def _parts(values: Sequence[soql.Value], room: int, most: int) -> Iterator[list[soql.Value]]:
    """The values in parts of at most ``most`` whose literals fit into ``room``, commas included; a part has at least
    one."""
    part: list[soql.Value] = []
    left = room
    for value in values:
        needed = len(soql.quoted(value)) + 1
        if part and (needed > left or len(part) == most):
            yield part
            part, left = [], room
        part.append(value)
        left -= needed
    if part:
        yield part
