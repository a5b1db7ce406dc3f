"""What speaks for a node agent, and what for a builder: one table over the facts of a Pod.

A fact is something said about a Pod or one of its containers, with a value. Signals look at the
value; the sentence is for people, and nothing is decided by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
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
    MOUNT_PATH = "container {container} has {value}"
    COMMAND = "container {container} runs {value}"


class Fact(NamedTuple):
    """One thing that is so; `name` is a variable's."""

    about: About
    value: str = ""
    container: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.about.value.format(value=self.value, container=self.container, name=self.name)


class Signal(NamedTuple):
    """A fact about one of these things whose value `holds` counts `points`, at most `most` times."""

    name: str
    points: int
    about: tuple[About, ...]
    holds: Callable[[str], object]
    most: int = 1


class Score(NamedTuple):
    """Points in all, and what spoke for a node agent (more than 0) and for a builder (less)."""

    points: int
    speaking: tuple[tuple[int, str], ...]

    def agent(self) -> tuple[str, ...]:
        """Sentences."""
        return tuple(text for points, text in self.speaking if points > 0)

    def builder(self) -> tuple[str, ...]:
        """Sentences."""
        return tuple(text for points, text in self.speaking if points < 0)


# ---- what holds of a value -----------------------------------------------------------------


def _always(_value: str) -> bool:
    return True


def _one_of(*values: str) -> Callable[[str], bool]:
    return frozenset(values).__contains__


def _ends_with(*ends: str) -> Callable[[str], bool]:
    return lambda value: value.endswith(ends)


# DOTALL, so that every `.*` before the end matches at once: no text takes quadratic time.
def _is(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.DOTALL).fullmatch


def _has(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern).search


_CI: Final = (
    r"(?<![a-z0-9])(?:ci|jenkins|jnlp|buildkite|build|builders?|runner|executor)(?![a-z0-9])"
)
_DOCKER_IMAGES: Final = frozenset({"docker", "docker-cli", "docker-client", "dind"})
_CI_LABELS: Final = frozenset(
    {
        *("jenkins", "tekton.dev", "job.runner.gitlab.com", "actions.github.com"),
        *("prow.k8s.io", "buildkite.com"),
    }
)
_STATE_TREES: Final = (
    *("/proc", "/sys", "/boot", "/lib/modules", "/var/log", "/var/lib/docker"),
    *("/var/lib/kubelet", "/etc/cni", "/opt/cni"),
)


def _is_runtime(path: str) -> bool:
    """containerd's, CRI-O's or another runtime's socket."""
    below = next(
        (path.removeprefix(at) for at in ("/run/", "/var/run/") if path.startswith(at)), ""
    )
    return "containerd" in below or "cri" in below


def _is_state(path: str) -> bool:
    # /dev as a whole: /dev/shm, /dev/kvm and /dev/fuse are what builds and browsers need.
    return path == "/dev" or any(pods.is_within(path, tree) for tree in _STATE_TREES)


def _is_dockers(image: str) -> bool:
    return image.rpartition("/")[2] in _DOCKER_IMAGES


def _is_cis(label: str) -> bool:
    prefix, slash, _ = label.partition("/")
    return bool(slash) and prefix in _CI_LABELS


# The first one whose value holds counts for a fact. 20 outweighs all others: one Pod on each node
# is there for the node, and no Linux daemon replaces a Windows pipe.
SIGNALS: Final = (
    Signal("daemon_set", 20, (About.OWNER,), _one_of("DaemonSet")),
    Signal("windows_pipe", 20, (About.NODE_PATH,), _ends_with("docker_engine")),
    Signal("cleaner", 5, (About.COMMAND,), _is(r"docker (?:rmi?|.* prune)\b.*")),
    Signal("host_pid", 2, (About.HOST_PID,), _always),
    Signal("whole_node", 2, (About.NODE_PATH,), _one_of("/")),
    Signal("run_directory", 2, (About.NODE_PATH,), _one_of("/run", "/var", "/var/run")),
    Signal("other_runtime", 2, (About.NODE_PATH,), _is_runtime),
    Signal("system_priority", 2, (About.PRIORITY,), _is("system-.*")),
    Signal("node_state", 1, (About.NODE_PATH,), _is_state, most=3),
    Signal("host_network", 1, (About.HOST_NETWORK,), _always),
    Signal("read_only", 1, (About.READ_ONLY,), _ends_with("/docker.sock", "/run", "/var", "/")),
    Signal("tolerates_all", 1, (About.ANY_NODE,), _always),
    Signal("knows_node", 1, (About.FIELD,), _one_of("spec.nodeName", "status.hostIP")),
    Signal("docker_image", -3, (About.IMAGE,), _is_dockers),
    Signal("jenkins_agent", -3, (About.NAME,), _one_of("jnlp")),
    Signal("ci_job", -3, (About.LABEL,), _is_cis),
    Signal("endpoint", -2, (About.SOCKET,), _ends_with("/docker.sock")),
    Signal("docker_cli", -2, (About.NODE_PATH,), _is("/.*bin/docker")),
    Signal("docker_command", -2, (About.COMMAND,), _always),
    Signal(
        *("credentials", -1, (About.MOUNT_PATH,)),
        _is(r".*/(?:\.docker(?:cfg|/.*)?|registry-credentials)/?"),
    ),
    Signal("ci_words", -1, (About.IMAGE, About.NAME), _has(_CI), most=2),
    Signal("ci_nodes", -1, (About.NODES,), _has(_CI)),
)
# What a fact takes of the bound beside its values.
_WORDS: Final = 16
_BY_SUBJECT: Final = {
    about: tuple(signal for signal in SIGNALS if about in signal.about) for about in About
}


def score(facts: Iterable[Fact]) -> Score:
    """Count: each fact once, and as many as any usual Pod has."""
    speaking: list[tuple[int, str]] = []
    times: dict[str, int] = {}
    left = bounds.PHRASES
    for fact in dict.fromkeys(facts):
        left -= _WORDS + len(fact.value) + len(fact.container) + len(fact.name)
        if left < 0:
            break
        for signal in _BY_SUBJECT[fact.about]:
            if signal.holds(fact.value):
                times[signal.name] = times.get(signal.name, 0) + 1
                if times[signal.name] <= signal.most:
                    speaking.append((signal.points, str(fact)))
                break
    return Score(sum(points for points, _ in speaking), tuple(speaking))


# ---- the facts -----------------------------------------------------------------------------

_OPTIONS: Final = r"\bdocker\s++(?:-\S++\s++){0,8}"
_BUILDS: Final = re.compile(_OPTIONS + r"(?:build|buildx|push|run|compose|tag|login)\b")
_CLEANS: Final = re.compile(
    _OPTIONS + r"(?:(?:system|image|container|volume|builder)\s++prune\b|rmi?\s[^\n;&|]{0,40}[$`])"
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
    for container in users:
        yield from _of_user(container)


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
        yield Fact(About.NODES, key) if key else Fact(About.ANY_NODE)
    for key, value in (spec.get("nodeSelector") or {}).items():
        yield Fact(About.NODES, f"{key}={value}")


def _of_user(container: Container) -> Iterator[Fact]:
    who = container["name"]
    yield Fact(About.NAME, who)
    yield Fact(About.IMAGE, images.name_and_tag(container)[0], who)
    for var in pods.env(container):
        # Not the Pod's nodeName: every Pod that runs has one, and `dinp scan` reads those.
        if field := ((var.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath"):
            yield Fact(About.FIELD, field, who)
        if (value := var.get("value") or "").startswith("unix://"):
            yield Fact(About.SOCKET, value, who, var["name"])
    for mount in pods.mounts(container):
        yield Fact(About.MOUNT_PATH, mount["mountPath"], who)
    text = "\n".join(pods.command_line(container))
    if command := _BUILDS.search(text) or _CLEANS.search(text):
        yield Fact(About.COMMAND, " ".join(command.group().split()), who)
