"""What of a Pod is above its bound (bounds.py): found before anything is made of the Pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from webhook import bounds, names
from webhook import pod as pods
from webhook.annotations import RESOURCES, TABLE
from webhook.pod import Container, Pod, Quantity, Resources, VolumeMount
from webhook.reasons import Finding, Reason

# Not the status: what an earlier pass has written there is no request (mutation.py reads it).
_ANNOTATIONS: Final = {
    pods.SAFE_TO_EVICT: bounds.ANNOTATION,
    **{name: row.longest for name, row in TABLE.items() if name != names.STATUS},
}


def excess(pod: Pod) -> Finding | None:
    """The first list or text that is too long, or None."""
    return next(_found(pod), None)


def _found(pod: Pod) -> Iterator[Finding]:
    yield from _numbers(pod)  # first: the others walk these lists
    for name, value in pods.annotations_of(pod).items():
        if name in _ANNOTATIONS:
            yield from _over(f"annotation {name}", len(value), _ANNOTATIONS[name])
    for at, volume in enumerate(pods.volumes(pod)):
        host_path = (volume.get("hostPath") or {}).get("path") or ""
        if len(volume["name"]) > bounds.NAME or len(host_path) > bounds.PATH:
            where = f"spec.volumes[{at}]"
            yield from _over(f"{where}.name", len(volume["name"]), bounds.NAME)
            yield from _over(f"{where}.hostPath.path", len(host_path), bounds.PATH)
    for at, container in enumerate(pod["spec"].get("initContainers") or ()):
        yield from _of_container(container, f"spec.initContainers[{at}]")
    for at, container in enumerate(pod["spec"]["containers"]):
        yield from _of_container(container, f"spec.containers[{at}]")


def _numbers(pod: Pod) -> Iterator[Finding]:
    containers = list(pods.containers(pod))
    mounts = sum(len(pods.mounts(container)) for container in containers)
    yield from _over("the Pod", len(containers), bounds.CONTAINERS, "containers")
    yield from _over("the Pod", mounts, bounds.MOUNTS, "volumeMounts")
    yield from _over("the Pod", len(pods.volumes(pod)), bounds.VOLUMES, "volumes")


def _of_container(container: Container, where: str) -> Iterator[Finding]:
    yield from _over(f"{where}.name", len(container["name"]), bounds.NAME)
    yield from _over(f"{where}.image", len(container.get("image") or ""), bounds.IMAGE)
    for at, mount in enumerate(pods.mounts(container)):
        if len(mount["name"]) > bounds.NAME or any(map(_is_long, _paths(mount))):
            yield from _of_mount(mount, f"{where}.volumeMounts[{at}]")
    if resources := container.get("resources"):
        yield from _of_resources(resources, f"{where}.resources")


def _paths(mount: VolumeMount) -> tuple[str, str, str]:
    return mount["mountPath"], mount.get("subPath") or "", mount.get("subPathExpr") or ""


def _is_long(path: str) -> bool:
    return len(path) > bounds.PATH


def _of_mount(mount: VolumeMount, where: str) -> Iterator[Finding]:
    yield from _over(f"{where}.name", len(mount["name"]), bounds.NAME)
    for field, path in zip(("mountPath", "subPath", "subPathExpr"), _paths(mount), strict=True):
        yield from _over(f"{where}.{field}", len(path), bounds.PATH)


def _of_resources(resources: Resources, where: str) -> Iterator[Finding]:
    for field in ("requests", "limits"):
        amounts = cast("Mapping[str, Quantity]", resources.get(field) or {})
        for name in RESOURCES:
            amount = amounts.get(name)
            if isinstance(amount, str):  # a number that JSON has is short
                yield from _over(f"{where}.{field}.{name}", len(amount), bounds.QUANTITY)


def _over(key: str, length: int, bound: int, unit: str = "characters") -> Iterator[Finding]:
    if length > bound:
        yield Reason.TOO_LONG.say(key=key, length=f"{length:,} {unit}", bound=f"{bound:,}")
