"""A mapping ready to run: what it reads, which parents it needs, and what becomes of each record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from connectors.errors import InputInvalid
from connectors.types import FieldInfo
from projects.mapping import findings
from projects.mapping.conversion import Conversion, Fault
from projects.mapping.expressions import Compiled, RuleFault, blank_as_null
from projects.mapping.findings import ROW, SOURCE_ID, TEXT, VALUE
from projects.mapping.references import Lookup, ambiguous, left_open, looked_up, unresolved
from projects.mapping.specification import FORETOLD, ObjectMapping, Unresolved
from projects.mapping.transformed import (
    FINDINGS,
    RECORD_ID,
    RECORD_PART,
    SKIPPED,
    UNRESOLVED,
    Transformed,
    stacked,
)


@dataclass(frozen=True, slots=True)
class ReferenceUse:
    """A target field that needs the target id of a record of one of the source ``entities``.

    ``required``: the target takes no record without it. ``policy`` says what becomes of one whose parent is not there.
    """

    field: str
    entities: tuple[str, ...]
    required: bool
    policy: Unresolved = Unresolved.BLANK


@dataclass(frozen=True, slots=True)
class TargetField:
    """How one target field is filled. ``text`` reads the last stage's columns; for a reference it gives
    what names the parent (``by``), and ``otherwise`` a target id for records whose parent is blank."""

    info: FieldInfo
    text: Compiled
    conversion: Conversion
    entities: tuple[str, ...] = ()
    otherwise: Compiled | None = None
    by: str = ""
    policy: Unresolved = Unresolved.BLANK
    composed_of: tuple[str, ...] = ()
    """The target fields whose values, joined, are this one's; ``text`` is then blank."""

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return tuple(Lookup(entity, self.by) for entity in self.entities)


@dataclass(frozen=True, slots=True)
class Stage:
    """One half at work: its condition, and the faults to look for as (target field, fault)."""

    condition: Compiled | None
    condition_sql: str
    faults: tuple[tuple[str, RuleFault], ...]


@dataclass(slots=True)
class _Page:
    """What is gathered about one page on its way through the halves."""

    findings: list[pl.DataFrame] = field(default_factory=list)
    unresolved: list[pl.DataFrame] = field(default_factory=list)
    skipped: list[pl.DataFrame] = field(default_factory=list)

    def refused(self) -> pl.Series:
        """The rows with an error finding."""
        rows = [found.filter(findings.is_error())[ROW] for found in self.findings]
        return pl.concat(rows).unique() if rows else pl.Series(dtype=pl.UInt32)

    def waiting(self) -> pl.Series:
        """The rows that are not written before a parent is there."""
        rows = [found.filter("waits")[ROW] for found in self.unresolved]
        return pl.concat(rows).unique() if rows else pl.Series(dtype=pl.UInt32)


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """Made by ``compile_mapping``. ``source_fields`` are what to read, the identity among them.

    ``universal`` are the expressions of the first half, name → expression over source fields; it is
    None for a mapping of one half.
    """

    mapping: ObjectMapping
    source_fields: tuple[str, ...]
    fields: tuple[TargetField, ...]
    universal: Mapping[str, pl.Expr] | None
    source_stage: Stage
    target_stage: Stage

    @property
    def target_fields(self) -> tuple[str, ...]:
        return tuple(target.name for target in self.fields)

    @property
    def references(self) -> tuple[ReferenceUse, ...]:
        return tuple(
            ReferenceUse(target.name, target.entities, target.info.required, target.policy)
            for target in self.fields
            if target.entities
        )

    @property
    def lookups(self) -> Mapping[str, Lookup]:
        """The ways in which parents are found, by name."""
        return {lookup.name: lookup for target in self.fields for lookup in target.lookups}

    def parents(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Per name of ``lookups`` the distinct values by which the records of a source frame name parents."""
        uses = [target for target in self.fields if target.entities]
        if not uses:
            return {}
        wanted = frozenset().union(*(target.text.fields for target in uses))
        named = self._universal(self._prepared(frame), wanted).select(
            target.text.expr.alias(target.name) for target in uses
        )
        return {
            name: pl.concat([named[target.name] for target in uses if lookup in target.lookups])
            .drop_nulls()
            .unique()
            .alias("source_id")
            for name, lookup in sorted(self.lookups.items())
        }

    def parent_ids(self, frame: pl.DataFrame) -> pl.DataFrame:
        """``source_id`` of each record of a source frame, and per reference field what it names its parent by."""
        uses = [target for target in self.fields if target.entities]
        wanted: frozenset[str] = frozenset().union(*(target.text.fields for target in uses))
        records = self._universal(self._prepared(frame), wanted)
        return records.select(
            pl.col(SOURCE_ID).alias("source_id"), *(target.text.expr.alias(target.name) for target in uses)
        )

    def apply(self, frame: pl.DataFrame, id_map: Mapping[str, pl.DataFrame]) -> Transformed:
        """The records of a source frame as target rows.

        ``id_map`` gives per name of ``lookups`` a frame ``source_id`` (what names the parent), ``target_id`` (text,
        one row per name), and where parents may share a name ``candidates``: the target ids of those that do, in which
        case ``target_id`` is null. A look-up that is not there knows no parents. Raises InputInvalid where a formula
        fails on a value in a way that trying it out did not show (a number beyond 38 digits).
        """
        try:
            return self._applied(frame, id_map)
        except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError) as error:
            raise InputInvalid(
                f"A formula of the mapping {self.mapping.source_entity} → {self.mapping.target_entity} fails on a "
                "value of this page. Guard it, for example with TRY_CAST or NULLIF.",
                detail=str(error).split("\n")[0],
            ) from error

    def _applied(self, frame: pl.DataFrame, id_map: Mapping[str, pl.DataFrame]) -> Transformed:
        page = _Page()
        records = self._admitted(self._prepared(frame), page)
        records = self._passed(records, self.source_stage, page)
        records = self._passed(self._universal(records, None), self.target_stage, page)
        texts = self._resolved(self._texts(records), id_map, page)
        values = self._converted(texts, page)
        return self._sorted(values, page)

    def _prepared(self, frame: pl.DataFrame) -> pl.DataFrame:
        columns = [blank_as_null(pl.col(name)).alias(name) for name in self.source_fields]
        return frame.select(columns).with_columns(pl.col(self.mapping.identity).alias(SOURCE_ID)).with_row_index(ROW)

    def _admitted(self, records: pl.DataFrame, page: _Page) -> pl.DataFrame:
        """The records that have an identity, each once: of repeated ones the last, which is the newest."""
        identity = pl.col(SOURCE_ID)
        flags = records.select(
            unusable=identity.is_null() | identity.str.contains("\x00", literal=True),
            repeated=~identity.is_last_distinct() & identity.is_not_null(),
        )
        unusable, repeated = flags["unusable"], flags["repeated"] & ~flags["unusable"]
        if unusable.any():
            page.findings.append(self._without_identity(records.filter(unusable)))
        if repeated.any():
            page.skipped.append(
                records.filter(repeated).select(
                    pl.col(SOURCE_ID).alias("source_id"),
                    pl.lit("The record is on the page again further down; the last one counts.").alias("reason"),
                )
            )
        left_out = unusable | repeated
        return records.filter(~left_out) if left_out.any() else records

    def _without_identity(self, records: pl.DataFrame) -> pl.DataFrame:
        place = pl.format("row {} of the page", pl.col(ROW) + 1)
        nameless = records.select(
            ROW, pl.lit(None, dtype=pl.String).alias(SOURCE_ID), place.alias(TEXT), pl.lit(0).alias(VALUE)
        )
        message = f"The record in {{}} has no usable {self.mapping.identity}, by which records are told apart."
        return findings.told(nameless, self.mapping.identity, [Fault("blank_identity", pl.lit(value=True), message)])

    def _passed(self, records: pl.DataFrame, stage: Stage, page: _Page) -> pl.DataFrame:
        """The records that meet the stage's condition; faults of its rules become findings."""
        if stage.condition is not None:
            _collect(records, [("where", fault) for fault in stage.condition.faults], page)
            meets = records.select(stage.condition.expr.fill_null(value=False)).to_series()
            records = self._filtered(records, meets, stage, page)
        _collect(records, stage.faults, page)
        return records

    def _filtered(self, records: pl.DataFrame, meets: pl.Series, stage: Stage, page: _Page) -> pl.DataFrame:
        if meets.all():
            return records
        reason = f"The record does not meet the condition of the mapping: {stage.condition_sql}"
        refused = records[ROW].is_in(page.refused().implode())
        page.skipped.append(
            records.filter(~meets & ~refused).select(
                pl.col(SOURCE_ID).alias("source_id"), pl.lit(reason).alias("reason")
            )
        )
        return records.filter(meets)

    def _universal(self, records: pl.DataFrame, wanted: frozenset[str] | None) -> pl.DataFrame:
        """The records as the first half leaves them, with all fields or those ``wanted``."""
        if self.universal is None:
            return records
        named = {name: expr for name, expr in self.universal.items() if wanted is None or name in wanted}
        return records.select(ROW, SOURCE_ID, *(expr.alias(name) for name, expr in named.items()))

    def _texts(self, records: pl.DataFrame) -> pl.DataFrame:
        """One text column per target field, named by its position; a reference has its parent's id."""
        columns = [target.text.expr.alias(_text(position)) for position, target in enumerate(self.fields)]
        columns += [
            target.otherwise.expr.alias(_otherwise(position))
            for position, target in enumerate(self.fields)
            if target.otherwise is not None
        ]
        return records.select(ROW, SOURCE_ID, *columns)

    def _resolved(self, texts: pl.DataFrame, id_map: Mapping[str, pl.DataFrame], page: _Page) -> pl.DataFrame:
        for position, target in enumerate(self.fields):
            if not target.entities:
                continue
            parent = texts[_text(position)]
            found, shared = looked_up(parent, target.lookups, id_map)
            named = texts.select(ROW, SOURCE_ID, parent.alias(TEXT))
            if shared.null_count() < len(shared):
                page.findings.append(ambiguous(named, shared, target.name, target.entities))
            lost = parent.is_not_null() & found.is_null() & shared.is_null()
            if lost.any():
                self._leave_open(named.filter(lost), target, page)
                if target.policy is Unresolved.KEEP:
                    found = found.zip_with(~lost, parent)
            if target.otherwise is not None:
                found = found.zip_with(parent.is_not_null(), texts[_otherwise(position)])
            texts = texts.with_columns(parent.alias(_parent(position)), found.alias(_text(position)))
        return texts.with_columns(self._composed(texts.columns))

    def _composed(self, present: Sequence[str]) -> list[pl.Expr]:
        """The texts of fields that are composed of others; a parent that is only foretold is named by its source id."""
        places = {target.name: position for position, target in enumerate(self.fields)}

        def part(name: str) -> pl.Expr:
            found, parent = pl.col(_text(places[name])), _parent(places[name])
            if parent not in present:
                return found
            named = pl.concat_str(pl.lit(FORETOLD), parent)
            return pl.when(found.str.starts_with(FORETOLD)).then(named).otherwise(found)

        return [
            pl.concat_str([part(name) for name in target.composed_of], separator=":").alias(_text(position))
            for position, target in enumerate(self.fields)
            if target.composed_of
        ]

    def _leave_open(self, hit: pl.DataFrame, target: TargetField, page: _Page) -> None:
        """Note the records whose parent is not there, and tell what their reference's policy makes of them."""
        told = left_open(hit, target.name, target.entities, target.policy)
        if told is not None:
            page.findings.append(told)
        if target.policy is not Unresolved.REJECT:
            page.unresolved.append(unresolved(hit, target.name, target.lookups, target.policy))

    def _converted(self, texts: pl.DataFrame, page: _Page) -> pl.DataFrame:
        """The texts with a converted column beside each; faults and missing values become findings."""
        columns = list(enumerate(self.fields))
        values = texts.with_columns(
            target.conversion.quick(pl.col(_text(position))).alias(_value(position)) for position, target in columns
        )
        in_doubt = values.select(_doubtful(position, target).alias(_value(position)) for position, target in columns)
        for position, target in columns:
            doubtful = in_doubt[_value(position)]
            if doubtful.any():
                values = _careful(values, doubtful, position, target, page)
            if target.info.required and values[_value(position)].null_count():
                self._tell_missing(values, position, target, page)
        return values

    def _tell_missing(self, values: pl.DataFrame, position: int, target: TargetField, page: _Page) -> None:
        """Findings for records without a required value, save those whose absence is told already."""
        blank = values.filter(pl.col(_value(position)).is_null())
        if target.entities:
            blank = blank.filter(pl.col(_parent(position)).is_null())
        told = [found.filter(pl.col("field") == target.name)[ROW] for found in page.findings]
        if told:
            blank = blank.filter(~pl.col(ROW).is_in(pl.concat(told).implode()))
        page.findings.append(findings.missing(blank, target.name))

    def _sorted(self, values: pl.DataFrame, page: _Page) -> Transformed:
        refused, waiting = page.refused(), page.waiting()
        rows = self._rows(values)
        place = values[ROW]
        out, late = place.is_in(refused.implode()), place.is_in(waiting.implode())
        part = pl.lit(self.mapping.part).alias("part")
        unresolved = [found.filter(~pl.col(ROW).is_in(refused.implode())) for found in page.unresolved]
        return Transformed(
            rows=rows.filter(~out & ~late) if len(refused) or len(waiting) else rows,
            waiting=rows.filter(~out & late),
            findings=stacked([found.with_columns(part) for found in page.findings], FINDINGS),
            unresolved=stacked([found.with_columns(part) for found in unresolved], UNRESOLVED),
            skipped=stacked([found.with_columns(part) for found in page.skipped], SKIPPED),
        )

    def _rows(self, values: pl.DataFrame) -> pl.DataFrame:
        return values.select(
            pl.col(SOURCE_ID).alias(RECORD_ID),
            pl.lit(self.mapping.part).alias(RECORD_PART),
            *(pl.col(_value(position)).alias(target.name) for position, target in enumerate(self.fields)),
        )


def _text(position: int) -> str:
    return f"text {position}"


def _otherwise(position: int) -> str:
    return f"otherwise {position}"


def _parent(position: int) -> str:
    return f"parent {position}"


def _value(position: int) -> str:
    return f"value {position}"


def _collect(records: pl.DataFrame, faults: Sequence[tuple[str, RuleFault]], page: _Page) -> None:
    if not faults:
        return
    flags = records.select(fault.when.fill_null(value=False).alias(str(n)) for n, (_, fault) in enumerate(faults))
    for flag, (name, fault) in zip(flags, faults, strict=True):
        if flag.any():
            page.findings.append(findings.rule_fault(records.filter(flag), name, fault))


def _doubtful(position: int, target: TargetField) -> pl.Expr:
    """Where the quick way's value may not be taken."""
    text, value = pl.col(_text(position)), pl.col(_value(position))
    return text.is_not_null() & ~target.conversion.exact(text, value).fill_null(value=False)


def _careful(
    values: pl.DataFrame, doubtful: pl.Series, position: int, target: TargetField, page: _Page
) -> pl.DataFrame:
    """The values with those in doubt converted the careful way; what there is to tell is told."""
    name = _value(position)
    suspects = values.filter(doubtful).select(ROW, SOURCE_ID, pl.col(_text(position)).alias(TEXT))
    suspects = suspects.with_columns(target.conversion.careful(pl.col(TEXT)).alias(VALUE))
    page.findings.append(findings.conversion_faults(suspects, target.name, target.conversion))
    return values.with_columns(values[name].scatter(doubtful.arg_true(), suspects[VALUE]))
