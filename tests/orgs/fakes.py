"""Connectors whose check does what a test says, and factories for rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import polars as pl
from django.contrib.auth.models import Permission, User

from connectors.base import Connector, Source, Target
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
from orgs.models import Customer, Org
from orgs.services import create_org

CANARY = "c4n4ry-7h3-5ecret/with+odd&signs"
CANARY_KEY = "-----BEGIN PRIVATE KEY-----\nk3yl1nec4n4ry0ne\nk3yl1nec4n4rytw0\n-----END PRIVATE KEY-----\n"
SETTINGS = {"base_url": "https://fake.example", "region": "eu"}
SECRETS = {"password": CANARY}


def succeed(connector: Connector) -> Identity:
    return Identity("Fake Ltd", facts={"edition": "Gold", "sandbox": False}, limits={"daily_calls": (1200, 15000)})


on_check: Callable[[Connector], Identity] = succeed


class Fake:
    slug: ClassVar[str] = "fake"
    label: ClassVar[str] = "Fake CRM"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("base_url", "Address", kind=SettingKind.URL),
        Setting("region", "Region", kind=SettingKind.CHOICE, default="eu", choices=(("eu", "Europe"), ("us", "US"))),
        Setting("pause", "Pause", kind=SettingKind.NUMBER, required=False),
        Setting("verbose", "Verbose", kind=SettingKind.FLAG, required=False),
        Setting("notes", "Notes", kind=SettingKind.LONG_TEXT, required=False),
        Setting("password", "Password", secret=True),
        Setting("private_key", "Private key", kind=SettingKind.LONG_TEXT, secret=True, required=False),
    )


class FakeSource(Fake, Source):
    capabilities: ClassVar[Capabilities] = Capabilities(reads=True, delta=True)

    def check(self) -> Identity:
        return on_check(self)

    def entities(self) -> tuple[EntityInfo, ...]:
        return ()

    def describe(self, entity: str) -> EntitySchema:
        raise NotImplementedError

    def read(
        self, entity: str, fields: Sequence[str], *, since: datetime | None = None, cursor: Cursor | None = None
    ) -> Iterator[Page]:
        raise NotImplementedError


class Shelf(FakeSource):
    slug: ClassVar[str] = "shelf"
    label: ClassVar[str] = "Shelf of files"
    settings: ClassVar[tuple[Setting, ...]] = ()
    capabilities: ClassVar[Capabilities] = Capabilities(reads=True, files=True)


class FakeTarget(Fake, Target):
    capabilities: ClassVar[Capabilities] = Capabilities(writes=True)

    def check(self) -> Identity:
        return on_check(self)

    def entities(self) -> tuple[EntityInfo, ...]:
        return ()

    def describe(self, entity: str) -> EntitySchema:
        raise NotImplementedError

    def write(self, entity: str, frame: pl.DataFrame, *, key: str) -> WriteResult:
        raise NotImplementedError

    def fetch(self, entity: str, *, key: str, keys: Sequence[str], fields: Sequence[str]) -> pl.DataFrame:
        raise NotImplementedError

    def delete(self, entity: str, target_ids: Sequence[str]) -> WriteResult:
        raise NotImplementedError


def make_customer(name: str = "Acme", slug: str = "acme") -> Customer:
    return Customer.objects.get_or_create(slug=slug, defaults={"name": name})[0]


def make_org(name: str = "Acme CRM", *, platform: str = "fake", role: str = "source", **overrides: Any) -> Org:
    settings: Mapping[str, str] = overrides.get("settings", SETTINGS if platform == "fake" else {})
    secrets: Mapping[str, str] = overrides.get("secrets", SECRETS if platform == "fake" else {})
    customer = overrides.get("customer") or make_customer()
    return create_org(customer=customer, name=name, platform=platform, role=role, settings=settings, secrets=secrets)


def make_staff(username: str = "ann", *codenames: str, is_staff: bool = True) -> User:
    user = User.objects.create(username=username, is_staff=is_staff)  # no password: hashing one takes a second
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=user.pk)
