"""What the org's page says, as rows of label and text."""

from collections.abc import Mapping
from typing import Any

from orgs.budget_store import Reading
from orgs.budget_words import budget_rows
from orgs.bypass import asked_for, name_of
from orgs.models import AutomationBypass, Org

Rows = list[tuple[str, str]]


def facts(org: Org) -> Rows:
    """What the last successful check learned: version, edition and the like."""
    return [(_words(name), _text(value)) for name, value in sorted(org.facts.items())]


def limits(org: Org) -> Rows:
    """Limit → “1,200 of 15,000 left (8 %)”."""
    return [(_words(name), _left(*pair)) for name, pair in sorted(org.limits.items())]


def budget(reading: Reading) -> Rows:
    """What was agreed about requests and how much of it is used now."""
    return budget_rows(reading.terms, reading.state, reading.places, reading.now)


def bypass(org: Org, standing: AutomationBypass | None) -> Rows:
    """How the org's automation is asked to stand aside, and whether it does now."""
    permission = asked_for(org)
    now = standing.get_state_display() if standing else "Off"
    return [("Custom permission", permission), ("Permission set", name_of(org)), ("Now", now)] if permission else []


def capabilities(org: Org) -> list[tuple[str, Rows]]:
    """Per role the connector plays: a heading and what it can do there."""
    return [(f"What it can do as a {role}", _capabilities(found)) for role, found in sorted(org.capabilities.items())]


def _capabilities(found: Mapping[str, Any]) -> Rows:
    flags = [(_words(name), "yes" if value else "no") for name, value in found.items() if isinstance(value, bool)]
    figures = [(_words(name), _figure(value)) for name, value in found.items() if not isinstance(value, bool)]
    return flags + figures


def _left(left: int, total: int) -> str:
    share = f" ({left * 100 // total} %)" if total > 0 else ""
    return f"{left:,} of {total:,} left{share}"


def _figure(value: float | str | list[str]) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, str):
        return _words(value) or "none"
    return f"{value:,}" if value else "no limit of its own"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
