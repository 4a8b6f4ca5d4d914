"""What a load does around its own work for people who plan: it keeps its estimate, and scores the dry run before it."""

from runs import estimates, forecasts, leases
from runs.engine import finish as finishing
from runs.engine import plan as planning
from runs.engine.session import Session
from runs.leases import Lease


def plan(session: Session, lease: Lease) -> None:
    """Plan, and keep what the run is thought to take. Raises as ``runs.engine.plan`` does."""
    planning.plan(session, lease)
    estimates.keep(session.run)


def finish(session: Session, lease: Lease) -> None:
    """Score the dry run before this load, then end the run. Raises as ``runs.engine.finish`` does."""
    forecasts.put_to_the_test(
        session.run.pk,
        fields_of=lambda step_id: session.bench(step_id).compiled.source_fields,
        keep=lambda: leases.renew(lease),
    )
    finishing.finish(session, lease)
