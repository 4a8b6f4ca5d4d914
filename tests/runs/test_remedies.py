"""Every code that groups records has a probable cause and a fix."""

import ast
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from connectors.clients.postgresql_errors import blames_record, condition
from connectors.clients.salesforce_refusals import REFUSALS
from projects.mapping.equality import EqualityRule
from runs.remedies import ENGINE, MAPPING, TARGET, UNKNOWN, remedy

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"Fault": 0, "RuleFault": 0, "_whole": 1, "_stopped_for": 1, "_outcome": 2}
"""Calls that take a code without naming it → its place among the arguments."""


def texts(node: ast.expr) -> Iterator[str]:
    """The texts a code's expression may be: ``"x"``, ``pl.lit("x")``, ``"x" if … else "y"``, ``pl.when(…)…``."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=otherwise):
            yield from texts(body)
            yield from texts(otherwise)
        case ast.Call(func=ast.Attribute(attr="lit" | "then" | "otherwise" as name, value=chain), args=[given, *_]):
            if name == "lit" or not isinstance(given, ast.Constant):
                yield from texts(given)
            yield from texts(chain)


def codes(tree: ast.AST) -> Iterator[str]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        given = [word.value for word in call.keywords if word.arg in {"code", "rule"}]
        given += call.args[PLACES[name] : PLACES[name] + 1] if name in PLACES else []
        if name == "alias" and isinstance(call.func, ast.Attribute):
            named = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
            given += [call.func.value] if named in (["code"], ["rule"]) else []
        for each in given:
            yield from texts(each)


def in_code_base() -> set[str]:
    files = [path for app in ("runs", "projects", "connectors") for path in (ROOT / app).rglob("*.py")]
    found = {code for path in files if "demo" not in path.parts for code in codes(ast.parse(path.read_text()))}
    return found - {""}


def test_the_code_base_is_read() -> None:
    assert {"waiting", "edited", "required_missing", "unknown_value", "still_referenced"} <= in_code_base()


def test_every_code_of_the_code_base_has_a_cause_and_a_fix() -> None:
    assert [code for code in sorted(in_code_base()) if remedy(code) is UNKNOWN] == []


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_refusal_of_salesforce_has_one(code: str) -> None:
    assert remedy(code) is not UNKNOWN


@pytest.mark.parametrize("rule", list(EqualityRule))
def test_every_mismatch_has_one(rule: EqualityRule) -> None:
    assert "another value than was sent" in remedy(f"mismatch_{rule}").cause


def test_every_constraint_and_value_that_postgresql_refuses_has_one() -> None:
    known = {
        error.sqlstate: error
        for error in vars(psycopg.errors).values()
        if isinstance(error, type) and issubclass(error, psycopg.Error) and error.sqlstate
    }
    refused = [error for state, error in known.items() if state[:2] in {"21", "22", "23", "27", "44"}]
    assert len(refused) > 60
    for error in refused:
        assert blames_record(error())
        assert remedy(condition(error())) is not UNKNOWN


def test_sentences_end_and_say_what_to_do() -> None:
    for known in (MAPPING, ENGINE, TARGET):
        for code, found in known.items():
            assert found.cause.endswith("."), code
            assert found.fix.endswith("."), code
            assert found.cause != found.fix, code


def test_a_word_of_the_customers_own_target_is_told_apart() -> None:
    assert remedy("P9999") is UNKNOWN
    assert remedy("raise_exception") is not UNKNOWN
