"""Which keys daemon.json may set, by sidecar.daemonConfigKeys, with a real dockerd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.installation import yaml_of
from tests.cluster.processes import wait_until
from tests.node import contents, pods, registry, rootless
from tests.node.cluster import NodeCluster
from webhook import names
from webhook.asking import rules
from webhook.asking.config import Config

pytestmark = pytest.mark.node

NAMESPACE: Final = "daemon-config"
_KEYS: Final = ("labels", "log-opts")
_CONTENT: Final[dict[str, dict[str, Any]]] = {
    "allowed": {"labels": ["by=json"], "log-opts": {"max-size": "1m"}},
    "other-key": {"labels": ["by=json"], "debug": True},
}
_LABELS: Final = "docker info --format 'labels {{.Labels}} debug {{.Debug}}'"
# dockerd reads its file again by HUP, and again by each start: the copy, not what a client writes.
_MOUNTED: Final = f"""
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1
echo '{{"debug": true}}' >/etc/docker/daemon.json
docker run --rm --pull=never --privileged --pid=host localhost/shell:1 busybox killall -HUP dockerd
sleep 2
{_LABELS}
"""


def _pod(name: str, script: str, **annotations: str) -> dict[str, Any]:
    asked = {f"dinp.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return pods.client_pod(name, script, annotations={rules.INJECT: "sidecar", **asked})


def _mounted(name: str) -> dict[str, Any]:
    """Its client writes to /etc/docker, which the daemon sees."""
    pod = _pod(name, _MOUNTED)
    client = pod["spec"]["containers"][0]
    client["volumeMounts"] = [{"name": "docker", "mountPath": "/etc/docker"}]
    pod["spec"]["volumes"] = [{"name": "docker", "emptyDir": {}}]
    return pod


_PODS: Final = (
    _pod("none", _LABELS),
    _pod("none-rootless", _LABELS, rootless="true"),
    _pod("allowed", _LABELS, daemon_config="allowed"),
    _pod("allowed-rootless", _LABELS, daemon_config="allowed", rootless="true"),
    _pod("other-key", _LABELS, daemon_config="other-key"),
    _mounted("mounted"),
)


@pytest.fixture(scope="module")
def started(node: NodeCluster) -> Iterator[NodeCluster]:
    """All Pods, created under a config file that allows two keys; one under the default."""
    node.add_images(
        rootless.image(contents.dind_29(node.programs), Config().sidecar.rootless_image)
    )
    with rootless.open_tun(node), registry.namespace(node, NAMESPACE):
        for name, content in _CONTENT.items():
            data = {"daemon.json": json.dumps(content)}
            registry.create_config_map(node, NAMESPACE, name, data)
        node.dinp.serve(yaml_of({"sidecar": {"daemonConfigKeys": list(_KEYS)}}))
        try:
            for pod in _PODS:
                pods.start(node.api, NAMESPACE, pod)
        finally:
            node.dinp.serve()
        pods.start(node.api, NAMESPACE, _mounted("mounted-any"))
        yield node


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("none", "[]"),
        ("none-rootless", "[]"),
        ("allowed", "[by=json]"),
        ("allowed-rootless", "[by=json]"),
        ("mounted", "[]"),
    ],
)
def test_allowed_keys(started: NodeCluster, name: str, labels: str) -> None:
    """dockerd has what its daemon.json sets, and starts without one; nobody adds a key later."""
    said = pods.said_at_end(started.cluster, NAMESPACE, name, api=started.api)
    assert f"labels {labels} debug false" in said.splitlines()


def test_any_key(started: NodeCluster) -> None:
    """Without the config file's key what a client writes counts: so much for the Pod above."""
    said = pods.said_at_end(started.cluster, NAMESPACE, "mounted-any", api=started.api)
    assert "labels [] debug true" in said.splitlines()


def test_another_key(started: NodeCluster) -> None:
    """The daemon's log names the key and the config file's, and no client starts."""
    sentence = 'daemon.json sets "debug", which sidecar.daemonConfigKeys'
    wait_until(
        lambda: sentence in pods.logs(started.cluster, NAMESPACE, "other-key", names.DIND),
        "dinp-dind has said why it ends",
        interval=0.5,
    )
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/other-key"
    status = started.api.must("GET", path)["status"]
    assert status["phase"] == "Pending"
