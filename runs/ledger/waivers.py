"""Records that a named person excused from being brought."""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import connection

from runs.ledger.shapes import Scope

_CHOSEN = """r.project_id = %(project)s
   AND (%(objects)s::bigint[] IS NULL OR r.object_id = ANY(%(objects)s))
   AND (%(ids)s::text[] IS NULL OR r.source_id = ANY(%(ids)s))"""


def waive(project_id: int, scope: Scope, states: Sequence[str], *, user: User, reason: str) -> int:
    """Mark the chosen records as waived and remember where they stood, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH chosen AS (
                  SELECT object_id, source_id, part, state, code, reason FROM runs_trackedrecord r
                   WHERE {_CHOSEN} AND r.state = ANY(%(states)s)
                     AND (%(codes)s::text[] IS NULL OR r.code = ANY(%(codes)s))
                     FOR UPDATE),
                kept AS (
                  INSERT INTO runs_waiver
                         (project_id, object_id, source_id, part, was_state, was_code, was_reason, reason, by_id,
                          by_name)
                  SELECT %(project)s, object_id, source_id, part, state, code, reason, %(reason)s, %(by)s, %(name)s
                    FROM chosen
                  ON CONFLICT (object_id, source_id, part) DO UPDATE
                     SET was_state = excluded.was_state, was_code = excluded.was_code,
                         was_reason = excluded.was_reason, reason = excluded.reason, by_id = excluded.by_id,
                         by_name = excluded.by_name, at = statement_timestamp())
                UPDATE runs_trackedrecord r
                   SET state = 'waived', reason = format('Waived by %%s: %%s', %(name)s::text, %(reason)s::text)
                  FROM chosen c
                 WHERE r.project_id = %(project)s AND r.object_id = c.object_id AND r.source_id = c.source_id
                   AND r.part = c.part""",  # noqa: S608  put together from this module's own literals
            {
                **_choice(project_id, scope),
                "states": list(states),
                "codes": list(scope.codes) or None,
                "reason": reason,
                "by": user.pk,
                "name": user.get_full_name() or user.get_username(),
            },
        )
        waived: int = cursor.rowcount
        return waived


def unwaive(project_id: int, scope: Scope) -> int:
    """Let the chosen waived records stand where they stood, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE runs_trackedrecord r SET state = w.was_state, code = w.was_code, reason = w.was_reason
                  FROM runs_waiver w
                 WHERE {_CHOSEN} AND r.state = 'waived' AND w.object_id = r.object_id
                   AND w.source_id = r.source_id AND w.part = r.part
                   AND (%(codes)s::text[] IS NULL OR w.was_code = ANY(%(codes)s))""",  # noqa: S608  put together from this module's own literals
            {**_choice(project_id, scope), "codes": list(scope.codes) or None},
        )
        restored: int = cursor.rowcount
        cursor.execute(
            """DELETE FROM runs_waiver w USING runs_trackedrecord r
                WHERE w.project_id = %s AND r.project_id = w.project_id AND r.object_id = w.object_id
                  AND r.source_id = w.source_id AND r.part = w.part AND r.state <> 'waived'""",
            [project_id],
        )
        return restored


def _choice(project_id: int, scope: Scope) -> dict[str, Any]:
    return {
        "project": project_id,
        "objects": list(scope.objects) or None,
        "ids": list(scope.source_ids) or None,
    }
