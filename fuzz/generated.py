"""Bodies from the property tests' hypothesis strategies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from fuzz.reviews import review_of
from fuzz.verdict import Case
from tests.webhook import small_pods as build
from webhook.asking import rules

_PLACES = (
    *((), ("metadata",), ("metadata", "annotations"), ("metadata", "labels"), ("spec",)),
    *(("spec", "containers"), ("spec", "initContainers"), ("spec", "volumes"), ("spec", "os")),
    *(("metadata", "ownerReferences"), ("spec", "resources"), ("spec", "securityContext")),
)


def run(judge: Callable[[Case], None], count: int, seed: int) -> None:
    """Judge `count` generated cases."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(
        case=build.cases(), place=st.sampled_from(_PLACES) | st.none(), value=build.json_values
    )
    def one(case: build.Case, place: tuple[str, ...] | None, value: Any) -> None:
        pod, rule, config = case
        review = review_of(pod)
        if place is not None:
            _put(review["request"], ("object", *place), value)
        judge(Case(json.dumps(review).encode(), rules.path(rule), config))

    cast("Callable[[], None]", one)()


def _put(node: Any, path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        if not isinstance(node.get(step), dict):
            node[step] = {}
        node = node[step]
    node[path[-1]] = value
