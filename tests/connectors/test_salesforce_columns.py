"""Values into Salesforce's notation and back, and what its refusals mean."""

import csv
import io
import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simple_salesforce.format import format_soql

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_columns import csv_cells, json_records, long_ids, typed, wire
from connectors.clients.salesforce_errors import CODES
from connectors.clients.salesforce_refusals import REFUSALS, Class, refusal, sentence
from connectors.errors import ContractChanged
from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType
from sandbox.salesforce import ids

SHEET = Path(__file__).resolve().parents[2].parent / "shared" / "platforms" / "salesforce.md"

KINDS = {
    "T": FieldType.TEXT,
    "B": FieldType.BOOLEAN,
    "I": FieldType.INTEGER,
    "N": FieldType.DECIMAL,
    "D": FieldType.DATE,
    "S": FieldType.DATETIME,
    "C": FieldType.TIME,
    "M": FieldType.MULTIPICKLIST,
    "R": FieldType.REFERENCE,
}
SCHEMA = EntitySchema(
    EntityInfo("Thing__c", "Thing", "Id"), tuple(FieldInfo(name, kind) for name, kind in KINDS.items())
)

VALUES = pl.DataFrame(
    {
        "T": ['a "b"\n', "", None],
        "B": [True, False, None],
        "I": [9_007_199_254_740_993, -1, None],
        "N": [Decimal("12345678901234.50"), Decimal("-0.01"), None],
        "D": [date(2026, 2, 28), date(1, 1, 1), None],
        "S": [datetime(2026, 3, 29, 1, 30, 0, 999_999, UTC), datetime(1969, 12, 31, 23, 59, 59, 1, UTC), None],
        "C": [time(23, 59, 59), time(0), None],
        "M": ["b;a", "a", None],
        "R": ["001000000000001", "001000000000001AAA", None],
    },
    schema_overrides={"N": pl.Decimal(18, 2), "S": pl.Datetime("us", "UTC")},
)  # fmt: skip


def test_values_become_the_wire_notation() -> None:
    assert wire(VALUES, SCHEMA, VALUES.columns).rows() == [
        ('a "b"\n', "true", "9007199254740993", "12345678901234.5", "2026-02-28", "2026-03-29T01:30:00.000Z",
         "23:59:59.000Z", "b;a", "001000000000001AAA"),
        (None, "false", "-1", "-0.01", "0001-01-01", "1969-12-31T23:59:59.000Z", "00:00:00.000Z", "a",
         "001000000000001AAA"),
        (None,) * 9,
    ]  # fmt: skip


def test_what_is_sent_reads_back_as_itself() -> None:
    sent = wire(VALUES, SCHEMA, VALUES.columns)
    assert wire(typed(sent, SCHEMA, sent.columns), SCHEMA, sent.columns).equals(sent)


def test_both_notations_of_the_platform_are_read() -> None:
    text = pl.DataFrame(
        {"S": ["2026-11-20T08:00:00.000+0000", "2026-11-20T08:00:00Z"], "C": ["08:30:00.000Z", "08:30:00Z"]}
    )
    found = typed(text, SCHEMA, ["S", "C"])
    assert found["S"].to_list() == [datetime(2026, 11, 20, 8, tzinfo=UTC)] * 2
    assert found["C"].to_list() == [time(8, 30)] * 2


@pytest.mark.parametrize(
    ("name", "text"), [("N", "12,5"), ("D", "20.11.2026"), ("S", "now"), ("B", "yes"), ("I", "1.5")]
)
def test_a_text_that_is_no_value_of_the_field_is_told(name: str, text: str) -> None:
    with pytest.raises(ContractChanged, match=f"{re.escape(text)}.*Thing__c.{name}"):
        typed(pl.DataFrame({name: [None, text]}), SCHEMA, [name])


def test_json_carries_numbers_exactly_and_leaves_out_what_is_not_sent() -> None:
    values = wire(VALUES.select("T", "B", "N"), SCHEMA, ["T", "B", "N"])
    sent = pl.DataFrame({"T": [True, False, True], "B": [True, True, False], "N": [True, True, True]})
    text = orjson.dumps(json_records(values, sent, SCHEMA)).decode()
    assert json.loads(text, parse_float=Decimal) == [
        {"T": 'a "b"\n', "B": True, "N": Decimal("12345678901234.5")},
        {"B": False, "N": Decimal("-0.01")},
        {"T": None, "N": None},
    ]


@given(st.lists(st.tuples(st.none() | st.text(), st.booleans()), min_size=1))
def test_csv_tells_blank_from_left_alone(cells: list[tuple[str | None, bool]]) -> None:
    texts = [None if text is None else text.replace("\r", "").replace("\0", "") or None for text, _ in cells]
    values = pl.DataFrame({"T": texts}, schema={"T": pl.String})
    file = csv_cells(values, pl.DataFrame({"T": [sent for _, sent in cells]})).write_csv(quote_style="always")
    read = [row["T"] for row in csv.DictReader(io.StringIO(file, newline=""))]
    expected = [
        ("#N/A" if text is None else text) if sent else "" for text, (_, sent) in zip(texts, cells, strict=True)
    ]
    assert read == expected


@given(st.lists(st.from_regex(r"[A-Za-z0-9]{15}", fullmatch=True), min_size=1))
def test_short_ids_become_long_ones_as_the_platform_makes_them(short: list[str]) -> None:
    assert long_ids(pl.Series(short)).to_list() == [ids.normalised(one) for one in short]


def test_what_is_no_short_id_stays_as_it_is() -> None:
    assert long_ids(pl.Series(["001000000000001AAA", "x", None, "00100000000000!"])).to_list() == [
        "001000000000001AAA", "x", None, "00100000000000!"
    ]  # fmt: skip


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_third_party_quotes_beginnings_the_same(prefix: str) -> None:
    assert soql.begins_with("Ext__c", prefix) == format_soql("Ext__c LIKE '{:like}%'", prefix)


def test_conditions_on_keys() -> None:
    assert soql.among("Ext__c", ["a'b", "c"]) == "Ext__c IN ('a\\'b','c')"
    assert soql.among("Number__c", [Decimal(1), Decimal("2.5")]) == "Number__c IN (1,2.5)"
    assert soql.begins_with("Ext__c", "") == "Ext__c != null"


def test_every_code_of_the_fact_sheet_is_known() -> None:
    if not SHEET.is_file():
        pytest.skip(f"the fact sheet is not here ({SHEET})")
    table = SHEET.read_text().partition("| class | codes | action |")[2].partition("\n\n")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.count("|") >= 4]
    codes = {
        code
        for row in rows
        for code in re.findall(r"\b(?:[A-Z]+(?:_[A-Z]+)+|INVALIDENTITY|ExceededQuota|FeatureNotEnabled)\b", row)
    }
    assert len(codes) > 60
    assert codes - REFUSALS.keys() == set()


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_refusal_says_what_happened_and_what_to_do(code: str) -> None:
    found = refusal(code)
    assert found.what.endswith(".")
    assert found.advice.endswith(".")
    assert found.what != found.advice
    assert sentence(code, " in\ntheir  words ") == f"{found.what} Salesforce says: “in their words”. {found.advice}"


def test_an_unknown_code_is_the_records_own_trouble() -> None:
    assert refusal("SOMETHING_NEW").kind is Class.LOGIC
    assert "“SOMETHING_NEW”" in sentence("SOMETHING_NEW", "")


def test_what_throttles_a_record_throttles_a_request() -> None:
    waits = {code for code, found in REFUSALS.items() if found.kind is Class.THROTTLE}
    assert waits <= CODES.keys()
