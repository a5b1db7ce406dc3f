"""What `dinp inject` tells: a line for each decision and warning, and the exit code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from webhook.admission import Injection
from webhook.asking import rules
from webhook.offline.files import Unreadable
from webhook.offline.pod_templates import KubernetesObject
from webhook.reasons import Reason

DENIED: Final = 1
INCOMPLETE: Final = 3

_DONE: Final = frozenset({Reason.INJECTED, Reason.MIGRATED})
# YAML reads `dinp.io/inject: false` as no text, and `1` and `1.5` neither.
_UNQUOTED: Final = re.compile(r"Expected `str\b.*`, got `(?:bool|int|float)`")


@dataclass(slots=True)
class Report:
    """What happened so far: lines for standard error, and what the exit code depends on."""

    verbose: bool
    pods: int = 0
    changed: int = 0
    denied: bool = False
    incomplete: bool = False
    is_labelled: bool = False  # a namespace is, by the option or by its object
    not_requested: bool = False  # of one Pod at least
    patches: list[dict[str, Any]] = field(default_factory=list)

    def say(self, line: str) -> None:
        click.echo(_printable(line), err=True)

    def unreadable(self, what: Unreadable) -> None:
        self.incomplete = True
        self.say(str(what))

    def namespace(self, found: KubernetesObject) -> None:
        """Tell of its labels that the policy of manifests/base would refuse."""
        for problem in wrong_labels(found.labels):
            self.denied = True
            self.say(f"Namespace {found.name}: denied: {problem}")
        for key in (rules.INJECT, rules.MIGRATE, rules.SHARED_DAEMON):
            if key in found.annotations:
                what = f"annotation {key} has no effect on a namespace; set it as a label"
                self.say(f"Namespace {found.name}: warning: {what}")

    def injection(self, who: str, injection: Injection) -> None:
        """One line for the decision and one for each warning."""
        self.pods += 1
        self.changed += bool(injection.operations)
        self.not_requested |= injection.finding.reason is Reason.NOT_REQUESTED
        finding = str(injection.finding)
        if injection.outcome == "denied":
            self.denied = True
            self.say(f"{who}: denied: {finding} {injection.finding.reason.code}")
        elif _is_unquoted(injection):
            self.denied = True  # by the API server
            self.say(f"{who}: {finding}; put the value in quotes")
        elif injection.outcome == "mutated" and injection.finding.reason in _DONE:
            self.say(f"{who}: {finding} ({injection.mode})")
        elif finding not in injection.warnings and self._matters(injection.finding.reason):
            self.say(f"{who}: {finding}")
        for warning in injection.warnings:
            self.say(f"{who}: warning: {warning}")

    def without_pod(self, who: str) -> None:
        """Tell of an object that may be meant to have one: a controller may make it of other fields."""
        if self.verbose:
            self.say(f"{who}: no Pod and no Pod template is in it")

    def misplaced(self, who: str, keys: Sequence[str], path: str) -> None:
        """Tell of keys on a workload that its Pods will not have: the usual mistake with Jobs."""
        if keys:
            place = f"{path[1:].replace('/', '.')}.metadata"
            self.say(f"{who}: warning: {', '.join(keys)} has no effect here; put it into {place}")

    def excluded(self, who: str, namespace: str) -> None:
        self.pods += 1
        if self.verbose:
            self.say(f"{who}: namespace {namespace} is never sent to the webhook")

    def end(self) -> None:
        """A run that changed nothing says so: it may be that a label was forgotten."""
        if self.changed or (self.incomplete and not self.pods):
            return
        line = f"dinp: 0 of {self.pods} Pods changed" if self.pods else "dinp: no Pod is in there"
        if self.not_requested and not self.is_labelled:
            line += f"; for a namespace's label pass --namespace-labels {rules.MIGRATE}=sidecar"
        self.say(line)

    def _matters(self, reason: Reason) -> bool:
        return self.verbose or reason is not Reason.NOT_REQUESTED

    @property
    def exit_code(self) -> int:
        return INCOMPLETE if self.incomplete else DENIED if self.denied else 0


def _printable(line: str) -> str:
    """One line, whatever names and annotations hold; no escape reaches the terminal."""
    return "".join(at if at.isprintable() else at.encode("unicode_escape").decode() for at in line)


def _is_unquoted(injection: Injection) -> bool:
    finding = injection.finding
    return finding.reason is Reason.INVALID_POD and _UNQUOTED.search(finding.text) is not None


def says_something(labels: Mapping[str, str]) -> bool:
    """Whether one of a namespace's labels is for its Pods."""
    return not labels.keys().isdisjoint((rules.INJECT, rules.MIGRATE))


def wrong_labels(labels: Mapping[str, str]) -> list[str]:
    """What policy dinp-namespace-labels would say of a namespace's labels."""
    modes = f"{', '.join(rules.MODES[:-1])} or {rules.MODES[-1]}"
    problems = [
        f"label {label}: {labels[label]!r} is not a mode, expected {modes}"
        for label in (rules.INJECT, rules.MIGRATE)
        if label in labels and labels[label] not in rules.MODES
    ]
    shared = labels.get(rules.SHARED_DAEMON, "allowed")
    if shared != "allowed":
        problems.append(f"label {rules.SHARED_DAEMON}: {shared!r} means nothing, expected allowed")
    return problems
