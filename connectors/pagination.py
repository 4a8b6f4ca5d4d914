"""Ways platforms page: cursor, offset, page number, next link, keyset; one small protocol for all.

A paginator keeps no state. What it needs to continue is a ``Cursor`` of plain JSON, so that reading goes on
in another process days later. Only the signal the platform itself documents ends reading; an empty page
does so only for a platform that documents it (``EmptyPage``).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from connectors.answers import Answer
from connectors.errors import ContractChanged
from connectors.types import Cursor

Path: TypeAlias = tuple[str, ...]
"""Where a value stands in an answer's JSON: the keys from the outside in. Empty is the whole answer."""
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Batch:
    """One answered page: its records, the whole body, and the answer's headers."""

    records: Sequence[Mapping[str, Any]]
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class Paginator(Protocol):
    """Two questions, both answered from the cursor alone."""

    def params(self, cursor: Cursor | None) -> Mapping[str, str]:
        """What to add to the request for the page after ``cursor``; None asks for the first."""

    def after(self, cursor: Cursor | None, batch: Batch) -> Cursor | None:
        """The cursor behind this page, None where the platform says it was the last; raises ContractChanged
        where it says neither."""


class EndSignal(Protocol):
    """How a platform says that a page was the last one."""

    def is_last(self, batch: Batch, seen: int) -> bool:
        """``seen`` counts the records up to and including this page."""


@dataclass(frozen=True, slots=True)
class MoreFlag:
    """A boolean in the body, ``when`` meaning that there is more."""

    path: Path
    when: bool = True

    def is_last(self, batch: Batch, seen: int) -> bool:
        del seen
        flag = value_at(batch.body, self.path, default=None)
        if not isinstance(flag, bool):
            raise ContractChanged(f"The platform no longer says whether there is more (“{'.'.join(self.path)}”).")
        return flag is not self.when


@dataclass(frozen=True, slots=True)
class Total:
    """The number of all records, in the body."""

    path: Path

    def is_last(self, batch: Batch, seen: int) -> bool:
        total = value_at(batch.body, self.path, default=None)
        if isinstance(total, bool) or not isinstance(total, int):
            raise ContractChanged(f"The platform no longer says how many records there are (“{'.'.join(self.path)}”).")
        if seen < total and not batch.records:
            raise ContractChanged(f"The platform promises {total} records, but stopped giving any after {seen}.")
        return seen >= total


@dataclass(frozen=True, slots=True)
class EmptyPage:
    """A page without records; for platforms that document it as their end."""

    def is_last(self, batch: Batch, seen: int) -> bool:
        del seen
        return not batch.records


@dataclass(frozen=True, slots=True)
class TokenPagination:
    """The platform hands out a token for the next page; the end is its absence, null or blank."""

    param: str
    path: Path

    def params(self, cursor: Cursor | None) -> Mapping[str, str]:
        return {} if cursor is None else {self.param: str(cursor["token"])}

    def after(self, cursor: Cursor | None, batch: Batch) -> Cursor | None:
        del cursor
        token = value_at(batch.body, self.path, default=None)
        return None if token in (None, "") else {"token": token}


@dataclass(frozen=True, slots=True)
class NextLink:
    """The platform names the next page's address: in the body at ``path``, or in the Link header
    (RFC 8288) where ``path`` is empty. The address travels as the cursor's ``link``."""

    path: Path = ()

    def params(self, cursor: Cursor | None) -> Mapping[str, str]:
        del cursor
        return {}

    def after(self, cursor: Cursor | None, batch: Batch) -> Cursor | None:
        del cursor
        link = value_at(batch.body, self.path, default=None) if self.path else _link_header(batch.headers)
        return None if link in (None, "") else {"link": link}


@dataclass(frozen=True, slots=True)
class OffsetPagination:
    """Skip so many records, take so many."""

    end: EndSignal
    size: int
    offset_param: str = "offset"
    size_param: str = "limit"

    def params(self, cursor: Cursor | None) -> Mapping[str, str]:
        return {self.offset_param: str(_number(cursor, "offset", 0)), self.size_param: str(self.size)}

    def after(self, cursor: Cursor | None, batch: Batch) -> Cursor | None:
        # By the records received, not by the size asked for: a platform may cap the latter silently.
        seen = _number(cursor, "offset", 0) + len(batch.records)
        if self.end.is_last(batch, seen):
            return None
        # An empty page in the middle advances by the size, else it would be asked for again for ever.
        return {"offset": seen if batch.records else seen + self.size}


@dataclass(frozen=True, slots=True)
class PageNumberPagination:
    """Numbered pages."""

    end: EndSignal
    size: int
    page_param: str = "page"
    size_param: str = "per_page"
    first: int = 1

    def params(self, cursor: Cursor | None) -> Mapping[str, str]:
        return {self.page_param: str(_number(cursor, "page", self.first)), self.size_param: str(self.size)}

    def after(self, cursor: Cursor | None, batch: Batch) -> Cursor | None:
        seen = _number(cursor, "seen", 0) + len(batch.records)
        if self.end.is_last(batch, seen):
            return None
        return {"page": _number(cursor, "page", self.first) + 1, "seen": seen}


@dataclass(frozen=True, slots=True)
class KeysetPagination:
    """Records ordered by a unique field, each page asking for those beyond the last one seen."""

    end: EndSignal
    field: str
    param: str

    def params(self, cursor: Cursor | None) -> Mapping[str, str]:
        return {} if cursor is None else {self.param: str(cursor["after"])}

    def after(self, cursor: Cursor | None, batch: Batch) -> Cursor | None:
        seen = _number(cursor, "seen", 0) + len(batch.records)
        if self.end.is_last(batch, seen):
            return None
        if not batch.records:
            raise ContractChanged("The platform says there is more, but gave no record to continue after.")
        return {"after": value_at(batch.records[-1], (self.field,)), "seen": seen}


def follow(
    paginator: Paginator, fetch: Callable[[Cursor | None], Batch], cursor: Cursor | None = None
) -> Iterator[tuple[Batch, Cursor | None]]:
    """Every page from ``cursor`` to the end, with the cursor behind it.

    Raises ContractChanged where the platform hands out a cursor it has handed out before: following it
    would never end.
    """
    seen = set() if cursor is None else {_frozen(cursor)}
    while True:
        batch = fetch(cursor)
        cursor = paginator.after(cursor, batch)
        if cursor is not None and _frozen(cursor) in seen:
            raise ContractChanged("The platform points back to a page it has already given; reading would never end.")
        yield batch, cursor
        if cursor is None:
            return
        seen.add(_frozen(cursor))


def batch_from(answer: Answer, path: Path) -> Batch:
    """The records of an answer at an explicit place; raises ContractChanged where no list of objects is there."""
    body = answer.page()
    records = value_at(body, path, default=None)
    if not isinstance(records, list) or not set(map(type, records)) <= {dict}:
        where = ".".join(path) or "the answer"
        raise ContractChanged(
            f"{answer.system} answered {answer.request} without a list of records in “{where}”.", detail=answer.detail
        )
    return Batch(records, body, answer.headers)


def value_at(body: Any, path: Path, *, default: Any = _MISSING) -> Any:
    """The value at ``path``; ``default`` where a key is absent, or ContractChanged where none is given."""
    for key in path:
        if not isinstance(body, Mapping) or key not in body:
            if default is _MISSING:
                raise ContractChanged(f"The platform's answer has no “{'.'.join(path)}”.")
            return default
        body = body[key]
    return body


def _number(cursor: Cursor | None, name: str, default: int) -> int:
    found = default if cursor is None else cursor.get(name, default)
    return int(found or 0)


def _frozen(cursor: Cursor) -> frozenset[tuple[str, Any]]:
    # "seen" only counts: a token that comes back stays the same token however much was read meanwhile.
    return frozenset((name, value) for name, value in cursor.items() if name != "seen")


def _link_header(headers: Mapping[str, str]) -> str | None:
    for part in re.split(r",\s*(?=<)", headers.get("link", "")):
        found = re.match(r"\s*<([^>]*)>(.*)", part, re.DOTALL)
        if found and re.search(r";\s*rel\s*=\s*(\"[^\"]*\bnext\b[^\"]*\"|next\b)", found[2], re.IGNORECASE):
            return found[1]
    return None
