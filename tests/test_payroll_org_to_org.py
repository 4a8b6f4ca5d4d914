"""Between two simulated orgs: payroll configuration with bad records, again, changed, undone; public data sets."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command

from connectors.context import Context
from connectors.files import FolderFiles
from connectors.sources.workbook import WorkbookSource
from migration_factory import org_to_org
from migration_factory.rehearsal import erase
from orgs import services as orgs
from orgs.models import Customer
from projects import blueprints
from projects import services as projects
from projects.blueprints.payroll import PAYROLL
from projects.models import OnDelete, Project
from runs import drivers, reports, services
from runs.choices import RecordState, RunState
from runs.models import Finding, Run, TrackedRecord
from sandbox.salesforce import payroll
from sandbox.salesforce.payroll import Changes, Configuration, Names, Size
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.payroll_org import records_of

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

SOURCE, TARGET = Names(), Names(namespaced=False)
SIZES = {
    SOURCE.rule: 20, SOURCE.breakpoint: 600, SOURCE.pay_code: 300, SOURCE.leave_rule: 40,
    SOURCE.method: 6, SOURCE.loading: 25, SOURCE.classification: 30, SOURCE.minimum: 90,
}  # fmt: skip
BAD = 30
TROUBLES = {
    payroll.BLANK: 6, payroll.NO_PARENT: 6, payroll.UNKNOWN_VALUE: 3, payroll.TOO_LARGE: 3, payroll.TOO_EARLY: 3,
    payroll.AGAINST_A_RULE: 3, payroll.TAKEN: 3, payroll.TOO_LONG: 3,
}  # fmt: skip
SENTENCES = {
    payroll.BLANK: ("rejected", r"^(Code|Effective_Date)__c: The target requires a value and the source has none\.$"),
    payroll.NO_PARENT: ("deferred", r"^\w+__c waits for tc9_\w+ a\w{17}, which has not come from the source\.$"),
    payroll.UNKNOWN_VALUE: ("rejected", r"^Breakpoint_Type__c: “Lunar Overtime” is none of the target's values \("),
    payroll.TOO_LARGE: ("rejected", r"^Start_Threshold__c: “9999999” has more than the 5 digits before the point"),
    payroll.TOO_EARLY: ("rejected", r"A date lies outside what Salesforce keeps.*1500-01-01.*Correct the value"),
    payroll.AGAINST_A_RULE: ("rejected", f"A validation rule of the org refused it.*{payroll.NEGATIVE_LOADING[:-1]}”"),
    payroll.TAKEN: ("rejected", r"must be unique.*duplicates value on record with id.*Merge the two, or change"),
    payroll.TOO_LONG: ("rejected", r"^Code__c: “A code of more .*” is longer than the 20 characters that fit\.$"),
}
STAMPS = {"LastModifiedDate", "LastModifiedById", "SystemModstamp"}
TWINS = 5


@dataclass(frozen=True)
class Move:
    """A project between an org with the package and an org with its own copy of the objects."""

    project: Project
    source: Running
    target: Running
    made: Configuration


@pytest.fixture
def move(settings: Any) -> Iterator[Move]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as source, running_simulator() as target:
        payroll.install(source, SOURCE)
        payroll.install(target, TARGET)
        made = payroll.fill(source, SOURCE, Size(bad=BAD))
        payroll.settle(target, TARGET, [str(row["Id"]) for row in made.records[SOURCE.pay_code][:TWINS]])
        customer = Customer.objects.create(name="Payroll", slug="payroll")
        yield Move(_project(customer, source, target), source, target, made)
        erase(customer)


def _project(customer: Customer, source: Running, target: Running) -> Project:
    project = org_to_org.between(customer, source, target)
    with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
        offered = blueprints.offered(PAYROLL, [info.name for info in reader.entities()])
        projects.adopt_like(project, reader, writer, [each.entity for each in offered])
    projects.use_blueprint(project, PAYROLL)
    return project


def finish(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def dump(org: Running, names: Names) -> dict[str, dict[str, Mapping[str, Any]]]:
    """What the simulator's store holds: object → id → every column. Neither our code nor any query is in between."""
    return {name: {row["Id"]: row for row in org.control.dump(name)} for name in names.objects}


def without_stamps(found: dict[str, dict[str, Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Without what an org sets anew whenever a record is written, a restored one too."""
    return {
        name: {key: {field: value for field, value in row.items() if field not in STAMPS} for key, row in rows.items()}
        for name, rows in found.items()
    }


def keyed(found: dict[str, dict[str, Mapping[str, Any]]], name: str) -> dict[str, Mapping[str, Any]]:
    """The records of an object that came from the source, by the source's id."""
    return {row[TARGET.external_id]: row for row in found[name].values() if row[TARGET.external_id]}


def test_configuration_moves_whole_and_back(move: Move) -> None:
    made, bad = move.made, {each.id: each for each in move.made.bad}
    assert {name: len(rows) for name, rows in made.records.items()} == SIZES
    assert _depth(made.records[SOURCE.breakpoint], "Id", SOURCE.time("Primary_Interpretation_Breakpoint")) == 3
    assert (len(bad), Counter(each.trouble for each in made.bad)) == (BAD, TROUBLES)
    before = dump(move.target, TARGET)
    assert {name: len(rows) for name, rows in before.items() if rows} == {
        TARGET.pay_code: 1 + TWINS, TARGET.rule: 1, TARGET.breakpoint: 2
    }  # fmt: skip

    first = finish(services.start_run(move.project))
    assert first.state == RunState.COMPLETED_WITH_ERRORS
    figures = reports.figures(first)
    assert figures.good
    assert figures.totals["read"] == made.total
    assert (figures.totals["created"], figures.totals["updated"]) == (made.total - BAD - TWINS, TWINS)
    _assert_bad_ones_are_explained(move, first)
    loaded = dump(move.target, TARGET)
    _assert_good_ones_landed(move, loaded)

    second = reports.figures(finish(services.start_run(move.project)))
    assert second.totals["created"] + second.totals["updated"] == 0
    assert second.totals["unchanged"] == made.total - BAD
    assert dump(move.target, TARGET) == loaded, "a record was written again, or stamped"

    changes = payroll.change(move.source, SOURCE, made)
    assert (len(changes.edits), len(changes.deletes)) == (10, 3)
    move.project.project_objects.update(on_delete=OnDelete.MIRROR)
    delta = finish(services.start_delta(move.project))
    brought = reports.figures(delta)
    assert (brought.totals["created"], brought.totals["updated"], brought.totals["deleted"]) == (0, 10, 3)
    _assert_just_the_changes_arrived(changes, loaded, dump(move.target, TARGET))

    for run in (delta, first):
        undone = finish(services.start_rollback(run))
        assert undone.state == RunState.COMPLETED, undone.reason
    after = dump(move.target, TARGET)
    assert without_stamps(after) == without_stamps(before)
    own = [(name, key) for name, rows in before.items() for key, row in rows.items() if not row[TARGET.external_id]]
    assert len(own) == 4
    assert all(after[name][key] == before[name][key] for name, key in own), "a record of the target's own was touched"


def _assert_bad_ones_are_explained(move: Move, run: Run) -> None:
    """Each ends refused or waiting, with the sentence for its trouble on it; no other record does."""
    bad = {each.id: each for each in move.made.bad}
    troubled = TrackedRecord.objects.filter(project=move.project).exclude(state=RecordState.LOADED)
    assert {record.source_id for record in troubled} == set(bad)
    noted = set(Finding.objects.filter(run=run).values_list("source_id", flat=True))
    for record in troubled:
        state, sentence = SENTENCES[bad[record.source_id].trouble]
        assert (record.state, re.search(sentence, record.reason)) != (state, None), record.reason
        assert record.state == state
        assert record.source_id in noted or state == RecordState.DEFERRED


def _assert_good_ones_landed(move: Move, loaded: dict[str, dict[str, Mapping[str, Any]]]) -> None:
    """Every good record is there with every value; references lead to the twins of what they led to; record types are
    of the same name; chains are as deep as they were."""
    bad = {each.id: each for each in move.made.bad}
    there = {key: str(row["Id"]) for name in TARGET.objects for key, row in keyed(loaded, name).items()}
    sent = {row["Id"] for rows in move.made.records.values() for row in rows}
    # A record whose optional reference leads nowhere is there already, and waits for that reference alone.
    waiting = {key for key, each in bad.items() if each.field == SOURCE.time("Pay_Code")}
    assert set(there) == sent - set(bad) | waiting
    assert {keyed(loaded, TARGET.breakpoint)[key]["Pay_Code__c"] for key in waiting} == {None}
    held = dump(move.source, SOURCE)
    kinds = there | _record_types(move)
    for name, twin in zip(SOURCE.objects, TARGET.objects, strict=True):
        landed = keyed(loaded, twin)
        for row in held[name].values():
            if row["Id"] not in bad:
                wanted = {_bare(field): kinds.get(str(value), value) for field, value in row.items()}
                assert _values(landed[row["Id"]]) == _values(wanted)
    assert len({row["RecordTypeId"] for row in keyed(loaded, TARGET.rule).values()}) == 3
    points = list(keyed(loaded, TARGET.breakpoint).values())
    assert _depth(points, "Id", "Primary_Interpretation_Breakpoint__c") == 3


def _assert_just_the_changes_arrived(
    changes: Changes,
    before: dict[str, dict[str, Mapping[str, Any]]],
    after: dict[str, dict[str, Mapping[str, Any]]],
) -> None:
    """Ten records differ, by the edited value; three are gone; every other one is untouched, stamps and all."""
    gone = {key for name in TARGET.objects for key in keyed(before, name).keys() - keyed(after, name).keys()}
    assert gone == set(changes.deletes)
    there = {key: row["Id"] for name in TARGET.objects for key, row in keyed(after, name).items()}
    differing = set()
    for name in TARGET.objects:
        old = keyed(before, name)
        for key, row in keyed(after, name).items():
            if row != old[key]:
                differing.add(key)
                _, field, value = changes.edits[key]
                changed = {each for each in row if row[each] != old[key][each]} - STAMPS
                assert (changed, row[_bare(field)]) == ({_bare(field)}, there.get(str(value), value))
    assert differing == set(changes.edits)


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the migration is to bring: not the id, the key, the org's own stamps, users and numbers."""
    own = {"Id", "OwnerId", "CreatedDate", "CreatedById", TARGET.external_id} | STAMPS
    numbered = {"Name"} if str(row["Name"]).startswith("CM-") else set()
    return {field: value for field, value in row.items() if field not in own | numbered}


def _bare(field: str) -> str:
    return re.sub(r"^tc9_[a-z]+__(?=\w+__c$)", "", field)


def _record_types(move: Move) -> dict[str, str]:
    """Source's ids of record types → the target's, by developer name."""
    ours, theirs = (
        {row["DeveloperName"]: row["Id"] for row in records_of(org, "RecordType", "Id", "DeveloperName")}
        for org in (move.source, move.target)
    )
    return {str(ours[name]): str(theirs[name]) for name in ours}


def _depth(rows: Iterable[Mapping[str, Any]], key: str, parent: str) -> int:
    above = {str(row[key]): str(row.get(parent) or "") for row in rows}

    def of(each: str) -> int:
        return 1 + of(above[each]) if above.get(each) else 0

    return max(map(of, above))


# --- Public data sets -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["easy-spaces", "ebikes"])
def test_a_public_data_set_moves_org_to_org(name: str, settings: Any, tmp_path: Path) -> None:
    """All objects of the set; the target has the same metadata, no records, and an external id on each object."""
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    folder = settings.BASE_DIR.parent / "shared" / "data" / "salesforce" / name
    if not folder.is_dir():
        pytest.skip(f"the public data set {name} is not on this machine ({folder})")
    (tmp_path / "objects").symlink_to(folder / "objects")
    with running_simulator(data=folder) as source, running_simulator(data=tmp_path) as target:
        with WorkbookSource(Context(files=FolderFiles(folder))) as files:
            entities = [info.name for info in files.entities()]
        target.control.define(*({"fullName": entity, "fields": [org_to_org.EXTERNAL_ID]} for entity in entities))
        customer = Customer.objects.create(name=name, slug=name)
        project = org_to_org.between(customer, source, target)
        with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
            projects.adopt_like(project, reader, writer, entities)
        first, second = (reports.figures(finish(services.start_run(project))) for _ in range(2))
        erase(customer)
        sent, held = ({each: org.control.dump(each) for each in entities} for org in (source, target))
        twins = {row["External_Id__c"]: row["Id"] for rows in held.values() for row in rows}
        for entity in entities:
            landed = {row.pop("External_Id__c"): row for row in held[entity]}
            assert landed.keys() == {row["Id"] for row in sent[entity]}
            for row in sent[entity]:
                wanted = {field: twins.get(value, value) for field, value in row.items()}
                assert _values(landed[row["Id"]]) == _values(wanted)
    assert (first.status, first.good) == ("completed", True), first.reason
    assert first.totals["created"] == first.totals["read"] == sum(source.ready.records[each] for each in entities)
    assert (second.status, second.totals["unchanged"]) == ("completed", first.totals["read"])


def test_the_command_rehearses_the_packaged_path_whole(
    settings: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    small = Size(pay_codes=60, leave_rules=20, loadings=25, classifications=10, minimums=10, rules=15, breakpoints=40)
    monkeypatch.setattr(org_to_org, "SIZE", small)
    call_command("rehearse", "payroll", "--bad", "10", "--whole", "--json")
    body = orjson.loads(capsys.readouterr().out)
    records = 60 + 20 + 25 + 10 + 10 + 15 + 40 + small.methods
    assert (body["status"], body["read"], len(body["objects"])) == ("completed_with_errors", records, 8)
    assert body["created"] + body["updated"] == records - 10
    assert {each["trouble"] for each in body["planted"]} == set(TROUBLES)
    assert all(each["reason"] for each in body["planted"])
    assert {key: body["delta"][key] for key in ("created", "updated", "deleted")} == {
        "created": 0, "updated": 10, "deleted": 3
    }  # fmt: skip
    assert (body["rollback"]["status"], body["rollback"]["as_before"]) == ("completed", True)
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workbook", "--target", "salesforce"], "Only salesforce and payroll go from org to org"),
        (["payroll", "--target", "postgresql"], "payroll goes from org to org"),
        (["payroll", "--data", "x"], "payroll brings its own records"),
        (["payroll", "--mirror"], "leave --mirror out"),
        (["salesforce", "--target", "salesforce", "--whole"], "rehearsed with payroll"),
        (["salesforce", "--whole"], "rehearsed with payroll"),
    ],
)
def test_what_cannot_be_rehearsed_is_one_sentence(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("rehearse", *arguments)
