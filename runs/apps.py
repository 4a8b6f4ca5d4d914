from django.apps import AppConfig


class Runs(AppConfig):
    name = "runs"
    verbose_name = "Runs"
