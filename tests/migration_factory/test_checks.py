"""Each system check, provoked."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl
import pytest
from django.core.checks import CheckMessage
from django.core.checks import registry as django_checks
from django.db import connections
from django.db.utils import ConnectionHandler
from pytest_django.fixtures import Settings

from connectors import registry
from connectors.base import Connector, Source, Target
from connectors.errors import SettingsInvalid
from connectors.types import (
    Capabilities,
    Cursor,
    EntityInfo,
    EntitySchema,
    Identity,
    Page,
    Setting,
    SettingKind,
    WriteResult,
)
from migration_factory import checks


class Good(Source):
    slug = "good"
    label = "Good"
    capabilities = Capabilities(reads=True)
    settings = (
        Setting("base_url", "Address"),
        Setting("token_url", "Where tokens are made"),
        Setting("api_token", "Token", secret=True),
        Setting("region", "Region", kind=SettingKind.CHOICE, choices=(("eu", "Europe"),), default="eu"),
    )

    def check(self) -> Identity:
        return Identity("good")

    def entities(self) -> tuple[EntityInfo, ...]:
        return ()

    def describe(self, entity: str) -> EntitySchema:
        raise SettingsInvalid(f"There is no {entity}.")

    def read(
        self, entity: str, fields: Sequence[str], *, since: datetime | None = None, cursor: Cursor | None = None
    ) -> Iterator[Page]:
        yield Page(pl.DataFrame(), None)


class Unfinished(Target):
    slug = "good"
    label = ""
    capabilities = Capabilities()

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        return WriteResult(frame)


def with_settings(*settings: Setting) -> type[Connector]:
    return type("Changed", (Good,), {"settings": settings})


def ids(found: Sequence[CheckMessage]) -> list[str | None]:
    assert all(message.hint for message in found)
    return [message.id for message in found]


def test_the_settings_as_they_stand_pass() -> None:
    assert checks.check_worker_times() == []
    assert checks.check_key_ring() == []


def test_django_runs_every_check() -> None:
    known = django_checks.registry
    always = {str(check) for check in known.get_checks()}
    deploying = {str(check) for check in known.get_checks(include_deployment_checks=True)} - always
    ours = {str(check) for name, check in vars(checks).items() if name.startswith("check_")}
    assert len(ours) == 5
    assert ours <= always | deploying
    assert str(checks.check_embedded_database) in deploying


@pytest.mark.parametrize(
    ("cluster", "box", "expected"),
    [
        ({"timeout": 120, "retry": 120}, 20, ["migration_factory.E001"]),
        ({"timeout": 120}, 20, ["migration_factory.E001"]),
        ({"retry": 120}, 20, ["migration_factory.E001"]),
        ({"timeout": 20, "retry": 30}, 20, ["migration_factory.E002"]),
        ({"timeout": 120, "retry": 180}, 0, ["migration_factory.E002"]),
        ({"timeout": 10, "retry": 10}, 20, ["migration_factory.E001", "migration_factory.E002"]),
        ({"timeout": 21, "retry": 22}, 20, []),
    ],
)
def test_worker_times_stand_in_order(
    cluster: Mapping[str, int], box: int, expected: list[str], settings: Settings
) -> None:
    settings.Q_CLUSTER = cluster
    settings.MF_TIME_BOX_SECONDS = box
    assert ids(checks.check_worker_times()) == expected


@pytest.mark.parametrize(
    ("ring", "expected"),
    [
        ({}, ["migration_factory.E003"]),
        ({"k1": b"short"}, ["migration_factory.E004"]),
        ({"k1": "x" * 32}, ["migration_factory.E004"]),
        ({"K 1": bytes(32), "k2": bytes(32)}, ["migration_factory.E004"]),
    ],
)
def test_an_unusable_key_ring_is_an_error(ring: Mapping[str, object], expected: list[str], settings: Settings) -> None:
    settings.VAULT_KEYS = ring
    assert ids(checks.check_key_ring()) == expected


def offer(monkeypatch: pytest.MonkeyPatch, sources: Mapping[str, str], targets: Mapping[str, str]) -> None:
    monkeypatch.setattr(registry, "_paths", {"sources": sources, "targets": targets}.__getitem__)


def test_a_good_connector_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, {"good": f"{__name__}:Good"}, {})
    assert checks.check_connectors() == []


@pytest.mark.parametrize("path", ["connectors.nowhere:Source", "connectors.types:Nothing", "connectors.types:Setting"])
def test_a_connector_that_does_not_load_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, {"lost": path}, {"lost": path})
    found = checks.check_connectors()
    assert ids(found) == ["migration_factory.W001"] * 2
    assert "source connector “lost”" in found[0].msg
    assert "target connector “lost”" in found[1].msg


def test_two_packages_that_offer_one_connector_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def clash(kind: str) -> Mapping[str, str]:
        raise SettingsInvalid(f"The {kind[:-1]} connector “x” is offered twice: a and b.")

    monkeypatch.setattr(registry, "_paths", clash)
    assert ids(checks.check_connectors()) == ["migration_factory.W003"] * 2


def test_every_fault_of_a_connector_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, {}, {"other": f"{__name__}:Unfinished"})
    found = checks.check_connectors()
    assert ids(found) == ["migration_factory.W002"] * 4
    said = " ".join(message.msg for message in found)
    for fault in ("calls itself “good”", "has no label", "delete, describe", "says it cannot write"):
        assert fault in said


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ((Setting("a", "A"), Setting("a", "A")), "declares the setting “a” twice"),
        ((Setting("base url", "A"),), "“base url”, which is not lower_case_with_underscores"),
        ((Setting("a", ""),), "has no label for the setting “a”"),
        ((Setting("client_secret", "A"),), "does not flag the setting “client_secret” as secret"),
        ((Setting("apikey", "A"),), "does not flag the setting “apikey” as secret"),
        ((Setting("pin", "A", secret=True, default="0000"),), "has a default for the secret “pin”"),
        ((Setting("a", "A", kind=SettingKind.CHOICE),), "has a setting “a” without choices"),
        ((Setting("a", "A", kind=SettingKind.CHOICE, choices=(("x", "X"),), default="y"),), "none of them"),
    ],
)
def test_settings_of_a_connector_are_well_formed(settings: tuple[Setting, ...], fault: str) -> None:
    (found,) = checks.connector_faults(with_settings(*settings), "source", "good")
    assert fault in found


def test_capabilities_are_declared() -> None:
    silent = type("Silent", (Good,), {"capabilities": None})
    assert list(checks.connector_faults(silent, "source", "good")) == ["declares no capabilities"]


@pytest.mark.django_db
def test_the_database_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_database_version(databases=["default"]) == []
    assert checks.check_database_version(databases=None) == []
    monkeypatch.setattr(checks, "MINIMUM_POSTGRESQL", 99)
    found = checks.check_database_version(databases=["default"])
    assert ids(found) == ["migration_factory.E006"]
    assert "99 is the oldest" in found[0].msg


@pytest.mark.django_db
def test_a_database_out_of_reach_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {**connections.settings["default"], "HOST": "/nowhere"}
    monkeypatch.setattr(checks, "connections", ConnectionHandler({"default": nowhere}))
    found = checks.check_database_version(databases=["default"])
    assert ids(found) == ["migration_factory.E005"]
    assert "/nowhere" in found[0].msg


def test_a_deployment_on_the_embedded_database_is_warned(settings: Settings) -> None:
    settings.EMBEDDED_DATABASE = True
    assert ids(checks.check_embedded_database()) == ["migration_factory.W004"]
    settings.EMBEDDED_DATABASE = False
    assert checks.check_embedded_database() == []
