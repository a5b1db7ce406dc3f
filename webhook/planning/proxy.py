"""The proxy that the daemon's pulls go through."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from webhook.asking.config import FromSecret
from webhook.asking.settings import Settings
from webhook.planning import endpoint
from webhook.planning.client_env import NO_PROXY_VARIABLES
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar
from webhook.reasons import Finding, Reason

_PROXY_VARIABLES: Final = (
    *("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"),
    *NO_PROXY_VARIABLES,
)


def proxy(client: Container, settings: Settings) -> tuple[tuple[EnvVar, ...], tuple[Finding, ...]]:
    """Pulls go where the node's went: by the config file's proxy, else that of `client`."""
    if settings.proxy is not None:
        variables = tuple(
            _proxy_variable(variant, value)
            for name, value in settings.proxy.items()
            for variant in (name, name.lower())
        )
        return variables, ()
    declared = {variable["name"]: variable for variable in pods.env(client)}  # the last counts
    copied: list[EnvVar] = []
    warnings = []
    for name in _PROXY_VARIABLES:
        variable = declared.get(name)
        if variable is None:
            continue
        if _refers(variable.get("value") or ""):
            warnings.append(Reason.PROXY_REFERENCE.say(name=name, container=client["name"]))
        elif (copy := _copied(variable)) is not None:
            copied.append(copy)
    return tuple(copied), tuple(warnings)


def _refers(value: str) -> bool:
    """Whether the kubelet finds `$(NAME)` in it: `$$` is a dollar, and `$(` without an end a text."""
    for found in _DOLLARS.finditer(value):
        if found[0] == "$(":
            return value.find(")", found.end()) >= 0
    return False


_DOLLARS: Final = re.compile(r"\$[$(]")


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
    return {"name": name, "value": value} if value else None
