"""losses: what a Pod had on its node, and has not with a daemon of its own."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.webhook import small_pods as build
from webhook.asking.rules import RULES
from webhook.planning.plan import decide
from webhook.pods.pod import Pod
from webhook.reasons import Reason

SOCKET = [build.mount("docker", "/var/run/docker.sock")]
NODE = [build.host_path("docker", "/var/run/docker.sock")]


def told(pod: Pod, path: str = "/pods/annotated") -> set[Reason]:
    plan = decide(pod, RULES[path], build.DEFAULT)
    assert plan.clients
    return {finding.reason for finding in plan.warnings}


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        (True, "kata"),
        (True, "kata-qemu"),
        (True, "gvisor"),
        (True, "runsc"),
        (False, "nvidia"),
        (False, "sysbox-runc"),
        (False, None),
    ],
)
def test_virtual_machines(expected: bool, name: str | None) -> None:
    """Kata's and gVisor's RuntimeClasses, by name."""
    pod = build.asking(runtimeClassName=name)
    assert expected == (Reason.VIRTUAL_MACHINE in told(pod))
    assert Reason.VIRTUAL_MACHINE not in told(
        build.pod(runtimeClassName=name), "/pods/inject/service"
    )


@pytest.mark.parametrize(
    ("expected", "kind", "path"),
    [
        (True, "ReplicaSet", "/pods/migrate/sidecar"),
        (True, "StatefulSet", "/pods/migrate/sidecar"),
        (False, "Job", "/pods/migrate/sidecar"),
        (False, "ReplicaSet", "/pods/migrate/daemonset"),
        (False, "ReplicaSet", "/pods/inject/sidecar"),
    ],
)
def test_pods_of_one_application(expected: bool, kind: str, path: str) -> None:
    """They shared the daemon of their node, and each has its own under migrate."""
    container = build.container(image="docker:cli", volumeMounts=SOCKET)
    pod = build.pod(container, volumes=NODE)
    metadata: Any = {"name": "x", "ownerReferences": [{"kind": kind, "name": "x"}]}
    pod = cast("Pod", {**pod, "metadata": metadata})
    assert expected == (Reason.DAEMON_PER_POD in told(pod, path))


@pytest.mark.parametrize(
    ("expected", "path", "annotations"),
    [
        (True, "/var/lib/docker", {}),
        (True, "/var/lib/docker/", {}),
        (True, "/var/lib/docker/overlay2", {}),
        (False, "/var/lib/dockers", {}),
        (False, "/cache", {}),
        (False, "/var/lib/docker", {"dinp.io/storage": "pvc:layers"}),
        (False, "/var/lib/docker", {"dinp.io/containers": "other"}),
    ],
)
def test_caches(expected: bool, path: str, annotations: dict[str, str]) -> None:
    """A volume where a client would have its daemon's data; not where a storage is chosen."""
    container = build.container(volumeMounts=[build.mount("cache", path)])
    volumes = [{"name": "cache", "persistentVolumeClaim": {"claimName": "layers"}}]
    pod = build.asking(
        "sidecar", container, build.container("other"), annotations=annotations, volumes=volumes
    )
    assert expected == (Reason.CACHE_UNUSED in told(pod))


def test_the_nodes_own_data_is_said_otherwise() -> None:
    """A hostPath of /var/lib/docker is the node's, and has a sentence of its own."""
    container = build.container(volumeMounts=[build.mount("state", "/var/lib/docker")])
    pod = build.asking("sidecar", container, volumes=[build.host_path("state", "/var/lib/docker")])
    assert Reason.CACHE_UNUSED not in told(pod)
    assert Reason.NODE_STATE_LEFT in told(pod)


def test_a_migrated_socket_is_no_cache() -> None:
    """A second pass finds dinp's own mount where the client had the node's socket."""
    container = build.container(volumeMounts=[build.mount("dinp-run", "/var/lib/docker")])
    pod = build.asking("sidecar", container, volumes=[{"name": "dinp-run", "emptyDir": {}}])
    assert Reason.CACHE_UNUSED not in told(pod)
