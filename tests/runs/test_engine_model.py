"""Any world, any faults: whatever happens on the way, every record ends where a plain reading says it must."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import RateLimited, Unavailable
from projects.models import Project
from runs import reports, services
from runs.choices import RunState
from runs.engine import coordinator
from runs.engine.coordinator import Progress
from runs.models import Run, TrackedRecord
from tests import factories
from tests.fakes import FAKE_SOURCES, WORLDS, Connect, World, reference, schema
from tests.runs.test_engine import expire_leases, make_due

PARENTS = schema("Parent", "Name", reference("NextId", "Parent"))
CHILDREN = schema("Child", "Name", reference("ParentId", "Parent"), reference("TwinId", "Child"))
REFUSED = "refuse me"

ids = st.integers(0, 9)
names = st.sampled_from(["a", "b", "ünï", "with 'quotes'", REFUSED])
parents = st.dictionaries(ids, st.tuples(names, st.none() | ids), max_size=8)
children = st.dictionaries(ids, st.tuples(names, st.none() | ids, st.none() | ids), max_size=8)
FAULTS: tuple[Exception | None, ...] = (
    None,
    None,
    Unavailable("Away."),
    RateLimited("Slow down.", retry_after=5),
    OperationalError("gone"),
)


def fill(world: World, project: Project, parent: dict[int, Any], child: dict[int, Any]) -> None:
    def name_of(prefix: str, number: int | None) -> str | None:
        return None if number is None else f"{prefix}{number}"

    world.add(PARENTS, *({"Id": f"P{n}", "Name": name, "NextId": name_of("P", to)} for n, (name, to) in parent.items()))
    world.add(
        CHILDREN,
        *(
            {"Id": f"C{n}", "Name": name, "ParentId": name_of("P", to), "TwinId": name_of("C", twin)}
            for n, (name, to, twin) in child.items()
        ),
    )
    for entity in ("Child", "Parent"):
        factories.project_object(project, entity)


def refuse(_entity: str, row: dict[str, Any]) -> str | None:
    return "No." if row["name"] == REFUSED else None


def waiting(parent: dict[int, Any], child: dict[int, Any]) -> int:
    """How many good records point at one that is not there or was refused."""
    there = {n for n, (name, _) in parent.items() if name != REFUSED}
    children = {n for n, (name, *_) in child.items() if name != REFUSED}
    lonely = sum(name != REFUSED and to is not None and to not in there for name, to in parent.values())
    apart: list[bool] = [
        name != REFUSED and ((to is not None and to not in there) or (twin is not None and twin not in children))
        for name, to, twin in child.values()
    ]
    return int(lonely) + sum(apart)


def faulty(chance: random.Random) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        fault = chance.choice(FAULTS)
        if fault is not None and chance.random() < 0.3:
            raise fault

    return hook


def drive_through(run: Run) -> Run:
    """Drive whatever happens: a worker that dies leaves its lease, which then runs out."""
    for _ in range(500):
        try:
            if coordinator.advance(run.pk, stop=lambda: False) is Progress.STOPPED:
                run = Run.objects.get(pk=run.pk)
                if run.state != RunState.FAILED:
                    return run
                services.resume_run(run)
        except OperationalError:
            expire_leases(run)
        make_due(run)
    raise AssertionError("the run does not come to an end")


def check(world: World, project: Project, run: Run) -> None:
    """A second, plain reading of the source against target and ledger; shares nothing with the engine."""
    for entity, table in (("Parent", "parent"), ("Child", "child")):
        source = {str(record["Id"]): record for record in world.records[entity]}
        good = {pk: record for pk, record in source.items() if record["Name"] != REFUSED}
        rows = world.rows[table]
        assert set(rows) == set(good)
        assert len({row["target_id"] for row in rows.values()}) == len(rows)
        for pk, record in good.items():
            assert rows[pk]["name"] == record["Name"]
            for field, to in (("NextId", "parent"), ("ParentId", "parent"), ("TwinId", "child")):
                if field in record:
                    held = world.rows[to].get(str(record[field]))
                    assert rows[pk][field.lower()] == (held["target_id"] if held else None)
        states = dict(
            TrackedRecord.objects.filter(project=project, object__source_entity=entity).values_list(
                "source_id", "state"
            )
        )
        assert set(states) == set(source)
        assert {pk for pk, state in states.items() if state == "rejected"} == set(source) - set(good)
    figures = reports.figures(run)
    assert all(item.accounted for item in figures.objects), figures
    assert figures.reconcile.clean, figures


@pytest.mark.long
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(parent=parents, child=children, page_size=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_every_world_lands_exactly_whatever_fails_on_the_way(
    *, db: None, fakes: None, parent: dict[int, Any], child: dict[int, Any], page_size: int, seed: int
) -> None:
    world = WORLDS["world"] = World(page_size=page_size, refuse=refuse)
    world.before_read = world.before_write = world.after_write = faulty(random.Random(seed))
    with transaction.atomic():
        project = factories.project()
        fill(world, project, parent, child)
        refused = sum(name == REFUSED for name, *_ in (*parent.values(), *child.values()))
        deferred = waiting(parent, child)
        landed = len(parent) + len(child) - refused - deferred
        for outcome in ("created", "unchanged"):
            run = drive_through(services.start_run(project))
            check(world, project, run)
            totals = {name: count for name, count in reports.figures(run).totals.items() if count}
            read = {"read": len(parent) + len(child), outcome: landed, "deferred": deferred, "rejected": refused}
            assert totals == {name: count for name, count in read.items() if count}
        transaction.set_rollback(True)


@pytest.fixture
def fakes(only_connectors: Connect) -> None:
    only_connectors(FAKE_SOURCES)
