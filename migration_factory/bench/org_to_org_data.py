"""The records that go from org to org, the objects they are of, and the check that all of them arrived."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import polars as pl
from polars.testing import assert_frame_equal

from migration_factory.bench.engine import BenchFailed
from sandbox.salesforce.running import Running

API_VERSION = "60.0"
CODE = "Code__c"
"""The business key: filled in the source, unique, an external id; what SFDMU matches records by."""
OUR_KEY = "External_Id__c"
"""Blank in the source; where the product keeps its own key in the target."""
ROWS_PER_REQUEST = 2_000
SMALLEST = 20

_DEPOTS = ("Hamburg Süd", "Rotterdam, Maasvlakte", "Gdańsk", "New York", "São Paulo", 'Osaka "2"', "Leeds")
_GRADES = ("A", "B", "C", None)
_NOTES = ("Works nights", None, "Prefers early shifts,\nnever Sundays", "Has a “forklift” licence", None)


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: its fields as metadata (beside the keys), the object it points at through each look-up, and its
    share of all records in twentieths."""

    name: str
    fields: Sequence[Mapping[str, object]]
    parents: Mapping[str, str]
    share: int

    @property
    def columns(self) -> tuple[str, ...]:
        """What is copied as it is: everything but the look-ups and the product's own key."""
        return ("Name", CODE, *(str(each["fullName"]) for each in self.fields))


def _text(name: str, length: int = 80) -> dict[str, object]:
    return {"fullName": name, "label": name.removesuffix("__c"), "type": "Text", "length": length}


def _number(name: str, scale: int) -> dict[str, object]:
    return {"fullName": name, "label": name.removesuffix("__c"), "type": "Number", "precision": 12, "scale": scale}


def _plain(name: str, kind: str) -> dict[str, object]:
    extra = {"defaultValue": "false"} if kind == "Checkbox" else {}
    return {"fullName": name, "label": name.removesuffix("__c"), "type": kind, **extra}


THINGS = (
    Thing("Depot__c", (_text("City__c"), _number("Budget__c", 2)), {}, 1),
    Thing(
        "Worker__c",
        (_text("Grade__c"), _text("Note__c", 255), _number("Rate__c", 2), _plain("Hired__c", "Date"),
         _plain("Active__c", "Checkbox")),
        {"Depot__c": "Depot__c"},
        7,
    ),
    Thing(
        "Shift__c",
        (_plain("Day__c", "Date"), _number("Hours__c", 2), _number("Break__c", 0), _text("Note__c", 255)),
        {"Worker__c": "Worker__c", "Depot__c": "Depot__c"},
        12,
    ),
)  # fmt: skip
"""Parents first."""


def counts(records: int) -> dict[str, int]:
    """How many of each object make up so many records. Raises BenchFailed for fewer than ``SMALLEST``."""
    if records < SMALLEST:
        raise BenchFailed(f"Org to org is measured with {SMALLEST} records or more.")
    found = {thing.name: records * thing.share // 20 for thing in THINGS}
    last = THINGS[-1].name
    return {**found, last: found[last] + records - sum(found.values())}


def frames(records: int) -> dict[str, pl.DataFrame]:
    """The records by object, ``columns`` and one column ``<look-up>.Code__c`` for each parent; always the same."""
    sizes = counts(records)
    return {thing.name: _frame(thing, sizes) for thing in THINGS}


def _frame(thing: Thing, sizes: Mapping[str, int]) -> pl.DataFrame:
    n = pl.col("n")
    day = (pl.date(2015, 1, 1) + pl.duration(days=n * 37 % 3_600)).dt.to_string("%Y-%m-%d")
    values = {
        "City__c": _pick(_DEPOTS, 5),
        "Budget__c": (n * 7_919 % 1_000_000) / 4,
        "Grade__c": _pick(_GRADES, 3),
        "Note__c": _pick(_NOTES, 11),
        "Rate__c": (n * 104_729 % 20_000) / 4,
        "Hired__c": day,
        "Active__c": n % 3 == 0,
        "Day__c": day,
        "Hours__c": (n % 48) / 4,
        "Break__c": (n % 5 * 15).cast(pl.Float64),
    }
    stem = thing.name.removesuffix("__c")
    own = [values[column].alias(column) for column in thing.columns[2:]]
    parents = [
        pl.format(parent.removesuffix("__c") + "-{}", n * 2_654_435_761 % sizes[parent]).alias(f"{field}.{CODE}")
        for field, parent in thing.parents.items()
    ]
    named = (pl.format(stem + " {}", n).alias("Name"), pl.format(stem + "-{}", n).alias(CODE))
    return pl.DataFrame({"n": range(sizes[thing.name])}, schema={"n": pl.Int64}).select(*named, *own, *parents)


def _pick(values: Sequence[str | None], salt: int) -> pl.Expr:
    return pl.lit(pl.Series(values, dtype=pl.String)).gather(pl.col("n") * salt % len(values))


def define(org: Running) -> None:
    """Give the org the objects."""
    for thing in THINGS:
        org.control.define(_metadata(thing))


def _metadata(thing: Thing) -> dict[str, object]:
    keys = [{**_text(name), "externalId": True, "unique": True} for name in (CODE, OUR_KEY)]
    lookups = [
        {
            "fullName": field,
            "label": field.removesuffix("__c"),
            "type": "Lookup",
            "referenceTo": parent,
            "relationshipName": f"{thing.name.removesuffix('__c')}s",
        }
        for field, parent in thing.parents.items()
    ]
    return {
        "fullName": thing.name,
        "label": thing.name.removesuffix("__c"),
        "nameField": {"type": "Text", "label": "Name"},
        "fields": [*keys, *thing.fields, *lookups],
    }


def fill(org: Running, records: int) -> None:
    """Put the records into the org, by the simulator's own door: it is not counted as calls."""
    ids: dict[str, dict[str, str]] = {}
    for thing, frame in zip(THINGS, frames(records).values(), strict=True):
        pointed = frame.with_columns(
            pl.col(f"{field}.{CODE}").replace_strict(ids[parent]).alias(field)
            for field, parent in thing.parents.items()
        ).drop(f"{field}.{CODE}" for field in thing.parents)
        made = [
            each
            for part in pointed.iter_slices(ROWS_PER_REQUEST)
            for each in org.control.upsert(thing.name, part.to_dicts())
        ]
        ids[thing.name] = dict(zip(frame[CODE], made, strict=True))


def check(org: Running, records: int) -> None:
    """Read every record with its parents' keys by SOQL. Raises BenchFailed where anything is not as in the source."""
    for thing, expected in zip(THINGS, frames(records).values(), strict=True):
        found = pl.DataFrame(list(_rows(org, thing, expected.columns)), schema=expected.schema, orient="row")
        compare(thing.name, found, expected)


def compare(name: str, found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Raises BenchFailed where the two do not hold the same records, in whatever order."""
    if found.height != expected.height:
        raise BenchFailed(f"The target holds {found.height:,} records of {name}, not {expected.height:,}.")
    try:
        assert_frame_equal(found.sort(CODE), expected.sort(CODE))
    except AssertionError as differing:
        raise BenchFailed(f"{name} is not as in the source: {str(differing)[:400]}") from differing


def _rows(org: Running, thing: Thing, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    with httpx.Client(
        base_url=org.url,
        headers={"Authorization": f"Bearer {org.ready.access_token}"},
        timeout=60,
        trust_env=False,
    ) as http:
        paths = [_path(column) for column in columns]
        select = ", ".join(".".join(path) for path in paths)
        query = f"SELECT {select} FROM {thing.name}"  # noqa: S608 - our own names
        page = _page(http, f"/services/data/v{API_VERSION}/query", {"q": query})
        while True:
            yield from (tuple(_value(row, path) for path in paths) for row in page["records"])
            if page["done"]:
                return
            page = _page(http, page["nextRecordsUrl"], {})


def _path(column: str) -> tuple[str, ...]:
    """``Worker__c.Code__c`` is asked for as ``Worker__r.Code__c``."""
    *lookups, field = column.split(".")
    return (*(each.removesuffix("__c") + "__r" for each in lookups), field)


def _value(row: Any, path: Sequence[str]) -> Any:
    for name in path:
        row = None if row is None else row[name]
    return row


def _page(http: httpx.Client, path: str, query: Mapping[str, str]) -> Any:
    answer = http.get(path, params=query or None)
    if answer.is_error:
        raise BenchFailed(f"The target cannot be read to check what arrived: {answer.text[:400]}")
    return answer.json()
