"""The key ring: what opens, what does not, and what errors say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from orgs.sealing import (
    PREFIX,
    SealBroken,
    active_key_id,
    key_fingerprint,
    key_id_of,
    key_ring,
    open_sealed,
    register_sealed_column,
    seal,
)

OLD, NEW = b"1" * 32, b"2" * 32
PURPOSE = "orgs.Org.secrets"


@pytest.fixture(autouse=True)
def ring(settings: Settings) -> None:
    settings.VAULT_KEYS = {"new": NEW, "old": OLD}


def under_old_key(settings: Settings, data: bytes) -> bytes:
    settings.VAULT_KEYS = {"old": OLD}
    token = seal(PURPOSE, data)
    settings.VAULT_KEYS = {"new": NEW, "old": OLD}
    return token


@given(data=st.binary(max_size=2_000))
def test_what_is_sealed_opens_again(data: bytes) -> None:
    token = seal(PURPOSE, data)
    assert token.startswith(PREFIX + b"new$")
    assert open_sealed(PURPOSE, token) == data
    assert open_sealed(PURPOSE, memoryview(token)) == data


@given(data=st.binary(max_size=60), position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_altered_bit_is_refused(data: bytes, position: int, bit: int) -> None:
    token = bytearray(seal(PURPOSE, data))
    token[position % len(token)] ^= 1 << bit
    with pytest.raises(SealBroken):
        open_sealed(PURPOSE, bytes(token))


@given(data=st.binary(max_size=60), cut=st.integers(min_value=1))
def test_a_cut_token_is_refused(data: bytes, cut: int) -> None:
    token = seal(PURPOSE, data)
    with pytest.raises(SealBroken):
        open_sealed(PURPOSE, token[: -(cut % len(token)) or len(token) - 1])


def test_no_two_tokens_are_alike() -> None:
    assert len({seal(PURPOSE, b"same") for _ in range(100)}) == 100


def test_a_token_does_not_open_for_another_purpose() -> None:
    with pytest.raises(SealBroken, match=r"orgs\.Org\.token was altered, moved"):
        open_sealed("orgs.Org.token", seal(PURPOSE, b"x"))


def test_a_token_does_not_open_under_another_keys_name() -> None:
    token = seal(PURPOSE, b"x").replace(b"mf1$new$", b"mf1$old$")
    with pytest.raises(SealBroken, match="“old”"):
        open_sealed(PURPOSE, token)


def test_older_keys_still_open(settings: Settings) -> None:
    token = under_old_key(settings, b"x")
    assert key_id_of(token, PURPOSE) == "old"
    assert open_sealed(PURPOSE, token) == b"x"


def test_a_missing_key_is_named(settings: Settings) -> None:
    token = under_old_key(settings, b"x")
    settings.VAULT_KEYS = {"new": NEW}
    with pytest.raises(SealBroken, match="“old”, which is not in the key ring"):
        open_sealed(PURPOSE, token)


@pytest.mark.parametrize(
    "value", [b"", b"plain", b"mf1$", b"mf1$new$short", b"mf2$new$" + b"0" * 40, b"mf1$n w$" + b"0" * 40]
)
def test_what_is_no_token_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(SealBroken, match="is not a sealed value"):
        open_sealed(PURPOSE, value)


@pytest.mark.parametrize("ring", [{}, {"a$b": OLD}, {"": OLD}, {"a": b"short"}])
def test_an_unusable_ring_is_refused(settings: Settings, ring: dict[str, bytes]) -> None:
    settings.VAULT_KEYS = ring
    with pytest.raises(SealBroken, match=r"vault"):
        seal(PURPOSE, b"x")


def test_fingerprints_tell_keys_apart_and_hold_no_key() -> None:
    fingerprints = {key_fingerprint(key) for key in key_ring().values()}
    assert len(fingerprints) == 2
    assert all(len(each) == 16 and bytes.fromhex(each) not in NEW + OLD for each in fingerprints)
    assert active_key_id() == "new"


def test_a_column_has_one_purpose() -> None:
    register_sealed_column("orgs.OrgFilePart", "body", "orgs.OrgFilePart.body")  # again is fine
    with pytest.raises(ValueError, match="already"):
        register_sealed_column("orgs.OrgFilePart", "body", "something else")
