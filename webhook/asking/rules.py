"""Which rule a namespace's labels make, and the URL path by which the webhook learns of it.

The API server picks one entry of the MutatingWebhookConfiguration by the namespace's
labels and calls its path, so the server needs no Kubernetes API call to know them. `dinp
inject` has the labels and picks the path itself. Both read the table below.

| inject | migrate | shared-daemon | path |
|---|---|---|---|
| (not a mode) | (not a mode) | | /pods/annotated |
| (not a mode) | (not a mode) | allowed | /pods/annotated/shared |
| sidecar | any | | /pods/inject/sidecar |
| sidecar | any | allowed | /pods/inject/sidecar/shared |
| daemonset, service | any | any | /pods/inject/daemonset, /pods/inject/service |
| (not a mode) | sidecar | | /pods/migrate/sidecar |
| (not a mode) | sidecar | allowed | /pods/migrate/sidecar/shared |
| (not a mode) | daemonset, service | any | /pods/migrate/daemonset, /pods/migrate/service |
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

INJECT: Final = "dinp.io/inject"
MIGRATE: Final = "dinp.io/migrate"
SHARED_DAEMON: Final = "dinp.io/shared-daemon"

# Namespaces whose Pods are never sent to the webhook, whatever their labels: the cluster
# must be able to start without it.
EXCLUDED_NAMESPACES: Final = frozenset(
    {"kube-system", "kube-node-lease", "dinp-system", "dinp-daemons"}
)


class Mode(StrEnum):
    """Where the Docker daemon of a Pod runs."""

    SIDECAR = "sidecar"
    DAEMONSET = "daemonset"
    SERVICE = "service"

    @property
    def is_shared(self) -> bool:
        """Whether Pods share the daemon: a pointer to it is a grant of root on it."""
        return self is not Mode.SIDECAR


MODES: Final = tuple(mode.value for mode in Mode)


class Source(StrEnum):
    """Which of a namespace's labels the rule comes from."""

    ANNOTATED = "annotated"  # none: only Pods that ask by annotation or label
    INJECT = "inject"  # every Pod
    MIGRATE = "migrate"  # Pods that mount the node's Docker socket


class Rule(msgspec.Struct, frozen=True):
    """What the namespace says of its Pods. `mode` is None exactly when source is ANNOTATED."""

    source: Source
    mode: Mode | None
    allows_shared: bool  # Pods may ask for a shared daemon by annotation


def _paths() -> dict[str, Rule]:
    rules = [
        Rule(Source.ANNOTATED, None, allows_shared=False),
        Rule(Source.ANNOTATED, None, allows_shared=True),
    ]
    for source in (Source.INJECT, Source.MIGRATE):
        rules += [
            Rule(source, Mode.SIDECAR, allows_shared=False),
            Rule(source, Mode.SIDECAR, allows_shared=True),
            Rule(source, Mode.DAEMONSET, allows_shared=True),
            Rule(source, Mode.SERVICE, allows_shared=True),
        ]
    return {path(rule): rule for rule in rules}


def path(rule: Rule) -> str:
    """The URL path of `rule`: `/pods/<source>[/<mode>][/shared]`."""
    parts = ["/pods", rule.source.value]
    if rule.mode is not None:
        parts.append(rule.mode.value)
    if rule.allows_shared and (rule.mode is None or not rule.mode.is_shared):
        parts.append("shared")
    return "/".join(parts)


def for_namespace(name: str, labels: Mapping[str, str]) -> Rule | None:
    """The rule of a namespace, or None where Pods are never sent to the webhook.

    A label value that is no mode counts as absent, as the selectors' `NotIn` has it.
    """
    if name in EXCLUDED_NAMESPACES:
        return None
    allowed = labels.get(SHARED_DAEMON) == "allowed"
    for label, source in ((INJECT, Source.INJECT), (MIGRATE, Source.MIGRATE)):
        if labels.get(label) in MODES:
            mode = Mode(labels[label])
            return Rule(source, mode, allows_shared=allowed or mode.is_shared)
    return Rule(Source.ANNOTATED, None, allows_shared=allowed)


RULES: Final[Mapping[str, Rule]] = _paths()
