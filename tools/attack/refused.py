"""Part 5: requests that are refused, one after the other: the log does not grow with them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, Final

from tools.attack import connections
from tools.attack import target as targets
from tools.attack.table import Figure, Row, Run, at_most, none_of
from tools.attack.target import Answer, Target, ask, attacked

_REFUSED: Final = 2000
_MALFORMED: Final = 300
_SHARE: Final = 10  # of so many refusals one may have a line of its own
_A_SECOND: Final = 5  # or so many lines a second, where a slow machine takes long to send them
_LATEST: Final = 70.0  # seconds until what was left out is told
# method, path, body: each is refused for another reason.
_KINDS: Final = (
    ("POST", targets.ANNOTATED, b"{"),
    ("POST", targets.ANNOTATED, b'{"kind":"Pod"}'),
    ("POST", "/nowhere", b"{}"),
    ("GET", targets.ANNOTATED, None),
)
# What a line says beside a number that is one: its own fields, and times.
_NO_NUMBERS: Final = frozenset({"code", "ms", "port", "health_port", "delay"})


def _look(server: Target, _run: Run) -> Iterator[Figure]:
    server.review()
    before, began = len(_lines(server)), time.monotonic()
    with closing(server.connection()) as connection:
        answers = [ask(connection, *_KINDS[at % len(_KINDS)]) for at in range(_REFUSED)]
    yield _all_refused(answers)
    time.sleep(1)
    most = max(_REFUSED / _SHARE, _A_SECOND * (time.monotonic() - began))
    yield at_most("lines in the log", len(_lines(server)) - before, most, "lines", 0)
    yield _left_out(server, before)


def _look_at_malformed(server: Target, _run: Run) -> Iterator[Figure]:
    server.review()
    before = len(_lines(server))
    for at in range(_MALFORMED):
        with suppress(OSError), closing(_open(server, encrypted=at % 2 == 0)) as connection:
            connection.sendall(b"NO SUCH THING\r\n\r\n")
            connection.recv(1000)
    time.sleep(1)
    lines = len(_lines(server)) - before
    what = f"lines in the log after {_MALFORMED} requests that are no HTTP, or no TLS"
    yield at_most(what, lines, _MALFORMED / _SHARE, "lines", 0)
    yield from connections.answered(server, times=1)


def _open(server: Target, *, encrypted: bool) -> Any:
    return connections.handshaken(server) if encrypted else connections.plain(server)


def _all_refused(answers: Sequence[Answer]) -> Figure:
    bad = [one.shown for one in answers if not (400 <= one.status < 500 and one.is_sentence)]
    return none_of("requests that cannot be reviewed", bad, len(answers), "refused with a sentence")


def _lines(server: Target) -> list[dict[str, Any]]:
    return server.server.log_lines()


def _left_out(server: Target, before: int) -> Figure:
    """Whether the lines account for all: those that tell of one, and a number of those left out."""
    deadline = time.monotonic() + _LATEST
    what, holds = "the log says how many were left out", f"{_REFUSED} accounted for"
    while True:
        told = accounted(_lines(server)[before:])
        if _REFUSED in told.values() or time.monotonic() > deadline:
            break
        time.sleep(1)
    best = max(told.values(), default=0)
    return Figure(what, f"{best:,} accounted for", holds, is_well=best == _REFUSED)


def accounted(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """For each field that holds a number: that of all lines, and those that have no such field."""
    sums: Counter[str] = Counter()
    with_field: Counter[str] = Counter()
    for line in lines:
        for key, value in line.items():
            if isinstance(value, int) and not isinstance(value, bool) and key not in _NO_NUMBERS:
                sums[key] += value
                with_field[key] += 1
    return {key: value + len(lines) - with_field[key] for key, value in sums.items()}


ROWS: Final = (
    Row(
        "refused requests",
        f"{_REFUSED:,} requests that are refused",
        "the lines of the log are bounded, and say how many were left out",
        attacked(_look),
    ),
    Row(
        "malformed requests",
        f"{_MALFORMED:,} connections that speak something else",
        "the lines of the log are bounded",
        attacked(_look_at_malformed),
        is_quick=False,
    ),
)
