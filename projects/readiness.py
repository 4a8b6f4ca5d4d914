"""Whether the steps of a move are ready: connected, may read, may write, compatible; each with what to do if not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from connectors.base import Connector, Source, Target
from connectors.errors import ConnectorError
from connectors.types import ID_MAP, EntitySchema
from orgs import services as orgs
from orgs.models import Org, OrgStatus
from projects import discovery, files, owners, services
from projects.differences import Compared, Verdict, compare
from projects.mapping.compiler import compile_mapping
from projects.models import Project, ProjectObject
from projects.owners import Standing
from projects.services import KeyMissing, ProjectInvalid

OWNER = "OwnerId"
"""The field that every org fills by itself where it comes blank; told once for all objects."""
SAMPLE = 5
"""Records looked at in a preview, of each object."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold; ``sentence`` says what was found and, where it is not good, what to do."""

    name: str
    good: bool
    sentence: str


# --- Systems --------------------------------------------------------------------------------------------------
def source_checks(org: Org) -> tuple[Check, ...]:
    """Asks the system: does it answer, and may we read?"""
    return _checks(org, "May read", orgs.open_source, "read")


def target_checks(org: Org) -> tuple[Check, ...]:
    """Asks the system: does it answer, and may we write?"""
    return _checks(org, "May write", orgs.open_target, "write")


def _checks(org: Org, name: str, opener: Callable[[Org], Connector], verb: str) -> tuple[Check, ...]:
    checked = orgs.check_org(org)
    if checked.status != OrgStatus.ACTIVE:
        reason = checked.status_reason or "It has not answered."
        return (Check("Connected", good=False, sentence=f"{reason} Correct the connection of {org}, then try again."),)
    connected = Check("Connected", good=True, sentence=f"{org} answers as {checked.account or org.platform}.")
    try:
        with opener(org) as connector:
            count = len(connector.entities())
    except ConnectorError as error:
        return connected, Check(name, good=False, sentence=error.message)
    if not count and not _makes_room(checked):
        sentence = f"The connecting user may {verb} no object of {org}; give its permission set the objects to move."
        return connected, Check(name, good=False, sentence=sentence)
    return connected, Check(name, good=True, sentence=f"The connecting user may {verb} {count:,} objects.")


def _makes_room(org: Org) -> bool:
    """Whether an empty target is fine, because runs make what they need."""
    return bool((org.capabilities.get("target") or {}).get("creates_schema"))


# --- Objects --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Fit:
    """Whether one object can move. ``reasons`` are sentences, the worst first."""

    entity: str
    label: str
    target: str
    verdict: Verdict
    reasons: tuple[str, ...]
    owners_stay: bool = False
    """Whether records will belong to the connecting user, because owners are not moved along."""
    lacks_key: bool = False
    """Whether the target has no field for our external id; it moves by our id map, or not at all."""

    @property
    def good(self) -> bool:
        return self.verdict is not Verdict.NOT_COMPATIBLE


@dataclass(frozen=True)
class Sides:
    """Both orgs of a project, open; ``there`` are the entities of the target."""

    project: Project
    source: Source
    target: Target
    there: tuple[str, ...]

    @classmethod
    def of(cls, project: Project, source: Source, target: Target) -> "Sides":
        return cls(project, source, target, tuple(info.name for info in target.entities()))

    def described(self, entity: str) -> tuple[EntitySchema, EntitySchema | None]:
        """The entity and its twin in the target, which may be missing. Raises connector errors."""
        here = discovery.definition(self.project.source, entity, self.source)
        other = services.twin(entity, self.there)
        return here, discovery.definition(self.project.target, other, self.target) if other is not None else None


def fits(sides: Sides, entities: Iterable[str], moved: Iterable[str]) -> Mapping[str, Fit]:
    """How these entities of the source fit the target, where all of ``moved`` move. Raises connector errors."""
    people = services.maps_people(sides.source, sides.target)
    found: dict[str, Fit] = {}
    for name in entities:
        here, there = sides.described(name)
        alike = here if there is None else files.in_terms_of(here, there)
        compared, id_map = compare(alike, there), sides.target.capabilities.id_map
        found[name] = fit_of(compared, here, there, set(moved), people=people, id_map=id_map)
    return found


def fit_of(
    compared: Compared,
    here: EntitySchema,
    there: EntitySchema | None,
    moved: set[str],
    *,
    people: bool = False,
    id_map: bool = False,
) -> Fit:
    """The verdict of a comparison, and what else an object needs to move: an external id in the target, unless that
    can do with our ``id_map``."""
    fit = Fit(compared.source, compared.label, compared.target, compared.verdict, compared.reasons)
    if there is None:
        return fit
    try:
        behind = services.left_behind(here, there, moved, people=people, id_map=id_map)
    except KeyMissing as error:
        return replace(fit, verdict=Verdict.NOT_COMPATIBLE, reasons=(str(error), *fit.reasons), lacks_key=True)
    writable = {info.name for info in here.fields if info.writable}
    keyless = id_map and services.external_id(files.in_terms_of(here, there), there, id_map=True) == ID_MAP
    instead = (services.without_external_id(there.entity.name),) if keyless else ()
    told = [each for each in behind if each.partition(" ")[0] in writable - {OWNER} and "which is not moved" in each]
    return replace(
        fit,
        owners_stay=any(each.startswith(f"{OWNER} points at") for each in behind),
        verdict=Verdict.LOSS if told and fit.verdict is Verdict.COMPATIBLE else fit.verdict,
        reasons=(*instead, *fit.reasons, *told) if fit.good else (*fit.reasons, *told, *instead),
        lacks_key=keyless,
    )


def owners_standing(sides: Sides) -> Standing | None:
    """How the project's map of owners stands beside both orgs now; None where it has none. Raises connector errors."""
    entries = services.value_maps(sides.project).get(owners.OWNERS)
    if entries is None or not services.maps_people(sides.source, sides.target):
        return None
    entities = services.owned_entities(sides.project)
    return owners.standing(entries, sides.source.owners(), sides.target.owners(), entities)


# --- Records --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Seen:
    """One record of a preview: its id, what it is called, and what the mapping has to say of it."""

    id: str
    title: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """An object before a run. ``count`` is None where the platform cannot say; ``trouble`` says why there is no
    preview."""

    count: int | None = None
    records: tuple[Seen, ...] = ()
    trouble: str = ""

    @property
    def problems(self) -> int:
        return sum(1 for record in self.records if record.problems)


def preview(chosen: ProjectObject, source: Source, target: Target) -> Preview:
    """A few of the records that would move, taken through the mapping and written nowhere."""
    try:
        return _preview(chosen, source, target)
    except (ConnectorError, ProjectInvalid) as error:
        return Preview(trouble=str(error))


def _preview(chosen: ProjectObject, source: Source, target: Target) -> Preview:
    here = discovery.definition(chosen.project.source, chosen.source_entity, source)
    mapping = services.object_mapping(chosen, here)
    there = discovery.definition(chosen.project.target, mapping.target_entity, target)
    compiled = compile_mapping(mapping, here, there, services.value_maps(chosen.project))
    names = _titles(here)
    frame = source.sample(chosen.source_entity, tuple(dict.fromkeys((*compiled.source_fields, *names))), size=SAMPLE)
    found = compiled.apply(frame.select(compiled.source_fields), {}).findings
    titles = frame.select(
        pl.col(mapping.identity), pl.coalesce(names).alias("title") if names else pl.lit("").alias("title")
    )
    return Preview(
        source.count(chosen.source_entity),
        tuple(Seen(str(key), title or "", _problems(found, key)) for key, title in titles.iter_rows()),
    )


def _titles(schema: EntitySchema) -> tuple[str, ...]:
    """The fields by which people know a record."""
    return tuple(name for name in ("Name", "name", "Subject", "Title") if name in schema.names)


def _problems(findings: pl.DataFrame, key: str) -> tuple[str, ...]:
    mine = findings.filter(pl.col("source_id") == key)
    return tuple(f"{field}: {message}" for field, message in mine.select("field", "message").iter_rows())
