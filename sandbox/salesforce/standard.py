"""The built-in objects every simulated org starts with.

Names, types, lengths, flags and values follow recorded describes of real orgs (the public test recordings of
CumulusCI and Amaxa); only fields a migration meets are kept.
"""

from dataclasses import replace

from sandbox.salesforce import fields as f
from sandbox.salesforce.schema import Field, Schema, SObject

INDUSTRIES = (
    "Agriculture", "Apparel", "Banking", "Biotechnology", "Chemicals", "Communications", "Construction", "Consulting",
    "Education", "Electronics", "Energy", "Engineering", "Entertainment", "Environmental", "Finance", "Food & Beverage",
    "Government", "Healthcare", "Hospitality", "Insurance", "Machinery", "Manufacturing", "Media", "Not For Profit",
    "Other", "Recreation", "Retail", "Shipping", "Technology", "Telecommunications", "Transportation", "Utilities",
)  # fmt: skip
LEAD_SOURCES = (
    "Advertisement", "Employee Referral", "External Referral", "Partner", "Public Relations", "Seminar - Internal",
    "Seminar - Partner", "Trade Show", "Web", "Word of mouth", "Other",
)  # fmt: skip
RATINGS = ("Hot", "Warm", "Cold")
ACCOUNT_TYPES = (
    "Analyst", "Competitor", "Customer", "Integrator", "Investor", "Partner", "Press", "Prospect", "Reseller", "Other",
)  # fmt: skip
STAGES = (
    "Prospecting", "Qualification", "Needs Analysis", "Value Proposition", "Id. Decision Makers", "Perception Analysis",
    "Proposal/Price Quote", "Negotiation/Review", "Closed Won", "Closed Lost",
)  # fmt: skip
STAGE_PROBABILITY = (10.0, 10.0, 20.0, 50.0, 60.0, 70.0, 75.0, 90.0, 100.0, 0.0)
LEAD_STATUSES = ("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted")
TASK_STATUSES = ("Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred")
TASK_SUBJECTS = ("Call", "Send Letter", "Send Quote", "Other")
PRIORITIES = ("High", "Normal", "Low")
PRODUCT_FAMILIES = ("None", "Hardware", "Software", "Services")
WHAT_TARGETS = ("Account", "Campaign", "Case", "Opportunity", "Product2")


def standard_schema() -> Schema:
    """A new schema of the built-in objects with their share, history and feed companions."""
    objects = (
        _user(),
        _account(),
        _contact(),
        _lead(),
        _opportunity(),
        _product(),
        _task(),
        _event(),
        _case(),
        _campaign(),
        _organization(),
        _profile(),
        _user_role(),
        _group(),
        _record_type(),
        _pricebook(),
    )
    companions = [each for base in objects if base.feed for each in companion_objects(base)]
    return Schema([*objects, *companions])


def companion_objects(base: SObject) -> tuple[SObject, ...]:
    """The helper objects the platform lists beside one with history and sharing; here they hold no rows."""
    stem = base.name.removesuffix("__c") + "__" if base.custom else base.name
    parent = "ParentId" if base.custom else f"{base.name}Id"
    relation = "Parent" if base.custom else base.name
    link = f.required(f.read_only(f.reference(parent, f"{base.label} ID", base.name, relationship=relation)))
    by = f.audit()[1]
    created = f.audit()[0]
    history = (
        f.record_id("History ID"),
        f.deleted(),
        link,
        by,
        created,
        f.read_only(f.text("Field", "Changed Field")),
        f.read_only(f.text("OldValue", "Old Value")),
        f.read_only(f.text("NewValue", "New Value")),
    )
    share = (
        f.record_id("Share ID"),
        link,
        f.required(f.reference("UserOrGroupId", "User/Group ID", "User", "Group", relationship="UserOrGroup")),
        f.read_only(f.picklist("RowCause", "Row Cause", "Owner", "Manual", "Rule", restricted=True)),
        f.read_only(f.datetime("LastModifiedDate", "Last Modified Date")),
        f.deleted(),
    )
    made = (("History", history), ("Share", share))
    return tuple(
        SObject(
            name=stem + kind,
            label=f"{base.label} {kind}",
            plural=f"{base.label} {kind}",
            prefix=None,
            fields=columns,
            createable=False,
            deletable=False,
            undeletable=False,
            searchable=False,
            triggerable=False,
            layoutable=False,
            associate_type=kind,
            associate_parent=base.name,
        )
        for kind, columns in made
    )


def _name(label: str, length: int = 255) -> Field:
    return replace(f.required(f.text("Name", label, length)), name_field=True)


def _user() -> SObject:
    columns = (
        f.record_id("User ID"),
        replace(f.required(f.text("Username", "Username", 80)), id_lookup=True, unique=True),
        *_user_name(),
        f.text("CompanyName", "Company Name", 80),
        f.text("Division", "Division", 80),
        f.text("Department", "Department", 80),
        f.text("Title", "Title", 80),
        *f.address("", ""),
        f.required(f.email("Email", "Email")),
        f.phone("Phone", "Phone"),
        f.phone("MobilePhone", "Mobile"),
        f.required(f.text("Alias", "Alias", 8)),
        f.text("CommunityNickname", "Nickname", 40),
        f.flag("IsActive", "Active"),
        f.required(
            f.picklist(
                "TimeZoneSidKey",
                "Time Zone",
                "Australia/Sydney",
                "America/Los_Angeles",
                "Europe/London",
                "Europe/Zurich",
                restricted=True,
            )
        ),
        f.required(f.picklist("LocaleSidKey", "Locale", "en_AU", "en_US", "en_GB", "de_CH", restricted=True)),
        f.required(f.picklist("LanguageLocaleKey", "Language", "en_US", "de", "fr", restricted=True)),
        f.required(f.picklist("EmailEncodingKey", "Email Encoding", "UTF-8", "ISO-8859-1", restricted=True)),
        f.reference("UserRoleId", "Role ID", "UserRole", relationship="UserRole", children="Users"),
        f.required(f.reference("ProfileId", "Profile ID", "Profile", relationship="Profile", children="Users")),
        f.picklist(
            "UserType", "User Type", "Standard", "PowerPartner", "CspLitePortal", "AutomatedProcess", restricted=True
        ),
        f.reference("ManagerId", "Manager ID", "User", relationship="Manager", children="ManagedUsers"),
        f.text("EmployeeNumber", "Employee Number", 20),
        f.text("FederationIdentifier", "SAML Federation ID", 512),
        *f.audit(),
    )
    return SObject("User", "User", "Users", "005", columns, deletable=False, undeletable=False)


def _user_name() -> tuple[Field, ...]:
    return tuple(each for each in f.person_name() if each.name != "Salutation")


def _account() -> SObject:
    columns = (
        f.record_id("Account ID"),
        f.deleted(),
        f.read_only(_master("Account")),
        replace(_name("Account Name"), extra="switchablepersonname"),
        f.picklist("Type", "Account Type", *ACCOUNT_TYPES),
        f.reference("ParentId", "Parent Account ID", "Account", relationship="Parent", children="ChildAccounts"),
        *f.address("Billing", "Billing"),
        *f.address("Shipping", "Shipping"),
        f.phone("Phone", "Account Phone"),
        f.phone("Fax", "Account Fax"),
        f.text("AccountNumber", "Account Number", 40),
        f.url("Website", "Website"),
        f.text("Sic", "SIC Code", 20),
        f.picklist("Industry", "Industry", *INDUSTRIES),
        f.currency("AnnualRevenue", "Annual Revenue", 0),
        f.integer("NumberOfEmployees", "Employees"),
        f.picklist("Ownership", "Ownership", "Public", "Private", "Subsidiary", "Other"),
        f.text_area("Description", "Account Description", 32_000),
        f.picklist("Rating", "Account Rating", *RATINGS),
        f.text("Site", "Account Site", 80),
        f.owner(),
        *f.audit(),
        f.read_only(f.date("LastActivityDate", "Last Activity")),
        f.picklist("AccountSource", "Account Source", *LEAD_SOURCES),
    )
    return SObject("Account", "Account", "Accounts", "001", columns, mergeable=True, feed=True, activities=True)


def _master(target: str) -> Field:
    return f.reference("MasterRecordId", "Master Record ID", target, relationship="MasterRecord")


def _contact() -> SObject:
    columns = (
        f.record_id("Contact ID"),
        f.deleted(),
        f.read_only(_master("Contact")),
        f.reference("AccountId", "Account ID", "Account", relationship="Account", children="Contacts"),
        *f.person_name(),
        *f.address("Other", "Other"),
        *f.address("Mailing", "Mailing"),
        f.phone("Phone", "Business Phone"),
        f.phone("Fax", "Business Fax"),
        f.phone("MobilePhone", "Mobile Phone"),
        f.phone("HomePhone", "Home Phone"),
        f.phone("OtherPhone", "Other Phone"),
        f.phone("AssistantPhone", "Asst. Phone"),
        f.reference("ReportsToId", "Reports To ID", "Contact", relationship="ReportsTo"),
        f.email("Email", "Email"),
        f.text("Title", "Title", 128),
        f.text("Department", "Department", 80),
        f.text("AssistantName", "Assistant's Name", 40),
        f.picklist("LeadSource", "Lead Source", *LEAD_SOURCES),
        f.date("Birthdate", "Birthdate"),
        f.text_area("Description", "Contact Description", 32_000),
        f.owner(),
        f.flag("HasOptedOutOfEmail", "Email Opt Out"),
        f.flag("HasOptedOutOfFax", "Fax Opt Out"),
        f.flag("DoNotCall", "Do Not Call"),
        *f.audit(),
        f.read_only(f.date("LastActivityDate", "Last Activity")),
        f.text("EmailBouncedReason", "Email Bounced Reason"),
        f.datetime("EmailBouncedDate", "Email Bounced Date"),
        f.read_only(f.flag("IsEmailBounced", "Is Email Bounced")),
    )
    return SObject("Contact", "Contact", "Contacts", "003", columns, mergeable=True, feed=True, activities=True)


def _lead() -> SObject:
    status = f.defaulting(f.picklist("Status", "Status", *LEAD_STATUSES), value=LEAD_STATUSES[0])
    columns = (
        f.record_id("Lead ID"),
        f.deleted(),
        f.read_only(_master("Lead")),
        *f.person_name(),
        f.text("Title", "Title", 128),
        f.required(f.text("Company", "Company", 255)),
        *f.address("", ""),
        f.phone("Phone", "Phone"),
        f.phone("MobilePhone", "Mobile Phone"),
        f.phone("Fax", "Fax"),
        f.email("Email", "Email"),
        f.url("Website", "Website"),
        f.text_area("Description", "Description", 32_000),
        f.picklist("LeadSource", "Lead Source", *LEAD_SOURCES),
        status,
        f.picklist("Industry", "Industry", *INDUSTRIES),
        f.picklist("Rating", "Rating", *RATINGS),
        f.currency("AnnualRevenue", "Annual Revenue", 0),
        f.integer("NumberOfEmployees", "Employees"),
        f.owner("Group", "User"),
        f.flag("HasOptedOutOfEmail", "Email Opt Out"),
        replace(f.flag("IsConverted", "Converted"), updateable=False),
        f.read_only(f.date("ConvertedDate", "Converted Date")),
        f.read_only(
            f.reference("ConvertedAccountId", "Converted Account ID", "Account", relationship="ConvertedAccount")
        ),
        f.read_only(
            f.reference("ConvertedContactId", "Converted Contact ID", "Contact", relationship="ConvertedContact")
        ),
        f.read_only(
            f.reference(
                "ConvertedOpportunityId", "Converted Opportunity ID", "Opportunity", relationship="ConvertedOpportunity"
            )
        ),
        f.defaulting(f.flag("IsUnreadByOwner", "Unread By Owner"), value=True),
        f.flag("DoNotCall", "Do Not Call"),
        *f.audit(),
        f.read_only(f.date("LastActivityDate", "Last Activity")),
        replace(f.datetime("EmailBouncedDate", "Email Bounced Date"), createable=False),
    )
    return SObject("Lead", "Lead", "Leads", "00Q", columns, mergeable=True, feed=True, activities=True)


def _opportunity() -> SObject:
    categories = ("Omitted", "Pipeline", "BestCase", "Forecast", "Closed")
    named = ("Omitted", "Pipeline", "Best Case", "Commit", "Closed")
    columns = (
        f.record_id("Opportunity ID"),
        f.deleted(),
        f.reference("AccountId", "Account ID", "Account", relationship="Account", children="Opportunities"),
        replace(_name("Name", 120), id_lookup=True),
        f.text_area("Description", "Description", 32_000),
        f.required(f.picklist("StageName", "Stage", *STAGES)),
        f.currency("Amount", "Amount"),
        replace(f.percent("Probability", "Probability (%)", 3, 0), defaulted=True),
        f.read_only(f.currency("ExpectedRevenue", "Expected Amount")),
        f.required(f.date("CloseDate", "Close Date")),
        f.picklist("Type", "Opportunity Type", "Existing Business", "New Business"),
        f.text("NextStep", "Next Step"),
        f.picklist("LeadSource", "Lead Source", *LEAD_SOURCES),
        f.read_only(f.flag("IsClosed", "Closed")),
        f.read_only(f.flag("IsWon", "Won")),
        f.read_only(f.picklist("ForecastCategory", "Forecast Category", *categories, restricted=True)),
        replace(f.picklist("ForecastCategoryName", "Forecast Category", *named, restricted=True), defaulted=True),
        f.reference("CampaignId", "Campaign ID", "Campaign", relationship="Campaign", children="Opportunities"),
        f.read_only(f.flag("HasOpportunityLineItem", "Has Line Item")),
        f.reference("Pricebook2Id", "Price Book ID", "Pricebook2", relationship="Pricebook2", children="Opportunities"),
        f.owner(),
        *f.audit(),
        f.read_only(f.date("LastActivityDate", "Last Activity")),
    )
    return SObject("Opportunity", "Opportunity", "Opportunities", "006", columns, feed=True, activities=True)


def _product() -> SObject:
    columns = (
        f.record_id("Product ID"),
        _name("Product Name"),
        f.text("ProductCode", "Product Code"),
        f.text_area("Description", "Product Description", 4_000),
        f.flag("IsActive", "Active"),
        *f.audit(),
        f.picklist("Family", "Product Family", *PRODUCT_FAMILIES),
        f.url("DisplayUrl", "Display URL"),
        f.picklist("QuantityUnitOfMeasure", "Quantity Unit Of Measure", "Each"),
        f.deleted(),
        f.read_only(f.flag("IsArchived", "Is Archived")),
        f.text("StockKeepingUnit", "Product SKU", 180),
    )
    return SObject("Product2", "Product", "Products", "01t", columns, feed=True, activities=True)


def _who_and_what(children: str) -> tuple[Field, ...]:
    return (
        f.reference("WhoId", "Name ID", "Contact", "Lead", relationship="Who", children=children),
        f.reference("WhatId", "Related To ID", *WHAT_TARGETS, relationship="What", children=children),
    )


def _task() -> SObject:
    subject = replace(f.picklist("Subject", "Subject", *TASK_SUBJECTS, length=255), type="combobox", name_field=True)
    columns = (
        f.record_id("Activity ID"),
        *_who_and_what("Tasks"),
        subject,
        f.date("ActivityDate", "Due Date Only"),
        f.defaulting(f.picklist("Status", "Status", *TASK_STATUSES), value="Not Started"),
        f.defaulting(f.picklist("Priority", "Priority", *PRIORITIES), value="Normal"),
        f.read_only(f.flag("IsHighPriority", "High Priority")),
        f.owner("Group", "User"),
        f.text_area("Description", "Description", 32_000),
        f.deleted(),
        f.read_only(f.reference("AccountId", "Account ID", "Account", relationship="Account")),
        f.read_only(f.flag("IsClosed", "Closed")),
        *f.audit(),
        f.read_only(f.flag("IsArchived", "Archived")),
        f.integer("CallDurationInSeconds", "Call Duration"),
        f.picklist("CallType", "Call Type", "Internal", "Inbound", "Outbound", restricted=True),
        f.text("CallDisposition", "Call Result"),
        f.datetime("ReminderDateTime", "Reminder Date/Time"),
        f.flag("IsReminderSet", "Reminder Set"),
        f.read_only(_recurrence("Task")),
        replace(f.flag("IsRecurrence", "Create Recurring Series of Tasks"), updateable=False),
        replace(
            f.picklist("TaskSubtype", "Task Subtype", "Task", "Email", "ListEmail", "Cadence", "Call", restricted=True),
            updateable=False,
        ),
        f.read_only(f.datetime("CompletedDateTime", "Completed Date/Time")),
    )
    return SObject("Task", "Task", "Tasks", "00T", columns)


def _recurrence(target: str) -> Field:
    return f.reference("RecurrenceActivityId", "Recurrence Activity ID", target)


def _event() -> SObject:
    subject = replace(
        f.picklist("Subject", "Subject", "Call", "Email", "Meeting", "Send Letter/Quote", "Other", length=255),
        type="combobox",
        name_field=True,
    )
    columns = (
        f.record_id("Activity ID"),
        *_who_and_what("Events"),
        subject,
        f.text("Location", "Location"),
        f.flag("IsAllDayEvent", "All-Day Event"),
        f.datetime("ActivityDateTime", "Due Date Time"),
        f.date("ActivityDate", "Due Date Only"),
        f.integer("DurationInMinutes", "Duration"),
        f.datetime("StartDateTime", "Start Date Time"),
        f.datetime("EndDateTime", "End Date Time"),
        f.text_area("Description", "Description", 32_000),
        f.read_only(f.reference("AccountId", "Account ID", "Account", relationship="Account")),
        f.owner("User"),
        f.flag("IsPrivate", "Private"),
        f.picklist("ShowAs", "Show Time As", "Busy", "OutOfOffice", "Free", restricted=True),
        f.deleted(),
        f.read_only(f.flag("IsChild", "Is Child")),
        *f.audit(),
        f.read_only(f.flag("IsArchived", "Archived")),
        replace(f.picklist("EventSubtype", "Event Subtype", "Event", restricted=True), updateable=False),
    )
    return SObject("Event", "Event", "Events", "00U", columns)


def _case() -> SObject:
    number = replace(
        f.read_only(f.text("CaseNumber", "Case Number", 30)),
        nillable=False,
        defaulted=True,
        id_lookup=True,
        name_field=True,
        auto_number="{00000000}",
    )
    columns = (
        f.record_id("Case ID"),
        f.deleted(),
        f.read_only(_master("Case")),
        number,
        f.reference("ContactId", "Contact ID", "Contact", relationship="Contact", children="Cases"),
        f.reference("AccountId", "Account ID", "Account", relationship="Account", children="Cases"),
        f.reference("ParentId", "Parent Case ID", "Case", relationship="Parent", children="Cases"),
        f.text("SuppliedName", "Name", 80),
        f.email("SuppliedEmail", "Email Address"),
        f.picklist("Type", "Case Type", "Mechanical", "Electrical", "Electronic", "Structural", "Other"),
        f.defaulting(f.picklist("Status", "Status", "New", "Working", "Escalated", "Closed"), value="New"),
        f.picklist(
            "Reason",
            "Case Reason",
            "Installation",
            "Equipment Complexity",
            "Performance",
            "Breakdown",
            "Equipment Design",
            "Feedback",
            "Other",
        ),
        f.defaulting(f.picklist("Origin", "Case Origin", "Phone", "Email", "Web"), value="Web"),
        f.text("Subject", "Subject", 255),
        f.defaulting(f.picklist("Priority", "Priority", "High", "Medium", "Low"), value="Medium"),
        f.text_area("Description", "Description", 32_000),
        f.read_only(f.flag("IsClosed", "Closed")),
        f.read_only(f.datetime("ClosedDate", "Closed Date")),
        f.flag("IsEscalated", "Escalated"),
        f.owner("Group", "User"),
        *f.audit(),
    )
    return SObject("Case", "Case", "Cases", "500", columns, mergeable=True, feed=True, activities=True)


def _campaign() -> SObject:
    columns = (
        f.record_id("Campaign ID"),
        f.deleted(),
        _name("Name", 80),
        f.reference("ParentId", "Parent Campaign ID", "Campaign", relationship="Parent", children="ChildCampaigns"),
        f.picklist(
            "Type",
            "Type",
            "Conference",
            "Webinar",
            "Trade Show",
            "Public Relations",
            "Partners",
            "Referral Program",
            "Advertisement",
            "Banner Ads",
            "Direct Mail",
            "Email",
            "Telemarketing",
            "Other",
        ),
        f.picklist("Status", "Status", "Planned", "In Progress", "Completed", "Aborted"),
        f.date("StartDate", "Start Date"),
        f.date("EndDate", "End Date"),
        f.currency("ExpectedRevenue", "Expected Revenue"),
        f.currency("BudgetedCost", "Budgeted Cost", 0),
        f.currency("ActualCost", "Actual Cost", 0),
        f.double("NumberSent", "Num Sent"),
        f.flag("IsActive", "Active"),
        f.text_area("Description", "Description", 32_000),
        f.owner(),
        *f.audit(),
    )
    return SObject("Campaign", "Campaign", "Campaigns", "701", columns, feed=True, activities=True)


def _organization() -> SObject:
    columns = (
        f.record_id("Organization ID"),
        _name("Name", 80),
        *f.address("", ""),
        f.phone("Phone", "Phone"),
        f.text("PrimaryContact", "Primary Contact", 80),
        f.picklist("DefaultLocaleSidKey", "Locale", "en_US", restricted=True),
        f.picklist("LanguageLocaleKey", "Language", "en_US", restricted=True),
        f.picklist("TimeZoneSidKey", "Time Zone", "Europe/London", restricted=True),
        f.read_only(
            f.picklist(
                "OrganizationType",
                "Edition",
                "Team Edition",
                "Professional Edition",
                "Enterprise Edition",
                "Developer Edition",
                "Unlimited Edition",
                restricted=True,
            )
        ),
        f.read_only(f.text("NamespacePrefix", "Namespace Prefix", 15)),
        f.read_only(f.text("InstanceName", "Instance Name", 5)),
        f.read_only(f.flag("IsSandbox", "Is Sandbox")),
        f.read_only(f.datetime("TrialExpirationDate", "Trial Expiration Date")),
        *f.audit(),
    )
    return SObject(
        "Organization",
        "Organization",
        "Organizations",
        "00D",
        columns,
        createable=False,
        deletable=False,
        undeletable=False,
        searchable=False,
        triggerable=False,
        layoutable=False,
        bulk=False,
    )


def _profile() -> SObject:
    columns = (f.record_id("Profile ID"), _name("Name"), f.text("Description", "Description"), *f.audit())
    return _setup_object("Profile", "Profile", "Profiles", "00e", columns)


def _user_role() -> SObject:
    parent = f.reference("ParentRoleId", "Parent Role ID", "UserRole")
    columns = (
        f.record_id("Role ID"),
        _name("Name", 80),
        parent,
        f.text("DeveloperName", "Developer Name", 80),
        *f.audit(),
    )
    return _setup_object("UserRole", "Role", "Roles", "00E", columns)


def _group() -> SObject:
    columns = (
        f.record_id("Group ID"),
        _name("Name", 40),
        f.text("DeveloperName", "Developer Name", 80),
        f.picklist("Type", "Type", "Regular", "Role", "Queue", "Organization", restricted=True),
        *f.audit(),
    )
    return _setup_object("Group", "Group", "Group", "00G", columns)


def _record_type() -> SObject:
    columns = (
        f.record_id("Record Type ID"),
        _name("Name", 80),
        f.text("DeveloperName", "Record Type Name", 80),
        f.text("Description", "Description"),
        f.picklist("SobjectType", "SObject Type Name", restricted=True),
        f.flag("IsActive", "Active"),
        *f.audit(),
    )
    return _setup_object("RecordType", "Record Type", "Record Types", "012", columns)


def _pricebook() -> SObject:
    columns = (
        f.record_id("Price Book ID"),
        f.deleted(),
        _name("Price Book Name"),
        f.text("Description", "Description"),
        f.flag("IsActive", "Active"),
        f.read_only(f.flag("IsStandard", "Is Standard Price Book")),
        *f.audit(),
    )
    return SObject("Pricebook2", "Price Book", "Price Books", "01s", columns)


def _setup_object(name: str, label: str, plural: str, prefix: str, columns: tuple[Field, ...]) -> SObject:
    return SObject(
        name, label, plural, prefix, columns, undeletable=False, searchable=False, triggerable=False, layoutable=False
    )
