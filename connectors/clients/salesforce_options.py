"""How a customer wants records written into their org: duplicate alerts, assignment rules, dates of
creation, automation.

Headers: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_duplicaterules.htm and
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_autoassign.htm
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connectors.context import Context
from connectors.errors import SettingsInvalid
from connectors.types import Setting, SettingKind

SAVE_DUPLICATES: Final = "save_despite_duplicate_alerts"
KEEP_CREATION: Final = "keep_creation"
KEEP_MODIFICATION: Final = "keep_modification"
BYPASS: Final = "bypass_permission"
AUDIT_FIELDS: Final = frozenset({"CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById"})
"""What only a user with “Set Audit Fields upon Record Creation” may fill, and only by an insert."""
CREATION_FIELDS: Final = frozenset({"CreatedDate", "CreatedById"})
"""Those of them that last."""
MODIFICATION_FIELDS: Final = AUDIT_FIELDS - CREATION_FIELDS
"""Those that every later write, also one of the org's automation, sets anew."""
RULES: Final[Mapping[str, str]] = {"Case": "case_assignment_rule", "Lead": "lead_assignment_rule"}
"""Object → the setting that names its assignment rule."""

WRITING_SETTINGS: Final = (
    Setting(SAVE_DUPLICATES, "Save despite duplicate alerts", SettingKind.FLAG, required=False,
            help="Records that a duplicate rule only alerts about are saved. A rule that blocks cannot be overridden."),
    Setting(KEEP_CREATION, "Keep date and author of creation", SettingKind.FLAG, required=False,
            help="New records keep when and by whom they were made, where the connecting user may set audit fields."),
    Setting(KEEP_MODIFICATION, "Keep date and author of the last change, too", SettingKind.FLAG, required=False,
            help="Only beside the one above. They last until anybody, or automation, changes the record again."),
    *(Setting(name, f"{entity} assignment rule", required=False,
              help=f"The id (01Q…) of the rule that gives new {entity.lower()}s to their owners. Blank: no rule runs, "
                   "owners are as mapped.")
      for entity, name in RULES.items()),
    Setting(BYPASS, "Automation bypass", required=False,
            help="A custom permission: what follows “$Permission.” in the org's rules, flows and triggers. Only "
                 "automation that asks for it stands aside while a run writes; all other runs. Blank: none stands "
                 "aside."),
)  # fmt: skip

_RULE_ID: Final = re.compile(r"01Q[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?")


@dataclass(frozen=True, slots=True)
class WritingOptions:
    """``assignment_rules`` are ids of rules by object; ``bypass_permission`` is what automation asks for before it
    stands aside, blank where it is not to."""

    saves_duplicates: bool = False
    keeps_creation: bool = False
    keeps_modification: bool = False
    assignment_rules: Mapping[str, str] = field(default_factory=dict)
    bypass_permission: str = ""

    @property
    def audit_fields(self) -> frozenset[str]:
        """Those a new record may bring."""
        creation = CREATION_FIELDS if self.keeps_creation else frozenset[str]()
        return creation | (MODIFICATION_FIELDS if self.keeps_modification else frozenset[str]())

    def headers(self, entity: str, *, is_new: bool) -> dict[str, str]:
        """What goes with a call that writes records of the entity. Without a word about it a call lets the org's
        active assignment rule choose owners; ours does so for new records only, and only where asked."""
        rule = self.assignment_rule(entity) if is_new else ""
        asked = {"Sforce-Auto-Assign": rule or "FALSE"}
        if self.saves_duplicates:
            asked["Sforce-Duplicate-Rule-Header"] = "allowSave=true"
        return asked

    def assignment_rule(self, entity: str) -> str:
        """The id of the rule that gives the entity's new records to their owners; blank for none."""
        return self.assignment_rules.get(entity, "")


def options_of(context: Context) -> WritingOptions:
    """As the org's settings say. Raises SettingsInvalid for a rule that is not named by its id."""
    rules = {entity: context.text(name).strip() for entity, name in RULES.items()}
    for entity, rule in rules.items():
        if rule and not _RULE_ID.fullmatch(rule):
            raise SettingsInvalid(
                f"“{rule[:20]}” is not the id of an assignment rule. Enter the {entity.lower()} rule's id, which "
                "begins with 01Q, on the org's page, or leave it blank."
            )
    saves, creation, change = (
        context.text(name).strip().lower() == "true" for name in (SAVE_DUPLICATES, KEEP_CREATION, KEEP_MODIFICATION)
    )
    chosen = {entity: rule for entity, rule in rules.items() if rule}
    # A record that is created now cannot have been changed before.
    return WritingOptions(saves, creation, creation and change, chosen, context.text(BYPASS).strip())
