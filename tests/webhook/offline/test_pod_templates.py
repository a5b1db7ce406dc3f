"""Pods and Pod templates, found in any object."""

from __future__ import annotations

from typing import Any

import pytest

from webhook.offline import pod_templates
from webhook.offline.pod_templates import KubernetesObject, PodTemplate

SPEC = {"containers": [{"name": "a"}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": SPEC}


def found(value: dict[str, Any]) -> list[PodTemplate]:
    return [
        template
        for each in pod_templates.objects(value)
        for template in pod_templates.templates(each)
    ]


KINDS: list[tuple[str, str, dict[str, Any], str, str | None]] = [
    ("v1", "Pod", {"spec": SPEC}, "", None),
    ("apps/v1", "Deployment", {"spec": {"template": TEMPLATE}}, "/spec/template", "ReplicaSet"),
    ("apps/v1", "StatefulSet", {"spec": {"template": TEMPLATE}}, "/spec/template", "StatefulSet"),
    ("apps/v1", "DaemonSet", {"spec": {"template": TEMPLATE}}, "/spec/template", "DaemonSet"),
    ("apps/v1", "ReplicaSet", {"spec": {"template": TEMPLATE}}, "/spec/template", "ReplicaSet"),
    (
        "v1",
        "ReplicationController",
        {"spec": {"template": TEMPLATE}},
        "/spec/template",
        "ReplicationController",
    ),
    ("batch/v1", "Job", {"spec": {"template": TEMPLATE}}, "/spec/template", "Job"),
    (
        "batch/v1",
        "CronJob",
        {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}},
        "/spec/jobTemplate/spec/template",
        "Job",
    ),
    ("v1", "PodTemplate", {"template": TEMPLATE}, "/template", None),
    (
        "example.com/v1",
        "Runner",
        {"spec": {"a/b~": [{}, {"podTemplate": TEMPLATE}]}},
        "/spec/a~1b~0/1/podTemplate",
        "Runner",
    ),
]


@pytest.mark.parametrize(("version", "kind", "rest", "path", "owner"), KINDS)
def test_kinds(version: str, kind: str, rest: dict[str, Any], path: str, owner: str | None) -> None:
    """Each kind's Pod template is found, and its Pod has the owner that the cluster gives it."""
    value = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, **rest}
    (template,) = found(value)
    assert path == template.path
    owners = pod_templates.pod_of(template, "ci")["metadata"].get("ownerReferences") or []
    assert ([owner] if owner else []) == [reference["kind"] for reference in owners]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {},
        {"kind": 1, "spec": {"template": TEMPLATE}},
        {"kind": "ConfigMap", "data": {"template": "spec: {containers: []}"}},
        {"kind": "Deployment", "spec": {"template": {"spec": {"containers": None}}}},
        {"kind": "Deployment", "spec": {"template": {"spec": None}}},
        {"kind": "Deployment", "spec": {"selector": TEMPLATE}},
        {"kind": "Deployment", "status": {"template": TEMPLATE}},
        {"kind": "Pod", "apiVersion": "example.com/v1", "spec": SPEC},
    ],
)
def test_no_template(value: Any) -> None:
    """What is no Kubernetes object, or has no Pod template, is left alone."""
    assert [] == found(value)


def test_lists() -> None:
    """Lists are looked into, in each other too; a typed one says the kind of its items."""
    pods = {"kind": "PodList", "items": [{"metadata": {"name": "a"}, "spec": SPEC}]}
    value = {"kind": "List", "items": [pods, {"kind": "Job", "spec": {"template": TEMPLATE}}, 1]}
    assert ["a", "*"] == [template.owner.name for template in found(value)]
    assert ["Pod", "Job"] == [template.owner.kind for template in found(value)]


def test_a_kind_that_is_called_list() -> None:
    """A kind that ends in List, without items, is an object like others."""
    assert [KubernetesObject({"kind": "AccessList"}, "AccessList")] == list(
        pod_templates.objects({"kind": "AccessList"})
    )


@pytest.mark.parametrize(
    ("metadata", "name", "namespace", "labels"),
    [
        ({"name": "a", "namespace": "ci", "labels": {"b": 1}}, "a", "ci", {"b": "1"}),
        ({"generateName": "a-", "namespace": None, "labels": None}, "a-*", None, {}),
        ({}, "*", None, {}),
        (None, "*", None, {}),
        ("x", "*", None, {}),
    ],
)
def test_identity(metadata: Any, name: str, namespace: str | None, labels: dict[str, str]) -> None:
    """An object is called as people call it, whatever its metadata holds."""
    each = KubernetesObject({"metadata": metadata}, "Job")
    assert (name, namespace, labels) == (each.name, each.namespace, each.labels)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"labels": None},
        {"labels": {"a": "b"}, "generateName": "z", "namespace": None, "ownerReferences": []},
    ],
)
def test_nothing_is_left_of_the_pod(metadata: Any) -> None:
    """What was added to make a Pod of a template is gone again, and null stays null."""
    value = {"kind": "Job", "spec": {"template": {"metadata": metadata, "spec": SPEC}}}
    (template,) = found(value)
    pod = pod_templates.pod_of(template, "ci")
    assert pod["metadata"]["namespace"] == "ci"
    assert template.value == pod_templates.template_of(pod, template)


def test_a_template_without_metadata() -> None:
    """A template without metadata gets none, or only what was set."""
    (template,) = found({"kind": "Job", "spec": {"template": {"spec": SPEC}}})
    pod = pod_templates.pod_of(template, "ci")
    assert {"spec": SPEC} == pod_templates.template_of(pod, template)
    pod["metadata"]["labels"] = {"a": "b"}
    assert {"spec": SPEC, "metadata": {"labels": {"a": "b"}}} == pod_templates.template_of(
        pod, template
    )


def test_metadata_that_is_none() -> None:
    """Metadata of another type is left for the API server to refuse."""
    (template,) = found({"kind": "Job", "spec": {"template": {"metadata": 1, "spec": SPEC}}})
    assert template.value is pod_templates.pod_of(template, "ci")


def test_claims_beside_volumes_that_are_none() -> None:
    """What the API server will refuse is not made into something else."""
    claims = [{"metadata": {"name": "data"}}]
    spec = {**SPEC, "volumes": "x"}
    value = {
        "kind": "StatefulSet",
        "spec": {"template": {"spec": spec}, "volumeClaimTemplates": claims},
    }
    (template,) = found(value)
    assert pod_templates.pod_of(template, "ci")["spec"]["volumes"] == "x"


@pytest.mark.parametrize("volumes", [{}, {"volumes": []}, {"volumes": [{"name": "a"}]}])
def test_claims_of_a_stateful_set(volumes: dict[str, Any]) -> None:
    """Its Pods have a volume for each; of the template nothing changes by that."""
    spec = {**SPEC, **volumes}
    claims = [{"metadata": {"name": "data"}}]
    value = {
        "kind": "StatefulSet",
        "metadata": {"name": "r"},
        "spec": {"template": {"spec": spec}, "volumeClaimTemplates": claims},
    }
    (template,) = found(value)
    pod = pod_templates.pod_of(template, "ci")
    assert pod["metadata"]["name"] == "r-0"
    first = {"name": "data", "persistentVolumeClaim": {"claimName": "data-r-0"}}
    assert [first, *volumes.get("volumes", [])] == pod["spec"]["volumes"]
    assert template.value == pod_templates.template_of(pod, template)
