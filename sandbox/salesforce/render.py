"""SQL expressions that render a whole result row as JSON or CSV text inside SQLite.

A page of 2,000 records is then 2,000 ready strings: no Python work per field, and the interpreter lock is free.
"""

from collections.abc import Sequence

from sandbox.salesforce.compile import ROOT, Leaf, Parent, Plan
from sandbox.salesforce.schema import NUMBER_TYPES

DELIMITERS = {"COMMA": ",", "TAB": "\t", "PIPE": "|", "SEMICOLON": ";", "CARET": "^", "BACKQUOTE": "`"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
_MAX_ARGUMENTS = 100  # SQLite takes 127 to a function
_PLAIN = frozenset(("id", "reference", "date", "time"))  # text that needs no escaping


def json_row(plan: Plan, version: str) -> str:
    """SQL for one record as JSON bytes, ``attributes`` first."""
    root = Parent("", ((plan.subject.name, ROOT),), plan.columns)
    return f"CAST({_concatenated(_json_object(root, version))} AS BLOB)"


def csv_row(plan: Plan, delimiter: str) -> str:
    """SQL for one record as a CSV line in bytes, every value quoted, without its line ending.

    SQLite's ``%w`` doubles quotation marks, several times faster than ``replace`` on every value.
    """
    values = [_csv_value(leaf) for _, leaf in _flat(plan.columns, "")]
    groups = [values[start : start + _MAX_ARGUMENTS] for start in range(0, len(values), _MAX_ARGUMENTS)]
    marks = [_text(delimiter.join(['"%w"'] * len(group))) for group in groups]
    lines = [f"printf({mark}, {', '.join(group)})" for mark, group in zip(marks, groups, strict=True)]
    between = f" || {_text(delimiter)} || "
    return f"CAST({between.join(lines)} AS BLOB)"


def csv_header(plan: Plan, delimiter: str) -> str:
    return delimiter.join(f'"{path}"' for path, _ in _flat(plan.columns, ""))


def _flat(columns: Sequence[Leaf | Parent], prefix: str) -> list[tuple[str, Leaf]]:
    found: list[tuple[str, Leaf]] = []
    for each in columns:
        if isinstance(each, Parent):
            found += _flat(each.leaves, f"{prefix}{each.key}.")
        else:
            found.append((prefix + each.key, each))
    return found


def _json_object(parent: Parent, version: str) -> list[str]:
    name, alias = parent.targets[0]
    if len(parent.targets) == 1:
        pieces = [_text(_attributes(name, version)), f'{alias}."Id"', _text('"}')]
    else:
        whens = " ".join(
            f'WHEN {alias}."Id" IS NOT NULL THEN {_text(_attributes(name, version))} || {alias}."Id"'
            for name, alias in parent.targets
        )
        pieces = [f"(CASE {whens} END)", _text('"}')]
    for each in parent.leaves:
        pieces.append(_text(f',"{each.key}":'))
        pieces.append(_nested(each, version) if isinstance(each, Parent) else _json_value(each))
    return [*pieces, _text("}")]


def _attributes(name: str, version: str) -> str:
    return f'{{"attributes":{{"type":"{name}","url":"/services/data/v{version}/sobjects/{name}/'


def _nested(parent: Parent, version: str) -> str:
    present = ", ".join(f'{alias}."Id"' for _, alias in parent.targets)
    present = f"COALESCE({present})" if len(parent.targets) > 1 else present
    return f"(CASE WHEN {present} IS NULL THEN 'null' ELSE {_concatenated(_json_object(parent, version))} END)"


def _json_value(leaf: Leaf) -> str:
    if leaf.type == "address":
        return _json_address(leaf)
    return _json_scalar(leaf.type, leaf.sql)


def _json_scalar(kind: str, sql: str) -> str:
    if kind == "boolean":
        return f"(CASE {sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)"
    if kind == "int" or kind in NUMBER_TYPES:
        return f"ifnull({sql}, 'null')"
    if kind == "datetime":
        return f"ifnull('\"' || substr({sql}, 1, 23) || '+0000\"', 'null')"
    if kind in _PLAIN:
        return f"ifnull('\"' || {sql} || '\"', 'null')"
    return f"json_quote({sql})"


def _json_address(leaf: Leaf) -> str:
    pieces: list[str] = []
    for number, (key, kind, sql) in enumerate(leaf.parts):
        pieces += [_text(f'{"," if number else "{"}"{key}":'), _json_scalar(kind, sql)]
    filled = ", ".join(sql for _, _, sql in leaf.parts)
    return f"(CASE WHEN COALESCE({filled}) IS NULL THEN 'null' ELSE {_concatenated([*pieces, _text('}')])} END)"


def _csv_value(leaf: Leaf) -> str:
    if leaf.type == "boolean":
        return f"CASE {leaf.sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE '' END"
    return f"ifnull({leaf.sql}, '')"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _concatenated(pieces: Sequence[str]) -> str:
    """``a || b || …`` as a balanced tree: long rows are not copied once per field, and SQLite's depth limit is far."""
    if len(pieces) == 1:
        return pieces[0]
    middle = len(pieces) // 2
    return f"({_concatenated(pieces[:middle])} || {_concatenated(pieces[middle:])})"
