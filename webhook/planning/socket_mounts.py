"""What becomes of mounts of the node's Docker, and where a container has the sidecar's socket."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from webhook import names
from webhook.asking.rules import Mode
from webhook.finding import node_docker
from webhook.finding.node_docker import Kind, NodeMount
from webhook.pods import pod as pods
from webhook.pods.pod import Container, VolumeMount


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
        if node_docker.is_sidecars_socket(mount) or mount["mountPath"] in migrating:
            yield pods.clean_path(mount["mountPath"])
