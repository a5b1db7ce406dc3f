"""The port of the kubelet's probes and of Prometheus: /healthz, /readyz, /metrics, plain HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from aiohttp import web

from certs.metrics import CONTENT_TYPE, Metrics
from certs.passes import Loop

# Twice the longest that nothing moves in a loop that is well: a minute between passes, some
# seconds of pause and of backoff, and a request or two.
_STILL: Final = timedelta(seconds=180)
# As alerts would be too late for who watches a rollout, and a failed try or two is no trouble.
_FRESH: Final = timedelta(minutes=5)
# The kubelet needs one at a time, and so does Prometheus. Whoever else comes can only close those
# that came earlier, not keep new ones out.
_MOST_CONNECTIONS: Final = 64
_KEEPALIVE_SECONDS: Final = 60.0
_EVERY_INTERFACE: Final = ("", "::", "0.0.0.0")  # noqa: S104 - compared with, not bound to


class ListenError(Exception):
    """The port cannot be had; names address and port."""


@asynccontextmanager
async def listening(
    loops: Mapping[str, Loop], metrics: Metrics, address: str, number: int
) -> AsyncIterator[int]:
    """Answer for these loops, by the names that sentences call them by; yield the port.

    `address` of 0.0.0.0 or :: means every interface; `number` of 0 any free port.

    Raises:
        ListenError: it cannot be had.
    """
    port = Port(loops, metrics)
    try:
        yield await _opened(port, address, number)
    finally:
        await port.close()


async def _opened(port: Port, address: str, number: int) -> int:
    try:
        return await port.open(address, number)
    except OSError as error:
        shown = f"[{address}]" if ":" in address else address
        cause = str(error.strerror or error).partition(" (while attempting")[0]  # Python adds that
        raise ListenError(f"--health-port: {shown}:{number}: {cause}") from error


class Port:
    """One port, and what answers there."""

    def __init__(self, loops: Mapping[str, Loop], metrics: Metrics) -> None:
        self._loops = loops
        self._metrics = metrics
        application = web.Application(client_max_size=1024)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            shutdown_timeout=1.0,
        )
        self._accepting: asyncio.Server | None = None

    async def open(self, address: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            OSError: it cannot be had.
        """
        await self._runner.setup()
        self._accepting = await asyncio.get_running_loop().create_server(
            self._protocol, sock=_listener(address, port)
        )
        return int(self._accepting.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Close everything."""
        if self._accepting is not None:
            self._accepting.close()
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None  # noqa: S101 - open() has set it up
        # In the order in which they were opened.
        for connection in server.connections[: 1 - _MOST_CONNECTIONS]:
            connection.force_close()
        return server()

    async def _healthz(self, _: web.Request) -> web.Response:
        """Whether passes go on, done or failed: a restart does not bring an API server back."""
        return _answer(
            f"{what}: nothing has moved for {_seconds(loop.still)} s"
            for what, loop in self._loops.items()
            if loop.still > _STILL
        )

    async def _readyz(self, _: web.Request) -> web.Response:
        """Whether certificates are known to be right."""
        return _answer(_problem(what, loop.since_success) for what, loop in self._loops.items())

    async def _exposition(self, _: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE}
        return web.Response(body=self._metrics.exposition(), headers=headers)


def _problem(what: str, since: timedelta | None) -> str:
    if since is None:
        return f"{what}: no pass has been done yet"
    if since > _FRESH:
        return f"{what}: the last pass that was done is {_seconds(since)} s old"
    return ""


def _answer(problems: Iterable[str]) -> web.Response:
    said = [problem for problem in problems if problem]
    if said:
        return web.Response(status=503, text="\n".join(said) + "\n")
    return web.Response(text="ok\n")


def _seconds(time: timedelta) -> int:
    return int(time.total_seconds())


def _listener(address: str, port: int) -> socket.socket:
    if address in _EVERY_INTERFACE and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)
