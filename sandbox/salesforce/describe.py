"""Describe answers, with the full key sets of recorded ones, made from object definitions.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm
"""

from typing import Any

from sandbox.salesforce.schema import NUMBER_TYPES, TEXT_TYPES, Field, RecordType, Schema, SObject

MASTER_RECORD_TYPE = "012000000000000AAA"
_SOAP_TYPES = {
    "id": "tns:ID", "reference": "tns:ID", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double",
    "currency": "xsd:double", "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime",
    "time": "xsd:time", "address": "urn:address", "base64": "xsd:base64Binary",
}  # fmt: skip


def describe_global(schema: Schema, version: str) -> dict[str, Any]:
    entries = sorted(schema, key=lambda each: each.name)
    return {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": [_summary(each, version) for each in entries]}


def describe(schema: Schema, subject: SObject, version: str) -> dict[str, Any]:
    answer = _summary(subject, version)
    answer |= {
        "actionOverrides": [],
        "childRelationships": [_child(child, field) for child, field in schema.children(subject.name)],
        "compactLayoutable": subject.layoutable,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "fields": [describe_field(field) for field in subject.fields],
        "implementedBy": None,
        "implementsInterfaces": None,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": _record_types(subject, version) if subject.layoutable else [],
        "searchLayoutable": subject.searchable,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": _scopes(subject),
    }
    return answer


def _summary(subject: SObject, version: str) -> dict[str, Any]:
    path = f"/services/data/v{version}/sobjects/{subject.name}"
    urls = {"rowTemplate": f"{path}/{{ID}}", "describe": f"{path}/describe", "sobject": path}
    return {
        "activateable": False,
        "associateEntityType": subject.associate_type,
        "associateParentEntity": subject.associate_parent,
        "createable": subject.createable,
        "custom": subject.custom,
        "customSetting": False,
        "deepCloneable": False,
        "deletable": subject.deletable,
        "deprecatedAndHidden": False,
        "feedEnabled": subject.feed,
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": subject.prefix,
        "label": subject.label,
        "labelPlural": subject.plural,
        "layoutable": subject.layoutable,
        "mergeable": subject.mergeable,
        "mruEnabled": subject.layoutable,
        "name": subject.name,
        "queryable": True,
        "replicateable": subject.field("SystemModstamp") is not None,
        "retrieveable": True,
        "searchable": subject.searchable,
        "triggerable": subject.triggerable,
        "undeletable": subject.undeletable,
        "updateable": subject.may_change,
        "urls": urls,
    }


def describe_field(field: Field) -> dict[str, Any]:
    """One field with every key a real describe has."""
    text = field.type in TEXT_TYPES
    compound = field.type == "address"
    identifier = field.type in ("id", "reference")
    return {
        "aggregatable": field.filterable and not compound and field.type != "boolean",
        "aiPredictionField": False,
        "autoNumber": field.auto_number is not None,
        "byteLength": field.length if identifier else field.length * 3,
        "calculated": field.calculated,
        "calculatedFormula": field.formula,
        "cascadeDelete": field.cascade_delete,
        "caseSensitive": field.case_sensitive,
        "compoundFieldName": field.compound,
        "controllerName": None,
        "createable": field.createable,
        "custom": field.custom,
        "defaultValue": _default_value(field),
        "defaultValueFormula": None,
        "defaultedOnCreate": field.defaulted,
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": field.digits,
        "displayLocationInDecimal": False,
        "encrypted": False,
        "externalId": field.external_id,
        "extraTypeInfo": field.extra,
        "filterable": field.filterable,
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": field.blank_is_zero,
        "groupable": field.filterable
        and not compound
        and field.type not in {*NUMBER_TYPES, "datetime", "combobox", "time"},
        "highScaleNumber": False,
        "htmlFormatted": field.extra == "richtextarea",
        "idLookup": field.id_lookup,
        "inlineHelpText": field.help,
        "label": field.label,
        "length": field.length if text else 0,
        "mask": None,
        "maskType": None,
        "name": field.name,
        "nameField": field.name_field,
        "namePointing": field.polymorphic,
        "nillable": field.nillable,
        "permissionable": field.permissionable,
        "picklistValues": [
            {
                "active": each.active,
                "defaultValue": each.default,
                "label": each.label,
                "validFor": None,
                "value": each.value,
            }
            for each in field.values
        ],
        "polymorphicForeignKey": field.polymorphic,
        "precision": field.precision,
        "queryByDistance": compound,
        "referenceTargetField": None,
        "referenceTo": list(field.reference_to),
        "relationshipName": field.relationship,
        "relationshipOrder": field.relationship_order,
        "restrictedDelete": field.restricted_delete,
        "restrictedPicklist": field.restricted,
        "scale": field.scale,
        "searchPrefilterable": field.type == "reference" and field.custom,
        "soapType": _SOAP_TYPES.get(field.type, "xsd:string"),
        "sortable": field.filterable and not compound and field.type != "multipicklist",
        "type": field.type,
        "unique": field.unique,
        "updateable": field.updateable,
        "writeRequiresMasterRead": field.write_requires_master_read,
    }


def _default_value(field: Field) -> str | bool | float | None:
    if field.type == "boolean":
        return bool(field.default)
    return field.default


def _child(child: SObject, field: Field) -> dict[str, Any]:
    return {
        "cascadeDelete": field.cascade_delete,
        "childSObject": child.name,
        "deprecatedAndHidden": False,
        "field": field.name,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
        "relationshipName": field.child_relationship,
        "restrictedDelete": field.restricted_delete,
    }


def _record_types(subject: SObject, version: str) -> list[dict[str, Any]]:
    """The object's record types and, last, the master every object has."""
    own = subject.record_types
    master = RecordType(MASTER_RECORD_TYPE, "Master", "Master", default=not any(each.default for each in own))
    path = f"/services/data/v{version}/sobjects/{subject.name}/describe/layouts"
    return [
        {
            "active": each.active,
            "available": each.available,
            "defaultRecordTypeMapping": each.default,
            "developerName": each.developer_name,
            "master": each is master,
            "name": each.name,
            "recordTypeId": each.id,
            "urls": {"layout": f"{path}/{each.id}"},
        }
        for each in (*own, master)
    ]


def _scopes(subject: SObject) -> list[dict[str, str]]:
    plural = subject.plural.lower()
    scopes = [{"label": f"All {plural}", "name": "everything"}]
    return [*scopes, {"label": f"My {plural}", "name": "mine"}] if subject.field("OwnerId") else scopes
