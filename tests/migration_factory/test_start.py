"""Starting from nothing and as a deployment: settings, manage.py and wsgi.py in processes of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from environ import Env

from migration_factory import embedded, first_run

pytestmark = pytest.mark.processes

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "k1:" + "A" * 43 + "="
VARIABLES = sorted(
    set(re.findall(r"^([A-Z][A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), flags=re.MULTILINE)),
)
DEPLOYED = {
    "DEBUG": "false",
    "ALLOWED_HOSTS": "factory.example.com",
    "SECRET_KEY": "correct-horse-battery-staple-0123456789-abcdefghijklmnop",
    "MF_VAULT_KEYS": KEY,
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
}


def python(var: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the checkout with all of our variables blank but those given, whatever .env says."""
    environment = {**os.environ, **dict.fromkeys(VARIABLES, ""), "MF_VAR_DIR": str(var), **variables}
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def test_every_variable_that_is_read_is_documented() -> None:
    source = (REPOSITORY / "migration_factory" / "settings.py").read_text()
    read = set(re.findall(r'env\.\w+\("([A-Z_]+)"', source)) | set(first_run.OF_A_DEPLOYMENT)
    assert read == set(VARIABLES)


def test_help_and_the_import_of_settings_start_no_server(tmp_path: Path) -> None:
    done = python(tmp_path, "manage.py", "migrate", "--help")
    assert done.stdout.startswith("usage:")
    assert not (tmp_path / "postgres").exists()


def test_a_first_command_makes_everything_it_needs(tmp_path: Path) -> None:
    var = tmp_path / "var"
    try:
        done = python(var, "manage.py", "check", "--database", "default", "--tag", "database")
        assert done.returncode == 0, done.stderr
        assert embedded.is_running(var)
        served = python(var, "-c", "from migration_factory.wsgi import application; print(callable(application))")
        assert served.stdout == "True\n", served.stderr
    finally:
        embedded.stop(var)


UNWANTED = (
    "import_export.admin",
    "openpyxl",
    "PIL",
    "lxml",
    "requests",
    "zeep",
    "joserfc",
    "authlib",
    "rich",
    "click",
    "fpdf",
)


def test_a_worker_brings_nothing_that_only_pages_need(tmp_path: Path) -> None:
    """A worker is a process per core for days. The checks see the pages all the same."""
    told = python(
        tmp_path,
        "-c",
        f"""
import sys, django; django.setup()
from runs import drivers, tasks
from connectors.sources import salesforce
from connectors.targets import postgresql, salesforce
print([name for name in {UNWANTED} if name in sys.modules])
from django.contrib import admin
from migration_factory.apps import check_pages
from runs.models import Run
assert not admin.site.is_registered(Run)
print(check_pages(app_configs=None), admin.site.is_registered(Run))""",
        DJANGO_SETTINGS_MODULE="migration_factory.settings",
        DATABASE_URL=DEPLOYED["DATABASE_URL"],
    )
    assert told.stdout.splitlines() == ["[]", "[] True"], told.stderr


@pytest.mark.parametrize("missing", ["ALLOWED_HOSTS", "SECRET_KEY", "MF_VAULT_KEYS"])
def test_a_deployment_that_lacks_a_setting_refuses_in_one_sentence(missing: str, tmp_path: Path) -> None:
    done = python(tmp_path, "manage.py", "migrate", **{**DEPLOYED, missing: ""})
    assert done.returncode == 1
    assert f"{missing} is not set" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_complete_deployment_passes_the_deployment_checks(tmp_path: Path) -> None:
    done = python(
        tmp_path, "manage.py", "check", "--deploy", "--tag", "security", "--fail-level", "WARNING", **DEPLOYED
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_process_finds_the_test_database_by_its_url(database_url: str, tmp_path: Path) -> None:
    asked = "import django; django.setup(); from django.db import connection as c; c.ensure_connection(); "
    settings = {"DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "migration_factory.settings"}
    done = python(tmp_path, "-c", asked + "print(c.settings_dict['NAME'])", **settings)
    assert done.stdout.strip() == Env.db_url_config(database_url)["NAME"], done.stderr
