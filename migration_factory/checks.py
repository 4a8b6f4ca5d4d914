"""System checks: what must hold before the site or a worker starts, each with an id and what to do.

Errors stop every command. A connector that does not load is a warning: the work of the others goes on,
and ``make check`` fails on warnings.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name
from django.db import OperationalError, connections

from connectors import registry
from connectors.base import Connector
from connectors.errors import SettingsInvalid
from connectors.types import Capabilities, Setting, SettingKind
from migration_factory.first_run import KEY_BYTES, KEY_ID

MINIMUM_POSTGRESQL = 15

# What importing somebody's module may raise when the module is at fault.
BROKEN_MODULE = (ImportError, SyntaxError, AttributeError, NameError, TypeError, ValueError, SettingsInvalid)
SECRET_NAME = re.compile(r"(password|passphrase|secret|token|api_?key|private_?key|access_?key)$")
SETTING_NAME = re.compile(r"[a-z][a-z0-9_]*")


def register_all() -> None:
    """Called once, when Django's apps are ready."""
    register(check_worker_times)
    register(check_key_ring, Tags.security)
    register(check_connectors)
    register(check_database_version, Tags.database)
    register(check_embedded_database, Tags.security, deploy=True)


# --- Workers ---------------------------------------------------------------------------------------------------


def check_worker_times(**_: Any) -> list[CheckMessage]:
    """django-q2 runs a task twice at once where ``retry`` is not above ``timeout``, and kills a driver in the
    middle of its work where ``timeout`` is not above the time box."""
    retry, timeout = settings.Q_CLUSTER.get("retry"), settings.Q_CLUSTER.get("timeout")
    box = settings.MF_TIME_BOX_SECONDS
    found: list[CheckMessage] = []
    if not timeout or not retry or retry <= timeout:
        found.append(
            Error(
                f"Q_CLUSTER has retry {retry} and timeout {timeout}: a slow task would run twice at once.",
                hint="Set both, in seconds, with retry above timeout.",
                id="migration_factory.E001",
            )
        )
    if box <= 0 or (timeout and timeout <= box):
        found.append(
            Error(
                f"MF_TIME_BOX_SECONDS is {box} and Q_CLUSTER's timeout {timeout}: drivers would be killed at work.",
                hint="Set MF_TIME_BOX_SECONDS above 0 and well below Q_CLUSTER's timeout.",
                id="migration_factory.E002",
            )
        )
    return found


# --- Keys ------------------------------------------------------------------------------------------------------


def check_key_ring(**_: Any) -> list[CheckMessage]:
    ring = settings.VAULT_KEYS
    hint = "MF_VAULT_KEYS holds id:base64 entries between commas; .env.example says how to make one."
    if not ring:
        return [Error("The key ring that seals secrets is empty.", hint=hint, id="migration_factory.E003")]
    return [
        Error(f"The key “{key_id}” of the key ring is malformed.", hint=hint, id="migration_factory.E004")
        for key_id, key in ring.items()
        if not KEY_ID.fullmatch(key_id) or not isinstance(key, bytes) or len(key) != KEY_BYTES
    ]


# --- Connectors ------------------------------------------------------------------------------------------------


def check_connectors(**_: Any) -> list[CheckMessage]:
    """Every registered connector loads and declares itself well."""
    found: list[CheckMessage] = []
    kinds: tuple[tuple[str, Callable[[], tuple[str, ...]], Callable[[str], type[Connector]]], ...] = (
        ("source", registry.source_slugs, registry.source_class),
        ("target", registry.target_slugs, registry.target_class),
    )
    for kind, slugs, load in kinds:
        try:
            names = slugs()
        except SettingsInvalid as error:
            found.append(_connector_warning(str(error), "migration_factory.W003"))
            continue
        for slug in names:
            found.extend(_check_connector(kind, slug, load))
    return found


def _check_connector(kind: str, slug: str, load: Callable[[str], type[Connector]]) -> Iterator[CheckMessage]:
    try:
        connector = load(slug)
    except BROKEN_MODULE as error:
        yield _connector_warning(
            f"The {kind} connector “{slug}” does not load: {type(error).__name__}: {error}", "migration_factory.W001"
        )
        return
    for fault in connector_faults(connector, kind, slug):
        yield _connector_warning(f"The {kind} connector “{slug}” {fault}.", "migration_factory.W002")


def _connector_warning(text: str, check_id: str) -> CheckMessage:
    return Warning(text, hint="Mend the connector, or uninstall the package that offers it.", id=check_id)


def connector_faults(connector: type[Connector], kind: str, slug: str) -> Iterator[str]:
    """What is wrong with a connector's declarations, as ends of the sentence “The connector …”."""
    if getattr(connector, "slug", None) != slug:
        yield f"calls itself “{getattr(connector, 'slug', '')}”"
    if not getattr(connector, "label", ""):
        yield "has no label"
    if inspect.isabstract(connector):
        yield f"lacks the methods {', '.join(sorted(connector.__abstractmethods__))}"
    capabilities = getattr(connector, "capabilities", None)
    if not isinstance(capabilities, Capabilities):
        yield "declares no capabilities"
    elif not (capabilities.reads if kind == "source" else capabilities.writes):
        yield f"is a {kind} and says it cannot {'read' if kind == 'source' else 'write'}"
    names = [setting.name for setting in connector.settings]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"declares the setting “{name}” twice"
    for setting in connector.settings:
        yield from _setting_faults(setting)


def _setting_faults(setting: Setting) -> Iterator[str]:
    if not SETTING_NAME.fullmatch(setting.name):
        yield f"has a setting named “{setting.name}”, which is not lower_case_with_underscores"
    if not setting.label:
        yield f"has no label for the setting “{setting.name}”"
    if SECRET_NAME.search(setting.name) and not setting.secret:
        yield f"does not flag the setting “{setting.name}” as secret"
    if setting.secret and setting.default:
        yield f"has a default for the secret “{setting.name}”"
    if setting.kind == SettingKind.CHOICE:
        values = [value for value, _ in setting.choices]
        if not values or (setting.default and setting.default not in values):
            yield f"has a setting “{setting.name}” without choices, or with a default that is none of them"


# --- Database --------------------------------------------------------------------------------------------------


def check_database_version(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for alias in databases or ():
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
                version = cursor.fetchone()[0]
        except OperationalError as error:
            found.append(
                Error(
                    f"The database “{alias}” cannot be reached: {' '.join(str(error).split())}",
                    hint="Start it, or correct DATABASE_URL.",
                    id="migration_factory.E005",
                )
            )
            continue
        if version < MINIMUM_POSTGRESQL:
            found.append(
                Error(
                    f"The database “{alias}” is PostgreSQL {version}; {MINIMUM_POSTGRESQL} is the oldest we run on.",
                    hint="Upgrade the server, or unset DATABASE_URL to use the embedded one.",
                    id="migration_factory.E006",
                )
            )
    return found


def check_embedded_database(**_: Any) -> list[CheckMessage]:
    """Only with ``check --deploy``: the embedded server has no backup, no replica and no other host."""
    if not settings.EMBEDDED_DATABASE:
        return []
    return [
        Warning(
            "The data is in the embedded PostgreSQL, which is meant for one person's machine.",
            hint="Set DATABASE_URL to a PostgreSQL server that is backed up.",
            id="migration_factory.W004",
        )
    ]
