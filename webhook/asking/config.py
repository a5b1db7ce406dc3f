"""The config file: what is injected, as strict and frozen Structs.

Keys are camelCase as in Kubernetes. An unknown key or a wrong type is a ConfigError that
names the YAML path. Precedence: annotation over config file over the defaults here.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import msgspec
import yaml

from webhook import names
from webhook.asking import storage
from webhook.asking.controllers import CONTROLLERS
from webhook.asking.watchers import WATCHERS
from webhook.pods import image, pod, quantity
from webhook.pods.selectors import PodSelector, Strict

Resources = dict[str, str]
Transport = Literal["tcp", "tls", "unix"]
Gid = Annotated[int, msgspec.Meta(ge=0, le=2147483647)]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]
# A DNS subdomain (RFC 1123), as the names of objects are.
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
# A key of daemon.json; dind.sh relies on these characters.
DaemonKey = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]+$")]


class ConfigError(Exception):
    """The config file cannot be used; the message names the YAML path. Exit code 2."""


class AddressPool(Strict, frozen=True):
    """One `--default-address-pool`: networks of `/size` are cut out of `base`."""

    base: str = "198.19.0.0/16"
    size: Annotated[int, msgspec.Meta(ge=1, le=128)] = 24


class SecretKeySelector(Strict, frozen=True):
    """As in core/v1: a key of a Secret in the Pod's namespace."""

    name: Name
    key: NonEmpty
    optional: bool = False  # without it, or without the Secret, the Pod does not start


class FromSecret(Strict, frozen=True):
    """A variable's source, as in core/v1."""

    secret_key_ref: SecretKeySelector


class Sidecar(Strict, frozen=True):
    """Sidecar mode: the dind container and what it may use."""

    image: str = "docker:29.7.2-dind"
    rootless_image: str = "docker:29.7.2-dind-rootless"
    # What dinp.io/image may ask for: shell patterns, as image.allowed has them.
    allowed_images: tuple[str, ...] = ("docker:*-dind", "docker:*-dind-rootless")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    # A Secret of type kubernetes.io/dockerconfigjson in the Pod's namespace.
    image_pull_secret: Name | None = None
    transport: Transport = "tcp"
    rootless: bool = False
    requests: Resources = msgspec.field(
        default_factory=lambda: {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"}
    )
    limits: Resources = msgspec.field(default_factory=dict)
    # Under a LimitRange: without limits of its own the daemon would get the default ones.
    limit_range_limits: Resources = msgspec.field(
        default_factory=lambda: {"cpu": "2", "memory": "4Gi"}
    )
    # Where another container limits ephemeral-storage: the sum bounds the Pod, images included.
    ephemeral_storage_limit: str = "20Gi"
    # As in dinp.io/storage.
    storage: NonEmpty = "emptydir"
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    # A ConfigMap with daemon.json and *.crt; as a default it may be missing.
    daemon_config: Name | None = None
    # What daemon.json may set, by dinp.io/daemon-config or a mount at /etc/docker. None: any key;
    # none at all: neither may a Pod bring. dind.sh checks it, as a ConfigMap may change any time.
    daemon_config_keys: tuple[DaemonKey, ...] | None = None
    # 198.18.0.0/15 is for benchmarks (RFC 2544): no cloud gives it to Pods or Services,
    # unlike Docker's own 172.17 to 172.31 and 192.168.
    bip: str = "198.18.0.1/24"
    default_address_pools: tuple[AddressPool, ...] = (AddressPool(),)
    # For the daemon's pulls: HTTP_PROXY and the like. None: as in the default container. What stands
    # here is in the spec of each Pod, and told to who sends a review: so no password, but a Secret.
    proxy: dict[Literal["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"], str | FromSecret] | None = None
    # Group of the socket for clients that are not root; 2375 is `docker` in the dind image.
    socket_group: Gid = 2375
    # RuntimeClasses whose containers may run a daemon without being privileged.
    unprivileged_runtime_classes: tuple[str, ...] = ("sysbox-runc",)
    # Seconds for the daemon to start before the kubelet restarts it.
    startup_seconds: Annotated[int, msgspec.Meta(ge=10, le=3600)] = 300


class Daemonset(Strict, frozen=True):
    """Daemonset mode: a daemon on every node."""

    tls: bool = True
    # Of the nodes' addresses; None: as the webhook's own host IP.
    ip_family: Literal["IPv4", "IPv6"] | None = None
    # The daemons run in the host network: published ports are reachable.
    host_network: bool = False
    # Where the daemon's docker.sock lies on the node.
    socket_directory: str = "/run/dinp"


class Service(Strict, frozen=True):
    """Service mode: a StatefulSet behind a Service."""

    tls: bool = True
    name: Name = "dinp-docker"
    namespace: Name = "dinp-daemons"


class Config(Strict, frozen=True):
    """The whole file."""

    sidecar: Sidecar = Sidecar()
    daemonset: Daemonset = Daemonset()
    service: Service = Service()
    # Pods that never get a daemon by namespace default, beside those of controllers.py.
    never_inject: tuple[PodSelector, ...] = ()
    # Programs that watch their node's containers by its socket, beside those of watchers.py.
    node_watchers: tuple[PodSelector, ...] = ()
    # Containers of service meshes and secret injectors: never clients of Docker. Shell patterns.
    infrastructure_containers: tuple[str, ...] = (
        "istio-proxy",
        "istio-init",
        "istio-validation",
        "linkerd-proxy",
        "linkerd-init",
        "linkerd-network-validator",
        "vault-agent",
        "vault-agent-init",
        "cloud-sql-proxy",
    )
    # The Secret with client certificates for shared daemons, in the Pod's namespace.
    client_tls_secret: Name = "dinp-client-tls"  # noqa: S105 - a Secret's name, not a secret


def forbids_mount(daemon_config_keys: tuple[str, ...] | None, path: str) -> bool:
    """Whether a mount at this clean path would configure the daemon, where no Pod may do so."""
    return daemon_config_keys == () and pod.is_within(path, names.DOCKERS_CONFIG)


# PyYAML raises more than its own errors, for values such as 2026-99-99 and !!bool x.
_NO_YAML = (
    *(yaml.YAMLError, ValueError, KeyError, AttributeError, IndexError),
    RecursionError,
)


def parse(text: bytes) -> Config:
    """Parse the config file.

    Raises:
        ConfigError: not YAML, an unknown key, a wrong type or value; names the YAML path.
    """
    try:
        document = yaml.safe_load(text)
    except _NO_YAML as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"not valid YAML: {message}") from error
    try:
        config = msgspec.convert({} if document is None else document, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error
    _check(config)
    return config


def _check(config: Config) -> None:
    """Check what types cannot say."""
    sidecar = config.sidecar
    for name, value in (sidecar.proxy or {}).items():
        _check_proxy(value, f"$.sidecar.proxy[{name!r}]")
    for field in ("requests", "limits", "limitRangeLimits"):
        for resource, value in _resources(sidecar, field).items():
            _check_quantity(value, f"$.sidecar.{field}[{resource!r}]")
    _check_image(sidecar.image, "$.sidecar.image")
    _check_image(sidecar.rootless_image, "$.sidecar.rootlessImage")
    _check_quantity(sidecar.ephemeral_storage_limit, "$.sidecar.ephemeralStorageLimit")
    try:
        storage.parse(sidecar.storage)
    except ValueError as error:
        raise ConfigError(f"{error} - at `$.sidecar.storage`") from error
    _check_network(sidecar.bip, "$.sidecar.bip")
    for at, pool in enumerate(sidecar.default_address_pools):
        prefix = _check_network(pool.base, f"$.sidecar.defaultAddressPools[{at}].base")
        if pool.size < prefix:
            raise ConfigError(
                f"networks of /{pool.size} do not fit into {pool.base}"
                f" - at `$.sidecar.defaultAddressPools[{at}].size`"
            )
    _check_rows(config.never_inject, CONTROLLERS, "$.neverInject")
    _check_rows(config.node_watchers, WATCHERS, "$.nodeWatchers")
    directory = config.daemonset.socket_directory
    if not directory.startswith("/") or pod.clean_path(directory) != directory:
        raise ConfigError(
            f"{directory!r} is not a clean absolute path - at `$.daemonset.socketDirectory`"
        )


def _check_rows(
    rows: tuple[PodSelector, ...], built_in: tuple[PodSelector, ...], path: str
) -> None:
    known = {row.name for row in built_in}
    for at, row in enumerate(rows):
        if not row.enabled and row.name not in known:
            raise ConfigError(
                f"there is no built-in row {row.name!r} to switch off; docs/config.md lists them"
                f" - at `{path}[{at}].name`"
            )
        for number, name in enumerate(row.images):
            if not name or name != name.lower() or name.strip("/") != name or ":" in name:
                raise ConfigError(
                    f"{name!r} is not the end of an image's path, such as traefik or datadog/agent"
                    f" - at `{path}[{at}].images[{number}]`"
                )


def _resources(sidecar: Sidecar, field: str) -> Resources:
    return {
        "requests": sidecar.requests,
        "limits": sidecar.limits,
        "limitRangeLimits": sidecar.limit_range_limits,
    }[field]


def _check_image(value: str, path: str) -> None:
    if image.parse(value) is None:
        raise ConfigError(f"{value!r} is not an image, such as docker:29-dind - at `{path}`")


def _check_proxy(value: str | FromSecret, path: str) -> None:
    if isinstance(value, str) and "@" in value:
        raise ConfigError(
            "a user or password would be in the spec of every Pod that gets a daemon; put the URL into"
            " a Secret of their namespaces, and here {secretKeyRef: {name: …, key: …}}"
            f" - at `{path}`"
        )


def _check_quantity(value: str, path: str) -> None:
    try:
        number = quantity.parse(value)
    except ValueError as error:
        raise ConfigError(f"{error} - at `{path}`") from error
    if number < 0:
        raise ConfigError(f"{value!r} is negative - at `{path}`")


def _check_network(value: str, path: str) -> int:
    """The prefix length of `value`, an address with one."""
    try:
        network = ipaddress.ip_interface(value).network
    except ValueError as error:
        raise ConfigError(f"{error} - at `{path}`") from error
    if not value.endswith(f"/{network.prefixlen}"):
        raise ConfigError(f"{value!r} has no prefix length, such as /24 - at `{path}`")
    return network.prefixlen
