"""Every namespace x every Pod, by the real API server: which entry it calls, and what comes out.

Rows are made of the two lists below. What is expected is written down here once more, by the
tables of the design's section 2, and not taken from the code under test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cluster.api import Answer, Api
from tests.cluster.installation import OLDER_NAMESPACES, RULE_NAMESPACES, Installation

pytestmark = pytest.mark.cluster

MODES = ("sidecar", "daemonset", "service")

# Whatever their labels say, dinp is not called for these. (They are labelled by the fixture.)
EXCLUDED = {
    "kube-system": {"dinp.io/inject": "sidecar"},
    "kube-node-lease": {"dinp.io/migrate": "sidecar", "dinp.io/shared-daemon": "allowed"},
    "dinp-system": {"dinp.io/inject": "service"},
}
COMBINED: dict[str, dict[str, str]] = {
    "inject-daemonset-shared": {"dinp.io/inject": "daemonset", "dinp.io/shared-daemon": "allowed"},
    "inject-service-shared": {"dinp.io/inject": "service", "dinp.io/shared-daemon": "allowed"},
    "migrate-daemonset-shared": {
        "dinp.io/migrate": "daemonset",
        "dinp.io/shared-daemon": "allowed",
    },
    "migrate-service-shared": {"dinp.io/migrate": "service", "dinp.io/shared-daemon": "allowed"},
    "inject-and-migrate": {"dinp.io/inject": "sidecar", "dinp.io/migrate": "service"},
    "migrate-and-inject": {"dinp.io/inject": "service", "dinp.io/migrate": "sidecar"},
}
NAMESPACES: dict[str, Mapping[str, str]] = {
    "default": {},
    **RULE_NAMESPACES,
    **COMBINED,
    **OLDER_NAMESPACES,
    **EXCLUDED,
}


@dataclass(frozen=True)
class PodKind:
    """What one Pod of the table is like."""

    name: str
    annotation: str | None = None
    label: str | None = None
    socket: str | None = None  # where on the node, as the author wrote it
    sub_path: str | None = None
    daemonset: bool = False
    mirror: bool = False
    bare: bool = False
    asked: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        asked = {value for value in (self.annotation, self.label) if value is not None}
        object.__setattr__(self, "asked", frozenset(asked))

    @property
    def has_socket(self) -> bool:
        return self.socket is not None

    def pod(self) -> dict[str, Any]:
        """The Pod as its author writes it."""
        if self.bare:
            spec = {"containers": [_container()], "automountServiceAccountToken": False}
            return {"metadata": {"name": "bare"}, "spec": spec}
        spec = {"restartPolicy": "Never", "containers": [_container(self)]}
        if self.socket is not None:
            spec["volumes"] = [{"name": "docker", "hostPath": {"path": self.socket}}]
        if self.mirror:
            # The API server takes a mirror Pod only if it is bound and has no token.
            spec |= {"nodeName": "node-1", "automountServiceAccountToken": False}
        return {"metadata": self._metadata(), "spec": spec}

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": self.name, "annotations": {}, "labels": {"app": "ci"}}
        if self.annotation is not None:
            metadata["annotations"]["dinp.io/inject"] = self.annotation
        if self.label is not None:
            metadata["labels"]["dinp.io/inject"] = self.label
        if self.mirror:
            metadata["annotations"]["kubernetes.io/config.mirror"] = "c0ffee"
        if self.daemonset:
            owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "1-2-3"}
            metadata["ownerReferences"] = [{**owner, "controller": True}]
        return metadata


def _container(kind: PodKind | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "build",
        "image": "docker:29-cli",
        "command": ["sh", "-c", "docker build -t app ."],
    }
    if kind is not None and kind.socket is not None:
        mount = {"name": "docker", "mountPath": "/var/run/docker.sock"}
        container["volumeMounts"] = [mount | ({"subPath": kind.sub_path} if kind.sub_path else {})]
    return container


SOCKET = "/var/run/docker.sock"
PODS = [
    PodKind("bare", bare=True),
    PodKind("neither"),
    PodKind("socket", socket=SOCKET),
    PodKind("socket-uncleaned", socket="/run//docker.sock"),
    PodKind("socket-by-sub-path", socket="/var/run/", sub_path="docker.sock"),
    *(PodKind(f"annotation-{value}", annotation=value) for value in (*MODES, "false")),
    *(
        PodKind(f"annotation-{value}-socket", annotation=value, socket=SOCKET)
        for value in (*MODES, "false")
    ),
    PodKind("annotation-typo", annotation="sidcar"),
    PodKind("annotation-typo-socket", annotation="sidcar", socket=SOCKET),
    *(PodKind(f"label-{value}", label=value) for value in (*MODES, "false")),
    *(PodKind(f"label-{value}-socket", label=value, socket=SOCKET) for value in (*MODES, "false")),
    PodKind("label-typo", label="sidcar"),
    PodKind("both-agree", annotation="sidecar", label="sidecar"),
    PodKind("both-differ", annotation="sidecar", label="false"),
    PodKind("daemonset", daemonset=True),
    PodKind("daemonset-socket", daemonset=True, socket=SOCKET),
    PodKind("daemonset-annotated", daemonset=True, annotation="sidecar"),
    PodKind("daemonset-labelled", daemonset=True, label="sidecar"),
    PodKind("mirror", mirror=True),
    PodKind("mirror-annotated", mirror=True, annotation="sidecar", socket=SOCKET),
]
ROWS = [(namespace, pod) for namespace in NAMESPACES for pod in PODS]


def rule_of(namespace: str) -> tuple[str, str | None, bool] | None:
    """Source, mode and whether shared daemons are allowed, as the design's table has it."""
    if namespace in EXCLUDED:
        return None
    labels = NAMESPACES[namespace]
    allowed = labels.get("dinp.io/shared-daemon") == "allowed"
    for source in ("inject", "migrate"):
        mode = labels.get(f"dinp.io/{source}")
        if mode in MODES:
            return source, mode, allowed or mode != "sidecar"
    return "annotated", None, allowed


def entry_of(namespace: str, pod: PodKind) -> str | None:
    """The entry that has to be called."""
    rule = rule_of(namespace)
    if rule is None or pod.mirror:
        return None
    source, mode, allowed = rule
    by_default = not pod.daemonset and {
        "annotated": False,
        "inject": True,
        "migrate": pod.has_socket,
    }
    if not pod.asked and not (by_default and by_default[source]):
        return None
    name = source if mode is None else f"{source}/{mode}"
    return f"{name}/shared" if allowed and mode in (None, "sidecar") else name


def comes_out(namespace: str, pod: PodKind) -> str:
    """`denied`, `unchanged`, or the mode that the Pod has to get."""
    rule = rule_of(namespace)
    if rule is None or pod.mirror:
        return "unchanged"
    if len(pod.asked) > 1 or "sidcar" in pod.asked:
        return "denied"
    _, mode, allowed = rule
    for asked in pod.asked:
        if asked == "false":
            return "unchanged"
        return asked if allowed or asked == "sidecar" else "denied"
    return (mode or "unchanged") if entry_of(namespace, pod) else "unchanged"


def came_out(answer: Answer) -> str:
    """What did come out."""
    if answer.status == 403 and "dinp: " in answer.message:
        return "denied"
    assert answer.status == 201, answer.message
    pod = answer.body
    mode = pod["metadata"].get("labels", {}).get("dinp.io/mode")
    names = [container["name"] for container in pod["spec"].get("initContainers", [])]
    assert (mode == "sidecar") == ("dinp-dind" in names)
    return mode or "unchanged"


@pytest.fixture(scope="module")
def namespaces(dinp: Installation) -> Iterator[None]:
    """The namespaces that are not there yet; labels on the excluded ones, for the while."""
    api = dinp.api
    for name, labels in COMBINED.items():
        assert api.create_namespace(name, labels).status == 201
    for name, labels in EXCLUDED.items():
        _label(api, name, labels)
    # Its Pods would be refused by Pod Security before anybody could see that dinp is not called.
    _label(api, "dinp-system", {"pod-security.kubernetes.io/enforce": "privileged"})
    yield
    for name, labels in EXCLUDED.items():
        _label(api, name, dict.fromkeys(labels))
    _label(api, "dinp-system", {"pod-security.kubernetes.io/enforce": "restricted"})


def _label(api: Api, name: str, labels: Mapping[str, str | None]) -> None:
    patch = {"metadata": {"labels": dict(labels)}}
    path = f"/api/v1/namespaces/{name}"
    api.must("PATCH", path, patch, media_type="application/merge-patch+json")


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    ("namespace", "pod"), ROWS, ids=[f"{namespace}:{pod.name}" for namespace, pod in ROWS]
)
def test_row(served: Installation, namespace: str, pod: PodKind) -> None:
    """The API server calls the one entry that the labels pick, once, or none; the Pod gets its mode."""
    before = served.reviews()
    answer = served.api.create_pod(namespace, pod.pod())
    entry = entry_of(namespace, pod)
    assert ({} if entry is None else {entry: 1}) == served.reviews() - before
    assert comes_out(namespace, pod) == came_out(answer)


def test_enough_rows() -> None:
    """The table is made of the two lists, and none of its rows can get lost."""
    assert len(ROWS) == len(NAMESPACES) * len(PODS) >= 120
    assert len({pod.name for pod in PODS}) == len(PODS)


def test_the_expectations_cover_every_entry_and_end() -> None:
    """Each of the ten entries and each end of a Pod occurs: the table would notice its loss."""
    entries = {entry_of(*row) for row in ROWS}
    assert {name.replace("-", "/") for name in RULE_NAMESPACES} | {None} == entries
    assert {"denied", "unchanged", *MODES} == {comes_out(*row) for row in ROWS}


@pytest.mark.parametrize("namespace", RULE_NAMESPACES)
def test_bare_pod_by_kubectl_create(served: Installation, namespace: str) -> None:
    """A Pod without labels, annotations, volumes and token passes every CEL condition.

    kubectl create, as apply would add an annotation.
    """
    pod = {"apiVersion": "v1", "kind": "Pod", **PodKind("bare", bare=True).pod()}
    arguments = ("create", "--namespace", namespace, "--filename=-", "--dry-run=server")
    done = served.cluster.kubectl(*arguments, given=pod)
    assert (0, "pod/bare created (server dry run)\n") == (done.code, done.out), done.err
