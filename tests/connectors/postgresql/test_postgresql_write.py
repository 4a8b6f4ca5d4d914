"""Writing: what lands, what is refused and why, and what it costs to find out."""

import os
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.clients import postgresql_merge
from connectors.context import Context
from connectors.errors import SettingsInvalid
from connectors.targets.postgresql import PostgresqlTarget
from connectors.types import WriteResult
from tests.connectors.postgresql.scratch import Database


def outcomes(result: WriteResult) -> dict[str, str]:
    return dict(zip(result.frame["key"].to_list(), result.frame["outcome"].to_list(), strict=True))


def rejection(result: WriteResult, key: str) -> tuple[str, str, str]:
    """Code, fields and message of one refused record."""
    (row,) = result.frame.filter(pl.col("key") == key).rows(named=True)
    assert row["outcome"] == "rejected"
    assert row["target_id"] is None
    return row["code"], row["fields"], row["message"]


def accounts(*rows: Mapping[str, object]) -> pl.DataFrame:
    base = {"name": "Acme", "status": "active"}
    keyed = [{"external_id": f"A{number}", **base, **row} for number, row in enumerate(rows, start=1)]
    return pl.DataFrame(keyed, infer_schema_length=None)


def test_new_changed_and_equal_records(product: PostgresqlTarget, database: Database, tenant: str) -> None:
    first = accounts({}, {"name": "Bolt"}, {"name": "Cord"})
    assert outcomes(product.write("accounts", first, key="external_id")) == dict.fromkeys(["A1", "A2", "A3"], "created")
    second = accounts({}, {"name": "Bolt & Co"}, {"name": "Cord"}, {"name": "Dale"})
    result = product.write("accounts", second, key="external_id")
    assert outcomes(result) == {"A1": "unchanged", "A2": "updated", "A3": "unchanged", "A4": "created"}
    held = database.rows("SELECT external_id, id::text, name, tenant_id::text FROM accounts ORDER BY external_id")
    assert [(key, name) for key, _, name, _ in held] == list(second.select("external_id", "name").iter_rows())
    assert dict(zip(result.frame["key"], result.frame["target_id"], strict=True)) == {row[0]: row[1] for row in held}
    assert {row[3] for row in held} == {tenant}


def test_a_key_may_begin_with_a_byte_order_mark(product: PostgresqlTarget) -> None:
    frame = accounts({}, {}).with_columns(pl.Series("external_id", ["\ufeffA1", "A1"]))
    assert outcomes(product.write("accounts", frame, key="external_id")) == {"\ufeffA1": "created", "A1": "created"}


def test_known_records_that_no_probe_hits_are_found_all_the_same(product: PostgresqlTarget, database: Database) -> None:
    """Frames whose probed rows are all new are inserted without a look; the key's index tells of the others."""
    rows = [{"name": f"N{number}"} for number in range(10 * postgresql_merge.PROBES)]
    product.write("accounts", accounts(*rows[:3], {"name": "Edited"}).tail(2), key="external_id")
    answers = outcomes(product.write("accounts", accounts(*rows), key="external_id"))
    assert Counter(answers.values()) == {"created": len(rows) - 2, "unchanged": 1, "updated": 1}
    assert (answers["A3"], answers["A4"]) == ("unchanged", "updated")
    assert database.rows("SELECT count(*), count(DISTINCT name) FROM accounts") == [(len(rows), len(rows))]


def test_new_records_skip_the_staging_table(
    product: PostgresqlTarget, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ids are drawn beforehand from the table's own sequence, which goes on behind them."""
    product.write("accounts", accounts({}).head(0), key="external_id")
    monkeypatch.setattr(postgresql_merge, "fill", _never)
    rows = [{"name": f"N{number}"} for number in range(50)]
    result = product.write("accounts", accounts(*rows), key="external_id")
    held = dict(database.rows("SELECT external_id, id::text FROM accounts"))
    assert dict(zip(result.frame["key"], result.frame["target_id"], strict=True)) == held
    monkeypatch.undo()
    more = accounts(*rows, {"name": "One more"})
    assert Counter(outcomes(product.write("accounts", more, key="external_id")).values()) == {
        "unchanged": 50,
        "created": 1,
    }


@pytest.mark.parametrize("counting", ["INCREMENT 1", "INCREMENT 3", "INCREMENT -2", "START 90 MAXVALUE 99 CYCLE"])
def test_ids_are_the_sequences_own_however_it_counts(
    target: PostgresqlTarget, database: Database, monkeypatch: pytest.MonkeyPatch, counting: str
) -> None:
    """Counting by more than one leaves gaps, as somebody does who draws from the sequence at the same time."""
    database.run(f"CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY ({counting}) PRIMARY KEY, k text UNIQUE)")
    target.write("t", pl.DataFrame({"k": ["first"]}), key="k")
    monkeypatch.setattr(postgresql_merge, "fill", _never)
    result = target.write("t", pl.DataFrame({"k": [f"K{number}" for number in range(12)]}), key="k")
    database.run("INSERT INTO t (k) VALUES ('by hand')")
    held = dict(database.rows("SELECT k, id::text FROM t WHERE k LIKE 'K%'"))
    assert len(held) == 12
    assert dict(zip(result.frame["key"], result.frame["target_id"], strict=True)) == held


def _never(*_: object) -> None:
    raise AssertionError("the staging table was filled")


@pytest.mark.parametrize(
    "hindrance",
    [
        "REVOKE USAGE ON SEQUENCE things_id_seq FROM {role}",
        "ALTER TABLE things ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON things USING (true)",
        "CREATE RULE noted AS ON INSERT TO things DO ALSO INSERT INTO notes VALUES (NEW.k)",
        "CREATE TRIGGER louder BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION louder()",
    ],
)
def test_a_table_that_copy_may_not_write_to_as_insert_does_takes_the_longer_way(
    database: Database, hindrance: str
) -> None:
    role = f"writer_{os.getpid()}"
    database.run(
        f"""
        CREATE TABLE things (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE, word text);
        CREATE TABLE notes (k text);
        CREATE FUNCTION louder() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.word := upper(NEW.word); RETURN NEW; END $$;
        CREATE ROLE {role} LOGIN;
        GRANT SELECT, INSERT, UPDATE ON things TO {role};
        GRANT INSERT ON notes TO {role};
        GRANT USAGE ON SEQUENCE things_id_seq TO {role};
        {hindrance.format(role=role)};
        """
    )
    try:
        with PostgresqlTarget(database.context(user=role)) as target:
            result = target.write("things", pl.DataFrame({"k": ["a", "b"], "word": ["x", "y"]}), key="k")
    finally:
        held = dict(database.rows("SELECT k, id::text FROM things"))
        database.run(f"DROP TABLE things, notes; DROP FUNCTION louder; DROP OWNED BY {role}; DROP ROLE {role}")
    assert dict(zip(result.frame["key"], result.frame["target_id"], strict=True)) == held
    assert outcomes(result) == {"a": "created", "b": "created"}


def test_a_known_record_lacks_nothing_that_only_new_ones_need(product: PostgresqlTarget, database: Database) -> None:
    """A new row without a name is refused before its key is looked at; a known one has its name."""
    product.write("accounts", accounts({}, {"name": "Bolt"}).tail(1), key="external_id")
    keys = [f"A{number}" for number in (*range(3, 60), 2)]
    frame = pl.DataFrame({"external_id": keys, "status": "active", "phone": "1"})
    result = product.write("accounts", frame, key="external_id")
    assert Counter(outcomes(result).values()) == {"rejected": 57, "updated": 1}
    assert database.rows("SELECT external_id, name, phone FROM accounts") == [("A2", "Bolt", "1")]


def test_only_the_frames_columns_are_touched(product: PostgresqlTarget, database: Database) -> None:
    product.write("accounts", accounts({"phone": "1", "fax": "2"}), key="external_id")
    product.write("accounts", accounts({"phone": None}), key="external_id")
    assert database.rows("SELECT phone, fax FROM accounts") == [(None, "2")]


def test_equal_json_spelled_otherwise_is_unchanged(product: PostgresqlTarget) -> None:
    product.write("accounts", accounts({"billing_address": '{"city":"Ulm","zip":1.0}'}), key="external_id")
    again = accounts({"billing_address": '{ "zip": 1.00, "city": "Ulm" }'})
    assert outcomes(product.write("accounts", again, key="external_id")) == {"A1": "unchanged"}


def test_blank_and_absent_differ(product: PostgresqlTarget, database: Database) -> None:
    product.write("accounts", accounts({"phone": ""}), key="external_id")
    assert database.rows("SELECT phone FROM accounts") == [("",)]
    assert outcomes(product.write("accounts", accounts({"phone": None}), key="external_id")) == {"A1": "updated"}


def test_another_tenants_records_are_out_of_reach(product: PostgresqlTarget, database: Database) -> None:
    ((other,),) = database.rows("INSERT INTO tenants (slug, name) VALUES ('other', 'Other') RETURNING id")
    with PostgresqlTarget(database.context(tenant_id=str(other))) as theirs:
        ids = theirs.write("accounts", accounts({"name": "Theirs"}), key="external_id").frame["target_id"].to_list()
        assert outcomes(product.write("accounts", accounts({"name": "Ours"}), key="external_id")) == {"A1": "created"}
        assert product.fetch("accounts", key="external_id", keys=["A1"], fields=["name"])["name"].to_list() == ["Ours"]
        assert outcomes(product.delete("accounts", ids)) == {ids[0]: "unchanged"}
        assert theirs.fetch("accounts", key="external_id", keys=["A1"], fields=["name"])["name"].to_list() == ["Theirs"]


@pytest.mark.parametrize(
    ("change", "code", "fields", "words"),
    [
        ({"owner_id": 4711}, "foreign_key_violation", "owner_id", "owner_id “4711” points at no record of users"),
        ({"employees": -1}, "check_violation", "employees", "employees “-1” breaks the rule accounts_employees_check"),
        ({"name": None}, "not_null_violation", "name", "accounts: name must not be empty."),
        ({"phone": "7" * 41}, "string_data_right_truncation", "phone", "is longer than the 40 characters"),
        ({"type": "pirate"}, "invalid_text_representation", "type", "type “pirate” is not one of prospect, customer"),
        ({"employees": 2**40}, "numeric_value_out_of_range", "employees", "does not fit into integer"),
        ({"annual_revenue": Decimal(10**17)}, "numeric_value_out_of_range", "annual_revenue", "numeric(18,2)"),
        ({"billing_address": "{oops"}, "invalid_text_representation", "billing_address", "“{oops” is no jsonb"),
        ({"billing_address": "[1]"}, "check_violation", "billing_address", "accounts_billing_address_check"),
        ({"description": "a\0b"}, "untranslatable_character", "description", "holds a NUL character"),
        ({"billing_address": '{"a": "\\u0000"}'}, "untranslatable_character", "billing_address", "NUL character"),
        ({"tags": "{}"}, "invalid_parameter_value", "", "cannot extract elements from an object"),
    ],
)
def test_one_bad_value_rejects_one_record(
    product: PostgresqlTarget, change: dict[str, object], code: str, fields: str, words: str
) -> None:
    rows: list[dict[str, object]] = [{name: None for name in change if name != "name"} for _ in range(7)]
    rows[4] |= change
    result = product.write("accounts", accounts(*rows), key="external_id")
    found = rejection(result, "A5")
    assert found[:2] == (code, fields)
    assert words in found[2]
    assert Counter(outcomes(result).values()) == {"created": 6, "rejected": 1}
    landed = product.fetch("accounts", key="external_id", keys=[f"A{n}" for n in range(1, 8)], fields=[])
    assert set(landed["key"]) == {"A1", "A2", "A3", "A4", "A6", "A7"}


def test_a_long_value_is_shown_shortened(product: PostgresqlTarget) -> None:
    result = product.write("accounts", accounts({"phone": "9" * 5_000}), key="external_id")
    assert len(rejection(result, "A1")[2]) < 200


def test_colliding_with_a_record_that_is_there(product: PostgresqlTarget) -> None:
    users = pl.DataFrame({"external_id": ["U1"], "email": ["ada@example.com"], "last_name": ["Ada"]})
    product.write("users", users, key="external_id")
    twin = users.with_columns(external_id=pl.lit("U2"))
    code, fields, message = rejection(product.write("users", twin, key="external_id"), "U2")
    assert (code, fields) == ("unique_violation", "email")
    assert "email “ada@example.com” is taken by another record (unique constraint users_email_key)" in message


def test_of_two_that_collide_the_first_of_the_frame_lands(product: PostgresqlTarget) -> None:
    users = pl.DataFrame(
        {
            "external_id": [f"U{number}" for number in range(9)],
            "email": [f"u{number}@example.com" for number in range(9)],
            "last_name": ["X"] * 9,
        }
    ).with_columns(
        email=pl.when(pl.col("external_id").is_in(["U2", "U7"])).then(pl.lit("same@example.com")).otherwise("email")
    )
    result = product.write("users", users, key="external_id")
    assert [key for key, outcome in outcomes(result).items() if outcome == "rejected"] == ["U7"]


def test_a_value_freed_by_the_same_write_may_be_taken(product: PostgresqlTarget) -> None:
    users = pl.DataFrame({"external_id": ["U2"], "email": ["b@example.com"], "last_name": ["X"]})
    product.write("users", users, key="external_id")
    moved = pl.DataFrame(
        {"external_id": ["U1", "U2"], "email": ["b@example.com", "c@example.com"], "last_name": ["X", "X"]}
    )
    assert outcomes(product.write("users", moved, key="external_id")) == {"U1": "created", "U2": "updated"}


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each attempt of the merge had."""
    sizes: list[int] = []
    attempt = postgresql_merge._Write._attempt

    def counted(self: postgresql_merge._Write, items: list[int]) -> object:
        sizes.append(len(items))
        return attempt(self, items)

    monkeypatch.setattr(postgresql_merge._Write, "_attempt", counted)
    return sizes


@pytest.mark.parametrize(
    ("poison", "code"),
    [
        ({"owner_id": 4711}, "foreign_key_violation"),
        ({"employees": -1}, "check_violation"),
        ({"name": None}, "not_null_violation"),
    ],
)
def test_rows_that_share_a_cause_are_found_by_asking_once(
    product: PostgresqlTarget, monkeypatch: pytest.MonkeyPatch, poison: dict[str, object], code: str
) -> None:
    rows = [(poison if number % 3 else {name: None for name in poison if name != "name"}) for number in range(300)]
    sizes = counting(monkeypatch)
    result = product.write("accounts", accounts(*rows), key="external_id")
    assert Counter(result.frame["code"].to_list()) == {code: 200, None: 100}
    assert sizes == [300, 100]


def test_many_collisions_are_found_by_asking_once(product: PostgresqlTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    users = pl.DataFrame({"external_id": [f"U{n}" for n in range(300)], "last_name": ["X"] * 300}).with_columns(
        email=pl.lit("same@example.com")
    )
    sizes = counting(monkeypatch)
    result = product.write("users", users, key="external_id")
    assert [key for key, outcome in outcomes(result).items() if outcome == "created"] == ["U0"]
    assert sizes == [300, 1]


def test_colliding_with_a_row_that_was_itself_refused_is_no_collision(product: PostgresqlTarget) -> None:
    users = pl.DataFrame(
        {
            "external_id": ["U0", "U1", "U2"],
            "email": ["same@example.com"] * 3,
            "last_name": ["X"] * 3,
            "manager_id": [4711, None, None],
        }
    )
    result = product.write("users", users, key="external_id")
    assert result.frame["code"].to_list() == ["foreign_key_violation", None, "unique_violation"]


def test_halving_is_logarithmic(product: PostgresqlTarget, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.run(
        "CREATE FUNCTION no_700() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.email LIKE 'U700@%' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER no_700 BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION no_700()"
    )
    users = pl.DataFrame({"external_id": [f"U{n}" for n in range(1024)], "last_name": ["X"] * 1024}).with_columns(
        email=pl.col("external_id") + "@example.com"
    )
    product.write(
        "users",
        pl.DataFrame({"external_id": ["old"], "email": ["U700@example.com"], "last_name": ["X"]}),
        key="external_id",
    )
    sizes = counting(monkeypatch)
    try:
        result = product.write("users", users, key="external_id")
    finally:
        database.run("DROP TRIGGER no_700 ON users; DROP FUNCTION no_700")
    assert Counter(outcomes(result).values()) == {"created": 1023, "rejected": 1}
    assert len(sizes) <= 2 * 10 + 1


def test_a_column_new_records_lack_rejects_only_new_ones(product: PostgresqlTarget) -> None:
    product.write("accounts", accounts({}, {}), key="external_id")
    frame = pl.DataFrame({"external_id": ["A1", "A2", "A3"], "phone": ["1", None, "3"]})
    result = product.write("accounts", frame, key="external_id")
    assert outcomes(result) == {"A1": "updated", "A2": "unchanged", "A3": "rejected"}
    assert rejection(result, "A3")[0] == "not_null_violation"


def test_every_row_bad_while_staging(product: PostgresqlTarget) -> None:
    frame = accounts(*({"type": "pirate"} for _ in range(200)))
    result = product.write("accounts", frame, key="external_id")
    assert Counter(result.frame["code"].to_list()) == {"invalid_text_representation": 200}


@given(st.lists(st.sampled_from(["good", "enum", "length", "check", "parent", "nul"]), min_size=1, max_size=40))
def test_any_mixture_is_told_apart(database: Database, kinds: list[str]) -> None:
    ((tenant,),) = database.rows("INSERT INTO tenants (slug, name) VALUES ('mix', 'Mix') RETURNING id")
    changes: dict[str, dict[str, object]] = {
        "good": {},
        "enum": {"type": "pirate"},
        "length": {"phone": "7" * 41},
        "check": {"employees": -1},
        "parent": {"owner_id": 1},
        "nul": {"fax": "\0"},
    }
    blank: dict[str, object] = dict.fromkeys(("type", "phone", "employees", "owner_id", "fax"))
    frame = accounts(*(blank | changes[kind] for kind in kinds)).cast(
        {"type": pl.String, "phone": pl.String, "fax": pl.String, "employees": pl.Int64, "owner_id": pl.Int64}
    )
    with PostgresqlTarget(database.context(tenant_id=str(tenant))) as target:
        rehearsed = target.rehearse("accounts", frame, key="external_id").frame.drop("target_id")
        result = target.write("accounts", frame, key="external_id").frame
    landed = [row[0] for row in database.rows("SELECT external_id FROM accounts ORDER BY id")]
    database.run("DELETE FROM accounts; DELETE FROM tenants")
    assert result["outcome"].to_list() == ["created" if kind == "good" else "rejected" for kind in kinds]
    assert result.drop("target_id").equals(rehearsed)
    good = [f"A{number}" for number, kind in enumerate(kinds, start=1) if kind == "good"]
    assert landed == good


def test_a_rehearsal_moves_nothing_but_sequences(product: PostgresqlTarget, database: Database) -> None:
    product.write("accounts", accounts({}), key="external_id")
    frame = accounts({"name": "Other"}, {}, {"employees": -1})
    assert outcomes(product.rehearse("accounts", frame, key="external_id")) == {
        "A1": "updated",
        "A2": "created",
        "A3": "rejected",
    }
    assert database.rows("SELECT external_id, name FROM accounts") == [("A1", "Acme")]


def test_a_trigger_that_drops_rows_is_told(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        """
        CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE, n int);
        CREATE FUNCTION drop_odd() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RETURN CASE WHEN NEW.n % 2 = 0 THEN NEW END; END $$;
        CREATE TRIGGER drop_odd BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION drop_odd();
        """
    )
    result = target.write("t", pl.DataFrame({"k": ["a", "b"], "n": [1, 2]}), key="k")
    assert outcomes(result) == {"a": "rejected", "b": "created"}
    assert rejection(result, "a")[0] == "not_written"


def test_deferred_rules_are_judged_row_by_row(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        """
        CREATE TABLE p (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE);
        CREATE TABLE c (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE,
                        p_id bigint REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED);
        """
    )
    result = target.write("c", pl.DataFrame({"k": ["a", "b"], "p_id": [None, 5]}), key="k")
    assert outcomes(result) == {"a": "created", "b": "rejected"}


def test_exclusion_and_expression_rules_are_named(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        """
        CREATE TABLE stays (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE, days int4range,
                            EXCLUDE USING gist (days WITH &&));
        CREATE TABLE names (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE, name text);
        CREATE UNIQUE INDEX names_lower ON names (lower(name));
        """
    )
    stays = target.write("stays", pl.DataFrame({"k": ["a", "b"], "days": ["[1,5]", "[4,9]"]}), key="k")
    code, fields, message = rejection(stays, "b")
    assert (code, fields) == ("exclusion_violation", "days")
    assert "days “[4,9]” clashes with another record" in message
    names = target.write("names", pl.DataFrame({"k": ["a", "b"], "name": ["Ada", "ADA"]}), key="k")
    code, _, message = rejection(names, "b")
    assert code == "unique_violation"
    assert "lower(name)" in message


def test_a_key_that_names_several_records_is_refused(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text, n int);"
        "INSERT INTO t (k, n) VALUES ('a', 1), ('a', 2), ('b', 3)"
    )
    result = target.write("t", pl.DataFrame({"k": ["a", "b", "c"], "n": [9, 9, 9]}), key="k")
    assert outcomes(result) == {"a": "rejected", "b": "updated", "c": "created"}
    assert rejection(result, "a")[0] == "ambiguous_match"
    assert database.rows("SELECT n FROM t WHERE k = 'a' ORDER BY n") == [(1,), (2,)]


def test_keys_that_are_no_text(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        "CREATE TABLE n (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k numeric UNIQUE, v int);"
        "CREATE TABLE u (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k uuid UNIQUE, v int)"
    )
    numbers = pl.DataFrame({"k": ["1", "2.50", "2.5"], "v": [1, 2, 3]})
    assert outcomes(target.write("n", numbers.head(2), key="k")) == {"1": "created", "2.50": "created"}
    assert outcomes(target.write("n", numbers, key="k")) == {"1": "unchanged", "2.50": "unchanged", "2.5": "rejected"}
    upper = pl.DataFrame({"k": ["6F1D1C2E-9D4B-4C8A-8F55-0123456789AB", "bad"], "v": [1, 2]})
    assert outcomes(target.write("u", upper, key="k")) == {upper["k"][0]: "created", "bad": "rejected"}


def test_odd_names_and_types(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        """
        CREATE DOMAIN email AS text CHECK (VALUE ~ '@');
        CREATE TABLE "Odd %s ""Table" (
            id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, "the key" text UNIQUE, "Column %(x)s" json,
            mail email, span interval, ip inet, day timestamp, pos point, doubled int GENERATED ALWAYS AS (2) STORED);
        """
    )
    frame = pl.DataFrame(
        {
            "the key": ["a", "b"],
            "Column %(x)s": ['{"b":1}', None],
            "mail": ["a@b", "nobody"],
            "span": ["P1D", None],
            "ip": ["::1", None],
            "pos": ["(1,2)", None],
        }
    )
    result = target.write('Odd %s "Table', frame, key="the key")
    assert outcomes(result) == {"a": "created", "b": "rejected"}
    assert rejection(result, "b")[0] == "check_violation"
    assert outcomes(target.write('Odd %s "Table', frame.head(1), key="the key")) == {"a": "unchanged"}
    [created] = result.frame.filter(outcome="created")["target_id"]
    assert outcomes(target.delete('Odd %s "Table', [created])) == {created: "deleted"}


def test_what_cannot_be_written_is_told_before_anything_is(product: PostgresqlTarget) -> None:
    for column in ("id", "tenant_id"):
        with pytest.raises(SettingsInvalid, match=f"{column} of accounts are filled by the database"):
            product.write("accounts", accounts({column: 1}), key="external_id")
    with pytest.raises(SettingsInvalid, match="has no column colour"):
        product.write("accounts", accounts({"colour": "red"}), key="external_id")


def test_tables_without_a_key_of_one_column_are_no_entities(target: PostgresqlTarget, database: Database) -> None:
    database.run("CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b))")
    assert target.entities() == ()
    with pytest.raises(SettingsInvalid, match="no primary key of one column"):
        target.describe("pairs")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "nowhere"}, "has no schema “nowhere”"),
        ({"tenant_id": "4711"}, "has no tenant 4711"),
        ({"tenant_id": "acme"}, "tenant “acme” is no number"),
        ({"port": "none"}, "port “none” is no number"),
        ({"host": ""}, "“host” is missing"),
    ],
)
def test_settings_that_lead_nowhere(database: Database, changes: dict[str, str], words: str) -> None:
    context: Context = database.context(**changes)
    with PostgresqlTarget(context) as target, pytest.raises(SettingsInvalid, match=words):
        target.check()


def test_check_tells_where_we_are(product: PostgresqlTarget, database: Database, tenant: str) -> None:
    identity = product.check()
    assert identity.account == database.where.database
    assert identity.facts["tenant"] == tenant
    assert identity.facts["tables"] == 22


def test_a_record_somebody_else_created_meanwhile_is_matched(
    product: PostgresqlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    product.write("accounts", accounts({}), key="external_id")
    matches, calls = postgresql_merge._Write._matches, iter([True])

    def blind_once(self: postgresql_merge._Write, items: list[int]) -> pl.DataFrame:
        found = matches(self, items)
        return found.clear() if next(calls, False) else found

    monkeypatch.setattr(postgresql_merge._Write, "_matches", blind_once)
    result = product.write("accounts", accounts({"name": "Mine"}), key="external_id")
    assert outcomes(result) == {"A1": "updated"}
