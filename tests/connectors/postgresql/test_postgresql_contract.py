"""The contract every target keeps, run against the product database and a scratch schema."""

from datetime import UTC, date, datetime, time
from decimal import Decimal

import polars as pl
import pytest

from connectors.context import Context
from connectors.registry import target_class
from connectors.targets.postgresql import PostgresqlTarget
from connectors.testing import TargetContract
from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType
from tests.connectors.postgresql.scratch import Database

THINGS = """
CREATE TYPE mood AS ENUM ('glad', 'so so');
CREATE TABLE owners (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
CREATE TABLE things (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    external_id text UNIQUE,
    name varchar(20) NOT NULL,
    mood mood,
    whole bigint,
    amount numeric(12, 2) CHECK (amount >= 0),
    ratio double precision,
    flag boolean,
    day date,
    moment timestamptz,
    hour time,
    address jsonb,
    tags text[],
    code uuid,
    bytes bytea,
    owner_id bigint REFERENCES owners (id)
);
INSERT INTO owners (name) VALUES ('Ada');
"""


class TestPostgresql(TargetContract):
    connector = PostgresqlTarget
    entity = "things"
    key = "external_id"

    @pytest.fixture
    def context(self, database: Database, schema: str) -> Context:
        database.run(THINGS)
        return database.context(schema=schema)

    @pytest.fixture
    def records(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "external_id": ["A-1", "A-2", "A-3", "A-4"],
                "name": ["Ünïcode “quoted”", "", "tab\tand\nline", "\\."],
                "mood": ["glad", "so so", None, None],
                "whole": [2**62, -1, None, 0],
                "amount": [Decimal("12.50"), Decimal("0.01"), None, Decimal("1234567890.12")],
                "ratio": [0.1, 1e-300, None, -0.0],
                "flag": [True, False, None, True],
                "day": [date(1, 1, 1), date(9999, 12, 31), None, date(2024, 2, 29)],
                "moment": [datetime(1969, 12, 31, 23, 59, 59, 1, UTC), None, None, datetime(2026, 1, 1, tzinfo=UTC)],
                "hour": [time(23, 59, 59, 999999), time(0), None, None],
                "address": ['{"a": [1, null, "x\\\\y"]}', "{}", None, '"text"'],
                "tags": ['["a", null, "with \\"quotes\\""]', "[]", None, '["NULL", ""]'],
                "code": ["6f1d1c2e-9d4b-4c8a-8f55-0123456789ab", None, None, None],
                "bytes": [b"\x00\xff\\", b"", None, None],
                "owner_id": ["1", None, None, "1"],
            },
            schema_overrides={
                "amount": pl.Decimal(38, 2),
                "moment": pl.Datetime("us", "UTC"),
            },
        )

    @pytest.fixture
    def match(self) -> tuple[str, ...]:
        return ("name",)

    @pytest.fixture
    def changed(self, records: pl.DataFrame) -> pl.DataFrame:
        first = pl.col("external_id") == "A-1"
        return records.with_columns(address=pl.when(first).then(pl.lit('{"b": 1}')).otherwise("address"))

    @pytest.fixture
    def refused(self, records: pl.DataFrame) -> pl.DataFrame:
        return records.head(3).with_columns(
            external_id=pl.Series(["X-1", "X-2", "X-3"]),
            mood=pl.Series(["furious", None, None]),
            amount=pl.Series([None, Decimal("-1.00"), None], dtype=pl.Decimal(38, 2)),
            owner_id=pl.Series([None, None, "4711"]),
        )

    @pytest.fixture
    def new_entity(self) -> EntitySchema:
        fields = (
            FieldInfo("source_id", length=18),
            FieldInfo("name", length=80),
            FieldInfo("owner", FieldType.REFERENCE, references=("owners",)),
            FieldInfo("rate", FieldType.DECIMAL, precision=18, scale=4),
        )
        return EntitySchema(EntityInfo("gadgets", "Gadgets", "source_id"), fields)


def test_the_registry_knows_the_target() -> None:
    assert target_class("postgresql") is PostgresqlTarget
