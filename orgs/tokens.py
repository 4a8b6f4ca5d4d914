"""The access token of an org: sealed in its row, renewed by one worker at a time, shared by all."""

from datetime import datetime

from django.db import transaction

from connectors.context import Secret, Token, TokenRenewal
from connectors.errors import SettingsInvalid
from orgs.models import Org
from orgs.sealing import SealBroken


class OrgTokens:
    """A ``TokenStore`` over the org's row.

    It serves the credentials it was opened with: after they change, a connector that still holds the
    old ones gets no token and cannot store one it obtained with them.
    """

    def __init__(self, org: Org) -> None:
        self._org_id = org.pk
        self._version = org.credentials_version

    def load(self) -> Token | None:
        """The stored token; raises SettingsInvalid where it cannot be opened or the org changed."""
        return self._current(Org.objects.get(pk=self._org_id))

    def refresh(self, stale: Token | None, renew: TokenRenewal) -> Token:
        """See ``TokenStore``; raises what ``renew`` raises and leaves the stored token as it was.

        Runs in a transaction of its own and refuses to be nested (RuntimeError): a rotated refresh
        token that a surrounding rollback took back would lock us out of the org for good. The lock is
        taken without FOR KEY, so that rows which refer to the org can still be written meanwhile.
        """
        with transaction.atomic(durable=True):
            org = Org.objects.select_for_update(no_key=True).get(pk=self._org_id)
            current = self._current(org)
            if current is not None and not _same(current, stale):
                return current
            token = renew(current)
            org.seal_token(_parts(token, org.credentials_version))
            org.save(update_fields=["token"])
        return token

    def _current(self, org: Org) -> Token | None:
        if org.credentials_version != self._version:
            raise SettingsInvalid(f"The settings of {org.name} were changed while it was in use; start again.")
        try:
            parts = org.open_token()
        except SealBroken as broken:
            raise SettingsInvalid(str(broken)) from None
        return _token(parts) if parts.get("version") == str(self._version) else None


def _same(current: Token, stale: Token | None) -> bool:
    return stale is not None and current.access.reveal() == stale.access.reveal()


def _parts(token: Token, version: int) -> dict[str, str]:
    return {
        "version": str(version),
        "access": token.access.reveal(),
        "instance_url": token.instance_url,
        "refresh": token.refresh.reveal() if token.refresh else "",
        "expires_at": token.expires_at.isoformat() if token.expires_at else "",
    }


def _token(parts: dict[str, str]) -> Token:
    return Token(
        access=Secret(parts["access"]),
        instance_url=parts["instance_url"],
        refresh=Secret(parts["refresh"]) if parts["refresh"] else None,
        expires_at=datetime.fromisoformat(parts["expires_at"]) if parts["expires_at"] else None,
    )
