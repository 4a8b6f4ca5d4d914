"""What tests may not do by accident."""

import socket
import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80), ("example.com", 443)])
def test_nothing_leaves_the_machine(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as connection:
        with pytest.raises(pytest.fail.Exception, match="tried to reach"):
            connection.connect(address)
        with pytest.raises(pytest.fail.Exception, match="tried to reach"):
            connection.connect_ex(address)
    with pytest.raises(pytest.fail.Exception, match="tried to reach"):
        socket.getaddrinfo(*address)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            with socket.create_connection((host, server.getsockname()[1]), timeout=5) as connection:
                assert connection.getpeername()[0] == "127.0.0.1"


def test_a_test_that_sleeps_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="slept for 3 s"):
        time.sleep(3)


def test_waiting_for_a_child_is_not_sleeping() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        assert child.stdin is not None
        child.stdin.close()


@pytest.mark.processes
def test_tests_of_real_processes_may_wait() -> None:
    started = time.monotonic()
    time.sleep(0.01)
    assert time.monotonic() - started >= 0.01
