"""The ledger: what is committed together, what a lost lease leaves unwritten, and what the database itself refuses."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.db import IntegrityError, connection, transaction
from psycopg.errors import CheckViolation

import runs
from projects.models import Project
from runs import leases, ledger, payload
from runs.leases import CHUNK, STEP, Lease, LeaseLost
from runs.ledger import FINDING_COLUMNS, OUTCOME_COLUMNS, Counts, Place, Verdict
from runs.models import Chunk, Finding, Step, TrackedRecord
from tests import factories

pytestmark = pytest.mark.django_db

PAGE = pl.DataFrame({"Id": ["A1", "A2"], "Name": ["one", None]})
TWO_CREATED = Counts(created=2)
REFUSED: dict[str, str | None] = {
    "state": "rejected", "target_id": None, "key": None, "hash": None, "code": "too_long", "reason": "Too long."
}  # fmt: skip


@pytest.fixture
def step(project: Project) -> Step:
    ledger.ensure_partition(project.pk)
    return factories.step(factories.run(project), factories.project_object(project, "Account"))


@pytest.fixture
def chunk(step: Step) -> Chunk:
    return factories.chunk(step, PAGE.to_dicts())


def lease_of(table: str) -> Lease:
    found = leases.claim(table, f"SELECT id FROM {table} ORDER BY id DESC FOR UPDATE", [])
    assert found is not None
    return found


def stale(table: str) -> Lease:
    """A lease that somebody else has taken over since."""
    late = lease_of(table)
    lease_of(table)
    return late


def place_of(step: Step) -> Place:
    return Place(step.run.project_id, step.object_id, step.run_id, step.pk)


def outcomes(*names: str, **given: str | None) -> pl.DataFrame:
    rows = [
        {"source_id": n, "part": "", "state": "loaded", "target_id": f"t{n}", "key": n, "hash": "0" * 32, "code": "",
         "reason": "", **given}
        for n in names
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=dict.fromkeys(OUTCOME_COLUMNS, pl.String))


def findings(*names: str) -> pl.DataFrame:
    rows = [dict.fromkeys(FINDING_COLUMNS, "x") | {"source_id": n, "severity": "error"} for n in names]
    return pl.DataFrame(rows, schema=dict.fromkeys(FINDING_COLUMNS, pl.String))


def everything() -> list[list[Any]]:
    """All that the ledger has written, to see that nothing changed."""
    tables = (Chunk.objects.defer(None), TrackedRecord.objects.all(), Finding.objects.all())
    return [sorted(rows.values_list(), key=str) for rows in tables]


def test_a_page_and_the_cursor_after_it_are_one_commit(step: Step) -> None:
    held = lease_of(STEP)
    ledger.stage(held, PAGE, {"offset": 2})
    ledger.stage(held, PAGE.head(1), {"offset": 3})
    row = Step.objects.get(pk=step.pk)
    assert (row.cursor, row.read, row.extracted_at) == ({"offset": 3}, 3, None)
    chunks = list(Chunk.objects.defer(None).order_by("sequence"))
    assert [(each.sequence, each.records, each.state) for each in chunks] == [(0, 2, "staged"), (1, 1, "staged")]
    assert payload.unpack(chunks[0].payload, purpose=payload.PAYLOAD).equals(PAGE)


def test_the_last_page_ends_the_extraction_even_where_it_is_empty(step: Step) -> None:
    ledger.stage(lease_of(STEP), PAGE.clear(), None)
    assert Step.objects.get(pk=step.pk).extracted_at is not None
    assert not Chunk.objects.exists()


def test_a_reader_that_lost_its_lease_stages_nothing(step: Step) -> None:
    late = stale(STEP)
    with pytest.raises(LeaseLost):
        ledger.stage(late, PAGE, {"offset": 2})
    assert not Chunk.objects.exists()
    assert Step.objects.get(pk=step.pk).cursor is None


def test_what_became_of_a_chunk_is_one_commit(step: Step, chunk: Chunk) -> None:
    ledger.record(lease_of(CHUNK), place_of(step), outcomes("A1", "A2"), findings("A2"), TWO_CREATED)
    row = Chunk.objects.get(pk=chunk.pk)
    assert (row.state, row.created, row.lease_until) == ("loaded", 2, None)
    assert sorted(TrackedRecord.objects.values_list("source_id", "target_id", "chunks")) == [
        ("A1", "tA1", [chunk.pk]),
        ("A2", "tA2", [chunk.pk]),
    ]
    assert Finding.objects.get().source_id == "A2"


def test_a_loader_that_lost_its_lease_records_nothing(step: Step, chunk: Chunk) -> None:
    late = stale(CHUNK)
    before = everything()
    with pytest.raises(LeaseLost):
        ledger.record(late, place_of(step), outcomes("A1", "A2"), findings("A2"), TWO_CREATED)
    with pytest.raises(LeaseLost):
        ledger.verified(late, place_of(step), Verdict(2, 2, 0, 0), findings("A1"))
    with pytest.raises(LeaseLost):
        ledger.intend(late, PAGE)
    assert everything() == before


def test_counts_that_forget_a_record_are_refused_as_a_whole(step: Step, chunk: Chunk) -> None:
    held = lease_of(CHUNK)
    before = everything()
    with pytest.raises(IntegrityError, match="chunk_accounts_for_every_record"), transaction.atomic():
        ledger.record(held, place_of(step), outcomes("A1"), findings(), Counts(created=1))
    assert everything() == before


def test_a_record_keeps_where_it_is_when_it_is_refused_later(step: Step, chunk: Chunk) -> None:
    place = place_of(step)
    ledger.track(place, chunk.pk, outcomes("A1"))
    ledger.track(place, chunk.pk + 1, outcomes("A1", **REFUSED))
    row = TrackedRecord.objects.get()
    assert (row.state, row.code, row.target_id, row.key) == ("rejected", "too_long", "tA1", "A1")
    assert row.chunks == [chunk.pk, chunk.pk + 1]


def test_recording_a_chunk_again_changes_nothing_more(step: Step, chunk: Chunk) -> None:
    """As after a crash between our commit and the worker's learning of it."""
    for _ in range(2):
        ledger.record(lease_of(CHUNK), place_of(step), outcomes("A1", "A2"), findings("A2"), TWO_CREATED)
    assert list(TrackedRecord.objects.values_list("chunks", flat=True)) == [[chunk.pk]] * 2
    assert Finding.objects.count() == 1


def test_verifying_replaces_its_own_findings_only(step: Step, chunk: Chunk) -> None:
    place = place_of(step)
    ledger.record(lease_of(CHUNK), place, outcomes("A1", "A2"), findings("A2"), TWO_CREATED)
    for found in (findings("A1", "A2"), findings("A1")):
        ledger.verified(lease_of(CHUNK), place, Verdict(2, 4, 0, found.height), found)
    assert sorted(Finding.objects.values_list("phase", "source_id")) == [("load", "A2"), ("verify", "A1")]
    row = Chunk.objects.get(pk=chunk.pk)
    assert (row.state, row.verified_records, row.verified_fields, row.mismatches) == ("verified", 2, 4, 1)


def test_what_is_known_of_records(step: Step, chunk: Chunk) -> None:
    place = place_of(step)
    ledger.track(place, chunk.pk, outcomes("A1", "A2"))
    ledger.track(place, chunk.pk, outcomes("A3", **REFUSED))
    ids = pl.Series(["A1", "A3", "unknown"])
    assert sorted(ledger.known(place, ids)["source_id"]) == ["A1", "A3"]
    assert ledger.id_map(place.project_id, [place.object_id], ids).rows() == [("A1", "tA1")]
    assert ledger.standing(place.project_id, [place.object_id], ids) == {"A1": "loaded", "A3": "rejected"}
    assert ledger.landed(place.project_id, [place.object_id], prefix="A") == 2
    assert ledger.landed(place.project_id, [place.object_id], prefix="B") == 0


def test_texts_that_would_break_a_copy_or_an_array_come_back_as_they_were(step: Step, chunk: Chunk) -> None:
    place = place_of(step)
    names = ['"', "\\", "{a,b}", "a\tb\nc", "NULL", "\\N", " ", "O’Hara; DROP TABLE", "東京", "%s"]
    ledger.track(place, chunk.pk, outcomes(*names))
    assert sorted(ledger.known(place, pl.Series(names))["source_id"]) == sorted(names)
    assert sorted(TrackedRecord.objects.values_list("source_id", flat=True)) == sorted(names)


def test_a_trouble_without_a_reason_is_refused(step: Step, chunk: Chunk) -> None:
    with pytest.raises(CheckViolation, match="trouble_has_reason"), transaction.atomic():
        ledger.track(place_of(step), chunk.pk, outcomes("A1", **{**REFUSED, "reason": ""}))


def test_a_project_without_a_partition_cannot_track(step: Step, chunk: Chunk) -> None:
    ledger.drop_partition(step.run.project_id)
    with pytest.raises(CheckViolation, match="no partition"), transaction.atomic():
        ledger.track(place_of(step), chunk.pk, outcomes("A1"))


def test_dropping_a_partition_forgets_one_project_only(step: Step, chunk: Chunk) -> None:
    other = factories.project()
    ledger.ensure_partition(other.pk)
    elsewhere = factories.step(factories.run(other), factories.project_object(other, "Account"))
    ledger.track(place_of(step), chunk.pk, outcomes("A1"))
    ledger.track(place_of(elsewhere), chunk.pk, outcomes("A1"))
    ledger.drop_partition(other.pk)
    ledger.drop_partition(other.pk)
    assert list(TrackedRecord.objects.values_list("project_id", flat=True)) == [step.run.project_id]
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [f"runs_trackedrecord_p{other.pk}"])
        assert cursor.fetchone() == (None,)


WRITES = re.compile(
    r"(?:INSERT INTO|UPDATE|DELETE FROM|TRUNCATE|COPY)\s+runs_"
    r"(?:chunk|chunkcontent|chunkproof|trackedrecord|matchkey|finding|waiver|sweptkey)\b"
    r"|\b(?:Chunk|ChunkProof|TrackedRecord|MatchKey|Finding|Waiver)\.objects\b[^\n]*"
    r"\.(?:create|bulk_create|update|bulk_update|update_or_create|get_or_create|delete)\("
)


def test_nothing_but_the_ledger_writes_its_tables() -> None:
    home = Path(runs.__path__[0])
    modules = [path for path in home.rglob("*.py") if "migrations" not in path.parts]
    writers = {path.relative_to(home).parts[0] for path in modules if WRITES.search(path.read_text())}
    assert writers == {"ledger"}
