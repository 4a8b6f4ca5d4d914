"""Any data set as a scene of a campaign: what follows from its metadata is what an org says, and a short campaign."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from django.conf import settings

from migration_factory.org_to_org import EXTERNAL_ID
from migration_factory.torment import checker, dataset
from migration_factory.torment.dataset import Unfit
from migration_factory.torment.expectation import Expectation, State
from migration_factory.torment.ground import OrgSource, TormentRefused, laid_out, named
from migration_factory.torment.rest import Rest
from migration_factory.torment.scene import (
    REFUSED,
    Entities,
    Entity,
    Field,
    Kind,
    Policy,
    Row,
    Rows,
    another,
    is_refused,
)
from sandbox.salesforce.running import Running, running_simulator
from tests.sandbox.client import Client

DATA_SETS = settings.BASE_DIR.parent / "shared" / "data" / "salesforce"
XMLNS = 'xmlns="http://soap.sforce.com/2006/04/metadata"'
CHOICES = "".join(f"<value><fullName>{each}</fullName></value>" for each in ("Red", "White", "Rosé"))
RESTRICTED = f"<valueSet><restricted>true</restricted><valueSetDefinition>{CHOICES}</valueSetDefinition></valueSet>"
MASTER = "<relationshipName>Vines</relationshipName><relationshipOrder>0</relationshipOrder>"
FIELDS = {
    "Account": {"Code__c": "<type>Text</type><length>12</length><unique>true</unique>"},
    "Slope__c": {
        "Steep__c": "<type>Checkbox</type><defaultValue>true</defaultValue>",
        "Owner_Of__c": "<type>Lookup</type><referenceTo>Account</referenceTo><required>true</required>"
        "<relationshipName>Slopes</relationshipName><deleteConstraint>Restrict</deleteConstraint>",
        "Soil__c": "<type>TextArea</type>",
    },
    "Vine__c": {
        "Slope__c": f"<type>MasterDetail</type><referenceTo>Slope__c</referenceTo>{MASTER}",
        "Mother__c": "<type>Lookup</type><referenceTo>Vine__c</referenceTo><relationshipName>Young</relationshipName>",
        "Colour__c": f"<type>Picklist</type>{RESTRICTED}",
        "Good_For__c": f"<type>MultiselectPicklist</type>{RESTRICTED}<visibleLines>4</visibleLines>",
        "Yield__c": "<type>Number</type><precision>5</precision><scale>2</scale><defaultValue>2</defaultValue>",
        "Planted__c": "<type>Date</type>",
        "Seen__c": "<type>DateTime</type>",
        "Sun__c": "<type>Time</type>",
        "Keeper__c": "<type>Email</type>",
        "Picture__c": "<type>Url</type>",
        "Story__c": "<type>LongTextArea</type><length>2000</length><visibleLines>3</visibleLines>",
        "Rows__c": "<type>Number</type><precision>18</precision><scale>0</scale><formula>1</formula>",
    },
}  # fmt: skip
NUMBERED = "<nameField><type>AutoNumber</type><displayFormat>V-{000}</displayFormat></nameField>"
BODIES = {"Slope__c": "", "Vine__c": f"{NUMBERED}<sharingModel>ControlledByParent</sharingModel>"}
TREES: Mapping[str, Sequence[Mapping[str, object]]] = {
    "Account": [{"Name": "Weingut Ä"}, {"Name": "Château B", "ParentId": "@Account0"}],
    "Slope__c": [{"Name": "South", "Owner_Of__c": "@Account1", "Steep__c": False}],
}


def write(file: Path, kind: str, body: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} {XMLNS}>{body}</{kind}>\n', encoding="utf-8")


def vineyard(folder: Path) -> Path:
    """A data set of all kinds of fields, one of whose objects has no records."""
    for name, fields in FIELDS.items():
        place = folder / "objects" / name
        if name in BODIES:
            labels = f"<label>{name}</label><pluralLabel>{name}s</pluralLabel>"
            write(place / f"{name}.object-meta.xml", "CustomObject", labels + BODIES[name])
        for field, body in fields.items():
            head = f"<fullName>{field}</fullName><label>{field}</label>"
            write(place / f"{field}.field-meta.xml", "CustomField", head + body)
    (folder / "data").mkdir()
    (folder / "data" / "plan.json").write_text(
        json.dumps([{"sobject": name, "files": [f"{name}.json"]} for name in TREES]), encoding="utf-8"
    )
    for name, records in TREES.items():
        told = [
            {"attributes": {"type": name, "referenceId": f"{name}{number}"}, **record}
            for number, record in enumerate(records)
        ]
        (folder / "data" / f"{name}.json").write_text(json.dumps({"records": told}), encoding="utf-8")
    return folder


@contextmanager
def scene_of(folder: Path) -> Iterator[tuple[Entities, Rows, Running]]:
    with running_simulator(data=folder) as running:
        org = Rest(running.url, running.ready.client_id, running.ready.client_secret)
        described = {each.name for each in (folder / "objects").iterdir()}
        brought = {each["attributes"]["type"] for each in trees(folder)}
        names = sorted(described | brought)
        yield *dataset.scene({name: org.describe(name) for name in names}, running.control.dump), running


def trees(folder: Path) -> list[dict[str, Any]]:
    files = [json.loads(file.read_text(encoding="utf-8")) for file in (folder / "data").glob("*.json")]
    return [record for content in files if isinstance(content, dict) for record in content["records"]]


def public(name: str) -> Path:
    folder: Path = DATA_SETS / name
    if not folder.is_dir():
        pytest.skip(f"the public data set {name} is not on this machine ({folder})")
    return folder


def test_a_scene_follows_from_what_the_org_says(tmp_path: Path) -> None:
    with scene_of(vineyard(tmp_path)) as (entities, rows, _):
        account, slope, vine = entities.values()
    assert [each.name for each in (account, slope, vine)] == ["Account", "Slope__c", "Vine__c"]
    assert [(each.name, each.parent, each.required) for each in vine.references] == [
        ("Mother__c", "Vine__c", False),
        ("Slope__c", "Slope__c", True),
    ]
    assert [(each.name, each.required) for each in slope.references] == [("Owner_Of__c", True)]
    assert (account.refusing, slope.refusing, vine.refusing) == ("BillingStreet", "Soil__c", "")
    assert (account.mirrored, slope.mirrored, vine.mirrored) == (False, True, True)
    assert vine.edited == {"Colour__c": Policy.SOURCE, "Yield__c": Policy.ASK, "Planted__c": Policy.TARGET}
    assert {each.name for each in vine.fields} >= set(FIELDS["Vine__c"]) - {"Rows__c"}
    assert not {"Name", "Rows__c", "CreatedDate", "OwnerId"} & {each.name for each in vine.fields}
    (south,) = rows["Slope__c"].values()
    assert rows["Account"][str(south["Owner_Of__c"])]["Name"] == "Château B"
    assert (south["Name"], south["Steep__c"], south["Soil__c"], rows["Vine__c"]) == ("South", "false", None, {})


@pytest.mark.parametrize("which", ["vineyard", "easy-spaces", "ebikes"])
def test_what_a_scene_calls_refused_an_org_refuses_and_it_takes_the_rest(which: str, tmp_path: Path) -> None:
    """Each value by chance, well or badly made, put to an org that knows nothing of campaigns."""
    folder = vineyard(tmp_path) if which == "vineyard" else public(which)
    chance = random.Random(7)
    with scene_of(folder) as (entities, rows, running), httpx.Client(base_url=running.url, trust_env=False) as http:
        brought = sum(len(of_it) for of_it in rows.values())
        assert brought == len(trees(folder))
        there = {name: dict(of_it) for name, of_it in rows.items()}
        desk = Desk(Client(running, http), {key: key for of_it in rows.values() for key in of_it})
        spoilt = 0
        for name, of_it in dataset.grown(chance, entities, rows, brought + 40).items():
            entity = entities[name]
            if entity.refusing:
                formula = f'BEGINS({entity.refusing}, "{REFUSED}")'
                running.control.add_rule(name, name="no", formula=formula, message="No.")
            for key, row in of_it.items():
                if key in desk.ids:
                    continue
                assert desk.create(entity, key, row) == 201, row
                there[name][key] = row
                worse = entity.spoilt(chance, row)
                assert is_refused(entity, key, worse, ruled=True)
                assert desk.change(entity, key, row, worse) == 400, worse
                better = entity.mended(chance, entity.touched(chance, worse, there), there)
                assert not is_refused(entity, key, better, ruled=True)
                assert desk.change(entity, key, row, better) == 204, better
                edited = {each: another(chance, entity.field(each), better[each]) for each in entity.edited}
                assert desk.change(entity, key, row, {**row, **edited}) == 204, edited
                spoilt += 1
    assert spoilt >= 20


@dataclass(frozen=True)
class Desk:
    """Where rows are put to an org, one at a time; ``ids`` are its own by the keys of rows. Answers are HTTP's."""

    client: Client
    ids: dict[str, str]

    def create(self, entity: Entity, key: str, row: Row) -> int:
        answer = self.client.ask(f"/sobjects/{entity.name}", "POST", json=self._body(entity, row))
        self.ids[key] = answer.json()["id"] if answer.status_code == 201 else ""
        return answer.status_code

    def change(self, entity: Entity, key: str, row: Row, now: Row) -> int:
        """Where the row's fields become those of ``now``."""
        before, after = self._body(entity, row), self._body(entity, now)
        changes = {name: value for name, value in after.items() if value != before[name]}
        return self.client.ask(f"/sobjects/{entity.name}/{self.ids[key]}", "PATCH", json=changes).status_code

    def _body(self, entity: Entity, row: Row) -> dict[str, object]:
        made: dict[str, object] = {}
        for field in entity.fields:
            value = row[field.name]
            if field.kind is Kind.FLAG:
                made[field.name] = value == "true"
            elif field.kind is Kind.NUMBER and value is not None:
                made[field.name] = float(value) if field.digits else int(value)
            else:
                made[field.name] = self.ids.get(value, value) if value and field.kind is Kind.REFERENCE else value
        return made


def test_the_checker_looks_at_every_field_of_every_object(tmp_path: Path) -> None:
    """An org is filled with rows and read back equal; whatever somebody changes there is told, and nothing else."""
    with scene_of(vineyard(tmp_path)) as (entities, rows, running):
        source = OrgSource(running.control, entities, ids={key: key for of_it in rows.values() for key in of_it})
        grown = dataset.grown(random.Random(3), entities, rows, 60)
        source.put(rows, grown)
        for name, of_it in grown.items():
            running.control.define({"fullName": name, "fields": [EXTERNAL_ID]})
            keys = [{"Id": key, "External_Id__c": key} for key in map(source.id_of, of_it)]
            running.control.upsert(name, keys)
        wanted, ready = named(grown, source, entities), running.ready

        def problems() -> list[str]:
            held = checker.held_in_org(ready.url, ready.client_id, ready.client_secret, entities, "External_Id__c")
            return checker.problems_of_target(held, wanted)

        assert problems() == []
        for name, entity in entities.items():
            key, row = list(wanted[name].items())[-1]
            for field in entity.fields:
                others = [each for each in wanted[field.parent] if each != row[field.name]] if field.parent else []
                other = others[0] if others else other_than(row[field.name], field)
                running.control.upsert(name, [{"Id": key, field.name: other}])
                (problem,) = problems()
                assert problem.startswith(
                    f"{name}: 1 different: {key}.{field.name} (should be {row[field.name]!r}, is "
                )
                running.control.upsert(name, [{"Id": key, field.name: row[field.name]}])


def other_than(value: str | None, field: Field) -> str:
    if field.kind is Kind.MOMENT:
        return "1999-12-31T23:59:59.000Z"
    if value is not None and value.endswith(":00.000Z"):
        return "01:02:03.000Z"
    return another(random.Random(1), field, value)


def test_a_parent_that_is_missing_matters_only_where_nothing_shows_before() -> None:
    """A record that would be refused by the target's rule waits for its parent first; one with an unknown value is
    rejected, parent or not."""
    described = {
        "A": {"fields": [told("Name", "string", length=80)]},
        "B": {
            "fields": [
                told("Name", "string", length=80), told("Text", "string", length=80),
                told("A", "reference", referenceTo=["A"], nillable=False, updateable=False),
            ]
        },
    }  # fmt: skip
    entities, _ = dataset.scene(described, lambda _: ())
    assert entities["B"].refusing == "Text"
    row: Row = {"Name": "b", "Text": f"{REFUSED} 1", "A": "gone"}
    rows: Rows = {"A": {}, "B": {"rule": row, "flaw": {**row, "Name": "x" * 81}, "well": {**row, "Text": None}}}
    known = Expectation(entities, {"A": {}, "B": {}}, stamps=False, ruled=True)
    assert known.loaded(rows).least == {"deferred": 2, "rejected": 1}
    assert {key: each.state for key, each in known.known["B"].items()} == {
        "rule": State.DEFERRED,
        "flaw": State.REJECTED,
        "well": State.DEFERRED,
    }


def test_objects_that_refer_to_one_another_in_a_circle_are_no_scene() -> None:
    described = {
        name: {"fields": [told("To", "reference", referenceTo=[other])]} for name, other in (("A", "B"), ("B", "A"))
    }
    with pytest.raises(Unfit, match="Among A, B each refers to another"):
        dataset.scene(described, lambda _: ())


def told(name: str, kind: str, **given: object) -> dict[str, object]:
    """A field as describe tells of it."""
    numbers = dict.fromkeys(("length", "precision", "scale", "digits"), 0)
    never = dict.fromkeys(("defaultedOnCreate", "unique", "restrictedPicklist"), False)
    always = dict.fromkeys(("createable", "updateable", "nillable"), True)
    named = {"name": name, "type": kind, "nameField": name == "Name", "picklistValues": [], "referenceTo": []}
    return {**numbers, **never, **always, **named, **given}


@pytest.mark.parametrize(
    ("source", "target", "data", "said"),
    [
        ("dataset", "salesforce", None, "--data names the folder of a data set"),
        ("payroll", "salesforce", "here", "with nothing else"),
        ("dataset", "postgresql", "here", "A data set leads from org to org: use --target salesforce"),
        ("dataset", "salesforce", "nowhere", "nowhere is no data set: it needs a folder objects"),
    ],
)
def test_what_is_no_data_set_is_refused_in_one_sentence(
    source: str, target: str, data: str | None, said: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(TormentRefused, match=said),
        laid_out(source, target, seed=1, data=tmp_path / data if data else None),
    ):
        pytest.fail("it was laid out")


@pytest.mark.long
@pytest.mark.processes
def test_a_short_campaign_over_a_data_set_is_clean(tmp_path: Path) -> None:
    """One round, and with this seed it is the one in which the target refuses records."""
    folder = str(vineyard(tmp_path))
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "torment", "dataset", "--data", folder]
    options = ["--target", "salesforce", "--seed", "4", "--minutes", "0", "--records", "90", "--calm", "4", "--json"]
    done = subprocess.run(
        [*command, *options], env={**os.environ, "DEBUG": "true"}, capture_output=True, text=True, check=False
    )
    report = orjson.loads(done.stdout)
    assert (done.returncode, report["problems"], report["clean"]) == (0, [], True), done.stderr
    assert report["rounds"] == {"refuse": 1}
    assert report["outcomes"]["rejected"] > 0
    assert report["records_checked"] >= 180
