"""The rate budget on the org's page: what it says, what can be changed, what is refused."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from connectors.context import SystemClock
from orgs import services
from orgs.allowance import State, Terms, Why
from orgs.budget import SharedBudget
from orgs.budget_words import budget_rows, moment, sentence
from orgs.models import Org, OrgBudget
from orgs.quiet import QuietHours
from orgs.validation import EntryRefused
from tests.orgs.fakes import make_org, make_staff

NOW = datetime(2026, 11, 20, 22, 7, 30, 400_000, tzinfo=UTC)
FORM = {
    "requests": "100", "window_seconds": "10", "concurrency": "4", "requests_per_day": "5000", "reserve_percent": "30",
    "quiet_from": "08:00", "quiet_until": "18:00", "quiet_percent": "25", "time_zone": "Europe/Berlin",
}  # fmt: skip


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_staff("ann", "view_org", "change_org"))
    return client


def page_of(org: Org, name: str = "change") -> str:
    return reverse(f"admin:orgs_org_{name}", args=[org.pk])


@pytest.mark.django_db
def test_the_page_says_what_was_agreed_and_what_is_used(staff: Client) -> None:
    org = make_org()
    assert "no limit of our own" in staff.get(page_of(org)).content.decode()
    services.save_budget(org, {"requests_per_day": 12_000, "concurrency": 4})
    budget = SharedBudget(org, Terms(), clock=SystemClock())
    budget.acquire()
    budget.observe(remaining=9_000, limit=15_000, retry_after=None, daily=True)
    with budget.request():
        page = staff.get(page_of(org)).content.decode()
    for words in ("2 of 12,000 used", "1 of 4 under way", "8,999 left of 15,000; 20% are kept", "that is 3,000"):
        assert words in page


@pytest.mark.django_db
def test_a_person_agrees_on_a_budget(staff: Client) -> None:
    org = make_org()
    assert "Blank: the platform's default, no limit" in staff.get(page_of(org, "budget")).content.decode()
    answer = staff.post(page_of(org, "budget"), FORM)
    assert answer.headers["Location"] == page_of(org)
    quiet = QuietHours(time(8), time(18), "Europe/Berlin", 0.25)
    terms = Terms(requests=100, window=10, concurrency=4, per_day=5_000, reserve=0.3, quiet=quiet)
    assert services.budget_of(org).terms == terms
    page = staff.get(page_of(org)).content.decode()
    assert "100 requests per 10 seconds" in page
    assert "08:00 to 18:00 Europe/Berlin: 25% of the budget" in page
    assert "Changed the rate budget: Requests, Window" in LogEntry.objects.get().get_change_message()
    assert 'value="08:00"' in staff.get(page_of(org, "budget")).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"time_zone": "Mars/Olympus"}, "“Mars/Olympus” is not a time zone"),
        ({"quiet_until": ""}, "Quiet hours need both a beginning and an end."),
        ({"reserve_percent": "101"}, "less than or equal to 100"),
        ({"window_seconds": "0"}, "greater than or equal to 1"),
        ({"requests": "-1"}, "greater than or equal to 0"),
        ({"window_seconds": ""}, "This field is required."),
    ],
)
def test_a_refused_budget_says_why_and_changes_nothing(staff: Client, change: dict[str, str], sentence: str) -> None:
    org = make_org()
    answer = staff.post(page_of(org, "budget"), FORM | change)
    assert answer.status_code == 200
    assert sentence in answer.content.decode()
    assert not OrgBudget.objects.exists()


@pytest.mark.django_db
def test_the_service_keeps_the_rules_without_the_form() -> None:
    with pytest.raises(EntryRefused, match="is not a time zone"):
        services.save_budget(make_org(), {"time_zone": "Mars/Olympus"})


@pytest.mark.django_db
def test_who_may_not_change_orgs_cannot_change_a_budget(client: Client) -> None:
    org = make_org()
    client.force_login(make_staff("bob", "view_org"))
    assert page_of(org, "budget") not in client.get(page_of(org)).content.decode()
    assert client.post(page_of(org, "budget"), FORM).status_code == 403
    assert not OrgBudget.objects.exists()


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (Why.PAUSED, "Acme asked us to slow down: all workers wait until 22:07:33 UTC."),
        (Why.QUIET, "Acme has its quiet hours: nothing is sent until 22:07:33 UTC."),
        (Why.QUIET_SHARE, "Acme: the requests for its quiet hours are used; the others are kept until 22:07:33 UTC."),
        (Why.DAY, "Acme: 0 of 100 requests in 24 hours are used; more are free at 22:07:33 UTC."),
        (
            Why.RESERVE,
            (
                "Acme: 12,000 of 15,000 requests of today are used; "
                "the rest is kept for the customer's own users until 22:07:33 UTC."
            ),
        ),
        (Why.PLACES, "Acme is answering 4 requests at once, as many as agreed; one must end first."),
        (Why.WINDOW, "Acme is to get 1 request per second at most, as agreed; the next one at 22:07:33 UTC."),
    ],
)
def test_every_wait_has_its_sentence(why: Why, words: str) -> None:
    terms = Terms(requests=1, per_day=100, concurrency=4)
    state = State(quota_limit=15_000, quota_left=3_000, quota_credit=3_500)
    assert sentence("Acme", why, NOW + timedelta(seconds=2), NOW, terms=terms, state=state) == words


def test_an_end_is_never_told_too_early_and_has_its_day_where_that_is_another() -> None:
    assert moment(NOW + timedelta(minutes=62), NOW) == "23:10 UTC"
    assert moment(NOW + timedelta(hours=2), NOW) == "21 Nov, 00:08 UTC"
    assert moment(NOW.replace(minute=10, second=0, microsecond=0), NOW) == "22:10 UTC"


def test_a_pause_and_a_look_under_way_are_shown() -> None:
    state = State(quota_limit=100, quota_until=NOW, paused_until=NOW + timedelta(minutes=5))
    rows = dict(budget_rows(Terms(quiet=QuietHours(NOW.time(), NOW.time())), state, 0, NOW))
    assert rows["paused"] == "all workers wait until 22:13 UTC, as the system asked"
    assert rows["the system's own day"].startswith("being asked of 100")
    assert rows["quiet hours"].endswith("UTC: nothing is sent")
