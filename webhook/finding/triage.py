"""Does a Pod that reaches the node's Docker build images with it, or does it watch the node?

A builder is as well off with a daemon of its own. A node agent (log shipper, scanner, image
cleaner) wants the node's containers, and an empty private daemon breaks it silently. The
webhook and `dinp scan` share this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from webhook import names
from webhook.finding import facts, node_docker, signals
from webhook.finding.node_docker import Kind, NodeMount
from webhook.finding.pod_daemons import PodDaemon
from webhook.pods import jobs, selectors
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, Volume
from webhook.pods.selectors import PodSelector


class Verdict(StrEnum):
    """What a Pod is to the node's Docker."""

    MIGRATE = "migrate"
    NODE = "node"
    OWN = "own"
    NONE = "none"
    INERT = "inert"
    MIXED = "mixed"
    PROVIDER = "provider"
    UNSURE = "unsure"


class Judgement(msgspec.Struct, frozen=True):
    """`signals` are phrases for people, those that speak for the verdict; see signals.py for `score`."""

    verdict: Verdict
    signals: tuple[str, ...] = ()
    score: int = 0


def judge(
    pod: Pod,
    node_mounts: tuple[NodeMount, ...],
    daemons: Sequence[PodDaemon],
    watchers: Sequence[PodSelector],
) -> Judgement:
    """Judge a Pod by what it mounts of the node and which daemons it brings; the first row wins.

    `watchers` are the rows of images that watch their node's containers.

    | a daemon in it | of the node's Docker it mounts | and | Verdict |
    |---|---|---|---|
    | yes | | it serves other Pods (`_serves`) | PROVIDER |
    | yes | the socket | | MIXED |
    | yes | | | OWN |
    | no | a way to reach it | a CI system's label, and no DaemonSet | MIGRATE |
    | no | a way to reach it | one of the images is a watcher's | NODE |
    | no | anything | score is 2 or more | NODE |
    | no | a way to reach it | a signal of a builder | MIGRATE |
    | no | a way to reach it | | UNSURE |
    | no | | DOCKER_HOST is local, and not dinp's | OWN |
    | no | | a volume would show it, but is mounted nowhere | INERT |
    | no | | | NONE |
    """
    seen = _look(pod, node_mounts)
    if daemons:
        return _with_daemon(seen, daemons)
    scored = _scored(seen, watchers)
    if seen.users or (seen.found and scored.verdict is Verdict.NODE):
        return scored
    return _without_node(pod)


def _scored(seen: _Seen, watchers: Sequence[PodSelector]) -> Judgement:
    found = signals.score(facts.facts(seen.pod, seen.found, seen.host_paths, seen.users))
    builder = found.builder()
    label = jobs.job_label(seen.pod)
    if seen.users and label is not None and not pods.owned_by(seen.pod, "DaemonSet"):
        told = dict.fromkeys((f"label {label}", *builder))
        return Judgement(Verdict.MIGRATE, tuple(told), found.points)
    if row := selectors.row_of(watchers, seen.pod, seen.users):
        why = f"its image is {row.name}, which {row.because}"
        return Judgement(Verdict.NODE, (why, *found.agent()), found.points)
    if found.points >= 2:
        return Judgement(Verdict.NODE, found.agent(), found.points)
    if builder:
        return Judgement(Verdict.MIGRATE, builder, found.points)
    return Judgement(Verdict.UNSURE, tuple(text for _, text in found.speaking), found.points)


# ---- what a Pod has of the node ----------------------------------------------------------


def _with_daemon(seen: _Seen, daemons: Sequence[PodDaemon]) -> Judgement:
    where = tuple(dict.fromkeys(daemon.where for daemon in daemons))
    if any(_serves(daemon.container, seen) for daemon in daemons):
        return Judgement(Verdict.PROVIDER, where)
    sockets = tuple(
        f"container {mount.container} mounts {mount.path} of the node"
        for mount in seen.found
        if mount.kind is Kind.SOCKET
    )
    return Judgement(Verdict.MIXED if sockets else Verdict.OWN, where + sockets)


def _serves(daemon: Container, seen: _Seen) -> bool:
    """Its socket is on the node, or its port is the node's, or has no other user in this Pod."""
    ports = [one for one in daemon.get("ports") or () if one.get("containerPort") in _DOCKER_PORTS]
    alone = len(seen.pod["spec"]["containers"]) == 1
    return any(alone or port.get("hostPort") for port in ports) or any(
        at in {"/run", "/var/run"} for at, _ in node_docker.host_mounts(daemon, seen.host_paths)
    )


# ---- of the node -------------------------------------------------------------------------

_DOCKER_PORTS: Final = (2375, 2376)
_REACHING: Final = frozenset({Kind.SOCKET, Kind.RUN_DIRECTORY})
_LOCAL: Final = re.compile(r"unix://|(?:\w{1,9}://)?(?:localhost|127\.|\[::1\])")


class _Seen(NamedTuple):
    pod: Pod
    found: tuple[NodeMount, ...]
    host_paths: dict[str, str]  # of volumes, clean
    users: tuple[Container, ...]  # containers with a way to the node's Docker


def _look(pod: Pod, found: tuple[NodeMount, ...]) -> _Seen:
    reached = {mount.container for mount in found if mount.kind in _REACHING}
    host_paths = {
        volume["name"]: pods.clean_path(host_path.get("path") or "/")
        for volume in pods.volumes(pod)
        if (host_path := volume.get("hostPath"))
    }
    users = (
        container
        for container in pods.containers(pod)
        if container["name"] in reached or _reaches_otherwise(container, host_paths)
    )
    return _Seen(pod, found, host_paths, tuple(users))


def _reaches_otherwise(container: Container, host_paths: dict[str, str]) -> bool:
    r"""By Windows' `\\.\pipe\docker_engine`, or by DOCKER_HOST in another directory of the node."""
    scheme, _, socket = pods.env_value(container, "DOCKER_HOST").partition("://")
    socket = pods.clean_path(socket) if scheme == "unix" else ""
    return any(
        path.endswith("docker_engine") or (socket and pods.is_within(socket, at))
        for at, path in node_docker.host_mounts(container, host_paths)
    )


def _without_node(pod: Pod) -> Judgement:
    containers = tuple(pods.containers(pod))
    if not any(container["name"] == names.DIND for container in containers):
        for container in containers:
            if _LOCAL.match(host := pods.env_value(container, "DOCKER_HOST")):
                where = f"container {container['name']} sets DOCKER_HOST to {host}"
                return Judgement(Verdict.OWN, (where,))
    unused = tuple(f"no container mounts volume {name}" for name in _unmounted(pod))
    return Judgement(Verdict.INERT if unused else Verdict.NONE, unused)


def _unmounted(pod: Pod) -> Iterator[str]:
    """Volumes that would show the node's Docker if a container mounted them."""
    used = {mount["name"] for one in pods.containers(pod) for mount in pods.mounts(one)}
    unused: list[Volume] = [one for one in pods.volumes(pod) if one["name"] not in used]
    would_be: Container = {
        "name": "",
        "volumeMounts": [{"name": one["name"], "mountPath": "/"} for one in unused],
    }
    for found in node_docker.node_mounts({"spec": {"containers": [would_be], "volumes": unused}}):
        yield found.mount["name"]
