"""Part 5: what ordinary reviews wait for while huge ones come in a row, next to what they take alone.

python -m bench.beside PORT CA   sends the huge ones until its standard input ends
"""

from __future__ import annotations

import http.client
import itertools
import select
import signal
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from bench import reviews, servers
from bench.report import Part
from bench.servers import BenchError, Running

_ROUNDS: Final = 4
_REVIEWS: Final = 150  # a round, alone and beside
_PAUSE: Final = 0.005  # seconds between two: they come by themselves, not as fast as they can
_HUGE: Final = 3 * 1024 * 1024
_VARIABLES: Final = 44_000  # some 3 MiB of them
_MOST: Final = 100.0  # ms
_PATH: Final = "/pods/annotated"
_TARGET: Final = "≤ 100 ms"

TARGETS: Final = (("beside huge ones: p99", _TARGET),)


def measure() -> Part:
    """Both by turns, at one server; it and its processes share one core, the load has the other.

    Raises:
        BenchError: a server did not start, a core is missing, or a review failed.
    """
    part = Part(f"ordinary reviews, 200 a second at most, beside 3 MiB ones, {_ROUNDS} rounds")
    server_core, _ = servers.cores()
    alone: list[float] = []
    beside: list[float] = []
    health: list[float] = []
    huge: list[float] = []
    with servers.dinp(core=server_core) as server:
        servers.pin_children(server.pid, server_core)
        for _ in range(_ROUNDS):
            alone += _ordinary(server)
            with _huge(server, huge):
                beside += _ordinary(server)
                health += [_health(server) for _ in range(10)]
        with _huge(server, huge):
            ended = _ended_by_sigterm(server)
    part.figures |= {"alone": alone, "beside": beside, "health": health, "huge": huge}
    part.add("alone", _shown(alone))
    p99 = statistics.quantiles(beside, n=100)[98]
    part.add("beside huge ones: p99", _shown(beside), _TARGET, p99 <= _MOST)
    part.add("/healthz beside huge ones", _shown(health))
    part.add("the huge ones", f"{_shown(huge)}, {len(huge)} of them")
    part.add("SIGTERM beside huge ones: ended after", f"{ended:.2f} s")
    return part


def _shown(times: list[float]) -> str:
    p99 = statistics.quantiles(times, n=100)[98]
    return f"p50 {statistics.median(times):.1f}, p99 {p99:.1f}, most {max(times):.1f} ms"


def _ordinary(server: Running) -> list[float]:
    """Milliseconds of each, one after the other on one connection."""
    connection = connect(server.port, str(server.directory / "ca.crt"))
    body = reviews.body(reviews.pod())
    with closing(connection):
        return [_timed(lambda: post(connection, body)) for _ in range(_REVIEWS)]


def _health(server: Running) -> float:
    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.health_port, timeout=60)
        with closing(connection):
            connection.request("GET", "/healthz")
            if connection.getresponse().status != 200:
                raise BenchError("/healthz is not 200")

    return _timed(ask)


def _timed(one: Callable[[], None]) -> float:
    time.sleep(_PAUSE)
    began = time.perf_counter()
    one()
    return (time.perf_counter() - began) * 1000


def _ended_by_sigterm(server: Running) -> float:
    began = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    return time.perf_counter() - began


@contextmanager
def _huge(server: Running, took: list[float]) -> Iterator[None]:
    """Huge reviews in a row; adds how long each took."""
    command = [sys.executable, "-m", "bench.beside", str(server.port)]
    command.append(str(server.directory / "ca.crt"))
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None  # noqa: S101 - for mypy
        assert process.stdout is not None  # noqa: S101
        took.append(float(process.stdout.readline()))  # the first one has been answered
        try:
            yield
        finally:
            process.stdin.close()
            took += map(float, process.stdout)


def connect(port: int, ca: str) -> http.client.HTTPSConnection:
    """A connection of one's own."""
    context = ssl.create_default_context(cafile=ca)
    return http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)


def post(connection: http.client.HTTPSConnection, body: bytes) -> None:
    """Send one review.

    Raises:
        BenchError: it was not answered.
    """
    connection.request("POST", _PATH, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise BenchError(f"a review of {len(body)} bytes: {answer.status} {said[:200]!r}")


def huge_bodies() -> list[bytes]:
    """Two: of ordinary density, and of nothing but empty objects."""
    dense: dict[str, Any] = reviews.pod()
    dense["spec"]["tolerations"] = ["here"]
    empty = ",".join(["{}"] * (_HUGE // 3))
    made = reviews.body(dense).replace(b'["here"]', f"[{empty}]".encode())
    return [reviews.body(reviews.pod(env=_VARIABLES)), made]


def main(port: str, ca: str) -> None:
    """Send them in turn, and print how many milliseconds each took."""
    connection = connect(int(port), ca)
    for body in itertools.cycle(huge_bodies()):
        began = time.perf_counter()
        try:
            post(connection, body)
        except (OSError, http.client.HTTPException):  # the server has ended
            break
        print((time.perf_counter() - began) * 1000, flush=True)
        if select.select([sys.stdin], [], [], 0)[0]:
            break


if __name__ == "__main__":
    main(*sys.argv[1:])
