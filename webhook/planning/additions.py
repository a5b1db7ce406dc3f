"""The Pod's side of its daemon: volumes, init containers, group, and what the sidecar gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from webhook import names
from webhook.asking.config import Config, FromSecret
from webhook.asking.rules import Mode
from webhook.asking.settings import Settings, Share
from webhook.finding import node_docker
from webhook.finding.node_docker import NodeMount
from webhook.planning import (
    bind_mounts,
    endpoint,
    renewal,
    resources,
    share,
    shared_daemon,
    sidecar,
    socket_mounts,
)
from webhook.planning.client_env import NO_PROXY_VARIABLES
from webhook.planning.clients import Client
from webhook.pods import image
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar, Pod, Resources, Trees, Volume, VolumeMount
from webhook.reasons import Finding, Reason

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
    renews: bool = False  # an earlier dinp-dind: what is dinp's beside it and not here is left over
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
        cli = shared_daemon.cli_container(config, pods.default_container(pod))
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
    proxy, proxy_warnings = _proxy(pod, config)
    existing = sidecar.in_place(pod)
    if existing is not None:
        asked = _resources_in_place(existing, asked, settings)
    dind = sidecar.container(pod, settings, config, resources=asked, mirrored=mirrored, proxy=proxy)
    if existing is None:
        dind = sidecar.with_links(dind, _links(pod, clients, pods.mounts(dind)))
        told = tuple(filter(None, [resources.qos_changed(pod, asked)]))
    else:
        renewed = _renewed_dind(pod, existing, dind, clients, settings, config)
        if isinstance(renewed, Finding):
            return renewed
        dind, told = renewed, tuple(_told_of_renewal(pod, existing, renewed, settings))
    seeds = _seeds(pod, settings.share, containers)
    if isinstance(seeds, Finding):
        return seeds
    known = (*sidecar.volumes(settings), *share.volumes(settings.share))
    return Daemon(
        volumes=known,
        known_volumes=known,
        init_containers=(dind, *seeds),
        renews=existing is not None,
        supplemental_group=_group(pod, settings, config, clients),
        warnings=(*warnings, *proxy_warnings, *told),
    )


def _resources_in_place(
    existing: Container, asked: Resources | None, settings: Settings
) -> Resources | None:
    """What the Pod's annotations ask, else what is there: LimitRanger, VPA or a policy set it."""
    there = existing.get("resources")
    return asked if not there or (settings.own_resources and asked is not None) else there


def _told_of_renewal(
    pod: Pod, existing: Container, dind: Container, settings: Settings
) -> Iterator[Finding]:
    lost = renewal.lost(existing, dind, bind_mounts.credentials(pod))
    if lost is not None:
        yield lost
    there, asked = dind.get("image") or "", settings.image
    # In another registry, or with its digest, it is the one that was asked for.
    if settings.own_image and _name_and_tag(there) != _name_and_tag(asked):
        yield Reason.IMAGE_IN_PLACE.say(container=dind["name"], there=there, asked=asked)


def _name_and_tag(text: str) -> tuple[str, str | None]:
    found = image.split(text)
    return found.path.rpartition("/")[2], found.tag


def _renewed_dind(
    pod: Pod,
    existing: Container,
    made: Container,
    clients: Sequence[Client],
    settings: Settings,
    config: Config,
) -> Container | Finding:
    """The dinp-dind that is there as dinp makes it, or why its image denies the Pod."""
    stays = sidecar.image_in_place(existing, settings, config)
    if isinstance(stays, Finding):
        return stays
    there = existing if stays == existing.get("image") else {**existing, "image": stays}
    there = bind_mounts.without_forbidden(there, config)
    mounts = renewal.mounts(there, made, bind_mounts.credentials(pod))
    return _renewed(there, sidecar.with_links(made, _links(pod, clients, mounts)), pod)


def _renewed(there: Container, made: Container, pod: Pod) -> Container:
    return renewal.renewed(there, made, bind_mounts.credentials(pod))


def _mounted(containers: Iterable[Container]) -> set[str]:
    """The volumes that they mount."""
    return {mount["name"] for container in containers for mount in pods.mounts(container)}


def _kept(pod: Pod, wanted: Iterable[Container]) -> Iterator[Container]:
    """`wanted`, or the init containers of an earlier pass made anew."""
    there: dict[str, Container] = {}
    for container in pod["spec"].get("initContainers") or ():
        there.setdefault(container["name"], container)
    for one in wanted:
        earlier = there.get(one["name"])
        yield one if earlier is None else _renewed(earlier, one, pod)


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
    default = pods.default_container(pod)
    return next((one for one in staying if one is default), (*staying, *clients)[0])


def _links(pod: Pod, clients: Iterable[Client], mounts: Iterable[VolumeMount]) -> list[str]:
    """Where dind.sh puts a link to the socket: each path of this pass and of earlier ones.

    `mounts` are the daemon's.

    Not inside a mirrored mount: the link would lie in the user's volume, under the very
    path where the runtime mounts the client's socket.
    """
    migrating = {client.name: set(client.socket_paths) for client in clients}
    paths = [
        path
        for container in pods.containers(pod)
        if not names.is_own_container(container["name"])
        for path in socket_mounts.migrated_paths(container, migrating.get(container["name"], ()))
    ]
    if not paths:
        return []
    mirrored = (mount for mount in mounts if not _is_at_its_own_path(mount))
    trees = Trees(pods.clean_path(mount["mountPath"]) for mount in mirrored)
    return [
        path
        for path in dict.fromkeys(paths)
        # A line break would be two links: dind.sh reads one a line.
        if path not in node_docker.DEFAULT_PATHS and "\n" not in path and not trees.hold(path)
    ]


def _is_at_its_own_path(mount: VolumeMount) -> bool:
    """Whether it is dinp's, and no client has it at the same path."""
    name = mount["name"]
    return names.is_own_volume(name) and not name.startswith(names.SHARE_PREFIX)


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
    container = pods.default_container(pod)
    declared = {variable["name"]: variable for variable in pods.env(container)}  # the last counts
    copied: list[EnvVar] = []
    warnings = []
    for name in _PROXY_VARIABLES:
        variable = declared.get(name)
        if variable is None:
            continue
        if "$(" in (variable.get("value") or ""):
            warnings.append(Reason.PROXY_REFERENCE.say(name=name, container=container["name"]))
        elif (copy := _copied(variable)) is not None:
            copied.append(copy)
    return tuple(copied), tuple(warnings)


def _proxy_variable(name: str, value: str | FromSecret) -> EnvVar:
    if isinstance(value, str):
        return {"name": name, "value": pods.literal(value)}
    return {"name": name, "valueFrom": msgspec.to_builtins(value)}


def _copied(variable: EnvVar) -> EnvVar | None:
    """Without the host that an earlier pass has added for the client; None where no more is left.

    Nothing is lost where the user wrote it: Go asks no proxy for localhost.
    """
    name, value = variable["name"], variable.get("value") or ""
    if value_from := variable.get("valueFrom"):
        return {"name": name, "valueFrom": value_from}
    if name in NO_PROXY_VARIABLES:
        if value == endpoint.LOCALHOST:
            return None
        value = value.removesuffix(f",{endpoint.LOCALHOST}")
    return {"name": name, "value": value}
