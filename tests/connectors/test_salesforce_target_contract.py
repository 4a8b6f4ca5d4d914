"""The Salesforce target held to the contract, for few records and for many, over a connection to the simulator."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal

import polars as pl
import pytest

from connectors.clients.salesforce_carrier import BULK_ABOVE
from connectors.context import Context
from connectors.targets.salesforce import SalesforceTarget
from connectors.testing import HttpContract, TargetContract
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import KEY, RULE, context_of, emptied, payroll_org

AWKWARD = [
    "plain",
    "O'Neil \\ “quoted”",
    'a "quote", a comma\nand a line',
    "北京 ünïcode",
    "100%_sure",
    " blanks around ",
    "#N/A",
    "=1+1;x",
]


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


def rules(size: int) -> pl.DataFrame:
    """Rules with every type of field, blanks among them."""
    numbers = range(size)
    return pl.DataFrame(
        {
            KEY: [f"rule {AWKWARD[n % len(AWKWARD)]} {n}" for n in numbers],
            "Name": [f"Rule {n}" for n in numbers],
            "Notes__c": [AWKWARD[n % len(AWKWARD)] if n % 9 else None for n in numbers],
            "Hours__c": [Decimal(n) / 4 if n % 5 else None for n in numbers],
            "Active__c": [n % 2 == 0 for n in numbers],
            "From__c": [date(1999 + n % 50, 2, 28) if n % 4 else None for n in numbers],
            "Stamp__c": [datetime(2026, 3, 29, 1, 30, n % 60, tzinfo=UTC) for n in numbers],
            "Start__c": [time(n % 24, 5, 7) if n % 3 else None for n in numbers],
            "Status__c": ["Draft" if n % 2 else "Live" for n in numbers],
            "Days__c": ["Mon;Wed" if n % 2 else None for n in numbers],
        },
        schema_overrides={"Hours__c": pl.Decimal(18, 2), "Stamp__c": pl.Datetime("us", "UTC"), "Days__c": pl.String},
    )


class TestSalesforceTarget(HttpContract, TargetContract):
    connector = SalesforceTarget
    entity = RULE
    key = KEY
    unauthorized = (401, b'[{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]')
    size = 9

    @pytest.fixture
    def context(self, org: Running) -> Context:
        emptied(org)
        return context_of(org)

    @pytest.fixture
    def records(self) -> pl.DataFrame:
        return rules(self.size)

    @pytest.fixture
    def match(self) -> tuple[str, ...]:
        return ("Name", "Active__c")

    @pytest.fixture
    def changed(self, records: pl.DataFrame) -> pl.DataFrame:
        is_first = pl.int_range(pl.len()) == 0
        return records.with_columns(
            pl.when(is_first).then(pl.lit("new")).otherwise("Notes__c").alias("Notes__c"),
            pl.when(~is_first).then("From__c").alias("From__c"),
        )

    @pytest.fixture
    def refused(self, records: pl.DataFrame) -> pl.DataFrame:
        too_long, unlisted = pl.lit("x" * 81).alias("Name"), pl.lit("Nope").alias("Status__c")
        head = records.head(2).with_columns(pl.concat_str(pl.lit("bad "), KEY).alias(KEY))
        return pl.concat([head.head(1).with_columns(too_long), head.tail(1).with_columns(unlisted)])


class TestSalesforceTargetInBulk(TestSalesforceTarget):
    size = BULK_ABOVE + 60
