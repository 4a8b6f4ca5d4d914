"""The universal data model: the middle ground that every platform maps to and every product from.

Fields are typed and picklists have canonical values, but between the halves everything still is text:
the types say what a platform half promises, and the target converts. ``external_id`` names the record
across platforms (``salesforce:001…``); addresses are JSON objects with ``ADDRESS_PARTS``; money stands
beside its ``currency`` (ISO 4217); texts are without length because the targets have theirs.
"""

from collections.abc import Mapping

from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType

ADDRESS_PARTS = ("street", "city", "region", "postal_code", "country")

ACCOUNT_TYPES = ("prospect", "customer", "partner", "carrier", "vendor", "competitor", "other")
ACCOUNT_STATUSES = ("active", "inactive", "blocked")
LEAD_STATUSES = ("new", "contacted", "qualified", "unqualified", "converted")
OPPORTUNITY_STAGES = ("prospecting", "qualification", "proposal", "negotiation", "closed_won", "closed_lost")
ACTIVITY_KINDS = ("task", "call", "meeting", "email", "note")
ACTIVITY_STATUSES = ("open", "in_progress", "completed", "cancelled")
PRIORITIES = ("low", "normal", "high", "urgent")
CALL_DIRECTIONS = ("inbound", "outbound", "internal")


def _of(kind: FieldType, *names: str) -> tuple[FieldInfo, ...]:
    return tuple(FieldInfo(name, kind) for name in names)


def _texts(*names: str) -> tuple[FieldInfo, ...]:
    return _of(FieldType.TEXT, *names)


def _needed(name: str) -> FieldInfo:
    return FieldInfo(name, required=True)


def _choice(name: str, choices: tuple[str, ...], *, required: bool = False) -> FieldInfo:
    return FieldInfo(name, FieldType.PICKLIST, choices=choices, restricted=True, required=required)


def _money(name: str) -> FieldInfo:
    return FieldInfo(name, FieldType.DECIMAL, precision=18, scale=2)


def _to(name: str, universal_object: str) -> FieldInfo:
    return FieldInfo(name, FieldType.REFERENCE, references=(universal_object,))


def _object(name: str, label: str, *fields: FieldInfo) -> EntitySchema:
    head = (FieldInfo("external_id", required=True, unique=True, external_id=True),)
    tail = _of(FieldType.DATETIME, "created_at", "updated_at")
    return EntitySchema(EntityInfo(name, label, "external_id", "updated_at"), head + fields + tail)


USER = _object(
    "user",
    "User",
    _needed("email"),
    *_texts("username", "first_name"),
    _needed("last_name"),
    *_texts("title", "department", "phone", "mobile", "time_zone", "locale"),
    FieldInfo("active", FieldType.BOOLEAN),
    _to("manager", "user"),
    FieldInfo("last_login_at", FieldType.DATETIME),
)

ACCOUNT = _object(
    "account",
    "Account",
    _needed("name"),
    FieldInfo("account_number"),
    _choice("type", ACCOUNT_TYPES),
    _choice("status", ACCOUNT_STATUSES),
    *_texts("industry", "phone", "fax", "email", "website"),
    *_of(FieldType.JSON, "billing_address", "shipping_address"),
    _money("annual_revenue"),
    FieldInfo("currency", length=3),
    FieldInfo("employees", FieldType.INTEGER),
    *_texts("rating", "lead_source", "description"),
    FieldInfo("tags", FieldType.MULTIPICKLIST),
    _to("owner", "user"),
    _to("parent", "account"),
)

CONTACT = _object(
    "contact",
    "Contact",
    *_texts("salutation", "first_name"),
    _needed("last_name"),
    *_texts("email", "phone", "mobile", "fax", "title", "department"),
    FieldInfo("birth_date", FieldType.DATE),
    *_of(FieldType.JSON, "mailing_address", "other_address"),
    FieldInfo("lead_source"),
    *_of(FieldType.BOOLEAN, "do_not_call", "email_opt_out"),
    FieldInfo("description"),
    FieldInfo("tags", FieldType.MULTIPICKLIST),
    _to("account", "account"),
    _to("owner", "user"),
    _to("reports_to", "contact"),
)

LEAD = _object(
    "lead",
    "Lead",
    *_texts("salutation", "first_name"),
    _needed("last_name"),
    *_texts("company", "title"),
    _choice("status", LEAD_STATUSES, required=True),
    *_texts("rating", "lead_source", "industry", "email", "phone", "mobile", "website"),
    FieldInfo("address", FieldType.JSON),
    _money("annual_revenue"),
    FieldInfo("currency", length=3),
    FieldInfo("employees", FieldType.INTEGER),
    *_of(FieldType.BOOLEAN, "do_not_call", "email_opt_out"),
    FieldInfo("description"),
    FieldInfo("tags", FieldType.MULTIPICKLIST),
    FieldInfo("converted_at", FieldType.DATETIME),
    _to("converted_account", "account"),
    _to("converted_contact", "contact"),
    _to("converted_opportunity", "opportunity"),
    _to("owner", "user"),
)

OPPORTUNITY = _object(
    "opportunity",
    "Opportunity",
    _needed("name"),
    _choice("stage", OPPORTUNITY_STAGES, required=True),
    FieldInfo("pipeline"),
    _money("amount"),
    FieldInfo("currency", length=3),
    FieldInfo("probability", FieldType.DECIMAL, precision=5, scale=2),
    FieldInfo("close_date", FieldType.DATE),
    *_texts("type", "lead_source", "next_step", "loss_reason", "description"),
    FieldInfo("tags", FieldType.MULTIPICKLIST),
    _to("account", "account"),
    _to("contact", "contact"),
    _to("owner", "user"),
)

ACTIVITY = _object(
    "activity",
    "Activity",
    _choice("kind", ACTIVITY_KINDS, required=True),
    _choice("status", ACTIVITY_STATUSES),
    _choice("priority", PRIORITIES),
    *_texts("subject", "body"),
    FieldInfo("due_date", FieldType.DATE),
    *_of(FieldType.DATETIME, "starts_at", "ends_at", "completed_at"),
    FieldInfo("duration_minutes", FieldType.INTEGER),
    FieldInfo("all_day", FieldType.BOOLEAN),
    FieldInfo("place"),
    _choice("call_direction", CALL_DIRECTIONS),
    FieldInfo("call_result"),
    _to("owner", "user"),
    _to("account", "account"),
    _to("contact", "contact"),
    _to("lead", "lead"),
    _to("opportunity", "opportunity"),
)

PRODUCT = _object(
    "product",
    "Product",
    FieldInfo("sku"),
    _needed("name"),
    *_texts("family", "description", "unit"),
    FieldInfo("unit_price", FieldType.DECIMAL, precision=18, scale=4),
    FieldInfo("currency", length=3),
    FieldInfo("weight_kg", FieldType.DECIMAL, precision=12, scale=3),
    FieldInfo("hs_code"),
    FieldInfo("active", FieldType.BOOLEAN),
    _to("owner", "user"),
)

OBJECTS: Mapping[str, EntitySchema] = {
    schema.entity.name: schema for schema in (USER, ACCOUNT, CONTACT, LEAD, OPPORTUNITY, ACTIVITY, PRODUCT)
}
"""Every universal object by name."""
