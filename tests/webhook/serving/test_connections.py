"""webhook.serving.connections: which connection goes when, over real sockets; times are made short."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from structlog.testing import capture_logs

from tests.conftest import Authority, StartServer
from tests.webhook.serving.test_server import BODY, answer, ask, closed, head, health, raw, until
from webhook.pods import bounds
from webhook.serving import connections, listening
from webhook.serving.connections import Connection
from webhook.serving.metrics import Metrics
from webhook.serving.server import Server


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of connections are tenths of seconds."""
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(listening, "_HANDSHAKE_SECONDS", 0.3)
    monkeypatch.setattr(listening, "_SWEEP_SECONDS", 0.05)


async def plain(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


def text(server: Server) -> str:
    """The metrics of a server, whatever it shows of them."""
    return Metrics.exposition(server._metrics).decode()


async def dribble(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, as long as that works."""
    with suppress(OSError):
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)


def distrust(port: int) -> None:
    """Shake hands with what has a certificate of an unknown CA; asyncio would not tell the server."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        Authority("another").trusting().wrap_socket(connection, server_hostname="localhost")


# ---- times ---------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["https", "health"])
async def test_slow_head(port: str, start_server: StartServer, ca: Authority) -> None:
    """A head of which a byte comes now and then is ended; a connection that sends nothing stays."""
    server = await start_server()
    opened = [
        await (raw(server, ca) if port == "https" else plain(server.health_port)) for _ in range(2)
    ]
    (idle_reader, idle), (slow_reader, slow) = opened
    slow.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    dribbling = asyncio.create_task(dribble(slow))
    assert await closed(slow_reader)
    idle.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (await answer(idle_reader))[0] in {200, 404}
    slow.close()
    await dribbling
    idle.close()


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01"])
async def test_slow_handshake(first: bytes, start_server: StartServer) -> None:
    """A handshake that does not go on is ended, and said."""
    server = await start_server()
    with capture_logs() as lines:
        reader, writer = await plain(server.port)
        writer.write(first)
        assert await closed(reader)
        await until(lambda: bool(lines))
    writer.close()

    assert [line["event"] for line in lines] == ["handshake failed"]
    assert "handshake is taking longer than" in lines[0]["why"]


async def test_handshake_that_fails(start_server: StartServer) -> None:
    """Whoever does not speak TLS, or does not trust the certificate, is one line that says so."""
    server = await start_server()
    with capture_logs() as lines:
        reader, writer = await plain(server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await closed(reader)
        await until(lambda: bool(lines))
        writer.close()
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(distrust, server.port)
        await until(lambda: len(lines) == 2)

    assert "HTTP_REQUEST" in lines[0]["why"]
    assert "UNKNOWN_CA" in lines[1]["why"]
    assert 'port="https",why="handshake"} 2.0' in (await health(server, "/metrics"))[1]


async def test_whoever_looks_and_leaves(start_server: StartServer, ca: Authority) -> None:
    """A load balancer that opens the port and closes it, or resets it, is no line in the log."""
    server = await start_server()
    with capture_logs() as lines:
        for linger in (b"", struct.pack("ii", 1, 0)):
            with socket.create_connection(("127.0.0.1", server.port)) as looking:
                if linger:  # a reset
                    looking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert (await ask(server, ca))[0] == 200
        await until(lambda: not server._secure.connections._all)

    assert [line["event"] for line in lines] == ["review"]


# ---- room ----------------------------------------------------------------------------------


async def test_burst_is_counted(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come at once: there are never more than the bound, and a probe gets through."""
    monkeypatch.setattr(bounds, "HEALTH_CONNECTIONS", 4)
    most = 0

    def add(self: connections.Connections, handler: RequestHandler) -> Connection:
        nonlocal most
        added = _add(self, handler)
        most = max(most, len(self._all))
        return added

    _add = connections.Connections.add
    monkeypatch.setattr(connections.Connections, "add", add)
    server = await start_server()
    burst = [socket.create_connection(("127.0.0.1", server.health_port)) for _ in range(50)]
    assert await health(server, "/healthz") == (200, "ok\n")
    for one in burst:
        one.close()

    assert most == 4


@pytest.mark.parametrize("port", ["https", "health"])
async def test_half_open_make_room(
    port: str, start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that have only begun a handshake or a head make room as idle ones do."""
    monkeypatch.setattr(listening, "_HANDSHAKE_SECONDS", 60)
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 60)
    monkeypatch.setattr(bounds, "CONNECTIONS", 3)
    monkeypatch.setattr(bounds, "HEALTH_CONNECTIONS", 3)
    server = await start_server()
    begun = []
    for _ in range(5):
        begun.append(await plain(server.port if port == "https" else server.health_port))
        begun[-1][1].write(b"\x16\x03\x01" if port == "https" else b"GET / HT")

    assert await health(server, "/healthz") == (200, "ok\n")
    assert (await ask(server, ca))[0] == 200
    for _, writer in begun:
        writer.close()


async def test_stalled_bodies_make_room(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every connection has a body that does not come on, the first one is told so, and goes."""
    monkeypatch.setattr(bounds, "CONNECTIONS", 2)
    server = await start_server(exchange=60)
    stalled = [await raw(server, ca) for _ in range(2)]
    for _, writer in stalled:
        writer.write(head(len(BODY)) + BODY[:10])
    await until(lambda: len(server._secure.connections.busy) == 2)
    asked = await ask(server, ca)

    assert asked[0] == 200
    status, headers, why = await answer(stalled[0][0])
    assert (status, headers["connection"]) == (503, "close")
    assert b"too many large or slow requests" in why
    for _, writer in stalled:
        writer.close()


async def test_deaf_clients_make_room(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of answers that nobody reads the first ones go when there are too many: they hold no memory."""
    server = await start_server(exchange=60)
    monkeypatch.setattr(server._metrics, "exposition", lambda: b" " * bounds.UNSENT)
    monkeypatch.setattr("webhook.serving.metrics._FRESH_SECONDS", 0)
    deaf = []
    for _ in range(3):
        near = socket.socket()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near.connect(("127.0.0.1", server.health_port))
        near.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        deaf.append(near)
    dropped = 'dropped_connections_total{port="health",why="not taken"} 2.0'
    await until(lambda: dropped in text(server))

    assert await health(server, "/healthz") == (200, "ok\n")
    assert len(server._health.connections.sending) <= 1  # two answers are more than may wait
    for near in deaf:
        near.close()


async def test_what_has_arrived_is_no_idle_connection(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that the kernel has when room is made keeps its connection: the next one goes."""
    monkeypatch.setattr(bounds, "CONNECTIONS", 2)
    server = await start_server()
    crossing, other = await raw(server, ca), await raw(server, ca)
    for reader, writer in (crossing, other):
        writer.write(head(len(BODY)) + BODY)
        assert (await answer(reader))[0] == 200
    crossing[1].write(head(len(BODY)) + BODY)
    assert server._secure.connections.make_room()  # in this turn: nobody has read it

    assert (await answer(crossing[0]))[0] == 200
    assert await closed(other[0])
    for _, writer in (crossing, other):
        writer.close()


# ---- requests ------------------------------------------------------------------------------


async def test_pipelining_ends_the_connection(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes before the answer is not kept: the request has its answer, and then it is over."""
    server = await start_server()
    going, gone = asyncio.Event(), asyncio.Event()

    async def review(*_: object) -> None:
        going.set()
        await gone.wait()
        raise web.HTTPServiceUnavailable(text="after all")

    monkeypatch.setattr(server._reviews.large, "review", review)
    reader, writer = await raw(server, ca)
    large = BODY.ljust(bounds.SMALL_BODY + 1)
    writer.write(head(len(large)) + large)
    await going.wait()
    writer.write(head(len(BODY)) + BODY)
    await until(lambda: any(one.pipelines for one in server._secure.connections.busy))
    gone.set()
    status, headers, _ = await answer(reader)

    assert (status, headers["connection"]) == (503, "close")
    assert await closed(reader)
    writer.close()


async def test_the_rest_of_a_refused_body_is_not_held(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after its answer is dropped, and the connection serves the next request."""
    held = 0

    def took(self: connections.Connections, connection: Connection, size: int) -> None:
        nonlocal held
        held += size
        _took(self, connection, size)

    _took = connections.Connections.took
    server = await start_server()
    reader, writer = await raw(server, ca)
    writer.write(head(400_000, path="/nowhere") + b" " * 200_000)
    assert (await answer(reader))[0] == 404
    monkeypatch.setattr(connections.Connections, "took", took)
    writer.write(b" " * 200_000)
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.write(head(len(BODY)) + BODY)

    assert (await answer(reader))[0] == 200
    assert held == len(head(len(BODY)) + BODY)
    writer.close()


async def test_chunks_of_two_bytes(start_server: StartServer, ca: Authority) -> None:
    """A body may come in as many chunks as it has pairs of bytes."""
    server = await start_server()
    reader, writer = await raw(server, ca)
    body = BODY + b" " * (len(BODY) % 2)
    writer.write(head(None))
    writer.write(b"".join(b"2\r\n%b\r\n" % body[at : at + 2] for at in range(0, len(body), 2)))
    writer.write(b"0\r\n\r\n")

    assert (await answer(reader))[0] == 200
    writer.close()


# ---- clients that leave --------------------------------------------------------------------


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
async def test_a_client_that_leaves_early_is_no_error(
    expects: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer cannot be written, which is nobody's fault: no traceback of aiohttp's."""
    left = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        await until(lambda: request.transport is None)
        left.set()
        return web.Response(text="late")

    async def go_on(request: web.Request) -> None:
        await wait(request)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    application = web.Application()
    application.router.add_post("/", wait, expect_handler=go_on)
    port = listening.Port(listening.bind("127.0.0.1", 0), most=5, seconds=5)
    await port.open(application)
    try:
        _, writer = await plain(port.number)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n" + expects + b"\r\n{}")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.wait_for(left.wait(), 5)
        await asyncio.sleep(0.05)
    finally:
        await port.close()
    assert [] == [record.message for record in caplog.records if record.name == "webhook.http"]
