"""Where a campaign takes place: a database server of its own, simulated systems, and a fault proxy before each.

Nothing here touches the installation's own database: the server, its data and the systems are gone afterwards.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from migration_factory import embedded, scratch
from migration_factory.embedded.place import ROLE, Place
from migration_factory.org_to_org import EXTERNAL_ID
from migration_factory.rehearsal import Reach, make_org
from migration_factory.torment import checker, companies, configuration, dataset
from migration_factory.torment.checker import Held
from migration_factory.torment.rest import Rest
from migration_factory.torment.scene import (
    REFUSED,
    Chance,
    Entities,
    Entity,
    Field,
    Kind,
    Policy,
    Row,
    Rows,
    differences,
    gone,
    visible,
)
from orgs import services as orgs
from orgs.models import Customer, Role
from projects import blueprints
from projects import services as projects
from projects.blueprints.payroll import PAYROLL
from projects.models import OnConflict, OnDelete, Project, ProjectObject
from sandbox.faults.proxy import HOST, Proxy, Upstream
from sandbox.salesforce import payroll
from sandbox.salesforce.payroll import Names, Size
from sandbox.salesforce.running import ControlClient, Ready, Running, running_simulator

DATASET = "dataset"
SOURCES = ("workbook", "salesforce", "payroll", DATASET)
TARGETS = ("postgresql", "salesforce")
SMALL_CHUNK = 250
"""Records of a chunk of a data set, which is small: more than one for an object, and more than one call brings."""
TARGET_DATABASE = "torment_target"
PASSWORD = "planted-password-5c0a"  # noqa: S105 - the server trusts everybody, so any will do: looked for in every output
PORTION = 3_000
"""Rows that a control request brings at most."""
RULE = "torment_refuses"
"""The target's own rule, by which it refuses records."""


class TormentRefused(Exception):
    """The campaign cannot be held here; the message is a sentence that says why."""


class Source(Protocol):
    """The system records come from, as the campaign fills it. ``asks`` says that it is asked for changes, and
    ``stamps`` that each record carries a stamp that changes with it."""

    asks: bool
    stamps: bool

    def put(self, before: Rows, now: Rows) -> None:
        """Bring the system from ``before`` to ``now``."""

    def id_of(self, key: str) -> str:
        """The id that the system has for a key of ours."""


class Target(Protocol):
    """The system records go to, as people work in it and the checker reads it."""

    def held(self) -> dict[str, Held]: ...

    def edit(self, entity: Entity, edits: Mapping[str, Row]) -> None:
        """Change fields of records, by their ids in the target."""

    def delete(self, entity: Entity, ids: Sequence[str]) -> None: ...

    def rule(self, entity: Entity) -> None:
        """From now on refuse what begins with a certain word in the entity's field for it."""

    def unrule(self, entity: Entity) -> None: ...


@dataclass
class FilesSource:
    """A folder of sObject trees."""

    folder: Path
    asks: bool = False
    stamps: bool = False

    def put(self, before: Rows, now: Rows) -> None:
        del before
        companies.write_trees(self.folder, now)

    def id_of(self, key: str) -> str:
        return key


@dataclass
class OrgSource:
    """A simulated org, filled by its control requests."""

    control: ControlClient
    entities: Entities
    record_types: Mapping[str, str] = field(default_factory=dict)
    """Developer name → id."""
    ids: dict[str, str] = field(default_factory=dict)
    """Our key → the org's id; a key that is none of ours (yet) names itself."""
    asks: bool = True
    stamps: bool = True

    def put(self, before: Rows, now: Rows) -> None:
        """New rows first without references, so that every id is known; then all that differs; then what is gone."""
        changes = differences(before, now)
        for entity, rows in changes.items():
            new = [key for key in rows if key not in self.ids]
            for some in _portions(new):
                added = self.control.upsert(entity, [self._body(entity, rows[key], linked=False) for key in some])
                self.ids.update(zip(some, added, strict=True))
        for entity, rows in changes.items():
            for some in _portions(list(rows)):
                bodies = [{"Id": self.ids[key], **self._body(entity, rows[key], linked=True)} for key in some]
                self.control.upsert(entity, bodies)
        for entity, keys in gone(before, now).items():
            if keys:
                self.control.delete(entity, [self.ids[key] for key in keys])

    def _body(self, entity: str, row: Row, *, linked: bool) -> dict[str, object]:
        body: dict[str, object] = {}
        for each in self.entities[entity].fields:
            value = row[each.name]
            match each.kind:
                case Kind.REFERENCE:
                    if linked or each.required:
                        body[each.name] = self.id_of(value) if value else None
                case Kind.RECORD_TYPE:
                    body[each.name] = self.record_types[value] if value else None
                case _:
                    body[each.name] = _stored(each, value)
        return body

    def id_of(self, key: str) -> str:
        return self.ids.get(key, key)


def _stored(each: Field, value: str | None) -> object:
    """A value as an org takes it."""
    match each.kind:
        case Kind.NUMBER if value is not None:
            return float(value) if each.digits else int(Decimal(value))
        case Kind.FLAG:
            return value == "true"
        case _:
            return value


def named(rows: Mapping[str, Mapping[str, Row]], source: Source, entities: Entities) -> dict[str, dict[str, Row]]:
    """The rows under the ids that the source gave them, and with references by those."""
    return {
        entity: {source.id_of(key): _renamed(entities[entity], visible(row), source) for key, row in of_it.items()}
        for entity, of_it in rows.items()
    }


def _renamed(entity: Entity, row: Row, source: Source) -> Row:
    return {**row, **{each.name: source.id_of(value) for each in entity.references if (value := row[each.name])}}


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), PORTION):
        yield keys[start : start + PORTION]


@dataclass(frozen=True)
class DatabaseTarget:
    dsn: str
    entities: Entities

    def held(self) -> dict[str, Held]:
        with psycopg.connect(self.dsn) as target:
            return checker.held_in_database(target, self.entities)

    def edit(self, entity: Entity, edits: Mapping[str, Row]) -> None:
        with psycopg.connect(self.dsn) as target:
            for target_id, values in edits.items():
                assigned = sql.SQL(", ").join(
                    sql.SQL("{} = %s").format(sql.Identifier(entity.field(name).there)) for name in values
                )
                target.execute(
                    sql.SQL("UPDATE {} SET {} WHERE id::text = %s").format(sql.Identifier(entity.there), assigned),
                    [*values.values(), target_id],
                )

    def delete(self, entity: Entity, ids: Sequence[str]) -> None:
        with psycopg.connect(self.dsn) as target:
            query = sql.SQL("DELETE FROM {} WHERE id::text = ANY(%s)").format(sql.Identifier(entity.there))
            target.execute(query, [list(ids)])

    def rule(self, entity: Entity) -> None:
        """Not for rows that are there: a rule that was lifted for a while left some."""
        self._alter(
            entity,
            sql.SQL("ADD CONSTRAINT {} CHECK ({} IS NULL OR {} NOT LIKE {}) NOT VALID").format(
                sql.Identifier(RULE),
                *[sql.Identifier(entity.field(entity.refusing).there)] * 2,
                sql.Literal(f"{REFUSED}%"),
            ),
        )

    def unrule(self, entity: Entity) -> None:
        self._alter(entity, sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(RULE)))

    def _alter(self, entity: Entity, change: sql.Composable) -> None:
        with psycopg.connect(self.dsn) as target:
            target.execute(sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(entity.there), change))


@dataclass(frozen=True)
class OrgTarget:
    ready: Ready
    control: ControlClient
    entities: Entities
    key: str

    def held(self) -> dict[str, Held]:
        ready = self.ready
        return checker.held_in_org(ready.url, ready.client_id, ready.client_secret, self.entities, self.key)

    def edit(self, entity: Entity, edits: Mapping[str, Row]) -> None:
        bodies = [
            {
                "Id": target_id,
                **{(found := entity.field(name)).there: _stored(found, value) for name, value in values.items()},
            }
            for target_id, values in edits.items()
        ]
        self.control.upsert(entity.there, bodies)

    def delete(self, entity: Entity, ids: Sequence[str]) -> None:
        self.control.delete(entity.there, ids)

    def rule(self, entity: Entity) -> None:
        field_name = entity.field(entity.refusing).there
        formula = f'BEGINS({field_name}, "{REFUSED}")'
        self.control.add_rule(entity.there, name=RULE, formula=formula, message="Refused by rule.", field=field_name)

    def unrule(self, entity: Entity) -> None:
        self.control.remove_rules(entity.there, RULE)


@dataclass(frozen=True)
class Laid:
    """The scene, and the two systems it takes place between.

    ``rows`` are what the source holds already, ``begun`` makes of them what it begins with, about so many records, and
    ``makes`` are the entities of which new records come to be later.
    """

    entities: Entities
    source: Source
    target: Target
    rows: Rows
    begun: Callable[[Chance, Rows, int], Rows]
    makes: Sequence[str]
    chunk: int = field(default_factory=lambda: int(settings.MF_CHUNK_RECORDS))


@dataclass
class Ground:
    """Everything a campaign harms and checks."""

    laid: Laid
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
    def entities(self) -> Entities:
        return self.laid.entities

    @property
    def source(self) -> Source:
        return self.laid.source

    @property
    def target(self) -> Target:
        return self.laid.target

    @property
    def ledger(self) -> str:
        """The ledger itself, past the proxy, as a libpq connection string."""
        return embedded.dsn(self.var)

    @property
    def url(self) -> str:
        """The workers' DATABASE_URL, which leads through the proxy."""
        return f"postgres://{ROLE}@{HOST}:{self.proxies['ledger'].port}/{embedded.DATABASE}"

    @property
    def mirror(self) -> bool:
        return self.reaches["target"].platform == "postgresql"

    def make_project(self) -> Project:
        """A project that moves what the source holds by now. Raises connector errors and ProjectInvalid."""
        customer = Customer.objects.create(name="Torment", slug="torment")
        from_org = make_org(customer, "Torment source", Role.SOURCE, self.reaches["source"])
        to_org = make_org(customer, "Torment target", Role.TARGET, self.reaches["target"])
        project = projects.create_project(customer, "Torment", source=from_org, target=to_org, mirror=self.mirror)
        with orgs.open_source(from_org) as source:
            if self.mirror:
                projects.adopt_entities(project, source, list(self.entities))
            else:
                with orgs.open_target(to_org) as target:
                    projects.adopt_like(
                        project, source, target, self._offered([each.name for each in source.entities()])
                    )
        if set(self.entities) == set(Names().objects):
            projects.use_blueprint(project, PAYROLL)
        for chosen in ProjectObject.objects.filter(project=project):
            entity = self.entities[chosen.source_entity]
            chosen.on_conflict = OnConflict.ASK
            chosen.on_delete = OnDelete.MIRROR if entity.mirrored else OnDelete.FLAG
            chosen.field_policies = {
                entity.field(name).there: str(policy)
                for name, policy in entity.edited.items()
                if policy is not Policy.ASK
            }
            chosen.save()
        return project

    def _offered(self, there: Sequence[str]) -> list[str]:
        """What an operator chooses: the packaged path's objects, as it offers them, or those of the scene."""
        if set(self.entities) == set(Names().objects):
            return [each.entity for each in blueprints.offered(PAYROLL, list(there))]
        return list(self.entities)

    def person(self) -> User:
        """Who decides and waives."""
        return User.objects.get_or_create(username="torment")[0]


@contextmanager
def laid_out(source: str, target: str, *, seed: int, data: Path | None = None) -> Iterator[Ground]:
    """Server and systems, set up, and empty but for what the scene begins with; ``data`` is the folder of a data set.
    Raises TormentRefused."""
    _check(source, target, data)
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
            laying.laid(source, target, data),
            laying.reaches,
            var,
            folder / "workers.log",
            laying.proxies,
            laying.controls,
            laying.secrets,
        )


def _check(source: str, target: str, data: Path | None) -> None:
    """Raises TormentRefused where there is no such scene."""
    if source in {"payroll", DATASET} and target != "salesforce":
        path = "The packaged path" if source == "payroll" else "A data set"
        raise TormentRefused(f"{path} leads from org to org: use --target salesforce.")
    if (data is not None) != (source == DATASET):
        raise TormentRefused("--data names the folder of a data set: give it with “dataset”, and with nothing else.")
    if data is not None and not ((data / "objects").is_dir() and (data / "data").is_dir()):
        raise TormentRefused(
            f"{data} is no data set: it needs a folder objects with metadata and one data with records."
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

    def laid(self, source: str, target: str, data: Path | None) -> Laid:
        if data is not None:
            return self._dataset(data)
        return self._packaged() if source == "payroll" else self._plain(source, target)

    def _plain(self, source: str, target: str) -> Laid:
        entities = companies.entities()
        if target == "postgresql":
            entities = {name: _lowered(entity) for name, entity in entities.items()}
        return Laid(
            entities,
            self._source(source, entities, stamps=target == "postgresql"),
            self._target(target, entities),
            rows={name: {} for name in entities},
            begun=lambda chance, _, records: companies.generated(chance, records),
            makes=list(entities),
        )

    def _packaged(self) -> Laid:
        """Two orgs: one has the payroll package and a configuration in it, the other its own copy of the objects."""
        source, to = (self._org(role) for role in ("source", "target"))
        payroll.install(source, Names())
        payroll.install(to, Names(namespaced=False))
        made = payroll.fill(source, Names(), Size(bad=configuration.BAD), seed=self.seed)
        entities, types = configuration.entities(made), payroll.record_types(source, Names())
        rows = configuration.rows(made, {type_id: name for name, type_id in types.items()})
        known = {key: key for of_it in rows.values() for key in of_it}
        return Laid(
            entities,
            OrgSource(source.control, entities, types, known, stamps=False),
            OrgTarget(to.ready, to.control, entities, Names(namespaced=False).external_id),
            rows,
            begun=lambda _, rows, __: rows,
            makes=configuration.MAKES,
        )

    def _dataset(self, data: Path) -> Laid:
        """Two orgs that know the data set's objects: one has its records, the other an external id on each object."""
        metadata = self.folder / "metadata"
        metadata.mkdir()
        (metadata / "objects").symlink_to((data / "objects").resolve())
        try:
            source, to = self._org("source", data), self._org("target", metadata)
            moved = _moved(data, source, to)
            org = Rest(source.url, source.ready.client_id, source.ready.client_secret)
            entities, rows = dataset.scene({name: org.describe(name) for name in moved}, source.control.dump)
        except (dataset.Unfit, RuntimeError) as unfit:
            raise TormentRefused(f"{data} cannot be moved: {unfit}") from unfit
        source.control.change_settings(query_page=SMALL_CHUNK)
        to.control.define(*({"fullName": name, "fields": [EXTERNAL_ID]} for name in entities))
        known = {key: key for of_it in rows.values() for key in of_it}
        return Laid(
            entities,
            OrgSource(source.control, entities, ids=known, stamps=False),
            OrgTarget(to.ready, to.control, entities, str(EXTERNAL_ID["fullName"])),
            rows,
            begun=lambda chance, rows, records: dataset.grown(chance, entities, rows, records),
            makes=list(entities),
            chunk=SMALL_CHUNK,
        )

    def _source(self, platform: str, entities: Entities, *, stamps: bool) -> Source:
        if platform == "salesforce":
            return OrgSource(self._company_org("source").control, entities, stamps=stamps)
        companies.write_metadata(self.folder / "source", with_key=False)
        self.reaches["source"] = Reach("workbook", folder=self.folder / "source")
        return FilesSource(self.folder / "source")

    def _target(self, platform: str, entities: Entities) -> Target:
        if platform == "salesforce":
            org = self._company_org("target")
            return OrgTarget(org.ready, org.control, entities, companies.KEY)
        scratch.create(TARGET_DATABASE)
        proxy = self.before_server("target")
        address = {"host": HOST, "port": str(proxy.port), "database": TARGET_DATABASE, "user": ROLE}
        self.reaches["target"] = Reach("postgresql", address, {"password": PASSWORD})
        return DatabaseTarget(embedded.dsn(self.var, TARGET_DATABASE), entities)

    def before_server(self, role: str) -> Proxy:
        """The server as this role reaches it, by a connection that can be harmed by itself."""
        return self._proxy(role, Upstream(path=Place.under(self.var).socket_file))

    def _company_org(self, role: str) -> Running:
        companies.write_metadata(self.folder / role, with_key=role == "target")
        return self._org(role, self.folder / role)

    def _org(self, role: str, data: Path | None = None) -> Running:
        org = self.stack.enter_context(running_simulator(data=data, seed=self.seed, process=True))
        proxy = self._proxy(role, Upstream(port=urlsplit(org.url).port or 0))
        self.controls[role] = org.control
        self.secrets += [org.ready.client_secret, org.ready.access_token]
        known = {"login_url": f"http://{HOST}:{proxy.port}", "client_id": org.ready.client_id}
        self.reaches[role] = Reach("salesforce", known, {"client_secret": org.ready.client_secret})
        return org

    def _proxy(self, role: str, upstream: Upstream) -> Proxy:
        self.proxies[role] = self.stack.enter_context(Proxy(upstream))
        return self.proxies[role]


def _moved(data: Path, source: Running, target: Running) -> list[str]:
    """What the folder describes, and what it brings records of: an org with the same objects lacks these."""
    described = {each.name for each in (data / "objects").iterdir() if each.is_dir()}
    counted = source.ready.records.items()
    return sorted(described | {name for name, count in counted if count > target.ready.records.get(name, 0)})


def _lowered(entity: Entity) -> Entity:
    """As a mirror names it."""
    fields = tuple(replace(each, twin=each.name.lower()) for each in entity.fields)
    return replace(entity, fields=fields, twin=entity.name.lower())


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
