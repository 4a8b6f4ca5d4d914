"""Evidence as a workbook for the team: totals, rules, sums, children, what is wrong, and the chain of chunks."""

from collections.abc import Iterable
from typing import IO, Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter

from runs.evidence.document import VERDICT, Entry, Event, Json, Opening, events, overview
from runs.evidence.wording import COUNTS, counts_of, moment, object_name, orphan_words, rule_words, state_words
from runs.models import Run

MOST_ROWS = 500_000
"""Of one sheet; the JSON file has all chunks."""
LONGEST = 32_000
"""Characters of a cell; a workbook allows 32,767."""
_HEAD = Font(bold=True, color="FFFFFF")
_BLUE = PatternFill("solid", fgColor="1D4ED8")
_TOP = Alignment(vertical="top", wrap_text=True)


def write_workbook(run: Run, out: IO[bytes]) -> None:
    """The evidence of the run as XLSX. Texts stay texts: nothing in it is a formula."""
    told = overview(run)
    book = Workbook(write_only=True)
    objects = told["objects"]
    _about(book, told)
    _sheet(book, "Objects", _objects_head(told), (_object(each, told) for each in objects), [44])
    _sheet(
        book,
        "Equal by rule",
        ["Object", "Field", "Rule", "The values are equal …", "Values"],
        (
            [object_name(each), item["field"], item["rule"], rule_words(item["rule"]), item["values"]]
            for each in objects
            for item in each["totals"]["equal"]
        ),
        [44, 32, 26, 44],
    )
    _sheet(
        book,
        "Sums",
        ["Object", "Field", "Mapping demands", "Target holds", "Equal"],
        (
            [object_name(each), item["field"], item["demanded"], item["held"], _yes(item["demanded"] == item["held"])]
            for each in objects
            for item in each["totals"]["sums"]
        ),
        [44, 32, 26, 26],
    )
    _sheet(
        book,
        "Children",
        ["Object", "Reference", "Parents", "Children in the source", "Children in the target", "Parents that differ"],
        (
            [object_name(each), *(item[name] for name in ("field", "parents", "in_source", "in_target", "differing"))]
            for each in objects
            for item in each["children"] or ()
        ),
        [44, 32],
    )
    _sheet(
        book,
        "Parents that differ",
        ["Object", "Reference", "Parent (source id)", "Children in the source", "Children in the target"],
        (
            [object_name(each), item["field"], parent["parent"], parent["in_source"], parent["in_target"]]
            for each in objects
            for item in each["children"] or ()
            for parent in item["named"]
        ),
        [44, 32, 32],
    )
    _sheet(
        book,
        "Differences",
        ["Object", "Record (source id)", "Field", "Rule", "What was found"],
        (
            [object_name(each), *(found[name] for name in ("source_id", "field", "rule", "message"))]
            for each in objects
            for found in each["mismatches"]["named"]
        ),
        [44, 32, 32, 26, 90],
    )
    _sheet(
        book,
        "Orphans",
        ["Object", "Record (source id)", "Field", "Points at", "What was found"],
        (
            [object_name(each), found["source_id"], found["field"], found["value"], orphan_words(found)]
            for each in objects
            for found in (each["orphans"] or {}).get("named", ())
        ),
        [44, 32, 32, 32, 70],
    )
    _sheet(
        book,
        "Not ours",
        ["Object", "Key in the target"],
        ([object_name(each), key] for each in objects for key in (each["extras"] or {}).get("keys", ())),
        [44, 60],
    )
    _sheet(book, "Chunks", _chunk_head(), _chunks(events(run), objects), [44])
    book.save(out)


def _about(book: Any, told: Json) -> None:
    run = told["run"]
    rows = [
        ["Customer", run["customer"]],
        ["Project", run["project"]],
        ["Run", f"{run['id']} ({state_words(run)})"],
        ["How it ended", run["reason"]],
        ["Source", f"{run['source']['name']} ({run['source']['platform']})"],
        ["Target", f"{run['target']['name']} ({run['target']['platform']})"],
        ["Started", moment(run["started_at"])],
        ["Ended", moment(run["finished_at"])],
        ["Started by", run["started_by"] or "–"],
        ["SHA-256 of the mappings", run["mapping_digest"]],
        ["Seal of the evidence", told["seal"]],
        ["To verify", "manage.py verify_evidence FILE.json, with the JSON file of this run"],
    ]
    _sheet(book, "Evidence", ["", "Evidence of a migration"], rows, [28, 90])


def _objects_head(told: Json) -> list[str]:
    names = counts_of(told["run"]["kind"])
    return ["Object", *names.values(), "Not ours", "Chunks", "SHA-256 of the mapping"]


def _object(each: Json, told: Json) -> list[object]:
    counts = each["totals"]["counts"]
    figures = [counts.get(name, 0) for name in counts_of(told["run"]["kind"])]
    extras = (each["extras"] or {}).get("count")
    return [
        object_name(each),
        *figures,
        "not counted" if extras is None else extras,
        each["totals"]["chunks"],
        each["mapping"],
    ]


def _chunk_head() -> list[str]:
    return [
        "Object",
        "Chunk",
        "State",
        "Records",
        *(COUNTS[name] for name in VERDICT),
        "Written",
        "Read back",
        "Digest",
    ]


def _chunks(told: Iterable[Event], objects: list[Json]) -> Iterable[list[object]]:
    place = -1
    for event in told:
        if not isinstance(event, Entry):
            place += isinstance(event, Opening)
            continue
        body = event.body
        verdict = [body["verdict"][name] for name in VERDICT]
        digests = [body[name] for name in ("written", "read_back", "digest")]
        yield [
            object_name(objects[place]),
            body["sequence"],
            body["state"],
            body["counts"]["records"],
            *verdict,
            *digests,
        ]


def _sheet(book: Any, title: str, head: list[str], rows: Iterable[list[object]], widths: list[int]) -> None:
    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    for number in range(len(head)):
        width = widths[number] if number < len(widths) else 16
        sheet.column_dimensions[get_column_letter(number + 1)].width = width
    sheet.append([_head(sheet, text) for text in head])
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            sheet.append([_cell(sheet, f"Only the first {MOST_ROWS:,} rows are here; the JSON file has all.")])
            break
        sheet.append([_cell(sheet, value) for value in row])


def _head(sheet: Any, text: str) -> Any:
    cell = _cell(sheet, text)
    cell.font, cell.fill, cell.alignment = _HEAD, _BLUE, _TOP
    return cell


def _cell(sheet: Any, value: object) -> Any:
    """A text that begins like a formula stays a text."""
    if not isinstance(value, str):
        return WriteOnlyCell(sheet, value)
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("\ufffd", value)[:LONGEST])
    cell.data_type, cell.alignment = "s", _TOP
    return cell


def _yes(equal: bool) -> str:  # noqa: FBT001 - the one thing it words
    return "yes" if equal else "NO"
