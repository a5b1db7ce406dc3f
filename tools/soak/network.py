"""A network namespace for the whole run: addresses for replicas, and nothing left behind.

An EndpointSlice takes no loopback address, and addresses of the machine are nobody's to give.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

INSIDE: Final = "--inside"  # the flag of the run that is in its namespace
_PROGRAMS: Final = {"unshare": "util-linux", "setpriv": "util-linux", "ip": "iproute2"}
_NETWORK: Final = "10.211"
_ESTABLISHED: Final = "01"


class NetworkError(Exception):
    """There can be no namespace: the message says what is missing."""


def check() -> None:
    """Find out what is missing before anything is built.

    Raises:
        NetworkError: something is.
    """
    if os.geteuid() != 0:
        raise NetworkError("the soak runs in a network namespace of its own, which takes root")
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            raise NetworkError(f"there is no program {program} (package {package})")


def enter(arguments: Sequence[str]) -> NoReturn:
    """Become `python -m tools.soak --inside …` there: the same process, so ^C stays simple."""
    module = [sys.executable, "-m", "tools.soak", INSIDE, *arguments]
    os.execvp("unshare", ["unshare", "--net", "--", *module])  # noqa: S606, S607 - util-linux, wherever it is


def prepare() -> None:
    """Bring loopback up, with a network that is not 127/8.

    All of a network on a loopback interface is local, so each of its addresses can be bound.

    Raises:
        NetworkError: the kernel refuses.
    """
    commands = ("link set lo up", f"address add {_NETWORK}.0.1/16 dev lo")
    for command in commands:
        done = subprocess.run(  # noqa: S603 - our own command
            ["ip", *command.split()],  # noqa: S607 - iproute2, wherever it is
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NetworkError(f"ip {command}: {done.stderr.strip()}")


def address(number: int) -> str:
    """The address of the replica with this number, from 0."""
    return f"{_NETWORK}.{1 + number // 250}.{1 + number % 250}"


def connections(port: int) -> set[tuple[str, str]]:
    """Both ends of each connection that replicas have open at `port`, as the kernel writes them.

    Without those from 127.0.0.1, which are the soak's own: see certificates.seen.
    """
    found = set()
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        own = remote.startswith("0100007F:")
        if state == _ESTABLISHED and local.endswith(f":{port:04X}") and not own:
            found.add((local, remote))
    return found
