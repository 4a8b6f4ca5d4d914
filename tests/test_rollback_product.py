"""Load plus rollback leaves the product database as it was, to the last byte of every table."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from migration_factory import scratch
from migration_factory.rehearsal import TENANT, Reach, erase, make_project, salesforce_reach
from orgs.models import Customer
from projects.models import Project
from runs import drivers, reports, services
from runs.choices import RunState
from runs.models import Finding, Run
from sandbox.salesforce.running import Running, running_simulator

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

DATABASE = "rollback_test"


FEW, MANY = 3_000, 50_000
"""The mixed run, which meets every case, is done at the size that is promised; the others at one that is quick."""


@pytest.fixture
def simulator(settings: Any, request: pytest.FixtureRequest) -> Iterator[Running]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator(records=getattr(request, "param", FEW), seed=5) as running:
        yield running


@pytest.fixture
def database(worker_id: str) -> Iterator[str]:
    name = f"{DATABASE}_{worker_id}"
    scratch.create(name)
    yield name
    scratch.drop(name)


@pytest.fixture
def project(simulator: Running, database: str) -> Iterator[Project]:
    tenant = scratch.install_product(database, tenant=TENANT)
    target = {**scratch.connection_settings(database), "tenant_id": str(tenant)}
    customer = Customer.objects.create(name="Rollback", slug="rollback")
    reach = Reach("postgresql", target, scratch.password())
    yield make_project(customer, "Rollback", salesforce_reach(simulator.ready), reach, mirror=False)
    erase(customer)


def connect(database: str) -> psycopg.Connection:
    where = scratch.connection_settings(database)
    return psycopg.connect(
        host=where["host"],
        port=where["port"],
        user=where["user"],
        password=scratch.password().get("password"),
        dbname=database,
        autocommit=True,
    )


def dump(database: str) -> dict[str, list[bytes]]:
    """Every row of every table as text."""
    with connect(database) as server, server.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        found = {}
        for table in tables:
            with cursor.copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as rows:
                found[table] = sorted(bytes(row) for row in rows)
        return {table: rows for table, rows in found.items() if rows}


def finish(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def test_insert_only(project: Project, database: str) -> None:
    before = dump(database)
    loaded = finish(services.start_run(project))
    assert len(dump(database)) > len(before)
    undone = finish(services.start_rollback(loaded))
    assert (undone.state, undone.reason.split(" and")[0]) == (RunState.COMPLETED, "3,000 records deleted")
    assert dump(database) == before


def rename(simulator: Running, ids: list[str]) -> None:
    simulator.control.upsert(
        "Contact", [{"Id": pk.removeprefix("salesforce:"), "LastName": f"Renamed {n}"} for n, pk in enumerate(ids)]
    )


def contacts(database: str, most: int) -> list[str]:
    with connect(database) as server:
        found = server.execute("SELECT external_id FROM contacts ORDER BY id LIMIT %s", [most]).fetchall()
        return [external_id for (external_id,) in found]


def test_update_only(project: Project, simulator: Running, database: str) -> None:
    finish(services.start_run(project))
    before = dump(database)
    rename(simulator, contacts(database, 400))
    changed = finish(services.start_run(project))
    assert (reports.figures(changed).totals["updated"], reports.figures(changed).totals["created"]) == (400, 0)
    assert dump(database) != before
    undone = finish(services.start_rollback(changed))
    assert undone.reason == "0 records deleted and 400 restored, and proven by reading back."
    assert dump(database) == before


@pytest.mark.parametrize("simulator", [MANY], indirect=True)
def test_mixed_inserts_and_updates_sparing_what_people_edited(
    project: Project, simulator: Running, database: str
) -> None:
    finish(services.start_run(project))
    before = dump(database)
    changed = simulator.control.status()["records"]
    assert changed["Contact"]
    ids = contacts(database, 5_000)
    assert len(ids) == 5_000
    rename(simulator, ids)
    simulator.control.upsert("Account", [{"Name": f"Newcomer {n}"} for n in range(2_000)])
    second = finish(services.start_run(project))
    assert reports.figures(second).totals["updated"] == 5_000
    assert reports.figures(second).totals["created"] == 2_000
    with connect(database) as server:
        edited = server.execute(
            "UPDATE contacts SET title = 'Edited by hand' WHERE external_id = ANY(%s) RETURNING id", [ids[:500]]
        ).fetchall()
    held = dump(database)
    undone = finish(services.start_rollback(second))
    assert undone.state == RunState.COMPLETED_WITH_ERRORS
    assert undone.reason == (
        "2,000 records deleted and 4,500 restored; 500 left alone because they were changed since."
    )
    listed = set(Finding.objects.filter(run=undone, rule="edited", field="title").values_list("source_id", flat=True))
    assert listed == {pk.removeprefix("salesforce:") for pk in ids[:500]}
    after = dump(database)
    spared = {str(pk).encode() for (pk,) in edited}

    def others(rows: list[bytes]) -> list[bytes]:
        return [row for row in rows if row.split(b"\t", 1)[0] not in spared]

    assert {table: others(rows) for table, rows in after.items()} == {
        table: others(rows) for table, rows in before.items()
    }
    kept = [row for row in after["contacts"] if row.split(b"\t", 1)[0] in spared]
    assert kept == [row for row in held["contacts"] if row.split(b"\t", 1)[0] in spared]
