"""Packaged blueprints: what belongs together and moves together, as data with a version.

A blueprint names objects without namespaces. Which fields move, and how, is derived from what the two orgs say of
themselves, so that a blueprint stays good when a package adds a field.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from projects.blueprints import payroll
from projects.blueprints.blueprint import Blueprint, BlueprintObject
from projects.twins import bare

BLUEPRINTS: tuple[Blueprint, ...] = (payroll.PAYROLL,)


@dataclass(frozen=True, slots=True)
class Offered:
    """One object of a blueprint as an org has it; ``entity`` is blank where the org does not have it."""

    object: BlueprintObject
    entity: str


def by_slug(slug: str) -> Blueprint | None:
    """The blueprint of that name; None where none is packaged."""
    return next((blueprint for blueprint in BLUEPRINTS if blueprint.slug == slug), None)


def offered(blueprint: Blueprint, entities: Iterable[str]) -> tuple[Offered, ...]:
    """The blueprint's objects, in its order, as they are called among these entities of an org."""
    names = tuple(entities)
    return tuple(Offered(each, _called(each, names)) for each in blueprint.objects)


def fitting(platform: str, entities: Iterable[str]) -> Mapping[str, tuple[Offered, ...]]:
    """The blueprints for a platform that recognise at least one entity, by slug."""
    names = tuple(entities)
    found = {each.slug: offered(each, names) for each in BLUEPRINTS if each.platform == platform}
    return {slug: objects for slug, objects in found.items() if any(each.entity for each in objects)}


def _called(each: BlueprintObject, names: Iterable[str]) -> str:
    """A namespaced one wins over a copy: where both are there, the package is what is in use."""
    alike = sorted((name for name in names if bare(name) == bare(each.name)), key=lambda name: (-len(name), name))
    return alike[0] if alike else ""
