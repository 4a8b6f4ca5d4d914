"""The row hash: the same for the same content for ever, and different for anything else."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from projects.mapping.compiler import row_hash
from projects.mapping.transformed import RECORD_ID, RECORD_PART

ROW: Mapping[str, object] = {
    "text": "Zürich",
    "empty": "",
    "blank": None,
    "whole": 7,
    "money": Decimal("1.50"),
    "ratio": 0.1,
    "flag": True,
    "day": date(2026, 11, 1),
    "hour": time(10, 30),
    "moment": datetime(2026, 11, 1, 10, tzinfo=UTC),
}
SCHEMA = pl.Schema(
    {
        "text": pl.String(),
        "empty": pl.String(),
        "blank": pl.String(),
        "whole": pl.Int64(),
        "money": pl.Decimal(18, 2),
        "ratio": pl.Float64(),
        "flag": pl.Boolean(),
        "day": pl.Date(),
        "hour": pl.Time(),
        "moment": pl.Datetime("us", "UTC"),
    }
)


def hashed(**changed: object) -> str:
    row = pl.DataFrame({name: [value] for name, value in (dict(ROW) | changed).items()}, schema=SCHEMA)
    return str(row_hash(row)[0])


def test_a_known_row_has_the_hash_it_always_had() -> None:
    assert hashed() == "2229d914a6308864dbd9aff462d0942f"


def test_any_change_of_a_value_changes_the_hash() -> None:
    changes: dict[str, object] = {
        "text": "Zurich",
        "empty": None,
        "blank": "",
        "whole": None,
        "money": Decimal("1.51"),
        "ratio": 0.1000000000000001,
        "flag": False,
        "day": date(2026, 11, 2),
        "hour": time(10, 30, 1),
        "moment": datetime(2026, 11, 1, 10, 0, 0, 1, tzinfo=UTC),
    }
    assert len({hashed(), *(hashed(**{name: value}) for name, value in changes.items())}) == len(changes) + 1


def test_the_order_of_columns_and_whose_row_it_is_do_not_count() -> None:
    row = pl.DataFrame({name: [value] for name, value in ROW.items()}, schema=SCHEMA)
    turned = row.select(reversed(row.columns)).with_columns(
        pl.lit("1").alias(RECORD_ID), pl.lit("p").alias(RECORD_PART)
    )
    assert row_hash(turned).to_list() == row_hash(row).to_list() == [hashed()]


def test_names_and_types_count() -> None:
    same = [pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]}), pl.DataFrame({"a": ["1"]}), pl.DataFrame({"a": [1.0]})]
    same += [pl.DataFrame({"a": pl.Series([1]).cast(pl.Decimal(9, scale))}) for scale in (0, 2)]
    assert len({row_hash(frame)[0] for frame in same}) == len(same)


texts = st.none() | st.text(alphabet="a:1,~0\x00é", max_size=4)


@given(st.lists(st.tuples(texts, texts, texts), min_size=2, max_size=30))
def test_rows_hash_alike_only_where_they_are_alike(rows: list[tuple[str | None, ...]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String, "c": pl.String}, orient="row")
    assert len(set(row_hash(frame))) == len(set(rows))


def test_an_empty_frame_has_no_hashes() -> None:
    assert row_hash(pl.DataFrame(schema=SCHEMA)).to_list() == []
