from django.apps import AppConfig


class Orgs(AppConfig):
    name = "orgs"
    verbose_name = "Customers and systems"
