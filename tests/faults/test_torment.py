"""The fault campaign as CI holds it: short, with a fixed seed; and what it would say of broken promises."""

import os
import random
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from django.conf import settings

from migration_factory.torment import checker, companies
from migration_factory.torment.checker import Held, Told, Tracked
from migration_factory.torment.companies import COMPANY, PERSON
from migration_factory.torment.expectation import Expectation, Standing, State
from migration_factory.torment.scene import Row, Rows
from migration_factory.torment.workers import Host

COMMAND = [sys.executable, str(settings.BASE_DIR / "manage.py"), "torment"]
ROW = {"Name": "Person 1", "Company__c": "C1"}


def torment(*options: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DEBUG": "true"}
    return subprocess.run([*COMMAND, *options], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.long
@pytest.mark.processes
def test_a_short_campaign_is_clean() -> None:
    """One round, and with this seed it is the one in which people edit what we wrote."""
    done = torment("workbook", "--faults", "kill,expire,cut,drop-after-commit,slow", "--seed", "20261121",
                   "--minutes", "0", "--records", "300", "--json")  # fmt: skip
    report = orjson.loads(done.stdout)
    assert (done.returncode, report["problems"], report["clean"]) == (0, [], True), done.stderr
    assert report["runs"]["load"] >= 1
    assert report["rounds"] == {"edit": 1}
    assert report["edits"] > 0
    assert report["records_checked"] >= 600
    assert "--seed 20261121" in done.stderr


@pytest.mark.processes
def test_what_a_killed_supervisor_leaves_is_ended_by_its_successor(database_url: str, tmp_path: Path) -> None:
    """A campaign that ends right then has found no broken promise."""
    host = Host(f"torment-{os.getpid()}", database_url, "", tmp_path / "workers.log", 1)
    host.start()
    supervisor = host.process
    assert supervisor is not None
    while len(host.processes()) < 4:
        assert supervisor.poll() is None, host.log.read_text()
    supervisor.kill()
    supervisor.wait()
    assert host.processes()
    assert host.stop() == []
    assert host.processes() == []


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    done = torment("workbook", "--faults", "kill,meteor")
    assert done.returncode == 1
    assert "There is no fault “meteor”; choose of kill, freeze" in done.stderr


# --- The checker sees what it is there for ----------------------------------------------------------------------


def held(rows: dict[str, Row], **given: object) -> dict[str, Held]:
    ids = {key: f"T{key}" for key in rows}
    return {COMPANY: Held({}, {}), PERSON: Held(**{"rows": rows, "ids": ids, **given})}  # type: ignore[arg-type]  # by name


def wanted(**rows: Row) -> dict[str, dict[str, Row]]:
    return {COMPANY: {}, PERSON: rows}


def stand(**states: str) -> dict[str, dict[str, str]]:
    return {COMPANY: {}, PERSON: states}


def test_nothing_is_said_where_all_is_as_it_must_be() -> None:
    assert checker.problems_of_target(held({"P1": ROW}), wanted(P1=ROW)) == []
    known = {COMPANY: {}, PERSON: {"P1": [Tracked("unchanged", "TP1", "P1")]}}
    assert checker.problems_of_states(known, stand(P1="loaded")) == []
    assert checker.problems_of_id_map(known, held({"P1": ROW})) == []
    asked = {(PERSON, "P1", "Name", False)}
    assert checker.problems_of_questions(asked, asked) == []
    assert checker.problems_of_spared({(PERSON, "P1", "Name")}, {(PERSON, "P1", "Name")}) == []


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
        (
            {"P1": [Tracked("deferred", None, None, "waits")]},
            "Person__c: 1 not in the state they must be in: P1 (should be loaded, is deferred: waits)",
        ),
        ({"P1": [Tracked("loaded", "T", "P1")] * 2}, "Person__c: 1 tracked twice: P1"),
        (
            {"P1": [Tracked("loaded", "T", "P1")], "P9": [Tracked("loaded", "T", "P9")]},
            "Person__c: 1 tracked, but never read: P9",
        ),
    ],
)
def test_a_record_that_does_not_stand_where_it_must_is_told(records: dict[str, list[Tracked]], said: str) -> None:
    assert checker.problems_of_states({COMPANY: {}, PERSON: records}, stand(P1="loaded")) == [said]


def test_an_id_map_that_names_another_record_is_told() -> None:
    known = {COMPANY: {}, PERSON: {"P1": [Tracked("loaded", "T9", "P1")]}}
    told = checker.problems_of_id_map(known, held({"P1": ROW}))
    assert told == ["Person__c: 1 named otherwise by ledger and target: P1"]


def test_counts_that_do_not_add_up_are_told() -> None:
    told = Told({"created": 2}, {"Person__c 0": (3, 2, 2, 1, 0, 1, 0, 4)})
    assert checker.problems_of_counts(told, {"created": 1}, {"created": range(3, 5)}, range(1)) == [
        "Person__c 0: 3 read, 2 in chunks, 2 accounted for",
        "Person__c 0: 0 gaps between chunks, 1 chunks not verified, 0 missing on reading back",
        "reading back found 4 different, where there are 0",
        "the report says {'created': 1}, the chunks {'created': 2}",
        "the run counts {'created': 2} where it must be {'created': '3 to 4'}",
    ]


def test_a_question_too_few_and_one_too_many_are_told() -> None:
    asked, due = {(PERSON, "P1", "Name", False)}, {(PERSON, "P1", "Name", True), (PERSON, "P2", "", False)}
    assert checker.problems_of_questions(asked, due) == [
        "The queue: 2 not asked: Person__c P1.Name, answered, Person__c P2.(whole)",
        "The queue: 1 asked for nothing: Person__c P1.Name",
    ]


def test_an_edit_that_a_rollback_does_not_list_is_told() -> None:
    assert checker.problems_of_spared({(PERSON, "P2", "Name")}, {(PERSON, "P1", "Name")}) == [
        "The rollback: 1 edits not listed: Person__c.P1.Name",
        "The rollback: 1 listed that nobody edited: Person__c.P2.Name",
    ]


# --- What must be right is worked out without the engine --------------------------------------------------------
#
# Two companies and a person, brought once; then one thing happens, and a plain reader of docs/mapping.md says what
# has to come of it.


def brought() -> tuple[Expectation, dict[str, dict[str, Row]]]:
    chance = random.Random(1)
    rows = companies.generated(chance, 12)
    rows = {COMPANY: dict(rows[COMPANY]), PERSON: {"P0": {**rows[PERSON]["P0"], "Rate__c": "1.00", "Chief__c": None}}}
    known = Expectation(companies.entities(), {COMPANY: {}, PERSON: {}}, stamps=False, ruled=True)
    assert known.loaded(rows).least == {"created": 3}
    return known, rows


def person(known: Expectation) -> Standing:
    return known.known[PERSON]["P0"]


def with_person(rows: Rows, **values: str | None) -> dict[str, dict[str, Row]]:
    now = {entity: dict(of_it) for entity, of_it in rows.items()}
    now[PERSON]["P0"] = {**now[PERSON]["P0"], **values}
    return now


def test_an_unchanged_source_is_read_and_nothing_is_written() -> None:
    known, rows = brought()
    assert known.loaded(rows).least == {"unchanged": 3}
    assert known.before == {}


@pytest.mark.parametrize(
    ("edited", "changed", "state", "held"),
    [
        ({"Note__c": "mine"}, {"Note__c": "theirs"}, State.LOADED, {"Note__c": "mine"}),
        ({"Name": "mine"}, {"Name": "theirs"}, State.LOADED, {"Name": "theirs"}),
        ({"Rate__c": "2.00"}, {"Rate__c": "3.00"}, State.CONFLICT, {"Rate__c": "2.00"}),
        ({"Rate__c": "3.00"}, {"Rate__c": "3.00"}, State.LOADED, {"Rate__c": "3.00"}),
        ({"Rate__c": "2.00"}, {"Name": "theirs"}, State.LOADED, {"Rate__c": "2.00", "Name": "theirs"}),
    ],
)
def test_who_wins_where_both_sides_change(edited: Row, changed: Row, state: State, held: Row) -> None:
    known, rows = brought()
    known.edit(PERSON, "P0", edited)
    known.followed(with_person(rows, **changed), asks=True)
    assert person(known).state is state
    assert {name: (person(known).held or {})[name] for name in held} == held


def test_an_answer_is_brought_and_an_edit_that_nobody_crosses_is_found_by_reading_back() -> None:
    known, rows = brought()
    known.edit(PERSON, "P0", {"Rate__c": "2.00"})
    assert known.loaded(rows).least["different"] == 1
    known.followed(with_person(rows, Rate__c="3.00"), asks=True)
    assert known.questions() == {(PERSON, "P0", "Rate__c", False)}
    assert known.answer("source") == 1
    assert known.applied().least == {"updated": 1}
    assert ((person(known).held or {})["Rate__c"], known.questions()) == ("3.00", set())


def test_what_is_refused_stays_as_it_was_and_what_waits_for_it_is_linked_later() -> None:
    known, rows = brought()
    refused = {**rows, COMPANY: {**rows[COMPANY], "C9": {**rows[COMPANY]["C0"], "Code__c": "refused 1"}}}
    counts = known.loaded(with_person(refused, Company__c="C9"))
    assert counts.least == {"rejected": 1, "deferred": 1, "unchanged": 2}
    assert ((person(known).held or {})["Company__c"], person(known).state) == (None, State.DEFERRED)
    known.ruled = False
    assert known.retried().least == {"created": 1, "updated": 1}
    assert (person(known).held or {})["Company__c"] == "C9"


def test_deletions_are_mirrored_flagged_or_asked_about() -> None:
    known, rows = brought()
    known.followed({COMPANY: {}, PERSON: {}}, asks=True)
    assert {each.state for each in known.known[COMPANY].values()} == {State.GONE}
    assert (person(known).state, person(known).held) == (State.DELETED, None)
    known, rows = brought()
    known.edit(PERSON, "P0", {"Name": "mine"})
    known.followed({**rows, PERSON: {}}, asks=True)
    assert known.questions() == {(PERSON, "P0", "", False)}


def test_a_rollback_takes_back_all_but_what_people_edited() -> None:
    known, rows = brought()
    known.followed(with_person({**rows, COMPANY: {**rows[COMPANY], "C0": {**rows[COMPANY]["C0"], "City__c": "There"}}},
                               Name="Renamed"), asks=True)  # fmt: skip
    known.edit(PERSON, "P0", {"Note__c": "mine"})
    counts, spared = known.rolled_back()
    assert (counts.least, spared) == ({"updated": 1, "conflicts": 1}, {(PERSON, "P0", "Note__c")})
    assert ((person(known).held or {})["Name"], person(known).state) == ("Renamed", State.CONFLICT)
    assert known.known[COMPANY]["C0"].held == known.known[COMPANY]["C0"].wrote
    assert (known.known[COMPANY]["C0"].held or {})["City__c"] == rows[COMPANY]["C0"]["City__c"]
