"""Everything that is asked of a Pod's daemon: annotation over config file over default, one value.

Nobody below reads the config file beside it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from webhook.asking import storage
from webhook.asking.config import (
    AddressPool,
    Config,
    Daemonset,
    FromSecret,
    Resources,
    ResourcesOrClient,
    Service,
    Sidecar,
    Transport,
    forbids_mount,
)
from webhook.asking.rules import Mode
from webhook.asking.storage import Storage


class Share(msgspec.Struct, frozen=True):
    """A path that clients and daemon share; `seed`: first copy what the client's image has."""

    path: str
    seed: bool


class DaemonConfig(msgspec.Struct, frozen=True):
    """The ConfigMap with daemon.json and *.crt; `optional`: it may be missing."""

    name: str
    optional: bool


class Settings(msgspec.Struct, frozen=True):
    """Fields are those of the config file's `sidecar`, `daemonset` and `service`, and the annotations'."""

    mode: Mode
    # What annotations may say, too.
    transport: Transport
    rootless: bool
    image: str
    # Of the daemon; beside `client`, where no client has any.
    requests: Resources
    limits: Resources
    storage: Storage
    registry_mirrors: tuple[str, ...]
    insecure_registries: tuple[str, ...]
    daemon_config: DaemonConfig | None
    cli: bool  # the docker CLI in the clients
    # What only the config file says.
    default_image: str  # `sidecar.image`; shared modes take the docker CLI out of it
    rootless_image: str
    allowed_images: tuple[str, ...]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"]
    image_pull_secret: str | None
    limit_range_limits: Resources
    ephemeral_storage_limit: str
    daemon_config_keys: tuple[str, ...] | None
    bip: str
    default_address_pools: tuple[AddressPool, ...]
    proxy: dict[Literal["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"], str | FromSecret] | None
    socket_group: int
    certificate_authorities: str | None
    unprivileged_runtime_classes: tuple[str, ...]
    startup_seconds: int
    daemonset: Daemonset
    service: Service
    infrastructure_containers: tuple[str, ...]
    client_tls_secret: str
    # Whether the daemon has those of its clients.
    client_requests: bool = False
    client_limits: bool = False
    # What only annotations say.
    containers: tuple[str, ...] | None = None  # None: all eligible ones
    share: tuple[Share, ...] = ()
    dockerd_args: tuple[str, ...] = ()
    # Whether it is the annotations that say it.
    asks_requests: bool = False  # as a list
    asks_resources: bool = False  # requests or limits
    asks_image: bool = False

    def forbids_mount_at(self, path: str) -> bool:
        """Whether a mount at this clean path would configure the daemon, which no Pod may here."""
        return forbids_mount(self.daemon_config_keys, path)


# Fields that are the config file's as they are.
_OF_SIDECAR: Final = tuple(
    name
    for name in Sidecar.__struct_fields__
    if name in Settings.__struct_fields__ and name not in {"image", "storage", "daemon_config"}
)
_OF_FILE: Final = tuple(
    name for name in Config.__struct_fields__ if name in Settings.__struct_fields__
)


def over_defaults(asked: dict[str, object], mode: Mode, config: Config) -> Settings:
    """Lay what the annotations ask, by field, over what the config file says."""
    sidecar = config.sidecar
    rootless = bool(asked.get("rootless", sidecar.rootless))
    name = sidecar.daemon_config
    said: dict[str, Any] = {
        **{field: getattr(sidecar, field) for field in _OF_SIDECAR},
        **{field: getattr(config, field) for field in _OF_FILE},
        "default_image": sidecar.image,
        "image": sidecar.rootless_image if rootless else sidecar.image,
        "storage": storage.parse(sidecar.storage),
        "daemon_config": DaemonConfig(name, optional=True) if name else None,
        **asked,
    }
    for field in ("requests", "limits"):
        file = getattr(sidecar, field)
        said[f"client_{field}"] = said[field] == "client"
        said[field] = _amounts(said[field], getattr(_DEFAULTS, field) if file == "client" else file)
    return Settings(
        mode=mode,
        asks_requests=asked.get("requests", "client") != "client",
        asks_resources=not asked.keys().isdisjoint({"requests", "limits"}),
        asks_image="image" in asked,
        **said,
    )


_DEFAULTS: Final = Sidecar()


def _amounts(said: ResourcesOrClient, file: Resources) -> Resources:
    """What is said over what the file has, resource by resource."""
    return file if said == "client" else {**file, **said}
