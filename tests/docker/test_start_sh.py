"""start.sh with a stub of dind.sh, under /bin/sh and BusyBox, and the sockets of a real process.

tests/docker/test_keeper.py has it with a real dockerd, and with clients from another Pod.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import scripts
from tests.docker.test_dind_sh import SHELLS, until
from tests.parts import needs

START_SH = Path(scripts.__file__).with_name("start.sh")
TEXT = scripts.source("start.sh")

TESTED = {
    "count_clients": "test_counts_clients",
    "restart_dockerd": "test_restart",
    "watch_for_requests": "test_a_restart_waits_for_clients",
}

# Notes who it is and what it gets, then lives until a file tells it to end.
DIND = """\
echo $$ >"$T/pid"
for arg; do echo "$arg"; done >"$T/args"
while ! [ -e "$T/end" ]; do /bin/sleep 0.02; done
"""

# A process with the sockets that its arguments name; a line on stdin closes them.
DOCKERD = """\
import os, socket, sys

directory, *wanted = sys.argv[1:]
keep, other_ends = [], []


def listens(family, address):
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    keep.append(server)
    return server


def accepts(server):
    client = socket.socket(server.family)
    other_ends.append(client)
    client.connect(server.getsockname())
    return server.accept()[0]


# The other ends are open here, too: a child has them, and this process only what is dockerd's.
docker_sock = listens(socket.AF_UNIX, directory + "/docker.sock")
containerd_sock = listens(socket.AF_UNIX, directory + "/containerd.sock")
tcp = listens(socket.AF_INET, ("127.0.0.1", 0))
tcp6 = listens(socket.AF_INET6, ("::1", 0)) if "tcp6" in wanted else None
registry = socket.socket()
registry.bind(("127.0.0.1", 0))
registry.listen()
other_ends.append(registry)
clients = []
for name in wanted:
    match name:
        case "docker.sock":
            clients.append(accepts(docker_sock))
        case "containerd.sock":
            clients.append(accepts(containerd_sock))
        case "tcp":
            clients.append(accepts(tcp))
        case "tcp6":
            clients.append(accepts(tcp6))
        case "pull":  # a connection of its own to elsewhere
            clients.append(socket.create_connection(registry.getsockname()))
            other_ends.append(registry.accept()[0])
        case "udp":
            clients.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            clients[-1].bind(("127.0.0.1", 0))
        case "netlink":
            clients.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
            clients[-1].bind((0, 0))
        case "pair":  # with its shims
            clients.extend(socket.socketpair())
        case "unknown":  # in none of the tables, as those from another network are
            clients.append(socket.socket())
lives, alive = os.pipe()
if os.fork() == 0:
    for one in (*keep, *clients):
        one.close()
    os.close(alive)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(0, 2)
    os.read(lives, 1)  # until the other has ended
    os._exit(0)
for one in other_ends:
    one.close()
print("ready", flush=True)
sys.stdin.readline()
for one in clients:
    one.close()
print("closed", flush=True)
sys.stdin.readline()
"""


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = needs("IPv6 on loopback", is_there=has_ipv6())


@dataclass
class Shared:
    """What the container of a shared daemon looks like to start.sh."""

    root: Path
    shell: list[str]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def path(self, name: str) -> Path:
        return self.root / name

    def popen(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603  # our own commands
            command,
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "T": str(self.root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Run start.sh, and wait until dind.sh has come."""
        text = TEXT.replace("/var/run/", f"{self.root}/")
        stub = 'sleep() { "$T/bin/sleep"; }\n'  # also where the shell prefers its own
        self.path("start.sh").write_text(text.replace("set -eu\n", f"set -eu\n{stub}"))
        process = self.popen(*self.shell, str(self.path("start.sh")), "dockerd", *args)
        until(lambda: self.path("args").exists())
        return process

    def dockerd(self, *sockets: str) -> subprocess.Popen[str]:
        """Run a process with these sockets; it is dockerd by its pid file."""
        process = self.popen(sys.executable, "-c", DOCKERD, str(self.root), *sockets)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        self.path("docker.pid").write_text(f"{process.pid}\n")
        return process

    def ask(self, when: str) -> None:
        """Ask for a restart, in one step as the keeper does."""
        self.path(".restart").write_text(when)
        self.path(".restart").rename(self.path("restart"))

    def looks(self) -> int:
        """How often start.sh has looked."""
        return len(self.path("looks").read_text()) if self.path("looks").exists() else 0

    def wait_for_looks(self, count: int = 3) -> None:
        before = self.looks()
        until(lambda: self.looks() >= before + count)


@pytest.fixture(params=SHELLS, ids=" ".join)
def shared(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shared]:
    shared = Shared(tmp_path, request.param)
    shared.path("dind.sh").write_text(DIND)
    shared.path("bin").mkdir()
    shared.path("bin/sleep").write_text('#!/bin/sh\nprintf . >>"$T/looks"\nexec /bin/sleep 0.02\n')
    shared.path("bin/sleep").chmod(0o755)
    yield shared
    shared.path("end").touch()
    for process in shared.processes:
        process.kill()
        process.wait()  # first: what watches it sees a process until then, and holds its output
        process.communicate()


def test_passes_shellcheck() -> None:
    """shellcheck finds nothing to say, at any severity."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, START_SH], capture_output=True, text=True, check=False)  # noqa: S603
    assert (found.returncode, found.stdout) == (0, "")


def test_each_function_is_tested() -> None:
    """A new function needs a row, and each row is a test of this file."""
    assert re.findall(r"^(\w+)\(\)", TEXT, re.MULTILINE) == list(TESTED)
    assert set(TESTED.values()) <= globals().keys()


def test_becomes_dind_sh(shared: Shared) -> None:
    """The same process, so that the kubelet's TERM arrives there; its arguments as they are."""
    process = shared.start("--label=a b", "*", "")
    assert shared.path("args").read_text() == "dockerd\n--label=a b\n*\n\n"
    assert shared.path("pid").read_text() == f"{process.pid}\n"


def test_ends_with_dind_sh(shared: Shared) -> None:
    """With its exit code, and nothing of it is left: that would hold the container's output."""
    shared.path("dind.sh").write_text(f"{DIND}exit 3\n")
    process = shared.start()
    shared.path("end").touch()
    assert process.wait(20) == 3
    assert process.communicate(timeout=20) == ("", "")


@pytest.mark.parametrize(
    ("expected", "sockets"),
    [
        (0, []),
        (1, ["docker.sock"]),
        (1, ["tcp"]),
        pytest.param(1, ["tcp6"], marks=needs_ipv6),
        (4, ["docker.sock", "tcp", "docker.sock", "tcp"]),
        (0, ["containerd.sock", "pair", "pull", "udp", "netlink"]),
        (2, ["pull", "tcp", "pair", "udp", "docker.sock"]),
        (1, ["unknown", "pull"]),
    ],
)
def test_counts_clients(shared: Shared, expected: int, sockets: list[str]) -> None:
    """Connections to its sockets and ports, and what nobody knows; no listener, no own ones."""
    pid = shared.dockerd(*sockets).pid
    functions, last, _ = TEXT.rpartition("watch_for_requests &\n")
    assert last
    count = shared.popen(*shared.shell, "-c", f"{functions}count_clients {pid}", "/daemon/start.sh")
    assert count.communicate(timeout=20) == (f"{expected}\n", "")


@pytest.mark.parametrize("has_next", [True, False])
@pytest.mark.parametrize("when", ["idle", "now"])
def test_restart(shared: Shared, when: str, has_next: bool) -> None:
    """dockerd ends by TERM, with the next certificate in place if there is one; asked once."""
    shared.path("tls").symlink_to(".tls-a")
    if has_next:
        shared.path("next").symlink_to(".tls-b")
    dockerd = shared.dockerd(*(["docker.sock"] if when == "now" else []))
    process = shared.start()
    shared.ask(when)
    assert dockerd.wait(20) == -signal.SIGTERM
    assert shared.path("tls").readlink() == Path(".tls-b" if has_next else ".tls-a")
    assert not shared.path("next").is_symlink()
    assert not shared.path("restart").exists()
    shared.path("end").touch()
    assert process.wait(20) == 0
    assert process.communicate(timeout=20)[1] == "dinp: restarting dockerd\n"


def test_a_restart_waits_for_clients(shared: Shared) -> None:
    """Until the last has gone, nothing is changed; another request may come meanwhile."""
    shared.path("tls").symlink_to(".tls-a")
    shared.path("next").symlink_to(".tls-b")
    dockerd = shared.dockerd("tcp", "docker.sock")
    shared.start()
    shared.ask("idle")
    shared.wait_for_looks()
    assert dockerd.poll() is None
    assert shared.path("restart").exists()
    assert shared.path("tls").readlink() == Path(".tls-a")
    assert dockerd.stdin is not None
    dockerd.stdin.write("close\n")
    dockerd.stdin.flush()
    assert dockerd.wait(20) == -signal.SIGTERM
    assert shared.path("tls").readlink() == Path(".tls-b")


@pytest.mark.parametrize("pid", [None, "", "4194305"])
def test_a_restart_waits_for_dockerd(shared: Shared, pid: str | None) -> None:
    """While there is none, or none any more, start.sh stays and looks again."""
    if pid is not None:
        shared.path("docker.pid").write_text(pid)
    process = shared.start()
    shared.ask("idle")
    shared.wait_for_looks()
    assert process.poll() is None
    dockerd = shared.dockerd()
    shared.ask("idle")
    assert dockerd.wait(20) == -signal.SIGTERM
