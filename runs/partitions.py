"""The partitions of the big tables: tracked records, match keys and findings by project, the contents of chunks by
project and month, predictions by project and dry run.

Erasing a project, or passing its retention date, is a dropped table instead of millions of deleted rows.
Partitions are made apart and then attached, which does not wait for whoever reads the table just now. Why
not the chunks themselves: docs/decisions/0013-contents-of-chunks-are-partitioned.md.
"""

from datetime import date

from django.db import OperationalError, connection, transaction
from psycopg import sql
from psycopg.errors import LockNotAvailable

RECORDS = "runs_trackedrecord"
MATCH_KEYS = "runs_matchkey"
FINDINGS = "runs_finding"
CONTENTS = "runs_chunkcontent"
PREDICTIONS = "runs_prediction"
PATIENCE_SECONDS = 10
"""How long a drop waits for those who use the table; everybody else would queue behind it."""
MONTH_PATIENCE_SECONDS = 2
"""The same for a month past keeping, which may as well go an hour later."""


class PartitionBusy(Exception):
    """Somebody reads the table for longer than a drop may wait; the message is a sentence for staff."""


def ensure_project(project_id: int) -> None:
    """Give the project its own partitions, so that its first records need not wait for them."""
    for table in (RECORDS, MATCH_KEYS, FINDINGS):
        _ensure(table, project_id)
    _ensure(CONTENTS, project_id, then_by="month")


def ensure_month(project_id: int, month: date) -> None:
    """Have a partition for the contents of the project's chunks of that month; cheap where there is one."""
    if not _exists(_of_month(project_id, month)):
        _ensure(CONTENTS, project_id, then_by="month")
        _attach(_of_project(CONTENTS, project_id), _of_month(project_id, month), sql.Literal(month))


def ensure_dry_run(project_id: int, run_id: int) -> None:
    """Have a partition for the predictions of a dry run."""
    _ensure(PREDICTIONS, project_id, then_by="run_id")
    _attach(_of_project(PREDICTIONS, project_id), _of_dry_run(project_id, run_id), sql.Literal(run_id))


def drop_dry_run(project_id: int, run_id: int) -> None:
    """Forget the predictions of a dry run. Raises PartitionBusy."""
    _drop(_of_dry_run(project_id, run_id), patience=MONTH_PATIENCE_SECONDS)


def drop_project(project_id: int) -> None:
    """Forget all that grows with the project's records. Raises PartitionBusy, and then all of it is there still."""
    tables = (PREDICTIONS, FINDINGS, MATCH_KEYS, RECORDS, CONTENTS)
    _drop(*(_of_project(table, project_id) for table in tables), patience=PATIENCE_SECONDS)


def drop_month(project_id: int, month: date) -> None:
    """Forget the contents of the project's chunks of that month. Raises PartitionBusy."""
    _drop(_of_month(project_id, month), patience=MONTH_PATIENCE_SECONDS)


def size_of_month(project_id: int, month: date) -> int:
    """Bytes on disk of the contents of the project's chunks of that month."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(pg_total_relation_size(to_regclass(%s)), 0)", [_of_month(project_id, month)])
        return int(cursor.fetchone()[0])


def _of_project(table: str, project_id: int) -> str:
    return f"{table}_p{project_id}"


def _of_month(project_id: int, month: date) -> str:
    return f"{_of_project(CONTENTS, project_id)}_{month:%Y%m}"


def _of_dry_run(project_id: int, run_id: int) -> str:
    return f"{_of_project(PREDICTIONS, project_id)}_r{run_id}"


def _ensure(table: str, project_id: int, *, then_by: str = "") -> None:
    _attach(table, _of_project(table, project_id), sql.Literal(project_id), then_by=then_by)


def _attach(parent: str, name: str, value: sql.Literal, *, then_by: str = "") -> None:
    """Make the partition for ``value``; of two who want it at once, one waits for the other."""
    if _exists(name):
        return
    parts = {"name": sql.Identifier(name), "parent": sql.Identifier(parent), "value": value}
    split = sql.SQL("PARTITION BY LIST ({})").format(sql.Identifier(then_by)) if then_by else sql.SQL("")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        if _exists(name):
            return
        for text in (
            sql.SQL("CREATE TABLE {name} (LIKE {parent} INCLUDING ALL) {split}").format(**parts, split=split),
            sql.SQL("ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES IN ({value})").format(**parts),
        ):
            cursor.execute(text.as_string(None))


def _exists(name: str) -> bool:
    """Asked of the catalogue itself: ``to_regclass`` answers from the session's memory, which does not learn of
    what others made since this transaction asked it first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_class WHERE relname = %s AND relnamespace = current_schema()::regnamespace)",
            [name],
        )
        return bool(cursor.fetchone()[0])


def _drop(*names: str, patience: float) -> None:
    tables = sql.SQL(", ").join(map(sql.Identifier, names))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{patience * 1_000:.0f}ms"])
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(tables).as_string(None))
            cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise PartitionBusy(
            "Somebody reads the project's records for long, perhaps a backup, so that they cannot be dropped now. "
            "They are all there still; try again later."
        ) from error
