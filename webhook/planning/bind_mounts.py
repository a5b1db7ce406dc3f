"""Which of the clients' volumeMounts the daemon gets too, at the same paths.

`docker run -v $PWD:/src` names a path of the client, and dockerd looks it up in its own
file system: it finds the files only where both see one volume at one path.

Not mirrored: dinp's own mounts, the node's Docker, volumes with a ServiceAccount token, paths
that the daemon's container needs for itself, its certificate authorities, subPathExpr (its variables are not the daemon's),
and subPath of a volume that an init container writes (the daemon starts before it, and the
kubelet would create the missing file as a directory).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, cast

import msgspec

from webhook import names
from webhook.asking.settings import Settings
from webhook.finding.found import Found
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, VolumeMount
from webhook.reasons import Finding, Reason

# What a read-only mount says of the mounts beneath it (KEP-3857), the loosest first; absent is
# Disabled.
_RECURSIVE: Final = ("Disabled", "IfPossible", "Enabled")


class _Mirror(msgspec.Struct):
    """What has been mirrored so far: mountPath -> (mount, container it came from)."""

    settings: Settings
    written_by_init: frozenset[str]  # volumes
    credentials: frozenset[str]  # volumes
    by_path: dict[str, tuple[VolumeMount, str]] = msgspec.field(default_factory=dict)
    warnings: list[Finding] = msgspec.field(default_factory=list)


def mirror(
    pod: Pod, clients: Sequence[Container], found: Found, settings: Settings
) -> tuple[tuple[VolumeMount, ...], tuple[Finding, ...]]:
    """The volumeMounts for the daemon, and what people should know.

    The node's Docker is nothing that the daemon should see. Of two volumes at one path the
    default container's wins, else the first container's.
    """
    excluded = {(it.container, it.at) for it in found.node_mounts}
    written = frozenset(_written_by_init(pod, excluded))
    result = _Mirror(settings, written, found.credentials)
    default = found.default_container["name"]
    init = {container["name"] for container in pod["spec"].get("initContainers") or ()}
    for container in sorted(clients, key=lambda c: (c["name"] != default, c["name"] in init)):
        for at, mount in enumerate(pods.mounts(container)):
            path = pods.clean_path(mount["mountPath"])
            if (container["name"], at) in excluded:
                continue
            if names.is_trust(path):
                blanks = {"container": container["name"], "path": path}
                result.warnings.append(Reason.TRUST.say(**blanks))
            elif _is_eligible(mount, path):
                _add(result, container, mount, path)
    return tuple(mount for mount, _ in result.by_path.values()), tuple(result.warnings)


def _is_eligible(mount: VolumeMount, path: str) -> bool:
    return not names.is_dinps_volume(mount["name"]) and may_be_at(path)


def may_be_at(path: str) -> bool:
    """Whether somebody's volume may be at this clean path of the daemon's container."""
    return path.startswith("/") and not names.is_system(path)


def without_forbidden(container: Container, settings: Settings) -> Container:
    """The container without its mounts at a place where the config file forbids them."""
    there = pods.mounts(container)
    kept = [m for m in there if not settings.forbids_mount_at(pods.clean_path(m["mountPath"]))]
    return container if len(kept) == len(there) else {**container, "volumeMounts": kept}


def _written_by_init(pod: Pod, excluded: Collection[tuple[str, int]]) -> Iterator[str]:
    """Volumes that an init container may write: files in them may not exist yet."""
    for container in pod["spec"].get("initContainers") or ():
        if names.is_dinps_container(container["name"]):
            continue
        for at, mount in enumerate(pods.mounts(container)):
            if not mount.get("readOnly") and (container["name"], at) not in excluded:
                yield mount["name"]


def _add(result: _Mirror, container: Container, mount: VolumeMount, path: str) -> None:
    blanks = {"container": container["name"], "path": path}
    if result.settings.forbids_mount_at(path):
        result.warnings.append(Reason.DAEMON_CONFIG_MOUNT.say(**blanks))
        return
    if mount["name"] in result.credentials:
        result.warnings.append(Reason.CREDENTIALS.say(**blanks))
        return
    if mount.get("subPathExpr"):
        result.warnings.append(Reason.SUB_PATH_EXPR.say(**blanks))
        return
    if mount.get("subPath") and mount["name"] in result.written_by_init:
        result.warnings.append(Reason.SUB_PATH_FILE.say(**blanks))
        return
    ours = _mirrored(mount, path)
    there = result.by_path.get(path)
    if there is None:
        result.by_path[path] = (ours, container["name"])
    elif source(there[0]) != source(ours):
        result.warnings.append(Reason.MOUNT_CONFLICT.say(kept=there[1], **blanks))
    else:
        # One writer is enough for the daemon to write there on its behalf.
        result.by_path[path] = (looser(there[0], ours), there[1])


def source(mount: VolumeMount) -> tuple[str, str]:
    """What a mount shows: a volume, and a clean path in it."""
    return mount["name"], pods.clean_path(mount.get("subPath") or "")


def looser(one: VolumeMount, other: VolumeMount) -> VolumeMount:
    """Of two mounts of one source at one path `other`, as writable as the more writable one."""
    if _rank(one) >= _rank(other):
        return other
    found = {field: value for field, value in other.items() if field not in _READ_ONLY}
    kept = {field: value for field, value in one.items() if field in _READ_ONLY and value}
    return cast("VolumeMount", {**found, **kept})


_READ_ONLY: Final = ("readOnly", "recursiveReadOnly")


def _rank(mount: VolumeMount) -> int:
    """How little may be written: 0 is all of it."""
    if not mount.get("readOnly"):
        return 0
    recursive = mount.get("recursiveReadOnly")
    return 1 + (_RECURSIVE.index(recursive) if recursive in _RECURSIVE else 0)


def _mirrored(mount: VolumeMount, path: str) -> VolumeMount:
    """The same mount without mountPropagation, which is the client's own affair.

    The API server takes recursiveReadOnly only of a mount that is readOnly and propagates
    nothing (validateMountRecursiveReadOnly, Kubernetes 1.34): so is this one.
    """
    ours: VolumeMount = {"name": mount["name"], "mountPath": path}
    if sub_path := mount.get("subPath"):
        ours["subPath"] = sub_path
    if mount.get("readOnly"):
        ours["readOnly"] = True
        if (recursive := mount.get("recursiveReadOnly")) in _RECURSIVE:
            ours["recursiveReadOnly"] = recursive
    return ours
