"""The config file: what is injected, as strict and frozen Structs.

Keys are camelCase as in Kubernetes. An unknown key or a wrong type is a ConfigError that
names the YAML path. Precedence: annotation over config file over the defaults here.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, TypeVar

import msgspec

from webhook import names
from webhook.asking import config_errors, config_rows, config_values, config_yaml, storage
from webhook.asking.controllers import CONTROLLERS
from webhook.asking.watchers import WATCHERS
from webhook.pods import bounds, pod
from webhook.pods.selectors import PodSelector, Strict

Resources = dict[str, str]
# What each resource is, or `client`: as the clients have it.
ResourcesOrClient = Resources | Literal["client"]
Transport = Literal["tcp", "tls", "unix"]
Gid = Annotated[int, msgspec.Meta(ge=0, le=2147483647)]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]
# A DNS subdomain (RFC 1123), as the names of objects are.
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
# A key of daemon.json; dind.sh relies on these characters.
DaemonKey = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]+$")]


Value = TypeVar("Value")
Result = TypeVar("Result")


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
    requests: ResourcesOrClient = msgspec.field(
        default_factory=lambda: {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"}
    )
    limits: ResourcesOrClient = msgspec.field(default_factory=dict)
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
    # PEM: who every daemon trusts beside the system's. Part of each Pod, so bounded.
    certificate_authorities: str | None = None
    # The docker CLI for clients, as in dinp.io/cli.
    cli: bool = False
    # RuntimeClasses whose containers may run a daemon without being privileged.
    unprivileged_runtime_classes: tuple[Name, ...] = ("sysbox-runc",)
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


class Namespaces(Strict, frozen=True):
    """Namespaces whose daemons are made otherwise; `sidecar` is whole once the file is read."""

    # Shell patterns of names.
    match: Annotated[tuple[NonEmpty, ...], msgspec.Meta(min_length=1)]
    sidecar: Sidecar


class Config(Strict, frozen=True):
    """The whole file."""

    sidecar: Sidecar = Sidecar()
    daemonset: Daemonset = Daemonset()
    service: Service = Service()
    # The first that matches is laid over `sidecar`, key by key.
    namespaces: tuple[Namespaces, ...] = ()
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


def parse(text: bytes) -> Config:
    """Parse the config file.

    Raises:
        ConfigError: not YAML, an unknown key, a wrong type or value; names the YAML path.
    """
    try:
        document = config_yaml.load(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    try:
        config = msgspec.convert(
            {} if document is None else config_values.with_whole_namespaces(document), Config
        )
    except msgspec.ValidationError as error:
        raise ConfigError(config_errors.explained(str(error), Config)) from error
    _check(config)
    return config


def of_namespace(config: Config, namespace: str) -> Config:
    """The file as it is for a namespace: the first entry of `namespaces` that matches counts."""
    if (
        len(namespace) > bounds.NAME
    ):  # no namespace has such a name, and a pattern would read it all
        return config
    for entry in config.namespaces:
        if any(fnmatch.fnmatchcase(namespace, pattern) for pattern in entry.match):
            return msgspec.structs.replace(config, sidecar=entry.sidecar)
    return config


def _check(config: Config) -> None:
    """Check what types cannot say."""
    _check_sidecar(config.sidecar, "$.sidecar")
    for at, entry in enumerate(config.namespaces):
        _check_sidecar(entry.sidecar, f"$.namespaces[{at}].sidecar")
    patterns = [entry.match for entry in config.namespaces]
    _none(config_rows.problems_of_namespaces(patterns), "$.namespaces")
    _none(config_rows.problems_of_selectors(config.never_inject, CONTROLLERS), "$.neverInject")
    _none(config_rows.problems_of_selectors(config.node_watchers, WATCHERS), "$.nodeWatchers")
    directory = config.daemonset.socket_directory
    _at("$.daemonset.socketDirectory", config_values.check_directory, directory)


def _check_sidecar(sidecar: Sidecar, path: str) -> None:
    for name, value in (sidecar.proxy or {}).items():
        _at(f"{path}.proxy[{name!r}]", config_values.check_proxy, value)
    for field in ("requests", "limits", "limitRangeLimits"):
        for resource, amount in _resources(sidecar, field).items():
            _at(f"{path}.{field}[{resource!r}]", config_values.check_resource, resource)
            _at(f"{path}.{field}[{resource!r}]", config_values.check_quantity, amount)
    _at(f"{path}.image", config_values.check_image, sidecar.image)
    _at(f"{path}.rootlessImage", config_values.check_image, sidecar.rootless_image)
    _check_lists(sidecar, path)
    limit = sidecar.ephemeral_storage_limit
    _at(f"{path}.ephemeralStorageLimit", config_values.check_quantity, limit)
    _at(f"{path}.storage", storage.parse, sidecar.storage)
    if sidecar.certificate_authorities is not None:
        authorities = sidecar.certificate_authorities
        _at(f"{path}.certificateAuthorities", config_values.check_authorities, authorities)
    _at(f"{path}.bip", config_values.check_network, sidecar.bip)
    for at, pool in enumerate(sidecar.default_address_pools):
        where = f"{path}.defaultAddressPools[{at}]"
        prefix = _at(f"{where}.base", config_values.check_network, pool.base)
        if pool.size < prefix:
            problem = f"networks of /{pool.size} do not fit into {pool.base}"
            raise ConfigError(f"{problem} - at `{where}.size`")


def _check_lists(sidecar: Sidecar, path: str) -> None:
    for field, texts, check in (
        ("allowedImages", sidecar.allowed_images, config_values.check_pattern),
        ("registryMirrors", sidecar.registry_mirrors, config_values.check_mirror),
        ("insecureRegistries", sidecar.insecure_registries, config_values.check_registry),
    ):
        for at, text in enumerate(texts):
            _at(f"{path}.{field}[{at}]", check, text)


def _at(path: str, check: Callable[[Value], Result], value: Value) -> Result:
    try:
        return check(value)
    except ValueError as error:
        raise ConfigError(f"{error} - at `{path}`") from error


def _none(problems: Iterator[config_rows.Problem], path: str) -> None:
    for problem, where in problems:
        raise ConfigError(f"{problem} - at `{path}{where}`")


def _resources(sidecar: Sidecar, field: str) -> Resources:
    said = {
        "requests": sidecar.requests,
        "limits": sidecar.limits,
        "limitRangeLimits": sidecar.limit_range_limits,
    }[field]
    return {} if said == "client" else said
