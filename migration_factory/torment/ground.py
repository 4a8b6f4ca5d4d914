"""Where a campaign takes place: a database server of its own, simulated systems, and a fault proxy before each.

Nothing here touches the installation's own database: the server, its data and the systems are gone afterwards.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from migration_factory import embedded, scratch
from migration_factory.embedded.place import ROLE, Place
from migration_factory.rehearsal import Reach, make_org
from migration_factory.torment import checker, truth
from migration_factory.torment.checker import Held
from migration_factory.torment.truth import ENTITIES, KEY, Kind, Rows
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import services as projects
from projects.models import Project
from sandbox.faults.proxy import HOST, Proxy, Upstream
from sandbox.salesforce.running import ControlClient, Ready, Running, running_simulator

SOURCES = ("workbook", "salesforce")
TARGETS = ("postgresql", "salesforce")
TARGET_DATABASE = "torment_target"
PASSWORD = "planted-password-5c0a"  # noqa: S105 - the server trusts everybody, so any will do: looked for in every output
PLACES = 3
"""Rows that a control request brings at most, in thousands."""


class TormentRefused(Exception):
    """The campaign cannot be held here; the message is a sentence that says why."""


class Source(Protocol):
    """The system records come from, as the campaign fills it."""

    deltas: bool

    def put(self, before: Rows, now: Rows) -> None:
        """Bring the system from ``before`` to ``now``."""

    def named(self, rows: Rows) -> dict[str, dict[str, truth.Row]]:
        """The rows under the ids that the system gave them, and with references by those."""


class Target(Protocol):
    """The system records go to, as the checker reads it."""

    def held(self) -> dict[str, Held]: ...


@dataclass
class FilesSource:
    """A folder of sObject trees."""

    folder: Path
    deltas: bool = False

    def put(self, before: Rows, now: Rows) -> None:
        del before
        truth.write_trees(self.folder, now)

    def named(self, rows: Rows) -> dict[str, dict[str, truth.Row]]:
        return {entity: dict(of_it) for entity, of_it in rows.items()}


@dataclass
class OrgSource:
    """A simulated org, filled by its control requests."""

    control: ControlClient
    ids: dict[str, str] = field(default_factory=dict)
    """Our key → the org's id."""
    deltas: bool = True

    def put(self, before: Rows, now: Rows) -> None:
        """New rows first without references, so that every id is known; then all that differs."""
        changes = truth.differences(before, now)
        for entity, rows in changes.items():
            new = [key for key in rows if key not in self.ids]
            for some in _portions(new):
                added = self.control.upsert(entity, [self._body(entity, rows[key], linked=False) for key in some])
                self.ids.update(zip(some, added, strict=True))
        for entity, rows in changes.items():
            for some in _portions(list(rows)):
                bodies = [{"Id": self.ids[key], **self._body(entity, rows[key], linked=True)} for key in some]
                self.control.upsert(entity, bodies)

    def _body(self, entity: str, row: truth.Row, *, linked: bool) -> dict[str, object]:
        body: dict[str, object] = {}
        for each in ENTITIES[entity]:
            value = row[each.name]
            match each.kind:
                case Kind.REFERENCE:
                    if linked:
                        body[each.name] = self.ids[value] if value else None
                case Kind.NUMBER:
                    body[each.name] = None if value is None else float(value)
                case Kind.FLAG:
                    body[each.name] = value == "true"
                case _:
                    body[each.name] = value
        return body

    def named(self, rows: Rows) -> dict[str, dict[str, truth.Row]]:
        return {
            entity: {self.ids[key]: self._renamed(entity, row) for key, row in of_it.items()}
            for entity, of_it in rows.items()
        }

    def _renamed(self, entity: str, row: truth.Row) -> truth.Row:
        references = {each.name for each in ENTITIES[entity] if each.kind is Kind.REFERENCE}
        return {
            name: self.ids[value] if value is not None and name in references else value for name, value in row.items()
        }


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    size = PLACES * 1_000
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


@dataclass(frozen=True)
class DatabaseTarget:
    dsn: str

    def held(self) -> dict[str, Held]:
        with psycopg.connect(self.dsn) as target:
            return checker.held_in_database(target)


@dataclass(frozen=True)
class OrgTarget:
    ready: Ready

    def held(self) -> dict[str, Held]:
        return checker.held_in_org(self.ready.url, self.ready.client_id, self.ready.client_secret)


@dataclass
class Ground:
    """Everything a campaign harms and checks."""

    source: Source
    target: Target
    reaches: Mapping[str, Reach]
    var: Path
    """The embedded server's folder."""
    log: Path
    proxies: Mapping[str, Proxy]
    """``ledger`` and, by what they are, ``source`` and ``target``; a folder of files has none."""
    controls: Mapping[str, ControlClient]
    """The simulators' fault knobs, by the same names."""
    secrets: Sequence[str]

    @property
    def ledger(self) -> str:
        """The ledger itself, past the proxy, as a libpq connection string."""
        return embedded.dsn(self.var)

    @property
    def url(self) -> str:
        """The workers' DATABASE_URL, which leads through the proxy."""
        return f"postgres://{ROLE}@{HOST}:{self.proxies['ledger'].port}/{embedded.DATABASE}"

    def make_project(self) -> Project:
        """A project that moves what the source holds by now. Raises connector errors and ProjectInvalid."""
        customer = Customer.objects.create(name="Torment", slug="torment")
        from_org = make_org(customer, "Torment source", Role.SOURCE, self.reaches["source"])
        to_org = make_org(customer, "Torment target", Role.TARGET, self.reaches["target"])
        mirror = self.reaches["target"].platform == "postgresql"
        project = projects.create_project(customer, "Torment", source=from_org, target=to_org, mirror=mirror)
        with orgs.open_source(from_org) as source:
            if mirror:
                projects.adopt_entities(project, source, list(ENTITIES))
            else:
                with orgs.open_target(to_org) as target:
                    projects.adopt_like(project, source, target, list(ENTITIES), key=KEY)
        return project


@contextmanager
def laid_out(source: str, target: str, *, seed: int) -> Iterator[Ground]:
    """Server and systems, set up and empty. Raises TormentRefused."""
    if not settings.DEBUG:
        raise TormentRefused("A fault campaign runs on a developer's machine (DEBUG=true), never in a deployment.")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="mf-torment-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # the server runs as another user where we are root
        var = folder / "var"
        stack.callback(embedded.stop, var)
        embedded.ensure_running(var, disposable=True)
        stack.enter_context(_own_ledger(var))
        call_command("migrate", verbosity=0, interactive=False)
        laying = _Laying(stack, folder, var, seed)
        laying.before_server("ledger")
        yield Ground(
            laying.source(source),
            laying.target(target),
            laying.reaches,
            var,
            folder / "workers.log",
            laying.proxies,
            laying.controls,
            laying.secrets,
        )


@dataclass
class _Laying:
    """The systems, one after the other, and what there is to be noted of each."""

    stack: ExitStack
    folder: Path
    var: Path
    seed: int
    proxies: dict[str, Proxy] = field(default_factory=dict)
    controls: dict[str, ControlClient] = field(default_factory=dict)
    reaches: dict[str, Reach] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=lambda: [PASSWORD])

    def source(self, platform: str) -> Source:
        if platform == "salesforce":
            return OrgSource(self._org("source").control)
        truth.write_metadata(self.folder / "source", with_key=False)
        self.reaches["source"] = Reach("workbook", folder=self.folder / "source")
        return FilesSource(self.folder / "source")

    def target(self, platform: str) -> Target:
        if platform == "salesforce":
            return OrgTarget(self._org("target").ready)
        scratch.create(TARGET_DATABASE)
        proxy = self.before_server("target")
        address = {"host": HOST, "port": str(proxy.port), "database": TARGET_DATABASE, "user": ROLE}
        self.reaches["target"] = Reach("postgresql", address, {"password": PASSWORD})
        return DatabaseTarget(embedded.dsn(self.var, TARGET_DATABASE))

    def before_server(self, role: str) -> Proxy:
        """The server as this role reaches it, by a connection that can be harmed by itself."""
        return self._proxy(role, Upstream(path=Place.under(self.var).socket_file))

    def _org(self, role: str) -> Running:
        truth.write_metadata(self.folder / role, with_key=role == "target")
        org = self.stack.enter_context(running_simulator(data=self.folder / role, seed=self.seed, process=True))
        proxy = self._proxy(role, Upstream(port=urlsplit(org.url).port or 0))
        self.controls[role] = org.control
        self.secrets += [org.ready.client_secret, org.ready.access_token]
        known = {"login_url": f"http://{HOST}:{proxy.port}", "client_id": org.ready.client_id}
        self.reaches[role] = Reach("salesforce", known, {"client_secret": org.ready.client_secret})
        return org

    def _proxy(self, role: str, upstream: Upstream) -> Proxy:
        self.proxies[role] = self.stack.enter_context(Proxy(upstream))
        return self.proxies[role]


@contextmanager
def _own_ledger(var: Path) -> Iterator[None]:
    """This process works on the campaign's database for the duration, and on its own again afterwards."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update({key: embedded.settings(var)[key] for key in ("NAME", "USER", "HOST", "PORT")})
    connection.settings_dict["PASSWORD"] = ""
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)
