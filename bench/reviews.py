"""The AdmissionReviews that are measured: made here, the same bytes in every run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tools.serving import admission_review
from webhook.asking.rules import INJECT

CONTAINERS: Final = 4
_ENV: Final = 21
_MANAGED_FIELDS: Final = 4096
_UID: Final = "8e9f1d2c-5b7a-4c3e-9f10-2a4b6c8d0e1f"

# What an API server has filled in by the time webhooks are called.
_CONTAINER_DEFAULTS: Final[Mapping[str, Any]] = {
    "imagePullPolicy": "IfNotPresent",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["NET_RAW"]}},
}
_TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a mountPath
_TOKEN: Final = "kube-api-access-x7k2p"  # noqa: S105 - the name of a volume
_OWNER: Final = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "name": "build-2417",
    "uid": _UID,
    "controller": True,
    "blockOwnerDeletion": True,
}
_PROBE: Final = {
    "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
    "periodSeconds": 10,
    "timeoutSeconds": 1,
    "successThreshold": 1,
    "failureThreshold": 3,
}


def pods() -> dict[str, dict[str, Any]]:
    """The Pod of the usual review, and its variants, by what is special about each."""
    return {
        "usual": pod(),
        "5 env variables": pod(env=5),
        "200 env variables": pod(env=200),
        "2,000 env variables": pod(env=2000),
        "1 MB of managedFields": pod(managed_fields=1_000_000),
    }


def body(of: Mapping[str, Any]) -> bytes:
    """The review of one Pod, as JSON."""
    review = admission_review(of)
    review["request"]["uid"] = _UID
    return msgspec.json.encode(review)


def pod(*, env: int = _ENV, managed_fields: int = _MANAGED_FIELDS) -> dict[str, Any]:
    """A CI job as the API server shows it: asks for a sidecar, and one step mounts the socket.

    `env` is how many variables all containers have together, `managed_fields` about bytes.
    """
    made = authored(env=env)
    made["metadata"] |= {
        "namespace": "ci",
        "uid": _UID,
        "creationTimestamp": "2026-11-24T07:00:00Z",
        "annotations": {INJECT: "sidecar", **made["metadata"]["annotations"]},
        "managedFields": _managed_fields(managed_fields),
        "ownerReferences": [_OWNER],
    }
    spec = made["spec"]
    token = {"name": _TOKEN, "readOnly": True, "mountPath": _TOKEN_PATH}
    for container in spec["containers"]:
        container.update(_CONTAINER_DEFAULTS, volumeMounts=[*container["volumeMounts"], token])
    sources = [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]
    spec["volumes"].append({"name": _TOKEN, "projected": {"sources": sources, "defaultMode": 420}})
    spec |= {
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "tolerations": [
            {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute"}
            for what in ("not-ready", "unreachable")
        ],
    }
    return made


def authored(*, env: int = _ENV) -> dict[str, Any]:
    """The same Pod as its author writes it; it does not ask, so its namespace decides."""
    node_socket = {"path": "/var/run/docker.sock", "type": "Socket"}
    return {
        "metadata": {
            "name": "build-2417-h8x2q",
            "labels": {"app.kubernetes.io/name": "build", "app.kubernetes.io/part-of": "ci"},
            "annotations": {"example.com/pipeline": "https://ci.example.com/pipelines/2417"},
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 30,
            "volumes": [
                {"name": "workspace", "emptyDir": {}},
                {"name": "docker", "hostPath": node_socket},
            ],
            "containers": [_container(number, env) for number in range(CONTAINERS)],
        },
    }


def _container(number: int, env: int) -> dict[str, Any]:
    mounts = [{"name": "workspace", "mountPath": "/workspace"}]
    if number == 0:
        mounts.append({"name": "docker", "mountPath": "/var/run/docker.sock"})
    return {
        "name": f"step-{number}",
        "image": f"registry.example.com/ci/step-{number}:2026.11@sha256:{number:064x}",
        "command": ["sh", "-ec", "docker build -t app . && docker push app"],
        "workingDir": "/workspace",
        "ports": [{"name": f"http-{number}", "containerPort": 8080 + number, "protocol": "TCP"}],
        "env": [_variable(index) for index in range(number, env, CONTAINERS)],
        "resources": {
            "requests": {"cpu": "250m", "memory": "512Mi"},
            "limits": {"cpu": "2", "memory": "2Gi"},
        },
        "readinessProbe": _PROBE,
        "livenessProbe": _PROBE,
        "volumeMounts": mounts,
    }


def _variable(index: int) -> dict[str, Any]:
    name = f"CI_VARIABLE_{index:04}"
    if index % 5 == 4:
        reference = {"name": "ci-secrets", "key": f"key-{index}"}
        return {"name": name, "valueFrom": {"secretKeyRef": reference}}
    return {"name": name, "value": f"value {index} of the pipeline"}


def _managed_fields(size: int) -> list[dict[str, Any]]:
    """One entry whose fieldsV1 nests as that of a real one; about `size` bytes."""
    entry: dict[str, Any] = {"manager": "kube-controller-manager", "operation": "Update"}
    entry |= {"apiVersion": "v1", "time": "2026-11-24T07:00:00Z", "fieldsType": "FieldsV1"}
    containers: dict[str, Any] = {}
    entry["fieldsV1"] = {"f:metadata": {".": {}}, "f:spec": {"f:containers": containers}}
    written = len(msgspec.json.encode([entry]))
    number = 0
    while written < size:
        fields: dict[str, Any] = {name: {} for name in (".", "f:image", "f:name", "f:ports")}
        fields["f:env"] = {f'k:{{"name":"VAR_{number}_{i}"}}': {".": {}} for i in range(4)}
        key = f'k:{{"name":"step-{number}"}}'
        containers[key] = fields
        written += len(msgspec.json.encode({key: fields}))
        number += 1
    return [entry]
