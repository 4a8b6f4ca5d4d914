"""Which connectors exist: ours as a literal, third parties' by entry point.

A package adds a connector with ``[project.entry-points."migration_factory.sources"]`` (or
``.targets``) and ``slug = "package.module:Class"``; a slug that is taken already is refused, aloud.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

from connectors.base import Connector, Source, Target
from connectors.errors import SettingsInvalid

SOURCES: Mapping[str, str] = {
    "salesforce": "connectors.sources.salesforce:SalesforceSource",
    "workbook": "connectors.sources.workbook:WorkbookSource",
}
TARGETS: Mapping[str, str] = {
    "postgresql": "connectors.targets.postgresql:PostgresqlTarget",
    "salesforce": "connectors.targets.salesforce:SalesforceTarget",
}

C = TypeVar("C", bound=Connector)


@cache
def _paths(kind: str) -> Mapping[str, str]:
    builtin = SOURCES if kind == "sources" else TARGETS
    found = dict(builtin)
    for point in entry_points(group=f"migration_factory.{kind}"):
        if point.name in found:
            raise SettingsInvalid(
                f"The {kind[:-1]} connector “{point.name}” is offered twice: {found[point.name]} and {point.value}. "
                "Uninstall one of the packages."
            )
        found[point.name] = point.value
    return dict(sorted(found.items()))


def _load(kind: str, slug: str, base: type[C]) -> type[C]:
    path = _paths(kind).get(slug)
    if path is None:
        known = ", ".join(_paths(kind))
        raise SettingsInvalid(f"There is no {kind[:-1]} connector “{slug}”. Known ones: {known}.")
    module, _, name = path.partition(":")
    loaded = getattr(import_module(module), name)
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise SettingsInvalid(f"The connector “{slug}” ({path}) is not a {base.__name__}.")
    return loaded


def source_slugs() -> tuple[str, ...]:
    return tuple(_paths("sources"))


def target_slugs() -> tuple[str, ...]:
    return tuple(_paths("targets"))


def source_class(slug: str) -> type[Source]:
    """The source connector of that slug; raises SettingsInvalid naming the known ones."""
    return _load("sources", slug, Source)  # type: ignore[type-abstract]


def target_class(slug: str) -> type[Target]:
    """The target connector of that slug; raises SettingsInvalid naming the known ones."""
    return _load("targets", slug, Target)  # type: ignore[type-abstract]
