"""Between XML elements and plain values, for the SOAP calls."""

from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape


def plain_name(element: Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def content_of(element: Element) -> dict[str, Any]:
    """An element's children by name: text, or a mapping where they have children; repeated ones as a list."""
    found: dict[str, Any] = {}
    for child in element:
        value: Any = content_of(child) if len(child) else (child.text or "").strip()
        name = plain_name(child)
        if name in found:
            earlier = found[name]
            found[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]
        else:
            found[name] = value
    return found


def written(content: dict[str, Any]) -> str:
    """The reverse of ``content_of``."""
    return "".join(_written(name, value) for name, value in content.items())


def _written(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_written(name, each) for each in value)
    if isinstance(value, dict):
        return f"<{name}>{written(value)}</{name}>"
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    return f"<{name}>{escape(text)}</{name}>"


def repeated(name: str, contents: Iterable[dict[str, Any]]) -> str:
    return "".join(f"<{name}>{written(each)}</{name}>" for each in contents)
