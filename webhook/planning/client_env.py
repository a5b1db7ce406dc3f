"""The Docker variables of one client container.

| DOCKER_HOST that is there | what happens |
|---|---|
| none, or empty | set (an empty one in place) |
| the node's socket, at any path where it is or would be mounted, in any spelling | replaced in place |
| the same as ours | kept |
| the same in another spelling: 127.0.0.1, [::1], without scheme, a name of hostAliases | replaced in place |
| that of the daemon before it was made anew | replaced in place |
| anything else, or valueFrom | the user's wins: no Docker variable is touched |

TLS is turned off by an empty DOCKER_TLS_VERIFY and by removing what else turns it on: any
value, "0" too, switches the CLI to TLS, and DOCKER_CERT_PATH alone switches docker-py.

What GitLab's runner exports again in a job's scripts is not in dinp's hands: a warning says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec

from webhook import names
from webhook.finding import docker_hosts, node_docker
from webhook.planning import socket_addresses
from webhook.planning.endpoint import Endpoint
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar
from webhook.reasons import Finding, Reason

PROXY_VARIABLES: Final = tuple(
    variant
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    for variant in (name, name.lower())
)
NO_PROXY_VARIABLES: Final = ("NO_PROXY", "no_proxy")
TESTCONTAINERS_HOST: Final = "TESTCONTAINERS_HOST_OVERRIDE"
_TLS_SETTINGS: Final = frozenset({"DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"})
_EXPORTED: Final = _TLS_SETTINGS | {"DOCKER_HOST"}

_Env = dict[str, EnvVar]  # by name, in the order in which they are declared


class ClientEnv(msgspec.Struct, frozen=True):
    """What becomes of the variables; `kept` is the user's own DOCKER_HOST, where that wins."""

    kept: str | None = None
    variables: tuple[EnvVar, ...] = ()
    removed: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def uses_daemon(self) -> bool:
        """Whether what reads DOCKER_HOST uses the daemon that dinp provides."""
        return self.kept is None


def client_env(
    container: Container,
    endpoint: Endpoint,
    node_paths: Collection[str],
    former: Endpoint | None = None,
    aliases: Collection[str] = (),
    *,
    exports: bool = False,
) -> ClientEnv:
    """Decide the variables of `container`.

    `node_paths` are where it mounts the node's socket, or a directory that would hold it;
    `former` is where the daemon was before it was made anew; `aliases` are names of the loopback;
    `exports`: GitLab's runner sets the variables that are there once more.
    """
    name = container["name"]
    env = {var["name"]: var for var in pods.env(container)}  # the last of a name counts
    warnings = [Reason.ENV_FROM.say(container=name)] if container.get("envFrom") else []
    there = env.get("DOCKER_HOST")
    known = {"", *(at.docker_host for at in (endpoint, former) if at), *endpoint.spellings}
    address = None if there is None else docker_hosts.of_container(container, aliases)
    is_ours = there is None or address in _addresses(known)
    if there is not None and not (is_ours or _is_replaceable(there, known, node_paths)):
        value = "valueFrom" if there.get("valueFrom") else there.get("value") or ""
        warnings.append(_kept(name, there, value, exports=exports))
        return ClientEnv(value, warnings=tuple(warnings))
    warnings += _context(name, env)
    variables = [*_docker_variables(env, endpoint)]
    if endpoint.proxy_host is not None and _has_proxy(env):
        variables += _no_proxy(env, endpoint.proxy_host)
        warnings += _unreachable_no_proxy(name, env, endpoint.proxy_host)
    tls_variables = [] if endpoint.tls else _tls_variables(env)
    if there is None or former is None or there.get("value") != former.docker_host:
        said = _exported_again if exports else _changed
        warnings += said(name, env, variables, tls_variables)
    removed = (*tls_variables, *_misplaced(env, variables, len(endpoint.first)))
    return ClientEnv(None, tuple(variables), removed, tuple(warnings))


def _kept(container: str, var: EnvVar, value: str, *, exports: bool) -> Finding:
    """Say of a DOCKER_HOST of the user's where it leads, as far as anybody can see."""
    # Only the kubelet knows what a reference comes to.
    is_seen = not var.get("valueFrom") and "$(" not in value
    return Reason.USERS_DOCKER_HOST.say(
        container=container,
        value=value,
        uses="does not use the daemon that dinp provides" if is_seen else "uses what is there",
        hint="; remove it from the CI/CD variables to use dinp's" if exports else "",
    )


def _context(container: str, env: _Env) -> Iterator[Finding]:
    """Warn where a context of the docker CLI gives way to DOCKER_HOST (docker/cli 28, resolveContextName)."""
    var = env.get("DOCKER_CONTEXT", {"name": ""})
    value = "valueFrom" if var.get("valueFrom") else var.get("value") or "default"
    if value != "default":
        yield Reason.DOCKER_CONTEXT.say(container=container, value=value)


def _addresses(known: Iterable[str]) -> set[docker_hosts.Address]:
    """The TCP addresses of these, for which there are other spellings."""
    return {found for host in known if (found := docker_hosts.address(host)) is not None}


def _is_replaceable(var: EnvVar, known: Collection[str], node_paths: Collection[str]) -> bool:
    value = var.get("value") or ""
    # No socket has so long a path: sun_path ends at 108.
    if var.get("valueFrom") or len(value) > bounds.PATH:
        return False
    if value in known:
        return True
    path = socket_addresses.path_of(value)
    if path is None:
        return False
    if path in node_docker.DEFAULT_PATHS or path in node_paths or path == names.SOCKET_PATH:
        return True
    return path.endswith("/docker.sock") and any(pods.is_within(path, at) for at in node_paths)


def _docker_variables(env: _Env, endpoint: Endpoint) -> Iterator[EnvVar]:
    yield from endpoint.first
    yield {"name": "DOCKER_HOST", "value": endpoint.docker_host}
    yield {"name": "DOCKER_TLS_VERIFY", "value": "1" if endpoint.tls else ""}
    if endpoint.tls:
        yield {"name": "DOCKER_CERT_PATH", "value": names.CERTS_PATH}
    if endpoint.ports_host and TESTCONTAINERS_HOST not in env:
        yield {"name": TESTCONTAINERS_HOST, "value": endpoint.ports_host}


def _tls_variables(env: _Env) -> list[str]:
    return [
        name
        for name in ("DOCKER_CERT_PATH", "DOCKER_TLS")
        if name in env and (env[name].get("value") or env[name].get("valueFrom"))
    ]


def _misplaced(env: _Env, variables: Iterable[EnvVar], first: int) -> Iterator[str]:
    """The `first` of `variables` that others refer to, where they would not be declared before.

    They have to lead the list, and do unless one of ours is new, which would go before them.
    """
    if not first:
        return
    there = list(env)
    wanted = [var["name"] for var in variables]
    for at, name in enumerate(wanted[:first]):
        if name in env and (there[at] != name or not set(wanted) <= env.keys()):
            yield name


def _has_proxy(env: _Env) -> bool:
    return any(
        env[name].get("value") or env[name].get("valueFrom")
        for name in PROXY_VARIABLES
        if name in env
    )


def _no_proxy(env: _Env, host: str) -> Iterator[EnvVar]:
    """Keep the proxy away from the daemon: docker-py sends it even requests to localhost."""
    for name in [name for name in NO_PROXY_VARIABLES if name in env] or NO_PROXY_VARIABLES:
        var = env.get(name) or {"name": name}
        if var.get("valueFrom"):
            continue
        hosts = var.get("value") or ""
        listed = {part.strip() for part in hosts[: bounds.COMMAND].split(",")}
        if listed.isdisjoint({"*", host}):
            yield {"name": name, "value": f"{hosts},{host}" if hosts else host}


def _unreachable_no_proxy(container: str, env: _Env, host: str) -> Iterator[Finding]:
    for name in NO_PROXY_VARIABLES:
        if name in env and env[name].get("valueFrom"):
            yield Reason.NO_PROXY_VALUE_FROM.say(container=container, name=name, host=host)


def _changed(
    container: str, env: _Env, variables: Iterable[EnvVar], removed: Iterable[str]
) -> Iterator[Finding]:
    """Warn where a TLS setting of the user's gives way to ours."""
    for name in removed:
        yield Reason.VARIABLE_REMOVED.say(container=container, name=name)
    for var in variables:
        name = var["name"]
        if name not in _TLS_SETTINGS or name not in env:
            continue
        was = "valueFrom" if env[name].get("valueFrom") else env[name].get("value") or ""
        if was not in {"", var.get("value")}:
            yield Reason.VARIABLE_REPLACED.say(
                container=container, name=name, old=was, new=var.get("value")
            )


def _exported_again(
    container: str, env: _Env, variables: Iterable[EnvVar], removed: Iterable[str]
) -> Iterator[Finding]:
    """Warn of the values that are not ours, and come back in each script of the job."""
    ours: _Env = {var["name"]: var for var in variables if var["name"] in _EXPORTED}
    ours |= {name: {"name": name} for name in removed}
    back = [name for name, var in ours.items() if name in env and not _is_ours(env[name], var)]
    if back:
        yield Reason.EXPORTED_AGAIN.say(container=container, names=", ".join(sorted(back)))


def _is_ours(there: EnvVar, ours: EnvVar) -> bool:
    if there.get("valueFrom"):
        return False
    return (there.get("value") or "") in {"", ours.get("value") or ""}
