"""What an org itself objects to: validation rules, automations that reject, records somebody else has locked."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from sandbox.salesforce.formula import Formula, compile_formula
from sandbox.salesforce.ids import normalised
from sandbox.salesforce.schema import SObject

EVENTS = ("insert", "update", "delete")


@dataclass(frozen=True, slots=True)
class Rule:
    """Records for which ``formula`` holds are refused at the named events with code and message.

    A validation rule has the code FIELD_CUSTOM_VALIDATION_EXCEPTION and is not asked at a delete; a trigger or flow
    may have any code and be asked at all three. An ``alert`` is a duplicate rule that a caller may override.
    """

    object: str
    name: str
    text: str
    formula: Formula
    message: str
    code: str = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    field: str | None = None
    events: tuple[str, ...] = ("insert", "update")
    active: bool = True
    alert: bool = False


def rule(subject: SObject, name: str, text: str, **rest: object) -> Rule:
    """A rule of an object from its formula; raises Unsupported."""
    return Rule(subject.name, name, text, compile_formula(text, subject), **rest)  # type: ignore[arg-type]  # keys checked by the caller


@dataclass
class Locks:
    """Records somebody holds. A lock with ``refusals`` left goes by itself after refusing so many rows."""

    _held: dict[str, int | None] = field(default_factory=dict)
    _by_job: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, record_ids: Iterable[str], refusals: int | None) -> None:
        with self._lock:
            self._held |= dict.fromkeys(record_ids, refusals)

    def release(self, record_ids: Sequence[str] | None = None) -> None:
        with self._lock:
            self._held = {} if record_ids is None else {k: v for k, v in self._held.items() if k not in record_ids}

    def listed(self) -> dict[str, int | None]:
        return dict(self._held)

    def take(self, holder: str, record_ids: pl.Series) -> None:
        """Hold for a bulk job what nobody holds yet."""
        with self._lock:
            for each in record_ids.drop_nulls().unique().to_list():
                self._by_job.setdefault(each, holder)

    def drop(self, holder: str) -> None:
        with self._lock:
            self._by_job = {key: who for key, who in self._by_job.items() if who != holder}

    def refused(self, record_ids: pl.Series, holder: str) -> pl.Series:
        """Which rows need a record that somebody else holds."""
        with self._lock:
            others = [key for key, who in self._by_job.items() if who != holder]
            if not self._held and not others:
                return pl.repeat(value=False, n=len(record_ids), dtype=pl.Boolean, eager=True)
            bad = record_ids.is_in([*self._held, *others]).fill_null(value=False)
            self._used(record_ids.filter(bad))
            return bad

    def _used(self, record_ids: pl.Series) -> None:
        for key, count in zip(*record_ids.value_counts().to_dict(as_series=False).values(), strict=True):
            left = self._held.get(key)
            if left is not None and left <= count:
                del self._held[key]
            elif left is not None:
                self._held[key] = left - count


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment rule of an object: its id, and the user or queue it gives every record to."""

    id: str
    owner: str
    active: bool = True


@dataclass
class Automation:
    """The rules of an org by object, the locks, and the custom permissions its user has: those of a control request
    (``permissions``) and those of assigned permission sets (``granted``)."""

    rules: dict[str, list[Rule]] = field(default_factory=dict)
    permissions: set[str] = field(default_factory=set)
    granted: frozenset[str] = frozenset()
    locks: Locks = field(default_factory=Locks)
    assignments: dict[str, Assignment] = field(default_factory=dict)

    def assigned(self, subject: SObject, asked: str) -> str | None:
        """The owner that the rule of that id, or the active one (``TRUE``), gives to; None where none runs."""
        found = self.assignments.get(subject.name)
        runs = found is not None and (found.active if asked.upper() == "TRUE" else found.id == normalised(asked))
        return found.owner if found is not None and runs else None

    def add(self, made: Rule) -> None:
        """Add a rule, in place of one of the same object and name."""
        kept = [each for each in self.rules.get(made.object, []) if each.name != made.name]
        self.rules[made.object] = [*kept, made]

    def remove(self, name: str, rule_name: str | None) -> None:
        """Remove one rule of an object, or all of them."""
        kept = [each for each in self.rules.get(name, []) if rule_name is not None and each.name != rule_name]
        self.rules[name] = kept

    def of(self, subject: SObject, event: str) -> list[Rule]:
        return [each for each in self.rules.get(subject.name, []) if each.active and event in each.events]

    def broken(self, made: Rule, frame: pl.DataFrame) -> pl.Series:
        """Which rows of the frame a rule refuses."""
        held: Mapping[str, bool] = {
            column: name in self.permissions | self.granted for name, column in made.formula.permissions.items()
        }
        asked = frame.with_columns(**{column: pl.lit(has) for column, has in held.items()})
        return asked.with_columns(made.formula.condition.alias("?broken"))["?broken"]
