"""Who may open which page, and who may change what."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, reverse

from projects.models import Project
from runs import services
from runs.choices import RunState
from runs.models import Run
from tests import factories
from tests.fakes import World
from tests.runs.screens import VIEW, accounts, done, signed_in, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def finished(world: World, project: Project) -> Run:
    accounts(world, project)
    return done(project)


def pages(run: Run) -> dict[str, str]:
    """Every page that only shows something, by name."""
    record = [run.project_id, run.steps.get().object_id]
    return {
        "overview": reverse("admin:index"),
        "runs": reverse("admin:runs_run_changelist"),
        "run": reverse("admin:runs_run_change", args=[run.pk]),
        "progress": reverse("admin:runs_run_progress", args=[run.pk]),
        "events": reverse("admin:runs_run_events", args=[run.pk]),
        "workers": reverse("admin:runs_workerhost_changelist"),
        "find": reverse("records:find"),
        "records": reverse("records:list", args=[run.project_id]),
        "record": reverse("records:page", args=record) + "?id=A1",
        "target": reverse("records:target", args=record) + "?id=A0",
        "projects": reverse("admin:projects_project_changelist"),
        "project": reverse("admin:projects_project_change", args=[run.project_id]),
    }


def doings(run: Run) -> dict[str, str]:
    """Every address that changes something, by name."""
    return {
        "start": reverse("admin:runs_run_start", args=[run.project_id]),
        "pause": reverse("admin:runs_run_pause", args=[run.pk]),
        "resume": reverse("admin:runs_run_resume", args=[run.pk]),
        "cancel": reverse("admin:runs_run_cancel", args=[run.pk]),
        "objects": reverse("admin:projects_project_objects", args=[run.project_id]),
        "add": reverse("admin:projects_project_add"),
    }


def test_viewers_and_superusers_see_every_page(finished: Run) -> None:
    for client in (signed_in(*VIEW), signed_in(superuser=True)):
        for name, address in pages(finished).items():
            assert client.get(address).status_code == 200, name


def test_staff_without_permissions_see_none_but_an_empty_overview(finished: Run) -> None:
    nobody = signed_in()
    overview = text(nobody, reverse("admin:index"))
    assert "may not see runs" in overview
    assert finished.project.name not in overview
    for name, address in pages(finished).items():
        if name == "progress":
            assert nobody.get(address)["HX-Redirect"].startswith(reverse("admin:login"))
        elif name != "overview":
            assert nobody.get(address).status_code == 403, name


@pytest.mark.parametrize("who", ["anonymous", "not staff"])
def test_others_are_sent_to_the_login_page(finished: Run, who: str) -> None:
    client = Client() if who == "anonymous" else signed_in(*VIEW, "runs.control_run", staff=False)
    for name, address in (pages(finished) | doings(finished)).items():
        for answer in (client.get(address), client.post(address)):
            if name == "progress" and answer.status_code == 405:
                continue
            there = answer.get("HX-Redirect") or answer.get("Location", "")
            assert there.startswith(reverse("admin:login")), (name, answer.status_code)


def test_viewers_change_nothing_and_get_no_buttons(finished: Run) -> None:
    viewer = signed_in(*VIEW)
    for name, address in doings(finished).items():
        assert viewer.post(address).status_code == 403, name
    assert Run.objects.count() == 1
    Run.objects.filter(pk=finished.pk).update(state=RunState.RUNNING, finished_at=None)
    shown = text(viewer, pages(finished)["run"]) + text(viewer, pages(finished)["project"])
    for button in ("run-pause", "run-cancel", "run-resume", "Start run", "Choose objects"):
        assert button not in shown


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_buttons_work_by_post_only(finished: Run, name: str) -> None:
    assert signed_in(superuser=True).get(doings(finished)[name]).status_code == 405


def test_changes_need_the_csrf_token(finished: Run) -> None:
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(factories.user(superuser=True))
    for name, address in doings(finished).items():
        answer = guarded.post(address)
        assert answer.status_code == 403, name
        assert "The page was too old" in answer.content.decode()


@pytest.mark.parametrize("name", ["run", "events", "project", "records", "record"])
def test_what_does_not_exist_is_not_found(finished: Run, name: str) -> None:
    known = pages(finished)[name]
    number = finished.pk if name in {"run", "events"} else finished.project_id
    missing = known.replace(f"/{number}/", "/987654321/", 1)
    shown = text(signed_in(*VIEW), missing, status=404)
    assert "There is nothing here" in shown


def test_a_record_is_found_in_its_own_project_only(finished: Run) -> None:
    other = factories.project()
    step = finished.steps.get()
    address = reverse("records:page", args=[other.pk, step.object_id]) + "?id=A0"
    assert signed_in(superuser=True).get(address).status_code == 404
    address = pages(finished)["record"].replace("id=A1", "id=nobody")
    assert signed_in(superuser=True).get(address).status_code == 404
    assert signed_in(superuser=True).get(address.partition("?")[0]).status_code == 404


def test_contents_and_findings_need_their_own_permissions(finished: Run) -> None:
    limited = signed_in("projects.view_project", "runs.view_run", "runs.view_trackedrecord")
    record = text(limited, pages(finished)["record"])
    assert "Contents are not shown" in record
    assert "Account 1" not in record
    assert "may not see findings" in text(limited, pages(finished)["run"])
    assert limited.get(pages(finished)["target"]).status_code == 403


def test_mappings_are_for_those_who_may_see_them(finished: Run) -> None:
    assert '<th scope="col">Mapping</th>' not in text(signed_in(*VIEW), pages(finished)["project"])
    expert = signed_in(*VIEW, "projects.view_fieldmapping")
    assert '<th scope="col">Mapping</th>' in text(expert, pages(finished)["project"])
    assert signed_in(*VIEW).get(reverse("admin:projects_fieldmapping_changelist")).status_code == 403


def test_a_page_that_outlived_its_session_leads_to_the_login(finished: Run) -> None:
    answer = Client().get(pages(finished)["progress"])
    assert answer["HX-Redirect"] == f"{reverse('admin:login')}?next={pages(finished)['run']}"


def test_nothing_of_django_q_can_be_done_in_the_admin(finished: Run) -> None:
    """Its own pages run any function whose name a person types."""
    models = apps.get_app_config("django_q").get_models()
    assert not [model for model in models if admin.site.is_registered(model)]
    for action in ("changelist", "add", "change", "delete"):
        for model in ("ormq", "schedule", "success", "failure", "task"):
            with pytest.raises(NoReverseMatch):
                reverse(f"admin:django_q_{model}_{action}", args=[1] if action in {"change", "delete"} else [])
    assert signed_in(superuser=True).get("/admin/django_q/").status_code == 404
    assert not [name for name in get_resolver().reverse_dict if isinstance(name, str) and "django_q" in name]


def test_runs_and_hosts_are_not_added_changed_or_deleted_by_hand(finished: Run) -> None:
    boss = signed_in(superuser=True)
    for address in ("/admin/runs/run/add/", f"/admin/runs/run/{finished.pk}/delete/", "/admin/runs/workerhost/add/"):
        assert boss.get(address).status_code == 404
        assert boss.post(address).status_code == 404


def test_people_are_kept_by_those_who_may(finished: Run) -> None:
    assert signed_in(superuser=True).get("/admin/auth/user/").status_code == 200
    assert signed_in(*VIEW).get("/admin/auth/user/").status_code == 403


def test_the_menu_holds_what_a_person_may_open(finished: Run) -> None:
    viewer = text(signed_in(*VIEW), reverse("admin:index"))
    for name in ("Customers", "Orgs", "Projects", "Runs", "Records", "Workers"):
        assert f"<span>{name}</span>" in viewer
    assert "<span>People</span>" not in viewer
    assert "<span>Customers</span>" not in text(signed_in(), reverse("admin:index"))


def test_two_runs_are_never_started_at_once(world: World, project: Project) -> None:
    accounts(world, project)
    first = services.start_run(project)
    boss = signed_in(superuser=True)
    page = text(boss, reverse("admin:runs_run_start", args=[project.pk]))
    assert "Only one run of a project may be open" in page
    answer = boss.post(reverse("admin:runs_run_start", args=[project.pk]), follow=True)
    assert f"{first} of {project} is not finished" in answer.content.decode()
    assert Run.objects.count() == 1


def test_an_error_of_ours_shows_no_internals(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("the inner workings")

    monkeypatch.setattr("runs.views.briefly", break_down)
    client = signed_in(superuser=True)
    client.raise_request_exception = False
    shown = text(client, reverse("admin:runs_run_changelist"), status=500)
    assert "Something went wrong on our side" in shown
    assert "inner workings" not in shown
    assert "RuntimeError" not in shown
