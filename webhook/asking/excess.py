"""What of a Pod is above its bound (bounds.py): found before anything is made of the Pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from webhook import names
from webhook.asking.annotations import TABLE
from webhook.asking.config_values import RESOURCES
from webhook.asking.settings import Share
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, Quantity, Resources, VolumeMount
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
    yield from _annotations(pod)
    for at, volume in enumerate(pods.volumes(pod)):
        host_path = volume.get("hostPath")
        path = (host_path.get("path") or "") if host_path else ""
        if len(volume["name"]) > bounds.NAME:
            yield _over(f"spec.volumes[{at}].name", len(volume["name"]), bounds.NAME)
        if len(path) > bounds.PATH:
            yield _over(f"spec.volumes[{at}].hostPath.path", len(path), bounds.PATH)
    for at, container in enumerate(pod["spec"].get("initContainers") or ()):
        yield from _of_container(container, "initContainers", at)
    for at, container in enumerate(pod["spec"]["containers"]):
        yield from _of_container(container, "containers", at)


def excess_of_shares(pod: Pod, shares: Sequence[Share]) -> Finding | None:
    """A Finding where dinp.io/share would add too much to all containers together, or None."""
    if not shares:
        return None
    clients = sum(not names.is_dinps_container(one["name"]) for one in pods.containers(pod))
    mounts, paths = clients * len(shares), clients * sum(len(share.path) for share in shares)
    key = f"what annotation dinp.io/share adds to {clients:,} containers"
    if mounts > bounds.SHARED_MOUNTS:
        return _over(key, mounts, bounds.SHARED_MOUNTS, "volumeMounts")
    return _over(key, paths, bounds.SHARED_PATHS) if paths > bounds.SHARED_PATHS else None


_FIRST: Final = (bounds.CONTAINERS, bounds.MOUNTS, bounds.VOLUMES)
_LATER: Final = (bounds.CONTAINERS_LATER, bounds.MOUNTS_LATER, bounds.VOLUMES_LATER)


def _numbers(pod: Pod) -> Iterator[Finding]:
    containers = list(pods.containers(pod))
    mounts = sum(len(pods.mounts(container)) for container in containers)
    numbers = {
        "containers": len(containers),
        "volumeMounts": mounts,
        "volumes": len(pods.volumes(pod)),
    }
    most = _LATER if names.has_been_here(pods.labels_of(pod)) else _FIRST
    for (unit, number), bound in zip(numbers.items(), most, strict=True):
        if number > bound:
            yield _over("the Pod", number, bound, unit)


def _annotations(pod: Pod) -> Iterator[Finding]:
    for name, value in pods.annotations_of(pod).items():
        if len(value) > (bound := _ANNOTATIONS.get(name, len(value))):
            # What dinp adds to it must not deny a second pass.
            if name == pods.SAFE_TO_EVICT and len(_without_dinps(value)) <= bound:
                continue
            yield _over(f"annotation {name}", len(value), bound)


def _without_dinps(volumes: str) -> str:
    listed = volumes[: 2 * bounds.ANNOTATION].split(",")
    return ",".join(name for name in listed if not names.is_dinps_volume(name))


def _of_container(container: Container, section: str, at: int) -> Iterator[Finding]:
    name, image = container["name"], container.get("image") or ""
    if len(name) > bounds.NAME:
        yield _over(f"spec.{section}[{at}].name", len(name), bounds.NAME)
    if len(image) > bounds.IMAGE:
        yield _over(f"spec.{section}[{at}].image", len(image), bounds.IMAGE)
    for number, mount in enumerate(pods.mounts(container)):
        below = mount.get("subPath") or mount.get("subPathExpr")
        if below or len(mount["name"]) > bounds.NAME or len(mount["mountPath"]) > bounds.PATH:
            yield from _of_mount(mount, f"spec.{section}[{at}].volumeMounts[{number}]")
    if resources := container.get("resources"):
        yield from _of_resources(resources, f"spec.{section}[{at}].resources")


def _of_mount(mount: VolumeMount, where: str) -> Iterator[Finding]:
    for field, bound in _OF_MOUNT.items():
        text = cast("Mapping[str, str | None]", mount).get(field) or ""
        if len(text) > bound:
            yield _over(f"{where}.{field}", len(text), bound)


_OF_MOUNT: Final = {
    "name": bounds.NAME,
    **dict.fromkeys(("mountPath", "subPath", "subPathExpr"), bounds.PATH),
}


def _of_resources(resources: Resources, where: str) -> Iterator[Finding]:
    for field in ("requests", "limits"):
        amounts = cast("Mapping[str, Quantity]", resources.get(field) or {})
        for name, amount in amounts.items():
            # A number that JSON has is short.
            if isinstance(amount, str) and len(amount) > bounds.QUANTITY and name in RESOURCES:
                yield _over(f"{where}.{field}.{name}", len(amount), bounds.QUANTITY)


def _over(key: str, length: int, bound: int, unit: str = "characters") -> Finding:
    return Reason.TOO_LONG.say(key=key, length=f"{length:,} {unit}", bound=f"{bound:,}")
