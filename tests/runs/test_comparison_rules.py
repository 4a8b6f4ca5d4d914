"""By which rule two values are equal: each rule makes its own equal, says so, and nothing else."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.types import Alteration, FieldInfo, FieldType
from projects.mapping.equality import LABELS, EqualityRule, canonical, canonical_html, rules_for
from runs.engine.comparison import Comparison, compare

UTC_MOMENT = pl.Datetime("us", "UTC")
MOMENT = datetime(2026, 11, 20, 8, 0, 0, 700_000, tzinfo=UTC)
SALESFORCE = frozenset({Alteration.CUTS_TO_SECONDS, Alteration.BLANKS_TO_NULL, Alteration.TRIMS_TEXT})


def compared(
    sent: Any, held: Any, *rules: EqualityRule, sent_type: Any = pl.String, held_type: Any = None
) -> Comparison:
    left = pl.DataFrame({"key": ["k"], "f": [sent]}, schema={"key": pl.String, "f": sent_type})
    right = pl.DataFrame({"key": ["k"], "f": [held]}, schema={"key": pl.String, "f": held_type or sent_type})
    return compare(left, right, fields=["f"], rules={"f": rules})


@pytest.mark.parametrize(
    ("rule", "sent", "held", "sent_type", "held_type"),
    [
        (EqualityRule.FLOAT, 0.1 + 0.2, 0.3, pl.Float64, pl.Float64),
        (EqualityRule.FLOAT, 0.1, Decimal("0.100000000001"), pl.Float64, pl.Decimal(38, 18)),
        (EqualityRule.SCALE, Decimal("1.23"), Decimal("1.2341"), pl.Decimal(10, 2), pl.Decimal(38, 18)),
        (EqualityRule.SECONDS, MOMENT, MOMENT.replace(microsecond=0), UTC_MOMENT, UTC_MOMENT),
        (EqualityRule.SECONDS, MOMENT, MOMENT.replace(second=1, microsecond=0), UTC_MOMENT, UTC_MOMENT),
        (EqualityRule.ZONE, MOMENT, MOMENT.replace(tzinfo=None), UTC_MOMENT, pl.Datetime("us")),
        (EqualityRule.ZONE, MOMENT, MOMENT, UTC_MOMENT, pl.Datetime("us", "Europe/Berlin")),
        (EqualityRule.DATE, date(2026, 11, 20), MOMENT, pl.Date, UTC_MOMENT),
        (EqualityRule.DATE, MOMENT, date(2026, 11, 20), UTC_MOMENT, pl.Date),
        (EqualityRule.BLANK, "", None, pl.String, pl.String),
        (EqualityRule.BLANK, None, "", pl.String, pl.String),
        (EqualityRule.TRAILING, "Müller \t\n", "Müller", pl.String, pl.String),
        (EqualityRule.CASE, "ANNA@example.com", "anna@example.com", pl.String, pl.String),
        (EqualityRule.CHOICES, "red;green", "green;red", pl.String, pl.String),
        (EqualityRule.RICH, "<p class='a' id=b>x&#252;</p>", '<p id="b" class="a">xü</p>', pl.String, pl.String),
        (EqualityRule.JSON, '{"a": 1, "b": [2]}', '{"b":[2],"a":1}', pl.String, pl.String),
        (EqualityRule.OVERWRITTEN, MOMENT, MOMENT + timedelta(days=9), UTC_MOMENT, UTC_MOMENT),
        (EqualityRule.OVERWRITTEN, "005A", None, pl.String, pl.String),
    ],
)
def test_a_rule_makes_equal_and_is_named(
    rule: EqualityRule, sent: Any, held: Any, sent_type: Any, held_type: Any
) -> None:
    found = compared(sent, held, rule, sent_type=sent_type, held_type=held_type)
    assert found.equal == {"f": {rule.value: 1}}
    assert found.mismatches.is_empty()
    strictly = compared(sent, held, sent_type=sent_type, held_type=held_type)
    assert strictly.equal == {"f": {}}
    assert strictly.mismatches["rule"].to_list() == ["exact"]


@pytest.mark.parametrize(
    ("rule", "sent", "held", "sent_type", "held_type"),
    [
        (EqualityRule.FLOAT, 1.0, 1.0000001, pl.Float64, pl.Float64),
        (EqualityRule.SCALE, Decimal("1.23"), Decimal("1.236"), pl.Decimal(10, 2), pl.Decimal(38, 18)),
        (EqualityRule.SECONDS, MOMENT, MOMENT + timedelta(seconds=1), UTC_MOMENT, UTC_MOMENT),
        (EqualityRule.SECONDS, MOMENT, MOMENT.replace(microsecond=100), UTC_MOMENT, UTC_MOMENT),
        (EqualityRule.ZONE, MOMENT, MOMENT.replace(tzinfo=None, hour=9), UTC_MOMENT, pl.Datetime("us")),
        (EqualityRule.DATE, date(2026, 11, 21), MOMENT, pl.Date, UTC_MOMENT),
        (EqualityRule.BLANK, " ", None, pl.String, pl.String),
        (EqualityRule.TRAILING, " Müller", "Müller", pl.String, pl.String),
        (EqualityRule.CASE, "Anna", "Anne", pl.String, pl.String),
        (EqualityRule.CHOICES, "red;green", "green;red;red", pl.String, pl.String),
        (EqualityRule.RICH, "<p>one two</p>", "<p>onetwo</p>", pl.String, pl.String),
        (EqualityRule.RICH, "<a href='x'>y</a>", "<a href='z'>y</a>", pl.String, pl.String),
        (EqualityRule.JSON, '{"a": 1}', "{broken", pl.String, pl.String),
        (EqualityRule.JSON, '{"a": 1}', None, pl.String, pl.String),
        (EqualityRule.EXACT, None, "7 apples", pl.Int64, pl.String),
        (EqualityRule.EXACT, 7, Decimal("7.4"), pl.Int64, pl.Decimal(10, 2)),
    ],
)
def test_no_rule_makes_equal_what_differs(
    rule: EqualityRule, sent: Any, held: Any, sent_type: Any, held_type: Any
) -> None:
    found = compared(sent, held, rule, sent_type=sent_type, held_type=held_type)
    assert found.mismatches.height == 1
    assert found.equal == {"f": {}}


def test_what_is_exactly_equal_is_counted_apart_from_what_a_rule_makes_equal() -> None:
    sent = pl.DataFrame({"key": ["a", "b", "c", "d"], "f": ["x", "y ", "Z", "q "]})
    held = pl.DataFrame({"key": ["a", "b", "c", "d"], "f": ["x", "y", "z", "Q"]})
    found = compare(sent, held, fields=["f"], rules={"f": (EqualityRule.TRAILING, EqualityRule.CASE)})
    assert found.equal == {"f": {"exact": 1, "trailing_blanks": 1, "case": 1, "trailing_blanks+case": 1}}
    assert found.mismatches.is_empty()


def test_blanks_that_another_rule_leaves_count_as_blank_too() -> None:
    found = compared("   ", None, EqualityRule.BLANK, EqualityRule.TRAILING)
    assert found.equal == {"f": {"trailing_blanks+blank_is_null": 1}}


@pytest.mark.parametrize(
    ("info", "alterations", "rules"),
    [
        (FieldInfo("f"), frozenset(), ()),
        (FieldInfo("f"), SALESFORCE, (EqualityRule.TRAILING, EqualityRule.BLANK)),
        (FieldInfo("f", rich=True), frozenset(), (EqualityRule.RICH,)),
        (FieldInfo("f"), frozenset({Alteration.FOLDS_CASE}), (EqualityRule.CASE,)),
        (FieldInfo("f", FieldType.DATETIME), frozenset(), (EqualityRule.ZONE, EqualityRule.DATE)),
        (
            FieldInfo("f", FieldType.DATETIME),
            SALESFORCE,
            (EqualityRule.ZONE, EqualityRule.SECONDS, EqualityRule.DATE),
        ),
        (FieldInfo("f", FieldType.MULTIPICKLIST), frozenset(), (EqualityRule.CHOICES,)),
        (FieldInfo("f", FieldType.BOOLEAN), SALESFORCE, ()),
    ],
)
def test_rules_come_from_the_type_of_the_field_and_the_ways_of_the_target(
    info: FieldInfo, alterations: frozenset[Alteration], rules: tuple[EqualityRule, ...]
) -> None:
    assert rules_for(info, alterations) == rules


def test_every_rule_has_words_for_people() -> None:
    assert set(LABELS) == set(EqualityRule)


@given(st.lists(st.sampled_from(["red", "green", "blue", "navy"]), min_size=1, unique=True), st.randoms())
def test_the_order_of_choices_does_not_change_the_hash(choices: list[str], chance: Any) -> None:
    shuffled = chance.sample(choices, len(choices))
    rows = pl.DataFrame({"f": [";".join(choices), ";".join(shuffled)]})
    assert canonical(rows, {"f": (EqualityRule.CHOICES,)})["f"].n_unique() == 1


def test_the_spelling_for_hashing_is_that_of_the_target() -> None:
    zone = timezone(timedelta(hours=2))
    rows = pl.DataFrame(
        {"name": ["A ", " "], "at": [MOMENT, MOMENT.astimezone(zone)], "n": [1, 2]}, schema_overrides={"at": UTC_MOMENT}
    )
    rules = {
        "name": (EqualityRule.BLANK, EqualityRule.TRAILING),
        "at": (EqualityRule.SECONDS,),
        "n": (EqualityRule.SCALE,),
        "absent": (EqualityRule.CASE,),
    }
    told = canonical(rows, rules)
    assert told["name"].to_list() == ["A", None]
    assert told["at"].to_list() == [MOMENT.replace(microsecond=0)] * 2
    assert told["n"].to_list() == [1, 2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<P>a</P>", "<p>a</p>"),
        ("a &amp; b", "a & b"),
        ("<p>a&nbsp;b</p>", "<p>a\u00a0b</p>"),
        ("<p>a</p>\n\n<p>b</p>", "<p>a</p><p>b</p>"),
        ("<p>a<br/>b</p>", "<p>a<br>b</p>"),
        ("<p>a<!-- note --></p>", "<p>a</p>"),
        ("a\r\n  b", "a b"),
        ("", ""),
    ],
)
def test_rich_text_is_compared_as_what_it_shows(one: str, other: str) -> None:
    spelled = canonical_html(pl.Series([one, other, None]))
    assert spelled[0] == spelled[1]
    assert spelled[2] is None


@given(st.text(alphabet="<>/ab &;\"'=\n", max_size=30))
def test_any_text_has_a_spelling_as_rich_text(text: str) -> None:
    once = canonical_html(pl.Series([text]))
    assert once[0] is not None


def test_what_the_target_overwrites_is_no_part_of_the_fingerprint() -> None:
    info = FieldInfo("LastModifiedDate", FieldType.DATETIME, overwritten=True)
    rules = {info.name: rules_for(info, SALESFORCE)}
    rows = pl.DataFrame({info.name: [MOMENT, MOMENT + timedelta(days=1)]}, schema={info.name: UTC_MOMENT})
    assert canonical(rows, rules)[info.name].to_list() == [None, None]
    assert canonical(rows, rules).schema == rows.schema
