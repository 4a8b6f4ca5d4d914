"""Work done ahead of whoever takes its results: in threads, each with a resource of its own, given in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from threading import Event
from typing import Generic, TypeAlias, TypeVar

R = TypeVar("R")
T = TypeVar("T")


class Abandoned(Exception):
    """Nobody waits for the result any more."""


Check: TypeAlias = Callable[[], None]
"""Raises Abandoned once nobody waits; a long piece of work calls it now and then."""


def in_order(
    tasks: Iterable[Callable[[R, Check], T]], resource: Callable[[], AbstractContextManager[R]], *, at_once: int
) -> Generator[T, None, None]:
    """The results of ``tasks`` in their order, while at most ``at_once`` are under way or wait to be taken.

    Tasks are drawn in the caller's thread, one whenever the next result is asked for. Each thread opens one
    ``resource`` and closes it itself; a result may use it until the next result is asked for. What a task or a resource
    raises is raised in the task's turn. Closing the generator abandons what is under way and returns when it has
    stopped.
    """
    left = Event()
    lanes: list[_Lane[R]] = []
    due: deque[Future[T]] = deque()

    def check() -> None:
        if left.is_set():
            raise Abandoned

    try:
        for number, task in enumerate(tasks):
            if number < at_once:
                lanes.append(_Lane(resource))
            # Its lane is free: the task before it there is ``at_once`` earlier, and its result was taken.
            due.append(lanes[number % at_once].begin(task, check))
            if len(due) == at_once:
                yield due.popleft().result()
        while due:
            yield due.popleft().result()
    finally:
        left.set()
        for lane in lanes:
            lane.close()


class _Lane(Generic[R]):
    """One thread and what it holds open."""

    def __init__(self, resource: Callable[[], AbstractContextManager[R]]) -> None:
        self._open = resource
        self._stack = ExitStack()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def begin(self, task: Callable[[R, Check], T], check: Check) -> Future[T]:
        def run() -> T:
            check()
            return task(self._resource, check)

        return self._thread.submit(run)

    def close(self) -> None:
        with self._thread:
            self._thread.submit(self._stack.close).result()

    @cached_property
    def _resource(self) -> R:
        return self._stack.enter_context(self._open())
