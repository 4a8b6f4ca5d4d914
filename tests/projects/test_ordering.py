"""Waves and deferred references: parents first, cycles cut where they may be, and the same for any input order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import SettingsInvalid
from projects.ordering import EXACT_LIMIT, Node, Order, OrderImpossible, plan_order

names = st.sampled_from("abcdef")
optional_links = st.tuples(st.sampled_from(["f", "g", "h"]), names, st.just(value=False))


def plans(links: st.SearchStrategy[tuple[str, str, bool]]) -> st.SearchStrategy[list[Node]]:
    nodes = st.builds(Node, names, st.lists(links, max_size=4).map(tuple))
    return st.lists(nodes, max_size=6, unique_by=lambda node: node.name)


def wave_of(order: Order) -> dict[str, int]:
    return {name: number for number, wave in enumerate(order.waves) for name in wave}


def holds(nodes: list[Node], order: Order) -> bool:
    """Every reference that is not deferred points to an earlier wave."""
    waves = wave_of(order)
    return all(
        (node.name, field) in order.deferred or to not in waves or waves[to] < waves[node.name]
        for node in nodes
        for field, to, _ in node.references
    )


@given(plans(optional_links))
def test_every_reference_that_is_not_deferred_points_to_an_earlier_wave(nodes: list[Node]) -> None:
    order = plan_order(nodes)
    assert sorted(name for wave in order.waves for name in wave) == sorted(node.name for node in nodes)
    assert holds(nodes, order)


@given(plans(optional_links), st.randoms())
def test_the_order_of_the_input_does_not_count(nodes: list[Node], random: object) -> None:
    shuffled = list(nodes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random
    assert plan_order(shuffled) == plan_order(nodes)


@given(plans(optional_links))
def test_no_deferred_reference_can_be_spared(nodes: list[Node]) -> None:
    order = plan_order(nodes)
    for spared in order.deferred:
        kept = [
            Node(
                node.name,
                tuple((f, t, r) for f, t, r in node.references if (node.name, f) not in order.deferred - {spared}),
            )
            for node in nodes
        ]
        assert plan_order(kept).deferred  # a cycle is left, which perhaps another reference of it could cut, too


@given(plans(st.tuples(st.sampled_from(["f", "g", "h"]), names, st.booleans())))
def test_a_required_reference_is_deferred_only_to_oneself(nodes: list[Node]) -> None:
    try:
        order = plan_order(nodes)
    except OrderImpossible:
        return
    required = {(node.name, field): to for node in nodes for field, to, needed in node.references if needed}
    own = {(node.name, field) for node in nodes for field, to, _ in node.references if to == node.name}
    assert all(edge not in required or edge in own for edge in order.deferred)
    assert holds(nodes, order)


def test_a_crm_loads_in_its_natural_order() -> None:
    order = plan_order(
        [
            Node("Contact", (("AccountId", "Account", False), ("ReportsToId", "Contact", False))),
            Node("Account", (("OwnerId", "User", False), ("ParentId", "Account", False))),
            Node("User", (("ManagerId", "User", False), ("ProfileId", "Profile", True))),
            Node("Task", (("WhoId", "Contact", False), ("WhoId", "Lead", False), ("WhatId", "Account", False))),
            Node("Lead", (("ConvertedAccountId", "Account", False),)),
        ]
    )
    assert order.waves == (("User",), ("Account",), ("Contact", "Lead"), ("Task",))
    assert order.deferred == {("Contact", "ReportsToId"), ("Account", "ParentId"), ("User", "ManagerId")}


def test_a_cycle_is_cut_at_its_optional_reference() -> None:
    order = plan_order([Node("a", (("to_b", "b", True),)), Node("b", (("to_a", "a", False),))])
    assert order == Order((("b",), ("a",)), frozenset({("b", "to_a")}))


def test_one_reference_shared_by_two_cycles_is_cut_rather_than_two() -> None:
    order = plan_order(
        [
            Node("a", (("x", "b", False), ("y", "c", False))),
            Node("b", (("z", "d", False),)),
            Node("c", (("z", "d", False),)),
            Node("d", (("back", "a", False),)),
        ]
    )
    assert order.deferred == {("d", "back")}


def test_a_large_knot_is_cut_without_trying_everything() -> None:
    size = EXACT_LIMIT * 3
    nodes = [
        Node(
            f"n{number:02}", tuple((f"f{other:02}", f"n{other:02}", False) for other in range(size) if other != number)
        )
        for number in range(size)
    ]
    order = plan_order(nodes)
    assert holds(nodes, order)
    assert len(order.waves) == size


def test_a_cycle_of_required_references_is_refused_by_name() -> None:
    nodes = [Node("b", (("r", "c", True),)), Node("c", (("r", "a", True),)), Node("a", (("r", "b", True),))]
    with pytest.raises(OrderImpossible, match="a → b → c → a need one another by required references") as caught:
        plan_order(nodes)
    assert caught.value.cycle == ("a", "b", "c")


def test_two_objects_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match="“a” twice"):
        plan_order([Node("a"), Node("a")])


def test_nothing_to_order_is_no_waves() -> None:
    assert plan_order([]) == Order((), frozenset())
