"""What was begun to create records that carry no key of ours, and which records it created, until the id map has them.

A key has at most one row. Whoever would create a second record for it, because a page came twice or a worker was
overtaken, meets the row, or the record that came of it.
"""

from collections.abc import Mapping, Sequence

import polars as pl
from django.db import connection, transaction

from connectors.clients.postgresql import array_text
from connectors.context import Begun
from connectors.errors import Unavailable
from runs import leases
from runs.leases import Lease
from runs.ledger.shapes import Place


def known_targets(project_id: int, entity: str, keys: Sequence[str]) -> dict[str, str]:
    """Key → target id. What was created and is not in the id map yet counts first: it is the newer."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT t.source_id, t.target_id
                 FROM runs_trackedrecord t JOIN projects_projectobject o ON o.id = t.object_id
                WHERE t.project_id = %(project)s AND o.project_id = %(project)s AND o.target_entity = %(entity)s
                  AND t.source_id = ANY(%(keys)s) AND t.target_id IS NOT NULL AND t.state <> 'rolled_back'""",
            {"project": project_id, "entity": entity, "keys": list(keys)},
        )
        tracked = dict(cursor.fetchall())
        cursor.execute(
            """SELECT key, target_id FROM runs_insertion
                WHERE project_id = %s AND entity = %s AND key = ANY(%s) AND target_id IS NOT NULL""",
            [project_id, entity, list(keys)],
        )
        return {**tracked, **dict(cursor.fetchall())}


def known_keys(project_id: int, entity: str, target_ids: Sequence[str]) -> dict[str, str]:
    """Target id → key."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT t.target_id, t.source_id
                 FROM runs_trackedrecord t JOIN projects_projectobject o ON o.id = t.object_id
                WHERE t.project_id = %(project)s AND o.project_id = %(project)s AND o.target_entity = %(entity)s
                  AND t.target_id = ANY(%(ids)s) AND t.state <> 'rolled_back'
                UNION SELECT target_id, key FROM runs_insertion
                WHERE project_id = %(project)s AND entity = %(entity)s AND target_id = ANY(%(ids)s)""",
            {"project": project_id, "entity": entity, "ids": list(target_ids)},
        )
        return dict(cursor.fetchall())


def created_untracked(project_id: int, entity: str, target_ids: Sequence[str]) -> frozenset[str]:
    """Those of the target's records that a job of ours created and the id map does not have yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT target_id FROM runs_insertion
                WHERE project_id = %s AND entity = %s AND target_id = ANY(%s) AND job <> ''""",
            [project_id, entity, list(target_ids)],
        )
        return frozenset(name for (name,) in cursor.fetchall())


def link(holder: Lease | None, project_id: int, entity: str, target_ids: Mapping[str, str]) -> None:
    """Note that these keys (key → target id) are records that were there. Raises LeaseLost."""
    with transaction.atomic(), connection.cursor() as cursor:
        _fenced(holder)
        cursor.execute(
            """INSERT INTO runs_insertion (project_id, entity, key, target_id)
               SELECT %s, %s, * FROM unnest(%s::text[], %s::text[])
               ON CONFLICT (project_id, entity, key) DO UPDATE SET target_id = excluded.target_id, job = ''""",
            [project_id, entity, list(target_ids), list(target_ids.values())],
        )


def begin_insertion(
    holder: Lease | None,
    project_id: int,
    entity: str,
    job: str,
    rows: Mapping[str, str],
    *,
    gone: Mapping[str, str],
) -> None:
    """As ``connectors.context.IdMap.begin``. Raises LeaseLost and Unavailable, and then nothing is noted."""
    with transaction.atomic(), connection.cursor() as cursor:
        _fenced(holder)
        cursor.execute(
            """DELETE FROM runs_insertion i USING unnest(%s::text[], %s::text[]) AS g (key, target_id)
                WHERE i.project_id = %s AND i.entity = %s AND i.key = g.key AND i.target_id = g.target_id""",
            [list(gone), list(gone.values()), project_id, entity],
        )
        cursor.execute(
            """INSERT INTO runs_insertion (project_id, entity, key, job, digest)
               SELECT %s, %s, n.key, %s, n.digest FROM unnest(%s::text[], %s::text[]) AS n (key, digest) ORDER BY n.key
               ON CONFLICT DO NOTHING""",
            [project_id, entity, job, list(rows), list(rows.values())],
        )
        taken = cursor.rowcount != len(rows)
        # Asked after the rows are ours: whoever had one of them until now has recorded what came of it.
        found = known_targets(project_id, entity, list(rows))
        if taken or any(gone.get(key) != there for key, there in found.items()):
            raise Unavailable(
                f"Some of {len(rows):,} records of {entity} are being created elsewhere at this moment, perhaps "
                "because a page of the source came twice. They are looked for again before anything is sent."
            )


def close_insertion(holder: Lease | None, project_id: int, job: str) -> None:
    """Note that the job is about to be closed. Raises LeaseLost, and Unavailable where its rows were taken off it."""
    with transaction.atomic(), connection.cursor() as cursor:
        _fenced(holder)
        cursor.execute("UPDATE runs_insertion SET closed = true WHERE project_id = %s AND job = %s", [project_id, job])
        if not cursor.rowcount:
            raise Unavailable(f"The bulk job {job} was given up elsewhere. Its records go with another one.")


def begun_insertions(project_id: int, entity: str, keys: Sequence[str]) -> list[Begun]:
    """As ``connectors.context.IdMap.begun``."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT job, bool_or(closed), array_agg(key), array_agg(digest) FROM runs_insertion
                WHERE project_id = %(project)s AND entity = %(entity)s AND target_id IS NULL
                  AND job IN (SELECT job FROM runs_insertion
                               WHERE project_id = %(project)s AND entity = %(entity)s AND target_id IS NULL
                                 AND key = ANY(%(keys)s))
                GROUP BY job ORDER BY min(id)""",
            {"project": project_id, "entity": entity, "keys": list(keys)},
        )
        return [
            Begun(job, closed, dict(zip(named, digests, strict=True)))
            for job, closed, named, digests in cursor.fetchall()
        ]


def answer_insertion(holder: Lease | None, project_id: int, job: str, target_ids: Mapping[str, str]) -> None:
    """Note what the job created (key → target id); its other rows are as if they had never been sent. Raises
    LeaseLost."""
    with transaction.atomic(), connection.cursor() as cursor:
        _fenced(holder)
        cursor.execute(
            """UPDATE runs_insertion i SET target_id = n.target_id
                 FROM unnest(%s::text[], %s::text[]) AS n (key, target_id)
                WHERE i.project_id = %s AND i.job = %s AND i.key = n.key AND i.target_id IS NULL""",
            [list(target_ids), list(target_ids.values()), project_id, job],
        )
        cursor.execute(_UNANSWERED, [project_id, job])


def forget_insertion(holder: Lease | None, project_id: int, job: str) -> int:
    """Take the job for one that has done nothing; how many records it was to create. Raises LeaseLost."""
    with transaction.atomic(), connection.cursor() as cursor:
        _fenced(holder)
        cursor.execute(_UNANSWERED, [project_id, job])
        return int(cursor.rowcount)


_UNANSWERED = "DELETE FROM runs_insertion WHERE project_id = %s AND job = %s AND target_id IS NULL"


def settle_insertions(place: Place, source_ids: pl.Series) -> None:
    """Drop what the id map has by now of these records, in the transaction that writes it there.

    Most projects have none, and every chunk comes by: what was begun for its records was committed before, so that
    one look tells.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM runs_insertion WHERE project_id = %s)", [place.project_id])
        if not cursor.fetchone()[0]:
            return
        cursor.execute(
            """DELETE FROM runs_insertion i
                WHERE i.project_id = %(project)s AND i.key = ANY(%(ids)s::text[]) AND i.target_id IS NOT NULL
                  AND i.entity = (SELECT target_entity FROM projects_projectobject WHERE id = %(object)s)
                  AND EXISTS (SELECT FROM runs_trackedrecord t
                               WHERE t.project_id = %(project)s AND t.object_id = %(object)s AND t.source_id = i.key
                                 AND t.target_id = i.target_id)""",
            {"project": place.project_id, "object": place.object_id, "ids": array_text(source_ids)},
        )


def _fenced(holder: Lease | None) -> None:
    if holder is not None:
        leases.renew(holder)
