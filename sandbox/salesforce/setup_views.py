"""What an org tells of its automation: validation rules and triggers by the Tooling API, flows and duplicate rules by
ordinary queries. The rows are the rules in force here (see ``automation``), told apart by their status code.

https://developer.salesforce.com/docs/atlas.en-us.api_tooling.meta/api_tooling/
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.responses import Response

from sandbox.salesforce.automation import Rule
from sandbox.salesforce.errors import ApiError
from sandbox.salesforce.rest import JSON, Call, Services
from sandbox.salesforce.rest import query as records_query

_SELECT = re.compile(r"\s*SELECT\s+(?P<fields>[\w.,\s]+?)\s+FROM\s+(?P<view>\w+)\s*", re.IGNORECASE)
CODES = {
    "FlowDefinitionView": "CANNOT_EXECUTE_FLOW_TRIGGER",
    "DuplicateRule": "DUPLICATES_DETECTED",
    "ValidationRule": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
}
Row = dict[str, Any]


def _validation_rule(rule: Rule) -> Row:
    return {
        "ValidationName": rule.name,
        "Active": rule.active,
        "ErrorMessage": rule.message,
        "EntityDefinition": {"QualifiedApiName": rule.object},
    }


def _trigger(rule: Rule) -> Row:
    return {"Name": rule.name, "TableEnumOrId": rule.object, "Status": "Active" if rule.active else "Inactive"}


def _flow(rule: Rule) -> Row:
    entity = {"QualifiedApiName": rule.object}
    return {"ApiName": rule.name, "Label": rule.message, "IsActive": rule.active, "TriggerObjectOrEvent": entity}


def _duplicate_rule(rule: Rule) -> Row:
    return {
        "DeveloperName": rule.name,
        "MasterLabel": rule.message,
        "SobjectType": rule.object,
        "IsActive": rule.active,
    }


TOOLING: Mapping[str, Callable[[Rule], Row]] = {"ValidationRule": _validation_rule, "ApexTrigger": _trigger}
QUERIED: Mapping[str, Callable[[Rule], Row]] = {"FlowDefinitionView": _flow, "DuplicateRule": _duplicate_rule}


def tooling_query(services: Services, call: Call) -> Response:
    """``GET /tooling/query?q=``, of a few views and without conditions."""
    answer = _answer(services, call.argument("q") or "", TOOLING)
    if answer is None:
        raise ApiError(400, "INVALID_TYPE", "this sandbox's Tooling API knows ValidationRule and ApexTrigger only")
    return answer


def query(services: Services, call: Call) -> Response:
    """``GET /query?q=`` of FlowDefinitionView and DuplicateRule, or of records."""
    return _answer(services, call.argument("q") or "", QUERIED) or records_query(services, call)


def _answer(services: Services, soql: str, views: Mapping[str, Callable[[Rule], Row]]) -> Response | None:
    found = _SELECT.match(soql)
    view = next((name for name in views if found and name.lower() == found["view"].lower()), None)
    if found is None or view is None:
        return None
    if found.end() != len(soql):
        raise ApiError(400, "MALFORMED_QUERY", f"this sandbox answers {view} without conditions only")
    names = [name.strip() for name in found["fields"].split(",")]
    rows = [_selected(view, names, views[view](rule)) for rule in _rules(services, view)]
    return Response(orjson.dumps({"totalSize": len(rows), "done": True, "records": rows}), media_type=JSON)


def _rules(services: Services, view: str) -> list[Rule]:
    every = [rule for rules in services.writer.automation.rules.values() for rule in rules]
    if view == "ApexTrigger":
        return [rule for rule in every if rule.code not in CODES.values()]
    return [rule for rule in every if rule.code == CODES[view]]


def _selected(view: str, names: list[str], row: Row) -> Row:
    picked: Row = {"attributes": {"type": view}}
    for name in names:
        first = name.partition(".")[0]
        if first not in row:
            raise ApiError(400, "INVALID_FIELD", f"No such column '{name}' on entity '{view}'")
        picked[first] = row[first]
    return picked
