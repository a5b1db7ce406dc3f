"""Part 6: what dinp parses, above its bound: refused at once, in words that say which, how long, and how long it may be.

Commands, scripts and variables are judged by a bounded part, and never refused for their length.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final

import msgspec

from tests.webhook import large_pods
from tools.attack import target as targets
from tools.attack.table import Figure, Row, Run, at_most, none_of
from tools.attack.target import Target, ask, attacked
from tools.serving import admission_review
from webhook import names
from webhook.asking.annotations import TABLE
from webhook.asking.rules import INJECT
from webhook.pods import bounds

_AT_ONCE: Final = 0.1  # seconds of processor
_MORE: Final = (1, 1_000_000)  # characters than the bound
_MORE_IN_ONE: Final = (1, 1000)  # of what is a part of something else that is bounded
_LONG: Final = 1_000_000
_ATTEMPTS: Final = 5  # of what seems slow, on a busy machine
_BY_DEFAULT: Final = "/pods/inject/sidecar"
_WARNING: Final = 256  # characters of one that the API server passes on
_REPLACED: Final = "{}"


@dataclass(frozen=True, slots=True)
class Case:
    """What is too long above `bound` characters: a key as the sentence names it, and where it is."""

    key: str
    bound: int
    where: tuple[str | int, ...]
    text: str = _REPLACED  # around what grows
    more: tuple[int, ...] = _MORE

    def pod(self, more: int) -> dict[str, Any]:
        """A Pod where it has so many characters more than it may have."""
        return _with(self.where, self.text.replace(_REPLACED, "1" * (self.bound + more)))


_ANNOTATIONS: Final = ("metadata", "annotations")
_FIRST: Final = ("spec", "containers", 0)
_MOUNT: Final = (*_FIRST, "volumeMounts", 0)
_OF_CONTAINER: Final = {
    "name": bounds.NAME,
    "image": bounds.IMAGE,
    "volumeMounts[0].mountPath": bounds.PATH,
    "volumeMounts[0].subPath": bounds.PATH,
    "resources.requests.cpu": bounds.QUANTITY,
    "resources.limits.memory": bounds.QUANTITY,
}


def cases() -> Iterator[Case]:
    """Each annotation, each quantity in one, and what else dinp parses of a Pod."""
    for name, row in TABLE.items():
        if name not in (INJECT, names.STATUS):
            yield Case(f"annotation {name}", row.longest, (*_ANNOTATIONS, name))
    for name, text in (("requests", "cpu={}"), ("limits", "memory={}"), ("storage", "emptydir:{}")):
        key = f"dinp.io/{name}"
        if TABLE[key].longest > bounds.QUANTITY:
            yield Case(
                f"annotation {key}", bounds.QUANTITY, (*_ANNOTATIONS, key), text, _MORE_IN_ONE
            )
    for field, bound in _OF_CONTAINER.items():
        steps = field.replace("[0]", ".0").split(".")
        where = (int(step) if step.isdigit() else step for step in steps)
        yield Case(f"spec.containers[0].{field}", bound, (*_FIRST, *where))
    yield Case("spec.volumes[0].name", bounds.NAME, ("spec", "volumes", 0, "name"))
    path = ("spec", "volumes", 0, "hostPath", "path")
    yield Case("spec.volumes[0].hostPath.path", bounds.PATH, path)


def never_refused() -> dict[str, dict[str, Any]]:
    """Pods with a command, a script or a variable of a megabyte."""
    long = "x " * (_LONG // 2)
    script = "docker build .\n" * (_LONG // 15)
    return {
        "a command": _with((*_FIRST, "command"), [long]),
        "a script": _with((*_FIRST, "args"), ["-c", script]),
        "a variable": _with((*_FIRST, "env"), [{"name": "SCRIPT", "value": long}]),
        "a variable's name": _with((*_FIRST, "env"), [{"name": long, "value": "x"}]),
    }


def _with(where: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    pod = copy.deepcopy(large_pods.base())
    node: Any = pod
    for step in where[:-1]:
        node = node[step] if isinstance(step, int) else node.setdefault(step, {})
    node[where[-1]] = value
    return pod


def _look(server: Target, _run: Run) -> Iterator[Figure]:
    wrong: list[str] = []
    slowest, number = 0.0, 0
    with closing(server.connection()) as connection:
        ask(connection, "POST", targets.ANNOTATED, targets.USUAL)
        for case in cases():
            for more in case.more:
                number += 1
                spent, complaints = _tried(server, connection, case, more)
                slowest = max(slowest, spent)
                wrong += complaints
        yield none_of(
            "texts above their bound",
            wrong,
            number,
            "denied, or left with a warning; key, length, bound",
        )
        yield at_most("processor for the slowest", slowest, _AT_ONCE, "s")
        kept = never_refused()
        answers = {
            name: _response(connection, targets.asking(pod), targets.ANNOTATED)
            for name, pod in kept.items()
        }
        refused = [f"{name}: {_said(one)}" for name, one in answers.items() if not one.get("patch")]
        yield none_of(f"of {_LONG:,} characters: {', '.join(kept)}", refused, len(kept), "injected")


def _tried(
    server: Target, connection: HTTPConnection, case: Case, more: int
) -> tuple[float, list[str]]:
    """Seconds of processor for one of both reviews, the least of several; and what is wrong."""
    least = math.inf
    complaints: list[str] = []
    for _ in range(_ATTEMPTS):
        before = server.cgroup.cpu_seconds()
        asked = _response(connection, targets.asking(case.pod(more)), targets.ANNOTATED)
        left = _response(connection, case.pod(more), _BY_DEFAULT)
        least = min(least, (server.cgroup.cpu_seconds() - before) / 2)
        complaints = list(_complaints(case, more, asked, left))[:1]
        if least <= _AT_ONCE:
            break
    return least, complaints


def _response(connection: HTTPConnection, pod: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    answer = ask(connection, "POST", path, msgspec.json.encode(admission_review(pod)))
    return answer.response or {"allowed": None, "status": {"message": answer.shown}}


def _complaints(
    case: Case, more: int, asked: Mapping[str, Any], left: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with the answers to a Pod that asks, and to one whose namespace does."""
    parts = (case.key, f"{case.bound + more:,}", f"{case.bound:,}")
    name = f"{case.key} of {case.bound + more:,}"
    if asked.get("allowed") is not False or not _has(parts, _said(asked)):
        yield f"{name}, asked: {_said(asked) or asked.get('allowed')}"
    warned = any(_has(parts, text[:_WARNING]) for text in left.get("warnings") or ())
    if left.get("allowed") is not True or not warned:
        yield f"{name}, by default: {left.get('warnings') or _said(left)}"


def _said(response: Mapping[str, Any]) -> str:
    return str((response.get("status") or {}).get("message", ""))


def _has(parts: tuple[str, ...], text: str) -> bool:
    """In this order: the key, its length, the bound."""
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


ROWS: Final = (
    Row(
        "too long",
        "annotations, quantities, images, names, paths above their bounds",
        "denied where asked, left with a warning by default, at once; commands and variables never",
        attacked(_look),
    ),
)
