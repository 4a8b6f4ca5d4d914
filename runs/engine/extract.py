"""Extract: turn the pages of one source entity into chunks, each committed with the cursor after it."""

from collections.abc import Callable

from runs import ledger
from runs.engine.session import Session
from runs.leases import Lease
from runs.models import Step


def extract(session: Session, lease: Lease, *, stop: Callable[[], bool]) -> bool:
    """Read on from the step's cursor until the entity or the slice ends; true where the entity ended.

    ``stop`` is asked after every page. Raises connector errors and LeaseLost; what was staged stays staged.
    """
    step = Step.objects.get(pk=lease.id)
    bench = session.bench(step.pk)
    pages = session.source.read(bench.mapping.source_entity, bench.compiled.source_fields, cursor=step.cursor)
    for page in pages:
        ledger.stage(lease, page.frame, page.cursor)
        if page.cursor is None:
            return True
        if stop():
            break
    return False
