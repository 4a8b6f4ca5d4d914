"""The standard objects of set-up: users, the organization, profiles, roles, groups and record types."""

from dataclasses import replace

from sandbox.salesforce import fields as f
from sandbox.salesforce.schema import Field, SObject


def user() -> SObject:
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


def organization() -> SObject:
    columns = (
        f.record_id("Organization ID"),
        f.name("Name", 80),
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


def profile() -> SObject:
    columns = (f.record_id("Profile ID"), f.name("Name"), f.text("Description", "Description"), *f.audit())
    return _setup_object("Profile", "Profile", "Profiles", "00e", columns)


def user_role() -> SObject:
    parent = f.reference("ParentRoleId", "Parent Role ID", "UserRole")
    columns = (
        f.record_id("Role ID"),
        f.name("Name", 80),
        parent,
        f.text("DeveloperName", "Developer Name", 80),
        *f.audit(),
    )
    return _setup_object("UserRole", "Role", "Roles", "00E", columns)


def group() -> SObject:
    columns = (
        f.record_id("Group ID"),
        f.name("Name", 40),
        f.text("DeveloperName", "Developer Name", 80),
        f.picklist("Type", "Type", "Regular", "Role", "Queue", "Organization", restricted=True),
        *f.audit(),
    )
    return _setup_object("Group", "Group", "Group", "00G", columns)


def queue_sobject() -> SObject:
    """Of which objects a queue may own records."""
    columns = (
        f.record_id("Queue Sobject ID"),
        f.required(f.reference("QueueId", "Queue ID", "Group", relationship="Queue")),
        f.picklist("SobjectType", "SObject Type Name"),
        *f.audit(),
    )
    return _setup_object("QueueSobject", "Queue Sobject", "Queue Sobject", "03g", columns)


def record_type() -> SObject:
    columns = (
        f.record_id("Record Type ID"),
        f.name("Name", 80),
        f.text("DeveloperName", "Record Type Name", 80),
        f.text("Description", "Description"),
        f.picklist("SobjectType", "SObject Type Name", restricted=True),
        f.flag("IsActive", "Active"),
        *f.audit(),
    )
    return _setup_object("RecordType", "Record Type", "Record Types", "012", columns)


def _setup_object(name: str, label: str, plural: str, prefix: str, columns: tuple[Field, ...]) -> SObject:
    return SObject(
        name, label, plural, prefix, columns, undeletable=False, searchable=False, triggerable=False, layoutable=False
    )


def permission_set() -> SObject:
    columns = (
        f.record_id("Permission Set ID"),
        f.required(f.text("Name", "Permission Set Name", 80)),
        f.required(f.text("Label", "Permission Set Label", 80)),
        f.text("Description", "Description"),
        f.flag("IsOwnedByProfile", "Is Owned By Profile"),
        *f.audit(),
    )
    return _setup_object("PermissionSet", "Permission Set", "Permission Sets", "0PS", columns)


def permission_set_assignment() -> SObject:
    columns = (
        f.record_id("PermissionSetAssignment ID"),
        f.required(f.reference("AssigneeId", "Assignee ID", "User", relationship="Assignee")),
        f.required(f.reference("PermissionSetId", "PermissionSet ID", "PermissionSet", relationship="PermissionSet")),
        f.read_only(f.datetime("SystemModstamp", "Date Assigned")),
    )
    return _setup_object(
        "PermissionSetAssignment", "Permission Set Assignment", "Permission Set Assignments", "0Pa", columns
    )


def custom_permission() -> SObject:
    columns = (
        f.record_id("Custom Permission ID"),
        f.text("DeveloperName", "Custom Permission Name", 80),
        f.text("MasterLabel", "Custom Permission Label", 80),
        f.text("NamespacePrefix", "Namespace Prefix", 15),
        *f.audit(),
    )
    return _setup_object("CustomPermission", "Custom Permission", "Custom Permissions", "0CP", columns)


def setup_entity_access() -> SObject:
    """What a permission set opens beside objects and fields; here custom permissions."""
    columns = (
        f.record_id("Setup Entity Access ID"),
        f.required(f.reference("ParentId", "Parent ID", "PermissionSet", relationship="Parent")),
        f.required(f.reference("SetupEntityId", "Setup Entity ID", "CustomPermission", relationship="SetupEntity")),
        f.picklist("SetupEntityType", "Setup Entity Type", "CustomPermission", restricted=True),
        f.read_only(f.datetime("SystemModstamp", "System Modstamp")),
    )
    return _setup_object("SetupEntityAccess", "Setup Entity Access", "Setup Entity Access", "0J0", columns)
