"""The keys a first run needs: read from the environment, or made once under ``var/keys``."""

import base64
import os
import re
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

KEY_BYTES = 32
KEY_ID = re.compile(r"[a-z0-9]{1,16}")
NEW_SECRET_KEY = "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"  # noqa: S105 - a recipe, not a secret
NEW_VAULT_KEY = "python3 -c 'import base64, os; print(\"k1:\" + base64.b64encode(os.urandom(32)).decode())'"


# A person's machine needs none of these; whoever sets one is deploying.
OF_A_DEPLOYMENT = ("ALLOWED_HOSTS", "SECRET_KEY", "SECRET_KEY_FILE", "MF_VAULT_KEYS", "MF_VAULT_KEYS_FILE")
LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


def is_local(env: environ.Env) -> bool:
    """Whether this looks like a person's machine: nothing a deployment needs is set. The default of DEBUG."""
    return not any(env.str(name, default="") for name in OF_A_DEPLOYMENT)


def allowed_hosts(env: environ.Env, *, debug: bool) -> list[str]:
    """The host names we answer to. Raises ImproperlyConfigured where production names none."""
    hosts: list[str] = env.list("ALLOWED_HOSTS", default=[])
    if hosts:
        return hosts
    if debug:
        return LOCAL_HOSTS
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS is not set, and without DEBUG=true it must name the hosts this site answers to, "
        "as in ALLOWED_HOSTS=factory.example.com."
    )


def secret_key(env: environ.Env, var_dir: Path, *, debug: bool) -> str:
    """Django's SECRET_KEY: from SECRET_KEY or SECRET_KEY_FILE, else (local runs only) made and kept.

    Raises ImproperlyConfigured where production has none.
    """
    given = _given(env, "SECRET_KEY")
    if given is not None:
        return given
    if not debug:
        raise _missing("SECRET_KEY", NEW_SECRET_KEY)
    return _kept(var_dir / "keys" / "secret_key", lambda: secrets.token_urlsafe(50))


def vault_keys(env: environ.Env, var_dir: Path, *, debug: bool) -> dict[str, bytes]:
    """The key ring that seals secrets, key id -> 32 bytes, the first one active.

    From MF_VAULT_KEYS or MF_VAULT_KEYS_FILE (``id:base64,id2:base64…``), else (local runs only) made and
    kept. Raises ImproperlyConfigured where production has none or a key is malformed.
    """
    given = _given(env, "MF_VAULT_KEYS")
    if given is not None:
        return parse_key_ring(given, "MF_VAULT_KEYS")
    if not debug:
        raise _missing("MF_VAULT_KEYS", NEW_VAULT_KEY)
    path = var_dir / "keys" / "vault_keys"
    return parse_key_ring(_kept(path, _new_ring), str(path))


def parse_key_ring(text: str, where: str) -> dict[str, bytes]:
    """The ring written as ``id:base64`` entries between commas or line ends; ``where`` names it in errors.

    Raises ImproperlyConfigured, never quoting a key.
    """
    ring: dict[str, bytes] = {}
    entries = [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    for number, entry in enumerate(entries, start=1):
        key_id, colon, encoded = entry.partition(":")
        if not colon or not KEY_ID.fullmatch(key_id):
            raise ImproperlyConfigured(
                f"Key {number} of {where} must be written id:base64, its id 1 to 16 of a-z and 0-9."
            )
        if key_id in ring:
            raise ImproperlyConfigured(
                f"The key id “{key_id}” stands twice in {where}; give each key an id of its own."
            )
        ring[key_id] = _decoded(encoded, key_id, where)
    if not ring:
        raise ImproperlyConfigured(f"{where} holds no key; make one with: {NEW_VAULT_KEY}")
    return ring


def _decoded(encoded: str, key_id: str, where: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError as error:  # also what is not ASCII
        raise ImproperlyConfigured(f"The key “{key_id}” of {where} is not base64.") from error
    if len(key) != KEY_BYTES:
        raise ImproperlyConfigured(f"The key “{key_id}” of {where} has {len(key)} bytes and needs {KEY_BYTES}.")
    return key


def _new_ring() -> str:
    return f"k1:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def _given(env: environ.Env, name: str) -> str | None:
    """The value of the variable, or of the file that ``<name>_FILE`` names; None where neither is set."""
    value: str = env.str(name, default="")
    if value:
        return value
    path: str = env.str(f"{name}_FILE", default="")
    if not path:
        return None
    try:
        text = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE names {path}, which cannot be read: {error}.") from error
    if not text:
        raise ImproperlyConfigured(f"{name}_FILE names {path}, which is empty.")
    return text


def _missing(name: str, recipe: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{name} is not set, and without DEBUG=true none is made up. Set {name} or {name}_FILE; make one with: {recipe}"
    )


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The file's text; where there is none yet, ``make``'s, written once: whoever is first wins for all."""
    try:
        if not path.exists():
            _publish(path, make())
        text = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The key file {path} cannot be read or made ({error.strerror}); make its folder yours or set MF_VAR_DIR."
        ) from error
    if not text:
        raise ImproperlyConfigured(
            f"The key file {path} is empty; restore it, or delete it where nothing was kept yet."
        )
    return text


def _publish(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 600
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)  # unlike a rename, never replaces: a key once used must not change
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()
