"""Salesforce's standard objects to the universal model.

Standard fields and picklist values: https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta
(both the values of today's orgs and of older ones). Picklists can be edited per org: a value that is not
listed here is a finding, to be added by a value map of the project. Ids begin with a key prefix that
names the object (005 User, 001 Account, 003 Contact, 00Q Lead, 006 Opportunity), by which the polymorphic
WhoId, WhatId and OwnerId are told apart.
"""

from projects.mapping.specification import (
    Address,
    Constant,
    Default,
    Field,
    FieldRule,
    Formula,
    Half,
    Mapped,
    Reference,
    Rule,
    Template,
)

_ACCOUNT_TYPES = {
    "Analyst": "other",
    "Channel Partner / Reseller": "partner",
    "Competitor": "competitor",
    "Customer": "customer",
    "Customer - Channel": "customer",
    "Customer - Direct": "customer",
    "Installation Partner": "partner",
    "Integrator": "partner",
    "Investor": "other",
    "Other": "other",
    "Partner": "partner",
    "Press": "other",
    "Prospect": "prospect",
    "Reseller": "partner",
    "Technology Partner": "partner",
}
_LEAD_STATUSES = {
    "Closed - Converted": "converted",
    "Closed - Not Converted": "unqualified",
    "Contacted": "contacted",
    "New": "new",
    "Nurturing": "contacted",
    "Open - Not Contacted": "new",
    "Qualified": "qualified",
    "Unqualified": "unqualified",
    "Working": "contacted",
    "Working - Contacted": "contacted",
}
_STAGES = {
    "Closed Lost": "closed_lost",
    "Closed Won": "closed_won",
    "Id. Decision Makers": "qualification",
    "Needs Analysis": "qualification",
    "Negotiation": "negotiation",
    "Negotiation/Review": "negotiation",
    "Perception Analysis": "qualification",
    "Proposal": "proposal",
    "Proposal/Price Quote": "proposal",
    "Prospecting": "prospecting",
    "Qualification": "qualification",
    "Qualify": "qualification",
    "Value Proposition": "qualification",
}
_TASK_KINDS = {
    "Cadence": "task",
    "Call": "call",
    "Email": "email",
    "LinkedIn": "task",
    "ListEmail": "email",
    "Task": "task",
}
_TASK_STATUSES = {
    "Completed": "completed",
    "Deferred": "open",
    "In Progress": "in_progress",
    "Not Started": "open",
    "Waiting on someone else": "open",
}
_PRIORITIES = {"High": "high", "Low": "low", "Normal": "normal"}
_CALL_DIRECTIONS = {"Inbound": "inbound", "Internal": "internal", "Outbound": "outbound"}

# A call of 61 seconds took two started minutes.
_STARTED_MINUTES = (
    "(CAST(CallDurationInSeconds AS BIGINT) + 59 - (CAST(CallDurationInSeconds AS BIGINT) + 59) % 60) / 60"
)


def _fields(**named: str) -> tuple[FieldRule, ...]:
    """Universal field = Salesforce field."""
    return tuple(FieldRule(target, Field(name)) for target, name in named.items())


def _address(prefix: str) -> Address:
    parts = {"street": "Street", "city": "City", "region": "State", "postal_code": "PostalCode", "country": "Country"}
    return Address({part: Field(prefix + name) for part, name in parts.items()})


def _reference(target: str, name: str, entity: str) -> FieldRule:
    return FieldRule(target, Reference(Field(name), (entity,)))


def _by_prefix(target: str, name: str, prefix: str, entity: str) -> FieldRule:
    """A polymorphic reference where it points at this entity."""
    picked = Formula(f"CASE WHEN STARTS_WITH({name}, '{prefix}') THEN {name} END")
    return FieldRule(target, Reference(picked, (entity,)))


def _mapped(target: str, of: Rule, entries: dict[str, str]) -> FieldRule:
    return FieldRule(target, Mapped(of, entries))


# A queue can own leads and tasks; queues are not moved, so that only owners who are users are looked up.
_OWNER = _by_prefix("owner", "OwnerId", "005", "User")

_ALWAYS = (
    FieldRule("external_id", Template("salesforce:{Id}")),
    *_fields(created_at="CreatedDate", updated_at="LastModifiedDate"),
)

_ACTIVITY = (
    *_ALWAYS,
    *_fields(subject="Subject", body="Description", due_date="ActivityDate"),
    _OWNER,
    _by_prefix("contact", "WhoId", "003", "Contact"),
    _by_prefix("lead", "WhoId", "00Q", "Lead"),
    _by_prefix("account", "WhatId", "001", "Account"),
    _by_prefix("opportunity", "WhatId", "006", "Opportunity"),
)


def _half(origin: str, result: str, *rules: FieldRule) -> Half:
    return Half(origin=origin, result=result, identity="Id", rules=rules)


HALVES: tuple[Half, ...] = (
    _half(
        "User",
        "user",
        *_ALWAYS,
        *_fields(email="Email", username="Username", first_name="FirstName", last_name="LastName"),
        *_fields(title="Title", department="Department", phone="Phone", mobile="MobilePhone"),
        *_fields(time_zone="TimeZoneSidKey", locale="LocaleSidKey", active="IsActive"),
        _reference("manager", "ManagerId", "User"),
    ),
    _half(
        "Account",
        "account",
        *_ALWAYS,
        *_fields(name="Name", account_number="AccountNumber", industry="Industry", phone="Phone", fax="Fax"),
        *_fields(website="Website", annual_revenue="AnnualRevenue", employees="NumberOfEmployees"),
        *_fields(rating="Rating", lead_source="AccountSource", description="Description"),
        _mapped("type", Field("Type"), _ACCOUNT_TYPES),
        FieldRule("billing_address", _address("Billing")),
        FieldRule("shipping_address", _address("Shipping")),
        _OWNER,
        _reference("parent", "ParentId", "Account"),
    ),
    _half(
        "Contact",
        "contact",
        *_ALWAYS,
        *_fields(salutation="Salutation", first_name="FirstName", last_name="LastName", email="Email"),
        *_fields(phone="Phone", mobile="MobilePhone", fax="Fax", title="Title", department="Department"),
        *_fields(birth_date="Birthdate", lead_source="LeadSource", description="Description"),
        *_fields(do_not_call="DoNotCall", email_opt_out="HasOptedOutOfEmail"),
        FieldRule("mailing_address", _address("Mailing")),
        FieldRule("other_address", _address("Other")),
        _OWNER,
        _reference("account", "AccountId", "Account"),
        _reference("reports_to", "ReportsToId", "Contact"),
    ),
    _half(
        "Lead",
        "lead",
        *_ALWAYS,
        *_fields(salutation="Salutation", first_name="FirstName", last_name="LastName", company="Company"),
        *_fields(title="Title", rating="Rating", lead_source="LeadSource", industry="Industry", email="Email"),
        *_fields(phone="Phone", mobile="MobilePhone", website="Website", annual_revenue="AnnualRevenue"),
        *_fields(employees="NumberOfEmployees", description="Description"),
        *_fields(do_not_call="DoNotCall", email_opt_out="HasOptedOutOfEmail"),
        # Several statuses may count as converted in an org; the flag is what tells.
        _mapped(
            "status",
            Formula("CASE WHEN LOWER(IsConverted) = 'true' THEN 'Closed - Converted' ELSE Status END"),
            _LEAD_STATUSES,
        ),
        FieldRule("address", _address("")),
        # The platform keeps the day only.
        FieldRule("converted_at", Template("{ConvertedDate}T00:00:00Z")),
        _OWNER,
        _reference("converted_account", "ConvertedAccountId", "Account"),
        _reference("converted_contact", "ConvertedContactId", "Contact"),
        _reference("converted_opportunity", "ConvertedOpportunityId", "Opportunity"),
    ),
    _half(
        "Opportunity",
        "opportunity",
        *_ALWAYS,
        *_fields(name="Name", amount="Amount", probability="Probability", close_date="CloseDate", type="Type"),
        *_fields(lead_source="LeadSource", next_step="NextStep", description="Description"),
        _mapped("stage", Field("StageName"), _STAGES),
        _OWNER,
        _reference("account", "AccountId", "Account"),
    ),
    _half(
        "Task",
        "activity",
        *_ACTIVITY,
        FieldRule("kind", Default(Mapped(Field("TaskSubtype"), _TASK_KINDS), Constant("task"))),
        _mapped("status", Field("Status"), _TASK_STATUSES),
        _mapped("priority", Field("Priority"), _PRIORITIES),
        _mapped("call_direction", Field("CallType"), _CALL_DIRECTIONS),
        *_fields(call_result="CallDisposition", completed_at="CompletedDateTime"),
        FieldRule("duration_minutes", Formula(_STARTED_MINUTES)),
    ),
    _half(
        "Event",
        "activity",
        *_ACTIVITY,
        FieldRule("kind", Constant("meeting")),
        *_fields(starts_at="StartDateTime", ends_at="EndDateTime", duration_minutes="DurationInMinutes"),
        *_fields(all_day="IsAllDayEvent", place="Location"),
    ),
    _half(
        "Product2",
        "product",
        *_ALWAYS,
        FieldRule("sku", Default(Field("StockKeepingUnit"), Field("ProductCode"))),
        *_fields(name="Name", family="Family", description="Description", active="IsActive"),
        *_fields(unit="QuantityUnitOfMeasure"),
    ),
)
