"""A listening port with an aiohttp application behind it, and bounds on its connections."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
from collections import Counter
from collections.abc import Container
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

_MAX_CONNECTIONS: Final = 1024
_HANDSHAKE_SECONDS: Final = 10.0
_TLS_CLOSE_SECONDS: Final = 5.0
# Above the 90 s after which Go's client closes an idle connection itself: whoever closes
# first may cross a request that is on its way.
_KEEPALIVE_SECONDS: Final = 120.0
# How long the rest of a refused body is read and dropped, so that its sender sees the answer.
_LINGERING_SECONDS: Final = 1.0
# Turns of the event loop from bytes in the kernel to a request in flight: read, decrypt and
# parse, start; and two to spare.
_QUIET_TURNS: Final = 5
# What aiohttp raises for a client's malformed HTTP.
MALFORMED: Final = (HttpProcessingError, web.RequestPayloadError)
_EVERY_INTERFACE: Final = ("", "::", "0.0.0.0")  # noqa: S104 - compared with, not bound to


class ListenError(Exception):
    """A port cannot be had; names address and port. Exit code 2."""


def bind(address: str, port: int) -> socket.socket:
    """Listen on `address`; an unspecified one means all interfaces, IPv4 and IPv6. Port 0: any.

    Raises:
        ListenError: the port is taken, or the address is not of this machine.
    """
    try:
        if address in _EVERY_INTERFACE and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)
    except OSError as error:
        shown = f"[{address}]" if ":" in address else address
        cause = str(error.strerror or error).partition(" (while attempting")[0]  # Python adds that
        raise ListenError(f"{shown}:{port}: {cause}") from error


class Port:
    """One port and what answers there."""

    def __init__(self, application: web.Application, listener: socket.socket) -> None:
        self.number = int(listener.getsockname()[1])
        self._listener = listener
        self._accepting: asyncio.Server | None = None
        self._runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,  # a few KiB of gzip may be gigabytes
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            logger=_protocol_logger(),
            shutdown_timeout=1.0,
        )

    async def open(self, context: ssl.SSLContext | None = None) -> None:
        """Accept connections, with TLS where there is a context."""
        await self._runner.setup()
        of_tls: dict[str, Any] = {}
        if context is not None:
            of_tls = {
                "ssl": context,
                "ssl_handshake_timeout": _HANDSHAKE_SECONDS,
                "ssl_shutdown_timeout": _TLS_CLOSE_SECONDS,
            }
        self._accepting = await asyncio.get_running_loop().create_server(
            self._protocol, sock=self._listener, backlog=_MAX_CONNECTIONS, **of_tls
        )

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= _MAX_CONNECTIONS:
            return _Full()
        return server()

    def stop_accepting(self) -> None:
        """Refuse new connections; those that are open go on."""
        if self._accepting is not None:
            self._accepting.close()

    async def close_idle(self, busy: Container[object]) -> None:
        """Close the connections that are not in `busy`, and on which nothing is arriving.

        From the kernel into `busy` a request takes some turns of the event loop; a POST that
        is dropped on its way is one that Go's client does not send again.
        """
        quiet: Counter[object] = Counter()
        while waiting := [one for one in self._connections() if one not in busy]:
            for connection in waiting:
                quiet[connection] = 0 if _has_arrived(connection) else quiet[connection] + 1
                if quiet[connection] > _QUIET_TURNS:
                    connection.force_close()
            await asyncio.sleep(0)

    def _connections(self) -> list[RequestHandler]:
        everyone = [] if self._runner.server is None else self._runner.server.connections
        return [connection for connection in everyone if connection.transport is not None]

    async def close(self) -> None:
        """Close everything, also what has never been opened."""
        self.stop_accepting()
        self._listener.close()
        await self._runner.cleanup()


def _has_arrived(connection: RequestHandler) -> bool:
    """Whether the kernel has bytes of this connection that nobody has read yet."""
    found = None if connection.transport is None else connection.transport.get_extra_info("socket")
    if found is None or found.fileno() < 0:
        return False
    poll = select.poll()  # not select(): it knows descriptors below 1024 alone
    poll.register(found.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _Full(asyncio.Protocol):
    """What a connection too many meets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _protocol_logger() -> logging.Logger:
    logger = logging.getLogger("webhook.http")
    logger.addFilter(_without_traceback)
    return logger


def _without_traceback(record: logging.LogRecord) -> bool:
    """A client's malformed HTTP is not a fault of ours: aiohttp logs a traceback for it."""
    if record.exc_info and isinstance(record.exc_info[1], MALFORMED):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
