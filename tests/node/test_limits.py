"""Memory: what a build takes is the Pod's, and who takes too much is killed alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.processes import wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.contents import DIND_20_10, DIND_29
from webhook import names
from webhook.asking import rules
from webhook.asking.config import Config

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
_MIB: Final = 1 << 20
_HELD: Final = 100  # MiB, by one build
_LIMIT: Final = 600  # MiB, of the daemon and all that it runs
_VERSIONS: Final = {"20-10": DIND_20_10, "29": DIND_29}
_BUILDERS: Final = {"classic": "0", "buildkit": "1"}

_IMAGE: Final = "tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1\n"
_RUN: Final = "docker run --pull=never"
# One read of that size is one buffer, all of it touched.
_EAT: Final = f"busybox dd if=/dev/zero of=/dev/null bs={2 * _LIMIT}M count=1"
# What is not read is kept. The product is in no line of the Dockerfile: who sees it sees it run.
_HOLD: Final = (
    f"busybox dd if=/dev/zero bs={_HELD}M count=1 | "
    "(busybox head -c 1 >/dev/null; echo running $((6 * 7)); busybox sleep 1000)"
)
_RUNS: Final = "running 42"
_KILLED: Final = re.compile(r"(non-zero code|exit code): 137$")  # classic, BuildKit
# The address of docker0: a build meets there whom the client lets listen.
_GATE: Final = Config().sidecar.bip.partition("/")[0]
_LAST: Final = (
    "echo running $((6 * 7)); "
    f"until busybox nc -w 9 {_GATE} 7000 </dev/null; do busybox sleep 0.2; done"
)


def _build(name: str, command: str) -> str:
    """Build with one RUN, in the foreground, into a log."""
    return f"""
mkdir /{name}
cat >/{name}/Dockerfile <<'END'
FROM localhost/shell:1
RUN {command}
END
docker build --no-cache --tag localhost/{name}:1 /{name} >/{name}.log 2>&1"""


def _background(name: str, command: str) -> str:
    """The same in the background, as soon as it runs; then the client's log says how it ended."""
    return f"""
({_build(name, command)} && echo "{name}: built" || echo "{name}: failed"; cat /{name}.log) &
until grep '{_RUNS}' /{name}.log; do sleep 0.2; done
"""


# With cgroup v1 containerd is told that memory ran out only where it listens by then, which it
# does some time after the start, and where the cgroup is still there when it looks. So the greedy
# process waits for the first, and is not the one with which the container ends.
_LIMITED: Final = f"""
{_RUN} -d --name limited -m 64m localhost/shell:1 sh -c '
    until [ -e /listens ]; do busybox sleep 0.2; done
    {_EAT}; code=$?
    until [ -e /told ]; do busybox sleep 0.2; done
    exit $code'
docker exec limited busybox touch /listens
until docker events --since 0 --until "$(date +%s)" --filter container=limited --filter event=oom |
    grep limited
do sleep 0.5; done
docker exec limited busybox touch /told
echo "limited: $(docker wait limited)"
docker inspect --format 'limited: killed={{{{.State.OOMKilled}}}}' limited
"""
_GREEDY: Final = (
    _IMAGE
    + f"{_RUN} -d --name keeper localhost/shell:1 busybox sleep 1000\n"
    + _background("lasting", _LAST)
    + _LIMITED
    + f"""
{_build("greedy", _EAT)} && exit 1
cat /greedy.log
docker inspect --format 'keeper: running={{{{.State.Running}}}}' keeper
nc -l -p 7000 </dev/null
wait
docker version
"""
)
_HELD_BY_BUILDS: Final = (
    _IMAGE
    + "export DOCKER_BUILDKIT=0\n"
    + _background("classic", _HOLD)
    + "export DOCKER_BUILDKIT=1\n"
    + _background("buildkit", _HOLD)
    + "echo both hold $((6 * 7))\nwait\n"
)


def _pod(name: str, script: str, version: str, **annotations: str) -> dict[str, Any]:
    asked = {f"dinp.io/{key}": value for key, value in annotations.items()}
    asked |= {rules.INJECT: "sidecar", "dinp.io/image": _VERSIONS[version]}
    return pods.client_pod(f"limits-{name}-{version}", script, annotations=asked)


def _greedy(version: str, builder: str) -> dict[str, Any]:
    """A Pod whose daemon has a limit."""
    script = f"export DOCKER_BUILDKIT={_BUILDERS[builder]}\n{_GREEDY}"
    return _pod(builder, script, version, limits=f"memory={_LIMIT}Mi")


def _greedy_pod(version: str) -> dict[str, Any]:
    """A Pod with a limit of its own, and none of the daemon's."""
    pod = _pod("whole", f"export DOCKER_BUILDKIT=1\n{_GREEDY}", version)
    memory = {"memory": f"{_LIMIT}Mi"}
    return {**pod, "spec": {**pod["spec"], "resources": {"requests": memory, "limits": memory}}}


GREEDY: Final = (
    _greedy("29", "classic"),
    _greedy("29", "buildkit"),
    _greedy("20-10", "buildkit"),
    _greedy_pod("29"),
)
HOLDING: Final = tuple(_pod("holding", _HELD_BY_BUILDS, version) for version in _VERSIONS)
_GREEDY_NAMES: Final = [pod["metadata"]["name"] for pod in GREEDY]


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster) -> Iterator[None]:
    """All Pods of the tables at once; those that hold memory do it until they are deleted."""
    for pod in (*HOLDING, *GREEDY):
        pods.start(node.api, NAMESPACE, pod)
    yield
    for pod in HOLDING:
        node.api.request("DELETE", _path(pod["metadata"]["name"]))


def _path(name: str) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"


def _lines(node: NodeCluster, name: str) -> list[str]:
    return pods.said_at_end(node.cluster, NAMESPACE, name, api=node.api).splitlines()


def _memory(node: NodeCluster, name: str) -> dict[str, int]:
    """Bytes in use by the Pod's cgroup and all below it, by their paths from there."""
    uid = node.api.must("GET", _path(name))["metadata"]["uid"]
    find = (
        f"find /sys/fs/cgroup -ignore_readdir_race -path '*/{node.directory.name}/*/pod{uid}*' "
        "\\( -name memory.usage_in_bytes -o -name memory.current \\) "
        "-exec sh -c 'echo $(cat $1) $1' - {} \\;"
    )
    rows = [line.split() for line in node.node.run("sh", "-c", find).splitlines()]
    return {path.partition(f"/pod{uid}")[2].rpartition("/")[0]: int(used) for used, path in rows}


@pytest.mark.parametrize("version", _VERSIONS)
def test_builds_count_in_the_pod(node: NodeCluster, version: str) -> None:
    """What a build holds, classic and BuildKit, is memory of the daemon's cgroup and the Pod's."""
    name = f"limits-holding-{version}"
    wait_until(
        lambda: "both hold 42" in pods.logs(node.cluster, NAMESPACE, name, "client"),
        "both builds hold memory",
        interval=1,
    )
    memory = _memory(node, name)
    status = node.api.must("GET", _path(name))["status"]
    (daemon,) = (it for it in status["initContainerStatuses"] if it["name"] == names.DIND)
    own = "/" + daemon["containerID"].rpartition("/")[2]
    held = [
        used
        for path, used in memory.items()
        if path.startswith(f"{own}/docker/") and used > _HELD * _MIB
    ]
    assert len(held) >= 2, memory
    assert memory[own] > 2 * _HELD * _MIB
    assert memory[""] >= memory[own]


@pytest.mark.parametrize("name", _GREEDY_NAMES)
def test_a_container_over_its_limit_is_killed(node: NodeCluster, name: str) -> None:
    """`docker run -m` holds for all that runs in the container, and Docker says what happened."""
    lines = _lines(node, name)
    assert "limited: 137" in lines
    assert "limited: killed=true" in lines


@pytest.mark.parametrize("name", _GREEDY_NAMES)
def test_a_greedy_build_is_killed_alone(node: NodeCluster, name: str) -> None:
    """Its step is killed; the daemon, a container and another build go on."""
    lines = _lines(node, name)
    assert any(_KILLED.search(line) for line in lines)
    assert "keeper: running=true" in lines
    assert "lasting: built" in lines
    assert "starting dockerd again" not in pods.logs(node.cluster, NAMESPACE, name, names.DIND)
