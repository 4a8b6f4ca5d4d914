"""Rolling back, trying again and bringing changes from the pages: what is shown, what is confirmed, who may."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse

from projects import services as projects
from projects.models import OnConflict, OnDelete, Project, ProjectObject
from projects.services import ProjectInvalid
from runs import ledger, previews, services
from runs.choices import RecordState, RunKind, RunState
from runs.ledger import Scope
from runs.models import Run, Step, TrackedRecord
from tests import factories
from tests.fakes import World, schema
from tests.runs.screens import VIEW, signed_in, text
from tests.runs.test_engine import ACCOUNTS, drive, family, tracked

pytestmark = pytest.mark.django_db
KEEPER = (*VIEW, "runs.control_run", "runs.rollback_run")


@pytest.fixture
def boss() -> Client:
    return signed_in(*KEEPER)


@pytest.fixture
def loaded(world: World, project: Project) -> Run:
    """Four accounts and five contacts, all created."""
    family(world, project)
    return drive(services.start_run(project))


@pytest.fixture
def troubled(world: World, project: Project) -> Run:
    """A3 and C1 were refused; A2 and C3 wait for A3. Whatever was wrong is fixed now."""
    family(world, project)
    world.refuse = lambda _, row: "No." if row.get("name") in {"Account 3", "C 1"} else None
    run = drive(services.start_run(project))
    world.refuse = lambda *_: None
    return run


def page_of(run: Run, name: str = "change") -> str:
    return reverse(f"admin:runs_run_{name}", args=[run.pk])


def of_project(project: Project, name: str) -> str:
    return reverse(f"admin:runs_run_{name}", args=[project.pk])


def code_in(shown: str) -> str:
    found = re.search(r'name="code" value="(\w+)"', shown)
    assert found
    return found[1]


def plain(shown: str) -> str:
    """The page's words without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown.partition("<main")[2]).replace("&nbsp;", " "))


def confirmed(boss: Client, run: Run) -> Run:
    """The rollback of the run as a person starts it, driven to its end."""
    boss.post(page_of(run, "rollback"), {"code": code_in(text(boss, page_of(run, "rollback")))})
    return drive(Run.objects.get(undoes=run, finished_at=None))


# --- Who may --------------------------------------------------------------------------------------------------
def doings(run: Run) -> dict[str, tuple[str, str]]:
    """Every new address that changes something, with the permission it needs."""
    return {
        "rollback": (page_of(run, "rollback"), "runs.rollback_run"),
        "delta": (of_project(run.project, "delta"), "runs.control_run"),
        "retry": (of_project(run.project, "retry"), "runs.control_run"),
    }


@pytest.mark.parametrize("name", ["rollback", "delta", "retry"])
def test_each_needs_its_permission(troubled: Run, name: str) -> None:
    address, permission = doings(troubled)[name]
    others = {"runs.rollback_run", "runs.control_run"} - {permission}
    without = signed_in(*VIEW, *others)
    assert without.post(address).status_code == 403
    assert without.get(address).status_code == 403
    for visitor in (Client(), signed_in(*KEEPER, staff=False)):
        assert visitor.get(address)["Location"].startswith(reverse("admin:login"))
        assert visitor.post(address)["Location"].startswith(reverse("admin:login"))
    assert Run.objects.count() == 1
    allowed = signed_in(*VIEW, permission)
    assert allowed.get(address).status_code == (405 if name == "retry" else 200)
    given = {"code": previews.preview(troubled).code} if name == "rollback" else {}
    assert Run.objects.count() == 1
    answer = allowed.post(address, given)
    started = Run.objects.latest("id")
    assert started.kind == name
    assert answer["Location"] == page_of(started)
    assert started.started_by is not None


@pytest.mark.parametrize("name", ["rollback", "delta", "retry"])
def test_each_needs_the_csrf_token_and_an_existing_row(troubled: Run, name: str) -> None:
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(factories.user(superuser=True))
    address, _ = doings(troubled)[name]
    assert guarded.post(address).status_code == 403
    number = troubled.pk if name == "rollback" else troubled.project_id
    missing = address.replace(f"/{number}/", "/987654321/", 1)
    assert signed_in(superuser=True).post(missing).status_code == 404


def test_buttons_are_for_those_who_may(troubled: Run) -> None:
    record = reverse("records:page", args=[troubled.project_id, project_object(troubled, "Contact").pk]) + "?id=C1"
    pages = [
        page_of(troubled),
        reverse("records:list", args=[troubled.project_id]),
        record,
        reverse("admin:projects_project_change", args=[troubled.project_id]),
    ]
    buttons = ("Roll back…", "Try all that is due again", "Try again", "Bring changes (delta)…")
    viewer, boss = signed_in(*VIEW), signed_in(*KEEPER)
    seen_by = {
        who: "".join(text(client, page) for page in pages) for who, client in (("viewer", viewer), ("boss", boss))
    }
    assert not [button for button in buttons if button in seen_by["viewer"]]
    assert not [button for button in buttons if button not in seen_by["boss"]]
    assert "Roll back…" not in text(signed_in(*VIEW, "runs.control_run"), page_of(troubled))
    assert "Roll back…" in text(signed_in(*VIEW, "runs.rollback_run"), page_of(troubled))


def project_object(run: Run, entity: str) -> ProjectObject:
    return run.project.project_objects.get(source_entity=entity)


# --- Rollback -------------------------------------------------------------------------------------------------
def test_a_rollback_is_previewed_confirmed_and_worded_as_one(loaded: Run, boss: Client, world: World) -> None:
    preview = text(boss, page_of(loaded, "rollback"))
    assert "9 records that the run created would be deleted and 0 that it changed" in plain(preview)
    assert preview.index(">contact ") < preview.index(">account ")
    assert re.search(r"\?id=C0", preview)
    assert "written later" not in preview
    world.rows["contact"]["C2"]["name"] = "Edited by hand"
    del world.rows["contact"]["C1"]
    run = confirmed(boss, loaded)
    shown = text(boss, page_of(run))
    words = plain(shown)
    assert f"Rollback of Run {loaded.pk}" in words
    assert re.search(r"Deleted 7 .*Restored 0 .*Deleted meanwhile 1 .*Conflicts 1", words)
    assert "9 gathered · 9 taken back" in words
    assert "Created" not in words
    assert "Loaded" not in words
    assert "c-deleted" in shown
    assert "state=rolled_back" in shown
    assert "state=conflict" in shown
    undone = text(boss, page_of(loaded))
    assert f'<a href="{page_of(run)}">{run}</a> took this run back but for some records' in undone
    listed = plain(text(boss, reverse("admin:runs_run_changelist")))
    assert f"Rollback of Run {loaded.pk}" in listed
    assert "1 conflict" in listed


def test_a_preview_that_is_old_is_not_carried_out(loaded: Run, boss: Client, world: World, project: Project) -> None:
    code = code_in(text(boss, page_of(loaded, "rollback")))
    world.records["Contact"][0]["Name"] = "Later"
    drive(services.start_run(project))
    answer = boss.post(page_of(loaded, "rollback"), {"code": code})
    shown = answer.content.decode()
    assert "has changed since it was shown" in shown
    assert "Of these, written later" in shown
    assert not Run.objects.filter(kind=RunKind.ROLLBACK).exists()
    assert boss.post(page_of(loaded, "rollback")).status_code == 200
    assert not Run.objects.filter(kind=RunKind.ROLLBACK).exists()
    boss.post(page_of(loaded, "rollback"), {"code": code_in(shown)})
    assert Run.objects.get(kind=RunKind.ROLLBACK).undoes == loaded


def test_the_preview_counts_what_was_taken_back_already(loaded: Run, boss: Client) -> None:
    confirmed(boss, loaded)
    seen = previews.preview(loaded)
    assert (seen.created, seen.later, seen.taken) == (9, 0, 9)
    assert "9 of these were taken back by an earlier rollback" in plain(text(boss, page_of(loaded, "rollback")))


def test_a_record_that_was_restored_is_the_earlier_runs_again(loaded: Run, boss: Client, world: World) -> None:
    world.records["Contact"][0]["Name"] = "Later"
    later = drive(services.start_run(loaded.project))
    assert previews.preview(loaded).later == 1
    restored = confirmed(boss, later)
    assert "state=rolled_back" not in text(boss, page_of(restored))
    seen = previews.preview(loaded)
    assert (seen.created, seen.later, seen.taken) == (9, 0, 0)
    confirmed(boss, loaded)
    assert not any(world.rows.values())


def test_what_waits_in_the_target_is_part_of_the_preview(troubled: Run) -> None:
    seen = previews.preview(troubled)
    assert [(stake.source, stake.created, stake.waiting) for stake in seen.stakes] == [
        ("Contact", 3, 1),
        ("Account", 2, 1),
    ]


@pytest.mark.parametrize("start", [services.start_delta, services.start_retry])
def test_deltas_and_retries_are_rolled_back_too(
    troubled: Run, boss: Client, world: World, start: Callable[[Project], Run]
) -> None:
    before = {name: set(rows) for name, rows in world.rows.items()}
    if start is services.start_delta:
        world.add(ACCOUNTS, {"Id": "A9", "Name": "Newcomer", "ParentId": None})
    run = drive(start(troubled.project))
    assert {name: set(rows) for name, rows in world.rows.items()} != before
    undone = confirmed(boss, run)
    assert undone.state == RunState.COMPLETED, undone.reason
    assert {name: set(rows) for name, rows in world.rows.items()} == before


def test_refusals_are_said_where_a_run_cannot_be_rolled_back(loaded: Run, boss: Client, world: World) -> None:
    run = confirmed(boss, loaded)
    said = boss.get(page_of(run, "rollback"), follow=True).content.decode()
    assert f"{run} is a rollback itself" in said
    assert "Roll back…" not in text(boss, page_of(run))
    empty = factories.run(loaded.project, state=RunState.COMPLETED)
    assert "Roll back…" not in text(boss, page_of(empty))
    assert "wrote nothing" in boss.post(page_of(empty, "rollback"), follow=True).content.decode()
    code = previews.preview(loaded).code
    other = services.start_run(loaded.project)
    assert f"Open {other}" in text(boss, page_of(loaded, "rollback"))
    said = boss.post(page_of(loaded, "rollback"), {"code": code}, follow=True).content.decode()
    assert f"{other} of {loaded.project} is not finished" in said
    assert "Roll back…" not in text(boss, page_of(other))


@pytest.mark.parametrize("state", sorted(RunState.values))
def test_a_rollback_has_a_page_in_every_state(loaded: Run, boss: Client, state: str) -> None:
    run = factories.run(loaded.project, kind=RunKind.ROLLBACK, undoes=loaded, state=state, reason="Why.")
    assert f"Rollback of Run {loaded.pk}" in plain(text(boss, page_of(run)))
    step = loaded.steps.get(object=project_object(loaded, "Contact"))
    step.pk, step.run = None, run
    step.read, step.extracted_at = 5, None
    step.save()
    words = plain(text(boss, page_of(run)))
    assert "gathering" in words
    assert "loading" not in words
    assert str(run) in plain(text(boss, page_of(loaded)))


# --- Conflicts and records that were taken back ---------------------------------------------------------------
def test_a_conflict_of_a_rollback_shows_both_values(loaded: Run, boss: Client, world: World) -> None:
    world.rows["contact"]["C2"]["name"] = "Edited by hand"
    confirmed(boss, loaded)
    listed = text(boss, reverse("records:list", args=[loaded.project_id]) + "?state=conflict")
    assert re.findall(r"\?id=(\w+)", listed) == ["C2"]
    address = reverse("records:page", args=[loaded.project_id, project_object(loaded, "Contact").pk])
    words = plain(text(boss, f"{address}?id=C2"))
    assert "name: we wrote C 2, the target holds Edited by hand." in words
    assert "Somebody changed the record in the target since" in words
    words = plain(text(boss, f"{address}?id=C0"))
    assert "It was taken out of" in words
    assert "rollback" in words
    asked = text(
        boss, f"{reverse('records:target', args=[loaded.project_id, project_object(loaded, 'Contact').pk])}?id=C2"
    )
    assert "Edited by hand" in asked


def test_a_conflict_of_a_load_is_counted_and_listed(loaded: Run, boss: Client, world: World) -> None:
    world.rows["contact"]["C2"]["name"] = "Edited by hand"
    world.records["Contact"][2]["Name"] = "Changed in the source"
    run = drive(services.start_run(loaded.project))
    shown = text(boss, page_of(run))
    chosen = project_object(loaded, "Contact")
    assert f"?object={chosen.pk}&amp;state=conflict" in shown
    assert run.reason == "9 records done; 1 in conflict."
    listed = reverse("admin:runs_conflict_list", args=[loaded.project_id])
    assert listed not in shown  # one needs the permission to see conflicts
    assert listed in text(signed_in(*VIEW, "runs.view_conflict"), page_of(run))
    record = text(boss, reverse("records:page", args=[loaded.project_id, chosen.pk]) + "?id=C2")
    assert "Changed in the source and edited in the target since we wrote it: name." in record


def test_a_record_is_looked_up_while_a_rollback_has_it_in_hand(loaded: Run, boss: Client) -> None:
    run = factories.run(loaded.project, kind=RunKind.ROLLBACK, undoes=loaded, state=RunState.RUNNING)
    step = loaded.steps.first()
    assert step
    step.pk, step.run = None, run
    step.save()
    factories.chunk(Step.objects.get(pk=step.pk), [{"source_id": "X1", "key": "x"}])
    assert "X1" in text(boss, reverse("records:find") + "?q=X1")


# --- Retry ----------------------------------------------------------------------------------------------------
def retried(client: Client, run: Run, **choice: object) -> Run:
    client.post(of_project(run.project, "retry"), choice)
    return Run.objects.get(kind=RunKind.RETRY)


def test_what_is_due_is_tried_again_from_the_run_page(troubled: Run, boss: Client) -> None:
    shown = text(boss, page_of(troubled))
    assert "Try all that is due again" in shown
    assert "what was refused for refused" in shown
    run = drive(retried(boss, troubled))
    assert Scope.of(run.scope) == Scope()
    assert "Retry of all that was due" in plain(text(boss, page_of(run)))
    assert "run-retry" not in text(boss, page_of(troubled))


@pytest.mark.parametrize(
    ("choice", "scope", "told"),
    [
        ({"code": "refused"}, Scope(codes=("refused",)), "cause refused"),
        ({"object": "Contact"}, Scope(objects=(0,)), "1 object"),
        ({"state": "rejected"}, Scope(codes=("refused",)), "cause refused"),
        ({"state": "deferred", "object": "Contact"}, Scope((0,), ("waiting",)), "cause waiting of 1 object"),
        ({"object": "Contact", "id": "C1"}, Scope((0,), (), ("C1",)), "record C1 of 1 object"),
    ],
)
def test_a_retry_is_limited_as_the_page_says(
    troubled: Run, boss: Client, choice: dict[str, str], scope: Scope, told: str
) -> None:
    """Object 0 stands for the contacts."""
    contacts = project_object(troubled, "Contact").pk
    given = choice | ({"object": str(contacts)} if "object" in choice else {})
    run = retried(boss, troubled, **given)
    assert Scope.of(run.scope) == replace(scope, objects=(contacts,) if scope.objects else ())
    assert f"Retry of {told} " in plain(text(boss, reverse("admin:runs_run_changelist")))


def test_one_record_is_tried_again_from_its_page(troubled: Run, boss: Client) -> None:
    chosen = project_object(troubled, "Contact")
    address = reverse("records:page", args=[troubled.project_id, chosen.pk])
    shown = text(boss, f"{address}?id=C1")
    assert ">Try again</button>" in shown
    assert ">Try again</button>" not in text(boss, f"{address}?id=C0")
    drive(retried(boss, troubled, object=chosen.pk, id="C1"))
    assert tracked(troubled.project, "Contact")["C1"].state == RecordState.LOADED
    assert tracked(troubled.project, "Contact")["C3"].state == RecordState.DEFERRED


@pytest.mark.parametrize(
    "choice", [{"object": "987654321"}, {"object": "x"}, {"state": "loaded"}, {"code": "nul\0"}, {"code": "unheard_of"}]
)
def test_a_choice_of_nothing_never_becomes_all(troubled: Run, boss: Client, choice: dict[str, str]) -> None:
    back = page_of(troubled)
    answer = boss.post(of_project(troubled.project, "retry"), {**choice, "back": back})
    assert answer["Location"] == back
    assert "Nothing is due" in text(boss, back)
    assert Run.objects.count() == 1


def test_an_open_run_is_said_and_the_way_back_stays_here(troubled: Run, boss: Client) -> None:
    open_run = services.start_run(troubled.project)
    answer = boss.post(of_project(troubled.project, "retry"), {"back": "https://elsewhere.example/"}, follow=True)
    assert answer.redirect_chain[0][0] == reverse("admin:projects_project_change", args=[troubled.project_id])
    assert f"{open_run} of {troubled.project} is not finished" in answer.content.decode()


def test_the_list_offers_a_retry_where_something_of_it_is_due(troubled: Run, boss: Client) -> None:
    address = reverse("records:list", args=[troubled.project_id])
    assert "Try again all that is due" in text(boss, address)
    assert "Try again what is due of these" in text(boss, f"{address}?state=rejected")
    for query in ("?state=landed", "?code=unheard_of", "?state=conflict"):
        assert "Try again" not in text(boss, address + query)


# --- Delta ----------------------------------------------------------------------------------------------------
def test_changes_are_brought_after_saying_from_when_on(loaded: Run, boss: Client) -> None:
    Step.objects.filter(run=loaded, object=project_object(loaded, "Contact")).update(
        watermark=datetime(2026, 11, 20, 13, 45, tzinfo=UTC)
    )
    words = plain(text(boss, reverse("admin:projects_project_change", args=[loaded.project_id])))
    assert "changes read up to 20 Nov 2026, 13:45" in words
    assert "read in full each time" in words
    address = of_project(loaded.project, "delta")
    words = plain(text(boss, address))
    assert "Contact → contact changes since 20 Nov 2026, 13:45 UTC; where both sides changed" in words
    assert "Account → account in full" in words
    boss.post(address)
    run = Run.objects.get(kind=RunKind.DELTA)
    assert plain(text(boss, page_of(run))).count("Delta") == 1
    assert f"Open {run}" in text(boss, address)
    said = boss.post(address, follow=True).content.decode()
    assert f"{run} of {loaded.project} is not finished" in said


def test_a_project_without_objects_has_no_changes_to_bring(project: Project, boss: Client) -> None:
    address = of_project(project, "delta")
    assert "nothing to bring" in text(boss, address)
    assert "nothing to bring" in boss.post(address).content.decode()
    assert not Run.objects.exists()
    assert ledger.watermarks([]) == {}


def test_the_project_counts_in_the_words_of_its_last_run(loaded: Run, boss: Client) -> None:
    address = reverse("admin:projects_project_change", args=[loaded.project_id])
    assert f"figures of {loaded}, load" in plain(text(boss, address))
    run = confirmed(boss, loaded)
    words = plain(text(boss, address))
    assert f"figures of {run}, rollback" in words
    assert "Gathered Deleted Restored" in words


# --- Who wins -------------------------------------------------------------------------------------------------
def test_mapping_experts_decide_who_wins(world: World, project: Project) -> None:
    world.add(schema("Account", "Name"))
    chosen = factories.project_object(project, "Account")
    address = reverse("admin:projects_projectobject_change", args=[chosen.pk])
    given = {"position": 0, "where": "", "enabled": "on", "on_conflict": OnConflict.SOURCE, "on_delete": "ignore"}
    assert signed_in(*VIEW).post(address, given).status_code == 403
    expert = signed_in(*VIEW, "projects.view_projectobject", "projects.change_projectobject")
    assert expert.post(address, given).status_code == 302
    chosen.refresh_from_db()
    assert chosen.on_conflict == OnConflict.SOURCE
    shown = text(expert, reverse("admin:projects_project_change", args=[project.pk]))
    assert "edits in the target are overwritten" in shown
    assert expert.post(address, given | {"on_conflict": "nobody"}).status_code == 200
    chosen.on_conflict = "nobody"
    with pytest.raises(ProjectInvalid, match="kept or overwritten"):
        projects.change_object(chosen, ["on_conflict"])


def test_ids_of_any_characters_are_tried_again(world: World, project: Project, boss: Client) -> None:
    strange = 'a&b="<c>" 100% é'
    world.add(schema("Account", "Name"), {"Id": strange, "Name": "x"})
    chosen = factories.project_object(project, "Account")
    world.refuse = lambda *_: "No."
    run = drive(services.start_run(project))
    world.refuse = lambda *_: None
    shown = text(boss, reverse("records:page", args=[project.pk, chosen.pk]) + f"?id={quote(strange)}")
    assert 'value="a&amp;b=&quot;&lt;c&gt;&quot; 100% é"' in shown
    drive(retried(boss, run, object=chosen.pk, id=strange))
    assert TrackedRecord.objects.get(project=project).state == RecordState.LOADED


def test_chosen_records_are_taken_back_from_the_list(loaded: Run, boss: Client, world: World) -> None:
    contact = loaded.project.project_objects.get(source_entity="Contact")
    listed = text(boss, f"{reverse('records:list', args=[loaded.project_id])}?object={contact.pk}")
    assert "Roll back these…" in listed
    assert 'aria-label="Roll C1 back"' in listed
    address = reverse("admin:runs_run_rollback_records", args=[loaded.project_id])
    chosen = {"object": str(contact.pk), "id": ["C1", "C3"]}
    shown = boss.post(address, chosen).content.decode()
    assert "2 records" in plain(shown)
    assert "Chosen: 2 records of" in plain(shown)
    assert shown.count("mf-badge danger") == 2
    assert boss.post(address, {**chosen, "code": code_in(shown)}).status_code == 302
    drive(Run.objects.latest("pk"))
    assert sorted(world.rows["contact"]) == ["C0", "C2", "C4"]
    refused = boss.get(address, {"object": "999999"}, follow=True).content.decode()
    assert "Nothing of that choice" in refused


def test_a_record_is_taken_back_from_its_page(loaded: Run, boss: Client) -> None:
    contact = loaded.project.project_objects.get(source_entity="Contact")
    seen = text(boss, f"{reverse('records:page', args=[loaded.project_id, contact.pk])}?id=C1")
    link = f"?object={contact.pk}&amp;id=C1"
    assert link in seen
    shown = text(
        boss, f"{reverse('admin:runs_run_rollback_records', args=[loaded.project_id])}?object={contact.pk}&id=C1"
    )
    assert "Take these records out of" in shown
    assert "They stay out: no delta brings them again" in shown


def test_what_was_taken_back_by_choice_is_brought_again_from_its_page(loaded: Run, boss: Client, world: World) -> None:
    contact = loaded.project.project_objects.get(source_entity="Contact")
    drive(services.start_rollback_of(loaded.project, Scope(objects=(contact.pk,), source_ids=("C1",))))
    undone = Run.objects.latest("pk")
    assert "Rollback of chosen records" in text(boss, page_of(undone, "change"))
    address = f"{reverse('records:page', args=[loaded.project_id, contact.pk])}?id=C1"
    shown = text(boss, address)
    assert "no delta brings it again, only a load or" in shown
    assert 'name="state" value="rolled_back"' in shown
    again = drive(retried(boss, loaded, object=contact.pk, id="C1", state="rolled_back"))
    assert "Retry of record C1" in text(boss, page_of(again, "change"))
    assert "C1" in world.rows["contact"]
    assert "Bring again" not in text(boss, address)


def test_the_ids_of_a_part_stand_in_its_form(loaded: Run, boss: Client) -> None:
    shown = text(boss, page_of(loaded, "rollback") + "?id=C1&id=C3")
    assert ">C1\nC3\n</textarea>" in shown
    assert "{{" not in shown


def test_the_project_shows_what_a_delta_brought_not_only_what_it_deleted(
    loaded: Run, boss: Client, world: World
) -> None:
    contact = project_object(loaded, "Contact")
    ProjectObject.objects.filter(pk=contact.pk).update(on_delete=OnDelete.MIRROR)
    world.records["Contact"] = [row for row in world.records["Contact"] if row["Id"] != "C4"]
    drive(services.start_delta(loaded.project))
    words = plain(text(boss, reverse("admin:projects_project_change", args=[loaded.project_id])))
    assert "deletions are mirrored 4 0 0 4 0 0 0 0" in words
    assert Run.objects.latest("pk").reason == "All 9 records are done; 1 deleted."
