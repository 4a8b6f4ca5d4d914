"""Who of one org is whom in another."""

from dataclasses import replace

import polars as pl
import pytest

from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType, Owner, OwnerKind
from projects import owners, twins
from projects.mapping.expressions import Scope, compile_rule
from projects.mapping.specification import Field, Mapped, Unknown
from tests.fakes import reference


def user(key: str, name: str, login: str, federation: str = "", email: str = "", **rest: bool) -> Owner:
    return Owner(
        key,
        OwnerKind.USER,
        name,
        (login, federation, email),
        active=rest.get("active", True),
        connected=rest.get("connected", False),
    )


ME = user("me", "Migration", "migration@acme.com", connected=True)


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (user("t", "Other", "ANN@acme.com"), "log-in, whatever the capitals"),
        (user("t", "Other", "ann@acme.com.uat"), "log-in in a sandbox"),
        (user("t", "Other", "x@y.zz", "fed-1"), "federation id"),
        (user("t", "Other", "x@y.zz", email="Ann@Acme.example"), "e-mail"),
        (user("t", "ann Lee", "x@y.zz"), "name"),
    ],
)
def test_users_are_matched_by_what_is_the_same_in_both(there: Owner, why: str) -> None:
    ann = user("s", "Ann Lee", "ann@acme.com", "fed-1", "ann@acme.example")
    assert owners.pairs([ann], [ME, there])[owners.OWNERS] == {"s": "t", "*": "me"}, why


def test_a_sandbox_is_the_source_as_well() -> None:
    ann = user("s", "Ann", "ann@acme.com.uat")
    assert owners.pairs([ann], [user("t", "A", "ann@acme.com")])[owners.USERS] == {"s": "t"}
    # Two addresses that differ by their last word alone are two people.
    assert owners.pairs([user("s", "Ann", "ann@acme.com")], [user("t", "A", "ann@acme.net")])[owners.USERS] == {
        "s": None
    }


def test_a_name_that_two_bear_matches_neither_but_the_active_one_of_two() -> None:
    ann = user("s", "Ann", "ann@acme.com")
    one, other = user("t", "Ann", "a@b.cc"), user("u", "Ann", "d@e.ff")
    assert owners.pairs([ann], [one, other])[owners.OWNERS]["s"] is None
    assert owners.pairs([ann], [one, replace(other, active=False)])[owners.OWNERS]["s"] == "t"


def test_an_inactive_counterpart_owns_nothing_but_may_be_looked_up() -> None:
    ann, gone = user("s", "Ann", "ann@acme.com"), user("t", "Ann", "ann@acme.com", active=False)
    assert owners.pairs([ann], [ME, gone]) == {owners.OWNERS: {"s": None, "*": "me"}, owners.USERS: {"s": "t"}}


def test_queues_are_matched_among_queues() -> None:
    queue = Owner("q", OwnerKind.QUEUE, "Support", ("Support_Queue",))
    there = Owner("r", OwnerKind.QUEUE, "Hilfe", ("Support_Queue",))
    found = owners.pairs([queue], [there, user("t", "Support", "Support_Queue")])
    assert found == {owners.OWNERS: {"q": "r"}, owners.USERS: {}}


def test_what_a_person_entered_stands_and_blanks_are_filled_anew() -> None:
    assert owners.completed({"a": "mine", "b": None}, {"a": "x", "b": "y", "c": None}) == {
        "a": "mine", "b": "y", "c": None,
    }  # fmt: skip


def test_a_refresh_takes_what_is_found_and_leaves_what_a_person_decided() -> None:
    suggested = {"a": "x", "b": None, "c": "z", "d": "w", "g": "old", "*": "me"}
    stored = {"a": "mine", "b": None, "c": None, "e": "by hand", "g": "old", "*": "!"}
    found = {"a": "x", "b": "y", "c": "z", "d": "w", "f": "new", "g": None, "*": "me"}
    assert owners.refreshed(stored, suggested, found) == {
        "a": "mine",  # entered
        "b": "y",  # has got a counterpart
        "c": None,  # blanked by a person
        # d was taken out by a person
        "e": "by hand",
        "f": "new",  # has come since
        "g": None,  # has lost the counterpart
        "*": "!",
    }
    assert owners.refreshed({"a": None}, {}, {"a": "x", "b": "y"}) == {"a": None, "b": "y"}  # kept before we noted it


def test_the_standing_names_who_has_no_counterpart_and_who_is_not_active() -> None:
    source = [user("a", "Ann", ""), user("b", "Bob", ""), user("c", "Cy", ""), user("d", "Dee", "", active=False)]
    target = [ME, user("x", "X", ""), user("y", "Y", "", active=False)]
    found = owners.standing({"a": "x", "b": "y", "c": None, "*": "me"}, source, target)
    assert (found.mapped, found.unmapped, found.inactive, found.fallback) == (2, ("Cy",), ("Bob",), "Migration")
    assert "2 of 3 users and queues" in found.sentence
    assert "(Cy) go to Migration" in found.sentence
    refused = owners.standing({"c": None, "*": "!"}, source, target)
    assert "are refused" in refused.sentence


def test_references_to_people_are_filled_from_the_maps_where_the_target_takes_them() -> None:
    fields = (
        FieldInfo("Id"), reference("OwnerId", "User", "Group"), reference("Approver__c", "User"),
        FieldInfo("CreatedById", FieldType.REFERENCE, references=("User",), writable=False),
    )  # fmt: skip
    entity = EntitySchema(EntityInfo("Rule__c", "Rule", "Id"), fields)
    target = EntitySchema(entity.entity, (*fields, FieldInfo("Key__c", external_id=True, unique=True)))
    like = twins.alike(entity, target, key="Key__c", people=True)
    rules = {rule.target: rule.rule for rule in like.mapping.to_target}
    assert rules["OwnerId"] == Mapped(Field("OwnerId"), name="owners", unknown=Unknown.NOTE)
    assert rules["Approver__c"] == Mapped(Field("Approver__c"), name="users", unknown=Unknown.NOTE)
    assert like.cannot_be_filled == ("CreatedById",)


@pytest.mark.parametrize(
    ("entries", "values"),
    [
        ({"A": "x", "B": None, "*": "me"}, ["x", "me", "me", None, None]),
        ({"A": "x", "B": None}, ["x", None, None, None, None]),
        ({}, [None] * 5),
    ],
)
def test_whoever_has_no_counterpart_gets_the_fallback_and_a_note(
    entries: dict[str, str | None], values: list[str | None]
) -> None:
    rule = Mapped(Field("O"), name="owners", unknown=Unknown.NOTE)
    compiled = compile_rule(rule, Scope("the entity", frozenset({"O"}), frozenset(), {"owners": entries}))
    frame = pl.DataFrame({"O": ["a", "B", "c", " ", None]})
    assert frame.select(compiled.expr.alias("v"))["v"].to_list() == values
    [note] = compiled.faults
    hit = frame.select(note.when.fill_null(value=False).alias("h"))["h"].to_list()
    assert hit == [not entries, True, True, False, False]
    assert note.severity == "note"


def test_whoever_has_no_counterpart_is_refused_where_the_policy_says_so() -> None:
    rule = Mapped(Field("O"), name="owners", unknown=Unknown.NOTE)
    scope = Scope("the entity", frozenset({"O"}), frozenset(), {"owners": {"A": "x", "B": None, "*": "!"}})
    compiled = compile_rule(rule, scope)
    frame = pl.DataFrame({"O": ["a", "B", "c", " ", None]})
    assert frame.select(compiled.expr.alias("v"))["v"].to_list() == ["x", None, None, None, None]
    [refused] = compiled.faults
    assert (refused.rule, refused.severity) == ("no_counterpart", "error")
    hit = frame.select(refused.when.fill_null(value=False).alias("h"))["h"].to_list()
    assert hit == [False, True, True, False, False]


def test_a_queue_that_does_not_serve_an_object_is_told() -> None:
    pay = Owner("q1", OwnerKind.QUEUE, "Pay", ("Pay",))
    there = [
        Owner("q2", OwnerKind.QUEUE, "Lohn", ("Pay",), owns=frozenset({"Case"})),
        Owner("q3", OwnerKind.QUEUE, "Unasked", ("Other",)),
    ]
    found = owners.standing({"q1": "q2", "q4": "q3"}, [pay, replace(pay, id="q4")], there, ["Case", "Rule__c", "Lead"])
    assert found.unserved == (("Lohn", "Lead"), ("Lohn", "Rule__c"))
    assert found.worth_telling
    assert "The queue Lohn of the target does not serve Lead, Rule__c: add it to the queue there" in found.sentence
    assert not owners.standing({"q1": "q2"}, [pay], there, ["Case"]).worth_telling
