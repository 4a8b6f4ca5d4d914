"""Tables like a source's entities."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.clients.postgresql_mirror import column_type, mirror_names, table_name
from connectors.errors import SettingsInvalid
from connectors.targets.postgresql import PostgresqlTarget
from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType
from tests.connectors.postgresql.scratch import Database

KEY = "source_id"


def entity(name: str, *fields: FieldInfo) -> EntitySchema:
    return EntitySchema(EntityInfo(name, name, "Id"), (FieldInfo("Id", length=18), *fields))


def columns(database: Database, table: str) -> dict[str, str]:
    return dict(
        database.rows(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = '\"{table}\"'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
    )


@pytest.mark.parametrize(
    ("field", "declared"),
    [
        (FieldInfo("f"), "text"),
        (FieldInfo("f", length=80), "character varying(80)"),
        (FieldInfo("f", length=11_000_000), "text"),
        (FieldInfo("f", FieldType.INTEGER), "bigint"),
        (FieldInfo("f", FieldType.DECIMAL, precision=18, scale=2), "numeric(18,2)"),
        (FieldInfo("f", FieldType.DECIMAL), "numeric"),
        (FieldInfo("f", FieldType.FLOAT), "double precision"),
        (FieldInfo("f", FieldType.BOOLEAN), "boolean"),
        (FieldInfo("f", FieldType.DATE), "date"),
        (FieldInfo("f", FieldType.TIME), "time without time zone"),
        (FieldInfo("f", FieldType.DATETIME), "timestamp with time zone"),
        (FieldInfo("f", FieldType.JSON), "jsonb"),
        (FieldInfo("f", FieldType.UUID), "uuid"),
        (FieldInfo("f", FieldType.BINARY), "bytea"),
        (FieldInfo("f", FieldType.PICKLIST, length=40, choices=("a",), restricted=True), "text"),
        (FieldInfo("f", FieldType.MULTIPICKLIST, length=40), "text"),
        (FieldInfo("f", FieldType.REFERENCE, length=18, references=("Account",)), "bigint"),
        (FieldInfo("f", FieldType.REFERENCE, length=18, references=("Account", "Contact")), "text"),
    ],
)
def test_types(target: PostgresqlTarget, database: Database, field: FieldInfo, declared: str) -> None:
    assert column_type(field) == declared
    target.ensure_entity(entity("Thing__c", field), key=KEY)
    assert columns(database, "thing__c") == {"id": "bigint", KEY: "text", "f": declared}


def test_one_sentence_per_change_and_none_the_second_time(target: PostgresqlTarget) -> None:
    first = entity("Market__c", FieldInfo("Name", length=80))
    assert target.ensure_entity(first, key=KEY) == (
        "Created table market__c with key column source_id.",
        "Added column market__c.name (character varying(80)).",
    )
    assert target.ensure_entity(first, key=KEY) == ()
    grown = entity("Market__c", FieldInfo("Name", length=120), FieldInfo("Size__c", FieldType.INTEGER))
    assert target.ensure_entity(grown, key=KEY) == (
        "Widened column market__c.name from character varying(80) to character varying(120).",
        "Added column market__c.size__c (bigint).",
    )
    assert target.ensure_entity(first, key=KEY) == (), "a field that is gone, or shorter, changes nothing"


def test_described_and_written_like_any_table(target: PostgresqlTarget) -> None:
    made = entity("Market__c", FieldInfo("Name", length=80, label="Market name"))
    target.ensure_entity(made, key=KEY)
    described = target.describe("Market__c")
    assert described.entity.name == "market__c"
    assert described.field("name").label == "Name"
    assert described.field(KEY).external_id
    assert described.field(KEY).required
    result = target.write("Market__c", pl.DataFrame({KEY: ["m1"], "name": ["Bay Area"]}), key=KEY)
    assert result.frame["outcome"].to_list() == ["created"]


@pytest.mark.parametrize("order", [("Account", "Contact"), ("Contact", "Account")])
def test_references_become_foreign_keys_in_any_order(
    target: PostgresqlTarget, database: Database, order: tuple[str, str]
) -> None:
    reference = FieldInfo("AccountId", FieldType.REFERENCE, references=("Account",))
    parent = replace(reference, name="ParentId")
    made = {"Account": entity("Account", parent), "Contact": entity("Contact", reference)}
    sentences = [sentence for name in order for sentence in target.ensure_entity(made[name], key=KEY)]
    assert "Column contact.accountid now points at account." in sentences
    assert "Column account.parentid now points at account." in sentences
    assert [target.ensure_entity(made[name], key=KEY) for name in order] == [(), ()]
    assert target.describe("contact").field("accountid").references == ("account",)
    assert database.rows(
        "SELECT DISTINCT condeferrable FROM pg_constraint WHERE contype = 'f' AND conrelid = 'contact'::regclass"
    ) == [(True,)]
    result = target.write("contact", pl.DataFrame({KEY: ["c"], "accountid": ["1"]}), key=KEY)
    assert result.frame["code"].to_list() == ["foreign_key_violation"]


def test_clashing_and_reserved_names(target: PostgresqlTarget, database: Database) -> None:
    made = entity(
        "Order",
        *(FieldInfo(name) for name in ("Name", "NAME", "ctid", "tenant_id", "Source_Id", "select", 'a%s"b', "ID", "")),
    )
    names = mirror_names(made, KEY)
    assert names == {
        "Id": KEY,
        "Name": "name",
        "NAME": "name_2",
        "ctid": "ctid_2",
        "tenant_id": "tenant_id_2",
        "Source_Id": "source_id_2",
        "select": "select",
        'a%s"b': 'a%s"b',
        "ID": "id_2",
        "": "field",
    }
    target.ensure_entity(made, key=KEY)
    assert set(columns(database, "order")) == {"id", *names.values()}
    frame = pl.DataFrame({column: ["x"] for column in names.values()})
    assert target.write("Order", frame, key=KEY).frame["outcome"].to_list() == ["created"]


def test_names_stay_when_the_source_reorders_its_fields(target: PostgresqlTarget) -> None:
    name, shout = FieldInfo("name"), FieldInfo("NAME")
    target.ensure_entity(entity("T", name, shout), key=KEY)
    assert target.ensure_entity(entity("T", shout, name), key=KEY) == ()
    assert target.mirror_names(entity("T", shout, name), key=KEY) == {"Id": KEY, "NAME": "name_2", "name": "name"}


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), unique=True, max_size=30))
def test_every_field_gets_a_column_of_its_own(names: list[str]) -> None:
    made = mirror_names(entity("T", *(FieldInfo(name) for name in names if name != "Id")), KEY)
    assert len(set(made.values())) == len(made)
    assert all(0 < len(column.encode()) <= 63 for column in made.values())
    assert 0 < len(table_name("".join(names)).encode()) <= 63


@pytest.mark.parametrize(
    ("before", "after", "declared"),
    [
        ({"length": 80}, {"length": None}, "text"),
        ({"length": None}, {"length": 80}, "text"),
        (
            {"type": FieldType.DECIMAL, "precision": 18, "scale": 2},
            {"type": FieldType.DECIMAL, "precision": 18, "scale": 4},
            "numeric(20,4)",
        ),
        ({"type": FieldType.DECIMAL, "precision": 18, "scale": 2}, {"type": FieldType.DECIMAL}, "numeric"),
        ({"type": FieldType.DECIMAL}, {"type": FieldType.DECIMAL, "precision": 18, "scale": 2}, "numeric"),
    ],
)
def test_widening(
    target: PostgresqlTarget,
    database: Database,
    before: dict[str, int | None],
    after: dict[str, int | None],
    declared: str,
) -> None:
    field = FieldInfo("f")
    target.ensure_entity(entity("T", replace(field, **before)), key=KEY)  # type: ignore[arg-type]  # as parametrised
    target.ensure_entity(entity("T", replace(field, **after)), key=KEY)  # type: ignore[arg-type]  # as parametrised
    assert columns(database, "t")["f"] == declared


def test_a_column_of_another_kind_is_told(target: PostgresqlTarget) -> None:
    target.ensure_entity(entity("T", FieldInfo("Born", FieldType.DATE)), key=KEY)
    with pytest.raises(SettingsInvalid, match=r"t\.born is date, but the source's field Born needs jsonb"):
        target.ensure_entity(entity("T", FieldInfo("Born", FieldType.JSON), FieldInfo("More")), key=KEY)
    assert "more" not in target.describe("t").names, "nothing of a refused change stays"


def test_a_table_that_is_no_mirror_is_left_alone(target: PostgresqlTarget, database: Database) -> None:
    database.run("CREATE TABLE account (id bigint PRIMARY KEY, name text)")
    with pytest.raises(SettingsInvalid, match="is no mirror"):
        target.ensure_entity(entity("Account"), key=KEY)


def test_what_no_table_can_hold_is_told(target: PostgresqlTarget) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be the key column"):
        target.ensure_entity(entity("T"), key="id")
    with pytest.raises(SettingsInvalid, match="holds 1600 columns"):
        target.ensure_entity(entity("T", *(FieldInfo(f"f{number}") for number in range(1_600))), key=KEY)
