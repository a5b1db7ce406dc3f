"""What users, auditors and other clients see of dinp at a real API server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.api import APPLY_PATCH, MERGE_PATCH, Api
from tests.cluster.installation import (
    BASE,
    CONFIGURATION,
    RULE_NAMESPACES,
    Installation,
    is_injected,
    small_pod,
)
from webhook import __version__

pytestmark = pytest.mark.cluster

PODS = "/api/v1/namespaces/{}/pods"
SHARED_WARNING = "Warning: dinp: docker run -v sees the file system of the shared daemon"

_numbers = itertools.count()


def whole(pod: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def dind_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    containers = pod["spec"].get("initContainers", [])
    return [container for container in containers if container["name"] == "dinp-dind"]


Create = Callable[..., dict[str, Any]]


@pytest.fixture
def create(api: Api) -> Iterator[Create]:
    """Create Pods that stay until the end of the test."""
    paths = []

    def pod(namespace: str, inject: str | None = None, **metadata: Any) -> dict[str, Any]:
        wanted = small_pod(inject, name=f"kept-{next(_numbers)}")
        wanted["metadata"] |= metadata
        answer = api.create_pod(namespace, wanted, dry_run=False)
        assert answer.status == 201, answer.message
        paths.append(f"{PODS.format(namespace)}/{answer.body['metadata']['name']}")
        return answer.body

    yield pod
    for path in paths:
        api.must("DELETE", f"{path}?gracePeriodSeconds=0")


@pytest.mark.parametrize("command", ["create", "apply"])
def test_kubectl_prints_the_warnings(served: Installation, command: str) -> None:
    """A user reads at once what the daemon will not do."""
    arguments = (command, "--namespace=inject-daemonset", "--filename=-", "--dry-run=server")
    pod = whole(small_pod())
    pod["spec"]["containers"][0]["command"] = ["docker", "run", "-v", "/src:/src", "app"]
    done = served.cluster.kubectl(*arguments, given=pod)
    assert done.code == 0
    assert len([line for line in done.err.splitlines() if line.startswith(SHARED_WARNING)]) == 1


def test_kubectl_prints_the_refusal(served: Installation) -> None:
    """A typo is refused at once, by a sentence that names the value and the valid ones."""
    pod = whole(small_pod("sidcar"))
    arguments = ("create", "--namespace=annotated", "--filename=-")
    done = served.cluster.kubectl(*arguments, given=pod)
    assert done.code == 1
    assert 'admission webhook "annotated.dinp.io" denied the request: dinp: ' in done.err
    assert "sidcar" in done.err
    assert "expected sidecar, daemonset, service or false [bad_value]" in done.err


def test_a_refusal_is_final(api: Api) -> None:
    """403 Forbidden, without the words for which controllers wait or retry."""
    answer = api.create_pod("annotated", small_pod("daemonset"))
    assert (403, "Forbidden") == (answer.status, answer.body["reason"])
    assert "exceeded quota" not in answer.message


@pytest.mark.parametrize("inject", ["sidecar", "false", "service"])
def test_audit_annotations(served: Installation, inject: str) -> None:
    """The audit log has what dinp did, under the entry's name, also where it refused."""
    answer = served.api.create_pod("annotated", small_pod(inject))
    (event,) = served.cluster.audit_events(answer.audit_id)
    prefix = "annotated.dinp.io/"
    found = {
        name.removeprefix(prefix): value
        for name, value in event["annotations"].items()
        if name.startswith(prefix)
    }
    outcome, reason = {
        "sidecar": ("mutated", "injected"),
        "false": ("unchanged", "opted_out"),
        "service": ("denied", "shared_daemon_not_allowed"),
    }[inject]
    mode = {"mode": "sidecar"} if inject == "sidecar" else {}
    expected = {"rule": "annotated", "outcome": outcome, "version": __version__, **mode}
    assert {**expected, "reason": reason} == found


def test_dry_run_is_the_whole_answer_and_leaves_nothing(served: Installation) -> None:
    """--dry-run=server shows the Pod as it would be; no side effects, so dinp may be called."""
    before = served.reviews()
    answer = served.api.create_pod("annotated", small_pod("sidecar", name="dry"))
    assert is_injected(answer)
    assert {"annotated"} == set(served.reviews() - before)
    assert served.api.get(f"{PODS.format('annotated')}/dry").status == 404


def test_generate_name(served: Installation, create: Create) -> None:
    """A Pod whose name the API server makes up is injected, and logged by its prefix."""
    pod = create("annotated", "sidecar", name=None, generateName="runner-")
    assert pod["metadata"]["name"].startswith("runner-")
    assert dind_of(pod)
    assert "runner-" in served.log_lines()[-1]["name"]


def test_server_side_apply_twice(api: Api, create: Create) -> None:
    """Applied again, an injected Pod neither conflicts nor changes: dinp's fields are its own."""
    del create
    pod = whole(small_pod("sidecar", name="applied"))
    path = f"{PODS.format('annotated')}/applied?fieldManager=ci"
    first = api.request("PATCH", path, pod, media_type=APPLY_PATCH)
    try:
        second = api.request("PATCH", path, pod, media_type=APPLY_PATCH)
        assert (201, 200) == (first.status, second.status), second.message
        assert is_injected(first)
        assert first.body["spec"] == second.body["spec"]
        (owned,) = first.body["metadata"]["managedFields"]
        assert ("ci", "Apply") == (owned["manager"], owned["operation"])
        assert {"f:containers", "f:restartPolicy"} == owned["fieldsV1"]["f:spec"].keys()
    finally:
        api.must("DELETE", f"{path.partition('?')[0]}?gracePeriodSeconds=0")


def test_apply_by_kubectl_twice(served: Installation) -> None:
    """kubectl apply of the same file again changes nothing, and kubectl delete finds the Pod."""
    given = whole(small_pod("sidecar", name="by-kubectl"))
    first = served.cluster.kubectl("apply", "--namespace=annotated", "--filename=-", given=given)
    try:
        second = served.cluster.kubectl(
            "apply", "--namespace=annotated", "--filename=-", given=given
        )
        assert (0, 0) == (first.code, second.code), second.err
        assert "pod/by-kubectl unchanged\n" == second.out
    finally:
        served.api.must("DELETE", f"{PODS.format('annotated')}/by-kubectl?gracePeriodSeconds=0")


@pytest.mark.parametrize(
    "flags",
    [("--kustomize", str(BASE)), ("--server-side", "--kustomize", str(BASE))],
    ids=["client-side", "server-side"],
)
def test_an_upgrade_keeps_the_ca_bundle(served: Installation, flags: tuple[str, ...]) -> None:
    """The manifests applied again leave caBundle alone: it is not theirs, and dinp stays called."""
    before = [entry["clientConfig"]["caBundle"] for entry in _entries(served.api)]
    done = served.cluster.kubectl("apply", *flags)
    assert done.code == 0, done.err
    assert before == [entry["clientConfig"]["caBundle"] for entry in _entries(served.api)]
    assert len(before) == len(RULE_NAMESPACES)
    assert is_injected(served.api.create_pod("annotated", small_pod("sidecar")))


def _entries(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.must("GET", CONFIGURATION)["webhooks"]
    return found


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("storage", "pvc:other/claim"),
        ("storage", "pvc:../claim"),
        ("daemon-config", "other/config"),
        ("daemon-config", "../config"),
    ],
)
def test_names_stay_in_the_pods_namespace(api: Api, annotation: str, value: str) -> None:
    """A name that could mean another namespace's object is refused."""
    pod = small_pod("sidecar")
    pod["metadata"]["annotations"][f"dinp.io/{annotation}"] = value
    answer = api.create_pod("annotated", pod)
    assert answer.status == 403
    assert f"denied the request: dinp: annotation dinp.io/{annotation}: " in answer.message
    assert value in answer.message


@pytest.mark.parametrize("verb", ["get", "list", "create", "update", "delete"])
@pytest.mark.parametrize("resource", ["secrets", "configmaps", "serviceaccounts", "pods"])
def test_dinp_may_read_nothing(api: Api, verb: str, resource: str) -> None:
    """No account of the base reaches into another namespace: there is nothing to be borrowed."""
    accounts = api.must("GET", "/api/v1/namespaces/dinp-system/serviceaccounts")["items"]
    names = {account["metadata"]["name"] for account in accounts}
    asked = {"namespace": "annotated", "verb": verb, "resource": resource}
    allowed = {name for name in names if api.may("dinp-system", name, **asked)}
    assert {"dinp", "dinp-certs"} <= names
    assert set() == allowed


def test_updates_are_not_sent(served: Installation, create: Create) -> None:
    """A running Pod is out of reach: an annotation that is added later changes nothing."""
    pod = create("annotated")
    path = f"{PODS.format('annotated')}/{pod['metadata']['name']}"
    before = served.reviews()
    patch = {"metadata": {"annotations": {"dinp.io/inject": "sidecar"}}}
    answer = served.api.request("PATCH", path, patch, media_type=MERGE_PATCH)
    assert (200, []) == (answer.status, dind_of(answer.body))
    assert not served.reviews() - before


def test_ephemeral_containers_are_not_sent(served: Installation, create: Create) -> None:
    """kubectl debug works on Pods of an inject namespace, and its container is left alone."""
    pod = create("inject-sidecar")
    path = f"{PODS.format('inject-sidecar')}/{pod['metadata']['name']}/ephemeralcontainers"
    before = served.reviews()
    debugger = {"name": "debugger", "image": "busybox:1"}
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    answer = served.api.request("PATCH", path, patch, media_type=MERGE_PATCH)
    assert answer.status == 200, answer.message
    (container,) = answer.body["spec"]["ephemeralContainers"]
    assert "env" not in container
    assert not served.reviews() - before


def test_exec_is_not_sent(served: Installation, create: Create) -> None:
    """kubectl exec is a CONNECT and none of ours (here it ends at the missing node)."""
    pod = create("inject-sidecar")
    path = f"{PODS.format('inject-sidecar')}/{pod['metadata']['name']}/exec?command=id&stdout=1"
    before = served.reviews()
    answer = served.api.request("POST", path)
    assert answer.status == 400
    assert "does not have a host assigned" in answer.message
    assert not served.reviews() - before


@pytest.fixture(scope="module")
def secured(dinp: Installation) -> tuple[str, ...]:
    """Namespaces of the two stricter levels of Pod Security, which may use shared daemons."""
    levels = ("baseline", "restricted")
    for level in levels:
        key = "pod-security.kubernetes.io/enforce"
        labels = {key: level, "dinp.io/shared-daemon": "allowed"}
        assert dinp.api.create_namespace(level, labels).status == 201
    return levels


def restricted_pod(inject: str) -> dict[str, Any]:
    pod = small_pod(inject)
    (container,) = pod["spec"]["containers"]
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod["spec"]["containers"] = [{**container, "securityContext": security}]
    return pod


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_pod_security_judges_the_sidecar(api: Api, secured: tuple[str, ...], level: str) -> None:
    """A privileged daemon is no way around Pod Security: the refusal names its container."""
    assert level in secured
    answer = api.create_pod(level, restricted_pod("sidecar"))
    assert answer.status == 403
    assert f'violates PodSecurity "{level}:latest"' in answer.message
    assert 'privileged (container "dinp-dind" must not set' in answer.message


def test_pod_security_admits_a_sidecar_without_privileges(
    api: Api, secured: tuple[str, ...]
) -> None:
    """Under sysbox the daemon is within `baseline`; `restricted` takes no container that is root."""
    assert "baseline" in secured
    name = "sysbox-runc"
    whole = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}}
    path = "/apis/node.k8s.io/v1/runtimeclasses"
    assert api.request("POST", path, {**whole, "handler": name}).status in (201, 409)
    pod = restricted_pod("sidecar")
    pod["spec"]["runtimeClassName"] = name
    answer = api.create_pod("baseline", pod)
    assert answer.status == 201, answer.message
    (dind,) = dind_of(answer.body)
    assert dind["securityContext"]["privileged"] is False
    assert 'violates PodSecurity "restricted:latest"' in api.create_pod("restricted", pod).message


def test_a_borrowed_sidecar_is_made_anew(api: Api, create: Create) -> None:
    """What the author's dinp-dind runs does not reach the node, and an image that is not allowed no Pod."""
    pod = small_pod("sidecar")
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "evil"]}}}
    theirs = {
        "name": "dinp-dind",
        "image": "docker:28-dind",
        "restartPolicy": "Always",
        "command": ["sh", "-c", "evil"],
        "args": ["evil"],
        "lifecycle": hook,
        "tty": True,
        "securityContext": {"privileged": True, "procMount": "Default"},
        "volumeMounts": [{"name": "dinp-run", "mountPath": "/dinp"}],
    }
    pod["spec"]["initContainers"] = [theirs]
    pod["spec"]["volumes"] = [{"name": "dinp-run", "emptyDir": {}}]
    answer = api.create_pod("annotated", pod)
    assert answer.status == 201, answer.message
    assert any("made anew, without" in warning for warning in answer.warnings)
    (found,), (fresh,) = dind_of(answer.body), dind_of(create("annotated", "sidecar"))
    assert {**fresh, "image": "docker:28-dind"} == found
    for namespace in ("annotated", "inject-sidecar"):
        pod["spec"]["initContainers"] = [{**theirs, "image": "evil"}]
        answer = api.create_pod(namespace, pod)
        assert answer.status == 403
        assert "allowedImages" in answer.message


@pytest.mark.parametrize("level", ["baseline", "restricted"])
@pytest.mark.parametrize("mode", ["daemonset", "service"])
def test_shared_daemons_need_no_privilege(
    api: Api, secured: tuple[str, ...], level: str, mode: str
) -> None:
    """What dinp adds for a shared daemon is within the strictest level."""
    assert level in secured
    answer = api.create_pod(level, restricted_pod(mode))
    assert answer.status == 201, answer.message
    assert mode == answer.body["metadata"]["labels"]["dinp.io/mode"]


@pytest.mark.parametrize("path", ["/run/dinp/docker.sock", "/run/dinp"])
def test_the_nodes_socket_is_for_pod_security(
    api: Api, secured: tuple[str, ...], path: str
) -> None:
    """By hand the socket of a shared daemon is a hostPath as any: where those are allowed, and only there."""
    pod = restricted_pod("false")
    pod["spec"]["volumes"] = [{"name": "docker", "hostPath": {"path": path}}]
    assert api.create_pod("annotated", pod).status == 201
    for level in secured:
        answer = api.create_pod(level, pod)
        assert answer.status == 403
        assert f'violates PodSecurity "{level}:latest"' in answer.message
        assert "hostPath" in answer.message


@pytest.mark.parametrize("namespace", RULE_NAMESPACES)
def test_odd_pods_pass_the_conditions(api: Api, namespace: str) -> None:
    """Pods that the API server refuses are refused by its own sentence, not by an error in CEL."""
    no_containers = {"metadata": {"name": "odd"}, "spec": {"containers": None}}
    host_path = {"name": "odd", "hostPath": {"path": "", "type": None}}
    odd = small_pod()
    odd["spec"]["volumes"] = [{"name": "x"}, {"name": "y", "hostPath": {"path": "/y"}}]
    odd["spec"]["initContainers"] = [{"name": "first", "image": "busybox:1"}]
    assert api.create_pod(namespace, odd).status == 201
    for pod in (no_containers, {**odd, "spec": {**odd["spec"], "volumes": [host_path]}}):
        answer = api.create_pod(namespace, pod)
        assert answer.status == 422, answer.message
        assert "is invalid: spec." in answer.message
