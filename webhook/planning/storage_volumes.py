"""`dinp.io/storage: volume:<name>`: whether a volume of the Pod can hold the daemon's data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from webhook import names
from webhook.asking.storage import Storage
from webhook.finding import node_docker
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, Volume
from webhook.reasons import Finding, Reason

_READ_ONLY: Final = "it can only be read"
# Kinds of volumes that hold no data directory, and why. overlayfs needs an upper layer with
# extended attributes (kernel, Documentation/filesystems/overlayfs.rst), which NFS has not.
_UNFIT: Final = {
    **dict.fromkeys(("configMap", "secret", "projected", "downwardAPI", "image"), _READ_ONLY),
    "nfs": "overlayfs does not work on NFS",
}
# Types of a hostPath that is no directory.
_FILES: Final = frozenset({"File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"})
_TOLD: Final = 20  # names of volumes


def obstacle(pod: Pod, storage: Storage) -> Finding | None:
    """Why the volume that `storage` names cannot be the daemon's, or None."""
    if storage.kind != "volume":
        return None
    volume = _volume(pod, storage)
    if volume is None:
        theirs = (one["name"] for one in pods.volumes(pod))
        known = islice((name for name in theirs if not _is_added(name)), _TOLD)
        return Reason.UNKNOWN_VOLUME.say(name=storage.name, known=", ".join(known) or "none")
    why = next(_unfit(volume), None)
    return None if why is None else Reason.UNFIT_VOLUME.say(name=storage.name, why=why)


def claim(pod: Pod, storage: Storage) -> str | None:
    """The claim of the Pod's volume that `storage` names; None where the volume is none."""
    source = _source(pod, storage, "persistentVolumeClaim")
    return None if source is None else str(source.get("claimName") or "")


def outlives(pod: Pod, storage: Storage) -> bool:
    """Whether the data are there when the Pod is gone."""
    if storage.kind != "volume":
        return storage.kind == "pvc"
    volumes = (_source(pod, storage, kind) for kind in ("emptyDir", "ephemeral"))
    return all(source is None for source in volumes)


def shared_claim(pod: Pod, storage: Storage) -> Finding | None:
    """A warning where another Pod may use the claim; a StatefulSet names its own by the Pod."""
    if storage.kind == "pvc":
        return Reason.PVC_SHARED.say(value=f"pvc:{storage.name}")
    name = claim(pod, storage)
    own = f"{storage.name}-{(pod.get('metadata') or {}).get('name')}"
    if name is None or name == own:
        return None
    return Reason.PVC_SHARED.say(value=f"volume:{storage.name}")


def mounted(container: Container, storage: Storage) -> Iterator[Finding]:
    """Warn of each mount of the data in a container that is not the daemon's."""
    if storage.kind != "volume":
        return
    for mount in pods.mounts(container):
        if mount["name"] == storage.name:
            blanks = {"volume": storage.name, "path": mount["mountPath"]}
            yield Reason.STORAGE_MOUNTED.say(container=container["name"], **blanks)


def _is_added(name: str) -> bool:
    """Whether its author has not written the volume; the ServiceAccount plugin adds one with a token."""
    return names.is_dinps_volume(name) or name.startswith("kube-api-access-")


def _volume(pod: Pod, storage: Storage) -> Volume | None:
    if names.is_dinps_volume(storage.name):
        return None
    return next((one for one in pods.volumes(pod) if one["name"] == storage.name), None)


def _source(pod: Pod, storage: Storage, kind: str) -> dict[str, Any] | None:
    volume: Any = _volume(pod, storage) if storage.kind == "volume" else None
    return None if volume is None else volume.get(kind)


def _unfit(volume: Volume) -> Iterator[str]:
    sources = {kind: source for kind, source in volume.items() if source is not None}
    for kind, source in sources.items():
        if kind in _UNFIT:
            yield _UNFIT[kind]
        elif isinstance(source, dict) and source.get("readOnly"):
            yield _READ_ONLY
    host_path: dict[str, Any] = {**(volume.get("hostPath") or {})}
    if host_path.get("type") in _FILES:
        yield "it is no directory"
    path = host_path.get("path")
    if path and _is_nodes(pods.clean_path(path)):
        yield f"{path} is the node's own"


def _is_nodes(path: str) -> bool:
    """Whether this clean path of a node is its Docker's, its system's, or a shared daemon's of dinp."""
    in_system = names.is_system(path, rootless=False) or any(
        pods.is_within(path, tree) for tree in _NODES_TREES
    )
    return in_system or node_docker.is_nodes(path)


_NODES_TREES: Final = ("/boot", "/etc", "/run", "/var/lib/kubelet", "/var/run")
