"""What becomes of mounts of the node's Docker."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.asking.rules import Mode
from webhook.finding.node_docker import Kind, NodeMount
from webhook.planning import socket_mounts
from webhook.pods.pod import VolumeMount

MOUNT = build.mount("v", "/at", readOnly=True, subPath="gone", brandNewField2028=1)


def there(volume: str, **fields: str) -> VolumeMount:
    return build.mount(volume, "/at", readOnly=True, brandNewField2028=1, **fields)


@pytest.mark.parametrize(
    ("sidecar", "daemonset", "service", "kind"),
    [
        (there("dinp-run", subPath="docker.sock"), there("dinp-socket"), None, Kind.SOCKET),
        (
            there("dinp-run", subPath="bin/docker"),
            there("dinp-cli", subPath="docker"),
            there("dinp-cli", subPath="docker"),
            Kind.CLI,
        ),
        (None, None, None, Kind.CLI_LIBRARY),
    ],
)
def test_what_a_mount_becomes(
    sidecar: VolumeMount | None,
    daemonset: VolumeMount | None,
    service: VolumeMount | None,
    kind: Kind,
) -> None:
    """Same mountPath, another volume; unknown fields stay, a subPath of the node goes."""
    found = NodeMount("build", 0, MOUNT, kind, "/path")
    assert sidecar == socket_mounts.becomes(found, Mode.SIDECAR)
    assert daemonset == socket_mounts.becomes(found, Mode.DAEMONSET)
    assert service == socket_mounts.becomes(found, Mode.SERVICE)


def test_sub_path_expr_goes_too() -> None:
    """subPath and subPathExpr exclude each other: the API server would refuse the Pod."""
    mount = build.mount("v", "/at", subPathExpr="$(X)")
    found = NodeMount("build", 0, mount, Kind.SOCKET, "/var/run/docker.sock")
    expected = build.mount("dinp-run", "/at", subPath="docker.sock")
    assert expected == socket_mounts.becomes(found, Mode.SIDECAR)


def test_migrated_paths_of_an_earlier_pass() -> None:
    """Where a container has the sidecar's socket, and nothing else of dinp's."""
    container = build.container(
        volumeMounts=[
            build.mount("dinp-run", "/run//docker.sock", subPath="docker.sock"),
            build.mount("dinp-run", "/usr/bin/docker", subPath="bin/docker"),
            build.mount("dinp-run", "/dinp"),
            build.mount("work", "/work", subPath="docker.sock"),
        ]
    )
    assert ["/run/docker.sock"] == list(socket_mounts.migrated_paths(container))
