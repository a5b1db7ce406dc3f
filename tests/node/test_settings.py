"""What else a Pod or its namespace may say leaves the daemon at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.cluster.processes import wait_until
from tests.node import contents, pods
from tests.node.cluster import NodeCluster
from tests.node.contents import CLIENT
from webhook import names
from webhook.asking import rules

pytestmark = pytest.mark.node

NAMESPACE: Final = "annotated"
LIMITED: Final = "settings-limit-range"
COUNTED: Final = "settings-quota"
SEEDED: Final = "localhost/seeded-client:1"
_SMALL: Final = {"cpu": "100m", "memory": "64Mi"}
_SMALL_CLIENT: Final = {"requests": _SMALL, "limits": _SMALL}
_TWO_OF_SIX: Final = ("second", "fifth")
_SIX: Final = ("first", "second", "third", "fourth", "fifth", "sixth")

_IMAGE: Final = "tar -c -C / bin usr/bin/busybox usr/bin/sh | docker import - localhost/shell:1\n"
_RUN: Final = "docker run --rm --pull=never localhost/shell:1 sh -c 'echo it runs'\n"
_WORK: Final = _IMAGE + _RUN
_BUILD: Final = (
    _IMAGE
    + """
mkdir /context
printf 'FROM localhost/shell:1\\nRUN echo built earlier >/built\\n' >/context/Dockerfile
docker build --tag localhost/built:1 /context
"""
)
_RUN_BUILT: Final = "docker run --rm --pull=never localhost/built:1 busybox cat /built"
_SHARE: Final = (
    _IMAGE
    + """
echo by the client >/shared/by-client
docker run --rm --pull=never -v /shared:/there -v /opt/tools:/tools localhost/shell:1 sh -euxc '
    busybox cat /there/by-client /tools/tool
    echo by the container >/there/by-container
    echo by the container >/tools/by-container'
cat /shared/by-container /opt/tools/by-container
"""
)
# Images count as much as what a build writes: 100 MiB is more than the client may.
_FILL: Final = (
    _IMAGE
    + """
docker run --pull=never localhost/shell:1 busybox dd if=/dev/zero of=/filled bs=1M count=100
until [ -e /go-on ]; do sleep 0.5; done
"""
    + _RUN
)
_LOCKED_DOWN: Final = (
    """
id
if touch /file; then exit 1; fi
grep Seccomp: /proc/self/status
"""
    + _WORK
)
_GROUPS: Final = (
    """
id -u
echo "groups: $(id -G)"
echo "socket: $(stat -L -c %g /dinp/docker.sock)"
"""
    + _WORK
)
# Without a shell's -u: whether the variable is there is the question.
_WHICH: Final = """
echo "daemon: ${DOCKER_HOST-none}"
[ -z "${DOCKER_HOST-}" ] || docker version
"""


def _pod(name: str, script: str, /, **annotations: str) -> dict[str, Any]:
    """A Pod that asks for a daemon; annotations under dinp.io/ by their last words."""
    asked = {f"dinp.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    asked[rules.INJECT] = "sidecar"
    return pods.client_pod(f"settings-{name}", script, annotations=asked)


def _with(pod: dict[str, Any], *, spec: Mapping[str, Any] = {}, **client: Any) -> dict[str, Any]:
    """The Pod with more fields of its spec, and of its client container."""
    container = {**pod["spec"]["containers"][0], **client}
    return {**pod, "spec": {**pod["spec"], **spec, "containers": [container]}}


def _init_builds() -> dict[str, Any]:
    pod = _pod("init-builds", _RUN_BUILT)
    init = {"name": "build", "image": CLIENT, "command": ["sh", "-euxc", _BUILD]}
    return _with(pod, spec={"initContainers": [init]})


def _share() -> dict[str, Any]:
    return _with(_pod("share", _SHARE, share="/shared,/opt/tools:seed"), image=SEEDED)


def _pod_level_resources() -> dict[str, Any]:
    resources = {
        "requests": {"cpu": "200m", "memory": "256Mi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    }
    return _with(_pod("pod-level", _WORK), spec={"resources": resources})


def _locked_down(name: str, **annotations: str) -> dict[str, Any]:
    return _with(
        _pod(name, _LOCKED_DOWN, **annotations),
        spec={
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 3000,
                "seccompProfile": {"type": "RuntimeDefault"},
            }
        },
        securityContext={
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    )


def _grouped(name: str, **groups: Any) -> dict[str, Any]:
    user = {"runAsUser": 1000, "runAsGroup": 1000, **groups}
    return _with(_pod(name, _GROUPS, transport="unix"), spec={"securityContext": user})


def _six_containers() -> dict[str, Any]:
    pod = _pod("six", "true", containers=",".join(_TWO_OF_SIX))
    command = ["sh", "-exc", _WHICH]
    pod["spec"]["containers"] = [
        {"name": name, "image": CLIENT, "command": command} for name in _SIX
    ]
    return pod


def _limited_storage(name: str, **annotations: str) -> dict[str, Any]:
    resources = {"limits": {"ephemeral-storage": "50Mi"}}
    return _with(_pod(name, _FILL, **annotations), resources=resources)


# These start first, and end the last.
_STORAGE_PODS: Final = (
    _limited_storage("fits"),
    _limited_storage("evicted", limits="ephemeral-storage=20Mi"),
)
_PODS: Final = (
    (_init_builds(), _share(), _pod_level_resources()),
    (_locked_down("locked-down"), _locked_down("locked-down-unix", transport="unix")),
    (
        _grouped("fs-group", fsGroup=3000),
        _grouped("supplemental-groups", supplementalGroups=[4000]),
        _six_containers(),
    ),
)


@pytest.fixture(scope="module", autouse=True)
def started(node: NodeCluster) -> None:
    """All Pods of the tables: few enough at once for a small machine."""
    seeded = contents.client()
    seeded.name = SEEDED
    seeded.files["opt/tools/tool"] = "from the client's image\n"
    node.add_images(seeded)
    for pod in _STORAGE_PODS:
        pods.start(node.api, NAMESPACE, pod)
    for together in _PODS:
        for pod in together:
            pods.start(node.api, NAMESPACE, pod)
        for pod in together:
            pods.wait_for_end(node.api, NAMESPACE, pod["metadata"]["name"])


@pytest.fixture(scope="module", autouse=True)
def limited(node: NodeCluster) -> None:
    """A namespace whose LimitRange has a small default, and a Pod there."""
    limits = {"type": "Container", "default": _SMALL, "defaultRequest": _SMALL}
    _create_namespace(node, LIMITED, "limitranges", {"limits": [limits]})
    pods.start(node.api, LIMITED, _pod("limited", _WORK))


@pytest.fixture(scope="module", autouse=True)
def used(node: NodeCluster) -> dict[str, str]:
    """What a Pod uses of a ResourceQuota that wants all requests and limits said."""
    hard = {
        "requests.cpu": "2",
        "requests.memory": "4Gi",
        "limits.cpu": "4",
        "limits.memory": "4Gi",
    }
    _create_namespace(node, COUNTED, "resourcequotas", {"hard": hard})
    path = f"/api/v1/namespaces/{COUNTED}/resourcequotas/settings"
    # What admission knows of a quota is a moment older than what can be read of it, and a quota
    # without figures admits all.
    unlimited = pods.client_pod("unlimited", "true")
    wait_until(
        lambda: node.api.create_pod(COUNTED, unlimited).status == 403, "the quota is enforced"
    )
    pod = _pod("counted", _WORK, requests="cpu=200m,memory=200Mi", limits="cpu=1,memory=1Gi")
    pods.start(node.api, COUNTED, _with(pod, resources=_SMALL_CLIENT))
    found = node.api.must("GET", path)["status"]["used"]
    assert isinstance(found, dict)
    return found


def _create_namespace(node: NodeCluster, name: str, kind: str, spec: Mapping[str, Any]) -> None:
    """A namespace without a label of dinp's: annotations count in any."""
    answer = node.api.create_namespace(name)
    assert answer.status == 201, answer.message
    path = f"/api/v1/namespaces/{name}/{kind}"
    node.api.must("POST", path, {"metadata": {"name": "settings"}, "spec": spec})


def _said(
    node: NodeCluster, name: str, *, namespace: str = NAMESPACE, container: str = "client"
) -> str:
    whole = f"settings-{name}"
    return pods.said_at_end(node.cluster, namespace, whole, api=node.api, container=container)


def _daemon(node: NodeCluster, namespace: str, name: str) -> dict[str, Any]:
    """The daemon's container in the Pod that the API server has."""
    pod = node.api.must("GET", f"/api/v1/namespaces/{namespace}/pods/settings-{name}")
    (found,) = (it for it in pod["spec"]["initContainers"] if it["name"] == names.DIND)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("before", "after"), [("unix", "tls"), ("tls", "tcp")])
def test_applied_again(node: NodeCluster, before: str, after: str) -> None:
    """An exported Pod with another transport, and a daemon that somebody meddled with, builds and runs."""
    name = f"again-{after}"
    script = 'echo "daemon: $DOCKER_HOST"\n' + _WORK
    answer = node.api.create_pod(NAMESPACE, _pod(name, script, transport=before))
    assert answer.status == 201, answer.message
    exported = answer.body
    metadata = {key: exported["metadata"][key] for key in ("name", "labels", "annotations")}
    metadata["annotations"] |= {"dinp.io/transport": after}
    (dind,) = exported["spec"]["initContainers"]
    assert dind["name"] == names.DIND
    dind |= {"command": ["sh", "-c", "exit 1"], "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}}
    pods.start(node.api, NAMESPACE, {**exported, "metadata": metadata})
    lines = _said(node, name).splitlines()
    assert f"daemon: tcp://localhost:{2376 if after == 'tls' else 2375}" in lines
    assert "it runs" in lines


def test_an_init_container_builds(node: NodeCluster) -> None:
    """What the user's init container has built, the main container runs."""
    assert "built earlier" in _said(node, "init-builds").splitlines()


def test_a_shared_path_is_seen_both_ways(node: NodeCluster) -> None:
    """What one side writes below dinp.io/share the other reads; a seed is what the image has."""
    lines = _said(node, "share").splitlines()
    assert lines.count("by the client") == 1
    assert lines.count("from the client's image") == 1
    assert lines.count("by the container") == 2


def test_a_limit_range_does_not_starve_the_daemon(node: NodeCluster) -> None:
    """Its default is for the client; the daemon has limits of its own, and works."""
    pod = node.api.must("GET", f"/api/v1/namespaces/{LIMITED}/pods/settings-limited")
    assert pod["spec"]["containers"][0]["resources"]["limits"] == _SMALL
    limits = _daemon(node, LIMITED, "limited")["resources"]["limits"]
    assert limits == {"cpu": "2", "memory": "4Gi"}
    assert "it runs" in _said(node, "limited", namespace=LIMITED).splitlines()


def test_a_quota_counts_the_daemon(node: NodeCluster, used: dict[str, str]) -> None:
    """A Pod that says the daemon's limits is admitted, counted with them, and works."""
    assert used == {
        "requests.cpu": "300m",
        "requests.memory": "264Mi",
        "limits.cpu": "1100m",
        "limits.memory": "1088Mi",
    }
    assert "it runs" in _said(node, "counted", namespace=COUNTED).splitlines()


def test_a_quota_names_the_daemon_without_limits(node: NodeCluster) -> None:
    """A Pod that leaves them out is refused by the quota, which says whose are missing."""
    answer = node.api.create_pod(COUNTED, _with(_pod("unsaid", _WORK), resources=_SMALL_CLIENT))
    assert answer.status == 403
    assert "must specify limits.cpu for: dinp-dind; limits.memory for: dinp-dind" in answer.message


def test_pod_level_resources_are_the_daemons(node: NodeCluster) -> None:
    """Where the Pod itself has resources, the daemon has none of its own."""
    assert "it runs" in _said(node, "pod-level").splitlines()
    assert _daemon(node, NAMESPACE, "pod-level").get("resources", {}) == {}


@pytest.mark.parametrize("name", ["locked-down", "locked-down-unix"])
def test_the_pods_security_context_is_the_clients_alone(node: NodeCluster, name: str) -> None:
    """The client is as locked down as it asks to be, and has its daemon all the same."""
    said = _said(node, name)
    assert "uid=1000(client) gid=1000(client)" in said
    assert "Read-only file system" in said
    assert "Seccomp:\t2" in said  # filtered
    assert "it runs" in said.splitlines()


@pytest.mark.parametrize(
    ("name", "group", "groups"),
    [
        ("fs-group", "3000", {"1000", "3000"}),
        ("supplemental-groups", "2375", {"1000", "2375", "4000"}),
    ],
)
def test_a_client_that_is_not_root_is_in_the_sockets_group(
    node: NodeCluster, name: str, group: str, groups: set[str]
) -> None:
    """By the Pod's fsGroup, else by a supplementary one beside those that it has."""
    lines = _said(node, name).splitlines()
    assert "1000" in lines
    assert f"socket: {group}" in lines
    (found,) = (line for line in lines if line.startswith("groups: "))
    assert set(found.split()[1:]) == groups
    assert "it runs" in lines


@pytest.mark.parametrize("container", _SIX)
def test_only_named_containers_are_clients(node: NodeCluster, container: str) -> None:
    """Of six containers the two that dinp.io/containers names have a daemon; the others nothing."""
    said = _said(node, "six", container=container)
    if container in _TWO_OF_SIX:
        assert "daemon: tcp://localhost:2375" in said
        assert "29." in said.partition("Server:")[2]
    else:
        assert "daemon: none" in said
        assert "Server:" not in said


def test_a_pod_in_the_nodes_network_is_refused(node: NodeCluster) -> None:
    """A daemon there would rewrite the node's own iptables."""
    answer = node.api.create_pod(NAMESPACE, _with(_pod("host", _WORK), spec={"hostNetwork": True}))
    assert answer.status == 403
    assert "hostNetwork" in answer.message


def test_a_clients_storage_limit_is_not_the_daemons(node: NodeCluster) -> None:
    """The kubelet evicts a Pod for its images only where the daemon's own limit is small, too."""
    phase = pods.wait_for_end(node.api, NAMESPACE, "settings-evicted")
    evicted = node.api.must("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/settings-evicted")
    assert (phase, evicted["status"].get("reason")) == ("Failed", "Evicted")

    done = node.cluster.kubectl(
        *("exec", f"--namespace={NAMESPACE}", "settings-fits", "--container=client"),
        *("--", "touch", "/go-on"),
    )
    assert done.code == 0, done.err
    assert "it runs" in _said(node, "fits").splitlines()
    daemon = _daemon(node, NAMESPACE, "fits")
    assert daemon["resources"]["limits"] == {"ephemeral-storage": "20Gi"}
