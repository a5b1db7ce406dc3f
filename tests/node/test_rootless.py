"""dinp.io/rootless: a daemon of uid 1000 in a user namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.node import contents, pods, rootless
from tests.node.cluster import NodeCluster
from webhook.asking import rules
from webhook.asking.config import Config

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
ROOTLESS_29: Final = Config().sidecar.rootless_image
ROOTLESS_20_10: Final = "docker:20.10-dind-rootless"
_IMAGES: Final = {"29": ROOTLESS_29, "20-10": ROOTLESS_20_10}
_TRANSPORTS: Final = ("tcp", "tls", "unix")
_SCRIPT: Final = """
docker version --format 'server: {{.Server.Version}}'
docker info --format 'security: {{.SecurityOptions}}, root: {{.DockerRootDir}}'
[ ! -e /dinp/docker.sock ] || stat -c 'socket: %u %g' /dinp/docker.sock
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1
docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs'
"""


@pytest.fixture(scope="module")
def open_tun(node: NodeCluster) -> Iterator[None]:
    """What slirp4netns opens."""
    with rootless.open_tun(node):
        yield


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster, open_tun: None) -> None:
    """A Pod with each Docker by each transport."""
    del open_tun
    node.add_images(
        rootless.image(contents.dind_29(node.programs), ROOTLESS_29),
        rootless.image(contents.dind_20_10(), ROOTLESS_20_10),
    )
    for docker in _IMAGES:
        for transport in _TRANSPORTS:
            pods.start(node.api, NAMESPACE, _pod(docker, transport))


def _pod(docker: str, transport: str) -> dict[str, Any]:
    annotations = {
        rules.INJECT: "sidecar",
        "dinp.io/rootless": "true",
        "dinp.io/transport": transport,
        "dinp.io/image": _IMAGES[docker],
    }
    return pods.client_pod(f"rootless-{docker}-{transport}", _SCRIPT, annotations=annotations)


@pytest.mark.parametrize("transport", _TRANSPORTS)
@pytest.mark.parametrize("docker", _IMAGES)
def test_a_rootless_daemon_runs_containers(node: NodeCluster, docker: str, transport: str) -> None:
    """It has an image made and runs it; its socket is of the group that clients are put into."""
    name = f"rootless-{docker}-{transport}"
    said = pods.said_at_end(node.cluster, NAMESPACE, name, api=node.api)
    assert f"server: {docker.replace('-', '.')}." in said
    assert "name=rootless" in said
    assert "root: /home/rootless/.local/share/docker/" in said
    assert "it runs" in said.splitlines()
    if transport == "unix":
        assert "socket: 1000 1000" in said.splitlines()
