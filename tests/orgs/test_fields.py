"""Sealed fields: the traps of the field package, closed."""

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import FieldError, ImproperlyConfigured, ValidationError
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.forms.models import fields_for_model, model_to_dict
from django.test.utils import isolate_apps

from orgs.fields import SealedMap, SealedText, SealedTextField
from orgs.models import Org
from orgs.sealing import SealBroken, seal
from tests.orgs.fakes import CANARY, SECRETS, make_org

pytestmark = pytest.mark.django_db
PURPOSE = "orgs.Org.secrets"


def stored(org: Org, column: str = "secrets") -> bytes:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM orgs_org WHERE id = %s", [org.pk])
        return bytes(cursor.fetchone()[0])


def write_raw(org: Org, column: str, value: bytes) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE orgs_org SET {column} = %s WHERE id = %s", [value, org.pk])


def test_a_row_holds_a_token_and_gives_back_the_secret() -> None:
    org = make_org()
    assert stored(org).startswith(b"mf1$")
    assert CANARY.encode() not in stored(org)
    assert Org.objects.get(pk=org.pk).open_secrets() == SECRETS


# --- Written through expressions ---------------------------------------------------------------------------
def test_bulk_update_keeps_the_secret() -> None:
    orgs = [make_org("One"), make_org("Two")]
    for number, org in enumerate(orgs):
        org.seal_secrets({"password": f"new {number}"})
    Org.objects.bulk_update(orgs, ["secrets"])
    assert [Org.objects.get(pk=org.pk).open_secrets() for org in orgs] == [{"password": "new 0"}, {"password": "new 1"}]


def test_bulk_update_to_nothing_forgets_the_secret() -> None:
    org = make_org()
    org.secrets = None
    Org.objects.bulk_update([org], ["secrets"])
    assert Org.objects.get(pk=org.pk).secrets is None


def test_bulk_create_and_update_with_a_sealed_value_work() -> None:
    org = make_org()
    box = SealedMap.seal(PURPOSE, {"password": "x"}, bound_to=str(org.public_id))
    Org.objects.filter(pk=org.pk).update(secrets=box)
    assert Org.objects.get(pk=org.pk).open_secrets() == {"password": "x"}
    second, third = (Org(customer=org.customer, name=name, platform="fake", role="source") for name in "ab")
    for each in (second, third):
        each.seal_secrets({"password": each.name})
    Org.objects.bulk_create([second, third])
    assert [Org.objects.get(name=name).open_secrets()["password"] for name in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    "expression", [F("token"), F("secrets"), F("name"), Value(CANARY), Value(CANARY.encode()), Concat("name", "role")]
)
def test_computed_values_are_refused_and_change_nothing(expression: Any) -> None:
    org = make_org()
    with pytest.raises(FieldError, match="sealed values only"), transaction.atomic():
        Org.objects.update(secrets=expression)
    assert Org.objects.get(pk=org.pk).open_secrets() == SECRETS


@pytest.mark.parametrize("plain", [CANARY, CANARY.encode(), {"password": CANARY}, 1])
def test_plain_values_are_refused_without_being_quoted(plain: Any) -> None:
    org = make_org()
    org.secrets = plain
    with pytest.raises(TypeError, match="takes a sealed value") as refused:
        org.save()
    assert CANARY not in str(refused.value)


def test_a_box_of_another_field_or_kind_is_refused() -> None:
    org = make_org()
    org.token = org.secrets
    refusal = r"sealed for orgs\.Org\.secrets cannot be stored in orgs\.Org\.token"
    with pytest.raises(ValueError, match=refusal), transaction.atomic():
        org.save()
    org = Org.objects.get(pk=org.pk)
    org.secrets = SealedText.seal(PURPOSE, "x", bound_to="x")  # type: ignore[assignment]  # the point of the test
    with pytest.raises(TypeError):
        org.save()


@pytest.mark.parametrize("column", ["secrets", "token"])
def test_the_database_refuses_what_is_not_a_token(column: str) -> None:
    org = make_org()
    with pytest.raises(IntegrityError, match=f"orgs_org_{column}_check"):
        write_raw(org, column, b"plain text")


def test_the_database_refuses_a_file_part_that_is_not_a_token() -> None:
    file = make_org().files.create(name="f", size=1, sha256="0" * 64)
    with pytest.raises(IntegrityError, match="orgs_orgfilepart_body_sealed"):
        file.parts.create(number=0, body=b"plain text")


# --- Tampering -----------------------------------------------------------------------------------------------
def test_an_altered_value_fails_when_it_is_opened() -> None:
    org = make_org()
    token = stored(org)
    write_raw(org, "secrets", token[:-1] + bytes([token[-1] ^ 1]))
    with pytest.raises(SealBroken, match="altered"):
        Org.objects.get(pk=org.pk).open_secrets()


def test_a_value_swapped_between_fields_fails() -> None:
    org = make_org()
    write_raw(org, "token", stored(org))
    with pytest.raises(SealBroken, match=r"orgs\.Org\.token was altered, moved"):
        Org.objects.get(pk=org.pk).open_token()


def test_a_value_swapped_between_rows_fails() -> None:
    mine, theirs = make_org("Mine"), make_org("Theirs")
    write_raw(mine, "secrets", stored(theirs))
    with pytest.raises(SealBroken, match="belongs to another row"):
        Org.objects.get(pk=mine.pk).open_secrets()


# --- Shown nowhere -------------------------------------------------------------------------------------------
def test_nothing_a_program_prints_of_an_org_holds_the_secret() -> None:
    org = Org.objects.get(pk=make_org().pk)
    copies = [copy.copy(org), copy.deepcopy(org), pickle.loads(pickle.dumps(org))]  # noqa: S301  our own bytes
    texts = [repr(org), str(vars(org)), str(org.secrets), f"{org.secrets!r}", repr(model_to_dict(org))]
    texts += [str(list(Org.objects.values())), pickle.dumps(org).decode("latin-1")]
    assert not [text for text in texts if CANARY in text]
    assert "secrets" not in model_to_dict(org)
    assert "secrets" not in fields_for_model(Org)
    assert [each.open_secrets() for each in copies] == [SECRETS] * 3


@pytest.mark.parametrize("form", ["json", "jsonl", "python", "xml", "yaml"])
def test_serializers_print_the_token_and_read_it_back(form: str) -> None:
    org = make_org()
    printed = serializers.serialize(form, [org])
    assert CANARY not in str(printed)
    [loaded] = serializers.deserialize(form, printed)
    loaded.save()
    assert Org.objects.get(pk=org.pk).open_secrets() == SECRETS


def test_dumpdata_and_loaddata_carry_tokens(tmp_path: Any, settings: Any) -> None:
    org = make_org()
    fixture = tmp_path / "orgs.json"
    call_command("dumpdata", "orgs", output=str(fixture))
    assert CANARY not in fixture.read_text()
    Org.objects.all().delete()
    call_command("loaddata", str(fixture), verbosity=0)
    assert Org.objects.get(pk=org.pk).open_secrets() == SECRETS
    settings.VAULT_KEYS = {"other": b"9" * 32}
    with pytest.raises(SealBroken, match="not in the key ring"):
        Org.objects.get(pk=org.pk).open_secrets()


@pytest.mark.parametrize("plain", [CANARY, "cGxhaW4=", {"password": CANARY}])
def test_a_fixture_with_plain_text_is_refused_without_being_quoted(plain: Any, tmp_path: Path) -> None:
    [entry] = json.loads(serializers.serialize("json", [make_org()]))
    entry["fields"]["secrets"] = plain
    fixture = tmp_path / "plain.json"
    fixture.write_text(json.dumps([entry]))
    with pytest.raises(TypeError, match="takes a sealed value") as refused:
        call_command("loaddata", str(fixture), verbosity=0)
    assert CANARY not in str(refused.value)


# --- Looked up by nothing ------------------------------------------------------------------------------------
@pytest.mark.parametrize("lookup", ["exact", "iexact", "in", "contains", "startswith", "gt", "regex", "range"])
def test_look_ups_are_refused(lookup: str) -> None:
    with pytest.raises(FieldError):
        Org.objects.filter(**{f"secrets__{lookup}": [CANARY, CANARY]}).count()


def test_isnull_works() -> None:
    make_org()
    assert Org.objects.filter(secrets__isnull=False, token__isnull=True).count() == 1
    assert Org.objects.filter(secrets__isnull=True).count() == 0


@pytest.mark.parametrize("option", ["primary_key", "unique", "db_index"])
def test_a_sealed_field_is_never_an_index(option: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        SealedTextField(**{option: True})


# --- The text field ------------------------------------------------------------------------------------------
@pytest.fixture
def note() -> Iterator[type[models.Model]]:
    with isolate_apps("orgs"):

        class Note(models.Model):
            text = SealedTextField(null=True)

            class Meta:
                app_label = "orgs"

            def __str__(self) -> str:
                return "note"

        with connection.schema_editor() as editor:
            editor.create_model(Note)
        yield Note


def test_a_text_field_of_any_model_is_sealed_and_checked(note: Any) -> None:
    note.objects.create(text=SealedText.seal("orgs.Note.text", "ünïcode ✓", bound_to="row 1"))
    row = note.objects.get()
    assert row.text.open(bound_to="row 1") == "ünïcode ✓"
    with pytest.raises(SealBroken, match="another row"):
        row.text.open(bound_to="row 2")
    with pytest.raises(DatabaseError, match="orgs_note_text_check"), connection.cursor() as cursor:
        cursor.execute("UPDATE orgs_note SET text = 'plain'")


def test_cleaning_takes_boxes_and_nothing_else() -> None:
    field: Any = Org._meta.get_field("secrets")
    box = SealedMap(PURPOSE, seal(PURPOSE, b"{}"))
    assert field.clean(box, None) is box
    with pytest.raises(ValidationError):
        field.clean(CANARY, None)
