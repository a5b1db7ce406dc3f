"""dinp.io/rootless: a daemon of uid 1000 in a user namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.node import contents, pods
from tests.node.cluster import NodeCluster
from tests.node.images import Image
from webhook import rules
from webhook.config import Config

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
ROOTLESS_29: Final = Config().sidecar.rootless_image
ROOTLESS_20_10: Final = "docker:20.10-dind-rootless"
_IMAGES: Final = {"29": ROOTLESS_29, "20-10": ROOTLESS_20_10}
_TRANSPORTS: Final = ("tcp", "tls", "unix")
_HUB: Final = "docker.io/library/"
_PROGRAMS: Final = (
    *("rootlesskit", "rootlesskit-docker-proxy", "slirp4netns", "newuidmap", "newgidmap"),
    *("ip", "nsenter"),  # RootlessKit calls them, and busybox's do less
)
_TUN: Final = "/dev/net/tun"

_SCRIPT: Final = """
docker version --format 'server: {{.Server.Version}}'
docker info --format 'security: {{.SecurityOptions}}, root: {{.DockerRootDir}}'
[ ! -e /dinp/docker.sock ] || stat -c 'socket: %u %g' /dinp/docker.sock
tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1
docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs'
"""


def _image(image: Image, name: str) -> Image:
    """The same Docker with what the -rootless image has more."""
    image.name = f"{_HUB}{name}"
    for program in _PROGRAMS:
        image.add(f"/usr/bin/{program}")
    image.links["var/run"] = "../run"  # as in Alpine: RootlessKit makes a writable copy of /run
    image.files |= {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nrootless:x:1000:1000::/home/rootless:/bin/sh\n",
        "etc/group": "root:x:0:\nrootless:x:1000:\ndocker:x:2375:\n",
        "etc/subuid": "rootless:100000:65536\n",
        "etc/subgid": "rootless:100000:65536\n",
        "run/user/.keep": "",
        "home/rootless/.keep": "",
    }
    return image


@pytest.fixture(scope="module")
def open_tun(node: NodeCluster) -> Iterator[None]:
    """On the node everybody may open /dev/net/tun, as udev has it; this machine's is root's."""
    own = node.directory / "tun"
    node.node.run("mknod", "--mode=666", str(own), "c", "10", "200")
    node.node.run("mount", "--bind", str(own), _TUN)
    yield
    node.node.run("umount", _TUN)


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster, open_tun: None) -> None:
    """A Pod with each Docker by each transport."""
    del open_tun
    node.add_images(
        _image(contents.dind_29(node.programs), ROOTLESS_29),
        _image(contents.dind_20_10(), ROOTLESS_20_10),
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
