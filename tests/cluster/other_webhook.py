"""Somebody else's mutating webhook, registered beside ours."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from certs import authority
from tests.cluster.api import Api
from tests.cluster.installation import REGISTRATION, small_pod
from tests.cluster.processes import wait_until

Operations = list[dict[str, Any]]
Edit = Callable[[dict[str, Any]], Operations]


@contextmanager
def other_webhook(
    api: Api, name: str, edit: Edit, *, namespace: str, directory: Path
) -> Iterator[None]:
    """Register a configuration `name` that makes `edit` of every Pod created in `namespace`.

    Its place among the webhooks is that of `name`; it is there, and gone, when the API server
    goes by it.
    """
    calls: list[str] = []
    ca = _issue(directory)
    with _serving(edit, calls, directory) as port:
        api.must("POST", REGISTRATION, _configuration(name, port, ca, namespace))
        try:
            wait_until(lambda: _is_called(api, namespace, calls), f"{name} is called")
            yield
        finally:
            api.must("DELETE", f"{REGISTRATION}/{name}")
            wait_until(lambda: not _is_called(api, namespace, calls), f"{name} is gone")


def _is_called(api: Api, namespace: str, calls: list[str]) -> bool:
    before = len(calls)
    api.create_pod(namespace, small_pod(name="probe"))
    return len(calls) > before


def _issue(directory: Path) -> bytes:
    now, day = datetime.now(UTC), timedelta(days=1)
    ca = authority.issue_ca("other", now=now, lifetime=day)
    usage = authority.Usage.SERVER
    names = ("127.0.0.1",)
    pair = authority.issue_leaf(ca, "other", usage=usage, now=now, lifetime=day, names=names)
    (directory / "other.pem").write_bytes(pair.key + pair.certificate)
    return ca.certificate


@contextmanager
def _serving(edit: Edit, calls: list[str], directory: Path) -> Iterator[int]:
    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            review = json.loads(body)
            pod = review["request"]["object"]
            calls.append(pod["metadata"].get("name", ""))
            answer = _answer(review, edit(pod))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "other.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _answer(review: dict[str, Any], operations: Operations) -> bytes:
    response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": True}
    if operations:
        patch = base64.b64encode(json.dumps(operations).encode()).decode()
        response |= {"patchType": "JSONPatch", "patch": patch}
    return json.dumps({**review, "request": None, "response": response}).encode()


def _configuration(name: str, port: int, ca: bytes, namespace: str) -> dict[str, Any]:
    selected = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [namespace]}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    entry = {
        "name": f"{name}.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "rules": [{**rule, "operations": ["CREATE"]}],
        "namespaceSelector": {"matchExpressions": [selected]},
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/",
            "caBundle": base64.b64encode(ca).decode(),
        },
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [entry],
    }
