"""What goes wrong between us and a server, and which of our errors it becomes."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import psycopg
import pytest

from connectors.clients.postgresql import Address, connect
from connectors.clients.postgresql_errors import condition, connect_error, translate
from connectors.context import Secret
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    PermissionMissing,
    Rejected,
    RetryableError,
    SettingsInvalid,
    Unavailable,
)
from connectors.targets.postgresql import PostgresqlTarget
from tests.connectors.postgresql.scratch import Database

PASSWORD = "s3cr3t-pass-w0rd"


def refused(where: Address) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        connect(replace(where, password=Secret(PASSWORD)))
    error = caught.value
    assert PASSWORD not in f"{error} {error.detail} {error!r} {where!r}"
    return error


def test_nobody_listens(tmp_path: object) -> None:
    error = refused(Address(host=str(tmp_path), port=1, database="d", user="u"))
    assert isinstance(error, Unavailable)
    assert "no socket there" in str(error)
    assert isinstance(refused(Address(host="127.0.0.1", port=1, database="d", user="u")), Unavailable)


def test_no_such_database(database: Database) -> None:
    with pytest.raises(SettingsInvalid, match="has no database of that name"):
        connect(replace(database.where, database="no_such_db"))


def test_a_bad_ssl_mode(database: Database) -> None:
    with pytest.raises(SettingsInvalid, match="SSL mode"):
        connect(replace(database.where, sslmode="perhaps"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  password authentication failed for user "u"', AuthenticationFailed),
        ("fe_sendauth: no password supplied", AuthenticationFailed),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', AuthenticationFailed),
        ('FATAL:  role "u" is not permitted to log in', AuthenticationFailed),
        ('FATAL:  role "u" does not exist', AuthenticationFailed),
        ('FATAL:  permission denied for database "d"', PermissionMissing),
        ("FATAL:  sorry, too many clients already", Unavailable),
        ("FATAL:  remaining connection slots are reserved", Unavailable),
        ("FATAL:  the database system is starting up", Unavailable),
        ("FATAL:  the database system is shutting down", Unavailable),
        ("server does not support SSL, but SSL was required", SettingsInvalid),
        ("SSL error: certificate verify failed", SettingsInvalid),
        ('invalid port number: "99999"', SettingsInvalid),
        ("failed to resolve host 'nowhere'", Unavailable),
        ("connection timeout expired", Unavailable),
        ("FATAL:  das kennt niemand", Unavailable),
    ],
)
def test_connection_texts(text: str, kind: type[ConnectorError]) -> None:
    error = connect_error(psycopg.OperationalError(f"connection failed: {text}"), "database “d” on h:5432")
    assert type(error) is kind
    assert "database “d” on h:5432" in str(error)


@pytest.fixture
def raising(database: Database, schema: str) -> Iterator[PostgresqlTarget]:
    """A target whose table raises the SQLSTATE found in a record's name."""
    database.run(
        """
        CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE, name text);
        CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.name LIKE '_____' THEN
                RAISE EXCEPTION 'stopped' USING ERRCODE = NEW.name;
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER stop BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stop();
        """
    )
    with PostgresqlTarget(database.context(schema=schema)) as opened:
        yield opened


@pytest.mark.parametrize(("state", "code"), [("40P01", "deadlock_detected"), ("55P03", "lock_not_available")])
def test_a_locked_row_is_answered_alone(raising: PostgresqlTarget, state: str, code: str) -> None:
    frame = pl.DataFrame({"k": ["1", "2", "3"], "name": ["good", state, "good"]})
    answered = raising.write("t", frame, key="k").frame
    assert dict(answered.select("key", "code").iter_rows()) == {"1": None, "2": code, "3": None}


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("40001", Unavailable),
        ("57014", Unavailable),
        ("53100", Unavailable),
        ("53300", Unavailable),
        ("57P01", Unavailable),
        ("08006", Unavailable),
        ("58030", Unavailable),
        ("28000", AuthenticationFailed),
        ("42501", PermissionMissing),
        ("25006", PermissionMissing),
        ("3D000", SettingsInvalid),
        ("42P01", ContractChanged),
        ("XX000", ContractChanged),
    ],
)
def test_errors_that_blame_no_record_undo_the_whole_write(
    raising: PostgresqlTarget, database: Database, state: str, kind: type[ConnectorError]
) -> None:
    frame = pl.DataFrame({"k": ["1", "2", "3"], "name": ["good", state, "good"]})
    with pytest.raises(kind) as caught:
        raising.write("t", frame, key="k")
    assert isinstance(caught.value, RetryableError) == (kind is Unavailable)
    assert database.rows("SELECT count(*) FROM t") == [(0,)]
    assert raising.write("t", frame.head(1), key="k").frame["outcome"].to_list() == ["created"]


@pytest.mark.parametrize(
    ("state", "code"), [("P0001", "raise_exception"), ("23514", "check_violation"), ("MF042", "MF042")]
)
def test_errors_that_blame_a_record_reject_that_record(raising: PostgresqlTarget, state: str, code: str) -> None:
    frame = pl.DataFrame({"k": ["1", "2", "3"], "name": ["good", state, "good"]})
    result = raising.write("t", frame, key="k").frame
    assert result["outcome"].to_list() == ["created", "rejected", "created"]
    assert result["code"].to_list() == [None, code, None]
    assert result["message"].to_list()[1] == "t: the database refused the record: stopped"


def test_a_broken_connection_is_told_once_and_then_replaced(raising: PostgresqlTarget, database: Database) -> None:
    database.run(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        "CREATE TRIGGER die AFTER INSERT ON t FOR EACH ROW WHEN (NEW.name = 'die') EXECUTE FUNCTION die()"
    )
    good = pl.DataFrame({"k": ["1"], "name": ["good"]})
    raising.write("t", good, key="k")
    with pytest.raises(Unavailable):
        raising.write("t", pl.DataFrame({"k": ["2", "3"], "name": ["good", "die"]}), key="k")
    assert raising.write("t", good, key="k").frame["outcome"].to_list() == ["unchanged"]
    assert database.rows("SELECT k FROM t") == [("1",)]


def test_a_connection_lost_between_calls_is_replaced_silently(target: PostgresqlTarget, database: Database) -> None:
    target.check()
    database.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'migration-factory'"
    )
    assert target.check().account == database.where.database


def test_a_lock_that_stays_is_told_as_unavailable(raising: PostgresqlTarget, database: Database) -> None:
    raising.write("t", pl.DataFrame({"k": ["1"], "name": ["good"]}), key="k")
    with database.connection.transaction():
        database.run("SELECT FROM t FOR UPDATE")
        with connect(database.where) as waiting:
            waiting.execute("SET lock_timeout = '1ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
                waiting.execute("UPDATE " + str(raising.context.settings["schema"]) + ".t SET name = 'x'")
    assert isinstance(translate(caught.value, "database"), Unavailable)


def test_a_user_without_rights_is_told(database: Database, schema: str) -> None:
    database.run("CREATE TABLE locked (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text UNIQUE)")
    database.run(f"DROP ROLE IF EXISTS mf_nobody; CREATE ROLE mf_nobody; GRANT USAGE ON SCHEMA {schema} TO mf_nobody")
    try:
        with database.connection.transaction(force_rollback=True):
            database.run("SET LOCAL ROLE mf_nobody")
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
                database.rows("INSERT INTO locked (k) VALUES ('x') RETURNING id")
    finally:
        database.run("DROP OWNED BY mf_nobody; DROP ROLE mf_nobody")
    error = translate(caught.value, "database “d” on h:5432")
    assert isinstance(error, PermissionMissing)
    assert "permission denied for table locked" in str(error)


def test_conditions_have_the_manuals_names() -> None:
    assert condition(psycopg.errors.UniqueViolation()) == "unique_violation"
    assert condition(psycopg.errors.StringDataRightTruncation()) == "string_data_right_truncation"
    assert condition(psycopg.OperationalError()) == "connection_failure"


def test_a_value_psycopg_itself_refuses_blames_the_record() -> None:
    assert isinstance(translate(psycopg.DataError("PostgreSQL text fields cannot contain NUL"), "database"), Rejected)


def test_the_session_is_set_up_for_short_exact_statements(database: Database) -> None:
    with connect(database.where, application="mf-test", statement_seconds=7, lock_seconds=3) as connection:
        names = ("TimeZone", "statement_timeout", "lock_timeout", "application_name", "jit", "client_encoding")
        shown = [connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in names]
    assert shown == [("UTC",), ("7s",), ("3s",), ("mf-test",), ("off",), ("UTF8",)]
