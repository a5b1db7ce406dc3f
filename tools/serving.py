"""The real `dinp serve` as a process, and a client for it: for tests, `make demo` and `make corpus`.

    with serving() as server:
        status, review = post_review(server, "/pods/migrate/sidecar", pod)

Nothing of it outlives the `with`, nor the thread that began it: where that ends without leaving
the `with`, as by a SIGKILL of the whole process, the server is killed (tools.processes says where).
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from certs import authority
from tools.certificates import DAY, write_server_pair
from tools.processes import with_parent

_START_SECONDS = 120.0  # on a busy machine; it takes a third of a second
_STOP_SECONDS = 20.0


class ServingError(Exception):
    """The server did not start; holds what it said instead."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A running `dinp serve` on loopback."""

    port: int
    health_port: int
    context: ssl.SSLContext  # trusts its certificate
    connection: http.client.HTTPSConnection  # connects with the first request
    directory: Path  # ca.crt, tls.crt, tls.key, log
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Of the reviews."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def health_url(self) -> str:
        """Of /healthz, /readyz, /metrics."""
        return f"http://127.0.0.1:{self.health_port}"

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return _log_lines(self.directory)


@contextmanager
def serving(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stop_seconds: float = _STOP_SECONDS,
    within: Path | None = None,
    within_cgroup: Callable[[Sequence[str]], Sequence[str]] = list,
) -> Iterator[Serving]:
    """Start it with a throw-away certificate for 127.0.0.1 and localhost; end it by SIGTERM.

    `arguments` are flags of `dinp serve`, `environment` the whole environment (default:
    this one's). After `stop_seconds` it is killed. Its folder is made in `within` (default: the
    folder for temporary files), and is all that a SIGKILL of this process leaves. `within_cgroup`
    makes another command of the server's, as tools/attack/cgroup.py does.

    Raises:
        ServingError: it did not say within two minutes that it serves.
    """
    with tempfile.TemporaryDirectory(prefix="dinp-serving-", dir=within) as name:
        directory = Path(name)
        write_certificate(directory)
        command = [sys.executable, "-m", "webhook.cli", "serve"]
        command += ["--bind-address", "127.0.0.1", "--secure-port", "0", "--health-port", "0"]
        command += ["--tls-cert-file", str(directory / "tls.crt")]
        command += ["--tls-private-key-file", str(directory / "tls.key"), "--shutdown-delay", "0"]
        command += arguments
        with started(
            directory, within_cgroup(command), environment, stop_seconds=stop_seconds
        ) as server:
            yield server


@contextmanager
def started(
    directory: Path,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    stop_seconds: float = _STOP_SECONDS,
) -> Iterator[Serving]:
    """Start `command`, a `dinp serve` on 127.0.0.1 with the certificate that is in `directory`.

    Raises:
        ServingError: as of `serving`.
    """
    process = _start(directory, command, environment)
    try:
        ports = _wait_until_serving(process, directory)
        context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        port, health_port = ports["port"], ports["health_port"]
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        with closing(connection):
            yield Serving(port, health_port, context, connection, directory, process)
    finally:
        _stop(process, stop_seconds)


def write_certificate(directory: Path, lifetime: timedelta = DAY) -> None:
    """Write ca.crt, tls.crt and tls.key for 127.0.0.1 and localhost: a new CA at every call."""
    ca = authority.issue_ca("dinp throw-away", now=datetime.now(UTC), lifetime=lifetime)
    (directory / "ca.crt").write_bytes(ca.certificate)
    write_server_pair(directory, ca, ("localhost", "127.0.0.1", "::1"), lifetime=lifetime)


def post_review(server: Serving, path: str, pod: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send one Pod as the API server does: the HTTP status and the AdmissionReview of the answer.

    With another status than 200 the dict is `{"message": what the server said}`. All reviews
    of a `serving` take turns on one connection, as an API server's do.
    """
    body = json.dumps(admission_review(pod)).encode()
    headers = {"Content-Type": "application/json"}
    server.connection.request("POST", f"{path}?timeout=5s", body, headers)
    answer = server.connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        return answer.status, {"message": text.decode(errors="replace").strip()}
    review: dict[str, Any] = json.loads(text)
    return answer.status, review


def admission_review(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The AdmissionReview that the API server sends for the creation of `pod`."""
    metadata = pod.get("metadata")
    names = metadata if isinstance(metadata, Mapping) else {}
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": names.get("name", ""),
            "namespace": names.get("namespace", "default"),
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:job-controller"},
            "object": {"apiVersion": "v1", "kind": "Pod", **pod},
            "oldObject": None,
            "dryRun": False,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    }


def _start(
    directory: Path, command: Sequence[str], environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    # A file and not a pipe: a pipe that nobody reads would stop the server when it is full.
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own program
            with_parent(command), stdout=log, stderr=log, env=environment
        )


def _wait_until_serving(process: subprocess.Popen[bytes], directory: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        for line in _log_lines(directory):
            if line.get("event") == "serving":
                return line
        if process.poll() is not None:
            break
        time.sleep(0.02)
    said = (directory / "log").read_text(errors="replace").strip()
    raise ServingError(f"dinp serve did not start (exit code {process.poll()}): {said}")


def _log_lines(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "log").read_text(errors="replace").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]


def _stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
