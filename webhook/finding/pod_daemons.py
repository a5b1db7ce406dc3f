"""A Docker daemon that the Pod runs itself: dinp must not add a second one.

Judged by what a container really starts (the folder starts). Names prove nothing: `docker:dind`
with `cat` is a client, common in Jenkinsfiles, and `image-cleaner-dind` is no daemon.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from webhook import names
from webhook.finding import docker_hosts, node_docker
from webhook.finding.docker_hosts import LocalHost
from webhook.finding.node_docker import Kind, NodeMount
from webhook.finding.starts import command_lines, images, tables
from webhook.finding.starts.command_lines import Started
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, VolumeMount

_DATA: Final = frozenset({"/var/lib/docker", "/home/rootless/.local/share/docker"})
_PORTS: Final = (2375, 2376)


class PodDaemon(NamedTuple):
    """A container that runs a daemon which the Pod brings, and a phrase that says so."""

    container: Container
    where: str


class Unread(NamedTuple):
    """A command that could not be read; `what` and `why` are phrases. `names_daemon`: it may start one."""

    container: str
    what: str
    why: str
    names_daemon: bool

    def blanks(self) -> dict[str, str]:
        """For the sentences about it."""
        return {"container": self.container, "what": self.what, "why": self.why}


class PodDaemons(NamedTuple):
    """All that a Pod shows of daemons of its own."""

    daemons: tuple[PodDaemon, ...]
    unread: tuple[Unread, ...]


class _Line(NamedTuple):
    """A command line of a container: where it stands, and its words, or why they cannot be told."""

    what: str
    words: Sequence[str]
    why: str = ""


def pod_daemons(pod: Pod, found: Sequence[NodeMount], local: Iterable[LocalHost]) -> PodDaemons:
    """Which containers run a daemon of the Pod's own; `found` is what it mounts of the node, `local`
    which of its DOCKER_HOSTs lead into the Pod.

    | container | own daemon |
    |---|---|
    | dinp's, or one whose socket an earlier pass has migrated | no |
    | a variable of `tables.SWITCHES` is on | yes |
    | its image starts one (`images`), and is left to | yes |
    | its command starts one, behind wrappers and in a shell too (`command_lines`) | yes |
    | so does the command in BUILDKITE_COMMAND or its like, or in Prow's ENTRYPOINT_OPTIONS | yes |
    | so does its postStart hook: Coder's templates and dev containers have one | yes |
    | the same image, but the command is `cat`, `sleep`, `docker build`, ... | no: a client |
    | it is privileged, its image is left to run, and it alone has a volume at /var/lib/docker, which is not the node's | yes |
    | another container has a local DOCKER_HOST, by TCP or a socket in a volume of the Pod, and this one looks like what it leads to | yes |
    | any without the node's socket, in a Pod with the label preset-dind-enabled=true (Prow) | yes |
    """
    preset = pods.labels_of(pod).get("preset-dind-enabled") == "true"
    around = _around(pod, found, local)
    daemons: list[PodDaemon] = []
    unread: list[Unread] = []
    left = bounds.SCRIPTS
    for container in pods.containers(pod):
        name = container["name"]
        # What a dinp before this one has migrated stays so.
        if names.is_dinps_container(name) or node_docker.is_migrated(container):
            continue
        lines = [*_lines(container)]
        left -= sum(map(_size, lines))
        how, not_read = _how(container, [*map(_too_long, lines)] if left < 0 else lines)
        unread += not_read
        if how := how or _looks_like_one(container, around):
            daemons.append(PodDaemon(container, f"container {name} {how}"))
        elif preset and name not in around.clients:
            daemons.append(PodDaemon(container, "label preset-dind-enabled is true"))
    return PodDaemons(tuple(daemons), tuple(unread))


class _Around(NamedTuple):
    """What the containers of a Pod show of a daemon beside them."""

    clients: frozenset[str]  # containers that mount the node's socket
    users: frozenset[str]  # containers whose DOCKER_HOST is local, by TCP
    sockets: frozenset[str]  # volumes in which a DOCKER_HOST has its socket
    data: frozenset[str]  # volumes at a daemon's data directory of one container alone


def _around(pod: Pod, found: Sequence[NodeMount], local: Iterable[LocalHost]) -> _Around:
    """GitLab and Jenkins put each volume into every container: one that several have shows nothing."""
    data = Counter(one["name"] for it in pods.containers(pod) for one in _data_mounts(it))
    nodes = {mount.mount["name"] for mount in found if mount.kind is Kind.STATE}
    return _Around(
        clients=frozenset(mount.container for mount in found if mount.kind is Kind.SOCKET),
        users=frozenset(one.container for one in local),
        sockets=docker_hosts.socket_volumes(pod),
        data=frozenset(name for name, times in data.items() if times == 1 and name not in nodes),
    )


def _data_mounts(container: Container) -> list[VolumeMount]:
    return [
        one
        for one in pods.mounts(container)  # cleaning takes nothing out of a name
        if "docker" in one["mountPath"] and pods.clean_path(one["mountPath"]) in _DATA
    ]


def _how(container: Container, lines: Iterable[_Line]) -> tuple[str, list[Unread]]:
    """How it starts a daemon, or an empty text; and what of it could not be read."""
    if how := _switched_on(container):
        return how, []
    # People look for the image, where it is one for this.
    image = f"image {container.get('image')}" if images.is_dind(container) else ""
    if image and images.runs_its_own(container):
        return f"runs {image}", []
    unread: list[Unread] = []
    for line in lines:
        if not (line.why or tables.MENTIONS.search(" ".join(line.words))):
            continue
        started = Started(unreadable=line.why) if line.why else command_lines.started(line.words)
        if started.daemon:
            return f"runs {image or started.daemon}", []
        if why := started.unreadable:
            names_daemon = bool(image) or _size(line) > 0
            unread.append(Unread(container["name"], line.what, why, names_daemon))
    return "", unread


def _switched_on(container: Container) -> str:
    env = pods.env(container)
    switches = {
        var["name"]: var for var in env if var["name"] in tables.SWITCHES
    }  # the last counts
    for name, var in switches.items():
        is_on = (var.get("value") or "")[: bounds.NAME].strip().lower() in tables.ON
        if is_on and (images.is_privileged(container) or not tables.SWITCHES[name].privileged):
            return f"sets {name}"
    return ""


def _lines(container: Container) -> Iterator[_Line]:
    yield _Line("its command", pods.command_line(container))
    if container.get("lifecycle"):
        yield _Line("its postStart hook", pods.hook_after_start(container))
    said = {
        var["name"]: var for var in pods.env(container) if var["name"] in tables.COMMAND_VARIABLES
    }
    for name, var in said.items():  # the last of a name counts
        text = (var.get("value") or "")[: bounds.COMMAND]
        if not text:
            continue
        if name == tables.PROWS_OPTIONS:
            yield _of_prow(text)
        else:
            script = _decoded(text) if name in tables.ENCODED_VARIABLES else text
            yield _Line(name, ("sh", "-c", script))


def _decoded(text: str) -> str:
    """Text in base64; of what is none nothing, as no shell gets it."""
    try:
        return base64.b64decode(text.encode()).decode(errors="replace")
    except ValueError:
        return ""


class _Options(msgspec.Struct):
    """The part of Prow's entrypoint.Options that counts."""

    args: list[str] | None = None


def _of_prow(text: str) -> _Line:
    try:
        return _Line(tables.PROWS_OPTIONS, msgspec.json.decode(text, type=_Options).args or ())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _Line(tables.PROWS_OPTIONS, (text,), "it is not the JSON that Prow writes")


def _size(line: _Line) -> int:
    """Characters that have to be taken apart: those of a line that names a daemon."""
    return sum(map(len, command_lines.texts(line.words)))


def _too_long(line: _Line) -> _Line:
    """The same unread, if it would have to be taken apart."""
    return line._replace(why="it is too long") if _size(line) else line


def _looks_like_one(container: Container, around: _Around) -> str:
    """Whether it serves a local DOCKER_HOST of others, or has a volume for a daemon's data.

    It is privileged, and its image is left to run. By TCP it has the name, the data directory or the
    port of one; by a socket the volume, without a DOCKER_HOST of its own. Agents whose entrypoint
    starts dockerd have a volume at its data directory, as overlayfs needs one.
    """
    if not images.is_privileged(container) or not images.runs_its_own(container):
        return ""
    name, data = container["name"], _data_mounts(container)
    has_socket = any(one["name"] in around.sockets for one in pods.mounts(container))
    serves = has_socket and not pods.env_value(container, "DOCKER_HOST")
    if len(around.users) > (name in around.users) and not serves:
        is_named = name == "docker" or images.is_like_dind(name)
        has_port = any(one.get("containerPort") in _PORTS for one in container.get("ports") or ())
        serves = is_named or has_port or bool(data)
    if serves:
        return "serves a local DOCKER_HOST"
    own = [] if name in around.clients else [one for one in data if one["name"] in around.data]
    return f"has a volume for a daemon's data at {own[0]['mountPath']}" if own else ""
