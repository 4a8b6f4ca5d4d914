"""Validation formulas: a useful part of the platform's formula language, compiled to a condition over columns.

Operators ``= == <> != < <= > >= + - * / & && || !``, the functions AND OR NOT IF ISBLANK ISNULL ISPICKVAL ISNEW
ISCHANGED LEN TEXT UPPER LOWER BEGINS CONTAINS REGEX TODAY, fields of the record, ``$Permission.X``, texts, numbers,
TRUE, FALSE, NULL. https://help.salesforce.com/s/articleView?id=sf.customize_functions.htm
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl

from sandbox.salesforce.schema import SObject

NEW = "?new"
OLD = "?old "
_TOKEN = re.compile(
    r"\s*(?:(?P<comment>/\*.*?\*/)|(?P<number>\d+(?:\.\d+)?)|(?P<text>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')"
    r"|(?P<name>\$?[A-Za-z_][\w.]*)|(?P<mark>&&|\|\||<>|!=|<=|>=|==|[-+*/&=<>!(),]))",
    re.DOTALL,
)


class Unsupported(ValueError):
    """A formula this sandbox does not understand, with the reason."""


@dataclass(frozen=True, slots=True)
class Formula:
    """``condition`` is true where the formula holds, over a frame with a column for each of ``fields``; the frame
    also has ``?new`` and, for each of ``changes``, ``?old <field>``. ``permissions`` maps a custom permission's
    name to the column that holds whether the user has it."""

    condition: pl.Expr
    fields: frozenset[str]
    changes: frozenset[str]
    permissions: Mapping[str, str]


class _Token(NamedTuple):
    kind: str
    text: str


def compile_formula(text: str, subject: SObject) -> Formula:
    """Raises Unsupported saying what is not understood."""
    parser = _Parser(_tokens(text), subject)
    condition = parser.expression(0)
    if parser.peek() is not None:
        raise Unsupported(f"the formula goes on unexpectedly at {parser.tokens[parser.place].text!r}")
    filled = condition.cast(pl.Boolean).fill_null(value=False)
    return Formula(filled, frozenset(parser.fields), frozenset(parser.changes), dict(parser.permissions))


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    place, whole = 0, text.rstrip()
    while place < len(whole):
        match = _TOKEN.match(whole, place)
        if match is None or match.lastgroup is None:
            raise Unsupported(f"the formula cannot be read at {whole[place : place + 20]!r}")
        if match.lastgroup != "comment":
            found.append(_Token(match.lastgroup, match.group(match.lastgroup)))
        place = match.end()
    return found


_LEVELS: tuple[Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]], ...] = (
    {"||": lambda a, b: a | b},
    {"&&": lambda a, b: a & b},
    {
        "=": lambda a, b: a.eq_missing(b),
        "==": lambda a, b: a.eq_missing(b),
        "<>": lambda a, b: a.ne_missing(b),
        "!=": lambda a, b: a.ne_missing(b),
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    },
    {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "&": lambda a, b: pl.concat_str([a, b], ignore_nulls=True)},
    {"*": lambda a, b: a * b, "/": lambda a, b: a / b},
)


class _Parser:
    def __init__(self, tokens: list[_Token], subject: SObject) -> None:
        self.tokens = tokens
        self.place = 0
        self.subject = subject
        self.fields: set[str] = set()
        self.changes: set[str] = set()
        self.permissions: dict[str, str] = {}

    def peek(self) -> _Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, wanted: str | None = None) -> _Token:
        token = self.peek()
        if token is None or (wanted is not None and token.text != wanted):
            raise Unsupported(f"the formula lacks {wanted or 'something'} at {token.text if token else 'its end'!r}")
        self.place += 1
        return token

    def expression(self, level: int) -> pl.Expr:
        if level == len(_LEVELS):
            return self.unary()
        left = self.expression(level + 1)
        while (token := self.peek()) is not None and token.kind == "mark" and token.text in _LEVELS[level]:
            self.place += 1
            left = _LEVELS[level][token.text](left, self.expression(level + 1))
        return left

    def unary(self) -> pl.Expr:
        token = self.take()
        if token.text == "(":
            inner = self.expression(0)
            self.take(")")
            return inner
        if token.kind == "mark" and token.text in "!-":
            inner = self.unary()
            return ~inner if token.text == "!" else -inner
        if token.kind == "number":
            return pl.lit(float(token.text))
        if token.kind == "text":
            return pl.lit(re.sub(r"\\(.)", r"\1", token.text[1:-1]))
        if token.kind == "name":
            return self.named(token.text)
        raise Unsupported(f"the formula has {token.text!r} where a value belongs")

    def named(self, name: str) -> pl.Expr:
        following = self.peek()
        if following is not None and following.text == "(":
            return self.call(name.upper())
        constants = {"TRUE": True, "FALSE": False, "NULL": None}
        if name.upper() in constants:
            return pl.lit(constants[name.upper()])
        if name.startswith("$Permission."):
            column = f"?may {name.removeprefix('$Permission.')}"
            self.permissions[name.removeprefix("$Permission.")] = column
            return pl.col(column)
        return self.value(name)

    def value(self, name: str) -> pl.Expr:
        field = self.subject.field(name)
        if field is None or not field.stored:
            raise Unsupported(f"{self.subject.name} has no field {name} that a formula here could read")
        self.fields.add(field.name)
        column = pl.col(field.name)
        return column == 1 if field.type == "boolean" else column

    def call(self, name: str) -> pl.Expr:
        self.take("(")
        if name in ("ISCHANGED", "ISPICKVAL"):
            first = self.take().text
            return self.changed(first) if name == "ISCHANGED" else self.picked(first)
        arguments: list[pl.Expr] = []
        while self.tokens[self.place : self.place + 1] != [_Token("mark", ")")]:
            arguments.append(self.expression(0))
            if (token := self.peek()) is not None and token.text == ",":
                self.place += 1
        self.take(")")
        return _function(name, arguments)

    def changed(self, name: str) -> pl.Expr:
        self.take(")")
        self.value(name)
        field = self.subject.field(name)
        exact = field.name if field else name
        self.changes.add(exact)
        return ~pl.col(NEW) & pl.col(exact).ne_missing(pl.col(OLD + exact))

    def picked(self, name: str) -> pl.Expr:
        self.take(",")
        wanted = self.expression(0)
        self.take(")")
        return self.value(name).fill_null("") == wanted


def _function(name: str, given: list[pl.Expr]) -> pl.Expr:
    try:
        return _FUNCTIONS[name](*given)
    except KeyError as unknown:
        raise Unsupported(f"the function {name} is not understood here") from unknown
    except TypeError as wrong:
        raise Unsupported(f"the function {name} has the wrong number of arguments") from wrong


def _and(*parts: pl.Expr) -> pl.Expr:
    return pl.all_horizontal(*parts)


def _or(*parts: pl.Expr) -> pl.Expr:
    return pl.any_horizontal(*parts)


def _blank(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.String).fill_null("") == ""


def _today() -> pl.Expr:
    return pl.lit(datetime.now(UTC).strftime("%Y-%m-%d"))


_FUNCTIONS: Mapping[str, Callable[..., pl.Expr]] = {
    "AND": _and,
    "OR": _or,
    "NOT": lambda value: ~value,
    "IF": lambda test, yes, no: pl.when(test).then(yes).otherwise(no),
    "ISBLANK": _blank,
    "ISNULL": _blank,
    "ISNEW": lambda: pl.col(NEW),
    "LEN": lambda value: value.fill_null("").str.len_chars().cast(pl.Float64),
    "TEXT": lambda value: value.cast(pl.String).fill_null(""),
    "UPPER": lambda value: value.str.to_uppercase(),
    "LOWER": lambda value: value.str.to_lowercase(),
    "BEGINS": lambda value, start: value.fill_null("").str.starts_with(start),
    "CONTAINS": lambda value, part: value.fill_null("").str.contains(part, literal=True),
    "REGEX": lambda value, pattern: value.fill_null("").str.contains(pl.format("^(?:{})$", pattern)),
    "TODAY": _today,
}
