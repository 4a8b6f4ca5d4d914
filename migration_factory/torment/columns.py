"""Fields as an org describes them: how values stand in rows, values by chance, and what is wrong with one.

https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_describesobjects_describesobjectresult.htm
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from migration_factory.torment.scene import REFUSED, Chance, Field, Kind

NUMBERS = {"int", "double", "currency", "percent"}
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("string", "textarea", "phone", "url", "email", "picklist", "multipicklist", "time"), Kind.TEXT),
    **dict.fromkeys(NUMBERS, Kind.NUMBER),
    "boolean": Kind.FLAG,
    "date": Kind.DAY,
    "datetime": Kind.MOMENT,
    "reference": Kind.REFERENCE,
}
"""The types that rows tell of; others (contents, formulas, addresses as a whole) are told by their parts, or not."""
FREE = {"string", "textarea"}
SHORTEST, LONGEST = 20, 255
"""How long a text has to be that people or a rule enter something in, and the longest that is spoilt by its length."""
LARGEST = 6
"""Digits before the point of a number by chance: no float is off by a digit then."""
STRANGE = "Nobody's value"
TOO_EARLY = "1500-01-01"
NO_ADDRESS = "nobody at home"
TEXTS = (
    "Köln", "São Paulo", "O’Hara & Söhne; 50% off", '"quoted", and so on', "=1+1", "東京", "#N/A", "null", "N/A, 0",
    "'; --", "Ł\tÓdź", "true", "007", "1e5", "a,b;c|d", "<b>bold</b>", "{!Name}", "e\u0301te\u0301 🚲",
)  # fmt: skip
LINES = ("first\nsecond", 'one\n\nthree; "four"\nfive', "- a\n- b,\n- c")


@dataclass(frozen=True, slots=True)
class Column:
    """A field with what the org says of it.

    ``length`` 0 is any, ``whole`` are the digits before the point, 0 is any. ``named``: the platform fills it in
    itself where it is blank; ``required``: it refuses a blank one. A ``fixed`` one is given with the record and never
    changed.
    """

    field: Field
    type: str
    length: int
    whole: int
    named: bool
    required: bool
    fixed: bool
    unique: bool
    restricted: bool

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def free(self) -> bool:
        """Whether people enter any words they like."""
        return self.type in FREE and self.length >= SHORTEST and not self.unique and not self.fixed

    @property
    def linked(self) -> bool:
        return self.field.kind is Kind.REFERENCE


def columns(described: Mapping[str, Any], moved: Collection[str]) -> Iterator[Column]:
    """The fields of an object that an integration writes. References lead to one of the objects ``moved``; those that
    lead elsewhere, or to objects of several kinds, are left out."""
    for told in described["fields"]:
        linked = told["type"] == "reference"
        fixed = not told["updateable"]
        elsewhere = linked and (len(told["referenceTo"]) != 1 or told["referenceTo"][0] not in moved)
        odd = fixed and not (linked and not told["nillable"])
        rich = told.get("htmlFormatted", False)
        if told["type"] in KINDS and told["createable"] and not (elsewhere or odd or rich):
            yield _column(told, fixed=fixed)


def _column(told: Mapping[str, Any], *, fixed: bool) -> Column:
    kind = KINDS[told["type"]]
    values = tuple(each["value"] for each in told["picklistValues"] if each["active"])
    must = not told["nillable"] and not told["defaultedOnCreate"]
    if told["type"] == "int":
        digits, whole = 0, int(told["digits"])
    else:
        digits, whole = int(told["scale"]), int(told["precision"]) - int(told["scale"])
    return Column(
        Field(
            told["name"],
            kind,
            parent=told["referenceTo"][0] if kind is Kind.REFERENCE else "",
            required=kind is Kind.REFERENCE and must,
            digits=digits,
            values=values,
        ),
        told["type"],
        length=int(told["length"]),
        whole=max(0, whole),
        named=told["nameField"] or not told["nillable"],
        required=must,
        fixed=fixed,
        unique=told["unique"],
        restricted=bool(told["restrictedPicklist"] and values),
    )


def as_told(column: Column, stored: object) -> str | None:
    """A value of the org's store as rows have it."""
    match column.field.kind:
        case Kind.FLAG:
            return str(bool(stored)).lower()
        case Kind.NUMBER if stored is not None:
            return f"{Decimal(str(stored)):.{column.field.digits}f}"
        case _:
            return None if stored is None else str(stored)


# --- By chance ------------------------------------------------------------------------------------------------------


def drawn(chance: Chance, column: Column) -> str | None:
    """A value that the org takes, now and then none where it needs none; of a reference always none."""
    if column.linked or (not column.named and column.field.kind is not Kind.FLAG and chance.random() < 0.15):
        return None
    make = _BY_CHOICE.get(column.type) if column.field.values else _MADE.get(column.type)
    return (make or _text)(chance, column)


def _flag(chance: Chance, _: Column) -> str:
    return chance.choice(("true", "false"))


def _number(chance: Chance, column: Column) -> str:
    most = min(10 ** min(column.whole or LARGEST, LARGEST), 90 if column.field.digits > LARGEST else 10**LARGEST)
    whole = chance.choice((0, chance.randrange(most), -chance.randrange(most)))
    fraction = f"{chance.randrange(100):02}"
    return f"{Decimal(f'{whole}.{fraction[: column.field.digits]}'):.{column.field.digits}f}"


def _day(chance: Chance, _: Column) -> str:
    return (date(1950, 1, 1) + timedelta(days=chance.randrange(40_000))).isoformat()


def _moment(chance: Chance, column: Column) -> str:
    return f"{_day(chance, column)}T{_clock(chance, column)}"


def _clock(chance: Chance, _: Column) -> str:
    return f"{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}.000Z"


def _email(chance: Chance, _: Column) -> str:
    return f"p{chance.randrange(10**9)}@example.com"


def _url(chance: Chance, _: Column) -> str:
    return f"https://example.com/{chance.randrange(10**9)}?a=1&b=%20"


def _phone(chance: Chance, _: Column) -> str:
    return f"+1 (555) {chance.randrange(10**9):09}"


def _one(chance: Chance, column: Column) -> str:
    return chance.choice(column.field.values)


def _some(chance: Chance, column: Column) -> str:
    return ";".join(each for each in column.field.values if chance.random() < 0.4) or column.field.values[0]


def _text(chance: Chance, column: Column) -> str:
    """Also such as fill the field to its last character."""
    number, room = chance.randrange(10**9), column.length or LONGEST
    if column.unique:
        return f"{number}"[:room]
    words = LINES + TEXTS if column.type == "textarea" else TEXTS
    long = "ä" * min(room, LONGEST) if chance.random() < 0.05 else chance.choice((str(number), *words))
    if room > LONGEST and chance.random() < 0.1:
        long = "A long text, line by line.\n" * chance.randrange(2, min(room, 5_000) // 27) + "The end."
    return long[:room].strip()


_BY_CHOICE = {"picklist": _one, "multipicklist": _some}
_MADE: Mapping[str, Callable[[Chance, Column], str]] = {
    "boolean": _flag,
    **dict.fromkeys(NUMBERS, _number),
    "date": _day,
    "datetime": _moment,
    "time": _clock,
    "email": _email,
    "url": _url,
    "phone": _phone,
}


# --- Wrong ----------------------------------------------------------------------------------------------------------


def flawed(column: Column, value: str | None) -> bool:
    """Whether it shows by the description alone that the target will not have the value."""
    if value is None:
        return column.required
    if column.restricted:
        return not set(value.split(";") if column.type == "multipicklist" else [value]) <= set(column.field.values)
    if column.field.kind is Kind.NUMBER:
        return bool(column.whole) and abs(Decimal(value)) >= 10**column.whole
    return bool(column.length) and column.type in FREE and len(value) > column.length


def refused(column: Column, value: str | None) -> bool:
    """Whether only the target finds something wrong with the value: with an address, or a day before its time."""
    if value is None:
        return False
    if column.field.kind in {Kind.DAY, Kind.MOMENT}:
        return value <= TOO_EARLY
    return column.type == "email" and "@" not in value


def can_be_spoilt(column: Column) -> bool:
    if column.fixed or column.unique or column.linked:
        return False
    long = column.type in FREE and 0 < column.length <= LONGEST
    large = column.field.kind is Kind.NUMBER and 0 < column.whole <= LARGEST
    return column.restricted or long or large or column.type in {"date", "email"}


def spoilt(chance: Chance, column: Column) -> str | None:
    """A value that is refused."""
    if column.required and chance.random() < 0.5:
        return None
    if column.restricted:
        return STRANGE
    if column.field.kind is Kind.NUMBER:
        return f"{10**column.whole}.{'0' * column.field.digits}".removesuffix(".")
    if column.type == "date":
        return TOO_EARLY
    return NO_ADDRESS if column.type == "email" else "x" * (column.length + 1)


def by_rule(chance: Chance) -> str:
    """A text that the target's rule refuses."""
    return f"{REFUSED} {chance.randrange(10**6)}"
