"""What a blueprint is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlueprintObject:
    """One object that belongs to a blueprint. ``name`` is without namespace; ``purpose`` is for staff."""

    name: str
    label: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Objects of one platform that move together, parents first. ``version`` grows with every change of the data."""

    slug: str
    version: int
    title: str
    summary: str
    platform: str
    objects: tuple[BlueprintObject, ...]
    external_ids: tuple[str, ...]
    """Names, without namespace, of fields that carry an external id, the likeliest first."""
