"""What a Pod's annotations and the config file ask of the daemon."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import cast

from webhook.asking import storage
from webhook.asking.config import Config, Resources, Transport
from webhook.asking.storage import Storage


@dataclass(frozen=True, slots=True)
class Share:
    """A path that clients and daemon share; `seed`: first copy what the client's image has."""

    path: str
    seed: bool


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """The ConfigMap with daemon.json and *.crt; `optional`: it may be missing."""

    name: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """What the annotations say, over what the config file says."""

    transport: Transport
    rootless: bool
    image: str
    requests: Resources
    limits: Resources
    storage: Storage
    registry_mirrors: tuple[str, ...]
    insecure_registries: tuple[str, ...]
    daemon_config: DaemonConfig | None
    containers: tuple[str, ...] | None = None  # None: all eligible ones
    share: tuple[Share, ...] = ()
    dockerd_args: tuple[str, ...] = ()
    own_requests: bool = False  # requests come from the annotation
    own_resources: bool = False  # requests or limits do
    own_image: bool = False  # the image does
    former: Transport | None = (
        None  # of a dinp-dind that is there already, whose clients may use it
    )


def over_defaults(asked: dict[str, object], config: Config) -> Settings:
    """Lay what the annotations ask, by field, over what the config file says."""
    sidecar = config.sidecar
    rootless = bool(asked.get("rootless", sidecar.rootless))
    optional = DaemonConfig(sidecar.daemon_config, optional=True) if sidecar.daemon_config else None
    defaults = Settings(
        transport=sidecar.transport,
        rootless=rootless,
        image=sidecar.rootless_image if rootless else sidecar.image,
        requests=sidecar.requests,
        limits=sidecar.limits,
        storage=storage.parse(sidecar.storage),
        registry_mirrors=sidecar.registry_mirrors,
        insecure_registries=sidecar.insecure_registries,
        daemon_config=optional,
        own_requests="requests" in asked,
        own_resources=not asked.keys().isdisjoint({"requests", "limits"}),
        own_image="image" in asked,
    )
    if not asked:
        return defaults
    for field in ("requests", "limits"):
        if field in asked:
            merged = {**getattr(defaults, field), **cast("Resources", asked[field])}
            asked[field] = merged
    return dataclasses.replace(defaults, **asked)  # type: ignore[arg-type]  # rows name real fields
