"""The formula subset: what it admits works, and everything else is refused in a sentence."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.mapping.formula import MAX_CHARACTERS, fields_named, parse
from projects.mapping.problems import RuleInvalid

KNOWN = {"a", "b", "Order", 'odd "name"', "Text"}


def result(sql: str, **values: str | None) -> object:
    columns = {name: values.get(name) for name in KNOWN}
    frame = pl.DataFrame({name: [value] for name, value in columns.items()}, schema=dict.fromkeys(columns, pl.String))
    return frame.select(parse(sql, KNOWN).expr.alias("x"))["x"][0]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("a", "Abc"),
        ('"odd ""name"""', None),
        ("CASE WHEN a = 'Abc' THEN 'yes' ELSE 'no' END", "yes"),
        ("case a when 'x' then 1 end IS NULL", True),
        ("COALESCE(b, a)", "Abc"),
        ("NULLIF(a, 'Abc')", None),
        ("upper(a) || '-' || LOWER(a)", "ABC-abc"),
        ("TRIM('  x ')", "x"),
        ("SUBSTR(a, 1, 2)", "Ab"),
        ("REPLACE(a, 'A', 'O''')", "O'bc"),
        ("CONCAT(a, b, '!')", "Abc!"),
        ("STARTS_WITH(a, 'A')", True),
        ("LENGTH(a)", 3),
        ("CAST('7' AS INT) + 2 * 3 - 1", 12),
        ("TRY_CAST(a AS DOUBLE) IS NULL", True),
        ("a IN ('x', 'Abc') AND NOT b IS NOT NULL", True),
        ("a BETWEEN 'A' AND 'B'", True),
        ("a LIKE 'A%' OR FALSE", True),
        ("a ILIKE 'a%'", True),
        ("LEFT(a, 1) || RIGHT(a, 1)", "Ac"),
    ],
)
def test_what_is_admitted_works(sql: str, expected: object) -> None:
    assert result(sql, a="Abc") == expected


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a; DROP TABLE x", "“;”"),
        ("a -- b", "CAST it"),
        ("CAST(a AS DECIMAL(18, 2)) / 0", "division by zero"),
        ("(SELECT 1)", "“SELECT”"),
        ("a IN (SELECT a FROM t)", "“SELECT”"),
        ("read_csv('/etc/passwd')", "function “read_csv”"),
        ("READ_PARQUET('x')", "READ_PARQUET"),
        ("SUM(CAST(a AS INT))", "function “SUM”"),
        ("COUNT(*)", "function “COUNT”"),
        ("LENGTH(*)", "“*”"),
        ("*", "“*”"),
        ("a.b", "“.”"),
        ("a OVER (PARTITION BY b)", "function “OVER”"),
        ("a AS c", "neither a field"),
        ("a AS b", "AS outside"),
        ("CAST(a AS b AS INT)", "AS outside|parsed|CAST to"),
        ("CAST(a)", "lacks its AS"),
        ("CAST(a AS DATE)", "“DATE”"),
        ("CAST(a AS DECIMAL)", "DECIMAL(precision, scale)"),
        ("CAST(a AS DECIMAL(99, 2))", "DECIMAL(precision, scale)"),
        ("CAST(a AS DECIMAL(4, 8))", "DECIMAL(precision, scale)"),
        ("Text = 'x'", "names a type"),
        ("unknown_field", "“unknown_field”"),
        ('"unknown field"', "“unknown field”"),
        ("'a' (b)", "parsed"),
        ('"a" (b)', "is a field and no function"),
        ("a)", "never opened"),
        ("((a)", "never closes"),
        ("(" * 40 + "a" + ")" * 40, "deep"),
        ("a || '" + "x" * MAX_CHARACTERS + "'", "longer than"),
        (" + ".join(["1"] * 400), "more than"),
        ("a + 1", "CAST it"),
        ("a > 1", "CAST it"),
        ("a = 'open", "“'”"),
        ("$1", "“$”"),
        ("a /* hidden */", "not work|parsed|neither"),
        ("`a`", "“`”"),
        ("a\x00", "NUL"),
        ("CASE WHEN a THEN", "parsed"),
        ("a LIKE b", "parsed"),
        ("COALESCE()", "coalesce"),
    ],
)
def test_everything_else_is_refused_in_a_sentence(sql: str, told: str) -> None:
    with pytest.raises(RuleInvalid) as caught:
        parse(sql, KNOWN)
    assert any(part in caught.value.message for part in told.split("|"))
    assert caught.value.message[-1] in ".?!"


def test_a_field_called_like_a_word_can_be_quoted() -> None:
    assert result('"Text" || a', a="1", Text="t") == "t1"
    assert result("Order", Order="7") == "7"


def test_a_failed_cast_is_told_and_a_failed_try_cast_is_not() -> None:
    loud, quiet = parse("CAST(a AS INT)", KNOWN), parse("TRY_CAST(a AS INT)", KNOWN)
    frame = pl.DataFrame({"a": ["1", "x", None]})
    assert frame.select(loud.casts[0].failed).to_series().to_list() == [False, True, False]
    assert quiet.casts == ()
    assert frame.select(loud.expr).to_series().to_list() == [1, None, None]


def test_the_fields_a_formula_names_are_found_without_knowing_them() -> None:
    assert fields_named("CASE WHEN STARTS_WITH(WhoId, '003') THEN \"End\" END") == {"WhoId", "End"}


@given(st.text(alphabet="ab \"'()*/-+=<>|,;.%CASTINTselect0123456789\n\x00{}", max_size=40))
def test_no_text_does_anything_but_parse_or_be_refused(sql: str) -> None:
    try:
        parsed = parse(sql, KNOWN)
    except RuleInvalid:
        return
    assert parsed.fields <= KNOWN
