"""Ending a server, and the backends a killed server leaves behind."""

import signal
import time
from collections.abc import Sequence

import psutil

from migration_factory.embedded.place import DatabaseUnavailable, Place

STOP_SECONDS = 30


def end_processes(place: Place) -> None:
    """End the server, or the backends a killed server left behind (they keep a new one from starting)."""
    processes = _processes(place)
    members = {process.pid for process in processes}
    postmasters = [process for process in processes if _parent(process) not in members]
    for request, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        for process in postmasters if request == signal.SIGINT else processes:
            _signal(process, request)
        processes = _left_after(processes, patience)
        if not processes:
            return
    raise DatabaseUnavailable(
        f"The processes {', '.join(str(process.pid) for process in processes)} hold {place.data} and do not end; "
        "end them and run again."
    )


def _processes(place: Place) -> list[psutil.Process]:
    """Every server process of this data folder that we can see: PostgreSQL works inside its data folder."""
    places = {str(place.data), f"{place.data} (deleted)"}
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd() in places:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def _left_after(processes: Sequence[psutil.Process], patience: float) -> list[psutil.Process]:
    """Those still at work after at most ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while (left := [process for process in processes if _works(process)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _works(process: psutil.Process) -> bool:
    """A dead child its parent has not collected yet (a container's first process may never) is no worker."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _signal(process: psutil.Process, request: signal.Signals) -> None:
    try:
        process.send_signal(request)
    except psutil.NoSuchProcess:
        return
