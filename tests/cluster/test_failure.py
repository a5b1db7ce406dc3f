"""When dinp does not answer: opted-in Pods wait for it, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.api import Api
from tests.cluster.installation import RULE_NAMESPACES, Installation, is_injected, small_pod
from tests.cluster.processes import wait_until

pytestmark = pytest.mark.cluster

EXCLUDED = ("kube-system", "kube-node-lease", "dinp-system")


@pytest.fixture(scope="module", params=["down", "wrong-ca"])
def without_dinp(dinp: Installation, request: pytest.FixtureRequest) -> Iterator[tuple[Api, str]]:
    """The API while dinp is away, and a word of what the refusals say then."""
    dinp.serve()
    broken = dinp.down() if request.param == "down" else dinp.wrong_ca()
    with broken:
        cause = "connection refused" if request.param == "down" else "x509"
        # The first may still go by a connection from before.
        pod = small_pod("sidecar")
        wait_until(lambda: cause in dinp.api.create_pod("annotated", pod).message, "it is away")
        yield dinp.api, cause
    assert is_injected(dinp.api.create_pod("annotated", small_pod("sidecar")))


def of_daemonset(pod: dict[str, Any]) -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "1-2-3"}
    return {**pod, "metadata": {**pod["metadata"], "ownerReferences": [owner]}}


def with_socket(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    mount = {"name": "docker", "mountPath": "/var/run/docker.sock"}
    volume = {"name": "docker", "hostPath": {"path": "/var/run/docker.sock"}}
    containers = [{**container, "volumeMounts": [mount]}]
    return {**pod, "spec": {**pod["spec"], "containers": containers, "volumes": [volume]}}


@pytest.mark.parametrize("namespace", RULE_NAMESPACES)
def test_who_asks_is_refused(without_dinp: tuple[Api, str], namespace: str) -> None:
    """The refusal names dinp's entry and the cause: a Pod without its daemon would fail later."""
    api, cause = without_dinp
    answer = api.create_pod(namespace, small_pod("sidecar"))
    assert answer.status == 500
    assert f'failed calling webhook "{namespace}.dinp.io"' in answer.message
    assert cause in answer.message


@pytest.mark.parametrize("namespace", [name for name in RULE_NAMESPACES if "inject" in name])
def test_inject_namespaces_wait(without_dinp: tuple[Api, str], namespace: str) -> None:
    """Every Pod of an inject namespace is opted in, but for those of DaemonSets."""
    api, _ = without_dinp
    assert api.create_pod(namespace, small_pod()).status == 500
    assert api.create_pod(namespace, of_daemonset(small_pod())).status == 201


@pytest.mark.parametrize("namespace", [name for name in RULE_NAMESPACES if "migrate" in name])
def test_migrate_namespaces_wait(without_dinp: tuple[Api, str], namespace: str) -> None:
    """Only Pods with the socket wait for dinp."""
    api, _ = without_dinp
    assert api.create_pod(namespace, with_socket(small_pod())).status == 500
    assert api.create_pod(namespace, of_daemonset(with_socket(small_pod()))).status == 201
    assert api.create_pod(namespace, small_pod()).status == 201


@pytest.mark.parametrize("namespace", ["annotated", "annotated-shared", "default"])
def test_who_does_not_ask_is_created(without_dinp: tuple[Api, str], namespace: str) -> None:
    """Without an annotation or a label nothing depends on dinp, socket or not."""
    api, _ = without_dinp
    assert api.create_pod(namespace, small_pod()).status == 201
    assert api.create_pod(namespace, with_socket(small_pod())).status == 201


@pytest.mark.parametrize("namespace", EXCLUDED)
def test_the_cluster_comes_up(without_dinp: tuple[Api, str], namespace: str) -> None:
    """System Pods and dinp's own are created while dinp is away: no deadlock after a restart."""
    api, _ = without_dinp
    pod = small_pod("sidecar")
    (container,) = pod["spec"]["containers"]
    secure = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # dinp-system is restricted
    pod["spec"]["containers"] = [{**container, "securityContext": secure}]
    answer = api.create_pod(namespace, pod)
    assert (201, False) == (answer.status, is_injected(answer)), answer.message
