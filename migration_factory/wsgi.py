"""The entry point for web servers."""

import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from migration_factory import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "migration_factory.settings")
if settings.EMBEDDED_DATABASE:
    embedded.ensure_running(settings.VAR_DIR)
application = get_wsgi_application()
# The pages are imported now, not by the first who asks for one.
import_module(settings.ROOT_URLCONF)
