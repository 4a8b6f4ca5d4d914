"""What every test gets: a database server, and no way to the network or to real waiting by accident."""

import gc
import ipaddress
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, NoReturn
from urllib.parse import quote

import hypothesis
import psutil
import psycopg
import pytest
import zeep
from django.conf import settings
from django.core.management.commands import flush
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from psycopg import sql

from connectors import registry
from migration_factory import embedded
from tests.fakes import FAKE_SOURCES, FAKE_TARGETS, WORLDS, Connect, World

hypothesis.settings.register_profile("local", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

TESTS_VAR = settings.VAR_DIR / "tests"
TEST_PREFIX = "test_run_"


def pytest_configure() -> None:
    """Tests have a server of their own beside the person's: it may skip fsync, and nothing a test does to
    its server (load, kills, full connections) can reach a migration somebody has under way. A page of a source
    is a chunk, here and in the processes that tests start, so that few records make many of them. Passwords are
    hashed quickly: as slowly as a person's should be, they took a tenth of all tests' time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MF_CHUNK_RECORDS = 1
    os.environ["MF_CHUNK_RECORDS"] = "1"
    if settings.EMBEDDED_DATABASE:
        settings.DATABASES["default"]["HOST"] = embedded.settings(TESTS_VAR)["HOST"]
        try:
            embedded.ensure_running(TESTS_VAR, disposable=True)
        except embedded.DatabaseUnavailable as error:
            raise pytest.UsageError(str(error)) from error
        # Several runs at once (an editor beside a terminal) share the server, not the databases.
        run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
        settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"{TEST_PREFIX}{run}"
        if "PYTEST_XDIST_WORKER" not in os.environ:
            _drop_orphaned_databases()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let every worker begin with a share of the tests that take longest, so that none is left with one at the end.

    Worksteal gives each worker a slice of the list, and later what others have at the ends of theirs.
    """
    if "PYTEST_XDIST_WORKER_COUNT" not in os.environ:
        return
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    long = [item for item in items if item.get_closest_marker("long")]
    rest = [item for item in items if not item.get_closest_marker("long")]
    share = -(-len(rest) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*long[worker::workers], *rest[worker * share : (worker + 1) * share])
    ]


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: the collector of cycles need not go through all of it again and again,
    which took a twentieth of all tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, *gc.get_threshold()[1:])


def _drop_orphaned_databases() -> None:
    """Drop what killed runs left: test databases named after a process that is no more."""
    with psycopg.connect(embedded.dsn(TESTS_VAR), autocommit=True) as server:
        names = [name for (name,) in server.execute("SELECT datname FROM pg_database").fetchall()]
        for name in names:
            run = re.fullmatch(rf"{TEST_PREFIX}(\d+)(_gw\d+)?", name)
            if run and not psutil.pid_exists(int(run[1])):
                server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


_KEPT = frozenset({"django_content_type", "auth_permission"})
"""Made with the tables, and the same after every test."""
_PARTITIONS = """
    SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
     WHERE p.relkind = 'p' AND NOT p.relispartition"""
_PARTITIONED = "SELECT relname FROM pg_class WHERE relkind = 'p'"


def _sql_flush(ours: DatabaseOperations, _style: Any, tables: Sequence[str], **_: Any) -> list[str]:
    """Drop the partitions of the test's projects, and delete from the tables that hold something.

    Django truncates every table, which makes the files of each and of its indexes anew, and of all partitions that
    earlier tests left: half a second after the hundredth test. Then it makes content types and permissions again.
    """
    with ours.connection.cursor() as cursor:
        cursor.execute(_PARTITIONS)
        partitions = [name for (name,) in cursor.fetchall()]
        cursor.execute(_PARTITIONED)
        plain = set(tables) - {name for (name,) in cursor.fetchall()} - _KEPT
        asked = (f"SELECT '{table}' WHERE EXISTS (SELECT FROM {ours.quote_name(table)})" for table in sorted(plain))
        cursor.execute(" UNION ALL ".join(asked))
        filled = [name for (name,) in cursor.fetchall()]
    dropped = [f"DROP TABLE {', '.join(partitions)};"] if partitions else []
    return [*dropped, *(f"DELETE FROM {ours.quote_name(table)};" for table in filled)]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", _sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def read_once() -> Iterator[None]:
    """What is the same in every test, and asked for by hundreds of them: which packages bring connectors, and the WSDL
    that simple-salesforce has every client read anew, a third of a second each time."""
    client: Any = zeep.Client
    wsdls: dict[str, Any] = {}

    def client_with_wsdl(path: str, settings: Any) -> Any:
        made = client(wsdls.get(path, path), settings=settings)
        wsdls[path] = made.wsdl
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectors.registry.entry_points", cache(entry_points))
        patch.setattr("simple_salesforce.metadata.Client", client_with_wsdl)
        yield


@pytest.fixture
def only_connectors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    def known(sources: Mapping[str, str], targets: Mapping[str, str] = FAKE_TARGETS) -> None:
        monkeypatch.setattr(registry, "SOURCES", sources)
        monkeypatch.setattr(registry, "TARGETS", targets)
        registry._paths.cache_clear()

    yield known
    registry._paths.cache_clear()


@pytest.fixture
def world(only_connectors: Connect) -> Iterator[World]:
    """What “fake”, source and target, is about; the registry knows nothing else."""
    only_connectors(FAKE_SOURCES)
    WORLDS["world"] = World()
    yield WORLDS["world"]
    del WORLDS["world"]


@pytest.fixture
def database_url(transactional_db: None) -> str:
    """The test database as a DATABASE_URL, for the processes a test starts; what they see is committed."""
    entry = connection.settings_dict
    user, password, host, name = (quote(str(entry[key]), safe="") for key in ("USER", "PASSWORD", "HOST", "NAME"))
    if entry["HOST"].startswith("/"):
        return f"postgres://{user}:{password}@:{entry['PORT']}/{quote(entry['HOST'])}/{name}"
    return f"postgres://{user}:{password}@{host}:{entry['PORT'] or 5432}/{name}"


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a path: AF_UNIX
        return True
    host = address[0].partition("%")[0] if isinstance(address[0], str) else address[0]
    if host in {"localhost", "", None}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse(address: Any) -> NoReturn:
    pytest.fail(f"This test tried to reach {address!r}. Tests use loopback and simulators only.")


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Connections and name look-ups leave this machine in no test."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        return connect(self, address) if _is_local(address) else _refuse(address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        return connect_ex(self, address) if _is_local(address) else _refuse(address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return getaddrinfo(host, *args, **kwargs) if _is_local((name,)) else _refuse(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def no_sleeping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is done by a test's clock; only tests of real processes and browsers wait for real."""
    if {"processes", "browser"} & {mark.name for mark in request.node.iter_markers()}:
        return
    sleep = time.sleep

    def guarded_sleep(seconds: float) -> None:
        # subprocess waits for its child by sleeping; the child decides how long.
        if sys._getframe(1).f_globals.get("__name__") != "subprocess":
            pytest.fail(f"This test slept for {seconds} s. Pass a clock, or mark it “processes” or “browser”.")
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", guarded_sleep)
