"""The standard objects of sales and service: accounts, contacts, leads, opportunities, products, cases, activities.

Names, types, lengths and flags follow recorded describes of real orgs (the public test recordings of CumulusCI and
Amaxa); only fields a migration meets are kept.
"""

from dataclasses import replace

from sandbox.salesforce import fields as f
from sandbox.salesforce import picklists
from sandbox.salesforce.schema import Field, SObject

WHAT_TARGETS = ("Account", "Campaign", "Case", "Opportunity", "Product2")


def account() -> SObject:
    columns = (
        f.record_id("Account ID"),
        f.deleted(),
        f.read_only(_master("Account")),
        replace(f.name("Account Name"), extra="switchablepersonname"),
        f.picklist("Type", "Account Type", *picklists.ACCOUNT_TYPES),
        f.reference("ParentId", "Parent Account ID", "Account", relationship="Parent", children="ChildAccounts"),
        *f.address("Billing", "Billing"),
        *f.address("Shipping", "Shipping"),
        f.phone("Phone", "Account Phone"),
        f.phone("Fax", "Account Fax"),
        f.text("AccountNumber", "Account Number", 40),
        f.url("Website", "Website"),
        f.text("Sic", "SIC Code", 20),
        f.picklist("Industry", "Industry", *picklists.INDUSTRIES),
        f.currency("AnnualRevenue", "Annual Revenue", 0),
        f.integer("NumberOfEmployees", "Employees"),
        f.picklist("Ownership", "Ownership", "Public", "Private", "Subsidiary", "Other"),
        f.text_area("Description", "Account Description", 32_000),
        f.picklist("Rating", "Account Rating", *picklists.RATINGS),
        f.text("Site", "Account Site", 80),
        f.owner(),
        *f.audit(),
        f.read_only(f.date("LastActivityDate", "Last Activity")),
        f.picklist("AccountSource", "Account Source", *picklists.LEAD_SOURCES),
    )
    return SObject("Account", "Account", "Accounts", "001", columns, mergeable=True, feed=True, activities=True)


def contact() -> SObject:
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
        f.picklist("LeadSource", "Lead Source", *picklists.LEAD_SOURCES),
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


def lead() -> SObject:
    status = f.defaulting(f.picklist("Status", "Status", *picklists.LEAD_STATUSES), value=picklists.LEAD_STATUSES[0])
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
        f.picklist("LeadSource", "Lead Source", *picklists.LEAD_SOURCES),
        status,
        f.picklist("Industry", "Industry", *picklists.INDUSTRIES),
        f.picklist("Rating", "Rating", *picklists.RATINGS),
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


def opportunity() -> SObject:
    categories = ("Omitted", "Pipeline", "BestCase", "Forecast", "Closed")
    named = ("Omitted", "Pipeline", "Best Case", "Commit", "Closed")
    columns = (
        f.record_id("Opportunity ID"),
        f.deleted(),
        f.reference("AccountId", "Account ID", "Account", relationship="Account", children="Opportunities"),
        replace(f.name("Name", 120), id_lookup=True),
        f.text_area("Description", "Description", 32_000),
        f.required(f.picklist("StageName", "Stage", *picklists.STAGES)),
        f.currency("Amount", "Amount"),
        replace(f.percent("Probability", "Probability (%)", 3, 0), defaulted=True),
        f.read_only(f.currency("ExpectedRevenue", "Expected Amount")),
        f.required(f.date("CloseDate", "Close Date")),
        f.picklist("Type", "Opportunity Type", "Existing Business", "New Business"),
        f.text("NextStep", "Next Step"),
        f.picklist("LeadSource", "Lead Source", *picklists.LEAD_SOURCES),
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


def product() -> SObject:
    columns = (
        f.record_id("Product ID"),
        f.name("Product Name"),
        f.text("ProductCode", "Product Code"),
        f.text_area("Description", "Product Description", 4_000),
        f.flag("IsActive", "Active"),
        *f.audit(),
        f.picklist("Family", "Product Family", *picklists.PRODUCT_FAMILIES),
        f.url("DisplayUrl", "Display URL"),
        f.picklist("QuantityUnitOfMeasure", "Quantity Unit Of Measure", "Each"),
        f.deleted(),
        f.read_only(f.flag("IsArchived", "Is Archived")),
        f.text("StockKeepingUnit", "Product SKU", 180),
    )
    return SObject("Product2", "Product", "Products", "01t", columns, feed=True, activities=True)


def pricebook() -> SObject:
    columns = (
        f.record_id("Price Book ID"),
        f.deleted(),
        f.name("Price Book Name"),
        f.text("Description", "Description"),
        f.flag("IsActive", "Active"),
        f.read_only(f.flag("IsStandard", "Is Standard Price Book")),
        *f.audit(),
    )
    return SObject("Pricebook2", "Price Book", "Price Books", "01s", columns)


def campaign() -> SObject:
    columns = (
        f.record_id("Campaign ID"),
        f.deleted(),
        f.name("Name", 80),
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


def case() -> SObject:
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


def task() -> SObject:
    subject = replace(
        f.picklist("Subject", "Subject", *picklists.TASK_SUBJECTS, length=255), type="combobox", name_field=True
    )
    columns = (
        f.record_id("Activity ID"),
        *_who_and_what("Tasks"),
        subject,
        f.date("ActivityDate", "Due Date Only"),
        f.defaulting(f.picklist("Status", "Status", *picklists.TASK_STATUSES), value="Not Started"),
        f.defaulting(f.picklist("Priority", "Priority", *picklists.PRIORITIES), value="Normal"),
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


def event() -> SObject:
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


def _who_and_what(children: str) -> tuple[Field, ...]:
    return (
        f.reference("WhoId", "Name ID", "Contact", "Lead", relationship="Who", children=children),
        f.reference("WhatId", "Related To ID", *WHAT_TARGETS, relationship="What", children=children),
    )


def _recurrence(target: str) -> Field:
    return f.reference("RecurrenceActivityId", "Recurrence Activity ID", target)


def _master(target: str) -> Field:
    return f.reference("MasterRecordId", "Master Record ID", target, relationship="MasterRecord")
