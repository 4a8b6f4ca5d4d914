"""Currencies, geolocations, addresses and names between two simulated orgs: parts travel, compounds are not written."""

from dataclasses import replace
from typing import Any

import pytest

from connectors.clients.salesforce_options import KEEP_CREATION
from connectors.clients.salesforce_query import BULK_ABOVE
from connectors.types import Condition, Operator
from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.selections import Mode, Selection
from runs import drivers, reports, services
from runs.choices import RunState
from runs.models import Finding, Run
from sandbox.salesforce.build import Contents
from sandbox.salesforce.running import Running, running_simulator, running_simulators
from tests.connectors.file_org import KEY, add_key, rows

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

PARTS = "Name, CurrencyIsoCode, BillingStreet, BillingCity, BillingLatitude, BillingLongitude"


def with_currencies(org: Running, *codes: str) -> None:
    values = {
        "restricted": True,
        "valueSetDefinition": {"value": [{"fullName": code, "label": code} for code in codes]},
    }
    field = {"fullName": "CurrencyIsoCode", "label": "Currency", "type": "Picklist", "valueSet": values}
    org.control.define({"fullName": "Account", "fields": [field]})


def test_parts_of_compounds_and_currencies_travel(settings: Any) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulator() as source, running_simulator() as target:
        with_currencies(source, "EUR", "USD", "GBP")
        with_currencies(target, "EUR", "USD")
        add_key(target, "Account", "Contact")
        place = {"BillingStreet": "Quay 1\n2nd floor", "BillingCity": "Hamburg", "BillingLatitude": 53.551085,
                 "BillingLongitude": 9.993682}  # fmt: skip
        firm, _, _ = source.control.upsert(
            "Account",
            [
                {"Name": "Harbour", "CurrencyIsoCode": "EUR", "AnnualRevenue": 100.5, **place},
                {"Name": "Mill", "CurrencyIsoCode": "USD"},
                {"Name": "Pound", "CurrencyIsoCode": "GBP"},
            ],
        )
        source.control.upsert("Contact", [{"FirstName": "Anna", "LastName": "Berg", "AccountId": firm}])
        customer = Customer.objects.create(name="Kinds", slug="kinds")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        project = projects.create_project(customer, "Move", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
            chosen = projects.choose_like(project, reader, writer, ["Account", "Contact"])
        written = {rule.target for each in chosen for rule in each.fields.all()}
        run = services.start_run(project)
        drivers.drive_here(run.pk)
        run = Run.objects.get(pk=run.pk)
        refused = list(Finding.objects.filter(run=run, severity="error").values_list("field", "value", "rule"))
        here = rows(source, f"SELECT {PARTS} FROM Account WHERE CurrencyIsoCode != 'GBP' ORDER BY Name")
        there = rows(target, f"SELECT {PARTS} FROM Account ORDER BY Name")
        contacts = rows(target, f"SELECT Name, FirstName, LastName, {KEY} FROM Contact")
        erase(customer)
    assert run.state == RunState.COMPLETED_WITH_ERRORS
    assert refused == [("CurrencyIsoCode", "GBP", "unknown_value")]
    assert there == here
    assert len(there) == 2
    assert [(row["Name"], row["FirstName"]) for row in contacts] == [("Anna Berg", "Anna")]
    assert not written & {"BillingAddress", "ShippingAddress", "MailingAddress", "OtherAddress"}


def test_activities_travel_with_parents_long_texts_archive_and_authors(settings: Any) -> None:
    """By Bulk and by REST: references to several objects, texts longer than a bulk cell, archived rows and not deleted
    ones, and when and by whom a record was made."""
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    story = {"fullName": "Story__c", "label": "Story", "type": "LongTextArea", "length": 131_072, "visibleLines": 3}
    long = ('“Long”, "quoted"\nand 漢字 ' * 4_500).strip()
    with running_simulators(Contents(), Contents()) as (source, target):
        target.control.change_settings(audit_fields=1)
        source.control.define({"fullName": "Task", "fields": [story]})
        target.control.define({"fullName": "Task", "fields": [story]})
        add_key(target, "Account", "Contact", "Task")
        [firm] = source.control.upsert("Account", [{"Name": "Harbour"}])
        [mate] = source.control.upsert("Contact", [{"LastName": "Berg", "AccountId": firm}])
        made = "2019-05-06T07:08:09.000Z"
        source.control.upsert(
            "Task",
            [
                {"Subject": "of both", "WhatId": firm, "WhoId": mate, "Story__c": long, "CreatedDate": made},
                {"Subject": "archived", "WhatId": firm, "IsArchived": True, "CreatedDate": made},
                *({"Subject": f"plain {number}", "CreatedDate": made} for number in range(BULK_ABOVE)),
            ],
        )
        source.control.delete("Task", source.control.upsert("Task", [{"Subject": "deleted", "WhatId": firm}]))
        customer = Customer.objects.create(name="Activities", slug="activities")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        reach = salesforce_reach(target.ready)
        to_org = make_org(
            customer, "Target", Role.TARGET, replace(reach, settings={**reach.settings, KEEP_CREATION: "true"})
        )  # fmt: skip
        project = projects.create_project(customer, "Move", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
            projects.choose_like(project, reader, writer, ["Account", "Contact", "Task"])
        run = services.start_run(project)
        drivers.drive_here(run.pk)
        run = Run.objects.get(pk=run.pk)
        clean = reports.figures(run).reconcile.clean
        asked = source.control.calls()
        fields = "Subject, Story__c, What.Type, What.Name, Who.Type, Who.Name, CreatedDate"
        special = "('of both', 'archived', 'deleted', 'plain 0', 'plain 1999')"
        there = {row["Subject"]: row for row in rows(target, f"SELECT {fields} FROM Task WHERE Subject IN {special}")}
        count = len(target.control.dump("Task"))
        erase(customer)
    assert run.state == RunState.COMPLETED, run.reason
    assert clean
    assert any("/jobs/query" in call for call in asked)
    assert count == BULK_ABOVE + 2
    both = there["of both"]
    assert (both["What"]["Type"], both["What"]["Name"]) == ("Account", "Harbour")
    assert (both["Who"]["Type"], both["Who"]["Name"]) == ("Contact", "Berg")
    assert both["Story__c"] == long
    assert set(there) == {"of both", "archived", "plain 0", "plain 1999"}
    assert {row["CreatedDate"][:19] for row in there.values()} == {made[:19]}


def test_tasks_of_chosen_accounts_move_and_no_others(settings: Any) -> None:
    settings.MF_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with running_simulators(Contents(), Contents()) as (source, target):
        add_key(target, "Account", "Contact", "Task")
        firm, mill = source.control.upsert("Account", [{"Name": "Harbour"}, {"Name": "Mill"}])
        [mate] = source.control.upsert("Contact", [{"LastName": "Berg", "AccountId": mill}])
        source.control.upsert(
            "Task",
            [
                {"Subject": "harbour", "WhatId": firm},
                {"Subject": "mill", "WhatId": mill, "WhoId": mate},
                {"Subject": "nobody's"},
            ],
        )
        customer = Customer.objects.create(name="Chosen", slug="chosen")
        from_org = make_org(customer, "Source", Role.SOURCE, salesforce_reach(source.ready))
        to_org = make_org(customer, "Target", Role.TARGET, salesforce_reach(target.ready))
        project = projects.create_project(customer, "Move", source=from_org, target=to_org)
        with orgs.open_source(from_org) as reader, orgs.open_target(to_org) as writer:
            chosen = projects.choose_like(project, reader, writer, ["Account", "Contact", "Task"])
            of = {each.source_entity: each for each in chosen}
            mills = Selection(Mode.FILTER, (Condition("Name", Operator.BEGINS, ("Mi",)),))
            projects.select_records(of["Account"], mills, reader)
            for entity, through in (("Contact", "AccountId"), ("Task", "WhatId")):
                children = Selection(Mode.CHILDREN, through=through, parent="Account")
                projects.select_records(of[entity], children, reader)
        run = services.start_run(project)
        drivers.drive_here(run.pk)
        run = Run.objects.get(pk=run.pk)
        there = {
            entity: [row[name] for row in rows(target, f"SELECT {name} FROM {entity}")]
            for entity, name in (("Account", "Name"), ("Contact", "LastName"), ("Task", "Subject"))
        }
        erase(customer)
    assert run.state == RunState.COMPLETED, run.reason
    assert there == {"Account": ["Mill"], "Contact": ["Berg"], "Task": ["mill"]}
