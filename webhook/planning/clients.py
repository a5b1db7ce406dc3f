"""The client containers: which may be one, and what becomes of each one's variables and mounts."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from webhook import names
from webhook.asking.config import Transport
from webhook.asking.rules import Mode
from webhook.asking.settings import Settings
from webhook.finding import node_docker
from webhook.finding.found import Found
from webhook.finding.node_docker import Kind, NodeMount
from webhook.planning import client_env, endpoint, share, sidecar, socket_mounts
from webhook.planning.endpoint import Endpoint
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar, VolumeMount
from webhook.reasons import Finding, Reason

_MIGRATED: Final = frozenset({Kind.SOCKET, Kind.CLI, Kind.CLI_LIBRARY})


class Replacement(msgspec.Struct, frozen=True):
    """What becomes of a volumeMount; None: it is removed."""

    at: int  # in the container's volumeMounts
    volume: str  # of the mount that is there
    new: VolumeMount | None


class Client(msgspec.Struct, frozen=True):
    """One container that gets a daemon."""

    name: str
    variables: tuple[EnvVar, ...] = ()
    removed: tuple[str, ...] = ()
    mounts: tuple[VolumeMount, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    socket_paths: tuple[str, ...] = ()  # mountPaths of the node's socket
    uses_socket: bool = False  # its processes open a unix socket: the group matters
    warnings: tuple[Finding, ...] = ()


def is_eligible(name: str, settings: Settings) -> bool:
    """Whether a container of this name may be a client: not one of dinp's, no mesh proxy."""
    infrastructure = _any_of(settings.infrastructure_containers)
    return not names.is_dinps_container(name) and infrastructure.fullmatch(name) is None


@functools.cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Matches what one of the shell patterns does; there is one set of them a process."""
    return re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)")


def clients(chosen: Sequence[Container], found: Found, settings: Settings) -> tuple[Client, ...]:
    """Decide on every chosen container."""
    mounts: dict[str, list[NodeMount]] = {}
    for node_mount in found.node_mounts:
        mounts.setdefault(node_mount.container, []).append(node_mount)
    former = None if found.dind is None else sidecar.transport_of(found.dind)
    return tuple(
        _client(container, mounts.get(container["name"], ()), former, settings, found.aliases)
        for container in chosen
    )


def sockets_left(node_mounts: Iterable[NodeMount], decided: Iterable[Client]) -> Iterator[Finding]:
    """Warn of containers that are no clients, and keep a socket that is dead."""
    names_ = {client.name for client in decided}
    for found in node_mounts:
        if found.kind is Kind.SOCKET and found.container not in names_:
            path = found.mount["mountPath"]
            yield Reason.SOCKET_LEFT.say(container=found.container, path=path)


def _client(
    container: Container,
    found: Sequence[NodeMount],
    former: Transport | None,
    settings: Settings,
    aliases: frozenset[str],
) -> Client:
    """`former`: of the dinp-dind that is there already, whose client this may have been; `aliases` of the loopback."""
    mode = settings.mode
    sockets = [node_mount for node_mount in found if node_mount.kind is Kind.SOCKET]
    socket_paths = [node_mount.mount["mountPath"] for node_mount in sockets]
    has_socket = bool(sockets) or node_docker.is_migrated(container)
    where = endpoint.endpoint(settings, socket=has_socket)
    changed = former not in {None, settings.transport}
    elsewhere = endpoint.SIDECAR[former] if former and changed else None
    env = client_env.client_env(container, where, _node_paths(found), elsewhere, aliases)
    mounts = (*share.mounts(settings.share), *(where.mounts if env.uses_daemon else ()))
    gone = _left_over(container, mounts, elsewhere)
    return Client(
        name=container["name"],
        variables=env.variables,
        removed=env.removed,
        mounts=mounts,
        replacements=(*_replacements(found, mode), *gone),
        socket_paths=tuple(socket_paths),
        uses_socket=mode is not Mode.SERVICE
        and (has_socket or (env.uses_daemon and where.docker_host == endpoint.UNIX_HOST)),
        warnings=(*env.warnings, *_mount_warnings(found, mode)),
    )


def _node_paths(found: Iterable[NodeMount]) -> frozenset[str]:
    """Where the container has the node's socket, or a directory that would hold it."""
    return frozenset(
        pods.clean_path(node_mount.mount["mountPath"])
        for node_mount in found
        if node_mount.kind in {Kind.SOCKET, Kind.RUN_DIRECTORY}
    )


def _left_over(
    container: Container, wanted: Iterable[VolumeMount], former: Endpoint | None
) -> Iterator[Replacement]:
    """Mounts that dinp made for a dinp-dind that was asked for otherwise, and then was at `former`.

    Shares that nobody asks for go in the first pass, too: a second one would not know whose they are.
    """
    made = {(mount["name"], mount["mountPath"]) for mount in (former.mounts if former else ())}
    kept = {(mount["name"], mount["mountPath"]) for mount in wanted}
    for at, mount in enumerate(pods.mounts(container)):
        one = mount["name"], pods.clean_path(mount["mountPath"])
        if one not in kept and (one in made or mount["name"].startswith(names.SHARE_PREFIX)):
            yield Replacement(at, mount["name"], None)


def _replacements(found: Iterable[NodeMount], mode: Mode) -> Iterator[Replacement]:
    for node_mount in found:
        if node_mount.kind in _MIGRATED:
            new = socket_mounts.becomes(node_mount, mode)
            yield Replacement(node_mount.at, node_mount.mount["name"], new)


def _mount_warnings(found: Iterable[NodeMount], mode: Mode) -> Iterator[Finding]:
    for node_mount in found:
        blanks = {
            "container": node_mount.container,
            "path": node_mount.path,
            "mount_path": node_mount.mount["mountPath"],
        }
        match node_mount.kind:
            case Kind.SOCKET if mode is Mode.SERVICE:
                blanks["path"] = node_mount.mount["mountPath"]
                yield Reason.SOCKET_REMOVED.say(**blanks)
            case Kind.RUN_DIRECTORY:
                yield Reason.RUN_DIRECTORY.say(**blanks)
            case Kind.STATE:
                yield Reason.NODE_STATE_LEFT.say(**blanks)
            case _:
                pass
