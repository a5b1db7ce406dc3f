"""The client containers: which may be one, and what becomes of each one's variables and mounts."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from webhook import names
from webhook.asking.config import Transport
from webhook.asking.rules import Mode
from webhook.asking.settings import Settings
from webhook.finding import gitlab, node_docker
from webhook.finding.found import Found
from webhook.finding.node_docker import Kind, NodeMount
from webhook.planning import (
    cli,
    client_env,
    endpoint,
    share,
    sidecar,
    socket_addresses,
    socket_mounts,
)
from webhook.planning.endpoint import Endpoint
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar, Trees, VolumeMount
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
    kept_host: str | None = None  # a DOCKER_HOST of the user's
    warnings: tuple[Finding, ...] = ()

    @property
    def is_given(self) -> bool:
        """Whether it can reach the daemon, by its variables or at the path of a socket."""
        return self.kept_host is None or self.uses_socket


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
        _client(
            container,
            mounts.get(container["name"], ()),
            former,
            settings,
            found.aliases,
            exports=found.gitlab_job and gitlab.exports(container),
        )
        for container in chosen
    )


def sockets_left(node_mounts: Iterable[NodeMount], decided: Iterable[Client]) -> Iterator[Finding]:
    """Warn of containers that get no daemon, and keep a socket that is dead, or all of its directory."""
    names_ = {client.name for client in decided if client.is_given}
    for found in node_mounts:
        if found.kind is Kind.SOCKET and found.container not in names_:
            path = found.mount["mountPath"]
            yield Reason.SOCKET_LEFT.say(container=found.container, path=path)
        elif found.path in node_docker.SOCKET_DIRECTORIES and found.container not in names_:
            yield Reason.RUN_DIRECTORY.say(**found.blanks())


def _client(
    container: Container,
    found: Sequence[NodeMount],
    former: Transport | None,
    settings: Settings,
    aliases: frozenset[str],
    *,
    exports: bool,
) -> Client:
    """`former`: of the dinp-dind that is there already, whose client this may have been; `aliases` of the loopback.

    `exports`: GitLab's runner sets its variables once more.
    """
    has_socket = node_docker.is_migrated(container) or any(map(_is_socket, found))
    where = endpoint.endpoint(settings, socket=has_socket)
    changed = former not in {None, settings.transport}
    elsewhere = endpoint.SIDECAR[former] if former and changed else None
    node_paths = _node_paths(found)
    env = client_env.client_env(container, where, node_paths, elsewhere, aliases, exports=exports)
    uses_socket = has_socket and settings.mode is not Mode.SERVICE
    if not (env.uses_daemon or uses_socket):
        # Nothing comes in the place of its socket: it stays.
        found = [node_mount for node_mount in found if not _is_socket(node_mount)]
    mounts = (*share.mounts(settings.share), *(where.mounts if env.uses_daemon else ()))
    gone = _left_over(container, mounts, elsewhere)
    with_cli = _cli(container, found, settings)
    return Client(
        name=container["name"],
        variables=env.variables,
        removed=env.removed,
        mounts=(*mounts, *with_cli.mounts),
        replacements=(*_replacements(found, settings.mode), *gone, *with_cli.gone),
        socket_paths=tuple(one.mount["mountPath"] for one in filter(_is_socket, found)),
        uses_socket=uses_socket or (env.uses_daemon and where.docker_host == endpoint.UNIX_HOST),
        kept_host=env.kept,
        warnings=(*env.warnings, *_mount_warnings(container, found, settings.mode), *with_cli.told),
    )


def _is_socket(node_mount: NodeMount) -> bool:
    return node_mount.kind is Kind.SOCKET


class _Cli(NamedTuple):
    mounts: tuple[VolumeMount, ...] = ()
    gone: tuple[Replacement, ...] = ()
    told: tuple[Finding, ...] = ()


def _cli(container: Container, found: Iterable[NodeMount], settings: Settings) -> _Cli:
    """The docker CLI that the container is to have, or what an earlier pass has left of one; a warning."""
    mounts: tuple[VolumeMount, ...] = ()
    told = None
    if settings.cli and settings.mode is Mode.SIDECAR:
        replaced = {one.mount["mountPath"] for one in found if one.kind is Kind.CLI}
        mounts, told = cli.mounts(container, replaced)
    if mounts:
        return _Cli(mounts)
    gone = (Replacement(at, mount["name"], None) for at, mount in cli.left_over(container))
    return _Cli((), tuple(gone), () if told is None else (told,))


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
        if not names.is_dinps_volume(mount["name"]):
            continue
        one = mount["name"], pods.clean_path(mount["mountPath"])
        if one not in kept and (one in made or mount["name"].startswith(names.SHARE_PREFIX)):
            yield Replacement(at, mount["name"], None)


def _replacements(found: Iterable[NodeMount], mode: Mode) -> Iterator[Replacement]:
    for node_mount in found:
        if node_mount.kind in _MIGRATED:
            new = socket_mounts.becomes(node_mount, mode)
            yield Replacement(node_mount.at, node_mount.mount["name"], new)


def _mount_warnings(
    container: Container, found: Sequence[NodeMount], mode: Mode
) -> Iterator[Finding]:
    for node_mount in found:
        blanks = node_mount.blanks()
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
    yield from _addresses(container, found, mode)


def _addresses(container: Container, found: Sequence[NodeMount], mode: Mode) -> Iterator[Finding]:
    """Warn where the container has written the path of a socket that is not the daemon's."""
    kinds = {Kind.RUN_DIRECTORY, *([Kind.SOCKET] if mode is Mode.SERVICE else ())}
    if not any(node_mount.kind in kinds for node_mount in found):
        return
    paths: dict[Kind, set[str]] = {kind: set() for kind in Kind}
    for node_mount in found:
        paths[node_mount.kind].add(pods.clean_path(node_mount.mount["mountPath"]))
    directories = Trees(paths[Kind.RUN_DIRECTORY])
    served = {*paths[Kind.SOCKET], *socket_mounts.migrated_paths(container)}
    sockets = dict.fromkeys(["docker.sock", *(path.rpartition("/")[2] for path in sorted(served))])
    for what, path in socket_addresses.written(container, sockets):
        blanks = {"container": container["name"], "what": what, "path": path}
        if path in served:
            if mode is Mode.SERVICE:
                yield Reason.SOCKET_ADDRESS.say(**blanks, where="where no socket is any more")
        elif path.endswith("/docker.sock") and directories.hold(path):
            yield Reason.SOCKET_ADDRESS.say(**blanks, where="in a directory of the node's")
