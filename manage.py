#!/usr/bin/env python
"""The command line of Migration Factory."""

import os
import sys
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the command line only wants a text: such commands need no database and must be quick."""
    return not arguments or arguments[0] in {"help", "version"} or bool({"-h", "--help", "--version"} & set(arguments))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "migration_factory.settings")
    try:
        if not asks_for_help(sys.argv[1:]):
            start_embedded_database()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Migration Factory cannot start: {error}")


def start_embedded_database() -> None:
    # Imported here: reading the settings takes time that --help should not spend.
    from django.conf import settings  # noqa: PLC0415

    from migration_factory import embedded  # noqa: PLC0415

    if settings.EMBEDDED_DATABASE:
        embedded.ensure_running(settings.VAR_DIR)


if __name__ == "__main__":
    main()
