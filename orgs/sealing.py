"""Sealing: AES-256-GCM under a ring of keys, so that a value says which key opens it.

A token is ``mf1$<key id>$<12-byte nonce><ciphertext and 16-byte tag>``. The first key of
``settings.VAULT_KEYS`` seals, all of them open. The associated data is everything before the nonce plus
a *purpose* (``orgs.Org.secrets``), so a token moved to another column, or relabelled with another key
id, does not open. Why not the Fernet of the field package: docs/decisions/0002-sealed-secrets.md.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

PREFIX = b"mf1$"
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


class SealBroken(Exception):
    """A sealed value cannot be opened; the message is one sentence for staff and holds nothing sealed."""


def key_ring() -> Mapping[str, bytes]:
    """``settings.VAULT_KEYS``: key id → 32 bytes, the sealing key first; raises SealBroken where unusable."""
    ring: Mapping[str, bytes] = settings.VAULT_KEYS
    if not ring:
        raise SealBroken("The vault has no key: set the encryption key ring and restart.")
    for key_id, key in ring.items():
        if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
            raise SealBroken(
                f"The vault key “{key_id}” is unusable: its id must be 1 to 32 letters, digits, “_”, “.” or “-” "
                f"and the key exactly {KEY_BYTES} bytes."
            )
    return ring


def active_key_id() -> str:
    """The id of the key that seals."""
    return next(iter(key_ring()))


def key_fingerprint(key: bytes) -> str:
    """16 hex digits that tell two keys apart and give nothing of either away."""
    return hmac.new(key, b"migration-factory vault key fingerprint", hashlib.sha256).hexdigest()[:16]


def seal(purpose: str, data: bytes) -> bytes:
    """A token for ``data`` that opens only for the same ``purpose``; every call draws a new nonce."""
    key_id = active_key_id()
    head = PREFIX + key_id.encode() + b"$"
    nonce = os.urandom(NONCE_BYTES)
    return head + nonce + AESGCM(key_ring()[key_id]).encrypt(nonce, data, head + purpose.encode())


def open_sealed(purpose: str, token: bytes | memoryview) -> bytes:
    """What was sealed for ``purpose``; raises SealBroken for an unknown key, an altered or a moved token."""
    token = bytes(token)
    key_id = key_id_of(token, purpose)
    key = key_ring().get(key_id)
    if key is None:
        raise SealBroken(
            f"A value of {purpose} is sealed with the key “{key_id}”, which is not in the key ring: put that key back."
        )
    head = len(PREFIX) + len(key_id) + 1
    body = head + NONCE_BYTES
    try:
        return AESGCM(key).decrypt(token[head:body], memoryview(token)[body:], token[:head] + purpose.encode())
    except InvalidTag:
        raise SealBroken(
            f"A value of {purpose} was altered, moved from another place, or sealed by a different key named "
            f"“{key_id}”: restore it from a backup or enter it again."
        ) from None


def key_id_of(token: bytes, purpose: str) -> str:
    """The id of the key that sealed ``token``; raises SealBroken where it is not a token at all."""
    end = token.find(b"$", len(PREFIX))
    name = token[len(PREFIX) : max(end, 0)].decode("ascii", "replace")
    whole = token.startswith(PREFIX) and len(token) - end - 1 >= NONCE_BYTES + TAG_BYTES
    if not (whole and _KEY_ID.fullmatch(name)):
        raise SealBroken(f"A value of {purpose} is not a sealed value: restore it from a backup or enter it again.")
    return name


@dataclass(frozen=True, slots=True)
class Ring:
    """The key ring in the shape the field package expects of a cipher: ``encrypt`` and ``decrypt``."""

    purpose: str

    def encrypt(self, data: bytes) -> bytes:
        return seal(self.purpose, data)

    def decrypt(self, token: bytes) -> bytes:
        return open_sealed(self.purpose, token)


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A database column of tokens: model label, field name, and the purpose its tokens are sealed for."""

    model: str
    column: str
    purpose: str


_registered: dict[tuple[str, str], SealedColumn] = {}


def register_sealed_column(model: str, column: str, purpose: str) -> None:
    """Name a plain binary field that holds tokens, so that key rotation finds it.

    ``model`` is a label such as ``runs.Chunk``; call it beside the model. Sealed fields
    (``orgs.fields``) are found without. Raises ValueError where a second purpose is claimed.
    """
    claimed = _registered.setdefault((model, column), SealedColumn(model, column, purpose))
    if claimed.purpose != purpose:
        raise ValueError(f"{model}.{column} is registered for {claimed.purpose} already, not {purpose}.")


def registered_sealed_columns() -> tuple[SealedColumn, ...]:
    return tuple(_registered.values())
