"""The errors a simulated resource raises, and why a single record is refused; the app makes answers of them."""

from collections.abc import Sequence
from dataclasses import dataclass


class ApiError(Exception):
    """One entry of ``[{"message", "errorCode", "fields"?}]`` with the HTTP status it travels under."""

    def __init__(self, status: int, code: str, message: str, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = tuple(fields)

    def body(self) -> list[dict[str, object]]:
        entry: dict[str, object] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            entry["fields"] = list(self.fields)
        return [entry]


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one record was refused."""

    code: str
    message: str
    fields: tuple[str, ...] = ()

    def body(self) -> dict[str, object]:
        """As an entry of a collection's ``errors``."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}

    def line(self) -> str:
        """As ``sf__Error`` of a bulk result."""
        return f"{self.code}:{self.message}:{','.join(self.fields)}{' ' if self.fields else ''}--"

    def as_answer(self, status: int = 400) -> ApiError:
        return ApiError(status, self.code, self.message, self.fields)


def not_found() -> ApiError:
    return ApiError(404, "NOT_FOUND", "The requested resource does not exist")


def not_simulated(what: str) -> ApiError:
    """For valid SOQL the sandbox does not speak: refused in the vendor's shape, and saying whose fault it is."""
    return ApiError(400, "MALFORMED_QUERY", f"{what} is valid SOQL but not simulated by this sandbox")
