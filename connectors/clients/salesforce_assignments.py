"""Permission sets of ours in an org: finding them, and assigning them to a user or taking them away.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_permissionsetassignment.htm
"""

from collections.abc import Sequence
from typing import Final

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_session import SalesforceSession
from connectors.errors import ContractChanged, NotFound, PermissionMissing, Unavailable
from connectors.pagination import batch_from

_ASSIGNMENT: Final = "PermissionSetAssignment"
_MAY_ASSIGN: Final = "The connecting user needs “Assign Permission Sets” for it."


def permission_set_id(session: SalesforceSession, name: str) -> str:
    """The id of the permission set of that API name, blank where there is none."""
    return next(iter(ids(session, "PermissionSet", [soql.condition("Name", "=", name)])), "")


def is_assigned(session: SalesforceSession, permission_set: str, user: str) -> bool:
    return bool(_assignments(session, permission_set, user))


def assign(session: SalesforceSession, permission_set: str, user: str, *, on: bool) -> None:
    """Assign the permission set (an id) to the user, or take it away; what is so already is left.

    After a lost answer the org is asked, so that each call may be repeated. Raises connector errors."""
    held = _assignments(session, permission_set, user)
    try:
        if on and not held:
            body = {"AssigneeId": user, "PermissionSetId": permission_set}
            session.http.send("POST", session.path("sobjects", _ASSIGNMENT), json=body, repeatable=False)
        for each in () if on else held:
            session.http.send("DELETE", session.path("sobjects", _ASSIGNMENT, each), repeatable=True)
    except PermissionMissing as error:
        raise PermissionMissing(f"{error.message} {_MAY_ASSIGN}", detail=error.detail) from None
    except (Unavailable, NotFound, ContractChanged):
        # Perhaps done all the same, or somebody was quicker.
        if is_assigned(session, permission_set, user) is not on:
            raise
    else:
        if is_assigned(session, permission_set, user) is not on:
            raise ContractChanged(
                f"Salesforce took the {'assignment' if on else 'removal'} of the permission set {permission_set} and "
                "did not carry it out. Look at its assignments in the org's Setup."
            )


def ids(session: SalesforceSession, entity: str, where: Sequence[str]) -> Sequence[str]:
    """The ids of those few rows of set-up for which all conditions hold."""
    rows = batch_from(session.query(soql.select(["Id"], entity, where)), ("records",)).records
    return [str(row["Id"]) for row in rows]


def _assignments(session: SalesforceSession, permission_set: str, user: str) -> Sequence[str]:
    wanted = [soql.condition("AssigneeId", "=", user), soql.condition("PermissionSetId", "=", permission_set)]
    return ids(session, _ASSIGNMENT, wanted)
