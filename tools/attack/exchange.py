"""A request with a large body, sent as Go's client does: the answer is read while the body is still going out.

A server that refuses a body closes the connection. Who first sends all and then reads would
find that closed, and the refusal lost.
"""

from __future__ import annotations

import select
import ssl
import time
from typing import Final

_PART: Final = 64 * 1024


def request(path: str, length: int) -> bytes:
    """The head of a POST of JSON."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: dinp",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def exchange(connection: ssl.SSLSocket, sent: bytes, seconds: float) -> tuple[int, str]:
    """Send these bytes and read one answer: its status and its body.

    Status 0: there was none within `seconds`; the text says how it ended.
    """
    connection.setblocking(False)
    deadline = time.monotonic() + seconds
    left, received, ended = memoryview(sent), b"", ""
    while not ended and not _is_whole(received):
        left, is_stuck = _send(connection, left)
        try:
            part = connection.recv(_PART)
            received += part
            ended = "" if part else "the connection was closed without an answer"
        except ssl.SSLWantReadError:
            if time.monotonic() > deadline:
                ended = f"no answer after {seconds:g} s"
            elif is_stuck or not left:
                _wait(connection, for_room=bool(left))
        except OSError as error:
            ended = f"{type(error).__name__}: {error}"
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return 0, ended
    return int(head.split()[1]), body.decode(errors="replace")


def _send(connection: ssl.SSLSocket, left: memoryview) -> tuple[memoryview, bool]:
    """What is left after one part, and whether the kernel took nothing; nothing is left where the other side takes no more."""
    if not left:
        return left, False
    try:
        return left[connection.send(left[:_PART]) :], False
    except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return left, True
    except OSError:
        return left[:0], False


def _wait(connection: ssl.SSLSocket, *, for_room: bool) -> None:
    poll = select.poll()  # not select(): it knows descriptors below 1024 alone
    poll.register(connection, select.POLLIN | (select.POLLOUT if for_room else 0))
    poll.poll(200)


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return False  # without a length it ends with the connection
