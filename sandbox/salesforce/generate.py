"""Made-up but realistic CRM data of any size, the same for the same seed, and deliberately bad records in it."""

from dataclasses import dataclass

from sandbox.salesforce.org import Org
from sandbox.salesforce.store import Store


@dataclass(frozen=True, slots=True)
class BadRecord:
    id: str
    object: str
    kind: str
    field: str
    value: str | float | None


def generate(store: Store, org: Org, records: int, seed: int, bad: int) -> list[BadRecord]:
    return []
