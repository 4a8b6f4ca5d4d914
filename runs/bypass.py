"""Automation of a target that stands aside while runs write: on before the first write, off when no run needs it.

Needed it is by every run at work on the org, whatever its kind: they share it, and are counted by their states, so that
whoever ends last (or whoever finds that the last one died) takes it off. The row in the database is committed before
the org is asked, and goes when the org has confirmed that it is off. Why so: docs/decisions/0026-automation-bypass.md.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from enum import StrEnum

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from connectors.base import Target
from connectors.context import Clock, SystemClock
from connectors.errors import ConnectorError, SettingsInvalid
from connectors.types import Bypass
from orgs import bypass as switches
from orgs import services as orgs
from orgs.models import AutomationBypass, Org
from runs import events
from runs.choices import EventLevel, RunState
from runs.crash_points import CrashPoint, reached
from runs.models import Run

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 90
"""After so long a worker that switches is taken for dead."""
RETRY_SECONDS = 300
"""How often it is tried again to take off what could not be."""
POLL_SECONDS = 0.2
NEEDING = (RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)

# A run that failed under one worker may still be written by another, as long as that one holds a piece of it.
_NEEDED = """
    SELECT EXISTS (
        SELECT 1 FROM runs_run r JOIN projects_project p ON p.id = r.project_id
         WHERE p.target_id = %s AND (
               r.state = ANY(%s)
               OR ((r.finished_at IS NULL OR r.finished_at > clock_timestamp() - interval '1 day')
                   AND EXISTS (SELECT 1 FROM runs_chunk c
                                WHERE c.run_id = r.id AND c.lease_until > clock_timestamp()))))"""


class _Turn(StrEnum):
    """Why there is nothing to switch for this worker."""

    IS_ON = "is_on"
    UNKNOWN = "unknown"
    """Nobody has switched it, and this worker has not looked for the switch yet."""
    BUSY = "busy"


class Released(StrEnum):
    """What came of taking it off."""

    NOTHING = "nothing"
    """It was not on, or somebody is at it."""
    NEEDED = "needed"
    OFF = "off"
    STUCK = "stuck"


# --- On -------------------------------------------------------------------------------------------------------
def hold(run: Run, target: Callable[[], Target], *, clock: Clock | None = None) -> None:
    """See to it that the target's automation stands aside, where the org's settings want that, before the run writes.

    Asked before every piece that writes: a look at one row where it is on. Waits while another worker switches. The
    run must be at work already. Raises connector errors; the run must not write then.
    """
    org = run.project.target
    if not switches.asked_for(org):
        return
    found: Bypass | None = None
    while (turn := _turn_on(org, found)) is not _Turn.IS_ON:
        if turn is _Turn.BUSY:
            (clock or SystemClock()).sleep(POLL_SECONDS)
        elif isinstance(turn, int) and found is not None:
            _switch_on(run, target(), found, turn)
            return
        else:
            found = target().bypass(switches.name_of(org))
            if found is None:
                return


def _turn_on(org: Org, found: Bypass | None) -> _Turn | int:
    """The fence under which this worker is to switch it on, or why it is not to."""
    with transaction.atomic():
        row = _locked(org)
        if row is not None and row.state == AutomationBypass.State.ON and not row.trouble:
            return _Turn.IS_ON
        if row is not None and _is_busy(row):
            return _Turn.BUSY
        if found is None:
            return _Turn.UNKNOWN
        if row is None:
            return _created(org, found)
        if row.switch != _stored(found):
            raise SettingsInvalid(f"{row.alarm or 'The automation bypass is on for another user.'} Until then no run "
                                  f"can switch it on for the user {found.user}.")  # fmt: skip
        return _claimed(row, AutomationBypass.State.SWITCHING_ON)


def _switch_on(run: Run, target: Target, found: Bypass, fence: int) -> None:
    org = run.project.target
    reached(CrashPoint.BYPASS_INTENDED)
    try:
        target.switch_bypass(found, on=True)
    except ConnectorError as error:
        _settle(org, fence, trouble=f"It is not certain whether it was switched on. {error.message}")
        raise
    reached(CrashPoint.BYPASS_SWITCHED)
    with transaction.atomic():
        _settle(org, fence)
        events.tell(
            run.pk,
            f"The automation bypass is on: what asks for $Permission.{found.permission} stands aside until no run "
            f"writes to {org}. All other automation runs.",
        )


# --- Off ------------------------------------------------------------------------------------------------------
def let_go(org: Org, *, run_id: int | None = None) -> Released:
    """Take it off where no run needs it any more; a failure is an alarm, and not raised. ``run_id`` is the run whose
    log hears of it, by itself the one that ended last."""
    claimed = _turn_off(org)
    if isinstance(claimed, Released):
        return claimed
    fence, switch = claimed
    try:
        with orgs.open_target(org) as target:
            target.switch_bypass(switch, on=False)
    except ConnectorError as error:
        _alarm(org, fence, orgs.redactor_of(org)(error.message), run_id)
        return Released.STUCK
    reached(CrashPoint.BYPASS_TAKEN_OFF)
    with transaction.atomic():
        if not AutomationBypass.objects.filter(org=org, fence=fence).delete()[0]:
            # Somebody took us for dead and may have switched it on before our call came through: look again.
            AutomationBypass.objects.filter(org=org).update(trouble="It may have been taken off while it was needed.")
        elif told := run_id or _last_run(org):
            events.tell(told, "The automation bypass is off again.")
    return Released.OFF


def _turn_off(org: Org) -> Released | tuple[int, Bypass]:
    with transaction.atomic():
        row = _locked(org)
        if row is None or _is_busy(row):
            return Released.NOTHING
        # Asked after the row is locked: a run that comes to work from here on waits for us, see _turn_on.
        if _is_needed(org):
            return Released.NEEDED
        return _claimed(row, AutomationBypass.State.SWITCHING_OFF), Bypass(**row.switch)


def _alarm(org: Org, fence: int, trouble: str, run_id: int | None) -> None:
    known = AutomationBypass.objects.get(org=org).trouble
    with transaction.atomic():
        _settle(org, fence, trouble=trouble)
        if trouble == known:
            return
        alarm = AutomationBypass.objects.get(org=org).alarm
        logger.error("org %s: %s", org.pk, alarm)
        if told := run_id or _last_run(org):
            events.tell(told, alarm, level=EventLevel.ERROR)


def after(run_id: int) -> None:
    """The run does not need it any more, or another worker still writes: take it off where nobody does."""
    found = AutomationBypass.objects.filter(org__projects_to__runs=run_id).select_related("org").first()
    if found is not None:
        let_go(found.org, run_id=run_id)


# --- Looking after it -----------------------------------------------------------------------------------------
def any_left() -> bool:
    """Whether one may have stayed on: no run needs it, and nobody has tried lately."""
    return any(not _is_needed(row.org) for row in _left())


def tend() -> Iterator[tuple[Org, Released]]:
    """Take off what stayed on, org by org."""
    for row in _left():
        if not _is_needed(row.org):
            yield row.org, let_go(row.org)


def look(org: Org) -> Released:
    """Ask the org itself whether it is on though no run needs it and we know of nothing, and take it off.

    Raises connector errors."""
    if not switches.asked_for(org) or switches.standing(org) or _is_needed(org):
        return Released.NOTHING
    with orgs.open_target(org) as target:
        found = target.bypass(switches.name_of(org))
    if found is None or not found.is_on:
        return Released.NOTHING
    with transaction.atomic():
        if _locked(org) is not None:
            return Released.NOTHING
        fence = _created(org, found)
        if isinstance(fence, int):
            _settle(org, fence, trouble="It was found on in the org, and no run of ours had switched it on.")
    return let_go(org)


def _left() -> list[AutomationBypass]:
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    due = Q(tried_at=None) | Q(tried_at__lt=Now() - timedelta(seconds=RETRY_SECONDS))
    return list(AutomationBypass.objects.filter(free, due).select_related("org__customer"))


# --- The row --------------------------------------------------------------------------------------------------
def _locked(org: Org) -> AutomationBypass | None:
    return AutomationBypass.objects.select_for_update().filter(org=org).first()


def _is_busy(row: AutomationBypass) -> bool:
    return AutomationBypass.objects.filter(pk=row.pk, lease_until__gt=Now()).exists()


def _created(org: Org, found: Bypass) -> _Turn | int:
    try:
        with transaction.atomic():
            row = AutomationBypass.objects.create(
                org=org,
                state=AutomationBypass.State.SWITCHING_ON,
                switch=_stored(found),
                lease_until=Now() + timedelta(seconds=SWITCH_SECONDS),
            )
    except IntegrityError:
        return _Turn.BUSY
    return row.fence


def _claimed(row: AutomationBypass, state: AutomationBypass.State) -> int:
    lease = Now() + timedelta(seconds=SWITCH_SECONDS)
    AutomationBypass.objects.filter(pk=row.pk).update(state=state, fence=F("fence") + 1, lease_until=lease)
    return row.fence + 1


def _settle(org: Org, fence: int, *, trouble: str = "") -> None:
    """It is on, as far as we know; nothing where somebody else has taken over."""
    AutomationBypass.objects.filter(org=org, fence=fence).update(
        state=AutomationBypass.State.ON, lease_until=None, trouble=trouble, tried_at=Now() if trouble else None
    )


def _stored(found: Bypass) -> dict[str, object]:
    return asdict(replace(found, is_on=True))


def _is_needed(org: Org) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_NEEDED, [org.pk, list(NEEDING)])
        return bool(cursor.fetchone()[0])


def _last_run(org: Org) -> int | None:
    ended = Run.objects.filter(project__target=org).order_by(F("finished_at").desc(nulls_last=True), "-pk")
    return ended.values_list("pk", flat=True).first()
