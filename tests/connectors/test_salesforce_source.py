"""The Salesforce source against scripted answers: settings, errors, describe, bulk jobs, deletions."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from connectors.answers import Answer, Quota
from connectors.clients import salesforce_query
from connectors.clients.salesforce_errors import CODES, read_quota
from connectors.clients.salesforce_parts import RESULT_PART
from connectors.clients.salesforce_query import JOB_DEADLINE
from connectors.clients.salesforce_session import SETTINGS, api_host, sfdx_login
from connectors.context import Secret
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    NotFound,
    PermissionMissing,
    RateLimited,
    SettingsInvalid,
    Unavailable,
)
from connectors.redaction import Redactor
from connectors.sources.salesforce import SalesforceSource
from connectors.testing import VirtualClock
from connectors.transport import Request, Response
from connectors.types import Cursor, FieldType
from tests.connectors.scripted import Script, Step, answer, context_for

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
ROOT = "/services/data/v66.0"
STAMP = "2026-11-01T10:00:00.000+0000"


def source_of(*steps: Step, clock: VirtualClock | None = None) -> tuple[SalesforceSource, Script]:
    script = Script(*steps)
    context = context_for(
        script,
        settings={"login_url": "https://acme.my.salesforce.com"},
        secrets={"access_token": "00DHs0000000001!token"},
        clock=clock or VirtualClock(NOW),
    )
    return SalesforceSource(context), script


def field(name: str, kind: str = "string", **more: object) -> dict[str, object]:
    return {"name": name, "label": name, "type": kind, "nillable": True, "createable": True, "updateable": True, **more}


def described(*fields: dict[str, object], name: str = "Thing__c", replicateable: bool = True) -> Response:
    id_field = field("Id", "id", createable=False, updateable=False, length=18)
    return answer({"name": name, "label": "Thing", "replicateable": replicateable, "fields": [id_field, *fields]})


STAMPED = (field("SystemModstamp", "datetime"), field("IsDeleted", "boolean"))


def counted(number: int) -> Response:
    return answer({"totalSize": number, "done": True, "records": []})


def page(*ids: str, done: bool = True, **more: object) -> Response:
    return answer({"totalSize": 9, "done": done, "records": [{"Id": one} for one in ids], **more})


def job(state: str, **more: object) -> Response:
    return answer({"id": "750A", "state": state, **more})


def part(*ids: str, locator: str = "null") -> Response:
    text = "\n".join(['"Id"', *(f'"{one}"' for one in ids)]) + "\n"
    return Response(
        200, content=text.encode(), headers={"Sforce-Locator": locator, "Sforce-NumberOfRecords": str(len(ids))}
    )


def refused(code: str, message: str = "in Salesforce's words", status: int = 400) -> Response:
    return answer([{"errorCode": code, "message": message}], status)


def soql_of(request: Request) -> str:
    return parse_qs(request.url.query.decode())["q"][0]


def ids_of(source: SalesforceSource, cursor: Cursor | None = None) -> list[str]:
    return [row for found in source.read("Thing__c", ["Id"], cursor=cursor) for row in found.frame["Id"]]


# --- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://acme.my.salesforce.com/", "https://acme.my.salesforce.com"),
        ("acme.my.salesforce.com", "https://acme.my.salesforce.com"),
        ("https://acme.lightning.force.com/lightning/page/home", "https://acme.my.salesforce.com"),
        ("https://acme--dev.sandbox.lightning.force.com", "https://acme--dev.sandbox.my.salesforce.com"),
        ("https://acme.my.salesforce-setup.com", "https://acme.my.salesforce.com"),
        ("https://localhost:8443", "https://localhost:8443"),
    ],
)
def test_a_user_interface_address_becomes_the_api_address(url: str, expected: str) -> None:
    assert api_host(url) == expected


@pytest.mark.parametrize(
    "pasted",
    [
        "force://PlatformCLI::5Aep861xyz@acme.my.salesforce.com",
        '{"sfdxAuthUrl": "force://PlatformCLI::5Aep861xyz@acme.my.salesforce.com"}',
        ' {"status": 0, "result": {"sfdxAuthUrl": "force://PlatformCLI::5Aep861xyz@acme.my.salesforce.com"}}\n',
    ],
)
def test_an_sfdx_auth_url_is_read_bare_or_in_json(pasted: str) -> None:
    base_url, grant = sfdx_login(Secret(pasted))
    assert base_url == "https://acme.my.salesforce.com"
    assert (grant.client.id, grant.client.secret, grant.refresh_token.reveal()) == ("PlatformCLI", None, "5Aep861xyz")


def test_an_sfdx_auth_url_may_name_a_secret_and_a_port() -> None:
    base_url, grant = sfdx_login(Secret("force://app==:s3cret=:5Aep_x.y=@localhost:8443"))
    assert base_url == "https://localhost:8443"
    assert grant.client.secret is not None
    assert grant.client.secret.reveal() == "s3cret="


@pytest.mark.parametrize(
    "pasted",
    [
        "",
        "hunter2-secret",
        "force://a:b@host",
        "force://a:b:c@",
        "{",
        '{"result": 5}',
        '{"result": {}}',
        "https://x.example",
    ],
)
def test_what_is_no_sfdx_auth_url_is_told_without_repeating_it(pasted: str) -> None:
    with pytest.raises(SettingsInvalid, match="force://") as caught:
        sfdx_login(Secret(pasted))
    assert "hunter2" not in str(caught.value)


def test_secrets_among_the_settings() -> None:
    assert {setting.name for setting in SETTINGS if setting.secret} == {
        "sfdx_auth_url", "client_secret", "refresh_token", "access_token", "private_key"
    }  # fmt: skip


def login(settings: Mapping[str, str], secrets: Mapping[str, str], *steps: Step) -> Script:
    script = Script(*steps)
    source = SalesforceSource(context_for(script, settings=settings, secrets=secrets))
    source.count("Thing__c")
    return script


@pytest.mark.parametrize(
    ("settings", "secrets", "sent"),
    [
        ({"client_id": "app"}, {"refresh_token": "r1"}, {"grant_type": ["refresh_token"], "client_id": ["app"]}),
        (
            {"client_id": "app"},
            {"client_secret": "s1"},
            {"grant_type": ["client_credentials"], "client_secret": ["s1"]},
        ),
        (
            {},
            {"sfdx_auth_url": "force://CLI::r2@acme.my.salesforce.com"},
            {"refresh_token": ["r2"], "client_id": ["CLI"]},
        ),
    ],
)
def test_each_way_to_log_in_asks_for_its_token(
    settings: Mapping[str, str], secrets: Mapping[str, str], sent: Mapping[str, list[str]]
) -> None:
    token = answer({"access_token": "00D!t", "instance_url": "https://na1.my.salesforce.com"})
    settings = {"login_url": "https://acme.my.salesforce.com", **settings}
    script = login(settings, secrets, token, described(), counted(0))
    form = parse_qs(script.requests[0].content.decode())
    assert script.asked[0] == "POST /services/oauth2/token"
    assert sent.items() <= form.items()
    assert script.requests[1].url.host == "na1.my.salesforce.com"
    assert script.requests[1].headers["authorization"] == "Bearer 00D!t"


@pytest.mark.parametrize(
    ("settings", "secrets", "words"),
    [
        ({}, {"access_token": "t"}, "login_url"),
        ({"login_url": "https://login.salesforce.com"}, {"access_token": "t"}, "the org's own address"),
        ({"login_url": "https://a.my.salesforce.com"}, {}, "needs one of"),
        ({"login_url": "https://a.my.salesforce.com", "client_id": "app"}, {}, "needs one of"),
        ({"login_url": "https://a.my.salesforce.com", "api_version": "sixty"}, {"access_token": "t"}, "API version"),
        ({"login_url": "ftp://a"}, {"access_token": "t"}, "https://"),
    ],
)
def test_incomplete_settings_are_told(settings: Mapping[str, str], secrets: Mapping[str, str], words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        SalesforceSource(context_for(Script(), settings=settings, secrets=secrets))


@pytest.mark.parametrize("version", ["v60.0", "60", "60.0"])
def test_the_version_may_be_written_in_several_ways(version: str) -> None:
    settings = {"login_url": "https://a.my.salesforce.com", "api_version": version}
    script = login(settings, {"access_token": "t"}, described(), counted(0))
    assert script.asked[0] == "GET /services/data/v60.0/sobjects/Thing__c/describe"


# --- check ---------------------------------------------------------------------------------------------------


def test_check_tells_who_the_org_is_and_what_is_left() -> None:
    organization = {"Id": "00D1", "Name": "Acme", "OrganizationType": "Enterprise Edition", "IsSandbox": False,
                    "InstanceName": "EU1"}  # fmt: skip
    limits = {
        "DailyApiRequests": {"Max": 100, "Remaining": 42},
        "DataStorageMB": {"Max": 5, "Remaining": -1},
        "Other": {},
    }
    account = {"fields": [{"name": "CreatedDate", "createable": True}, {"name": "CurrencyIsoCode"}]}
    source, _ = source_of(
        answer([{"version": "65.0"}, {"version": "66.0"}]),
        answer({"records": [organization]}),
        answer(account),
        answer(limits),
    )
    identity = source.check()
    assert identity.account == "Acme"
    assert identity.facts["edition"] == "Enterprise Edition"
    assert identity.facts["sandbox"] is False
    assert (identity.facts["several currencies"], identity.facts["person accounts"]) == (True, False)
    assert identity.facts["may set audit fields"] is True
    assert identity.limits == {"DailyApiRequests": (42, 100), "DataStorageMB": (0, 5)}


def test_a_user_who_does_not_see_accounts_is_let_in_all_the_same() -> None:
    source, _ = source_of(
        answer([{"version": "66.0"}]), answer({"records": []}), refused("NOT_FOUND", status=404), answer({})
    )
    assert "person accounts" not in source.check().facts


def test_a_version_the_org_lacks_is_told() -> None:
    source, _ = source_of(answer([{"version": "31.0"}, {"version": "58.0"}]))
    with pytest.raises(SettingsInvalid, match=r"66\.0; it offers 31\.0, 58\.0"):
        source.check()


# --- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_means_its_error(code: str) -> None:
    rule = CODES[code]
    source, _ = source_of(*[refused(code, status=400)] * 9)
    with pytest.raises(ConnectorError) as caught:
        source.entities()
    assert isinstance(caught.value, rule.error)
    assert rule.sentence in str(caught.value)
    assert code in caught.value.detail


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (refused("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403), RateLimited),
        (refused("INVALID_SESSION_ID", status=401), AuthenticationFailed),
        (refused("INVALID_SESSION_ID", status=403), AuthenticationFailed),
        (refused("SOMETHING_NEW", status=403), PermissionMissing),
        (refused("SOMETHING_NEW", status=500), Unavailable),
        (answer([], 404), NotFound),
        (Response(420, content=b"<html>setting things up</html>"), Unavailable),
        (Response(406), Unavailable),
        (Response(410, content=b"[{}]"), SettingsInvalid),
        (answer({"errorCode": "API_DISABLED_FOR_ORG", "message": "off"}, 403), PermissionMissing),
    ],
)
def test_the_body_decides_before_the_status(step: Response, kind: type[ConnectorError]) -> None:
    source, _ = source_of(*[step] * 9)
    with pytest.raises(kind):
        source.entities()


def test_too_many_at_once_is_a_short_wait() -> None:
    clock = VirtualClock(NOW)
    message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
    source, _ = source_of(refused("REQUEST_LIMIT_EXCEEDED", message, 403), answer({"sobjects": []}), clock=clock)
    assert source.entities() == ()
    assert clock.slept == [30]


@pytest.mark.parametrize(
    ("header", "quota"),
    [
        ("api-usage=18/15000", Quota(14_982, 15_000, daily=True)),
        ("api-usage=20/10; per-app-api-usage=17/250(appName=x)", Quota(0, 10, daily=True)),
        ("", Quota()),
        ("per-app-api-usage=17/250", Quota()),
    ],
)
def test_the_limit_header_is_read(header: str, quota: Quota) -> None:
    assert read_quota(Answer("Salesforce", "GET /x", 200, {"sforce-limit-info": header}, b"", Redactor())) == quota


def test_salesforces_words_are_passed_on_without_secrets() -> None:
    source, _ = source_of(refused("MALFORMED_QUERY", "near 00DHs0000000001!token and more"))
    with pytest.raises(ContractChanged) as caught:
        source.entities()
    assert "and more" in str(caught.value)
    assert "!token" not in str(caught.value) + caught.value.detail


# --- discovery -----------------------------------------------------------------------------------------------


def test_entities_leave_out_what_cannot_be_read_by_itself() -> None:
    def listed(name: str, **more: object) -> dict[str, object]:
        return {"name": name, "label": name, "queryable": True, "replicateable": True, **more}

    names = ("Contact", "Account", "AccountHistory", "AccountShare", "X__ChangeEvent", "X__mdt", "Vote")
    entries = [*map(listed, names), listed("Hidden", deprecatedAndHidden=True), listed("Mute", queryable=False),
               listed("Static", replicateable=False)]  # fmt: skip
    source, _ = source_of(answer({"sobjects": entries}))
    found = source.entities()
    assert [info.name for info in found] == ["Account", "Contact", "Static"]
    assert [info.updated_field for info in found] == ["SystemModstamp", "SystemModstamp", None]


def test_a_list_without_objects_is_told() -> None:
    with pytest.raises(ContractChanged, match="without a list of records in “sobjects”"):
        source_of(answer({"other": 1}))[0].entities()


def test_describe_speaks_in_neutral_types() -> None:
    picks = [{"value": "A", "active": True}, {"value": "B", "active": False}]
    source, _ = source_of(
        described(
            field("Name", length=80, nillable=False),
            field("Owner", "reference", referenceTo=["User", "Group"]),
            field("Amount", "currency", precision=18, scale=2),
            field("Staff", "int", digits=8),
            field("Stage", "picklist", picklistValues=picks, restrictedPicklist=True),
            field("Active", "boolean", nillable=False, defaultedOnCreate=True),
            field("Key__c", externalId=True, unique=True, length=40),
            field("Total", "double", createable=False, updateable=False, precision=10, scale=3),
            field("At", "time"),
            field("BillingAddress", "address"),
            field("Place", "location"),
            field("Body", "base64"),
            field("New", "a_type_of_tomorrow"),
            *STAMPED,
        )
    )
    schema = source.describe("Thing__c")
    assert schema.entity.updated_field == "SystemModstamp"
    assert [info.name for info in schema.fields[:3]] == ["Id", "Name", "Owner"]
    assert not {"BillingAddress", "Place", "Body"} & set(schema.names)
    assert schema.field("Name").required
    assert schema.field("Name").length == 80
    assert schema.field("Owner").references == ("User", "Group")
    amount = schema.field("Amount")
    assert (amount.type, amount.precision, amount.scale) == (FieldType.DECIMAL, 18, 2)
    assert (schema.field("Staff").type, schema.field("Staff").precision) == (FieldType.INTEGER, 8)
    assert (schema.field("Stage").choices, schema.field("Stage").restricted) == (("A",), True)
    assert not schema.field("Active").required
    assert schema.field("Key__c").external_id
    assert schema.field("Key__c").unique
    assert not schema.field("Total").writable
    assert schema.field("At").type is FieldType.TIME
    assert schema.field("New").type is FieldType.TEXT


def test_describe_is_asked_once_per_object() -> None:
    source, script = source_of(described())
    source.describe("Thing__c")
    source.describe("Thing__c")
    assert len(script.requests) == 1


def test_an_object_nobody_knows_is_named() -> None:
    source, _ = source_of(refused("NOT_FOUND", status=404))
    with pytest.raises(SettingsInvalid, match="Thing__c"):
        list(source.read("Thing__c", ["Id"]))


def test_fields_nobody_knows_are_named() -> None:
    source, _ = source_of(described())
    with pytest.raises(SettingsInvalid, match="no readable field Nope"):
        list(source.read("Thing__c", ["Id", "Nope"]))


# --- REST ----------------------------------------------------------------------------------------------------


LINK = {"nextRecordsUrl": f"{ROOT}/query/0r8-2"}


def test_rest_follows_links_and_names_the_last_id() -> None:
    source, script = source_of(described(), counted(3), page("001", "002", done=False, **LINK), page("003"))
    pages = list(source.read("Thing__c", ["Id"]))
    assert [found.frame["Id"].to_list() for found in pages] == [["001", "002"], ["003"]]
    assert pages[0].cursor == {"after": "002", "seen": 2}
    assert soql_of(script.requests[2]) == "SELECT Id FROM Thing__c ORDER BY Id"
    assert script.asked[-1] == f"GET {ROOT}/query/0r8-2"


def test_rest_in_another_process_goes_on_behind_the_last_id() -> None:
    source, script = source_of(described(), page("003"))
    [found] = source.read("Thing__c", ["Id"], cursor={"after": "002", "seen": 2})
    assert found.frame["Id"].to_list() == ["003"]
    assert soql_of(script.requests[1]) == "SELECT Id FROM Thing__c WHERE Id > '002' ORDER BY Id"


def test_rest_goes_on_behind_the_last_id_where_salesforce_dropped_its_place() -> None:
    dropped = answer([{"errorCode": "INVALID_QUERY_LOCATOR", "message": "invalid query locator"}], status=400)
    source, script = source_of(described(), counted(3), page("001", "002", done=False, **LINK), dropped, page("003"))
    assert ids_of(source) == ["001", "002", "003"]
    assert soql_of(script.requests[-1]) == "SELECT Id FROM Thing__c WHERE Id > '002' ORDER BY Id"


def test_an_empty_rest_page_in_the_middle_is_followed() -> None:
    source, script = source_of(
        described(), counted(1), page(done=False, nextRecordsUrl=f"{ROOT}/query/0r8-1"), page("001")
    )
    assert ids_of(source) == ["001"]
    assert script.asked[-1] == f"GET {ROOT}/query/0r8-1"


def test_empty_pages_that_point_at_each_other_are_told() -> None:
    link = {"nextRecordsUrl": f"{ROOT}/query/0r8-1"}
    source, _ = source_of(described(), counted(1), page(done=False, **link), page(done=False, **link))
    with pytest.raises(ContractChanged, match="already given"):
        ids_of(source)


def test_rest_that_never_moves_on_is_told() -> None:
    source, _ = source_of(described(), counted(2), page("001", done=False), page("001", done=False))
    with pytest.raises(ContractChanged, match="already given"):
        ids_of(source)


def test_rest_without_an_end_signal_is_told() -> None:
    source, _ = source_of(described(), counted(1), answer({"records": [{"Id": "1"}]}))
    with pytest.raises(ContractChanged, match="whether there is more"):
        ids_of(source)


def test_since_filters_by_the_last_change() -> None:
    source, script = source_of(described(*STAMPED), counted(1), page("001"))
    list(source.read("Thing__c", ["Id"], since=datetime(2026, 11, 1, 0, 0, 0, 123_456, tzinfo=UTC)))
    expected = "SELECT Id FROM Thing__c WHERE SystemModstamp >= 2026-11-01T00:00:00.123Z ORDER BY Id"
    assert soql_of(script.requests[2]) == expected


def test_since_on_an_object_that_does_not_say_is_told() -> None:
    source, _ = source_of(described())
    with pytest.raises(SettingsInvalid, match="does not say when a record changed"):
        list(source.read("Thing__c", ["Id"], since=NOW))


def test_records_are_asked_for_by_id() -> None:
    source, script = source_of(described(), page("001", "003"))
    assert source.capabilities.reads_ids
    assert source.read_ids("Thing__c", ["Id"], ["001", "002", "003"])["Id"].to_list() == ["001", "003"]
    assert soql_of(script.requests[1]) == "SELECT Id FROM Thing__c WHERE Id IN ('001','002','003') ORDER BY Id"


def test_more_ids_than_an_address_holds_are_asked_for_in_parts() -> None:
    ids = [f"{number:018}" for number in range(800)]
    source, script = source_of(described(), page(*ids[:400]), page(*ids[400:]))
    assert source.read_ids("Thing__c", ["Id"], ids)["Id"].to_list() == ids
    assert len(script.requests) == 3


def test_an_object_the_bulk_api_refuses_is_read_by_rest_however_large() -> None:
    source, script = source_of(described(name="CaseStatus"), page("001"))
    assert [found.frame.height for found in source.read("CaseStatus", ["Id"])] == [1]
    assert "COUNT" not in soql_of(script.requests[1])


@pytest.mark.parametrize(("number", "by_bulk"), [(10, False), (11, True)])
def test_the_capability_says_from_how_many_on_records_come_by_bulk(
    number: int,
    by_bulk: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SalesforceSource, "capabilities", replace(SalesforceSource.capabilities, bulk_above=10))
    bulk = (job("UploadComplete"), job("JobComplete"), part("001"))
    source, script = source_of(described(), counted(number), *(bulk if by_bulk else (page("001"),)))
    assert sum(found.frame.height for found in source.read("Thing__c", ["Id"])) == 1
    assert any("/jobs/query" in asked for asked in script.asked) is by_bulk


def test_an_object_the_bulk_api_turns_out_to_refuse_falls_back_to_rest() -> None:
    source, _ = source_of(described(), counted(5_000), refused("INVALIDENTITY"), page("001"))
    assert ids_of(source) == ["001"]


@pytest.mark.parametrize("number", [1, 5_000])
def test_archived_activities_are_read_and_deleted_ones_are_not(number: int) -> None:
    task = described(field("IsDeleted", "boolean"), name="Task")
    rest, bulk = (page("001"),), (job("UploadComplete"), job("JobComplete"), part("001"))
    source, script = source_of(task, counted(number), *(rest if number == 1 else bulk))
    assert sum(found.frame.height for found in source.read("Task", ["Id"])) == 1
    assert soql_of(script.requests[1]) == "SELECT COUNT() FROM Task WHERE IsDeleted = false"
    assert script.asked[1].startswith(f"GET {ROOT}/queryAll?")
    if number == 1:
        assert script.asked[2].startswith(f"GET {ROOT}/queryAll?")
        assert soql_of(script.requests[2]) == "SELECT Id FROM Task WHERE IsDeleted = false ORDER BY Id"
    else:
        assert json.loads(script.requests[2].content)["operation"] == "queryAll"


@pytest.mark.parametrize(
    "steps",
    [
        (answer({"fields": []}),),
        (answer({"name": "Thing__c", "label": "x", "fields": [{"name": "Id"}]}),),
        (answer({"name": "Thing__c", "label": "x"}),),
        (described(), answer({"done": True, "records": []})),
        (described(), counted(9_999), answer({"state": "UploadComplete"})),
        (described(), counted(1), answer({"done": True})),
    ],
    ids=["no name", "no type", "no fields", "no count", "no job id", "no records"],
)
def test_answers_that_lack_what_is_documented_are_told(steps: tuple[Step, ...]) -> None:
    with pytest.raises(ContractChanged):
        ids_of(source_of(*steps)[0])


@pytest.mark.parametrize("body", [{"x": 1}, [1], "none"])
def test_versions_in_another_shape_are_told(body: object) -> None:
    with pytest.raises(ContractChanged):
        source_of(answer(body))[0].check()


# --- Bulk ----------------------------------------------------------------------------------------------------


def test_many_records_come_by_a_bulk_job() -> None:
    source, script = source_of(
        described(), counted(2_001), job("UploadComplete"), job("InProgress"), job("JobComplete"),
        part("001", "002", locator="MTA"), part("003"),
    )  # fmt: skip
    pages = list(source.read("Thing__c", ["Id"]))
    assert [found.frame["Id"].to_list() for found in pages] == [[], ["001", "002"], ["003"]]
    assert json.loads(script.requests[2].content) == {"operation": "query", "query": "SELECT Id FROM Thing__c"}
    assert script.asked[-2:] == [
        f"GET {ROOT}/jobs/query/750A/results?maxRecords={RESULT_PART}",
        f"GET {ROOT}/jobs/query/750A/results?maxRecords={RESULT_PART}&locator=MTA",
    ]


def test_exactly_the_threshold_is_read_by_rest() -> None:
    source, _ = source_of(described(), counted(2_000), page("001"))
    assert ids_of(source) == ["001"]


def test_a_select_too_long_for_an_address_goes_by_bulk() -> None:
    fields = [field(f"Field_With_A_Rather_Long_Name_{number:04}__c") for number in range(400)]
    row = Response(200, content=b"", headers={"Sforce-Locator": "null", "Sforce-NumberOfRecords": "0"})
    source, script = source_of(described(*fields), job("UploadComplete"), job("JobComplete"), row)
    names = source.describe("Thing__c").names
    assert [found.frame.height for found in source.read("Thing__c", names)] == [0, 0]
    assert script.asked[1] == f"POST {ROOT}/jobs/query"


def test_a_part_is_given_in_pages_and_resumed_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salesforce_query, "VALUES", 2_000)  # a page of so many narrow records, or of fewer wide ones
    ids = [f"{number:05}" for number in range(4_500)]
    source, _ = source_of(described(), counted(4_500), job("UploadComplete"), job("JobComplete"), part(*ids))
    pages = list(source.read("Thing__c", ["Id"]))
    assert [found.frame.height for found in pages] == [0, 2_000, 2_000, 500]
    fresh, script = source_of(described(), job("JobComplete"), job("JobComplete"), part(*ids))
    assert ids_of(fresh, cursor=pages[1].cursor) == ids[2_000:]
    assert not any(line.startswith("POST") for line in script.asked)


def test_waiting_for_a_job_gives_the_engine_a_breath() -> None:
    clock = VirtualClock(NOW)
    source, _ = source_of(
        described(), counted(9_999), job("UploadComplete"), *[job("InProgress")] * 12, job("JobComplete"), part("1"),
        clock=clock,
    )  # fmt: skip
    pages = list(source.read("Thing__c", ["Id"]))
    assert [found.frame.height for found in pages][-1] == 1
    breaths = pages[1:-1]
    assert breaths
    assert {json.dumps(found.cursor) for found in breaths} == {json.dumps(pages[0].cursor)}
    assert sum(clock.slept) / len(breaths) < 30


def test_a_job_that_never_ends_is_aborted_at_its_deadline() -> None:
    clock = VirtualClock(NOW)

    def platform(request: Request) -> Response:
        return job("Aborted" if request.method == "PATCH" else "InProgress")

    source, script = source_of(described(), counted(9_999), job("UploadComplete"), *[platform] * 2_000, clock=clock)
    with pytest.raises(Unavailable, match="did not finish the bulk query of Thing__c"):
        ids_of(source)
    assert script.asked[-1] == f"PATCH {ROOT}/jobs/query/750A"
    assert json.loads(script.requests[-1].content) == {"state": "Aborted"}
    assert timedelta(seconds=sum(clock.slept)) <= JOB_DEADLINE


@pytest.mark.parametrize("gone", [refused("NOT_FOUND", status=404), job("Aborted"), job("Failed")])
def test_a_cursor_whose_job_is_gone_starts_over(gone: Response) -> None:
    cursor: Cursor = {"job": "750A", "version": "66.0", "started": NOW.isoformat(), "locator": "MTA", "skip": 2_000}
    source, _ = source_of(described(), gone, counted(1), page("001"))
    assert ids_of(source, cursor=cursor) == ["001"]


def test_a_job_keeps_the_version_it_was_made_with() -> None:
    cursor: Cursor = {"job": "750A", "version": "61.0", "started": NOW.isoformat(), "locator": "", "skip": 0}
    source, script = source_of(described(), job("JobComplete"), job("JobComplete"), part("001"))
    assert ids_of(source, cursor=cursor) == ["001"]
    assert all("/v61.0/jobs/" in line for line in script.asked[1:])


def bulk_ending_in(*steps: Step) -> SalesforceSource:
    return source_of(described(), counted(9_999), job("UploadComplete"), job("JobComplete"), *steps)[0]


def test_a_part_that_repeats_itself_is_told() -> None:
    with pytest.raises(ContractChanged, match="repeats the part MTA"):
        ids_of(bulk_ending_in(part("1", locator="MTA"), part("2", locator="MTA")))


def test_a_result_without_a_locator_is_told() -> None:
    result = Response(200, content=b'"Id"\n"1"\n', headers={"Sforce-NumberOfRecords": "1"})
    with pytest.raises(ContractChanged, match="Sforce-Locator"):
        ids_of(bulk_ending_in(result))


def test_a_result_with_fewer_records_than_announced_is_told() -> None:
    result = Response(200, content=b'"Id"\n"1"\n', headers={"Sforce-NumberOfRecords": "2", "Sforce-Locator": "null"})
    with pytest.raises(Unavailable, match="announced 2 records"):
        ids_of(bulk_ending_in(result))


def test_a_result_without_a_column_is_told() -> None:
    result = Response(200, content=b'"Name"\n"1"\n', headers={"Sforce-NumberOfRecords": "1", "Sforce-Locator": "null"})
    with pytest.raises(ContractChanged, match="lacks the column Id"):
        ids_of(bulk_ending_in(result))


def test_notations_of_bulk_and_rest_become_one() -> None:
    fields = (field("N", "double"), field("D", "datetime"), field("B", "boolean"), field("T"), field("L", "long"))
    names = ["Id", "N", "D", "B", "T", "L"]
    record = {"Id": "1", "N": 1.0e7, "D": STAMP, "B": True, "T": "1.0", "L": 5}
    csv = b'"Id","N","D","B","T","L"\n"1","1.0E7","2026-11-01T10:00:00.000Z","true","1.0","5"\n'
    result = Response(200, content=csv, headers={"Sforce-NumberOfRecords": "1", "Sforce-Locator": "null"})
    rest, _ = source_of(described(*fields), counted(1), answer({"done": True, "records": [record]}))
    bulk, _ = source_of(described(*fields), counted(9_999), job("UploadComplete"), job("JobComplete"), result)
    expected = [("1", "10000000", "2026-11-01T10:00:00Z", "true", "1.0", "5")]
    assert list(rest.read("Thing__c", names))[-1].frame.rows() == expected
    assert list(bulk.read("Thing__c", names))[-1].frame.rows() == expected


# --- deletions -----------------------------------------------------------------------------------------------


def feed(*entries: tuple[str, str], earliest: str = "2026-11-01T00:00:00.000+0000") -> Response:
    records = [{"id": one, "deletedDate": at} for one, at in entries]
    return answer({"deletedRecords": records, "earliestDateAvailable": earliest, "latestDateCovered": STAMP})


def bin_of(*entries: tuple[str, str]) -> Response:
    return answer({"done": True, "records": [{"Id": one, "SystemModstamp": at} for one, at in entries]})


YESTERDAY = NOW - timedelta(days=1)


def gone_since(since: datetime, *steps: Step) -> tuple[list[Any], Script]:
    source, script = source_of(*steps)
    return [(found.source_id, found.at) for found in source.deleted("Thing__c", since=since)], script


def test_recent_deletions_come_from_the_feed() -> None:
    at = datetime(2026, 11, 19, 12, 0, tzinfo=UTC)
    found, script = gone_since(
        YESTERDAY,
        described(*STAMPED),
        feed(("001", "2026-11-19T12:00:00.000+0000"), ("002", "2026-11-19T07:59:59.000+0000")),
    )
    assert found == [("001", at)]
    assert script.asked[1].startswith(f"GET {ROOT}/sobjects/Thing__c/deleted/?start=2026-11-19T08%3A00%3A00%2B00%3A00")


@pytest.mark.parametrize(
    ("since", "steps"),
    [
        (NOW - timedelta(days=20), ()),
        (YESTERDAY, (refused("EXCEEDED_ID_LIMIT"),)),
        (YESTERDAY, (feed(earliest="2026-11-20T00:00:00.000+0000"),)),
    ],
    ids=["older than the feed", "too many for the feed", "feed purged early"],
)
def test_what_the_feed_cannot_tell_comes_from_the_bin(since: datetime, steps: tuple[Step, ...]) -> None:
    found, script = gone_since(since, described(*STAMPED), *steps, bin_of(("001", STAMP)))
    assert found == [("001", datetime(2026, 11, 1, 10, 0, tzinfo=UTC))]
    assert "/queryAll?" in script.asked[-1]
    assert "WHERE IsDeleted = true AND SystemModstamp >= " in soql_of(script.requests[-1])


def test_an_object_without_a_feed_asks_the_bin() -> None:
    found, _ = gone_since(YESTERDAY, described(*STAMPED, replicateable=False), bin_of(("001", STAMP)))
    assert [one for one, _ in found] == ["001"]


def test_an_object_without_feed_or_bin_tells_nothing() -> None:
    assert gone_since(YESTERDAY, described(replicateable=False))[0] == []
