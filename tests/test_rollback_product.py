"""Load plus rollback leaves the product database as it was, to the last byte of every table."""

import os
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


RECORDS = int(os.environ.get("MF_ROLLBACK_RECORDS", "50000"))
"""What is promised; a smaller number is quicker where a hundred runs are wanted."""


@pytest.fixture
def simulator(settings: Any) -> Iterator[Running]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator(records=RECORDS, seed=5) as running:
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


def rename(simulator: Running, ids: list[str]) -> None:
    simulator.control.upsert(
        "Contact", [{"Id": pk.removeprefix("salesforce:"), "LastName": f"Renamed {n}"} for n, pk in enumerate(ids)]
    )


def contacts(database: str, most: int) -> list[str]:
    with connect(database) as server:
        found = server.execute("SELECT external_id FROM contacts ORDER BY id LIMIT %s", [most]).fetchall()
        return [external_id for (external_id,) in found]


@pytest.mark.long
def test_runs_that_only_insert_only_update_or_do_both(project: Project, simulator: Running, database: str) -> None:
    """One load serves all three: a run over it that only updates is taken back, then one that does both, with edits of
    people in between, and at last the load itself."""
    empty = dump(database)
    inserted = finish(services.start_run(project))
    loaded = dump(database)
    assert reports.figures(inserted).totals["created"] == RECORDS
    ids = contacts(database, RECORDS)
    rename(simulator, ids)

    updated = finish(services.start_run(project))
    totals = reports.figures(updated).totals
    assert (totals["updated"], totals["created"]) == (len(ids), 0)
    assert dump(database) != loaded
    undone = finish(services.start_rollback(updated))
    assert undone.reason == f"0 records deleted and {len(ids):,} restored, and proven by reading back."
    assert dump(database) == loaded

    newcomers = RECORDS // 25
    simulator.control.upsert("Account", [{"Name": f"Newcomer {n}"} for n in range(newcomers)])
    mixed = finish(services.start_run(project))
    totals = reports.figures(mixed).totals
    assert (totals["updated"], totals["created"]) == (len(ids), newcomers)
    with connect(database) as server:
        titles: dict[int, str | None] = dict(
            server.execute("SELECT id, title FROM contacts WHERE external_id = ANY(%s)", [ids[:500]]).fetchall()
        )
        server.execute("UPDATE contacts SET title = 'Edited by hand' WHERE id = ANY(%s)", [list(titles)])
    spared = {str(pk).encode() for pk in titles}
    assert len(spared) == 500
    held = dump(database)
    undone = finish(services.start_rollback(mixed))
    assert undone.state == RunState.COMPLETED_WITH_ERRORS
    assert undone.reason == (
        f"{newcomers:,} records deleted and {len(ids) - 500:,} restored; "
        "500 left alone because they were changed since."
    )
    listed = set(Finding.objects.filter(run=undone, rule="edited", field="title").values_list("source_id", flat=True))
    assert listed == {pk.removeprefix("salesforce:") for pk in ids[:500]}
    after = dump(database)
    assert without(after, spared) == without(loaded, spared)
    assert only(after["contacts"], spared) == only(held["contacts"], spared)

    # The people take their edits back: now the rest of the run can be taken back, and the load under it.
    with connect(database) as server:
        server.execute(
            "UPDATE contacts c SET title = was.title FROM unnest(%s::bigint[], %s::text[]) AS was (id, title) "
            "WHERE c.id = was.id",
            [list(titles), list(titles.values())],
        )
    assert finish(services.start_rollback(mixed)).state == RunState.COMPLETED
    assert dump(database) == loaded
    undone = finish(services.start_rollback(inserted))
    assert (undone.state, undone.reason.split(" and")[0]) == (RunState.COMPLETED, f"{RECORDS:,} records deleted")
    assert dump(database) == empty


def only(rows: list[bytes], ids: set[bytes]) -> list[bytes]:
    return [row for row in rows if row.split(b"\t", 1)[0] in ids]


def without(found: dict[str, list[bytes]], ids: set[bytes]) -> dict[str, list[bytes]]:
    return {table: [row for row in rows if row.split(b"\t", 1)[0] not in ids] for table, rows in found.items()}
