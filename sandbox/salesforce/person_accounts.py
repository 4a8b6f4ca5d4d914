"""Person accounts: an account and a contact that are one record, once an org has them.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_guidelines_personaccounts.htm

The record type makes an account a person. Its contact is made, changed and deleted with it, and by nothing else.
"""

import sqlite3
from dataclasses import replace
from typing import Final

import polars as pl

from sandbox.salesforce import fields as f
from sandbox.salesforce import records
from sandbox.salesforce.definitions import Definitions
from sandbox.salesforce.schema import Field, SObject
from sandbox.salesforce.store import Store

TYPE: Final = "PersonAccount"
"""The developer name of the record type of persons."""
_NAMES: Final = ("FirstName", "LastName", "Salutation")
_OWN: Final = {"PersonEmail": "Email", "PersonMobilePhone": "MobilePhone", "PersonBirthdate": "Birthdate",
               "PersonTitle": "Title", "Phone": "Phone"}  # fmt: skip
"""Field of the account → field of the contact it is."""
Connection = sqlite3.Connection


def enable(definitions: Definitions) -> None:
    """Give an org person accounts; the contact's custom fields there are by now appear on accounts as ``__pc``."""
    account, contact = definitions.whole.require("Account"), definitions.whole.require("Contact")
    if account.field("IsPersonAccount"):
        return
    custom = [each for each in contact.fields if each.name.endswith("__c")]
    mirrored = [replace(each, name=_on_account(each), external_id=False, unique=False) for each in custom]
    own = [
        *(replace(each, compound="Name", nillable=True) for each in f.person_name() if each.name in _NAMES),
        f.read_only(f.flag("IsPersonAccount", "Is Person Account")),
        f.read_only(f.reference("PersonContactId", "Contact ID", "Contact", relationship="PersonContact")),
        f.email("PersonEmail", "Email"),
        f.phone("PersonMobilePhone", "Mobile"),
        f.date("PersonBirthdate", "Birthdate"),
        f.text("PersonTitle", "Title", 80),
        *mirrored,
    ]
    # Written as define() writes: whole objects in place of those that were.
    definitions.put(account.with_fields(own))
    definitions.put(contact.with_fields([f.read_only(f.flag("IsPersonAccount", "Is Person Account"))]))
    definitions.define({"fullName": "Account", "recordTypes": [{"fullName": TYPE, "label": "Person Account"}]})


def is_enabled(subject: SObject) -> bool:
    return subject.name == "Account" and subject.field("IsPersonAccount") is not None


def persons(subject: SObject, types: pl.Series) -> pl.Series:
    """Which record types make a person."""
    mine = [each.id for each in subject.record_types if each.developer_name == TYPE]
    return types.is_in(mine).fill_null(value=False)


def odd_names(subject: SObject, name: str) -> tuple[bool, bool]:
    """Whether a person, and whether a company, may not be given the field."""
    only_persons = name in _NAMES or name.startswith("Person") or name.endswith("__pc")
    return name == "Name", only_persons and subject.name == "Account"


def follow(connection: Connection, store: Store, user_id: str, account_ids: list[str]) -> None:
    """Make, or change, the contacts of those of the accounts that are persons; ``store`` shows all of both objects."""
    account, contact = store.schema.require("Account"), store.schema.require("Contact")
    pairs = {name: other for name, other in _pairs(account).items() if contact.field(other)}
    names = list(pairs)
    columns = ", ".join(f'"{name}"' for name in names)
    for key in account_ids:
        sql = f'SELECT "OwnerId", "PersonContactId", {columns} FROM "Account" WHERE "Id" = ?'  # noqa: S608 - schema names
        owner, known, *values = connection.execute(sql, (key,)).fetchone()
        told = {pairs[name]: value for name, value in zip(names, values, strict=True)}
        if known:
            records.update(store, contact, known, told, user_id)
            continue
        made = {**told, "AccountId": key, "OwnerId": owner, "IsPersonAccount": True}
        [person] = records.insert(store, contact, [made], user_id)
        connection.execute(
            'UPDATE "Account" SET "PersonContactId" = ?, "IsPersonAccount" = 1 WHERE "Id" = ?', (person, key)
        )


def contacts_of(connection: Connection, account_ids: list[str]) -> list[str]:
    """The contacts that are these accounts."""
    marks = ", ".join("?" * len(account_ids))
    sql = f'SELECT "Id" FROM "Contact" WHERE "IsPersonAccount" = 1 AND "IsDeleted" = 0 AND "AccountId" IN ({marks})'  # noqa: S608 - placeholders
    return [str(row[0]) for row in connection.execute(sql, account_ids)]


def _pairs(account: SObject) -> dict[str, str]:
    custom = {
        each.name: f"{each.name.removesuffix('__pc')}__c" for each in account.fields if each.name.endswith("__pc")
    }
    return {**{name: name for name in _NAMES}, **_OWN, **custom}


def _on_account(field: Field) -> str:
    return f"{field.name.removesuffix('__c')}__pc"
