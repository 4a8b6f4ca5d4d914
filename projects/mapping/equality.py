"""By which rules a value read back counts as the value that was sent: their names, and which hold for a field."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import polars as pl

from connectors import pictures
from connectors.contents import fingerprint
from connectors.types import Alteration, FieldInfo, FieldType


class EqualityRule(StrEnum):
    """Two values are equal by … ``EXACT`` always holds first; the others are tried in the order of this list.

    ``BLANK`` comes after the other rules of spelling: what they leave of a text may be blank.
    """

    EXACT = "exact"
    FLOAT = "float_within_tolerance"
    SCALE = "decimal_scale"
    ZONE = "time_zone"
    SECONDS = "whole_seconds"
    DATE = "date_of_moment"
    TRAILING = "trailing_blanks"
    CASE = "case"
    CHOICES = "choice_order"
    RICH = "rich_text"
    BLANK = "blank_is_null"
    JSON = "json_value"
    CONTENT = "contents"
    OVERWRITTEN = "overwritten"


LABELS: Mapping[str, str] = {
    EqualityRule.EXACT: "exactly",
    EqualityRule.FLOAT: "as floating-point numbers, to nine digits",
    EqualityRule.SCALE: "rounded to the target's decimals",
    EqualityRule.ZONE: "as the same moment in another time zone",
    EqualityRule.SECONDS: "to the whole second",
    EqualityRule.DATE: "as the same day",
    EqualityRule.BLANK: "as blank",
    EqualityRule.TRAILING: "but for trailing blanks",
    EqualityRule.CASE: "but for capitals",
    EqualityRule.CHOICES: "as the same choices in another order",
    EqualityRule.RICH: "as the same rich text, spelled another way",
    EqualityRule.JSON: "as the same JSON value",
    EqualityRule.CONTENT: "as contents of the same size and, where both systems tell one, checksum",
    EqualityRule.OVERWRITTEN: "as what the target itself sets anew at every later write",
}
"""Rule → how it ends the sentence “the values are equal …”."""

_BY_TYPE: Mapping[FieldType, tuple[EqualityRule, ...]] = {
    FieldType.FLOAT: (EqualityRule.FLOAT,),
    FieldType.DECIMAL: (EqualityRule.SCALE,),
    FieldType.DATETIME: (EqualityRule.ZONE, EqualityRule.DATE),
    FieldType.DATE: (EqualityRule.DATE,),
    FieldType.MULTIPICKLIST: (EqualityRule.CHOICES,),
    FieldType.JSON: (EqualityRule.JSON,),
    FieldType.CONTENT: (EqualityRule.CONTENT,),
}
_BY_ALTERATION: Mapping[Alteration, tuple[EqualityRule, frozenset[FieldType]]] = {
    Alteration.CUTS_TO_SECONDS: (EqualityRule.SECONDS, frozenset({FieldType.DATETIME})),
    Alteration.BLANKS_TO_NULL: (EqualityRule.BLANK, frozenset({FieldType.TEXT, FieldType.PICKLIST})),
    Alteration.TRIMS_TEXT: (EqualityRule.TRAILING, frozenset({FieldType.TEXT})),
    Alteration.FOLDS_CASE: (EqualityRule.CASE, frozenset({FieldType.TEXT})),
}


def rules_for(info: FieldInfo, alterations: Iterable[Alteration]) -> tuple[EqualityRule, ...]:
    """The rules beside ``EXACT`` that hold for a field of a target that alters values in these ways."""
    found = {*_BY_TYPE.get(info.type, ())}
    found |= {rule for kind in alterations for rule, types in [_BY_ALTERATION[kind]] if info.type in types}
    if info.rich:
        found.add(EqualityRule.RICH)
    if info.overwritten:
        found.add(EqualityRule.OVERWRITTEN)
    return in_order(found)


def in_order(rules: Iterable[EqualityRule]) -> tuple[EqualityRule, ...]:
    """The rules in the order in which they are tried."""
    chosen = set(rules)
    return tuple(rule for rule in EqualityRule if rule in chosen)


def normal_text(rule: EqualityRule) -> Callable[[pl.Expr], pl.Expr] | None:
    """How the rule spells a text so that equal ones are the same; None for rules that are not about texts."""
    return _NORMAL.get(rule)


def canonical(rows: pl.DataFrame, rules: Mapping[str, Sequence[EqualityRule]]) -> pl.DataFrame:
    """The rows in the one spelling that equal values share, for hashing.

    A target's own spelling of what it was sent (whole seconds, sorted choices) is then no change. Rules
    without a common spelling (tolerance, types) leave values as they are.
    """
    spelled = []
    for name, chosen in rules.items():
        if name not in rows.columns:
            continue
        column = pl.col(name)
        if EqualityRule.OVERWRITTEN in chosen:
            spelled.append(pl.lit(None, rows.schema[name]).alias(name))
        elif isinstance(rows.schema[name], pl.Datetime) and EqualityRule.SECONDS in chosen:
            spelled.append(column.dt.truncate("1s"))
        elif isinstance(rows.schema[name], pl.String):
            for normal in filter(None, map(normal_text, in_order(chosen))):
                column = normal(column)
            spelled.append(column)
    return rows.with_columns(spelled) if spelled else rows


def canonical_html(texts: pl.Series) -> pl.Series:
    """Rich texts in one spelling: entities resolved, attributes sorted, runs of blanks as one, pictures
    wherever they are kept; null stays null.

    Works on distinct values. Comments and blank texts between tags do not count.
    """
    distinct = texts.drop_nulls().unique()
    spelled = pl.Series([_canonical_html(text) for text in distinct.to_list()], dtype=pl.String)
    return texts.replace_strict(distinct, spelled, default=None, return_dtype=pl.String)


def _canonical_html(text: str) -> str:
    # Imported here: its library takes 6 MiB of every process, and few objects have rich text.
    from lxml import etree  # noqa: PLC0415
    from lxml import html as lxml_html  # noqa: PLC0415

    text = pictures.wherever_in(text)
    try:
        root = lxml_html.fragment_fromstring(text, create_parent="div")
    except (etree.ParserError, ValueError):
        return " ".join(html.unescape(text).split())
    etree.strip_tags(root, etree.Comment)
    for element in root.iter():
        element.text = _one_blank(element.text)
        element.tail = _one_blank(element.tail)
        for name in sorted(element.attrib):
            element.attrib[name] = " ".join(element.attrib.pop(name).split())
    inner: str = etree.tostring(root, encoding="unicode", method="html")
    return inner.removeprefix("<div>").removesuffix("</div>").strip()


def _one_blank(text: str | None) -> str | None:
    """Runs of blanks as one, those that hold a line break only as none; a hard blank is a blank."""
    if text is None:
        return None
    joined = " ".join(text.replace("\u00a0", " ").split())
    if not joined:
        return None if not text or "\n" in text else " "
    before = " " if text[0].isspace() else ""
    after = " " if text[-1].isspace() else ""
    return before + joined + after


def _blank_as_null(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


_NORMAL: Mapping[EqualityRule, Callable[[pl.Expr], pl.Expr]] = {
    EqualityRule.BLANK: _blank_as_null,
    EqualityRule.TRAILING: lambda text: text.str.strip_chars_end(),
    EqualityRule.CASE: lambda text: text.str.to_lowercase(),
    EqualityRule.CHOICES: lambda text: text.str.split(";").list.sort().list.join(";"),
    EqualityRule.RICH: lambda text: text.map_batches(canonical_html, return_dtype=pl.String),
    EqualityRule.CONTENT: fingerprint,
}
