"""Exception pages and mails that show nothing a person entered."""

from collections.abc import ItemsView
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class ClosedExceptionFilter(SafeExceptionReporterFilter):
    """Leaves out posted values and local variables, debugging or not: either may hold a secret.

    The traceback stays. Addresses of databases and caches are hidden beside what Django hides by name.
    """

    def is_active(self, *_: object) -> bool:
        return True

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        return dict.fromkeys(request.POST, self.cleansed_substitute) if request else {}

    def get_traceback_frame_variables(self, *_: object) -> ItemsView[str, Any]:
        return dict[str, Any]().items()

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        # wsgiref copies the process environment into request.META, and with it DATABASE_URL.
        if isinstance(key, str) and key.upper().endswith("_URL") and isinstance(value, str) and "@" in value:
            return self.cleansed_substitute
        return super().cleanse_setting(key, value)
