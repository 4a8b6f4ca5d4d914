"""The wiring app: system checks and the admin site."""

from django.apps import AppConfig


class Wiring(AppConfig):
    name = "migration_factory"
