"""Does a Pod that reaches the node's Docker build images with it, or does it watch the node?

A builder is as well off with a daemon of its own; a node agent (log shipper, scanner, image
cleaner, ...) wants the node's containers, and an empty private daemon breaks it silently.
The webhook and `dinp scan` share this.

The score is the sum of the table `_SIGNALS`: more than 0 speaks for a node agent, less for
a builder. Names prove little (image-cleaner-dind is no daemon), so words in them count 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple

from webhook import docker_socket, names
from webhook import pod as pods
from webhook.docker_socket import Kind, NodeMount
from webhook.pod import Container, Pod, Volume


class Verdict(StrEnum):
    """What a Pod is to the node's Docker."""

    MIGRATE = "migrate"  # builds with it
    NODE = "node"  # watches or changes the node
    OWN = "own"  # uses a daemon of its own instead
    NONE = "none"
    INERT = "inert"  # has a volume for it that no container mounts
    MIXED = "mixed"  # both a daemon of its own and the node's socket
    PROVIDER = "provider"  # is the daemon of other Pods
    UNSURE = "unsure"  # uses it, and nothing shows for what


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the phrases, for people, that speak for it."""

    verdict: Verdict
    signals: tuple[str, ...] = ()
    score: int = 0


def judge(pod: Pod) -> Judgement:
    """Judge a Pod. First match wins; "reaches" means the socket, its directory or pipe.

    | own daemon | of the node's Docker | score | | Verdict |
    |---|---|---|---|---|
    | yes | any | | serves other Pods (`_serves`) | provider |
    | yes | reaches the socket | | | mixed |
    | yes | other or nothing | | | own |
    | no | anything mounted | 2 or more | | node |
    | no | reaches | 1 or less | a builder's signal | migrate |
    | no | reaches | 1 or less | none | unsure |
    | no | | | DOCKER_HOST is local, but not dinp's | own |
    | no | | | a volume for it is mounted nowhere | inert |
    | no | | | | none |
    """
    facts = _look(pod)
    daemons = tuple(_own_daemons(pod, facts.found))
    if daemons:
        return _with_own_daemon(facts, daemons)
    if facts.users or facts.found:
        scored = _scored(facts)
        if facts.users or scored.verdict is Verdict.NODE:
            return scored
    return _without_node(facts)


def own_daemon(pod: Pod) -> str | None:
    """Where a daemon of the Pod's own runs, or None. dinp's sidecar is none.

    | container | own daemon |
    |---|---|
    | mounts the node's socket, or is dinp's | no: a client |
    | image `docker:<...>dind<...>`, no command or one that starts dockerd | yes |
    | the same with command or args `cat`, `sleep`, `docker build`, ... | no: a client |
    | privileged, `dind` a word of the image's name or tag, no command or dockerd | yes |
    | any image, command or args start dockerd (in a shell, too) | yes |
    | DOCKER_IN_DOCKER_ENABLED or its like is true | yes |
    | any, and the Pod's label preset-dind-enabled is true (Prow) | yes, unless it mounts the socket |
    """
    found = next(_own_daemons(pod, docker_socket.node_mounts(pod)), None)
    return None if found is None else found.where


# ---- a daemon of the Pod's own -----------------------------------------------------------

_TRUE: Final = frozenset({"true", "1", "yes", "on"})
# Prow's images and actions-runner-controller's runner image start dockerd for these.
_SWITCHES: Final = ("DOCKER_IN_DOCKER_ENABLED", "DOCKER_IN_DOCKER", "DOCKERD_IN_RUNNER")
_ENTRYPOINT: Final = "dockerd-entrypoint.sh"
_DAEMONS: Final = frozenset({"dockerd", "dockerd-rootless.sh", "dockerd-rootless"})
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash"})
_WRAPPERS: Final = frozenset({"tini", "dumb-init", "docker-init", "dind", "sudo", "env", "nohup"})
# Where a shell expects a command: `pgrep dockerd` and `tail dockerd.log` start nothing.
_IN_SHELL: Final = re.compile(
    r"(?:^|[;&|({\n]|\b(?:exec|nohup|sudo|then|do|else|dind|--)[ \t])[ \t]*(?:/[\w./-]{0,99}/)?"
    r"dockerd(?:-entrypoint\.sh|-rootless(?:\.sh)?)?(?=\s|$|[;&|)])"
)
_PORTS: Final = frozenset({2375, 2376})
_RUN: Final = frozenset({"/run", "/var/run"})


class _OwnDaemon(NamedTuple):
    container: Container
    where: str


def _own_daemons(pod: Pod, found: Sequence[NodeMount]) -> Iterator[_OwnDaemon]:
    clients = {mount.container for mount in found if mount.kind is Kind.SOCKET}
    preset = pods.labels_of(pod).get("preset-dind-enabled") == "true"
    for container in pods.containers(pod):
        name = container["name"]
        if name in clients or names.is_own_container(name):
            continue
        how = _daemon_in(container)
        if how is not None:
            yield _OwnDaemon(container, f"container {name} {how}")
        elif preset:
            yield _OwnDaemon(container, "label preset-dind-enabled is true")


def _daemon_in(container: Container) -> str | None:
    """How the container starts a daemon, or None."""
    for name in _SWITCHES:
        if ((pods.env_var(container, name) or {}).get("value") or "").lower() in _TRUE:
            return f"sets {name}"
    command, args = container.get("command") or [], container.get("args") or []
    if _is_dind_image(container):
        starts = _runs(command + args) if command else _entrypoint_runs(args)
        return f"runs image {container.get('image')}" if starts else None
    return "runs dockerd" if _runs(command + args) else None


def _is_dind_image(container: Container) -> bool:
    """Whether the image, left to itself, starts dockerd.

    A name is enough for Docker's own image alone; others must be able to run a daemon, too.
    """
    name, tag = _repository_and_tag(container.get("image") or "")
    name = name.rpartition("/")[2]
    privileged = (container.get("securityContext") or {}).get("privileged") is True
    return (name == "docker" or privileged) and "dind" in re.split(r"[^a-z0-9]", f"{name}:{tag}")


def _repository_and_tag(image: str) -> tuple[str, str]:
    """`host:5000/team/docker:20-dind@sha256:...` is `team/docker` and `20-dind`."""
    reference = image.partition("@")[0].lower()
    path, slash, last = reference.rpartition("/")
    host, _, rest = path.partition("/")
    if "." in host or ":" in host or host == "localhost":
        path, slash = rest, "/" if rest else ""
    name, _, tag = last.partition(":")
    return f"{path}{slash}{name}", tag


def _entrypoint_runs(args: list[str]) -> bool:
    """What the image's entrypoint makes of `args`: none, or flags alone, are dockerd's."""
    return not args or args[0].startswith("-") or _runs(args)


def _runs(argv: list[str]) -> bool:
    """Whether the command line starts dockerd."""
    for at, word in enumerate(argv):
        program = word.rpartition("/")[2]
        if program == _ENTRYPOINT:
            return _entrypoint_runs(argv[at + 1 :])
        if program in _SHELLS:
            return any(_IN_SHELL.search(text) for text in argv[at + 1 :])
        if program not in _WRAPPERS and not word.startswith("-") and "=" not in word:
            return program in _DAEMONS
    return False


def _with_own_daemon(facts: _Facts, daemons: Sequence[_OwnDaemon]) -> Judgement:
    signals = tuple(dict.fromkeys(daemon.where for daemon in daemons))
    if any(_serves(daemon.container, facts) for daemon in daemons):
        return Judgement(Verdict.PROVIDER, signals)
    sockets = tuple(
        f"container {mount.container} mounts {mount.path} of the node"
        for mount in facts.found
        if mount.kind is Kind.SOCKET
    )
    return Judgement(Verdict.MIXED if sockets else Verdict.OWN, signals + sockets)


def _serves(daemon: Container, facts: _Facts) -> bool:
    """Whether other Pods use it: by the node's run directory, the node's port, or as it is alone."""
    ports = [port for port in daemon.get("ports") or () if port.get("containerPort") in _PORTS]
    if any(port.get("hostPort") for port in ports):
        return True
    if any(
        mount["name"] in facts.sources and pods.clean_path(mount["mountPath"]) in _RUN
        for mount in pods.mounts(daemon)
    ):
        return True
    return bool(ports) and len(facts.pod["spec"]["containers"]) == 1


# ---- the node's Docker -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the signals look at."""

    pod: Pod
    found: tuple[NodeMount, ...]
    sources: dict[str, str]  # volume -> hostPath
    paths: tuple[str, ...]  # on the node, of every mount of a hostPath
    users: tuple[Container, ...]  # containers that reach the node's Docker

    def mounted(self, *kinds: Kind) -> Iterator[NodeMount]:
        return (mount for mount in self.found if mount.kind in kinds)


_LOCAL: Final = re.compile(r"unix://|(?:\w+://)?(?:localhost|127\.|\[::1\])")


def _look(pod: Pod) -> _Facts:
    found = docker_socket.node_mounts(pod)
    sources = {
        volume["name"]: host_path["path"]
        for volume in pods.volumes(pod)
        if (host_path := volume.get("hostPath"))
    }
    reached = {found_.container for found_ in found if found_.kind in _REACHING}
    paths: dict[str, None] = {}
    users = []
    for container in pods.containers(pod):
        own = _host_mounts(container, sources)
        paths.update(dict.fromkeys(own.values()))
        if container["name"] in reached or _opens(container, own):
            users.append(container)
    return _Facts(pod, found, sources, tuple(paths), tuple(users))


_REACHING: Final = frozenset({Kind.SOCKET, Kind.RUN_DIRECTORY})


def _host_mounts(container: Container, sources: dict[str, str]) -> dict[str, str]:
    """The container's mounts of hostPaths: mountPath -> path on the node."""
    return {
        pods.clean_path(mount["mountPath"]): pods.clean_path(
            f"{sources[mount['name']]}/{mount.get('subPath') or ''}"
        )
        for mount in pods.mounts(container)
        if mount["name"] in sources
    }


def _is_pipe(path: str) -> bool:
    r"""Docker's socket on Windows, `\\.\pipe\docker_engine`."""
    return path.endswith("docker_engine")


def _opens(container: Container, host_mounts: dict[str, str]) -> bool:
    """Whether it reaches a Docker on the node in a way that `node_mounts` does not know."""
    if not host_mounts:
        return False
    scheme, _, path = _docker_host(container).partition("://")
    return any(map(_is_pipe, host_mounts.values())) or (
        scheme == "unix" and any(pods.is_within(pods.clean_path(path), at) for at in host_mounts)
    )


def _docker_host(container: Container) -> str:
    return (pods.env_var(container, "DOCKER_HOST") or {}).get("value") or ""


def _without_node(facts: _Facts) -> Judgement:
    containers = tuple(pods.containers(facts.pod))
    if not any(container["name"] == names.DIND for container in containers):
        for container in containers:
            host = _docker_host(container)
            if _LOCAL.match(host):
                text = f"container {container['name']} sets DOCKER_HOST to {host}"
                return Judgement(Verdict.OWN, (text,))
    unused = tuple(f"no container mounts volume {name}" for name in _unmounted(facts.pod))
    return Judgement(Verdict.INERT if unused else Verdict.NONE, unused)


def _unmounted(pod: Pod) -> Iterator[str]:
    """Volumes that would show the node's Docker if a container mounted them."""
    used = {mount["name"] for one in pods.containers(pod) for mount in pods.mounts(one)}
    unused: list[Volume] = [one for one in pods.volumes(pod) if one["name"] not in used]
    everything: Container = {
        "name": "",
        "volumeMounts": [{"name": one["name"], "mountPath": "/"} for one in unused],
    }
    would_be: Pod = {"spec": {"containers": [everything], "volumes": unused}}
    return (found.mount["name"] for found in docker_socket.node_mounts(would_be))


# ---- the score ---------------------------------------------------------------------------


class _Signal(NamedTuple):
    """`see` yields a phrase for each sighting; each of the first `most` counts `points`."""

    points: int
    see: Callable[[_Facts], Iterator[str]]
    most: int = 1


def _scored(facts: _Facts) -> Judgement:
    seen = [
        (signal.points, phrase)
        for signal in _SIGNALS
        for phrase in islice(signal.see(facts), signal.most)
    ]
    score = sum(points for points, _ in seen)
    if score >= 2:
        return Judgement(Verdict.NODE, tuple(text for points, text in seen if points > 0), score)
    builder = tuple(text for points, text in seen if points < 0)
    if builder:
        return Judgement(Verdict.MIGRATE, builder, score)
    return Judgement(Verdict.UNSURE, tuple(text for _, text in seen), score)


_TREES: Final = (
    *("/proc", "/sys", "/lib/modules", "/boot", "/usr/src", "/var/log", "/var/lib/docker"),
    *(
        "/var/lib/kubelet",
        "/etc/cni",
        "/opt/cni",
        "/etc/kubernetes",
        "/run/netns",
        "/var/run/netns",
    ),
)
# Labels that CI systems put on the Pods of their jobs.
_CI_LABELS: Final = (
    *("jenkins/", "job.runner.gitlab.com/", "actions.github.com/", "tekton.dev/"),
    *("prow.k8s.io/", "buildkite.com/", "workflows.argoproj.io/"),
)
_CI_WORD: Final = re.compile(
    r"(?<![a-z0-9])(?:ci|jenkins|jnlp|buildkite|builders?|build|runner|executor)(?![a-z0-9])",
    re.IGNORECASE,
)
# Possessive, and bounded: whoever may create Pods writes what this reads.
_DOCKER: Final = r"\bdocker\s++(?:-\S++\s++){0,8}"
_BUILDS: Final = re.compile(
    _DOCKER + r"(?:build|buildx|push|run|compose|tag|login|image\s++(?:build|push))\b"
)
_CLEANS: Final = re.compile(
    _DOCKER + r"(?:(?:system|image|container|volume|builder)\s++prune|rmi?\b[^\n;&|]{0,40}[$`])"
)
_NODE_FIELDS: Final = frozenset({"spec.nodeName", "status.hostIP"})
_CLIENT_NAMES: Final = frozenset({"docker", "docker-cli", "docker-client", "dind"})


def _spec(field: str) -> Callable[[_Facts], Iterator[str]]:
    def see(facts: _Facts) -> Iterator[str]:
        if facts.pod["spec"].get(field):
            yield field

    return see


def _daemon_set(facts: _Facts) -> Iterator[str]:
    if pods.owned_by(facts.pod, "DaemonSet"):
        yield "owned by a DaemonSet"


def _windows_pipe(facts: _Facts) -> Iterator[str]:
    return (f"mounts {path} of the node" for path in facts.paths if _is_pipe(path))


def _whole_node(facts: _Facts) -> Iterator[str]:
    return (f"mounts {path} of the node" for path in facts.paths if path == "/")


def _other_runtime(facts: _Facts) -> Iterator[str]:
    for mount in facts.mounted(Kind.STATE):
        if not mount.path.startswith("/var/lib/"):
            yield f"mounts {mount.path} of the node"


def _only_directory(facts: _Facts) -> Iterator[str]:
    if not any(facts.mounted(Kind.SOCKET)):
        for mount in facts.mounted(Kind.RUN_DIRECTORY):
            if mount.path != "/":
                yield f"mounts {mount.path} of the node"


def _node_trees(facts: _Facts) -> Iterator[str]:
    for tree in ("/dev", *_TREES):
        # Single devices (/dev/shm, /dev/kvm, /dev/fuse) are what builds and browsers need.
        if any(
            path == tree or (tree != "/dev" and pods.is_within(path, tree)) for path in facts.paths
        ):
            yield f"mounts {tree} of the node"


def _system_priority(facts: _Facts) -> Iterator[str]:
    name = facts.pod["spec"].get("priorityClassName") or ""
    if name.startswith("system-"):
        yield f"priority {name}"


def _read_only(facts: _Facts) -> Iterator[str]:
    for mount in facts.mounted(*_REACHING):
        if mount.mount.get("readOnly"):
            yield f"container {mount.container} mounts {mount.path} read-only"


def _tolerates_everything(facts: _Facts) -> Iterator[str]:
    for toleration in facts.pod["spec"].get("tolerations") or ():
        if toleration.get("operator") == "Exists" and not toleration.get("key"):
            yield "tolerates every taint"


def _knows_node(facts: _Facts) -> Iterator[str]:
    # Not spec.nodeName: every Pod that runs has one, and `dinp scan` reads those.
    for container in facts.users:
        for var in pods.env(container):
            field = ((var.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
            if field in _NODE_FIELDS:
                yield f"container {container['name']} reads {field}"


def _text(container: Container) -> str:
    return " ".join([*(container.get("command") or ()), *(container.get("args") or ())])


def _cleans(facts: _Facts) -> Iterator[str]:
    for container in facts.users:
        text = _text(container)
        if _CLEANS.search(text) and not _BUILDS.search(text):
            yield f"container {container['name']} prunes images"


def _builds(facts: _Facts) -> Iterator[str]:
    for container in facts.users:
        command = _BUILDS.search(_text(container))
        if command:
            yield f"container {container['name']} runs {' '.join(command.group().split())}"


def _client_image(facts: _Facts) -> Iterator[str]:
    for container in facts.users:
        name, _ = _repository_and_tag(container.get("image") or "")
        if name.rpartition("/")[2] in _CLIENT_NAMES:
            yield f"docker client image in container {container['name']}"


def _ci_pod(facts: _Facts) -> Iterator[str]:
    if any(container["name"] == "jnlp" for container in facts.pod["spec"]["containers"]):
        yield "container jnlp"
    for label in pods.labels_of(facts.pod):
        if label.startswith(_CI_LABELS):
            yield f"label {label}"


def _endpoint(facts: _Facts) -> Iterator[str]:
    for container in facts.users:
        for var in pods.env(container):
            value = var.get("value") or ""
            if value.startswith("unix://") and value.endswith("/docker.sock"):
                yield f"container {container['name']} sets {var['name']} to {value}"


def _docker_cli(facts: _Facts) -> Iterator[str]:
    for mount in facts.mounted(Kind.CLI):
        yield f"container {mount.container} mounts {mount.path} of the node"


def _registry_credentials(facts: _Facts) -> Iterator[str]:
    for container in facts.users:
        for mount in pods.mounts(container):
            path = mount["mountPath"].rstrip("/")
            if path.endswith(("/.docker", "/.docker/config.json", "/.dockercfg")):
                yield f"container {container['name']} has registry credentials at {path}"


def _ci_words(facts: _Facts) -> Iterator[str]:
    for container in facts.users:
        name, _ = _repository_and_tag(container.get("image") or "")
        for where, text in (("name", container["name"]), ("image", name)):
            word = _CI_WORD.search(text)
            if word:
                yield f"{word.group()} in the {where} of container {container['name']}"


def _ci_nodes(facts: _Facts) -> Iterator[str]:
    spec = facts.pod["spec"]
    selectors = (f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
    keys = (f"{one.get('key')}={one.get('value')}" for one in spec.get("tolerations") or ())
    for text in (*selectors, *keys):
        if _CI_WORD.search(text):
            yield f"for nodes with {text}"


# Points from a hand-judged corpus of public manifests.
_SIGNALS: Final = (
    # These outweigh any name: there is one on every node; no Linux daemon can stand in.
    _Signal(20, _daemon_set),
    _Signal(20, _windows_pipe),
    _Signal(5, _cleans),
    _Signal(2, _spec("hostPID")),
    _Signal(2, _whole_node),
    _Signal(2, _other_runtime),
    _Signal(2, _only_directory),
    _Signal(2, _system_priority),
    _Signal(1, _node_trees, most=3),
    _Signal(1, _spec("hostNetwork")),
    _Signal(1, _read_only),
    _Signal(1, _tolerates_everything),
    _Signal(1, _knows_node),
    _Signal(-3, _client_image),
    _Signal(-3, _ci_pod),
    _Signal(-2, _endpoint),
    _Signal(-2, _docker_cli),
    _Signal(-2, _builds),
    _Signal(-1, _registry_credentials),
    _Signal(-1, _ci_words, most=2),
    _Signal(-1, _ci_nodes),
)
