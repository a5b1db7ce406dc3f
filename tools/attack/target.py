"""The server under attack: `dinp serve` as the manifest starts it, in a cgroup of the manifest's memory."""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import reviews
from tools.attack import deployment
from tools.attack.cgroup import Cgroup, cgroup
from tools.attack.deployment import Deployment
from tools.attack.exchange import exchange, request
from tools.attack.table import Figure, Look, Run, to_its_end
from tools.serving import Serving, started, write_certificate
from webhook.asking.rules import INJECT

MIB: Final = 2**20
# Of any answer: what takes longer is no answer. A busy machine is no reason to say so.
PATIENCE: Final = 60.0
# containerd 2 leaves processes systemd's soft limit of open files (containerd issue 8924).
_OPEN_FILES: Final = 1024
_JOIN: Final = """
ulimit -Sn "$1"; shift
while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done
shift
exec "$@"
"""
JSON: Final = {"Content-Type": "application/json"}
USUAL: Final = reviews.body(reviews.pod())
ANNOTATED: Final = "/pods/annotated"


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one request; status 0: there was none, and `text` is why."""

    status: int
    text: str
    seconds: float

    @property
    def shown(self) -> str:
        """For a person."""
        text = " ".join(self.text.split())[:120]
        return f"{self.status or 'no answer'} after {self.seconds:.2f} s: {text}"

    @property
    def is_sentence(self) -> bool:
        """Whether a refusal says why in words."""
        return len(self.text.split()) >= 3

    @property
    def response(self) -> Mapping[str, Any]:
        """Of the AdmissionReview; empty where there is none."""
        if self.status != 200:
            return {}
        found: dict[str, Any] = json.loads(self.text).get("response", {})
        return found


@dataclass(frozen=True, slots=True)
class Target:
    """A server that runs, and what the kernel says of it."""

    server: Serving
    cgroup: Cgroup
    deployment: Deployment

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self.server.process.poll() is not None

    def resident(self) -> float:
        """MiB of all its processes."""
        return sum(map(_resident, self.cgroup.processes())) / MIB

    def connection(self, seconds: float = PATIENCE) -> http.client.HTTPSConnection:
        """A connection for reviews, which is made with the first request."""
        context = self.server.context
        port = self.server.port
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=context)

    def review(self, body: bytes = USUAL, path: str = ANNOTATED, **limits: float) -> Answer:
        """Send a body on a new connection."""
        with closing(self.connection(**limits)) as connection:
            return ask(connection, "POST", path, body)

    def tls(self, seconds: float = PATIENCE) -> ssl.SSLSocket:
        """A TLS connection on which nothing was sent.

        Raises:
            OSError: none is to be had.
        """
        made = socket.create_connection(("127.0.0.1", self.server.port), timeout=seconds)
        try:
            return self.server.context.wrap_socket(made, server_hostname="localhost")
        except OSError:
            made.close()
            raise

    def send(self, body: bytes, *, length: int | None = None) -> Answer:
        """Send a large body, or the beginning of one of `length`, on a new connection."""
        began = time.monotonic()
        whole = request(ANNOTATED, len(body) if length is None else length) + body
        try:
            with self.tls() as connection:
                status, text = exchange(connection, whole, PATIENCE)
        except OSError as error:
            status, text = 0, f"{type(error).__name__}: {error}"
        return Answer(status, text, time.monotonic() - began)

    def largest_body(self) -> int:
        """How many bytes it takes, by its own refusal of more.

        Raises:
            ValueError: that names no number.
        """
        refusal = self.send(b"", length=10**12)
        numbers = [int(each.replace(",", "")) for each in re.findall(r"[\d,]{4,}", refusal.text)]
        if refusal.status != 413 or not numbers:
            raise ValueError(f"no 413 that names the largest body: {refusal.shown}")
        return max(number for number in numbers if number < 10**12)

    def health(self, path: str = "/healthz", seconds: float = PATIENCE) -> Answer:
        """Ask as the kubelet does, on a new connection."""
        port = self.server.health_port
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)) as connection:
            return ask(connection, "GET", path)

    def kept(self) -> Iterator[Figure]:
        """Whether it is still there, and within its memory."""
        kills, ended = self.cgroup.kills(), self.server.process.poll()
        peak, limit = self.cgroup.peak(), self.deployment.memory / MIB
        shown = "not told by this kernel" if peak is None else f"{peak / MIB:.1f} MiB"
        what = f"{shown}; {kills} killed for want of memory"
        yield Figure("peak memory", what, f"≤ {limit:g} MiB, none killed", kills == 0)
        if ended is not None:
            yield Figure("the server", _ending(ended), "it runs", is_well=False)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
) -> Answer:
    """One request, and what became of it; a refusal may come before all of the body is sent."""
    began = time.monotonic()
    try:
        if connection.sock is None:
            connection.connect()
        with suppress(OSError):
            connection.request(method, path, body, JSON if body is not None else {})
        with connection.getresponse() as response:
            text = response.read().decode(errors="replace")
            return Answer(response.status, text, time.monotonic() - began)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        said = f"{type(error).__name__}: {error}"
        return Answer(0, said, time.monotonic() - began)


@contextmanager
def target(run: Run) -> Iterator[Target]:
    """Start one, in a cgroup of its own; at its end it is killed.

    Raises:
        CgroupError: no cgroup can be made here.
        ServingError: it did not start.
    """
    found = deployment.read()
    with (
        tempfile.TemporaryDirectory(prefix="dinp-attack-") as name,
        cgroup(found.memory) as made,
    ):
        tls = Path(name)
        write_certificate(tls)
        join = ["sh", "-c", _JOIN, "sh", str(_OPEN_FILES), *map(str, made.joins), "--"]
        serve = [sys.executable, "-m", run.program, *found.command(tls)]
        ports = ["--bind-address", "127.0.0.1", "--secure-port", "0", "--health-port", "0"]
        # Without coverage, which makes it eight times as slow.
        kept = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
        with started(tls, [*join, *serve, *ports], kept, stop_seconds=0) as server:
            yield Target(server, made, found)


def attacked(look: Callable[[Target, Run], Iterator[Figure]]) -> Look:
    """A row's look at a server of its own; at its end, whether that is still there."""

    @functools.wraps(look)
    def whole(run: Run) -> Iterator[Figure]:
        with target(run) as server:
            yield from to_its_end(look(server, run), run)
            yield from server.kept()

    return whole


def asking(pod: dict[str, Any], mode: str = "sidecar") -> dict[str, Any]:
    """The Pod, asking for `mode` where it asks for nothing yet."""
    pod["metadata"]["annotations"] = {INJECT: mode, **(pod["metadata"].get("annotations") or {})}
    return pod


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    return 0 if found is None else int(found[1]) * 1024


def _ending(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
