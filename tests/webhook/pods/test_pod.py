"""pod: reading a Pod."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.pods import bounds
from webhook.pods import pod as pods

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


@pytest.mark.parametrize(
    ("expected", "directory", "sub_path"),
    [
        ("/run", "/run", ""),
        ("/run/a/b", "/run", "a//b/"),
        ("/a", "/", "a"),
        ("/", "/", "."),
        ("/run", "/run", "./"),
        ("/run/a", "/run", "../a"),
    ],
)
def test_below(expected: str, directory: str, sub_path: str) -> None:
    """A subPath is clean, and never leads out of its volume: the API server refuses `..`."""
    assert expected == pods.below(directory, sub_path)


@pytest.mark.parametrize("paths", [(), ("/a",), ("/a-", "/a", "/a/b", "/b/c"), ("/", "/a")])
def test_trees(paths: tuple[str, ...]) -> None:
    """A search in all of them finds what one look at each would find."""
    trees = pods.Trees(paths)
    for path in ("/", "/a", "/a/b/c", "/a-b", "/a-/b", "/ab", "/b", "/b/c", "/b/c/d", "relative"):
        assert any(pods.is_within(path, tree) for tree in paths) == trees.hold(path)


@pytest.mark.parametrize(
    ("expected", "command", "args"),
    [
        ([], None, None),
        (["a", "b", "c"], ["a"], ["b", "c"]),
        (["x" * bounds.COMMAND], ["x" * 200_000], ["b"]),
        (["sh", "-c", "x" * (bounds.COMMAND - 6)], ["sh", "-c"], ["x" * 200_000, "b"]),
        ([""] * bounds.COMMAND, [""] * 200_000, None),
    ],
)
def test_command_line(
    expected: list[str], command: list[str] | None, args: list[str] | None
) -> None:
    """As many bytes are judged as the kernel would take, each word with the one that ends it."""
    assert expected == pods.command_line(build.container(command=command, args=args))


@pytest.mark.parametrize(
    ("expected", "named"), [("a", None), ("b", "b"), ("a", "a"), ("a", "nobody"), ("a", "init")]
)
def test_default_container(expected: str, named: str | None) -> None:
    """As kubectl picks it: a container of that name, else the first."""
    annotations = {} if named is None else {"kubectl.kubernetes.io/default-container": named}
    pod = build.pod(
        build.container("a"),
        build.container("b"),
        annotations=annotations,
        initContainers=[build.container("init")],
    )
    assert expected == pods.default_container(pod)["name"]
