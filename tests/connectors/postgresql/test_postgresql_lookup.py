"""Look-ups that were planned while the table was next to empty."""

import pytest

from connectors.clients import postgresql_lookup
from connectors.clients.postgresql_lookup import planned_anew
from tests.connectors.postgresql.scratch import Database


@pytest.mark.parametrize("slow", [0, 1])
def test_a_look_up_that_takes_long_is_asked_again_without_hurry(
    database: Database, monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    monkeypatch.setattr(postgresql_lookup, "PATIENCE", "SET LOCAL statement_timeout = '10ms'")
    connection, limits = database.connection, []

    def ask() -> str:
        limits.append(str(connection.execute("SHOW statement_timeout").fetchone()))
        if len(limits) <= slow:
            connection.execute("SELECT pg_sleep(60)")
        return "found"

    with connection.transaction():
        before = str(connection.execute("SHOW statement_timeout").fetchone())
        assert planned_anew(connection, ask) == "found"
        assert str(connection.execute("SHOW statement_timeout").fetchone()) == before
    assert limits == ["('10ms',)", before][: slow + 1]
