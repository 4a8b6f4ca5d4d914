"""``manage.py check_orgs``: check the connection of every org that is due, and that no automation bypass stayed on."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from connectors.errors import ConnectorError
from orgs import bypass as switches
from orgs import health
from orgs.models import Org, OrgStatus
from runs import bypass
from runs.bypass import Released


class Command(BaseCommand):
    help = (
        "Check the connection of every org that is due (MF_HEALTH_CHECK_MINUTES), one after the other, and take off "
        "automation bypasses that stayed on. Fails where one of those cannot be taken off."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        stuck = [self._released(org, released) for org, released in bypass.tend()]
        while (org := health.check_next()) is not None:
            told = "" if org.status == OrgStatus.ACTIVE else f": {org.status_reason}"
            self.stdout.write(f"{org.name} ({org.customer}): {org.get_status_display()}{told}")
            if org.status == OrgStatus.ACTIVE:
                stuck.append(self._looked(org))
        if any(stuck):
            raise CommandError("An automation bypass stayed on; see above.")

    def _looked(self, org: Org) -> bool:
        try:
            return self._released(org, bypass.look(org))
        except ConnectorError as error:
            self.stdout.write(f"{org.name} ({org.customer}): {error.message}")
            return False

    def _released(self, org: Org, released: Released) -> bool:
        """Whether it stayed on."""
        standing = switches.standing(org)
        if released is Released.OFF:
            self.stdout.write(f"{org.name} ({org.customer}): the automation bypass had stayed on; it is off again.")
        elif released is Released.STUCK and standing:
            self.stdout.write(f"{org.name} ({org.customer}): {standing.alarm}")
        return released is Released.STUCK
