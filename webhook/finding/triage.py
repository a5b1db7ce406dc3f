"""Does a Pod that reaches the node's Docker build images with it, or does it watch the node?

A builder is as well off with a daemon of its own. A node agent (log shipper, scanner, image
cleaner) wants the node's containers, and an empty private daemon breaks it silently. The
webhook and `dinp scan` share this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from webhook import names
from webhook.finding import node_docker, pod_daemons
from webhook.finding.node_docker import Kind, NodeMount
from webhook.finding.pod_daemons import PodDaemon
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, PodSpec, Volume


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


@dataclass(frozen=True, slots=True)
class Judgement:
    """`signals` are phrases for people, those that speak for the verdict; see `_SIGNALS` for `score`."""

    verdict: Verdict
    signals: tuple[str, ...] = ()
    score: int = 0


def judge(pod: Pod, node_mounts: tuple[NodeMount, ...], daemons: Sequence[PodDaemon]) -> Judgement:
    """Judge a Pod by what it mounts of the node and which daemons it brings; the first row wins.

    | a daemon in it | of the node's Docker it mounts | and | Verdict |
    |---|---|---|---|
    | yes | | it serves other Pods (`_serves`) | PROVIDER |
    | yes | the socket | | MIXED |
    | yes | | | OWN |
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
    scored = _scored(seen)
    if seen.users or (seen.found and scored.verdict is Verdict.NODE):
        return scored
    return _without_node(pod)


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
        at in {"/run", "/var/run"} for at, _ in _host_mounts(daemon, seen.host_paths)
    )


# ---- of the node -------------------------------------------------------------------------

_DOCKER_PORTS: Final = frozenset({2375, 2376})
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


def _host_mounts(container: Container, host_paths: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield where each hostPath is mounted, and its path on the node."""
    for mount in pods.mounts(container):
        if host_path := host_paths.get(mount["name"]):
            path = pods.below(host_path, mount.get("subPath") or "")
            yield pods.clean_path(mount["mountPath"]), path


def _reaches_otherwise(container: Container, host_paths: dict[str, str]) -> bool:
    r"""By Windows' `\\.\pipe\docker_engine`, or by DOCKER_HOST in another directory of the node."""
    scheme, _, socket = pods.env_value(container, "DOCKER_HOST").partition("://")
    socket = pods.clean_path(socket) if scheme == "unix" else ""
    return any(
        path.endswith("docker_engine") or (socket and pods.is_within(socket, at))
        for at, path in _host_mounts(container, host_paths)
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


# ---- the score ---------------------------------------------------------------------------


class _Signal(NamedTuple):
    """A phrase that matches `pattern` counts `points`, at most `most` times in a Pod."""

    name: str
    points: int
    pattern: str
    most: int = 1


_CI: Final = (
    r"(?<![a-z0-9])(?:ci|jenkins|jnlp|buildkite|build|builders?|runner|executor)(?![a-z0-9])"
)
_STATE: Final = (
    r"/(?:proc|sys|boot|lib/modules|var/log|var/lib/docker|var/lib/kubelet|etc/cni|opt/cni)"
)
_IN: Final = r"container [^ ]+"
_FORGES: Final = r"job\.runner\.gitlab\.com|actions\.github\.com"
# More than 0 speaks for a node agent, less for a builder. A phrase counts for one signal, the
# first that matches. 20 outweighs all others: one Pod on each node is there for the node, and
# no Linux daemon replaces a Windows pipe.
_SIGNALS: Final = (
    _Signal("daemon_set", 20, "owned by a DaemonSet"),
    _Signal("windows_pipe", 20, "mounts .*docker_engine of the node"),
    _Signal("cleaner", 5, rf"{_IN} runs docker (?:rmi?|.* prune)\b.*"),
    _Signal("host_pid", 2, "hostPID"),
    _Signal("whole_node", 2, "mounts / of the node"),
    _Signal("run_directory", 2, "mounts /(?:run|var|var/run) of the node"),
    _Signal("other_runtime", 2, r"mounts /(?:var/)?run/.*(?:containerd|cri).* of the node"),
    _Signal("system_priority", 2, "priority system-.*"),
    # /dev as a whole: /dev/shm, /dev/kvm and /dev/fuse are what builds and browsers need.
    _Signal("node_state", 1, rf"mounts (?:/dev|{_STATE}(?:/.*)?) of the node", most=3),
    _Signal("host_network", 1, "hostNetwork"),
    _Signal("read_only", 1, rf"{_IN} mounts .*/(?:docker\.sock|run|var|) read-only"),
    _Signal("tolerates_all", 1, "tolerates every taint"),
    _Signal("knows_node", 1, rf"{_IN} reads (?:spec\.nodeName|status\.hostIP)"),
    _Signal("docker_image", -3, rf"{_IN} has image (?:.*/)?(?:docker|docker-cli|docker-client|dind)"),
    _Signal("jenkins_agent", -3, "a container named jnlp"),
    _Signal("ci_job", -3, rf"label (?:jenkins|tekton\.dev|{_FORGES}|prow\.k8s\.io|buildkite\.com)/.*"),
    _Signal("endpoint", -2, rf"{_IN} sets .*/docker\.sock"),
    _Signal("docker_cli", -2, "mounts /.*bin/docker of the node"),
    _Signal("docker_command", -2, rf"{_IN} runs docker .*"),
    _Signal("credentials", -1, rf"{_IN} has .*/(?:\.docker(?:cfg|/.*)?|registry-credentials)/?"),
    _Signal("ci_words", -1, rf"{_IN} has image .*{_CI}.*|a container named .*{_CI}.*", most=2),
    _Signal("ci_nodes", -1, rf"for nodes with .*{_CI}.*"),
)  # fmt: skip
_BY_NAME: Final = {signal.name: signal for signal in _SIGNALS}
# DOTALL, so that every `.*` before the end matches at once: no text takes quadratic time.
_ANY: Final = re.compile("|".join(f"(?P<{one.name}>{one.pattern})" for one in _SIGNALS), re.DOTALL)
_OPTIONS: Final = r"\bdocker\s++(?:-\S++\s++){0,8}"
_BUILDS: Final = re.compile(_OPTIONS + r"(?:build|buildx|push|run|compose|tag|login)\b")
_CLEANS: Final = re.compile(
    _OPTIONS + r"(?:(?:system|image|container|volume|builder)\s++prune\b|rmi?\s[^\n;&|]{0,40}[$`])"
)


def _scored(seen: _Seen) -> Judgement:
    speaking: list[tuple[int, str]] = []
    times = dict.fromkeys(_BY_NAME, 0)
    for phrase in _judged(dict.fromkeys(_phrases(seen))):
        name = match.lastgroup if (match := _ANY.fullmatch(phrase)) else None
        if name and times[name] < _BY_NAME[name].most:
            times[name] += 1
            speaking.append((_BY_NAME[name].points, phrase))
    score = sum(points for points, _ in speaking)
    if score >= 2:
        return Judgement(Verdict.NODE, tuple(text for by, text in speaking if by > 0), score)
    if builder := tuple(text for by, text in speaking if by < 0):
        return Judgement(Verdict.MIGRATE, builder, score)
    return Judgement(Verdict.UNSURE, tuple(text for _, text in speaking), score)


def _judged(phrases: Iterable[str]) -> Iterator[str]:
    """The phrases that are judged: all of any usual Pod."""
    left = bounds.PHRASES
    for phrase in phrases:
        left -= len(phrase)
        if left < 0:
            return
        yield phrase


def _phrases(seen: _Seen) -> Iterator[str]:
    """Say what there is to say of a Pod; what of it matters is for `_SIGNALS`."""
    spec = seen.pod["spec"]
    facts = (
        ("owned by a DaemonSet", pods.owned_by(seen.pod, "DaemonSet")),
        ("hostPID", spec.get("hostPID")),
        ("hostNetwork", spec.get("hostNetwork")),
        (f"priority {spec.get('priorityClassName')}", True),
    )
    yield from (phrase for phrase, is_so in facts if is_so)
    yield from (f"label {label}" for label in pods.labels_of(seen.pod))
    yield from _placement(spec)
    for container in pods.containers(seen.pod):
        for _, path in _host_mounts(container, seen.host_paths):
            yield f"mounts {path} of the node"
        if container["name"] == "jnlp":
            yield "a container named jnlp"
    for mount in seen.found:
        if mount.mount.get("readOnly"):
            yield f"container {mount.container} mounts {mount.path} read-only"
    for container in seen.users:
        yield from _phrases_on(container)


def _placement(spec: PodSpec) -> Iterator[str]:
    for toleration in spec.get("tolerations") or ():
        key = toleration.get("key")
        yield f"for nodes with {key}" if key else "tolerates every taint"
    for key, value in (spec.get("nodeSelector") or {}).items():
        yield f"for nodes with {key}={value}"


def _phrases_on(container: Container) -> Iterator[str]:
    who = f"container {container['name']}"
    yield f"a container named {container['name']}"
    yield f"{who} has image {pod_daemons.name_and_tag(container)[0]}"
    for var in pods.env(container):
        # Not the Pod's nodeName: every Pod that runs has one, and `dinp scan` reads those.
        if field := ((var.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath"):
            yield f"{who} reads {field}"
        if (value := var.get("value") or "").startswith("unix://"):
            yield f"{who} sets {var['name']} to {value}"
    for mount in pods.mounts(container):
        yield f"{who} has {mount['mountPath']}"
    text = "\n".join(pods.command_line(container))
    if command := _BUILDS.search(text) or _CLEANS.search(text):
        yield f"{who} runs {' '.join(command.group().split())}"
