"""The formula language of rules."""

import polars as pl
import pytest

from sandbox.salesforce.formula import Unsupported, compile_formula
from sandbox.salesforce.standard import standard_schema


@pytest.mark.parametrize(
    ("formula", "holds"),
    [
        ("ISBLANK(Industry)", False),
        ("NOT(ISBLANK(Phone))", False),
        ('AND(ISPICKVAL(Industry, "Retail"), NumberOfEmployees > 4)', True),
        ("AnnualRevenue / NumberOfEmployees = 20", True),
        ('LEN(Name) > 3 && Name <> "x"', True),
        ('OR(BEGINS(Name, "Har"), CONTAINS(Name, "zzz"))', True),
        ('REGEX(Name, "[A-Z][a-z]+")', True),
        ('IF(ISNEW(), "a", "b") = "a"', True),
        ('TEXT(Industry) & "!" = "Retail!"', True),
        ("-NumberOfEmployees + 5 * 2 <= 4", False),
        ('UPPER(Name) == "HARBOUR" /* shouted */', True),
        ("Phone = NULL", True),
        ("ISCHANGED(Name)", False),
        ("AnnualRevenue > Phone_Missing__c", None),
        ("VLOOKUP(Name)", None),
        ("LEN(Name", None),
        ("Name Name", None),
        ("LEN()", None),
        ("§", None),
    ],
)
def test_formulas(formula: str, holds: bool | None) -> None:
    subject = standard_schema().require("Account")
    if holds is None:
        with pytest.raises(Unsupported):
            compile_formula(formula, subject)
        return
    record = {"Name": "Harbour", "Industry": "Retail", "NumberOfEmployees": 5, "AnnualRevenue": 100.0, "Phone": None}
    frame = pl.DataFrame({name: [value] for name, value in record.items()}, schema_overrides={"Phone": pl.String})
    asked = frame.with_columns(pl.lit(value=True).alias("?new"), pl.lit("Old").alias("?old Name"))
    assert asked.select(compile_formula(formula, subject).condition).item() is holds
