"""Where a DOCKER_HOST leads: which of them are local to the Pod, and to which port.

| DOCKER_HOST | address |
|---|---|
| `tcp://localhost:2375`, `localhost:2375`, `TCP://127.0.0.1:2375/`, `tcp://[::1]:2375`, `:2375` | localhost, 2375 |
| `tcp://docker:2375`, and hostAliases give `docker` a loopback address | localhost, 2375 |
| `tcp://localhost`, `127.0.0.1` | localhost, 2375; 2376 where the container asks for TLS |
| `tcp://docker.tools.svc:2376` | that name, 2376 |
| `unix://…`, `ssh://…`, `$(X)`, empty | none |
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final, NamedTuple

from webhook import names
from webhook.finding import dind
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod

LOCALHOST: Final = "localhost"
# Names that every container's /etc/hosts has for the loopback (kubelet's hostsFileContent), and an
# empty one, which Docker's CLI takes for it.
_LOCAL_NAMES: Final = frozenset({"", LOCALHOST, "ip6-localhost", "ip6-loopback"})
_SCHEMES: Final = frozenset({"tcp", "http", "https"})
_AUTHORITY: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]*))(?::(\d{1,5}))?")
_PLAIN, _TLS = 2375, 2376


class Address(NamedTuple):
    """`host` is `localhost` for all that is local."""

    host: str
    port: int


class LocalHost(NamedTuple):
    """A container whose DOCKER_HOST is local: its literal value, and the port."""

    container: str
    value: str
    port: int


def address(value: str, *, tls: bool = False, aliases: Collection[str] = ()) -> Address | None:
    """The address of a DOCKER_HOST, or None; `aliases` are names of the loopback, `tls` is what a port depends on."""
    if not value or len(value) > bounds.ADDRESS:
        return None
    scheme, found, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if found else ("tcp", value)
    authority = _AUTHORITY.fullmatch(rest.partition("/")[0])
    if scheme not in _SCHEMES or authority is None or not authority.group():
        return None
    host = (authority[1] or authority[2]).lower().removesuffix(".")
    is_local = host in _LOCAL_NAMES or host in aliases or is_loopback(host)
    port = int(authority[3] or (_TLS if tls or scheme == "https" else _PLAIN))
    return Address(LOCALHOST if is_local else host, port)


def is_loopback(host: str) -> bool:
    """Whether a client that connects to this IP address reaches its own Pod; 0.0.0.0 does, too."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_unspecified)


def aliases(pod: Pod) -> frozenset[str]:
    """The names that hostAliases give a loopback address; of two lines with one name the first counts."""
    first: dict[str, bool] = {}
    for name, is_local in islice(_aliases(pod), bounds.ALIASES):
        first.setdefault(name.lower(), is_local)
    return frozenset(name for name, is_local in first.items() if is_local)


def _aliases(pod: Pod) -> Iterator[tuple[str, bool]]:
    """Each name, and whether its address is a loopback's."""
    for alias in pod["spec"].get("hostAliases") or ():
        if hostnames := alias.get("hostnames"):
            is_local = is_loopback((alias.get("ip") or "")[: bounds.NAME])
            yield from ((name, is_local) for name in hostnames)


def of_container(container: Container, names_: Collection[str]) -> Address | None:
    """The address of its literal DOCKER_HOST, or None; `names_` are names of the loopback."""
    value = pods.env_value(container, "DOCKER_HOST")
    if not value:
        return None
    tls = any(pods.env_value(container, name) for name in ("DOCKER_TLS_VERIFY", "DOCKER_TLS"))
    return address(value, tls=tls, aliases=names_)


def local_hosts(pod: Pod, names_: Collection[str]) -> Iterator[LocalHost]:
    """Yield the containers whose literal DOCKER_HOST is local, but for dinp's own; `names_` are those of the loopback.

    None beside a dinp-dind: the address is its own, or was before that.
    """
    if dind.in_place(pod) is not None:
        return
    for container in pods.containers(pod):
        found = of_container(container, names_)
        if found and found.host == LOCALHOST and not names.is_dinps_container(container["name"]):
            value = pods.env_value(container, "DOCKER_HOST")
            yield LocalHost(container["name"], value, found.port)


def socket_volumes(pod: Pod) -> frozenset[str]:
    """Volumes of the Pod's own in which a DOCKER_HOST has its socket: another container puts it there."""
    others = {volume["name"] for volume in pods.volumes(pod) if volume.get("hostPath")}
    found = (_volume_of_socket(container) for container in pods.containers(pod))
    return frozenset(
        name for name in found if name and name not in others and not names.is_dinps_volume(name)
    )


def _volume_of_socket(container: Container) -> str:
    """The volume of the innermost mount that holds the socket of its DOCKER_HOST; empty for none."""
    scheme, _, socket = pods.env_value(container, "DOCKER_HOST")[: bounds.PATH].partition("://")
    if scheme != "unix":
        return ""
    path = pods.clean_path(f"/{socket}")
    at = ((pods.clean_path(mount["mountPath"]), mount["name"]) for mount in pods.mounts(container))
    return max(
        (len(one), name) for one, name in [*at, ("", "")] if not one or pods.is_within(path, one)
    )[1]
