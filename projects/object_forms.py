"""The form of a project's object: rules by field are written one per line, not as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from projects.mapping import codec
from projects.mapping.equality import EqualityRule
from projects.mapping.problems import MappingInvalid
from projects.mapping.specification import Unresolved
from projects.models import OnConflict, ProjectObject

ROWS = 3


class LinesField(forms.CharField):
    """A JSON value that people write one entry per line. ``write`` and ``read`` turn it into lines and back;
    ``read`` raises ValidationError with a sentence that names the line."""

    def __init__(
        self, *, write: Callable[[Any], Iterable[str]], read: Callable[[Sequence[str]], Any], **named: Any
    ) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": ROWS, "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **named)
        self._write, self._read = write, read

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else "\n".join(self._write(value or ()))

    def clean(self, value: Any) -> Any:
        return self._read([line.strip() for line in (value or "").splitlines() if line.strip()])

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != initial)
        except forms.ValidationError:
            return True


def _pairs(rules: Mapping[str, Any] | Sequence[Any]) -> Iterable[str]:
    return (f"{name}: {rule}" for name, rule in dict(rules).items())


def _read_pairs(lines: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, rule = _parted(line, f"one of {', '.join(known)}")
        if rule not in known:
            raise forms.ValidationError(f"“{line}”: behind the field stands one of {', '.join(known)}.")
        _add(found, name, rule)
    return found


def _parted(line: str, wanted: str) -> tuple[str, str]:
    name, mark, rest = (part.strip() for part in line.rpartition(":"))
    if not (name and mark):
        raise forms.ValidationError(f"“{line}”: write the field, a colon and {wanted}.")
    return name, rest


def _add(found: dict[str, Any], name: str, rule: Any) -> None:
    if name in found:
        raise forms.ValidationError(f"“{name}” stands there twice.")
    found[name] = rule


def _read_policies(lines: Sequence[str]) -> dict[str, str]:
    return _read_pairs(lines, [str(each) for each in OnConflict.values])


def _read_unresolved(lines: Sequence[str]) -> dict[str, str]:
    return _read_pairs(lines, [str(each) for each in Unresolved])


def _write_equality(rules: Mapping[str, Sequence[str]] | Sequence[Any]) -> Iterable[str]:
    return (f"{name}: {', '.join(each) or EqualityRule.EXACT}" for name, each in dict(rules).items())


def _read_equality(lines: Sequence[str]) -> dict[str, list[str]]:
    """``exact`` stands for no rule at all: then only the very same value is equal."""
    found: dict[str, list[str]] = {}
    for line in lines:
        name, rest = _parted(line, "rules parted by commas")
        rules = [rule.strip() for rule in rest.split(",")]
        _add(found, name, [] if rules == [EqualityRule.EXACT] else rules)
    try:
        codec.decode_equality(found)
    except MappingInvalid as wrong:
        raise forms.ValidationError(wrong.message) from wrong
    return found


def _read_match(lines: Sequence[str]) -> list[str]:
    if len(set(lines)) < len(lines):
        raise forms.ValidationError("A field stands there twice.")
    return list(lines)


class ProjectObjectForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """What a mapping expert may change of an object."""

    field_policies = LinesField(
        write=_pairs,
        read=_read_policies,
        label="Other policies by field",
        help_text="Target fields for which somebody else wins, one per line: the field, a colon, and ask, target or "
        "source. For instance “phone: target”.",
    )
    match_fields = LinesField(
        write=list,
        read=_read_match,
        label="Match by",
        help_text="Target fields, one per line, by which a record that is new to us is looked for in the target, so "
        "that one that is there already is taken over instead of doubled. All of them must agree; where several "
        "records do, or a field is blank, the record is stopped and the candidates are listed.",
    )
    unresolved = LinesField(
        write=_pairs,
        read=_read_unresolved,
        label="Parents that are missing",
        help_text="What becomes of a record whose parent is not in the target, one reference field per line: the "
        "field, a colon, and wait (it is not written before), blank (written with the field blank, completed later), "
        "drop (written without the field, with a note), keep (written with the value as it came) or reject. For "
        "instance “AccountId: wait”. Unasked: blank, or wait where the target requires the field.",
    )
    equality = LinesField(
        write=_write_equality,
        read=_read_equality,
        label="Equal by",
        help_text="How a field that is read back may differ and still count as equal, in place of the rules of its "
        "type, one field per line: the field, a colon, and rules parted by commas. For instance “Email: case”. "
        f"Known are {', '.join(EqualityRule)}; “exact” alone wants the very same value.",
    )

    class Meta:
        model = ProjectObject
        fields = (
            "position", "where", "on_conflict", "field_policies", "on_delete", "match_fields", "unresolved",
            "equality", "enabled",
        )  # fmt: skip
        labels: ClassVar = {"where": "Only records where"}
        help_texts: ClassVar = {
            "where": "A formula over the source's fields, like “Status = 'Active'”; blank: all records. The choice of "
            "records on the project's own pages comes on top of it.",
        }
        widgets: ClassVar = {"where": UnfoldAdminTextareaWidget(attrs={"rows": ROWS})}
