"""Masking: registered secrets in every spelling they travel in, and what looks like a secret."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.context import Secret
from connectors.redaction import Redactor


@given(st.text(min_size=12, max_size=60, alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_registered_value_is_masked_in_every_spelling(value: str) -> None:
    redact = Redactor([Secret(value)])
    encoded = base64.b64encode(value.encode()).decode()
    for spelling in (value, quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], encoded):
        assert spelling not in redact(f"before {spelling} after")


@given(st.text())
def test_masking_twice_masks_no_more(text: str) -> None:
    redact = Redactor([Secret("correct horse battery")])
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abc.def-ghi", "abc.def"),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("{'Authorization': 'Token xyz123'}", "xyz123"),
        ("sent bearer AbCdEfGhIj", "AbCdEfGhIj"),
        ("https://x.example/cb?code=s3cret&state=1", "s3cret"),
        ("https://user:pa55@x.example/", "pa55"),
        ("force://PlatformCLI::5Aep861rest@acme.my.salesforce.com", "5Aep861rest"),
        ('{"access_token":"abc\\"def","x":1}', "def"),
        ("refresh_token=5Aep861&x=1", "5Aep861"),
        ("client_secret: hunter2", "hunter2"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln", "eyJpc3MiOiJ4In0"),
        ("session 00DHs0000000001!AQ4AQFzzz.yyy_x is", "AQ4AQFzzz"),
        ("key sk-abcdef1234567890", "abcdef1234567890"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEcut", "MIIEcut"),
        ("Set-Cookie: sid=abcdef; path=/", "abcdef"),
        ("password=hunter2;", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, hidden: str) -> None:
    assert hidden not in Redactor()(text)


@pytest.mark.parametrize(
    "text", ["Required fields are missing: [LastName]", "the token expired", "GET /services/data → 404: []", "12345"]
)
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor()(text) == text


def test_a_value_too_short_to_be_a_secret_masks_nothing() -> None:
    assert Redactor([Secret("abc")])("abcdef") == "abcdef"


def test_every_line_of_a_key_is_masked_by_itself() -> None:
    redact = Redactor([Secret("-----BEGIN X-----\nfirstline\nsecondline\n-----END X-----")])
    assert redact("… secondline …") == "… *** …"
