"""Find what a Pod mounts of the node's Docker: the socket, its directory, the CLI, its state.

Judged per volumeMount, by the path on the node that the container really sees:

| path on the node (hostPath, subPath joined, cleaned) | Kind |
|---|---|
| `docker.sock` in any directory | SOCKET |
| `/run`, `/var/run`, `/var`, `/` | RUN_DIRECTORY: holds the socket, among much else |
| `/usr/bin/docker` and the like | CLI |
| `libltdl.so*` and the like, where that container mounts the CLI too | CLI_LIBRARY |
| `/var/lib/docker`, containerd's and other CRI sockets | STATE |
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from webhook import names
from webhook import pod as pods
from webhook.pod import Container, Pod, VolumeMount
from webhook.rules import Mode

RUN_DIRECTORIES: Final = frozenset({"/", "/var", "/run", "/var/run"})
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
_STATE_BELOW: Final = tuple(f"{tree}/" for tree in STATE_TREES)


class Kind(Enum):
    """What of the node's Docker a mount shows."""

    SOCKET = auto()
    RUN_DIRECTORY = auto()
    CLI = auto()
    CLI_LIBRARY = auto()
    STATE = auto()


@dataclass(frozen=True, slots=True)
class NodeMount:
    """One volumeMount of the node's Docker."""

    container: str
    mount: VolumeMount
    kind: Kind
    path: str  # on the node


def node_mounts(pod: Pod) -> tuple[NodeMount, ...]:
    """Every volumeMount that shows the node's Docker, in the order of the containers."""
    host_paths = {
        volume["name"]: pods.clean_path(path)
        for volume in pods.volumes(pod)
        if (path := (volume.get("hostPath") or {}).get("path"))
        and not names.is_own_volume(volume["name"])
    }
    if not host_paths:
        return ()
    return tuple(
        mount for container in pods.containers(pod) for mount in _of(container, host_paths)
    )


def _of(container: Container, host_paths: dict[str, str]) -> Iterator[NodeMount]:
    seen = []
    for mount in pods.mounts(container):
        host_path = host_paths.get(mount["name"])
        if host_path is not None:
            path = pods.below(host_path, _sub_path(mount))
            seen.append((mount, path, _kind(path)))
    has_cli = any(kind is Kind.CLI for _, _, kind in seen)
    for mount, path, kind in seen:
        if kind is not None and (kind is not Kind.CLI_LIBRARY or has_cli):
            yield NodeMount(container["name"], mount, kind, path)


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
    if path in STATE_TREES or path.startswith(_STATE_BELOW):
        return Kind.STATE
    return None


def becomes(found: NodeMount, mode: Mode) -> VolumeMount | None:
    """What a SOCKET, CLI or CLI_LIBRARY mount turns into; None: it is removed.

    | mount | sidecar | daemonset | service |
    |---|---|---|---|
    | SOCKET | the sidecar's socket | the DaemonSet's socket on the node | removed |
    | CLI | the static one, copied by dind.sh | copied by an init container | same |
    | CLI_LIBRARY | removed: the static CLI needs none | same | same |
    """
    if found.kind is Kind.SOCKET:
        if mode is Mode.SIDECAR:
            # The file exists by then: the sidecar's startupProbe gates every client.
            return _instead_of(found.mount, names.RUN, "docker.sock")
        return _instead_of(found.mount, names.SOCKET, None) if mode is Mode.DAEMONSET else None
    if found.kind is Kind.CLI:
        if mode is Mode.SIDECAR:
            return _instead_of(found.mount, names.RUN, "bin/docker")
        return _instead_of(found.mount, names.CLI, "docker")
    return None


def _instead_of(mount: VolumeMount, volume: str, sub_path: str | None) -> VolumeMount:
    """The same mount of another volume; mountPath, readOnly and unknown fields stay."""
    new: VolumeMount = {**mount, "name": volume}
    new.pop("subPath", None)
    new.pop("subPathExpr", None)
    if sub_path is not None:
        new["subPath"] = sub_path
    return new


def migrated_paths(container: Container, migrating: Collection[str] = ()) -> Iterator[str]:
    """Where `container` has the sidecar's socket instead of the node's, or is about to.

    `migrating` are the mountPaths of sockets that this pass migrates.
    """
    for mount in pods.mounts(container):
        migrated = mount["name"] == names.RUN and mount.get("subPath") == "docker.sock"
        if migrated or mount["mountPath"] in migrating:
            yield pods.clean_path(mount["mountPath"])
