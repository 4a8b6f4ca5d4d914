"""Dry runs over real protocols: a PostgreSQL product database and simulated Salesforce orgs, scored by the load."""

from collections.abc import Iterator
from typing import Any

import pytest

from migration_factory import scratch
from migration_factory.rehearsal import TENANT, Reach, erase, make_project, salesforce_reach
from orgs.models import Customer
from projects.models import ObjectDefinition, Project
from runs import drivers, services
from runs.choices import RunState
from runs.dry_runs import start_dry_run
from runs.forecast_models import DryRun, Prediction
from runs.models import Run, RunEvent, TrackedRecord
from sandbox.salesforce.running import Running, running_simulator
from tests import test_payroll_org_to_org as payroll
from tests.test_payroll_org_to_org import TARGET, Move
from tests.test_rollback_product import connect, dump

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def simulator(settings: Any) -> Iterator[Running]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator(records=1_500, bad=30, seed=11) as running:
        yield running


@pytest.fixture
def database(worker_id: str) -> Iterator[str]:
    name = f"forecast_test_{worker_id}"
    scratch.create(name)
    yield name
    scratch.drop(name)


@pytest.fixture
def project(simulator: Running, database: str) -> Iterator[Project]:
    tenant = scratch.install_product(database, tenant=TENANT)
    target = {**scratch.connection_settings(database), "tenant_id": str(tenant)}
    customer = Customer.objects.create(name="Forecast", slug="forecast")
    reach = Reach("postgresql", target, scratch.password())
    yield make_project(customer, "Forecast", salesforce_reach(simulator.ready), reach, mirror=False)
    erase(customer)


move = payroll.move


def finish(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def test_a_database_is_as_it_was_and_the_load_fares_as_foretold(project: Project, database: str) -> None:
    before = dump(database)
    tried = finish(start_dry_run(project))
    assert tried.state == RunState.COMPLETED_WITH_ERRORS, tried.reason
    assert dump(database) == before
    assert not TrackedRecord.objects.filter(project=project).exists()
    assert Prediction.objects.filter(run=tried).count() > 1_000
    loaded = finish(services.start_run(project))
    score = DryRun.objects.get(run=tried).score
    assert score is not None
    assert DryRun.objects.get(run=tried).load == loaded
    assert score["compared"] > 1_000
    assert score["accuracy"] > 0.99, score
    assert sum(each["changed"] + each["new"] + each["gone"] for each in score["objects"]) == 0
    refused = [cause for each in score["objects"] for cause in each["causes"]]
    assert sum(cause["hits"] for cause in refused) >= 0.9 * sum(cause["real"] for cause in refused) > 0


@pytest.fixture
def mirror(simulator: Running, database: str) -> Iterator[Project]:
    customer = Customer.objects.create(name="Mirror", slug="mirror")
    reach = Reach("postgresql", scratch.connection_settings(database), scratch.password())
    yield make_project(customer, "Mirror", salesforce_reach(simulator.ready), reach, mirror=True)
    erase(customer)


def tables(database: str) -> set[str]:
    with connect(database) as server:
        found = server.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'S', 'i', 'v')")
        return {name for (name,) in found if "pg_toast" not in name}


def test_a_mirror_whose_tables_are_missing_is_tried_out(mirror: Project, database: str) -> None:
    before = tables(database)
    tried = finish(start_dry_run(mirror))
    assert tried.state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}, tried.reason
    assert tables(database) == before, "nothing of what it would create is there"
    assert not ObjectDefinition.objects.filter(org=mirror.target).exists(), "nor is it told of the target"
    told = RunEvent.objects.filter(run=tried, message__startswith="A load would do this first: Created table")
    assert told.count() == mirror.project_objects.count()
    loaded = finish(services.start_run(mirror))
    score = DryRun.objects.get(run=tried).score
    assert score is not None
    assert DryRun.objects.get(run=tried).load == loaded
    assert score["compared"] == Prediction.objects.filter(run=tried).count() > 1_000
    assert score["accuracy"] > 0.99, score


def test_an_org_is_as_it_was_and_a_sample_is_really_tried_there(move: Move) -> None:
    before = payroll.dump(move.target, TARGET)
    tried = finish(start_dry_run(move.project))
    assert tried.state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}, tried.reason
    assert payroll.dump(move.target, TARGET) == before
    asked = Prediction.objects.filter(run=tried).exclude(without="*")
    assert asked.count() > 0
    finish(services.start_run(move.project))
    score = DryRun.objects.get(run=tried).score
    assert score is not None
    assert score["compared"] == move.made.total
    assert score["accuracy"] > 0.95, score
