"""The slice of core/v1 Pod that dinp reads, and small pure edits of it.

A Pod stays the plain dict that JSON gave us, because models drop the fields that are
newer than themselves. The TypedDicts are for reading, for mypy, and for `problem`, which
checks a Pod against them. The edits never change what they are given: they return a new
dict that shares every untouched part, or the very same object when nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NotRequired, Required, TypedDict, cast

import msgspec

Quantity = str | int | float


class EnvVar(TypedDict, total=False):
    name: Required[str]
    value: str | None
    valueFrom: dict[str, dict[str, Any] | None] | None


class VolumeMount(TypedDict, total=False):
    name: Required[str]
    mountPath: Required[str]
    subPath: str | None
    subPathExpr: str | None
    readOnly: bool | None


class HostPath(TypedDict, total=False):
    path: str | None
    type: str | None


class Volume(TypedDict, total=False):
    name: Required[str]
    hostPath: HostPath | None
    emptyDir: dict[str, Any] | None
    persistentVolumeClaim: dict[str, Any] | None
    ephemeral: dict[str, Any] | None
    secret: dict[str, Any] | None
    configMap: dict[str, Any] | None


class Resources(TypedDict, total=False):
    requests: dict[str, Quantity] | None
    limits: dict[str, Quantity] | None
    claims: list[dict[str, Any]] | None


class Container(TypedDict, total=False):
    name: Required[str]
    image: str | None
    command: list[str] | None
    args: list[str] | None
    env: list[EnvVar] | None
    envFrom: list[dict[str, Any]] | None
    volumeMounts: list[VolumeMount] | None
    ports: list[dict[str, Any]] | None
    resources: Resources | None
    restartPolicy: str | None
    securityContext: dict[str, Any] | None
    imagePullPolicy: str | None


class OwnerReference(TypedDict, total=False):
    kind: str
    name: str


class Metadata(TypedDict, total=False):
    name: str | None
    generateName: str | None
    namespace: str | None
    labels: dict[str, str] | None
    annotations: dict[str, str] | None
    ownerReferences: list[OwnerReference] | None


class PodSecurityContext(TypedDict, total=False):
    fsGroup: int | None
    supplementalGroups: list[int] | None


class PodSpec(TypedDict, total=False):
    containers: Required[list[Container]]
    initContainers: list[Container] | None
    volumes: list[Volume] | None
    securityContext: PodSecurityContext | None
    hostNetwork: bool | None
    hostPID: bool | None
    hostUsers: bool | None
    dnsPolicy: str | None
    nodeSelector: dict[str, str] | None
    os: dict[str, str] | None
    priorityClassName: str | None
    resources: Resources | None
    runtimeClassName: str | None
    tolerations: list[dict[str, Any]] | None
    imagePullSecrets: list[dict[str, Any]] | None


class Pod(TypedDict):
    apiVersion: NotRequired[str]
    kind: NotRequired[str]
    metadata: NotRequired[Metadata | None]
    spec: PodSpec


def problem(pod: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the parts of `pod` that dinp reads, or None.

    The API server refuses such a Pod itself, with a better message than ours, so the
    caller admits it unchanged. Unknown fields are never a problem.
    """
    try:
        msgspec.convert(pod, Pod)
    except msgspec.ValidationError as error:
        return str(error)
    return problem_of_valid(pod)


def problem_of_valid(pod: Mapping[str, Any]) -> str | None:
    """The same for a Pod that has been decoded as one: what types do not say."""
    return (
        None if pod["spec"]["containers"] else "Object has no containers - at `$.spec.containers`"
    )


def annotations_of(pod: Pod) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}


def labels_of(pod: Pod) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get("labels") or {}


def volumes(pod: Pod) -> Sequence[Volume]:
    return pod["spec"].get("volumes") or ()


def mounts(container: Container) -> Sequence[VolumeMount]:
    return container.get("volumeMounts") or ()


def env(container: Container) -> Sequence[EnvVar]:
    return container.get("env") or ()


def env_var(container: Container, name: str) -> EnvVar | None:
    """The variable that counts: of several with one name the kubelet takes the last."""
    found = None
    for var in container.get("env") or ():
        if var["name"] == name:
            found = var
    return found


def env_value(container: Container, name: str) -> str:
    """The literal value of a variable; empty where there is none."""
    return (env_var(container, name) or {"name": name}).get("value") or ""


def containers(pod: Pod) -> Iterator[Container]:
    """Yield every container, in the order in which the kubelet starts them."""
    yield from pod["spec"].get("initContainers") or ()
    yield from pod["spec"]["containers"]


def owned_by(pod: Pod, kind: str) -> bool:
    owners = (pod.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("kind") == kind for owner in owners)


def clean_path(path: str) -> str:
    """Clean an absolute path as the kubelet does (Go's filepath.Clean): `/run//x/` is `/run/x`."""
    if "//" not in path and "/." not in path and (path[-1:] != "/" or path == "/"):
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def is_within(path: str, tree: str) -> bool:
    """Whether the clean `path` is `tree` or lies beneath it."""
    return path == tree or path.startswith(tree if tree == "/" else f"{tree}/")


def literal(text: str) -> str:
    """Escape `$` so that the kubelet's `$(NAME)` expansion of env, command and args gives `text`."""
    return text.replace("$", "$$")


# ---- edits -------------------------------------------------------------------------------


def with_env(container: Container, variables: Iterable[EnvVar]) -> Container:
    """Set `variables`: one that is there is replaced in place, new ones go first, in order.

    First, so that the user's own `$(DOCKER_HOST)` references expand: the kubelet knows
    only the variables declared before the reference. Of a doubled one the first place stays.
    """
    old = env(container)
    wanted = {var["name"]: var for var in variables}
    there = [var["name"] for var in old if var["name"] in wanted]
    new = [var for name, var in wanted.items() if name not in there]
    if not there:
        return {**container, "env": [*new, *old]} if new else container
    for var in old:
        replacement = wanted.get(var["name"])
        edited = var if replacement is None else _replaced(var, replacement)
        if replacement is None or edited not in new:
            new.append(edited)
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
    old = env(container)
    new = [var for var in old if var["name"] not in names]
    return container if len(old) == len(new) else {**container, "env": new}


def with_mounts(container: Container, added: Iterable[VolumeMount]) -> Container:
    """Add the volumeMounts whose mountPath the container does not have yet."""
    old = mounts(container)
    taken = {clean_path(mount["mountPath"]) for mount in old}
    new = [mount for mount in added if clean_path(mount["mountPath"]) not in taken]
    return {**container, "volumeMounts": [*old, *new]} if new else container


def with_volumes(spec: PodSpec, added: Iterable[Volume]) -> PodSpec:
    """Add the volumes whose name the Pod does not have yet."""
    old = spec.get("volumes") or []
    taken = {volume["name"] for volume in old}
    new = [volume for volume in added if volume["name"] not in taken]
    return {**spec, "volumes": [*old, *new]} if new else spec


def without_unused_volumes(spec: PodSpec, names: Iterable[str]) -> PodSpec:
    """Remove those of `names` that no container mounts any more."""
    old = spec.get("volumes") or []
    everyone = [*(spec.get("initContainers") or ()), *spec["containers"]]
    used = {mount["name"] for container in everyone for mount in mounts(container)}
    gone = set(names) - used
    new = [volume for volume in old if volume["name"] not in gone]
    return spec if len(new) == len(old) else {**spec, "volumes": new}


def with_init_containers(spec: PodSpec, added: Iterable[Container]) -> PodSpec:
    """Put `added` first; one of the same name is replaced where it stands."""
    old = spec.get("initContainers") or []
    wanted = {container["name"]: container for container in added}
    there = {container["name"] for container in old}
    first = [container for name, container in wanted.items() if name not in there]
    kept = [wanted.get(container["name"], container) for container in old]
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
