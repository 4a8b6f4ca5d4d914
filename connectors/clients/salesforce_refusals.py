"""Why Salesforce refuses a record: every status code a migration meets, what it means and what to do about it.

Codes: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
(StatusCode). A refusal names one record; codes that mean the whole request are in ``salesforce_errors``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Class(StrEnum):
    """What a refusal means for what happens next."""

    SESSION = "session"
    THROTTLE = "throttle"
    """Nobody's fault: wait, then everything again."""
    TRANSIENT = "transient"
    """This record again, in smaller company."""
    PRESENT = "present"
    """The target may hold it already: look there."""
    DUPLICATE_RULE = "duplicate_rule"
    DATA = "data"
    REFERENCE = "reference"
    LOGIC = "logic"
    """The customer's own automation said no."""
    OWNERSHIP = "ownership"
    PERMISSION = "permission"
    SCHEMA = "schema"
    STORAGE = "storage"
    """Every further record fails, too: stop."""
    ROLLED_BACK = "rolled_back"
    """Innocent: refused for a neighbour's sake, sent again without it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """``what`` is a sentence about the record, ``advice`` one for staff."""

    kind: Class
    what: str
    advice: str


_RETRIED: Final = "Load the record again later; if it recurs, load fewer records at once."
_LOGIC: Final = "Correct the record, or have the rule changed or bypassed for the migration user."
_CORRECT: Final = "Correct the value at the source or in the mapping."
_PARENT: Final = "Load the parent first, or let the migration user see it."
_RIGHTS: Final = "Give the migration user's permission set the access."
_MAPPING: Final = "Correct the mapping; describe the object again if it changed."
_OWNER: Final = "Map the owner to an active user or queue."

_SESSION = Refusal(Class.SESSION, "The session ended while the record was written.", "Connect the org again.")
_SLOW = Refusal(Class.THROTTLE, "Salesforce has no capacity left for us now.", "It goes on by itself.")
_BUSY = Refusal(Class.TRANSIENT, "Salesforce could not write the record at that moment.", _RETRIED)
_DUPLICATE = Refusal(
    Class.PRESENT, "Another record already has a value that must be unique.", "Merge the two, or change the value."
)

REFUSALS: Final[Mapping[str, Refusal]] = {
    "INVALID_SESSION_ID": _SESSION,
    "SESSION_EXPIRED": _SESSION,
    # Waiting helps.
    "REQUEST_LIMIT_EXCEEDED": _SLOW,
    "LIMIT_EXCEEDED": _SLOW,
    "ExceededQuota": _SLOW,
    "TOO_MANY_APEX_REQUESTS": _SLOW,
    "REQUEST_RUNNING_TOO_LONG": _SLOW,
    "TXN_SECURITY_METERING_ERROR": Refusal(
        Class.PERMISSION,
        "A transaction security policy stopped the record.",
        "Give the migration user “Exempt from Transaction Security”.",
    ),
    # Once more may help.
    "UNABLE_TO_LOCK_ROW": Refusal(
        Class.TRANSIENT, "The record or its parent stayed locked by another change.", _RETRIED
    ),
    "SERVICE_UNAVAILABLE": _BUSY,
    "SERVER_UNAVAILABLE": _BUSY,
    "QUERY_TIMEOUT": _BUSY,
    "UNKNOWN_EXCEPTION": _BUSY,
    "INTERNAL_ERROR": _BUSY,
    "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE": Refusal(
        Class.TRANSIENT, "The org is under maintenance and takes no changes.", "Load the record again afterwards."
    ),
    "ENTITY_IS_LOCKED": Refusal(
        Class.TRANSIENT, "The record is locked by an approval.", "Finish or recall the approval, then load it again."
    ),
    "RECORD_IN_USE_BY_WORKFLOW": Refusal(Class.TRANSIENT, "A workflow is working on the record.", _RETRIED),
    # Perhaps there already.
    "DUPLICATE_VALUE": _DUPLICATE,
    "DUPLICATE_EXTERNAL_ID": Refusal(
        Class.PRESENT, "Several records of the org have this key.", "Leave the key on one of them only."
    ),
    "DUPLICATE_DEVELOPER_NAME": _DUPLICATE,
    "DUPLICATE_USERNAME": _DUPLICATE,
    "ENTITY_IS_DELETED": Refusal(
        Class.PRESENT, "The record was deleted while it was written.", "Load it again to create it anew."
    ),
    "DUPLICATES_DETECTED": Refusal(
        Class.DUPLICATE_RULE,
        "A duplicate rule takes the record for one that exists.",
        "Match it to that record, or save despite alerts (the org's settings). A rule that blocks must be changed.",
    ),
    # The record's own values.
    "REQUIRED_FIELD_MISSING": Refusal(Class.DATA, "A required field is blank.", "Fill it, or map a default."),
    "STRING_TOO_LONG": Refusal(Class.DATA, "A text is longer than its field.", _CORRECT),
    "NUMBER_OUTSIDE_VALID_RANGE": Refusal(Class.DATA, "A number is larger than its field.", _CORRECT),
    "DATE_OUT_OF_RANGE": Refusal(Class.DATA, "A date lies outside what Salesforce keeps.", _CORRECT),
    "INVALID_EMAIL_ADDRESS": Refusal(Class.DATA, "An e-mail address is not one.", _CORRECT),
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": Refusal(
        Class.DATA,
        "A picklist does not have this value, or not for this record type.",
        "Map the value to one the org has, or have it added there.",
    ),
    "INVALID_TYPE_ON_FIELD_IN_RECORD": Refusal(Class.DATA, "A value is of the wrong type.", _MAPPING),
    "INVALID_CURRENCY_ISO": Refusal(
        Class.DATA, "The org does not have this currency.", "Activate the currency there, or map it."
    ),
    "MALFORMED_ID": Refusal(Class.DATA, "A value is not a Salesforce id of the right object.", _MAPPING),
    "FIELD_INTEGRITY_EXCEPTION": Refusal(Class.DATA, "Values of the record contradict each other.", _CORRECT),
    "FIELD_FILTER_VALIDATION_EXCEPTION": Refusal(
        Class.DATA, "A lookup filter does not allow this parent.", "Choose another parent, or have the filter changed."
    ),
    "JSON_PARSER_ERROR": Refusal(Class.DATA, "Salesforce cannot read a value of the record.", _CORRECT),
    # Other records.
    "INVALID_CROSS_REFERENCE_KEY": Refusal(
        Class.REFERENCE, "A parent does not exist in the org, or the migration user cannot see it.", _PARENT
    ),
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Refusal(
        Class.REFERENCE, "The migration user may not attach records to this parent.", _PARENT
    ),
    "INVALID_FIELD": Refusal(Class.REFERENCE, "A parent was not found by its external id.", _PARENT),
    "MISSING_RECORD": Refusal(Class.REFERENCE, "A record it belongs to is missing.", _PARENT),
    # The customer's automation.
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": Refusal(Class.LOGIC, "A validation rule of the org refused it.", _LOGIC),
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": Refusal(Class.LOGIC, "An Apex trigger of the org failed on it.", _LOGIC),
    "CANNOT_EXECUTE_FLOW_TRIGGER": Refusal(Class.LOGIC, "A flow of the org failed on it.", _LOGIC),
    "FLOW_EXCEPTION": Refusal(Class.LOGIC, "A flow of the org failed on it.", _LOGIC),
    "CUSTOM_APEX_ERROR": Refusal(Class.LOGIC, "Apex code of the org refused it.", _LOGIC),
    "SELF_REFERENCE_FROM_TRIGGER": Refusal(Class.LOGIC, "An Apex trigger tried to change the record twice.", _LOGIC),
    # Owners.
    "INACTIVE_OWNER_OR_USER": Refusal(Class.OWNERSHIP, "Its owner is an inactive user.", _OWNER),
    "INVALID_OWNER": Refusal(Class.OWNERSHIP, "Its owner cannot own records of this object.", _OWNER),
    "INVALID_OPERATION": Refusal(
        Class.OWNERSHIP,
        "The org does not allow it, most often because the queue that is to own the record does not serve its object.",
        _OWNER,
    ),
    "OP_WITH_INVALID_USER_TYPE_EXCEPTION": Refusal(
        Class.OWNERSHIP, "Its owner's kind of user cannot own it.", _OWNER
    ),
    "TRANSFER_REQUIRES_READ": Refusal(
        Class.OWNERSHIP, "Its new owner may not read this object.", "Give that owner access, or map another."
    ),
    # Rights.
    "INSUFFICIENT_ACCESS": Refusal(Class.PERMISSION, "The migration user may not write it.", _RIGHTS),
    "INSUFFICIENT_ACCESS_OR_READONLY": Refusal(Class.PERMISSION, "The migration user may not write it.", _RIGHTS),
    "INVALID_FIELD_FOR_INSERT_UPDATE": Refusal(
        Class.PERMISSION, "The migration user may not fill one of its fields.", _RIGHTS
    ),
    "FIELD_NOT_UPDATABLE": Refusal(
        Class.PERMISSION,
        "A field that is set on creation only has another value in the org.",
        "Leave the field out, or delete the record there and load it again.",
    ),
    "API_DISABLED_FOR_ORG": Refusal(Class.PERMISSION, "The org does not allow its API.", "Have it enabled there."),
    "API_CURRENTLY_DISABLED": Refusal(Class.PERMISSION, "The org does not allow its API.", "Have it enabled there."),
    "FUNCTIONALITY_NOT_ENABLED": Refusal(Class.PERMISSION, "A feature it needs is off.", "Have it enabled there."),
    "FeatureNotEnabled": Refusal(Class.PERMISSION, "A feature it needs is off.", "Have it enabled there."),
    # Our request or the mapping.
    "INVALID_TYPE": Refusal(Class.SCHEMA, "The org has no such object for the migration user.", _MAPPING),
    "NOT_FOUND": Refusal(Class.SCHEMA, "The record is not there.", _MAPPING),
    "MALFORMED_QUERY": Refusal(Class.SCHEMA, "Salesforce did not understand a query.", _MAPPING),
    "INVALID_QUERY_FILTER_OPERATOR": Refusal(Class.SCHEMA, "Salesforce did not understand a query.", _MAPPING),
    "QUERY_TOO_COMPLICATED": Refusal(Class.SCHEMA, "The org's formulas make it too complicated.", _MAPPING),
    "INVALID_QUERY_LOCATOR": Refusal(Class.SCHEMA, "Salesforce dropped the place where it was.", _RETRIED),
    "INVALID_ID_FIELD": Refusal(Class.SCHEMA, "It cannot be matched by this field.", _MAPPING),
    "MISSING_ARGUMENT": Refusal(Class.SCHEMA, "It came without its key.", _MAPPING),
    "INVALID_EXTERNAL_ID_FIELD_NAME": Refusal(Class.SCHEMA, "It cannot be matched by this field.", _MAPPING),
    "INVALID_ENTITY_FOR_UPSERT": Refusal(Class.SCHEMA, "Records of this object cannot be matched by a key.", _MAPPING),
    "INVALIDENTITY": Refusal(Class.SCHEMA, "The Bulk API does not serve this object.", _RETRIED),
    "MIXED_DML_OPERATION": Refusal(
        Class.SCHEMA, "Users and data cannot be written together.", "Move them as two objects, one after the other."
    ),
    "INVALID_PERSON_ACCOUNT_OPERATION": Refusal(
        Class.SCHEMA, "A person account was treated as a company, or the other way round.", _MAPPING
    ),
    "UNAVAILABLE_RECORDTYPE_EXCEPTION": Refusal(
        Class.SCHEMA, "The migration user has no access to its record type.", _RIGHTS
    ),
    "CANNOT_UPDATE_CONVERTED_LEAD": Refusal(
        Class.SCHEMA, "The lead was converted and takes no changes.", "Skip it, or change what it was converted into."
    ),
    "DELETE_FAILED": Refusal(
        Class.SCHEMA, "Other records depend on it, so that it cannot be deleted.", "Delete those first."
    ),
    "CIRCULAR_DEPENDENCY": Refusal(
        Class.SCHEMA, "It would be its own ancestor.", "Correct the parent at the source."
    ),
    # Room.
    "STORAGE_LIMIT_EXCEEDED": Refusal(
        Class.STORAGE, "The org has no storage left.", "Free some or have more added, then resume."
    ),
    "FILE_SIZE_LIMIT_EXCEEDED": Refusal(Class.DATA, "A file is larger than Salesforce takes.", _CORRECT),
    "MAXIMUM_SIZE_OF_ATTACHMENT": Refusal(Class.DATA, "An attachment is larger than Salesforce takes.", _CORRECT),
    # Refused for others.
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": Refusal(
        Class.ROLLED_BACK, "It was taken back because another record failed.", _RETRIED
    ),
    "PROCESSING_HALTED": Refusal(
        Class.ROLLED_BACK, "It was not tried because another record failed.", _RETRIED
    ),
}  # fmt: skip

_UNKNOWN = Refusal(Class.LOGIC, "Salesforce refused the record.", "Read its reason and correct the record.")
AGAIN: Final = frozenset({Class.TRANSIENT, Class.ROLLED_BACK, Class.SESSION})


def refusal(code: str) -> Refusal:
    """What the code means; a code that is in no list is the record's own trouble."""
    return REFUSALS.get(code, _UNKNOWN)


def sentence(code: str, said: str) -> str:
    """The refusal as staff read it, with Salesforce's own words in the middle."""
    words = " ".join(said.split())[:300]
    if code.islower():
        return words  # our own code: Salesforce was not asked, or says nothing of the kind
    found = refusal(code)
    return f"{found.what} Salesforce says: “{(words or code).removesuffix('.')}”. {found.advice}"
