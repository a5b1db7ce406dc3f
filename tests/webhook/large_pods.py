"""Families of large Pods: in each, one list, mapping or text of what dinp reads has n items or characters.

They are made of the TypedDicts of webhook/pods/pod.py and the table of annotations, so that a new
field has its families by itself. What a field's text must be to matter stands in `_TEXTS`; a
place that is not in it gets numbered text, which is enough to find a search in a list.
"""

from __future__ import annotations

import copy
import functools
import itertools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from tools.serving import admission_review
from webhook import admission
from webhook.asking import annotations as known
from webhook.asking.config import Config
from webhook.asking.rules import RULES, Rule
from webhook.pods.pod import Pod

Make = Callable[[int], Any]  # the value with this number

STEEPEST = 6.0  # times the work for four times as much: 4 where it is linear, 16 where quadratic
LARGEST = 3 * 2**20  # bytes, of the API server's requests (apiserver's MaxRequestBodyBytes)
_PROBED = 100


@dataclass(frozen=True, slots=True)
class Family:
    """`grown(n)` is a Pod with n of what the name says; it asks for nothing by itself."""

    name: str
    grown: Callable[[int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Served:
    """How a Pod is reviewed: by which rule, asking for which mode, the first time or once more."""

    rule: Rule
    mode: str | None
    second_pass: bool


SERVED = tuple(
    Served(RULES[path], mode, second_pass)
    for path, mode in (
        ("/pods/annotated", "sidecar"),
        ("/pods/migrate/sidecar", None),
        ("/pods/inject/service", None),
        ("/pods/inject/sidecar", None),
        ("/pods/migrate/daemonset", None),
        ("/pods/annotated/shared", "service"),
        ("/pods/annotated/shared", "daemonset"),
        ("/pods/migrate/service", None),
        ("/pods/inject/daemonset", None),
    )
    for second_pass in (False, True)
)


# What makes dinp look closer, by class and field; `#` is the item's number.
_TEXTS: dict[str, tuple[str, ...]] = {
    "EnvVar.name": (
        "DOCKER_HOST",
        "DOCKER_CERT_PATH",
        "NO_PROXY",
        "http_proxy",
        "DOCKER_IN_DOCKER",
        "BUILDKITE_COMMAND",
        "ENTRYPOINT_OPTIONS",
        "CI_SCRIPT",
    ),
    "EnvVar.value": ("unix:///var/run/docker.sock", "unix:///x#/docker.sock", "tcp://x#:1"),
    "VolumeMount.name": ("socket", "state", "work", "dinp-run"),
    "VolumeMount.mountPath": ("/var/run/docker.sock", "/x#", "/x#//a/../b", "/x"),
    "VolumeMount.subPath": ("docker.sock", "a#", "../a#"),
    "VolumeMount.subPathExpr": ("$(X#)",),
    "Volume.name": ("dinp-share-#", "socket"),
    "HostPath.path": ("/var/run/docker.sock", "/run", "/var/lib/docker/x#"),
    "Container.name": ("dinp-dind", "dinp-seed-#", "jnlp", "build"),
    "Container.image": ("docker:dind", "x/docker-dind:#", "docker:cli@sha256:#"),
    "Container.command": ("sh", "-c#", "docker build #", "dockerd-entrypoint.sh"),
    "Container.args": ("-#", "env"),
    "Container.restartPolicy": ("Always",),
    "Resources.requests": ("1m", "1.#Gi"),
    "Resources.limits": ("1m", "2Gi"),
    "OwnerReference.kind": ("Job",),
    "HostAlias.ip": ("127.0.0.1", "10.0.0.#"),
    "HostAlias.hostnames": ("docker", "x#"),
    "PodSpec.dnsPolicy": ("ClusterFirst",),
}
_KEYS: dict[str, tuple[str, ...]] = {
    "Resources.requests": ("cpu", "memory"),
    "Resources.limits": ("cpu", "ephemeral-storage"),
    "Metadata.annotations": ("x#", "dinp.io/x#", "dinp.io/contaner#"),
    "Metadata.labels": ("x#", "tekton.dev/x#"),
    "EnvVar.valueFrom": ("fieldRef",),
    "EnvVar.valueFrom.": ("fieldPath",),
    "Container.securityContext": ("privileged", "x#"),
    "Container.ports": ("containerPort", "x#"),
    "PodSpec.tolerations": ("key", "x#"),
    "PodSpec.imagePullSecrets": ("name",),
    "PodSpec.nodeSelector": ("x#", "kubernetes.io/os"),
}
# One text for each way of going over characters: at every one of them something may begin.
_UNITS = (
    *("x", "@", "//", "a/", "../", ":", "x,", ".", "-", "=", " ", "\n", "'", '"', "\\", "1"),
    *("docker -x ", ";", "exec ", "dind", "$(X)", "[", "ü", "ci-", "/.docker", "/docker.sock"),
)
# Those of what only an annotation has.
_ASKED = (
    *("--mtu=1 ", "--label=a ", "a#,", "/x#,", "/x#:seed,", "cpu=1,", "https://m#,"),
    *("10.0.0.#/8,", "docker:", '{"warnings":[', '"",', "9."),
)
# What has to stand before it, for some fields.
_HEADS: dict[str, tuple[str, ...]] = {
    "EnvVar.value": ("unix://", "tcp://"),
    "Container.image": ("docker:dind", "x/"),
    "HostPath.path": ("/var/run/",),
}
# Annotations of others that dinp reads, beside its own table.
_ANNOTATIONS = (
    *known.TABLE,
    "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes",
    "kubectl.kubernetes.io/default-container",
    "kubernetes.io/limit-ranger",
)
_VOLUMES = {"socket": "/var/run/docker.sock", "state": "/var/lib/docker", "run": "/run"}


def base() -> dict[str, Any]:
    """A Pod that takes the whole way in every mode: a client of the node's socket, and an init container."""
    mounts = [{"name": "socket", "mountPath": "/var/run/docker.sock"}]
    volumes = [{"name": name, "hostPath": {"path": path}} for name, path in _VOLUMES.items()]
    main = {"name": "build", "image": "golang", "volumeMounts": mounts}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "ci", "namespace": "ci", "annotations": {}, "labels": {}},
        "spec": {
            "initContainers": [{"name": "prepare", "image": "golang"}],
            "containers": [main],
            "volumes": [*volumes, {"name": "work", "emptyDir": {}}],
        },
    }


def are_containers(family: Family) -> bool:
    """Whether the family has n containers, which are more work than other items."""
    return family.name.startswith(("list spec.containers,", "list spec.initContainers,"))


def families() -> Iterator[Family]:
    """Every one, each with its name."""
    yield from _in_typed_dict(Pod, ())
    for name in _ANNOTATIONS:
        for unit in (*_UNITS, *_ASKED):
            yield _text(("metadata", "annotations", name), unit, "")
    for name in _TEXTS["EnvVar.name"]:
        for unit in _UNITS:
            yield _variable(name, unit)
    for unit in _UNITS:
        yield _script(unit)


def body(family: Family, n: int, served: Served) -> bytes:
    """A review of the Pod that has n of it; on the second pass, of what the first made of it."""
    pod = family.grown(n)
    if served.mode is not None:
        asked = {"dinp.io/inject": served.mode}
        pod["metadata"]["annotations"] = {**asked, **pod["metadata"]["annotations"]}
    if served.second_pass:
        pod = admission.inject(pod, served.rule, Config()).pod  # type: ignore[assignment]  # a Pod is a dict
    return msgspec.json.encode(admission_review(pod))


def fitting(family: Family, size: int) -> int:
    """How many of it make a Pod of about `size` bytes."""
    few = len(msgspec.json.encode(family.grown(_PROBED)))
    many = len(msgspec.json.encode(family.grown(2 * _PROBED)))
    return max(size * _PROBED // max(many - few, 1), 1)


def merged(one: Any, other: Any) -> Any:
    """Both Pods in one: of two lists item by item, of two texts the longer one."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{key: merged(one.get(key), value) for key, value in other.items()}}
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        long = one if len(one) > len(other) else other
        return [*(merged(*pair) for pair in pairs), *long[min(len(one), len(other)) :]]
    return one if isinstance(one, str) and len(one) > len(str(other)) else other or one


# ---- what grows ----------------------------------------------------------------------------

_Path = tuple[str | int, ...]


def _in_typed_dict(kind: Any, path: _Path) -> Iterator[Family]:
    for field, hint in get_type_hints(kind).items():
        yield from _families(_plain(hint), f"{kind.__name__}.{field}", (*path, field))


def _families(hint: Any, where: str, path: _Path) -> Iterator[Family]:
    if is_typeddict(hint):
        yield from _in_typed_dict(hint, path)
    elif get_origin(hint) is list:
        item = _plain(get_args(hint)[0])
        yield from _list(path, dict(_values(item, where)))
        if path[-1] != "initContainers":  # their texts are read as those of containers
            yield from _families(item, where, (*path, 0))
    elif get_origin(hint) is dict:
        yield from _in_mapping(_plain(get_args(hint)[1]), where, path)
    else:
        yield from _in_scalar(hint, where, path)


def _in_mapping(value: Any, where: str, path: _Path) -> Iterator[Family]:
    known_keys = _KEYS.get(where, ("x#",))
    for key in dict.fromkeys(("x#", *known_keys)):
        yield from _mapping(path, key, value, f"{where}.")
    yield from (_key(path, unit, value) for unit in _UNITS[:4])
    yield from _families(value, f"{where}.", (*path, known_keys[0].replace("#", "")))


def _in_scalar(hint: Any, where: str, path: _Path) -> Iterator[Family]:
    if hint is str:
        for head in ("", *_HEADS.get(where, ())):
            yield from (_text(path, unit, head) for unit in _UNITS)
    elif hint is Any:
        yield _text(path, "x", "")
    elif hint in {int, float}:
        yield Family(f"text {_shown(path)} of digits", lambda n: _with(path, 10 ** min(n, 4000)))


_READ_ALIKE = ("command", "args", "env", "ports", "resources", "securityContext", "image")


def _list(path: _Path, values: dict[str, Make]) -> Iterator[Family]:
    makes = list(values.values())
    for label, make in values.items():
        # Beside names and mounts, init containers are read as containers are.
        if path[-1] != "initContainers" or not label.startswith(_READ_ALIKE):
            yield _items(f"{_shown(path)}, {label}", path, make)
    first = makes[0]
    yield _items(f"{_shown(path)}, all kinds", path, lambda at: makes[at % len(makes)](at))
    yield _items(f"{_shown(path)}, equal", path, lambda _: first(0))
    if path[-1] in {"containers", "initContainers"}:
        return
    for label, make in values.items():
        yield _halves(f"{_shown(path)}, half {label}", path, first, make)


def _items(name: str, path: _Path, make: Make) -> Family:
    """Behind what is in the list already."""

    def grown(n: int) -> dict[str, Any]:
        there = _at(base(), path) or []
        return _with(path, [*there, *map(make, range(n))])

    return Family(f"list {name}", grown)


def _halves(name: str, path: _Path, first: Make, second: Make) -> Family:
    """First all of the one, then all of the other: a search for these goes over those."""

    def grown(n: int) -> dict[str, Any]:
        there = _at(base(), path) or []
        return _with(path, [*there, *map(first, range(n // 2)), *map(second, range(n // 2, n))])

    return Family(f"list {name}", grown)


def _mapping(path: _Path, key: str, value: Any, where: str) -> Iterator[Family]:
    if "#" in key:
        for label, make in _values(value, where):
            yield Family(
                f"list {_shown(path)}, keys {key}, {label}",
                functools.partial(
                    lambda make, n: _with(
                        path, {key.replace("#", str(at)): make(at) for at in range(n)}
                    ),
                    make,
                ),
            )
    elif not is_typeddict(value) and get_origin(value) is None:
        yield from (_text((*path, key), unit, "") for unit in _UNITS[:4])


def _text(path: _Path, unit: str, head: str) -> Family:
    def grown(n: int) -> dict[str, Any]:
        return _with(path, head + _repeated(unit, n))

    return Family(f"text {_shown(path)} {head!r} of {unit!r}", grown)


def _variable(name: str, unit: str) -> Family:
    def grown(n: int) -> dict[str, Any]:
        value = {"name": name, "value": _repeated(unit, n)}
        return _with(("spec", "containers", 0, "env", 0), value)

    return Family(f"text variable {name} of {unit!r}", grown)


def _script(unit: str) -> Family:
    """One that is taken apart, as it names a daemon and its port, in a container that no pass migrates."""

    def grown(n: int) -> dict[str, Any]:
        # An even number: what opens in one Pod and not in the other makes two ways of work.
        script = f"echo dockerd 2375;{_repeated(unit, n - n % (2 * len(unit)))}"
        return _with(("spec", "initContainers", 0, "command"), ["sh", "-c", script])

    return Family(f"text script of {unit!r}", grown)


def _key(path: _Path, unit: str, value: Any) -> Family:
    (_, make), *_ = _values(value, "")

    def grown(n: int) -> dict[str, Any]:
        return _with(path, {_repeated(unit, n): make(0)})

    return Family(f"text {_shown(path)}, a key of {unit!r}", grown)


def _repeated(unit: str, length: int) -> str:
    times = length // len(unit) + 1
    if "#" in unit:
        return "".join(unit.replace("#", _by_seven(at)) for at in range(times))[:length]
    return (unit * times)[:length]


# ---- values of a type ----------------------------------------------------------------------


def _values(hint: Any, where: str) -> Iterator[tuple[str, Make]]:
    """What is worth to be tried for one value of `hint`, each with a name for it."""
    if is_typeddict(hint):
        yield from _of_typed_dict(hint)
    elif get_origin(hint) is list:
        for label, make in _values(_plain(get_args(hint)[0]), where):
            yield f"[{label}]", functools.partial(lambda make, at: [make(at)], make)
    elif get_origin(hint) is dict:
        inner = list(_values(_plain(get_args(hint)[1]), f"{where}."))
        for key, (label, make) in itertools.product(_KEYS.get(where, ("x#",)), inner):
            yield f"{{{key}: {label}}}", functools.partial(_one_key, key, make)
    else:
        yield from _of_scalar(hint, where)


def _of_scalar(hint: Any, where: str) -> Iterator[tuple[str, Make]]:
    if hint in {str, Any}:
        for text in (*_TEXTS.get(where, ()), "x#"):
            yield text, functools.partial(_numbered, text)
    elif hint is bool:
        yield "true", lambda _: True
    else:
        yield "numbers", lambda at: at


def _of_typed_dict(kind: Any) -> Iterator[tuple[str, Make]]:
    hints = {field: _plain(hint) for field, hint in get_type_hints(kind).items()}
    required = {field: f"/{field}#" for field in _required(kind)}
    yield "with a name", functools.partial(_one, required, "", lambda _: None)
    for field, hint in hints.items():
        for label, make in _values(hint, f"{kind.__name__}.{field}"):
            yield f"{field}: {label}", functools.partial(_one, required, field, make)


def _required(kind: Any) -> list[str]:
    """Not `__required_keys__`, which does not see through annotations that are text (PEP 563)."""
    hints = get_type_hints(kind, include_extras=True)
    return [field for field, hint in hints.items() if get_origin(hint) is Required]


def _one(required: dict[str, str], field: str, make: Make, at: int) -> dict[str, Any]:
    found: dict[str, Any] = {key: _numbered(text, at) for key, text in required.items()}
    if field:
        found[field] = make(at)
        # What refers to a volume must find one.
        if field in {"mountPath", "subPath", "subPathExpr", "readOnly"}:
            found["name"] = "socket" if at % 2 else "work"
    return found


def _one_key(key: str, make: Make, at: int) -> dict[str, Any]:
    return {_numbered(key, at): make(at)}


def _numbered(text: str, at: int) -> str:
    return text.replace("#", _by_seven(at))


def _by_seven(number: int) -> str:
    """The number with digits below 7: 2375 is a port, and what names that port is read more closely."""
    return f"{_by_seven(number // 7) if number > 6 else ''}{number % 7}"


def _plain(hint: Any) -> Any:
    """A type without None; of a union its text."""
    if get_origin(hint) in {Union, types.UnionType}:
        kinds = [one for one in get_args(hint) if one is not type(None)]
        return str if str in kinds else kinds[0]
    return hint


# ---- places in a Pod -----------------------------------------------------------------------


def _with(path: _Path, value: Any) -> dict[str, Any]:
    """The base Pod with `value` at `path`; what is missing on the way is made."""
    pod = copy.deepcopy(base())
    node: Any = pod
    for step, following in itertools.pairwise(path):
        if isinstance(step, int):
            node += [{"name": "x", "mountPath": "/x"}] * (not node)
        elif node.get(step) is None:
            node[step] = [] if isinstance(following, int) else {}
        node = node[step]
    if isinstance(path[-1], int) and not node:
        node.append(value)
    else:
        node[path[-1]] = value
    return pod


def _at(node: Any, path: _Path) -> Any:
    for step in path:
        node = node[step] if not isinstance(node, dict) else node.get(step)
        if not node:
            return None
    return node


def _shown(path: _Path) -> str:
    return ".".join(map(str, path))
