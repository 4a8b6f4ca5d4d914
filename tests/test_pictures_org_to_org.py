"""Pictures of rich texts between two simulated orgs: the target shows its own, equal by content."""

import base64
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest

from connectors.clients import salesforce_pictures
from connectors.errors import NotFound
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import Project
from runs import drivers, reports, services
from runs.choices import RunState
from runs.dry_runs import start_dry_run
from runs.models import Finding, Run, TrackedRecord
from sandbox.salesforce.build import Contents
from sandbox.salesforce.running import Running, running_simulators
from tests.connectors.file_org import DATA, KEY, add_key, client_of, rows

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

RED, BLUE = b"\x89PNG\r\n\x1a\nred" * 20_000, b"GIF89a blue"
RICH = {"fullName": "Story__c", "label": "Story", "type": "Html", "length": 32_768, "visibleLines": 10}
SHOWN = re.compile(r'src="([^"]*)"')


@pytest.fixture
def both(settings: Any, request: pytest.FixtureRequest) -> Iterator[tuple[Running, Running]]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulators(Contents(), Contents()) as (source, target):
        for org in (source, target):
            org.control.define({"fullName": "Account", "fields": [RICH]})
        if getattr(request, "param", KEY):
            add_key(target, "Account")
        yield source, target


@pytest.fixture
def project(both: tuple[Running, Running]) -> Iterator[Project]:
    source, target = both
    customer = Customer.objects.create(name="Pictures", slug="pictures")
    from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
    to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
    made = projects.create_project(customer, "Move", source=from_org, target=to_org)
    with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
        projects.choose_like(made, reader, writer, ["Account"])
    yield made
    erase(customer)


def data(body: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(body).decode()}"


def save(org: Running, record: str = "", **members: str) -> str:
    with client_of(org) as client:
        path = f"{DATA}/sobjects/Account"
        answer = client.patch(f"{path}/{record}", json=members) if record else client.post(path, json=members)
    assert answer.status_code in (201, 204), answer.text
    return record or str(answer.json()["id"])


def stories(org: Running) -> dict[str, str]:
    return {str(row["Name"]): str(row["Story__c"]) for row in rows(org, "SELECT Name, Story__c FROM Account")}


def pictures(org: Running, name: str) -> list[bytes]:
    """The bytes of each picture the record shows, read at the org itself."""
    [row] = rows(org, f"SELECT Id, Story__c FROM Account WHERE Name = '{name}'")
    found = []
    with client_of(org) as client:
        for address in SHOWN.findall(row["Story__c"]):
            holder, reference = re.search(r"eid=(\w+)&amp;.*refid=(\w+)", address).groups()  # type: ignore[union-attr]
            assert str(row["Id"]).startswith(holder)
            answer = client.get(f"{DATA}/sobjects/Account/{row['Id']}/richTextImageFields/Story__c/{reference}")
            assert answer.status_code == 200, answer.text
            found.append(answer.content)
    return found


def filled(source: Running) -> None:
    save(source, Name="Harbour", Story__c=f'<p>Red <img alt="r" src="{data(RED)}"></img> and '
         f'<img src="{data(BLUE, "gif")}"></img></p>')  # fmt: skip
    save(source, Name="Mill", Story__c="<p>No picture</p>")
    save(source, Name="Inn", Story__c='<img src="https://pictures.example.com/inn.png"></img>')


def finish(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


@pytest.mark.parametrize("both", [KEY, ""], indirect=True, ids=["external id", "id map"])
def test_the_target_shows_pictures_of_its_own(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    run = finish(services.start_run(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert reports.figures(run).reconcile.clean
    assert not Finding.objects.filter(run=run).exists()
    assert pictures(target, "Harbour") == pictures(source, "Harbour") == [RED, BLUE]
    here, there = stories(source), stories(target)
    assert SHOWN.sub("", there["Harbour"]) == SHOWN.sub("", here["Harbour"])
    assert not set(SHOWN.findall(there["Harbour"])) & set(SHOWN.findall(here["Harbour"]))
    assert (there["Mill"], there["Inn"]) == (here["Mill"], here["Inn"])

    # Nothing is written a second time.
    target.control.reset_calls()
    again = reports.figures(finish(services.start_run(project)))
    assert again.totals["unchanged"] == 3
    assert not [call for call in target.control.calls() if call.startswith(("POST", "PATCH")) and "oauth" not in call]
    assert stories(target) == there


def test_another_picture_is_a_change_and_is_taken_back(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    finish(services.start_run(project))
    before = stories(target)
    [harbour] = rows(source, "SELECT Id FROM Account WHERE Name = 'Harbour'")
    save(source, str(harbour["Id"]), Story__c=f'<img src="{data(BLUE, "gif")}"></img>')
    delta = finish(services.start_delta(project))
    assert delta.state == RunState.COMPLETED, delta.reason
    assert reports.figures(delta).totals["updated"] == 1
    assert pictures(target, "Harbour") == [BLUE]

    undone = finish(services.start_rollback(delta))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert pictures(target, "Harbour") == [RED, BLUE]
    assert SHOWN.sub("", stories(target)["Harbour"]) == SHOWN.sub("", before["Harbour"])


def test_an_edit_of_something_else_leaves_the_pictures_alone(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    finish(services.start_run(project))
    before = stories(target)["Harbour"]
    [harbour] = rows(source, "SELECT Id FROM Account WHERE Name = 'Harbour'")
    save(source, str(harbour["Id"]), Name="Old harbour")
    delta = finish(services.start_delta(project))
    assert (delta.state, reports.figures(delta).totals["updated"]) == (RunState.COMPLETED, 1)
    assert stories(target)["Old harbour"] == before


def test_a_rollback_removes_records_with_their_pictures(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    first = finish(services.start_run(project))
    undone = finish(services.start_rollback(first))
    assert undone.state == RunState.COMPLETED, undone.reason
    assert stories(target) == {}


def test_a_picture_edited_in_the_target_is_an_edit(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    first = finish(services.start_run(project))
    [harbour] = rows(target, "SELECT Id FROM Account WHERE Name = 'Harbour'")
    save(target, str(harbour["Id"]), Story__c=f'<img src="{data(BLUE, "gif")}"></img>')
    undone = finish(services.start_rollback(first))
    assert undone.state == RunState.COMPLETED_WITH_ERRORS
    assert set(stories(target)) == {"Harbour"}


def test_many_records_go_by_a_job_and_those_with_pictures_do_not(
    project: Project, both: tuple[Running, Running]
) -> None:
    source, target = both
    filled(source)
    source.control.upsert("Account", [{"Name": f"Plain {number}"} for number in range(400)])
    run = finish(services.start_run(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert reports.figures(run).totals["created"] == 403
    assert any("/jobs/ingest" in call for call in target.control.calls())
    assert pictures(target, "Harbour") == [RED, BLUE]


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(project: Project, both: tuple[Running, Running]) -> None:
    """A picture of another record, pasted into this one, that nobody can read; and one that goes while it is moved."""
    source, target = both
    filled(source)
    lost = (
        "https://elsewhere.file.force.com/servlet/rtaImage?eid=001xx000003DGbY&amp;feoid=00N&amp;refid=0EMxx0000000001"
    )
    save(source, Name="Lost", Story__c=f'<img src="{lost}"></img>')
    run = finish(services.start_run(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert [(each.rule, each.field) for each in Finding.objects.filter(run=run)] == [("image_left", "Story__c")]
    assert lost in stories(target)["Lost"]


def test_a_picture_that_goes_between_reading_and_writing_keeps_its_record_out(
    project: Project, both: tuple[Running, Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(both[0])
    reads = iter([salesforce_pictures.OwnPictures.read] * 2)

    def read(self: salesforce_pictures.OwnPictures, at: str, into: BinaryIO) -> None:
        found = next(reads, None)
        if found is None:
            raise NotFound("It is gone.")
        found(self, at, into)

    monkeypatch.setattr(salesforce_pictures.OwnPictures, "read", read)
    run = finish(services.start_run(project))
    codes = dict(TrackedRecord.objects.filter(project=project).exclude(code="").values_list("key", "code"))
    assert (run.state, set(codes.values())) == (RunState.COMPLETED_WITH_ERRORS, {"content_gone"})


def test_lost_answers_and_broken_bodies_change_nothing(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    source.control.fault("cut", path="/richTextImageFields/", times=2)
    target.control.fault("drop_after", path="/composite/sobjects", times=1)
    run = finish(services.start_run(project))
    assert run.state == RunState.COMPLETED, run.reason
    assert len(stories(target)) == 3
    assert pictures(target, "Harbour") == [RED, BLUE]


def test_a_dry_run_writes_no_picture(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    filled(source)
    dry = finish(start_dry_run(project))
    assert dry.state == RunState.COMPLETED, dry.reason
    assert rows(target, f"SELECT Id, {KEY} FROM Account") == []
