"""Rows of the config file that would do nothing, or more than who wrote them meant."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from webhook.pods import image
from webhook.pods.selectors import PodSelector

# What is wrong, and where below the list: `[0].name`.
Problem = tuple[str, str]

# A namespace's name is a DNS label (RFC 1123); the rest is of shell patterns.
_NAMESPACES: Final = re.compile(r"[]a-z0-9*?[!-]+")

_OF_ALL_PODS: Final = (
    "the row says nothing of which Pods it is about, and would be about all of them: it needs images,"
    " matchLabels or matchExpressions, or enabled: false to switch a built-in row off"
)


def problems_of_namespaces(patterns: Sequence[Sequence[str]]) -> Iterator[Problem]:
    """Of each entry's patterns: those that match no namespace, or none that is left to them."""
    before: list[str] = []
    for at, entry in enumerate(patterns):
        for number, pattern in enumerate(entry):
            where = f"[{at}].match[{number}]"
            if not _NAMESPACES.fullmatch(pattern):
                yield f"{pattern!r} matches no namespace: a name has a-z, 0-9 and - alone", where
            for earlier in before:
                if pattern == earlier or _covers(earlier, pattern):
                    yield f"{pattern!r} never counts, as {earlier!r} of an entry before does", where
        before += entry


def _covers(earlier: str, pattern: str) -> bool:
    """Whether `earlier` is known to match all that `pattern` matches: only its `*` stand for any text."""
    return (
        not set("?[") & set(earlier)
        and "[" not in pattern
        and fnmatch.fnmatchcase(pattern, earlier)
    )


def problems_of_selectors(
    rows: Sequence[PodSelector], built_in: Iterable[PodSelector]
) -> Iterator[Problem]:
    """Of rows of `neverInject` and `nodeWatchers`."""
    known = {row.name for row in built_in}
    seen = {""}
    for at, row in enumerate(rows):
        if not row.enabled and row.name not in known:
            what = "there is no built-in row {!r} to switch off; docs/config.md lists them"
            yield what.format(row.name), f"[{at}].name"
        if row.name in seen - {""}:
            yield (
                f"there is a row {row.name!r} before, and this one would take its place",
                f"[{at}].name",
            )
        seen.add(row.name)
        for problem, where in _problems_of_row(row):
            yield problem, f"[{at}]{where}"


def _problems_of_row(row: PodSelector) -> Iterator[Problem]:
    selects = row.images or row.match_labels or row.match_expressions
    if row.enabled and not selects and row != PodSelector():
        yield _OF_ALL_PODS, ""
    for number, name in enumerate(row.images):
        if not name or name != name.lower() or name.strip("/") != name or ":" in name:
            what = "is not the end of an image's path, such as traefik or datadog/agent"
            yield f"{name!r} {what}", f".images[{number}]"
        elif host := image.split(name).host:
            what = f"begins with the registry {host!r}, and rows have the path without it"
            yield f"{name!r} {what}", f".images[{number}]"
    for number, one in enumerate(row.match_expressions):
        if bool(one.values) != (one.operator in {"In", "NotIn"}):
            needs = "takes no values" if one.values else "needs values"
            yield f"operator {one.operator} {needs}", f".matchExpressions[{number}].values"
