"""Find Pods and Pod templates in any Kubernetes object, and make of each the Pod it will be.

| object | the Pod's owner in the cluster |
|---|---|
| Pod | what its metadata says |
| Deployment | a ReplicaSet |
| CronJob | a Job |
| PodTemplate | none |
| every other with a Pod template: StatefulSet, DaemonSet, Job, custom resources, ... | itself |

A Pod template is a mapping with a list at `spec.containers`, under a key that is or ends
in `template` or `templateSpec`: `spec.template`, `spec.jobTemplate.spec.template`, RayCluster's
`spec.workerGroupSpecs[0].template`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from webhook.asking import rules

_OWNERS: Final = {"Deployment": ("apps/v1", "ReplicaSet"), "CronJob": ("batch/v1", "Job")}
_TEMPLATES: Final = ("template", "Template", "templateSpec", "TemplateSpec")
# What controllers and the API server write into a Pod, and a manifest does not show.
_ADDED: Final = ("name", "generateName", "namespace", "ownerReferences")


@dataclass(frozen=True, slots=True)
class KubernetesObject:
    """One object of a document; `value` is the part of the document itself, not a copy."""

    value: dict[str, Any]
    kind: str

    @property
    def name(self) -> str:
        """`name`, or `generateName` followed by a star."""
        return str(self._metadata("name") or f"{self._metadata('generateName') or ''}*")

    @property
    def namespace(self) -> str | None:
        """The namespace that the manifest gives."""
        value = self._metadata("namespace")
        return value if isinstance(value, str) and value else None

    @property
    def labels(self) -> dict[str, str]:
        """The object's own labels."""
        return self._texts("labels")

    @property
    def annotations(self) -> dict[str, str]:
        """The object's own annotations."""
        return self._texts("annotations")

    def _texts(self, field: str) -> dict[str, str]:
        texts = self._metadata(field)
        return {str(key): str(at) for key, at in texts.items()} if isinstance(texts, dict) else {}

    def _metadata(self, field: str) -> Any:
        metadata = self.value.get("metadata")
        return metadata.get(field) if isinstance(metadata, dict) else None


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A Pod, or the template of one: a plain copy. `path` is the JSON pointer to it in its object."""

    owner: KubernetesObject
    path: str
    value: dict[str, Any]


def objects(document: Any, kind: str = "") -> Iterator[KubernetesObject]:
    """Yield the objects of a document: itself, or the items of a List, PodList or the like."""
    if not isinstance(document, dict):
        return
    named = document.get("kind")
    kind = named if isinstance(named, str) and named else kind
    items = document.get("items")
    if kind.endswith("List") and isinstance(items, list):
        for item in items:
            yield from objects(item, kind.removesuffix("List"))
    elif kind:
        yield KubernetesObject(document, kind)


def templates(found: KubernetesObject) -> Iterator[PodTemplate]:
    """Yield the Pod, or the Pod templates, of an object."""
    if found.kind == "Pod" and found.value.get("apiVersion", "v1") == "v1":
        yield PodTemplate(found, "", _plain(found.value))
        return
    for key, value in found.value.items():
        if key not in {"metadata", "status"}:
            yield from _search(found, key, value, f"/{_escape(key)}")


# Built-in kinds, whose controllers give Pods what the template has and nothing of their own metadata.
_WORKLOADS: Final = frozenset(
    {
        *("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"),
        *("Job", "CronJob", "PodTemplate"),
    }
)


def misplaced(found: KubernetesObject, template: PodTemplate) -> list[str]:
    """The object's own annotations for dinp, and its label, that its Pods will not have."""
    if found.kind not in _WORKLOADS or not template.path:
        return []
    asked = [key for key in found.annotations if key.startswith("dinp.io/")]
    asked += [key for key in found.labels if key == rules.INJECT and key not in asked]
    there = KubernetesObject(template.value, "")
    return [key for key in asked if key not in there.annotations and key not in there.labels]


def _search(found: KubernetesObject, key: str, value: Any, path: str) -> Iterator[PodTemplate]:
    if isinstance(value, dict):
        if key.endswith(_TEMPLATES) and _has_containers(value):
            yield PodTemplate(found, path, _plain(value))
            return
        for name, at in value.items():
            yield from _search(found, name, at, f"{path}/{_escape(name)}")
    elif isinstance(value, list):
        for index, at in enumerate(value):
            yield from _search(found, "", at, f"{path}/{index}")


def _has_containers(value: Mapping[str, Any]) -> bool:
    spec = value.get("spec")
    return isinstance(spec, dict) and isinstance(spec.get("containers"), list)


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def pod_of(template: PodTemplate, namespace: str) -> dict[str, Any]:
    """The Pod as the webhook would see it; it shares all but its metadata with the template."""
    pod = template.value
    metadata = {} if pod.get("metadata") is None else pod["metadata"]
    if not isinstance(metadata, dict):
        return pod  # the API server will say so
    added: dict[str, Any] = {"namespace": namespace}
    if template.path:
        added["generateName"] = f"{template.owner.name}-"
        added["ownerReferences"] = _owner_references(template.owner)
    claims = _claims(template.owner)
    if claims:
        added["name"] = f"{template.owner.name}-0"
        there = pod["spec"].get("volumes") or []
        if isinstance(there, list):
            pod = {**pod, "spec": {**pod["spec"], "volumes": [*claims, *_without(there, claims)]}}
    return {**pod, "metadata": {**metadata, **added}}


def _claims(owner: KubernetesObject) -> list[dict[str, Any]]:
    """The volumes that a StatefulSet's controller gives each Pod, here the first (updateStorage, 1.34)."""
    spec = owner.value.get("spec")
    templates = spec.get("volumeClaimTemplates") if isinstance(spec, dict) else None
    if owner.kind != "StatefulSet" or not isinstance(templates, list):
        return []
    names = [KubernetesObject(one, "").name for one in templates if isinstance(one, dict)]
    return [
        {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{owner.name}-0"}}
        for name in names
    ]


def _without(volumes: list[Any], others: list[dict[str, Any]]) -> list[Any]:
    names = {other["name"] for other in others}
    return [one for one in volumes if not (isinstance(one, dict) and one.get("name") in names)]


def template_of(pod: Mapping[str, Any], template: PodTemplate) -> dict[str, Any]:
    """What becomes of the template, given what became of its Pod: without what `pod_of` added."""
    claims = _claims(template.owner)
    if claims:
        pod = {**pod, "spec": _without_claims(pod["spec"], template.value["spec"], claims)}
    before = template.value.get("metadata") or {}
    metadata = {key: value for key, value in pod["metadata"].items() if key not in _ADDED}
    metadata |= {key: before[key] for key in _ADDED if key in before}
    if metadata:
        return {**pod, "metadata": metadata}
    rest = {key: value for key, value in pod.items() if key != "metadata"}
    if "metadata" in template.value:  # null, or empty
        rest["metadata"] = template.value["metadata"]
    return rest


def _without_claims(
    spec: Mapping[str, Any], before: Mapping[str, Any], claims: list[dict[str, Any]]
) -> dict[str, Any]:
    volumes = [*_without(spec.get("volumes") or [], claims)]
    if volumes or before.get("volumes") is not None:
        return {**spec, "volumes": volumes}
    return {key: value for key, value in spec.items() if key != "volumes"}


def _owner_references(owner: KubernetesObject) -> list[dict[str, Any]]:
    if owner.kind == "PodTemplate":
        return []
    version, kind = _OWNERS.get(owner.kind, (owner.value.get("apiVersion", ""), owner.kind))
    return [{"apiVersion": version, "kind": kind, "name": owner.name, "controller": True}]


def _plain(value: Any) -> Any:
    """A copy that knows nothing of the text it was read from."""
    if isinstance(value, dict):
        return {key: _plain(at) for key, at in value.items()}
    return [_plain(at) for at in value] if isinstance(value, list) else value
