"""SOQL as clients see it: what it finds, and the vendor's words where it is wrong."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.salesforce import records
from sandbox.salesforce.compile import compile_query
from sandbox.salesforce.errors import ApiError
from sandbox.salesforce.render import json_row
from sandbox.salesforce.soql import parse, utc_text
from sandbox.salesforce.standard import standard_schema
from sandbox.salesforce.store import Store
from tests.sandbox.client import Client

ADMIN = "005Hs0000000001IAA"
ROWS: list[dict[str, Any]] = [
    {"Name": "Alpha", "NumberOfEmployees": 5, "Industry": "Retail", "AnnualRevenue": 10.5},
    {"Name": "beta", "NumberOfEmployees": None, "Industry": None, "AnnualRevenue": 0},
    {"Name": "Gamma_1", "NumberOfEmployees": 12, "Industry": "Mining", "AnnualRevenue": None},
    {"Name": "gam%ma", "NumberOfEmployees": 0, "Industry": "retail", "AnnualRevenue": -3},
    {"Name": 'O\'Brien \\ "Sons"', "NumberOfEmployees": 12, "Industry": "Energy", "AnnualRevenue": 1e9},
]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    made = Store(standard_schema())
    records.insert(made, made.schema.require("Account"), ROWS, ADMIN)
    yield made
    made.close()


def found(store: Store, soql: str) -> list[str]:
    plan = compile_query(parse(soql), store.schema, deleted=False)
    with store.read() as connection:
        sql = f'SELECT t."Name", {json_row(plan, "66.0")} {plan.source}'
        return [row[0] for row in connection.execute(sql, plan.parameters)]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("Name = 'ALPHA'", [0]),
        ("Name LIKE 'gam%'", [2, 3]),
        (r"Name LIKE 'gam\%%'", [3]),
        (r"Name LIKE '%\_1'", [2]),
        (r"Name = 'O\'Brien \\ \"Sons\"'", [4]),
        ("Industry = null", [1]),
        ("Industry != null", [0, 2, 3, 4]),
        ("Industry != 'Retail'", [1, 2, 4]),
        ("Industry IN ('Retail', 'Mining')", [0, 2, 3]),
        ("Industry NOT IN ('Retail', 'Mining')", [1, 4]),
        ("Industry IN ('Energy', null)", [1, 4]),
        ("NOT Industry = 'Retail'", [1, 2, 4]),
        ("NumberOfEmployees > 0", [0, 2, 4]),
        ("NumberOfEmployees <= 5 AND AnnualRevenue < 0", [3]),
        ("(Name = 'beta' OR NumberOfEmployees = 12) AND (NOT Industry = 'Energy')", [1, 2]),
        ("CreatedDate >= 2020-01-01T00:00:00Z", [0, 1, 2, 3, 4]),
        ("CreatedDate < 2020-01-01T00:00:00+02:00", []),
        ("Owner.Name = null", [0, 1, 2, 3, 4]),
        ("IsDeleted = false", [0, 1, 2, 3, 4]),
    ],
)
def test_where_finds(store: Store, condition: str, rows: list[int]) -> None:
    names = found(store, f"SELECT Name FROM Account WHERE {condition} ORDER BY Id")
    assert names == [ROWS[row]["Name"] for row in rows]


def test_nulls_come_first_unless_asked_otherwise(store: Store) -> None:
    first = found(store, "SELECT Name FROM Account ORDER BY NumberOfEmployees DESC, Name")
    last = found(store, "select name from account order by NumberOfEmployees nulls last, Name desc")
    assert first[0] == "beta"
    assert last[-1] == "beta"
    assert first[1:3] == ["Gamma_1", 'O\'Brien \\ "Sons"']


def test_limit_and_offset(store: Store) -> None:
    everything = found(store, "SELECT Name FROM Account ORDER BY Id")
    assert found(store, "SELECT Name FROM Account ORDER BY Id LIMIT 2 OFFSET 1") == everything[1:3]


def test_a_fifteen_character_id_finds_its_record(store: Store) -> None:
    assert len(found(store, "SELECT Name FROM Account WHERE Id = '001Hs0000000001'")) == 1


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left is not None and left < right,
    ">=": lambda left, right: left is not None and left >= right,
}
_comparisons = st.builds(
    lambda operator, value: (
        f"NumberOfEmployees {operator} {value}",
        lambda row: _OPERATORS[operator](row["NumberOfEmployees"], value),
    ),
    st.sampled_from(sorted(_OPERATORS)),
    st.integers(-1, 13),
)
_conditions = st.recursive(
    _comparisons,
    lambda inner: st.one_of(
        st.builds(lambda one: (f"(NOT {one[0]})", lambda row: not one[1](row)), inner),
        st.builds(lambda one, two: (f"({one[0]} AND {two[0]})", lambda row: one[1](row) and two[1](row)), inner, inner),
        st.builds(lambda one, two: (f"({one[0]} OR {two[0]})", lambda row: one[1](row) or two[1](row)), inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(_conditions)
def test_any_logic_finds_what_python_finds(
    store: Store, condition: tuple[str, Callable[[dict[str, Any]], bool]]
) -> None:
    text, holds = condition
    assert found(store, f"SELECT Name FROM Account WHERE {text} ORDER BY Id") == [
        row["Name"] for row in ROWS if holds(row)
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20))
def test_any_text_can_be_looked_for_and_changes_nothing_else(store: Store, text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    known = {row["Name"].lower() for row in ROWS}
    assert (found(store, f"SELECT Name FROM Account WHERE Name = '{escaped}'") != []) == (text.lower() in known)


@pytest.mark.parametrize(
    ("soql", "code", "words"),
    [
        ("SELECT Foo FROM Account", "INVALID_FIELD", "No such column 'Foo' on entity 'Account'. If you are attempting"),
        ("SELECT Id FROM Foo", "INVALID_TYPE", "sObject type 'Foo' is not supported."),
        ("SELECT Id, Id FROM Account", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT Nobody.Name FROM Account", "INVALID_FIELD", "Didn't understand relationship 'Nobody' in field path."),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT FROM Account", "MALFORMED_QUERY", "unexpected token: 'Account'"),
        ("SELECT Id FROM Account WHERE Name = 'a' OR Name = 'b' AND Name = 'c'", "MALFORMED_QUERY", "'AND'"),
        ("SELECT Id FROM Account WHERE Name = 'open", "MALFORMED_QUERY", "no viable alternative at character"),
        ("SELECT Id FROM Account LIMIT x", "MALFORMED_QUERY", "unexpected token: 'x'"),
        ("SELECT Id FROM Account WHERE AnnualRevenue = '5'", "INVALID_FIELD", "must be of type double"),
        ("SELECT Id FROM Account WHERE CreatedDate > '2026-01-01'", "INVALID_FIELD", "must be of type dateTime"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD", "should be enclosed in quotes"),
        ("SELECT Id FROM Account WHERE Id = 'nonsense'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: nonsense"),
        ("SELECT Id FROM Account WHERE Id LIKE '001%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on id"),
        ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD", "can not be filtered"),
        ("SELECT Id FROM Account ORDER BY Description", "MALFORMED_QUERY", "can not be sorted"),
        ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"),
        ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY", "must have a LIMIT of at most 200"),
        ("SELECT IsDeleted FROM User", "INVALID_FIELD", "No such column 'IsDeleted' on entity 'User'"),
        ("SELECT Id FROM Account GROUP BY Id", "MALFORMED_QUERY", "not simulated"),
        ("SELECT MAX(Id) FROM Account", "MALFORMED_QUERY", "not simulated"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "MALFORMED_QUERY", "not simulated"),
        ("SELECT Id FROM Account WHERE CreatedDate = TODAY", "MALFORMED_QUERY", "not simulated"),
        ("SELECT Id FROM Account WHERE Name = '" + "x" * 100_000 + "'", "MALFORMED_QUERY", "100000 characters"),
    ],
)
def test_what_is_wrong_is_said_in_the_vendors_words(store: Store, soql: str, code: str, words: str) -> None:
    with pytest.raises(ApiError) as refused:
        compile_query(parse(soql), store.schema, deleted=False)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert words in refused.value.message


def test_an_error_shows_where(reader: Client) -> None:
    code, message = reader.refused("SELECT Id, Nope FROM Account")
    assert code == "INVALID_FIELD"
    lines = message.split("\n")
    assert lines[1][lines[2].index("^") :].startswith("Nope")
    assert lines[3] == "ERROR at Row:1:Column:12"


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants it naive
def test_moments_are_stored_to_the_millisecond(moment: datetime) -> None:
    stored = datetime.fromisoformat(utc_text(moment.isoformat()))
    assert abs((moment - stored).total_seconds()) < 0.001


# --- queries inside a WHERE -------------------------------------------------------------------------------------


def test_a_query_inside_finds_records_by_their_parents_and_children(client: Client) -> None:
    [shop, mill] = client.control.upsert("Account", [{"Name": "Inner shop"}, {"Name": "Inner mill"}])
    [mate] = client.control.upsert("Contact", [{"LastName": "Inner", "AccountId": mill}])
    [task] = client.control.upsert("Task", [{"Subject": "Inner", "WhatId": shop}])
    named = "SELECT Id FROM Account WHERE Name"
    assert client.values(f"SELECT Id FROM Task WHERE WhatId IN ({named} = 'Inner shop')") == [task]
    assert (
        client.values(f"SELECT Id FROM Task WHERE Subject = 'Inner' AND WhatId NOT IN ({named} = 'Inner shop')") == []
    )
    assert client.values(f"SELECT Id FROM Contact WHERE AccountId IN ({named} LIKE 'Inner%')") == [mate]
    ours = "Name LIKE 'Inner%' AND Id NOT IN (SELECT AccountId FROM Contact WHERE LastName = 'Inner')"
    assert client.values(f"SELECT Id FROM Account WHERE {ours}") == [shop]
    key = client.job(f"SELECT Id FROM Task WHERE WhatId IN ({named} = 'Inner shop')")
    assert client.ask(f"/jobs/query/{key}/results").text == f'"Id"\n"{task}"\n'


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("Id IN (SELECT WhatId FROM Task)", "Entity 'Task' is not supported for semi join inner selects"),
        ("Id IN (SELECT ParentId FROM Account)", "should not be on the same object type"),
        ("Id IN (SELECT LastName FROM Contact)", "can only query id fields, cannot use: 'LastName'"),
        ("Name IN (SELECT AccountId FROM Contact)", "can only query id fields, cannot use: 'Name'"),
        ("Name = 'x' OR Id IN (SELECT AccountId FROM Contact)", "only allowed at the top level"),
        (
            "Id IN (SELECT AccountId FROM Contact WHERE AccountId IN (SELECT AccountId FROM Opportunity))",
            "Nesting of semi join sub-selects is not supported",
        ),
        (" AND ".join(["Id IN (SELECT AccountId FROM Contact)"] * 3), "Maximum 2 semi join sub-selects"),
    ],
)
def test_queries_inside_keep_to_the_platforms_rules(client: Client, where: str, said: str) -> None:
    status, code, message = client.error("/query", params={"q": f"SELECT Id FROM Account WHERE {where}"})
    assert (status, code) == (400, "MALFORMED_QUERY")
    assert said in message
