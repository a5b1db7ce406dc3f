"""A listening port with an aiohttp application behind it, and bounds on its connections."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

from aiohttp import web

from webhook.pods import bounds
from webhook.serving import http_errors, logs
from webhook.serving.connections import Connection, Connections, Phase

_BACKLOG: Final = 1024  # connections that wait in the kernel
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
_TURN_SECONDS: Final = 0.001  # of them, at least: some are waited for that take seconds
_SWEEP_SECONDS: Final = 1.0
_NO_ROOM_SECONDS: Final = 0.05  # until it is tried again to make room
_EVERY_INTERFACE: Final = ("", "::", "0.0.0.0")  # noqa: S104 - compared with, not bound to
# The process or the machine has no more of what a connection takes; accept(2).
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# The client has left: a load balancer that looks whether the port is open does so, too.
_LEFT: Final = (ConnectionResetError, BrokenPipeError)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# Of a request: the connection that it came by.
CONNECTION: Final = web.RequestKey("connection", Connection)

# For all connections of the process, as asyncio offers no way for one of them. Whether it still
# heeds it is seen by tests/webhook/serving/test_memory_limit.py.
sslproto.SSLProtocol.max_size = bounds.TLS_BUFFER


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

    def __init__(
        self,
        listener: socket.socket,
        *,
        most: int,
        seconds: float,
        dropped: Callable[[str], None] = lambda _: None,
    ) -> None:
        """At most `most` connections; a client has `seconds` to take an answer.

        `dropped` is called for each connection that is ended, with the reason in a word or two.
        """
        self.number = int(listener.getsockname()[1])
        self.connections = Connections(most, dropped)
        self.draining = False  # every answer is the last one of its connection
        self.seconds = seconds
        self._dropped = dropped
        self._listener = listener
        self._handshakes = logs.Ration("handshake failed")
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self._context: ssl.SSLContext | None = None

    async def open(
        self, application: web.Application, context: ssl.SSLContext | None = None
    ) -> None:
        """Accept connections, with TLS where there is a context."""
        self._context = context
        application.middlewares.insert(0, self._exchange)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,  # a few KiB of gzip may be gigabytes
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            logger=http_errors.logger(),
            max_headers=bounds.HEADERS,
            read_bufsize=bounds.SMALL_BODY,
            shutdown_timeout=1.0,
        )
        await self._runner.setup()
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._accepting = self._task(self._accept())
        self._task(self._sweep())

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- a connection ----

    async def _accept(self) -> None:
        """Take one after the other: each is counted at once, and a burst leaves time for others."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                if error.errno in _SHORT:
                    self.connections.make_room()
                    await asyncio.sleep(_NO_ROOM_SECONDS)
                continue
            try:
                await self._until_there_is_room()
                self._task(self._serve(accepted))
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                accepted.close()
                raise

    async def _until_there_is_room(self) -> None:
        while self.connections.are_full():
            if not self.connections.make_room():
                await asyncio.sleep(_NO_ROOM_SECONDS)

    async def _serve(self, accepted: socket.socket) -> None:
        server = None if self._runner is None else self._runner.server
        if server is None:
            accepted.close()
            return
        connection = self.connections.add(server())
        try:
            await self._start(connection, accepted)
        except OSError as error:  # TimeoutError and SSLError are such
            # Also from clients that do not trust our certificate, which operators want to know.
            if connection in self.connections and not isinstance(error, _LEFT):
                self._dropped("handshake")
                self._handshakes.warning(why=logs.short(str(error)))
        finally:
            if connection.phase is Phase.OPENING:
                self.connections.forget(connection)

    async def _start(self, connection: Connection, accepted: socket.socket) -> None:
        """Begin to serve it, with TLS after the handshake."""
        loop = asyncio.get_running_loop()
        plain, _ = await loop.connect_accepted_socket(_Unread, accepted)
        connection.accepted(plain)
        if self._context is None:
            transport: asyncio.Transport | None = plain
            plain.set_protocol(connection)
            plain.resume_reading()
        else:
            transport = await loop.start_tls(
                plain,
                connection,
                self._context,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_TLS_CLOSE_SECONDS,
            )
        if transport is None or connection not in self.connections:  # has been lost meanwhile
            plain.abort()
            return
        transport.set_write_buffer_limits(high=1, low=0)  # high=0 would pause for good
        if transport is not plain:
            cast("Any", transport).set_read_buffer_limits(high=bounds.TLS_BUFFER)
        connection.connection_made(transport)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.connections.end_slow_heads()
            logs.tell_left_out()

    # ---- a request ----

    @web.middleware
    async def _exchange(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        connection = self.connections.of(request.protocol)
        request[CONNECTION] = connection
        connection.begin(request.content)
        try:
            response = await _respond(request, handler)
            connection.answer(_size(response))
            if self.draining or connection.pipelines:
                response.force_close()  # the client's next request comes by another connection
            await self._send(request, response)
        finally:
            connection.end()
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send it here and not in aiohttp, which would wait for a client's reading for ever."""
        try:
            async with asyncio.timeout(self.seconds):
                await response.prepare(request)
                await response.write_eof()
                await request.writer.drain()  # of what is small write_eof waits for nothing
        except TimeoutError:
            self.connections.drop(request[CONNECTION], "not taken")

    # ---- the end ----

    def stop_accepting(self) -> None:
        """Refuse new connections; those that are open go on."""
        if self._accepting is not None:
            self._accepting.cancel()
        self._listener.close()

    async def close_idle(self) -> None:
        """Close the connections without a request, and on which nothing is arriving.

        From the kernel into a handler a request takes some turns of the event loop; a POST that
        is dropped on its way is one that Go's client does not send again.
        """
        quiet: Counter[Connection] = Counter()
        while waiting := list(self.connections.waiting):
            for connection in waiting:
                busy = connection.phase is Phase.OPENING or connection.has_arrived()
                quiet[connection] = 0 if busy else quiet[connection] + 1
                if quiet[connection] > _QUIET_TURNS:
                    self.connections.forget(connection)
                    connection.handler.force_close()
            await asyncio.sleep(_TURN_SECONDS)

    async def close(self) -> None:
        """Close everything, also what has never been opened."""
        self.stop_accepting()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()


class _Unread(asyncio.Protocol):
    """Reads nothing until it is known who does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()


async def _respond(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """The response, also where it was raised; aiohttp would send that one itself."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.Response(
            status=error.status,
            text=f"{error.text or error.reason}\n",
            headers=http_errors.allow(error),
        )


def _size(response: web.StreamResponse) -> int:
    body = response.body if isinstance(response, web.Response) else None
    return len(body) if isinstance(body, bytes) else (getattr(body, "size", None) or 0)
