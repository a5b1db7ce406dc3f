"""Why a request cannot work on this Pod. One table: mode -> checks, first obstacle wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from webhook import names
from webhook.asking.rules import Mode
from webhook.asking.settings import Settings
from webhook.finding import dind, listeners
from webhook.finding.found import Found
from webhook.planning import endpoint, storage_volumes
from webhook.pods import edits, jobs
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, Volume
from webhook.reasons import Finding, Reason


class Question(msgspec.Struct, frozen=True):
    """What the checks look at; `volumes` are those that dinp adds, now or in an earlier pass."""

    pod: Pod
    found: Found
    settings: Settings
    volumes: tuple[Volume, ...]


Check = Callable[[Question], Finding | None]


def obstacle(question: Question) -> Finding | None:
    """The first reason why the mode that is asked for cannot work, or None."""
    for check in _CHECKS[question.settings.mode]:
        finding = check(question)
        if finding is not None:
            return finding
    return None


def _windows(question: Question) -> Finding | None:
    spec = question.pod["spec"]
    systems = (
        (spec.get("os") or {}).get("name"),
        (spec.get("nodeSelector") or {}).get("kubernetes.io/os"),
    )
    return Reason.WINDOWS.say() if "windows" in systems else None


def _host_network(question: Question) -> Finding | None:
    return Reason.HOST_NETWORK.say() if question.pod["spec"].get("hostNetwork") else None


def _drone(question: Question) -> Finding | None:
    """Its runner decodes a Pod into types of Kubernetes 0.21 and sends it back, for each step."""
    return Reason.DRONE.say() if jobs.is_drones(question.pod) else None


def _fargate(question: Question) -> Finding | None:
    """The webhook of EKS, whose name sorts before dinp's, gives the label to each Pod of a profile."""
    is_taken = "eks.amazonaws.com/fargate-profile" in pods.labels_of(question.pod)
    return Reason.FARGATE.say() if is_taken else None


def _local_docker_host(question: Question) -> Finding | None:
    """A DOCKER_HOST that leads into the Pod, and not to dinp's daemon: nobody knows what is there."""
    local = endpoint.local_port(question.settings)
    for host in question.found.local_hosts:
        if host.port == local:
            continue
        transport = endpoint.transport_at(host.port)
        cure = "remove the variable to use dinp's daemon"
        if transport is not None and not question.settings.mode.is_shared:
            cure += f", or set dinp.io/transport: {transport} to have that there"
        return Reason.LOCAL_DOCKER_HOST.say(container=host.container, value=host.value, cure=cure)
    return None


def _port_taken(question: Question) -> Finding | None:
    """The daemon starts first, and would have the port on the Pod's loopback."""
    port = endpoint.local_port(question.settings)
    found = None if port is None else listeners.listener(question.pod, port)
    if found is None:
        return None
    return Reason.PORT_TAKEN.say(container=found.container, how=found.how, port=port)


def _host_users(question: Question) -> Finding | None:
    spec = question.pod["spec"]
    unprivileged = question.settings.unprivileged_runtime_classes
    if spec.get("hostUsers") is not False or spec.get("runtimeClassName") in unprivileged:
        return None
    return Reason.HOST_USERS.say()


def _pvc_with_fs_group(question: Question) -> Finding | None:
    context = question.pod["spec"].get("securityContext") or {}
    wanted = question.settings.storage
    is_claim = wanted.kind == "pvc" or storage_volumes.claim(question.pod, wanted) is not None
    if not is_claim or context.get("fsGroup") is None:
        return None
    return Reason.PVC_WITH_FS_GROUP.say(value=f"{wanted.kind}:{wanted.name}")


def _storage_volume(question: Question) -> Finding | None:
    return storage_volumes.obstacle(question.pod, question.settings.storage)


def _dns_policy(question: Question) -> Finding | None:
    """The Service's name is known to the cluster's DNS alone.

    With hostNetwork, ClusterFirst falls back to the node's resolver.
    """
    spec = question.pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    on_host = bool(spec.get("hostNetwork"))
    if policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not on_host):
        return None
    return Reason.DNS_POLICY.say(
        policy=policy,
        network=" with hostNetwork" if on_host else "",
        host=endpoint.service_host(question.settings.service),
        works="ClusterFirstWithHostNet" if on_host else "ClusterFirst",
    )


def _container_names(question: Question) -> Finding | None:
    for container in question.pod["spec"]["containers"]:
        if names.is_dinps_container(container["name"]):
            return _taken("container", container["name"], "$.spec.containers")
    for container in question.pod["spec"].get("initContainers") or ():
        name = container["name"]
        if not names.is_dinps_container(name):
            continue
        if not _is_of_an_earlier_pass(container, question):
            return _taken("init container", name, "$.spec.initContainers")
    return None


def _is_of_an_earlier_pass(container: Container, question: Question) -> bool:
    """A dinp-dind, what may be beside one, or the CLI of a shared mode; the rest is somebody's own."""
    name = container["name"]
    if name == names.DIND:
        return dind.is_dinps(container)
    volumes = {mount["name"] for mount in pods.mounts(container)}
    if question.found.dind is not None:
        return any(map(names.is_dinps_volume, volumes))
    is_cli = name == names.CLI_CONTAINER and question.settings.mode.is_shared
    return is_cli and names.CLI in volumes


def _volume_names(question: Question) -> Finding | None:
    """A volume of ours that is there already (a second pass) is one that we would add again.

    Beside a dinp-dind that is there it may be one that we made for other annotations.
    """
    planned = {volume["name"]: volume for volume in question.volumes}
    in_place = question.found.dind is not None
    for volume in pods.volumes(question.pod):
        name = volume["name"]
        if not names.is_dinps_volume(name) or edits.covers(volume, planned.get(name)):
            continue
        sources = {source for source, value in volume.items() if value is not None}
        if not (in_place and sources & _RENEWABLE):
            return _taken("volume", name, "$.spec.volumes")
    return None


# Sources of sidecar mode's volumes.
_RENEWABLE: Final = frozenset({"emptyDir", "persistentVolumeClaim", "ephemeral", "configMap"})


def _mount_paths(question: Question) -> Finding | None:
    in_place = question.found.dind
    for container in pods.containers(question.pod):
        if container is in_place:  # made anew, without it
            continue
        for mount in pods.mounts(container):
            # Cleaning takes nothing out of a name: most paths need none.
            if names.DIRECTORY not in mount["mountPath"] or names.is_dinps_volume(mount["name"]):
                continue
            if pods.is_within(pods.clean_path(mount["mountPath"]), names.DIRECTORY):
                return _taken("mount", mount["mountPath"], f"container {container['name']}")
    return None


def _dind_of_sidecar_mode(question: Question) -> Finding | None:
    """An exported Pod of sidecar mode that now asks for a shared daemon."""
    there = question.found.dind is not None
    return Reason.SIDECAR_IN_PLACE.say() if there else None


def _share_paths(question: Question) -> Finding | None:
    shared = {share.path for share in question.settings.share}
    if not shared:
        return None
    in_place = question.found.dind
    for container in pods.containers(question.pod):
        for mount in () if container is in_place else pods.mounts(container):
            path = pods.clean_path(mount["mountPath"])
            if path in shared and not names.is_dinps_volume(mount["name"]):
                return Reason.SHARE_TAKEN.say(path=path, container=container["name"])
    return None


def _taken(what: str, name: str, where: str) -> Finding:
    return Reason.NAME_TAKEN.say(what=what, name=name, where=where)


_CHECKS: Final[dict[Mode, tuple[Check, ...]]] = {
    Mode.SIDECAR: (
        *(
            _windows,
            _fargate,
            _drone,
            _host_network,
            _host_users,
            _storage_volume,
            _pvc_with_fs_group,
        ),
        *(_local_docker_host, _port_taken),
        *(_container_names, _volume_names, _mount_paths, _share_paths),
    ),
    Mode.DAEMONSET: (
        *(_windows, _fargate, _local_docker_host, _container_names, _dind_of_sidecar_mode),
        *(_volume_names, _mount_paths),
    ),
    Mode.SERVICE: (
        *(_windows, _dns_policy, _local_docker_host),
        *(_container_names, _dind_of_sidecar_mode),
        *(_volume_names, _mount_paths),
    ),
}
