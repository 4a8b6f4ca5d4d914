"""Tracking a chunk's records: new ones are appended, known ones are changed in place, in any mixture."""

import polars as pl
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects.models import Project
from runs import ledger
from runs.ledger import OUTCOME_COLUMNS, Place
from runs.models import TrackedRecord


@pytest.fixture
def place(project: Project) -> Place:
    ledger.ensure_partition(project.pk)
    return Place(project_id=project.pk, object_id=1, run_id=1, step_id=1)


def outcomes(*ids: str, state: str = "loaded", target: str | None = "7") -> pl.DataFrame:
    row = {"part": "", "state": state, "target_id": target, "key": "k", "hash": "0" * 32, "code": "c", "reason": "why"}
    return pl.DataFrame([{"source_id": each, **row} for each in ids], schema=dict.fromkeys(OUTCOME_COLUMNS, pl.String))


def tracked() -> dict[str, tuple[str, str | None, list[int]]]:
    return {record.source_id: (record.state, record.target_id, record.chunks) for record in TrackedRecord.objects.all()}


def test_new_records_are_appended(place: Place) -> None:
    ledger.track(place, 5, outcomes("a", "b\t\\N", 'c"'))
    assert tracked() == {name: ("loaded", "7", [5]) for name in ("a", "b\t\\N", 'c"')}


def test_known_records_are_changed_and_keep_their_target(place: Place) -> None:
    ledger.track(place, 5, outcomes("a", "b"))
    ledger.track(place, 6, outcomes("a", "b", state="rejected", target=None))
    ledger.track(place, 6, outcomes("a"))
    assert tracked() == {"a": ("loaded", "7", [5, 6]), "b": ("rejected", "7", [5, 6])}


@pytest.mark.parametrize("ids", [("a", "b"), ("b", "a")], ids=["known first", "new first"])
def test_new_and_known_records_mix(place: Place, ids: tuple[str, str]) -> None:
    ledger.track(place, 5, outcomes("a"))
    ledger.track(place, 6, outcomes(*ids, target="8"))
    assert tracked() == {"a": ("loaded", "8", [5, 6]), "b": ("loaded", "8", [6])}


def test_a_part_of_a_record_is_a_record_of_its_own(place: Place) -> None:
    ledger.track(place, 5, outcomes("a"))
    ledger.track(place, 6, outcomes("a").with_columns(part=pl.lit("contact")))
    assert sorted(TrackedRecord.objects.values_list("source_id", "part")) == [("a", ""), ("a", "contact")]


def test_new_records_are_not_looked_for_one_by_one(place: Place) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ledger.track(place, 5, outcomes(*map(str, range(1_000))))
    assert not [query for query in queries if "ON CONFLICT" in query["sql"]]


@pytest.mark.parametrize(
    "name", ["plain", 'qu"ote', "back\\slash", "{brace},", "NULL", "tab\tand\nnewline", "ä😀", " "]
)
def test_whatever_an_id_looks_like_it_is_found_again(place: Place, name: str) -> None:
    ledger.track(place, 5, outcomes(name, "other"))
    assert ledger.known(place, pl.Series([name, "unknown"]))["source_id"].to_list() == [name]
    assert ledger.id_map(place.project_id, [1], pl.Series([name]))["source_id"].to_list() == [name]
    assert ledger.standing(place.project_id, [1], pl.Series([name])) == {name: "loaded"}


def test_no_ids_find_nothing(place: Place) -> None:
    ledger.track(place, 5, outcomes("a"))
    assert ledger.known(place, pl.Series([], dtype=pl.String)).height == 0


@pytest.mark.parametrize("first", [0, 400, 900, 1_500])
def test_of_many_records_those_are_known_that_are_tracked(place: Place, first: int) -> None:
    """From none of them to all, from below, among and above what is tracked."""
    ledger.track(place, 5, outcomes(*(f"r{number:05}" for number in range(500, 1_000))))
    ledger.track(place, 5, outcomes("zz").with_columns(part=pl.lit("other")))
    asked = pl.Series([*(f"r{number:05}" for number in range(first, first + 600)), "zz"])[::-1]
    known = ledger.known(place, asked)
    assert sorted(known["source_id"]) == [f"r{number:05}" for number in range(max(first, 500), min(first + 600, 1_000))]
    assert known.schema == ledger.known(place, asked[:3]).schema


def test_records_beyond_all_that_is_tracked_are_not_looked_for_one_by_one(place: Place) -> None:
    ledger.track(place, 5, outcomes(*(f"r{number:05}" for number in range(600))))
    with CaptureQueriesContext(connection) as queries:
        assert not ledger.known(place, pl.Series([f"r{number:05}" for number in range(600, 1_200)])).height
    assert not [query for query in queries if "ANY(" in query["sql"]]
