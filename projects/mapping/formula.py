"""The safe subset of SQL that formulas may use, checked token by token before Polars sees any of it.

Only what is listed here gets through: no statements, sub-queries, table functions, aggregates or
windows, so a formula reads its own record and nothing else. Every value is text until it is cast.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl

from projects.mapping.problems import RuleInvalid

MAX_CHARACTERS = 4_000
MAX_TOKENS = 600
MAX_NESTING = 25

FUNCTIONS = frozenset(
    {"COALESCE", "CONCAT", "LEFT", "LENGTH", "LOWER", "LTRIM", "NULLIF", "REPLACE", "RIGHT", "RTRIM", "STARTS_WITH"}
    | {"SUBSTR", "TRIM", "UPPER"}
)
CASTS = frozenset({"CAST", "TRY_CAST"})
KEYWORDS = frozenset(
    {"AND", "AS", "BETWEEN", "CASE", "ELSE", "END", "FALSE", "ILIKE", "IN", "IS", "LIKE", "NOT", "NULL", "OR", "THEN"}
    | {"TRUE", "WHEN"}
)
# A name the author may write → the name Polars is given. Whole numbers are always 64 bit.
TYPES = {
    "BIGINT": "BIGINT",
    "DOUBLE": "DOUBLE",
    "FLOAT": "DOUBLE",
    "INT": "BIGINT",
    "INTEGER": "BIGINT",
    "STRING": "VARCHAR",
    "TEXT": "VARCHAR",
    "VARCHAR": "VARCHAR",
}
DECIMALS = frozenset({"DECIMAL", "NUMERIC"})

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")|(?P<number>[0-9]+(?:\.[0-9]+)?)"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>\|\||<>|!=|<=|>=|[=<>+\-*/%(),])""",
    re.ASCII,
)
_BLANKS = re.compile(r"\s*")

Kind: TypeAlias = Literal["text", "number", "field", "keyword", "function", "sign"]


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    sql: str


@dataclass(frozen=True, slots=True)
class Cast:
    """A ``CAST`` of the formula. ``value`` is what is cast, and ``failed`` is true for a record whose
    value is there but does not convert."""

    value: pl.Expr
    failed: pl.Expr


@dataclass(frozen=True, slots=True)
class ParsedFormula:
    """``expr`` yields any type over a frame of text columns; ``fields`` are the columns it reads."""

    expr: pl.Expr
    fields: frozenset[str]
    casts: tuple[Cast, ...]


def parse(sql: str, known: Collection[str]) -> ParsedFormula:
    """The formula as an expression over the columns ``known``; raises RuleInvalid with one sentence.

    ``CAST`` never stops a page: it gives null, and the record is reported through ``casts``. ``TRY_CAST``
    gives null and says nothing.
    """
    tokens = _tokens(sql, frozenset(known))
    _check_shape(tokens)
    fields = frozenset(_unquoted(token.sql) for token in tokens if token.kind == "field")
    casts = tuple(_casts(tokens))
    parsed = ParsedFormula(_expression(_joined(tokens)), fields, casts)
    _try_out(parsed)
    return parsed


def fields_named(sql: str) -> frozenset[str]:
    """The names a formula uses for fields, whether or not there are such fields; raises RuleInvalid."""
    words = _split(sql)
    following = [text for _, text in words[1:]] + [""]
    return frozenset(
        _unquoted(text) if group == "quoted" else text
        for (group, text), after in zip(words, following, strict=True)
        if group == "quoted" or (group == "word" and not _is_admitted_word(text.upper(), after))
    )


def _is_admitted_word(upper: str, following: str) -> bool:
    return upper in KEYWORDS or upper in TYPES or upper in DECIMALS or (following == "(" and upper in FUNCTIONS | CASTS)


def _tokens(sql: str, known: frozenset[str]) -> list[Token]:
    if not sql.strip():
        raise RuleInvalid("The formula is empty.")
    if len(sql) > MAX_CHARACTERS:
        raise RuleInvalid(f"The formula is longer than {MAX_CHARACTERS:,} characters.")
    if "\x00" in sql:
        raise RuleInvalid("The formula contains a NUL character.")
    words = _split(sql)
    if len(words) > MAX_TOKENS:
        raise RuleInvalid(f"The formula has more than {MAX_TOKENS} words and signs.")
    return [
        _token(group, text, words[position + 1][1] if position + 1 < len(words) else "", known)
        for position, (group, text) in enumerate(words)
    ]


def _split(sql: str) -> list[tuple[str, str]]:
    words = []
    position = _end_of_blanks(sql, 0)
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None or match.lastgroup is None:
            raise RuleInvalid(
                f"The formula contains “{sql[position]}” at character {position + 1}, which is not admitted."
            )
        words.append((match.lastgroup, match.group()))
        position = _end_of_blanks(sql, match.end())
    return words


def _end_of_blanks(sql: str, position: int) -> int:
    match = _BLANKS.match(sql, position)
    return match.end() if match else position


def _token(group: str, text: str, following: str, known: frozenset[str]) -> Token:
    match group:
        case "text" | "number" | "sign":
            return Token(group, text)
        case "quoted":
            return _field(_unquoted(text), known)
        case _:
            return _word(text, following, known)


def _word(text: str, following: str, known: frozenset[str]) -> Token:
    upper = text.upper()
    if following == "(" and upper in FUNCTIONS | CASTS:
        return Token("function", upper)
    if upper in KEYWORDS or upper in TYPES or upper in DECIMALS:
        return Token("keyword", upper)
    if following == "(":
        admitted = ", ".join(sorted(FUNCTIONS | CASTS))
        raise RuleInvalid(f"The function “{text}” is not admitted in a formula. Admitted are {admitted}.")
    return _field(text, known)


def _field(name: str, known: frozenset[str]) -> Token:
    if name not in known:
        raise RuleInvalid(f"The formula reads “{name}”, which is neither a field of the record nor an admitted word.")
    return Token("field", '"' + name.replace('"', '""') + '"')


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"')


def _check_shape(tokens: list[Token]) -> None:
    depth = 0
    for position, token in enumerate(tokens):
        depth += (token.sql == "(") - (token.sql == ")")
        before = tokens[position - 1] if position else None
        if depth < 0:
            raise RuleInvalid("The formula closes a bracket that it never opened.")
        if depth > MAX_NESTING:
            raise RuleInvalid(f"The formula nests brackets more than {MAX_NESTING} deep.")
        if token.sql == "(" and before is not None and before.kind == "field":
            raise RuleInvalid(f"The formula calls {before.sql}, which is a field and no function.")
        if token.sql == "*" and (before is None or before.sql in {"(", ","}):
            raise RuleInvalid("The formula uses “*” for something other than multiplication.")
        if token.kind == "keyword" and (token.sql in TYPES or token.sql in DECIMALS) and not _follows_as(before):
            raise RuleInvalid(
                f"“{token.sql}” names a type, which stands only in CAST(… AS …); quote it if a field is meant."
            )
    if depth:
        raise RuleInvalid("The formula opens a bracket that it never closes.")


def _follows_as(before: Token | None) -> bool:
    return before is not None and before.kind == "keyword" and before.sql == "AS"


def _joined(tokens: list[Token]) -> str:
    """The tokens as SQL for Polars, each cast in its forgiving form."""
    spelled = {"CAST": "TRY_CAST", **TYPES}
    return " ".join(
        spelled.get(token.sql, token.sql) if token.kind in {"function", "keyword"} else token.sql for token in tokens
    )


def _expression(sql: str) -> pl.Expr:
    try:
        return pl.sql_expr(sql)
    except pl.exceptions.PolarsError as error:
        raise RuleInvalid(f"The formula cannot be parsed: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") + "."


def _casts(tokens: list[Token]) -> list[Cast]:
    found = []
    positions_of_as = 0
    for position, token in enumerate(tokens):
        positions_of_as += token.kind == "keyword" and token.sql == "AS"
        if token.kind == "function" and token.sql in CASTS:
            operand, type_tokens = _cast_parts(tokens, position)
            _check_type(type_tokens)
            positions_of_as -= 1
            if token.sql == "CAST":
                found.append(_checked_cast(operand, type_tokens))
    if positions_of_as:
        raise RuleInvalid("The formula uses AS outside of CAST.")
    return found


def _cast_parts(tokens: list[Token], start: int) -> tuple[list[Token], list[Token]]:
    """What stands before and after AS in the cast whose name is at ``start``."""
    depth, middle = 0, None
    for position in range(start + 1, len(tokens)):
        sql = tokens[position].sql
        depth += (sql == "(") - (sql == ")")
        if depth == 1 and tokens[position].kind == "keyword" and sql == "AS":
            middle = position
        if depth == 0 and middle is not None:
            return tokens[start + 2 : middle], tokens[middle + 1 : position]
        if depth == 0:
            break
    raise RuleInvalid("A CAST in the formula lacks its AS; write CAST(field AS type).")


def _check_type(tokens: list[Token]) -> None:
    spelled = "".join(token.sql for token in tokens)
    decimal = re.fullmatch(r"(?:DECIMAL|NUMERIC)\(([0-9]{1,2}),([0-9]{1,2})\)", spelled)
    if decimal and 0 < int(decimal[1]) <= 38 and int(decimal[2]) <= int(decimal[1]):
        return
    if not (len(tokens) == 1 and spelled in TYPES):
        admitted = ", ".join(sorted(TYPES))
        raise RuleInvalid(
            f"A formula cannot CAST to “{spelled}”. Admitted are {admitted} and DECIMAL(precision, scale)."
        )


def _checked_cast(operand: list[Token], type_tokens: list[Token]) -> Cast:
    value = _expression(_joined(operand))
    converted = _expression(f"TRY_CAST({_joined(operand)} AS {_joined(type_tokens)})")
    return Cast(value.cast(pl.String), value.is_not_null() & converted.is_null())


def _try_out(parsed: ParsedFormula) -> None:
    """Run it over values that upset conversions, so that a page never stops on a formula."""
    texts = [None, "", "0", "-1", "2.5", "abc", "true", "2026-11-01", "ß🦊", " ", "99999999999999999999", "%_"]
    probe = pl.DataFrame(dict.fromkeys(parsed.fields, texts) or {"none": texts}, schema_overrides={"none": pl.String})
    probe = probe.cast(pl.String)
    columns = [parsed.expr.cast(pl.String).alias("value")]
    columns += [cast.failed.alias(f"failed {position}") for position, cast in enumerate(parsed.casts)]
    try:
        tried = probe.select(columns)
    except pl.exceptions.PolarsError as error:
        hint = "Every field is text; CAST it before arithmetic and before comparing it with a number."
        raise RuleInvalid(f"The formula does not work: {_first_line(error)} {hint}") from None
    if tried.height not in {1, probe.height}:
        raise RuleInvalid("The formula must give one value per record.")
