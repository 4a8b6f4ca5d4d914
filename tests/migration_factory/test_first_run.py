"""Keys of a first run, keys of a deployment, and what is said where one is missing or malformed."""

import base64
import os
import secrets
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from migration_factory import first_run

KEY = base64.b64encode(bytes(range(32))).decode()
RINGS = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=16),
    st.binary(min_size=32, max_size=32),
    min_size=1,
    max_size=5,
)


def environment(**variables: str) -> environ.Env:
    env = environ.Env()
    env.ENVIRON = variables
    return env


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_first_run_makes_keys_only_its_user_reads_and_keeps_them(tmp_path: Path) -> None:
    env = environment()
    secret = first_run.secret_key(env, tmp_path / "var", debug=True)
    ring = first_run.vault_keys(env, tmp_path / "var", debug=True)
    assert len(secret) >= 50
    assert [len(key) for key in ring.values()] == [32]
    assert first_run.secret_key(env, tmp_path / "var", debug=True) == secret
    assert first_run.vault_keys(env, tmp_path / "var", debug=True) == ring
    keys = tmp_path / "var" / "keys"
    assert mode(keys) == 0o700
    assert {path.name: mode(path) for path in keys.iterdir()} == {"secret_key": 0o600, "vault_keys": 0o600}


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    made = [first_run.vault_keys(environment(), tmp_path / name, debug=True) for name in ("a", "b")]
    assert made[0] != made[1]


def test_starters_that_find_no_key_at_the_same_moment_agree_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone = threading.Barrier(4)
    token = secrets.token_urlsafe

    def token_when_all_are_here(size: int) -> str:
        everyone.wait(10)
        return token(size)

    monkeypatch.setattr(secrets, "token_urlsafe", token_when_all_are_here)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(first_run.secret_key, environment(), tmp_path, debug=True) for _ in range(4)]
        assert len({future.result() for future in asked}) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["secret_key"]


def test_a_write_that_fails_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ImproperlyConfigured, match="No space left on device"):
            first_run.secret_key(environment(), tmp_path, debug=True)
    assert list((tmp_path / "keys").iterdir()) == []
    assert first_run.secret_key(environment(), tmp_path, debug=True)


def test_an_emptied_key_file_is_said_rather_than_used(tmp_path: Path) -> None:
    first_run.secret_key(environment(), tmp_path, debug=True)
    (tmp_path / "keys" / "secret_key").write_text("\n")
    with pytest.raises(ImproperlyConfigured, match="empty"):
        first_run.secret_key(environment(), tmp_path, debug=True)


@pytest.mark.parametrize(
    ("name", "ask"), [("SECRET_KEY", first_run.secret_key), ("MF_VAULT_KEYS", first_run.vault_keys)]
)
def test_a_deployment_without_a_key_is_told_which_and_how_to_make_one(name: str, ask: object, tmp_path: Path) -> None:
    assert callable(ask)
    with pytest.raises(ImproperlyConfigured) as caught:
        ask(environment(**{name: "", f"{name}_FILE": ""}), tmp_path, debug=False)
    said = str(caught.value)
    assert said.startswith(f"{name} is not set")
    assert list(tmp_path.iterdir()) == []
    recipe = said.partition("make one with: ")[2]
    made = subprocess.run(["sh", "-c", recipe], capture_output=True, text=True, check=True).stdout.strip()
    assert ask(environment(**{name: made}), tmp_path, debug=False)


def test_keys_come_from_files_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    (tmp_path / "ring").write_text(f"new:{KEY}\nold:{KEY}\n")
    env = environment(SECRET_KEY_FILE=str(tmp_path / "secret"), MF_VAULT_KEYS_FILE=str(tmp_path / "ring"))
    assert first_run.secret_key(env, tmp_path, debug=False) == "from a file"
    assert list(first_run.vault_keys(env, tmp_path, debug=False)) == ["new", "old"]


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), (b"", "is empty"), (b"\xff\xfe", "read")])
def test_a_key_file_of_no_use_is_named(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=said) as caught:
        first_run.secret_key(environment(SECRET_KEY_FILE=str(path)), tmp_path, debug=True)
    assert str(path) in str(caught.value)


@given(RINGS)
def test_a_ring_is_read_as_it_was_written_in_its_order(ring: dict[str, bytes]) -> None:
    text = ",".join(f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in ring.items())
    assert list(first_run.parse_key_ring(text, "MF_VAULT_KEYS").items()) == list(ring.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (KEY, "Key 1 of MF_VAULT_KEYS must be written id:base64"),
        (f"k1:{KEY},K2:{KEY}", "Key 2 of MF_VAULT_KEYS must be written id:base64"),
        (f"{'k' * 17}:{KEY}", "1 to 16"),
        (f":{KEY}", "1 to 16"),
        (f"k1:{KEY},k1:{KEY}", "“k1” stands twice"),
        ("k1:c2hvcnQ=", "“k1” of MF_VAULT_KEYS has 5 bytes and needs 32"),
        (f"k1:{KEY}{KEY}", "is not base64"),
        ("k1:not base64", "“k1” of MF_VAULT_KEYS is not base64"),
        (f"k1:{KEY[:-1]}é", "is not base64"),
        (" , ", "holds no key"),
    ],
)
def test_a_malformed_ring_gets_one_sentence_that_quotes_no_key(text: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said) as caught:
        first_run.parse_key_ring(text, "MF_VAULT_KEYS")
    assert KEY[:16] not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_first_setting_of_a_deployment_ends_development_mode() -> None:
    assert first_run.is_local(environment())
    assert first_run.is_local(environment(DATABASE_URL="postgres://elsewhere/db", SECRET_KEY=""))
    for name in first_run.OF_A_DEPLOYMENT:
        assert not first_run.is_local(environment(**{name: "x"}))


def test_a_deployment_names_its_hosts() -> None:
    assert first_run.allowed_hosts(environment(ALLOWED_HOSTS="a.example,b.example"), debug=False) == [
        "a.example",
        "b.example",
    ]
    assert "localhost" in first_run.allowed_hosts(environment(), debug=True)
    with pytest.raises(ImproperlyConfigured, match="ALLOWED_HOSTS is not set"):
        first_run.allowed_hosts(environment(ALLOWED_HOSTS=""), debug=False)
