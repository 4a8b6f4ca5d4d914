"""Paging: every style reads everything, from every cursor, and never for ever."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Answer
from connectors.errors import ContractChanged
from connectors.pagination import (
    Batch,
    EmptyPage,
    EndSignal,
    KeysetPagination,
    MoreFlag,
    NextLink,
    OffsetPagination,
    PageNumberPagination,
    Paginator,
    TokenPagination,
    Total,
    batch_from,
    follow,
)
from connectors.redaction import Redactor
from connectors.types import Cursor

Fetch = Callable[[Cursor | None], Batch]
ENDS: list[EndSignal] = [MoreFlag(("more",)), Total(("total",)), EmptyPage(), MoreFlag(("done",), when=False)]


def platform(paginator: Paginator, total: int, size: int) -> Fetch:
    """A platform of ``total`` numbered records that pages the way the paginator expects."""

    def fetch(cursor: Cursor | None) -> Batch:
        params = {**paginator.params(cursor), **({"link": str(cursor["link"])} if cursor and "link" in cursor else {})}
        start = _start(params, size)
        records = [{"id": number} for number in range(start, min(start + size, total))]
        has_more = start + size < total
        behind = str(start + size) if has_more else None
        body = {"more": has_more, "done": not has_more, "total": total, "next": behind, "records": records}
        return Batch(records, body)

    return fetch


def _start(params: Mapping[str, str], size: int) -> int:
    if "after" in params:
        return int(params["after"]) + 1
    if "page" in params:
        return (int(params["page"]) - 1) * size
    return int(params.get("offset") or params.get("token") or params.get("link") or 0)


def styles(size: int) -> list[Paginator]:
    found: list[Paginator] = [TokenPagination("token", ("next",)), NextLink(("next",))]
    for end in ENDS:
        found += [OffsetPagination(end, size), PageNumberPagination(end, size)]
    for end in (*ENDS[:2], ENDS[3]):
        found.append(KeysetPagination(end, "id", "after"))
    return found


@given(total=st.integers(0, 23), size=st.integers(1, 7))
def test_every_style_reads_everything_once_from_every_cursor(total: int, size: int) -> None:
    for paginator in styles(size):
        fetch = platform(paginator, total, size)
        pages = list(follow(paginator, fetch))
        seen = [record["id"] for batch, _ in pages for record in batch.records]
        assert seen == list(range(total)), paginator
        assert pages[-1][1] is None
        for position, (_, cursor) in enumerate(pages[:-1], start=1):
            rest = [record["id"] for batch, _ in follow(paginator, fetch, cursor) for record in batch.records]
            before = sum(len(batch.records) for batch, _ in pages[:position])
            assert rest == list(range(before, total)), paginator


@pytest.mark.parametrize(
    "paginator",
    [TokenPagination("token", ("next",)), NextLink(("next",)), KeysetPagination(MoreFlag(("more",)), "id", "a")],
)
def test_a_repeated_token_is_told(paginator: Paginator) -> None:
    body = {"next": "same", "more": True}
    with pytest.raises(ContractChanged, match="already given"):
        list(follow(paginator, lambda _: Batch([{"id": 7}], body)))


def test_a_circle_of_tokens_is_told() -> None:
    tokens = iter("ABCA")
    with pytest.raises(ContractChanged, match="already given"):
        list(follow(TokenPagination("t", ("next",)), lambda _: Batch([], {"next": next(tokens)})))


def test_a_token_that_leads_back_to_where_we_resumed_is_told() -> None:
    with pytest.raises(ContractChanged, match="already given"):
        list(follow(TokenPagination("t", ("next",)), lambda _: Batch([], {"next": "A"}), {"token": "A"}))


@pytest.mark.parametrize(
    "paginator",
    [
        TokenPagination("t", ("next",)),
        NextLink(("next",)),
        PageNumberPagination(MoreFlag(("more",)), 2),
        OffsetPagination(MoreFlag(("more",)), 2),
    ],
)
def test_an_empty_page_in_the_middle_does_not_end_reading(paginator: Paginator) -> None:
    script: list[Batch] = [
        Batch([{"id": 1}], {"next": "a", "more": True}),
        Batch([], {"next": "b", "more": True}),
        Batch([{"id": 2}], {"next": None, "more": False}),
    ]
    pages = list(follow(paginator, lambda _: script.pop(0)))
    assert [len(batch.records) for batch, _ in pages] == [1, 0, 1]


def test_a_total_that_is_never_reached_is_told() -> None:
    with pytest.raises(ContractChanged, match="promises 9 records"):
        list(follow(OffsetPagination(Total(("total",)), 5), lambda _: Batch([], {"total": 9})))


def test_an_offset_advances_by_what_came_not_by_what_was_asked() -> None:
    paginator = OffsetPagination(MoreFlag(("more",)), size=100)
    assert paginator.after(None, Batch([{"id": 1}] * 40, {"more": True})) == {"offset": 40}


def test_a_keyset_without_a_record_to_continue_after_is_told() -> None:
    with pytest.raises(ContractChanged, match="no record to continue after"):
        KeysetPagination(MoreFlag(("more",)), "id", "a").after({"after": 1}, Batch([], {"more": True}))


@pytest.mark.parametrize("body", [{}, {"more": None}, {"more": "yes"}, {"more": 1}, []])
def test_an_end_signal_that_is_gone_is_told(body: Any) -> None:
    with pytest.raises(ContractChanged):
        MoreFlag(("more",)).is_last(Batch([], body), 0)


@pytest.mark.parametrize("body", [{}, {"total": None}, {"total": "9"}, {"total": True}])
def test_a_total_that_is_gone_is_told(body: Any) -> None:
    with pytest.raises(ContractChanged):
        Total(("total",)).is_last(Batch([], body), 0)


@pytest.mark.parametrize(
    ("header", "link"),
    [
        ('<https://a.example/?p=2>; rel="next", <https://a.example/?p=9>; rel="last"', "https://a.example/?p=2"),
        ("<https://a.example/?p=1,5>; rel=prev, <https://a.example/?p=3,5>; rel=next", "https://a.example/?p=3,5"),
        ('<https://a.example/?p=9>; rel="last"', None),
        ("", None),
    ],
)
def test_the_link_header_names_the_next_page(header: str, link: str | None) -> None:
    cursor = NextLink().after(None, Batch([], {}, {"link": header}))
    assert cursor == (None if link is None else {"link": link})


@pytest.mark.parametrize("body", ['{"items": {"a": 1}}', '{"items": [1]}', '{"other": []}', "[]", '{"items": null}'])
def test_records_that_are_not_where_they_should_be_are_told(body: str) -> None:
    with pytest.raises(ContractChanged, match="without a list of records in “items”"):
        batch_from(Answer("Acme", "GET /x", 200, {}, body.encode(), Redactor()), ("items",))


def test_records_may_be_the_whole_answer() -> None:
    assert batch_from(Answer("Acme", "GET /x", 200, {}, b'[{"a": 1}]', Redactor()), ()).records == [{"a": 1}]
