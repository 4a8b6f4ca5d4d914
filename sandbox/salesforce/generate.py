"""Made-up but realistic CRM data of any size, the same for the same seed: seven related objects in usual proportions.

Everything is built as columns. References point at the first nine tenths of their target; see ``bad`` for why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

import polars as pl

from sandbox.salesforce import ids, picklists
from sandbox.salesforce import vocabulary as words
from sandbox.salesforce.bad import BadRecord, first_unreferenced, plant
from sandbox.salesforce.draws import Draws
from sandbox.salesforce.org import Org
from sandbox.salesforce.store import Store

Column: TypeAlias = pl.Series | pl.Expr
SMALLEST = 100
NEWEST = datetime(2026, 10, 31, 18)  # noqa: DTZ001 - fixed, so that data is the same whenever it is made; UTC by construction
HISTORY_SECONDS = 6 * 365 * 86_400
SHARES = {"Product2": 1, "Account": 18, "Contact": 32, "Lead": 14, "Opportunity": 17}  # per cent; tasks are the rest


@dataclass(frozen=True, slots=True)
class _World:
    """What one object needs to know of the others: how many there are and their ids, by row."""

    seed: int
    ids: Mapping[str, pl.Series]
    admin: str
    profile: str

    def draws(self, name: str) -> Draws:
        return Draws(len(self.ids[name]), self.seed, name)

    def referable(self, name: str) -> int:
        return first_unreferenced(len(self.ids[name]))

    def parents(self, name: str, rows: pl.Series, keep: pl.Series) -> pl.Series:
        """Ids of ``name`` at ``rows`` where ``keep`` is true, else null."""
        return self.ids[name].gather(rows.set(~keep, None))


def sizes(records: int) -> dict[str, int]:
    """How many records of each object make ``records`` in all; users include the administrator."""
    if records < SMALLEST:
        raise ValueError(f"Generated data starts at {SMALLEST} records; {records} were asked for")
    found = {
        "User": min(200, max(5, records // 1_000)),
        **{name: records * share // 100 for name, share in SHARES.items()},
    }
    return {**found, "Task": records - sum(found.values())}


def generate(store: Store, org: Org, records: int, seed: int, bad: int) -> list[BadRecord]:
    """Fill the org with ``records`` records (users included), ``bad`` of them bad; returns those.

    Beyond the count a few deleted accounts lie in the bin. Raises ValueError where ``records`` is too small.
    """
    wanted = sizes(records)
    wanted["User"] -= 1
    world = _World(
        seed, {name: _new_ids(store, name, size) for name, size in wanted.items()}, org.user_id, _profile(store)
    )
    makers = {"User": _users, "Product2": _products, "Account": _accounts, "Contact": _contacts, "Lead": _leads,
              "Opportunity": _opportunities, "Task": _tasks}  # fmt: skip
    frames = {name: make(world) for name, make in makers.items()}
    gone = _deleted_accounts(store, frames["Account"], 3 + bad // 100)
    planted = plant(frames, bad, gone["Id"].to_list())
    for name, frame in [*frames.items(), ("Account", gone)]:
        store.insert(store.schema.require(name), frame.columns, frame.iter_rows())
    return planted


def _new_ids(store: Store, name: str, size: int) -> pl.Series:
    subject = store.schema.require(name)
    first = store.reserve(subject, size)
    return ids.record_ids(subject.prefix or "", pl.int_range(first, first + size, dtype=pl.UInt64, eager=True))


def _profile(store: Store) -> str:
    with store.read() as connection:
        return str(connection.execute('SELECT "Id" FROM "Profile" WHERE "Name" = ?', ("Standard User",)).fetchone()[0])


def _frame(world: _World, name: str, columns: Mapping[str, Column]) -> pl.DataFrame:
    """Columns of an object with id, owner and stamps; single values fill their column."""
    draws = world.draws(name)
    if "OwnerId" in columns:
        columns = {**columns, "OwnerId": _owners(world, draws)}
    named = {"Id": world.ids[name], **columns, **_audit(world, draws)}
    return pl.select(
        [(each if isinstance(each, pl.Expr) else pl.lit(each)).alias(column) for column, each in named.items()]
    )


def _audit(world: _World, draws: Draws) -> dict[str, pl.Series]:
    age = draws.below("created", HISTORY_SECONDS)
    since = (draws.below("modified", 1_000_000) / 1_000_000 * age).cast(pl.Int64)
    return {
        "CreatedDate": _stamps(age),
        "CreatedById": _owners(world, draws),
        "LastModifiedDate": _stamps(since),
        "LastModifiedById": world.ids["User"].gather(draws.skewed("modifier", world.referable("User"))),
        "SystemModstamp": _stamps(since),
    }


def _owners(world: _World, draws: Draws) -> pl.Series:
    return world.ids["User"].gather(draws.skewed("owner", world.referable("User")))


def _stamps(age: pl.Series) -> pl.Series:
    """Stored date-times ``age`` seconds before the newest."""
    moments = pl.lit(NEWEST) - pl.duration(seconds=pl.lit(age))
    return pl.select(moments.dt.strftime("%Y-%m-%dT%H:%M:%S.000Z")).to_series()


def _days(draws: Draws, tag: str, first: date, days: int) -> pl.Series:
    moments = pl.lit(first) + pl.duration(days=pl.lit(draws.below(tag, days)))
    return pl.select(moments.dt.strftime("%Y-%m-%d")).to_series()


def _joined(*parts: pl.Series | str) -> pl.Series:
    return pl.select(pl.concat_str([pl.lit(part) if isinstance(part, str) else part for part in parts])).to_series()


def _sometimes(values: pl.Series, keep: pl.Series) -> pl.Series:
    return values.set(~keep, None)


def _number(series: pl.Series, width: int = 0) -> pl.Series:
    return series.cast(pl.String).str.zfill(width)


def _rows(draws: Draws) -> pl.Series:
    return pl.int_range(draws.size, dtype=pl.Int64, eager=True)


def _phones(draws: Draws, tag: str, percent: int) -> pl.Series:
    return _sometimes(_joined("+61 2 ", _number(draws.below(tag, 100_000_000), 8)), draws.chance(f"{tag}?", percent))


def _places(draws: Draws, prefix: str, percent: int) -> dict[str, pl.Series]:
    """The parts of an address; some streets have two lines."""
    known = draws.chance(f"{prefix}?", percent)
    place = draws.below(f"{prefix}place", len(words.PLACES)).set(~known, None)
    door = _number(draws.below(f"{prefix}door", 400) + 1)
    level = draws.pick(f"{prefix}level", ("", "", "", "Level 3\n"))
    street = _joined(level, door, " ", draws.pick(f"{prefix}street", words.STREETS))
    columns = {
        name: pl.Series([each[part] for each in words.PLACES], dtype=pl.String).gather(place)
        for part, name in enumerate(("City", "State", "PostalCode", "Country"))
    }
    return {f"{prefix}Street": _sometimes(street, known), **{prefix + name: column for name, column in columns.items()}}


def _notes(draws: Draws) -> pl.Series:
    """Mostly short or no text, one in a hundred long, one in two thousand close to the limit of 32,000 characters."""
    notes = draws.pick("note", words.NOTES)
    long = pl.Series([words.PARAGRAPH * 20, words.PARAGRAPH * 180])
    length = draws.below("length", 2_000)
    wanted = length < 20
    return notes.zip_with(~wanted, long.gather((length == 0).cast(pl.Int64)))


def _companies(draws: Draws) -> pl.Series:
    kinds = (words.COMPANY_STEMS, words.COMPANY_KINDS, words.COMPANY_FORMS)
    stem, kind, form = (draws.pick(f"company{place}", each) for place, each in enumerate(kinds))
    return _joined(stem, " ", kind, " ", _number(_rows(draws) + 1), " ", form)


def _person(draws: Draws) -> dict[str, pl.Series]:
    first = draws.pick("first", words.FIRST_NAMES)
    last = draws.pick("last", words.LAST_NAMES)
    first = _sometimes(first, draws.chance("first?", 95))
    whole = pl.select(pl.concat_str([first, last], separator=" ", ignore_nulls=True)).to_series()
    return {"FirstName": first, "LastName": last, "Name": whole}


def _emails(draws: Draws, domain: str) -> pl.Series:
    local = draws.pick("local1", words.ASCII_FIRST), ".", draws.pick("local2", words.ASCII_LAST)
    return _joined(*local, ".", _number(_rows(draws) + 1), f"@{domain}.example")


def _users(world: _World) -> pl.DataFrame:
    draws = world.draws("User")
    row = _rows(draws)
    manager = world.ids["User"].gather((row // 5 - 1).set(row < 5, None)).fill_null(world.admin)
    return _frame(
        world,
        "User",
        {
            **_person(draws),
            "Username": _emails(draws, "login"),
            "Email": _emails(draws, "staff"),
            "Alias": _joined("u", _number(row)),
            "IsActive": draws.chance("active", 90).cast(pl.Int64),
            "Title": draws.pick("title", words.TITLES),
            "Department": draws.pick("department", words.DEPARTMENTS),
            "TimeZoneSidKey": pl.lit("Australia/Sydney"),
            "LocaleSidKey": pl.lit("en_AU"),
            "LanguageLocaleKey": pl.lit("en_US"),
            "EmailEncodingKey": pl.lit("UTF-8"),
            "UserType": pl.lit("Standard"),
            "ProfileId": pl.lit(world.profile),
            "ManagerId": manager,
        },
    )


def _products(world: _World) -> pl.DataFrame:
    draws = world.draws("Product2")
    code = _number(_rows(draws) + 1, 5)
    return _frame(
        world,
        "Product2",
        {
            "Name": _joined(draws.pick("name", words.PRODUCTS), " ", code),
            "ProductCode": _joined("P-", code),
            "Description": draws.pick("note", words.NOTES),
            "IsActive": draws.chance("active", 85).cast(pl.Int64),
            "IsArchived": pl.lit(0),
            "Family": draws.pick("family", (*picklists.PRODUCT_FAMILIES[1:], None)),
        },
    )


def _accounts(world: _World) -> pl.DataFrame:
    """Families of eight: a head, its subsidiaries and theirs, three levels deep at most."""
    draws = world.draws("Account")
    row = _rows(draws)
    place = row % 8
    steps = pl.Series([0, 1, 2, 1, 1, 0, 0, 0]).gather(place)  # how many rows back the parent stands; 0 for none
    has_parent = (steps > 0) & (row < world.referable("Account")) & draws.chance("parent", 80)
    return _frame(
        world,
        "Account",
        {
            "Name": _companies(draws),
            "ParentId": world.parents("Account", (row - steps), has_parent),
            "Type": draws.pick("type", (*picklists.ACCOUNT_TYPES, None)),
            "AccountNumber": _joined("AC-", _number(row + 1, 7)),
            **_places(draws, "Billing", 90),
            **_places(draws, "Shipping", 40),
            "Phone": _phones(draws, "phone", 85),
            "Fax": _phones(draws, "fax", 20),
            "Website": _sometimes(
                _joined("https://www.company", _number(row + 1), ".example"), draws.chance("web", 70)
            ),
            "Industry": draws.pick("industry", (*picklists.INDUSTRIES, None, None)),
            "AnnualRevenue": _sometimes(draws.below("revenue", 90_000) * 1_000.0, draws.chance("revenue?", 65)),
            "NumberOfEmployees": _sometimes(draws.below("staff", 20_000), draws.chance("staff?", 65)),
            "Rating": draws.pick("rating", (*picklists.RATINGS, None)),
            "AccountSource": draws.pick("source", (*picklists.LEAD_SOURCES, None)),
            "Description": _notes(draws),
            "OwnerId": pl.lit(world.admin),
        },
    )


def _contacts(world: _World) -> pl.DataFrame:
    """Teams of four at one account, in which each may report to the one before: three levels deep at most."""
    draws = world.draws("Contact")
    row = _rows(draws)
    team = Draws(draws.size // 4 + 1, world.seed, "team").skewed("account", world.referable("Account")).gather(row // 4)
    reports = (row % 4 > 0) & draws.chance("reports", 60) & (row < world.referable("Contact"))
    return _frame(
        world,
        "Contact",
        {
            **_person(draws),
            "Salutation": draws.pick("salutation", ("Mr.", "Ms.", "Dr.", None, None)),
            "AccountId": world.parents("Account", team, draws.chance("account", 96)),
            "ReportsToId": world.parents("Contact", row - 1, reports),
            "Email": _sometimes(_emails(draws, "mail"), draws.chance("email", 92)),
            "Phone": _phones(draws, "phone", 70),
            "MobilePhone": _phones(draws, "mobile", 60),
            "Title": draws.pick("title", words.TITLES),
            "Department": draws.pick("department", words.DEPARTMENTS),
            **_places(draws, "Mailing", 75),
            "LeadSource": draws.pick("source", (*picklists.LEAD_SOURCES, None, None)),
            "Birthdate": _sometimes(_days(draws, "birth", date(1950, 1, 1), 19_000), draws.chance("birth?", 30)),
            "Description": _notes(draws),
            "HasOptedOutOfEmail": draws.chance("optout", 6).cast(pl.Int64),
            "HasOptedOutOfFax": pl.lit(0),
            "DoNotCall": draws.chance("nocall", 4).cast(pl.Int64),
            "IsEmailBounced": pl.lit(0),
            "OwnerId": pl.lit(world.admin),
        },
    )


def _leads(world: _World) -> pl.DataFrame:
    draws = world.draws("Lead")
    row = _rows(draws)
    converted = draws.chance("converted", 6) & (row < world.referable("Lead"))
    status = draws.pick("status", (*picklists.LEAD_STATUSES[:2], picklists.LEAD_STATUSES[3]))
    account = draws.below("account", world.referable("Account"))
    return _frame(
        world,
        "Lead",
        {
            **_person(draws),
            "Company": _companies(draws),
            "Title": draws.pick("title", words.TITLES),
            **_places(draws, "", 70),
            "Phone": _phones(draws, "phone", 60),
            "Email": _sometimes(_emails(draws, "prospect"), draws.chance("email", 85)),
            "Website": _sometimes(_joined("https://lead", _number(row + 1), ".example"), draws.chance("web", 40)),
            "LeadSource": draws.pick("source", picklists.LEAD_SOURCES),
            "Status": status.set(converted, picklists.LEAD_STATUSES[2]),
            "Industry": draws.pick("industry", (*picklists.INDUSTRIES, None, None)),
            "Rating": draws.pick("rating", (*picklists.RATINGS, None)),
            "AnnualRevenue": _sometimes(draws.below("revenue", 9_000) * 1_000.0, draws.chance("revenue?", 40)),
            "NumberOfEmployees": _sometimes(draws.below("staff", 2_000), draws.chance("staff?", 50)),
            "IsConverted": converted.cast(pl.Int64),
            "ConvertedDate": _sometimes(_days(draws, "convert", date(2024, 1, 1), 900), converted),
            "ConvertedAccountId": world.parents("Account", account, converted),
            "HasOptedOutOfEmail": draws.chance("optout", 6).cast(pl.Int64),
            "DoNotCall": draws.chance("nocall", 4).cast(pl.Int64),
            "IsUnreadByOwner": pl.lit(0),
            "Description": _notes(draws),
            "OwnerId": pl.lit(world.admin),
        },
    )


def _opportunities(world: _World) -> pl.DataFrame:
    draws = world.draws("Opportunity")
    row = _rows(draws)
    stage = draws.below("stage", len(picklists.STAGES))
    won, lost = stage == len(picklists.STAGES) - 2, stage == len(picklists.STAGES) - 1
    amount = _sometimes(draws.below("amount", 50_000_000) / 100, draws.chance("amount?", 92))
    probability = pl.Series(picklists.STAGE_PROBABILITY).gather(stage)
    category = pl.Series(["Pipeline", "Closed", "Omitted"]).gather(won.cast(pl.Int64) + lost.cast(pl.Int64) * 2)
    account = draws.skewed("account", world.referable("Account"))
    return _frame(
        world,
        "Opportunity",
        {
            "Name": _joined(draws.pick("name", words.DEALS), " ", _number(row + 1, 6)),
            "AccountId": world.parents("Account", account, draws.chance("account", 95)),
            "StageName": pl.Series(picklists.STAGES).gather(stage),
            "Amount": amount,
            "Probability": probability,
            "ExpectedRevenue": (amount * probability / 100).round(2),
            "CloseDate": _days(draws, "close", date(2023, 1, 1), 1_700),
            "Type": draws.pick("type", ("Existing Business", "New Business", None)),
            "NextStep": draws.pick("next", ("Send quote", "Book demo", None, None)),
            "LeadSource": draws.pick("source", (*picklists.LEAD_SOURCES, None)),
            "IsClosed": (won | lost).cast(pl.Int64),
            "IsWon": won.cast(pl.Int64),
            "ForecastCategory": category,
            "ForecastCategoryName": category,
            "HasOpportunityLineItem": pl.lit(0),
            "Description": _notes(draws),
            "OwnerId": pl.lit(world.admin),
        },
    )


def _tasks(world: _World) -> pl.DataFrame:
    """Activities with a person (contact or lead), a matter (account or opportunity), both or neither."""
    draws = world.draws("Task")
    who, what = draws.below("who", 10), draws.below("what", 10)
    contact = world.parents("Contact", draws.below("contact", world.referable("Contact")), who < 6)
    lead = world.parents("Lead", draws.below("lead", world.referable("Lead")), (who >= 6) & (who < 8))
    is_lead = lead.is_not_null()
    account = world.parents("Account", draws.below("account", world.referable("Account")), (what < 5) & ~is_lead)
    deal_row = draws.below("deal", world.referable("Opportunity"))
    deal = world.parents("Opportunity", deal_row, (what >= 5) & (what < 8) & ~is_lead)
    status = draws.pick("status", picklists.TASK_STATUSES)
    priority = draws.pick("priority", (*picklists.PRIORITIES, "Normal", "Normal"))
    return _frame(
        world,
        "Task",
        {
            "Subject": draws.pick("subject", (*picklists.TASK_SUBJECTS, "Follow up: price?", "Größe klären")),
            "WhoId": contact.zip_with(~is_lead, lead),
            "WhatId": account.zip_with(deal.is_null(), deal),
            "AccountId": account,
            "ActivityDate": _sometimes(_days(draws, "due", date(2024, 1, 1), 1_200), draws.chance("due?", 90)),
            "Status": status,
            "Priority": priority,
            "IsHighPriority": (priority == "High").cast(pl.Int64),
            "IsClosed": (status == "Completed").cast(pl.Int64),
            "IsArchived": pl.lit(0),
            "IsReminderSet": pl.lit(0),
            "IsRecurrence": pl.lit(0),
            "TaskSubtype": draws.pick("subtype", ("Task", "Call", "Email")),
            "Description": _notes(draws),
            "OwnerId": pl.lit(world.admin),
        },
    )


def _deleted_accounts(store: Store, accounts: pl.DataFrame, count: int) -> pl.DataFrame:
    """A few accounts in the bin, made like the first ones."""
    gone = accounts.head(count)
    fresh = _new_ids(store, "Account", gone.height)
    moment = pl.lit(NEWEST.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
    stamps = {"SystemModstamp": moment, "_DeletedAt": moment, "IsDeleted": pl.lit(1)}
    return gone.with_columns(Id=fresh, Name=pl.concat_str([pl.lit("Closed "), pl.col("Name")]), **stamps)
