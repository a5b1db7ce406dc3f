"""admission: from the bytes of a review to the bytes of its answer."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest

from tests.webhook import small_pods as build
from tools.serving import admission_review
from webhook import __version__, admission
from webhook.admission import Outcome, ReviewError
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.reasons import Reason

KIND = {"group": "", "version": "v1", "kind": "Pod"}
UID = '705ab4f5-6393-11e8-b7cc-42010a800002 "☃'


def body(pod: Any = None, /, **request: Any) -> bytes:
    fields = {"uid": UID, "kind": KIND, "operation": "CREATE", "object": pod, **request}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": fields}
    return json.dumps(review).encode()


def review(pod: Any, path: str = "/pods/annotated", **request: Any) -> Outcome:
    return admission.review(body(pod, **request), RULES[path], build.DEFAULT)


def response(outcome: Outcome) -> dict[str, Any]:
    answer = json.loads(outcome.body)
    assert answer["apiVersion"] == "admission.k8s.io/v1"
    assert answer["kind"] == "AdmissionReview"
    assert answer["response"]["uid"] == UID
    found: dict[str, Any] = answer["response"]
    return found


def envelope(**changes: Any) -> bytes:
    review: dict[str, Any] = json.loads(body(build.pod()))
    return json.dumps({**review, **changes}).encode()


@pytest.mark.parametrize(
    ("says", "raw"),
    [
        ("not an AdmissionReview of admission.k8s.io/v1: ", b""),
        ("not an AdmissionReview", b"not JSON"),
        ("not an AdmissionReview", b"[" * 100_000),
        ("not an AdmissionReview", b"\xff\xfe"),
        ("not an AdmissionReview", body(build.pod())[:-1]),
        ("not an AdmissionReview", b'{"apiVersion":"admission.k8s.io/v1","x":"\xff"}'),
        ("got `array`", b"[]"),
        ("`apiVersion`", b"{}"),
        ("at `$.apiVersion`", envelope(apiVersion="admission.k8s.io/v1beta1")),
        ("at `$.apiVersion`", envelope(apiVersion="v1")),
        ("at `$.kind`", envelope(kind="Pod")),
        ("got `null` - at `$.request`", envelope(request=None)),
        ("`uid` - at `$.request`", envelope(request={})),
        ("at `$.request.uid`", body(build.pod(), uid=1)),
        ("at `$.request.kind`", body(build.pod(), kind=None)),
        ("expected a Pod, got null - at `$.request.object`", body(None)),
        ("at `$.request.object`", body([])),
        ("at `$.request.object`", body("Pod")),
        (
            "expected v1/Pod, got apps/v1/Deployment - at `$.request.kind`",
            body({}, kind={"group": "apps", "version": "v1", "kind": "Deployment"}),
        ),
        (
            "expected v1/Pod, got v2/Pod",
            body(build.pod(), kind={**KIND, "version": "v2"}),
        ),
        ("at `$.request.object.kind`", body({"kind": "Job"})),
        ("at `$.request.object.kind`", body({"kind": "Pod", "apiVersion": "v2"})),
        ("not an AdmissionReview", body({"x": 0}).replace(b"0", b"[" * 50_000)),
    ],
    ids=range(23),
)
def test_what_is_no_review_of_a_pod(says: str, raw: bytes) -> None:
    """400, with a sentence that says where."""
    with pytest.raises(ReviewError) as caught:
        admission.review(raw, RULES["/pods/annotated"], build.DEFAULT)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "pod",
    [
        {},
        {"spec": None},
        {"spec": {"containers": None}},
        {"spec": {"containers": []}},
        {"spec": {"containers": [{"name": "a", "env": {}}]}},
        {"spec": {"containers": "all"}, "metadata": {"name": 5, "ownerReferences": [1]}},
        {"spec": {}, "metadata": []},
        {"spec": {"containers": [{"name": "a"}]}, "metadata": {"ownerReferences": {}}},
    ],
)
def test_what_the_api_server_refuses_itself(pod: dict[str, Any]) -> None:
    """Admitted unchanged, whatever the namespace's rule: its message is better than ours."""
    outcome = review(pod, "/pods/inject/sidecar")
    found = response(outcome)
    assert found["allowed"] is True
    assert "patch" not in found
    assert (outcome.outcome, outcome.reason) == ("unchanged", Reason.INVALID_POD)


@pytest.mark.parametrize(
    "request_", [{"operation": "UPDATE"}, {"subResource": "ephemeralcontainers"}]
)
def test_other_operations(request_: dict[str, str]) -> None:
    """Only the creation of Pods is looked at."""
    outcome = review(build.asking(), **request_)
    assert response(outcome)["allowed"] is True
    assert "patch" not in response(outcome)
    assert outcome.reason is Reason.OTHER_OPERATION


def test_a_mutation() -> None:
    """A base64 JSON patch, and what operators want to know."""
    pod = build.asking()
    outcome = review(pod, namespace="ci", name="")
    found = response(outcome)
    operations = json.loads(base64.b64decode(found["patch"], validate=True))
    expected = admission.inject(dict(pod), RULES["/pods/annotated"], build.DEFAULT).operations
    assert found["patchType"] == "JSONPatch"
    assert expected == operations
    assert len(operations) == outcome.operations
    assert "status" not in found
    assert found["auditAnnotations"] == {
        "rule": "annotated",
        "outcome": "mutated",
        "reason": "injected",
        "version": __version__,
        "mode": "sidecar",
    }
    assert (outcome.uid, outcome.namespace, outcome.name) == (UID, "ci", "ci")
    assert (outcome.outcome, outcome.mode, outcome.reason) == (
        "mutated",
        "sidecar",
        Reason.INJECTED,
    )
    assert RULES["/pods/annotated"] == outcome.rule


def test_a_pod_that_nobody_asks_for() -> None:
    """Allowed, without patch, warnings or mode."""
    found = response(review(build.pod(), "/pods/annotated/shared"))
    assert set(found) == {"uid", "allowed", "auditAnnotations"}
    assert found["auditAnnotations"] == {
        "rule": "annotated/shared",
        "outcome": "unchanged",
        "reason": "not_requested",
        "version": __version__,
    }


@pytest.mark.parametrize(
    ("says", "annotations"),
    [
        (("dinp.io/inject", "'on'", "sidecar"), {"dinp.io/inject": "on"}),
        (("dinp.io/containers", "nobody", "build"), {"dinp.io/containers": "nobody"}),
        (("dinp.io/limits", "memory=lots", "4Gi"), {"dinp.io/limits": "memory=lots"}),
        (("dinp.io/share", "'src'", "absolute"), {"dinp.io/share": "src"}),
        (("dinp.io/image", "'evil'", "docker:*-dind"), {"dinp.io/image": "evil"}),
        (("dinp.io/dockerd-args", "'--host=x'", "--mtu"), {"dinp.io/dockerd-args": "--host=x"}),
        (("dinp.io/transport", "'udp'", "tcp or tls or unix"), {"dinp.io/transport": "udp"}),
    ],
)
def test_denials(says: tuple[str, ...], annotations: dict[str, str]) -> None:
    """403 Forbidden: the key, the value, what is allowed; nothing changes."""
    outcome = review(build.asking(annotations=annotations))
    found = response(outcome)
    assert found["allowed"] is False
    assert found["status"]["code"] == 403
    assert found["status"]["reason"] == "Forbidden"
    message = found["status"]["message"]
    assert message.startswith("dinp: ")
    assert all(word in message for word in says)
    assert message.endswith(f" [{outcome.reason.value}]")
    assert "patch" not in found
    assert (outcome.outcome, outcome.operations) == ("denied", 0)


@pytest.mark.parametrize(
    ("says", "pod"),
    [
        ("differ ('false' and 'sidecar')", build.asking(labels={"dinp.io/inject": "false"})),
        ("dinp.io/shared-daemon=allowed", build.asking("daemonset")),
        ("remove hostNetwork", build.asking(hostNetwork=True)),
        ("Windows", build.asking(os={"name": "windows"})),
        ("remove hostUsers", build.asking(hostUsers=False)),
        ("choose another", build.asking(volumes=[build.host_path("dinp-run", "/x")])),
        (
            "remove the annotation or use dinp.io/inject: sidecar",
            build.asking("daemonset", annotations={"dinp.io/storage": "emptydir"}),
        ),
    ],
)
def test_denials_say_what_to_do(says: str, pod: Any) -> None:
    """The reason, and the way out."""
    path = "/pods/annotated/shared" if "remove the annotation" in says else "/pods/annotated"
    found = response(review(pod, path))
    assert found["allowed"] is False
    assert says in found["status"]["message"]


def test_the_code_of_a_long_denial_is_whole() -> None:
    """The sentence is shortened, so that both have room in 4 KiB."""
    containers = [build.container(f"{at}-{'☃' * 200}") for at in range(9)]
    pod = build.asking("sidecar", *containers, annotations={"dinp.io/containers": "☃" * 999})
    message = response(review(pod))["status"]["message"]
    assert message.endswith("☃… [unknown_container]")
    assert 4090 < len(message.encode()) <= 4096


def test_a_namespaces_default_that_cannot_work() -> None:
    """Admitted with a warning, and the reason in dinp.io/status alone."""
    outcome = review(build.pod(hostNetwork=True), "/pods/inject/sidecar")
    found = response(outcome)
    (operation,) = json.loads(base64.b64decode(found["patch"]))
    assert found["allowed"] is True
    assert any("hostNetwork" in warning for warning in found["warnings"])
    assert operation["path"].startswith("/metadata/annotations")
    assert "host_network" in json.dumps(operation["value"])
    assert outcome.reason is Reason.HOST_NETWORK


def test_long_warnings_are_cut_at_256_bytes() -> None:
    """The API server would cut them in mid-letter; the whole sentence is in the status."""
    name = "ü" * 250
    container = build.container(name, env=[{"name": "DOCKER_HOST", "value": "tcp://x\n☃"}])
    found = response(review(build.asking("sidecar", container)))
    assert all(len(warning.encode()) <= 256 for warning in found["warnings"])
    assert any(warning.endswith("ü…") for warning in found["warnings"])
    assert all(warning.startswith("dinp: ") for warning in found["warnings"])


def test_control_characters_do_not_reach_a_header() -> None:
    """The API server drops a warning that has them."""
    container = build.container(volumeMounts=[build.mount("run", "/a\nb\x00")])
    pod = build.asking("sidecar", container, volumes=[build.host_path("run", "/run")])
    found = response(review(pod))
    assert any("/a b " in warning for warning in found["warnings"])
    assert all(warning.isprintable() for warning in found["warnings"])


@pytest.mark.parametrize("text", build.ODD_TEXT)
def test_text_of_users_comes_out_as_it_went_in(text: str) -> None:
    """Quotes, newlines, `~`, `/`, `$(X)` and unicode, in names and values."""
    path = f"/w{text}"
    container = build.container(
        env=[{"name": "A", "value": text}], volumeMounts=[build.mount("work", path)]
    )
    pod = build.asking("sidecar", container, annotations={f"example.com/{text}": text})
    result = admission.inject(dict(pod), RULES["/pods/annotated"], build.DEFAULT)
    (new,) = result.pod["spec"]["containers"]
    assert (new.get("env") or [])[-1]["value"] == text
    assert (new.get("volumeMounts") or [])[0]["mountPath"] == path
    assert response(review(pod))["allowed"] is True


@pytest.mark.parametrize(
    ("name", "owner", "metadata", "request_"),
    [
        ("given", None, {"name": "other"}, {"name": "given"}),
        ("mine", None, {"name": "mine"}, {}),
        ("job-*", "Job/nightly", {
            "generateName": "job-", "ownerReferences": [{"kind": "Job", "name": "nightly"}],
        }, {}),
        ("*", None, {}, {}),
        ("*", None, {"ownerReferences": []}, {}),
        ("", None, None, {}),
    ],
)  # fmt: skip
def test_names_for_operators(
    name: str, owner: str | None, metadata: Any, request_: dict[str, str]
) -> None:
    """The Pod as people know it, and who made it."""
    outcome = review({**build.pod(), "metadata": metadata}, **request_)
    assert (name, owner) == (outcome.name, outcome.owner)


def test_a_status_of_the_users_is_no_traceback() -> None:
    """Nested a hundred thousand deep, or with half a letter: an answer, never a 500."""
    for there in ("[" * 100_000, '{"warnings":["\\ud800"]}', '{"warnings":[NaN]}'):
        outcome = review(build.asking(annotations={"dinp.io/status": there}))
        assert response(outcome)["allowed"] is True


def test_host_paths_without_a_path() -> None:
    """The API server refuses them itself; the triage meets them first."""
    container = build.container(
        volumeMounts=[build.mount("socket", "/var/run/docker.sock"), build.mount("odd", "/odd")]
    )
    for odd in ({"type": ""}, {"path": None}, {"path": ""}):
        pod = build.with_socket(container, volumes=[{"name": "odd", "hostPath": odd}])
        assert response(review(pod, "/pods/migrate/sidecar"))["allowed"] is True


# `@` is where the types of a Pod say nothing.
UNTYPED: dict[str, dict[str, Any]] = {
    "fieldPath": {"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "@"}}}]},
    "protocol": {"ports": [{"containerPort": 2375, "protocol": "@"}]},
    "containerPort": {"command": ["dockerd"], "ports": [{"containerPort": "@"}]},
    "privileged": {"image": "docker:dind", "securityContext": {"privileged": "@"}},
    "toleration": {},
    "propagation of a dinp-dind": {},
    "resources of a dinp-dind": {},
}


@pytest.mark.parametrize("odd", ["{}", "[]", '{"a":1}', '["a"]', "1", "true", '"a"'])
@pytest.mark.parametrize("where", UNTYPED)
def test_values_of_another_type(where: str, odd: str) -> None:
    """Any JSON is answered there, and is never a bug of ours."""
    mounts = [build.mount("socket", "/var/run/docker.sock")]
    pod: Any = build.with_socket(build.container(volumeMounts=mounts, **UNTYPED[where]))
    if where == "toleration":
        pod["spec"]["tolerations"] = [{"key": "@"}]
    if "dinp-dind" in where:
        run = {**build.mount("dinp-run", "/dinp"), "mountPropagation": "@"}
        other = {**build.mount("socket", "/x"), "mountPropagation": "@"}
        dind = {"name": "dinp-dind", "resources": "@" if "resources" in where else {}}
        pod["spec"]["initContainers"] = [{**dind, "volumeMounts": [run, other]}]
        pod["metadata"] = {"annotations": {"dinp.io/inject": "sidecar"}}
    raw = body(pod).replace(b'"@"', odd.encode())
    with suppress(ReviewError):
        admission.review(raw, RULES["/pods/migrate/sidecar"], build.DEFAULT)


NESTED: dict[str, dict[str, Any]] = {
    "a field of nobody's in a dinp-dind": {"initContainers": [{"name": "dinp-dind", "x": "@"}]},
    "what a seed repeats": {"containers": [{"name": "a", "securityContext": {"x": "@"}}]},
    "a volume of dinp's": {"volumes": [{"name": "dinp-storage", "emptyDir": {"sizeLimit": "@"}}]},
}


@pytest.mark.parametrize("where", NESTED)
def test_nesting_of_any_depth(where: str) -> None:
    """What no field of a Pod's types is ends as no review, wherever in it the recursion ends."""
    asking = {
        "dinp.io/inject": "sidecar",
        "dinp.io/share": "/s:seed",
        "dinp.io/storage": "emptydir:1Gi",
    }
    spec = {"containers": [{"name": "a"}], **NESTED[where]}
    body = json.dumps(admission_review({"metadata": {"annotations": asking}, "spec": spec}))
    ended = 0
    for depth in range(700, 1010):
        nested = body.replace('"@"', "[" * depth + "]" * depth).encode()
        try:
            admission.review(nested, RULES["/pods/annotated"], Config())
        except ReviewError:
            ended += 1
    assert ended


def test_text_that_is_none_in_a_field_of_nobodys() -> None:
    """The first decoding leaves it out, and a dinp-dind is decoded whole: no review, and no bug of ours."""
    pod = build.asking("sidecar", initContainers=[build.container("dinp-dind", x="@")])
    body = json.dumps(admission_review(pod)).encode().replace(b'"@"', b'"\xff"')
    with pytest.raises(ReviewError):
        admission.review(body, RULES["/pods/annotated"], Config())
