"""``manage.py check_orgs``: check the connection of every org that is due."""

from typing import Any

from django.core.management.base import BaseCommand

from orgs import health
from orgs.models import OrgStatus


class Command(BaseCommand):
    help = "Check the connection of every org that is due (MF_HEALTH_CHECK_MINUTES), one after the other."

    def handle(self, *args: Any, **options: Any) -> None:
        while (org := health.check_next()) is not None:
            told = "" if org.status == OrgStatus.ACTIVE else f": {org.status_reason}"
            self.stdout.write(f"{org.name} ({org.customer}): {org.get_status_display()}{told}")
