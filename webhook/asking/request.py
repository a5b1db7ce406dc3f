"""Who asks for which mode: the Pod by annotation or label, else its namespace's rule.

| Pod says | namespace's rule | request |
|---|---|---|
| false | any | none |
| a mode | any | that mode, explicitly |
| daemonset or service | does not allow shared daemons | denied |
| something else | any | denied |
| label and annotation differ | any | denied |
| nothing | inject/<mode> | that mode, by default |
| nothing | migrate/<mode> | that mode, by default, for Pods with the node's socket |
| nothing | annotated | none |

Mirror Pods (static Pods as the API server shows them) get nothing, annotated or not.
"""

from __future__ import annotations

import msgspec

from webhook.asking.rules import INJECT, MODES, Mode, Rule, Source
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Pod
from webhook.reasons import Finding, Reason

_MIRROR: str = "kubernetes.io/config.mirror"


class Request(msgspec.Struct, frozen=True):
    """`explicit`: the Pod's author asks; else the namespace does."""

    mode: Mode
    explicit: bool
    migrate: bool = False  # only for Pods that mount the node's Docker socket


def requested(pod: Pod, rule: Rule) -> Request | Finding:
    """The request, or the Finding that says why there is none."""
    if _MIRROR in pods.annotations_of(pod):
        return Reason.MIRROR_POD.say()
    asked = _asked(pod)
    if isinstance(asked, Finding):
        return asked
    if asked is not None:
        return _explicit(asked, rule)
    if rule.mode is None:
        return Reason.NOT_REQUESTED.say()
    return Request(rule.mode, explicit=False, migrate=rule.source is Source.MIGRATE)


def _asked(pod: Pod) -> str | Finding | None:
    annotation = pods.annotations_of(pod).get(INJECT)
    label = pods.labels_of(pod).get(INJECT)
    if annotation is not None and label is not None and annotation != label:
        return Reason.CONFLICTING_REQUEST.say(label=label, annotation=annotation)
    value = label if annotation is None else annotation
    if value is None or value in MODES or value == "false":
        return value
    source = "label" if annotation is None else "annotation"
    if len(value) > bounds.NAME:
        length = f"{len(value):,} characters"
        return Reason.TOO_LONG.say(key=f"{source} {INJECT}", length=length, bound=bounds.NAME)
    return Reason.BAD_VALUE.say(
        source=source,
        key=INJECT,
        value=value,
        expected=f"expected {', '.join(MODES)} or false",
    )


def _explicit(asked: str, rule: Rule) -> Request | Finding:
    if asked == "false":
        return Reason.OPTED_OUT.say()
    mode = Mode(asked)
    if mode.is_shared and not rule.allows_shared:
        return Reason.SHARED_DAEMON_NOT_ALLOWED.say(mode=asked)
    return Request(mode, explicit=True)
