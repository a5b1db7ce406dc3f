"""What people are told of a Plan: each once, and of several containers in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from webhook.pods import bounds
from webhook.reasons import Finding, Reason


def told(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """As many as anybody reads; those that differ in their container alone are one."""
    groups: dict[object, list[Finding]] = {}
    for finding in dict.fromkeys(findings):
        groups.setdefault((finding.reason, finding.around or finding.text), []).append(finding)
    folded = tuple(map(_one, groups.values()))
    if len(folded) <= bounds.WARNINGS:
        return folded
    return (*folded[: bounds.WARNINGS], Reason.MORE_WARNINGS.say())


def _one(findings: Sequence[Finding]) -> Finding:
    first = findings[0]
    if first.around is None or len(findings) == 1:
        return first
    before, after = first.around
    containers = f"containers {some(finding.container for finding in findings)}"
    return Finding(first.reason, f"{before}{containers}{after}", first.container, first.around)


def some(names: Iterable[str]) -> str:
    """`a, b and c`, or `a, b and 7 more`: a warning is cut at 256 bytes, and says more than names."""
    everyone, shown, left = list(names), list[str](), bounds.NAMES_TOLD
    for name in everyone:
        if shown and len(name) > left:
            break
        left -= len(name)
        shown.append(name)
    more = len(everyone) - len(shown)
    last = f"{more} more" if more else shown.pop()
    return f"{', '.join(shown)} and {last}" if shown else last
