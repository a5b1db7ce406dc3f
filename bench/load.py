"""Parts 2 and 4: requests a second over TLS next to two peers; start-up and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Final

from bench import reviews, servers
from bench.report import Part
from bench.servers import BenchError, Running
from bench.wrk import Load, Wrk, wrk

_ROUNDS: Final = 4
_SECONDS: Final = 2  # wrk takes whole ones
_CONNECTIONS: Final = (1, 16, 64)
_DINP, _ECHO, _JSONPATCH = "dinp", "aiohttp echo", "dinp with jsonpatch"
_STARTS: Final = 7
_REVIEWS: Final = 100_000
_LONGEST: Final = 180.0  # seconds for these reviews
_FLAT: Final = 1.0  # MiB that the second half of them may add

# What the rows of the targets say where they cannot be measured.
TARGETS: Final = (
    ("16 connections: dinp / echo, requests a second", "≥ 0.6 x the echo"),
    ("16 connections: p99 / p50", "≤ 2"),
)

Rounds = list[dict[str, Load]]  # what each server did in each round


def measure_load() -> Part:
    """Part 2. The servers share one core and take turns; wrk has the other.

    Raises:
        BenchError: wrk or a core is missing, or a request failed.
    """
    part = Part(f"over TLS, one core, {_ROUNDS} rounds of {_SECONDS} s")
    server_core, load_core = servers.cores()
    body = reviews.body(reviews.pod())
    with ExitStack() as stack:
        load = stack.enter_context(wrk(body, load_core))
        running = {
            _DINP: stack.enter_context(servers.dinp(core=server_core)),
            _ECHO: stack.enter_context(servers.peer("echo", core=server_core)),
            _JSONPATCH: stack.enter_context(servers.dinp(servers.WITH_JSONPATCH, core=server_core)),
        }
        for server in running.values():
            load.run(server, connections=16, seconds=1)  # warm
        for connections in _CONNECTIONS:
            rounds = _rounds(load, running, connections, keep_alive=True)
            _add(part, f"{connections} connections", rounds, has_target=connections == 16)
        rounds = _rounds(load, running, 1, keep_alive=False)
        _add(part, "1 connection, no keep-alive", rounds, has_target=False)
    return part


def _rounds(load: Wrk, running: Mapping[str, Running], count: int, *, keep_alive: bool) -> Rounds:
    return [
        {
            name: load.run(server, connections=count, seconds=_SECONDS, keep_alive=keep_alive)
            for name, server in running.items()
        }
        for _ in range(_ROUNDS)
    ]


def _add(part: Part, label: str, rounds: Rounds, *, has_target: bool) -> None:
    part.figures[label] = [{name: asdict(one) for name, one in each.items()} for each in rounds]
    for name in rounds[0]:
        mine = [each[name] for each in rounds]
        rate = statistics.median(one.per_second for one in mine)
        p50 = statistics.median(one.p50 for one in mine)
        p99 = statistics.median(one.p99 for one in mine)
        part.add(
            f"{label}: {name}", f"{rate:,.0f} requests a second, p50 {p50:.2f}, p99 {p99:.2f} ms"
        )
    share = _median(rounds, lambda each: each[_DINP].per_second / each[_ECHO].per_second)
    target = "≥ 0.6 x the echo" if has_target else ""
    met = share >= 0.6 if has_target else None
    part.add(f"{label}: dinp / echo, requests a second", f"{share:.2f} x", target, met)
    if has_target:
        tail = _median(rounds, lambda each: each[_DINP].p99 / each[_DINP].p50)
        echo = _median(rounds, lambda each: each[_ECHO].p99 / each[_ECHO].p50)
        measured = f"{tail:.2f} (of the echo: {echo:.2f})"
        part.add(f"{label}: p99 / p50", measured, "≤ 2", tail <= 2)


def _median(rounds: Rounds, value: Callable[[dict[str, Load]], float]) -> float:
    return statistics.median(value(each) for each in rounds)


def measure_process() -> Part:
    """Part 4.

    Raises:
        BenchError: a server did not start.
    """
    part = Part("process")
    starts, resident = [], []
    for _ in range(_STARTS):
        with servers.dinp() as server:
            starts.append(server.ready_seconds)
            resident.append(server.resident())
    part.figures |= {"startSeconds": starts, "residentAtStart": resident}
    ready, memory = statistics.median(starts), statistics.median(resident)
    spread = f"{min(starts):.2f} to {max(starts):.2f}"
    part.add(
        f"start to ready, median of {_STARTS}", f"{ready:.2f} s ({spread})", "≤ 0.7 s", ready <= 0.7
    )
    part.add("resident at start", f"{memory:.1f} MiB", "≤ 45 MiB", memory <= 45)
    try:
        _add_memory(part)
    except BenchError as error:
        part.add(f"resident after {_REVIEWS:,} reviews, flat", str(error), "≤ 64 MiB")
    return part


def _add_memory(part: Part) -> None:
    server_core, load_core = servers.cores()
    body = reviews.body(reviews.pod())
    with wrk(body, load_core) as load, servers.dinp(core=server_core) as server:
        samples = [(0, server.resident())]
        deadline = time.monotonic() + _LONGEST
        while samples[-1][0] < _REVIEWS and time.monotonic() < deadline:
            done = load.run(server, connections=16, seconds=4).requests
            samples.append((samples[-1][0] + done, server.resident()))
    part.figures["residentAfterReviews"] = samples
    count, last = samples[-1]
    enough = count >= _REVIEWS
    half = next(memory for reviewed, memory in samples if reviewed >= count / 2)
    part.add(
        f"resident after {count:,} reviews", f"{last:.1f} MiB", "≤ 64 MiB", enough and last <= 64
    )
    part.add(
        "  added by the second half of them",
        f"{last - half:+.1f} MiB",
        f"flat: ≤ {_FLAT:g} MiB",
        enough and last - half <= _FLAT,
    )
