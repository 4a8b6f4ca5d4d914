"""Worker hosts: which ``run_workers`` are alive, and whether the django-q2 cluster of each still answers.

A worker killed in the wrong moment can freeze its whole cluster for ever, silently. So each host sends
its cluster a canary: a task that only notes the time. A host whose canary stays unanswered while the
database answers is frozen, and its supervisor replaces the cluster.
"""

from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django_q.tasks import async_task

from runs.models import WorkerHost


def register(name: str, pid: int) -> WorkerHost:
    """This host's row, made or taken over from an earlier process of the same name."""
    host, _ = WorkerHost.objects.update_or_create(
        name=name,
        defaults={
            "pid": pid,
            "started_at": Now(),
            "seen_at": Now(),
            "canary_sent_at": None,
            "canary_answered_at": None,
        },
    )
    return host


def send_canary(host: WorkerHost) -> None:
    """Ask this host's cluster for a sign of life; every host has a queue of its own."""
    WorkerHost.objects.filter(pk=host.pk).update(canary_sent_at=Now(), seen_at=Now())
    async_task("runs.tasks.answer_canary", host.pk, q_options={"ack_failure": True, "save": False})


def restarted(host: WorkerHost) -> None:
    """Note that the host's cluster was replaced; silence counts from now."""
    WorkerHost.objects.filter(pk=host.pk).update(
        restarts=F("restarts") + 1, started_at=Now(), canary_sent_at=None, canary_answered_at=None
    )


def answer_canary(host_id: int) -> None:
    WorkerHost.objects.filter(pk=host_id).update(canary_answered_at=Now())


def silence(host: WorkerHost) -> float:
    """Seconds the oldest canary has waited for an answer, by the database's clock; 0 where none waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT CASE WHEN canary_sent_at IS NULL OR canary_answered_at >= canary_sent_at THEN 0
                           ELSE extract(epoch FROM clock_timestamp() - coalesce(canary_answered_at, started_at)) END
                 FROM runs_workerhost WHERE id = %s""",
            [host.pk],
        )
        row = cursor.fetchone()
    return float(row[0]) if row else 0.0
