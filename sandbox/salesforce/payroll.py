"""A payroll and time package as its customers have it: object definitions, and configuration to go with them.

The objects and their names follow what is publicly known of 2cloudnine's family of packages: namespaces ``tc9_et``
(time and awards), ``tc9_pr`` (payroll) and ``tc9_edc`` (the package that brings the external id). An org that has
its own copy of the objects has them without namespaces. Types and lengths are ours.

Use: ``install(running, names)`` for an org with the objects only, ``fill(running, names, size)`` for the records.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from sandbox.salesforce import ids
from sandbox.salesforce.running import Running
from sandbox.salesforce.versions import NEWEST

Metadata = dict[str, Any]

TIME, PAYROLL, EXTERNAL = "tc9_et", "tc9_pr", "tc9_edc"
EXTERNAL_ID = "External_ID_Data_Creation__c"
RECORD_TYPES = ("Master_Interpretation_Rule", "Standard_Interpretation_Rule", "Interpretation_Variation_Rule")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Weekday", "Public_Holiday")
FLAGS = (
    "Apply_4_Week_Frequency", "Apply_Break_Loading_Interpretation", "Apply_Casual_Loading",
    "Apply_Overnight_Interpretation", "Apply_Minimum_Rest_Interpretation",
)  # fmt: skip
BREAKPOINT_TYPES = ("Daily Overtime", "Frequency Overtime", "Penalty", "Leave Header", "Daily Pay Code Cap")
PAY_CODE_LOOKUPS = (
    "Pay_Code", "Overtime_Pay_Code", "Casual_Loading_Pay_Code", "Leave_Loading_Pay_Code", "Penalty_Loading_Pay_Code",
    "Public_Holiday_Pay_Code", "Public_Holiday_Overtime_Pay_Code", "Public_Holiday_Penalty_Pay_Code",
    "Saturday_Pay_Code", "Saturday_Penalty_Pay_Code", "Sunday_Pay_Code", "Sunday_Penalty_Pay_Code",
)  # fmt: skip
BREAKPOINT_LOOKUPS = (
    "Primary_Interpretation_Breakpoint", "Secondary_Interpretation_Breakpoint", "Overtime_Breakpoint",
    "Daily_Pay_Code_Cap_Record", "Frequency_Pay_Code_Cap_Record", "Leave_Header",
)  # fmt: skip

NEGATIVE_LOADING = "A loading cannot be less than nothing."


@dataclass(frozen=True, slots=True)
class Names:
    """How an org names the packages' things: with their namespaces, or without any."""

    namespaced: bool = True

    def of(self, package: str, name: str) -> str:
        return f"{package}__{name}__c" if self.namespaced else f"{name}__c"

    def time(self, name: str) -> str:
        return self.of(TIME, name)

    def payroll(self, name: str) -> str:
        return self.of(PAYROLL, name)

    @property
    def external_id(self) -> str:
        return f"{EXTERNAL}__{EXTERNAL_ID}" if self.namespaced else EXTERNAL_ID

    @property
    def rule(self) -> str:
        return self.time("Interpretation_Rule")

    @property
    def breakpoint(self) -> str:
        return self.time("Interpretation_Breakpoint")

    @property
    def pay_code(self) -> str:
        return self.payroll("Pay_Code")

    @property
    def leave_rule(self) -> str:
        return self.payroll("Leave_Rule")

    @property
    def loading(self) -> str:
        return self.time("PayRate_Loading")

    @property
    def method(self) -> str:
        return self.time("Calculation_Method")

    @property
    def classification(self) -> str:
        return self.time("Award_Classifications_and_Levels")

    @property
    def minimum(self) -> str:
        return self.time("Minimum_Pay_Rate")

    @property
    def objects(self) -> tuple[str, ...]:
        """All eight, parents first."""
        return (
            self.pay_code, self.leave_rule, self.method, self.loading, self.classification, self.minimum, self.rule,
            self.breakpoint,
        )  # fmt: skip


# --- Definitions ----------------------------------------------------------------------------------------------
def metadata(names: Names, *, external_id: bool = True) -> list[Metadata]:
    """The eight objects in an order in which each finds those it refers to, look-ups to itself included.

    Without ``external_id`` the objects lack the field by which records are found again.
    """
    makers = (_pay_code, _leave_rule, _method, _loading, _classification, _minimum, _rule, _breakpoint)
    made = [maker(names) for maker in makers]
    if external_id:
        for each in made:
            each["fields"].append(_field(names.external_id, "Text", length=255, externalId=True, unique=True))
    return made


def _pay_code(n: Names) -> Metadata:
    p = n.payroll
    return _object(
        n.pay_code,
        _field(p("Code"), "Text", length=20, required=True, unique=True),
        _picklist(p("Type"), "Earning", "Deduction", "Leave", "Allowance", "Loading"),
        _picklist(p("Status"), "Draft", "Active", "Inactive"),
        _field(p("Rate"), "Number", precision=12, scale=4),
        _field(p("Description"), "LongTextArea", length=4_000),
    )


def _leave_rule(n: Names) -> Metadata:
    p = n.payroll
    return _object(
        n.leave_rule,
        _field(p("Effective_Date"), "Date", required=True),
        _picklist(p("Status"), "Draft", "Active", "Inactive"),
        _lookup(p("Pay_Code"), n.pay_code, "Leave_Rules"),
        _lookup(p("Unpaid_Pay_Code"), n.pay_code, "Unpaid_Leave_Rules"),
        _multi(p("Available_Pay_Rates"), "Base", "Casual", "Shift"),
        _field(p("Allow_Pay_in_Advance"), "Checkbox", defaultValue=False),
        _field(p("Skip_Manager_Approval"), "Checkbox", defaultValue=False),
    )


def _method(n: Names) -> Metadata:
    return _object(
        n.method,
        _picklist(n.time("Basis"), "Hourly", "Daily", "Weekly", "Fortnightly"),
        _field(n.time("Decimals"), "Number", precision=2, scale=0),
        auto_number="CM-{0000}",
    )


def _loading(n: Names) -> Metadata:
    return _object(
        n.loading,
        _field(n.time("Loading_Percent"), "Percent", precision=6, scale=2, required=True),
        _lookup(n.time("Calculation_Method"), n.method, "Loadings"),
        _lookup(n.time("Pay_Code"), n.pay_code, "Loadings"),
        rules=(_refusal("Not_Negative", f"{n.time('Loading_Percent')} < 0", NEGATIVE_LOADING),),
    )


def _classification(n: Names) -> Metadata:
    return _object(
        n.classification,
        _field(n.time("Award_Name"), "Text", length=120, required=True),
        _field(n.time("Level"), "Text", length=20),
        _field(n.time("Award_Code"), "Text", length=12),
    )


def _minimum(n: Names) -> Metadata:
    return _object(
        n.minimum,
        _lookup(n.time("Classification"), n.classification, "Minimum_Pay_Rates", kind="MasterDetail"),
        _field(n.time("Hourly_Rate"), "Currency", precision=10, scale=4, required=True),
        _field(n.time("Effective_From"), "Date"),
    )


def _rule(n: Names) -> Metadata:
    t = n.time
    days = [each for day in DAYS for each in _day(n, day)]
    made = _object(
        n.rule,
        _lookup(t("Pay_Code"), n.pay_code, "Interpretation_Rules"),
        _picklist(t("Status"), "Draft", "Active", "Inactive"),
        _field(t("Short_Description"), "Text", length=80),
        _field(t("Long_Description"), "LongTextArea", length=32_000),
        _picklist(t("Timesheet_Frequency"), "Weekly", "Fortnightly", "Monthly", restricted=True),
        _field(t("Total_Span_Hours"), "Number", precision=5, scale=2),
        _field(t("Frequency_Standard_Hours"), "Number", precision=5, scale=2),
        *(_field(t(name), "Checkbox", defaultValue=False) for name in FLAGS),
        *days,
        _lookup(t("Interpretation_Rule"), n.rule, "Variations"),
        _field(t("Is_Active"), "Checkbox", formula=f'ISPICKVAL({t("Status")}, "Active")'),
    )
    made["recordTypes"] = [
        {"fullName": name, "label": name.replace("_", " "), "active": True, "default": number == 0}
        for number, name in enumerate(RECORD_TYPES)
    ]
    return made


def _day(n: Names, day: str) -> Iterator[Metadata]:
    t = n.time
    yield _picklist(t(f"{day}_Interpretation_Type"), "Daily", "Span", "None")
    yield _field(t(f"{day}_Standard_Hours"), "Number", precision=5, scale=2)
    yield _field(t(f"Standard_{day}_Start_Time"), "Time")
    yield _field(t(f"Standard_{day}_End_Time"), "Time")
    yield _field(t(f"Higher_Rate_{day}"), "Checkbox", defaultValue=False)


def _breakpoint(n: Names) -> Metadata:
    t = n.time
    return _object(
        n.breakpoint,
        _lookup(t("Interpretation_Rule"), n.rule, "Breakpoints", kind="MasterDetail"),
        _picklist(t("Breakpoint_Type"), *BREAKPOINT_TYPES),
        _field(t("Start_Threshold"), "Number", precision=7, scale=2),
        _field(t("End_Threshold"), "Number", precision=7, scale=2),
        _picklist(t("Start_Threshold_Type"), "Hours", "Time", restricted=True),
        _field(t("Start_Time"), "Time"),
        _field(t("End_Time"), "Time"),
        _field(t("Daily_Quantity"), "Number", precision=7, scale=2),
        _field(t("Minimum_Paid_Hours"), "Number", precision=5, scale=2),
        _field(t("Pay_Code_Cap"), "Number", precision=7, scale=2),
        *(_lookup(t(name), n.pay_code, f"{name}_Breakpoints") for name in PAY_CODE_LOOKUPS),
        _lookup(t("Leave_Rule"), n.leave_rule, "Breakpoints"),
        *(_lookup(t(name), n.breakpoint, f"{name}_Of") for name in BREAKPOINT_LOOKUPS),
    )


def _object(name: str, *fields: Metadata, auto_number: str = "", rules: Sequence[Metadata] = ()) -> Metadata:
    label = name.removesuffix("__c").rpartition("__")[2].replace("_", " ")
    naming = {"type": "AutoNumber", "displayFormat": auto_number} if auto_number else {"type": "Text"}
    detail = any(each["type"] == "MasterDetail" for each in fields)
    return {
        "fullName": name,
        "label": label,
        "pluralLabel": f"{label}s",
        "nameField": {"label": f"{label} Name", **naming},
        "sharingModel": "ControlledByParent" if detail else "ReadWrite",
        "fields": list(fields),
        "validationRules": list(rules),
    }


def _refusal(name: str, formula: str, message: str) -> Metadata:
    return {"fullName": name, "active": True, "errorConditionFormula": formula, "errorMessage": message}


def _field(name: str, kind: str, **rest: object) -> Metadata:
    label = name.removesuffix("__c").rpartition("__")[2].replace("_", " ")
    return {"fullName": name, "label": label, "type": kind, **rest}


def _picklist(name: str, *values: str, restricted: bool = True) -> Metadata:
    return _field(name, "Picklist", valueSet=_values(values, restricted=restricted))


def _multi(name: str, *values: str) -> Metadata:
    return _field(name, "MultiselectPicklist", valueSet=_values(values, restricted=True))


def _values(values: Sequence[str], *, restricted: bool) -> Metadata:
    return {
        "restricted": restricted,
        "valueSetDefinition": {"value": [{"fullName": each, "label": each} for each in values]},
    }


def _lookup(name: str, to: str, children: str, *, kind: str = "Lookup") -> Metadata:
    return _field(name, kind, referenceTo=to, relationshipName=children)


# --- Configuration --------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Size:
    """How many records of each object. Breakpoints refer to each other up to three levels deep."""

    pay_codes: int = 300
    leave_rules: int = 40
    methods: int = 6
    loadings: int = 25
    classifications: int = 30
    minimums: int = 90
    rules: int = 20
    breakpoints: int = 600
    bad: int = 0


UNKNOWN_VALUE = "a value the picklist does not have"
BLANK = "a required value is blank"
TOO_LARGE = "a number too large for the field"
TOO_LONG = "a text too long for the field"
TOO_EARLY = "a date before the calendar begins"
NO_PARENT = "a parent that does not exist"
TAKEN = "a value that another record has, too, though it must be unique"
AGAINST_A_RULE = "a value that a validation rule refuses"


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record planted wrong: where it is, and what is the matter with it."""

    object: str
    id: str
    field: str
    trouble: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """Records by object, parents first, each with its own ``Id``; and which of them are deliberately wrong."""

    records: Mapping[str, list[dict[str, Any]]]
    bad: tuple[BadRecord, ...] = ()

    @property
    def total(self) -> int:
        return sum(map(len, self.records.values()))


@dataclass(frozen=True, slots=True)
class Changes:
    """What was done to a configuration since: ids of edited records → object, field and new value; ids of deleted
    ones → object."""

    edits: Mapping[str, tuple[str, str, object]]
    deletes: Mapping[str, str]


@dataclass(slots=True)
class _World:
    """What is being made. ``prefixes`` are the objects' key prefixes in the org the records go to."""

    names: Names
    prefixes: Mapping[str, str]
    record_types: Mapping[str, str]
    draw: random.Random
    made: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def fresh(self, name: str, count: int) -> list[dict[str, Any]]:
        self.made[name] = [{"Id": ids.record_id(self.prefixes[name], number)} for number in range(1, count + 1)]
        return self.made[name]

    def any_of(self, name: str) -> str:
        """A record to refer to. The last tenth of an object is in use nowhere, as in any grown configuration."""
        rows = self.made[name]
        return str(self.draw.choice(rows[: len(rows) - len(rows) // 10])["Id"])


def configuration(
    names: Names, size: Size, *, prefixes: Mapping[str, str], record_types: Mapping[str, str], seed: int = 1
) -> Configuration:
    """The same records for the same seed. ``prefixes`` are key prefixes by object and ``record_types`` ids by
    developer name, both as the org describes them. Raises ValueError where there is no room for so many bad ones."""
    world = _World(names, prefixes, record_types, random.Random(seed))
    _fill_small(world, size)
    _fill_rules(world, size.rules)
    _fill_breakpoints(world, size.breakpoints)
    return Configuration(world.made, tuple(_spoil(world, size.bad)))


def _fill_small(world: _World, size: Size) -> None:
    n, draw = world.names, world.draw
    for number, row in enumerate(world.fresh(n.pay_code, size.pay_codes), 1):
        row |= {
            "Name": f"Pay code {number} – {draw.choice(('Ordinary', 'Overtime', 'Größe', '残業', 'Férié'))}",
            n.payroll("Code"): f"PC{number:04}",
            n.payroll("Type"): draw.choice(("Earning", "Deduction", "Leave", "Allowance", "Loading")),
            n.payroll("Status"): draw.choice(("Active", "Active", "Draft", "Inactive")),
            n.payroll("Rate"): round(draw.uniform(0.5, 3), 4),
            n.payroll("Description"): draw.choice((None, "Paid per hour.\nSee the award.", "“Quoted”, with, commas")),
        }
    for number, row in enumerate(world.fresh(n.leave_rule, size.leave_rules), 1):
        row |= {
            "Name": f"Leave rule {number}",
            n.payroll("Effective_Date"): f"20{draw.randrange(18, 26)}-07-01",
            n.payroll("Status"): "Active",
            n.payroll("Pay_Code"): world.any_of(n.pay_code),
            n.payroll("Unpaid_Pay_Code"): draw.choice((None, world.any_of(n.pay_code))),
            n.payroll("Available_Pay_Rates"): draw.choice((None, "Base", "Base;Casual", "Base;Casual;Shift")),
            n.payroll("Allow_Pay_in_Advance"): draw.random() < 0.5,
        }
    for row in world.fresh(n.method, size.methods):
        row |= {n.time("Basis"): draw.choice(("Hourly", "Daily", "Weekly")), n.time("Decimals"): 2}
    for number, row in enumerate(world.fresh(n.loading, size.loadings), 1):
        row |= {
            "Name": f"Loading {number}",
            n.time("Loading_Percent"): round(draw.uniform(5, 150), 2),
            n.time("Calculation_Method"): world.any_of(n.method),
            n.time("Pay_Code"): world.any_of(n.pay_code),
        }
    for number, row in enumerate(world.fresh(n.classification, size.classifications), 1):
        row |= {
            "Name": f"Level {number}",
            n.time("Award_Name"): draw.choice(("Clerks Award", "Retail Award", "Nurses Award")),
            n.time("Level"): f"L{number % 8 + 1}",
            n.time("Award_Code"): f"MA{number:06}",
        }
    for number, row in enumerate(world.fresh(n.minimum, size.minimums), 1):
        row |= {
            "Name": f"Minimum {number}",
            n.time("Classification"): world.any_of(n.classification),
            n.time("Hourly_Rate"): round(draw.uniform(20, 60), 4),
            n.time("Effective_From"): f"20{draw.randrange(18, 26)}-07-01",
        }


def _fill_rules(world: _World, count: int) -> None:
    """A fifth are masters; every other rule is a standard one, or varies one that was made before it."""
    n, draw, rows = world.names, world.draw, world.fresh(world.names.rule, count)
    for number, row in enumerate(rows):
        kind = 0 if number % 5 == 0 else 1 + number % 2
        row |= {
            "Name": f"Interpretation rule {number + 1}",
            "RecordTypeId": world.record_types[RECORD_TYPES[kind]],
            n.time("Interpretation_Rule"): draw.choice(rows[:number])["Id"] if kind == 2 else None,
            n.time("Pay_Code"): world.any_of(n.pay_code),
            n.time("Status"): "Active",
            n.time("Short_Description"): f"Rule {number + 1}",
            n.time("Long_Description"): "Overtime after the standard hours of the day. " * draw.randrange(1, 40),
            n.time("Timesheet_Frequency"): draw.choice(("Weekly", "Fortnightly")),
            n.time("Total_Span_Hours"): 12.5,
            n.time("Frequency_Standard_Hours"): 38,
            **{n.time(name): draw.random() < 0.5 for name in FLAGS},
        }
        for day in DAYS:
            row |= {
                n.time(f"{day}_Interpretation_Type"): draw.choice(("Daily", "Span", "None")),
                n.time(f"{day}_Standard_Hours"): 7.6,
                n.time(f"Standard_{day}_Start_Time"): "07:00:00.000Z",
                n.time(f"Standard_{day}_End_Time"): "19:00:00.000Z",
                n.time(f"Higher_Rate_{day}"): day == "Sunday",
            }


def _fill_breakpoints(world: _World, count: int) -> None:
    """Of every four breakpoints of a rule the second refers to the first, the third to the second and the fourth
    to the third, so that chains are three deep; some refer to a leave header or a cap of another chain, too."""
    n, draw, rows = world.names, world.draw, world.fresh(world.names.breakpoint, count)
    for number, row in enumerate(rows):
        row |= {
            "Name": f"Breakpoint {number + 1}",
            n.time("Interpretation_Rule"): world.made[n.rule][number // 4 % len(world.made[n.rule])]["Id"],
            n.time("Breakpoint_Type"): BREAKPOINT_TYPES[number % len(BREAKPOINT_TYPES)],
            n.time("Start_Threshold"): round(draw.uniform(0, 10), 2),
            n.time("End_Threshold"): round(draw.uniform(10, 24), 2),
            n.time("Start_Threshold_Type"): draw.choice(("Hours", "Time")),
            n.time("Start_Time"): "18:00:00.000Z",
            n.time("Minimum_Paid_Hours"): 3,
            n.time("Leave_Rule"): draw.choice((None, world.any_of(n.leave_rule))),
            n.time("Pay_Code"): world.any_of(n.pay_code),
        }
        row |= {n.time(name): world.any_of(n.pay_code) for name in draw.sample(PAY_CODE_LOOKUPS[1:], 3)}
        if number % 4:
            row[n.time("Primary_Interpretation_Breakpoint")] = rows[number - 1]["Id"]
        if number >= 5 and number % 3 == 0:
            row[n.time(draw.choice(BREAKPOINT_LOOKUPS[1:]))] = rows[number - 5]["Id"]


# --- Bad records ----------------------------------------------------------------------------------------------
def _spoil(world: _World, count: int) -> Iterator[BadRecord]:
    """Spoil ``count`` records that nothing refers to, kinds of trouble in turn."""
    n = world.names
    free = {name: _free(world.made, name) for name in n.objects}
    taken = world.made[n.pay_code][len(world.made[n.pay_code]) // 2][n.payroll("Code")]
    kinds: Sequence[tuple[str, str, object, str]] = (
        (n.breakpoint, n.time("Breakpoint_Type"), "Lunar Overtime", UNKNOWN_VALUE),
        (n.pay_code, n.payroll("Code"), None, BLANK),
        (n.breakpoint, n.time("Start_Threshold"), 9_999_999.0, TOO_LARGE),
        (n.breakpoint, n.time("Pay_Code"), _nobody(world, n.pay_code), NO_PARENT),
        (n.leave_rule, n.payroll("Effective_Date"), None, BLANK),
        (n.minimum, n.time("Effective_From"), "1500-01-01", TOO_EARLY),
        (n.breakpoint, n.time("Interpretation_Rule"), _nobody(world, n.rule), NO_PARENT),
        (n.loading, n.time("Loading_Percent"), -5.0, AGAINST_A_RULE),
        (n.pay_code, n.payroll("Code"), taken, TAKEN),
        (n.pay_code, n.payroll("Code"), "A code of more than twenty characters", TOO_LONG),
    )
    planted = turn = 0
    while planted < count:
        name, spoilt, value, trouble = kinds[turn % len(kinds)]
        turn += 1
        if turn > count + len(kinds) * 50:
            raise ValueError(f"{count} bad records were asked for, but this configuration has no room for so many.")
        if not free[name]:
            continue
        row = free[name].pop()
        row[spoilt] = value
        planted += 1
        yield BadRecord(name, str(row["Id"]), spoilt, trouble)


def _free(made: Mapping[str, list[dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    """The object's records to which no other record refers."""
    named = {value for rows in made.values() for row in rows for key, value in row.items() if key != "Id"}
    return [row for row in made[name] if row["Id"] not in named]


def _nobody(world: _World, name: str) -> str:
    return ids.record_id(world.prefixes[name], 62**6)


# --- In a running simulator -----------------------------------------------------------------------------------
def install(running: Running, names: Names, *, external_id: bool = True) -> None:
    """Bring the objects into a running org."""
    running.control.define(*metadata(names, external_id=external_id))


def fill(running: Running, names: Names, size: Size | None = None, *, seed: int = 1) -> Configuration:
    """Put a configuration into an org that has the objects; returns what it now holds."""
    described = _described(running, names)
    made = configuration(
        names,
        size or Size(),
        prefixes={name: str(answer["keyPrefix"]) for name, answer in described.items()},
        record_types=_record_types(described[names.rule]),
        seed=seed,
    )
    for name, rows in made.records.items():
        running.control.upsert(name, rows)
    return made


def change(running: Running, names: Names, made: Configuration) -> Changes:
    """Ten edits of good records of four objects, one of them of a reference, and three deletions of good ones that
    nothing refers to, among them the deepest breakpoint of a chain."""
    bad = {each.id for each in made.bad}
    good = {name: [row for row in rows if row["Id"] not in bad] for name, rows in made.records.items()}
    time, payroll = names.time, names.payroll
    wanted: Sequence[tuple[str, int, str, object]] = (
        (names.pay_code, 4, payroll("Rate"), 9.75),
        (names.rule, 3, time("Short_Description"), "Edited"),
        (names.breakpoint, 2, time("Daily_Quantity"), 4.5),
        (names.loading, 1, time("Pay_Code"), good[names.pay_code][-1]["Id"]),
    )
    edits = {
        str(row["Id"]): (name, spot, value)
        for name, count, spot, value in wanted
        for row in good[name][10 : 10 + count]
    }
    for key, (name, spot, value) in edits.items():
        running.control.upsert(name, [{"Id": key, spot: value}])
    gone = {
        str(next(row["Id"] for row in reversed(good[name]) if row in _free(made.records, name))): name
        for name in (names.leave_rule, names.loading, names.breakpoint)
    }
    for key, name in gone.items():
        running.control.delete(name, [key])
    return Changes(edits, gone)


def settle(running: Running, names: Names, twins: Sequence[str] = ()) -> None:
    """What an org has before anything comes to it: a few records of its own, which carry no external id, and an
    older version of the pay codes with these external ids."""
    p, t, add = names.payroll, names.time, running.control.upsert
    code = add(names.pay_code, [{"Name": "House rate", p("Code"): "HOUSE", p("Rate"): 1.25}])[0]
    rule = add(names.rule, [{"Name": "House rule", t("Pay_Code"): code, t("Status"): "Active"}])[0]
    first = {"Name": "House overtime", t("Interpretation_Rule"): rule, t("Pay_Code"): code}
    above = add(names.breakpoint, [first])[0]
    add(names.breakpoint, [first | {"Name": "House penalty", t("Primary_Interpretation_Breakpoint"): above}])
    older = [
        {"Name": f"Older {number}", p("Code"): f"OLD{number}", names.external_id: key}
        for number, key in enumerate(twins)
    ]
    add(names.pay_code, older)


def record_types(running: Running, names: Names) -> dict[str, str]:
    """Developer name → id of the rules' record types in that org."""
    return _record_types(_described(running, names)[names.rule])


def _record_types(rule: Metadata) -> dict[str, str]:
    return {str(kind["developerName"]): str(kind["recordTypeId"]) for kind in rule["recordTypeInfos"]}


def _described(running: Running, names: Names) -> dict[str, Metadata]:
    headers = {"Authorization": f"Bearer {running.ready.access_token}"}
    verify = running.ready.ca_file or True
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False, verify=verify) as client:
        return {
            name: client.get(f"/services/data/v{NEWEST}.0/sobjects/{name}/describe").raise_for_status().json()
            for name in names.objects
        }
