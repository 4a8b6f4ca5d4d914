"""A real headless Chromium; without one the tests of this folder say that they were skipped."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from pytest_django.live_server_helper import LiveServer
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium with its driver on this machine (Debian: chromium, chromium-driver)")
    options = ChromeOptions()
    options.binary_location = browser
    profile: Path = tmp_path_factory.mktemp("chromium")
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture
def browser(chromium: Chrome, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chrome]:
    """Chromium without cookies, and an error where a page logged one."""
    # The browser keeps its connections to the server open, and with them the server's to the database.
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    chromium.get(f"{live_server.url}/admin/login/")
    chromium.delete_all_cookies()
    chromium.execute_script("localStorage.clear()")
    chromium.get_log("browser")  # type: ignore[no-untyped-call]
    yield chromium
    severe = [line for line in chromium.get_log("browser") if line["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert not severe, severe
    chromium.get("about:blank")  # no poll outlives its test
    assert chromium.find_elements(By.TAG_NAME, "body")
