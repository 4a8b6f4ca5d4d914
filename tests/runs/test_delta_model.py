"""Random interleavings of edits on both sides, deletions and deltas against a model that knows what must hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projects.models import OnConflict, OnDelete
from runs import services
from runs.choices import RecordState, RunState
from runs.models import TrackedRecord
from tests import factories
from tests.fakes import WORLDS, World, schema
from tests.runs.test_engine import drive

FIELDS = ("name", "phone")
IDS = [f"A{number}" for number in range(4)]
Row = dict[str, str]
Step = tuple[str, ...]
STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["source", "target"]), st.sampled_from(IDS), st.sampled_from(FIELDS), st.sampled_from("abc")
    ),
    st.tuples(st.just("gone"), st.sampled_from(IDS)),
    st.tuples(st.just("delta")),
)


@dataclass
class Model:
    """What both systems must hold. ``base`` is the source as it was brought last, ``wrote`` what the target held right
    after that, ``kept`` names the records in which an edit was left, ``open`` those that wait for a person."""

    policy: str
    source: dict[str, Row]
    target: dict[str, Row] = field(default_factory=dict)
    base: dict[str, Row] = field(default_factory=dict)
    wrote: dict[str, Row] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)

    def delta(self) -> None:
        waited, self.open = self.open, set()
        for name, ours in self.source.items():
            if name not in self.target:
                self._wrote(name, dict(ours))
            elif ours != self.base[name] or name in self.kept | waited:
                self._merge(name)
        for name in set(self.target) - set(self.source):
            if self.policy == OnConflict.SOURCE or self.target[name] == self.wrote[name]:
                del self.target[name]
            elif self.policy == OnConflict.ASK:
                self.open.add(name)

    def _merge(self, name: str) -> None:
        ours, theirs, base = self.source[name], self.target[name], self.base[name]
        both = {each for each in FIELDS if ours[each] != base[each] and theirs[each] not in {base[each], ours[each]}}
        if both and self.policy == OnConflict.ASK:
            self.open.add(name)
            return
        stays = both if self.policy == OnConflict.TARGET else set()
        self._wrote(name, {e: theirs[e] if ours[e] == base[e] or e in stays else ours[e] for e in FIELDS})

    def _wrote(self, name: str, row: Row) -> None:
        self.target[name], self.wrote[name], self.base[name] = row, dict(row), dict(self.source[name])
        (self.kept.discard if row == self.source[name] else self.kept.add)(name)


@pytest.mark.django_db
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=2, max_size=14), policy=st.sampled_from(OnConflict.values))
def test_whatever_people_do_on_both_sides_every_delta_does_what_the_model_says(
    world: World, steps: Sequence[Step], policy: str
) -> None:
    with transaction.atomic():
        _play(steps, policy)
        transaction.set_rollback(True)


def _play(steps: Sequence[Step], policy: str) -> None:
    world = WORLDS["world"] = World()
    project = factories.project(delete_stop_least=1_000)
    model = Model(policy, {name: dict.fromkeys(FIELDS, "a") for name in IDS})
    world.add(schema("Account", "Name", "Phone"), *({"Id": name, "Name": "a", "Phone": "a"} for name in IDS))
    factories.project_object(project, "Account", on_conflict=policy, on_delete=OnDelete.MIRROR)
    for step in [("delta",), *steps, ("delta",), ("delta",)]:
        match step:
            case ("source", name, what, value) if name in model.source:
                model.source[name][what] = value
                next(row for row in world.records["Account"] if row["Id"] == name)[what.capitalize()] = value
            case ("target", name, what, value) if name in model.target:
                model.target[name][what] = value
                world.rows["account"][name][what] = value
            case ("gone", name):
                model.source.pop(name, None)
                world.records["Account"] = [row for row in world.records["Account"] if row["Id"] != name]
            case ("delta",):
                model.delta()
                run = drive(services.start_delta(project))
                assert run.state in {RunState.COMPLETED, RunState.COMPLETED_WITH_ERRORS}, run.reason
                held = {key: {each: row[each] for each in FIELDS} for key, row in world.rows["account"].items()}
                assert held == model.target
                states = TrackedRecord.objects.filter(project=project, state=RecordState.CONFLICT)
                assert set(states.values_list("source_id", flat=True)) == model.open
