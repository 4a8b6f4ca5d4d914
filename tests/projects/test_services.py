"""Making projects and choosing what they move."""

import pytest
from django.core.exceptions import ValidationError

from connectors.types import FieldInfo, FieldType
from orgs import services as orgs
from orgs.models import Role
from projects import services
from projects.definitions import schema_from_json
from projects.mapping.specification import Field, Reference
from projects.models import Project
from projects.services import ProjectInvalid
from tests import factories
from tests.fakes import World, reference, schema

pytestmark = pytest.mark.django_db
KEY = FieldInfo("External_Id__c", external_id=True, unique=True)


def twins(world: World) -> None:
    rules = ("Name", reference("Parent__c", "Rule__c"), reference("OwnerId", "User"), FieldInfo("Total__c"))
    world.schemas["Rule__c"] = schema("Rule__c", *rules, "Only_here__c")
    total = FieldInfo("Total__c", writable=False)
    world.target_schemas["Rule__c"] = schema("Rule__c", *rules[:3], total, KEY)


def adopt(project: Project, *entities: str, key: str = "") -> tuple[list[object], list[services.Left]]:
    with orgs.open_source(project.source) as source, orgs.open_target(project.target) as target:
        chosen, left = services.adopt_like(project, source, target, entities, key=key)
    return list(chosen), left


def test_like_entities_map_themselves_and_say_what_stays_behind(world: World) -> None:
    twins(world)
    project = factories.project(mirror=False)
    _, [left] = adopt(project, "Rule__c")
    mapping = services.object_mapping(project.project_objects.get(), world.schemas["Rule__c"])
    assert {rule.target: rule.rule for rule in mapping.to_target} == {
        "External_Id__c": Field("Id"),
        "Name": Field("Name"),
        "Parent__c": Reference(Field("Parent__c"), ("Rule__c",)),
    }
    assert (mapping.identity, mapping.key) == ("Id", "External_Id__c")
    assert left.sentences == (
        "OwnerId points at User, which is not moved along.",
        "Only_here__c does not exist in the target.",
        "Total__c cannot be written in the target.",
    )


def test_an_entity_without_an_external_id_is_refused(world: World) -> None:
    world.schemas["Rule__c"] = world.target_schemas["Rule__c"] = schema("Rule__c", "Name")
    with pytest.raises(ProjectInvalid, match="Rule__c has no unique external-id field in the target"):
        adopt(factories.project(mirror=False), "Rule__c")


def test_the_known_external_id_wins_over_others(world: World) -> None:
    other = FieldInfo("Legacy__c", external_id=True, unique=True)
    world.schemas["Rule__c"] = schema("Rule__c", "Name")
    world.target_schemas["Rule__c"] = schema("Rule__c", "Name", other, KEY)
    project = factories.project(mirror=False)
    adopt(project, "Rule__c")
    assert project.project_objects.get().key == "External_Id__c"
    adopt(project, "Rule__c", key="Legacy__c")
    assert project.project_objects.get().key == "Legacy__c"


def test_a_project_joins_orgs_of_one_customer_in_their_roles(world: World) -> None:
    customer = factories.customer()
    source = factories.org(customer=customer, role=Role.SOURCE)
    target = factories.org(customer=customer, role=Role.TARGET)
    assert services.create_project(customer, "Move", source=source, target=target).name == "Move"
    with pytest.raises(ProjectInvalid, match="is not set up as a source"):
        services.create_project(customer, "Other way", source=target, target=source)
    with pytest.raises(ProjectInvalid, match="belongs to another customer"):
        services.create_project(customer, "Strange", source=factories.org(), target=target)


def test_only_a_mirror_takes_entities_as_they_are(world: World) -> None:
    world.add(schema("Account", "Name"))
    project = factories.project(mirror=False)
    mirror = factories.project()
    with orgs.open_source(project.source) as source:
        with pytest.raises(ProjectInvalid, match="does not mirror its source"):
            services.adopt_entities(project, source)
        with pytest.raises(ProjectInvalid, match="has no entity “Ghost”"):
            services.adopt_entities(mirror, source, ["Ghost"])
        assert [item.target_entity for item in services.adopt_entities(mirror, source)] == ["account"]
        with pytest.raises(ProjectInvalid, match="No mapping from fake to “product” is packaged"):
            services.adopt_packaged(project, source, model="product")


def test_a_definition_is_kept_as_described(world: World) -> None:
    field = FieldInfo("Kind", FieldType.PICKLIST, choices=("a", "b"), restricted=True, length=9)
    world.add(schema("Account", field, reference("ParentId", "Account")))
    source = factories.org(role=Role.SOURCE)
    with orgs.open_source(source) as connector:
        described = services.describe(source, "Account", connector)
    stored = source.definitions.get(entity="Account")
    assert schema_from_json(stored.schema) == described == world.schemas["Account"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("match_fields", "Email", "match must be a list of target fields"),
        ("match_fields", ["Email", "Email"], "match names a field twice"),
        ("unresolved", ["wait"], "unresolved must be an object"),
        ("unresolved", {"AccountId": "hope"}, "it must be one of wait, blank, drop, keep, reject"),
    ],
)
def test_what_is_no_match_key_or_policy_is_refused(db: None, field: str, value: object, said: str) -> None:
    chosen = factories.project_object(factories.project(), "Contact", **{field: value})
    with pytest.raises(ValidationError, match=said):
        chosen.clean()
