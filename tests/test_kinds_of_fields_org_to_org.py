"""Currencies, geolocations, addresses and names between two simulated orgs: parts travel, compounds are not written."""

from typing import Any

import pytest

from migration_factory.rehearsal import erase, make_org, salesforce_reach
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from runs import drivers, services
from runs.choices import RunState
from runs.models import Finding, Run
from sandbox.salesforce.running import Running, running_simulator
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
