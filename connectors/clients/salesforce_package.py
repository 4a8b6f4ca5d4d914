"""Packages of metadata as they are deployed: a zip of XML documents and their list.

https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/file_based_zip_file.htm
"""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

Content: TypeAlias = "Mapping[str, str | Sequence[str] | Content | Sequence[Content]]"
METADATA_VERSION: Final = "63.0"  # that of the WSDL the metadata client brings
_NAMESPACE: Final = "http://soap.sforce.com/2006/04/metadata"


class AppKind(StrEnum):
    """What kind of app is made for connecting."""

    EXTERNAL = "external"
    CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class Component:
    """One file of a package: where it lies, its root element and what is in it, and as what the package lists it."""

    path: str
    root: str
    content: Content
    kind: str
    name: str

    @classmethod
    def whole(cls, folder: str, suffix: str, kind: str, name: str, content: Content) -> "Component":
        """A file that is one component."""
        return cls(f"{folder}/{name}.{suffix}", kind, content, kind, name)


def package(components: Iterable[Component]) -> bytes:
    """A zip that brings these components."""
    files = list(components)
    types: list[Content] = [{"members": each.name, "name": each.kind} for each in files]
    documents = {each.path: _document(each.root, each.content) for each in files}
    return _zipped({"package.xml": _document("Package", {"types": types, "version": METADATA_VERSION}), **documents})


def removal(names: Iterable[tuple[str, str]]) -> bytes:
    """A zip that takes these components (kind and name) away, as far as they are there."""
    types: list[Content] = [{"members": name, "name": kind} for kind, name in names]
    listed = _document("Package", {"version": METADATA_VERSION})
    return _zipped({"package.xml": listed, "destructiveChanges.xml": _document("Package", {"types": types})})


def permission_set(name: str, label: str, description: str, grants: Content) -> Component:
    """A permission set with what it grants, by the vendor's names."""
    content: Content = {"description": description, "label": label, **grants}
    return Component.whole("permissionsets", "permissionset", "PermissionSet", name, content)


def _zipped(documents: Mapping[str, str]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in documents.items():
            archive.writestr(path, text)
    return written.getvalue()


def _document(root: str, content: Content) -> str:
    inner = "".join(_element(name, value) for name, value in content.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">{inner}</{root}>'


def _element(name: str, value: "str | Sequence[str] | Content | Sequence[Content]") -> str:
    if isinstance(value, str):
        return f"<{name}>{escape(value)}</{name}>"
    if isinstance(value, Mapping):
        return f"<{name}>{''.join(_element(each, inner) for each, inner in value.items())}</{name}>"
    return "".join(_element(name, each) for each in value)
