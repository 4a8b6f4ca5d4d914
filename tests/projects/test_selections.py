"""Which records move: what is stored, what it means, what it says."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.types import Condition, Operator
from projects.selections import (
    EVERYTHING,
    MOST_CHOSEN,
    Mode,
    Selection,
    SelectionInvalid,
    checked,
    conditions,
    ids_in,
    stored,
)

IDENTITIES = {"Rule": "Id", "Point": "Id", "Cap": "Id"}
LIVE = Condition("Status", Operator.EQUALS, ("Live",))
SELECTIONS = st.one_of(
    st.just(EVERYTHING),
    st.builds(
        Selection,
        mode=st.just(Mode.FILTER),
        conditions=st.lists(
            st.builds(
                Condition,
                st.sampled_from(["A", "B.C"]),
                st.sampled_from(list(Operator)),
                st.lists(st.text(), max_size=3).map(tuple),
            ),
            min_size=1,
        ).map(tuple),
    ),
    st.builds(Selection, mode=st.just(Mode.RECORDS), ids=st.lists(st.text(min_size=1), min_size=1).map(tuple)),
    st.builds(
        Selection, mode=st.just(Mode.CHILDREN), through=st.text(min_size=1), parent=st.sampled_from(["Rule", "Cap"])
    ),
)


def meaning(entity: str, selections: Mapping[str, Selection]) -> tuple[Condition, ...]:
    return conditions(entity, selections, IDENTITIES)


@given(SELECTIONS)
def test_what_is_stored_comes_back(selection: Selection) -> None:
    assert stored(selection.as_json()) == selection
    assert selection.sentence


def test_children_follow_the_choice_of_their_parents_at_any_depth() -> None:
    chosen = {
        "Rule": Selection(Mode.RECORDS, ids=("r1", "r2")),
        "Point": Selection(Mode.CHILDREN, through="Rule__c", parent="Rule"),
        "Cap": Selection(Mode.CHILDREN, through="Point__c", parent="Point"),
    }
    assert meaning("Rule", chosen) == (Condition("Id", Operator.AMONG, ("r1", "r2")),)
    assert meaning("Point", chosen) == (Condition("Rule__c.Id", Operator.AMONG, ("r1", "r2"), ("Rule",)),)
    assert meaning("Cap", chosen) == (
        Condition("Point__c.Rule__c.Id", Operator.AMONG, ("r1", "r2"), ("Point", "Rule")),
    )
    filtered = chosen | {"Rule": Selection(Mode.FILTER, (LIVE,))}
    assert meaning("Point", filtered) == (Condition("Rule__c.Status", Operator.EQUALS, ("Live",), ("Rule",)),)
    assert meaning("Point", chosen | {"Rule": EVERYTHING}) == (
        Condition("Rule__c", Operator.FILLED, parents=("Rule",)),
    )
    assert meaning("Nothing", chosen) == ()


def test_circles_and_parents_that_stay_behind_are_refused() -> None:
    circle = {
        "Rule": Selection(Mode.CHILDREN, through="Cap__c", parent="Cap"),
        "Cap": Selection(Mode.CHILDREN, through="Rule__c", parent="Rule"),
    }
    with pytest.raises(SelectionInvalid, match="Rule cannot be chosen by its parents"):
        meaning("Rule", circle)
    lost = {"Point": Selection(Mode.CHILDREN, through="Gone__c", parent="Gone")}
    with pytest.raises(SelectionInvalid, match="Gone, which is not among the objects"):
        meaning("Point", lost)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(Mode.FILTER), "at least one condition"),
        (Selection(Mode.FILTER, (LIVE,) * 11), "10 conditions at most"),
        (Selection(Mode.RECORDS), "Enter the ids"),
        (Selection(Mode.RECORDS, ids=("x",) * (MOST_CHOSEN + 1)), "too many to choose one by one"),
        (Selection(Mode.CHILDREN), "Choose the parent"),
    ],
)
def test_a_choice_of_nothing_or_too_much_is_refused(selection: Selection, said: str) -> None:
    with pytest.raises(SelectionInvalid, match=said):
        checked(selection)


def test_pasted_ids_are_found_however_they_are_separated() -> None:
    assert ids_in(" a1,b2\n\nb2; https://acme.my.salesforce.com/c3/ | d4\r\n") == ("a1", "b2", "c3", "d4")
    assert ids_in("  \n ,; ") == ()


def test_sentences_name_few_values() -> None:
    many = Condition("Status", Operator.AMONG, ("a", "b", "c", "d", "e"))
    assert Selection(Mode.FILTER, (LIVE, many)).sentence == (
        "Status equals “Live” and Status is one of “a”, “b”, “c” and 2 more"
    )
    assert Selection(Mode.RECORDS, ids=("x",)).sentence == "1 chosen record"
