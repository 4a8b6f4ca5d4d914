"""Everything that changes the state of customers and orgs, one transaction each."""

import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models.functions import Now

from connectors.base import Connector, Source, Target
from connectors.context import (
    LOOPBACK,
    Clock,
    Contents,
    Context,
    FileStore,
    IdMap,
    Journal,
    Network,
    Secret,
    SystemClock,
)
from connectors.errors import AuthenticationFailed, ConnectorError, InputInvalid, SettingsInvalid
from connectors.files import FolderFiles
from connectors.redaction import Redactor
from connectors.registry import source_class, target_class
from connectors.types import Identity
from orgs import budget_store, vault
from orgs.allowance import Terms, terms_of
from orgs.budget import SharedBudget
from orgs.budget_store import AGREED, Reading
from orgs.files import OrgFiles, checked_name, seal_part
from orgs.models import (
    FILE_PART_BYTES,
    MAX_FILE_BYTES,
    Customer,
    Org,
    OrgBudget,
    OrgFile,
    OrgFilePart,
    OrgStatus,
    Role,
)
from orgs.sealing import SealBroken
from orgs.tokens import OrgTokens
from orgs.validation import Entry, EntryRefused, declared_settings, plain_settings, problems_of, secret_settings

log = logging.getLogger(__name__)


# --- Creating and changing ------------------------------------------------------------------------------------
def connector_classes(platform: str, role: str) -> tuple[type[Connector], ...]:
    """The connectors an org of this platform and role is opened with, the source first.

    Raises SettingsInvalid where the platform cannot play the role.
    """
    classes: list[type[Connector]] = []
    if role in (Role.SOURCE, Role.BOTH):
        classes.append(source_class(platform))
    if role in (Role.TARGET, Role.BOTH):
        classes.append(target_class(platform))
    return tuple(classes)


def installed_connectors(org: Org) -> tuple[type[Connector], ...]:
    """The org's connectors; none where its platform is no longer installed, so that its page still opens."""
    try:
        return connector_classes(org.platform, org.role)
    except SettingsInvalid:
        return ()


def create_org(
    *,
    customer: Customer,
    name: str,
    platform: str,
    role: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    local_folder: Path | None = None,
) -> Org:
    """A new org, not checked yet. ``local_folder`` is for commands on this machine: where its files are.

    Raises EntryRefused with one sentence per problem, SettingsInvalid for the platform or the folder.
    """
    org = Org(customer=customer, name=name.strip(), platform=platform, role=role)
    org.local_folder = str(allowed_folder(local_folder)) if local_folder else ""
    _take_entry(org, Entry(settings, secrets), stored={})
    _save_checked(org)
    return org


@transaction.atomic
def save_settings(
    org: Org, settings: Mapping[str, str], secrets: Mapping[str, str], *, clear: Collection[str] = ()
) -> Org:
    """Replace the settings; a blank secret keeps the stored one, ``clear`` names those to forget.

    A change forgets the access token and asks for a new check. Raises EntryRefused.
    """
    org = Org.objects.select_for_update(no_key=True).get(pk=org.pk)
    stored = _openable_secrets(org)
    before = (org.settings, stored, org.secrets is None)
    _take_entry(org, Entry(settings, secrets, clear), stored)
    if before == (org.settings, org.open_secrets(), org.secrets is None):
        return org
    org.token = None
    org.credentials_version += 1
    org.status, org.status_reason = OrgStatus.NEW, ""
    org.save()
    return org


@transaction.atomic
def rename_org(org: Org, name: str) -> Org:
    """Give the org another name; raises EntryRefused where the customer has an org of that name."""
    org = Org.objects.select_for_update(no_key=True).get(pk=org.pk)
    org.name = name.strip()
    _save_checked(org)
    return org


@transaction.atomic
def submit_org(
    org: Org | None,
    *,
    customer: Customer | None,
    name: str,
    platform: str,
    role: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    clear: Collection[str] = (),
    files: Collection[tuple[str, BinaryIO]] = (),
) -> Org:
    """What a form about an org asks for, all of it or nothing: create (where ``org`` is None) or change,
    and store the files. Raises EntryRefused, InputInvalid for a file."""
    if org is None:
        if customer is None:
            raise EntryRefused({"": "Choose the customer this org belongs to."})
        org = create_org(customer=customer, name=name, platform=platform, role=role, settings=settings, secrets=secrets)
    else:
        org = save_settings(rename_org(org, name), settings, secrets, clear=clear)
    for file_name, stream in files:
        add_file(org, file_name, stream)
    return org


def _take_entry(org: Org, entry: Entry, stored: Mapping[str, str]) -> None:
    declared = declared_settings(connector_classes(org.platform, org.role))
    problems = problems_of(declared, entry, stored)
    if problems:
        raise EntryRefused(problems)
    org.settings = plain_settings(declared, entry)
    org.seal_secrets(secret_settings(entry, stored))


def _openable_secrets(org: Org) -> dict[str, str]:
    """The stored secrets; none where their seal is broken, so that a person can enter them again."""
    try:
        return org.open_secrets()
    except SealBroken:
        return {}


def _save_checked(org: Org) -> None:
    """Save where the row keeps every rule of the model; raises EntryRefused."""
    try:
        org.full_clean()
    except ValidationError as refused:
        raise EntryRefused({"": " ".join(_sentence(each) for each in refused.messages)}) from None
    org.save()


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


# --- Opening --------------------------------------------------------------------------------------------------
def open_source(org: Org, *, clock: Clock | None = None) -> Source:
    """The org's source connector, to be used as a context manager; raises SettingsInvalid."""
    if not org.reads:
        raise SettingsInvalid(f"{org.name} is not a source. Change its role or choose another org.")
    return source_class(org.platform)(context_of(org, clock))


def open_target(
    org: Org,
    *,
    journal: Journal | None = None,
    id_map: IdMap | None = None,
    clock: Clock | None = None,
    contents: Contents | None = None,
) -> Target:
    """The org's target connector, to be used as a context manager; raises SettingsInvalid.

    ``journal`` remembers across crashes what its writes began, ``id_map`` which records are ours that carry no key, and
    ``contents`` is where contents of files are read."""
    if not org.writes:
        raise SettingsInvalid(f"{org.name} is not a target. Change its role or choose another org.")
    context = context_of(org, clock)
    context = context if journal is None else replace(context, journal=journal)
    context = context if id_map is None else replace(context, id_map=id_map)
    return target_class(org.platform)(context if contents is None else replace(context, contents=contents))


def context_of(org: Org, clock: Clock | None = None) -> Context:
    """What the org's connectors are handed; raises SettingsInvalid where its secrets cannot be opened."""
    try:
        secrets = org.open_secrets()
    except SealBroken as broken:
        raise SettingsInvalid(f"The secrets of {org.name} cannot be used. {broken}") from None
    clock = clock or SystemClock()
    return Context(
        name=org.name,
        settings=dict(org.settings),
        secrets={name: Secret(value) for name, value in secrets.items()},
        budget=SharedBudget(org, default_terms(org), clock=clock),
        clock=clock,
        tokens=OrgTokens(org),
        files=_files(org),
        network=_network(),
        apart=partial(_context_apart, org, clock),
    )


@contextmanager
def _context_apart(org: Org, clock: Clock) -> Iterator[Context]:
    """The same for another thread: a budget is one thread's, and so is a database connection."""
    try:
        context = context_of(org, clock)
        try:
            yield context
        finally:
            context.budget.close()
    finally:
        connection.close()


def default_terms(org: Org) -> Terms:
    """What the org's platform allows by default: the least of what its connectors declare."""
    declared = [connector.capabilities for connector in installed_connectors(org)]
    rates = [each.requests_per_second for each in declared if each.requests_per_second]
    places = [each.concurrency for each in declared if each.concurrency]
    return terms_of(rates=rates, places=places)


def _files(org: Org) -> FileStore:
    return FolderFiles(allowed_folder(Path(org.local_folder))) if org.local_folder else OrgFiles(org)


def _network() -> Network:
    """What this installation may reach: ``MF_ALLOWED_NETWORKS`` (by default loopback while debugging) and
    ``MF_CA_FILE``."""
    local = LOOPBACK if django_settings.DEBUG else ()
    return Network(
        allowed_networks=tuple(getattr(django_settings, "MF_ALLOWED_NETWORKS", local)),
        ca_file=str(getattr(django_settings, "MF_CA_FILE", "")),
    )


def allowed_folder(folder: Path) -> Path:
    """The folder, resolved, where local folders are allowed and it lies below an allowed root.

    ``MF_LOCAL_FOLDERS`` (by default only while debugging) and ``MF_LOCAL_FOLDER_ROOTS`` (by default
    everything the server's user may read) decide; raises SettingsInvalid.
    """
    if not getattr(django_settings, "MF_LOCAL_FOLDERS", django_settings.DEBUG):
        raise SettingsInvalid(
            "Reading local folders is switched off here (MF_LOCAL_FOLDERS); upload the files instead."
        )
    resolved = folder.resolve()
    roots = [Path(root).resolve() for root in getattr(django_settings, "MF_LOCAL_FOLDER_ROOTS", ("/",))]
    if not any(resolved.is_relative_to(root) for root in roots):
        raise SettingsInvalid(f"The folder {resolved} is outside the folders that may be read (MF_LOCAL_FOLDER_ROOTS).")
    if not resolved.is_dir():
        raise SettingsInvalid(f"There is no folder {resolved}: check the path.")
    return resolved


# --- The rate budget ------------------------------------------------------------------------------------------
def budget_of(org: Org) -> Reading:
    """What was agreed for the org and where its budget stands now."""
    return budget_store.read(org.pk, default_terms(org))


@transaction.atomic
def save_budget(org: Org, agreed: Mapping[str, Any]) -> OrgBudget:
    """Agree on other limits, by column of ``OrgBudget``; raises EntryRefused.

    Whoever is computing with the old ones writes nothing: the version grows with the change.
    """
    budget_store.create(org.pk)
    budget = OrgBudget.objects.select_for_update().get(pk=org.pk)
    for name in AGREED:
        setattr(budget, name, agreed.get(name, getattr(budget, name)))
    budget.version += 1
    try:
        budget.full_clean()
    except ValidationError as refused:
        raise EntryRefused({name: " ".join(said) for name, said in refused.message_dict.items()}) from None
    budget.save(update_fields=[*AGREED, "version"])
    return budget


# --- Checking -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Finding:
    """What a check found; the names are those of the org's columns."""

    status: OrgStatus
    status_reason: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)


def check_org(org: Org) -> Org:
    """Open the org, ask who we are there, and store what came back; the org as stored.

    Connector errors end in the status and its reason. Nothing is stored where the settings changed
    meanwhile: the answer would be about the old ones.
    """
    finding = _examine(org)
    Org.objects.filter(pk=org.pk, credentials_version=org.credentials_version).update(
        status=finding.status, status_reason=finding.status_reason, checked_at=Now(), **finding.found
    )
    return Org.objects.get(pk=org.pk)


def _examine(org: Org) -> _Finding:
    try:
        return _probe(org)
    except ConnectorError as error:
        redact = redactor_of(Org.objects.get(pk=org.pk))
        log.warning("The check of org %s failed: %s %s", org.pk, redact(error.message), redact(error.detail))
        expired = isinstance(error, AuthenticationFailed)
        return _Finding(OrgStatus.EXPIRED if expired else OrgStatus.ERROR, redact(error.message))


def redactor_of(org: Org) -> Redactor:
    """The last net: connectors raise errors that are free of secrets already."""
    try:
        token = org.open_token()
    except SealBroken:
        token = {}
    tokens = [token[part] for part in ("access", "refresh") if part in token]
    return Redactor(Secret(value) for value in (*_openable_secrets(org).values(), *tokens))


def _probe(org: Org) -> _Finding:
    openers: list[tuple[str, Callable[[Org], Connector]]] = []
    if org.reads:
        openers.append((Role.SOURCE.value, open_source))
    if org.writes:
        openers.append((Role.TARGET.value, open_target))
    capabilities: dict[str, Any] = {}
    identity = Identity(account="")
    for role, opener in openers:
        with opener(org) as connector:
            identity = connector.check()
            capabilities[role] = _storable(asdict(connector.capabilities))
    return _Finding(
        OrgStatus.ACTIVE,
        found={
            "account": identity.account[:255],
            "capabilities": capabilities,
            "facts": dict(identity.facts),
            "limits": {name: list(pair) for name, pair in identity.limits.items()},
        },
    )


def _storable(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Capabilities as JSON has them: sets as sorted lists."""
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in declared.items()}


# --- Files ----------------------------------------------------------------------------------------------------
@transaction.atomic
def add_file(org: Org, name: str, stream: BinaryIO) -> OrgFile:
    """Store a file under its relative name, in place of an earlier one of that name; raises InputInvalid."""
    name = checked_name(name)
    OrgFile.objects.filter(org=org, name=name).delete()
    file = OrgFile.objects.create(org=org, name=name, size=0, sha256="0" * 64)
    digest = hashlib.sha256()
    for number in count():
        body = _read_fully(stream, FILE_PART_BYTES)
        if not body:
            break
        digest.update(body)
        file.size += len(body)
        if file.size > MAX_FILE_BYTES:
            raise InputInvalid(f"The file {name} is larger than {MAX_FILE_BYTES >> 20:,} MiB: split it.")
        OrgFilePart.objects.create(file=file, number=number, body=seal_part(file.public_id, number, body))
    file.sha256 = digest.hexdigest()
    file.save(update_fields=["size", "sha256"])
    return file


def _read_fully(stream: BinaryIO, wanted: int) -> bytes:
    """``wanted`` bytes, fewer only at the end: a raw stream may return less than it was asked for."""
    pieces: list[bytes] = []
    while wanted and (piece := stream.read(wanted)):
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces)


def remove_file(file: OrgFile) -> None:
    """Forget a file and its body."""
    file.delete()


# --- Keys -----------------------------------------------------------------------------------------------------
def rotate_vault(batch: int = 32) -> vault.Rotation:
    """Seal everything with the active key that is sealed with another; see ``orgs.vault``."""
    return vault.rotate(batch)
