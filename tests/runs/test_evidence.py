"""Evidence: it says what reading back found, and no part of it can be altered unnoticed."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from connectors.types import Alteration, FieldInfo, FieldType
from projects.models import Project
from runs import services
from runs.choices import RunState
from runs.evidence import document
from runs.evidence.digests import added, canonical, exact_sum, records_digest, sha256
from runs.evidence.verification import EvidenceDiffers, compare_with_database, verify
from runs.models import Chunk, ChunkProof, Finding, Run, StepProof, TrackedRecord
from tests import factories
from tests.fakes import FakeTarget, World, reference, schema
from tests.runs.test_engine import drive, family

PEOPLE = schema("Person", "Name", FieldInfo("Salary", FieldType.DECIMAL, precision=18, scale=2))


def written(run: Run, folder: Path) -> Path:
    path = folder / f"evidence-{run.pk}.json"
    path.write_bytes(b"".join(document.pieces(run)))
    return path


def told(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(b"".join(document.pieces(run)))
    return found


def part(evidence: dict[str, Any], target: str) -> dict[str, Any]:
    return next(each for each in evidence["objects"] if each["target"] == target)


@pytest.fixture
def loaded(world: World, project: Project) -> Run:
    family(world, project)
    return drive(services.start_run(project))


# --- What it says -----------------------------------------------------------------------------------
def test_evidence_is_whole_and_the_database_tells_the_same(loaded: Run, tmp_path: Path) -> None:
    found, evidence = verify(written(loaded, tmp_path))
    assert (found.run, found.chunks, found.records) == (loaded.pk, 4, 9)
    again = compare_with_database(evidence)
    assert (again.chunks, again.records, again.unproven) == (4, 9, 0)
    assert evidence["run"]["state"] == RunState.COMPLETED
    assert part(evidence, "contact")["totals"]["counts"]["created"] == 5


def test_it_is_the_same_whenever_it_is_made(loaded: Run) -> None:
    assert b"".join(document.pieces(loaded)) == b"".join(document.pieces(Run.objects.get(pk=loaded.pk)))
    overview = document.overview(loaded)
    assert overview["seal"] == told(loaded)["seal"]
    assert "chunks" not in overview["objects"][0]


def test_it_says_by_which_rule_values_were_equal(world: World, project: Project) -> None:
    world.add(PEOPLE, {"Id": "1", "Name": "Anna", "Salary": "1000"}, {"Id": "2", "Name": "Bo", "Salary": "20.5"})
    factories.project_object(project, "Person", equality={"name": ["trailing_blanks", "case"]})
    drive(services.start_run(project))
    world.rows["person"]["1"]["name"] = "ANNA"
    world.rows["person"]["2"]["name"] = "Bo  "
    evidence = told(drive(services.start_run(project)))
    equal = [item for item in part(evidence, "person")["totals"]["equal"] if item["field"] == "name"]
    assert equal == [
        {"field": "name", "rule": "case", "values": 1},
        {"field": "name", "rule": "trailing_blanks", "values": 1},
    ]
    assert part(evidence, "person")["mismatches"]["count"] == 0


@pytest.mark.parametrize(("equality", "mismatches"), [({}, 0), ({"name": []}, 1)])
def test_an_object_may_want_the_very_same_value(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch, equality: dict[str, list[str]], mismatches: int
) -> None:
    trims = replace(FakeTarget.capabilities, alters=frozenset({Alteration.TRIMS_TEXT}))
    monkeypatch.setattr(FakeTarget, "capabilities", trims)
    world.add(PEOPLE, {"Id": "1", "Name": "Anna ", "Salary": "1000"})
    factories.project_object(project, "Person", equality=equality)
    drive(services.start_run(project))
    world.rows["person"]["1"]["name"] = "Anna"
    assert part(told(drive(services.start_run(project))), "person")["mismatches"]["count"] == mismatches


def test_sums_of_both_sides_stand_side_by_side(world: World, project: Project) -> None:
    world.page_size = 1
    world.add(PEOPLE, *({"Id": str(n), "Name": "x", "Salary": salary} for n, salary in enumerate(("0.1", "0.2", "5"))))
    factories.project_object(project, "Person")
    evidence = told(drive(services.start_run(project)))
    assert part(evidence, "person")["totals"]["sums"] == [{"field": "salary", "demanded": "5.3", "held": "5.3"}]
    world.rows["person"]["1"]["salary"] = Decimal(7)
    evidence = told(drive(services.start_run(project)))
    assert part(evidence, "person")["totals"]["sums"] == [{"field": "salary", "demanded": "5.3", "held": "12.1"}]


def test_children_are_counted_per_parent_on_both_sides(world: World, project: Project) -> None:
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") == "C 4" else None
    evidence = told(drive(services.start_run(project)))
    [children] = part(evidence, "contact")["children"]
    assert children == {
        "field": "accountid",
        "parents": 4,
        "in_source": 5,
        "in_target": 4,
        "differing": 1,
        "named": [{"parent": "A0", "in_source": 2, "in_target": 1}],
    }
    [parents] = part(evidence, "account")["children"]
    assert (parents["in_source"], parents["in_target"], parents["differing"]) == (3, 3, 0)


def test_a_child_under_another_parent_is_told_for_both_parents(loaded: Run, world: World, project: Project) -> None:
    moved = world.rows["account"]["A1"]["target_id"]
    world.rows["contact"]["C0"]["accountid"] = moved
    [children] = part(told(drive(services.start_run(project))), "contact")["children"]
    assert children["named"] == [
        {"parent": "A0", "in_source": 2, "in_target": 1},
        {"parent": "A1", "in_source": 1, "in_target": 2},
    ]


def test_references_that_lead_nowhere_are_orphans(loaded: Run, world: World, project: Project) -> None:
    gone = world.rows["account"].pop("A3")
    world.rows["contact"]["C1"]["accountid"] = "no such id"
    again = drive(services.start_run(project))
    assert again.state == RunState.COMPLETED_WITH_ERRORS
    orphans = part(told(again), "contact")["orphans"]
    assert orphans["count"] == 2
    assert [(each["source_id"], each["value"], each["rule"]) for each in orphans["named"]] == [
        ("C1", "no such id", "orphan_untracked"),
        ("C3", gone["target_id"], "orphan_gone"),
    ]
    found = Finding.objects.get(run=again, rule="orphan_gone", source_id="C3")
    assert found.message == "accountid points at a record that is not in the target any more."


def test_records_that_nobody_tracks_are_named(loaded: Run, world: World, project: Project) -> None:
    for name in ("X2", "X1"):
        world.rows["contact"][name] = {"target_id": name, "id": name, "name": "by hand", "accountid": None}
    extras = part(told(drive(services.start_run(project))), "contact")["extras"]
    assert extras == {"count": 2, "keys": ["X2", "X1"]}


def test_a_rollback_has_evidence_too(loaded: Run, tmp_path: Path) -> None:
    undone = drive(services.start_rollback(loaded))
    found, evidence = verify(written(undone, tmp_path))
    assert evidence["run"]["undoes"] == loaded.pk
    assert compare_with_database(evidence).records == found.records == 9


def test_records_that_a_later_run_wrote_are_told_as_not_proven_any_more(
    loaded: Run, world: World, project: Project
) -> None:
    world.records["Contact"][0]["Name"] = "Later"
    drive(services.start_run(project))
    assert compare_with_database(told(loaded)).unproven == 1


# --- That nothing can be altered ----------------------------------------------------------------------
def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))
    else:
        yield path


def altered(evidence: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(evidence)
    place = changed
    for name in path[:-1]:
        place = place[name]
    old = place[path[-1]]
    place[path[-1]] = old + 1 if isinstance(old, int) else f"{old}x"
    return changed


def test_any_single_value_altered_is_found(loaded: Run, world: World, project: Project, tmp_path: Path) -> None:
    world.rows["account"].pop("A3")
    world.rows["contact"]["X"] = {"target_id": "X", "id": "X", "name": "by hand", "accountid": None}
    evidence = told(drive(services.start_run(project)))
    path = tmp_path / "altered.json"
    paths = list(leaves(evidence))
    assert len(paths) > 200
    for each in paths:
        path.write_bytes(canonical(altered(evidence, each)))
        with pytest.raises(EvidenceDiffers):
            verify(path)


def test_any_single_byte_altered_is_found(loaded: Run, tmp_path: Path) -> None:
    path = written(loaded, tmp_path)
    data = path.read_bytes()
    for place in range(0, len(data), 13):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(EvidenceDiffers):
            verify(path)
    for whole in (data + b"\n", data[:-1], b" " + data, data.replace(b":", b": ", 1)):
        path.write_bytes(whole)
        with pytest.raises(EvidenceDiffers):
            verify(path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("run", "project"), "heading of the run was altered"),
        (("objects", 0, "chunks", 1, "counts", "created"), r"digest of chunk 1 of Account → account is not"),
        (("objects", 0, "chunks", 1, "previous"), r"chain breaks before chunk 1 of Account → account"),
        (("objects", 1, "chunks", 0, "written"), r"digest of chunk 0 of Contact → contact is not"),
        (
            ("objects", 1, "totals", "counts", "created"),
            r"totals of Contact → contact say 6 for counts.created, and its chunks add up to 5",
        ),
        (("objects", 0, "children", 0, "parents"), "children of Account → account are not those"),
        (("objects", 1, "orphans", "count"), "orphans of Contact → contact"),
        (("objects", 1, "extras", "count"), "extras of Contact → contact"),
        (("objects", 1, "mismatches", "count"), "mismatches of Contact → contact"),
        (("objects", 1, "mapping"), "seal is not that of the file"),
        (("seal",), "seal is not that of the file"),
    ],
)
def test_the_first_place_that_differs_is_named(loaded: Run, tmp_path: Path, path: tuple[Any, ...], said: str) -> None:
    file = tmp_path / "altered.json"
    file.write_bytes(canonical(altered(told(loaded), path)))
    with pytest.raises(EvidenceDiffers, match=said):
        verify(file)


def test_a_chunk_taken_out_is_found(loaded: Run, tmp_path: Path) -> None:
    evidence = told(loaded)
    del evidence["objects"][0]["chunks"][0]
    file = tmp_path / "altered.json"
    file.write_bytes(canonical(evidence))
    with pytest.raises(EvidenceDiffers, match="heading of the run was altered"):
        verify(file)


def sealed_again(evidence: dict[str, Any]) -> dict[str, Any]:
    """As somebody would who knows how evidence is sealed."""
    previous = sha256(evidence["run"])
    for each in evidence["objects"]:
        totals = document.Totals()
        for entry in each["chunks"]:
            entry["previous"] = previous
            previous = entry["digest"] = sha256({name: v for name, v in entry.items() if name != "digest"})
            totals.add(entry)
        each["totals"] = totals.as_json()
        each["digests"] = {name: sha256(each[name]) for name in document.SECTIONS}
    return {**evidence, "seal": sha256({name: v for name, v in evidence.items() if name != "seal"})}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("run", "project"), "^The run: project is"),
        (("objects", 0, "chunks", 1, "counts", "created"), r"^Chunk 1 of Account → account: counts.created is 2 in"),
        (("objects", 0, "chunks", 0, "read_back"), r"^Chunk 0 of Account → account: read_back is"),
        (("objects", 1, "children", 0, "in_target"), r"^Contact → contact: children\[0\].in_target is 6 in the file"),
        (("objects", 1, "extras", "count"), r"^Contact → contact: extras.count is 1 in the file and 0 in the data"),
    ],
)
def test_what_was_altered_and_sealed_again_is_found_by_the_database(
    loaded: Run, tmp_path: Path, path: tuple[Any, ...], said: str
) -> None:
    forged = sealed_again(altered(told(loaded), path))
    file = tmp_path / "forged.json"
    file.write_bytes(canonical(forged))
    assert verify(file)[0].run == loaded.pk
    with pytest.raises(EvidenceDiffers, match=said):
        compare_with_database(forged)


def test_a_tracked_record_altered_in_the_database_is_found(loaded: Run) -> None:
    evidence = told(loaded)
    record = TrackedRecord.objects.get(project=loaded.project, source_id="C2")
    TrackedRecord.objects.filter(project=loaded.project, source_id="C2").update(hash="0" * 32)
    with pytest.raises(EvidenceDiffers, match="tracked records of chunk 0 of Contact → contact are not those"):
        compare_with_database(evidence)
    TrackedRecord.objects.filter(project=loaded.project, source_id="C2").update(hash=record.hash)
    assert compare_with_database(evidence).unproven == 0


def test_proofs_altered_in_the_database_are_found(loaded: Run) -> None:
    evidence = told(loaded)
    StepProof.objects.filter(step__run=loaded).update(children=[])
    with pytest.raises(EvidenceDiffers, match="children is"):
        compare_with_database(evidence)
    Chunk.objects.filter(run=loaded, sequence=1).update(mismatches=3)
    ChunkProof.objects.filter(chunk__run=loaded, chunk__sequence=0).update(equal={})
    evidence["objects"][0]["children"] = []
    with pytest.raises(EvidenceDiffers, match="Chunk 0 of Account → account: equal is"):
        compare_with_database(evidence)


def test_evidence_of_an_unknown_run_and_other_files_are_refused(loaded: Run, tmp_path: Path) -> None:
    evidence = told(loaded)
    evidence["run"]["id"] = 0
    with pytest.raises(EvidenceDiffers, match="has no run 0"):
        compare_with_database(evidence)
    for name, data in {
        "a.json": b"{}",
        "b.json": b"PK\x03",
        "c.json": b'{"format":"migration-factory-evidence/1"}',
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(EvidenceDiffers, match=name):
            verify(tmp_path / name)


def test_the_command_says_one_sentence_and_ends_with_its_code(
    loaded: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(loaded, tmp_path)
    call_command("verify_evidence", path, "--against-database")
    assert capsys.readouterr().out.startswith(
        f"The evidence of run {loaded.pk} is whole: 9 records in 4 chunks, and the database tells the same; seal "
    )
    path.write_bytes(path.read_bytes().replace(b"created", b"updated"))
    with pytest.raises(SystemExit) as ended:
        call_command("verify_evidence", path)
    assert ended.value.code == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(SystemExit):
        call_command("verify_evidence", tmp_path / "absent.json")
    assert "cannot be read: No such file" in capsys.readouterr().err


# --- Sums and digests ---------------------------------------------------------------------------------
@given(st.lists(st.decimals(min_value=-(10**19), max_value=10**19, places=18, allow_nan=False), max_size=20))
def test_decimals_are_added_exactly(numbers: list[Decimal]) -> None:
    values = pl.Series(numbers, dtype=pl.Decimal(38, 18))
    total = sum(map(Fraction, numbers), Fraction(0))
    assert Fraction(exact_sum(values)) == total
    assert Fraction(added([exact_sum(values), "0.5"])) == total + Fraction(1, 2)


def test_sums_beyond_what_a_column_holds_are_exact() -> None:
    most = Decimal("9" * 38)
    assert exact_sum(pl.Series([most] * 1_000, dtype=pl.Decimal(38, 0))) == str(10**41 - 1_000)
    assert exact_sum(pl.Series([2**63 - 1, 2**63 - 1, None], dtype=pl.Int64)) == str(2**64 - 2)
    assert exact_sum(pl.Series([0.1] * 10)) == "1"
    assert exact_sum(pl.Series([], dtype=pl.Int64)) == "0"
    assert exact_sum(pl.Series([Decimal("-0.50")], dtype=pl.Decimal(10, 2))) == "-0.5"


def test_a_digest_does_not_depend_on_the_order_and_on_nothing_else() -> None:
    rows = pl.DataFrame({"a": ["1", "2", "3"], "b": ["x", None, ""]})
    base = records_digest(rows, ("a", "b"))
    assert records_digest(rows.reverse(), ("a", "b")) == base
    for other in (
        rows.head(2),
        rows.with_columns(b=pl.col("b").fill_null("")),
        rows.with_columns(b=pl.col("b").fill_null("~")),
        pl.DataFrame({"a": ["1", "2", "3,0:"], "b": ["x", None, None]}),
        pl.concat([rows, rows.head(1)]),
    ):
        assert records_digest(other, ("a", "b")) != base


def test_polymorphic_and_blank_references_count_only_what_points_somewhere(world: World, project: Project) -> None:
    notes = schema("Note", reference("ParentId", "Account"))
    world.add(schema("Account", "Name"), {"Id": "A1", "Name": "One"})
    world.add(notes, {"Id": "N1", "ParentId": "A1"}, {"Id": "N2", "ParentId": None})
    for entity in ("Account", "Note"):
        factories.project_object(project, entity)
    [children] = part(told(drive(services.start_run(project))), "note")["children"]
    assert (children["parents"], children["in_source"], children["in_target"]) == (1, 1, 1)
