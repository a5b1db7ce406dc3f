"""A whole cluster of one node, with dinp in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.api import Api, Cluster
from tests.cluster.assets import Say
from tests.cluster.control_plane import control_plane
from tests.cluster.installation import SLICES, Installation, endpoint_slice
from tests.node import contents, kubelet
from tests.node.containerd import containerd, import_images
from tests.node.images import Image, write_images
from tests.node.namespace import Namespace, namespace
from tests.node.programs import Programs


@dataclass(frozen=True, slots=True)
class NodeCluster:
    """A cluster that runs Pods, and dinp's installation there."""

    cluster: Cluster
    node: Namespace
    dinp: Installation
    programs: Programs
    directory: Path  # logs/ has a file for each component

    @property
    def api(self) -> Api:
        """The administrator's connection."""
        return self.dinp.api

    def add_images(self, *images: Image) -> None:
        """Give the node images that only some tests use; what is there already may come again."""
        import_images(self.node, self.programs, write_images(images, self.directory))


class NodeInstallation(Installation):
    """dinp beside the API server, as its Service's only endpoint."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        super().__init__(cluster, directory)
        self._published = False
        self._link = directory / "logs" / "dinp.log"

    def install(self) -> None:
        """Install it, but for its Deployments: it runs here beside the API server.

        Raises:
            StartError: a part did not come up.
        """
        super().install()
        self.api.must("DELETE", "/apis/apps/v1/namespaces/dinp-system/deployments")

    def serve(self, config: str = "{}\n") -> None:
        """Run `dinp serve` on the address that Pods and the API server reach it by."""
        self._address = self.cluster.address
        if not self._published:
            endpoint = {"addresses": [self._address], "conditions": {"ready": True}}
            self.api.must("POST", SLICES, endpoint_slice([endpoint], 443))
            self._published = True
        super().serve(config)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(self.log)

    def close(self) -> None:
        """End it, and keep its log, whose folder ends with it."""
        if self._link.exists():
            content = self._link.read_bytes()
            self._link.unlink()
            self._link.write_bytes(content)
        super().close()


@contextmanager
def node_cluster(programs: Programs, directory: Path, say: Say) -> Iterator[NodeCluster]:
    """Start everything, until the end of the `with`; `directory` is that of a run (leftovers.py).

    Raises:
        StartError: a part did not come up.
    """
    clock = _Clock(say)
    with ExitStack() as stack:
        node = stack.enter_context(namespace(directory))
        stack.enter_context(containerd(node, programs))
        clock.tell("containerd answers")
        import_images(node, programs, write_images(contents.all_images(programs), directory))
        clock.tell("the images are made and imported")
        flags = {
            "service-cluster-ip-range": kubelet.SERVICES,
            "endpoint-reconciler-type": "lease",  # Pods find it by the Service kubernetes
            "enable-aggregator-routing": "true",  # no kube-proxy is where it runs: see namespace.py
            "kubelet-preferred-address-types": "InternalIP",
        }
        started = control_plane(programs.api_server, directory, node.outside, flags)
        cluster = stack.enter_context(started)
        clock.tell("the API server answers")
        stack.enter_context(kubelet.controllers(cluster, programs, directory))
        stack.enter_context(kubelet.kubelet(node, cluster, programs))
        clock.tell("the node is Ready")
        dinp = NodeInstallation(cluster, directory)
        stack.callback(dinp.close)
        dinp.install()
        clock.tell("dinp is called for Pods")
        yield NodeCluster(cluster, node, dinp, programs, directory)


class _Clock:
    """Tells what has happened, and how long it took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last = time.monotonic()

    def tell(self, what: str) -> None:
        now = time.monotonic()
        self._say(f"{now - self._last:5.1f} s: {what}")
        self._last = now
