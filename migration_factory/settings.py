"""Settings: the only reader of environment variables, one topic after the other."""

from pathlib import Path

import environ

from migration_factory import embedded, first_run

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

VAR_DIR = Path(env.str("MF_VAR_DIR", default=str(BASE_DIR / "var")))
DEBUG = env.bool("DEBUG", default=True)

# --- Secrets -------------------------------------------------------------------------------------------------
SECRET_KEY = first_run.secret_key(env, VAR_DIR, debug=DEBUG)
# key id -> 32 bytes; the first one seals, all of them open.
VAULT_KEYS = first_run.vault_keys(env, VAR_DIR, debug=DEBUG)

# --- Web -----------------------------------------------------------------------------------------------------
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
ROOT_URLCONF = "migration_factory.urls"
WSGI_APPLICATION = "migration_factory.wsgi.application"
LOGIN_URL = "admin:login"
INSTALLED_APPS = [
    "migration_factory.apps.Wiring",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.import_export",
    "django.contrib.admin",
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
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# --- Database: DATABASE_URL, else the embedded server under var/ ----------------------------------------------
EMBEDDED_DATABASE = "DATABASE_URL" not in env.ENVIRON
DATABASES = {"default": embedded.settings(VAR_DIR) if EMBEDDED_DATABASE else env.db_url("DATABASE_URL")}
DATABASES["default"]["CONN_MAX_AGE"] = 600
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Time and language ---------------------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"

# --- Workers: django-q2 only wakes them up; the record of work is in runs/ ------------------------------------
# Why each value: docs/decisions/0004-django-q2-is-a-bell.md
Q_CLUSTER = {
    "name": "migration_factory",
    "orm": "default",
    "workers": env.int("MF_WORKERS", default=2),
    "queue_limit": env.int("MF_WORKERS", default=2),
    "bulk": 1,
    "timeout": 120,
    "retry": 180,
    "ack_failures": True,
    "max_attempts": 1,
    "recycle": 200,
    "save_limit": -1,
    "catch_up": False,
    "poll": 0.5,
}
