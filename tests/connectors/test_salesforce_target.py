"""What the Salesforce target does with records: keys, differences, blanks, locks, refusals, deletions."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from connectors.clients.salesforce_carrier import BULK_ABOVE, SINGLY, WAITS
from connectors.context import LOOPBACK, Context, Network
from connectors.errors import ContractChanged, FatalError, PermissionMissing, RateLimited, SettingsInvalid
from connectors.targets.salesforce import SalesforceTarget
from connectors.testing import VirtualClock
from connectors.transport import Request, open_transport
from connectors.types import FieldType, WriteResult
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import BREAKPOINT, KEY, RULE, context_of, emptied, payroll_org, records_of
from tests.connectors.tampering import Tampering, asked

FEW, MANY = 12, BULK_ABOVE + 40
SIZES = pytest.mark.parametrize("size", [FEW, MANY], ids=["few", "many"])


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(org: Running) -> None:
    emptied(org)


@pytest.fixture
def context(org: Running) -> Context:
    return context_of(org)


@pytest.fixture
def target(context: Context) -> Iterator[SalesforceTarget]:
    with SalesforceTarget(context) as opened:
        yield opened


@pytest.fixture
def wiretap(context: Context) -> Iterator[tuple[SalesforceTarget, Tampering]]:
    """A target whose requests are kept, and may be tampered with."""
    inner = open_transport(Network(allowed_networks=LOOPBACK))
    tampering = Tampering(inner, lambda _: False)
    with SalesforceTarget(replace(context, network=replace(context.network, transport=tampering))) as opened:
        yield opened, tampering
    inner.close()


def rules(size: int, **columns: Any) -> pl.DataFrame:
    """Rules that the org takes; ``columns`` are expressions or constants."""
    frame = pl.DataFrame({KEY: [f"rule-{number}" for number in range(size)]})
    return frame.with_columns(pl.concat_str(pl.lit("Name of "), KEY).alias("Name")).with_columns(**columns)


def one(**values: Any) -> pl.DataFrame:
    return pl.DataFrame({KEY: ["one"], "Name": ["One"], **{name: [value] for name, value in values.items()}})


def outcomes(result: WriteResult) -> dict[str, int]:
    return dict(result.frame["outcome"].value_counts().iter_rows())


def by_key(result: WriteResult, column: str) -> dict[str, Any]:
    return dict(result.frame.select("key", column).iter_rows())


def slept(target: SalesforceTarget) -> list[float]:
    clock = target.context.clock
    assert isinstance(clock, VirtualClock)
    return clock.slept


def sent_bodies(tampering: Tampering) -> list[dict[str, Any]]:
    return [
        record
        for request in tampering.seen
        if request.method == "PATCH" and "composite" in request.url.path
        for record in json.loads(request.content)["records"]
    ]


# --- describing -----------------------------------------------------------------------------------------------


def test_describe_says_what_a_new_record_must_and_may_carry(target: SalesforceTarget) -> None:
    schema = target.describe(BREAKPOINT)
    assert {field.name for field in schema.fields if field.required} == {RULE, "Threshold__c"}
    assert {field.name for field in schema.fields if field.writable} == {"Name", KEY, RULE, "Threshold__c"}
    key = schema.field(KEY)
    assert (key.external_id, key.unique, key.length) == (True, True, 40)
    assert (schema.field(RULE).type, schema.field(RULE).references) == (FieldType.REFERENCE, (RULE,))


def test_a_restricted_picklist_offers_what_it_takes(target: SalesforceTarget) -> None:
    schema = target.describe(RULE)
    assert (schema.field("Status__c").choices, schema.field("Status__c").restricted) == (("Draft", "Live"), True)
    assert not schema.field("Days__c").restricted


def test_describe_sees_what_changed_in_the_org(org: Running, target: SalesforceTarget) -> None:
    assert target.describe(RULE).field("Notes__c").writable
    org.control.set_access(RULE, "Notes__c", "read")
    assert not target.describe(RULE).field("Notes__c").writable
    org.control.set_access(RULE, "Notes__c", "edit")


def test_entities_are_those_that_take_new_records(target: SalesforceTarget) -> None:
    names = {info.name for info in target.entities()}
    assert {RULE, BREAKPOINT, "Account"} <= names
    assert "Organization" not in names


# --- keys -----------------------------------------------------------------------------------------------------


def test_a_key_the_org_keeps_in_other_capitals_is_the_same_record(target: SalesforceTarget) -> None:
    first = target.write(RULE, one(), key=KEY)
    again = target.write(RULE, one().with_columns(pl.lit("ONE").alias(KEY)), key=KEY)
    assert by_key(again, "outcome") == {"ONE": "unchanged"}
    assert by_key(again, "target_id")["ONE"] == by_key(first, "target_id")["one"]
    found = target.fetch(RULE, key=KEY, keys=["oNe", "two"], fields=["Name"])
    assert found.select("key", "Name").rows() == [("oNe", "One")]


@SIZES
def test_keys_the_org_does_not_tell_apart_are_refused_together(target: SalesforceTarget, size: int) -> None:
    frame = pl.concat([rules(size), rules(1).with_columns(pl.lit("RULE-0").alias(KEY))])
    result = target.write(RULE, frame, key=KEY)
    assert outcomes(result) == {"created": size - 1, "rejected": 2}
    refused = result.frame.filter(pl.col("outcome") == "rejected")
    assert set(refused["key"]) == {"rule-0", "RULE-0"}
    assert set(refused["code"]) == {"DUPLICATE_EXTERNAL_ID"}
    assert "does not tell apart" in refused["message"][0]


def test_a_case_sensitive_key_tells_capitals_apart(target: SalesforceTarget) -> None:
    frame = pl.DataFrame({"Exact__c": ["a", "A"], "Name": ["small", "capital"]})
    assert outcomes(target.write(RULE, frame, key="Exact__c")) == {"created": 2}
    found = target.fetch(RULE, key="Exact__c", keys=["A"], fields=["Name"])
    assert found["Name"].to_list() == ["capital"]


def test_a_number_may_be_the_key(target: SalesforceTarget) -> None:
    keys = pl.Series("Number__c", [Decimal(1), Decimal(20)], dtype=pl.Decimal(18, 0))
    frame = pl.DataFrame([keys, pl.Series("Name", ["one", "twenty"])])
    assert by_key(target.write(RULE, frame, key="Number__c"), "outcome") == {"1": "created", "20": "created"}
    assert outcomes(target.write(RULE, frame, key="Number__c")) == {"unchanged": 2}
    found = target.fetch(RULE, key="Number__c", keys=["20", "3", "no number"], fields=["Name"])
    assert found.select("key", "Name").rows() == [("20", "twenty")]


@SIZES
def test_a_key_that_several_records_carry_is_refused_with_their_ids(
    org: Running, target: SalesforceTarget, size: int
) -> None:
    twins = org.control.upsert(RULE, [{"Name": "Twin", "Plain__c": "rule-0"} for _ in range(2)])
    result = target.write(RULE, rules(size).rename({KEY: "Plain__c"}), key="Plain__c")
    assert outcomes(result) == {"created": size - 1, "rejected": 1}
    message = by_key(result, "message")["rule-0"]
    assert all(twin in message for twin in twins)
    assert len(target.fetch(RULE, key="Plain__c", keys=["rule-0"], fields=[])) == 2


def test_a_field_that_is_no_external_id_cannot_be_the_key(target: SalesforceTarget) -> None:
    with pytest.raises(SettingsInvalid, match=rf"matched by Code__c.*{KEY}"):
        target.write(RULE, one(Code__c="x"), key="Code__c")


def test_a_field_nobody_may_fill_is_named(target: SalesforceTarget) -> None:
    with pytest.raises(SettingsInvalid, match="SystemModstamp"):
        target.write(RULE, one(SystemModstamp=datetime(2026, 1, 1, tzinfo=UTC)), key=KEY)


# --- only what differs is sent --------------------------------------------------------------------------------


def test_an_update_carries_the_differing_fields_and_nothing_else(
    wiretap: tuple[SalesforceTarget, Tampering],
) -> None:
    target, tampering = wiretap
    frame = rules(FEW, Hours__c=pl.lit("1.5").cast(pl.Decimal(18, 2)), Notes__c=pl.lit("old"))
    ids = by_key(target.write(RULE, frame, key=KEY), "target_id")
    tampering.seen.clear()
    changed = frame.with_columns(
        pl.when(pl.col(KEY) == "rule-1")
        .then(pl.lit("2.5").cast(pl.Decimal(18, 2)))
        .otherwise("Hours__c")
        .alias("Hours__c"),
        pl.when(pl.col(KEY) != "rule-2").then("Notes__c").alias("Notes__c"),
    )
    result = target.write(RULE, changed, key=KEY)
    assert outcomes(result) == {"unchanged": FEW - 2, "updated": 2}
    sent = {body.pop("Id"): body for body in sent_bodies(tampering)}
    kind = {"attributes": {"type": RULE}}
    assert sent == {ids["rule-1"]: {**kind, "Hours__c": 2.5}, ids["rule-2"]: {**kind, "Notes__c": None}}


def test_a_bulk_update_leaves_alone_what_others_changed_meanwhile(
    org: Running, wiretap: tuple[SalesforceTarget, Tampering]
) -> None:
    target, tampering = wiretap
    frame = rules(MANY, Notes__c=pl.lit("old"), Status__c=pl.lit("Draft"))
    target.write(RULE, frame, key=KEY)
    odd = pl.int_range(pl.len()) % 2 == 1
    changed = frame.with_columns(
        pl.when(odd).then(pl.lit("new")).otherwise("Notes__c").alias("Notes__c"),
        pl.when(~odd).then(pl.lit("Live")).otherwise("Status__c").alias("Status__c"),
    )

    def edited(_: Request) -> None:
        held = records_of(org, RULE, "Id", "Notes__c")
        org.control.upsert(RULE, [{"Id": row["Id"], "Notes__c": "a person's"} for row in held[:4]])

    tampering.chosen, tampering.before, tampering.times = asked("POST", "jobs/ingest"), edited, 1
    assert outcomes(target.write(RULE, changed, key=KEY)) == {"updated": MANY}
    first = {str(row[KEY]): row["Notes__c"] for row in records_of(org, RULE, KEY, "Notes__c")[:4]}
    expected = {f"rule-{n}": "new" if n % 2 else "a person's" for n in range(4)}
    assert first == expected


def test_a_record_that_vanishes_before_its_update_is_brought_back_whole(
    org: Running, wiretap: tuple[SalesforceTarget, Tampering]
) -> None:
    target, tampering = wiretap
    frame = rules(FEW, Notes__c=pl.lit("all of it"))
    ids = by_key(target.write(RULE, frame, key=KEY), "target_id")

    def vanish(_: Request) -> None:
        org.control.delete(RULE, [ids["rule-3"]])

    tampering.chosen, tampering.before, tampering.times = asked("PATCH", "composite/sobjects"), vanish, 1
    result = target.write(RULE, frame.with_columns(pl.lit("Changed").alias("Name")), key=KEY)
    assert outcomes(result) == {"updated": FEW - 1, "created": 1}
    assert by_key(result, "target_id")["rule-3"] not in (None, ids["rule-3"])
    held = {row[KEY]: (row["Name"], row["Notes__c"]) for row in records_of(org, RULE, KEY, "Name", "Notes__c")}
    assert held == {f"rule-{n}": ("Changed", "all of it") for n in range(FEW)}


@SIZES
def test_what_somebody_creates_meanwhile_is_met_and_not_doubled(
    org: Running, wiretap: tuple[SalesforceTarget, Tampering], size: int
) -> None:
    target, tampering = wiretap

    def create(_: Request) -> None:
        org.control.upsert(RULE, [{"Name": "Theirs", KEY: "rule-1"}])

    tampering.chosen, tampering.before, tampering.times = (
        (lambda request: "composite" in request.url.path or "ingest" in request.url.path), create, 1
    )  # fmt: skip
    result = target.write(RULE, rules(size), key=KEY)
    assert set(outcomes(result)) <= {"created", "updated"}
    assert {row[KEY]: row["Name"] for row in records_of(org, RULE, KEY, "Name")}["rule-1"] == "Name of rule-1"
    assert len(records_of(org, RULE, "Id")) == size


# --- values ---------------------------------------------------------------------------------------------------


@SIZES
def test_a_blank_clears_the_field_and_keeps_a_checkbox_as_it_is(
    org: Running, target: SalesforceTarget, size: int
) -> None:
    full = rules(size, Notes__c=pl.lit("full"), Status__c=pl.lit("Live"), Active__c=pl.lit(value=False))
    target.write(RULE, full, key=KEY)
    nothing = [pl.lit(None).cast(full.schema[name]).alias(name) for name in ("Notes__c", "Status__c", "Active__c")]
    assert outcomes(target.write(RULE, full.with_columns(nothing), key=KEY)) == {"updated": size}
    assert outcomes(target.write(RULE, full.with_columns(nothing), key=KEY)) == {"unchanged": size}
    held = records_of(org, RULE, "Notes__c", "Status__c", "Active__c")
    assert {(row["Notes__c"], row["Status__c"], row["Active__c"]) for row in held} == {(None, None, False)}


@SIZES
def test_a_blank_checkbox_of_a_new_record_gets_the_orgs_default(
    org: Running, target: SalesforceTarget, size: int
) -> None:
    target.write(RULE, rules(size, Active__c=pl.lit(None, pl.Boolean)), key=KEY)
    assert {row["Active__c"] for row in records_of(org, RULE, "Active__c")} == {True}


def test_an_empty_text_is_a_blank(target: SalesforceTarget) -> None:
    target.write(RULE, one(Notes__c=""), key=KEY)
    assert outcomes(target.write(RULE, one(Notes__c=""), key=KEY)) == {"unchanged": 1}
    assert target.fetch(RULE, key=KEY, keys=["one"], fields=["Notes__c"])["Notes__c"].to_list() == [None]


def test_a_fraction_of_a_second_is_cut_once_and_for_all(target: SalesforceTarget) -> None:
    stamp = datetime(2026, 3, 29, 1, 30, 59, 999_999, tzinfo=UTC)
    assert outcomes(target.write(RULE, one(Stamp__c=stamp), key=KEY)) == {"created": 1}
    assert outcomes(target.write(RULE, one(Stamp__c=stamp), key=KEY)) == {"unchanged": 1}
    found = target.fetch(RULE, key=KEY, keys=["one"], fields=["Stamp__c"])
    assert found["Stamp__c"].to_list() == [stamp.replace(microsecond=0)]


def test_the_order_of_a_multi_selects_values_is_no_difference(target: SalesforceTarget) -> None:
    target.write(RULE, one(Days__c="Mon;Wed"), key=KEY)
    assert outcomes(target.write(RULE, one(Days__c="Wed;Mon"), key=KEY)) == {"unchanged": 1}
    assert outcomes(target.write(RULE, one(Days__c="Wed;Tue"), key=KEY)) == {"updated": 1}


def test_large_amounts_keep_all_their_digits(target: SalesforceTarget) -> None:
    hours = pl.Series("Hours__c", [Decimal("123456789012.25")], dtype=pl.Decimal(18, 2))
    target.write(RULE, one().with_columns(hours), key=KEY)
    assert outcomes(target.write(RULE, one().with_columns(hours), key=KEY)) == {"unchanged": 1}
    found = target.fetch(RULE, key=KEY, keys=["one"], fields=["Hours__c"])
    assert found["Hours__c"].to_list() == [Decimal("123456789012.25")]


def test_an_id_of_15_characters_is_the_one_of_18(target: SalesforceTarget) -> None:
    parent = by_key(target.write(RULE, one(), key=KEY), "target_id")["one"]
    child = pl.DataFrame({KEY: ["child"], "Name": ["Child"], "Parent__c": [parent[:15]]})
    assert outcomes(target.write(RULE, child, key=KEY)) == {"created": 1}
    assert outcomes(target.write(RULE, child, key=KEY)) == {"unchanged": 1}
    found = target.fetch(RULE, key=KEY, keys=["child"], fields=["Parent__c"])
    assert found["Parent__c"].to_list() == [parent]
    assert by_key(target.delete(RULE, [parent[:15]]), "outcome") == {parent[:15]: "deleted"}


@SIZES
def test_texts_a_bulk_file_cannot_carry_arrive_all_the_same(org: Running, target: SalesforceTarget, size: int) -> None:
    notes = (
        pl.when(pl.col(KEY) == "rule-1").then(pl.lit("#N/A")).when(pl.col(KEY) == "rule-2").then(pl.lit("x" * 32_001))
    )
    assert outcomes(target.write(RULE, rules(size, Notes__c=notes), key=KEY)) == {"created": size}
    held = {row[KEY]: row["Notes__c"] for row in records_of(org, RULE, KEY, "Notes__c")}
    assert (held["rule-0"], held["rule-1"], held["rule-2"]) == (None, "#N/A", "x" * 32_001)


def test_an_assignment_rule_of_the_org_does_not_choose_other_owners(
    wiretap: tuple[SalesforceTarget, Tampering],
) -> None:
    target, tampering = wiretap
    target.write(RULE, rules(3), key=KEY)
    target.rehearse(RULE, rules(3, Notes__c=pl.lit("x")), key=KEY)
    writes = [request for request in tampering.seen if "composite" in request.url.path]
    assert writes[0].headers["Sforce-Auto-Assign"] == "FALSE"
    *records, _ = json.loads(writes[-1].content)["compositeRequest"]
    assert [request["httpHeaders"] for request in records] == [{"Sforce-Auto-Assign": "FALSE"}] * 3


# --- locks ----------------------------------------------------------------------------------------------------


def children(parents: list[str], size: int) -> pl.DataFrame:
    frame = pl.DataFrame(
        {KEY: [f"bp-{n}" for n in range(size)], RULE: [parents[n % len(parents)] for n in range(size)]}
    )
    return frame.with_columns(pl.lit(1).cast(pl.Decimal(18, 2)).alias("Threshold__c"), pl.lit("B").alias("Name"))


@SIZES
def test_locked_records_wait_their_turn_and_land(org: Running, target: SalesforceTarget, size: int) -> None:
    free, held = (str(key) for key in org.control.upsert(RULE, [{"Name": "Free"}, {"Name": "Held"}]))
    org.control.lock([held], refusals=size // 2 + 3)
    result = target.write(BREAKPOINT, children([free, held], size), key=KEY)
    assert outcomes(result) == {"created": size}
    assert slept(target), "locks are given time"
    assert len(records_of(org, BREAKPOINT, "Id")) == size


@SIZES
def test_what_stays_locked_is_refused_and_takes_no_other_with_it(
    org: Running, target: SalesforceTarget, size: int
) -> None:
    free, held = (str(key) for key in org.control.upsert(RULE, [{"Name": "Free"}, {"Name": "Held"}]))
    org.control.lock([held])
    try:
        org.control.reset_calls()
        result = target.write(BREAKPOINT, children([free, held], size), key=KEY)
    finally:
        org.control.unlock()
    assert outcomes(result) == {"created": size // 2, "rejected": size // 2}
    refused = result.frame.filter(pl.col("outcome") == "rejected")
    assert set(refused["code"]) == {"UNABLE_TO_LOCK_ROW"}
    assert all("locked by another change" in message for message in refused["message"])
    sendings = sum(n for call, n in org.control.calls().items() if call.startswith(("PATCH", "POST", "PUT")))
    assert sendings < SINGLY * len(WAITS), "trying again is bounded"
    assert outcomes(target.write(BREAKPOINT, children([free, held], size), key=KEY)) == {
        "created": size // 2,
        "unchanged": size // 2,
    }


def test_children_of_one_parent_are_sent_side_by_side(
    org: Running, wiretap: tuple[SalesforceTarget, Tampering]
) -> None:
    target, tampering = wiretap
    parents = [str(key) for key in org.control.upsert(RULE, [{"Name": str(n)} for n in range(3)])]
    target.write(BREAKPOINT, children(parents, 30), key=KEY)
    sent = [body[RULE] for body in sent_bodies(tampering)]
    assert sent == sorted(sent)


# --- refusals -------------------------------------------------------------------------------------------------


@SIZES
def test_each_refusal_names_code_field_and_what_to_do(org: Running, target: SalesforceTarget, size: int) -> None:
    [known] = org.control.upsert(RULE, [{"Name": "Owner of the code", "Code__c": "taken"}])
    nobody = known[:3] + "999999999999"
    org.control.add_rule(RULE, formula="Hours__c < 0", message="Hours cannot be negative")
    key = pl.col(KEY)
    frame = rules(
        size,
        Status__c=pl.when(key == "rule-0").then(pl.lit("Nope")).otherwise(pl.lit("Live")),
        Code__c=pl.when(key == "rule-1").then(pl.lit("taken")),
        Hours__c=pl.when(key == "rule-2").then(-1).otherwise(1).cast(pl.Decimal(18, 2)),
        Parent__c=pl.when(key == "rule-3").then(pl.lit(nobody)),
        Name=pl.when(key == "rule-4").then(pl.lit("x" * 81)).otherwise(pl.lit("fine")),
    )
    try:
        result = target.write(RULE, frame, key=KEY)
    finally:
        org.control.remove_rules(RULE)
    assert outcomes(result) == {"created": size - 5, "rejected": 5}
    refused = result.frame.filter(pl.col("outcome") == "rejected").sort("key")
    assert refused["code"].to_list() == [
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "DUPLICATE_VALUE",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "INVALID_CROSS_REFERENCE_KEY",
        "STRING_TOO_LONG",
    ]
    assert (refused["fields"][0], refused["fields"][4]) == ("Status__c", "Name")
    assert "Hours cannot be negative" in refused["message"][2]
    assert "has a value that must be unique" in refused["message"][1]
    assert all(message.endswith(".") for message in refused["message"])
    assert slept(target) == [] or size == MANY, "a refusal for good is not waited on"


def test_a_parent_set_for_good_cannot_be_changed_and_the_rest_is_not_half_done(
    org: Running, target: SalesforceTarget
) -> None:
    first, second = (str(key) for key in org.control.upsert(RULE, [{"Name": "A"}, {"Name": "B"}]))
    target.write(BREAKPOINT, children([first], 3), key=KEY)
    moved = children([second], 3).with_columns(pl.lit(7).cast(pl.Decimal(18, 2)).alias("Threshold__c"))
    result = target.write(BREAKPOINT, moved, key=KEY)
    assert outcomes(result) == {"rejected": 3}
    assert set(result.frame["code"]) == {"FIELD_NOT_UPDATABLE"}
    assert set(result.frame["fields"]) == {RULE}
    assert {row["Threshold__c"] for row in records_of(org, BREAKPOINT, "Threshold__c")} == {1}


@pytest.mark.parametrize(("code", "wait"), [("REQUEST_LIMIT_EXCEEDED", 3_600), ("TOO_MANY_APEX_REQUESTS", 60)])
@SIZES
def test_a_record_refused_for_want_of_capacity_is_waited_for(
    org: Running, target: SalesforceTarget, size: int, code: str, wait: float
) -> None:
    org.control.add_rule(RULE, formula='Name = "Name of rule-5"', message="too much", code=code)
    try:
        with pytest.raises(RateLimited, match="no capacity left") as caught:
            target.write(RULE, rules(size), key=KEY)
    finally:
        org.control.remove_rules(RULE)
    assert caught.value.retry_after == wait


@SIZES
def test_a_full_org_stops_the_run(org: Running, target: SalesforceTarget, size: int) -> None:
    org.control.add_rule(
        RULE,
        formula='Name = "Name of rule-5"',
        message="storage limit exceeded",
        code="STORAGE_LIMIT_EXCEEDED",
    )
    try:
        with pytest.raises(FatalError, match="no storage left"):
            target.write(RULE, rules(size), key=KEY)
    finally:
        org.control.remove_rules(RULE)


def test_a_field_closed_since_it_was_described_stops_the_run(org: Running, target: SalesforceTarget) -> None:
    target.describe(RULE)
    org.control.set_access(RULE, "Notes__c", "read")
    try:
        for size in (FEW, MANY):
            try:
                result = target.write(RULE, rules(size, Notes__c=pl.lit("x")), key=KEY)
            except (ContractChanged, PermissionMissing):
                continue
            assert set(result.frame["outcome"]) == {"rejected"}
            assert set(result.frame["code"]) == {"INVALID_FIELD_FOR_INSERT_UPDATE"}
    finally:
        org.control.set_access(RULE, "Notes__c", "edit")
    assert records_of(org, RULE, "Id") == []


# --- looking up, counting, deleting ---------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "calls"), [(100, 1), (1_500, 1), (11_000, 2)])
@pytest.mark.parametrize("spelled", ["key-{}", "ключ «{}» o'clock"])
def test_many_keys_are_looked_up_in_few_requests_that_fit(
    org: Running, wiretap: tuple[SalesforceTarget, Tampering], size: int, calls: int, spelled: str
) -> None:
    target, tampering = wiretap
    target.describe(RULE)
    org.control.upsert(RULE, [{"Name": "x", KEY: spelled.format(n)} for n in range(0, size, 100)])
    found = target.fetch(RULE, key=KEY, keys=[spelled.format(n) for n in range(size)], fields=["Name", "Status__c"])
    assert set(found["key"]) == {spelled.format(n) for n in range(0, size, 100)}
    assert max(len(bytes(request.url.raw_path)) for request in tampering.seen) < 14_000
    assert len([request for request in tampering.seen if not request.url.path.endswith("/describe")]) <= calls + 1


@pytest.mark.parametrize(
    ("prefix", "expected"), [("", 5), ("a", 4), ("a_", 2), ("a%", 1), ("a'", 1), ("b", 0), ("A_", 2)]
)
def test_keys_are_counted_by_how_they_begin(org: Running, target: SalesforceTarget, prefix: str, expected: int) -> None:
    keys = ["a_1", "a_2", "a%1", "a'1", "z"]
    org.control.upsert(RULE, [{"Name": "x"}, *({"Name": "x", KEY: key} for key in keys)])
    assert target.count(RULE, key=KEY, prefix=prefix) == expected
    listed = pl.concat([pl.Series(dtype=pl.String), *(target.keys(RULE, key=KEY, prefix=prefix) or ())])
    assert (len(listed), set(listed) <= set(keys)) == (expected, True)


def test_a_numbers_beginning_is_not_counted(target: SalesforceTarget) -> None:
    assert target.count(RULE, key="Number__c", prefix="1") is None
    assert target.keys(RULE, key="Number__c", prefix="1") is None
    assert target.count(RULE, key="Number__c", prefix="") == 0


@SIZES
def test_deleting_tells_what_was_there_from_what_was_gone(org: Running, target: SalesforceTarget, size: int) -> None:
    ids = target.write(RULE, rules(size), key=KEY).frame["target_id"].to_list()
    org.control.delete(RULE, ids[:3])
    result = target.delete(RULE, [*ids, "a00000000000000AAA", "no id at all", ids[5]])
    assert outcomes(result) == {"deleted": size - 3, "unchanged": 5}
    assert records_of(org, RULE, "Id") == []


@SIZES
@pytest.mark.parametrize("kind", ["drop_after", "unavailable", "expire_token"])
def test_a_deletion_whose_answer_is_lost_is_still_a_deletion(
    org: Running, target: SalesforceTarget, size: int, kind: str
) -> None:
    ids = target.write(RULE, rules(size), key=KEY).frame["target_id"].to_list()
    for method, path in (("DELETE", "composite"), ("PUT", "batches"), ("PATCH", "ingest")):
        org.control.fault(kind, method=method, path=path, times=1)
    assert outcomes(target.delete(RULE, ids)) == {"deleted": size}
    assert records_of(org, RULE, "Id") == []


def test_what_cannot_be_deleted_says_why(org: Running, target: SalesforceTarget) -> None:
    ids = target.write(RULE, rules(FEW), key=KEY).frame["target_id"].to_list()
    org.control.add_rule(RULE, formula='Name = "Name of rule-2"', message="Keep this one", on=["delete"])
    try:
        result = target.delete(RULE, ids)
    finally:
        org.control.remove_rules(RULE)
    assert outcomes(result) == {"deleted": FEW - 1, "rejected": 1}
    assert "Keep this one" in str(result.frame.filter(pl.col("outcome") == "rejected")["message"][0])


def test_details_that_go_with_their_master_are_deleted(org: Running, target: SalesforceTarget) -> None:
    parents = target.write(RULE, rules(2), key=KEY).frame["target_id"].to_list()
    target.write(BREAKPOINT, children(parents, 6), key=KEY)
    details = [str(row["Id"]) for row in records_of(org, BREAKPOINT, "Id")]
    assert outcomes(target.delete(RULE, parents)) == {"deleted": 2}
    assert outcomes(target.delete(BREAKPOINT, details)) == {"unchanged": 6}


def test_an_id_of_another_object_deletes_nothing(org: Running, target: SalesforceTarget) -> None:
    parents = target.write(RULE, rules(1), key=KEY).frame["target_id"].to_list()
    target.write(BREAKPOINT, children(parents, 2), key=KEY)
    assert outcomes(target.delete(BREAKPOINT, parents)) == {"unchanged": 1}
    assert len(records_of(org, RULE, "Id")) == 1


def test_calls_are_counted(org: Running, target: SalesforceTarget) -> None:
    target.describe(RULE)
    org.control.reset_calls()
    before = target.calls
    target.write(RULE, rules(MANY), key=KEY)
    assert target.calls - before == sum(org.control.calls().values())
