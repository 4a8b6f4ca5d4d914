"""Tables that a mirror lacks, tried out as if they were there; nothing stays, and nobody waits."""

import polars as pl

from connectors.targets.postgresql import PostgresqlTarget
from connectors.types import EntityInfo, EntitySchema, FieldInfo, FieldType
from tests.connectors.postgresql.scratch import Database

KEY = "source_id"
ACCOUNT = EntitySchema(
    EntityInfo("Account", "Account", "Id"),
    (FieldInfo("Id", length=18), FieldInfo("Name", length=5), FieldInfo("Staff", FieldType.INTEGER)),
)
CONTACT = EntitySchema(
    EntityInfo("Contact", "Contact", "Id"),
    (FieldInfo("Id", length=18), FieldInfo("AccountId", FieldType.REFERENCE, references=("Account",))),
)
WANTED = [(ACCOUNT, KEY), (CONTACT, KEY)]


def catalog(database: Database) -> list[tuple[object, ...]]:
    """Every table, column, constraint and sequence there is, temporary ones of all sessions among them."""
    return database.rows(
        "SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid >= 16384 AND attnum > 0 AND attrelid::regclass::text NOT LIKE '%mf\\_%' "
        "UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, contype::text FROM pg_constraint "
        "WHERE conrelid >= 16384 AND conrelid::regclass::text NOT LIKE '%mf\\_%' ORDER BY 1, 2, 3"
    )


def accounts(**values: list[object]) -> pl.DataFrame:
    return pl.DataFrame({KEY: ["A1", "A2", "A3"], "name": ["one", "two", "three"], "staff": [1, 2, 3], **values})


def outcomes(
    target: PostgresqlTarget, frame: pl.DataFrame, entity: str = "account"
) -> dict[str, tuple[str, str | None]]:
    answers = target.rehearse(entity, frame, key=KEY).frame
    return {key: (outcome, code) for key, outcome, code in answers.select("key", "outcome", "code").iter_rows()}


def test_tables_that_are_missing_are_described_as_they_would_be(target: PostgresqlTarget, database: Database) -> None:
    before = catalog(database)
    told = target.imagine(WANTED)
    imagined = [target.describe(name) for name in ("account", "contact")]
    assert catalog(database) == before
    assert told[0] == f"Created table account with key column {KEY}."
    made = target.ensure_entity(ACCOUNT, key=KEY), target.ensure_entity(CONTACT, key=KEY)
    assert told == (*made[0], *made[1])
    target.imagine([])
    assert imagined == [target.describe(name) for name in ("account", "contact")]
    assert imagined[1].field("accountid").references == ("account",)


def test_rows_are_tried_in_them_and_nothing_stays(target: PostgresqlTarget, database: Database) -> None:
    before = catalog(database)
    target.imagine(WANTED)
    found = outcomes(target, accounts(name=["one", "too long", None]))
    assert {key: outcome for key, (outcome, _) in found.items()} == {
        "A1": "created", "A2": "rejected", "A3": "created"
    }  # fmt: skip
    assert found["A2"][1] == "string_data_right_truncation"
    assert outcomes(target, accounts()) == outcomes(target, accounts()), "no rehearsal sees the one before"
    children = pl.DataFrame({KEY: ["C1"], "accountid": ["7"]})
    assert outcomes(target, children, "contact") == {"C1": ("created", None)}
    assert target.fetch("account", key=KEY, keys=["A1"], fields=["name", "staff"]).height == 0
    assert target.find("account", pl.DataFrame({"name": ["one"]}), key=KEY).height == 0
    assert catalog(database) == before


def test_a_table_that_lacks_columns_is_tried_with_its_rows(target: PostgresqlTarget, database: Database) -> None:
    narrow = EntitySchema(ACCOUNT.entity, (FieldInfo("Id", length=18), FieldInfo("Name", length=3)))
    target.ensure_entity(narrow, key=KEY)
    target.write("account", pl.DataFrame({KEY: ["A1", "A2"], "name": ["one", "two"]}), key=KEY)
    before, held = catalog(database), database.rows("SELECT * FROM account ORDER BY id")
    told = target.imagine(WANTED[:1])
    assert [sentence.split(" ")[0] for sentence in told] == ["Widened", "Added"]
    rows = target.fetch("account", key=KEY, keys=["A1", "A9"], fields=["name", "staff"])
    assert rows.select("key", "name", "staff").rows() == [("A1", "one", None)]
    assert rows["target_id"].to_list() == [str(held[0][0])]
    assert {key: outcome for key, (outcome, _) in outcomes(target, accounts(staff=[None, 2, 3])).items()} == {
        "A1": "unchanged", "A2": "updated", "A3": "created"
    }  # fmt: skip
    assert target.find("account", pl.DataFrame({"name": ["two"]}), key=KEY)["key"].to_list() == ["A2"]
    assert (catalog(database), database.rows("SELECT * FROM account ORDER BY id")) == (before, held)


def test_others_read_and_write_while_rows_are_tried(target: PostgresqlTarget, database: Database) -> None:
    """Whoever waited for a lock here would be ended by the time limit."""
    target.ensure_entity(ACCOUNT, key=KEY)
    target.imagine(WANTED)
    database.connection.execute("SET lock_timeout = '1s'")
    with (
        target._session.connected() as connection,
        target._standing_in(connection, target._imagined["contact"], KEY, ["C1"]) as table,
    ):
        connection.execute(f"INSERT INTO pg_temp.{table.name} ({KEY}) VALUES ('C1')")
        database.connection.execute("INSERT INTO account (source_id) VALUES ('other')")
    assert database.rows("SELECT source_id FROM account") == [("other",)]
