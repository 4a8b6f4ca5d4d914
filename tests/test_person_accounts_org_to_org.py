"""Person accounts between two simulated orgs: into an org that has them too, and between orgs of which one has not."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import Project
from runs import drivers, reports, services
from runs.choices import RunState
from runs.models import Run, TrackedRecord
from sandbox.salesforce.running import Running, running_simulator
from tests.connectors.file_org import DATA, KEY, add_key, client_of, rows

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

OBJECTS = ["Account", "Contact", "Task"]


@pytest.fixture
def both(settings: Any) -> Iterator[tuple[Running, Running]]:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as source, running_simulator() as target:
        add_key(target, *OBJECTS)
        yield source, target


def with_persons(*orgs_with: Running) -> None:
    for org in orgs_with:
        org.control.change_settings(person_accounts=1)


def made(org: Running, name: str, *records: Mapping[str, Any]) -> list[str]:
    body = {"allOrNone": True, "records": [{"attributes": {"type": name}, **record} for record in records]}
    with client_of(org) as client:
        answers = client.post(f"{DATA}/composite/sobjects", json=body).json()
    assert all(each["success"] for each in answers), answers
    return [str(each["id"]) for each in answers]


def persons(org: Running) -> list[str]:
    """Two persons, of whom one has a task, and a company with a contact; the persons' ids."""
    [kind] = rows(org, "SELECT Id FROM RecordType WHERE DeveloperName = 'PersonAccount'")
    anna, ben, firm = made(
        org,
        "Account",
        {"RecordTypeId": kind["Id"], "FirstName": "Anna", "LastName": "Berg", "PersonEmail": "anna@example.com"},
        {"RecordTypeId": kind["Id"], "LastName": "Ben", "PersonBirthdate": "1980-02-29"},
        {"Name": "Harbour Foods"},
    )
    made(org, "Contact", {"LastName": "Clerk", "AccountId": firm})
    [row] = rows(org, f"SELECT PersonContactId FROM Account WHERE Id = '{anna}'")
    made(org, "Task", {"Subject": "Call", "WhoId": row["PersonContactId"]})
    return [anna, ben]


@pytest.fixture
def project(both: tuple[Running, Running]) -> Iterator[Project]:
    source, target = both
    customer = Customer.objects.create(name="Persons", slug="persons")
    from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
    to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
    yield projects.create_project(customer, "Move", source=from_org, target=to_org)
    erase(customer)


def started(project: Project) -> Run:
    with orgs.open_source(project.source) as reader, orgs.open_target(project.target) as writer:
        projects.choose_like(project, reader, writer, OBJECTS)
    return finish(services.start_run(project))


def finish(run: Run) -> Run:
    drivers.drive_here(run.pk)
    return Run.objects.get(pk=run.pk)


def test_persons_stay_one_record_and_are_found_by_what_points_at_them(
    project: Project, both: tuple[Running, Running]
) -> None:
    source, target = both
    with_persons(source, target)
    anna, _ = persons(source)
    first = started(project)
    assert first.state == RunState.COMPLETED, (
        first.reason,
        list(TrackedRecord.objects.values_list("reason", flat=True)),
    )
    assert reports.figures(first).reconcile.clean

    fields = f"Id, {KEY}, Name, IsPersonAccount, PersonContactId, PersonEmail"
    accounts = {row[KEY]: row for row in rows(target, f"SELECT {fields} FROM Account")}
    assert (accounts[anna]["Name"], accounts[anna]["PersonEmail"]) == ("Anna Berg", "anna@example.com")
    assert sorted(row["IsPersonAccount"] for row in accounts.values()) == [False, True, True]
    contacts = rows(target, "SELECT Id, Name, IsPersonAccount FROM Contact")
    assert sorted(row["Name"] for row in contacts) == ["Anna Berg", "Ben", "Clerk"]
    [task] = rows(target, "SELECT WhoId FROM Task")
    assert task["WhoId"] == accounts[anna]["PersonContactId"]

    # A person's change travels by the account; nothing else is written.
    with client_of(source) as client:
        assert client.patch(f"{DATA}/sobjects/Account/{anna}", json={"PersonEmail": "berg@example.com"}).is_success
    delta = finish(services.start_delta(project))
    assert delta.state == RunState.COMPLETED, delta.reason
    [changed] = rows(target, "SELECT Email FROM Contact WHERE Name = 'Anna Berg'")
    assert changed["Email"] == "berg@example.com"

    for run in (delta, first):
        undone = finish(services.start_rollback(run))
        assert undone.state == RunState.COMPLETED, undone.reason
    assert rows(target, "SELECT Id FROM Account") == rows(target, "SELECT Id FROM Contact") == []


def test_a_person_whose_account_is_refused_is_no_contact_of_its_own(
    project: Project, both: tuple[Running, Running]
) -> None:
    source, target = both
    with_persons(source, target)
    anna, _ = persons(source)
    target.control.add_rule("Account", name="No_Anna", formula='FirstName = "Anna"', message="Not her.")
    run = started(project)
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    assert sorted(row["Name"] for row in rows(target, "SELECT Name FROM Contact")) == ["Ben", "Clerk"]
    [person] = rows(source, f"SELECT PersonContactId FROM Account WHERE Id = '{anna}'")
    standing = dict(TrackedRecord.objects.filter(project=project).values_list("source_id", "state"))
    assert (standing[anna], standing[person["PersonContactId"]]) == ("rejected", "deferred")


def test_an_org_without_persons_gets_companies_and_contacts(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    with_persons(source)
    persons(source)
    run = started(project)
    assert run.state == RunState.COMPLETED, (run.reason, list(TrackedRecord.objects.values_list("reason", flat=True)))
    assert sorted(row["Name"] for row in rows(target, "SELECT Name FROM Account")) == [
        "Anna Berg",
        "Ben",
        "Harbour Foods",
    ]
    contacts = {row["Name"]: row["AccountId"] for row in rows(target, "SELECT Name, AccountId FROM Contact")}
    assert sorted(contacts) == ["Anna Berg", "Ben", "Clerk"]
    assert all(contacts.values())


def test_companies_and_contacts_stay_so_in_an_org_with_persons(project: Project, both: tuple[Running, Running]) -> None:
    source, target = both
    with_persons(target)
    [firm] = made(source, "Account", {"Name": "Harbour Foods"})
    made(source, "Contact", {"LastName": "Clerk", "AccountId": firm})
    run = started(project)
    assert run.state == RunState.COMPLETED, run.reason
    [account] = rows(target, "SELECT IsPersonAccount FROM Account")
    assert account["IsPersonAccount"] is False
    assert [row["Name"] for row in rows(target, "SELECT Name FROM Contact")] == ["Clerk"]
