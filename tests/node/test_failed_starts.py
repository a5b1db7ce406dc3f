"""A daemon that cannot start says why in the status of its container: its log is gone with the Pod."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.processes import wait_until
from tests.node import pods, registry
from tests.node.cluster import NodeCluster
from webhook import names
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
_CONFIG: Final = "failed-starts"
# What is wrong: the Pod's annotations, and what its owner reads.
_WRONG: Final[dict[str, tuple[dict[str, str], str]]] = {
    "driver": (
        {"dinp.io/dockerd-args": "--storage-driver=nonsense"},
        'configured driver "nonsense"',
    ),
    "flag": ({"dinp.io/dockerd-args": "--mtu=many"}, 'invalid argument "many"'),
    "hosts": ({"dinp.io/daemon-config": _CONFIG}, 'dinp: /dinp-config/daemon.json sets "hosts"'),
}


def _pod(name: str) -> dict[str, Any]:
    annotations = {rules.INJECT: "sidecar", **_WRONG[name][0]}
    return pods.client_pod(f"failed-{name}", "docker version", annotations=annotations)


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster) -> Iterator[None]:
    """All of them try."""
    registry.create_config_map(node, NAMESPACE, _CONFIG, {"daemon.json": '{"hosts": []}'})
    for name in _WRONG:
        pods.start(node.api, NAMESPACE, _pod(name))
    yield
    for name in _WRONG:
        node.api.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/failed-{name}")


@pytest.mark.parametrize("name", _WRONG)
def test_the_status_says_why(node: NodeCluster, name: str) -> None:
    """What `kubectl describe pod` shows of the last start, whoever has the log."""
    wait_until(
        lambda: bool(_message(node, name)), "the status says something", seconds=90, interval=0.5
    )
    assert _WRONG[name][1] in _message(node, name)


def _message(node: NodeCluster, name: str) -> str:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/failed-{name}"
    status = node.api.must("GET", path)["status"]
    for container in status.get("initContainerStatuses", ()):
        if container["name"] == names.DIND:
            for state in (container["state"], container["lastState"]):
                if message := state.get("terminated", {}).get("message"):
                    return str(message)
    return ""
