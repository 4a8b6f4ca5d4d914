"""What django-q2 calls, by dotted name and with integers only; each hands over to a service at once."""

from runs import drivers


def drive(driver_id: int) -> None:
    drivers.drive(driver_id)


def canary(host_id: int) -> None:
    """Nothing to do: that this call came back through the whole cluster is the message (see ``runs.hosts``)."""
