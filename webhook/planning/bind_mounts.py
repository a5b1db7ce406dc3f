"""Which of the clients' volumeMounts the daemon gets too, at the same paths.

`docker run -v $PWD:/src` names a path of the client, and dockerd looks it up in its own
file system: it finds the files only where both see one volume at one path.

Not mirrored: dinp's own mounts, the node's Docker, volumes with a ServiceAccount token, paths
that the daemon's container needs for itself, its certificate authorities, subPathExpr (its
variables are not the daemon's), and subPath of a volume where an init container may write what is
at that subPath (the daemon starts before it, and the kubelet would create the missing file as a
directory).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from webhook import names
from webhook.asking.settings import Settings
from webhook.finding import gitlab
from webhook.finding.found import Found
from webhook.pods import jobs
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, Trees, VolumeMount
from webhook.reasons import Finding, Reason

# What a read-only mount says of the mounts beneath it (KEP-3857), the loosest first; absent is
# Disabled.
_RECURSIVE: Final = ("Disabled", "IfPossible", "Enabled")


class _Mirror(msgspec.Struct):
    """What has been mirrored so far: mountPath -> (mount, container it came from)."""

    settings: Settings
    written_by_init: Trees  # of sources, as `_place` names them
    credentials: frozenset[str]  # volumes
    in_place: dict[str, tuple[str, str]]  # sources by path of an earlier pass's daemon, which stay
    by_path: dict[str, tuple[VolumeMount, str]] = msgspec.field(default_factory=dict)
    warnings: list[Finding] = msgspec.field(default_factory=list)
    # What is said with a way that works, once all paths of the daemon are known: a reason, and
    # a container, a path in it, and the volume there.
    missed: list[tuple[Reason, str, str, str]] = msgspec.field(default_factory=list)


def mirror(
    pod: Pod, clients: Sequence[Container], found: Found, settings: Settings
) -> tuple[tuple[VolumeMount, ...], tuple[Finding, ...]]:
    """The volumeMounts for the daemon, and what people should know.

    The node's Docker is nothing that the daemon should see. Of two volumes at one path the
    default container's wins, else the first container's.
    """
    excluded = {(it.container, it.at) for it in found.node_mounts}
    written = Trees(_written_by_init(pod, found, excluded))
    result = _Mirror(settings, written, found.credentials, _in_place(found))
    default = found.default_container["name"]
    init = {container["name"] for container in pod["spec"].get("initContainers") or ()}
    for container in sorted(clients, key=lambda c: (c["name"] != default, c["name"] in init)):
        for at, mount in enumerate(pods.mounts(container)):
            path = pods.clean_path(mount["mountPath"])
            if (container["name"], at) in excluded or names.is_dinps_volume(mount["name"]):
                continue
            if may_be_at(path, rootless=settings.rootless):
                _add(result, container, mount, path)
            else:
                _miss(result, container, mount, path)
    result.warnings += _missed(result, argo=jobs.is_argos(pod))
    return tuple(mount for mount, _ in result.by_path.values()), tuple(result.warnings)


def _in_place(found: Found) -> dict[str, tuple[str, str]]:
    mounts = () if found.dind is None else pods.mounts(found.dind)
    return {pods.clean_path(mount["mountPath"]): source(mount) for mount in mounts}


def may_be_at(path: str, *, rootless: bool) -> bool:
    """Whether somebody's volume may be at this clean path of the daemon's container."""
    return path.startswith("/") and not names.is_system(path, rootless=rootless)


def _miss(result: _Mirror, container: Container, mount: VolumeMount, path: str) -> None:
    """Note a mount at a path of the system's, but where nobody misses it."""
    settings = result.settings
    if names.is_trust(path):
        blanks = {"container": container["name"], "path": path, "way": _way_of_trust(settings)}
        result.warnings.append(Reason.TRUST.say(**blanks))
    elif names.has_others(path, rootless=settings.rootless):
        result.missed.append((Reason.SYSTEM_PATH, container["name"], path, mount["name"]))


def _way_of_trust(settings: Settings) -> str:
    if settings.daemon_config is not None:
        return f"; private CAs come from ConfigMap {settings.daemon_config.name}"
    if settings.daemon_config_keys == ():
        return "; sidecar.daemonConfig of the config file gives it private CAs"
    return "; a ConfigMap in dinp.io/daemon-config gives it private CAs"


def _missed(result: _Mirror, *, argo: bool) -> Iterator[Finding]:
    """Say what the daemon has not, with a way that works and is not taken yet."""
    whole = {
        mount["name"]: path
        for path, (mount, _) in result.by_path.items()
        if not mount.get("subPath")
    }
    for reason, container, path, volume in result.missed:
        way = (
            f"the daemon has the whole volume at {whole[volume]}"
            if volume in whole
            else _WAYS[reason]
        )
        if argo and reason is Reason.SUB_PATH_FILE:
            way = _ARGO_WAY
        yield reason.say(container=container, path=path, way=way)


_WAYS: Final = {
    Reason.SUB_PATH_EXPR: "mount the whole volume too, and name its path in docker run -v",
    Reason.SUB_PATH_FILE: "mount the whole volume too, and name its path in docker run -v",
    Reason.SYSTEM_PATH: "mount the volume at a path of its own to use it in docker run -v",
}
# Its init container writes an artifact that lies in a volume of the step's into that volume
# (argo-workflows 3.7, workflow/controller/workflowpod.go: addInputArtifactsVolumes).
_ARGO_WAY: Final = "give the artifact a path below a volume of the step's own, such as an emptyDir"


def without_forbidden(container: Container, settings: Settings) -> Container:
    """The container without its mounts at a place where the config file forbids them."""
    there = pods.mounts(container)
    kept = [m for m in there if not settings.forbids_mount_at(pods.clean_path(m["mountPath"]))]
    return container if len(kept) == len(there) else {**container, "volumeMounts": kept}


# Sources that only the kubelet writes, before any container starts: all files are there then.
_KUBELETS: Final = ("configMap", "secret", "projected", "downwardAPI", "image")


def _written_by_init(
    pod: Pod, found: Found, excluded: Collection[tuple[str, int]]
) -> Iterator[str]:
    """Where init containers may write: what is beneath may not exist yet."""
    fixed = {volume["name"] for volume in pods.volumes(pod) if _is_fixed(volume)}
    for container in pod["spec"].get("initContainers") or ():
        if names.is_dinps_container(container["name"]):
            continue
        for at, mount in enumerate(pods.mounts(container)):
            if mount.get("readOnly") or mount["name"] in fixed:
                continue
            if found.gitlab_job and gitlab.leaves_alone(container, mount):
                continue
            if (container["name"], at) not in excluded:
                yield _place(mount)


def _is_fixed(volume: Mapping[str, Any]) -> bool:
    """Whether no container can write the volume, of whatever source."""
    sources = (value for value in volume.values() if isinstance(value, dict))
    if any(source.get("readOnly") is True for source in sources):
        return True
    return any(volume.get(kind) is not None for kind in _KUBELETS)


def _place(mount: VolumeMount) -> str:
    """The part of a volume that a mount shows, as a path; of a subPathExpr the volume."""
    return pods.below(f"/{mount['name']}", mount.get("subPath") or "")


def _may_be_missing(mount: VolumeMount, written: Trees) -> bool:
    """Whether an init container may write what the mount's subPath names.

    Not one that mounts the same part: for it, too, the kubelet makes a directory where it is missing.
    """
    if not mount.get("subPath"):
        return False
    return written.hold(_place(mount).rpartition("/")[0])


def _add(result: _Mirror, container: Container, mount: VolumeMount, path: str) -> None:
    blanks = {"container": container["name"], "path": path}
    if result.settings.forbids_mount_at(path):
        result.warnings.append(Reason.DAEMON_CONFIG_MOUNT.say(**blanks))
        return
    if mount["name"] in result.credentials:
        result.warnings.append(Reason.CREDENTIALS.say(**blanks))
        return
    if mount.get("subPathExpr"):
        result.missed.append((Reason.SUB_PATH_EXPR, container["name"], path, mount["name"]))
        return
    stays = result.in_place.get(path)
    if stays != source(mount) and _may_be_missing(mount, result.written_by_init):
        result.missed.append((Reason.SUB_PATH_FILE, container["name"], path, mount["name"]))
        return
    ours = _mirrored(mount, path)
    there = result.by_path.get(path)
    if there is None:
        result.by_path[path] = (ours, container["name"])
    elif source(there[0]) != source(ours):
        if stays in {None, source(there[0])}:  # else it has neither
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
