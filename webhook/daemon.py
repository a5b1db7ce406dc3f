"""The Pod's side of its daemon: volumes, init containers, group, and what the sidecar gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from webhook import (
    bind_mounts,
    docker_socket,
    names,
    obstacles,
    resources,
    share,
    shared_daemon,
    sidecar,
)
from webhook import pod as pods
from webhook.client_env import NO_PROXY_VARIABLES
from webhook.clients import Client
from webhook.config import Config, FromSecret
from webhook.docker_socket import NodeMount
from webhook.pod import Container, EnvVar, Pod, Trees, Volume, VolumeMount
from webhook.reasons import Finding, Reason
from webhook.rules import Mode
from webhook.settings import Settings, Share

_PROXY_VARIABLES: Final = (
    *("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"),
    *NO_PROXY_VARIABLES,
)


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the Pod gets beside its client containers, but for the socket's links."""

    volumes: tuple[Volume, ...] = ()
    known_volumes: tuple[Volume, ...] = ()  # what an earlier pass may have added, too
    init_containers: tuple[Container, ...] = ()  # in the order in which they start
    supplemental_group: int | None = None
    warnings: tuple[Finding, ...] = ()


def daemon(
    pod: Pod,
    clients: Sequence[Client],
    node_mounts: Sequence[NodeMount],
    mode: Mode,
    settings: Settings,
    config: Config,
) -> Daemon | Finding:
    """Decide, or say which annotation contradicts which."""
    if mode is Mode.SIDECAR:
        return _sidecar(pod, clients, node_mounts, settings, config)
    return _shared(pod, clients, config)


def _shared(pod: Pod, clients: Sequence[Client], config: Config) -> Daemon:
    used = {mount["name"] for client in clients for mount in _new_mounts(client)}
    init_containers: tuple[Container, ...] = ()
    if names.CLI in used:
        cli = shared_daemon.cli_container(config, bind_mounts.default_container(pod))
        init_containers = (*_kept(pod, [cli]),)
    uses_socket = any(client.uses_socket for client in clients)
    return Daemon(
        volumes=tuple(shared_daemon.volumes(used | _mounted(init_containers), config)),
        known_volumes=tuple(shared_daemon.volumes(names.VOLUMES, config)),
        init_containers=init_containers,
        # The DaemonSet's socket has the group of the dind image, whatever the Pod's fsGroup.
        supplemental_group=config.sidecar.socket_group if uses_socket else None,
    )


def _new_mounts(client: Client) -> Iterator[VolumeMount]:
    yield from client.mounts
    for replacement in client.replacements:
        if replacement.new is not None:
            yield replacement.new


def _sidecar(
    pod: Pod,
    clients: Sequence[Client],
    node_mounts: Sequence[NodeMount],
    settings: Settings,
    config: Config,
) -> Daemon | Finding:
    asked = resources.daemon_resources(pod, settings, config)
    if isinstance(asked, Finding):
        return asked
    by_name = {container["name"]: container for container in pods.containers(pod)}
    containers = [by_name[client.name] for client in clients]
    mirrored, warnings = bind_mounts.mirror(pod, containers, node_mounts, config)
    mirrored = (*mirrored, *share.mounts(settings.share))
    existing = obstacles.existing_dind(pod)
    if existing is not None:
        dind = sidecar.merged(existing, mirrored)
    else:
        proxy, proxy_warnings = _proxy(pod, config)
        dind = sidecar.container(
            pod, settings, config, resources=asked, mirrored=mirrored, proxy=proxy
        )
        changed = resources.qos_changed(pod, asked)
        warnings = (*warnings, *proxy_warnings, *((changed,) if changed else ()))
    seeds = _seeds(pod, settings.share, containers)
    if isinstance(seeds, Finding):
        return seeds
    init_containers = (sidecar.with_links(dind, _links(containers, clients, mirrored)), *seeds)
    known = (*sidecar.volumes(settings), *share.volumes(settings.share))
    used = _mounted(init_containers)
    return Daemon(
        volumes=tuple(volume for volume in known if volume["name"] in used),
        known_volumes=known,
        init_containers=init_containers,
        supplemental_group=_group(pod, settings, config, clients),
        warnings=warnings,
    )


def _mounted(containers: Iterable[Container]) -> set[str]:
    """The volumes that they mount: of ours, one that an earlier version has made may lack some."""
    return {mount["name"] for container in containers for mount in pods.mounts(container)}


def _kept(pod: Pod, wanted: Iterable[Container]) -> Iterator[Container]:
    """The init containers of an earlier pass, which another webhook may have changed, or `wanted`."""
    there: dict[str, Container] = {}
    for container in pod["spec"].get("initContainers") or ():
        there.setdefault(container["name"], container)
    return (there.get(one["name"], one) for one in wanted)


def _seeds(
    pod: Pod, shares: Sequence[Share], clients: Sequence[Container]
) -> Iterable[Container] | Finding:
    if not any(one.seed for one in shares):
        return ()
    source = _seed_source(pod, clients)
    return share.excess(source) or _kept(pod, share.seed_containers(shares, source))


def _seed_source(pod: Pod, clients: Sequence[Container]) -> Container:
    """The client whose image fills the shares: the default container, else the first that stays."""
    main = set(map(id, pod["spec"]["containers"]))
    staying = [container for container in clients if id(container) in main]
    default = bind_mounts.default_container(pod)
    return next((one for one in staying if one is default), (*staying, *clients)[0])


def _links(
    containers: Iterable[Container], clients: Iterable[Client], mirrored: Sequence[VolumeMount]
) -> list[str]:
    """Where dind.sh puts a link to the socket.

    Not inside a mirrored mount: the link would lie in the user's volume, under the very
    path where the runtime mounts the client's socket.
    """
    paths = [pods.clean_path(path) for client in clients for path in client.socket_paths]
    paths += [path for container in containers for path in docker_socket.migrated_paths(container)]
    if not paths:
        return []
    trees = Trees(mount["mountPath"] for mount in mirrored)
    return [
        path
        for path in dict.fromkeys(paths)
        # A line break would be two links: dind.sh reads one a line.
        if path not in docker_socket.DEFAULT_PATHS and "\n" not in path and not trees.hold(path)
    ]


def _group(pod: Pod, settings: Settings, config: Config, clients: Iterable[Client]) -> int | None:
    """A supplementary group for clients that are not root; never fsGroup, which would chown."""
    if not any(client.uses_socket for client in clients):
        return None
    group = sidecar.socket_group(pod, settings, config)
    fs_group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if group == fs_group else group


def _proxy(pod: Pod, config: Config) -> tuple[tuple[EnvVar, ...], tuple[Finding, ...]]:
    """Pulls go where the node's went: by the config file's proxy, else the default container's."""
    if config.sidecar.proxy is not None:
        variables = tuple(
            _proxy_variable(variant, value)
            for name, value in config.sidecar.proxy.items()
            for variant in (name, name.lower())
        )
        return variables, ()
    container = bind_mounts.default_container(pod)
    declared = {variable["name"]: variable for variable in pods.env(container)}  # the last counts
    copied: list[EnvVar] = []
    warnings = []
    for name in _PROXY_VARIABLES:
        variable = declared.get(name)
        if variable is None:
            continue
        if "$(" in (variable.get("value") or ""):
            warnings.append(Reason.PROXY_REFERENCE.say(name=name, container=container["name"]))
        else:
            copied.append(_copy(variable))
    return tuple(copied), tuple(warnings)


def _proxy_variable(name: str, value: str | FromSecret) -> EnvVar:
    if isinstance(value, str):
        return {"name": name, "value": pods.literal(value)}
    return {"name": name, "valueFrom": msgspec.to_builtins(value)}


def _copy(variable: EnvVar) -> EnvVar:
    copied: EnvVar = {"name": variable["name"]}
    if value_from := variable.get("valueFrom"):
        copied["valueFrom"] = value_from
    else:
        copied["value"] = variable.get("value") or ""
    return copied
