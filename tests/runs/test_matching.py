"""Matching: a record that the target has already is taken over, not doubled; where it is not certain, nobody wins."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.errors import Unavailable
from connectors.types import Asking, Capabilities, FieldInfo
from projects.mapping.specification import Field, FieldRule, ObjectMapping, Reference
from projects.models import Project
from projects.services import save_mapping
from runs import services
from runs.choices import RunState
from runs.ledger import Scope
from runs.models import Finding
from tests import factories
from tests.fakes import WORLDS, FakeTarget, World, failing, reference, schema
from tests.runs.test_engine import drive, totals, tracked

MAIL = FieldInfo("email", ignores_case=True)


@pytest.fixture
def moving(db: None, world: World) -> Project:
    """Accounts, and contacts matched by e-mail within their account; the target ignores case."""
    return contacts_project(world, "email", "account")


def contacts_project(world: World, *match: str) -> Project:
    project = factories.project(mirror=False)
    world.ignores_case = True
    world.page_size = 2
    world.target_schemas["account"] = schema("account", "key", "name", id_field="id")
    world.target_schemas["contact"] = schema(
        "contact", "key", MAIL, "phone", reference("account", "account"), id_field="id"
    )
    world.add(schema("Account", "Name"), {"Id": "A0", "Name": "Acme"}, {"Id": "A1", "Name": "Beta"})
    world.add(schema("Contact", "Email", "Phone", "AccountId"))
    save(project, "Account", {"name": Field("Name")}, ())
    of = Reference(Field("AccountId"), ("Account",))
    save(project, "Contact", {"email": Field("Email"), "phone": Field("Phone"), "account": of}, match)
    return project


def save(project: Project, entity: str, fields: dict[str, Any], match: tuple[str, ...]) -> None:
    rules = (FieldRule("key", Field("Id")), *(FieldRule(name, rule) for name, rule in fields.items()))
    save_mapping(project, ObjectMapping(entity, entity.lower(), "Id", "key", rules, match=match), 0)


def contact(world: World, source_id: str, email: str | None = "ann@x.org", account: str | None = "A0") -> None:
    world.records["Contact"].append({"Id": source_id, "Email": email, "Phone": "1", "AccountId": account})


def there(world: World, target_id: str, email: str = "Ann@X.org", account: str = "1", key: str | None = None) -> None:
    """A contact that the target has; the account that is created first gets the id 1."""
    place = key or f"there {target_id}"
    row = {"target_id": target_id, "key": key, "email": email, "account": account, "phone": "0"}
    world.rows["contact"][place] = row


def verdict(project: Project, source_id: str = "C0") -> tuple[str, str, str]:
    record = tracked(project, "Contact")[source_id]
    return record.state, record.code, record.reason


def test_the_one_record_that_agrees_is_taken_over(world: World, moving: Project) -> None:
    contact(world, "C0")
    there(world, "t1")
    run = drive(services.start_run(moving))
    assert (run.state, totals(run)) == (RunState.COMPLETED, {"read": 3, "created": 2, "updated": 1})
    assert list(world.rows["contact"]) == ["C0"]
    row = world.rows["contact"]["C0"]
    assert (row["target_id"], row["key"], row["phone"]) == ("t1", "C0", "1")
    assert tracked(moving, "Contact")["C0"].target_id == "t1"
    world.writes.clear()
    world.finds.clear()
    assert totals(drive(services.start_run(moving))) == {"read": 3, "unchanged": 3}
    assert (world.writes, world.finds) == ([], [])


def test_a_record_that_nobody_agrees_with_is_created(world: World, moving: Project) -> None:
    contact(world, "C0")
    there(world, "t1", email="bob@x.org")
    there(world, "t2", account="2")
    run = drive(services.start_run(moving))
    assert totals(run) == {"read": 3, "created": 3}
    assert {row["target_id"] for row in world.rows["contact"].values()} >= {"t1", "t2"}


def test_the_id_map_comes_before_the_match_key(world: World, moving: Project) -> None:
    contact(world, "C0")
    drive(services.start_run(moving))
    there(world, "t1")
    world.records["Contact"][0]["Phone"] = "2"
    run = drive(services.start_run(moving))
    assert totals(run) == {"read": 3, "updated": 1, "unchanged": 2}
    assert world.rows["contact"]["there t1"]["phone"] == "0"


def test_our_key_in_the_target_comes_before_the_match_key(world: World, moving: Project) -> None:
    contact(world, "C0")
    there(world, "mine", email="else@x.org", key="C0")
    there(world, "t1")
    drive(services.start_run(moving))
    assert tracked(moving, "Contact")["C0"].target_id == "mine"
    assert "there t1" in world.rows["contact"]


def test_several_that_agree_stop_the_record_with_the_candidates(world: World, moving: Project) -> None:
    contact(world, "C0")
    contact(world, "C1", email="bob@x.org")
    there(world, "t1")
    there(world, "t2")
    run = drive(services.start_run(moving))
    assert totals(run) == {"read": 4, "created": 3, "rejected": 1}
    reason = "Several records of contact agree in email + account with “ann@x.org + 1”: t1, t2."
    assert verdict(moving) == ("rejected", "ambiguous_match", reason)
    found = Finding.objects.get(run=run)
    assert (found.rule, found.field, found.value) == ("ambiguous_match", "email, account", "ann@x.org + 1")


def test_one_that_carries_another_key_is_not_taken(world: World, moving: Project) -> None:
    contact(world, "C0")
    there(world, "t1", key="somebody")
    drive(services.start_run(moving))
    reason = "The record t1 agrees in email + account with “ann@x.org + 1” and carries the key somebody already."
    assert verdict(moving) == ("rejected", "ambiguous_match", reason)
    assert world.rows["contact"]["somebody"]["phone"] == "0"


@pytest.mark.parametrize("pages", [("C0", "C1"), ("C0", "C2", "C3", "C1")], ids=["one page", "two pages"])
@pytest.mark.parametrize("held", [True, False])
def test_two_source_records_with_one_match_key_both_stop(
    world: World, moving: Project, pages: tuple[str, ...], held: bool
) -> None:
    for name in pages:
        contact(world, name, email={"C0": "ann@x.org", "C1": "ANN@x.org"}.get(name, f"{name}@x.org"))
    if held:
        there(world, "t1")
    run = drive(services.start_run(moving))
    assert totals(run)["rejected"] == 2
    for name, email in (("C0", "ann@x.org"), ("C1", "ANN@x.org")):
        reason = f"Several source records have the same email + account “{email} + 1”: C0, C1."
        assert verdict(moving, name) == ("rejected", "ambiguous_match", reason)
    assert not {"C0", "C1"} & world.rows["contact"].keys()


def test_a_twin_that_is_retried_alone_is_stopped_again(world: World, moving: Project) -> None:
    contact(world, "C0")
    contact(world, "C1")
    drive(services.start_run(moving))
    run = drive(services.start_retry(moving, Scope(source_ids=("C1",))))
    assert totals(run) == {"read": 1, "rejected": 1}
    world.records["Contact"].pop(0)
    assert totals(drive(services.start_run(moving))) == {"read": 3, "created": 1, "unchanged": 2}


@pytest.mark.parametrize("email", [None, "   "])
def test_a_blank_match_key_stops_the_record(world: World, moving: Project, email: str | None) -> None:
    contact(world, "C0", email=email)
    drive(services.start_run(moving))
    state, code, reason = verdict(moving)
    assert (state, code) == ("rejected", "blank_match_key")
    assert reason.startswith("email + account is blank")
    assert world.rows["contact"] == {}


def test_a_parent_that_is_not_there_yet_is_waited_for(world: World, moving: Project) -> None:
    contact(world, "C0", account="A1")
    there(world, "t1", account="2")
    world.refuse = lambda _, row: "No." if row.get("name") == "Beta" else None
    drive(services.start_run(moving))
    assert verdict(moving)[2] == "account waits for Account A1, which was rejected."
    world.refuse = lambda *_: None
    assert drive(services.start_retry(moving)).state == RunState.COMPLETED
    assert tracked(moving, "Contact")["C0"].target_id == "t1"


def test_waiting_twins_both_stop_when_their_parent_comes(db: None, world: World) -> None:
    """Both wait for the same late parent on different pages; relinking must not let the first one win."""
    project = contacts_project(world, "account")
    world.page_size = 1
    accounts = schema("Account", "Name", reference("ParentId", "Account"))
    world.target_schemas["account"] = schema("account", "key", reference("parent", "account"), id_field="id")
    world.add(accounts)
    world.records["Account"] = [
        {"Id": "A1", "Name": "x", "ParentId": "A0"},
        {"Id": "A0", "Name": "x", "ParentId": None},
    ]
    save_mapping(
        project,
        ObjectMapping(
            "Account", "account", "Id", "key",
            (FieldRule("key", Field("Id")), FieldRule("parent", Reference(Field("ParentId"), ("Account",)))),
            match=("parent",),
        ),
        0,
    )  # fmt: skip
    world.records["Account"].insert(1, {"Id": "A2", "Name": "x", "ParentId": "A0"})
    there_is = {"target_id": "root", "key": "A0", "parent": None}
    world.rows["account"]["A0"] = there_is
    drive(services.start_run(project))
    states = {name: (record.state, record.code) for name, record in tracked(project, "Account").items()}
    assert states["A1"] == states["A2"] == ("rejected", "ambiguous_match")


@pytest.mark.parametrize("moment", ["before_adopt", "after_adopt", "before_write", "after_write"])
def test_a_crash_at_any_moment_takes_over_once(world: World, moving: Project, moment: str) -> None:
    contact(world, "C0")
    there(world, "t1")
    setattr(world, moment, failing(2, Unavailable("The connection broke.")))
    run = drive(services.start_run(moving))
    assert (run.state, totals(run)) == (RunState.COMPLETED, {"read": 3, "created": 2, "updated": 1})
    assert [(row["target_id"], row["key"]) for row in world.rows["contact"].values()] == [("t1", "C0")]


def test_a_record_that_may_not_be_taken_over_is_rejected_with_the_targets_words(world: World, moving: Project) -> None:
    contact(world, "C0")
    there(world, "t1")
    world.before_adopt = lambda _: world.rows["contact"]["there t1"].update(key="quicker")
    drive(services.start_run(moving))
    assert verdict(moving) == ("rejected", "not_adopted", "It is gone, or somebody else's.")
    assert world.rows["contact"]["there t1"]["phone"] == "0"


def test_rolling_back_gives_the_record_back_as_it_was(world: World, moving: Project) -> None:
    contact(world, "C0")
    there(world, "t1")
    before = {row["target_id"]: dict(row) for row in world.rows["contact"].values()}
    run = drive(services.start_run(moving))
    undo = drive(services.start_rollback(run))
    assert undo.state == RunState.COMPLETED, undo.reason
    assert {row["target_id"]: row for row in world.rows["contact"].values()} == before
    assert world.rows["account"] == {}


@pytest.mark.parametrize("moment", ["before_adopt", "after_adopt", "before_write", "after_write"])
def test_a_rollback_that_is_cut_short_gives_the_record_back_once(world: World, moving: Project, moment: str) -> None:
    contact(world, "C0")
    there(world, "t1")
    before = {row["target_id"]: dict(row) for row in world.rows["contact"].values()}
    run = drive(services.start_run(moving))
    for times in (1, 2, 3):
        setattr(world, moment, failing(times, Unavailable("The connection broke.")))
    assert drive(services.start_rollback(run)).state == RunState.COMPLETED
    assert {row["target_id"]: row for row in world.rows["contact"].values()} == before


def test_a_key_that_the_target_does_not_give_back_is_found(world: World, moving: Project) -> None:
    contact(world, "C0")
    there(world, "t1")
    run = drive(services.start_run(moving))
    world.after_adopt = lambda _: world.rows["contact"].update(C0={**world.rows["contact"].popitem()[1], "key": "C0"})
    undo = drive(services.start_rollback(run))
    assert undo.state == RunState.COMPLETED_WITH_ERRORS
    assert Finding.objects.get(run=undo).rule == "key_left"


def test_a_target_that_cannot_look_up_by_fields_is_refused(
    world: World, moving: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTarget, "capabilities", Capabilities(writes=True, asked_by=Asking.KEY_LOOKUP))
    run = drive(services.start_run(moving))
    assert run.state == RunState.FAILED
    assert "cannot look records up by email, account; take the match key off" in run.reason


def test_a_match_key_that_no_rule_fills_is_refused(db: None, world: World) -> None:
    run = drive(services.start_run(contacts_project(world, "fax")))
    assert "Records are to be matched by it and no rule fills it." in run.reason


def test_nothing_is_loaded_before_all_match_keys_are_read(world: World, moving: Project) -> None:
    for number in range(5):
        contact(world, f"C{number}", email=f"{number}@x.org")
    read: list[int] = []
    world.before_read = lambda entity, offset: read.append(offset) if entity == "Contact" else None
    world.before_write = lambda entity: read.append(-1) if entity == "contact" else None
    drive(services.start_run(moving))
    assert read == [0, 2, 4, -1, -1, -1]


mails = st.sampled_from(["a", "A", "b", "c", None])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(source=st.lists(mails, max_size=5), target=st.lists(mails.filter(bool), max_size=4), page=st.integers(1, 3))
def test_every_record_ends_as_a_plain_reading_of_the_rules_says(
    db: None, world: World, source: list[str | None], target: list[str], page: int
) -> None:
    WORLDS["world"] = fresh = World()
    project = contacts_project(fresh, "email")
    fresh.page_size = page
    for number, mail in enumerate(source):
        contact(fresh, f"C{number}", email=mail)
    for number, mail in enumerate(target):
        there(fresh, f"t{number}", email=mail)
    run = drive(services.start_run(project))
    fold = [mail and mail.lower() for mail in source]
    held = [mail.lower() for mail in target]
    for number, mail in enumerate(fold):
        record = tracked(project, "Contact")[f"C{number}"]
        expected = (
            "blank_match_key" if not mail
            else "ambiguous_match" if fold.count(mail) > 1 or held.count(mail) > 1
            else ""
        )  # fmt: skip
        assert record.code == expected
        if not expected and mail in held:
            assert record.target_id == f"t{held.index(mail)}"
    keys = [row["key"] for row in fresh.rows["contact"].values() if row["key"]]
    assert len(keys) == len(set(keys)) == totals(run).get("created", 0) - 2 + totals(run).get("updated", 0)
