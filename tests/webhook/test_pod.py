"""pod: reading a Pod."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import pods as build
from webhook import pod as pods

NULLS: Any = {
    "metadata": None,
    "spec": {"containers": [{"name": "a", "env": None, "volumeMounts": None}], "volumes": None},
}


@pytest.mark.parametrize(
    ("where", "pod"),
    [
        ("`spec`", {}),
        ("$.spec", {"spec": None}),
        ("`containers` - at `$.spec`", {"spec": {}}),
        ("$.spec.containers", {"spec": {"containers": None}}),
        ("no containers - at `$.spec.containers`", {"spec": {"containers": []}}),
        ("$.spec.containers[0]", {"spec": {"containers": [{}]}}),
        ("$.spec.containers[0].env", {"spec": {"containers": [{"name": "a", "env": {}}]}}),
        (
            "$.spec.containers[0].env[0].value",
            {"spec": {"containers": [{"name": "a", "env": [{"name": "b", "value": 1}]}]}},
        ),
        ("$.spec.volumes[0]", {"spec": {"containers": [{"name": "a"}], "volumes": [{}]}}),
        (
            "$.metadata.labels",
            {"metadata": {"labels": []}, "spec": {"containers": [{"name": "a"}]}},
        ),
    ],
)
def test_problems_say_where(where: str, pod: dict[str, Any]) -> None:
    """What the API server will refuse anyway is named by its path."""
    assert where in (pods.problem(pod) or "")


@pytest.mark.parametrize("pod", [NULLS, build.pod(), {**NULLS, "x": 1, "status": []}])
def test_no_problem(pod: Any) -> None:
    """null for what is optional, and unknown fields, are fine."""
    assert pods.problem(pod) is None


def test_nulls_read_as_nothing() -> None:
    """As the API server reads them."""
    container = NULLS["spec"]["containers"][0]
    assert {} == pods.annotations_of(NULLS) == pods.labels_of(NULLS)
    assert () == pods.volumes(NULLS)
    assert () == pods.mounts(container)
    assert () == pods.env(container)
    assert not pods.owned_by(NULLS, "Job")
    assert pods.env_var(container, "A") is None
    assert pods.env_value(container, "A") == ""


@pytest.mark.parametrize(
    ("clean", "path"),
    [
        ("/", "/"),
        ("/", "//"),
        ("/", "/.."),
        ("/", "/./"),
        ("/run/x", "/run//x/"),
        ("/run/docker.sock", "/run/./docker.sock"),
        ("/docker.sock", "/run/../docker.sock"),
        ("/run/..x", "/run/..x"),
        ("/run/.x", "/run/.x"),
        ("a/b", "a//b/"),
        ("", ""),
    ],
)
def test_clean_path(clean: str, path: str) -> None:
    """As Go's filepath.Clean, for the paths that Pods have."""
    assert clean == pods.clean_path(path)
    assert clean == pods.clean_path(clean)


@pytest.mark.parametrize(
    ("within", "path", "tree"),
    [
        (True, "/a", "/a"),
        (True, "/a/b", "/a"),
        (False, "/ab", "/a"),
        (False, "/", "/a"),
        (True, "/a", "/"),
        (True, "/", "/"),
    ],
)
def test_is_within(within: bool, path: str, tree: str) -> None:
    """A tree holds itself and what is below it, by whole names."""
    assert within == pods.is_within(path, tree)


def test_owned_by() -> None:
    """Any owner of that kind, one without a kind is none."""
    pod: Any = build.pod()
    pod["metadata"]["ownerReferences"] = [{}, {"kind": "Job", "name": "j"}]
    assert pods.owned_by(pod, "Job")
    assert not pods.owned_by(pod, "DaemonSet")


def test_literal() -> None:
    """The kubelet's expansion gives the text back."""
    assert pods.literal("$(X) $$ a") == "$$(X) $$$$ a"
