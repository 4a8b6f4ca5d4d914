"""Reading back and deleting."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from connectors.errors import SettingsInvalid
from connectors.targets import postgresql
from connectors.targets.postgresql import PostgresqlTarget
from tests.connectors.postgresql.scratch import Database
from tests.connectors.postgresql.test_postgresql_copy import text

KINDS = """
DROP SCHEMA IF EXISTS kinds CASCADE; CREATE SCHEMA kinds;
CREATE TABLE kinds.kinds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE, t text, i bigint, n numeric(30, 6),
    f float8, b boolean, d date, h time, z timestamptz, j jsonb, x bytea, v varchar(3), free numeric)
"""
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "k": pl.String,
    "t": pl.String,
    "i": pl.Int64,
    "n": pl.Decimal(38, 6),
    "f": pl.Float64,
    "b": pl.Boolean,
    "d": pl.Date,
    "h": pl.Time,
    "z": pl.Datetime("us", "UTC"),
    "j": pl.String,
    "x": pl.Binary,
    "v": pl.String,
    "free": pl.Decimal(38, 3),
}
records = st.lists(
    st.tuples(
        text,
        st.none() | text,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.decimals(-(10**20), 10**20, places=6),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none() | st.dates(),
        st.none() | st.times(),
        st.none() | st.datetimes(timezones=st.just(dt.UTC)),
        st.none() | st.sampled_from(['"x"', "null", '{"a": "\\\\ \\" é"}', "[]", "1.50"]),
        st.none() | st.binary(),
        st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=3),
        st.none() | st.just(Decimal("12.345")),
    ),
    max_size=12,
    unique_by=lambda record: record[0],
)


@pytest.mark.parametrize("collation", ["", 'COLLATE "C"'])
def test_many_keys_between_which_there_is_no_row(
    database: Database, collation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at the key's index tells; where the column orders texts otherwise, each is looked for."""
    database.run(
        f"""
        CREATE TABLE ranged (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id bigint, k text {collation},
                             v int, UNIQUE (tenant_id, k));
        INSERT INTO ranged (tenant_id, k, v) VALUES (1, 'a', 1), (1, 'm0400', 2), (1, 'z', 3), (2, 'm0100', 4);
        """
    )
    monkeypatch.setattr(postgresql, "WORTH_A_LOOK", 50)
    keys = [f"m{number:04}" for number in range(500)]
    with PostgresqlTarget(database.context(tenant_id="1")) as target:
        none = target.fetch("ranged", key="k", keys=keys[:400], fields=["v"])
        one = target.fetch("ranged", key="k", keys=keys[::-1], fields=["v"])
        edges = target.fetch("ranged", key="k", keys=["a", *keys[:300], "z"], fields=["v"])
    database.run("DROP TABLE ranged")
    assert none.schema == {"target_id": pl.String, "key": pl.String, "v": pl.Int64}
    assert none.height == 0
    assert one["key"].to_list() == ["m0400"]
    assert sorted(edges["key"]) == ["a", "z"]


@given(records)
def test_what_was_written_is_read_back(database: Database, values: list[tuple[object, ...]]) -> None:
    database.run(KINDS)
    frame = pl.DataFrame(values, schema=SCHEMA, orient="row")
    with PostgresqlTarget(database.context(schema="kinds")) as target:
        written = target.write("kinds", frame, key="k").frame
        fields = [name for name in frame.columns if name != "k"]
        found = target.fetch("kinds", key="k", keys=frame["k"].to_list(), fields=fields)
        again = target.write("kinds", frame, key="k").frame
    assert set(written["outcome"]) <= {"created"}
    assert set(again["outcome"]) <= {"unchanged"}
    expected = frame.rename({"k": "key"})
    if frame["free"].null_count() == frame.height:  # no scale is declared, and no value shows one
        expected = expected.with_columns(pl.col("free").cast(pl.Decimal(38, 0)))
    assert_frame_equal(found.drop("target_id"), expected, check_row_order=False)
    told = written.select("key", "target_id").sort("key")
    assert_frame_equal(found.select("key", "target_id").sort("key"), told)


def test_values_polars_has_no_word_for_come_as_text(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        """
        CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE,
                        d date, z timestamptz, n numeric(5, 2), h time, ok date);
        INSERT INTO t (k, d, z, n, h, ok) VALUES
            ('a', '0044-03-15 BC', 'infinity', 'NaN', '24:00', '2026-01-01'),
            ('b', '2026-01-01', now(), 1, '1:00', NULL)
        """
    )
    found = target.fetch("t", key="k", keys=["a", "b"], fields=["d", "z", "n", "h", "ok"]).sort("key")
    assert found.drop("target_id").row(0) == ("a", "0044-03-15 BC", "infinity", "NaN", "24:00:00", dt.date(2026, 1, 1))
    assert found.schema["ok"] == pl.Date


def test_references_and_the_id_itself(product: PostgresqlTarget) -> None:
    users = pl.DataFrame({"external_id": ["U1"], "email": ["a@b"], "last_name": ["X"]})
    (owner,) = product.write("users", users, key="external_id").frame["target_id"]
    accounts = pl.DataFrame({"external_id": ["A1"], "name": ["Acme"], "owner_id": [owner]})
    product.write("accounts", accounts, key="external_id")
    found = product.fetch("accounts", key="external_id", keys=["A1"], fields=["owner_id", "id", "external_id"])
    assert found["owner_id"].to_list() == [owner]
    assert found.schema["owner_id"] == pl.String
    assert found["id"].cast(pl.String).to_list() == found["target_id"].to_list()
    assert found["external_id"].to_list() == found["key"].to_list() == ["A1"]


def test_many_keys_go_in_portions(product: PostgresqlTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "LOOK_UPS", 4)
    keys = [f"A{number}" for number in range(11)]
    product.write("accounts", pl.DataFrame({"external_id": keys, "name": keys}), key="external_id")
    found = product.fetch("accounts", key="external_id", keys=[*keys, "none"], fields=["name"])
    assert sorted(found["name"]) == sorted(keys)


def test_keys_that_cannot_be_are_absent(target: PostgresqlTarget, database: Database) -> None:
    database.run("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k bigint UNIQUE, s text UNIQUE)")
    database.run("INSERT INTO t (k, s) VALUES (7, 'x')")
    assert target.fetch("t", key="k", keys=["7", "x", "-", "9" * 30, "--1"], fields=[])["key"].to_list() == ["7"]
    assert target.fetch("t", key="s", keys=["x", "\0", "it's"], fields=[])["key"].to_list() == ["x"]


def test_unknown_fields_are_told(product: PostgresqlTarget) -> None:
    with pytest.raises(SettingsInvalid, match="has no column colour, size"):
        product.fetch("accounts", key="external_id", keys=[], fields=["colour", "name", "size"])


def family(product: PostgresqlTarget, names: Sequence[str]) -> dict[str, str]:
    """Accounts by name → id."""
    frame = pl.DataFrame({"external_id": list(names), "name": list(names)})
    written = product.write("accounts", frame, key="external_id").frame
    return dict(zip(written["key"], written["target_id"], strict=True))


def test_a_record_others_point_at_stays(product: PostgresqlTarget, database: Database) -> None:
    ids = family(product, ["a", "b", "c", "d"])
    product.write(
        "contacts",
        pl.DataFrame({"external_id": ["C"], "last_name": ["X"], "account_id": [ids["c"]]}),
        key="external_id",
    )
    result = product.delete("accounts", list(ids.values())).frame
    assert dict(zip(result["key"], result["outcome"], strict=True)) == {
        ids["a"]: "deleted",
        ids["b"]: "deleted",
        ids["c"]: "rejected",
        ids["d"]: "deleted",
    }
    (row,) = result.filter(pl.col("outcome") == "rejected").rows(named=True)
    assert row["code"] == "foreign_key_violation"
    assert "still pointed at by contacts (constraint contacts_account_id_fkey)" in row["message"]
    assert database.rows("SELECT name FROM accounts") == [("c",)]


def test_a_chain_goes_even_where_one_link_stays(product: PostgresqlTarget) -> None:
    ids = family(product, [f"n{number}" for number in range(8)])
    links = pl.DataFrame(
        {"external_id": [f"n{n}" for n in range(1, 7)], "parent_id": [ids[f"n{n - 1}"] for n in range(1, 7)]}
    )
    product.write("accounts", links, key="external_id")
    product.write(
        "contacts",
        pl.DataFrame({"external_id": ["C"], "last_name": ["X"], "account_id": [ids["n7"]]}),
        key="external_id",
    )
    result = product.delete("accounts", list(ids.values())).frame
    assert result.filter(pl.col("outcome") != "deleted")["key"].to_list() == [ids["n7"]]


def test_ids_that_cannot_be_are_already_gone(product: PostgresqlTarget) -> None:
    ids = family(product, ["a"])
    result = product.delete("accounts", [ids["a"], "nonsense", "4711", "9" * 30, "\0"]).frame
    assert result["outcome"].to_list() == ["deleted", *["unchanged"] * 4]


def test_a_trigger_may_forbid_a_deletion(target: PostgresqlTarget, database: Database) -> None:
    database.run(
        """
        CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), k text UNIQUE);
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF OLD.k = 'b' THEN RAISE EXCEPTION 'audited'; END IF; RETURN OLD; END $$;
        CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep();
        """
    )
    written = target.write("t", pl.DataFrame({"k": ["a", "b", "c"]}), key="k").frame
    result = target.delete("t", [key.upper() for key in written["target_id"]]).frame
    assert result["outcome"].to_list() == ["deleted", "rejected", "deleted"]
    assert result["code"].to_list()[1] == "raise_exception"
    assert "was not deleted: audited" in result["message"].to_list()[1]


def test_matches_of_a_merge_are_looked_up_in_portions(
    product: PostgresqlTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.clients.postgresql_merge.LOOK_UPS", 4)
    keys = [f"A{number}" for number in range(11)]
    frame = pl.DataFrame({"external_id": keys, "name": keys})
    product.write("accounts", frame, key="external_id")
    changed = frame.with_columns(name=pl.when(pl.col("external_id") == "A9").then(pl.lit("New")).otherwise("name"))
    answered = product.write("accounts", changed, key="external_id").frame
    assert answered.filter(pl.col("outcome") == "updated")["key"].to_list() == ["A9"]
    assert answered.filter(pl.col("outcome") == "unchanged").height == 10
