"""The universal model holds together."""

from connectors.types import FieldType
from projects import universal


def test_references_stay_inside_the_model() -> None:
    for schema in universal.OBJECTS.values():
        for info in schema.fields:
            assert (info.type is FieldType.REFERENCE) == bool(info.references), info.name
            assert set(info.references) <= set(universal.OBJECTS)


def test_every_object_is_named_once_and_has_a_required_external_id() -> None:
    assert set(universal.OBJECTS) == {"user", "account", "contact", "lead", "opportunity", "activity", "product"}
    for name, schema in universal.OBJECTS.items():
        assert schema.entity.name == name
        assert schema.field(schema.entity.id_field).required
        assert len(set(schema.names)) == len(schema.names)


def test_picklists_are_closed() -> None:
    picklists = [info for schema in universal.OBJECTS.values() for info in schema.fields if info.choices]
    assert picklists
    assert all(info.restricted and info.type is FieldType.PICKLIST for info in picklists)
