"""A simulated Salesforce org with custom objects as payroll packages have them, for tests of writing.

``QUIET`` is one that the Bulk API does not serve."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from connectors.context import LOOPBACK, Context, Network, Secret
from connectors.testing import VirtualClock
from sandbox.salesforce.running import Running, running_simulator

RULE, BREAKPOINT, QUIET, KEY = "Rule__c", "Breakpoint__c", "Quiet__c", "Ext__c"

_XMLNS = 'xmlns="http://soap.sforce.com/2006/04/metadata"'
_EXTERNAL = "<externalId>true</externalId><unique>true</unique>"
_PICKLIST = """<valueSet><restricted>true</restricted><valueSetDefinition>
  <value><fullName>Draft</fullName><label>Draft</label></value>
  <value><fullName>Live</fullName><label>Live</label></value>
  <value><fullName>Old</fullName><label>Old</label><isActive>false</isActive></value>
</valueSetDefinition></valueSet>"""
_DAYS = """<valueSet><valueSetDefinition>
  <value><fullName>Mon</fullName><label>Mon</label></value>
  <value><fullName>Tue</fullName><label>Tue</label></value>
  <value><fullName>Wed</fullName><label>Wed</label></value>
</valueSetDefinition></valueSet>"""

_FIELDS = {
    RULE: {
        KEY: ("Text", f"<length>40</length>{_EXTERNAL}"),
        "Plain__c": ("Text", "<length>40</length><externalId>true</externalId>"),
        "Exact__c": ("Text", f"<length>40</length><caseSensitive>true</caseSensitive>{_EXTERNAL}"),
        "Number__c": ("Number", f"<precision>18</precision><scale>0</scale>{_EXTERNAL}"),
        "Code__c": ("Text", "<length>20</length><unique>true</unique>"),
        "Hours__c": ("Number", "<precision>18</precision><scale>2</scale>"),
        "Active__c": ("Checkbox", "<defaultValue>true</defaultValue>"),
        "From__c": ("Date", ""),
        "Stamp__c": ("DateTime", ""),
        "Start__c": ("Time", ""),
        "Status__c": ("Picklist", _PICKLIST),
        "Days__c": ("MultiselectPicklist", _DAYS),
        "Notes__c": ("LongTextArea", "<length>100000</length>"),
        "Parent__c": ("Lookup", f"<referenceTo>{RULE}</referenceTo><relationshipName>Variations</relationshipName>"),
    },
    BREAKPOINT: {
        KEY: ("Text", f"<length>40</length>{_EXTERNAL}"),
        RULE: ("MasterDetail", f"<referenceTo>{RULE}</referenceTo><relationshipName>Breakpoints</relationshipName>"),
        "Threshold__c": ("Number", "<precision>18</precision><scale>2</scale><required>true</required>"),
    },
    QUIET: {KEY: ("Text", f"<length>40</length>{_EXTERNAL}")},
}


@contextmanager
def payroll_org(folder: Path) -> Iterator[Running]:
    """The org, empty; ``folder`` takes its metadata."""
    _write_metadata(folder)
    with running_simulator(data=folder) as running:
        yield running


def context_of(running: Running) -> Context:
    ready = running.ready
    return Context(
        settings={"login_url": ready.url, "client_id": ready.client_id},
        secrets={"client_secret": Secret(ready.client_secret), "refresh_token": Secret(ready.app_refresh_token)},
        clock=VirtualClock(datetime.now(UTC)),
        network=Network(allowed_networks=LOOPBACK),
    )


def _write_metadata(folder: Path) -> None:
    for name, fields in _FIELDS.items():
        place = folder / "objects" / name
        place.mkdir(parents=True)
        sharing = "ControlledByParent" if name == BREAKPOINT else "ReadWrite"
        bulk = str(name != QUIET).lower()
        parts = {"label": name[:-3], "pluralLabel": f"{name[:-3]}s", "sharingModel": sharing, "enableBulkApi": bulk}
        head = "".join(f"<{part}>{value}</{part}>" for part, value in parts.items())
        _write(place / f"{name}.object-meta.xml", f"<CustomObject {_XMLNS}>{head}</CustomObject>")
        for field, (kind, rest) in fields.items():
            body = f"<fullName>{field}</fullName><label>{field[:-3]}</label><type>{kind}</type>{rest}"
            _write(place / f"{field}.field-meta.xml", f"<CustomField {_XMLNS}>{body}</CustomField>")
    (folder / "data").mkdir()
    (folder / "data" / "plan.json").write_text("[]")


def _write(file: Path, body: str) -> None:
    file.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')


def emptied(running: Running) -> None:
    """Without records and faults."""
    running.control.clear_faults()
    for name in (BREAKPOINT, RULE, QUIET):
        found = [str(row["Id"]) for row in records_of(running, name, "Id")]
        running.control.delete(name, found)


def records_of(running: Running, name: str, *fields: str) -> list[dict[str, object]]:
    """What the org holds, read by its REST query alone."""
    params = {"q": f"SELECT {', '.join(fields)} FROM {name} ORDER BY Id"}
    headers = {"Authorization": f"Bearer {running.ready.access_token}"}
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False, verify=False) as client:  # noqa: S501 - http
        page = client.get("/services/data/v66.0/query", params=params).raise_for_status().json()
        found = list(page["records"])
        while not page["done"]:
            page = client.get(page["nextRecordsUrl"]).raise_for_status().json()
            found += page["records"]
    return found
