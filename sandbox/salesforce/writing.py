"""Insert, update and upsert of any number of records of one object: the platform's checks in its order, then the rows.

All of it works on columns inside one transaction. https://developer.salesforce.com/docs/atlas.en-us.apexcode.meta/apexcode/apex_triggers_order_of_execution.htm
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from sandbox.salesforce import checks, ids, lookups, person_accounts
from sandbox.salesforce.automation import Automation, Rule
from sandbox.salesforce.checks import each_row
from sandbox.salesforce.convert import ID, converted, normalised
from sandbox.salesforce.errors import ApiError, RowError
from sandbox.salesforce.formula import NEW, OLD
from sandbox.salesforce.org import Org
from sandbox.salesforce.pictures import Pictures
from sandbox.salesforce.records import AUDIT_FIELDS
from sandbox.salesforce.rows import Asked, Given, Incoming, Outcome, Rows
from sandbox.salesforce.schema import Field, Schema, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.storing import ROW_ID, insert_rows, update_rows

CHUNK = 200  # the platform works in chunks of so many; only within one is a key refused for coming twice
GROUP = "00G"
"""What the ids of groups, queues among them, begin with."""
_LOCKED_PARENTS = frozenset((("Contact", "AccountId"), ("Opportunity", "AccountId"), ("Case", "AccountId")))
NOTHING_ASKED = Asked()
_READ_ONLY = (
    "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is "
    "read/write for your profile or permission set."
)


@dataclass(frozen=True)
class Writer:
    """Writes for one user of an org. ``whole`` is the org's schema as nobody's access narrows it: rules, defaults and
    demands hold for fields that the user does not see, too. ``holder`` names the bulk job on whose behalf rows are
    written, for locks."""

    store: Store
    org: Org
    automation: Automation
    user_id: str
    whole: Callable[[], Schema]

    def save(
        self,
        incoming: Incoming,
        operation: str,
        key: Field | None = None,
        *,
        asked: Asked = NOTHING_ASKED,
        holder: str = "",
    ) -> Outcome:
        """Insert, update or upsert (by ``key``) what can be; one transaction or savepoint. Raises ApiError where
        the whole request is refused."""
        outcome = Outcome([""] * incoming.size, [False] * incoming.size, {})
        with self.store.write() as connection:
            for rows in _rounds(incoming, operation, key):
                part = incoming if rows is None else incoming.at(rows)
                done = _Saving(self, connection, part, operation=operation, key=key, asked=asked, holder=holder).run()
                _scatter(outcome, done, rows)
        return outcome


def _rounds(incoming: Incoming, operation: str, key: Field | None) -> list[pl.Series | None]:
    """Row numbers to be written one after the other: a key that comes again in a later chunk meets what the earlier
    one made of it. Usually that is everything at once (None)."""
    by_id = operation == "update" or (key is not None and key.type == "id")
    named = incoming.ids if by_id else incoming.keys
    if operation == "insert" or named is None:
        return [None]
    folded = named if by_id or key is None else lookups.folded(key, named)
    if not folded.drop_nulls().is_duplicated().any():
        return [None]
    row = pl.int_range(incoming.size, eager=True)
    frame = pl.DataFrame({"row": row, "chunk": row // CHUNK, "key": folded})
    turn = frame.select(pl.col("chunk").rank("dense").over("key").fill_null(1).alias("turn"))["turn"]
    return [(turn == each).arg_true() for each in sorted(turn.unique().to_list())]


def _scatter(whole: Outcome, part: Outcome, rows: pl.Series | None) -> None:
    places = range(len(part.ids)) if rows is None else rows.to_list()
    for place, record_id, fresh in zip(places, part.ids, part.created, strict=True):
        whole.ids[place], whole.created[place] = record_id, fresh
    numbers = list(places)
    whole.errors.update({numbers[row]: error for row, error in part.errors.items()})


class _Saving:
    """One call on its way through the checks. ``values`` and ``given`` are the columns by field name; ``final`` is
    what each record will hold."""

    def __init__(
        self,
        writer: Writer,
        connection: lookups.Connection,
        incoming: Incoming,
        *,
        operation: str,
        key: Field | None,
        asked: Asked,
        holder: str,
    ) -> None:
        self.writer = writer
        self.connection = connection
        self.incoming = incoming
        self.subject = writer.whole().require(incoming.subject.name)
        self.operation = operation
        self.key = key
        self.asked = asked
        self.holder = holder
        self.pictures = Pictures(connection, writer.org.first, writer.org.org_id)
        self.rows = Rows(incoming.size, incoming.errors)
        self.columns = list(incoming.columns)
        self.ids = self.empty()
        self.new = self.flags(value=operation == "insert")
        self.values: dict[str, pl.Series] = {}
        self.given: dict[str, pl.Series] = {}
        self.old = pl.DataFrame()
        self.final: dict[str, pl.Series] = {}

    def run(self) -> Outcome:
        self.find_targets()
        self.refuse_read_only()
        for column in self.columns:
            self.take(column)
        self.check_references()
        self.check_values()
        self.complete()
        self.check_persons()
        self.check_required()
        self.check_owner()
        self.check_rules()
        self.assign()
        self.number_new_records()
        self.check_unique()
        self.check_locks()
        self.store_rows()
        return self.outcome()

    def empty(self) -> pl.Series:
        return pl.Series([None], dtype=pl.String).new_from_index(0, self.incoming.size)

    def flags(self, *, value: bool) -> pl.Series:
        return pl.repeat(value, self.incoming.size, dtype=pl.Boolean, eager=True)

    def complain(self, complaint: checks.Complaint, rows: pl.Series | None = None) -> None:
        bad = complaint.bad if rows is None else complaint.bad & rows
        self.rows.fail(bad, complaint.code, complaint.message, complaint.fields)

    def find_targets(self) -> None:
        """Which record each row is about, and which rows are new ones."""
        sent = self.incoming.ids if self.incoming.ids is not None else self.empty()
        if self.operation == "insert":
            message = "cannot specify Id in an insert call"
            self.rows.fail(sent.is_not_null(), "INVALID_FIELD_FOR_INSERT_UPDATE", message, ("Id",))
        elif self.operation == "update" or self.key is None or self.key.type == "id":
            self.find_by_id(sent)
        else:
            message = "The Id field should not be specified in the sobject data."
            self.rows.fail(sent.is_not_null(), "INVALID_FIELD", message, ("Id",))
            self.find_by_key(self.key, self.incoming.keys if self.incoming.keys is not None else self.empty())

    def find_by_id(self, sent: pl.Series) -> None:
        absent = sent.is_null()
        if self.operation == "update":
            self.rows.fail(absent, "MISSING_ARGUMENT", "Id not specified in an update call", ("Id",))
        else:
            self.new = absent
        self.rows.fail(~sent.str.contains(ID), "MALFORMED_ID", each_row("malformed id ", sent), ("Id",))
        self.ids = normalised(sent)
        self.rows.fail(self.twice(self.ids), "DUPLICATE_VALUE", each_row("duplicate id specified: ", self.ids), ("Id",))
        known = lookups.existing(self.connection, self.subject, self.ids)
        self.rows.fail(
            ~absent & ~self.ids.is_in(known["id"].to_list()),
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id",
        )
        gone = known.filter("deleted")["id"].to_list()
        self.rows.fail(self.ids.is_in(gone), "ENTITY_IS_DELETED", "entity is deleted")

    def find_by_key(self, key: Field, sent: pl.Series) -> None:
        self.rows.fail(sent.is_null(), "MISSING_ARGUMENT", f"{key.name} not specified", (key.name,))
        values = converted(key, sent)
        self.complain(checks.wrong_type(key, sent, values.wrong))
        double = self.twice(lookups.folded(key, values.values))
        self.rows.fail(double, "DUPLICATE_VALUE", each_row("Duplicate external id specified: ", sent), (key.name,))
        found = lookups.by_value(self.connection, self.subject, key, values.values)
        grouped = found.group_by("value").agg(pl.col("id").first(), pl.col("id").alias("all"))
        matched = values.values.alias("value").to_frame().join(grouped, on="value", how="left", maintain_order="left")
        several = (matched["all"].list.len() > 1).fill_null(value=False)
        listed = matched["all"].list.join(", ")
        message = each_row(f"{key.name}: more than one record found for external id field: [", listed, "]")
        self.rows.fail(several, "DUPLICATE_EXTERNAL_ID", message, (key.name,))
        self.ids = matched["id"]
        self.new = self.ids.is_null()
        self.columns.append(Given(key, sent, self.new))

    def twice(self, values: pl.Series) -> pl.Series:
        """Rows whose value comes twice within a chunk."""
        if not values.drop_nulls().is_duplicated().any():
            return self.flags(value=False)
        chunk = pl.int_range(self.incoming.size, eager=True) // CHUNK
        return pl.DataFrame({"chunk": chunk, "value": values}).is_duplicated() & values.is_not_null()

    def refuse_read_only(self) -> None:
        refused: dict[str, pl.Series] = {}
        for each in self.columns:
            field = each.field
            creating = field.createable and not (field.name in AUDIT_FIELDS and self.operation == "upsert")
            mask = each.given & ((self.new & (not creating)) | (~self.new & (not field.updateable)))
            if each.field is not self.key:
                refused[field.name] = mask | refused.get(field.name, self.flags(value=False))
        for names, rows in checks.combinations(refused):
            self.rows.fail(rows, "INVALID_FIELD_FOR_INSERT_UPDATE", _READ_ONLY.format(", ".join(names)), names)

    def take(self, column: Given) -> None:
        """A column as stored values; a parent named by its external id becomes its id."""
        if column.parent is not None and column.key is not None:
            values = self.parents(column, column.parent, column.key)
        else:
            values = self.own(column)
        name = column.field.name
        values = self.pictures.taken_out(self.subject, column.field, values)
        earlier = self.given.get(name)
        if earlier is not None:
            values = values.zip_with(column.given, self.values[name])
        self.values[name] = values
        self.given[name] = column.given if earlier is None else earlier | column.given

    def own(self, column: Given) -> pl.Series:
        field = column.field
        result = converted(field, column.text)
        wrong = result.wrong & column.given
        if field.type == "boolean":
            wrong = wrong | (column.given & column.text.is_null())
        if self.incoming.exact and field.type not in ("id", "reference") and (wrong & column.text.is_not_null()).any():
            text = column.text.filter(wrong)[0]
            message = f"Cannot deserialize instance of {field.type} from VALUE_STRING value {text} or request may be missing a required field at [line:1, column:1]"  # noqa: E501 - one sentence
            raise ApiError(400, "JSON_PARSER_ERROR", message)
        self.complain(checks.wrong_type(field, column.text, wrong))
        return result.values

    def parents(self, column: Given, parent: SObject, key: Field) -> pl.Series:
        values = converted(key, column.text)
        found = lookups.by_value(self.connection, parent, key, values.values)
        grouped = found.group_by("value").agg(pl.col("id").first(), pl.len().alias("count"))
        matched = values.values.alias("value").to_frame().join(grouped, on="value", how="left", maintain_order="left")
        asked = column.given & column.text.is_not_null()
        where = f" not found for field {key.name} in entity {parent.name}"
        message = each_row("Foreign key external ID: ", column.text, where)
        self.rows.fail(asked & matched["id"].is_null(), "INVALID_FIELD", message)
        many = each_row(f"{key.name}: more than one record found for external id field: ", column.text)
        self.rows.fail(asked & (matched["count"] > 1), "DUPLICATE_EXTERNAL_ID", many, (key.name,))
        return matched["id"]

    def check_references(self) -> None:
        for name, values in self.values.items():
            field = self.subject.field(name)
            if field is None or field.type != "reference":
                continue
            asked = self.given[name] & self.rows.good & values.is_not_null()
            if name == "RecordTypeId":
                self.check_record_type(field, values, asked)
            elif asked.any():
                self.check_reference(field, values, asked)

    def check_reference(self, field: Field, values: pl.Series, asked: pl.Series) -> None:
        prefixes = values.str.head(3)
        known = self.flags(value=False)
        for target in (self.writer.store.schema.get(each) for each in field.reference_to):
            if target is None or target.prefix is None:
                continue
            mine = asked & (prefixes == target.prefix)
            known = known | mine
            if mine.any():
                found = lookups.existing(self.connection, target, values.filter(mine))
                missing = mine & ~values.is_in(found["id"].to_list())
                self.rows.fail(missing, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
                gone = found.filter("deleted")["id"].to_list()
                self.rows.fail(mine & values.is_in(gone), "ENTITY_IS_DELETED", "entity is deleted")
        message = each_row(f"{field.label}: id value of incorrect type: ", values)
        self.rows.fail(asked & ~known, "FIELD_INTEGRITY_EXCEPTION", message, (field.name,))

    def check_record_type(self, field: Field, values: pl.Series, asked: pl.Series) -> None:
        usable = [each.id for each in self.subject.record_types if each.active and each.available]
        message = each_row(f"{field.label}: this ID value isn't valid for the user: ", values)
        self.rows.fail(asked & ~values.is_in(usable), "INVALID_CROSS_REFERENCE_KEY", message, (field.name,))

    def check_values(self) -> None:
        for name, values in self.values.items():
            field = self.subject.field(name)
            if field is not None:
                for complaint in checks.value_complaints(field, values):
                    self.complain(complaint, self.given[name])

    def complete(self) -> None:
        """Each record as it will be: what was given, else what is stored, else the default of a new one."""
        names = [each.name for each in self.subject.fields if self.needed(each)]
        old = self.ids.set(self.new, None)
        if (~self.new).any():
            self.old = lookups.fetched(self.connection, self.subject, old, [*names, "FirstName", "LastName"])
        for name in names:
            field = self.subject.field(name)
            if field is not None:
                self.final[name] = self.completed(field)
        if self.subject.field("LastName") and (self.new.any() or {"FirstName", "LastName"} & set(self.given)):
            self.final["Name"] = self.full_names().fill_null(self.company_names())

    def needed(self, field: Field) -> bool:
        asked_by_rules = any(field.name in each.formula.fields for each in self.rules())
        return field.stored and field.name != "Id" and (field.name in self.given or field.default is not None
                                                        or asked_by_rules)  # fmt: skip

    def rules(self) -> list[Rule]:
        found = {each.name: each for event in ("insert", "update") for each in
                 self.writer.automation.of(self.subject, event)}  # fmt: skip
        return list(found.values())

    def completed(self, field: Field) -> pl.Series:
        kind = lookups.stored_type(field)
        base = pl.Series([_default(field)], dtype=kind).new_from_index(0, self.incoming.size)
        if field.name in self.old.columns:
            base = base.zip_with(self.new, self.old[field.name])
        if field.name not in self.given:
            return base
        values, given = self.values[field.name], self.given[field.name]
        if field.defaulted:
            given = given & ~(self.new & values.is_null())
        return values.cast(kind).zip_with(given, base)

    def company_names(self) -> pl.Series:
        """The names of records that are no persons, as they will be."""
        if "Name" in self.final:
            return self.final["Name"]
        known = self.ids.set(self.new, None)
        return lookups.fetched(self.connection, self.subject, known, ["Name"])["Name"]

    def full_names(self) -> pl.Series:
        parts: list[pl.Series] = []
        for name in ("FirstName", "LastName"):
            stored = self.old[name] if name in self.old.columns else self.empty()
            parts.append(self.final.get(name, stored))
        whole = pl.select(pl.concat_str(parts, separator=" ", ignore_nulls=True)).to_series()
        return whole.set(whole == "", None)

    def check_persons(self) -> None:
        """Person accounts take no company's fields, companies no person's; a person's contact changes with it only."""
        if self.subject.name == "Contact" and self.subject.field("IsPersonAccount"):
            state = lookups.fetched(self.connection, self.subject, self.ids, ["IsPersonAccount"])
            owners = self.final.get("AccountId", self.empty())
            account = self.writer.store.schema.require("Account")
            person = lookups.fetched(self.connection, account, owners, ["IsPersonAccount"])["IsPersonAccount"] == 1
            said = "The contact of a person account cannot be written by itself"
            bad = (state["IsPersonAccount"] == 1) | (person & self.new)
            self.rows.fail(bad.fill_null(value=False), "INVALID_PERSON_ACCOUNT_OPERATION", said)
        if not person_accounts.is_enabled(self.subject):
            return
        person = self.persons()
        for name, given in self.given.items():
            not_of_persons, not_of_companies = person_accounts.odd_names(self.subject, name)
            bad = given & ((person & not_of_persons) | (~person & not_of_companies))
            said = f"Account: bad field names on insert/update call: {name}"
            self.rows.fail(bad, "INVALID_FIELD_FOR_INSERT_UPDATE", said, (name,))

    def persons(self) -> pl.Series:
        """Rows of person accounts, as they will be."""
        types = self.final.get("RecordTypeId")
        if types is None:
            known = lookups.fetched(self.connection, self.subject, self.ids, ["RecordTypeId"])
            types = known["RecordTypeId"]
        return person_accounts.persons(self.subject, types)

    def check_required(self) -> None:
        lacking: dict[str, pl.Series] = {}
        for field in self.subject.fields:
            if field.nillable or not field.createable or field.type == "boolean":
                continue
            given = self.given.get(field.name)
            now_null = self.final[field.name].is_null() if field.name in self.final else self.flags(value=True)
            new = self.new & now_null & (not field.defaulted)
            changed = ~self.new & given & now_null if given is not None else self.flags(value=False)
            lacking[field.name] = new | changed
        for names, rows in checks.combinations(lacking):
            message = f"Required fields are missing: [{', '.join(names)}]"
            self.rows.fail(rows, "REQUIRED_FIELD_MISSING", message, names)

    def check_owner(self) -> None:
        owners = self.values.get("OwnerId")
        if owners is None:
            return
        users = self.writer.store.schema.require("User")
        state = lookups.fetched(self.connection, users, owners, ["IsActive"])
        changed = self.new if "OwnerId" not in self.old.columns else self.new | (owners != self.old["OwnerId"])
        inactive = self.given["OwnerId"] & (state["IsActive"] == 0) & changed
        message = each_row(
            "operation performed with inactive user [", owners, f"] as owner of {self.subject.label.lower()}"
        )
        self.rows.fail(inactive, "INACTIVE_OWNER_OR_USER", message)
        queued = owners.str.starts_with(GROUP).fill_null(value=False) & self.given["OwnerId"] & changed
        if queued.any():
            strange = queued & ~owners.is_in(self._serving()).fill_null(value=False)
            self.rows.fail(strange, "INVALID_OPERATION", "Queue not associated with this SObject type")

    def _serving(self) -> list[str]:
        """The queues that may own records of the object."""
        sql = 'SELECT "QueueId" FROM "QueueSobject" WHERE "SobjectType" = ? COLLATE NOCASE AND "IsDeleted" = 0'
        return [queue for (queue,) in self.connection.execute(sql, (self.subject.name,))]

    def check_rules(self) -> None:
        if not self.rules():
            return
        old = {OLD + name: self.old[name] for name in self.old.columns}
        frame = pl.DataFrame({**self.final, **old, NEW: self.new})
        for event, rows in (("insert", self.new), ("update", ~self.new)):
            for each in self.writer.automation.of(self.subject, event):
                if each.alert and self.asked.saves_duplicates:
                    continue
                self.check_rule(each, frame, rows)

    def check_rule(self, each: Rule, frame: pl.DataFrame, rows: pl.Series) -> None:
        missing = [OLD + name for name in each.formula.changes if OLD + name not in frame.columns]
        asked = frame.with_columns(pl.col(column.removeprefix(OLD)).alias(column) for column in missing)
        broken = self.writer.automation.broken(each, asked)
        self.rows.fail(broken & rows, each.code, each.message, (each.field,) if each.field else ())

    def assign(self) -> None:
        """Give the records to the owner an assignment rule names, whatever owner was sent."""
        owner = self.writer.automation.assigned(self.subject, self.asked.assignment)
        if owner is not None:
            self.final["OwnerId"] = self.empty().fill_null(owner)
            self.given["OwnerId"] = self.flags(value=True)

    def number_new_records(self) -> None:
        count = int(self.new.sum())
        if count and self.subject.prefix is not None:
            first = self.writer.store.reserve(self.subject, count)
            fresh = ids.record_ids(self.subject.prefix, pl.int_range(first, first + count, dtype=pl.UInt64, eager=True))
            self.ids = self.ids.scatter(self.new.arg_true(), fresh)

    def check_unique(self) -> None:
        for name in self.given:
            field = self.subject.field(name)
            if field is not None and field.unique:
                self.check_unique_field(field)
        if self.subject.unique_together and self.new.any():
            self.check_unique_together()

    def check_unique_together(self) -> None:
        """New records that agree in all of several fields with one that is there, or with one before them."""
        names = self.subject.unique_together
        asked = pl.DataFrame({name: self.final[name] for name in names})
        columns = ", ".join(f'"{name}"' for name in names)
        sql = f'SELECT {columns} FROM "{self.subject.name}" WHERE "IsDeleted" = 0'  # noqa: S608 - schema names
        held = pl.DataFrame(self.connection.execute(sql).fetchall(), asked.schema, orient="row")
        taken = asked.with_row_index().join(held, on=names, how="semi")["index"]
        again = ~asked.select(pl.struct(names).is_first_distinct()).to_series()
        bad = pl.Series(range(self.incoming.size)).is_in(taken.implode()) | again
        self.rows.fail(self.new & bad, "DUPLICATE_VALUE", f"duplicate value found: {' and '.join(names)}")

    def check_unique_field(self, field: Field) -> None:
        values = self.final[field.name]
        asked = self.given[field.name] & values.is_not_null()
        found = lookups.by_value(self.connection, self.subject, field, values.filter(asked))
        holders = found.group_by("value").agg(pl.col("id").first())
        held = values.alias("value").to_frame().join(holders, on="value", how="left", maintain_order="left")["id"]
        self.refuse_duplicates(field, asked & held.is_not_null() & (held != self.ids), held)
        frame = pl.DataFrame({"id": self.ids, "value": lookups.folded(field, values), "in": asked & self.rows.good})
        first = frame.filter("in").group_by("value").agg(pl.col("id").first().alias("first"))
        holder = frame.join(first, on="value", how="left", maintain_order="left")["first"]
        self.refuse_duplicates(field, asked & (holder != self.ids), holder)

    def refuse_duplicates(self, field: Field, bad: pl.Series, holder: pl.Series) -> None:
        message = each_row(
            f"duplicate value found: {field.name} duplicates value on record with id: ", holder.str.head(15)
        )
        self.rows.fail(bad, "DUPLICATE_VALUE", message)

    def check_locks(self) -> None:
        locks = self.writer.automation.locks
        for needed in [self.ids.set(self.new, None), *self.locked_parents()]:
            asked = needed.set(~self.rows.good, None)
            said = each_row("unable to obtain exclusive access to this record or 200 records: ", asked)
            self.rows.fail(locks.refused(asked, self.holder), "UNABLE_TO_LOCK_ROW", said)
        if self.holder and self.writer.org.settings.row_locks:
            for parents in self.locked_parents():
                locks.take(self.holder, parents.filter(self.rows.good))

    def locked_parents(self) -> list[pl.Series]:
        """Parents that a write of these rows locks."""
        fields = [self.subject.field(name) for name in self.given]
        return [
            self.final[each.name]
            for each in fields
            if each is not None
            and (each.relationship_order is not None or (self.subject.name, each.name) in _LOCKED_PARENTS)
        ]

    def store_rows(self) -> None:
        """The good rows: new ones in, known ones over."""
        fresh = self.new & self.rows.good
        known = ~self.new & self.rows.good
        user = self.writer.user_id
        for name, values in self.final.items():
            if field := self.subject.field(name):
                self.final[name] = self.pictures.owned(field, values, self.ids)
        if fresh.any():
            frame = pl.DataFrame({**self.final, "Id": self.ids}).filter(fresh)
            insert_rows(self.writer.store, self.subject, frame, user)
        if known.any():
            names = [name for name in self.final if name in self.given or name == "Name"]
            frame = pl.DataFrame({**{name: self.final[name] for name in names}, ROW_ID: self.ids}).filter(known)
            update_rows(self.connection, self.subject, frame, user)
        if person_accounts.is_enabled(self.subject):
            mine = self.ids.filter(self.persons() & self.rows.good).to_list()
            everything = self.writer.store.seen_as(self.writer.whole(), self.writer.store.schema_changed)
            person_accounts.follow(self.connection, everything, user, mine)

    def outcome(self) -> Outcome:
        known = self.ids.set(self.new & ~self.rows.good, None).fill_null("").to_list()
        return Outcome(known, (self.new & self.rows.good).to_list(), self.rows.errors)


def rolled_back() -> RowError:
    """What a row that was good itself is told when all or none were to be written."""
    message = "Record rolled back because not all records were valid and the request was using AllOrNone header"
    return RowError("ALL_OR_NONE_OPERATION_ROLLED_BACK", message)


def _default(field: Field) -> object:
    return int(bool(field.default)) if field.type == "boolean" else field.default
