"""The errors a connector may raise, sorted by what the engine does next.

Every error carries two texts. ``str(error)`` is one sentence for staff: what happened, to which
record or system, and what to do. ``error.detail`` is for the log (status, body excerpt) and is
already free of secrets: ``connectors.http`` redacts before it builds one.
"""

from collections.abc import Sequence


class ConnectorError(Exception):
    """Base of everything a connector raises on purpose."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class RetryableError(ConnectorError):
    """Wait, then repeat the same request: nothing is wrong with what we asked."""


class RateLimited(RetryableError):
    """The platform asked us to slow down.

    ``retry_after`` is in seconds and may be hours (a used-up daily quota); the engine turns it into a
    visible wait rather than a sleep.
    """

    def __init__(self, message: str, *, retry_after: float, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class BudgetUsedUp(RateLimited):
    """Our own budget for the org says wait, not the platform: nothing was sent, and nothing may be soon."""


class Unavailable(RetryableError):
    """The platform could not be reached, or answered that it cannot serve now."""


class FatalError(ConnectorError):
    """Stop this run: a person must act before it can go on."""


class AuthenticationFailed(FatalError):
    """The credentials are wrong, expired or revoked."""


class PermissionMissing(FatalError):
    """The credentials are good, but may not do what the run needs."""


class SettingsInvalid(FatalError):
    """A setting is missing, malformed or points somewhere we refuse to go."""


class ContractChanged(FatalError):
    """The platform answered in a shape its documentation does not describe."""


class InputInvalid(FatalError):
    """A file that a person gave us cannot be read as what it claims to be."""


class RecordError(ConnectorError):
    """This record only: note it and go on with the others."""


class Rejected(RecordError):
    """The target refused one record. ``code`` is the target's own, ``fields`` the fields it named."""

    def __init__(self, message: str, *, code: str, fields: Sequence[str] = (), detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.code = code
        self.fields = tuple(fields)


class NotFound(RecordError):
    """The record that was asked for does not exist."""


class AmbiguousMatch(RecordError):
    """More than one record answers to a key that must be unique. ``candidates`` are their ids."""

    def __init__(self, message: str, *, candidates: Sequence[str], detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.candidates = tuple(candidates)
