"""What a rootless daemon needs of its image, and of the node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.node.cluster import NodeCluster
from tests.node.images import Image

_HUB: Final = "docker.io/library/"
_PROGRAMS: Final = (
    *("rootlesskit", "rootlesskit-docker-proxy", "slirp4netns", "newuidmap", "newgidmap"),
    *("ip", "nsenter"),  # RootlessKit calls them, and busybox's do less
)
_TUN: Final = "/dev/net/tun"


def image(image: Image, name: str) -> Image:
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


@contextmanager
def open_tun(node: NodeCluster) -> Iterator[None]:
    """On the node everybody may open /dev/net/tun, as udev has it; this machine's is root's."""
    own = node.directory / "tun"
    if not own.exists():
        node.node.run("mknod", "--mode=666", str(own), "c", "10", "200")
    node.node.run("mount", "--bind", str(own), _TUN)
    yield
    node.node.run("umount", _TUN)
