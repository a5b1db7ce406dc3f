"""certs.health and certs.metrics: what the kubelet and Prometheus are told."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import structlog

from certs import metrics, progress
from certs.errors import Reason, StoreError
from certs.health import Port
from certs.metrics import Metrics
from certs.passes import Kind, Loop, Passed

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Passes:
    """Passes that end as a test says: done, failed, or never."""

    def __init__(self) -> None:
        self.time = 0.0
        self.outcome: Any = Passed(0, timedelta())
        self.run = 0
        self.answered = asyncio.Event()
        self.metrics = Metrics(NOW.timestamp)
        self.loop = Loop(
            self._pass, [], "tests", observer=self.metrics.of("webhook"), clock=lambda: self.time
        )

    async def _pass(self) -> Passed:
        self.run += 1
        while self.outcome == "never":
            await self.answered.wait()
            self.answered.clear()
            progress.tell()  # as certs.calls does
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert isinstance(self.outcome, Passed)
        return self.outcome

    async def more(self, passes: int = 2) -> None:
        """Wait for so many passes more."""
        until = self.run + passes
        async with asyncio.timeout(240):
            while self.run < until:  # noqa: ASYNC110 - the loop has no event for it
                await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Client:
    """Whoever calls the port."""

    session: aiohttp.ClientSession
    port: int

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def probed(passes: Passes, *, running: bool = True) -> AsyncIterator[Client]:
    """The port, and the loop at work."""
    port, stop = Port({"certificates of tests": passes.loop}, passes.metrics), asyncio.Event()
    number = await port.open("127.0.0.1", 0)
    task = asyncio.create_task(passes.loop.run(stop)) if running else None
    try:
        with structlog.testing.capture_logs():
            async with aiohttp.ClientSession() as session:
                yield Client(session, number)
    finally:
        stop.set()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await port.close()


async def test_alive_and_ready() -> None:
    """Alive at once, and ready after the first pass that is done."""
    passes = Passes()
    async with probed(passes, running=False) as client:
        assert (200, "ok\n") == await client.get("/healthz")
        status, text = await client.get("/readyz")
        assert (503, "certificates of tests: no pass has been done yet\n") == (status, text)
    async with probed(passes) as client:
        await passes.more()
        assert (200, "ok\n") == await client.get("/readyz")
        assert 404 == (await client.get("/"))[0]


async def test_a_pass_that_never_ends() -> None:
    """It is told by /healthz, with the loop and the time, so that the kubelet starts the process again."""
    passes = Passes()
    passes.outcome = "never"
    async with probed(passes) as client:
        await passes.more(1)
        passes.time += 179
        assert 200 == (await client.get("/healthz"))[0]
        passes.time += 2
        expected = "certificates of tests: nothing has moved for 181 s\n"
        assert (503, expected) == await client.get("/healthz")


@pytest.mark.parametrize("error", [StoreError("gone", Reason.AWAY), KeyError("a bug")])
async def test_passes_that_fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """However long the API server is away, a restart would not help: alive, and not ready any more."""
    monkeypatch.setattr("certs.passes._BACKOFF_SECONDS", (0.01, 0.01))
    monkeypatch.setattr("certs.passes.backoff", lambda _: 0.01)
    passes = Passes()
    async with probed(passes) as client:
        await passes.more()
        passes.outcome = error
        for _ in range(5):
            passes.time += 120
            await passes.more()
            assert (200, "ok\n") == await client.get("/healthz")
        told = samples(passes.metrics)
        reason = error.reason if isinstance(error, StoreError) else Reason.BUG
        assert 9 < told['dinp_certs_passes_total{of="webhook",outcome="failed"}']
        assert 9 < told[f'dinp_certs_errors_total{{of="webhook",reason="{reason.value}"}}']
        status, text = await client.get("/readyz")
        assert 503 == status
        assert re.fullmatch(r"certificates of tests: the last .* is 600 s old\n", text)
        passes.outcome = Passed(0, timedelta())
        await passes.more()
        assert 200 == (await client.get("/readyz"))[0]


async def test_a_long_pass_that_goes_on() -> None:
    """One that takes for hours is alive as long as the API server answers it."""
    passes = Passes()
    passes.outcome = "never"
    async with probed(passes) as client:
        await passes.more(1)
        for _ in range(10):
            passes.time += 170
            passes.answered.set()
            await asyncio.sleep(0)
            assert 200 == (await client.get("/healthz"))[0]


async def test_idle_connections() -> None:
    """A thousand that say nothing keep neither the kubelet nor Prometheus out."""
    async with probed(Passes()) as client:
        opened = []
        try:
            for _ in range(1000):
                opened.append(await asyncio.open_connection("127.0.0.1", client.port))  # noqa: PERF401 - closed where one fails
            async with asyncio.timeout(240):
                assert 200 == (await client.get("/healthz"))[0]
                assert 200 == (await client.get("/metrics"))[0]
                while sum(not reader.at_eof() for reader, _ in opened) > 64:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.05)
        finally:
            for _, writer in opened:
                writer.close()


async def test_a_port_that_is_taken() -> None:
    """It is an OSError, which names no more than that."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = Port({}, Metrics())
        with pytest.raises(OSError, match="in use"):
            await port.open("127.0.0.1", taken.getsockname()[1])
        await port.close()


async def test_every_interface() -> None:
    """0.0.0.0 is IPv6, too."""
    port = Port({}, Metrics())
    number = await port.open("0.0.0.0", 0)  # noqa: S104 - that is what is tested
    try:
        async with aiohttp.ClientSession() as session:
            for address in ("127.0.0.1", "[::1]"):
                async with session.get(f"http://{address}:{number}/healthz") as answer:
                    assert 200 == answer.status
    finally:
        await port.close()


# ---- metrics -----------------------------------------------------------------------------


def samples(made: Metrics) -> dict[str, float]:
    """Names with labels -> values, of dinp's own."""
    lines = made.exposition().decode().splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith("dinp_certs")]
    return {name: float(value) for name, _, value in found if "_created" not in name}


def test_what_passes_tell() -> None:
    """How they ended, when the last was done, and the nearest end of each kind."""
    made = Metrics(NOW.timestamp)
    one = made.of("shared-daemons")
    assert 0 == samples(made)['dinp_certs_passes_total{of="shared-daemons",outcome="failed"}']
    ends = {Kind.CLIENT: [NOW + 2 * DAY, NOW + DAY], Kind.CLIENT_CA: [NOW + 9 * DAY]}
    one.passed(Passed(1, timedelta(), ends, [Reason.FOREIGN, Reason.BUG]))
    one.failed(Reason.AWAY)
    found = samples(made)
    assert 1 == found['dinp_certs_passes_total{of="shared-daemons",outcome="done"}']
    assert 1 == found['dinp_certs_passes_total{of="shared-daemons",outcome="failed"}']
    assert (
        NOW.timestamp() == found['dinp_certs_last_success_timestamp_seconds{of="shared-daemons"}']
    )
    assert 2 == found['dinp_certs_not_done{of="shared-daemons"}']
    assert 2 == found['dinp_certs_certificates{kind="client"}']
    assert (NOW + DAY).timestamp() == found['dinp_certs_not_after_seconds{kind="client"}']
    for reason in ("foreign", "bug", "away"):
        assert 1 == found[f'dinp_certs_errors_total{{of="shared-daemons",reason="{reason}"}}']
    one.passed(Passed(0, timedelta(), {Kind.CLIENT: []}))
    found = samples(made)
    assert 0 == found['dinp_certs_certificates{kind="client"}']
    assert 'dinp_certs_not_after_seconds{kind="client"}' not in found


async def test_exposition() -> None:
    """By HTTP, in the format that Prometheus asks for, with the process's own figures and the version."""
    passes = Passes()
    async with probed(passes) as client:
        await passes.more()
        async with client.session.get(f"http://127.0.0.1:{client.port}/metrics") as answer:
            assert metrics.CONTENT_TYPE == answer.headers["Content-Type"]
            text = await answer.text()
    assert 'dinp_certs_passes_total{of="webhook",outcome="done"}' in text
    assert "process_resident_memory_bytes" in text
    assert 'dinp_build_info{version="' in text
