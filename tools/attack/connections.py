"""Part 2: connections that say nothing, or too little, to either port; and those that must go on.

While they are held, a new review and a health check are asked for again and again, each on a
new connection. Whether the server keeps, closes or refuses the others is its own affair.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Final

from tools.attack import target as targets
from tools.attack.table import Figure, Row, Run, at_most, none_of
from tools.attack.target import Answer, Target, ask, attacked

HELD: Final = 1100
ANSWERED_SECONDS: Final = 5.0
_GIVEN_UP: Final = 4 * ANSWERED_SECONDS
_OPENERS: Final = 16
_OPENING_SECONDS: Final = (
    5.0  # one that is not open by then is left; all of them, six times as long
)
_BURST: Final = 300
# Go's client keeps an idle connection 90 s (http.DefaultTransport); a server's usual patience with
# a head or a handshake is 10 s or so.
_IDLE_SECONDS: Final = 62.0
_SHORT_IDLE_SECONDS: Final = 15.0
_HEAD: Final = f"POST {targets.ANNOTATED} HTTP/1.1\r\nHost: dinp\r\nX: ".encode()

Open = Callable[[Target], socket.socket]


# ---- ways to open one ----------------------------------------------------------------------


def plain(server: Target, *, health: bool = False) -> socket.socket:
    """A TCP connection."""
    port = server.server.health_port if health else server.server.port
    return socket.create_connection(("127.0.0.1", port), timeout=_OPENING_SECONDS)


def handshaken(server: Target) -> socket.socket:
    """A TLS connection."""
    return server.tls(_OPENING_SECONDS)


def half_handshaken(server: Target) -> socket.socket:
    """One that has sent half of its ClientHello."""
    made, outgoing = plain(server), ssl.MemoryBIO()
    hello = server.server.context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    text = outgoing.read()
    made.sendall(text[: len(text) // 2])
    return made


def begun(server: Target, *, health: bool = False) -> socket.socket:
    """One that has sent the beginning of a request's head."""
    made = plain(server, health=True) if health else handshaken(server)
    made.sendall(_HEAD)
    return made


# ---- held ----------------------------------------------------------------------------------


@contextmanager
def held(open_one: Open, server: Target, *, trickle: bool = False) -> Iterator[list[socket.socket]]:
    """Open as many as are to be held, or as the server lets; by `trickle` each sends a byte a second."""
    opened: list[socket.socket] = []
    deadline = time.monotonic() + 6 * _OPENING_SECONDS

    def one(_: int) -> None:
        if time.monotonic() < deadline:
            with suppress(OSError):
                opened.append(open_one(server))

    stop = threading.Event()
    dripping = threading.Thread(target=_drip, args=(opened, stop))
    try:
        with ThreadPoolExecutor(_OPENERS) as pool:
            list(pool.map(one, range(HELD)))
        if trickle:
            dripping.start()
        yield opened
    finally:
        stop.set()
        if dripping.ident is not None:
            dripping.join()
        for each in opened:
            each.close()


def _drip(opened: list[socket.socket], stop: threading.Event) -> None:
    for each in opened:
        each.settimeout(1)
    while not stop.wait(1):
        for each in opened:
            with suppress(OSError, ValueError):
                each.send(b"x")


def answered(server: Target, *, times: int, apart: float = 1.0) -> Iterator[Figure]:
    """Whether a new review and each of the kubelet's checks are answered now, again and again."""
    asked: dict[str, Callable[[], Answer]] = {
        "a new review": partial(server.review, seconds=_GIVEN_UP),
        "a health check": partial(server.health, seconds=_GIVEN_UP),
        "a readiness check": partial(server.health, "/readyz", seconds=_GIVEN_UP),
    }
    slowest = dict.fromkeys(asked, Answer(200, "", 0.0))
    for at in range(times):
        time.sleep(apart if at else 0)
        for what, question in asked.items():
            slowest[what] = max(slowest[what], question(), key=_badness)
    for what, answer in slowest.items():
        yield promptly(what, answer)


def promptly(what: str, answer: Answer) -> Figure:
    """That it is an answer, and in time."""
    if answer.status == 200:
        return at_most(what, answer.seconds, ANSWERED_SECONDS, "s")
    return Figure(what, answer.shown, f"answered in ≤ {ANSWERED_SECONDS:g} s", is_well=False)


def _badness(answer: Answer) -> tuple[bool, float]:
    return answer.status != 200, answer.seconds


def _look(open_one: Open, server: Target, run: Run, *, trickle: bool = False) -> Iterator[Figure]:
    with held(open_one, server, trickle=trickle) as opened:
        yield Figure("opened", f"{len(opened)} of {HELD}", "any number", is_well=True)
        yield from answered(server, times=3 if run.quick else 5)


def _look_at_all(server: Target, _run: Run) -> Iterator[Figure]:
    """Every kind at once, as many of each."""
    with (
        held(handshaken, server),
        held(half_handshaken, server),
        held(begun, server, trickle=True),
        held(partial(plain, health=True), server),
        held(partial(begun, health=True), server, trickle=True),
    ):
        yield from answered(server, times=5)


# ---- that go on ----------------------------------------------------------------------------


def _look_at_pools(server: Target, run: Run) -> Iterator[Figure]:
    """A pool has connections that were used, and dialled ones that never were: Go's has both."""
    idle = _SHORT_IDLE_SECONDS if run.quick else _IDLE_SECONDS
    with (
        closing(server.connection()) as used,
        closing(server.connection()) as unused,
    ):
        first = ask(used, "POST", targets.ANNOTATED, targets.USUAL)
        unused.connect()
        time.sleep(idle)
        for what, connection in (("used once", used), ("dialled, never used", unused)):
            same = connection.sock
            answer = ask(connection, "POST", targets.ANNOTATED, targets.USUAL)
            is_well = answer.status == first.status == 200 and connection.sock is same
            said = f"{answer.status or answer.text}" + (
                "" if is_well else ", or another connection"
            )
            holds = "200 on the same connection"
            yield Figure(f"{what}, then idle for {idle:g} s: a POST", said, holds, is_well)


def _look_at_burst(server: Target, _run: Run) -> Iterator[Figure]:
    """So many creations at once, as the API server sends them: each on a connection of its own."""
    ready = threading.Barrier(_BURST)

    def one(server: Target) -> Answer:
        ready.wait(targets.PATIENCE)
        return server.review()

    with ThreadPoolExecutor(_BURST) as pool:
        answers = list(pool.map(one, [server] * _BURST))
        bad = [answer.shown for answer in answers if answer.status != 200]
        slowest = max(answer.seconds for answer in answers)
        what = f"{_BURST} reviews at once, each on a new connection, the slowest {slowest:.2f} s"
        yield none_of(what, bad, _BURST, "200")


_HOLDS: Final = f"a new review and health checks are answered in {ANSWERED_SECONDS:g} s"

ROWS: Final = (
    Row(
        "idle, 8443",
        f"{HELD} TLS connections that send nothing",
        _HOLDS,
        attacked(partial(_look, handshaken)),
    ),
    Row(
        "half-open, 8443",
        f"{HELD} halves of a ClientHello",
        _HOLDS,
        attacked(partial(_look, half_handshaken)),
    ),
    Row(
        "silent, 8443",
        f"{HELD} TCP connections without TLS",
        _HOLDS,
        attacked(partial(_look, plain)),
        is_quick=False,
    ),
    Row(
        "byte a second, 8443",
        f"{HELD} heads of requests over TLS, a byte a second",
        _HOLDS,
        attacked(partial(_look, begun, trickle=True)),
    ),
    Row(
        "idle, health",
        f"{HELD} connections that send nothing",
        _HOLDS,
        attacked(partial(_look, partial(plain, health=True))),
    ),
    Row(
        "byte a second, health",
        f"{HELD} heads of requests, a byte a second",
        _HOLDS,
        attacked(partial(_look, partial(begun, health=True), trickle=True)),
    ),
    Row(
        "all connections",
        f"{HELD} of each kind at once, to both ports",
        _HOLDS,
        attacked(_look_at_all),
        is_quick=False,
    ),
    Row(
        "pool",
        "a POST on a connection that was idle, as Go's clients do",
        "it is served while there is room",
        attacked(_look_at_pools),
        is_beside=True,
    ),
    Row(
        "burst",
        f"{_BURST} creations at once",
        "all are answered, within the memory",
        attacked(_look_at_burst),
    ),
)
