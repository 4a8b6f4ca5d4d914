"""People and finished runs for the tests of pages."""

from django.test import Client, override_settings

from projects.models import Project
from runs import drivers, services
from runs.models import Run
from tests import factories
from tests.fakes import World, reference, schema

ACCOUNTS = schema("Account", "Name", "Notes", reference("ParentId", "Account"))
VIEW = (
    "orgs.view_customer",
    "orgs.view_org",
    "projects.view_project",
    "runs.view_run",
    "runs.view_trackedrecord",
    "runs.view_chunk",
    "runs.view_finding",
    "runs.view_workerhost",
)


class NoWaiting:
    """A clock for runs whose every piece is due at once."""

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing should have to be waited for")


def signed_in(*permissions: str, superuser: bool = False, staff: bool = True) -> Client:
    client = Client()
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):  # nobody types it
        client.force_login(factories.user(*permissions, superuser=superuser, staff=staff))
    return client


def accounts(world: World, project: Project, number: int = 5) -> None:
    """Accounts of which the second is refused by the target and the fifth waits for an unknown parent."""
    rows = [{"Id": f"A{n}", "Name": f"Account {n}", "Notes": None, "ParentId": None} for n in range(number)]
    rows[4]["ParentId"] = "A99"
    world.add(ACCOUNTS, *rows)
    world.refuse = lambda _entity, row: "Names must not end in 1." if row["name"] == "Account 1" else None
    factories.project_object(project, "Account")


def done(project: Project) -> Run:
    """A run of the project, driven to its end in this process."""
    run = services.start_run(project)
    drivers.drive_here(run.pk, clock=NoWaiting())  # type: ignore[arg-type]  # only sleep is used
    return Run.objects.get(pk=run.pk)


def text(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.status_code
    return str(answer.content.decode())
