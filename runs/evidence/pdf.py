"""Evidence as a document for the customer: what was moved, how it was proved, and what is not as it should be.

Made by fpdf2 (https://py-pdf.github.io/fpdf2/) with embedded fonts: Noto Sans (Latin, Greek, Cyrillic), and Noto
Sans SC for Chinese and Kana. A character of neither is written as its code point, never left out.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace, TTFFont

from runs.choices import RunState
from runs.evidence.document import Json, overview
from runs.evidence.wording import (
    by_rule,
    counts_of,
    moment,
    object_name,
    orphan_words,
    rule_words,
    state_words,
    trouble,
)
from runs.models import Run

MOST_LINES = 60
"""Of one list of differences; the workbook and the JSON file have more."""
LONGEST = 240
"""Characters of a value that is quoted."""
INK, SOFT, LINE = (15, 23, 42), (71, 85, 105), (203, 213, 225)
BLUE, GREEN, AMBER, RED = (29, 78, 216), (4, 120, 87), (180, 83, 9), (185, 28, 28)
PALE = {GREEN: (236, 253, 245), AMBER: (255, 251, 235), RED: (254, 242, 242)}
BAND = (241, 245, 249)
NOTO, HAN = "noto", "han"
_FACES = {
    NOTO: ("fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf"),
    HAN: ("pylopdf_fonts_zh_cn", "NotoSansSC-Regular.otf"),
}


def as_pdf(run: Run) -> bytes:
    """The document; its length is bounded whatever the run's size."""
    return set_document(overview(run))


def set_document(told: Json) -> bytes:
    """The document of what ``overview`` told."""
    sheet = _Sheet(told)
    _front(sheet, told)
    _objects(sheet, told)
    _values(sheet, told["objects"])
    _sums(sheet, told["objects"])
    _children(sheet, told["objects"])
    _differences(sheet, told["objects"])
    _seal(sheet, told)
    return bytes(sheet.output())


class _Sheet(FPDF):
    """A4 with the fonts, a footer that names the run, and the few ways things are set here."""

    def __init__(self, told: Json) -> None:
        super().__init__(format="A4")
        self.set_title(f"Evidence of run {told['run']['id']}")
        self.set_creator("Migration Factory")
        self.set_lang("en")
        self.set_margins(18, 18, 18)
        self.set_auto_page_break(auto=True, margin=22)
        for family, path in _font_files().items():
            self.add_font(family, "", path)
        self.set_fallback_fonts([HAN])
        self.foot = f"Run {told['run']['id']} · seal {told['seal'][:16]}…"
        self.add_page()

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font(NOTO, size=7.5)
        self.set_text_color(*SOFT)
        self.cell(0, 5, self.foot)
        self.set_x(self.l_margin)
        self.cell(0, 5, f"Page {self.page_no()} of {{nb}}", align="R")

    def say(self, text: str, *, size: float = 9.5, color: tuple[int, int, int] = INK, after: float = 1.5) -> None:
        """A paragraph."""
        self.set_font(NOTO, size=size)
        self.set_text_color(*color)
        self.multi_cell(0, size * 0.53, self.shown(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.ln(after)

    def head(self, text: str) -> None:
        """A section's heading, never alone at the foot of a page."""
        if self.will_page_break(40):
            self.add_page()
        self.ln(4)
        self.say(text, size=13, color=BLUE, after=1)

    def grid(
        self, head: Sequence[str], rows: Iterable[Sequence[object]], widths: Sequence[float], numbers: int
    ) -> None:
        """A table whose last ``numbers`` columns are figures; its heading comes again on every page."""
        aligned = ["LEFT"] * (len(head) - numbers) + ["RIGHT"] * numbers
        self.set_font(NOTO, size=8)
        self.set_text_color(*INK)
        self.set_draw_color(*LINE)
        self.set_fill_color(255)
        with self.table(
            col_widths=tuple(widths),
            text_align=tuple(aligned),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            headings_style=FontFace(color=SOFT, fill_color=BAND),
            line_height=4.4,
            padding=(1.1, 1.6),
            width=self.epw,
        ) as table:
            for line in (head, *rows):
                row = table.row()
                for cell in line:
                    row.cell(self.shown(f"{cell:,}" if isinstance(cell, int) else str(cell)))
        self.ln(2)

    def shown(self, text: str) -> str:
        """The text as the fonts can show it."""
        known = [font.cmap for font in self.fonts.values() if isinstance(font, TTFFont)]
        whole = "".join(_character(each, known) for each in unicodedata.normalize("NFC", text))
        # Long technical names may be broken after an underscore.
        return whole.replace("_", "_\u200b")


def _character(each: str, known: Sequence[Any]) -> str:
    if each.isspace():
        return " "
    if unicodedata.category(each) in {"Cc", "Cf"}:
        return ""
    return each if any(ord(each) in cmap for cmap in known) else f"‹U+{ord(each):04X}›"


@cache
def _font_files() -> dict[str, str]:
    """Family → file. The packages lie unpacked on the disk, so the paths last."""
    found = {}
    for family, (package, name) in _FACES.items():
        with as_file(files(package).joinpath(name)) as path:
            found[family] = str(path)
    return found


def _front(sheet: _Sheet, told: Json) -> None:
    run = told["run"]
    sheet.set_fill_color(*BLUE)
    sheet.rect(0, 0, sheet.w, 5, style="F")
    sheet.say(run["customer"], size=10, color=SOFT, after=0.5)
    sheet.say("Evidence of a migration" if not run["undoes"] else "Evidence of a rollback", size=21, after=0.5)
    sheet.say(f"{run['project']}: {run['source']['name']} → {run['target']['name']}", size=11, color=SOFT, after=4)
    _verdict(sheet, told)
    facts = [
        ("Run", f"{run['id']} ({state_words(run)})"),
        ("Source", f"{run['source']['name']} ({run['source']['platform']})"),
        ("Target", f"{run['target']['name']} ({run['target']['platform']})"),
        ("Started", moment(run["started_at"])),
        ("Ended", moment(run["finished_at"])),
    ]
    for name, fact in facts:
        sheet.set_font(NOTO, size=9)
        sheet.set_text_color(*SOFT)
        sheet.cell(26, 5.2, name)
        sheet.set_text_color(*INK)
        sheet.multi_cell(0, 5.2, sheet.shown(fact), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
    sheet.ln(2)
    sheet.say(
        "After the run every record was read back from the target system, and every value was compared with what the "
        "agreed mapping demands. This document says what came of it.",
        color=SOFT,
    )


def _verdict(sheet: _Sheet, told: Json) -> None:
    """The one sentence that matters, in a box whose colour says the same."""
    run = told["run"]
    color = GREEN if run["state"] == RunState.COMPLETED else AMBER
    color = RED if run["state"] in {RunState.FAILED, RunState.CRASHED, RunState.CANCELLED} else color
    sheet.set_fill_color(*PALE[color])
    sheet.set_draw_color(*color)
    sheet.set_text_color(*color)
    sheet.set_font(NOTO, size=11.5)
    sheet.multi_cell(
        0,
        6.4,
        sheet.shown(run["reason"]),
        border="L",
        fill=True,
        padding=(3, 4),
        align="L",
        new_x=XPos.LMARGIN,
        new_y=YPos.NEXT,
    )
    sheet.ln(4)


def _objects(sheet: _Sheet, told: Json) -> None:
    names = counts_of(told["run"]["kind"])
    seen = [name for name in names if any(each["totals"]["counts"].get(name) for each in told["objects"])]
    main = [name for name in ("records", "created", "updated", "unchanged", "deleted") if name in seen]
    sheet.head("What was moved" if not told["run"]["undoes"] else "What was taken back")
    if not told["objects"]:
        sheet.say("The run ended before it was planned.", color=SOFT)
        return
    rows = [[object_name(each), *(each["totals"]["counts"].get(name, 0) for name in main)] for each in told["objects"]]
    sheet.grid(["Object", *(names[name] for name in main)], rows, [44, *[18] * len(main)], len(main))
    checked = [name for name in ("verified_records", "verified_fields", "missing", "mismatches") if name in names]
    troubles = [name for name in ("rejected", "deferred", "skipped", "conflicts") if name in seen]
    columns = [*checked, *troubles]
    sheet.say("What reading back found, and what was not moved:", color=SOFT)
    rows = [
        [object_name(each), *(each["totals"]["counts"].get(name, 0) for name in columns), _extras(each)]
        for each in told["objects"]
    ]
    sheet.grid(
        ["Object", *(names[name] for name in columns), "Not ours"],
        rows,
        [44, *[18] * (len(columns) + 1)],
        len(columns) + 1,
    )
    if (
        not any(trouble(each) for each in told["objects"])
        and "skipped" not in seen
        and told["run"]["state"] == RunState.COMPLETED
    ):
        sheet.say("Nothing is missing, nothing differs, and nothing was left out.", color=GREEN)


def _extras(each: Json) -> object:
    count = (each["extras"] or {}).get("count")
    return "not counted" if count is None else count


def _values(sheet: _Sheet, objects: list[Json]) -> None:
    rules = list(by_rule(objects))
    if not rules:
        return
    sheet.head("How values were compared")
    sheet.say(
        "A system may keep a value in a spelling of its own. Values that are equal exactly are counted apart from "
        "those that are equal by a rule; any other difference is listed below.",
        color=SOFT,
    )
    sheet.grid(["The values are equal …", "Values"], [[rule_words(rule), count] for rule, count in rules], [120, 30], 1)


def _sums(sheet: _Sheet, objects: list[Json]) -> None:
    rows = [
        [
            object_name(each),
            item["field"],
            _grouped(item["demanded"]),
            _grouped(item["held"]),
            "yes" if item["demanded"] == item["held"] else "no",
        ]
        for each in objects
        for item in each["totals"]["sums"]
    ]
    if rows:
        sheet.head("Sums of numbers")
        sheet.grid(
            ["Object", "Field", "The mapping demands", "The target holds", "Equal"], _few(rows), [44, 34, 38, 38, 16], 3
        )


def _grouped(number: str) -> str:
    """A plain decimal with its thousands set apart."""
    whole, _, fraction = number.partition(".")
    return f"{int(whole):,}" + (f".{fraction}" if fraction else "") if whole not in {"-0", "-"} else number


def _children(sheet: _Sheet, objects: list[Json]) -> None:
    rows = [
        [object_name(each), *(item[name] for name in ("field", "parents", "in_source", "in_target", "differing"))]
        for each in objects
        for item in each["children"] or ()
        if item["parents"]
    ]
    if rows:
        sheet.head("Records and what they belong to")
        sheet.grid(
            [
                "Object",
                "Reference",
                "Parents",
                "Children in the source",
                "Children in the target",
                "Parents that differ",
            ],
            _few(rows),
            [44, 34, 20, 26, 26, 24],
            4,
        )


def _differences(sheet: _Sheet, objects: list[Json]) -> None:
    found = [
        [object_name(each), _cut(item["source_id"]), _cut(item["message"])]
        for each in objects
        for item in each["mismatches"]["named"]
    ]
    told = {(name, record) for name, record, _ in found}
    found += [
        [object_name(each), _cut(item["source_id"]), orphan_words(item)]
        for each in objects
        for item in (each["orphans"] or {}).get("named", ())
        if (object_name(each), _cut(item["source_id"])) not in told
    ]
    total = sum(each["mismatches"]["count"] for each in objects)
    if found:
        sheet.head("What differs")
        sheet.grid(["Object", "Record", "What was found"], found[:MOST_LINES], [40, 36, 98], 0)
        if total > MOST_LINES:
            sheet.say(f"{total:,} differences in all; the workbook and the JSON file list more.", color=SOFT)
    keys = [[object_name(each), _cut(key)] for each in objects for key in (each["extras"] or {}).get("keys", ())]
    if keys:
        sheet.head("Records in the target that were not migrated")
        sheet.grid(["Object", "Key in the target"], _few(keys), [60, 110], 0)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _few(rows: list[list[Any]]) -> list[list[Any]]:
    """The first lines, and a line that says how many more there are."""
    if len(rows) <= MOST_LINES:
        return rows
    more = f"… and {len(rows) - MOST_LINES:,} more"
    return [*rows[:MOST_LINES], [more, *[""] * (len(rows[0]) - 1)]]


def _seal(sheet: _Sheet, told: Json) -> None:
    sheet.head("How to verify this")
    sheet.say(
        "The figures are those of a JSON file with a digest (SHA-256) of every portion of records, each chained to the "
        "one before it. Whoever holds the file can recompute it; a single altered character is found. It is the file "
        "with this seal:",
        color=SOFT,
    )
    sheet.say(told["seal"], size=9)
    sheet.say(f"SHA-256 of the mappings: {told['run']['mapping_digest'] or '–'}", size=8, color=SOFT)
