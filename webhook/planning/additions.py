"""The Pod's side of its daemon: volumes, init containers, group, and what the sidecar gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse

import msgspec

from webhook import names
from webhook.asking.rules import Mode
from webhook.asking.settings import Settings, Share
from webhook.finding import node_docker
from webhook.finding.found import Found
from webhook.planning import (
    bind_mounts,
    proxy,
    renewal,
    resources,
    share,
    shared_daemon,
    sidecar,
    socket_mounts,
)
from webhook.planning.clients import Client
from webhook.pods import image
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, Resources, Trees, Volume, VolumeMount
from webhook.reasons import Finding, Reason


class Additions(msgspec.Struct, frozen=True):
    """What the Pod gets beside its client containers' edits."""

    volumes: tuple[Volume, ...] = ()
    init_containers: tuple[Container, ...] = ()  # in the order in which they start
    renews: bool = False  # an earlier dinp-dind or dinp-cli: what is dinp's beside it and not here is left over
    supplemental_group: int | None = None
    image_pull_secret: str | None = None
    warnings: tuple[Finding, ...] = ()


def known_volumes(settings: Settings) -> tuple[Volume, ...]:
    """Every volume that this pass may add, or an earlier one of the same settings has added."""
    if settings.mode is Mode.SIDECAR:
        return (*sidecar.volumes(settings), *share.volumes(settings.share))
    return tuple(shared_daemon.volumes(names.VOLUMES, settings))


def additions(
    pod: Pod, found: Found, clients: Sequence[Client], settings: Settings
) -> Additions | Finding:
    """Decide, or say which annotation contradicts which."""
    if settings.mode is Mode.SIDECAR:
        return _sidecar(pod, found, clients, settings)
    return _shared(pod, found, clients, settings)


def _shared(pod: Pod, found: Found, clients: Sequence[Client], settings: Settings) -> Additions:
    used = {mount["name"] for client in clients for mount in _new_mounts(client)}
    init_containers: tuple[Container, ...] = ()
    there = {container["name"] for container in pod["spec"].get("initContainers") or ()}
    everyone = pods.containers(pod)
    if names.CLI in used | _mounted(filterfalse(_is_dinps, everyone)):
        cli = shared_daemon.cli_container(settings, found.default_container)
        init_containers = (*_kept(pod, found, [cli]),)
    uses_socket = any(client.uses_socket for client in clients)
    return Additions(
        volumes=tuple(shared_daemon.volumes(used | _mounted(init_containers), settings)),
        init_containers=init_containers,
        # One of that name that nobody needs is none of dinp's: policies may admit it by its name.
        renews=names.CLI_CONTAINER in there,
        # The DaemonSet's socket has the group of the dind image, whatever the Pod's fsGroup.
        supplemental_group=settings.socket_group if uses_socket else None,
        image_pull_secret=settings.image_pull_secret if init_containers else None,
    )


def _is_dinps(container: Container) -> bool:
    return names.is_dinps_container(container["name"])


def _new_mounts(client: Client) -> Iterator[VolumeMount]:
    yield from client.mounts
    for replacement in client.replacements:
        if replacement.new is not None:
            yield replacement.new


def _sidecar(
    pod: Pod, found: Found, clients: Sequence[Client], settings: Settings
) -> Additions | Finding:
    by_name = {container["name"]: container for container in pods.containers(pod)}
    containers = [by_name[client.name] for client in clients]
    users = _users(pod, containers)
    asked = resources.daemon_resources(pod, settings, users)
    if isinstance(asked, Finding):
        return asked
    mirrored, warnings = bind_mounts.mirror(pod, containers, found, settings)
    mirrored = (*mirrored, *share.mounts(settings.share))
    variables, proxy_warnings = proxy.proxy(found.default_container, settings)
    if found.dind is not None:
        asked = _resources_in_place(found.dind, asked, settings)
    dind = sidecar.container(pod, settings, resources=asked, mirrored=mirrored, proxy=variables)
    if found.dind is None:
        dind = sidecar.with_links(dind, _links(pod, clients, pods.mounts(dind), settings))
        told = (
            *(resources.nothing_to_take(settings, users) if asked else ()),
            *filter(None, [resources.qos_changed(pod, asked)]),
        )
    else:
        renewed = _renewed_dind(pod, found.dind, dind, found, clients, settings)
        if isinstance(renewed, Finding):
            return renewed
        dind, told = renewed, tuple(_told_of_renewal(found, found.dind, renewed, settings))
    seeds = _seeds(pod, found, settings.share, containers)
    if isinstance(seeds, Finding):
        return seeds
    return Additions(
        volumes=known_volumes(settings),
        init_containers=(dind, *seeds),
        renews=found.dind is not None,
        supplemental_group=_group(pod, settings, clients),
        image_pull_secret=settings.image_pull_secret,
        warnings=(*warnings, *proxy_warnings, *told),
    )


def _users(pod: Pod, clients: Sequence[Container]) -> list[Container]:
    """The clients of this pass and of earlier ones: under the migrate label they are others."""
    chosen = {container["name"] for container in clients}
    return [
        container
        for container in pods.containers(pod)
        if container["name"] in chosen or node_docker.is_migrated(container)
    ]


def _resources_in_place(
    existing: Container, asked: Resources | None, settings: Settings
) -> Resources | None:
    """What the Pod's annotations ask, else what is there: LimitRanger, VPA or a policy set it."""
    there = existing.get("resources")
    return asked if not there or (settings.asks_resources and asked is not None) else there


def _told_of_renewal(
    found: Found, existing: Container, dind: Container, settings: Settings
) -> Iterator[Finding]:
    lost = renewal.lost(existing, dind, found.credentials)
    if lost is not None:
        yield lost
    there, asked = dind.get("image") or "", settings.image
    # In another registry, or with its digest, it is the one that was asked for.
    if settings.asks_image and _name_and_tag(there) != _name_and_tag(asked):
        yield Reason.IMAGE_IN_PLACE.say(container=dind["name"], there=there, asked=asked)


def _name_and_tag(text: str) -> tuple[str, str | None]:
    found = image.split(text)
    return found.path.rpartition("/")[2], found.tag


def _renewed_dind(
    pod: Pod,
    existing: Container,
    made: Container,
    found: Found,
    clients: Sequence[Client],
    settings: Settings,
) -> Container | Finding:
    """The dinp-dind that is there as dinp makes it, or why its image denies the Pod."""
    stays = sidecar.image_in_place(existing, settings)
    if isinstance(stays, Finding):
        return stays
    there = existing if stays == existing.get("image") else {**existing, "image": stays}
    there = bind_mounts.without_forbidden(there, settings)
    mounts = renewal.mounts(there, made, found.credentials)
    made = sidecar.with_links(made, _links(pod, clients, mounts, settings))
    return renewal.renewed(there, made, found.credentials)


def _mounted(containers: Iterable[Container]) -> set[str]:
    """The volumes that they mount."""
    return {mount["name"] for container in containers for mount in pods.mounts(container)}


def _kept(pod: Pod, found: Found, wanted: Iterable[Container]) -> Iterator[Container]:
    """`wanted`, or the init containers of an earlier pass made anew."""
    there: dict[str, Container] = {}
    for container in pod["spec"].get("initContainers") or ():
        there.setdefault(container["name"], container)
    for one in wanted:
        earlier = there.get(one["name"])
        yield one if earlier is None else renewal.renewed(earlier, one, found.credentials)


def _seeds(
    pod: Pod, found: Found, shares: Sequence[Share], clients: Sequence[Container]
) -> Iterable[Container] | Finding:
    if not any(one.seed for one in shares):
        return ()
    source = _seed_source(pod, found, clients)
    return share.excess(source) or _kept(pod, found, share.seed_containers(shares, source))


def _seed_source(pod: Pod, found: Found, clients: Sequence[Container]) -> Container:
    """The client whose image fills the shares: the default container, else the first that stays."""
    main = {container["name"] for container in pod["spec"]["containers"]}
    staying = [container for container in clients if container["name"] in main]
    default = found.default_container
    return next((one for one in staying if one is default), (*staying, *clients)[0])


def _links(
    pod: Pod, clients: Iterable[Client], mounts: Iterable[VolumeMount], settings: Settings
) -> list[str]:
    """Where dind.sh puts a link to the socket: each path of this pass and of earlier ones.

    `mounts` are the daemon's.

    Not inside a mirrored mount: the link would lie in the user's volume, under the very
    path where the runtime mounts the client's socket. Nor at a path of the system's: it would
    hide what the daemon's container needs there.
    """
    migrating = {client.name: set(client.socket_paths) for client in clients}
    paths = [
        path
        for container in pods.containers(pod)
        if not _is_dinps(container)
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
        if path not in node_docker.DEFAULT_PATHS
        and "\n" not in path
        and bind_mounts.may_be_at(path, rootless=settings.rootless)
        and not trees.hold(path)
    ]


def _is_at_its_own_path(mount: VolumeMount) -> bool:
    """Whether it is dinp's, and no client has it at the same path."""
    name = mount["name"]
    return names.is_dinps_volume(name) and not name.startswith(names.SHARE_PREFIX)


def _group(pod: Pod, settings: Settings, clients: Iterable[Client]) -> int | None:
    """A supplementary group for clients that are not root; never fsGroup, which would chown."""
    if not any(client.uses_socket for client in clients):
        return None
    group = sidecar.socket_group(pod, settings)
    fs_group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if group == fs_group else group
