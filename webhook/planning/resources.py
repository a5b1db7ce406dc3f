"""Requests and limits of the daemon, and what they do to the Pod's QoS class.

Where they are to be the clients', for each resource the largest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal

from webhook.asking.config_values import RESOURCES
from webhook.asking.settings import Settings
from webhook.pods import pod as pods
from webhook.pods import quantity
from webhook.pods.pod import Container, Pod, Quantity, Resources
from webhook.reasons import Finding, Reason

# Set by the LimitRanger on Pods whose containers it gave defaults: a LimitRange is at work,
# and would give the daemon the defaults meant for small containers.
LIMIT_RANGER: Final = "kubernetes.io/limit-ranger"
_STORAGE: Final = "ephemeral-storage"
_COMPUTE: Final = ("cpu", "memory")

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]


def daemon_resources(
    pod: Pod, settings: Settings, clients: Sequence[Container] = ()
) -> Resources | Finding | None:
    """What the daemon requests and is limited to; `clients` may say it.

    None where the Pod has Pod-level resources (KEP-2837): they bound all containers. A
    Finding where the annotations contradict each other.
    """
    if pod["spec"].get("resources"):
        return None
    limits = _limits(pod, settings, clients)
    requests: dict[str, Quantity] = {}
    for resource, request in _requests(settings, clients).items():
        limit = limits.get(resource)
        if limit is None or quantity.parse(request) <= quantity.parse(limit):
            requests[resource] = request
        elif settings.asks_requests:
            return Reason.REQUEST_OVER_LIMIT.say(resource=resource, request=request, limit=limit)
        else:
            requests[resource] = limit
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def _requests(settings: Settings, clients: Sequence[Container]) -> dict[str, Quantity]:
    found = _largest(clients, "requests") if settings.client_requests else {}
    return {**settings.requests, **found}


def _limits(pod: Pod, settings: Settings, clients: Sequence[Container]) -> dict[str, Quantity]:
    limits: dict[str, Quantity] = {}
    if LIMIT_RANGER in pods.annotations_of(pod):
        limits |= settings.limit_range_limits
    # The sum of the containers' limits bounds the whole Pod, emptyDirs included: without
    # one of its own, the daemon's first pull would have the Pod evicted.
    if any(_STORAGE in _of(container, "limits") for container in pods.containers(pod)):
        limits[_STORAGE] = settings.ephemeral_storage_limit
    limits |= settings.limits
    return limits | _largest(clients, "limits") if settings.client_limits else limits


def _largest(
    clients: Iterable[Container], field: Literal["requests", "limits"]
) -> dict[str, Quantity]:
    """By resource, what the client has that has most of it; extended resources are the client's own.

    A request that is not set is the limit, as for the API server.
    """
    found: dict[str, tuple[Decimal, Quantity]] = {}
    for client in clients:
        said = _of(client, field)
        if field == "requests":
            said = {**_of(client, "limits"), **said}
        for resource in RESOURCES:
            amount = quantity.parse_or_zero(said.get(resource, 0))
            if amount > found.get(resource, (Decimal(0), ""))[0]:
                found[resource] = (amount, said[resource])
    return {resource: text for resource, (_, text) in found.items()}


def nothing_to_take(settings: Settings, clients: Sequence[Container]) -> Iterator[Finding]:
    """Warn where clients are to say what they do not, so that something else counts.

    Nothing is said of ephemeral-storage, which clients seldom have, nor where neither has a limit.
    """
    rows: Sequence[tuple[Literal["requests", "limits"], bool, dict[str, str]]] = (
        ("requests", settings.client_requests, settings.requests),
        ("limits", settings.client_limits, settings.limits),
    )
    for field, is_asked, file in rows:
        if not is_asked:
            continue
        found = _largest(clients, field)
        missing = {name: file[name] for name in _COMPUTE if name in file and name not in found}
        if missing or not found:
            instead = ", ".join(f"{name}={amount}" for name, amount in missing.items()) or "none"
            what = " nor ".join(missing) or "any resource"
            yield Reason.NO_CLIENT_RESOURCES.say(field=field, what=what, instead=instead)


def qos_changed(pod: Pod, daemon: Resources | None) -> Finding | None:
    """What is said where the daemon changes the Pod's QoS class, or None."""
    if daemon is None:
        return None
    old = qos_class(pods.containers(pod))
    # Guaranteed and BestEffort are what every container has to be.
    new = old if qos_class([{"name": "", "resources": daemon}]) == old else "Burstable"
    if old == new:
        return None
    if old == "BestEffort":
        return Reason.QOS_NOTED.say()
    return Reason.QOS_CHANGED.say(old=old, new=new)


def qos_class(containers: Iterable[Container]) -> QosClass:
    """The QoS class as the API server computes it (pkg/apis/core/helper/qos, Kubernetes 1.34).

    Only cpu and memory count; a request that is not set is the same as the limit.
    """
    guaranteed, any_set = True, False
    for container in containers:
        resources = container.get("resources") or {}
        requests = _compute(resources.get("requests"))
        limits = _compute(resources.get("limits"))
        any_set = any_set or bool(requests or limits)
        complete = limits.keys() == {"cpu", "memory"}
        guaranteed = guaranteed and complete and {**limits, **requests} == limits
        if any_set and not guaranteed:
            return "Burstable"
    return "Guaranteed" if any_set else "BestEffort"


def _of(container: Container, field: Literal["requests", "limits"]) -> dict[str, Quantity]:
    return (container.get("resources") or {}).get(field) or {}


def _compute(resources: dict[str, Quantity] | None) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    if not resources:
        return found
    for name in _COMPUTE:
        if name in resources and (value := quantity.parse_or_zero(resources[name])) > 0:
            found[name] = value
    return found
