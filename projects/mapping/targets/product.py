"""The universal model to the product database (``sandbox/product.sql``).

Columns that may not be null but have a default are never left to a blank: writing null would be refused,
so that each has its default here as well. The tenant is the target connector's to fill.
"""

from projects.mapping.specification import Constant, Default, Field, FieldRule, Half, Rule


def _same(*names: str) -> tuple[FieldRule, ...]:
    return tuple(FieldRule(name, Field(name)) for name in names)


def _renamed(**named: str) -> tuple[FieldRule, ...]:
    """Column = universal field."""
    return tuple(FieldRule(column, Field(name)) for column, name in named.items())


def _or(name: str, otherwise: Rule) -> FieldRule:
    return FieldRule(name, Default(Field(name), otherwise))


def _half(origin: str, table: str, *rules: FieldRule) -> Half:
    head = (*_same("external_id"), *_renamed(source_created_at="created_at"))
    return Half(origin=origin, result=table, identity="external_id", rules=(*head, *rules))


_UPDATED = _renamed(source_updated_at="updated_at")

HALVES: tuple[Half, ...] = (
    _half(
        "user",
        "users",
        *_same("email", "username", "first_name", "last_name", "title", "department", "phone", "mobile"),
        *_same("time_zone", "locale", "last_login_at"),
        _or("active", Constant("true")),
        *_renamed(manager_id="manager"),
    ),
    _half(
        "account",
        "accounts",
        *_UPDATED,
        *_same("name", "account_number", "type", "industry", "phone", "fax", "email", "website"),
        *_same("billing_address", "shipping_address", "annual_revenue", "currency", "employees", "rating"),
        *_same("lead_source", "description"),
        _or("status", Constant("active")),
        *_renamed(owner_id="owner", parent_id="parent"),
    ),
    _half(
        "contact",
        "contacts",
        *_UPDATED,
        *_same("salutation", "first_name", "last_name", "email", "phone", "mobile", "fax", "title", "department"),
        *_same("birth_date", "mailing_address", "other_address", "lead_source", "description"),
        _or("do_not_call", Constant("false")),
        _or("email_opt_out", Constant("false")),
        *_renamed(account_id="account", owner_id="owner", reports_to_id="reports_to"),
    ),
    _half(
        "lead",
        "leads",
        *_UPDATED,
        *_same("salutation", "first_name", "last_name", "company", "title", "rating", "lead_source", "industry"),
        *_same("email", "phone", "mobile", "website", "address", "annual_revenue", "currency", "employees"),
        *_same("description", "converted_at"),
        _or("status", Constant("new")),
        _or("do_not_call", Constant("false")),
        _or("email_opt_out", Constant("false")),
        *_renamed(owner_id="owner", converted_account_id="converted_account"),
        *_renamed(converted_contact_id="converted_contact", converted_opportunity_id="converted_opportunity"),
    ),
    _half(
        "opportunity",
        "opportunities",
        *_UPDATED,
        *_same("name", "amount", "currency", "probability", "close_date", "type", "lead_source", "next_step"),
        *_same("loss_reason", "description"),
        _or("stage", Constant("prospecting")),
        *_renamed(account_id="account", contact_id="contact", owner_id="owner"),
    ),
    _half(
        "activity",
        "activities",
        *_UPDATED,
        *_same("kind", "priority", "body", "due_date", "starts_at", "ends_at", "completed_at", "duration_minutes"),
        *_same("place", "call_direction", "call_result"),
        _or("status", Constant("open")),
        _or("subject", Constant("(no subject)")),
        _or("all_day", Constant("false")),
        *_renamed(owner_id="owner", account_id="account", contact_id="contact"),
        *_renamed(lead_id="lead", opportunity_id="opportunity"),
    ),
    _half(
        "product",
        "products",
        *_UPDATED,
        _or("sku", Field("external_id")),
        *_same("name", "family", "description", "unit", "unit_price", "currency", "weight_kg", "hs_code"),
        FieldRule("is_active", Default(Field("active"), Constant("true"))),
    ),
)
