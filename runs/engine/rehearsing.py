"""The target as a dry run has it: everything can be asked, and what is written is taken back.

There is no way through it to a write that stays. References to parents that only the real load would create are
left out, or stood in for by a record the target has; what the target says about those fields then counts for
nothing. Of a target that is slow to rehearse only a sample is sent. ``without`` tells, record by record, what the
target was not asked.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import polars as pl

from connectors.base import Target
from connectors.errors import FatalError, SettingsInvalid
from connectors.types import RESULT_SCHEMA, Bypass, EntityInfo, EntitySchema, Identity, Outcome, Owner, WriteResult
from projects.mapping.row_hash import row_hash
from runs import ledger
from runs.engine.sending import equal_keys
from runs.engine.session import Bench

PARENT: Final = "~to be created"
"""What stands in a reference to a record that only the real load would create; 14 characters, as short as the
shortest ids of platforms."""
EVERYTHING: Final = "*"
SAMPLE: Final = 240
"""Records of an object that are rehearsed where a rehearsal is slow; ten requests of Salesforce."""
NOT_ASKED = {"key": pl.String, "without": pl.String}


class CannotRehearse(FatalError):
    """The dry run would have to change the target to go on."""


class Rehearsing(Target):
    """A target that keeps nothing; ``take_not_asked`` gives what the writes since the last call left out."""

    slug = "rehearsal"
    label = "Rehearsal"

    def __init__(self, target: Target) -> None:
        super().__init__(target.context)
        self.capabilities = target.capabilities  # type: ignore[misc]  # those of the target it stands before
        self._target = target
        self._bench: Bench | None = None
        self._most: int | None = None
        self._not_asked: list[pl.DataFrame] = []

    # Asking goes through ---------------------------------------------------------------------------------
    @property
    def calls(self) -> int:
        return self._target.calls

    def check(self) -> Identity:
        return self._target.check()

    def entities(self) -> tuple[EntityInfo, ...]:
        return self._target.entities()

    def describe(self, entity: str) -> EntitySchema:
        return self._target.describe(entity)

    def owners(self) -> tuple[Owner, ...]:
        return self._target.owners()

    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        return self._target.fetch(entity, key=key, keys=keys, fields=fields)

    def find(self, entity: str, match: pl.DataFrame, *, key: str) -> pl.DataFrame:
        return self._target.find(entity, match, key=key)

    def settle(self, entity: str, keys: Sequence[str], *, key: str) -> None:
        """Nothing: finding out may close a job that an earlier run began, and a dry run writes nothing."""

    def came_along(self, entity: str, target_ids: Sequence[str]) -> frozenset[str]:
        return self._target.came_along(entity, target_ids)

    def count(self, entity: str, *, key: str, prefix: str) -> int | None:
        return self._target.count(entity, key=key, prefix=prefix)

    def keys(self, entity: str, *, key: str, prefix: str) -> Iterator[pl.Series] | None:
        return self._target.keys(entity, key=key, prefix=prefix)

    def changed_by_others(self, entity: str, target_ids: Sequence[str], *, since: datetime) -> pl.Series:
        return self._target.changed_by_others(entity, target_ids, since=since)

    # Changing does not -----------------------------------------------------------------------------------
    def begin(self, bench: Bench, *, most: int | None) -> None:
        """What is written from now on belongs to this step; at most so many records are rehearsed (None: all)."""
        self._bench, self._most, self._not_asked = bench, most, []

    def take_not_asked(self) -> pl.DataFrame:
        """``key, without`` of the records about which the target was not asked everything."""
        taken = pl.concat([pl.DataFrame(schema=NOT_ASKED), *self._not_asked])
        self._not_asked = []
        return taken.unique("key", keep="last")

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """What the write would answer, as far as that can be known with nothing staying behind."""
        if self._bench is None:
            raise ValueError("a rehearsal begins with the step it is for")
        keys = frame[key].cast(pl.String)
        rows, without = self._without_new_parents(self._bench, frame, keys)
        asked = self._chosen(without)
        not_sent = without.filter(~asked).with_columns(without=pl.lit(EVERYTHING))
        self._not_asked += [without.filter(asked & (without["without"] != "")), not_sent]
        answered = self._rehearsed(entity, rows.filter(asked), without.filter(asked), key)
        believed = self._believed(self._bench, frame.filter(~asked), key)
        return WriteResult.checked(pl.concat([answered, believed]), keys)

    def adopt(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        """As if every row had been adopted: nothing can be tried out."""
        del entity, key
        return WriteResult.checked(
            _landed(frame["target_id"], Outcome.UPDATED).with_columns(target_id=pl.col("key")), frame["target_id"]
        )

    def bypass(self, name: str) -> Bypass | None:
        return self._target.bypass(name)

    def switch_bypass(self, found: Bypass, *, on: bool) -> None:
        """As the load will have it: what is tried out must meet the same automation. Nothing of it stays, either."""
        self._target.switch_bypass(found, on=on)

    def make_key(self, entity: str) -> tuple[str, ...]:
        raise CannotRehearse(f"A dry run makes nothing, and was to make an external id of {entity}.")

    def prepare_bypass(self, name: str) -> tuple[str, ...]:
        raise CannotRehearse(f"A dry run makes nothing, and was to make the automation bypass {name}.")

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        raise CannotRehearse(f"A dry run deletes nothing, and was to delete {len(target_ids)} records of {entity}.")

    def imagine(self, wanted: Sequence[tuple[EntitySchema, str]]) -> tuple[str, ...]:
        """As the target imagines them; raises CannotRehearse where it cannot and one of them is missing."""
        if self.capabilities.imagines:
            return self._target.imagine(wanted)
        return tuple(change for schema, key in wanted for change in self.ensure_entity(schema, key=key))

    def ensure_entity(self, schema: EntitySchema, *, key: str) -> tuple[str, ...]:
        """No change where the entity is there; raises CannotRehearse where it would have to be created."""
        del key
        try:
            self._target.describe(schema.entity.name)
        except SettingsInvalid as missing:
            raise CannotRehearse(
                f"The target has no {schema.entity.name} yet, and a dry run creates nothing. Create it (a load does, "
                "or a retry of one record), then start the dry run again."
            ) from missing
        return ()

    # How -------------------------------------------------------------------------------------------------
    def _without_new_parents(
        self, bench: Bench, frame: pl.DataFrame, keys: pl.Series
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The frame as it can be sent now, and ``key, without`` row by row: the fields left out or stood in for,
        or all where a parent is required and nobody can stand in for it."""
        without = [pl.lit("")]
        for use in bench.compiled.references:
            new = frame[use.field].cast(pl.String) == PARENT
            if not new.any():
                continue
            stand_in = self._stand_in(bench, use.field, use.entities)
            lost = use.required and stand_in is None
            without.append(
                pl.when(new.fill_null(value=False))
                .then(pl.lit(EVERYTHING if lost else use.field))
                .otherwise(pl.lit(None, pl.String))
            )
            kept = pl.when(new.fill_null(value=False)).then(pl.lit(stand_in, pl.String)).otherwise(pl.col(use.field))
            frame = frame.with_columns(kept.alias(use.field))
        joined = pl.concat_str(without[1:], separator=",", ignore_nulls=True) if without[1:] else pl.lit("")
        told = pl.DataFrame({"key": keys}).with_columns(joined.alias("without"))
        everything = pl.col("without").str.split(",").list.contains(EVERYTHING)
        return frame, told.with_columns(
            pl.when(everything).then(pl.lit(EVERYTHING)).otherwise("without").alias("without")
        )

    def _stand_in(self, bench: Bench, field: str, entities: Sequence[str]) -> str | None:
        """The id of a record that may take the place of any parent; none where no two may share one."""
        info = next(target.info for target in bench.compiled.fields if target.name == field)
        if info.unique:
            return None
        objects = sorted({pk for entity in entities for pk in bench.parents.get(entity, ())})
        return ledger.any_target_id(bench.place.project_id, objects)

    def _chosen(self, without: pl.DataFrame) -> pl.Series:
        """Which rows are rehearsed: those that can be, and of too many a share that their keys decide."""
        able = without["without"] != EVERYTHING
        if not self._target.capabilities.rehearses:
            return pl.repeat(value=False, n=without.height, dtype=pl.Boolean, eager=True)
        if self._most is None or able.sum() <= self._most:
            return able
        digits = without.select("key").with_columns(digits=row_hash(without.select("key")), able=able).with_row_index()
        first = digits.filter("able").sort("digits").head(self._most)["index"]
        return digits.select(pl.col("index").is_in(first.implode())).to_series()

    def _rehearsed(self, entity: str, rows: pl.DataFrame, without: pl.DataFrame, key: str) -> pl.DataFrame:
        """The target's answers, less refusals for what it was not shown as it would be."""
        if not rows.height:
            return pl.DataFrame(schema=RESULT_SCHEMA)
        answers = self._target.rehearse(entity, rows, key=key).frame.join(without, on="key", how="left")
        blamed = pl.col("fields").fill_null("").str.split(",").list.set_intersection(pl.col("without").str.split(","))
        void = (pl.col("outcome") == Outcome.REJECTED) & (pl.col("without") != "") & (blamed.list.len() > 0)
        told = answers.filter(void).select("key", without=pl.lit(EVERYTHING))
        if told.height:
            self._not_asked.append(told)
        landed = _landed(answers.filter(void)["key"], Outcome.CREATED)
        return pl.concat([answers.filter(~void).select(*RESULT_SCHEMA), landed])

    def _believed(self, bench: Bench, rows: pl.DataFrame, key: str) -> pl.DataFrame:
        """Rows nobody rehearses, as if the target took them all: what it holds already is unchanged."""
        keys = rows[key].cast(pl.String)
        if not rows.height:
            return pl.DataFrame(schema=RESULT_SCHEMA)
        held = self._target.fetch(bench.entity, key=key, keys=keys.to_list(), fields=bench.other_fields)
        same = equal_keys(bench, rows, held)
        there = held["key"].unique()
        return pl.concat(
            [
                _landed(same, Outcome.UNCHANGED),
                _landed(there.filter(~there.is_in(same.implode())), Outcome.UPDATED),
                _landed(keys.filter(~keys.is_in(there.implode())), Outcome.CREATED),
            ]
        )


def _landed(keys: pl.Series, outcome: Outcome) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    return pl.DataFrame({"key": keys.cast(pl.String)}).select(
        "key",
        target_id=nothing,
        outcome=pl.lit(str(outcome)),
        code=nothing,
        fields=nothing,
        message=nothing,
    )
