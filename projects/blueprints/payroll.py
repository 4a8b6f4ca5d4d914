"""The blueprint “payroll and time configuration”: the objects of 2cloudnine's packages that hold configuration.

Names are those seen in public templates of a migration tool; namespaces (``tc9_et``, ``tc9_pr``, ``tc9_edc``) differ
between orgs and are found by describe.
"""

from projects.blueprints.blueprint import Blueprint, BlueprintObject

PAYROLL = Blueprint(
    slug="payroll-and-time",
    version=1,
    title="Payroll and time configuration",
    summary="Pay codes, leave rules, loadings, awards and the rules that turn worked time into pay.",
    platform="salesforce",
    objects=(
        BlueprintObject("Pay_Code__c", "Pay codes", "What is paid: earnings, allowances, leave, deductions."),
        BlueprintObject("Leave_Rule__c", "Leave rules", "Which pay codes leave is paid with, and from when."),
        BlueprintObject("Calculation_Method__c", "Calculation methods", "How an amount is worked out."),
        BlueprintObject("PayRate_Loading__c", "Pay rate loadings", "Percentages on top of a rate."),
        BlueprintObject("Award_Classifications_and_Levels__c", "Award classifications", "Awards with their levels."),
        BlueprintObject("Minimum_Pay_Rate__c", "Minimum pay rates", "The least that a classification is paid."),
        BlueprintObject(
            "Interpretation_Rule__c", "Interpretation rules", "How a timesheet is read: masters, standard, variations."
        ),
        BlueprintObject(
            "Interpretation_Breakpoint__c",
            "Interpretation breakpoints",
            "Where overtime, penalties and caps of a rule begin; they refer to each other.",
        ),
    ),
    external_ids=("External_ID_Data_Creation__c", "External_Id__c"),
)
