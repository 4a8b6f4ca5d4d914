"""The ``sf`` command line against the simulator: one scenario, where the command line is installed already.

It is never installed here: ``manage.py bench --only org-to-org`` puts it into ``var/peers``; an ``sf`` of one's own on
the path does as well. It starts slowly, so that each step takes seconds.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.salesforce.running import Running, running_simulator

PEERS = Path(__file__).parents[2] / "var" / "peers"
PERMISSION_SET = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<PermissionSet xmlns="http://soap.sforce.com/2006/04/metadata"><label>By command line</label></PermissionSet>'
)
CommandLine = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.node, pytest.mark.processes]


def installed() -> list[str]:
    """The command, by its own node where it came with one; empty where there is none."""
    for linked in sorted(PEERS.glob("*/home/linked")):
        modules = linked.parents[1] / "node_modules"
        return [str(modules / ".bin" / "node"), str(modules / "@salesforce" / "cli" / "bin" / "run.js")]
    found = shutil.which("sf")
    return [found] if found else []


@pytest.fixture
def org() -> Iterator[Running]:
    with running_simulator(records=200, tls=True) as running:
        yield running


@pytest.fixture
def sf(org: Running, tmp_path: Path) -> CommandLine:
    """Run a command with a home of its own; the ``result`` of what it prints."""
    command = installed()
    if not command:
        pytest.skip("the sf command line is not installed, so it cannot be driven")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "NODE_EXTRA_CA_CERTS": org.ready.ca_file,
        "SF_AUTOUPDATE_DISABLE": "true",
        "SF_DISABLE_AUTOUPDATE": "true",
        "SF_DISABLE_TELEMETRY": "true",
        "SF_SKIP_NEW_VERSION_CHECK": "true",
        "SF_USE_GENERIC_UNIX_KEYCHAIN": "true",
    }

    def run(*arguments: str) -> dict[str, Any]:
        ended = subprocess.run(
            [*command, *arguments, "--json"], capture_output=True, text=True, env=environment, cwd=tmp_path,
            check=False, timeout=300,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return dict(json.loads(ended.stdout))

    return run


def test_the_command_line_logs_in_queries_imports_and_deploys(sf: CommandLine, org: Running, tmp_path: Path) -> None:
    """By an auth URL: its refresh token, client ``PlatformCLI``. The project holds one permission set."""
    (tmp_path / "url.txt").write_text(org.ready.sfdx_auth_url)
    logged_in = sf("org", "login", "sfdx-url", "--sfdx-url-file", "url.txt", "--alias", "org")["result"]
    assert (logged_in["orgId"], logged_in["username"]) == (org.ready.org_id, org.ready.username)

    tree = {"records": [{"attributes": {"type": "Account", "referenceId": "a1"}, "Name": "From a tree"}]}
    (tmp_path / "Account.json").write_text(json.dumps(tree))
    (made,) = sf("data", "import", "tree", "--target-org", "org", "--files", "Account.json")["result"]

    soql = "SELECT Id, Name, Owner.Name FROM Account WHERE Name = 'From a tree'"
    (found,) = sf("data", "query", "--target-org", "org", "--query", soql)["result"]["records"]
    assert (found["Id"], found["Owner"]["Name"]) == (made["id"], "Alex Admin")

    folder = tmp_path / "force-app" / "main" / "default" / "permissionsets"
    folder.mkdir(parents=True)
    (folder / "By_Command_Line.permissionset-meta.xml").write_text(PERMISSION_SET)
    project = {"packageDirectories": [{"path": "force-app", "default": True}], "sourceApiVersion": "66.0"}
    (tmp_path / "sfdx-project.json").write_text(json.dumps(project))
    deployed = sf("project", "deploy", "start", "--target-org", "org", "--source-dir", "force-app")["result"]
    assert (deployed["status"], deployed["numberComponentsDeployed"]) == ("Succeeded", 1)

    rows = ["Name,Phone", *(f"Bulk {number},{number}" for number in range(3))]
    (tmp_path / "accounts.csv").write_text("\n".join(rows) + "\n")
    options = ("--sobject", "Account", "--file", "accounts.csv", "--wait", "2")
    imported = sf("data", "import", "bulk", "--target-org", "org", *options)["result"]
    assert (imported["processedRecords"], imported["failedRecords"]) == (3, 0)
