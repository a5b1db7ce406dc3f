"""Many clients at once that mean no good, for tests of the server.

    python -m tests.webhook.serving.crowd <kind> <port> <CA file> <how many>

Opens so many connections, says `ready`, and keeps them until its standard input ends. Each is
opened once: what the server ends stays ended. The kinds are the functions below. Several such
processes together have more descriptors than one may have.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_SECONDS: Final = 60.0  # for one step of a handshake
_HEAD: Final = b"POST /pods/annotated HTTP/1.1\r\nHost: dinp\r\nContent-Type: application/json\r\n"


def idle(port: int, ca: Path) -> socket.socket:
    """TLS, and then nothing."""
    context = ssl.create_default_context(cafile=str(ca))
    return context.wrap_socket(connect(port), server_hostname="localhost")


def half_open(port: int, ca: Path) -> socket.socket:
    """The beginning of a ClientHello."""
    sent = ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(ca))
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    connection = connect(port)
    connection.sendall(sent.read()[:200])
    return connection


def slow(port: int, ca: Path) -> socket.socket:
    """TLS and the beginning of a head, of which a byte comes each second."""
    connection = idle(port, ca)
    connection.sendall(_HEAD + b"X-Slow: ")
    return connection


def stalled(port: int, ca: Path) -> socket.socket:
    """A body of 8 MiB, of which 7 MiB come: as much as the server takes of them."""
    connection = idle(port, ca)
    connection.sendall(_HEAD + b"Content-Length: 8388608\r\n\r\n")
    connection.settimeout(1)
    with suppress(OSError):
        for _ in range(112):
            connection.sendall(b" " * 65536)
    return connection


def large_heads(port: int, ca: Path) -> socket.socket:
    """A head that is as large as heads may be, and has no end."""
    connection = idle(port, ca)
    connection.settimeout(0.05)
    with suppress(OSError):
        connection.sendall(_HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 8000) for n in range(60)))
    return connection


def deaf(port: int, ca: Path) -> socket.socket:
    """Requests without end, whose answers are not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", port))
    context = ssl.create_default_context(cafile=str(ca))
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.settimeout(0.05)
    with suppress(OSError):
        for _number in range(100):
            connection.sendall((_HEAD + b"Content-Length: 2\r\n\r\n{}") * 20)
    return connection


def plain_idle(port: int, ca: Path) -> socket.socket:
    """No TLS, and nothing."""
    del ca
    return connect(port)


def plain_slow(port: int, ca: Path) -> socket.socket:
    """The same with the beginning of a head, of which a byte comes each second."""
    del ca
    connection = connect(port)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: dinp\r\nX-Slow: ")
    return connection


def plain_deaf(port: int, ca: Path) -> socket.socket:
    """Metrics again and again, which are not read."""
    del ca
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", port))
    plain.settimeout(0.05)
    with suppress(OSError):
        for _number in range(100):
            plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: dinp\r\n\r\n" * 20)
    return plain


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)


Open = Callable[[int, Path], socket.socket]
KINDS: Final[dict[str, Open]] = {
    one.__name__: one
    for one in (
        *(idle, half_open, slow, stalled, large_heads, deaf),
        *(plain_idle, plain_slow, plain_deaf),
    )
}


def main(kind: str, port: str, ca: str, count: str) -> None:
    """Open them, and keep them."""
    crowd: list[socket.socket] = []
    for _ in range(int(count)):
        with suppress(OSError):  # the server is free to end any of them
            crowd.append(KINDS[kind](int(port), Path(ca)))
    print("ready", flush=True)  # noqa: T201 - for the test
    while not select.select([sys.stdin], [], [], 1)[0]:
        for connection in crowd if "slow" in kind else ():
            with suppress(OSError):
                connection.sendall(b"x")


if __name__ == "__main__":
    main(*sys.argv[1:])
