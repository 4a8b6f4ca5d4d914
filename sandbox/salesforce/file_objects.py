"""The objects that hold files: documents, their versions and links, and classic attachments.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_contentversion.htm
"""

from dataclasses import replace

from sandbox.salesforce import fields as f
from sandbox.salesforce.schema import Field, SObject

PARENTS = ("Account", "Campaign", "Case", "Contact", "Event", "Lead", "Opportunity", "Product2", "Task")


def content_version() -> SObject:
    columns = (
        f.record_id("ContentVersion ID"),
        replace(
            f.reference("ContentDocumentId", "ContentDocument ID", "ContentDocument", relationship="ContentDocument"),
            cascade_delete=True, nillable=False, defaulted=True, updateable=False,
        ),
        f.read_only(f.flag("IsLatest", "Is Latest")),
        f.read_only(f.text("VersionNumber", "Version Number", 20)),
        replace(f.text("Title", "Title", 255), name_field=True),
        f.text_area("Description", "Description", 1_000),
        f.text_area("ReasonForChange", "Reason For Change", 1_000),
        replace(f.required(f.text("PathOnClient", "Path On Client", 500)), updateable=False),
        f.read_only(f.text("FileType", "File Type", 20)),
        f.read_only(f.text("FileExtension", "File Extension", 40)),
        f.read_only(f.integer("ContentSize", "Size", 9)),
        f.read_only(f.text("Checksum", "Checksum", 50)),
        _blob("VersionData", "Version Data"),
        replace(
            f.reference(
                "FirstPublishLocationId", "First Publish Location ID", *PARENTS, "User",
                relationship="FirstPublishLocation",
            ),
            updateable=False,
        ),
        f.owner("User"),
        *f.audit(),
        f.deleted(),
    )  # fmt: skip
    return SObject(
        "ContentVersion", "Content Version", "Content Versions", "068", columns, deletable=False, undeletable=False
    )


def content_document() -> SObject:
    columns = (
        f.record_id("ContentDocument ID"),
        f.deleted(),
        f.read_only(f.flag("IsArchived", "Is Archived")),
        replace(f.required(f.text("Title", "Title", 255)), name_field=True),
        f.text_area("Description", "Description", 1_000),
        f.read_only(
            f.reference(
                "LatestPublishedVersionId", "Latest Published Version ID", "ContentVersion",
                relationship="LatestPublishedVersion",
            )
        ),
        f.read_only(f.integer("ContentSize", "Size", 9)),
        f.read_only(f.text("FileExtension", "File Extension", 40)),
        f.owner("User"),
        *f.audit(),
    )  # fmt: skip
    return SObject("ContentDocument", "Content Document", "Content Documents", "069", columns, createable=False)


def content_document_link() -> SObject:
    document = f.reference(
        "ContentDocumentId", "ContentDocument ID", "ContentDocument", relationship="ContentDocument",
        children="ContentDocumentLinks",
    )  # fmt: skip
    linked = f.reference(
        "LinkedEntityId", "Linked Entity ID", *PARENTS, "User", relationship="LinkedEntity",
        children="ContentDocumentLinks",
    )  # fmt: skip
    columns = (
        f.record_id("ContentDocumentLink ID"),
        replace(document, nillable=False, cascade_delete=True, updateable=False),
        replace(linked, nillable=False, cascade_delete=True, updateable=False),
        f.defaulting(f.picklist("ShareType", "Share Type", "V", "C", "I", restricted=True), value="V"),
        f.defaulting(
            f.picklist("Visibility", "Visibility", "AllUsers", "InternalUsers", "SharedUsers", restricted=True),
            value="AllUsers",
        ),
        f.deleted(),
        replace(f.read_only(f.datetime("SystemModstamp", "System Modstamp")), nillable=False, defaulted=True),
    )
    return SObject(
        "ContentDocumentLink", "Content Document Link", "Content Document Links", "06A", columns, undeletable=False,
        unique_together=("ContentDocumentId", "LinkedEntityId"),
        needs_filter=("ContentDocumentId", "LinkedEntityId"),
    )  # fmt: skip


def attachment() -> SObject:
    parent = f.reference("ParentId", "Parent ID", *PARENTS, relationship="Parent", children="Attachments")
    columns = (
        f.record_id("Attachment ID"),
        f.deleted(),
        replace(parent, nillable=False, cascade_delete=True, updateable=False),
        replace(f.required(f.text("Name", "File Name", 255)), name_field=True),
        f.flag("IsPrivate", "Private"),
        f.text("ContentType", "Content Type", 120),
        f.read_only(f.integer("BodyLength", "Body Length", 9)),
        replace(_blob("Body", "Body"), updateable=True),
        f.owner("User"),
        *f.audit(),
        f.text_area("Description", "Description", 500),
    )
    return SObject("Attachment", "Attachment", "Attachments", "00P", columns, bulk=False)


def _blob(name: str, label: str) -> Field:
    return Field(name, "base64", label, nillable=False, updateable=False, filterable=False)
