"""Canonical JSON text: sorted keys, no blanks, numbers as they were written, one spelling per value."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import polars as pl

_TO_ESCAPE = re.compile('["\\\\\x00-\x1f]').pattern
_CHARACTERS = ['"', "\\", *map(chr, range(32))]
_ESCAPES = [orjson.dumps(character).decode()[1:-1] for character in _CHARACTERS]


def object_of_texts(parts: Mapping[str, pl.Expr]) -> pl.Expr:
    """A JSON object of the text parts that are not null; null where all are."""
    members = [
        pl.format(f'{_in_format(name)}:"{{}}"', parts[name].map_batches(_escaped, return_dtype=pl.String))
        for name in sorted(parts)
    ]
    joined = pl.concat_str(members, separator=",", ignore_nulls=True)
    return pl.when(pl.any_horizontal(part.is_not_null() for part in parts.values())).then(pl.format("{{{}}}", joined))


def canonical(texts: pl.Series) -> pl.Series:
    """Each JSON text in canonical form, null where it is no JSON.

    Works on distinct values, one by one: only fields that are JSON in the source come here. An object
    that names a key twice, NaN and numbers too deep for a reader count as no JSON.
    """
    distinct = texts.drop_nulls().unique()
    spelled = pl.Series([_canonical(text) for text in distinct.to_list()], dtype=pl.String)
    return texts.replace_strict(distinct, spelled, default=None, return_dtype=pl.String)


def _in_format(name: str) -> str:
    """A key as JSON, with the braces that ``pl.format`` would read as places doubled."""
    return orjson.dumps(name).decode().replace("{", "{{").replace("}", "}}")


def _escaped(texts: pl.Series) -> pl.Series:
    """The texts as they stand between JSON's quotes; most pages need no work at all."""
    if not texts.str.contains(_TO_ESCAPE).any():
        return texts
    return texts.str.replace_many(_CHARACTERS, _ESCAPES)


def _canonical(text: str) -> str | None:
    try:
        value = json.loads(
            text,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_members,
        )
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError, RecursionError):
        return None


def _number(digits: str) -> orjson.Fragment:
    """The number as it was written: reading it as a float could change it."""
    return orjson.Fragment(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"{key} is there twice")
        members[key] = value
    return members
