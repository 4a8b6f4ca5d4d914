"""How a dry run fared against the load that followed: per object and cause what was foreseen, missed, imagined.

Pure counting over pairs of what was predicted and what came of it. A record whose source content changed in
between is told apart: it says nothing about the prediction.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

SHOWN: Final = 5
"""Records that are named for each way in which a prediction was wrong."""
SURPRISES: Final = 50
"""Ways of being wrong that are listed for an object, the most frequent first."""


@dataclass(frozen=True, slots=True, order=True)
class Fate:
    """What became of a record, or was to: its outcome, and the code where it was refused."""

    outcome: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """So many records of an object with one prediction and one fate; ``ids`` are a few of them."""

    predicted: Fate
    real: Fate
    count: int
    ids: tuple[str, ...] = ()


@dataclass(slots=True)
class Matched:
    """What was found of one object. ``changed`` records differ in the source, ``new`` ones were not predicted (they
    are new, or were not in the sample), ``gone`` ones were predicted and not read again."""

    name: str
    pairs: list[Pairs] = field(default_factory=list)
    changed: int = 0
    new: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class CauseScore:
    """One cause of refusals: ``hits`` were predicted and came true, ``missed`` came true only, ``imagined`` were
    predicted only."""

    code: str
    predicted: int
    real: int
    hits: int

    @property
    def missed(self) -> int:
        return self.real - self.hits

    @property
    def imagined(self) -> int:
        return self.predicted - self.hits


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """``right`` of ``compared`` records fared as predicted, cause included; ``surprises`` are the others."""

    name: str
    compared: int
    right: int
    changed: int
    new: int
    gone: int
    causes: tuple[CauseScore, ...]
    surprises: tuple[Pairs, ...]

    @property
    def accuracy(self) -> float | None:
        """0 to 1; None where nothing could be compared."""
        return self.right / self.compared if self.compared else None


@dataclass(frozen=True, slots=True)
class Score:
    objects: tuple[ObjectScore, ...]
    same_mapping: bool

    @property
    def compared(self) -> int:
        return sum(item.compared for item in self.objects)

    @property
    def right(self) -> int:
        return sum(item.right for item in self.objects)

    @property
    def accuracy(self) -> float | None:
        return self.right / self.compared if self.compared else None

    def as_json(self) -> dict[str, Any]:
        body = asdict(self)
        for stored, item in zip(body["objects"], self.objects, strict=True):
            stored["accuracy"] = item.accuracy
            for cause, scored in zip(stored["causes"], item.causes, strict=True):
                cause.update(missed=scored.missed, imagined=scored.imagined)
        return {"accuracy": self.accuracy, "compared": self.compared, "right": self.right, **body}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Score":
        return cls(tuple(_object_from(each) for each in stored["objects"]), stored["same_mapping"])


def score(found: Sequence[Matched], *, same_mapping: bool) -> Score:
    """``same_mapping`` says that the load followed the mappings of the dry run."""
    return Score(tuple(_scored(matched) for matched in found), same_mapping)


def merged(pairs: Iterable[Pairs]) -> list[Pairs]:
    """Pairs of the same prediction and fate as one."""
    counts: dict[tuple[Fate, Fate], int] = defaultdict(int)
    ids: dict[tuple[Fate, Fate], tuple[str, ...]] = defaultdict(tuple)
    for each in pairs:
        way = each.predicted, each.real
        counts[way] += each.count
        ids[way] = (*ids[way], *each.ids)[:SHOWN]
    return [Pairs(*way, count, ids[way]) for way, count in counts.items()]


def _scored(matched: Matched) -> ObjectScore:
    pairs = merged(matched.pairs)
    wrong = sorted(
        (each for each in pairs if each.predicted != each.real),
        key=lambda each: (-each.count, each.predicted, each.real),
    )
    return ObjectScore(
        matched.name,
        compared=sum(each.count for each in pairs),
        right=sum(each.count for each in pairs if each.predicted == each.real),
        changed=matched.changed,
        new=matched.new,
        gone=matched.gone,
        causes=_causes(pairs),
        surprises=tuple(wrong[:SURPRISES]),
    )


def _causes(pairs: Sequence[Pairs]) -> tuple[CauseScore, ...]:
    codes = sorted({fate.code for each in pairs for fate in (each.predicted, each.real) if fate.outcome == "rejected"})

    def refused(fate: Fate, code: str) -> bool:
        return fate == Fate("rejected", code)

    return tuple(
        CauseScore(
            code,
            predicted=sum(each.count for each in pairs if refused(each.predicted, code)),
            real=sum(each.count for each in pairs if refused(each.real, code)),
            hits=sum(each.count for each in pairs if refused(each.predicted, code) and refused(each.real, code)),
        )
        for code in codes
    )


def _object_from(stored: Mapping[str, Any]) -> ObjectScore:
    names = ("name", "compared", "right", "changed", "new", "gone")
    return ObjectScore(
        **{name: stored[name] for name in names},
        causes=tuple(
            CauseScore(each["code"], each["predicted"], each["real"], each["hits"]) for each in stored["causes"]
        ),
        surprises=tuple(
            Pairs(Fate(**each["predicted"]), Fate(**each["real"]), each["count"], tuple(each["ids"]))
            for each in stored["surprises"]
        ),
    )
