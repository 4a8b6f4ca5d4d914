"""Worker hosts: which ``run_workers`` are alive, and whether the django-q2 cluster of each still answers.

A process killed in the wrong moment can freeze its whole cluster for ever, silently: a worker that waited for
work holds the queue's lock, a monitor that waited for results holds the other queue's. So each host sends
its cluster a canary, a task that does nothing. It is answered when it has come back all the way: pulled by the
pusher, done by a worker and acknowledged by the monitor. A canary that stays out while hands are free means
that the cluster is frozen, and its supervisor replaces it.
"""

import gc
import os
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django_q.signals import post_execute, post_spawn
from django_q.tasks import async_task

from runs.models import WorkerHost

CANARY = "runs.tasks.canary"
_KEPT_BYTES = str(8 * 1024**2)
"""What glibc keeps of what is freed, and the size from which on it keeps nothing."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a look at a host shows. ``answered``: its present cluster has answered a canary at least once.
    ``hands`` are its workers that hold a place at a run now."""

    canary_out: bool
    answered: bool
    hands: int


def worker_environment(workers: int) -> dict[str, str]:
    """Variables for each of so many worker processes of one machine, which share its cores between them.

    Polars would start a thread per core in each; threads that fight for cores cost a tenth more processor time.
    Each chunk frees as much memory as it took, and the allocators (that of Polars, and glibc's) would keep it: a fifth
    of a worker. Where they keep nothing, the kernel gives every page anew, which takes a twentieth of the processor
    time; so they keep little, and that not for long. What a deployment sets itself stays.
    """
    threads = max(1, (os.cpu_count() or 1) // max(1, workers))
    ours = {
        "POLARS_MAX_THREADS": str(threads),
        "_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:300,muzzy_decay_ms:0",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
        "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
    }
    return {name: os.environ.get(name, value) for name, value in ours.items()}


def settle_down(**_: object) -> None:
    """Once in a worker process, before its first work: what is loaded now stays for good, so that the collector of
    cycles need not look through it again and again, which took a tenth of a load's processor time."""
    gc.collect()
    gc.freeze()


def register(name: str, pid: int) -> WorkerHost:
    """This host's row, made or taken over from an earlier process of the same name, whose beats then fail."""
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
    host.refresh_from_db()
    return host


def beat(host: WorkerHost) -> bool:
    """Give a sign of life; false where another process has registered under the host's name."""
    mine = WorkerHost.objects.filter(pk=host.pk, pid=host.pid, started_at=host.started_at)
    return mine.update(seen_at=Now()) == 1


def sign_off(host: WorkerHost) -> None:
    """Leave the name to whoever comes next: a host without a process id need not be looked for."""
    WorkerHost.objects.filter(pk=host.pk, pid=host.pid, started_at=host.started_at).update(pid=0)


def send_canary(host: WorkerHost) -> None:
    """Ask this host's cluster for a sign of life. Every host has a queue of its own."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE runs_workerhost
                  SET canary_sent_at = CASE WHEN canary_answered_at >= canary_sent_at OR canary_sent_at IS NULL
                                            THEN clock_timestamp() ELSE canary_sent_at END
                WHERE id = %s""",
            [host.pk],
        )
    async_task(CANARY, host.pk, q_options={"cluster": host.name, "ack_failure": True, "save": False})


def restarted(host: WorkerHost) -> None:
    """Note that the host's cluster was replaced: the canaries of the old one will not come back."""
    WorkerHost.objects.filter(pk=host.pk).update(
        restarts=F("restarts") + 1, canary_sent_at=None, canary_answered_at=None
    )


def answer_canary(host_id: int) -> None:
    WorkerHost.objects.filter(pk=host_id).update(canary_answered_at=Now())


def pulse(host: WorkerHost) -> Pulse:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT canary_sent_at IS NOT NULL AND coalesce(canary_answered_at < canary_sent_at, true),
                      canary_answered_at IS NOT NULL,
                      (SELECT count(*) FROM runs_driver WHERE owner = h.name AND lease_until > clock_timestamp())
                 FROM runs_workerhost h WHERE id = %s""",
            [host.pk],
        )
        row = cursor.fetchone()
    return Pulse(*row) if row else Pulse(canary_out=False, answered=False, hands=0)


def listen() -> None:
    """Have django-q2's monitor process answer canaries when it has acknowledged them, and its workers settle down."""
    post_execute.connect(_acknowledged, dispatch_uid="runs.hosts")
    post_spawn.connect(settle_down, dispatch_uid="runs.hosts")


def _acknowledged(task: dict[str, Any], **_: object) -> None:
    if task["func"] == CANARY:
        answer_canary(*task["args"])
