"""decide: what is to be done with a Pod, as a value, before anything is done.

ask (who wants which mode) -> find (what the Pod has, once) -> settings (annotations over the
config file) -> obstacles -> clients -> additions -> Plan
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec
from msgspec import structs

from webhook import names
from webhook.asking.ask import Asked, NotAsked, ask
from webhook.asking.config import Config
from webhook.asking.request import Request
from webhook.asking.rules import Mode, Rule, Source
from webhook.asking.settings import Settings
from webhook.finding import found, gitlab
from webhook.finding.found import Found
from webhook.finding.triage import Verdict
from webhook.planning import clients as clients_
from webhook.planning import hands_off as hands_off_
from webhook.planning import losses, obstacles, sentences, shared_limits, storage_volumes
from webhook.planning.additions import Additions, additions, known_volumes
from webhook.planning.clients import Client
from webhook.pods import bounds, jobs
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod
from webhook.reasons import Effect, Finding, Reason


class Action(StrEnum):
    """What becomes of the Pod."""

    INJECT = "inject"
    LEAVE = "leave"
    DENY = "deny"


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
    notes: tuple[Finding, ...] = ()  # for dinp.io/status alone
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
    hands_off = hands_off_.hands_off(pod, request, seen, config)
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
        if not present and jobs.inherits_annotations(pod):
            return Reason.NO_CONTAINER.say(names=", ".join(named))
        if not present:
            return Reason.UNKNOWN_CONTAINER.say(names=", ".join(named), known=", ".join(everyone))
    chosen = []
    for name, container in everyone.items():
        wanted = name in present if named is not None else clients_.is_eligible(name, settings)
        if wanted and (not request.migrate or name in seen.sockets):
            chosen.append(container)
    if request.migrate and named is not None and not chosen and not seen.been_here:
        sockets = ", ".join(sorted(seen.sockets))
        return Reason.NO_SOCKET_NAMED.say(names=", ".join(named), sockets=sockets)
    if request.explicit and not chosen:
        return Reason.NO_ELIGIBLE_CONTAINER.say()
    return chosen or Reason.NOT_REQUESTED.say()


def _plan(
    pod: Pod, asked: Asked, seen: Found, settings: Settings, chosen: Sequence[Container]
) -> Plan:
    decided = clients_.clients(chosen, seen, settings)
    users = _users(decided, seen)
    if not any(client.is_given for client in users):
        return _for_nobody(pod, asked.request, users, seen)
    wanted = additions(pod, seen, decided, settings)
    if isinstance(wanted, Finding):
        return _without_injection(wanted, asked.request)
    said = [*asked.unknown, *_general_warnings(pod, chosen, settings), *wanted.warnings]
    if seen.judgement is not None and seen.judgement.verdict is Verdict.UNSURE:
        said.append(Reason.UNSURE.say(mode=settings.mode.value))
    said += losses.losses(pod, asked.request, seen, chosen, settings)
    said += clients_.sockets_left(seen.node_mounts, decided)
    said += (Reason.OTHERS_SOCKET_LEFT.say(**one.blanks()) for one in seen.others_sockets)
    said += (Reason.UNREAD_VARIABLE.say(**one.blanks()) for one in seen.unread)
    for client in decided:
        said += client.warnings
    notes = [one for one in said if one.reason.effect is not Effect.WARNING]
    return Plan(
        Action.INJECT,
        _done(decided),
        settings.mode,
        transport=settings.transport if settings.mode is Mode.SIDECAR else "",
        clients=decided,
        additions=wanted,
        warnings=sentences.told(one for one in said if one.reason.effect is Effect.WARNING),
        notes=tuple(notes),
    )


def _users(decided: Iterable[Client], seen: Found) -> Sequence[Client]:
    """The clients that may use Docker: of a GitLab job not the runner's own, if there are others."""
    decided = tuple(decided)
    if not seen.gitlab_job:
        return decided
    return [client for client in decided if not gitlab.is_runners(client.name)] or decided


def _for_nobody(pod: Pod, request: Request, users: Iterable[Client], seen: Found) -> Plan:
    """Each of `users` has a DOCKER_HOST of its own, and would get no socket either."""
    hosts = sentences.some(
        f"{client.name}: {client.kept_host!r:.{bounds.NAMES_TOLD}}" for client in users
    )
    place = "the CI/CD variables" if seen.gitlab_job else "the Pod"
    left = _without_injection(Reason.NO_USER.say(hosts=hosts, place=place), request)
    # A client of an earlier pass may have gone: what that pass has written of others stays true.
    return structs.replace(left, note_status=not names.has_been_here(pods.labels_of(pod)))


def _done(decided: Iterable[Client]) -> Finding:
    given = [client for client in decided if client.is_given]
    paths = [
        f"{path} in container {client.name}" for client in given for path in client.socket_paths
    ]
    if paths:
        return Reason.MIGRATED.say(paths=", ".join(paths))
    return Reason.INJECTED.say(containers=", ".join(client.name for client in given))


def _general_warnings(
    pod: Pod, chosen: Iterable[Container], settings: Settings
) -> Iterator[Finding]:
    if settings.containers is not None:
        known = {container["name"] for container in pods.containers(pod)}
        missing = [name for name in settings.containers if name not in known]
        if missing:
            yield Reason.MISSING_CONTAINERS.say(names=", ".join(missing))
    if settings.mode.is_shared:
        yield from shared_limits.limits(pod, chosen, settings)
    else:
        yield from _sidecar_warnings(pod, settings)


def _sidecar_warnings(pod: Pod, settings: Settings) -> Iterator[Finding]:
    if pod["spec"].get("resources") and settings.asks_resources:
        yield Reason.POD_LEVEL_RESOURCES.say()
    shared = storage_volumes.shared_claim(pod, settings.storage)
    if shared is not None:
        yield shared
    for container in pods.containers(pod):
        if container["name"] != names.DIND:
            yield from storage_volumes.mounted(container, settings.storage)
