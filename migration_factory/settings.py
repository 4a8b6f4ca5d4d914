"""Settings: the only reader of environment variables, one topic after the other."""

import socket
from pathlib import Path

import environ
from csp import constants as csp

from migration_factory import embedded, first_run

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")
# Blank means not set, so that .env may keep a line for every variable.
env.ENVIRON = {name: value for name, value in env.ENVIRON.items() if value.strip()}

VAR_DIR = BASE_DIR / env.str("MF_VAR_DIR", default="var")
# True where nothing says otherwise: the first setting of a deployment turns it off by itself.
DEBUG = env.bool("DEBUG", default=first_run.is_local(env))

# --- Secrets -------------------------------------------------------------------------------------------------
SECRET_KEY = first_run.secret_key(env, VAR_DIR, debug=DEBUG)
# key id -> 32 bytes; the first one seals, all of them open.
VAULT_KEYS = first_run.vault_keys(env, VAR_DIR, debug=DEBUG)

# --- Web -----------------------------------------------------------------------------------------------------
ALLOWED_HOSTS = first_run.allowed_hosts(env, debug=DEBUG)
ROOT_URLCONF = "migration_factory.urls"
WSGI_APPLICATION = "migration_factory.wsgi.application"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
INSTALLED_APPS = [
    "migration_factory.apps.Wiring",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.import_export",
    "migration_factory.apps.Pages",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "import_export",
    "django_q",
    "orgs",
    "projects",
    "runs",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "templates" / "static"]
# A checkout serves its files as they are; a deployment what collectstatic made.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# --- Look of the admin: docs/operating.md --------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "Migration Factory",
    "SITE_HEADER": "Migration Factory",
    "SITE_SYMBOL": "conveyor_belt",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "migration_factory.admin_site.favicon"}],
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "runs.dashboard.overview",
    "STYLES": ["migration_factory.admin_site.stylesheet"],
    "SCRIPTS": ["migration_factory.admin_site.script"],
    "SIDEBAR": {"navigation": "migration_factory.admin_site.menu"},
    # They are in screens.css: as an inline style sheet the security policy would refuse them.
    "COLORS": "migration_factory.admin_site.no_colours",
}
# Without these two anybody on the staff could bring reference tables in and take them out.
IMPORT_EXPORT_IMPORT_PERMISSION_CODE = "change"
IMPORT_EXPORT_EXPORT_PERMISSION_CODE = "view"

# --- Transport: everything but a local run is https only -------------------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = env.bool("MF_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("MF_HSTS_SECONDS", default=0 if DEBUG else 30 * 24 * 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
if env.bool("MF_BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# W021 asks for HSTS preloading: entering a domain in the browsers' built-in lists is its owner's decision.
SILENCED_SYSTEM_CHECKS = ["security.W021"]

# --- Content Security Policy: docs/decisions/0031-content-security-policy.md -----------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [csp.NONE],
        # The theme's Alpine evaluates the expressions in its templates; it needs no inline script.
        "script-src": [csp.SELF, csp.UNSAFE_EVAL],
        "style-src": [csp.SELF],
        # Widths of bars and what the theme sets while it works; never a whole style sheet.
        "style-src-attr": [csp.UNSAFE_INLINE],
        "img-src": [csp.SELF, "data:"],
        "font-src": [csp.SELF],
        "connect-src": [csp.SELF],
        "form-action": [csp.SELF],
        "base-uri": [csp.NONE],
        "frame-ancestors": [csp.NONE],
    }
}

# --- Database: DATABASE_URL, else the embedded server under var/ ----------------------------------------------
EMBEDDED_DATABASE = "DATABASE_URL" not in env.ENVIRON
DATABASES = {"default": embedded.settings(VAR_DIR) if EMBEDDED_DATABASE else env.db_url("DATABASE_URL")}
DATABASES["default"]["ENGINE"] = "migration_factory.database"
DATABASES["default"]["CONN_MAX_AGE"] = 600
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# A server that is cut off without a word must not block a worker or its supervisor for ever.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    **DATABASES["default"].get("OPTIONS", {}),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Time and language ---------------------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["migration_factory.formats"]

# --- Workers: django-q2 only wakes them up; the record of work is in runs/ ------------------------------------
# How long a driver works before it hands over to its successor; the checks keep timeout above it, retry above both.
MF_TIME_BOX_SECONDS = env.int("MF_TIME_BOX_SECONDS", default=20)
# Why each value: docs/decisions/0004-django-q2-is-a-bell.md
WORKER_HOST = env.str("MF_WORKER_HOST", default=socket.gethostname())
# A worker that is gone holds its work for so long; it must outlast the slowest chunk between two renewals.
MF_LEASE_SECONDS = env.float("MF_LEASE_SECONDS", default=60.0)
# Pages of a source are joined until a chunk has so many records.
MF_CHUNK_RECORDS = env.int("MF_CHUNK_RECORDS", default=10_000)
# How often the connection of an org is checked by itself, in minutes; 0 never.
MF_HEALTH_CHECK_MINUTES = env.int("MF_HEALTH_CHECK_MINUTES", default=360)
# For tests of crashes (see runs/crash_points.py); a deployment cannot be made to.
MF_CRASH = env.str("MF_CRASH", default="") if DEBUG else ""
Q_CLUSTER = {
    "name": "migration_factory",  # signs the calls; the same on all hosts
    "cluster_name": WORKER_HOST,  # the queue; one per host
    "orm": "default",
    "workers": env.int("MF_WORKERS", default=2),
    "queue_limit": env.int("MF_WORKERS", default=2),
    "bulk": 1,
    # A piece of work may wait hours for a vendor's job; one that hangs is ended by runs.heartbeat.
    "timeout": 10_800,
    "retry": 11_000,
    "ack_failures": True,
    "max_attempts": 1,
    "recycle": 200,
    "max_rss": 1_500_000,  # KiB; a worker above it is replaced between two tasks
    "save_limit": -1,
    "catch_up": False,
    "poll": 0.5,
}
