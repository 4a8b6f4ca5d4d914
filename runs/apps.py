from django.apps import AppConfig


class Runs(AppConfig):
    name = "runs"
    verbose_name = "Runs"

    def ready(self) -> None:
        from runs import hosts  # noqa: PLC0415 - its models exist only now

        hosts.listen()
