"""The changes of projects: making one, choosing its objects, keeping definitions and mappings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from connectors.base import Connector, Source, Target
from connectors.errors import SettingsInvalid
from connectors.registry import target_class
from connectors.types import ID_MAP, Condition, EntitySchema
from orgs import services as orgs
from orgs.models import Customer, Org
from projects import files, owners, persons, selections, twins
from projects.blueprints.blueprint import Blueprint
from projects.definitions import schema_to_json
from projects.mapping import codec, derive, library
from projects.mapping.specification import FieldRule, Formula, Mapped, ObjectMapping
from projects.models import FieldMapping, ObjectDefinition, OnConflict, OnDelete, Project, ProjectObject
from projects.selections import Mode, Selection, SelectionInvalid

LONGEST_NAME = 120
"""Characters of a project's name."""


class ProjectInvalid(Exception):
    """A project cannot do what was asked of it; the message is a sentence for staff."""


@transaction.atomic
def create_project(customer: Customer, name: str, *, source: Org, target: Org, mirror: bool = False) -> Project:
    """A project of that customer. Raises ProjectInvalid where an org is another customer's or cannot serve."""
    for org, role, able in ((source, "source", source.reads), (target, "target", target.writes)):
        if org.customer_id != customer.pk:
            raise ProjectInvalid(f"The {role} “{org}” belongs to another customer; choose one of {customer}'s orgs.")
        if not able:
            raise ProjectInvalid(f"“{org}” is not set up as a {role}; change its role on the org's page.")
    return Project.objects.create(customer=customer, name=name, source=source, target=target, mirror=mirror)


def create_named(customer: Customer, name: str, *, source: Org, target: Org) -> Project:
    """As ``create_project``; raises ProjectInvalid also where the customer has a project of that name."""
    if Project.objects.filter(customer=customer, name__iexact=name).exists():
        raise ProjectInvalid(
            f"{customer} has a project called “{name}” already; open that one, or choose another name."
        )
    if len(name) > LONGEST_NAME:
        raise ProjectInvalid(f"Choose a shorter name: {LONGEST_NAME} characters at most.")
    return create_project(customer, name, source=source, target=target)


def describe(org: Org, entity: str, connector: Connector) -> EntitySchema:
    """The entity as the system describes it now, kept as our definition of it."""
    schema = connector.describe(entity)
    ObjectDefinition.objects.update_or_create(
        org=org, entity=entity, defaults={"schema": schema_to_json(schema), "stamp": "", "checked_at": None}
    )
    return schema


def adopt_packaged(project: Project, source: Source, *, model: str) -> list[ProjectObject]:
    """Take over the packaged mappings from the source's platform to the target ``model`` (``product``).

    Only entities that the source has are taken. Raises ProjectInvalid where nothing is packaged.
    """
    second = {half.origin: half for half in library.target_halves(model)}
    present = {info.name for info in source.entities()}
    pairs = [
        (first, second[first.result])
        for first in library.platform_halves(project.source.platform)
        if first.result in second and first.origin in present
    ]
    if not pairs:
        raise ProjectInvalid(
            f"No mapping from {project.source.platform} to “{model}” is packaged for what {project.source} holds."
        )
    # The system is asked before the transaction: nobody's rows stay locked while a platform takes its time.
    mappings = [derive.compose(first, half, source=source.describe(first.origin)) for first, half in pairs]
    with transaction.atomic():
        return [save_mapping(project, mapping, position) for position, mapping in enumerate(mappings)]


def adopt_entities(project: Project, source: Source, entities: Sequence[str] | None = None) -> list[ProjectObject]:
    """Mirror these entities, or all that the source offers; their mapping is derived when a run is planned."""
    if not project.mirror:
        raise ProjectInvalid(f"{project} does not mirror its source; choose packaged objects instead.")
    infos = {info.name: info for info in source.entities()}
    chosen = list(infos) if entities is None else entities
    unknown = [name for name in chosen if name not in infos]
    if unknown:
        raise ProjectInvalid(f"{project.source} has no entity “{unknown[0]}”.")
    return ProjectObject.objects.bulk_create(
        ProjectObject(
            project=project,
            position=position,
            source_entity=name,
            target_entity=derive.mirror_entity(name),
            identity=infos[name].id_field,
            key=derive.MIRROR_KEY,
        )
        for position, name in enumerate(chosen)
    )


@dataclass(frozen=True, slots=True)
class Left:
    """What a derived mapping leaves behind: one sentence per field that does not travel."""

    entity: str
    sentences: tuple[str, ...]


def adopt_like(
    project: Project, source: Source, target: Target, entities: Sequence[str], *, key: str = ""
) -> tuple[list[ProjectObject], list[Left]]:
    """Map entities that both systems have, field by field of the same name; nobody has to see the mapping.

    Names may differ by a package's namespace (``projects.twins``). ``key`` is the target's field for our external
    id; blank takes the one each target entity has, the known names first, and our id map where it has none and the
    target can do without. Raises ProjectInvalid where the target lacks an entity or its external id. References to
    entities that are not moved along stay behind and are told.
    """
    there = tuple(info.name for info in target.entities())
    people = maps_people(source, target)
    pairs = [(name, twin(name, there)) for name in entities]
    lacking = [name for name, other in pairs if other is None]
    if lacking:
        raise ProjectInvalid(f"{project.target} has no {' and no '.join(lacking)}; create it there, or leave it out.")
    by_id_map = set(project.project_objects.filter(key=ID_MAP).values_list("source_entity", flat=True))
    found = [
        _likeness(
            source.describe(name),
            target.describe(other),
            set(entities),
            # What was written without a key is found without it: a field made later is blank in those records.
            key=key or (ID_MAP if name in by_id_map and _has_run(project) else ""),
            people=people,
            id_map=target.capabilities.id_map,
        )
        for name, other in pairs
        if other
    ]
    known = _known_people(source, target, [mapping for mapping, _ in found])
    with transaction.atomic():
        for name, entries in known.items():
            kept, _ = project.value_maps.get_or_create(name=name)
            kept.entries, kept.suggested = owners.completed(kept.entries, entries), dict(entries)
            kept.save(update_fields=["entries", "suggested"])
        chosen = [save_mapping(project, mapping, place) for place, (mapping, _) in enumerate(found)]
    return chosen, [left for _, left in found]


def _has_run(project: Project) -> bool:
    related: Any = project  # the model of runs is a layer above and is reached through the relation
    return bool(related.runs.exists())


def twin(name: str, there: Sequence[str]) -> str | None:
    """The entity of the target that records of ``name`` become; None where there is none."""
    return files.twin_of(name, there) or twins.twin(name, there)


def maps_people(source: Connector, target: Connector) -> bool:
    """Whether owners and other users can be matched: both systems say whom they have."""
    return source.capabilities.lists_owners and target.capabilities.lists_owners


def _known_people(
    source: Source, target: Target, mappings: Sequence[ObjectMapping]
) -> Mapping[str, Mapping[str, str | None]]:
    """The entries of the maps these mappings need. Asks both systems, unless none is needed."""
    rules = [each.rule for mapping in mappings for each in mapping.to_target]
    needed = {rule.name for rule in rules if isinstance(rule, Mapped)} & {owners.OWNERS, owners.USERS}
    found = owners.pairs(source.owners(), target.owners()) if needed else {}
    return {name: found[name] for name in needed}


def refresh_people(project: Project, source: Source, target: Target) -> tuple[str, ...]:
    """Look anew who of the source is whom in the target, for the maps of owners and users that the project has, and
    store it; one sentence per thing a person should know. What a person decided stays. Raises connector errors."""
    kept = list(project.value_maps.filter(name__in=(owners.OWNERS, owners.USERS)))
    if not kept or not maps_people(source, target):
        return ()
    here, there = source.owners(), target.owners()
    found = owners.pairs(here, there)
    told: list[str] = []
    with transaction.atomic():
        for value_map in project.value_maps.select_for_update().filter(pk__in=[each.pk for each in kept]):
            fresh = found[value_map.name]
            now = owners.refreshed(value_map.entries, value_map.suggested, fresh)
            changed = sum(1 for key, value in now.items() if value != value_map.entries.get(key, ""))
            if changed and value_map.entries:
                told.append(
                    f"The value map “{value_map.name}” has {changed:,} new or other entries: people came or went."
                )
            value_map.entries, value_map.suggested = now, fresh
            value_map.save(update_fields=["entries", "suggested"])
            if value_map.name == owners.OWNERS:
                standing = owners.standing(now, here, there, owned_entities(project))
                told += [standing.sentence] if standing.worth_telling else []
    return tuple(told)


def owned_entities(project: Project) -> tuple[str, ...]:
    """The target's entities whose records get an owner by the project's map of owners."""
    owned = project.project_objects.filter(enabled=True, fields__rule__name=owners.OWNERS, fields__rule__rule="mapped")
    return tuple(sorted(set(owned.values_list("target_entity", flat=True))))


def choose_like(
    project: Project, source: Source, target: Target, entities: Sequence[str], *, blueprint: Blueprint | None = None
) -> list[ProjectObject]:
    """Make these entities, and no others, the objects of the project, each mapped to its twin in the target.

    Objects left out stay known but move no longer; what was chosen of an object's records is kept. Raises
    ProjectInvalid as ``adopt_like`` does, where nothing is chosen, or where a run is under way.
    """
    if not entities:
        raise ProjectInvalid("Choose at least one object to move.")
    _check_no_open_run(project)
    if files.VERSION in entities:
        there = {info.name for info in source.entities()} & {info.name for info in target.entities()}
        entities = files.together(entities, there)
    chosen, _ = adopt_like(project, source, target, entities)
    with transaction.atomic():
        kept = {each.pk for each in chosen}
        project.project_objects.exclude(pk__in=kept).update(enabled=False)
        project.project_objects.filter(pk__in=kept).update(enabled=True)
        if blueprint is not None:
            use_blueprint(project, blueprint)
    return chosen


def _check_no_open_run(project: Project) -> None:
    related: Any = project  # the model of runs is a layer above and is reached through the relation
    if related.runs.filter(finished_at=None).exists():
        raise ProjectInvalid("A run of this project is not finished; change what moves when it is.")


@transaction.atomic
def use_blueprint(project: Project, blueprint: Blueprint) -> None:
    """Note which blueprint, in which version, the project's objects were chosen from."""
    project.blueprint, project.blueprint_version = blueprint.slug, blueprint.version
    project.save(update_fields=["blueprint", "blueprint_version"])


def external_id(source: EntitySchema, target: EntitySchema, asked: str = "", *, id_map: bool = False) -> str:
    """The field of the target that can carry our external id: the one asked for, else the likeliest; blank where none
    can, or ``ID_MAP`` where ``id_map`` says that the target can do without and the object is one that can. A key of
    the customer's own, which the source has, too, is none: its values move, and must not be ours."""
    carriers = [field.name for field in target.fields if field.external_id and field.unique and field.writable]
    likely = [name for known in EXTERNAL_IDS for name in carriers if twins.bare(name) == twins.bare(known)]
    others = [name for name in carriers if twins.twin(name, source.names) is None]
    instead = ID_MAP if id_map and not files.has_own_key(target) and not persons.come_along(target) else ""
    chosen = asked or next(iter((*likely, *others)), instead)
    return chosen if chosen in (*carriers, instead) else ""


def without_external_id(entity: str) -> str:
    """What people should know of an object whose records carry no key of ours."""
    return (
        f"{entity} has no external id in the target: which record is which, only the id map of this project knows. "
        "New records are created by bulk jobs alone, also when they are few, so that each is created once; records in "
        "the target that nobody tracks are not counted."
    )


class KeyMissing(ProjectInvalid):
    """The target has no field by which the records of an object could be found again."""


EXTERNAL_IDS = ("Migration_Factory_Id__c", "tc9_edc__External_ID_Data_Creation__c", "External_Id__c")
"""Names by which orgs know our external id, with any namespace or none, the likeliest first."""


def make_key(project: Project, entity: str) -> tuple[str, ...]:
    """Have the target make a field for our external id on the twin of this source entity; one sentence per change,
    none where one can carry it. Raises ProjectInvalid where there is no twin or the target makes none, and connector
    errors."""
    with orgs.open_source(project.source) as source, orgs.open_target(project.target) as target:
        there = twins.twin(entity, (info.name for info in target.entities()))
        if there is None:
            raise ProjectInvalid(f"{project.target} has no {entity}; create it there first.")
        if external_id(source.describe(entity), describe(project.target, there, target)):
            return ()
        if not target.capabilities.makes_keys:
            raise ProjectInvalid(f"{project.target} lets us make no fields; create a unique external id there.")
        made = target.make_key(there)
        describe(project.target, there, target)
        return made


def left_behind(
    source: EntitySchema, target: EntitySchema, moved: set[str], *, people: bool = False, id_map: bool = False
) -> tuple[str, ...]:
    """What of an entity does not travel, in sentences. Raises KeyMissing where its records could not be found again
    in the target, which ``id_map`` says it can do by our id map."""
    return _likeness(source, target, moved, key="", people=people, id_map=id_map)[1].sentences


def _likeness(
    source: EntitySchema, target: EntitySchema, moved: set[str], *, key: str, people: bool, id_map: bool
) -> tuple[ObjectMapping, Left]:
    name, given = source.entity.name, source
    source = files.in_terms_of(source, target)
    chosen = external_id(source, target, key, id_map=id_map)
    if not chosen:
        raise KeyMissing(
            f"{target.entity.name} has no unique external-id field in the target, beside keys of the customer's own, "
            "by which records could be found again; create one there, or have it created here, then choose the object "
            "again."
        )
    matched = owners.owner_fields(source, twins.field_twins(source, target), target) if people else {}
    apart = {
        field.name: f"{field.name} points at {', '.join(field.references)}, which is not moved along."
        for field in source.fields
        if field.references
        and field.references != (twins.RECORD_TYPE,)
        and not moved & set(field.references)
        and field.name not in matched
    }
    within = replace(source, fields=tuple(field for field in source.fields if field.name not in apart))
    like = twins.alike(within, target, key=chosen, people=people)
    told = (
        *apart.values(),
        *(f"{field} does not exist in the target." for field in like.without_twin),
        *(f"{field} cannot be written in the target." for field in like.cannot_be_filled),
        *(
            f"The record type {kind.label or kind.name} does not exist in the target; its records are refused."
            for kind in twins.missing_record_types(source, target)
        ),
    )
    mapping = files.finished(like.mapping, given, moved)
    return persons.finished(mapping, source, target, keys=EXTERNAL_IDS), Left(name, told)


def change_object(chosen: ProjectObject, changed: Sequence[str]) -> None:
    """Store these fields of an object as a mapping expert set them. Raises ProjectInvalid.

    What holds of ``on_conflict`` is what stands there when a chunk is loaded, also in a run under way.
    """
    if chosen.on_conflict not in OnConflict.values:
        raise ProjectInvalid("Choose whether edits in the target are kept or overwritten.")
    if chosen.on_delete not in OnDelete.values:
        raise ProjectInvalid("Choose what a delta does with records that are gone from the source.")
    policies = chosen.field_policies
    if not isinstance(policies, dict) or not set(policies.values()) <= set(OnConflict.values):
        raise ProjectInvalid('Policies of fields are written like {"phone": "target"}: ask, target or source.')
    if changed:
        chosen.save(update_fields=list(changed))


@transaction.atomic
def save_mapping(project: Project, mapping: ObjectMapping, position: int) -> ProjectObject:
    """Store a mapping as the project's object with its rules, in place of an earlier one of the same entities."""
    chosen, _ = ProjectObject.objects.update_or_create(
        project=project,
        source_entity=mapping.source_entity,
        target_entity=mapping.target_entity,
        part=mapping.part,
        defaults={
            "position": position,
            "universal": mapping.universal,
            "identity": mapping.identity,
            "key": mapping.key,
            "where": mapping.where.sql if mapping.where else "",
            "where_universal": mapping.where_universal.sql if mapping.where_universal else "",
            "equality": codec.encode(mapping)["equality"],
            "match_fields": list(mapping.match),
            "unresolved": codec.encode(mapping)["unresolved"],
        },
    )
    chosen.fields.all().delete()
    halves = ((FieldMapping.Half.UNIVERSAL, mapping.to_universal), (FieldMapping.Half.TARGET, mapping.to_target))
    FieldMapping.objects.bulk_create(
        FieldMapping(object=chosen, half=half, target=rule.target, rule=codec.encode_rule(rule.rule), position=place)
        for half, rules in halves
        for place, rule in enumerate(rules)
    )
    return chosen


def object_mapping(chosen: ProjectObject, source: EntitySchema) -> ObjectMapping:
    """The mapping a run follows for this object: derived from the source for a mirror, else as stored."""
    if chosen.project.mirror:
        return replace(derive.mirror(source), **_own_words(chosen))
    rules: dict[str, list[FieldRule]] = {FieldMapping.Half.UNIVERSAL: [], FieldMapping.Half.TARGET: []}
    for field in chosen.fields.all():
        rules[field.half].append(FieldRule(field.target, codec.decode_rule(field.rule)))
    return ObjectMapping(
        source_entity=chosen.source_entity,
        target_entity=chosen.target_entity,
        identity=chosen.identity,
        key=chosen.key,
        to_target=tuple(rules[FieldMapping.Half.TARGET]),
        to_universal=tuple(rules[FieldMapping.Half.UNIVERSAL]),
        universal=chosen.universal,
        part=chosen.part,
        where=Formula(chosen.where) if chosen.where else None,
        where_universal=Formula(chosen.where_universal) if chosen.where_universal else None,
        **_own_words(chosen),
    )


def _own_words(chosen: ProjectObject) -> dict[str, Any]:
    """What an object says of its mapping besides the rules, also where these are derived."""
    return {
        "equality": codec.decode_equality(chosen.equality),
        "match": codec.decode_match(chosen.match_fields),
        "unresolved": codec.decode_policies(chosen.unresolved),
    }


def selections_of(project: Project) -> dict[str, Selection]:
    """What the project's enabled objects read, by source entity."""
    objects = project.project_objects.filter(enabled=True)
    return {each.source_entity: selections.stored(each.selection) for each in objects}


def conditions_of(project: Project, changed: Mapping[str, Selection] | None = None) -> dict[str, tuple[Condition, ...]]:
    """What must hold of records to be read, by source entity; only of entities not read whole. ``changed`` are
    selections to be thought in place of the stored ones.

    Raises SettingsInvalid where a choice depends on what does not move.
    """
    chosen = {**selections_of(project), **(changed or {})}
    identities = dict(project.project_objects.filter(enabled=True).values_list("source_entity", "identity"))
    try:
        found = {entity: selections.conditions(entity, chosen, identities) for entity in chosen}
    except SelectionInvalid as error:
        raise SettingsInvalid(str(error)) from error
    return {entity: conditions for entity, conditions in found.items() if conditions}


def narrow(project: Project, source: Source, changed: Mapping[str, Selection] | None = None) -> None:
    """Make the source read only what was chosen, and files only of what was chosen, in a way that the target takes.
    Raises SettingsInvalid."""
    found = conditions_of(project, changed)
    for entity, conditions in found.items():
        source.narrow(entity, conditions)
    moving = project.project_objects.filter(enabled=True).values_list("source_entity", flat=True)
    records = {entity: found.get(entity, ()) for entity in moving if entity not in files.KINDS}
    if source.capabilities.pictures and target_class(project.target.platform).capabilities.pictures:
        source.tell_pictures()
    if source.capabilities.contents and len(records) < len(moving) and any(records.values()):
        source.narrow_files(records)


def select_records(chosen: ProjectObject, selection: Selection, source: Source) -> None:
    """Choose which records of an object move. Raises ProjectInvalid where the choice does not fit, the source has
    no filters, or a run is under way; and connector errors.

    What was read before does not count for a delta any more, because records chosen newly may be old: neither of this
    object, nor of those whose records, or files, are chosen by it.
    """
    _check_no_open_run(chosen.project)
    if selection.mode is not Mode.ALL and not source.capabilities.filters:
        raise ProjectInvalid(f"{chosen.project.source} gives all records or none; its platform has no filters here.")
    try:
        # Asked before anything is stored: no row stays locked while a platform takes its time.
        narrow(chosen.project, source, {chosen.source_entity: selections.checked(selection)})
    except (SelectionInvalid, SettingsInvalid) as error:
        raise ProjectInvalid(str(error)) from error
    changed = _reached_by(chosen, selection)
    related: Any = chosen.project
    last = related.runs.order_by("-pk").values_list("pk", flat=True).first() or 0
    mark = {"after_run": last} if last else {}
    chosen.selection = {**selection.as_json(), **mark}
    with transaction.atomic():
        chosen.save(update_fields=["selection"])
        for other in chosen.project.project_objects.filter(source_entity__in=changed).exclude(pk=chosen.pk):
            other.selection = {**other.selection, **mark}
            other.save(update_fields=["selection"])


def _reached_by(chosen: ProjectObject, selection: Selection) -> set[str]:
    """Source entities of which other records move once this object's choice is another one: those chosen by it, and
    files."""
    try:
        before = conditions_of(chosen.project)
    except SettingsInvalid:  # a choice that could not be read is what is being mended
        before = {}
    after = conditions_of(chosen.project, {chosen.source_entity: selection})
    found = {entity for entity in {*before, *after} if before.get(entity) != after.get(entity)}
    return found | files.KINDS if found - files.KINDS else found


def value_maps(project: Project) -> Mapping[str, Mapping[str, str | None]]:
    """The project's value maps by name."""
    return dict(project.value_maps.values_list("name", "entries"))
