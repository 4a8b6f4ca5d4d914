"""The fault campaign as CI holds it: short, with a fixed seed; and what it would say of broken promises."""

import os
import subprocess
import sys

import orjson
import pytest
from django.conf import settings

from migration_factory.torment import checker, truth
from migration_factory.torment.checker import Held, Told, Tracked
from migration_factory.torment.truth import COMPANY, PERSON

COMMAND = [sys.executable, str(settings.BASE_DIR / "manage.py"), "torment"]
ROW = {"Name": "Person 1", "Company__c": "C1"}


def torment(*options: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DEBUG": "true"}
    return subprocess.run([*COMMAND, *options], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.processes
def test_a_short_campaign_is_clean() -> None:
    done = torment("workbook", "--faults", "kill,expire,cut,drop-after-commit,slow", "--seed", "20261120",
                   "--minutes", "0.05", "--records", "2000", "--json")  # fmt: skip
    report = orjson.loads(done.stdout)
    assert (done.returncode, report["problems"], report["clean"]) == (0, [], True), done.stderr
    assert report["runs"]["load"] >= 1
    assert report["records_checked"] >= 2_000
    assert "--seed 20261120" in done.stderr


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    done = torment("workbook", "--faults", "kill,meteor")
    assert done.returncode == 1
    assert "There is no fault “meteor”; choose of kill, freeze" in done.stderr


# --- The checker sees what it is there for ----------------------------------------------------------------------


def held(rows: dict[str, truth.Row], **given: object) -> dict[str, Held]:
    ids = {key: f"T{key}" for key in rows}
    return {COMPANY: Held({}, {}), PERSON: Held(**{"rows": rows, "ids": ids, **given})}  # type: ignore[arg-type]  # by name


def wanted(**rows: truth.Row) -> dict[str, dict[str, truth.Row]]:
    return {COMPANY: {}, PERSON: rows}


def test_nothing_is_said_where_all_is_as_it_must_be() -> None:
    assert checker.problems_of_target(held({"P1": ROW}), wanted(P1=ROW)) == []
    known = {COMPANY: {}, PERSON: {"P1": [Tracked("loaded", "TP1", "P1")]}}
    assert checker.problems_of_states(known, wanted(P1=ROW)) == []
    assert checker.problems_of_id_map(known, held({"P1": ROW})) == []


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (held({}), "Person__c: 1 lost: P1"),
        (held({"P1": ROW, "P2": ROW}), "Person__c: 1 there without anybody's asking: P2"),
        (held({"P1": ROW}, doubled=["P1"]), "Person__c: 1 there twice: P1"),
        (held({"P1": ROW}, dangling=["P1.Company__c"]), "Person__c: 1 pointing nowhere: P1.Company__c"),
        (held({"P1": ROW}, keyless=2), "Person__c: 2 without a key"),
        (
            held({"P1": {**ROW, "Name": "Other"}}),
            "Person__c: 1 different: P1.Name (should be 'Person 1', is 'Other')",
        ),
    ],
)
def test_a_target_that_is_not_as_it_must_be_is_told(there: dict[str, Held], said: str) -> None:
    assert checker.problems_of_target(there, wanted(P1=ROW)) == [said]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ({}, "Person__c: 1 not tracked: P1"),
        ({"P1": [Tracked("deferred", None, None, "waits")]}, "Person__c: 1 in no end state: P1 (deferred: waits)"),
        ({"P1": [Tracked("loaded", "T", "P1")] * 2}, "Person__c: 1 tracked twice: P1"),
    ],
)
def test_a_record_that_does_not_stand_in_one_end_state_is_told(records: dict[str, list[Tracked]], said: str) -> None:
    assert checker.problems_of_states({COMPANY: {}, PERSON: records}, wanted(P1=ROW)) == [said]


def test_an_id_map_that_names_another_record_is_told() -> None:
    known = {COMPANY: {}, PERSON: {"P1": [Tracked("loaded", "T9", "P1")]}}
    told = checker.problems_of_id_map(known, held({"P1": ROW}))
    assert told == ["Person__c: 1 named otherwise by ledger and target: P1"]


def test_counts_that_do_not_add_up_are_told() -> None:
    told = Told({"created": 2}, {"Person__c 0": (3, 2, 2, 1, 0, 1, 0, 0)})
    assert checker.problems_of_counts(told, {"created": 1}, {"created": 3}) == [
        "Person__c 0: 3 read, 2 in chunks, 2 accounted for",
        "Person__c 0: 0 gaps between chunks, 1 chunks not verified, 0 missing and 0 different on reading back",
        "the report says {'created': 1}, the chunks {'created': 2}",
        "the run counts {'created': 2} where it must be {'created': 3}",
    ]
