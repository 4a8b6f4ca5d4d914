"""Why records failed: a run's findings grouped by cause, at a cost that does not grow with their number.

The causes are found by skipping through the index from one (severity, rule, field) to the next, and
each is counted up to a cap; a plain GROUP BY would read every finding for each viewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from runs.choices import DUE
from runs.models import Run
from runs.remedies import Remedy, remedy

MOST_CAUSES = 50
COUNT_CAP = 10_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Findings of one rule about one field. ``count`` above ``COUNT_CAP`` means “more than that”."""

    severity: str
    rule: str
    field: str
    count: int
    message: str
    object_id: int
    source_id: str
    part: str

    @property
    def remedy(self) -> Remedy:
        return remedy(self.rule)

    @property
    def is_error(self) -> bool:
        return self.severity == "error"

    @property
    def counted(self) -> str:
        return f"{self.count:,}" if self.count <= COUNT_CAP else f"{COUNT_CAP:,}+"


def causes_of(run: Run) -> list[Cause]:
    """Errors first, then notes, the most frequent first; at most ``MOST_CAUSES``. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_CAUSES, {"project": run.project_id, "run": run.pk, "most": MOST_CAUSES, "cap": COUNT_CAP + 1})
        found = [Cause(*row) for row in cursor.fetchall()]
    return sorted(found, key=lambda cause: (not cause.is_error, -cause.count, cause.rule, cause.field))


def again_codes(run: Run, causes: Sequence[Cause]) -> frozenset[str]:
    """The rules of these causes for which records of the project are due now, whatever run found them first.

    The blank one is among them where anything is due at all.
    """
    rules = ["", *sorted({cause.rule for cause in causes if cause.is_error})]
    with connection.cursor() as cursor:
        cursor.execute(_AGAIN, {"project": run.project_id, "due": list(DUE), "rules": rules})
        return frozenset(rule for (rule,) in cursor.fetchall())


_AGAIN = """
SELECT rule FROM unnest(%(rules)s::text[]) rule
 WHERE EXISTS (SELECT FROM projects_projectobject o
                 JOIN runs_trackedrecord r ON r.project_id = o.project_id AND r.object_id = o.id
                WHERE o.project_id = %(project)s AND r.state = ANY(%(due)s)
                  AND r.state NOT IN ('loaded', 'unchanged') AND (rule = '' OR r.code = rule))
"""
_CAUSES = """
WITH RECURSIVE cause AS (
    (SELECT severity, rule, field FROM runs_finding WHERE project_id = %(project)s AND run_id = %(run)s
      ORDER BY severity, rule, field LIMIT 1)
    UNION ALL
    SELECT following.* FROM cause, LATERAL (
        SELECT f.severity, f.rule, f.field FROM runs_finding f
         WHERE f.project_id = %(project)s AND f.run_id = %(run)s
           AND (f.severity, f.rule, f.field) > (cause.severity, cause.rule, cause.field)
         ORDER BY f.severity, f.rule, f.field LIMIT 1) following)
SELECT cause.severity, cause.rule, cause.field, counted.n, sample.message, s.object_id, sample.source_id, sample.part
  FROM (SELECT * FROM cause LIMIT %(most)s) cause,
       LATERAL (SELECT count(*) AS n FROM (
           SELECT FROM runs_finding f
            WHERE f.project_id = %(project)s AND f.run_id = %(run)s AND f.severity = cause.severity
              AND f.rule = cause.rule AND f.field = cause.field LIMIT %(cap)s) capped) counted,
       LATERAL (SELECT f.message, f.source_id, f.part, f.step_id FROM runs_finding f
                 WHERE f.project_id = %(project)s AND f.run_id = %(run)s AND f.severity = cause.severity
                   AND f.rule = cause.rule AND f.field = cause.field LIMIT 1) sample
  JOIN runs_step s ON s.id = sample.step_id
"""
