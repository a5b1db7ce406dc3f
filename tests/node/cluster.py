"""A whole cluster of one node, with dinp in it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.api import Api, Cluster
from tests.cluster.assets import Say
from tests.cluster.control_plane import control_plane
from tests.cluster.installation import SLICES, Installation, endpoint_slice
from tests.node import contents, kubelet
from tests.node.containerd import containerd, import_images
from tests.node.images import Image, write_images
from tests.node.leftovers import make_cgroups
from tests.node.namespace import Namespace, join, namespace
from tests.node.programs import Programs


@dataclass(frozen=True, slots=True)
class BareCluster:
    """A cluster that runs Pods."""

    cluster: Cluster
    nodes: tuple[Namespace, ...]
    programs: Programs
    directory: Path  # logs/ has a file for each component; node1/ has those of the second node
    api: Api  # the administrator's connection

    @property
    def node(self) -> Namespace:
        """The first node."""
        return self.nodes[0]

    def add_images(self, *images: Image) -> None:
        """Give the nodes images that only some tests use; what is there already may come again."""
        self.import_images(write_images(images, self.directory))

    def import_images(self, files: Iterable[Path]) -> None:
        """The same with what is in files, each an OCI layout in a tar."""
        files = list(files)
        for node in self.nodes:
            import_images(node, self.programs, files)


@dataclass(frozen=True, slots=True)
class NodeCluster(BareCluster):
    """The same with dinp, which runs beside the API server."""

    dinp: Installation


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
    """Start one node and dinp, until the end of the `with`.

    Raises:
        StartError: a part did not come up.
    """
    with bare_cluster(programs, directory, say) as bare:
        clock = _Clock(say)
        with closing(NodeInstallation(bare.cluster, directory)) as dinp:
            dinp.install()
            clock.tell("dinp is called for Pods")
            parts = (bare.cluster, bare.nodes, bare.programs, bare.directory, bare.api)
            yield NodeCluster(*parts, dinp)


@contextmanager
def bare_cluster(
    programs: Programs,
    directory: Path,
    say: Say,
    *,
    nodes: int = 1,
    images: Iterable[Image] | None = None,
    kubelet_settings: Mapping[str, Any] | None = None,
) -> Iterator[BareCluster]:
    """Start control plane and nodes; `directory` is that of a run (leftovers.py).

    `images` are those of the nodes, where not all_images(). `kubelet_settings` are added to
    those of kubelet.py, or replace them.

    Raises:
        StartError: a part did not come up.
    """
    clock = _Clock(say)
    with ExitStack() as stack:
        made = [stack.enter_context(_node(directory, number)) for number in range(nodes)]
        for one, other in itertools.combinations(made, 2):
            join(one, other)
        for node in made:
            stack.enter_context(containerd(node, programs))
        clock.tell("containerd answers")
        wanted = contents.all_images(programs) if images is None else images
        files = write_images(wanted, directory)
        for node in made:
            import_images(node, programs, files)
        clock.tell("the images are made and imported")
        flags = {
            "service-cluster-ip-range": kubelet.SERVICES,
            "endpoint-reconciler-type": "lease",  # Pods find it by the Service kubernetes
            "enable-aggregator-routing": "true",  # no kube-proxy is where it runs: see namespace.py
            "kubelet-preferred-address-types": "InternalIP",
        }
        started = control_plane(programs.api_server, directory, made[0].outside, flags)
        cluster = stack.enter_context(started)
        api = stack.enter_context(closing(Api(cluster)))
        clock.tell("the API server answers")
        stack.enter_context(kubelet.controllers(cluster, programs, directory))
        for node in made:
            stack.enter_context(kubelet.kubelet(node, cluster, programs, kubelet_settings or {}))
        clock.tell("Ready: " + ", ".join(node.name for node in made))
        yield BareCluster(cluster, tuple(made), programs, directory, api)


@contextmanager
def _node(directory: Path, number: int) -> Iterator[Namespace]:
    """The namespaces of a node; those after the first have a folder and cgroups of their own."""
    own, cgroup, name = directory, directory.name, f"node{number}"
    if number:
        own, cgroup = directory / name, f"{directory.name}/{name}"
        (own / "logs").mkdir(parents=True)
        make_cgroups(cgroup)
    with namespace(own, name, f"/{cgroup}") as made:
        yield made


class _Clock:
    """Tells what has happened, and how long it took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last = time.monotonic()

    def tell(self, what: str) -> None:
        now = time.monotonic()
        self._say(f"{now - self._last:5.1f} s: {what}")
        self._last = now
