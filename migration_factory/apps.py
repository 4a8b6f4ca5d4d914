"""The wiring apps: system checks, and the admin site, whose pages are looked for by who needs them."""

from typing import Any

from django.apps import AppConfig
from django.contrib.admin import autodiscover
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register

from migration_factory import checks


class Wiring(AppConfig):
    name = "migration_factory"

    def ready(self) -> None:
        checks.register_all()


class Pages(SimpleAdminConfig):
    """Django's admin, but that our pages for it are imported by the URLs and by the checks, not by every process: a
    worker shows none, and they and what they bring take 15 MiB and a second of its start."""

    default = False

    def ready(self) -> None:
        register(check_dependencies, Tags.admin)
        register(check_pages, Tags.admin)


def check_pages(**options: Any) -> list[CheckMessage]:
    """Django's check of the admin, of all pages."""
    autodiscover()
    found: list[CheckMessage] = check_admin_app(**options)
    return found
