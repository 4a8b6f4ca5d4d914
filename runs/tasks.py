"""What django-q2 calls, by dotted name and with integers only; each hands over to a service at once."""

from runs import drivers, hosts


def drive(driver_id: int) -> None:
    drivers.drive(driver_id)


def answer_canary(host_id: int) -> None:
    hosts.answer_canary(host_id)
