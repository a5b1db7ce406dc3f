"""What a crash of the daemon costs: what runs at that moment, and nothing after it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.cluster.processes import wait_until
from tests.node import pods
from tests.node.cluster import NodeCluster
from tests.node.containerd import SOCKET
from tests.node.contents import DIND_20_10, DIND_29
from webhook import names
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
MIGRATED: Final = "migrate-sidecar"
MIGRATED_POD: Final = "crashes-by-path"
_VERSIONS: Final = {"20-10": DIND_20_10, "29": DIND_29}
_SOCKET: Final = "/var/run/docker.sock"
_DEAD: Final = f"Cannot connect to the Docker daemon at unix://{_SOCKET}"

# `docker wait` ends when its connection does: until then the daemon is at work.
_IN_FLIGHT: Final = """
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1
docker run -d --pull=never --name loop localhost/shell:1 sh -c 'while :; do busybox sleep 1; done'
docker wait loop &
sleep 2
echo in flight $((6 * 7))
if wait $!; then exit 1; fi
"""
_RUNS: Final = "in flight 42"
# These crashes are provoked, so a client that goes on has to wait for the next daemon.
_WAIT: Final = """
left=90
until docker version; do left=$((left - 1)); [ "$left" -gt 0 ]; sleep 1; done
"""
_AGAIN: Final = "docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs again'\n"
# What ran has ended, and its name can be had again.
_CLEAN: Final = """
docker inspect --format 'loop: running={{.State.Running}}' loop
docker rm -f loop
docker run --pull=never --name loop localhost/shell:1 busybox true
"""
# A client that knows the path alone fails. Started again it has the new daemon's socket mounted.
_BY_PATH: Final = (
    """
by_environment=$DOCKER_HOST
unset DOCKER_HOST
if [ -e /state/said ]; then
    cat /state/said
    docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs again'
    exit
fi
"""
    + _IN_FLIGHT
    + f"(export DOCKER_HOST=$by_environment {_WAIT})\ndocker version 2>/state/said\n"
)


def _pod(name: str, *, version: str = "29", transport: str = "tcp") -> dict[str, Any]:
    asked = {"dinp.io/image": _VERSIONS[version], "dinp.io/transport": transport}
    script = _IN_FLIGHT + _WAIT + _AGAIN + _CLEAN
    annotations = {rules.INJECT: "sidecar", **asked}
    return pods.client_pod(f"crashes-{name}", script, annotations=annotations)


def _migrated() -> dict[str, Any]:
    """A Pod with the node's socket, which shall start again where it fails."""
    pod = pods.client_pod(MIGRATED_POD, _BY_PATH)
    (container,) = pod["spec"]["containers"]
    container["volumeMounts"] = [
        {"name": "docker", "mountPath": _SOCKET},
        {"name": "state", "mountPath": "/state"},
    ]
    volumes = [
        {"name": "docker", "hostPath": {"path": _SOCKET}},
        {"name": "state", "emptyDir": {}},
    ]
    spec = {**pod["spec"], "restartPolicy": "OnFailure", "volumes": volumes}
    return {**pod, "spec": spec}


DAEMON_KILLED: Final = (
    _pod("dockerd-tcp"),
    _pod("dockerd-tls", transport="tls"),
    _pod("dockerd-unix", version="20-10", transport="unix"),
)
CONTAINER_KILLED: Final = (
    _pod("container-29", transport="tls"),
    _pod("container-20-10", version="20-10"),
)
_DAEMON_NAMES: Final = [pod["metadata"]["name"] for pod in DAEMON_KILLED]
_CONTAINER_NAMES: Final = [pod["metadata"]["name"] for pod in CONTAINER_KILLED]


@pytest.fixture(scope="module", autouse=True)
def crashed(node: NodeCluster) -> None:
    """All Pods at once, and in each the crash as soon as its client's command is in flight."""
    for pod in (*DAEMON_KILLED, *CONTAINER_KILLED):
        pods.start(node.api, NAMESPACE, pod)
    pods.start(node.api, MIGRATED, _migrated())
    for name in _DAEMON_NAMES:
        _wait_until_in_flight(node, NAMESPACE, name)
        _kill_dockerd(node, NAMESPACE, name)
    _wait_until_in_flight(node, MIGRATED, MIGRATED_POD)
    _kill_dockerd(node, MIGRATED, MIGRATED_POD)
    for name in _CONTAINER_NAMES:
        _wait_until_in_flight(node, NAMESPACE, name)
        _kill_container(node, name)


def _wait_until_in_flight(node: NodeCluster, namespace: str, name: str) -> None:
    wait_until(
        lambda: _RUNS in pods.logs(node.cluster, namespace, name, "client"),
        f"the client of {name} is at work",
        interval=0.5,
    )


def _kill_dockerd(node: NodeCluster, namespace: str, name: str) -> None:
    """SIGKILL for it alone, inside its container."""
    done = node.cluster.kubectl(
        *("exec", f"--namespace={namespace}", name, f"--container={names.DIND}"),
        *("--", "sh", "-euc", 'kill -9 "$(cat /var/run/docker.pid)"'),
    )
    assert done.code == 0, done.err


def _kill_container(node: NodeCluster, name: str) -> None:
    """SIGKILL for its first process, as the node's kernel does it: with it all of them end."""
    container = _daemon(node, NAMESPACE, name)["containerID"].rpartition("/")[2]
    ctr = [str(node.programs.containerd / "ctr"), f"--address={SOCKET}", "--namespace=k8s.io"]
    node.node.run(*ctr, "tasks", "kill", "--signal=SIGKILL", container)


def _daemon(node: NodeCluster, namespace: str, name: str) -> dict[str, Any]:
    """The state of the daemon's container."""
    status = node.api.must("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")["status"]
    (found,) = (it for it in status["initContainerStatuses"] if it["name"] == names.DIND)
    assert isinstance(found, dict)
    return found


def _said(node: NodeCluster, namespace: str, name: str) -> list[str]:
    return pods.said_at_end(node.cluster, namespace, name, api=node.api).splitlines()


@pytest.mark.parametrize("name", _DAEMON_NAMES)
def test_a_killed_dockerd_is_started_in_its_container(node: NodeCluster, name: str) -> None:
    """The next command by DOCKER_HOST works, with the images that were there."""
    lines = _said(node, NAMESPACE, name)
    assert "it runs again" in lines
    assert "loop: running=false" in lines
    daemon = _daemon(node, NAMESPACE, name)
    assert daemon["restartCount"] == 0
    assert daemon["state"]["terminated"]["exitCode"] == 0
    said = pods.logs(node.cluster, NAMESPACE, name, names.DIND)
    assert said.count("dinp: starting dockerd again") == 1


@pytest.mark.parametrize("name", _CONTAINER_NAMES)
def test_a_killed_container_is_started_by_the_kubelet(node: NodeCluster, name: str) -> None:
    """The next command by DOCKER_HOST works, with the images that were there."""
    lines = _said(node, NAMESPACE, name)
    assert "it runs again" in lines
    assert "loop: running=false" in lines
    daemon = _daemon(node, NAMESPACE, name)
    assert daemon["restartCount"] == 1
    assert daemon["state"]["terminated"]["exitCode"] == 0


def test_a_client_of_the_path_is_told_and_starts_again(node: NodeCluster) -> None:
    """A mounted socket stays the dead daemon's until its client's container starts again."""
    lines = _said(node, MIGRATED, MIGRATED_POD)
    assert any(line.startswith(_DEAD) for line in lines)
    assert "it runs again" in lines
    status = node.api.must("GET", f"/api/v1/namespaces/{MIGRATED}/pods/{MIGRATED_POD}")["status"]
    assert status["containerStatuses"][0]["restartCount"] == 1
    assert _daemon(node, MIGRATED, MIGRATED_POD)["restartCount"] == 0
