"""A worker dies at each named place of the engine; another finishes what it left, and everything is exact."""

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.db.models import Sum

from connectors.clients.workbook import tables
from projects.models import OnDelete, ProjectObject
from runs import crash_points, services
from runs.choices import RunKind, RunState
from runs.crash_points import CrashPoint
from runs.engine.work import Task
from runs.ledger import Scope
from runs.models import Chunk, Run
from tests.faults.mortal import Life, let_leases_end, live
from tests.runs import checker, worker_host
from tests.runs.worker_host import Bed

pytestmark = pytest.mark.processes

PAGE = 40
ENGINE = Path(crash_points.__file__).parent / "engine"
STEPS = sorted({point.partition(".")[0] for point in CrashPoint})
OF_OTHER_RUNS = {"rollback", "deletions", "waiting", "bypass", "insert"}
"""Steps that no load comes to."""
OF_TASKS = {
    Task.PLAN: "plan",
    Task.EXTRACT: "extract",
    Task.LOAD: "load",
    Task.RELINK: "relink",
    Task.RECONCILE: "reconcile",
    Task.FINISH: "finish",
}
TWICE = {CrashPoint.STAGED, CrashPoint.LOAD_INTENDED, CrashPoint.LOAD_SENT, CrashPoint.UNDO_DELETED, CrashPoint.LEFT}
"""Where somebody also dies at the second visit, with a first chunk behind and another ahead."""


@pytest.fixture
def bed(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """Three chunks of companies, some of which belong to one further down, and three of people."""
    monkeypatch.setattr(tables, "PAGE_RECORDS", PAGE)
    rows = worker_host.source_rows(11, companies=90, people=60)
    rows["Company"]["C0"] = {**rows["Company"]["C0"], "Parent": "C89"}
    with worker_host.bed(tmp_path / "files", rows, "crash") as made:
        yield made


def points_of(step: str) -> list[CrashPoint]:
    return [point for point in CrashPoint if point.partition(".")[0] == step]


def driven(run: Run, crash: str = "") -> int | None:
    place = {name: connection.settings_dict[name] for name in ("NAME", "USER", "HOST", "PORT", "PASSWORD")}
    return live(Life(place, run.pk, crash, PAGE))


def died_and_finished(run: Run, point: CrashPoint, number: int) -> None:
    """One process dies there for the ``number``-th time it comes there, another brings the run to its end."""
    assert driven(run, f"{point}:{number}") == -signal.SIGKILL, f"nobody came to {point} {number} times"
    let_leases_end()
    assert driven(run) == 0
    ended = Run.objects.get(pk=run.pk)
    assert ended.state == RunState.COMPLETED, (point, number, ended.reason)


def assert_as_expected(bed: Bed, run: Run, what: str) -> None:
    with bed.connections() as (ledger, target):
        assert checker.problems(ledger, target, run.pk, worker_host.expected(bed.rows))[:10] == [], what


@pytest.mark.parametrize("step", [step for step in STEPS if step not in OF_OTHER_RUNS])
def test_whoever_dies_in_a_load_leaves_it_exact(bed: Bed, step: str) -> None:
    """Each death in a run of its own, over a source that has changed since the one before."""
    for point in points_of(step):
        for number in (1, 2) if point in TWICE else (1,):
            before = bed.rows if Run.objects.exists() else {}
            if before:
                bed.change_source(relinked(worker_host.changed(bed.rows, Run.objects.count(), more_people=20)))
            run = services.start_run(bed.project, drivers=1)
            died_and_finished(run, point, number)
            assert_as_expected(bed, run, f"{point}:{number}")
            assert_counts(bed, run, before, f"{point}:{number}")


def relinked(rows: dict[str, dict[str, checker.Row]]) -> dict[str, dict[str, checker.Row]]:
    """With two new companies, on different pages, that belong to one further down: something to relink."""
    companies = dict(rows["Company"])
    size = len(companies)
    for number in (size, size + PAGE):
        companies[f"C{number}"] = {**companies["C1"], "Id": f"C{number}", "Parent": f"C{size + 2 * PAGE}"}
    for number in range(size, size + 2 * PAGE + 1):
        companies.setdefault(f"C{number}", {**companies["C1"], "Id": f"C{number}", "Parent": ""})
    order = sorted(companies, key=lambda name: int(name[1:]))
    return {**rows, "Company": {name: companies[name] for name in order}}


def assert_counts(bed: Bed, run: Run, before: dict[str, dict[str, checker.Row]], what: str) -> None:
    """A death in the middle changes no count: what was sent twice was still created once."""
    wanted = {"created": 0, "updated": 0, "unchanged": 0}
    for entity, rows in bed.rows.items():
        for name, row in rows.items():
            was = before.get(entity, {}).get(name)
            wanted["created" if was is None else "unchanged" if was == row else "updated"] += 1
    with bed.connections() as (ledger, _):
        found = checker.outcomes(ledger, run.pk)
    assert found == {name: count for name, count in wanted.items() if count}, what


@pytest.mark.long
def test_whoever_dies_in_a_rollback_leaves_the_target_as_it_was(bed: Bed) -> None:
    assert driven(services.start_run(bed.project, drivers=1)) == 0
    for point in points_of("rollback"):
        for number in (1, 2) if point in TWICE else (1,):
            was, held = bed.rows, rows_of_target(bed)
            bed.change_source(relinked(worker_host.changed(bed.rows, Run.objects.count(), more_people=60)))
            run = services.start_run(bed.project, drivers=1)
            assert driven(run) == 0
            undo = services.start_rollback(Run.objects.get(pk=run.pk), drivers=1)
            died_and_finished(undo, point, number)
            assert rows_of_target(bed) == held, f"{point}:{number}"
            bed.change_source(was)


def rows_of_target(bed: Bed) -> dict[str, list[tuple[object, ...]]]:
    with bed.connections() as (_, target):
        return {
            name: target.execute(f"SELECT * FROM {name} ORDER BY source_id").fetchall()
            for name in ("company", "person")
        }


def test_whoever_dies_following_deletions_leaves_nothing_behind(bed: Bed) -> None:
    ProjectObject.objects.filter(project=bed.project).update(on_delete=OnDelete.MIRROR)
    for point in points_of("deletions"):
        kept = bed.rows
        bed.change_source(with_doomed(kept))
        assert driven(services.start_run(bed.project, drivers=1)) == 0
        bed.change_source(kept)
        died_and_finished(services.start_delta(bed.project, drivers=1), point, 1)
        found = {name: {str(row[0]) for row in rows} for name, rows in keys_of_target(bed).items()}
        assert found == {"company": set(kept["Company"]), "person": set(kept["Person"])}, point


def with_doomed(rows: dict[str, dict[str, checker.Row]]) -> dict[str, dict[str, checker.Row]]:
    """Four companies more: the first belongs to the second, which is deleted with it, and the third to the first,
    which is deleted before it."""
    like = {**rows["Company"]["C1"], "Parent": ""}
    doomed = {name: {**like, "Id": name} for name in ("C900", "C901", "C902", "C903")}
    doomed["C900"]["Parent"], doomed["C902"]["Parent"] = "C901", "C900"
    return {**rows, "Company": {**rows["Company"], **doomed}}


def keys_of_target(bed: Bed) -> dict[str, list[tuple[object, ...]]]:
    with bed.connections() as (_, target):
        return {name: target.execute(f"SELECT source_id FROM {name}").fetchall() for name in ("company", "person")}


def test_whoever_dies_bringing_what_waited_leaves_nothing_out(bed: Bed) -> None:
    """A retry of a company that was refused brings the company and the people that waited for it, too."""
    assert driven(services.start_run(bed.project, drivers=1)) == 0
    for number, point in enumerate(points_of("waiting")):
        parent, child = f"C90{number}", f"C91{number}"
        like = {**bed.rows["Company"]["C1"], "Parent": ""}
        companies = {
            parent: {**like, "Id": parent, "Name": f"refused {number}"},
            child: {**like, "Id": child, "Parent": parent},
        }
        people: dict[str, checker.Row] = {name: {**row, "Company": parent} for name, row in bed.rows["Person"].items()}
        bed.change_source({"Company": {**bed.rows["Company"], **companies}, "Person": people})
        with refusing(bed):
            assert driven(services.start_run(bed.project, drivers=1)) == 0
        run = services.start_retry(bed.project, Scope(source_ids=(parent,)), drivers=1)
        died_and_finished(run, point, 1)
        brought = Chunk.objects.filter(run=run).aggregate(created=Sum("created"), updated=Sum("updated"))
        assert brought == {"created": 1, "updated": 1 + len(people)}, point
        again = services.start_run(bed.project, drivers=1)
        assert driven(again) == 0
        assert_as_expected(bed, again, point)
        assert_counts(bed, again, bed.rows, point)


@contextmanager
def refusing(bed: Bed) -> Iterator[None]:
    """For the duration the target takes no company of a certain name."""
    where = "ALTER TABLE company"
    with psycopg.connect(worker_host.dsn(bed.database), autocommit=True) as target:
        target.execute(f"{where} ADD CONSTRAINT picky CHECK (name NOT LIKE 'refused%') NOT VALID")
        yield
        target.execute(f"{where} DROP CONSTRAINT picky")


def test_the_environment_says_where_a_command_dies(bed: Bed, database_url: str) -> None:
    run = services.start_run(bed.project, drivers=1)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "drive", str(run.pk)]
    environment = {**os.environ, "DATABASE_URL": database_url, "DEBUG": "true", "MF_CRASH": "load.sent"}
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == -signal.SIGKILL
    let_leases_end()
    assert driven(run) == 0
    assert_as_expected(bed, run, "the command")


# --- Nothing is left out ----------------------------------------------------------------------------------------


def test_every_task_of_the_engine_has_crash_points() -> None:
    assert set(OF_TASKS) == set(Task), "a new kind of work needs crash points, and its word here"
    assert {step for step in OF_TASKS.values() if not points_of(step)} == set()
    assert set(STEPS) == {
        *OF_TASKS.values(),
        "drive",
        "deletions",
        "waiting",
        "bypass",
        "insert",
        str(RunKind.ROLLBACK),
    }


CHANGES = {"write", "delete", "ensure_entity", "recreate"}
COMMITS = {"stage", "stage_more", "part", "intend", "record", "undone", "verified", "settle"}
STAGES = "ledger.stage dies in its commit and after it"
EXCUSED = {
    "session.py: make_room": "plan calls it, and dies after it",
    "sending.py: _written": "load and relink call it, and die after it",
    "rollback.py: _written": "undo calls it, and dies after it",
    "halving.py: halved": "one commit; to die before it is one death more of the chunk, after it nothing is in hand",
    "coordinator.py: _give_up": "sets aside what killed its workers; to die there is one death more",
    "extract.py: extract": STAGES,
    "rollback.py: gather": STAGES,
    "retry.py: gather": STAGES,
    "changes.py: _changes": STAGES,
    "changes.py: _due": STAGES,
    "deletions.py: _stage_fed": STAGES,
    "deletions.py: _stage_unswept": STAGES,
    "retry.py: _asked": STAGES,
    "retry.py: _sifted": STAGES,
    "waiting.py: bring_waiting": "ledger.stage_more dies in its commit and after it",
    "dry_run.py: reconcile": "a dry run writes nothing, and is begun again",
    "dry_run.py: finish": "a dry run writes nothing, and is begun again",
}
"""Functions that change something and have no crash point of their own, and why that is no gap."""


def test_every_change_of_target_or_ledger_in_the_engine_has_a_crash_point_beside_it() -> None:
    missing = [
        f"{file.name}: {function.name}"
        for file in sorted(ENGINE.glob("*.py"))
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef) and changes_something(function) and not dies(function)
    ]
    assert sorted(set(missing) - EXCUSED.keys()) == []


def changes_something(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (
            (node.func.attr in CHANGES and ast.unparse(node.func.value).endswith(".target"))
            or (node.func.attr in COMMITS and ast.unparse(node.func.value) in {"ledger", "leases"})
        )
        for node in ast.walk(function)
    )


def dies(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reached"
        for node in ast.walk(function)
    )


def test_a_deployment_cannot_be_made_to_die() -> None:
    environment = {
        **os.environ, "DEBUG": "false", "MF_CRASH": "load.sent", "SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "localhost",
        "MF_VAULT_KEYS": "k1:" + "A" * 43 + "=", "DJANGO_SETTINGS_MODULE": "migration_factory.settings",
    }  # fmt: skip
    code = "from django.conf import settings; print(repr(settings.MF_CRASH))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "''"
