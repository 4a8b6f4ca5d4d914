"""What is right after each run: the target, where each record stands, and what the run must count.

A plain reading of what the product promises, kept record by record in Python; it shares no line with the engine.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from migration_factory.torment.scene import VERSION, Entities, Entity, Field, Policy, Row, Rows, is_refused, visible

WHOLE = ""
"""A question about the record as a whole: it was edited in the target and is gone from the source."""


class State(StrEnum):
    """The ledger's words; ``loaded`` also stands for ``unchanged``."""

    UNTRACKED = ""
    LOADED = "loaded"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    CONFLICT = "conflict"
    WAIVED = "waived"
    GONE = "gone"
    DELETED = "deleted"
    ROLLED_BACK = "rolled_back"
    SKIPPED = "skipped"


DUE = {State.REJECTED, State.DEFERRED}
OF_NO_ACCOUNT = {State.SKIPPED, State.ROLLED_BACK, State.DELETED, State.WAIVED, State.UNTRACKED}
"""Where a record stands whose going from the source nobody has to follow."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An open question: what the source demands, what the target holds, and the answer, blank while there is none."""

    ours: str | None
    theirs: str | None
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """One record. ``held`` is what the target holds, ``wrote`` what it held right after we last wrote it, ``base``
    what the source demanded then (None: nobody can prove it any more), ``seen`` the row as it was read last.

    References are told by keys, in the target, too. ``kept`` says that an edit was left in the target.
    """

    state: State = State.UNTRACKED
    held: Row | None = None
    wrote: Row | None = None
    base: Row | None = None
    seen: Row | None = None
    kept: bool = False
    asked: Mapping[str, Asked] = field(default_factory=dict)
    reread: bool = False
    """Whether what a run brought was taken back, so that the next one has to read it again."""

    @property
    def plain(self) -> bool:
        """Whether it stands in the target as the source has it, and nobody has touched it."""
        return self.state is State.LOADED and not self.kept and self.held == self.wrote == self.base


@dataclass
class Counts:
    """What a run must count: at least ``least`` of each outcome, and so many ``more`` at most.

    A delta may read again what did not change; what it then counts depends on the clock.
    """

    least: Counter[str] = field(default_factory=Counter)
    more: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: str, number: int = 1, *, certain: bool = True) -> None:
        if number:
            (self.least if certain else self.more)[outcome] += number

    def fits(self, outcome: str, number: int) -> bool:
        return self.least[outcome] <= number <= self.least[outcome] + self.more[outcome]

    @property
    def troubled(self) -> bool:
        """Whether the run has to end with record errors."""
        return any(self.least[name] for name in ("rejected", "deferred", "conflicts", "different"))

    @property
    def may_be_troubled(self) -> bool:
        return self.troubled or any(self.more[name] for name in ("rejected", "deferred", "conflicts", "different"))


@dataclass(frozen=True, slots=True)
class _Bringing:
    """How a row is brought: into which counts, what of its entity is there by then, and whether it must be read."""

    entity: Entity
    counts: Counts
    there: Collection[str]
    certain: bool


Known = dict[str, dict[str, Standing]]


@dataclass
class Expectation:
    """Everything that is known of the records of one campaign, moved on by what happens."""

    entities: Entities
    known: Known
    stamps: bool
    """Whether the target takes the source's own stamp over, so that every change of a row changes a field of it."""
    ruled: bool = False
    """Whether the target's own rules are in force."""
    before: dict[tuple[str, str], Standing] = field(default_factory=dict)
    """What the last run wrote, as each record stood before."""

    # What others look at --------------------------------------------------------------------------------------

    def held(self) -> dict[str, dict[str, Row]]:
        """What the target must hold."""
        return {
            entity: {key: visible(each.held) for key, each in known.items() if each.held is not None}
            for entity, known in self.known.items()
        }

    def states(self) -> dict[str, dict[str, State]]:
        return {
            entity: {key: each.state for key, each in known.items() if each.state is not State.UNTRACKED}
            for entity, known in self.known.items()
        }

    def questions(self) -> set[tuple[str, str, str, bool]]:
        """Entity, key, field (as the target names it) and whether it is answered."""
        return {
            (name, key, entity.field(which).there if which else WHOLE, bool(asked.answer))
            for name, entity in self.entities.items()
            for key, each in self.known[name].items()
            for which, asked in each.asked.items()
        }

    def plain(self, entity: str) -> list[str]:
        """Keys of the entity's records in the target that are there as the source has them."""
        return [key for key, each in self.known[entity].items() if each.plain]

    def pointed_at(self, entity: str) -> set[str]:
        """Keys of the entity that rows of the target point at."""
        return {
            str(each.held[field.name])
            for name, described in self.entities.items()
            for field in described.references
            if field.parent == entity
            for each in self.known[name].values()
            if each.held is not None and each.held[field.name] is not None
        }

    def standing(self, *states: State) -> list[tuple[str, str]]:
        return [
            (name, key) for name, known in self.known.items() for key, each in known.items() if each.state in states
        ]

    # What people do -------------------------------------------------------------------------------------------

    def edit(self, entity: str, key: str, values: Row) -> None:
        """Somebody changes a record in the target."""
        each = self.known[entity][key]
        self.known[entity][key] = replace(each, held={**(each.held or {}), **values})

    def deleted_in_target(self, entity: str, key: str) -> None:
        self.known[entity][key] = replace(self.known[entity][key], held=None)

    def waive(self) -> int:
        waived = self.standing(State.REJECTED)
        for entity, key in waived:
            self.known[entity][key] = replace(self.known[entity][key], state=State.WAIVED)
        return len(waived)

    def answer(self, answer: str) -> int:
        """Somebody answers every open question; returns how many those were."""
        count = 0
        for known in self.known.values():
            for key, each in known.items():
                left = [name for name, asked in each.asked.items() if not asked.answer]
                if left:
                    answers = {name: replace(each.asked[name], answer=answer) for name in left}
                    known[key] = replace(each, asked={**each.asked, **answers})
                    count += len(left)
        return count

    # What runs do ---------------------------------------------------------------------------------------------

    def loaded(self, rows: Rows) -> Counts:
        self.before = {}
        return self._brought({entity: dict.fromkeys(of_it, True) for entity, of_it in rows.items()}, rows)

    def followed(self, rows: Rows, *, asks: bool) -> Counts:
        """After a delta; ``asks`` says that the source is asked for changes, so that others may not be read."""
        self.before = {}
        certain = {
            entity: {
                key: not asks or self._changed(self.known[entity].get(key, Standing()), row)
                for key, row in of_it.items()
            }
            for entity, of_it in rows.items()
        }
        counts = self._brought(certain, rows)
        for entity in reversed(list(self.entities.values())):
            self._deletions(entity, rows[entity.name], counts)
        return counts

    def retried(self) -> Counts:
        """After another try of all that is due, from the source records as they were read."""
        self.before = {}
        rows = self._staged(lambda each: each.state in DUE or _answered(each))
        return self._brought({entity: dict.fromkeys(of_it, True) for entity, of_it in rows.items()}, rows)

    def applied(self) -> Counts:
        """After the answers were brought to the target."""
        self.before = {}
        rows = self._staged(_answered)
        return self._brought({entity: dict.fromkeys(of_it, True) for entity, of_it in rows.items()}, rows)

    def rolled_back(self) -> tuple[Counts, set[tuple[str, str, str]]]:
        """After the last run was taken back; the edits (entity, key, field as the target names it) that it spares."""
        counts, spared = Counts(), set()
        for (name, key), was in self.before.items():
            each = self.known[name][key]
            if was.held is None and each.held is None:
                counts.add("skipped")
                self.known[name][key] = replace(each, state=State.SKIPPED, reread=True)
            elif each.state is not State.DELETED and each.held != each.wrote:
                counts.add("conflicts")
                spared |= {
                    (name, key, self.entities[name].field(what).there) for what in _differing(each.wrote, each.held)
                }
                self.known[name][key] = replace(each, state=State.CONFLICT, reread=True)
            else:
                counts.add(_undone(was.held, each.held))
                self.known[name][key] = _restored(was, each)
        self.before = {}
        return counts, spared

    # Bringing -------------------------------------------------------------------------------------------------

    def _changed(self, each: Standing, row: Row) -> bool:
        return row != each.seen or each.reread or each.state in {*DUE, State.UNTRACKED} or _answered(each)

    def _staged(self, chosen: Callable[[Standing], bool]) -> dict[str, dict[str, Row]]:
        return {
            entity: {key: each.seen for key, each in known.items() if chosen(each) and each.seen is not None}
            for entity, known in self.known.items()
        }

    def _brought(self, certain: Mapping[str, Mapping[str, bool]], rows: Rows) -> Counts:
        counts = Counts()
        for name, entity in self.entities.items():
            there = self._there_afterwards(entity, rows[name], certain[name])
            for key, row in rows[name].items():
                bringing = _Bringing(entity, counts, there, certain[name][key])
                self.known[name][key] = self._brought_one(bringing, key, row)
        return counts

    def _there_afterwards(self, entity: Entity, rows: Mapping[str, Row], certain: Mapping[str, bool]) -> set[str]:
        """The keys of the entity that the target holds once its rows are brought: rows that point at rows of their
        own entity are written first and linked afterwards."""
        there = {key for key, each in self.known[entity.name].items() if each.held is not None}
        for key, row in rows.items():
            lacks = any(not self._present(each.parent, row[each.name], set()) for each in _needed(entity))
            if key not in there and certain[key] and not lacks and not is_refused(entity, key, row, ruled=self.ruled):
                there.add(key)
        return there

    def _present(self, entity: str, key: str | None, there: Collection[str]) -> bool:
        if key is None or key in there:
            return True
        each = self.known[entity].get(key)
        return each is not None and each.held is not None

    def _brought_one(self, bringing: "_Bringing", key: str, row: Row) -> Standing:
        entity, counts, certain = bringing.entity, bringing.counts, bringing.certain
        each = self.known[entity.name].get(key, Standing())
        ours, waits = self._ours(entity, row, bringing.there)
        if self._settled(each, ours, waits=waits):
            counts.add("deferred" if waits else "unchanged", certain=certain)
            counts.add("different", len(_differing(ours, each.held)), certain=certain)
            return replace(each, seen=row, reread=False) if certain else each
        if not certain:
            self._may_be_read(each, counts)
            return each
        seen = replace(each, seen=row, reread=False)
        lacks = [need for need in _needed(entity) if row[need.name] is not None and ours[need.name] is None]
        if entity.flawed(row) or (not lacks and is_refused(entity, key, row, ruled=self.ruled)):
            counts.add("rejected")
            return replace(seen, state=State.WAIVED if each.state is State.WAIVED else State.REJECTED)
        if lacks:
            counts.add("deferred")
            return replace(seen, state=State.WAIVED if each.state is State.WAIVED else State.DEFERRED)
        return self._written(entity, key, seen, ours, counts, waits=waits)

    def _ours(self, entity: Entity, row: Row, there: Collection[str]) -> tuple[Row, bool]:
        """What the mapping makes of a row, and whether a reference waits."""
        ours = dict(row)
        if not self.stamps:
            ours.pop(VERSION, None)
        waits = False
        for each in entity.references:
            own = there if each.parent == entity.name else ()
            if not self._present(each.parent, row[each.name], own):
                ours[each.name], waits = None, True
        return ours, waits

    def _settled(self, each: Standing, ours: Row, *, waits: bool) -> bool:
        """Whether the ledger says that the target has it so: nothing is sent, and the target is not looked at."""
        if each.held is None or each.kept or each.state not in {State.LOADED, State.DEFERRED}:
            return False
        return ours == each.wrote and waits == (each.state is State.DEFERRED)

    def _may_be_read(self, each: Standing, counts: Counts) -> None:
        """Another look at a record that did not change brings nothing new."""
        match each.state:
            case State.WAIVED:
                counts.add("rejected", certain=False)
                counts.add("deferred", certain=False)
            case State.CONFLICT:
                counts.add("conflicts", certain=False)
            case _:
                counts.add("unchanged", certain=False)

    def _written(self, entity: Entity, key: str, each: Standing, ours: Row, counts: Counts, *, waits: bool) -> Standing:
        content, kept = dict(ours), False
        if each.held is not None and each.wrote is not None and (each.held != each.wrote or each.kept):
            judged = dict(_judged(entity, each, ours))
            asked = {name: question for name, (question, decided) in judged.items() if not decided}
            if any(not question.answer for question in asked.values()):
                counts.add("conflicts")
                return replace(each, state=State.CONFLICT, asked=asked)
            for name, (question, decided) in judged.items():
                if (decided or question.answer) == Policy.TARGET:
                    content[name], kept = question.theirs, True
        self.before[entity.name, key] = each
        state = State.DEFERRED if waits else State.LOADED
        outcome = "created" if each.held is None else "unchanged" if content == each.held else "updated"
        counts.add("deferred" if waits else outcome)
        return replace(each, state=state, held=content, wrote=content, base=ours, kept=kept, asked={})

    # Deletions ------------------------------------------------------------------------------------------------

    def _deletions(self, entity: Entity, rows: Mapping[str, Row], counts: Counts) -> None:
        settled = OF_NO_ACCOUNT if entity.mirrored else {*OF_NO_ACCOUNT, State.GONE}
        for key, each in list(self.known[entity.name].items()):
            if key in rows or each.state in settled:
                continue
            if each.held is None:
                counts.add("skipped")
                self.known[entity.name][key] = replace(each, state=State.GONE, asked={})
            elif not entity.mirrored:
                counts.add("unchanged")
                self.known[entity.name][key] = replace(each, state=State.GONE, asked={})
            else:
                self.known[entity.name][key] = self._mirrored(entity, key, each, counts)

    def _mirrored(self, entity: Entity, key: str, each: Standing, counts: Counts) -> Standing:
        if each.held != each.wrote:
            answer = each.asked[WHOLE].answer if WHOLE in each.asked else ""
            if answer == Policy.TARGET or (each.state is State.GONE and not answer):
                counts.add("unchanged")
                return replace(each, state=State.GONE, asked={})
            if not answer:
                counts.add("conflicts")
                return replace(each, state=State.CONFLICT, asked={WHOLE: Asked(None, None)})
        counts.add("deleted")
        self.before[entity.name, key] = each
        return replace(each, state=State.DELETED, held=None, asked={})


# --- One record ----------------------------------------------------------------------------------------------------


def _needed(entity: Entity) -> list[Field]:
    return [each for each in entity.references if each.required]


def _answered(each: Standing) -> bool:
    """Whether a question about fields was asked and every one is answered."""
    asked = [question for name, question in each.asked.items() if name != WHOLE]
    return bool(asked) and all(question.answer for question in asked)


def _judged(entity: Entity, each: Standing, ours: Row) -> Iterator[tuple[str, tuple[Asked, str]]]:
    """The fields that an edit in the target touches, each with who wins; blank where a person has to say."""
    held, base = each.held or {}, each.base
    for name, mine in ours.items():
        theirs = held.get(name)
        if mine == theirs or (base is not None and theirs == base.get(name)):
            continue
        moved = base is None or mine != base.get(name)
        before = each.asked.get(name)
        answer = before.answer if before and (before.ours, before.theirs) == (mine, theirs) else ""
        policy = entity.edited.get(name, Policy.ASK)
        decided = Policy.TARGET if not moved else "" if policy is Policy.ASK else policy
        yield name, (Asked(mine, theirs, answer), decided)


def _differing(one: Row | None, other: Row | None) -> list[str]:
    return [name for name in (one or {}) if (one or {})[name] != (other or {}).get(name) and name != VERSION]


def _undone(was: Row | None, now: Row | None) -> str:
    if was is None:
        return "deleted"
    if now is None:
        return "created"
    return "unchanged" if was == now else "updated"


def _restored(was: Standing, each: Standing) -> Standing:
    if was.held is None:
        return replace(each, state=State.ROLLED_BACK, held=None, wrote=None, base=None, kept=False, reread=True)
    base = was.base if was.held == was.wrote else None
    return replace(each, state=State.LOADED, held=was.held, wrote=was.held, base=base, kept=was.kept, reread=True)
