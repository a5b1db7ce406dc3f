"""pod: reading a Pod, and small edits that share what they do not touch."""

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


def var(name: str, value: str = "") -> Any:
    return {"name": name, "value": value}


@pytest.mark.parametrize(
    ("expected", "there", "wanted"),
    [
        (["A=1", "X="], ["X="], ["A=1"]),
        (["A=1", "B=2"], [], ["A=1", "B=2"]),
        (["X=", "A=2", "Y="], ["X=", "A=1", "Y="], ["A=2"]),
        (["B=3", "X=", "A=2"], ["X=", "A=1"], ["A=2", "B=3"]),
        (["A=3", "X="], ["A=1", "X=", "A=2"], ["A=3"]),
    ],
)
def test_with_env(expected: list[str], there: list[str], wanted: list[str]) -> None:
    """New ones first and in order; one that is there in its place, of two the first."""
    old = [var(*text.split("=")) for text in there]
    container = build.container(env=old)
    new = pods.with_env(container, [var(*text.split("=")) for text in wanted])
    assert expected == [f"{v['name']}={v.get('value')}" for v in pods.env(new)]
    assert pods.with_env(new, [var(*text.split("=")) for text in wanted]) is new


def test_edits_that_change_nothing_are_the_same_object() -> None:
    """So that "nothing to do" costs no comparison."""
    container = build.container(volumeMounts=[build.mount()], env=[var("A")])
    pod = build.pod(container, volumes=[{"name": "v"}], securityContext={"supplementalGroups": [1]})
    spec = pod["spec"]
    assert pods.without_env(container, ["B"]) is container
    assert pods.with_mounts(container, [build.mount("other", "/work/")]) is container
    assert pods.with_volumes(spec, [{"name": "v", "emptyDir": {}}]) is spec
    assert pods.without_unused_volumes(spec, ["w"]) is spec
    assert pods.with_init_containers(spec, []) is spec
    assert pods.with_supplemental_group(spec, 1) is spec
    assert pods.map_containers(spec, lambda one: one) is spec
    labelled = pods.with_metadata(pod, "labels", "a", "b")
    assert pods.with_metadata(labelled, "labels", "a", "b") is labelled
    pulling = pods.with_image_pull_secret(spec, "s")
    assert pods.with_image_pull_secret(pulling, "s") is pulling


def test_edits_leave_their_input_alone() -> None:
    """Each returns something new, from nulls too."""
    container = NULLS["spec"]["containers"][0]
    spec = NULLS["spec"]
    assert pods.with_mounts(container, [build.mount()])["volumeMounts"] == [build.mount()]
    assert pods.with_volumes(spec, [{"name": "v"}])["volumes"] == [{"name": "v"}]
    assert pods.with_init_containers(spec, [container])["initContainers"] == [container]
    assert pods.with_supplemental_group(spec, 5)["securityContext"] == {"supplementalGroups": [5]}
    assert pods.with_image_pull_secret(spec, "s")["imagePullSecrets"] == [{"name": "s"}]
    assert pods.with_metadata(NULLS, "labels", "a", "b")["metadata"] == {"labels": {"a": "b"}}
    assert pods.without_env(build.container(env=[var("A"), var("A"), var("B")]), ["A"])["env"] == [
        var("B")
    ]
    assert NULLS["spec"]["volumes"] is None
    assert container["env"] is None


def test_unused_volumes_of_the_names_go() -> None:
    """One that an init container still mounts stays, and so do all others."""
    volumes = [{"name": name} for name in ("used", "unused", "other")]
    init = build.container("init", volumeMounts=[build.mount("used", "/x")])
    spec = build.pod(volumes=volumes, initContainers=[init])["spec"]
    left = pods.without_unused_volumes(spec, ["used", "unused"]).get("volumes") or []
    assert ["used", "other"] == [volume["name"] for volume in left]


def test_init_containers_are_first_or_in_their_place() -> None:
    """A new one starts before all others; one that is there is replaced where it stands."""
    spec = build.pod(initContainers=[build.container("a"), build.container("b")])["spec"]
    new = pods.with_init_containers(spec, [build.container("n"), build.container("b", image="x")])
    found = new.get("initContainers") or []
    assert [("n", "golang"), ("a", "golang"), ("b", "x")] == [
        (one["name"], one.get("image")) for one in found
    ]


def test_owned_by() -> None:
    """Any owner of that kind, one without a kind is none."""
    pod: Any = build.pod()
    pod["metadata"]["ownerReferences"] = [{}, {"kind": "Job", "name": "j"}]
    assert pods.owned_by(pod, "Job")
    assert not pods.owned_by(pod, "DaemonSet")


def test_literal() -> None:
    """The kubelet's expansion gives the text back."""
    assert pods.literal("$(X) $$ a") == "$$(X) $$$$ a"
