"""Figures and states as the screens word them."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince

from connectors.errors import SettingsInvalid
from orgs.forms import platform_label
from projects.estimate import Range
from projects.models import Project
from runs import ledger, services
from runs.choices import ACTIVE, RecordState, RunKind, RunState
from runs.ledger import Scope
from runs.models import Run
from runs.remedies import Remedy, remedy

register = template.Library()

RUN_COLOURS: Mapping[str, str] = {
    RunState.QUEUED: "",
    RunState.RUNNING: "info",
    RunState.PAUSING: "warning",
    RunState.PAUSED: "warning",
    RunState.CANCELLING: "warning",
    RunState.CANCELLED: "",
    RunState.COMPLETED: "success",
    RunState.COMPLETED_WITH_ERRORS: "warning",
    RunState.FAILED: "danger",
    RunState.CRASHED: "danger",
}
RECORD_COLOURS: Mapping[str, str] = {
    RecordState.LOADED: "success",
    RecordState.UNCHANGED: "success",
    RecordState.DEFERRED: "warning",
    RecordState.REJECTED: "danger",
    RecordState.SKIPPED: "",
    "conflict": "warning",
    "rolled_back": "",
    RecordState.WAIVED: "",
    RecordState.GONE: "warning",
    RecordState.DELETED: "",
}
UNDOING_LABELS: Mapping[str, str] = {
    "created": "Created again",
    "updated": "Restored",
    "deferred": "Still pointed at",
    "rejected": "Refused",
    "skipped": "Deleted meanwhile",
    "conflicts": "Conflicts",
    "read": "Gathered",
    "loaded": "Taken back",
    "reading": "gathering",
    "loading": "taking back",
}
"""What counts and phases of a run are called where it is a rollback."""
TRYING_LABELS: Mapping[str, str] = {
    "created": "Would be created",
    "updated": "Would be updated",
    "deferred": "Would wait",
    "rejected": "Would be refused",
    "skipped": "Would be skipped",
    "unchanged": "Would stay as they are",
    "conflicts": "Would be in conflict",
    "loaded": "Tried out",
    "verified": "done",
    "verifying": "tried out",
    "loading": "trying out",
}
"""The same where it is a dry run."""
LISTED: Mapping[str, str] = {
    "deferred": RecordState.DEFERRED,
    "rejected": RecordState.REJECTED,
    "skipped": RecordState.SKIPPED,
    "conflicts": RecordState.CONFLICT,
}
"""A count of a run → the state in which its records are listed."""
MINUTE, HOUR, DAY = 60, 3600, 86400


@register.filter
def count(number: float | None) -> str:
    """12345 → “12,345”; a dash where nobody knows."""
    return "–" if number is None else f"{number:,.0f}"


@register.filter
def per_second(rate: float | None) -> str:
    if rate is None:
        return "–"
    return f"{rate:,.0f} records/s" if rate >= 10 else f"{rate:.1f} records/s"


@register.filter
def duration(seconds: float | None) -> str:
    """“8 s”, “3 min 20 s”, “2 h 5 min”, “3 d 4 h”; a dash for None."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole, MINUTE, "min", 1, "s")
    if whole < DAY:
        return _two(whole, HOUR, "h", MINUTE, "min")
    return _two(whole, DAY, "d", HOUR, "h")


@register.filter
def ago(moment: datetime) -> str:
    """“just now” within the first minute, then “3 hours, 5 minutes ago”."""
    passed = timezone.now() - moment
    return "just now" if passed.total_seconds() < MINUTE else f"{timesince(moment)} ago"


@register.filter
def span(seconds: tuple[float, float] | None) -> str:
    """A range of seconds as people say it: “less than a minute”, “2–4 min”, “1–2 h”."""
    if seconds is None:
        return "–"
    low, high = seconds
    if high < MINUTE:
        return "less than a minute"
    unit, name = (MINUTE, "min") if high < 2 * HOUR else (HOUR, "h") if high < 2 * DAY else (DAY, "days")
    first, last = int(low // unit), -int(-high // unit)
    return f"up to {last} {name}" if first == 0 else f"{first}–{last} {name}" if first != last else f"{last} {name}"


@register.filter
def platform(slug: str) -> str:
    """What a person calls the platform: “Salesforce”."""
    return platform_label(slug)


@register.filter
def breakable(name: str) -> SafeString:
    """A technical name that may go on in the next line after an underscore, and not in the middle of a word."""
    parts = re.split(r"(?<=_)(?=[^_]{2})", name)
    return format_html_join(mark_safe("<wbr>"), "{}", ((each,) for each in parts))


FIGURES: Mapping[str, str] = {
    "records": "Records",
    "seconds": "Time",
    "calls": "Requests",
    "ours": "Storage with us",
    "theirs": "Storage in the target",
}
BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@register.filter
def figure(name: str) -> str:
    return FIGURES[name]


@register.filter
def measure(span_of: Range, name: str) -> str:
    """A range of an estimate: “2–5 min”, “100–400”, “1.2–3.4 MB”."""
    if name == "seconds":
        return span((span_of.low, span_of.high))
    if name in {"ours", "theirs"}:
        return _bytes(span_of.low, span_of.high)
    low, high = (f"{round(number):,}" for number in (span_of.low, span_of.high))
    return low if low == high else f"{low}–{high}"


@register.filter
def measured(number: float, name: str) -> str:
    """A measured figure beside an estimate."""
    return duration(number) if name == "seconds" else measure(Range(number, number), name)


def _bytes(low: float, high: float) -> str:
    power = 0
    while high >= 1_000 and power < len(BYTE_UNITS) - 1:
        low, high, power = low / 1_000, high / 1_000, power + 1
    digits = 0 if high >= 100 or not power else 1
    first, last = f"{low:,.{digits}f}", f"{high:,.{digits}f}"
    return f"{last if first == last else f'{first}–{last}'} {BYTE_UNITS[power]}"


@register.filter
def as_percent(share: float) -> str:
    """0.9987 → “99.8 %”; rounded down, so that 100 means all."""
    return f"{int(share * 1_000) / 10:g} %"


@register.filter
def run_badge(run: Run) -> SafeString:
    live = " live" if run.state in ACTIVE else ""
    return format_html('<span class="mf-badge {}{}">{}</span>', RUN_COLOURS[run.state], live, run.get_state_display())


@register.filter
def record_badge(state: str) -> SafeString:
    """A record's state; “pending” has no row in the ledger and so no choice of its own."""
    label = RecordState(state).label if state in RecordState.values else "Pending"
    return format_html('<span class="mf-badge {}">{}</span>', RECORD_COLOURS.get(state, "info"), label)


@register.filter
def outcome(name: str, run: Run) -> str:
    """A count or phase in the words of the run's kind: “updated” is “Restored” in a rollback."""
    if run.kind == RunKind.ROLLBACK:
        return UNDOING_LABELS.get(name, name.capitalize())
    if run.kind == RunKind.DRY_RUN:
        return TRYING_LABELS.get(name, name.capitalize())
    return name.capitalize()


@register.filter
def listed_as(name: str, run: Run) -> str:
    """The state under which the records of a count are listed; blank where no list has them."""
    if run.kind == RunKind.ROLLBACK and name == "deleted":
        return RecordState.ROLLED_BACK
    return LISTED.get(name, "")


@register.filter
def tried_what(run: Run) -> str:
    """What a retry was limited to: “all that was due”, “record 0011”, “cause too_long”."""
    scope = Scope.of(run.scope)
    parts = [
        _named("record", scope.source_ids),
        _named("cause", scope.codes),
        f"{len(scope.objects)} object{'' if len(scope.objects) == 1 else 's'}" if scope.objects else "",
    ]
    everything = "all that was taken back" if RecordState.ROLLED_BACK in scope.states else "all that was due"
    return " of ".join(part for part in parts if part) or everything


@register.filter
def remedy_of(code: str) -> Remedy:
    """The probable cause and the fix of a code."""
    return remedy(code)


@register.filter
def scope_of(scope: Scope, objects: Mapping[int, Any]) -> str:
    """What a rollback is limited to: “3 records of Contact → contacts, cause edited”."""
    states = "in the target" if len(scope.states) > 1 else "".join(RecordState(each).label for each in scope.states)
    which = _named("record", scope.source_ids) or "records"
    of = [str(objects[pk]) for pk in scope.objects if pk in objects]
    told = [f"{which} of {', '.join(of)}" if of else which, states.lower(), *(f"cause {code}" for code in scope.codes)]
    return ", ".join(part for part in told if part)


def _named(noun: str, names: tuple[str, ...]) -> str:
    return f"{noun} {names[0]}" if len(names) == 1 else f"{len(names)} {noun}s" if names else ""


@register.simple_tag
def read_up_to(project: Project) -> Mapping[int, datetime]:
    """Object id → the latest change of the source that was brought; absent where none is known."""
    marks = ledger.watermarks([chosen.pk for chosen in project.project_objects.all()])
    return {object_id: mark.at for object_id, mark in marks.items()}


@register.simple_tag
def cannot_be_asked(project: Project) -> bool:
    """Whether runs of the project need a person's consent; a platform that is not installed needs none yet."""
    try:
        return services.cannot_be_asked(project)
    except SettingsInvalid:
        return False


@register.filter
def known_at(mapping: Mapping[Any, Any], key: Any) -> Any:
    """As ``at``, and None where the mapping does not have the key."""
    return mapping.get(key)


@register.filter
def taken(run: Run) -> float | None:
    """Seconds from start to end; None while it has not ended."""
    return (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else None


@register.filter
def at(mapping: Mapping[Any, Any], key: Any) -> Any:
    """The mapping's value of a key that is only known in the template."""
    return mapping[key]


@register.filter
def percent(brief: Any, state: str) -> int | None:
    found: int | None = brief.percent(state)
    return found


def _two(whole: int, unit: int, name: str, small: int, small_name: str) -> str:
    rest = whole % unit // small
    return f"{whole // unit} {name} {rest} {small_name}" if rest else f"{whole // unit} {name}"
