"""The words that the workbook and the document share: what figures, rules and sections are called for people."""

from collections.abc import Iterator
from datetime import datetime

from projects.mapping.equality import LABELS, EqualityRule
from runs.choices import RunKind, RunState
from runs.engine.family import SAID
from runs.evidence.document import Json

COUNTS = {
    "records": "Records read",
    "created": "Created",
    "updated": "Updated",
    "unchanged": "Unchanged",
    "deferred": "Waiting for a parent",
    "rejected": "Rejected",
    "skipped": "Skipped",
    "conflicts": "Conflicts",
    "deleted": "Deleted",
    "verified_records": "Records read back",
    "verified_fields": "Values compared",
    "missing": "Missing",
    "mismatches": "Different",
}
COUNTS_OF_ROLLBACK = COUNTS | {"records": "Records to take back", "updated": "Restored", "skipped": "Deleted meanwhile"}


def counts_of(kind: str) -> dict[str, str]:
    return COUNTS_OF_ROLLBACK if kind == RunKind.ROLLBACK else COUNTS


def rule_words(rule: str) -> str:
    """The rule, or several joined by ``+``, as the end of “the values are equal …”."""
    return " and ".join(LABELS[EqualityRule(name)] for name in rule.split("+"))


def orphan_words(orphan: Json) -> str:
    return f"{orphan['field']} {SAID[orphan['rule']]}"


def object_name(each: Json) -> str:
    return f"{each['source']} → {each['target']}"


def moment(text: str | None) -> str:
    """``20 November 2026, 21:53 UTC``."""
    return datetime.fromisoformat(text).strftime("%-d %B %Y, %H:%M UTC") if text else "–"


def state_words(run: Json) -> str:
    return f"{RunKind(run['kind']).label}, {RunState(run['state']).label.lower()}"


def trouble(each: Json) -> int:
    """How many things of the object are not as they should be."""
    counts = each["totals"]["counts"]
    found = sum(counts.get(name, 0) for name in ("rejected", "deferred", "conflicts", "missing", "mismatches"))
    return int(found + ((each["extras"] or {}).get("count") or 0))


def by_rule(objects: list[Json]) -> Iterator[tuple[str, int]]:
    """Rule → values of all objects that are equal by it; exact equality first, then by size."""
    total: dict[str, int] = {}
    for each in objects:
        for item in each["totals"]["equal"]:
            total[item["rule"]] = total.get(item["rule"], 0) + item["values"]
    yield from sorted(total.items(), key=lambda pair: (pair[0] != EqualityRule.EXACT, -pair[1]))
