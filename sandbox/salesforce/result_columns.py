"""``/query?columns=true``: what the columns of a query's result are, instead of its records. The command line asks it.

Undocumented by the vendor; shape as ``sf data query`` reads it and as seen in its repository's recorded answers.
"""

from typing import Any

from sandbox.salesforce.compile import Leaf, Parent, Plan
from sandbox.salesforce.schema import NUMBER_TYPES, TEXT_TYPES

_APEX_TYPES = {
    "id": "Id", "reference": "Id", "boolean": "Boolean", "int": "Integer", "date": "Date", "datetime": "Datetime",
    "time": "Time", "address": "Address", **dict.fromkeys(NUMBER_TYPES, "Double"),
}  # fmt: skip


def described(plan: Plan) -> dict[str, Any]:
    subject = plan.subject
    return {
        "columnMetadata": [_column(each) for each in plan.columns],
        "entityName": subject.name,
        "groupBy": False,
        "idSelected": any(each.key == "Id" for each in plan.columns),
        "keyPrefix": subject.prefix,
    }


def _column(each: Leaf | Parent) -> dict[str, Any]:
    kind = each.type if isinstance(each, Leaf) else "reference"
    below = [] if isinstance(each, Leaf) else [_column(inner) for inner in each.leaves]
    return {
        "aggregate": False,
        "apexType": None if below else _APEX_TYPES.get(kind, "String"),
        "booleanType": kind == "boolean",
        "columnName": each.key,
        "custom": each.key.endswith(("__c", "__r")),
        "displayName": each.key,
        "foreignKeyName": each.key if below else None,
        "insertable": False,
        "joinColumns": below,
        "numberType": kind == "int" or kind in NUMBER_TYPES,
        "textType": kind in TEXT_TYPES - {"id", "reference"},
        "updatable": False,
    }
