"""Whole migrations, from the real data sets and the simulator into PostgreSQL, checked by plain SQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from migration_factory import scratch
from migration_factory.rehearsal import Order, Rehearsed, rehearse
from runs.models import Finding, TrackedRecord
from sandbox.salesforce.running import running_simulator

DATASETS = settings.BASE_DIR.parent / "shared" / "data" / "salesforce"
EASY_SPACES = {"Account": 12, "Contact": 12, "Lead": 11, "Market__c": 11, "Space__c": 132, "Reservation__c": 2}
EBIKES = {"Account": 3, "Product_Family__c": 4, "Product__c": 16}

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    """Rehearsals talk to a simulator on this machine and read folders of this machine."""
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    settings.MF_LOCAL_FOLDERS = True


def dataset(name: str) -> Path:
    folder = DATASETS / name
    if not folder.is_dir():
        pytest.skip(f"the public data set {name} is not on this machine ({folder})")
    return folder


@pytest.fixture
def kept() -> Iterator[list[Rehearsed]]:
    """Rehearsals whose target database is looked into and then dropped."""
    done: list[Rehearsed] = []
    yield done
    for each in done:
        scratch.drop(each.database)


def query(database: str, statement: str) -> list[tuple[object, ...]]:
    where = scratch.connection_settings(database)
    with psycopg.connect(
        host=where["host"],
        port=where["port"],
        user=where["user"],
        password=scratch.password().get("password"),
        dbname=database,
    ) as server:
        return server.execute(statement.encode()).fetchall()


def landed(done: Rehearsed) -> dict[str, int]:
    return {item.source: item.created for item in done.first.objects}


@pytest.mark.parametrize(("name", "expected"), [("easy-spaces", EASY_SPACES), ("ebikes", EBIKES)])
@pytest.mark.parametrize("source", ["workbook", "salesforce"])
def test_a_public_data_set_lands_whole_and_a_second_run_writes_nothing(
    source: str, name: str, expected: dict[str, int]
) -> None:
    done = rehearse(Order(source=source, data=dataset(name), mirror=True, again=True))
    assert done.good
    assert (done.first.status, landed(done)) == ("completed", expected)
    assert done.second is not None
    assert done.second.totals["unchanged"] == done.second.totals["read"] == sum(expected.values())
    assert done.first.reconcile.records == sum(expected.values())
    assert done.first.reconcile.extra == 0


def test_references_of_a_data_set_point_where_its_files_say(kept: list[Rehearsed]) -> None:
    """The references are real foreign keys, and the names they lead to are those of the sObject tree."""
    folder = dataset("easy-spaces")
    done = rehearse(Order(source="workbook", data=folder, mirror=True, keep=True))
    kept.append(done)

    def records(name: str) -> list[dict[str, Any]]:
        return list(orjson.loads((folder / "data" / name).read_bytes())["records"])

    names = {f"@{item['attributes']['referenceId']}": item["Name"] for item in records("Market__cs.json")}
    expected = sorted((item["Name"], names[item["Market__c"]]) for item in records("Space__cs.json"))
    found = query(
        done.database, "SELECT s.name, m.name FROM space__c s JOIN market__c m ON m.id = s.market__c ORDER BY 1, 2"
    )
    assert sorted(found) == expected
    foreign_keys = query(
        done.database,
        "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'",
    )
    assert {("space__c", "market__c"), ("contact", "account"), ("reservation__c", "contact")} <= set(foreign_keys)


def test_generated_records_land_and_every_bad_one_is_explained(kept: list[Rehearsed]) -> None:
    order = Order(source="salesforce", records=3_000, bad=30, seed=11, again=True, keep=True)
    done = rehearse(order)
    kept.append(done)
    assert done.good, done
    assert done.first.totals["read"] == 3_000
    with running_simulator(records=3_000, bad=30, seed=11) as twin:
        bad = {item["id"]: item for item in twin.control.bad()}
    assert len(bad) == 30
    standing = {record.source_id: record for record in TrackedRecord.objects.filter(source_id__in=bad)}
    silent = {pk: item for pk, item in bad.items() if standing[pk].state in {"loaded", "unchanged"}}
    notes = set(Finding.objects.filter(source_id__in=silent).values_list("source_id", flat=True))
    assert set(silent) <= notes, [item for pk, item in silent.items() if pk not in notes]
    troubled = TrackedRecord.objects.exclude(state__in=["loaded", "unchanged"])
    assert all(record.reason for record in troubled)
    innocent = set(troubled.filter(state="rejected").values_list("source_id", flat=True)) - set(bad)
    assert innocent == set()


def test_the_product_database_holds_what_the_run_says(kept: list[Rehearsed]) -> None:
    done = rehearse(Order(source="salesforce", records=1_000, seed=3, keep=True))
    kept.append(done)
    for item in done.first.objects:
        others = sum(other.created for other in done.first.objects if other.target == item.target)
        assert query(done.database, f"SELECT count(*) FROM {item.target}") == [(others,)]
    [(dangling,)] = query(
        done.database,
        """SELECT count(*) FROM contacts c LEFT JOIN accounts a ON a.id = c.account_id
            WHERE c.account_id IS NOT NULL AND a.id IS NULL""",
    )
    assert dangling == 0
    doubled = query(done.database, "SELECT external_id FROM accounts GROUP BY 1 HAVING count(*) > 1")
    assert doubled == []


def test_the_command_prints_one_json_object_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("rehearse", "salesforce", "--records", "300", "--again", "--json")
    body = orjson.loads(capsys.readouterr().out)
    assert body["status"] == "completed"
    assert body["read"] == body["created"] == 300
    assert body["again"] == {"read": 300, "created": 0, "updated": 0, "unchanged": 300}
    assert body["reconcile"] == {
        "records": 300, "fields": body["reconcile"]["fields"], "missing": 0, "extra": 0, "mismatches": 0
    }  # fmt: skip
    assert {"objects", "api_calls", "seconds", "records_per_second", "peak_rss_mib"} <= set(body)


def test_an_unknown_sandbox_is_one_sentence() -> None:
    with pytest.raises(CommandError, match="“oracle”; rehearse workbook, salesforce or payroll"):
        call_command("rehearse", "oracle")
