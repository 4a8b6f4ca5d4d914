"""SOQL: from text to a syntax tree. Names are not resolved here; ``compile`` does that against the schema.

https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select.htm
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias, TypeVar

from sandbox.salesforce.errors import ApiError, not_simulated

_T = TypeVar("_T")
MAX_QUERY_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Name:
    """A field path as written, and where it stands in the query."""

    path: str
    at: int


class Literal(NamedTuple):
    """A value with its kind: string, number, boolean, null, date or datetime. A list may have thousands."""

    kind: str
    value: str | float | int | bool | None
    at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """``inner`` is the query whose records IN or NOT IN looks among, in place of ``values``."""

    field: Name
    operator: str
    values: tuple[Literal, ...] = ()
    inner: "Query | None" = None


@dataclass(frozen=True, slots=True)
class Not:
    inner: "Condition"


@dataclass(frozen=True, slots=True)
class Junction:
    word: str
    parts: tuple["Condition", ...]


Condition: TypeAlias = Comparison | Not | Junction


@dataclass(frozen=True, slots=True)
class Sorting:
    field: Name
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Query:
    """``fields`` is empty for COUNT(); ``group`` is ALL, STANDARD or CUSTOM for FIELDS()."""

    text: str
    entity: Name
    fields: tuple[Name, ...]
    count: bool = False
    group: str | None = None
    where: Condition | None = None
    order: tuple[Sorting, ...] = ()
    limit: int | None = None
    offset: int | None = None


class Token(NamedTuple):
    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>'[^'\\]*(?:\\.[^'\\]*)*')
    |(?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))
    |(?P<date>\d{4}-\d\d-\d\d)
    |(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<operator><=|>=|!=|<>|=|<|>)
    |(?P<mark>[(),:])""",
    re.VERBOSE,
)
_ESCAPES = {
    "n": "\n",
    "N": "\n",
    "r": "\r",
    "R": "\r",
    "t": "\t",
    "T": "\t",
    "b": "\b",
    "B": "\b",
    "f": "\f",
    "F": "\f",
}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)


def complaint(text: str, at: int, code: str, message: str) -> ApiError:
    """The vendor's form: a piece of the query, a caret under the place, row and column, then the message."""
    start = max(0, at - 30)
    piece = text[start : at + 30].replace("\n", " ")
    row = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    caret = " " * (at - start) + "^"
    return ApiError(400, code, f"\n{piece}\n{caret}\nERROR at Row:{row}:Column:{column}\n{message}")


def parse(text: str) -> Query:
    """The query's syntax tree; raises ApiError (MALFORMED_QUERY) where it is not SOQL or not simulated."""
    if len(text) > MAX_QUERY_CHARACTERS:
        raise ApiError(400, "MALFORMED_QUERY", "SOQL statements cannot be longer than 100000 characters.")
    return _Parser(text).query()


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at = 0
    for match in _TOKEN.finditer(text):
        kind, start = match.lastgroup, match.start()
        if start != at or kind is None:
            break
        if kind != "space":
            found.append(Token(kind, match.group(), at))
        at = match.end()
    if at < len(text):
        message = f"line {text.count(chr(10), 0, at) + 1}:{at} no viable alternative at character '{text[at]}'"
        raise ApiError(400, "MALFORMED_QUERY", message)
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.position = 0

    def query(self) -> Query:
        self.expect("SELECT")
        count, group, fields = self.select()
        self.expect("FROM")
        entity = self.entity()
        where = self.condition() if self.accept("WHERE") else None
        for word in ("WITH", "GROUP", "HAVING", "USING"):
            if self.at(word):
                raise not_simulated(f"{word} …")
        order = self.ordering() if self.accept("ORDER") else ()
        limit = self.whole_number() if self.accept("LIMIT") else None
        offset = self.whole_number() if self.accept("OFFSET") else None
        if self.at("FOR"):
            raise not_simulated("FOR VIEW, FOR REFERENCE or FOR UPDATE")
        if self.peek() is not None:
            raise self.unexpected()
        return Query(self.text, entity, fields, count, group, where, order, limit, offset)

    def select(self) -> tuple[bool, str | None, tuple[Name, ...]]:
        word = self.peek()
        following = self.peek(1)
        if word is not None and following is not None and following.text == "(" and word.kind == "name":
            return self.function(word.text.upper())
        return False, None, tuple(self.listed(self.selected))

    def function(self, name: str) -> tuple[bool, str | None, tuple[Name, ...]]:
        self.position += 2
        if name == "COUNT" and self.accept(")"):
            return True, None, ()
        if name != "FIELDS":
            raise not_simulated(f"{name}(…) in SELECT")
        group = self.name().path.upper()
        if group not in ("ALL", "STANDARD", "CUSTOM"):
            raise self.unexpected()
        self.expect(")")
        return False, group, ()

    def selected(self) -> Name:
        token = self.peek()
        if token is not None and token.text == "(":
            raise not_simulated("A child subquery")
        if token is not None and token.text.upper() == "TYPEOF":
            raise not_simulated("TYPEOF")
        following = self.peek(1)
        if following is not None and following.text == "(":
            raise not_simulated("A function in SELECT")
        return self.name()

    def entity(self) -> Name:
        entity = self.name()
        token = self.peek()
        reserved = ("WHERE", "ORDER", "LIMIT", "OFFSET", "WITH", "GROUP", "HAVING", "USING", "FOR")
        if token is not None and (token.text == "," or (token.kind == "name" and token.text.upper() not in reserved)):
            raise not_simulated("An alias or a second object in FROM")
        return entity

    def condition(self) -> Condition:
        first = self.term()
        token = self.peek()
        word = token.text.upper() if token is not None and token.kind == "name" else ""
        if word not in ("AND", "OR"):
            return first
        parts = [first]
        while self.accept(word):
            parts.append(self.term())
        if self.at("AND") or self.at("OR"):  # the platform wants parentheses where both are mixed
            raise self.unexpected()
        return Junction(word, tuple(parts))

    def term(self) -> Condition:
        if self.accept("NOT"):
            return Not(self.term())
        if self.accept("("):
            inner = self.condition()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> Comparison:
        field = self.name()
        token = self.peek()
        if token is not None and token.kind == "operator":
            self.position += 1
            return Comparison(field, token.text.replace("<>", "!="), (self.literal(),))
        if self.accept("LIKE"):
            return Comparison(field, "LIKE", (self.literal(),))
        if self.accept("NOT"):
            self.expect("IN")
            return self.membership(field, "NOT IN")
        if self.accept("IN"):
            return self.membership(field, "IN")
        if self.at("INCLUDES") or self.at("EXCLUDES"):
            raise not_simulated("INCLUDES or EXCLUDES")
        raise self.unexpected()

    def membership(self, field: Name, operator: str) -> Comparison:
        self.expect("(")
        inner = self.inner() if self.accept("SELECT") else None
        values = () if inner else self.literals()
        self.expect(")")
        return Comparison(field, operator, values, inner)

    def literals(self) -> tuple[Literal, ...]:
        """As ``listed``, which takes three times as long: look-ups come with thousands."""
        found = [self.literal()]
        while (token := self.peek()) is not None and token.text == ",":
            self.position += 1
            found.append(self.literal())
        return tuple(found)

    def inner(self) -> Query:
        """The query of a semi-join or an anti-join: one field, and conditions."""
        fields = (self.name(),)
        self.expect("FROM")
        entity = self.name()
        return Query(self.text, entity, fields, where=self.condition() if self.accept("WHERE") else None)

    def literal(self) -> Literal:
        token = self.peek()
        if token is None:
            raise self.unexpected()
        value = _literal(token)
        if value is None:
            if token.kind == "name":
                raise not_simulated(f"The date literal or value {token.text}")
            raise self.unexpected()
        self.position += 1
        return value

    def ordering(self) -> tuple[Sorting, ...]:
        self.expect("BY")
        return tuple(self.listed(self.sorting))

    def sorting(self) -> Sorting:
        field = self.name()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        last = False
        if self.accept("NULLS"):
            last = self.accept("LAST")
            if not last:
                self.expect("FIRST")
        return Sorting(field, descending, last)

    def whole_number(self) -> int:
        token = self.peek()
        if token is None or not token.text.isdigit():
            raise self.unexpected()
        self.position += 1
        return int(token.text)

    def name(self) -> Name:
        token = self.peek()
        if token is None or token.kind != "name":
            raise self.unexpected()
        self.position += 1
        return Name(token.text, token.at)

    def listed(self, item: Callable[[], _T]) -> list[_T]:
        found = [item()]
        while self.accept(","):
            found.append(item())
        return found

    def peek(self, ahead: int = 0) -> Token | None:
        place = self.position + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def at(self, word: str) -> bool:
        token = self.peek()
        return token is not None and token.kind in ("name", "mark") and token.text.upper() == word

    def accept(self, word: str) -> bool:
        if not self.at(word):
            return False
        self.position += 1
        return True

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.unexpected()

    def unexpected(self) -> ApiError:
        token = self.peek()
        if token is None:
            return ApiError(400, "MALFORMED_QUERY", "unexpected token: '<EOF>'")
        return complaint(self.text, token.at, "MALFORMED_QUERY", f"unexpected token: '{token.text}'")


def _literal(token: Token) -> Literal | None:
    if token.kind == "string":
        return Literal("string", token.text[1:-1], token.at)
    if token.kind == "number":
        whole = token.text.lstrip("+-").isdigit()
        return Literal("number", int(token.text) if whole else float(token.text), token.at)
    if token.kind == "date":
        return Literal("date", token.text, token.at)
    if token.kind == "datetime":
        return Literal("datetime", utc_text(token.text), token.at)
    words: dict[str, bool | None] = {"TRUE": True, "FALSE": False, "NULL": None}
    word = token.text.upper()
    if token.kind == "name" and word in words:
        return Literal("null" if word == "NULL" else "boolean", words[word], token.at)
    return None


def utc_text(stamp: str) -> str:
    """A date-time with zone as the text it is stored as: UTC, milliseconds, ``Z``. Raises ValueError."""
    moment = datetime.fromisoformat(stamp).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def unescaped(raw: str) -> str:
    """A string literal's value: backslash escapes resolved."""
    return _ESCAPE.sub(_unescape, raw)


def like_pattern(raw: str) -> str:
    r"""A LIKE literal as SQL's pattern: ``\%`` and ``\_`` stay escaped, everything else is resolved."""
    return _ESCAPE.sub(lambda match: match.group() if match.group(1) in "%_\\" else _unescape(match), raw)


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)
