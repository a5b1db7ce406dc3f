"""What bounds a tenant's Pods does not bound what it has a shared daemon do.

Each is shown once, for docs/security.md to say so: a quota, a memory limit and its cgroup, and a
NetworkPolicy. The first half of each test is that the bound is in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.processes import wait_until
from tests.installation.deployed import is_ready
from tests.node.namespace import Namespace
from tests.node.programs import command
from tests.shared_daemons.daemons import DAEMONSET, IMAGE, Daemons, client

pytestmark = pytest.mark.node

NAMESPACE: Final = "tenant"
CLIENT: Final = "client"
SERVER: Final = "server"
_LIMIT: Final = "64Mi"
_MIB: Final = 1 << 20
_HELD: Final = 200  # MiB
_PORT: Final = 7000
_WAITS: Final = "trap 'exit 0' TERM; sleep 100000 & wait"
_SERVES: Final = f"while :; do echo hello from the server | nc -l -p {_PORT}; done & {_WAITS}"

# One read of that size is one buffer, all of it touched.
_EAT: Final = f"busybox dd if=/dev/zero of=/dev/null bs={_HELD}M count=1"
# What is not read is kept. The client's own line has no such words.
_HOLD: Final = (
    f"busybox dd if=/dev/zero bs={_HELD}M count=1 | "
    "(busybox head -c 1 >/dev/null; echo holds $((6 * 7)); busybox sleep 1000)"
)
_CALL: Final = "busybox nc -w 5 {address} {port} </dev/null"
_BUILD: Final = """
mkdir -p /context
cat >/context/Dockerfile <<'END'
FROM localhost/shell:1
RUN {command}
END
DOCKER_BUILDKIT=1 docker build --no-cache --progress=plain /context 2>&1
"""


class Tenant:
    """A client with a memory limit on the first node, and a server on the second."""

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons
        self.node: Namespace = daemons.nodes[0]

    def pod(self, name: str) -> dict[str, Any]:
        """One of the two."""
        return self.daemons.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")

    def run(self, script: str) -> tuple[int, str]:
        """Run a script in the client; return its exit code, and what it says."""
        where = (f"--namespace={NAMESPACE}", CLIENT, "--", "sh", "-euc", script)
        done = self.daemons.bare.cluster.kubectl("exec", *where)
        return done.code, done.out + done.err


@pytest.fixture(scope="module")
def tenant(daemons: Daemons) -> Iterator[Tenant]:
    """The two of them, in a namespace whose quota they have used up."""
    quota = {"metadata": {"name": "all"}, "spec": {"hard": {"limits.memory": "128Mi"}}}
    here, there = daemons.nodes
    with daemons.namespace(NAMESPACE):
        daemons.api.must("POST", f"/api/v1/namespaces/{NAMESPACE}/resourcequotas", quota)
        wait_until(lambda: quota_is_counted(daemons), "the quota is in force")
        daemons.start(NAMESPACE, limited(client(SERVER, None, _SERVES, node=there.name)))
        daemons.start(NAMESPACE, limited(client(CLIENT, DAEMONSET, _WAITS, node=here.name)))
        made = Tenant(daemons)
        for name in (CLIENT, SERVER):
            wait_until(lambda name=name: is_ready(made.pod(name)), f"{name} runs")  # type: ignore[misc]  # a default value has no type
        code, said = made.run(IMAGE)
        assert code == 0, said
        yield made


def limited(pod: dict[str, Any]) -> dict[str, Any]:
    """The same Pod with a memory limit."""
    pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": _LIMIT}}
    pod["spec"]["terminationGracePeriodSeconds"] = 1
    return pod


def quota_is_counted(daemons: Daemons) -> bool:
    """Whether its controller has seen it."""
    path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/all"
    return "used" in daemons.api.must("GET", path).get("status", {})


def test_a_quota_does_not_bind(tenant: Tenant) -> None:
    """No further Pod is let in, and any number of containers is."""
    more = limited(client("more", DAEMONSET, "true"))
    answer = tenant.daemons.api.create_pod(NAMESPACE, more)
    assert answer.status == 403
    assert "exceeded quota: all" in answer.message
    start = (
        "for _ in 1 2 3; do docker run -d --pull=never localhost/shell:1 busybox sleep 1000; done"
    )
    code, said = tenant.run(f"docker rm -f $({start})")
    assert (0, 3) == (code, len(said.split())), said


def test_a_memory_limit_does_not_bind(tenant: Tenant) -> None:
    """The client is killed for what a container and a build may well take."""
    code, said = tenant.run(f"{_EAT}; echo not reached")
    assert code == 137, said
    code, said = tenant.run(f"docker run --rm --pull=never localhost/shell:1 {_EAT} 2>&1")
    assert code == 0, said
    code, said = tenant.run(_BUILD.format(command=_EAT))
    assert code == 0, said
    (status,) = tenant.pod(CLIENT)["status"]["containerStatuses"]
    assert status["restartCount"] == 0


def test_the_memory_is_the_daemons(tenant: Tenant) -> None:
    """The cgroup of what a tenant runs is below the daemon's Pod, and so is what it holds."""
    run = f"docker run -d --pull=never localhost/shell:1 sh -c '{_HOLD}'"
    code, said = tenant.run(f"set +x; {run}")
    assert code == 0, said
    container = said.strip()
    holds = f"docker logs {container}"
    wait_until(lambda: "holds 42" in tenant.run(holds)[1], "it holds", interval=0.5)
    try:
        held = memory(tenant.node, container)
        (path,) = held
        daemon = tenant.daemons.daemon_on(tenant.node.name)["metadata"]["uid"]
        own = tenant.pod(CLIENT)["metadata"]["uid"]
        assert f"/pod{daemon}/" in path
        assert own not in path
        assert held[path] > _HELD * _MIB
        assert max(memory(tenant.node, f"pod{own}").values()) < 64 * _MIB
        # Which is what the container says of itself, too.
        said = tenant.run(f"docker exec {container} busybox cat /proc/self/cgroup")[1]
        assert own not in said
    finally:
        tenant.run(f"docker rm -f {container}")


def memory(node: Namespace, cgroup: str) -> dict[str, int]:
    """Bytes in use by the cgroups of this name, by their paths."""
    find = (
        f"find /sys/fs/cgroup -ignore_readdir_race -path '*/{cgroup}/memory.usage_in_bytes' "
        f"-o -path '*/{cgroup}/memory.current'"
    )
    paths = node.run("sh", "-c", find).split()
    return {path: int(node.run("cat", path)) for path in paths}


@pytest.fixture
def policy(tenant: Tenant) -> Iterator[str]:
    """What a network plugin makes of an egress NetworkPolicy; the server's address.

    The plugin of these nodes has no policies: this is the rule that others make on the node of a
    Pod, for the Pod's address.
    """
    source = tenant.pod(CLIENT)["status"]["podIP"]
    address: str = tenant.pod(SERVER)["status"]["podIP"]
    call = _CALL.format(address=address, port=_PORT)
    wait_until(lambda: "hello" in tenant.run(call)[1], "the server can be reached")
    rule = ("FORWARD", "-s", source, "-d", address, "-j", "DROP")
    tenant.node.run(command("iptables"), "-w", "-I", *rule)
    yield address
    tenant.node.run(command("iptables"), "-w", "-D", *rule)


def test_a_network_policy_does_not_bind(tenant: Tenant, policy: str) -> None:
    """The client cannot reach the server, and what it builds and runs can."""
    call = _CALL.format(address=policy, port=_PORT)
    code, said = tenant.run(call)
    assert code != 0
    assert "hello" not in said
    code, said = tenant.run(f"docker run --rm --pull=never -i localhost/shell:1 {call}")
    assert "hello from the server" in said
    code, said = tenant.run(_BUILD.format(command=call))
    assert "hello from the server" in said
    assert code == 0, said
