"""A Docker daemon that the Pod runs itself: dinp must not add a second one.

Judged by what a container really starts (the folder starts). Names prove nothing: `docker:dind`
with `cat` is a client, common in Jenkinsfiles, and `image-cleaner-dind` is no daemon.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from webhook import names
from webhook.finding import docker_hosts, node_docker
from webhook.finding.node_docker import Kind, NodeMount
from webhook.finding.starts import command_lines, images, tables
from webhook.finding.starts.command_lines import Started
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod

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


def pod_daemons(pod: Pod, found: Sequence[NodeMount]) -> PodDaemons:
    """Which containers run a daemon of the Pod's own; `found` is what it mounts of the node.

    | container | own daemon |
    |---|---|
    | dinp's, or one whose socket an earlier pass has migrated | no |
    | a variable of `tables.SWITCHES` is on | yes |
    | its image starts one (`images`), and is left to | yes |
    | its command starts one, behind wrappers and in a shell too (`command_lines`) | yes |
    | so does the command in BUILDKITE_COMMAND or its like, or in Prow's ENTRYPOINT_OPTIONS | yes |
    | the same image, but the command is `cat`, `sleep`, `docker build`, ... | no: a client |
    | another container has a local DOCKER_HOST, and this one looks like what it leads to | yes |
    | any without the node's socket, in a Pod with the label preset-dind-enabled=true (Prow) | yes |
    """
    clients = {mount.container for mount in found if mount.kind is Kind.SOCKET}
    preset = pods.labels_of(pod).get("preset-dind-enabled") == "true"
    users = {local.container for local in docker_hosts.local_hosts(pod)}
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
        others = len(users) > (name in users)
        if how := how or (_serves(container) if others else ""):
            daemons.append(PodDaemon(container, f"container {name} {how}"))
        elif preset and name not in clients:
            daemons.append(PodDaemon(container, "label preset-dind-enabled is true"))
    return PodDaemons(tuple(daemons), tuple(unread))


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
        started = Started(unreadable=line.why) if line.why else command_lines.started(line.words)
        if started.daemon:
            return f"runs {image or started.daemon}", []
        if why := started.unreadable:
            names_daemon = bool(image) or _size(line) > 0
            unread.append(Unread(container["name"], line.what, why, names_daemon))
    return "", unread


def _switched_on(container: Container) -> str:
    env = {var["name"]: var for var in pods.env(container)}  # the last of a name counts
    for name, var in env.items():
        switch = tables.SWITCHES.get(name)
        value = (var.get("value") or "")[: bounds.NAME].strip().lower()
        if switch is None or value not in tables.ON:
            continue
        if images.is_privileged(container) or not switch.privileged:
            return f"sets {name}"
    return ""


def _lines(container: Container) -> Iterator[_Line]:
    yield _Line("its command", pods.command_line(container))
    env = {var["name"]: var for var in pods.env(container)}  # the last of a name counts
    for var in env.values():
        text = (var.get("value") or "")[: bounds.COMMAND]
        if text and var["name"] in tables.SCRIPT_VARIABLES:
            yield _Line(var["name"], ("sh", "-c", text))
        elif text and var["name"] in tables.ENCODED_VARIABLES:
            yield _Line(var["name"], ("sh", "-c", _decoded(text)))
        elif text and var["name"] == tables.PROWS_OPTIONS:
            yield _of_prow(text)


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


def _serves(container: Container) -> str:
    """Whether it looks like a daemon that others reach by a local DOCKER_HOST.

    It is privileged, its image is left to run, and it has the name, the data directory or the port of one.
    """
    if not images.is_privileged(container) or not images.runs_its_own(container):
        return ""
    name = container["name"]
    is_named = name == "docker" or images.is_like_dind(name)
    has_data = any(pods.clean_path(one["mountPath"]) in _DATA for one in pods.mounts(container))
    has_port = any(one.get("containerPort") in _PORTS for one in container.get("ports") or ())
    return "serves a local DOCKER_HOST" if is_named or has_data or has_port else ""
