"""Sealed model fields: what a row holds is a token, what Python sees is a box that must be opened.

Built on the field classes of ``fernet_fields`` (binary storage, no index, no lookup but ``isnull``) with
the key ring as their cipher. A model attribute is never plain text: it is a ``Sealed`` box, so that
serializers, templates, ``repr``, pickles, form initials and admin history have nothing to show.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from django.core.exceptions import FieldError, ValidationError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BinaryField, Case, CheckConstraint, Value
from django.db.models.functions import Cast, Substr
from django.db.models.lookups import Exact
from fernet_fields import EncryptedTextField

from orgs.sealing import PREFIX, Ring, SealBroken, open_sealed, seal

_PLAIN_REFUSED = "A sealed field takes a sealed value made with its seal(), not plain text."


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """A token and the purpose it was sealed for. Pickles and copies carry the token only."""

    purpose: str
    token: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    def __str__(self) -> str:
        return "sealed"

    @classmethod
    def _sealed(cls, purpose: str, value: object, bound_to: str) -> Self:
        envelope = json.dumps({"of": bound_to, "value": value}, ensure_ascii=False, separators=(",", ":"))
        return cls(purpose, seal(purpose, envelope.encode()))

    def _opened(self, bound_to: str) -> Any:
        envelope = json.loads(open_sealed(self.purpose, self.token))
        if envelope["of"] != bound_to:
            raise SealBroken(
                f"A value of {self.purpose} belongs to another row ({envelope['of']}, not {bound_to}): "
                "someone moved it inside the database; enter it again."
            )
        return envelope["value"]


class SealedText(Sealed):
    """A sealed text. ``bound_to`` names the row it belongs to (a public id) and is checked on opening."""

    __slots__ = ()

    @classmethod
    def seal(cls, purpose: str, value: str, *, bound_to: str) -> Self:
        return cls._sealed(purpose, value, bound_to)

    def open(self, *, bound_to: str) -> str:
        """The text; raises SealBroken."""
        text: str = self._opened(bound_to)
        return text


class SealedMap(Sealed):
    """A sealed name → text mapping. ``bound_to`` as for ``SealedText``."""

    __slots__ = ()

    @classmethod
    def seal(cls, purpose: str, value: Mapping[str, str], *, bound_to: str) -> Self:
        return cls._sealed(purpose, dict(value), bound_to)

    def open(self, *, bound_to: str) -> dict[str, str]:
        """The mapping; raises SealBroken."""
        values: dict[str, str] = self._opened(bound_to)
        return values


class SealedTextField(EncryptedTextField):  # type: ignore[misc]  # the package ships no types
    """A ``SealedText`` or null. Never editable: a form offers its own write-only input instead.

    The database refuses anything that does not begin like a token. Fixtures carry the token as base64;
    they load again wherever the key that sealed it is in the ring.
    """

    box: ClassVar[type[Sealed]] = SealedText

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    @property
    def purpose(self) -> str:
        return f"{self.model._meta.label}.{self.name}"

    @property
    def fernet(self) -> Ring:
        return Ring(self.purpose)

    def db_check(self, connection: BaseDatabaseWrapper) -> str:
        """The CHECK that every table with such a column gets, from creation on."""
        column = connection.ops.quote_name(self.column)
        return f"substring({column} from 1 for {len(PREFIX)}) = '{PREFIX.decode()}'::bytea"

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None:
            return None
        if hasattr(value, "as_sql"):
            return _only_values(value)
        return connection.Database.Binary(self._own(value).token)  # type: ignore[attr-defined]  # of each backend

    def from_db_value(self, value: Any, *_: Any) -> Sealed | None:
        return None if value is None else self.box(self.purpose, bytes(value))

    def to_python(self, value: Any) -> Any:
        """A box from a fixture's base64; anything else as it is.

        Refusing here would print plain text: loaddata quotes a value that does not convert. What is no
        box is refused, unquoted, by ``validate`` and on saving.
        """
        token = _fixture_token(value) if isinstance(value, str) else None
        return self.box(self.purpose, token) if token else value

    def validate(self, value: Any, model_instance: Any) -> None:
        if not isinstance(value, self.box | None):
            raise ValidationError(_PLAIN_REFUSED)
        super().validate(value, model_instance)

    def value_to_string(self, obj: Any) -> str | None:
        value = self.value_from_object(obj)
        return None if value is None else base64.b64encode(self._own(value).token).decode()

    def _own(self, value: Any) -> Sealed:
        if not isinstance(value, self.box):
            raise TypeError(f"{self.purpose}: {_PLAIN_REFUSED}")
        if value.purpose != self.purpose:
            raise ValueError(f"A value sealed for {value.purpose} cannot be stored in {self.purpose}.")
        return value


class SealedMapField(SealedTextField):
    """A ``SealedMap`` or null; everything else as for ``SealedTextField``."""

    box = SealedMap


def _fixture_token(text: str) -> bytes | None:
    try:
        token = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return token if token.startswith(PREFIX) else None


def sealed_bytes_constraint(column: str, *, name: str) -> CheckConstraint:
    """A CHECK for a plain binary field of tokens (see ``register_sealed_column``): no plain text gets in."""
    start = Substr(column, 1, len(PREFIX), output_field=BinaryField())
    return CheckConstraint(name=name, condition=Exact(start, Value(PREFIX, output_field=BinaryField())))


def _only_values(expression: Any) -> Any:
    """The expression, where all it can yield are sealed values: what ``bulk_update`` builds.

    The package would encrypt the expression's SQL text here and lose the secret without a word.
    """
    inner: list[Any] = [expression]
    while inner:
        part = inner.pop()
        if isinstance(part, Case):
            inner += [*(case.result for case in part.cases), part.default]
        elif isinstance(part, Cast):
            inner += part.get_source_expressions()
        elif not (isinstance(part, Value) and (part.value is None or isinstance(part.value, Sealed))):
            raise FieldError("A sealed field is written with sealed values only, not computed in the database.")
    return expression
