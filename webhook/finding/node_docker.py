"""Find what a Pod mounts of the node's Docker: the socket, its directory, the CLI, its state.

Judged per volumeMount, by the path on the node that the container really sees:

| path on the node (hostPath, subPath joined, cleaned) | Kind |
|---|---|
| `docker.sock` in any directory | SOCKET |
| `/run`, `/var/run`, `/var`, `/` | RUN_DIRECTORY: holds the socket, among much else |
| `/usr/bin/docker` and the like | CLI |
| `libltdl.so*` and the like, where that container mounts the CLI too | CLI_LIBRARY |
| `/var/lib/docker`, containerd's and other CRI sockets, `/etc/docker` or `daemon.json` in it | STATE |
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

import msgspec

from webhook import names
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, VolumeMount

RUN_DIRECTORIES: Final = frozenset({"/", "/var", "/run", "/var/run"})
# Of these, whoever mounts the whole of one means the socket; `/` and `/var` hold much else.
SOCKET_DIRECTORIES: Final = frozenset({"/run", "/var/run"})
DEFAULT_PATHS: Final = frozenset({"/var/run/docker.sock", "/run/docker.sock"})
CLI_PATHS: Final = frozenset(
    f"{directory}/docker"
    for directory in ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin")
)
# What a dynamically linked docker CLI of a distribution needs beside it; ours is static.
CLI_LIBRARIES: Final = ("libltdl.so", "libapparmor.so", "libdevmapper", "libsystemd-journal.so")
STATE_TREES: Final = (
    "/var/lib/docker",
    "/var/lib/containerd",
    "/run/containerd",
    "/var/run/containerd",
    "/run/crio",
    "/var/run/crio",
    "/run/dockershim.sock",
    "/var/run/dockershim.sock",
    "/run/cri-dockerd.sock",
    "/var/run/cri-dockerd.sock",
)
# A daemon in a container does not start with what a node's says: the cgroup driver systemd, hosts, or
# a data-root of the node's. Beneath it, certs.d says of registries what holds for any daemon.
CONFIGURATIONS: Final = frozenset({"/etc/docker", "/etc/docker/daemon.json"})
_STATE_BELOW: Final = tuple(f"{tree}/" for tree in STATE_TREES)


class Kind(Enum):
    """What of the node's Docker a mount shows."""

    SOCKET = auto()
    RUN_DIRECTORY = auto()
    CLI = auto()
    CLI_LIBRARY = auto()
    STATE = auto()


class NodeMount(msgspec.Struct, frozen=True):
    """One volumeMount of the node's Docker."""

    container: str
    at: int  # in the container's volumeMounts
    mount: VolumeMount
    kind: Kind
    path: str  # on the node

    def blanks(self) -> dict[str, str]:
        """For the sentences about it."""
        at = self.mount["mountPath"]
        return {"container": self.container, "path": self.path, "mount_path": at}


def node_mounts(pod: Pod) -> tuple[NodeMount, ...]:
    """Every volumeMount that shows the node's Docker, in the order of the containers."""
    host_paths = {
        volume["name"]: pods.clean_path(path)
        for volume in pods.volumes(pod)
        if (path := (volume.get("hostPath") or {}).get("path"))
        and not names.is_dinps_volume(volume["name"])
    }
    if not host_paths:
        return ()
    return tuple(
        mount for container in pods.containers(pod) for mount in _of(container, host_paths)
    )


def _of(container: Container, host_paths: dict[str, str]) -> Iterator[NodeMount]:
    seen = []
    for at, mount in enumerate(pods.mounts(container)):
        host_path = host_paths.get(mount["name"])
        if host_path is not None:
            path = pods.below(host_path, _sub_path(mount))
            seen.append((at, mount, path, _kind(path)))
    has_cli = any(kind is Kind.CLI for *_, kind in seen)
    for at, mount, path, kind in seen:
        if kind is not None and (kind is not Kind.CLI_LIBRARY or has_cli):
            yield NodeMount(container["name"], at, mount, kind, path)


def _sub_path(mount: VolumeMount) -> str:
    """The subPath; a subPathExpr is one where it refers to no variable."""
    expression = mount.get("subPathExpr") or ""
    return mount.get("subPath") or ("" if "$" in expression else expression)


def _kind(path: str) -> Kind | None:
    basename = path.rpartition("/")[2]
    if basename == "docker.sock":
        return Kind.SOCKET
    if path in RUN_DIRECTORIES:
        return Kind.RUN_DIRECTORY
    if path in CLI_PATHS:
        return Kind.CLI
    if basename.startswith(CLI_LIBRARIES):
        return Kind.CLI_LIBRARY
    if path in STATE_TREES or path in CONFIGURATIONS or path.startswith(_STATE_BELOW):
        return Kind.STATE
    return None


def is_nodes(path: str) -> bool:
    """Whether this clean path of a node is, or holds, what belongs to the node's own Docker."""
    return _kind(path) is not None or any(tree.startswith(f"{path}/") for tree in STATE_TREES)


def is_others_socket(found: NodeMount) -> bool:
    """Whether it is a socket in a directory that is not the one of the node's Docker."""
    return found.kind is Kind.SOCKET and found.path not in DEFAULT_PATHS


def host_mounts(container: Container, host_paths: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield where each hostPath is mounted, and its path on the node."""
    for mount in pods.mounts(container):
        if host_path := host_paths.get(mount["name"]):
            path = pods.below(host_path, mount.get("subPath") or "")
            yield pods.clean_path(mount["mountPath"]), path


def variables_below(container: Container, mount_path: str) -> list[str]:
    """The variables whose value is a socket of Docker's below a mount."""
    at = pods.clean_path(mount_path)
    below = []
    for var in pods.env(container):
        path = (var.get("value") or "")[: bounds.PATH].removeprefix("unix://")
        if path.endswith("/docker.sock") and pods.is_within(pods.clean_path(f"/{path}"), at):
            below.append(var["name"])
    return below


def is_migrated(container: Container) -> bool:
    """Whether an earlier pass has given the container a socket of dinp's instead of the node's."""
    for mount in pods.mounts(container):
        if mount["name"] == names.SOCKET or is_sidecars_socket(mount):
            return True
    return False


def is_sidecars_socket(mount: VolumeMount) -> bool:
    """Whether a mount is the sidecar's socket, which an earlier pass put in the place of the node's."""
    return mount["name"] == names.RUN and mount.get("subPath") == "docker.sock"
