"""What there is to say of a Pod, one thing at a time: the facts that signals.py counts.

A fact is something said about a Pod or one of its containers, with a value. Signals look at the
value; the sentence is for people, and nothing is decided by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from webhook.finding import node_docker
from webhook.finding.node_docker import NodeMount
from webhook.finding.starts import images
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, PodSpec


class About(Enum):
    """What a fact is about; the value is its sentence."""

    OWNER = "owned by a {value}"
    HOST_PID = "hostPID"
    HOST_NETWORK = "hostNetwork"
    PRIORITY = "priority {value}"
    LABEL = "label {value}"
    ANY_NODE = "tolerates every taint"
    NODES = "for nodes with {value}"
    NODE_PATH = "mounts {value} of the node"
    NAME = "a container named {value}"
    READ_ONLY = "container {container} mounts {value} read-only"
    IMAGE = "container {container} has image {value}"
    FIELD = "container {container} reads {value}"
    SOCKET = "container {container} sets {name} to {value}"
    VARIABLE = "container {container} sets {value}"
    MOUNT_PATH = "container {container} has {value}"
    COMMAND = "container {container} runs {value}"
    WATCHES = "container {container} only runs {value}"


class Fact(NamedTuple):
    """One thing that is so; `name` is a variable's."""

    about: About
    value: str = ""
    container: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.about.value.format(value=self.value, container=self.container, name=self.name)


_OPTIONS: Final = r"\bdocker\s++(?:-\S++\s++){0,8}"
_BUILDS: Final = re.compile(
    _OPTIONS
    + r"(?:(?:image|container)\s++)?(?:build|buildx|push|pull|run|compose|tag|login|save|load|import)\b"
    # Programs that build or start containers by Docker, and targets of build tools that do.
    r"|\b(?:docker-compose|repo2docker|testcontainers|skaffold|dockerBuild|bootBuildImage|spring-boot:build-image"
    r"|pack\s++build|sam\s++build|act\s++-|kind\s++create|k3d\s++cluster|minikube\s++start|make\s++(?:docker|image)|(?:docker|dockerfile|fabric8|k8s):(?:build|push|publishLocal))\b"
)
_CLEANS: Final = re.compile(
    _OPTIONS + r"(?:(?:system|image|container|volume|builder)\s++prune\b|rmi?\s[^\n;&|]{0,40}[$`])"
    # What a list of the node's containers or images gives it.
    r"|\bxargs\s++(?:[-{\d]\S*+\s++){0,8}docker\s++(?:(?:image|container)\s++)?rmi?\b"
)
# Of containers that are there: on the node, as the command starts none.
_WATCHES: Final = re.compile(
    _OPTIONS + r"(?:events|stats|logs|kill|restart|stop|rm|exec|top|update|pause)\b"
)


def facts(
    pod: Pod,
    node_mounts: Iterable[NodeMount],
    host_paths: dict[str, str],
    users: Iterable[Container],
) -> Iterator[Fact]:
    """Yield what there is to say of a Pod. `users` are containers with a way to the node's Docker."""
    yield from _of_pod(pod)
    for container in pods.containers(pod):
        for _, path in node_docker.host_mounts(container, host_paths):
            yield Fact(About.NODE_PATH, path)
        if container["name"] == "jnlp":
            yield Fact(About.NAME, "jnlp")
    for mount in node_mounts:
        if mount.mount.get("readOnly"):
            yield Fact(About.READ_ONLY, mount.path, mount.container)
    left = bounds.PHRASES
    for container in users:
        yield from _of_user(container)
        text = "\n".join(pods.command_line(container))[:left]
        left -= len(text)
        yield from _of_command(container["name"], text)


def _of_pod(pod: Pod) -> Iterator[Fact]:
    spec = pod["spec"]
    if pods.owned_by(pod, "DaemonSet"):
        yield Fact(About.OWNER, "DaemonSet")
    if spec.get("hostPID"):
        yield Fact(About.HOST_PID)
    if spec.get("hostNetwork"):
        yield Fact(About.HOST_NETWORK)
    if priority := spec.get("priorityClassName"):
        yield Fact(About.PRIORITY, priority)
    yield from (Fact(About.LABEL, label) for label in pods.labels_of(pod))
    yield from _placement(spec)


def _placement(spec: PodSpec) -> Iterator[Fact]:
    for toleration in spec.get("tolerations") or ():
        key = toleration.get("key")
        if not key:
            yield Fact(About.ANY_NODE)
        elif isinstance(key, str):
            yield Fact(About.NODES, key)
    for key, value in (spec.get("nodeSelector") or {}).items():
        yield Fact(About.NODES, f"{key}={value}")


def _of_user(container: Container) -> Iterator[Fact]:
    who = container["name"]
    yield Fact(About.NAME, who)
    yield Fact(About.IMAGE, images.name_and_tag(container)[0], who)
    for var in pods.env(container):
        # Not the Pod's nodeName: every Pod that runs has one, and `dinp scan` reads those.
        field = ((var.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        if isinstance(field, str):
            yield Fact(About.FIELD, field, who)
        if (value := var.get("value") or "").startswith("unix://"):
            yield Fact(About.SOCKET, value, who, var["name"])
        yield Fact(About.VARIABLE, var["name"], who)
    for mount in pods.mounts(container):
        yield Fact(About.MOUNT_PATH, mount["mountPath"], who)


def _of_command(who: str, text: str) -> Iterator[Fact]:
    """A script that builds may tidy up after itself; one that only tidies up is there for the node."""
    if command := _BUILDS.search(text) or _CLEANS.search(text):
        yield Fact(About.COMMAND, " ".join(command.group().split()), who)
    elif command := _WATCHES.search(text):
        yield Fact(About.WATCHES, " ".join(command.group().split()), who)
