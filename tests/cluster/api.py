"""A small client of the Kubernetes API: JSON over one connection, and kubectl."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from tests.cluster.processes import GO_SETTINGS, PATIENCE

_WARNING: Final = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_JSON: Final = "application/json"
# The API server closes connections that are idle for 90 s.
_IDLE_SECONDS: Final = 60.0
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    status: int
    body: Object
    warnings: tuple[str, ...]
    audit_id: str

    @property
    def message(self) -> str:
        """The sentence of a refusal, else nothing."""
        return str(self.body.get("message", "")) if self.status >= 400 else ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where an API server is, and who one is there."""

    address: str
    port: int
    ca_file: Path
    token: str
    kubeconfig: Path
    kubectl_program: Path
    audit_log: Path

    def kubectl(
        self, *arguments: str, given: Object | str | None = None, seconds: float = PATIENCE
    ) -> Kubectl:
        """Run kubectl, with `given` on its standard input."""
        text = given if given is None or isinstance(given, str) else json.dumps(given)
        command = self.kubectl_command(*arguments)
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            env={**os.environ, **GO_SETTINGS},
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Kubectl(done.returncode, done.stdout, done.stderr)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """The command line of a kubectl that one runs oneself."""
        return [str(self.kubectl_program), f"--kubeconfig={self.kubeconfig}", *arguments]

    def audit_events(self, audit_id: str) -> list[Object]:
        """The audit log's events of one request."""
        lines = self.audit_log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if audit_id in line]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """How one kubectl ended."""

    code: int
    out: str
    err: str


class Api:
    """One user's keep-alive connection."""

    def __init__(self, cluster: Cluster, token: str | None = None) -> None:
        self.cluster = cluster
        context = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._connection = http.client.HTTPSConnection(
            cluster.address, cluster.port, timeout=60, context=context
        )
        self._used = time.monotonic()
        self._headers = {"Authorization": f"Bearer {token or cluster.token}"}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        media_type: str = _JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; `path` may have a query.

        Raises:
            OSError: there is no connection.
        """
        sent = {**self._headers, "Content-Type": media_type, "Accept": _JSON, **(headers or {})}
        encoded = None if body is None else json.dumps(body)
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self._connection.close()  # the next request opens it anew
        self._used = time.monotonic()
        try:
            self._connection.request(method, path, encoded, sent)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        warnings = ", ".join(answer.headers.get_all("Warning", []))
        return Answer(
            answer.status,
            _decoded(text),
            tuple(re.sub(r"\\(.)", r"\1", found) for found in _WARNING.findall(warnings)),
            answer.headers.get("Audit-Id", ""),
        )

    def get(self, path: str) -> Answer:
        """Read one object."""
        return self.request("GET", path)

    def must(self, method: str, path: str, body: Object | None = None, **how: Any) -> Object:
        """Send a request that has to succeed; return the object."""
        answer = self.request(method, path, body, **how)
        if answer.status >= 400:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.message}")
        return answer.body

    def create_pod(
        self, namespace: str, pod: Mapping[str, Any], *, dry_run: bool = True, **query: str
    ) -> Answer:
        """Create a Pod as its author would; by default the API server does all but keep it."""
        metadata = {**(pod.get("metadata") or {}), "namespace": namespace}
        whole = {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": metadata}
        if dry_run:
            query["dryRun"] = "All"
        return self.request(
            "POST", f"/api/v1/namespaces/{namespace}/pods?{urlencode(query)}", whole
        )

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> Answer:
        """Create a namespace, and the ServiceAccount that a controller would make there."""
        whole = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": dict(labels or {})},
        }
        answer = self.request("POST", "/api/v1/namespaces", whole)
        if answer.status < 400:
            self.create_service_account(name, "default")
        return answer

    def may(self, namespace: str, account: str, /, **attributes: str) -> bool:
        """Whether RBAC, as the API server knows it by now, lets a ServiceAccount do something.

        `attributes` are those of a SubjectAccessReview: verb, resource, name, namespace, group.
        """
        spec = {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
            "resourceAttributes": attributes,
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(self.must("POST", path, {"spec": spec})["status"]["allowed"])

    def create_service_account(self, namespace: str, name: str) -> None:
        """Make it, unless it is there: the ServiceAccount plugin refuses Pods of one that is not."""
        whole = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        assert self.request("POST", path, whole).status in (201, 409)

    def service_account_token(self, namespace: str, name: str) -> str:
        """A token of a ServiceAccount's, as its Pods get one: for an hour."""
        request: Object = {"spec": {"expirationSeconds": 3600}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str(self.must("POST", path, request)["status"]["token"])


def _decoded(text: bytes) -> Object:
    try:
        found = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace")}
    return found if isinstance(found, dict) else {"message": str(found)}
