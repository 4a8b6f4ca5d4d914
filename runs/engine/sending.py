"""Sending: bring records to the target and find out what became of each, by key, whatever the answer looks like.

An answer may be lost, short, doubled, shuffled or about strangers. What it does not tell for certain is not
guessed: the target is asked by its keys, what it holds counts as done, and only the rest is sent again. Records
that were locked by somebody else go again in smaller company and then one by one.
"""

from collections.abc import Sequence

import polars as pl

from connectors.errors import Unavailable
from connectors.types import RESULT_SCHEMA, Outcome
from runs import events
from runs.choices import EventLevel
from runs.engine.comparison import compare
from runs.engine.session import Bench, Session

LOCKED_TOGETHER = 50
"""Records of a call in which locked ones are tried again, before they are tried one by one."""
LOCKED_SINGLY = 200
"""Locked records that are tried one by one at most; the others are rejected, and can be retried like any."""


def send(session: Session, bench: Bench, content: pl.DataFrame, *, again: bool) -> pl.DataFrame:
    """One row of ``RESULT_SCHEMA`` per row of ``content``. ``again``: an earlier try may have sent these.

    Raises Unavailable where the fate of some stays unknown, and what the target raises.
    """
    if not content.height:
        return pl.DataFrame(schema=RESULT_SCHEMA)
    if session.target.capabilities.locks_parents:
        content = by_parent(bench, content)
    done = _found_done(session, bench, content) if again else _nothing()
    told = pl.concat([done, _told(session, bench, _without(bench, content, done))])
    return _unlocked(session, bench, content, told)


def equal_keys(bench: Bench, content: pl.DataFrame, held: pl.DataFrame) -> pl.Series:
    """The keys of the records that the target's rows ``held`` already equal."""
    ours = content.select(_key(bench), *bench.other_fields)
    found = compare(ours, held, fields=bench.other_fields, rules=bench.rules)
    return ours.join(found.mismatches, on="key", how="anti").join(held, on="key", how="semi")["key"]


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema=RESULT_SCHEMA)


def _key(bench: Bench) -> pl.Expr:
    return pl.col(bench.mapping.key).cast(pl.String).alias("key")


def _without(bench: Bench, content: pl.DataFrame, done: pl.DataFrame) -> pl.DataFrame:
    """The rows whose keys are not among those ``done``, each of which is one of theirs and there once."""
    if not done.height:
        return content
    if done.height == content.height:
        return content.clear()
    return content.filter(~content.select(_key(bench)).to_series().is_in(done["key"].implode()))


def _found_done(session: Session, bench: Bench, content: pl.DataFrame) -> pl.DataFrame:
    """What an earlier try is found to have written; a target that cannot be asked is sent everything again."""
    target = session.target
    if not target.capabilities.asked_by.by_key:
        if not target.capabilities.asked_by.by_job:
            _say(session, f"Sent {content.height:,} records of {bench.entity} again without knowing what became of "
                          "them: the target cannot be asked.")  # fmt: skip
        return _nothing()
    done = _held(session, bench, content)
    _say(
        session,
        f"An earlier try to write {content.height:,} records of {bench.entity} was cut short: {done.height:,} are in "
        f"the target as they should be, {content.height - done.height:,} are sent again.",
        level=EventLevel.INFO,
    )
    return done


def _held(session: Session, bench: Bench, content: pl.DataFrame) -> pl.DataFrame:
    """Results of the records that the target holds as they are."""
    keys = content.select(_key(bench)).to_series().to_list()
    held = session.target.fetch(bench.entity, key=bench.mapping.key, keys=keys, fields=bench.other_fields)
    there = held.filter(~pl.col("key").is_duplicated())
    same = there.filter(pl.col("key").is_in(equal_keys(bench, content, there).implode()))
    nothing = pl.lit(None, pl.String)
    return same.select(
        "key",
        "target_id",
        outcome=pl.lit(str(Outcome.UNCHANGED)),
        code=nothing,
        fields=nothing,
        message=nothing,
    )


def _told(session: Session, bench: Bench, content: pl.DataFrame) -> pl.DataFrame:
    """Write, ask about what was not answered for certain, and write the rest once more."""
    told = _written(session, bench, content)
    silent = _without(bench, content, told)
    if silent.height:
        _say(session, f"The target told nothing certain about {silent.height:,} of {content.height:,} records of "
                      f"{bench.entity}; it is asked by their keys.")  # fmt: skip
        asks = session.target.capabilities.asked_by.by_key
        told = pl.concat([told, _held(session, bench, silent) if asks else _nothing()])
        told = pl.concat([told, _written(session, bench, _without(bench, content, told))])
        silent = _without(bench, content, told)
        if silent.height:
            raise Unavailable(
                f"The target told nothing about {silent.height:,} records of {bench.entity}, among them "
                f"{silent[bench.mapping.key][0]}. They are looked for before anything is sent again."
            )
    return told


def _written(session: Session, bench: Bench, content: pl.DataFrame) -> pl.DataFrame:
    """What the target says for certain of the records sent: a result per key, about ours, and never two that differ."""
    if not content.height:
        return _nothing()
    answer = session.target.write(bench.entity, content, key=bench.mapping.key).frame
    answer = answer.select(pl.col(name).cast(dtype) for name, dtype in RESULT_SCHEMA.items())
    sent, known = content.select(_key(bench)).to_series(), answer["outcome"].is_in(list(Outcome)).fill_null(value=False)
    if answer["key"].equals(sent) and known.all() and sent.is_unique().all():
        return answer
    answer = answer.unique(maintain_order=True)
    ours = answer["key"].is_in(sent.implode()).fill_null(value=False)
    if not ours.all():
        _say(session, f"The target answered about {(~ours).sum():,} records of {bench.entity} that were not sent, "
                      f"among them {answer.filter(~ours)['key'][0]}; that is ignored.")  # fmt: skip
    certain = pl.col("outcome").is_in(list(Outcome)) & ~pl.col("key").is_duplicated()
    return answer.filter(ours).filter(certain)


def _unlocked(session: Session, bench: Bench, content: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Try locked records again: smaller, sorted by parent, then one by one; nobody else is sent twice."""
    codes = list(session.target.capabilities.lock_codes)
    for size, most in ((LOCKED_TOGETHER, content.height), (1, LOCKED_SINGLY)):
        locked = told.filter((pl.col("outcome") == Outcome.REJECTED) & pl.col("code").is_in(codes)).head(most)
        if not codes or not locked.height:
            return told
        _say(session, f"{locked.height:,} records of {bench.entity} were locked by somebody else; "
                      f"they are tried again, {'one by one' if size == 1 else f'{size} at a time'}.")  # fmt: skip
        rows = content.filter(content.select(_key(bench)).to_series().is_in(locked["key"].implode()))
        parts = [_told(session, bench, part) for part in by_parent(bench, rows).iter_slices(size)]
        told = pl.concat([told.join(locked, on="key", how="anti"), *parts])
    return told


def by_parent(bench: Bench, content: pl.DataFrame) -> pl.DataFrame:
    """Children of one parent side by side: saving a child locks its parent on platforms that keep totals there."""
    parents: Sequence[str] = [use.field for use in bench.compiled.references]
    return content.sort(parents, nulls_last=True, maintain_order=True) if parents else content


def _say(session: Session, message: str, *, level: EventLevel = EventLevel.WARNING) -> None:
    events.tell(session.run.pk, message, level=level)
