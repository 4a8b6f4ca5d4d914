"""The rival script: org to org with simple-salesforce and Bulk 2.0, as one writes it for a single use.

    python org_to_org_script.py SOURCE_URL SOURCE_TOKEN TARGET_URL TARGET_TOKEN API_VERSION PLAN [WAIT]

``PLAN`` is JSON: for each object, parents first, its name, the fields to copy and look-up → parent. Every object is
queried, its look-ups are set to the ids that the parents were given, and it is inserted; the business key tells
which new id belongs to which old one. ``WAIT`` is how long simple-salesforce waits before it first asks whether a job
is done, 5 seconds unless given.

It keeps no record of anything: what a job refuses is only counted, and a second run doubles every record.
"""

import csv
import io
import json
import sys
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from urllib3.util import Retry

KEY = "Code__c"


class PlainHttp(HTTPAdapter):
    """simple-salesforce always says https; the sandbox here speaks plain http, as it does to every contestant."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = str(request.url).replace("https://", "http://", 1)
        return super().send(request, *args, **kwargs)


def main(source_url: str, source_token: str, target_url: str, target_token: str, version: str, *rest: str) -> None:
    plan = json.loads(rest[0])
    wait = {"wait": float(rest[1])} if rest[1:] else {}
    source, target = connect(source_url, source_token, version), connect(target_url, target_token, version)
    ids: dict[str, str] = {}
    for thing in plan:
        copy(source, target, thing, ids, wait)


def connect(url: str, token: str, version: str) -> Salesforce:
    session = requests.Session()
    session.trust_env = False
    session.mount(
        "https://", PlainHttp(max_retries=Retry(3))
    )  # asks again where a kept connection was closed meanwhile
    return Salesforce(instance_url=url, session_id=token, version=version, session=session)


def copy(source: Any, target: Any, thing: dict[str, Any], ids: dict[str, str], wait: dict[str, float]) -> None:
    """Copy one object's records; ``ids`` leads from old ids to new ones, and grows."""
    name, lookups = thing["name"], list(thing["parents"])
    soql = f"SELECT {', '.join(['Id', *thing['fields'], *lookups])} FROM {name}"  # noqa: S608 - our own names
    pages = getattr(source.bulk2, name).query(soql, **wait)
    records = [row for page in pages for row in csv.DictReader(io.StringIO(page))]
    old = {record[KEY]: record.pop("Id") for record in records}
    for record in records:
        for lookup in lookups:
            record[lookup] = ids[record[lookup]]
    into = getattr(target.bulk2, name)
    for job in into.insert(records=records, **wait):
        if job["numberRecordsFailed"]:
            sys.exit(f"{name}: {job['numberRecordsFailed']} records were refused")
        for made in csv.DictReader(io.StringIO(into.get_successful_records(job["job_id"]))):
            ids[old[made[KEY]]] = made["sf__Id"]


if __name__ == "__main__":
    main(*sys.argv[1:])
