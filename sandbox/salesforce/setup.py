"""The records every org has before any data: the organization, profiles, roles and the administrator."""

from sandbox.salesforce import records
from sandbox.salesforce.org import Org
from sandbox.salesforce.store import Store

PROFILES = ("System Administrator", "Standard User", "Minimum Access - API Only Integrations")
ROLES = ("CEO", "VP Sales", "Sales Team", "Operations")


def set_up(store: Store, org: Org) -> None:
    schema = store.schema
    profiles = records.insert(store, schema.require("Profile"), [{"Name": name} for name in PROFILES], org.user_id)
    roles = [{"Name": name, "DeveloperName": name.replace(" ", "")} for name in ROLES]
    records.insert(store, schema.require("UserRole"), roles, org.user_id)
    organization = {
        "Id": org.org_id,
        "Name": "Sandbox Industries",
        "OrganizationType": "Developer Edition",
        "InstanceName": "SBX1",
        "IsSandbox": True,
        "LanguageLocaleKey": "en_US",
        "DefaultLocaleSidKey": "en_US",
        "TimeZoneSidKey": "Europe/London",
        "Country": "GB",
    }
    records.insert(store, schema.require("Organization"), [organization], org.user_id)
    administrator = {
        "Username": org.credentials.username,
        "LastName": "Admin",
        "FirstName": "Alex",
        "Email": "alex.admin@sandbox.example",
        "Alias": "aadmin",
        "IsActive": True,
        "TimeZoneSidKey": "Europe/London",
        "LocaleSidKey": "en_GB",
        "LanguageLocaleKey": "en_US",
        "EmailEncodingKey": "UTF-8",
        "ProfileId": profiles[0],
        "UserType": "Standard",
    }
    records.insert(store, schema.require("User"), [administrator], org.user_id)
