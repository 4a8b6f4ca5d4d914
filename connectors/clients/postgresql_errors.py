"""What PostgreSQL's errors mean to us: which of our errors each SQLSTATE becomes, and its sentence.

The codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    ContractChanged,
    PermissionMissing,
    Rejected,
    SettingsInvalid,
    Unavailable,
)

# By whole code first, then by class (the first two characters).
_UNAVAILABLE = {
    "40001": "two transactions collided (serialization failure)",
    "40P01": "two transactions waited for each other (deadlock)",
    "55P03": "a lock was not free in time",
    "57014": "the statement took longer than the time limit",
    "25P03": "the transaction was idle longer than the server allows",
    "25P04": "the transaction took longer than the server allows",
    "53100": "the server's disk is full",
    "53200": "the server is out of memory",
    "53300": "the server has no connection free",
    "57P01": "the server was shut down",
    "57P02": "the server crashed and is recovering",
    "57P03": "the server is starting up",
    "57P05": "the session was idle longer than the server allows",
}
_LOCKS = {"55P03", "40P01"}
LOCK_CODES = frozenset({"lock_not_available", "deadlock_detected"})
"""The names of the conditions that mean so."""
_UNAVAILABLE_CLASSES = {
    "08": "the connection broke",
    "40": "the transaction was rolled back",
    "53": "the server lacks a resource",
    "57": "the server ended the session",
    "58": "the server's operating system reported an error",
}
_AUTHENTICATION_CLASSES = {"28"}
_PERMISSION = {"42501", "25006"}
_SETTINGS = {"3D000", "3F000"}
# Statements the database cannot make sense of, and its own faults: no record is to blame.
_CONTRACT_CLASSES = {"0A", "25", "26", "34", "3B", "42", "F0", "XX"}

# libpq gives no code for a failed connection, only text; it is the server's, hence in English unless the
# server was set up otherwise, which ends in the general sentence.
_CONNECT_TEXTS: tuple[tuple[str, type[ConnectorError], str], ...] = (
    ("password authentication failed", AuthenticationFailed, "refused the user name or password"),
    ("no password supplied", AuthenticationFailed, "wants a password and none is set"),
    ("authentication failed", AuthenticationFailed, "refused the sign-in"),
    ("no pg_hba.conf entry", AuthenticationFailed, "does not let this user in from here (pg_hba.conf)"),
    ("is not permitted to log in", AuthenticationFailed, "does not permit this user to log in"),
    ("role ", AuthenticationFailed, "does not know this user"),
    ("permission denied for database", PermissionMissing, "does not let this user open the database"),
    ("does not exist", SettingsInvalid, "has no database of that name"),
    ("invalid sslmode", SettingsInvalid, "cannot be reached with this SSL mode"),
    ("certificate verify failed", SettingsInvalid, "shows a certificate that is not trusted"),
    ("does not support SSL", SettingsInvalid, "does not speak SSL, which the SSL mode demands"),
    ("invalid port", SettingsInvalid, "cannot have this port number"),
    ("invalid integer value", SettingsInvalid, "cannot have this port number"),
    ("too many", Unavailable, "has no connection free"),
    ("remaining connection slots", Unavailable, "has no connection free"),
    ("starting up", Unavailable, "is starting up"),
    ("shutting down", Unavailable, "is shutting down"),
    ("Connection refused", Unavailable, "does not answer (connection refused)"),
    ("No such file or directory", Unavailable, "does not answer (no socket there)"),
    ("resolve host", Unavailable, "cannot be found (the host name does not resolve)"),
    ("timeout", Unavailable, "does not answer (timed out)"),
)
_ADVICE: dict[type[ConnectorError], str] = {
    AuthenticationFailed: "Check user and password on the org's page.",
    PermissionMissing: "Ask the database's administrator for the right.",
    SettingsInvalid: "Correct it on the org's page.",
    Unavailable: "It will be tried again.",
}


def connect_error(error: psycopg.Error, where: str) -> ConnectorError:
    """Our error for a connection that could not be opened to ``where`` (a name without secrets)."""
    text = str(error)
    for needle, kind, what in _CONNECT_TEXTS:
        if needle in text:
            return kind(f"The {where} {what}. {_ADVICE[kind]}", detail=text)
    return Unavailable(f"The {where} could not be reached. {_ADVICE[Unavailable]}", detail=text)


def condition(error: psycopg.Error) -> str:
    """The error's symbolic name as PostgreSQL's manual spells it (``unique_violation``); the bare SQLSTATE
    where the code is somebody's own (a trigger's ``ERRCODE``)."""
    if error.sqlstate is None:
        return "connection_failure"
    try:
        name = psycopg.errors.lookup(error.sqlstate).__name__
    except KeyError:
        return error.sqlstate
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def is_lock(error: psycopg.Error) -> bool:
    """Whether a row was held by somebody else: a lock that was not free in time, or a deadlock."""
    return error.sqlstate in _LOCKS


def blames_record(error: psycopg.Error) -> bool:
    """Whether some record's values caused it (and others may still be written)."""
    code = error.sqlstate
    if code is None:
        # psycopg's own refusals (DataError: a NUL in a text) carry no code; a lost connection has none either.
        return isinstance(error, psycopg.DataError)
    known = _UNAVAILABLE.keys() | _PERMISSION | _SETTINGS
    classes = _UNAVAILABLE_CLASSES.keys() | _AUTHENTICATION_CLASSES | _CONTRACT_CLASSES
    return code not in known and code[:2] not in classes


def translate(error: psycopg.Error, where: str) -> ConnectorError:
    """Our error for a statement that failed at ``where`` (a name without secrets)."""
    code, text = error.sqlstate, _log_text(error)
    first = error.diag.message_primary or str(error).partition("\n")[0]
    if blames_record(error):
        return Rejected(f"The {where} refused a record: {first}.", code=condition(error), detail=text)
    if code is None or code in _UNAVAILABLE or code[:2] in _UNAVAILABLE_CLASSES:
        why = "the connection broke" if code is None else _UNAVAILABLE.get(code) or _UNAVAILABLE_CLASSES[code[:2]]
        return Unavailable(f"The {where} could not finish: {why}. It will be tried again.", detail=text)
    if code[:2] in _AUTHENTICATION_CLASSES:
        return AuthenticationFailed(f"The {where} refused the sign-in: {first}.", detail=text)
    if code in _PERMISSION:
        return PermissionMissing(
            f"The {where} does not allow this: {first}. Ask its administrator for the right.", detail=text
        )
    if code in _SETTINGS:
        return SettingsInvalid(f"The {where} says: {first}. Correct it on the org's page.", detail=text)
    return ContractChanged(
        f"The {where} could not run a statement: {first}. Its tables may have changed; check the org again.",
        detail=text,
    )


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn whatever psycopg raises inside into our errors."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, where) from error


def _log_text(error: psycopg.Error) -> str:
    parts = (error.sqlstate, str(error).strip(), error.diag.context)
    return " | ".join(part for part in parts if part)
