"""From a SOQL tree to a plan in SQL: names resolved against the schema, values bound, never pasted.

SOQL's logic has two values: a comparison with null is false and its negation true, so ``!=``, NOT IN and NOT also
find records where the field is empty. Text compares without regard to (ASCII) case, ids with it.
"""

import json
from dataclasses import dataclass, field

from sandbox.salesforce import ids
from sandbox.salesforce.errors import ApiError
from sandbox.salesforce.schema import NUMBER_TYPES, TEXT_TYPES, Field, Schema, SObject
from sandbox.salesforce.soql import (
    Comparison,
    Condition,
    Junction,
    Literal,
    Name,
    Not,
    Query,
    Sorting,
    complaint,
    like_pattern,
    unescaped,
)

ROOT = "t"
ARCHIVING = ("Event", "Task")
"""Objects whose archived records only queryAll shows."""
MAX_OFFSET = 2_000
MAX_JOINS = 2
NEVER_INNER = frozenset(("ActivityHistory", "Attachment", "Event", "EventAttendee", "Note", "OpenActivity", "Task"))
MAX_FIELDS_LIMIT = 200
_REFER = " Please reference your WSDL or the describe call for the appropriate names."
_PERSON_NAME_FIELDS = frozenset(("FirstName", "LastName", "Email", "Phone", "Title", "Alias", "Username", "IsActive"))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of a result row: ``sql`` yields it as stored, ``type`` says how it is rendered."""

    key: str
    type: str
    sql: str
    parts: tuple[tuple[str, str, str], ...] = ()
    """For an address: (key, type, sql) of each part."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent record inside a row; ``targets`` are (object name, join alias), one unless polymorphic."""

    key: str
    targets: tuple[tuple[str, str], ...]
    leaves: tuple["Leaf | Parent", ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: ``source`` is everything from FROM to OFFSET, with ``parameters`` for its placeholders."""

    subject: SObject
    columns: tuple[Leaf | Parent, ...]
    joins: str
    where: str
    order: str
    window: str
    parameters: tuple[object, ...]
    count: bool
    compounds: tuple[str, ...]

    @property
    def source(self) -> str:
        return f'FROM "{self.subject.name}" AS {ROOT}{self.joins} WHERE {self.where}{self.order}{self.window}'


@dataclass(slots=True)
class _Branch:
    """Columns gathered under one relationship while the select list is read, in first-seen order."""

    targets: tuple[tuple[SObject, str], ...]
    columns: "dict[str, Leaf | _Branch]" = field(default_factory=dict)

    def frozen(self, key: str) -> Parent:
        targets = tuple((subject.name, alias) for subject, alias in self.targets)
        return Parent(key, targets, _frozen(self.columns))


def _frozen(columns: "dict[str, Leaf | _Branch]") -> tuple[Leaf | Parent, ...]:
    return tuple(each.frozen(key) if isinstance(each, _Branch) else each for key, each in columns.items())


def compile_query(query: Query, schema: Schema, *, deleted: bool) -> Plan:
    """The plan of a query; ``deleted`` includes records in the bin. Raises ApiError in the vendor's wording."""
    subject = schema.get(query.entity.path)
    if subject is None:
        raise unknown_type(query)
    return _Compiler(query, schema, subject).plan(deleted=deleted)


def unknown_type(query: Query) -> ApiError:
    message = (
        f"sObject type '{query.entity.path}' is not supported. If you are attempting to use a custom object, be "
        f"sure to append the '__c' after the entity name.{_REFER}"
    )
    return complaint(query.text, query.entity.at, "INVALID_TYPE", message)


def check_filter(query: Query, schema: Schema) -> None:
    """Raise ApiError where an object is asked for without the filter it demands."""
    subject = schema.get(query.entity.path)
    if subject is None or not subject.needs_filter or _filters(query.where, subject.needs_filter):
        return
    named = " or ".join(subject.needs_filter)
    message = (
        f"Implementation restriction: {subject.name} requires a filter by a single Id on {named} using the equals "
        "operator or multiple Id's using the IN operator."
    )
    raise complaint(query.text, query.entity.at, "MALFORMED_QUERY", message)


def _filters(condition: Condition | None, names: tuple[str, ...]) -> bool:
    match condition:
        case Comparison():
            return condition.field.path in names and condition.operator in ("=", "IN")
        case Junction():
            return condition.word == "AND" and any(_filters(part, names) for part in condition.parts)
        case _:
            return False


def _on_top(where: Condition | None, test: Comparison) -> bool:
    """Whether the comparison is one of those that must all hold."""
    match where:
        case Junction(word="AND", parts=parts):
            return any(_on_top(part, test) for part in parts)
        case _:
            return where is test


def value_sql(subject_field: Field, alias: str) -> str:
    """SQL for a field's value in the row called ``alias``: a column, a roll-up, a formula or null."""
    if subject_field.rollup is not None:
        rollup = subject_field.rollup
        inner = "COUNT(*)" if rollup.operation == "count" else f'{rollup.operation.upper()}(c."{rollup.summed}")'
        whole = f'TOTAL(c."{rollup.summed}")' if rollup.operation == "sum" else inner
        mine = f'c."{rollup.foreign_key}" = {alias}."Id" AND c."IsDeleted" = 0'
        return f'(SELECT {whole} FROM "{rollup.child}" c WHERE {mine})'  # noqa: S608 - names of the schema only
    if subject_field.formula is not None:
        return f"({subject_field.expression.replace('{t}', alias)})" if subject_field.expression else "NULL"
    return f'{alias}."{subject_field.name}"'


class _Compiler:
    def __init__(self, query: Query, schema: Schema, subject: SObject, *, is_inner: bool = False) -> None:
        self.query = query
        self.is_inner = is_inner
        self.inner_queries = 0
        self.schema = schema
        self.subject = subject
        self.joins: dict[str, tuple[str, str]] = {}
        self.parameters: list[object] = []
        self.compounds: list[str] = []

    def plan(self, *, deleted: bool) -> Plan:
        columns = self.columns()
        where = self.condition(self.query.where) if self.query.where is not None else "1"
        if not deleted:
            archived = f' AND {ROOT}."IsArchived" = 0' if self.subject.name in ARCHIVING else ""
            where = f'{ROOT}."IsDeleted" = 0{archived} AND ({where})'
        order = ", ".join(self.sorting(each) for each in self.query.order)
        return Plan(
            subject=self.subject,
            columns=columns,
            joins="".join(sql for _, sql in self.joins.values()),
            where=where,
            order=f" ORDER BY {order}" if order else "",
            window=self.window(),
            parameters=tuple(self.parameters),
            count=self.query.count,
            compounds=tuple(self.compounds),
        )

    def columns(self) -> tuple[Leaf | Parent, ...]:
        if self.query.count:
            return ()
        names = self.grouped() if self.query.group else self.query.fields
        root = _Branch(((self.subject, ROOT),))
        for name in names:
            self.add(root, name)
        return _frozen(root.columns)

    def grouped(self) -> tuple[Name, ...]:
        """FIELDS(ALL | STANDARD | CUSTOM): all of a kind; the platform asks for a LIMIT of at most 200."""
        group = self.query.group
        limit = self.query.limit
        if group != "STANDARD" and (limit is None or limit > MAX_FIELDS_LIMIT):
            message = f"The SOQL FIELDS function must have a LIMIT of at most {MAX_FIELDS_LIMIT}"
            raise ApiError(400, "MALFORMED_QUERY", message)
        wanted = [each for each in self.subject.fields if group == "ALL" or each.custom == (group == "CUSTOM")]
        return tuple(Name(each.name, 0) for each in wanted)

    def add(self, root: _Branch, name: Name) -> None:
        *path, last = name.path.split(".")
        if path and path[0].lower() == self.subject.name.lower():
            path = path[1:]
        branch, prefix = root, ""
        for step in path:
            branch, prefix = self.enter(branch, prefix, step, name)
        leaf = self.leaf(branch, last, name)
        if leaf.key in branch.columns:
            raise ApiError(400, "INVALID_FIELD", f"duplicate field selected: {name.path}")
        branch.columns[leaf.key] = leaf

    def enter(self, branch: _Branch, prefix: str, step: str, name: Name) -> tuple[_Branch, str]:
        key, path, targets = self.follow(branch.targets, prefix, step, name)
        below = branch.columns.setdefault(key, _Branch(targets))
        if not isinstance(below, _Branch):
            raise self.no_column(name, step, branch.targets)
        return below, path

    def follow(
        self, targets: tuple[tuple[SObject, str], ...], prefix: str, step: str, name: Name
    ) -> tuple[str, str, tuple[tuple[SObject, str], ...]]:
        """Join what ``step`` points at; the same path is joined once."""
        subject, alias = targets[0]
        link = subject.relationship(step) if len(targets) == 1 else None
        if link is None or link.relationship is None:
            message = (
                f"Didn't understand relationship '{step}' in field path. If you are attempting to use a custom "
                f"relationship, be sure to append the '__r' after the custom relationship name.{_REFER}"
            )
            raise complaint(self.query.text, name.at, "INVALID_FIELD", message)
        path = f"{prefix}{link.relationship}."
        found = [(each, self.join(path, each, alias, link)) for each in map(self.schema.get, link.reference_to) if each]
        return link.relationship, path, tuple(found)

    def join(self, path: str, target: SObject, alias: str, link: Field) -> str:
        key = f"{path}{target.name}"
        if key not in self.joins:
            joined = f"j{len(self.joins)}"
            sql = f' LEFT JOIN "{target.name}" AS {joined} ON {joined}."Id" = {alias}."{link.name}"'
            self.joins[key] = joined, sql
        return self.joins[key][0]

    def leaf(self, branch: _Branch, last: str, name: Name) -> Leaf:
        if len(branch.targets) != 1:
            return self.polymorphic(branch.targets, last, name)
        subject, alias = branch.targets[0]
        found = subject.field(last)
        if found is None:
            raise self.no_column(name, last, branch.targets)
        if found.type != "address":
            return Leaf(found.name, found.type, value_sql(found, alias))
        self.compounds.append(found.name)
        parts = [(key, part) for key, part in ((key, subject.field(part)) for key, part in found.parts) if part]
        return Leaf(found.name, found.type, "", tuple((key, part.type, value_sql(part, alias)) for key, part in parts))

    def polymorphic(self, targets: tuple[tuple[SObject, str], ...], last: str, name: Name) -> Leaf:
        """A field of a polymorphic parent: those of the pseudo-object Name (Id, Name, Type and a person's)."""
        wanted = last.lower()
        if wanted == "type":
            whens = " ".join(f"WHEN {alias}.\"Id\" IS NOT NULL THEN '{subject.name}'" for subject, alias in targets)
            return Leaf("Type", "string", f"CASE {whens} END")
        found: list[tuple[Field, str]] = []
        for subject, alias in targets:
            each = subject.name_field if wanted == "name" else subject.field(last)
            if each is not None and (each.name in _PERSON_NAME_FIELDS or wanted in ("id", "name")):
                found.append((each, alias))
        if not found:
            raise self.no_column(name, last, targets)
        values = ", ".join(value_sql(each, alias) for each, alias in found)
        key = "Name" if wanted == "name" else found[0][0].name
        return Leaf(key, found[0][0].type, values if len(found) == 1 else f"COALESCE({values})")

    def no_column(self, name: Name, last: str, targets: tuple[tuple[SObject, str], ...]) -> ApiError:
        entity = targets[0][0].name if len(targets) == 1 else "Name"
        message = (
            f"No such column '{last}' on entity '{entity}'. If you are attempting to use a custom field, be sure to "
            f"append the '__c' after the custom field name.{_REFER}"
        )
        return complaint(self.query.text, name.at, "INVALID_FIELD", message)

    def resolve(self, name: Name) -> tuple[Leaf, Field | None]:
        """A field named in WHERE or ORDER BY, with its definition where it is one object's own."""
        *path, last = name.path.split(".")
        if path and path[0].lower() == self.subject.name.lower():
            path = path[1:]
        targets: tuple[tuple[SObject, str], ...] = ((self.subject, ROOT),)
        prefix = ""
        for step in path:
            _, prefix, targets = self.follow(targets, prefix, step, name)
        leaf = self.leaf(_Branch(targets), last, name)
        definition = targets[0][0].field(last) if len(targets) == 1 else None
        return leaf, definition

    def condition(self, condition: Condition) -> str:
        match condition:
            case Comparison():
                return self.comparison(condition)
            case Not():
                return f"NOT COALESCE(({self.condition(condition.inner)}), 0)"
            case Junction():
                return "(" + f" {condition.word} ".join(self.condition(part) for part in condition.parts) + ")"

    def comparison(self, test: Comparison) -> str:
        if test.inner is not None:
            return self.among_records(test, test.inner)
        leaf, definition = self.resolve(test.field)
        if leaf.type == "address" or (definition is not None and not definition.filterable):
            message = f"field '{test.field.path}' can not be filtered in a query call"
            raise complaint(self.query.text, test.field.at, "INVALID_FIELD", message)
        values = [self.value(test, leaf, literal) for literal in test.values]
        if test.operator in ("IN", "NOT IN"):
            return self.membership(leaf.sql, test.operator, values)
        value = values[0]
        if value is None:
            return self.with_null(test, leaf)
        self.parameters.append(value)
        if test.operator == "LIKE":
            return f"{leaf.sql} LIKE ? ESCAPE '\\'"
        return f"{leaf.sql} IS NOT ?" if test.operator == "!=" else f"{leaf.sql} {test.operator} ?"

    def with_null(self, test: Comparison, leaf: Leaf) -> str:
        if test.operator not in ("=", "!="):
            return "0"
        return f"{leaf.sql} IS NULL" if test.operator == "=" else f"{leaf.sql} IS NOT NULL"

    def among_records(self, test: Comparison, inner: Query) -> str:
        """A semi-join or an anti-join: what another query finds."""
        self.refuse_join(test, inner)
        subject = self.schema.get(inner.entity.path)
        if subject is None:
            raise unknown_type(inner)
        leaf, _ = self.resolve(test.field)
        within = _Compiler(inner, self.schema, subject, is_inner=True)
        found = within.resolve(inner.fields[0])[0]
        for each in (leaf, found):
            if each.type not in ("id", "reference"):
                raise self.malformed(test, f"Semi join sub-selects can only query id fields, cannot use: '{each.key}'")
        plan = within.plan(deleted=False)
        self.parameters += within.parameters
        inside = f"{leaf.sql} IN (SELECT {found.sql} {plan.source})"
        return f"COALESCE({inside}, 0)" if test.operator == "IN" else f"NOT COALESCE({inside}, 0)"

    def refuse_join(self, test: Comparison, inner: Query) -> None:
        """The platform's rules for queries inside a WHERE."""
        self.inner_queries += 1
        if self.is_inner:
            raise self.malformed(test, "Nesting of semi join sub-selects is not supported")
        if self.inner_queries > MAX_JOINS:
            raise self.malformed(test, f"Maximum {MAX_JOINS} semi join sub-selects are allowed per query")
        if inner.entity.path.lower() == self.subject.name.lower():
            raise self.malformed(test, "The inner and outer selects should not be on the same object type")
        if inner.entity.path in NEVER_INNER:
            raise self.malformed(test, f"Entity '{inner.entity.path}' is not supported for semi join inner selects")
        if not _on_top(self.query.where, test):
            raise self.malformed(
                test, "Semi join sub-selects are only allowed at the top level WHERE expressions and not in nested ones"
            )

    def malformed(self, test: Comparison, message: str) -> ApiError:
        return complaint(self.query.text, test.field.at, "MALFORMED_QUERY", message)

    def membership(self, sql: str, operator: str, values: list[object]) -> str:
        self.parameters.append(json.dumps([value for value in values if value is not None]))
        inside = f"{sql} IN (SELECT value FROM json_each(?))"  # noqa: S608 - the value is bound
        if None in values:
            inside = f"({inside} OR {sql} IS NULL)"
        return f"COALESCE({inside}, 0)" if operator == "IN" else f"NOT COALESCE({inside}, 0)"

    def value(self, test: Comparison, leaf: Leaf, literal: Literal) -> object:
        """A literal as the value to bind; raises where its kind does not fit the field's type."""
        if literal.kind == "null":
            return None
        if leaf.type in ("id", "reference"):
            return self.id_value(test, leaf, literal)
        if test.operator == "LIKE" and leaf.type not in TEXT_TYPES:
            raise self.bad_operator(test, leaf)
        expected = _expected_kind(leaf.type)
        if literal.kind != expected:
            raise self.wrong_type(test, leaf, literal)
        if literal.kind != "string":
            return literal.value
        raw = str(literal.value)
        return like_pattern(raw) if test.operator == "LIKE" else unescaped(raw)

    def id_value(self, test: Comparison, leaf: Leaf, literal: Literal) -> str:
        if test.operator == "LIKE":
            raise self.bad_operator(test, leaf)
        text = ids.normalised(unescaped(str(literal.value)))
        if literal.kind != "string" or len(text) != 18 or not text.isalnum():
            message = f"invalid ID field: {literal.value}"
            raise complaint(self.query.text, literal.at, "INVALID_QUERY_FILTER_OPERATOR", message)
        return text

    def bad_operator(self, test: Comparison, leaf: Leaf) -> ApiError:
        message = f"invalid operator on {leaf.type} field"
        return complaint(self.query.text, test.field.at, "INVALID_QUERY_FILTER_OPERATOR", message)

    def wrong_type(self, test: Comparison, leaf: Leaf, literal: Literal) -> ApiError:
        kind = "double" if leaf.type in NUMBER_TYPES else {"datetime": "dateTime"}.get(leaf.type, leaf.type)
        quoting = "should not be enclosed in quotes" if literal.kind == "string" else "should be enclosed in quotes"
        if _expected_kind(leaf.type) != "string" and literal.kind != "string":
            quoting = "is written in another form"
        message = f"value of filter criterion for field '{test.field.path}' must be of type {kind} and {quoting}"
        return complaint(self.query.text, test.field.at, "INVALID_FIELD", message)

    def sorting(self, sorting: Sorting) -> str:
        leaf, definition = self.resolve(sorting.field)
        if leaf.type in ("address", "multipicklist") or (definition is not None and not definition.filterable):
            message = f"field '{sorting.field.path}' can not be sorted in a query call"
            raise complaint(self.query.text, sorting.field.at, "MALFORMED_QUERY", message)
        direction = "DESC" if sorting.descending else "ASC"
        return f"{leaf.sql} {direction} NULLS {'LAST' if sorting.nulls_last else 'FIRST'}"

    def window(self) -> str:
        offset = self.query.offset
        if offset is not None and offset > MAX_OFFSET:
            raise ApiError(400, "NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}")
        if self.query.limit is None and offset is None:
            return ""
        return f" LIMIT {-1 if self.query.limit is None else self.query.limit} OFFSET {offset or 0}"


def _expected_kind(field_type: str) -> str:
    if field_type in NUMBER_TYPES or field_type == "int":
        return "number"
    return field_type if field_type in ("boolean", "date", "datetime") else "string"
