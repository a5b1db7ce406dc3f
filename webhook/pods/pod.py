"""The slice of core/v1 Pod that dinp reads, and how to read it; edits are in pod_edits.

A Pod stays the plain dict that JSON gave us, because models drop the fields that are
newer than themselves. The TypedDicts are for reading, for mypy, and for decoding: what they
do not name is not read, and `problem` checks a Pod against them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NotRequired, Required, TypedDict

import msgspec

from webhook.pods import bounds

Quantity = str | int | float

# The cluster autoscaler's annotation: volumes that do not pin a Pod to its node.
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


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
    recursiveReadOnly: str | None


class ProjectedVolumeSource(TypedDict, total=False):
    sources: list[dict[str, Any]] | None


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
    projected: ProjectedVolumeSource | None
    downwardAPI: dict[str, Any] | None
    image: dict[str, Any] | None
    csi: dict[str, Any] | None
    nfs: dict[str, Any] | None


class Resources(TypedDict, total=False):
    requests: dict[str, Quantity] | None
    limits: dict[str, Quantity] | None
    claims: list[dict[str, Any]] | None


class ExecAction(TypedDict, total=False):
    command: list[str] | None


class LifecycleHandler(TypedDict, total=False):
    exec: ExecAction | None


class Lifecycle(TypedDict, total=False):
    postStart: LifecycleHandler | None


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
    lifecycle: Lifecycle | None


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


class HostAlias(TypedDict, total=False):
    ip: str | None
    hostnames: list[str] | None


class PodSpec(TypedDict, total=False):
    containers: Required[list[Container]]
    initContainers: list[Container] | None
    volumes: list[Volume] | None
    securityContext: PodSecurityContext | None
    hostAliases: list[HostAlias] | None
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


def command_line(container: Container) -> list[str]:
    """The words that are judged of command and args together: the first `bounds.COMMAND` bytes."""
    return _judged([*(container.get("command") or ()), *(container.get("args") or ())])


def hook_after_start(container: Container) -> list[str]:
    """The same of what the kubelet runs in the container as soon as it has started."""
    hook = ((container.get("lifecycle") or {}).get("postStart") or {}).get("exec") or {}
    return _judged(hook.get("command") or [])


def _judged(words: list[str]) -> list[str]:
    if not words or sum(map(len, words)) + len(words) <= bounds.COMMAND:
        return words
    judged: list[str] = []
    left = bounds.COMMAND
    while left > 0:
        word = words[len(judged)]
        judged.append(word[:left])
        left -= len(word) + 1  # a word ends with a byte of its own
    return judged


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


def below(directory: str, sub_path: str) -> str:
    """The clean path of `sub_path` in a directory that is clean, and is not read again each time.

    Never outside of it: the API server refuses a subPath with `..`.
    """
    if not sub_path:
        return directory
    inside = clean_path(f"/{sub_path}")
    return directory if inside == "/" else f"{'' if directory == '/' else directory}{inside}"


class Trees:
    """Directories by their clean paths; a search takes no longer for many of them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._roots: list[str] = []  # sorted, each with a `/` at its end, none within another
        for path in sorted(path if path == "/" else f"{path}/" for path in paths):
            if not (self._roots and path.startswith(self._roots[-1])):
                self._roots.append(path)

    def hold(self, path: str) -> bool:
        """Whether the clean `path` is one of them or lies beneath one."""
        path = f"{path}/"
        # What begins with a root follows it directly: a root in between would be within it.
        before = bisect_right(self._roots, path)
        return before > 0 and path.startswith(self._roots[before - 1])


def literal(text: str) -> str:
    """Escape `$` so that the kubelet's `$(NAME)` expansion of env, command and args gives `text`."""
    return text.replace("$", "$$")


_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"


def default_container(pod: Pod) -> Container:
    """The container that kubectl takes when none is named: the annotation's, else the first."""
    named = annotations_of(pod).get(_DEFAULT_CONTAINER)
    everyone = pod["spec"]["containers"]
    return next((container for container in everyone if container["name"] == named), everyone[0])
