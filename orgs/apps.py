"""The app of customers and the systems we reach for them."""

from django.apps import AppConfig


class Orgs(AppConfig):
    name = "orgs"
    verbose_name = "Customers and systems"

    def ready(self) -> None:
        from orgs import checks  # noqa: F401, PLC0415  Django wants checks registered here
