"""Evidence as workbook, document and page: nothing of it is lost, broken or shown to who may not see it."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import orjson
import pypdfium2
import pytest
from django.test import Client
from django.urls import reverse

from projects.models import Project
from runs import services
from runs.evidence import document
from runs.evidence.pdf import as_pdf, set_document
from runs.evidence.verification import verify
from runs.evidence.workbook import write_workbook
from runs.models import Run
from tests import factories
from tests.fakes import World
from tests.runs.test_engine import drive, family

NAMES = "Северное Пароходство 張偉有限公司 カタカナ Łódź Ελλάδα"


@pytest.fixture
def troubled(world: World, project: Project) -> Run:
    """A run that finds a difference, an orphan, a record that is not ours, and formulas among the values."""
    project.customer.name = NAMES
    project.customer.save()
    family(world, project)
    drive(services.start_run(project))
    world.rows["contact"]["C2"]["name"] = "=HYPERLINK(1)\x07"
    world.rows["account"].pop("A3")
    world.rows["contact"]["=1+1"] = {"target_id": "X", "id": "X", "name": "by hand", "accountid": None}
    return drive(services.start_run(project))


def text_of(pdf: bytes) -> str:
    opened = pypdfium2.PdfDocument(pdf)
    try:
        return "\n".join(opened[number].get_textpage().get_text_range() for number in range(len(opened)))
    finally:
        opened.close()


# --- Workbook ---------------------------------------------------------------------------------------
def book_of(run: Run) -> Any:
    out = io.BytesIO()
    write_workbook(run, out)
    return openpyxl.load_workbook(io.BytesIO(out.getvalue()))


def test_the_workbook_has_every_part_and_the_seal(troubled: Run) -> None:
    book = book_of(troubled)
    sheets = {sheet.title: list(sheet.values) for sheet in book}
    assert dict(row[:2] for row in sheets["Evidence"])["Seal of the evidence"] == document.overview(troubled)["seal"]
    assert dict(row[:2] for row in sheets["Evidence"])["Customer"] == NAMES
    assert len(sheets["Chunks"]) == 1 + 4
    assert [row[1] for row in sheets["Orphans"][1:]] == ["A2", "C3"]
    assert ("Contact → contact", "=1+1") in [row[:2] for row in sheets["Not ours"]]
    assert any(row[1] == "C2" for row in sheets["Differences"])


def test_no_cell_of_the_workbook_is_a_formula_or_unreadable(troubled: Run) -> None:
    cells = [cell for sheet in book_of(troubled) for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "inlineStr", "n"}
    assert any("=HYPERLINK(1)\ufffd" in str(cell.value) for cell in cells)


# --- Document ---------------------------------------------------------------------------------------
def test_the_document_says_what_was_found_in_every_script(troubled: Run) -> None:
    text = text_of(as_pdf(troubled))
    for piece in [*NAMES.split(), "Evidence of a migration", "points at a record", "=HYPERLINK"]:
        assert piece in text, piece
    assert document.overview(troubled)["seal"] in text.replace("\r\n", "")


def test_fonts_are_embedded(troubled: Run) -> None:
    pdf = as_pdf(troubled)
    assert pdf.count(b"/FontFile2") >= 1
    assert pdf.count(b"/FontFile3") >= 1


def test_a_character_without_a_glyph_is_told_by_its_code_point(troubled: Run) -> None:
    told = document.overview(troubled)
    told["run"]["customer"] = "한 \x00\u202eb"
    assert "‹U+D55C› b" in text_of(set_document(told))


def test_the_document_is_bounded(troubled: Run) -> None:
    told = document.overview(troubled)
    finding = {"source_id": "x" * 300, "part": "", "field": "f", "rule": "r", "message": "y" * 2_000}
    told["objects"][0]["mismatches"] = {"count": 5_000, "named": [finding] * 1_000}
    told["objects"][0]["totals"]["sums"] = [{"field": f"f{n}", "demanded": "1", "held": "-0.5"} for n in range(500)]
    pdf = set_document(told)
    opened = pypdfium2.PdfDocument(pdf)
    assert len(opened) < 60
    opened.close()
    assert "and 440 more" in text_of(pdf)


def test_a_run_that_was_never_planned_has_a_document(project: Project) -> None:
    run = factories.run(project, state="cancelled", reason="Cancelled.", finished_at=datetime(2026, 11, 20, tzinfo=UTC))
    assert "The run ended before it was planned." in text_of(as_pdf(run))
    assert book_of(run).sheetnames[0] == "Evidence"


# --- Page and files ---------------------------------------------------------------------------------
def client(*permissions: str) -> Client:
    found = Client()
    found.force_login(factories.user(*permissions))
    return found


ALL = ("runs.view_run", "runs.view_finding")


def test_the_page_shows_rules_children_and_files(troubled: Run) -> None:
    answer = client(*ALL).get(reverse("admin:runs_run_evidence", args=[troubled.pk]))
    html = answer.content.decode()
    assert answer.status_code == 200
    for piece in ("exactly", "Children in the source", "points at a record that is not in the target any more", "=1+1"):
        assert piece in html, piece
    assert document.overview(troubled)["seal"] in html


@pytest.mark.parametrize("form", ["json", "xlsx", "pdf"])
def test_files_are_given_to_who_may_see_findings(troubled: Run, tmp_path: Path, form: str) -> None:
    address = reverse("admin:runs_run_evidence_file", args=[troubled.pk, form])
    answer = client(*ALL).get(address)
    data = b"".join(answer)
    assert answer["Content-Disposition"] == f'attachment; filename="evidence-run-{troubled.pk}.{form}"'
    if form == "json":
        (tmp_path / "e.json").write_bytes(data)
        assert verify(tmp_path / "e.json")[1] == orjson.loads(data)
    else:
        assert data.startswith({"xlsx": b"PK", "pdf": b"%PDF"}[form])
    assert client("runs.view_run").get(address).status_code == 403
    assert client("runs.view_finding").get(address).status_code == 403
    assert Client().get(address).status_code == 302


def test_who_may_not_see_findings_sees_figures_only(troubled: Run) -> None:
    html = client("runs.view_run").get(reverse("admin:runs_run_evidence", args=[troubled.pk])).content.decode()
    assert "evidence-pdf" not in html
    assert "=1+1" not in html
    assert "points at a record" not in html


def test_there_is_no_evidence_of_what_is_not_there(project: Project) -> None:
    person = client(*ALL)
    assert person.get(reverse("admin:runs_run_evidence", args=[0])).status_code == 404
    run = factories.run(project)
    for address in (
        reverse("admin:runs_run_evidence", args=[run.pk]),
        reverse("admin:runs_run_evidence_file", args=[run.pk, "pdf"]),
    ):
        answer = person.get(address, follow=True)
        assert "has not ended" in answer.content.decode()
    assert person.get(reverse("admin:runs_run_evidence_file", args=[run.pk, "exe"])).status_code == 404
