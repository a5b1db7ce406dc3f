"""The node's own namespaces: network, mounts and processes. With their init all of it is gone.

The control plane is outside, as in a managed cluster, so that kubectl works from everywhere
on the machine: a pair of veth joins the two. Their network is out of 198.18.0.0/15, which
RFC 2544 keeps for benchmarks, so it is nobody's but dinp's: and of that, out of what dinp
leaves (its docker0 has the first /24, its user networks have the second /16).
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.processes import StartError, output, running, wait_until
from tests.node.programs import command, environment
from tools.processes import with_parent

# Children of an init that ignores SIGCHLD leave no zombies, and exec keeps what is ignored.
_INIT: Final = "trap '' CHLD; exec sleep infinity"
# Private copies of what node components write to by fixed paths. /run also holds the locks
# of iptables and the names of network namespaces.
_PRIVATE: Final = ("/var/lib", "/var/log")


@dataclass(frozen=True, slots=True)
class Namespace:
    """Namespaces that live as long as the process `pid`, and their two ends of one network."""

    name: str
    pid: int
    outside: str  # this machine's address
    inside: str  # the node's address
    pods: str  # the network of its Pods
    cgroup: str  # below each hierarchy; all of its Pods are in there
    directory: Path

    def command(self, *arguments: str) -> list[str]:
        """`arguments` as a command that runs inside, and ends when its parent does."""
        enter = [command("nsenter"), f"--target={self.pid}", "--net", "--mount", "--pid", "--"]
        return [*enter, *with_parent(arguments)]

    def run(self, *arguments: str) -> str:
        """Run a command inside that has to succeed, and return what it says.

        Raises:
            StartError: it failed; has what it said.
        """
        return output(self.command(*arguments))

    def running(self, name: str, arguments: Sequence[str]) -> AbstractContextManager[object]:
        """Run a program inside with its output in logs/<name>.log, until the end of the `with`."""
        whole = ["env", "-i", *(f"{key}={value}" for key, value in environment().items())]
        return running(self.command(*whole, *arguments), self.directory / "logs" / f"{name}.log")


@contextmanager
def namespace(directory: Path, name: str, cgroup: str) -> Iterator[Namespace]:
    """Make the namespaces and the network between; `directory` is for the node's files.

    Raises:
        StartError: the kernel or a program refuses.
    """
    unshare = [command("unshare"), "--net", "--mount", "--pid", "--fork", "--kill-child=KILL"]
    unshare += ["--mount-proc", "--propagation", "private", "sh", "-c", _INIT]
    with running(unshare, directory / "logs" / "unshare.log") as process:
        wait_until(lambda: _init_of(process) is not None, "the node's namespaces are there")
        pid = _init_of(process)
        assert pid is not None
        network = f"198.18.{random.randrange(1, 256)}"  # noqa: S311 - no secret
        last = random.randrange(0, 256, 4)  # noqa: S311 - no secret
        outside, inside = (f"{network}.{last + number}" for number in (1, 2))
        pods = f"10.{random.randrange(128, 240)}.{random.randrange(256)}.0/24"  # noqa: S311 - no secret
        node = Namespace(name, pid, outside, inside, pods, cgroup, directory)
        try:
            _mount(node)
            _connect(node)
            yield node
        finally:
            # Its end is the end of every process inside: unshare returns when all are gone.
            subprocess.run(["kill", "-KILL", str(pid)], check=False)  # noqa: S603, S607 - our own process
            process.wait()


def _init_of(process: subprocess.Popen[bytes]) -> int | None:
    """The process that unshare has started, once it is what it shall be."""
    if process.poll() is not None:
        raise StartError("unshare ended: is this root, with leave to make namespaces?")
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = task.read_text(encoding="ascii").split()
    if not children:
        return None
    name = Path(f"/proc/{children[0]}/comm").read_text(encoding="ascii").strip()
    return int(children[0]) if name == "sleep" else None


def _mount(node: Namespace) -> None:
    """Give it the directories that are to be its own."""
    for path in _PRIVATE:
        own = node.directory / path.strip("/").replace("/", "-")
        own.mkdir()
        node.run("mount", "--bind", str(own), path)
    node.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    # Mounts of volumes have to reach containers that are there already.
    node.run("mount", "--make-rshared", "/")


def _connect(node: Namespace) -> None:
    name = f"dinp{random.randrange(16**6):06x}"  # noqa: S311 - no secret
    peer = ["peer", "name", node.name, "netns", str(node.pid)]
    output([command("ip"), "link", "add", name, "type", "veth", *peer])
    output([command("ip"), "address", "add", f"{node.outside}/30", "dev", name])
    output([command("ip"), "link", "set", name, "up"])
    ip = command("ip")
    node.run(ip, "link", "set", "lo", "up")
    node.run(ip, "address", "add", f"{node.inside}/30", "dev", node.name)
    node.run(ip, "link", "set", node.name, "up")
    node.run(ip, "route", "add", "default", "via", node.outside)
    node.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    # The API server is outside, and calls webhooks that run as Pods.
    output([ip, "route", "add", node.pods, "via", node.inside])


def join(one: Namespace, other: Namespace) -> None:
    """Connect two nodes, and so their Pods, with each other."""
    ip = command("ip")
    ends = [(one, f"to-{other.name}", other), (other, f"to-{one.name}", one)]
    (_, name, _), (_, peer, _) = ends
    output(
        [
            *(ip, "link", "add", name, "netns", str(one.pid), "type", "veth"),
            *("peer", "name", peer, "netns", str(other.pid)),
        ]
    )
    for here, device, there in ends:
        here.run(ip, "link", "set", device, "up")
        here.run(ip, "route", "add", f"{there.inside}/32", "dev", device)
        here.run(ip, "route", "add", there.pods, "via", there.inside, "dev", device, "onlink")
