"""Creating, changing, opening and checking orgs."""

import logging
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from pytest_django import Settings

from connectors.base import Connector
from connectors.context import LOOPBACK, Secret, Token
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    PermissionMissing,
    RateLimited,
    SettingsInvalid,
    Unavailable,
)
from connectors.files import FolderFiles
from connectors.types import Identity
from orgs.models import Customer, Org, OrgStatus, Role
from orgs.services import (
    add_file,
    allowed_folder,
    check_org,
    create_org,
    installed_connectors,
    open_source,
    open_target,
    rename_org,
    save_settings,
)
from orgs.validation import EntryRefused
from tests.orgs import fakes
from tests.orgs.fakes import CANARY, SECRETS, SETTINGS, FakeSource, FakeTarget, make_customer, make_org

pytestmark = pytest.mark.django_db


def break_seal(org: Org) -> Org:
    other = make_org("Another")
    Org.objects.filter(pk=org.pk).update(secrets=other.secrets)
    return Org.objects.get(pk=org.pk)


# --- Creating ------------------------------------------------------------------------------------------------
def test_a_new_org_is_not_checked_and_keeps_its_secrets_sealed() -> None:
    org = make_org()
    assert (org.status, org.checked_at, org.settings) == (OrgStatus.NEW, None, SETTINGS)
    assert org.open_secrets() == SECRETS


def test_every_problem_of_an_entry_is_told_at_once() -> None:
    with pytest.raises(EntryRefused) as refused:
        make_org(settings={"base_url": "x", "pause": "y"}, secrets={})
    assert set(refused.value.problems) == {"base_url", "pause", "password"}
    assert not Org.objects.exists()


@pytest.mark.parametrize(("platform", "role"), [("nowhere", "source"), ("shelf", "target"), ("shelf", "both")])
def test_a_platform_that_cannot_play_the_role_is_refused(platform: str, role: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"connector “{platform}”"):
        make_org(platform=platform, role=role)


@pytest.mark.parametrize("role", ["", "spectator"])
def test_a_role_that_does_not_exist_is_refused(role: str) -> None:
    with pytest.raises(EntryRefused):
        make_org(role=role, settings={}, secrets={})


def test_a_name_is_taken_once_per_customer() -> None:
    make_org("Main")
    with pytest.raises(EntryRefused, match="of that name already"):
        make_org(" MAIN ")
    other = make_org("Main", customer=make_customer("Other", "other"))
    assert other.name == "Main"


def test_renaming_keeps_the_rules() -> None:
    make_org("Main")
    second = make_org("Second")
    with pytest.raises(EntryRefused, match="of that name already"):
        rename_org(second, "main")
    with pytest.raises(EntryRefused):
        rename_org(second, "  ")
    assert rename_org(second, " Third ").name == "Third"


# --- The database's own rules ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"role": "other"}, "role_known"),
        ({"status": "fine", "status_reason": "x", "checked_at": timezone.now()}, "status_known"),
        ({"status": "error", "checked_at": timezone.now()}, "trouble_has_reason"),
        ({"status": "active"}, "checked_unless_new"),
        ({"name": ""}, "name_not_blank"),
        ({"platform": ""}, "platform_not_blank"),
    ],
)
def test_the_database_refuses_what_no_org_may_be(change: dict[str, object], constraint: str) -> None:
    org = make_org()
    with pytest.raises(IntegrityError, match=f"orgs_org_{constraint}"), transaction.atomic():
        Org.objects.filter(pk=org.pk).update(**change)


def test_the_database_refuses_a_second_org_of_a_name() -> None:
    make_org("Main")
    second = make_org("Second")
    with pytest.raises(IntegrityError, match="orgs_org_name_per_customer"), transaction.atomic():
        Org.objects.filter(pk=second.pk).update(name="MAIN")


@pytest.mark.parametrize("slug", ["", "Not a slug", "-a", "a_b"])
def test_the_database_refuses_slugs_that_are_none(slug: str) -> None:
    with pytest.raises(IntegrityError, match="orgs_customer_slug_form"), transaction.atomic():
        Customer.objects.create(name="x", slug=slug)


# --- Changing ------------------------------------------------------------------------------------------------
def test_a_change_forgets_the_token_and_asks_for_a_check() -> None:
    org = check_org(make_org())
    org.seal_token({"version": "1", "access": "a"})
    org.save()
    saved = save_settings(org, SETTINGS | {"region": "us"}, {"password": ""})
    assert (saved.status, saved.token, saved.credentials_version) == (OrgStatus.NEW, None, 2)
    assert saved.settings["region"] == "us"
    assert saved.open_secrets() == SECRETS


def test_saving_the_same_again_changes_nothing() -> None:
    org = check_org(make_org())
    saved = save_settings(org, SETTINGS, {})
    assert (saved.status, saved.credentials_version) == (OrgStatus.ACTIVE, 1)


def test_a_secret_is_replaced_or_cleared() -> None:
    org = make_org(secrets=SECRETS | {"private_key": "key"})
    assert save_settings(org, SETTINGS, {"password": "new"}).open_secrets() == {"password": "new", "private_key": "key"}
    assert save_settings(org, SETTINGS, {}, clear=["private_key"]).open_secrets() == {"password": "new"}


def test_a_refused_entry_changes_nothing() -> None:
    org = make_org()
    with pytest.raises(EntryRefused):
        save_settings(org, {"base_url": "x"}, {"password": "new"})
    assert Org.objects.get(pk=org.pk).open_secrets() == SECRETS


def test_a_broken_seal_is_mended_by_entering_everything_again() -> None:
    org = break_seal(make_org())
    with pytest.raises(EntryRefused, match="“Password” is required"):
        save_settings(org, SETTINGS, {})
    assert save_settings(org, SETTINGS, {"password": "new"}).open_secrets() == {"password": "new"}


# --- Opening -------------------------------------------------------------------------------------------------
def test_connectors_get_settings_and_secrets() -> None:
    org = make_org(role="both")
    with open_source(org) as source, open_target(org) as target:
        assert isinstance(source, FakeSource)
        assert isinstance(target, FakeTarget)
        assert source.context.require("base_url") == "https://fake.example"
        assert target.context.secret("password").reveal() == CANARY


def test_a_role_an_org_does_not_play_is_not_opened() -> None:
    with pytest.raises(SettingsInvalid, match="is not a target"):
        open_target(make_org(role="source"))
    with pytest.raises(SettingsInvalid, match="is not a source"):
        open_source(make_org("Other", role="target"))


def test_a_broken_seal_opens_nothing() -> None:
    with pytest.raises(SettingsInvalid, match=r"cannot be used\. A value of .* belongs to another row"):
        open_source(break_seal(make_org()))


def test_an_org_of_a_platform_that_is_gone_still_has_a_page() -> None:
    org = make_org()
    Org.objects.filter(pk=org.pk).update(platform="gone")
    assert installed_connectors(Org.objects.get(pk=org.pk)) == ()


def test_the_network_is_the_installations_to_decide(settings: Settings) -> None:
    org = make_org()
    settings.DEBUG = True
    assert open_source(org).context.network.allowed_networks == LOOPBACK
    settings.DEBUG = False
    assert open_source(org).context.network.allowed_networks == ()
    settings.MF_ALLOWED_NETWORKS, settings.MF_CA_FILE = ["10.0.0.0/8"], "/etc/ca.pem"
    network = open_source(org).context.network
    assert (network.allowed_networks, network.ca_file) == (("10.0.0.0/8",), "/etc/ca.pem")


# --- Local folders -------------------------------------------------------------------------------------------
def make_folder_org(folder: Path) -> Org:
    return create_org(
        customer=make_customer(),
        name="Folder",
        platform="shelf",
        role="source",
        settings={},
        secrets={},
        local_folder=folder,
    )


def test_a_local_folder_is_read_where_it_is_allowed(tmp_path: Path, settings: Settings) -> None:
    settings.MF_LOCAL_FOLDERS = True
    (tmp_path / "a.csv").write_text("id\n1\n")
    files = open_source(make_folder_org(tmp_path)).context.files
    assert isinstance(files, FolderFiles)
    assert files.names() == ["a.csv"]


def test_a_local_folder_needs_the_switch_when_made_and_when_opened(tmp_path: Path, settings: Settings) -> None:
    settings.MF_LOCAL_FOLDERS = True
    org = make_folder_org(tmp_path)
    settings.MF_LOCAL_FOLDERS = False
    with pytest.raises(SettingsInvalid, match="switched off"):
        open_source(org)
    del settings.MF_LOCAL_FOLDERS
    settings.DEBUG = False
    with pytest.raises(SettingsInvalid, match="switched off"):
        make_folder_org(tmp_path)


def test_a_local_folder_stays_below_the_allowed_roots(tmp_path: Path, settings: Settings) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    settings.MF_LOCAL_FOLDERS, settings.MF_LOCAL_FOLDER_ROOTS = True, [str(inside)]
    (inside / "link").symlink_to(outside)
    assert allowed_folder(inside) == inside.resolve()
    for folder in (outside, inside / ".." / "outside", inside / "link"):
        with pytest.raises(SettingsInvalid, match="outside the folders"):
            allowed_folder(folder)
    with pytest.raises(SettingsInvalid, match="There is no folder"):
        allowed_folder(inside / "missing")


# --- Checking ------------------------------------------------------------------------------------------------
def fail_with(error: ConnectorError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connector: Connector) -> Identity:
        raise error

    monkeypatch.setattr(fakes, "on_check", fail)


def test_a_good_check_stores_what_it_found() -> None:
    org = check_org(make_org(role="both"))
    assert (org.status, org.status_reason, org.account) == (OrgStatus.ACTIVE, "", "Fake Ltd")
    assert org.facts == {"edition": "Gold", "sandbox": False}
    assert org.limits == {"daily_calls": [1200, 15000]}
    assert org.capabilities["source"]["delta"] is True
    assert org.capabilities["target"]["writes"] is True
    assert org.checked_at is not None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AuthenticationFailed("The password is wrong."), OrgStatus.EXPIRED),
        (PermissionMissing("The user may not read accounts."), OrgStatus.ERROR),
        (SettingsInvalid("There is no such host."), OrgStatus.ERROR),
        (ContractChanged("The answer was no JSON."), OrgStatus.ERROR),
        (Unavailable("The system is down."), OrgStatus.ERROR),
        (RateLimited("Too many calls.", retry_after=3600), OrgStatus.ERROR),
    ],
)
def test_a_failed_check_stores_the_sentence(
    error: ConnectorError, status: OrgStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = check_org(make_org())
    fail_with(error, monkeypatch)
    failed = check_org(org)
    assert (failed.status, failed.status_reason) == (status, error.message)
    assert failed.account == "Fake Ltd"  # what was known before stays known


def test_a_later_good_check_clears_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    org = make_org()
    fail_with(Unavailable("The system is down."), monkeypatch)
    org = check_org(org)
    monkeypatch.setattr(fakes, "on_check", fakes.succeed)
    assert (check_org(org).status, check_org(org).status_reason) == (OrgStatus.ACTIVE, "")


def test_a_broken_seal_is_what_the_check_finds() -> None:
    org = check_org(break_seal(make_org()))
    assert org.status == OrgStatus.ERROR
    assert "belongs to another row" in org.status_reason


def test_a_check_of_settings_that_changed_meanwhile_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    org = make_org()

    def change_then_answer(connector: Connector) -> Identity:
        save_settings(org, SETTINGS | {"region": "us"}, {})
        return fakes.succeed(connector)

    monkeypatch.setattr(fakes, "on_check", change_then_answer)
    assert check_org(org).status == OrgStatus.NEW


def test_a_secret_in_an_error_is_masked(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fail_with(AuthenticationFailed(f"{CANARY} was refused.", detail=f"password={CANARY}"), monkeypatch)
    with caplog.at_level(logging.DEBUG):
        org = check_org(make_org())
    assert org.status_reason == "*** was refused."
    assert "was refused" in caplog.text
    assert CANARY not in caplog.text


def test_a_token_obtained_by_a_check_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def renew_then_answer(connector: Connector) -> Identity:
        connector.context.tokens.refresh(None, lambda _: Token(Secret("fresh")))
        return fakes.succeed(connector)

    monkeypatch.setattr(fakes, "on_check", renew_then_answer)
    org = check_org(make_org())
    assert org.open_token()["access"] == "fresh"


def test_roles_are_what_they_say() -> None:
    assert [(Org(role=role).reads, Org(role=role).writes) for role in Role.values] == [
        (True, False),
        (False, True),
        (True, True),
    ]


def test_files_of_an_org_reach_its_connector(tmp_path: Path) -> None:
    org = make_org(platform="shelf")
    (tmp_path / "a.csv").write_bytes(b"id\n1\n")
    with (tmp_path / "a.csv").open("rb") as stream:
        add_file(org, "a.csv", stream)
    with open_source(org) as source, source.context.files.open("a.csv") as read:
        assert read.read() == b"id\n1\n"
