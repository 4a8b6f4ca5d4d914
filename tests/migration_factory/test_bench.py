"""The benchmark in small: what its file holds, what it concludes, and one contest over a few hundred records."""

from io import StringIO
from pathlib import Path

import orjson
import polars as pl
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from migration_factory import crew, scratch
from migration_factory.bench import contest, engine, rest, rivals
from migration_factory.bench.contest import Contest
from migration_factory.bench.data import COLUMNS, write_accounts
from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.report import Memory, Report, Timing
from migration_factory.bench.trial import Figure, Size
from orgs.models import Customer
from runs import drivers
from runs.models import Run


@pytest.fixture
def drives_here(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """The run is driven in this process, which takes a tenth of the time that starting two takes."""

    def drive(run: Run, workers: int) -> tuple[float, ...]:
        drivers.drive_here(run.pk)
        return (100.0,) * workers

    settings.MF_LOCAL_FOLDERS = True
    monkeypatch.setattr(crew, "drive", drive)


def report(*timings: Timing, memory: Memory | None = None) -> Report:
    return Report(100, 17, timings, [1.0], memory or Memory(10, 200.0, 210.0), "a machine", {"python": "3"})


def test_the_file_holds_so_many_different_records(tmp_path: Path) -> None:
    file = tmp_path / "Account.csv"
    write_accounts(file, 1_000)
    frame = pl.read_csv(file, infer_schema=False)
    assert tuple(frame.columns) == COLUMNS
    assert len(COLUMNS) == 17
    assert frame["Id"].n_unique() == frame["Name"].n_unique() == 1_000
    assert frame["Name"].str.contains(",").any(), "some cells need quoting"
    assert frame["Industry"].null_count(), "some cells are blank"


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_accounts(tmp_path / "whole.csv", 250)
    monkeypatch.setattr("migration_factory.bench.data.BLOCK_ROWS", 100)
    write_accounts(tmp_path / "blocks.csv", 250)
    assert (tmp_path / "blocks.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_ratios_compare_medians() -> None:
    slow, quick = (Timing("engine", n, seconds) for n, seconds in ((1, 30.0), (2, 10.0)))
    found = report(slow, quick, Timing("copy", 1, 12.0), Timing("copy", 2, 8.0))
    [ratio] = found.ratios
    assert (ratio.rival, ratio.times, ratio.met) == ("copy", 0.5, True)
    assert found.met
    assert orjson.loads(orjson.dumps(found.as_json()))["ratios"] == {"copy": 0.5}


@pytest.mark.parametrize(
    ("seconds", "growth"), [(4.9, 10.0), (5.0, 50.1)], ids=["slower than half of COPY", "too much memory"]
)
def test_what_falls_short_is_not_met(seconds: float, growth: float) -> None:
    memory = Memory(10, 200.0, 200.0 + growth)
    assert not report(Timing("engine", 1, 10.0), Timing("copy", 1, seconds), memory=memory).met


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("drives_here")
def test_a_contest_in_small() -> None:
    heard: list[str] = []
    found = contest.hold(Contest(rows=300, rounds=2, rivals=["copy"], tell=heard.append))
    assert [(timing.contestant, timing.round) for timing in found.timings] == [
        ("engine", 1),
        ("copy", 1),
        ("copy", 2),
        ("engine", 2),
    ]
    assert len(heard) == 4
    assert len(found.reconcile_seconds) == 2
    assert not Customer.objects.exists(), "nothing of it stays"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("drives_here")
def test_a_run_that_loads_less_is_no_measurement(tmp_path: Path) -> None:
    write_accounts(tmp_path / "Account.csv", 20)
    scratch.create(contest.DATABASE)
    try:
        tenant = scratch.install_product(contest.DATABASE, tenant="bench")
        with pytest.raises(BenchFailed, match="all of 21 records"):
            engine.load(tmp_path, contest.DATABASE, tenant, rows=21)
        rivals.export_mapped(contest.DATABASE, tmp_path / "mapped.copy")
        with scratch.connect(contest.DATABASE) as server:
            server.execute("TRUNCATE accounts CASCADE")
        with pytest.raises(BenchFailed, match="COPY loaded 20 rows, not 19"):
            rivals.raw_copy(tmp_path / "mapped.copy", contest.DATABASE, rows=19)
    finally:
        scratch.drop(contest.DATABASE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--rows", "0", "--without-dlt"], "at least 1"), (["--rounds", "0", "--without-dlt"], "at least 1")],
)
def test_the_command_refuses_what_cannot_be_measured(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("bench", *arguments)


def test_the_command_says_how_to_get_dlt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "dlt_installed", lambda: False)
    with pytest.raises(CommandError, match="make bench"):
        call_command("bench")


def test_rest_is_judged_against_fetching_alone_and_dlt_as_it_comes() -> None:
    found = rest.figures(100, {"fetching alone": 4.0, "engine": 5.0, "dlt": 15.0, "dlt tuned": 10.0})
    judged = {figure.name: (figure.value, figure.met) for figure in found if figure.wanted}
    assert judged == {"engine takes, of fetching alone": (1.25, True), "engine is as fast as dlt": (3.0, True)}
    assert not all(figure.met for figure in rest.figures(100, {"fetching alone": 3.0, "engine": 5.0}))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("drives_here")
def test_the_pages_of_a_rest_api_are_moved_and_counted(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    monkeypatch.setattr(rivals, "dlt_installed", lambda: False)
    found = rest.measure(Size(25_000))
    assert [figure.name for figure in found] == [
        "2,500 records: fetching alone", "2,500 records: engine", "engine takes, of fetching alone"
    ]  # fmt: skip
    assert not Customer.objects.exists()


def test_a_measurement_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Size) -> list[Figure]:
        raise BenchFailed("nothing came")

    held = {"pages": failing, "rest": lambda _: [Figure("pages a second", 70, "pages", at_least=60)]}
    monkeypatch.setattr("migration_factory.management.commands.bench.trial", held.__getitem__)
    monkeypatch.setattr("migration_factory.management.commands.bench.call_command", lambda *_, **__: None)
    shown, told = StringIO(), StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("bench", "--only", "pages", "rest", "--json", stdout=shown, stderr=told)
    assert ended.value.code == 1
    assert "pages failed: nothing came" in told.getvalue()
    assert '"bench":"rest"' in shown.getvalue()
    call_command("bench", "--only", "rest", "--json", stdout=shown)
