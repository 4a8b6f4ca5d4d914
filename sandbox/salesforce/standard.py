"""The schema every simulated org starts with: the standard objects and their share and history companions."""

from sandbox.salesforce import crm_objects as crm
from sandbox.salesforce import fields as f
from sandbox.salesforce import file_objects as files
from sandbox.salesforce import setup_objects as setup
from sandbox.salesforce.schema import Schema, SObject

_CRM = (
    crm.account,
    crm.contact,
    crm.lead,
    crm.opportunity,
    crm.product,
    crm.pricebook,
    crm.campaign,
    crm.case,
    crm.task,
    crm.event,
)
_FILES = (files.content_version, files.content_document, files.content_document_link, files.attachment)
_SETUP = (
    setup.user,
    setup.organization,
    setup.profile,
    setup.user_role,
    setup.group,
    setup.queue_sobject,
    setup.record_type,
    setup.permission_set,
    setup.permission_set_assignment,
    setup.custom_permission,
    setup.setup_entity_access,
)


def standard_schema() -> Schema:
    """A new schema of the built-in objects with their share, history and feed companions."""
    made = [make() for make in (*_CRM, *_FILES, *_SETUP)]
    companions = [each for base in made if base.feed for each in companion_objects(base)]
    return Schema([*made, *companions])


def companion_objects(base: SObject) -> tuple[SObject, ...]:
    """The helper objects the platform lists beside one with history and sharing; here they hold no rows."""
    stem = base.name.removesuffix("__c") + "__" if base.custom else base.name
    parent = "ParentId" if base.custom else f"{base.name}Id"
    relation = "Parent" if base.custom else base.name
    link = f.required(f.read_only(f.reference(parent, f"{base.label} ID", base.name, relationship=relation)))
    by = f.audit()[1]
    created = f.audit()[0]
    history = (
        f.record_id("History ID"),
        f.deleted(),
        link,
        by,
        created,
        f.read_only(f.text("Field", "Changed Field")),
        f.read_only(f.text("OldValue", "Old Value")),
        f.read_only(f.text("NewValue", "New Value")),
    )
    share = (
        f.record_id("Share ID"),
        link,
        f.required(f.reference("UserOrGroupId", "User/Group ID", "User", "Group", relationship="UserOrGroup")),
        f.read_only(f.picklist("RowCause", "Row Cause", "Owner", "Manual", "Rule", restricted=True)),
        f.read_only(f.datetime("LastModifiedDate", "Last Modified Date")),
        f.deleted(),
    )
    made = (("History", history), ("Share", share))
    return tuple(
        SObject(
            name=stem + kind,
            label=f"{base.label} {kind}",
            plural=f"{base.label} {kind}",
            prefix=None,
            fields=columns,
            createable=False,
            deletable=False,
            undeletable=False,
            searchable=False,
            triggerable=False,
            layoutable=False,
            associate_type=kind,
            associate_parent=base.name,
        )
        for kind, columns in made
    )
