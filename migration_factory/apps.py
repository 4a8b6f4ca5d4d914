"""The wiring app: system checks and the admin site."""

from django.apps import AppConfig

from migration_factory import checks


class Wiring(AppConfig):
    name = "migration_factory"

    def ready(self) -> None:
        checks.register_all()
