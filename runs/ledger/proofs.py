"""What reading a chunk back found, in one commit."""

import polars as pl
from django.db import transaction

from runs import leases, payload
from runs.crash_points import CrashPoint, reached
from runs.leases import Lease
from runs.ledger.findings import replace_findings
from runs.ledger.shapes import Place, Proof, Verdict
from runs.models import ChunkProof, Finding


def verified(chunk: Lease, place: Place, verdict: Verdict, findings: pl.DataFrame, proof: Proof | None = None) -> None:
    """Commit what reading a chunk back found, with its proof where it has one. Raises LeaseLost."""
    with transaction.atomic():
        leases.settle(
            chunk,
            """state = 'verified', verified_records = %s, verified_fields = %s, missing = %s, mismatches = %s,
               verified_at = clock_timestamp()""",
            [verdict.records, verdict.fields, verdict.missing, verdict.mismatches],
        )
        reached(CrashPoint.VERIFY_IN_TRANSACTION)
        replace_findings(place, chunk.id, Finding.Phase.VERIFY, findings)
        if proof:
            _prove(chunk.id, place, proof)


def _prove(chunk_id: int, place: Place, proof: Proof) -> None:
    children = payload.pack(proof.children, purpose=payload.CHILDREN) if proof.children is not None else None
    ChunkProof.objects.update_or_create(
        chunk_id=chunk_id,
        defaults={
            "step_id": place.step_id,
            "equal": proof.equal,
            "sums": proof.sums,
            "written": proof.written,
            "read_back": proof.read_back,
            "children": children,
        },
    )
