"""Rotating keys: everything is found, sealed anew, read back, and nothing is lost on the way."""

import io
from collections import Counter
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from connectors.context import Secret, Token
from orgs import vault
from orgs.checks import binary_columns_are_known_to_rotation
from orgs.fields import SealedTextField
from orgs.files import OrgFiles
from orgs.models import Org
from orgs.sealing import SealBroken, SealedColumn, seal
from orgs.services import add_file, rotate_vault
from orgs.tokens import OrgTokens
from tests.orgs.fakes import CANARY, SECRETS, make_org

pytestmark = pytest.mark.django_db
OLD, NEW = {"old": b"1" * 32}, {"new": b"2" * 32}


@pytest.fixture
def sealed_under_old(settings: Settings) -> list[Org]:
    """Seven orgs with secrets, one of them with a token and a file, under a key that is not active any more."""
    settings.VAULT_KEYS = OLD
    orgs = [make_org(f"Org {number}", role="both") for number in range(7)]
    OrgTokens(orgs[0]).refresh(None, lambda _: Token(Secret("access")))
    add_file(orgs[0], "a.csv", io.BytesIO(b"id\n1\n"))
    settings.VAULT_KEYS = NEW | OLD
    return orgs


def usage() -> Counter[str]:
    return sum(vault.key_usage().values(), Counter[str]())


def test_every_sealed_field_and_registered_column_is_found() -> None:
    found = vault.sealed_columns()
    expected = {
        SealedColumn("orgs.Org", "secrets", "orgs.Org.secrets"),
        SealedColumn("orgs.Org", "token", "orgs.Org.token"),
        SealedColumn("orgs.OrgFilePart", "body", "orgs.OrgFilePart.body"),
    }
    assert expected <= set(found)
    fields = [field for model in apps.get_models() for field in model._meta.local_fields]
    sealed = {(each.model._meta.label, each.name) for each in fields if isinstance(each, SealedTextField)}
    assert sealed <= {(each.model, each.column) for each in found}


def test_rotation_seals_everything_anew_and_the_old_key_can_go(sealed_under_old: list[Org], settings: Settings) -> None:
    assert usage() == {"old": 9}
    assert rotate_vault(batch=2) == vault.Rotation(resealed=9, broken=0, examples=())
    assert usage() == {"new": 9}
    settings.VAULT_KEYS = NEW
    assert [Org.objects.get(pk=org.pk).open_secrets() for org in sealed_under_old] == [SECRETS] * 7
    token = OrgTokens(sealed_under_old[0]).load()
    assert token
    assert token.access.reveal() == "access"
    with OrgFiles(sealed_under_old[0]).open("a.csv") as stream:
        assert stream.read() == b"id\n1\n"
    assert rotate_vault().resealed == 0


def test_a_stopped_rotation_goes_on_where_it_was(sealed_under_old: list[Org], monkeypatch: pytest.MonkeyPatch) -> None:
    batches = vault._batches

    def stop_after_one(column: SealedColumn, batch: int) -> object:
        yield next(batches(column, batch))
        raise KeyboardInterrupt

    monkeypatch.setattr(vault, "_batches", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        rotate_vault(batch=3)
    monkeypatch.setattr(vault, "_batches", batches)
    assert usage() == {"old": 6, "new": 3}
    assert rotate_vault(batch=3).resealed == 6


def test_values_that_do_not_open_are_left_and_reported(sealed_under_old: list[Org]) -> None:
    broken = sealed_under_old[3]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE orgs_org SET secrets = set_byte(secrets, 30, get_byte(secrets, 30) # 1) WHERE id = %s", [broken.pk]
        )
    rotation = rotate_vault(batch=2)
    assert (rotation.resealed, rotation.broken) == (8, 1)
    assert rotation.examples[0].startswith(f"orgs.Org {broken.pk}: A value of orgs.Org.secrets was altered")
    assert usage() == {"old": 1, "new": 8}
    assert Org.objects.get(pk=sealed_under_old[6].pk).open_secrets() == SECRETS


def test_a_value_that_reads_back_differently_is_not_kept(
    sealed_under_old: list[Org], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orgs.vault.seal", lambda purpose, data: seal(purpose, data + b" "))
    with pytest.raises(SealBroken, match="reads back differently; nothing was changed"):
        rotate_vault(batch=2)
    assert usage() == {"old": 9}


def test_the_rotation_command(sealed_under_old: list[Org]) -> None:
    out = StringIO()
    call_command("rotate_vault", batch=4, stdout=out)
    assert out.getvalue() == "9 values sealed with the active key.\n"
    with pytest.raises(CommandError, match="at least 1"):
        call_command("rotate_vault", batch=0)


def test_the_rotation_command_fails_where_a_value_is_broken(sealed_under_old: list[Org], settings: Settings) -> None:
    settings.VAULT_KEYS = NEW
    with pytest.raises(CommandError, match=r"9 values could not be opened .*\n.*“old”, which is not in the key ring"):
        call_command("rotate_vault", stdout=StringIO())


def test_the_key_list_counts_and_shows_no_key(sealed_under_old: list[Org], settings: Settings) -> None:
    out = StringIO()
    call_command("vault_keys", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("new: fingerprint ")
    assert lines[0].endswith("seals and opens, 0 values")
    assert lines[1].endswith("opens, 9 values")
    assert "  orgs.Org.secrets: 7" in lines
    assert not [line for line in lines if "1" * 32 in line or "31" * 32 in line or CANARY in line]
    settings.VAULT_KEYS = NEW
    with pytest.raises(CommandError, match="Put back the keys that values are still sealed with: old"):
        call_command("vault_keys", stdout=out)
    assert "old: not in the ring, 9 values" in out.getvalue()


def test_a_binary_column_unknown_to_rotation_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    part = "orgs.OrgFilePart.body"
    assert part not in [str(each.obj) for each in binary_columns_are_known_to_rotation()]
    monkeypatch.setattr("orgs.sealing._registered", {})
    warned = {str(each.obj): each for each in binary_columns_are_known_to_rotation()}
    assert warned[part].id == "orgs.W001"
    assert warned[part].hint
