"""Joining a source's small pages into chunks."""

from collections.abc import Iterable, Iterator

import polars as pl
import pytest
from pytest_django import Settings

from connectors.errors import RateLimited
from connectors.types import Page
from projects.models import Project
from runs import drivers, services
from runs.choices import RunState
from runs.engine import extract
from runs.engine.extract import FILL_SECONDS, joined
from runs.models import Chunk, Run
from tests import factories
from tests.fakes import World, schema


def page(number: int, records: int, *, last: bool = False) -> Page:
    frame = pl.DataFrame({"id": [f"{number}-{record}" for record in range(records)]}, schema={"id": pl.String})
    return Page(frame, None if last else {"after": number})


def shape(pages: Iterable[Page]) -> list[tuple[int, object]]:
    """How many records each has, and the number of the last page in it; None at the end."""
    return [(one.frame.height, one.cursor and one.cursor["after"]) for one in pages]


def test_small_pages_fill_a_chunk_and_the_cursor_is_that_of_the_last() -> None:
    pages = [page(number, 3, last=number == 6) for number in range(7)]
    assert shape(joined(pages, fill=7)) == [(9, 2), (9, 5), (3, None)]


def test_nothing_is_lost_repeated_or_put_in_another_order() -> None:
    pages = [page(number, number % 4, last=number == 29) for number in range(30)]
    ids = [one for chunk in joined(pages, fill=10) for one in chunk.frame["id"]]
    assert ids == [one for each in pages for one in each.frame["id"]]


def test_a_page_as_large_as_a_chunk_is_passed_on_as_it_is() -> None:
    large = page(1, 50)
    assert next(joined([large, page(2, 1, last=True)], fill=50)) is large


def test_an_empty_page_ends_a_chunk_because_its_cursor_must_not_be_lost() -> None:
    pages = [page(1, 2), page(2, 0), page(3, 2), page(4, 2, last=True)]
    assert shape(joined(pages, fill=100)) == [(2, 2), (4, None)]


def test_a_slow_source_is_not_waited_for() -> None:
    now = iter(second * FILL_SECONDS / 2 for second in range(100))
    pages = [page(number, 1, last=number == 5) for number in range(6)]
    assert shape(joined(pages, fill=100, steady=lambda: next(now))) == [(2, 1), (2, 3), (2, None)]


def test_wide_records_fill_a_chunk_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "FILL_BYTES", 100)
    wide = [Page(pl.DataFrame({"id": ["x" * 60]}), {"after": number}) for number in range(4)]
    assert shape(joined(wide, fill=100)) == [(1 + 1, 1), (1 + 1, 3)]


def test_what_was_read_before_an_error_is_given_before_it_is_raised() -> None:
    def broken() -> Iterator[Page]:
        yield page(1, 2)
        yield page(2, 2)
        raise RateLimited("Slow down.", retry_after=60)

    chunks = joined(broken(), fill=100)
    assert shape([next(chunks)]) == [(4, 2)]
    with pytest.raises(RateLimited):
        next(chunks)


@pytest.mark.parametrize(("fill", "chunks"), [(1, 9), (10, 3), (100, 1)])
def test_a_run_joins_its_sources_pages(
    project: Project, world: World, settings: Settings, fill: int, chunks: int
) -> None:
    accounts = ({"Id": f"A{number}", "Name": f"Account {number}"} for number in range(9 * world.page_size))
    world.add(schema("Account", "Name"), *accounts)
    factories.project_object(project, "Account")
    settings.MF_CHUNK_RECORDS = fill
    run = services.start_run(project)
    drivers.drive_here(run.pk)
    sizes = Chunk.objects.filter(run=run).values_list("records", flat=True)
    assert (len(sizes), sum(sizes)) == (chunks, 27)
    assert Run.objects.get(pk=run.pk).state == RunState.COMPLETED
    assert sum(map(len, world.rows.values())) == 27
