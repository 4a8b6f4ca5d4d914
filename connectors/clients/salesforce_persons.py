"""Person accounts: an account and a contact that are one record.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_guidelines_personaccounts.htm

The platform refuses a person's fields on a company and a company's name on a person, and it makes, changes and deletes
the contact of a person with the account and in no other way. Which fields are whose tells the describe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from connectors.clients import salesforce_soql as soql
from connectors.clients.salesforce_results import landed
from connectors.clients.salesforce_schema import SObject
from connectors.clients.salesforce_session import SalesforceSession
from connectors.clients.salesforce_write import Writing
from connectors.types import Outcome

ACCOUNT: Final = "Account"
CONTACT: Final = "Contact"
FLAG: Final = "IsPersonAccount"
_LAST_NAME: Final = "LastName"
_COMPANY_NAME: Final = "Name"
_PERSON_NAMES: Final = frozenset({"FirstName", "InformalName", _LAST_NAME, "MiddleName", "Salutation", "Suffix"})
_TOGETHER: Final = 400  # ids in one address


def knows_persons(sobject: SObject) -> bool:
    """Whether the org has person accounts, as its accounts or contacts tell."""
    return FLAG in sobject.schema.names


@dataclass(frozen=True, slots=True)
class AccountWriting(Writing):
    """A person is an account with a last name; it is sent without the company's name, a company without a person's
    fields."""

    def _is_sent(self, name: str) -> pl.Expr:
        is_person = pl.col(_LAST_NAME).is_not_null() if _LAST_NAME in self.names else pl.lit(value=False)
        sent = Writing._is_sent(self, name)
        if name == _COMPANY_NAME:
            return sent & ~is_person
        return sent & is_person if _is_of_persons(name) else sent


def _is_of_persons(name: str) -> bool:
    return name in _PERSON_NAMES or name.startswith("Person") or name.endswith("__pc")


@dataclass(frozen=True, slots=True)
class ContactWriting(Writing):
    """Nothing is sent of the contact of a person: what it is, the account made it."""

    def sorted_out(
        self, rows: pl.DataFrame, held: pl.DataFrame, existed: pl.Series, *, is_first: bool
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        mine = held.filter(pl.col("target_id").is_in(list(persons_among(self.session, held["target_id"].to_list()))))
        results, left = Writing.sorted_out(
            self,
            rows.join(mine, on="key", how="anti"),
            held.join(mine, on="key", how="anti"),
            existed,
            is_first=is_first,
        )
        there = rows.select("key").join(mine.select("key", "target_id"), on="key")
        return pl.concat([results, landed(there, pl.lit(Outcome.UNCHANGED))]), left


def persons_among(session: SalesforceSession, contacts: Sequence[str]) -> frozenset[str]:
    """Those of the contacts that are person accounts."""
    found: set[str] = set()
    for start in range(0, len(contacts), _TOGETHER):
        where = [soql.among("Id", list(contacts[start : start + _TOGETHER])), soql.condition(FLAG, "=", value=True)]
        found |= {str(row["Id"]) for row in session.records(soql.select(["Id"], CONTACT, where))}
    return frozenset(found)
