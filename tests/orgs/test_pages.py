"""The pages of customers and orgs: what they show, take and refuse."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from connectors.base import Connector
from connectors.errors import AuthenticationFailed
from connectors.types import Identity
from orgs.models import Customer, Org, OrgStatus
from orgs.services import check_org
from tests.orgs import fakes
from tests.orgs.fakes import CANARY, CANARY_KEY, SECRETS, make_customer, make_org, make_staff

pytestmark = pytest.mark.django_db
EVERYTHING = ("view_org", "add_org", "change_org", "delete_org", "view_customer", "add_customer", "change_customer")
ADD = "/admin/orgs/org/add/"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_staff("ann", *EVERYTHING))
    return client


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def page_of(org: Org, name: str = "change") -> str:
    return reverse(f"admin:orgs_org_{name}", args=[org.pk])


def entry(**changes: object) -> dict[str, object]:
    return {
        "customer": make_customer().pk,
        "name": "Acme CRM",
        "setting-base_url": "https://fake.example",
        "setting-region": "eu",
        "secret-password": CANARY,
    } | changes


# --- Adding ----------------------------------------------------------------------------------------------------
def test_the_platform_is_chosen_first(staff: Client) -> None:
    chooser = text_of(staff, ADD)
    assert "Fake CRM" in chooser
    assert "Shelf of files" in chooser
    assert "setting-base_url" not in chooser
    assert "no target connector “shelf”" in text_of(staff, f"{ADD}?platform=shelf&role=target")
    form = text_of(staff, f"{ADD}?platform=fake&role=both")
    assert "setting-base_url" in form
    assert "secret-password" in form
    assert 'type="file"' not in form
    assert 'type="file"' in text_of(staff, f"{ADD}?platform=shelf&role=source")


def test_an_org_is_added_through_its_form(staff: Client) -> None:
    answer = staff.post(
        f"{ADD}?platform=fake&role=both", entry(**{"secret-private_key": CANARY_KEY.replace("\n", "\r\n")})
    )
    org = Org.objects.get()
    assert answer.headers["Location"] == page_of(org)
    assert (org.role, org.settings) == (
        "both",
        {"base_url": "https://fake.example", "region": "eu", "verbose": "false"},
    )
    assert org.open_secrets() == {"password": CANARY, "private_key": CANARY_KEY}
    assert LogEntry.objects.get().get_change_message() == "Added."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"setting-base_url": "nonsense"}, "“Address” is not an address such as https://example.com."),
        ({"setting-base_url": ""}, "“Address” is required."),
        ({"secret-password": ""}, "“Password” is required."),
        ({"setting-pause": "x"}, "“Pause” is not a number."),
        ({"name": ""}, "This field is required."),
        ({"customer": ""}, "This field is required."),
    ],
)
def test_a_refused_entry_says_why_and_shows_no_secret(staff: Client, change: dict[str, object], sentence: str) -> None:
    answer = staff.post(f"{ADD}?platform=fake&role=source", entry(**{"secret-private_key": CANARY_KEY}) | change)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert sentence in page
    assert not Org.objects.exists()
    for secret in (CANARY, "c4n4ry", "k3yl1ne"):
        assert secret not in page


def test_a_taken_name_is_told(staff: Client) -> None:
    make_org("acme crm")
    page = staff.post(f"{ADD}?platform=fake&role=source", entry()).content.decode()
    assert "This customer has an org of that name already." in page


def test_archived_customers_are_not_offered(staff: Client) -> None:
    customer = make_customer("Gone Ltd", "gone")
    assert "Gone Ltd" in text_of(staff, f"{ADD}?platform=fake&role=source")
    Customer.objects.filter(pk=customer.pk).update(archived_at="2026-01-01T00:00Z")
    assert "Gone Ltd" not in text_of(staff, f"{ADD}?platform=fake&role=source")


# --- Changing ----------------------------------------------------------------------------------------------------
def test_secrets_are_kept_when_left_blank_and_said_to_be_set(staff: Client) -> None:
    org = make_org(secrets=SECRETS | {"private_key": CANARY_KEY})
    form = text_of(staff, page_of(org, "settings"))
    assert form.count("Set: leave blank to keep it.") == 2
    assert "c4n4ry" not in form
    staff.post(
        page_of(org, "settings"), {"name": "New name", "setting-base_url": "https://b.example", "setting-region": "us"}
    )
    saved = Org.objects.get()
    assert (saved.name, saved.settings["base_url"]) == ("New name", "https://b.example")
    assert saved.open_secrets() == SECRETS | {"private_key": CANARY_KEY}


def test_an_optional_secret_is_cleared_on_demand_and_a_required_one_cannot_be(staff: Client) -> None:
    org = make_org(secrets=SECRETS | {"private_key": CANARY_KEY})
    form = text_of(staff, page_of(org, "settings"))
    assert "clear-private_key" in form
    assert "clear-password" not in form
    staff.post(
        page_of(org, "settings"),
        {"name": org.name, "setting-base_url": "https://a.example", "setting-region": "eu", "clear-private_key": "on"},
    )
    assert Org.objects.get().open_secrets() == SECRETS
    assert "Not set." in text_of(staff, page_of(org, "settings"))


def test_the_history_names_what_changed_and_no_value(staff: Client) -> None:
    org = make_org()
    staff.post(
        page_of(org, "settings"),
        {"name": org.name, "setting-base_url": "https://n.example", "setting-region": "eu", "secret-password": "n3w"},
    )
    history = text_of(staff, page_of(org, "history"))
    assert "Address, Password" in history
    assert "n3w" not in history
    assert "n.example" not in history


def test_a_broken_seal_is_told_and_the_form_still_opens(staff: Client) -> None:
    org, other = make_org(), make_org("Other")
    Org.objects.filter(pk=org.pk).update(secrets=other.secrets)
    form = text_of(staff, page_of(org, "settings"))
    assert "belongs to another row" in form
    assert "Not set." in form


def test_files_are_uploaded_listed_and_removed(staff: Client) -> None:
    org = make_org(platform="shelf")
    uploads = [SimpleUploadedFile("a.csv", b"id\n1\n"), SimpleUploadedFile("<b>.csv", b"id\n2\n")]
    staff.post(page_of(org, "settings"), {"name": org.name, "files": uploads})
    assert [file.name for file in org.files.all()] == ["<b>.csv", "a.csv"]
    page = text_of(staff, page_of(org))
    assert "a.csv" in page
    assert "<b>.csv" not in page
    file = org.files.get(name="a.csv")
    staff.post(reverse("admin:orgs_org_remove_file", args=[org.pk, file.pk]))
    assert [file.name for file in org.files.all()] == ["<b>.csv"]


def test_a_file_of_another_org_is_not_removed(staff: Client) -> None:
    mine, theirs = make_org("Mine", platform="shelf"), make_org("Theirs", platform="shelf")
    file = theirs.files.create(name="a", size=0, sha256="0" * 64)
    assert staff.post(reverse("admin:orgs_org_remove_file", args=[mine.pk, file.pk])).status_code == 404
    assert theirs.files.exists()


# --- Looking and checking ------------------------------------------------------------------------------------------
def test_lists_open_and_show_the_status(staff: Client) -> None:
    check_org(make_org())
    orgs = text_of(staff, "/admin/orgs/org/?q=acme")
    assert "Fake CRM" in orgs
    assert "Fake Ltd" in orgs
    assert "bg-green-100" in orgs
    assert "Acme" in text_of(staff, "/admin/orgs/customer/")
    assert "Acme" in text_of(staff, reverse("admin:orgs_customer_change", args=[make_customer().pk]))


def test_the_page_shows_what_a_check_found(staff: Client) -> None:
    org = make_org()
    assert "never checked" in text_of(staff, page_of(org))
    answer = staff.post(page_of(org, "check"), follow=True)
    page = answer.content.decode()
    for shown in ("Connected to Acme CRM as Fake Ltd.", "1,200 of 15,000 left (8 %)", "Gold", "no limit of its own"):
        assert shown in page


def test_a_failed_check_is_told_with_its_sentence(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connector: Connector) -> Identity:
        raise AuthenticationFailed("The password is wrong: enter it again.")

    monkeypatch.setattr(fakes, "on_check", fail)
    page = staff.post(page_of(make_org(), "check"), follow=True).content.decode()
    assert page.count("The password is wrong: enter it again.") == 2  # the message, and the page
    assert "Expired" in page


def test_a_page_of_a_platform_that_is_gone_still_opens(staff: Client) -> None:
    org = make_org()
    Org.objects.filter(pk=org.pk).update(platform="gone")
    assert "gone" in text_of(staff, page_of(org))


def test_hostile_names_are_shown_as_text(staff: Client) -> None:
    org = make_org("<script>alert(1)</script>")
    for address in (page_of(org), page_of(org, "settings"), "/admin/orgs/org/", page_of(org, "delete")):
        assert "<script>alert(1)" not in text_of(staff, address)


# --- Who may -----------------------------------------------------------------------------------------------------
def test_visible_to_is_the_gate() -> None:
    make_org()
    viewer, plain = make_staff("v", "view_org"), make_staff("p")
    outsider = make_staff("o", "view_org", is_staff=False)
    inactive = make_staff("i", "view_org")
    inactive.is_active = False
    root = User.objects.create(username="root", is_staff=True, is_superuser=True)
    seen = [Org.objects.visible_to(user).count() for user in (root, viewer, plain, outsider, inactive, AnonymousUser())]
    assert seen == [1, 1, 0, 0, 0, 0]
    assert Customer.objects.visible_to(viewer).count() == 0
    assert Org.objects.get_queryset().visible_to(viewer).filter(name="Acme CRM").count() == 1


@pytest.mark.parametrize("name", ["change", "settings", "check"])
def test_pages_refuse_whoever_lacks_the_permission(client: Client, name: str) -> None:
    org = make_org()
    address = page_of(org, name)
    send = client.post if name == "check" else client.get
    assert send(address).status_code == 302  # to the login page
    client.force_login(make_staff("p"))
    assert send(address).status_code == 403
    client.force_login(make_staff("v", "view_org"))
    assert send(address).status_code == (200 if name == "change" else 403)
    assert Org.objects.get().status == OrgStatus.NEW


def test_adding_needs_its_permission(client: Client) -> None:
    client.force_login(make_staff("v", "view_org", "change_org"))
    assert client.get(ADD).status_code == 403


@pytest.mark.parametrize("name", ["change", "settings"])
@pytest.mark.parametrize("object_id", ["0", "999999", "x", "٣"])
def test_an_org_that_is_not_there_is_not_found(staff: Client, name: str, object_id: str) -> None:
    make_org()
    assert staff.get(f"/admin/orgs/org/{object_id}/{name}/").status_code == 404


def test_checking_takes_a_post(staff: Client) -> None:
    assert staff.get(page_of(make_org(), "check")).status_code == 405


def test_deleting_an_org_asks_first(staff: Client) -> None:
    org = make_org()
    assert "Are you sure" in text_of(staff, page_of(org, "delete"))
    staff.post(page_of(org, "delete"), {"post": "yes"})
    assert not Org.objects.exists()
