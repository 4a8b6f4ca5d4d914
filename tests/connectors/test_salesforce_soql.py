"""SOQL text: values are quoted so that they stay values, names are names or refused."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simple_salesforce.format import quote_soql_value

from connectors.clients import salesforce_soql as soql
from connectors.errors import SettingsInvalid

ESCAPED = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\b": "\b", "\\f": "\f", "\\'": "'", '\\"': '"', "\\\\": "\\"}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_its_literal(text: str) -> None:
    literal = soql.quoted(text)
    inside = re.fullmatch(r"'((?:[^'\\]|\\.)*)'", literal, re.DOTALL)
    assert inside, "a quote that is not escaped would end the literal early"
    assert re.sub(r"\\.", lambda found: ESCAPED[found[0]], inside[1], flags=re.DOTALL) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_third_party_quotes_the_same(text: str) -> None:
    assert soql.quoted(text) == quote_soql_value(text)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (Decimal("1E+3"), "1000"),
        (date(2026, 11, 1), "2026-11-01"),
        ('O\'Neil \\ "x" — 北京', "'O\\'Neil \\\\ \\\"x\\\" — 北京'"),
        (datetime(2026, 11, 1, 12, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=2))), "2026-11-01T10:00:00.123Z"),
    ],
)
def test_values_become_literals(value: soql.Value, literal: str) -> None:
    assert soql.quoted(value) == literal


def test_a_time_without_a_zone_is_a_bug() -> None:
    with pytest.raises(ValueError, match="zone"):
        soql.quoted(datetime(2026, 11, 1))  # noqa: DTZ001 - the fault under test


@pytest.mark.parametrize("name", ["Account", "tc9_et__Rule__c", "Owner.Name", "A1"])
def test_names_pass(name: str) -> None:
    assert soql.name(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a b", "Id FROM User --", "a'", "a\n", "ünicode", "a..b", ".a", "COUNT()"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="not the name"):
        soql.name(name)


def test_queries_are_put_together() -> None:
    since = datetime(2026, 11, 1, tzinfo=UTC)
    where = [soql.condition("SystemModstamp", ">=", since), soql.condition("Id", ">", "001'")]
    assert soql.select(["Id", "Name"], "Account", where, order_by="Id") == (
        "SELECT Id, Name FROM Account WHERE SystemModstamp >= 2026-11-01T00:00:00.000Z AND Id > '001\\'' ORDER BY Id"
    )
    assert soql.count("Account") == "SELECT COUNT() FROM Account"
