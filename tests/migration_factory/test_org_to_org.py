"""The contest from org to org: its data, its check, what it concludes, and how it watches a rival."""

import os
import sys

import polars as pl
import pytest

from migration_factory.bench import org_to_org, org_to_org_peers
from migration_factory.bench.engine import BenchFailed
from migration_factory.bench.org_to_org import Turn
from migration_factory.bench.org_to_org_data import CODE, THINGS, check, compare, counts, define, fill, frames
from migration_factory.bench.org_to_org_peers import PeerMissing
from migration_factory.bench.report import OURS
from migration_factory.bench.trial import Size
from sandbox.salesforce.running import running_simulator


@pytest.mark.parametrize("records", [20, 21, 999, 100_000])
def test_the_objects_make_up_all_records(records: int) -> None:
    assert sum(counts(records).values()) == records
    assert all(counts(records).values())


def test_too_few_records_are_refused() -> None:
    with pytest.raises(BenchFailed, match="20 records or more"):
        counts(19)


def test_every_reference_has_its_record() -> None:
    made = frames(400)
    for thing in THINGS:
        for field, parent in thing.parents.items():
            assert made[thing.name][f"{field}.{CODE}"].is_in(made[parent][CODE].implode()).all()


def test_order_does_not_count_but_a_wrong_reference_does() -> None:
    frame = frames(400)["Worker__c"]
    compare("Worker__c", frame.reverse(), frame)
    with pytest.raises(BenchFailed, match="holds 139 records of Worker__c, not 140"):
        compare("Worker__c", frame.head(139), frame)
    with pytest.raises(BenchFailed, match="not as in the source"):
        compare("Worker__c", frame.with_columns(pl.lit("Depot-0").alias(f"Depot__c.{CODE}")), frame)


def test_what_was_filled_in_is_what_is_read_by_soql() -> None:
    with running_simulator() as org:
        define(org)
        fill(org, 200)
        check(org, 200)
        with pytest.raises(BenchFailed, match="not 11"):
            check(org, 220)


@pytest.mark.processes
def test_the_script_moves_every_record_and_reference() -> None:
    with running_simulator() as source, running_simulator() as target:
        for org in (source, target):
            define(org)
        fill(source, 200)
        ran = org_to_org_peers.script(source.ready, target.ready, tuned=True)
        check(target, 200)
    assert ran.seconds > 0
    assert ran.peak_mib > 5


def test_targets_are_judged() -> None:
    turns = {OURS: Turn(10.0, 100.0, 50), "script": Turn(8.0, 60.0, 30), "SFDMU": Turn(25.0, 500.0, 90)}
    missed = {each.name for each in org_to_org.figures(100, turns, {}) if not each.met}
    assert missed == {f"{OURS} is as fast as script"}
    turns["SFDMU"] = Turn(19.0, 399.0, 90)
    missed = {each.name for each in org_to_org.figures(100, turns, {}) if not each.met}
    assert missed == {f"{OURS} is as fast as {name}" for name in ("script", "SFDMU")} | {
        f"{OURS}'s memory by that of SFDMU"
    }


def test_rounds_are_told_by_their_medians() -> None:
    assert org_to_org.middle([Turn(1, 5, 7), Turn(2, 9, 8), Turn(9, 1, 9)]) == Turn(2, 5, 8)


def test_a_missing_rival_is_shown_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Turn:
        raise PeerMissing("npm is not on this machine")

    told: list[str] = []
    contestants = {OURS: lambda *_: Turn(1.0, 1.0, 1), "SFDMU": absent}
    monkeypatch.setattr(org_to_org, "CONTESTANTS", contestants)
    monkeypatch.setattr(org_to_org, "_turn", lambda contestant, _: contestant())
    names = [each.name for each in org_to_org.measure(Size(1_000, tell=told.append))]
    assert "SFDMU not installed: npm is not on this machine" in names
    assert f"{OURS}: time" in names
    assert any("SFDMU not installed" in line for line in told)


def test_a_rival_that_fails_is_shown_and_nothing_is_won(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Turn:
        raise BenchFailed("socket hang up")

    told: list[str] = []
    monkeypatch.setattr(org_to_org, "_turn", lambda contestant, _: contestant())
    monkeypatch.setattr(org_to_org, "CONTESTANTS", {OURS: lambda: Turn(1.0, 1.0, 1), "SFDMU": failing})
    found = org_to_org.measure(Size(1_000, tell=told.append))
    assert [each.name for each in found if not each.met] == ["SFDMU failed"]
    assert told[-1] == "SFDMU failed: socket hang up"
    monkeypatch.setattr(org_to_org, "CONTESTANTS", {OURS: failing})
    with pytest.raises(BenchFailed, match="socket hang up"):
        org_to_org.measure(Size(1_000))


def test_without_npm_the_peer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(org_to_org_peers.PACKAGES, "sfdmu", "0.0.0")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(PeerMissing, match="npm is not on this machine"):
        org_to_org_peers.installed()


@pytest.mark.processes
def test_a_rival_that_fails_is_told_in_its_own_words() -> None:
    with pytest.raises(BenchFailed, match="nothing to eat"):
        org_to_org_peers.watched([sys.executable, "-c", "raise SystemExit('nothing to eat')"], os.environ)


@pytest.mark.processes
def test_a_rival_that_takes_too_long_is_ended() -> None:
    with pytest.raises(BenchFailed):
        org_to_org_peers.watched([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, within=0.2)
