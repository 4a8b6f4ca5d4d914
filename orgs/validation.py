"""Whether what a person entered for an org is what its connectors ask for: pure, one sentence per problem."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from connectors.base import Connector
from connectors.errors import SettingsInvalid
from connectors.types import Setting, SettingKind

MAX_CHARACTERS = 20_000


class EntryRefused(SettingsInvalid):
    """What was entered cannot be saved. ``problems`` are setting name → one sentence; "" is the org itself."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True, slots=True)
class Entry:
    """What was entered: plain settings, secrets (blank keeps what is stored), secrets to clear."""

    settings: Mapping[str, str]
    secrets: Mapping[str, str]
    clear: Collection[str] = ()


def declared_settings(connectors: Sequence[type[Connector]]) -> tuple[Setting, ...]:
    """The connectors' settings in their order, each name once: a source and a target may share an org."""
    by_name: dict[str, Setting] = {}
    for connector in connectors:
        for setting in connector.settings:
            by_name.setdefault(setting.name, setting)
    return tuple(by_name.values())


def plain_settings(declared: Sequence[Setting], entry: Entry) -> dict[str, str]:
    """The settings to store: trimmed, with defaults filled in, and without blanks."""
    values = {each.name: _entered(each, entry.settings) or each.default for each in declared if not each.secret}
    return {name: value for name, value in values.items() if value}


def secret_settings(entry: Entry, stored: Mapping[str, str]) -> dict[str, str]:
    """The secrets to store: stored ones, without the cleared, with the newly entered."""
    kept = {name: value for name, value in stored.items() if name not in entry.clear}
    return kept | {name: value for name, value in entry.secrets.items() if value}


def problems_of(declared: Sequence[Setting], entry: Entry, stored: Mapping[str, str]) -> dict[str, str]:
    """Setting name → what is wrong with it; ``stored`` are the secrets kept where an entry is blank."""
    problems = _misplaced(declared, entry)
    values = plain_settings(declared, entry) | secret_settings(entry, stored)
    for setting in declared:
        value = values.get(setting.name, "")
        problem = _problem(setting, value) if value else _absence(setting)
        if problem:
            problems.setdefault(setting.name, problem)
    return problems


def _entered(setting: Setting, settings: Mapping[str, str]) -> str:
    return settings.get(setting.name, "").strip()


def _misplaced(declared: Sequence[Setting], entry: Entry) -> dict[str, str]:
    secret = {each.name for each in declared if each.secret}
    plain = {each.name for each in declared} - secret
    known = ", ".join(sorted(plain | secret)) or "none"
    problems: dict[str, str] = {}
    for name in {*entry.settings, *entry.secrets, *entry.clear} - plain - secret:
        problems[name] = f"This platform has no setting “{name}”; it has: {known}."
    for name in secret & entry.settings.keys():
        problems[name] = f"“{name}” is a secret and is only taken as one."
    for name in plain & {*entry.secrets, *entry.clear}:
        problems[name] = f"“{name}” is not a secret; enter it as a plain setting."
    return problems


def _absence(setting: Setting) -> str:
    return f"“{setting.label}” is required." if setting.required else ""


def _problem(setting: Setting, value: str) -> str:
    """What is wrong with a value that is not blank; never quotes a secret."""
    if len(value) > MAX_CHARACTERS:
        return f"“{setting.label}” is longer than {MAX_CHARACTERS:,} characters."
    allowed = "\n\r\t" if setting.kind is SettingKind.LONG_TEXT else ""
    if any(not character.isprintable() and character not in allowed for character in value):
        return f"“{setting.label}” holds a line break or control character; paste it again."
    return _KIND_CHECKS[setting.kind](setting, value)


def _nothing_wrong(setting: Setting, value: str) -> str:  # noqa: ARG001  one shape for all checks
    return ""


def _url_problem(setting: Setting, value: str) -> str:
    try:
        url = urlsplit(value)
        whole = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        whole = False
    if not whole or " " in value:
        return f"“{setting.label}” is not an address such as https://example.com."
    if url.username is not None or url.password is not None:
        return f"“{setting.label}” holds a user name or password; take it out and enter it as a secret."
    return ""


def _number_problem(setting: Setting, value: str) -> str:
    try:
        finite = Decimal(value).is_finite()
    except InvalidOperation:
        finite = False
    return "" if finite else f"“{setting.label}” is not a number."


def _flag_problem(setting: Setting, value: str) -> str:
    return "" if value in ("true", "false") else f"“{setting.label}” must be true or false."


def _choice_problem(setting: Setting, value: str) -> str:
    known = [stored for stored, _ in setting.choices]
    return "" if value in known else f"“{setting.label}” must be one of: {', '.join(known)}."


_KIND_CHECKS: Mapping[SettingKind, Callable[[Setting, str], str]] = {
    SettingKind.TEXT: _nothing_wrong,
    SettingKind.LONG_TEXT: _nothing_wrong,
    SettingKind.URL: _url_problem,
    SettingKind.NUMBER: _number_problem,
    SettingKind.FLAG: _flag_problem,
    SettingKind.CHOICE: _choice_problem,
}
