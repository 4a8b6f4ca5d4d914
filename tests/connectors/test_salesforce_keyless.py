"""Records without any external id: inserted by bulk jobs that can be asked, exactly once, whatever happens."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.context import LOOPBACK, Context, MemoryIdMap, Network, Transport
from connectors.errors import ConnectorError, FatalError, RetryableError, SettingsInvalid, Unavailable
from connectors.targets.salesforce import SalesforceTarget
from connectors.transport import open_transport
from connectors.types import ID_MAP, WriteResult
from sandbox.salesforce.running import Running
from tests.connectors.payroll_org import QUIET, RULE, context_of, emptied, payroll_org, records_of
from tests.connectors.tampering import Tampering, asked

FEW, HALF_WAY, MANY = 30, 100, 260
FIELDS = ["Name", "Status__c"]
CALLS = {
    "create": ("POST", "/jobs/ingest$"), "upload": ("PUT", "/batches$"), "close": ("PATCH", "/jobs/ingest/"),
    "ask": ("GET", "/jobs/ingest/[^/]+$"), "results": ("GET", "/successfulResults$"),
    "refusals": ("GET", "/failedResults$"),
}  # fmt: skip
NOTES = ("begin", "close", "answer")


class KilledError(Exception):
    """The worker ends here."""


class Mortal(MemoryIdMap):
    """An id map that outlives its worker, which dies when it comes to a note, before or after it is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.deadly = ""

    def _noted(self, name: str) -> None:
        if self.deadly == name:
            self.deadly = ""
            raise KilledError

    def begin(self, entity: str, job: str, rows: Mapping[str, str], *, gone: Mapping[str, str]) -> None:
        self._noted("before begin")
        super().begin(entity, job, rows, gone=gone)
        self._noted("after begin")

    def close(self, job: str) -> None:
        self._noted("before close")
        super().close(job)
        self._noted("after close")

    def answer(self, job: str, target_ids: Mapping[str, str]) -> None:
        self._noted("before answer")
        if job in self._begun:  # whoever was overtaken tells what has been told
            super().answer(job, target_ids)
        self._noted("after answer")


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with payroll_org(tmp_path_factory.mktemp("payroll")) as running:
        yield running


@pytest.fixture
def ids(org: Running) -> Iterator[Mortal]:
    emptied(org)
    org.control.reset_calls()
    yield Mortal()
    org.control.clear_faults()
    org.control.change_settings(bulk_hold=-1)


@pytest.fixture
def inner() -> Iterator[Transport]:
    transport = open_transport(Network(allowed_networks=LOOPBACK))
    yield transport
    transport.close()


def context(org: Running, ids: MemoryIdMap) -> Context:
    return replace(context_of(org), id_map=ids)


def rules(names: list[str | None], *, status: str = "Live") -> pl.DataFrame:
    keys = [f"source-{number}" for number in range(len(names))]
    return pl.DataFrame({ID_MAP: keys, "Name": names}).with_columns(Status__c=pl.lit(status))


def distinct(size: int) -> pl.DataFrame:
    return rules([f"Rule {number}" for number in range(size)])


def alike(size: int) -> pl.DataFrame:
    """Every three records say the same."""
    return rules([f"Rule {number // 3}" for number in range(size)])


def write(org: Running, ids: MemoryIdMap, frame: pl.DataFrame) -> WriteResult:
    with SalesforceTarget(context(org, ids)) as target:
        return target.write(RULE, frame, key=ID_MAP)


def write_until_done(org: Running, ids: MemoryIdMap, frame: pl.DataFrame) -> WriteResult:
    """As the engine does: a piece that has to wait is taken up again."""
    for _ in range(8):
        try:
            return write(org, ids, frame)
        except (RetryableError, KilledError):
            continue
    raise AssertionError("it never ended")


def outcomes(result: WriteResult) -> dict[str, int]:
    return dict(result.frame["outcome"].value_counts().iter_rows())


def assert_exact(org: Running, ids: MemoryIdMap, frame: pl.DataFrame) -> None:
    """Each record is there once, as it is, under an id of its own that the id map has; and nothing else is there."""
    held = {str(row["Id"]): row["Name"] for row in records_of(org, RULE, "Id", "Name")}
    known = ids.targets(RULE, frame[ID_MAP].to_list())
    assert sorted(known.values()) == sorted(held), "none lost, none doubled"
    assert {key: held[target] for key, target in known.items()} == dict(frame.select(ID_MAP, "Name").iter_rows())


@pytest.mark.parametrize("size", [1, FEW, MANY])
def test_new_ones_are_created_by_jobs_and_known_ones_updated_by_their_ids(org: Running, ids: Mortal, size: int) -> None:
    frame = alike(size)
    assert outcomes(write(org, ids, frame)) == {"created": size}
    assert_exact(org, ids, frame)
    assert not [call for call in org.control.calls() if call.startswith("POST") and "composite/sobjects" in call]
    org.control.reset_calls()
    assert outcomes(write(org, ids, frame)) == {"unchanged": size}
    assert not [call for call in org.control.calls() if "jobs/ingest" in call], "nothing is sent"
    changed = frame.with_columns(Name=pl.concat_str(pl.lit("New "), "Name"))
    assert outcomes(write(org, ids, changed)) == {"updated": size}
    assert_exact(org, ids, changed)


def test_what_is_known_is_read_by_its_key(org: Running, ids: Mortal) -> None:
    write(org, ids, alike(FEW))
    with SalesforceTarget(context(org, ids)) as target:
        found = target.fetch(RULE, key=ID_MAP, keys=["source-4", "nobody"], fields=["Name"])
        assert (target.count(RULE, key=ID_MAP, prefix=""), target.keys(RULE, key=ID_MAP, prefix="")) == (None, None)
    assert found.select("key", "Name").rows() == [("source-4", "Rule 1")]
    assert found["target_id"].to_list() == [ids.targets(RULE, ["source-4"])["source-4"]]


@pytest.mark.parametrize("frame", [distinct(FEW), alike(MANY)], ids=["distinct", "alike"])
@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_whoever_dies_at_a_note_leaves_it_exact(
    org: Running, ids: Mortal, frame: pl.DataFrame, note: str, when: str
) -> None:
    ids.deadly = f"{when} {note}"
    with pytest.raises(KilledError):
        write(org, ids, frame)
    assert sum(outcomes(write(org, ids, frame)).values()) == frame.height
    assert_exact(org, ids, frame)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "unavailable", "cut"])
@pytest.mark.parametrize("call", CALLS)
def test_a_lost_call_or_answer_loses_and_doubles_nothing(org: Running, ids: Mortal, call: str, kind: str) -> None:
    method, path = CALLS[call]
    for times in (1, 7):
        emptied(org)
        mine = Mortal()
        org.control.fault(kind, method=method, path=path, times=times)
        frame = alike(FEW)
        write_until_done(org, mine, frame)
        assert_exact(org, mine, frame)
        org.control.clear_faults()


def test_a_worker_that_was_overtaken_writes_nothing(org: Running, ids: Mortal, inner: Transport) -> None:
    """It has filled its job; meanwhile another takes over and creates the records; then it wants to close it."""
    frame = alike(FEW)
    others: list[WriteResult] = []
    overtaken = Tampering(
        inner, asked("PUT", "batches"), before=lambda _: others.append(write(org, ids, frame)) if not others else None
    )
    there = context(org, ids)
    with (
        SalesforceTarget(replace(there, network=replace(there.network, transport=overtaken))) as target,
        pytest.raises((KeyError, ConnectorError)),
    ):
        target.write(RULE, frame, key=ID_MAP)
    assert outcomes(others[0]) == {"created": FEW}
    assert_exact(org, ids, frame)


def test_a_job_that_is_closed_while_the_first_is_about_to_is_waited_for(
    org: Running, ids: Mortal, inner: Transport
) -> None:
    frame = alike(FEW)
    others: list[WriteResult] = []
    overtaken = Tampering(inner, asked("PATCH", "jobs/ingest"), before=lambda _: others.append(write(org, ids, frame)))
    there = context(org, ids)
    with SalesforceTarget(replace(there, network=replace(there.network, transport=overtaken))) as target:
        target.write(RULE, frame, key=ID_MAP)
    assert len(others) == 1
    assert_exact(org, ids, frame)


def test_refusals_find_their_records_by_what_they_say(org: Running, ids: Mortal) -> None:
    odd = pl.int_range(pl.len()) % 4 == 0
    status = pl.when(odd).then(pl.concat_str(pl.lit("Nope "), ID_MAP)).otherwise(pl.lit("Live"))
    frame = distinct(FEW).with_columns(Status__c=status)
    result = write(org, ids, frame).frame
    refused = result.filter(pl.col("outcome") == "rejected")
    assert refused["key"].to_list() == frame.filter(odd)[ID_MAP].to_list()
    assert all(f"Nope {key}”" in message for key, message in refused.select("key", "message").iter_rows())
    good = frame.filter(~odd)
    assert_exact(org, ids, good)
    assert outcomes(write(org, ids, frame.with_columns(Status__c=pl.lit("Live")))) == {
        "created": refused.height, "unchanged": good.height
    }  # fmt: skip
    assert_exact(org, ids, frame)


def test_texts_with_line_ends_blanks_and_quotes_find_their_records(org: Running, ids: Mortal) -> None:
    notes = ["one\r\ntwo", 'a "quoted" one, with commas', " blanks around ", None, "é…漢", "x" * 32_000]
    frame = distinct(len(notes)).with_columns(Notes__c=pl.Series(notes))
    assert outcomes(write(org, ids, frame)) == {"created": len(notes)}
    assert_exact(org, ids, frame)


@pytest.mark.parametrize("text", ["#N/A", "y" * 32_001])
def test_what_no_bulk_file_carries_is_refused_in_a_sentence(org: Running, ids: Mortal, text: str) -> None:
    frame = distinct(3).with_columns(Notes__c=pl.Series([text, "fine", None]))
    result = write(org, ids, frame).frame
    assert result.filter(pl.col("outcome") == "rejected").select("key", "code").rows() == [("source-0", "no_bulk_file")]
    assert "created by bulk jobs only" in result.filter(pl.col("outcome") == "rejected")["message"][0]
    assert_exact(org, ids, frame.tail(2))


def test_a_job_whose_results_are_gone_needs_a_person_and_is_never_sent_again(org: Running, ids: Mortal) -> None:
    frame = alike(FEW)
    ids.deadly = "before answer"
    with pytest.raises(KilledError):
        write(org, ids, frame)
    [begun] = ids.begun(RULE, ["source-0"])
    delete_job(org, begun.job)
    for _ in range(2):
        with pytest.raises(FatalError, match=f"whether {FEW} records of {RULE} were created.*{begun.job} for seven"):
            write(org, ids, frame)
    assert len(records_of(org, RULE, "Id")) == FEW
    emptied(org)
    ids.forget(begun.job)  # what the person did, and said
    assert outcomes(write(org, ids, frame)) == {"created": FEW}
    assert_exact(org, ids, frame)


def test_a_job_that_was_never_closed_may_be_gone(org: Running, ids: Mortal) -> None:
    frame = alike(FEW)
    ids.deadly = "before close"
    with pytest.raises(KilledError):
        write(org, ids, frame)
    [begun] = ids.begun(RULE, ["source-0"])
    delete_job(org, begun.job, aborted=True)
    assert outcomes(write(org, ids, frame)) == {"created": FEW}
    assert ids.begun(RULE, ["source-0"]) == []
    assert_exact(org, ids, frame)


def test_a_job_that_fails_half_way_is_gone_on_with(org: Running, ids: Mortal) -> None:
    """What was created stays, the rest is sent again."""
    frame = alike(MANY)
    org.control.change_settings(bulk_batch=HALF_WAY, bulk_hold=1)
    ids.deadly = "after close"
    with pytest.raises(KilledError):
        write(org, ids, frame)
    [begun] = ids.begun(RULE, ["source-0"])
    with SalesforceTarget(context(org, ids)) as target:
        path = target._session.path("jobs", "ingest", begun.job)
        target._session.http.send("PATCH", path, json={"state": "UploadComplete"})
    assert any(len(records_of(org, RULE, "Id")) == HALF_WAY for _ in range(1_000)), "the first batch was never written"
    org.control.fail_job(begun.job, "InternalServerError : something broke")
    assert len(records_of(org, RULE, "Id")) == HALF_WAY
    org.control.change_settings(bulk_hold=-1)
    write_until_done(org, ids, frame)
    assert_exact(org, ids, frame)
    org.control.change_settings(bulk_batch=10_000)


def test_counts_that_do_not_agree_are_not_believed(org: Running, ids: Mortal, inner: Transport) -> None:
    frame = distinct(FEW)
    short = Tampering(
        inner, asked("GET", "successfulResults"), changed=lambda body: b"\n".join(body.split(b"\n")[:-5]) + b"\n"
    )
    there = context(org, ids)
    with (
        SalesforceTarget(replace(there, network=replace(there.network, transport=short))) as target,
        pytest.raises(Unavailable, match=f"worked on {FEW} records, and gives results of"),
    ):
        target.write(RULE, frame, key=ID_MAP)
    write_until_done(org, ids, frame)
    assert_exact(org, ids, frame)


def test_results_that_are_not_what_was_sent_need_a_person(org: Running, ids: Mortal, inner: Transport) -> None:
    frame = distinct(FEW)
    odd = Tampering(inner, asked("GET", "successfulResults"), changed=lambda body: body.replace(b"Rule 7", b"Rule 77"))
    there = context(org, ids)
    with (
        SalesforceTarget(replace(there, network=replace(there.network, transport=odd))) as target,
        pytest.raises(FatalError, match="created 1 records of Rule__c that are not as they were sent"),
    ):
        target.write(RULE, frame, key=ID_MAP)
    assert len(records_of(org, RULE, "Id")) == FEW


def test_an_object_that_bulk_does_not_serve_is_refused_in_a_sentence(org: Running, ids: Mortal) -> None:
    with SalesforceTarget(context(org, ids)) as target, pytest.raises(SettingsInvalid, match="Have an external id"):
        target.write(QUIET, pl.DataFrame({ID_MAP: ["q"], "Name": ["Quiet"]}), key=ID_MAP)


def test_a_record_deleted_in_the_org_is_created_anew(org: Running, ids: Mortal) -> None:
    frame = alike(3)
    write(org, ids, frame)
    with SalesforceTarget(context(org, ids)) as target:
        target.delete(RULE, [ids.targets(RULE, ["source-1"])["source-1"]])
    assert outcomes(write(org, ids, frame)) == {"unchanged": 2, "created": 1}
    assert_exact(org, ids, frame)


def test_found_records_are_taken_over_by_the_id_map(org: Running, ids: Mortal) -> None:
    org.control.upsert(RULE, [{"Name": "Old one"}])
    [there] = [row["Id"] for row in records_of(org, RULE, "Id")]
    with SalesforceTarget(context(org, ids)) as target:
        found = target.find(RULE, pl.DataFrame({"Name": ["Old one", "nobody"]}), key=ID_MAP)
        assert found.rows() == [("Old one", there, None)]
        pair = pl.DataFrame({"target_id": [there], "key": ["source-0"]})
        assert target.adopt(RULE, pair, key=ID_MAP).frame["outcome"].to_list() == ["updated"]
        assert target.adopt(RULE, pair, key=ID_MAP).frame["outcome"].to_list() == ["unchanged"]
        other = target.adopt(RULE, pair.with_columns(key=pl.lit("source-1")), key=ID_MAP).frame
        assert other["outcome"].to_list() == ["rejected"]
        assert target.find(RULE, pl.DataFrame({"Name": ["Old one"]}), key=ID_MAP)["key"].to_list() == ["source-0"]
    assert outcomes(write(org, ids, rules(["New name"]))) == {"updated": 1}
    assert [(row["Id"], row["Name"]) for row in records_of(org, RULE, "Id", "Name")] == [(there, "New name")]


def test_a_rehearsal_names_no_key_and_keeps_nothing(org: Running, ids: Mortal) -> None:
    write(org, ids, alike(2))
    frame = rules(["Rule 0", "Changed", "New one", "Refused"]).with_columns(
        Status__c=pl.Series(["Live", "Live", "Live", "Nope"])
    )
    with SalesforceTarget(context(org, ids)) as target:
        result = target.rehearse(RULE, frame, key=ID_MAP).frame.sort("key")
    assert result["outcome"].to_list() == ["unchanged", "updated", "created", "rejected"]
    assert Counter(row["Name"] for row in records_of(org, RULE, "Name")) == {"Rule 0": 2}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(["A", "B", "C"]), min_size=1, max_size=12),
    deaths=st.lists(st.sampled_from([f"{when} {note}" for when in ("before", "after") for note in NOTES]), max_size=4),
    faults=st.lists(
        st.tuples(st.sampled_from(sorted(CALLS)), st.sampled_from(["drop_before", "drop_after"]), st.integers(0, 2)),
        max_size=3,
    ),
)
def test_whatever_happens_in_between_each_record_is_there_once(
    org: Running, names: list[str | None], deaths: list[str], faults: list[tuple[str, str, int]]
) -> None:
    """Workers die one after the other, calls and answers are lost, and many records say the same."""
    emptied(org)
    org.control.clear_faults()
    ids, frame = Mortal(), rules(names)
    for call, kind, after in faults:
        method, path = CALLS[call]
        org.control.fault(kind, method=method, path=path, times=1, after=after)
    for death in deaths:
        ids.deadly = death
        try:
            write(org, ids, frame)
        except (KilledError, RetryableError):
            continue
    ids.deadly = ""
    write_until_done(org, ids, frame)
    org.control.clear_faults()
    assert_exact(org, ids, frame)


def delete_job(org: Running, job: str, *, aborted: bool = False) -> None:
    """As Salesforce itself does after seven days."""
    with SalesforceTarget(context_of(org)) as target:
        path = target._session.path("jobs", "ingest", job)
        if aborted:
            target._session.http.send("PATCH", path, json={"state": "Aborted"})
        target._session.http.send("DELETE", path)
