"""Work done ahead: in order, so many at once, each thread with what it opened, and nothing left behind."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from connectors.ahead import Abandoned, Check, in_order


class Watch:
    """A resource that knows its thread, and how many of it were open."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.closed: list[int] = []

    @contextmanager
    def open(self) -> Iterator[int]:
        here = threading.get_ident()
        self.opened.append(here)
        yield here
        assert threading.get_ident() == here
        self.closed.append(here)


def number(value: int) -> Callable[[int, Check], int]:
    def task(resource: int, check: Check) -> int:
        assert resource == threading.get_ident()
        check()
        return value

    return task


@pytest.mark.parametrize("how_many", [0, 1, 3, 4, 20])
def test_results_come_in_the_order_of_their_tasks(how_many: int) -> None:
    watch = Watch()
    assert list(in_order(map(number, range(how_many)), watch.open, at_once=3)) == list(range(how_many))
    assert len(watch.opened) == min(3, how_many)
    assert sorted(watch.opened) == sorted(watch.closed)


def test_so_many_are_under_way_at_once_and_no_more() -> None:
    together = threading.Barrier(3, timeout=10)
    drawn: list[int] = []

    def tasks() -> Iterator[Callable[[int, Check], int]]:
        for value in range(6):
            drawn.append(value)

            def task(_resource: int, _check: Check, value: int = value) -> int:
                together.wait()  # ends only where three do it at the same time
                return value

            yield task

    results = in_order(tasks(), Watch().open, at_once=3)
    assert next(results) == 0
    assert drawn == [0, 1, 2]
    assert list(results) == [1, 2, 3, 4, 5]


def test_an_error_comes_in_its_tasks_turn() -> None:
    def broken(_resource: int, _check: Check) -> int:
        raise ValueError("broken")

    watch = Watch()
    results = in_order([number(0), number(1), broken, number(3)], watch.open, at_once=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="broken"):
        next(results)
    assert sorted(watch.opened) == sorted(watch.closed)


def test_a_resource_that_does_not_open_is_told() -> None:
    def closed_door() -> AbstractContextManager[int]:
        raise OSError("no way in")

    with pytest.raises(OSError, match="no way in"):
        list(in_order([number(0), number(1)], closed_door, at_once=2))


def test_whoever_leaves_stops_what_is_under_way() -> None:
    begun, abandoned = threading.Event(), threading.Event()

    def endless(_resource: int, check: Check) -> int:
        begun.set()
        try:
            while True:
                check()
        except Abandoned:
            abandoned.set()
            raise

    watch = Watch()
    results = in_order([number(0), endless, endless], watch.open, at_once=2)
    assert next(results) == 0
    assert begun.wait(10)
    results.close()
    assert abandoned.is_set()
    assert sorted(watch.opened) == sorted(watch.closed)
