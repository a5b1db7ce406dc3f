"""ask: who asks for what, whole, before anybody looks at the rest of the Pod."""

from __future__ import annotations

import msgspec

from webhook.asking import excess, request
from webhook.asking.annotations import read_settings, unknown_annotations
from webhook.asking.config import Config
from webhook.asking.request import Request
from webhook.asking.rules import Rule
from webhook.asking.settings import Settings
from webhook.pods.pod import Pod
from webhook.reasons import Finding


class Asked(msgspec.Struct, frozen=True):
    """`settings` are a Finding where annotations are wrong: told only if the Pod is one of ours."""

    request: Request
    settings: Settings | Finding
    unknown: tuple[Finding, ...]  # annotations that have no effect


class NotAsked(msgspec.Struct, frozen=True):
    """There is nothing to look for. `request`: of a Pod that asks, and is too long to be read."""

    finding: Finding
    request: Request | None = None


def ask(pod: Pod, rule: Rule, config: Config) -> Asked | NotAsked:
    """Read rule, label and annotations; the rest of a Pod is only counted, so that later steps may read it."""
    found = request.requested(pod, rule)
    if isinstance(found, Finding):
        return NotAsked(found)
    too_long = excess.excess(pod)
    if too_long is not None:
        return NotAsked(too_long, found)
    settings = read_settings(pod, found.mode, config)
    if isinstance(settings, Settings):
        settings = excess.excess_of_shares(pod, settings.share) or settings
    return Asked(found, settings, tuple(unknown_annotations(pod)))
