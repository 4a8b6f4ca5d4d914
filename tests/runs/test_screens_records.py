"""Record lists, the look-up and the record's page."""

import re
from urllib.parse import quote

import pytest
from django.db import connection
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from connectors.errors import Unavailable
from orgs.models import Org
from projects.models import Project
from runs import ledger, records
from runs.choices import ChunkState, RecordState, RunState
from runs.inspection import Value
from runs.models import Chunk, ChunkContent, Run, TrackedRecord
from runs.records import Wanted
from tests import factories
from tests.fakes import World
from tests.runs.screens import VIEW, accounts, done, signed_in, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def finished(world: World, project: Project) -> Run:
    accounts(world, project)
    return done(project)


def list_of(project_id: int, query: str = "") -> str:
    return reverse("records:list", args=[project_id]) + query


def page_of(run: Run, source_id: str, query: str = "", name: str = "page") -> str:
    place = reverse(f"records:{name}", args=[run.project_id, run.steps.first().object_id])  # type: ignore[union-attr]
    return f"{place}?id={quote(source_id)}{query}"


def ids_in(shown: str) -> list[str]:
    return re.findall(r'mf-mono"><a href="[^"]*">([^<]+)</a>', shown)


def many(project: Project, number: int, entities: tuple[str, ...] = ("Account", "Contact")) -> list[int]:
    """``number`` records of each entity: every tenth rejected, the others loaded."""
    run = factories.run(project, state=RunState.COMPLETED)
    for entity in entities:
        step = factories.step(run, factories.project_object(project, entity))
        chunk = factories.chunk(step, [{"Id": "x", "Name": "x"}])
        rows = [
            {"source_id": f"{n:05}", "state": "rejected", "code": "too_long", "reason": "Too long."}
            if n % 10 == 0
            else {"source_id": f"{n:05}", "state": "loaded", "target_id": f"{entity}{n}", "key": f"fake:{n:05}"}
            for n in range(number)
        ]
        factories.track(chunk, *rows)
    return sorted(records.objects_of(project))


# --- Lists ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("state", "code", "expected"), [("", "", 240), ("landed", "", 216), ("rejected", "", 24), ("", "too_long", 24)]
)
def test_pages_forward_and_back_show_every_record_once(project: Project, state: str, code: str, expected: int) -> None:
    wanted = Wanted(project.pk, tuple(many(project, 120)), state, code)
    boss = factories.user(superuser=True)
    forward, token = [], ""
    while True:
        page = records.page_of(boss, wanted, after=token)
        forward += [record.pk for record in page.records]
        last, token = page, page.next
        if not token:
            break
    assert len(forward) == len(set(forward)) == expected
    assert forward == sorted(forward)
    backward = [record.pk for record in last.records]
    while last.previous:
        last = records.page_of(boss, wanted, before=last.previous)
        backward = [record.pk for record in last.records] + backward
    assert backward == forward


def test_lists_walk_along_an_index_and_never_skip_or_count_everything(project: Project) -> None:
    """Plans, not times: the primary key or the index of troubled records, and no more than the page is read."""
    objects = tuple(many(project, 3_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_trackedrecord")
    boss = factories.user(superuser=True)
    for state, index in (("", "pkey"), ("landed", "pkey"), ("rejected", "object_id_state_source_id")):
        wanted = Wanted(project.pk, objects, state)
        side = records._side(objects[0], (objects[0], "01500", ""), backward=False)
        assert side is not None
        rows = records.narrowed(boss, wanted).filter(side, object=objects[0]).order_by("source_id", "part")
        plan = rows[:51].explain(analyze=True)
        assert index in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "OFFSET" not in str(rows[:51].query)
        read = [int(found) for found in re.findall(r"Index (?:Only )?Scan.*actual.*rows=(\d+)", plan)]
        assert read
        assert read[0] <= 60, plan
        removed = re.findall(r"Rows Removed by Filter: (\d+)", plan)
        assert sum(map(int, removed)) <= 60, plan


def test_counts_stop_at_a_cap(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted(project.pk, tuple(many(project, 30)))
    boss = factories.user(superuser=True)
    assert records.counted(boss, wanted) == "60"
    monkeypatch.setattr(records, "COUNT_CAP", 50)
    assert records.counted(boss, wanted) == "50+"


def test_a_list_costs_few_queries(project: Project, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    many(project, 60)
    viewer = signed_in(*VIEW)
    with django_assert_max_num_queries(20):
        text(viewer, list_of(project.pk))


def test_filters_are_kept_from_page_to_page_and_strange_ones_ignored(project: Project) -> None:
    (first, _) = many(project, 120)
    viewer = signed_in(*VIEW)
    shown = text(viewer, list_of(project.pk, f"?object={first}&state=landed"))
    following = re.search(rf'href="\?(object={first}&amp;state=landed&amp;after=[\w-]+)"', shown)
    assert following
    page = text(viewer, list_of(project.pk, "?" + following[1].replace("&amp;", "&")))
    assert ids_in(page)[0] == "00056"
    for strange in ("?object=abc", "?state=nonsense", "?after=!!!", "?after=W10", "?before=eA", "?object=999999"):
        assert ids_in(text(viewer, list_of(project.pk, strange)))[0] == "00000"


@given(token=st.text(max_size=60))
def test_no_token_breaks_a_list(token: str) -> None:
    assert records._decode(token) is None or isinstance(records._decode(token), tuple)


def test_an_empty_list_says_what_comes_next(project: Project) -> None:
    ledger.ensure_partition(project.pk)
    factories.project_object(project, "Account")
    viewer = signed_in(*VIEW)
    assert "Records appear here as a run loads them" in text(viewer, list_of(project.pk))
    assert "matches this choice" in text(viewer, list_of(project.pk, "?state=rejected"))


def test_a_search_that_reads_too_far_is_stopped_and_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    many(project, 3)
    monkeypatch.setattr(records, "counted", lambda *_: connection.cursor().execute("SELECT pg_sleep(5)"))
    monkeypatch.setattr(records, "PATIENCE_MS", 20)
    assert "too many records to be quick" in text(signed_in(*VIEW), list_of(project.pk))


# --- Look-up --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wording", ["{0.source_id}", "{0.target_id}", "{0.key}", "  {0.source_id} "])
def test_a_record_is_found_by_any_of_its_ids(finished: Run, wording: str) -> None:
    record = TrackedRecord.objects.get(project=finished.project_id, source_id="A3")
    answer = signed_in(*VIEW).get(reverse("records:find"), {"q": wording.format(record)}, follow=True)
    assert answer.redirect_chain[-1][0].endswith("?id=A3") or "A3" in ids_in(answer.content.decode())


def test_a_key_with_a_platform_before_it_is_found(project: Project) -> None:
    many(project, 5, ("Account",))
    answer = signed_in(*VIEW).get(reverse("records:find"), {"q": "fake:00003"})
    assert answer["Location"].endswith("?id=00003")
    assert signed_in(*VIEW).get(reverse("records:find"), {"q": "other:00003"}).status_code == 200


def test_several_matches_are_listed(project: Project) -> None:
    many(project, 5)
    shown = text(signed_in(*VIEW), reverse("records:find") + "?q=00003")
    assert ids_in(shown) == ["00003", "00003"]


def test_a_search_says_where_it_looked(finished: Run) -> None:
    viewer = signed_in(*VIEW)
    assert "source ids, target ids and external keys" in text(viewer, reverse("records:find") + "?q=nothing")
    assert "Look in all projects" not in text(viewer, reverse("records:find") + "?q=nothing")
    for strange in ("%00", "%27%22%3Cb%3E", "x" * 900, ":::::::::"):
        assert "<b>" not in text(viewer, reverse("records:find") + f"?q={strange}")


def test_records_of_projects_that_are_not_visible_are_not_found(finished: Run) -> None:
    blind = signed_in("runs.view_trackedrecord")
    assert "there is none that you may see" in text(blind, reverse("records:find"))
    assert "No record" in text(blind, reverse("records:find") + "?q=A3")


def test_a_record_that_waits_in_a_page_is_found_and_shown(project: Project, world: World) -> None:
    run = factories.run(project, state=RunState.PAUSED)
    step = factories.step(run, factories.project_object(project, "Account"))
    chunk = factories.chunk(step, [{"Id": "A1", "Name": "Early bird"}])
    ledger.ensure_partition(project.pk)
    viewer = signed_in(*VIEW)
    answer = viewer.get(reverse("records:find"), {"q": "A1"})
    assert answer["Location"].endswith(f"?id=A1&chunk={chunk.pk}")
    shown = text(viewer, answer["Location"])
    assert "waits in" in shown
    assert "Early bird" in shown
    assert viewer.get(page_of(run, "A2", f"&chunk={chunk.pk}")).status_code == 404
    limited = signed_in(*(name for name in VIEW if name != "runs.view_chunk"))
    assert limited.get(answer["Location"]).status_code == 404
    assert "No record" in text(limited, reverse("records:find") + "?q=A1")


# --- One record -----------------------------------------------------------------------------------------------
def test_a_loaded_record_is_shown_from_all_sides(finished: Run, world: World) -> None:
    viewer = signed_in(*VIEW)
    shown = text(viewer, page_of(finished, "A3"))
    assert shown.count("Account 3") == 2  # as read, as mapped
    assert "The target held no record under this key before." in shown
    assert f">{finished}<" in shown
    now = text(viewer, page_of(finished, "A3", name="target"))
    assert now.count("Account 3") == 2  # as mapped, in the target
    assert "differs" not in now


def test_what_somebody_changed_in_the_target_stands_out(finished: Run, world: World) -> None:
    (row,) = (row for row in world.rows["account"].values() if row["name"] == "Account 3")
    row["name"] = "Changed by hand"
    now = text(signed_in(*VIEW), page_of(finished, "A3", name="target"))
    assert "Changed by hand" in now
    assert "differs" in now


def test_a_record_gone_from_the_target_is_told(finished: Run, world: World) -> None:
    world.rows["account"].clear()
    assert "holds no record with the key" in text(signed_in(*VIEW), page_of(finished, "A3", name="target"))


def test_a_target_out_of_reach_is_told_and_the_page_itself_does_not_ask_it(
    finished: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("The target does not answer; try again later.")

    monkeypatch.setattr("tests.fakes.FakeTarget.fetch", fail)
    viewer = signed_in(*VIEW)
    assert text(viewer, page_of(finished, "A3"))
    assert "The target does not answer; try again later." in text(viewer, page_of(finished, "A3", name="target"))
    Org.objects.filter(pk=finished.project.target_id).update(platform="uninstalled")
    assert "There is no target connector" in text(viewer, page_of(finished, "A3", name="target"))


def test_a_refused_record_says_why_and_what_was_found(finished: Run) -> None:
    shown = text(signed_in(*VIEW), page_of(finished, "A1"))
    assert "Rejected" in shown
    assert shown.count("Names must not end in 1.") == 2  # the reason, and the finding
    assert "Account 1" in shown


def test_a_waiting_record_names_its_parent(finished: Run) -> None:
    shown = text(signed_in(*VIEW), page_of(finished, "A4"))
    assert "Deferred" in shown
    assert "A99" in shown


def test_a_second_run_shows_in_the_history_with_what_was_before(finished: Run, world: World) -> None:
    world.records["Account"][3]["Name"] = "Renamed"
    again = done(finished.project)
    shown = text(signed_in(*VIEW), page_of(again, "A3"))
    assert f">{finished}<" in shown
    assert f">{again}<" in shown
    assert "Before our last run" in shown
    assert "Account 3" in shown  # as it was before


def test_a_record_outlives_the_deletion_of_its_chunks(finished: Run) -> None:
    Chunk.objects.all().delete()
    assert "chunks that carried this record were deleted" in text(signed_in(*VIEW), page_of(finished, "A3"))


def test_a_damaged_payload_is_told_not_a_crash(finished: Run) -> None:
    chunk = Chunk.objects.defer(None).order_by("pk").first()
    assert chunk
    sealed = bytearray(chunk.payload)
    sealed[-1] ^= 1
    ChunkContent.objects.filter(chunk=chunk).update(payload=bytes(sealed))
    assert text(signed_in(*VIEW), page_of(finished, "A0"))


@pytest.mark.parametrize("source_id", ["a/b?c=d&e", "ünï ✓", "<script>", "x" * 300, " spaced ", '"quoted"', "100%"])
def test_ids_of_any_shape_have_pages_and_links(project: Project, source_id: str) -> None:
    run = factories.run(project, state=RunState.COMPLETED)
    step = factories.step(run, factories.project_object(project, "Account"))
    chunk = factories.chunk(step, [{"Id": source_id, "Name": "N"}], state=ChunkState.LOADED, rejected=1)
    factories.track(chunk, {"source_id": source_id, "state": RecordState.REJECTED, "code": "c", "reason": "Why."})
    viewer = signed_in(*VIEW)
    link = re.search(r'mf-mono"><a href="([^"]+)"', text(viewer, list_of(project.pk)))
    assert link
    shown = text(viewer, link[1].replace("&amp;", "&"))
    assert "Why." in shown
    assert "<script></" not in shown


@given(value=st.text(max_size=400))
def test_any_value_can_be_shown(value: str) -> None:
    shown = Value("field", value)
    assert shown.beginning.rstrip("…") in value
    assert isinstance(shown.pretty, str)


def test_long_and_nested_values_are_folded() -> None:
    assert Value("f", '{"a": [1, 2]}').folded
    assert Value("f", '{"a": [1, 2]}').pretty == '{\n  "a": [\n    1,\n    2\n  ]\n}'
    assert Value("f", "x" * 500).folded
    assert not Value("f", "{not json").folded
    assert not Value("f", None).folded
