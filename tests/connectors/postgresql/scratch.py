"""The scratch database of these tests, beside Django's on the test server."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from connectors.clients.postgresql import Address, Connection
from connectors.context import Context, Secret


def address(database: str) -> Address:
    server = settings.DATABASES["default"]
    return Address(
        host=server["HOST"] or "localhost",
        port=int(server["PORT"] or 5432),
        database=database,
        user=server["USER"],
        password=Secret(server["PASSWORD"] or ""),
    )


@dataclass(frozen=True)
class Database:
    """The scratch database, as its owner sees it."""

    where: Address
    connection: Connection

    def run(self, statement: str) -> None:
        self.connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def context(self, **changes: str) -> Context:
        password = changes.pop("password", self.where.password.reveal())
        known = {
            "host": self.where.host,
            "port": str(self.where.port),
            "database": self.where.database,
            "user": self.where.user,
        }
        return Context(settings=known | changes, secrets={"password": Secret(password)} if password else {})
