"""decide: what is to be done with a Pod, as a value, before anything is done.

ask (who wants which mode) -> find (what the Pod has, once) -> settings (annotations over the
config file) -> obstacles -> clients -> additions -> Plan
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from webhook import names
from webhook.asking.ask import Asked, NotAsked, ask
from webhook.asking.config import Config
from webhook.asking.request import Request
from webhook.asking.rules import Mode, Rule, Source
from webhook.asking.settings import Settings
from webhook.finding import found
from webhook.finding.found import Found
from webhook.finding.node_docker import NodeMount
from webhook.finding.triage import Verdict
from webhook.planning import clients as clients_
from webhook.planning import obstacles
from webhook.planning.additions import Additions, additions, known_volumes
from webhook.planning.clients import Client
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod
from webhook.reasons import Effect, Finding, Reason


class Action(StrEnum):
    """What becomes of the Pod."""

    INJECT = "inject"
    LEAVE = "leave"
    DENY = "deny"


# Of a node agent's signals, the first ones; a warning is short.
_SIGNALS_TOLD: Final = 4


class Plan(msgspec.Struct, frozen=True):
    """All that is to be done: who carries it out needs the Pod and nothing else.

    `note_status`: a Pod that is left gets the reason in dinp.io/status.
    """

    action: Action
    finding: Finding
    mode: Mode | None = None
    transport: str = ""  # in sidecar mode
    clients: tuple[Client, ...] = ()
    additions: Additions | None = None
    warnings: tuple[Finding, ...] = ()
    note_status: bool = False


def decide(pod: Pod, rule: Rule, config: Config) -> Plan:
    """Decide on a Pod that is well formed (`pod.problem` is None)."""
    decided = _decide(pod, rule, config)
    if decided.action is Action.LEAVE and _is_asked(decided.finding, rule) and _has_dind(pod):
        # Where somebody asks, a container of that name is dinp's or does not run: policies may
        # admit it by its name.
        why = Reason.BORROWED_NAME.say(container=names.DIND, why=decided.finding.text)
        return Plan(Action.DENY, why, decided.mode)
    return decided


def _is_asked(finding: Finding, rule: Rule) -> bool:
    """Whether the Pod or its namespace wants a daemon, be it that there is a reason against it."""
    if finding.reason is Reason.NOT_REQUESTED:  # or by every Pod, and this one has no client
        return rule.source is Source.INJECT
    return finding.reason.effect is not Effect.NONE


def _has_dind(pod: Pod) -> bool:
    return any(container["name"] == names.DIND for container in pods.containers(pod))


def _decide(pod: Pod, rule: Rule, config: Config) -> Plan:
    asked = ask(pod, rule, config)
    if isinstance(asked, NotAsked):
        return _without_injection(asked.finding, asked.request)
    request = asked.request
    seen = found.find(pod, judged=request.migrate)
    hands_off = _hands_off(pod, request, seen)
    if hands_off is not None:
        return _without_injection(hands_off, request)
    settings = asked.settings
    if isinstance(settings, Finding):
        return _without_injection(settings, request)
    chosen = _chosen(pod, request, seen, settings)
    if isinstance(chosen, Finding):
        return _without_injection(chosen, request)
    question = obstacles.Question(pod, seen, settings, known_volumes(settings))
    blocked = obstacles.obstacle(question)
    if blocked is not None:
        return _without_injection(blocked, request)
    return _plan(pod, asked, seen, settings, chosen)


def _without_injection(finding: Finding, request: Request | None) -> Plan:
    """Deny or leave: what cannot be had is an error of the Pod's author, where it is the Pod that asks."""
    mode, explicit = (None, True) if request is None else (request.mode, request.explicit)
    effect = finding.reason.effect
    if effect is Effect.DENIED or (effect is Effect.BLOCKED and explicit):
        return Plan(Action.DENY, finding, mode)
    is_told = effect in {Effect.TOLD, Effect.BLOCKED}
    warnings = (finding,) if is_told else ()
    return Plan(Action.LEAVE, finding, mode, warnings=warnings, note_status=is_told)


def _hands_off(pod: Pod, request: Request, seen: Found) -> Finding | None:
    """Why this Pod is none of ours, though its namespace or it itself asks.

    Under the migrate label: Pods without the node's socket, and node agents, which want the
    node's own containers. In any case: Pods with a daemon of their own, or perhaps with one.
    """
    if request.migrate and not seen.sockets:
        return _without_socket(pod, request, seen)
    if seen.judgement is not None and seen.judgement.verdict is Verdict.NODE:
        signals = ", ".join(seen.judgement.signals[:_SIGNALS_TOLD])
        return Reason.NODE_AGENT.say(signals=signals, mode=request.mode.value)
    if seen.pod_daemons:
        return Reason.OWN_DAEMON.say(where=seen.pod_daemons[0].where)
    may_start = (one for one in seen.unread if one.names_daemon)
    if one := next(may_start, None):
        return Reason.UNREAD_COMMAND.say(container=one.container, what=one.what, why=one.why)
    return None


def _without_socket(pod: Pod, request: Request, seen: Found) -> Finding:
    """Under the migrate label; a Pod that has been through dinp has none of the node's any more."""
    if not seen.others_sockets or names.MODE_LABEL in pods.labels_of(pod) or seen.dind is not None:
        return Reason.NOT_REQUESTED.say()
    blanks = _of_mount(seen.others_sockets[0])
    return Reason.OTHERS_SOCKET.say(**blanks, mode=request.mode.value)


def _of_mount(found: NodeMount) -> dict[str, str]:
    at = found.mount["mountPath"]
    return {"container": found.container, "path": found.path, "mount_path": at}


def _chosen(
    pod: Pod, request: Request, seen: Found, settings: Settings
) -> Sequence[Container] | Finding:
    """The client containers: all eligible ones, or those that are named, or have the socket."""
    everyone = {
        container["name"]: container
        for container in pods.containers(pod)
        if not names.is_dinps_container(container["name"])
    }
    named = settings.containers
    present = everyone.keys() & set(named or ())
    if named is not None:
        missing = [name for name in named if name not in everyone]
        if missing and not _is_tekton(pod):
            return Reason.UNKNOWN_CONTAINER.say(names=", ".join(missing), known=", ".join(everyone))
        if not present:
            return Reason.NO_CONTAINER.say(names=", ".join(named))
    chosen = []
    for name, container in everyone.items():
        wanted = name in present if named is not None else clients_.is_eligible(name, settings)
        if wanted and (not request.migrate or name in seen.sockets):
            chosen.append(container)
    migrated_before = names.MODE_LABEL in pods.labels_of(pod)
    if request.migrate and named is not None and not chosen and not migrated_before:
        sockets = ", ".join(sorted(seen.sockets))
        return Reason.NO_SOCKET_NAMED.say(names=", ".join(named), sockets=sockets)
    if request.explicit and not chosen:
        return Reason.NO_ELIGIBLE_CONTAINER.say()
    return chosen or Reason.NOT_REQUESTED.say()


def _is_tekton(pod: Pod) -> bool:
    """Tekton copies the annotations of a run to every Pod of its pipeline."""
    return any(name.startswith("tekton.dev/") for name in pods.labels_of(pod))


def _plan(
    pod: Pod, asked: Asked, seen: Found, settings: Settings, chosen: Sequence[Container]
) -> Plan:
    decided = clients_.clients(chosen, seen, settings)
    wanted = additions(pod, seen, decided, settings)
    if isinstance(wanted, Finding):
        return _without_injection(wanted, asked.request)
    warnings = [*asked.unknown, *_general_warnings(pod, settings), *wanted.warnings]
    if seen.judgement is not None and seen.judgement.verdict is Verdict.UNSURE:
        warnings.append(Reason.UNSURE.say())
    warnings += clients_.sockets_left(seen.node_mounts, decided)
    warnings += (Reason.OTHERS_SOCKET_LEFT.say(**_of_mount(one)) for one in seen.others_sockets)
    for unread in seen.unread:
        warnings.append(
            Reason.UNREAD_VARIABLE.say(container=unread.container, what=unread.what, why=unread.why)
        )
    for client in decided:
        warnings += client.warnings
    return Plan(
        Action.INJECT,
        _done(decided),
        settings.mode,
        transport=settings.transport if settings.mode is Mode.SIDECAR else "",
        clients=decided,
        additions=wanted,
        warnings=_told(warnings),
    )


def _told(warnings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each once, as far as anybody reads them."""
    told = tuple(dict.fromkeys(warnings))
    if len(told) <= bounds.WARNINGS:
        return told
    return (*told[: bounds.WARNINGS], Reason.MORE_WARNINGS.say())


def _done(decided: Iterable[Client]) -> Finding:
    decided = tuple(decided)
    paths = [
        f"{path} in container {client.name}" for client in decided for path in client.socket_paths
    ]
    if paths:
        return Reason.MIGRATED.say(paths=", ".join(paths))
    users = [client.name for client in decided if client.variables]
    containers = ", ".join(users) or "(none: each sets DOCKER_HOST itself)"
    return Reason.INJECTED.say(containers=containers)


def _general_warnings(pod: Pod, settings: Settings) -> Iterator[Finding]:
    if settings.containers is not None:
        known = {container["name"] for container in pods.containers(pod)}
        missing = [name for name in settings.containers if name not in known]
        if missing:
            yield Reason.TEKTON_CONTAINERS.say(names=", ".join(missing))
    if settings.mode.is_shared:
        jenkins = "jenkins/label" in pods.labels_of(pod)
        text = "; Jenkins' docker.image().inside needs sidecar mode" if jenkins else ""
        yield Reason.BIND_MOUNTS_SHARED.say(jenkins=text)
        if not (settings.mode is Mode.DAEMONSET and settings.daemonset.host_network):
            yield Reason.PUBLISHED_PORTS.say()
    else:
        yield from _sidecar_warnings(pod, settings)


def _sidecar_warnings(pod: Pod, settings: Settings) -> Iterator[Finding]:
    if pod["spec"].get("resources") and settings.asks_resources:
        yield Reason.POD_LEVEL_RESOURCES.say()
    if settings.storage.kind == "pvc":
        yield Reason.PVC_SHARED.say(claim=settings.storage.name)
