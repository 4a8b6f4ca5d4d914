"""Which orgs are due for a check of their connection, each handed to one checker at a time."""

from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from orgs import services
from orgs.models import Org, OrgStatus

DEFAULT_MINUTES = 360


def interval() -> timedelta | None:
    """How often an org is checked by itself: ``MF_HEALTH_CHECK_MINUTES``; None where that is 0."""
    minutes = int(getattr(settings, "MF_HEALTH_CHECK_MINUTES", DEFAULT_MINUTES))
    return timedelta(minutes=minutes) if minutes > 0 else None


def any_due() -> bool:
    """Whether an org is due that has been checked before: one that is being connected is left to the person."""
    return (
        interval() is not None and Org.objects.filter(next_check_at__lte=Now()).exclude(status=OrgStatus.NEW).exists()
    )


def check_next() -> Org | None:
    """Check one org that is due, and give it as it is then; None where none is.

    Its next time is committed before it is asked, so that no other checker takes it and one that hangs or
    dies is not tried again at once.
    """
    every = interval()
    if every is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE orgs_org SET next_check_at = clock_timestamp() + make_interval(secs => %s)
                WHERE id = (SELECT id FROM orgs_org WHERE next_check_at <= clock_timestamp() AND status <> 'new'
                             ORDER BY next_check_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id""",
            [every.total_seconds()],
        )
        row = cursor.fetchone()
    return services.check_org(Org.objects.get(pk=row[0])) if row else None
