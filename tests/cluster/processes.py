"""Processes that never outlive the test run."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from tools.processes import with_parent

PATIENCE: Final = 240.0
"""Seconds: much at once is slow on a busy machine. What is to come comes much sooner."""

GO_SETTINGS: Final = {"GOGC": "400"}
"""For programs written in Go: tests wait for the CPU, and have memory to leave garbage in."""

Found = TypeVar("Found")


class StartError(Exception):
    """A process did not come up: the message has the end of its log."""


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` with its output in the file `log`, and SIGKILL it at the end.

    SIGKILL, because an API server with watchers takes a minute to end by SIGTERM.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            with_parent(command), env={**os.environ, **GO_SETTINGS}, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def output(command: Sequence[str]) -> str:
    """Run a command that has to succeed, and return what it says.

    Raises:
        StartError: it failed; has what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise StartError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def wait_until(
    ready: Callable[[], bool], what: str, *, seconds: float = PATIENCE, interval: float = 0.05
) -> None:
    """Ask again until it is so.

    Raises:
        StartError: it is not, after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise StartError(f"not within {seconds:g} s: {what}")
        time.sleep(interval)


def wait_for_one(
    look: Callable[[], Sequence[Found]], what: str, *, interval: float = 0.05
) -> Found:
    """Look again until there is exactly one, and return it.

    Raises:
        StartError: there is not, after PATIENCE.
    """
    found: Sequence[Found] = ()

    def is_one() -> bool:
        nonlocal found
        found = look()
        return len(found) == 1

    wait_until(is_one, what, interval=interval)
    return found[0]


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Ports that are free now, for programs that cannot choose one themselves."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((address, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
