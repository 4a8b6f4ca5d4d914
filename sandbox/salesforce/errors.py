"""The error a simulated resource raises; the app turns it into Salesforce's array-shaped error body."""

from collections.abc import Sequence


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


def not_found() -> ApiError:
    return ApiError(404, "NOT_FOUND", "The requested resource does not exist")


def not_simulated(what: str) -> ApiError:
    """For valid SOQL the sandbox does not speak: refused in the vendor's shape, and saying whose fault it is."""
    return ApiError(400, "MALFORMED_QUERY", f"{what} is valid SOQL but not simulated by this sandbox")
