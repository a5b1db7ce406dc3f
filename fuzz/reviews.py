"""The golden cases as AdmissionReviews, and the places in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests import golden_cases
from tools.serving import admission_review

Path = tuple[str | int, ...]

POD = ("request", "object")


def golden_reviews(cases: list[golden_cases.Case]) -> Iterator[dict[str, Any]]:
    """The Pods before and after, as created; a few as the API server sends other operations."""
    for case in cases:
        for pod in (case.pod, case.expected):
            if pod is not None:
                yield review_of(pod)
    other = review_of(cases[0].pod)
    request = {**other["request"], "uid": "u", "operation": "UPDATE", "oldObject": cases[0].pod}
    yield {**other, "request": request}
    yield {**other, "request": {**request, "operation": "CREATE", "subResource": "exec"}}


def review_of(pod: Any) -> dict[str, Any]:
    """The AdmissionReview of any Pod, the same each time, with names even where the Pod has nulls."""
    review = admission_review(pod)
    names = {key: str(review["request"][key] or "") for key in ("name", "namespace")}
    uid = "5d1c8f0e-3a7b-4c64-9d2e-6f0b1a2c3d4e"
    return {**review, "request": {**review["request"], **names, "uid": uid}}


def weighted_paths(review: Any) -> list[Path]:
    """Paths of all nodes, those of the Pod's metadata and spec three times."""
    paths = [path for path, _ in places(review)]
    return paths + [path for path in paths if path[:2] == POD and len(path) > 2] * 2


def places(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every node beneath `node`, with its path."""
    if not isinstance(node, dict | list):
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key), value
        yield from places(value, (*path, key))


def texts(review: Any) -> Iterator[str]:
    """Every string that is a value."""
    return (node for _, node in places(review) if isinstance(node, str))


def node_at(node: Any, path: Path) -> Any:
    """The node at the end of `path`."""
    for step in path:
        node = node[step]
    return node
