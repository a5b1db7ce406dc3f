"""What finished Pods have left on a shared daemon, and what of it is due to be removed. Pure.

Docker does not say since when something has been unused, so what counts is since when this
process has seen it so, each time that it looked. A keeper that starts again begins again:
that removes later, never too much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

Kind = Literal["container", "volume", "network", "image"]
Object = Mapping[str, Any]

_ENDED: Final = frozenset({"created", "exited", "dead"})
_ANONYMOUS: Final = re.compile(r"[0-9a-f]{64}")
_DOCKERS_OWN: Final = frozenset({"bridge", "host", "none", "ingress", "docker_gwbridge"})
_NO_NAME: Final = frozenset({"<none>:<none>", "<none>@<none>"})


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that is unused. `references` are what it has to be removed by, each by itself."""

    kind: Kind
    id: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the Engine API lists: containers in any state, dangling volumes and networks, images."""

    containers: Sequence[Object]
    volumes: Sequence[Object]
    networks: Sequence[Object]
    images: Sequence[Object]


def unused(listed: Listed) -> list[Leftover]:
    """What is not in use, in the order of removal: a container holds its volumes and its image.

    | object | unused |
    |---|---|
    | container created, exited or dead | yes |
    | container running, paused, restarting, being removed | no |
    | volume, dangling, its name of 64 hexadecimal digits: nobody has named it | yes |
    | volume with a name | never |
    | network, dangling, that no container names, not even one that has ended | yes |
    | network of Docker's own | never |
    | image that no container is of, not even one that has ended | yes |
    """
    return [
        *_containers(listed.containers),
        *_volumes(listed.volumes),
        *_networks(listed.networks, listed.containers),
        *_images(listed.images, listed.containers),
    ]


def _containers(containers: Iterable[Object]) -> Iterable[Leftover]:
    for container in containers:
        if container.get("State") in _ENDED:
            yield Leftover("container", container["Id"], (container["Id"],))


def _volumes(volumes: Iterable[Object]) -> Iterable[Leftover]:
    for volume in volumes:
        if _ANONYMOUS.fullmatch(volume["Name"]):
            yield Leftover("volume", volume["Name"], (volume["Name"],))


def _networks(networks: Iterable[Object], containers: Iterable[Object]) -> Iterable[Leftover]:
    named = {name for container in containers for name in _networks_of(container)}
    for network in networks:
        if network["Name"] not in named | _DOCKERS_OWN and network["Id"] not in named:
            yield Leftover("network", network["Id"], (network["Id"],))


def _networks_of(container: Object) -> Iterable[str]:
    yield (container.get("HostConfig") or {}).get("NetworkMode") or ""
    for name, network in ((container.get("NetworkSettings") or {}).get("Networks") or {}).items():
        yield name
        yield (network or {}).get("NetworkID") or ""


def _images(images: Iterable[Object], containers: Sequence[Object]) -> Iterable[Leftover]:
    # The name that it was started by, too: with containerd's image store an id may be that of
    # the index or of the platform's manifest.
    used = {container.get(key) for container in containers for key in ("ImageID", "Image")}
    for image in images:
        names = [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]
        if used.isdisjoint([image["Id"], *names]):
            yield Leftover("image", image["Id"], _references(image))


def _references(image: Object) -> tuple[str, ...]:
    """Each tag, else each digest, else the id: by its id no image goes that has several names."""
    for key in ("RepoTags", "RepoDigests"):
        names = [name for name in image.get(key) or () if name not in _NO_NAME]
        if names:
            return tuple(names)
    return (image["Id"],)


@dataclass(frozen=True, slots=True)
class Ages:
    """How long something has to have been unused; an image longer, since it costs a pull."""

    container: timedelta = timedelta(hours=1)
    image: timedelta = timedelta(days=7)

    def of(self, kind: Kind) -> timedelta:
        """That of a kind."""
        return self.image if kind == "image" else self.container


@dataclass(frozen=True, slots=True)
class Memory:
    """Since when each thing has been seen unused, as seconds of the monotonic clock."""

    since: Mapping[tuple[Kind, str], float]

    def updated(self, found: Iterable[Leftover], at: float) -> Memory:
        """Add what was found at `at`; what is not among it is used, or gone, and forgotten."""
        keys = [(leftover.kind, leftover.id) for leftover in found]
        return Memory({key: self.since.get(key, at) for key in keys})

    def due(self, found: Iterable[Leftover], at: float, ages: Ages) -> list[Leftover]:
        """Those of `found` that have been unused for their age."""
        return [
            leftover
            for leftover in found
            if at - self.since.get((leftover.kind, leftover.id), at)
            >= ages.of(leftover.kind).total_seconds()
        ]
