"""Who of one org is whom in another: users by their names for logging in, queues by their developer name.

Kept as two value maps of the project, so that they can be edited, exported and imported like any other: ``OWNERS`` for
owners, who must be active, and ``USERS`` for look-ups to users, who need not be.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from connectors.types import EntitySchema, FieldInfo, Owner, OwnerKind
from projects.mapping.specification import ANY_OTHER, REFUSED, Field, FieldRule, Mapped, Unknown

OWNERS = "owners"
USERS = "users"
_OWNER_FIELD = "OwnerId"
_ENTITIES = frozenset({"User", "Group"})

_SHORTENED = -1  # in place of a handle's place: the log-in without the name of a sandbox

Entries = Mapping[str, str | None]
_Called = tuple[OwnerKind, int, str]


def owner_fields(source: EntitySchema, twins: Mapping[str, str], target: EntitySchema) -> dict[str, str]:
    """Source field → target field, of those by which both sides point at users or queues and the target takes it."""
    return {
        name: other
        for name, other in twins.items()
        if _points_at_people(source.field(name)) and _points_at_people(target.field(other))
        and target.field(other).writable
    }  # fmt: skip


def rule(field: str, target: str) -> FieldRule:
    """Fill ``target`` from the map that fits it."""
    return FieldRule(target, Mapped(Field(field), name=map_name(field), unknown=Unknown.NOTE))


def map_name(field: str) -> str:
    return OWNERS if field == _OWNER_FIELD else USERS


def pairs(source: Iterable[Owner], target: Iterable[Owner]) -> dict[str, dict[str, str | None]]:
    """The entries of both maps. A user without a counterpart is listed with a blank; records of such an owner get
    the entry ``*``, which begins as the user we write as."""
    there = tuple(target)
    me = next((each.id for each in there if each.connected), None)
    called = _called(there)
    found = [(each, _counterpart(each, called)) for each in source]
    owners = {each.id: other.id if other is not None and other.active else None for each, other in found}
    users = {each.id: other.id if other else None for each, other in found if each.kind is OwnerKind.USER}
    return {OWNERS: {**owners, **({ANY_OTHER: me} if me else {})}, USERS: users}


def completed(stored: Entries, found: Entries) -> dict[str, str | None]:
    """What was found, under what a person entered: only blanks are filled anew."""
    return {**found, **{key: value for key, value in stored.items() if value}}


def refreshed(stored: Entries, suggested: Entries, found: Entries) -> dict[str, str | None]:
    """``stored`` with what is found now. ``suggested`` is what we put in ourselves: what differs from it, a blank or
    a missing entry too, is a person's decision and stays."""
    decided = {key for key in {*stored, *suggested} if stored.get(key, "") != suggested.get(key, "")}
    kept = {key: value for key, value in stored.items() if key in decided or key not in found}
    return {**{key: value for key, value in found.items() if key not in decided}, **kept}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the map of owners stands: counts of people of the source, the names of those without a counterpart and of
    those mapped to somebody who is not active or not there, and who gets their records or whether they are refused.
    ``unserved`` are queue and entity, where a queue does not serve an entity whose records it would own."""

    mapped: int = 0
    unmapped: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()
    unserved: tuple[tuple[str, str], ...] = ()
    fallback: str = ""
    refuses: bool = False

    @property
    def sentence(self) -> str:
        parts = [f"{self.mapped:,} of {self.mapped + len(self.unmapped):,} users and queues have a counterpart."]
        if self.unmapped:
            named = _named(self.unmapped)
            parts.append(
                f"Records of the others ({named}) are refused."
                if self.refuses
                else f"Records of the others ({named}) go to {self.fallback or 'whom the target chooses'}."
            )
        if self.inactive:
            parts.append(
                f"{_named(self.inactive)} would be owned by somebody who is not active in the target: "
                "correct the value map “owners”, or their records are refused."
            )
        for queue, entities in itertools.groupby(sorted(self.unserved), key=lambda pair: pair[0]):
            named = ", ".join(entity for _, entity in entities)
            parts.append(
                f"The queue {queue} of the target does not serve {named}: add it to the queue there, or correct the "
                "value map “owners”, or records that it would own are refused."
            )
        return " ".join(parts)

    @property
    def worth_telling(self) -> bool:
        return bool(self.unmapped or self.inactive or self.unserved)


def standing(
    entries: Entries, source: Iterable[Owner], target: Iterable[Owner], entities: Collection[str] = ()
) -> Standing:
    """Among those who are active in the source, or a queue. ``entities`` are those of the target whose records get
    owners by this map."""
    there = {each.id: each for each in target}
    people = [each for each in source if each.active]
    mapped = [(each, entries.get(each.id)) for each in people]
    fallback = there.get(entries.get(ANY_OTHER) or "")
    return Standing(
        sum(1 for _, other in mapped if other),
        tuple(each.name for each, other in mapped if not other),
        tuple(each.name for each, other in mapped if other and not (other in there and there[other].active)),
        tuple(
            sorted(
                (queue.name, entity)
                for queue in {there[other] for _, other in mapped if other in there}
                for entity in entities
                if queue.owns is not None and entity not in queue.owns
            )
        ),
        fallback.name if fallback else "",
        entries.get(ANY_OTHER) == REFUSED,
    )


def _points_at_people(info: FieldInfo) -> bool:
    return bool(info.references) and set(info.references) <= _ENTITIES


def _called(owners: Iterable[Owner]) -> Mapping[_Called, list[Owner]]:
    """Those of each kind who are called so, by the place of the handle (the name comes last)."""
    found: defaultdict[_Called, list[Owner]] = defaultdict(list)
    for owner in owners:
        for place, handle in enumerate((*owner.handles, owner.name)):
            found[owner.kind, place, handle.casefold()].append(owner)
        if owner.handles and (short := _without_sandbox(owner.handles[0])):
            found[owner.kind, _SHORTENED, short].append(owner)
    return found


def _counterpart(owner: Owner, there: Mapping[_Called, list[Owner]]) -> Owner | None:
    """The only one with the same handle, the most telling handle first, then by name; active ones before others."""
    asked = [(place, handle.casefold()) for place, handle in enumerate((*owner.handles, owner.name))]
    login = asked[0][1]
    for place, handle in (asked[0], (0, _without_sandbox(login)), (_SHORTENED, login), *asked[1:]):
        found = there.get((owner.kind, place, handle), []) if handle else []
        likely = [each for each in found if each.active] or found
        if len(likely) == 1:
            return likely[0]
    return None


def _without_sandbox(login: str) -> str:
    """A sandbox puts its own name behind each user name (``ann@acme.com.uat``); blank where nothing is left."""
    short = login.casefold().rpartition(".")[0]
    return short if "@" in short else ""


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
