"""What a person entered for an org: one sentence per problem, and what is stored."""

import pytest

from orgs.validation import MAX_CHARACTERS, Entry, declared_settings, plain_settings, problems_of, secret_settings
from tests.orgs.fakes import CANARY, CANARY_KEY, SECRETS, SETTINGS, FakeSource, FakeTarget, Shelf

DECLARED = FakeSource.settings


def problems(
    settings: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
    stored: dict[str, str] | None = None,
    clear: tuple[str, ...] = (),
) -> dict[str, str]:
    entry = Entry(SETTINGS | (settings or {}), SECRETS if secrets is None else secrets, clear)
    return problems_of(DECLARED, entry, stored or {})


def test_a_good_entry_has_no_problem() -> None:
    good = {"pause": "1.5", "verbose": "true", "notes": "two\nlines", "base_url": " https://a.example/x?y=1 "}
    assert problems(good, SECRETS | {"private_key": CANARY_KEY}) == {}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("base_url", "", "“Address” is required."),
        ("base_url", "fake.example", "“Address” is not an address such as https://example.com."),
        ("base_url", "ftp://fake.example", "“Address” is not an address such as https://example.com."),
        ("base_url", "https://", "“Address” is not an address such as https://example.com."),
        ("base_url", "https://a b.example", "“Address” is not an address such as https://example.com."),
        ("base_url", "https://a.example:99999", "“Address” is not an address such as https://example.com."),
        ("base_url", "https://[::1", "“Address” is not an address such as https://example.com."),
        (
            "base_url",
            "https://me:pw@a.example",
            "“Address” holds a user name or password; take it out and enter it as a secret.",
        ),
        ("base_url", "https://a.example/\x00", "“Address” holds a line break or control character; paste it again."),
        ("region", "mars", "“Region” must be one of: eu, us."),
        ("pause", "soon", "“Pause” is not a number."),
        ("pause", "NaN", "“Pause” is not a number."),
        ("verbose", "yes", "“Verbose” must be true or false."),
        ("notes", "x" * (MAX_CHARACTERS + 1), "“Notes” is longer than 20,000 characters."),
        ("notes", "\x00", "“Notes” holds a line break or control character; paste it again."),
        ("password", "x", "“password” is a secret and is only taken as one."),
    ],
)
def test_each_problem_is_one_sentence(name: str, value: str, sentence: str) -> None:
    assert problems({name: value}) == {name: sentence}


def test_unknown_names_list_the_known_ones() -> None:
    [(name, sentence)] = problems({"colour": "red"}).items()
    assert name == "colour"
    assert sentence.startswith("This platform has no setting “colour”; it has: base_url, notes,")


def test_plain_settings_are_not_taken_as_secrets() -> None:
    assert problems(secrets=SECRETS | {"region": "eu"}) == {
        "region": "“region” is not a secret; enter it as a plain setting."
    }


def test_a_missing_secret_is_a_problem_unless_one_is_stored() -> None:
    assert problems(secrets={}) == {"password": "“Password” is required."}
    assert problems(secrets={"password": ""}, stored=SECRETS) == {}
    assert problems(secrets={}, stored=SECRETS, clear=("password",)) == {"password": "“Password” is required."}


def test_no_sentence_quotes_a_secret() -> None:
    [sentence] = problems(secrets={"password": f"{CANARY}\n"}).values()
    assert CANARY not in sentence


def test_what_is_stored_is_trimmed_filled_in_and_without_blanks() -> None:
    entry = Entry({"base_url": " https://a.example ", "region": "", "notes": "  "}, {})
    assert plain_settings(DECLARED, entry) == {"base_url": "https://a.example", "region": "eu"}


def test_blank_keeps_a_secret_and_clearing_forgets_it() -> None:
    stored = {"password": "old", "private_key": "key"}
    assert secret_settings(Entry({}, {"password": ""}), stored) == stored
    assert secret_settings(Entry({}, {"password": "new"}, ["private_key"]), stored) == {"password": "new"}


def test_a_source_and_a_target_ask_for_each_setting_once() -> None:
    assert declared_settings([FakeSource, FakeTarget, Shelf]) == DECLARED
