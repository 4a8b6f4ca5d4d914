"""The embedded server, tried with real servers and real kills."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from environ import Env
from psycopg import pq

from migration_factory import embedded
from migration_factory.embedded import account, place

pytestmark = pytest.mark.processes

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root changes users and mounts file systems")
REPOSITORY = Path(__file__).resolve().parents[2]
START = (
    "import sys, pathlib; from migration_factory import embedded; embedded.ensure_running(pathlib.Path(sys.argv[1]))"
)


def start_in_a_process(var: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", START, str(var)], cwd=REPOSITORY)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """A var folder that leaves no server and no data behind."""
    yield path
    embedded.stop(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mf-test-", ignore_cleanup_errors=True) as made:
        own = Path(made)
        with folder(own / "var") as path:
            yield path


@pytest.fixture
def running(shared: Path) -> Path:
    """A var folder whose server runs, whatever the test before did to it."""
    embedded.ensure_running(shared, disposable=True)
    return shared


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    with folder(tmp_path / "var") as path:
        yield path


def ask(var: Path, query: str, database: str = embedded.DATABASE) -> object:
    with psycopg.connect(embedded.dsn(var, database), autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def run_sql(var: Path, statement: str, database: str = embedded.DATABASE) -> None:
    with psycopg.connect(embedded.dsn(var, database), autocommit=True) as connection:
        connection.execute(statement.encode())


def postmaster(var: Path) -> int:
    return int((var / "postgres" / "postmaster.pid").read_text().split()[0])


def ended(pid: int) -> bool:
    """Gone, or dead and not yet collected by a container's first process."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 10 s"
        time.sleep(0.01)


def refusal(var: Path) -> str:
    with pytest.raises(embedded.DatabaseUnavailable) as caught:
        embedded.ensure_running(var, disposable=True)
    return str(caught.value)


def test_settings_touch_nothing(tmp_path: Path) -> None:
    entry = embedded.settings(tmp_path / "var")
    assert entry["HOST"] == str(tmp_path.resolve() / "var" / "socket")
    assert not (tmp_path / "var").exists()
    assert not embedded.is_running(tmp_path / "var")
    embedded.stop(tmp_path / "var")
    assert not (tmp_path / "var").exists()


def test_processes_that_start_it_at_once_share_one_server_that_outlives_them(fresh: Path) -> None:
    starters = [start_in_a_process(fresh) for _ in range(3)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0]
    first = postmaster(fresh)
    embedded.ensure_running(fresh)
    assert postmaster(fresh) == first
    assert ask(fresh, "SHOW fsync") == "on"
    assert ask(fresh, "SHOW listen_addresses") == ""
    assert ask(fresh, "SELECT current_database()") == embedded.DATABASE
    embedded.stop(fresh)
    assert not embedded.is_running(fresh)
    assert ended(first)


def test_only_the_owner_reaches_the_socket(running: Path) -> None:
    assert (running / "socket").stat().st_mode & 0o077 == 0
    assert (running / "postgres").stat().st_mode & 0o077 == 0


def test_asking_again_starts_no_process_and_waits_for_nobody(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess, "run")
    with (running / "postgres.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        embedded.ensure_running(running)


@as_root
def test_a_server_of_root_says_so_to_others(running: Path) -> None:
    os.seteuid(65534)
    try:
        assert "cannot (Permission denied" in refusal(running)
    finally:
        os.seteuid(0)


def test_a_product_database_is_made_once(running: Path) -> None:
    embedded.create_database(running, "product")
    run_sql(running, "CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS x", "product")
    embedded.create_database(running, "product")
    assert ask(running, "SELECT x FROM kept", "product") == 7


def test_the_url_means_the_same_to_django_environ(running: Path) -> None:
    entry = Env.db_url_config(embedded.url(running))
    assert {**entry, "PASSWORD": None} == {**embedded.settings(running), "PORT": 5432, "PASSWORD": None}


def test_a_dropped_database_is_made_again(running: Path) -> None:
    run_sql(running, f"DROP DATABASE {embedded.DATABASE} WITH (FORCE)", "postgres")
    embedded.ensure_running(running)
    assert ask(running, "SELECT current_database()") == embedded.DATABASE


def test_a_killed_server_comes_back_with_its_data_although_backends_are_orphaned(running: Path) -> None:
    run_sql(running, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS x")
    busy = pq.PGconn.connect(embedded.dsn(running).encode())
    busy.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")  # never looks whether the postmaster lives
    killed, orphan = psutil.Process(postmaster(running)), psutil.Process(busy.backend_pid)
    wait_until(lambda: orphan.cpu_times().user > 0)
    killed.kill()
    wait_until(lambda: ended(killed.pid))
    assert orphan.is_running()
    embedded.ensure_running(running, disposable=True)
    assert ask(running, "SELECT x FROM kept") == 42
    assert ended(orphan.pid)
    busy.finish()


def test_a_server_that_restarts_itself_after_a_killed_backend_is_waited_for(running: Path) -> None:
    with psycopg.connect(embedded.dsn(running)) as victim:
        backend = victim.info.backend_pid
        os.kill(backend, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(backend))  # collected: the server knows
    before = postmaster(running)
    embedded.ensure_running(running)
    assert ask(running, "SELECT current_database()") == embedded.DATABASE
    assert postmaster(running) == before


def test_a_recovery_that_takes_too_long_is_left_alone_and_said(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = postmaster(running)
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "START_SECONDS", 0)
        patch.setattr(embedded, "_answer", lambda _: pq.Ping.REJECT)
        assert "still recovering" in refusal(running)
    assert embedded.is_running(running)
    assert postmaster(running) == before


def test_a_server_of_other_making_is_named(running: Path) -> None:
    run_sql(running, "DROP ROLE IF EXISTS other; CREATE ROLE other SUPERUSER LOGIN")
    other = f"{embedded.dsn(running, 'postgres')} user=other"
    rename = "ALTER ROLE {} RENAME TO {}"
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(rename.format(place.ROLE, "renamed"))
        try:
            assert f'role "{place.ROLE}" does not exist' in refusal(running)
        finally:
            connection.execute(rename.format("renamed", place.ROLE))


def test_files_that_name_an_innocent_process_are_history(running: Path) -> None:
    owner = (running / "postgres").stat()
    as_owner = {"user": owner.st_uid, "group": owner.st_gid} if ROOT else {}
    stale = (running / "postgres" / "postmaster.pid").read_text()
    embedded.stop(running)
    # To PostgreSQL a live process of its own user is another server: the pid was given out again.
    innocent = subprocess.Popen(["sleep", "60"], **as_owner)  # type: ignore[call-overload]  # keywords by user
    lines = [str(innocent.pid), *stale.splitlines()[1:]]
    for left in (running / "postgres" / "postmaster.pid", running / "socket" / ".s.PGSQL.5432.lock"):
        left.write_text("\n".join(lines) + "\n")
        os.chown(left, owner.st_uid, owner.st_gid)
    (running / "socket" / ".s.PGSQL.5432").touch()
    embedded.ensure_running(running, disposable=True)
    assert embedded.is_running(running)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_a_server_whose_socket_was_swept_away_is_replaced(running: Path) -> None:
    before = postmaster(running)
    shutil.rmtree(running / "socket")
    embedded.ensure_running(running, disposable=True)
    assert embedded.is_running(running)
    assert postmaster(running) != before


def test_a_deleted_data_folder_is_made_new_and_its_server_ended(fresh: Path) -> None:
    embedded.ensure_running(fresh, disposable=True)
    before = postmaster(fresh)
    shutil.rmtree(fresh / "postgres")
    embedded.ensure_running(fresh, disposable=True)
    assert ask(fresh, "SELECT current_database()") == embedded.DATABASE
    assert ended(before)


def test_an_interrupted_first_start_heals(fresh: Path) -> None:
    starter = start_in_a_process(fresh)
    wait_until(lambda: any(fresh.glob("postgres.new-*/base")))
    starter.kill()  # it held the lock, and a half-made folder lies about
    assert starter.wait() == -signal.SIGKILL
    assert not (fresh / "postgres").exists()
    embedded.ensure_running(fresh, disposable=True)
    assert embedded.is_running(fresh)


def test_a_half_made_data_folder_is_set_aside_not_deleted(fresh: Path) -> None:
    (fresh / "postgres").mkdir(parents=True)
    (fresh / "postgres" / "PG_VERSION").write_text("18\n")
    if ROOT:
        owner = account.system_user(0)
        os.chown(fresh / "postgres", owner.pw_uid, owner.pw_gid)
    embedded.ensure_running(fresh, disposable=True)
    assert [path.read_text() for path in fresh.glob("postgres.incomplete-*/postgres/PG_VERSION")] == ["18\n"]


def test_a_data_folder_of_another_version_is_refused(running: Path) -> None:
    embedded.stop(running)
    version = running / "postgres" / "PG_VERSION"
    version.write_text("17\n")
    try:
        assert "is of PostgreSQL version 17" in refusal(running)
    finally:
        version.write_text("18\n")


def test_a_server_elsewhere_on_the_same_folder_is_left_alone(running: Path) -> None:
    embedded.stop(running)
    with (running / "postgres" / "in-use.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "still uses" in refusal(running)


def test_every_process_of_the_server_holds_the_claim_on_its_folder(running: Path) -> None:
    with (running / "postgres" / "in-use.lock").open() as claim, pytest.raises(BlockingIOError):
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_setting_the_server_refuses_is_named(running: Path) -> None:
    embedded.stop(running)
    own = running / "postgres" / "postgresql.auto.conf"
    before = own.read_text()
    own.write_text("max_connections = 'many'\n")
    try:
        assert "max_connections" in refusal(running)
    finally:
        own.write_text(before)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refusal(tmp_path / "file" / "var")
    assert "MF_VAR_DIR" in said
    assert str(tmp_path / "file") in said


def test_too_little_space_is_said_before_anything_is_made(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - what shutil returns
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 50 * 1024**2, 50 * 1024**2))
    assert "Only 50 MB are free" in refusal(fresh)
    assert not any(fresh.glob("postgres*/*"))


@as_root
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=210m", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount file systems")
    try:
        with folder(tmp_path / "var") as var:
            embedded.ensure_running(var, disposable=True)
            embedded.stop(var)
            with contextlib.suppress(OSError), (tmp_path / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(1024**2))
            said = refusal(var)
            (tmp_path / "filler").unlink()
            embedded.ensure_running(var, disposable=True)
        assert "full" in said or "No space left" in said
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    with folder(tmp_path / ("deep" * 20) / "var") as var:
        socket = Path(embedded.settings(var)["HOST"])
        assert len(str(socket)) < 40
        try:
            socket.symlink_to(tmp_path)  # somebody was there before us
            assert "belongs to somebody else" in refusal(var)
            socket.unlink()
            embedded.ensure_running(var, disposable=True)
            assert ask(var, "SELECT current_database()") == embedded.DATABASE
        finally:
            embedded.stop(var)
            shutil.rmtree(socket)


@as_root
def test_a_root_without_useradd_is_told_what_to_do(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "SERVER_USERS", ("mf_nobody_has_this",))
    monkeypatch.setenv("PATH", "/nowhere")
    assert "could not be created with useradd" in refusal(fresh)


@as_root
def test_a_data_folder_of_an_unknown_user_is_refused(fresh: Path) -> None:
    (fresh / "postgres").mkdir(parents=True)
    os.chown(fresh / "postgres", 54321, 54321)
    assert "user id 54321" in refusal(fresh)


def test_a_data_folder_of_another_user_is_refused(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh / "postgres").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert "belongs to another user" in refusal(fresh)
