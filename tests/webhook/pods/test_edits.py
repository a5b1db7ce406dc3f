"""pod_edits: pure edits of Pods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.pods import edits
from webhook.pods import pod as pods

NULLS: Any = {
    "metadata": None,
    "spec": {"containers": [{"name": "a", "env": None, "volumeMounts": None}], "volumes": None},
}


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
    new = edits.with_env(container, [var(*text.split("=")) for text in wanted])
    assert expected == [f"{v['name']}={v.get('value')}" for v in pods.env(new)]
    assert edits.with_env(new, [var(*text.split("=")) for text in wanted]) is new


def test_edits_that_change_nothing_are_the_same_object() -> None:
    """So that "nothing to do" costs no comparison."""
    container = build.container(volumeMounts=[build.mount()], env=[var("A")])
    volume = {"name": "v", "emptyDir": {"medium": "Memory"}}
    pod = build.pod(container, volumes=[volume], securityContext={"supplementalGroups": [1]})
    spec = pod["spec"]
    assert edits.without_env(container, ["B"]) is container
    assert edits.with_mounts(container, [build.mount("other", "/work/")]) is container
    assert edits.with_volumes(spec, [{"name": "v", "emptyDir": {}}]) is spec
    assert edits.without_unused_volumes(spec, ["w"]) is spec
    assert edits.with_init_containers(spec, []) is spec
    assert edits.with_supplemental_group(spec, 1) is spec
    assert edits.map_containers(spec, lambda one: one) is spec
    labelled = edits.with_metadata(pod, "labels", "a", "b")
    assert edits.with_metadata(labelled, "labels", "a", "b") is labelled
    pulling = edits.with_image_pull_secret(spec, "s")
    assert edits.with_image_pull_secret(pulling, "s") is pulling


STORAGE: Any = {"spec": {"resources": {"requests": {"storage": "10Gi"}}}}
STORED: Any = {
    "metadata": {"creationTimestamp": None},
    "spec": {"resources": {"requests": {"storage": "10240Mi"}}, "volumeMode": "Filesystem"},
}


@pytest.mark.parametrize(
    ("stays", "there", "wanted"),
    [
        (True, {"emptyDir": {}}, {"emptyDir": {}}),
        (True, {"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {}}),
        (True, {"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "1024Mi"}}),
        (False, {"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "2Gi"}}),
        (False, {"emptyDir": {}}, {"emptyDir": {"sizeLimit": "2Gi"}}),
        (False, {"emptyDir": {"medium": "1"}}, {"emptyDir": {"medium": "1.0"}}),
        (False, {"hostPath": {"path": "/"}}, {"emptyDir": {}}),
        (
            True,
            {"ephemeral": {"volumeClaimTemplate": STORED}},
            {"ephemeral": {"volumeClaimTemplate": STORAGE}},
        ),
        (
            True,
            {"configMap": {"name": "c", "defaultMode": 420}},
            {"configMap": {"name": "c"}},
        ),
    ],
)
def test_volumes_of_one_name(stays: bool, there: Any, wanted: Any) -> None:
    """The one that is there stays with the API server's defaults; another is replaced in its place."""
    old = {"name": "v", **there, build.UNKNOWN: 1}
    spec = build.pod(volumes=[old, {"name": "w"}])["spec"]
    added: list[Any] = [{"name": "v", **wanted}, {"name": "x"}]
    new = edits.with_volumes(spec, added)
    expected = old if stays else {"name": "v", **wanted, build.UNKNOWN: 1}
    assert [expected, {"name": "w"}, {"name": "x"}] == new.get("volumes")


def test_edits_leave_their_input_alone() -> None:
    """Each returns something new, from nulls too."""
    container = NULLS["spec"]["containers"][0]
    spec = NULLS["spec"]
    assert edits.with_mounts(container, [build.mount()])["volumeMounts"] == [build.mount()]
    assert edits.with_volumes(spec, [{"name": "v"}])["volumes"] == [{"name": "v"}]
    assert edits.with_init_containers(spec, [container])["initContainers"] == [container]
    assert edits.with_supplemental_group(spec, 5)["securityContext"] == {"supplementalGroups": [5]}
    assert edits.with_image_pull_secret(spec, "s")["imagePullSecrets"] == [{"name": "s"}]
    assert edits.with_metadata(NULLS, "labels", "a", "b")["metadata"] == {"labels": {"a": "b"}}
    assert edits.without_env(build.container(env=[var("A"), var("A"), var("B")]), ["A"])["env"] == [
        var("B")
    ]
    assert NULLS["spec"]["volumes"] is None
    assert container["env"] is None


def test_unused_volumes_of_the_names_go() -> None:
    """One that an init container still mounts stays, and so do all others."""
    volumes = [{"name": name} for name in ("used", "unused", "other")]
    init = build.container("init", volumeMounts=[build.mount("used", "/x")])
    spec = build.pod(volumes=volumes, initContainers=[init])["spec"]
    left = edits.without_unused_volumes(spec, ["used", "unused"]).get("volumes") or []
    assert ["used", "other"] == [volume["name"] for volume in left]


def test_init_containers_are_first_or_in_their_place() -> None:
    """A new one starts before all others; one that is there is replaced where it stands."""
    spec = build.pod(initContainers=[build.container("a"), build.container("b")])["spec"]
    new = edits.with_init_containers(spec, [build.container("n"), build.container("b", image="x")])
    found = new.get("initContainers") or []
    assert [("n", "golang"), ("a", "golang"), ("b", "x")] == [
        (one["name"], one.get("image")) for one in found
    ]
