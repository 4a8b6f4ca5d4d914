"""What is wrong with a mapping, told all at once: one sentence per target field and cause."""

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.errors import SettingsInvalid


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. ``field`` is the field the rule fills, blank where the whole mapping is meant."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"“{self.field}”: {self.message}" if self.field else self.message


class MappingInvalid(SettingsInvalid):
    """A mapping that cannot be compiled or read. ``problems`` lists every cause that was found."""

    def __init__(self, what: str, problems: Sequence[Problem]) -> None:
        listed = " ".join(str(problem) for problem in problems)
        super().__init__(f"The mapping {what} cannot be used. {listed}")
        self.problems = tuple(problems)


class RuleInvalid(SettingsInvalid):
    """One rule that cannot be compiled; the compiler turns it into a ``Problem`` of its field."""
