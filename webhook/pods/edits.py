"""Small pure edits of a Pod.

They never change what they are given: they return a new dict that shares every untouched
part, or the very same object when nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, Literal, cast

from webhook.pods import pod as pods
from webhook.pods import quantity
from webhook.pods.pod import Container, EnvVar, Metadata, Pod, PodSpec, Volume, VolumeMount


def with_env(container: Container, variables: Iterable[EnvVar]) -> Container:
    """Set `variables`: one that is there is replaced in place, new ones go first, in order.

    First, so that the user's own `$(DOCKER_HOST)` references expand: the kubelet knows
    only the variables declared before the reference. Of a doubled one the first place stays.
    """
    old = pods.env(container)
    wanted = {var["name"]: var for var in variables}
    there = {var["name"] for var in old if var["name"] in wanted}
    new = [var for name, var in wanted.items() if name not in there]
    if not there:
        return {**container, "env": [*new, *old]} if new else container
    for var in old:
        if var["name"] not in wanted:
            new.append(var)
        elif var["name"] in there:
            there.discard(var["name"])
            new.append(_replaced(var, wanted[var["name"]]))
    return container if _same(old, new) else {**container, "env": new}


def _replaced(var: EnvVar, replacement: EnvVar) -> EnvVar:
    """`var` with the value of `replacement`; the same object where it has it.

    An empty value is none: the API server drops it, so on reinvocation it is absent.
    """
    if (var.get("value") or "", var.get("valueFrom")) == (
        replacement.get("value") or "",
        replacement.get("valueFrom"),
    ):
        return var
    kept = {key: value for key, value in var.items() if key not in _VALUE_FIELDS}
    return cast("EnvVar", {**kept, **replacement})


_VALUE_FIELDS: Final = frozenset({"value", "valueFrom"})


def without_env(container: Container, names: Collection[str]) -> Container:
    """Remove the variables called `names`."""
    if not names:
        return container
    old = pods.env(container)
    new = [var for var in old if var["name"] not in names]
    return container if len(old) == len(new) else {**container, "env": new}


def with_mounts(container: Container, added: Iterable[VolumeMount]) -> Container:
    """Add the volumeMounts whose mountPath the container does not have yet."""
    old = pods.mounts(container)
    taken = {pods.clean_path(mount["mountPath"]) for mount in old}
    new = [mount for mount in added if pods.clean_path(mount["mountPath"]) not in taken]
    return {**container, "volumeMounts": [*old, *new]} if new else container


def with_volumes(spec: PodSpec, added: Iterable[Volume]) -> PodSpec:
    """Add the volumes; one of the same name that is another is replaced where it stands."""
    old = spec.get("volumes") or []
    wanted = {volume["name"]: volume for volume in added}
    kept = [_renewed(volume, wanted.pop(volume["name"], None)) for volume in old]
    new = [*kept, *wanted.values()]
    return spec if _same(old, new) else {**spec, "volumes": new}


def _renewed(there: Volume, wanted: Volume | None) -> Volume:
    if wanted is None or covers(there, wanted):
        return there
    known = Volume.__annotations__
    return cast(
        "Volume", {**{key: value for key, value in there.items() if key not in known}, **wanted}
    )


def covers(there: Any, wanted: Any) -> bool:
    """Whether `there` is `wanted`, maybe with the API server's defaults added, in its spelling."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        return all(
            covers(there.get(key), value)
            or (key in _QUANTITIES and quantity.same(there.get(key), value))
            for key, value in wanted.items()
        )
    return bool(there == wanted)


_QUANTITIES: Final = frozenset({"sizeLimit", "storage"})


def without_unused_volumes(spec: PodSpec, names: Iterable[str]) -> PodSpec:
    """Remove those of `names` that no container mounts any more."""
    old = spec.get("volumes") or []
    everyone = [*(spec.get("initContainers") or ()), *spec["containers"]]
    used = {mount["name"] for container in everyone for mount in pods.mounts(container)}
    gone = set(names) - used
    new = [volume for volume in old if volume["name"] not in gone]
    return spec if len(new) == len(old) else {**spec, "volumes": new}


def with_init_containers(
    spec: PodSpec, added: Iterable[Container], gone: Collection[str] = ()
) -> PodSpec:
    """Put `added` first; one of the same name is replaced where it stands, `gone` are removed."""
    old = spec.get("initContainers") or []
    wanted = {container["name"]: container for container in added}
    there = {container["name"] for container in old}
    first = [container for name, container in wanted.items() if name not in there]
    kept = [wanted.get(one["name"], one) for one in old if one["name"] not in gone]
    return spec if _same(old, [*first, *kept]) else {**spec, "initContainers": [*first, *kept]}


def with_supplemental_group(spec: PodSpec, gid: int) -> PodSpec:
    """Add `gid` to the groups of every container's first process."""
    context = spec.get("securityContext") or {}
    groups = context.get("supplementalGroups") or []
    if gid in groups:
        return spec
    return {**spec, "securityContext": {**context, "supplementalGroups": [*groups, gid]}}


def with_image_pull_secret(spec: PodSpec, name: str) -> PodSpec:
    """Add a Secret with credentials for pulling images."""
    secrets = spec.get("imagePullSecrets") or []
    if any(secret.get("name") == name for secret in secrets):
        return spec
    return {**spec, "imagePullSecrets": [*secrets, {"name": name}]}


def map_containers(spec: PodSpec, edit: Callable[[Container], Container]) -> PodSpec:
    """Apply `edit` to every container and init container."""
    new = spec
    for section in ("initContainers", "containers"):
        old = cast("list[Container]", spec.get(section) or [])
        edited = [edit(container) for container in old]
        if not _same(old, edited):
            new = cast("PodSpec", {**new, section: edited})
    return new


def with_metadata(pod: Pod, field: Literal["labels", "annotations"], name: str, value: str) -> Pod:
    """Set one label or annotation."""
    metadata = pod.get("metadata") or {}
    there = metadata.get(field) or {}
    if there.get(name) == value:
        return pod
    return {**pod, "metadata": cast("Metadata", {**metadata, field: {**there, name: value}})}


def _same(old: Sequence[object], new: Sequence[object]) -> bool:
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))
