"""The connections of one port: what each is doing, how long it may, and which goes when there is no room.

| a connection | may last | goes when there is no room |
|---|---|---|
| whose TLS handshake has begun | 10 s | with those that are idle |
| whose request's head has begun | 10 s | with those that are idle |
| idle: nothing since its last answer, or ever | 120 s | the one that has waited longest goes first |
| whose request's body is arriving | 10 s | if none of those above is there, after 2 s |
| whose request is being reviewed | the review | never |
| whose answer is being sent | 10 s | if none of those above is there, after 2 s |

The newest never goes. A connection has no share that depends on its address: by SNAT and
konnectivity all API servers are one peer. Go's client dials connections ahead and keeps used
ones, and does not send a POST again that has crossed their end: hence the long time for idle
ones, and a look into the kernel's buffer before one is ended.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final

from aiohttp import StreamReader
from aiohttp.web_protocol import RequestHandler

from webhook.pods import bounds

_HEAD_SECONDS: Final = 10.0
# A body that has not arrived by then is a slow one; usual ones take milliseconds.
_PATIENCE_SECONDS: Final = 2.0
# What a connection that does not take its answer costs beside it: buffers, and what it has sent.
_BLOCKED: Final = 64 * bounds.KIB


class Phase(Enum):
    """What a connection is doing."""

    OPENING = auto()  # accepted; with TLS, in its handshake
    WAITING = auto()  # idle, or with the beginning of a head
    TAKING = auto()  # the body is arriving
    WORKING = auto()  # the request is whole, and has no answer yet
    SENDING = auto()  # the answer is on its way


class Connection(asyncio.Protocol):
    """Between asyncio's transport and aiohttp's protocol: sees what comes, and hands it on."""

    def __init__(self, port: Connections, handler: RequestHandler) -> None:
        self.handler = handler  # aiohttp's
        self.phase = Phase.OPENING
        self.held = 0  # bytes of a request that has no answer yet
        self.pipelines = False  # has sent more before it had its answer
        self.deadline: asyncio.Timeout | None = None  # of its body
        self.crowded_out = False
        self._port = port
        self._plain: asyncio.Transport | None = None
        self._early = b""
        self._content: StreamReader | None = None  # the body of the request, or of the one answered

    # ---- what asyncio tells ----

    def accepted(self, plain: asyncio.Transport) -> None:
        """The connection without TLS: what is aborted, and what must not buffer what cannot be sent."""
        self._plain = plain
        plain.set_write_buffer_limits(high=1, low=0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be there, TLS included."""
        self.phase = Phase.WAITING
        self.handler.connection_made(transport)
        if self._early:
            self.data_received(self._early)
            self._early = b""

    def data_received(self, data: bytes) -> None:
        """Hand on what came, and count it until the request has its answer."""
        if self.phase is Phase.OPENING:  # start_tls() has not returned yet
            self._early += data
            return
        if self.phase is Phase.WORKING:
            # HTTP pipelining. No client of ours does that, and it would be held until the answer.
            self.pipelines = True
            if self._plain is not None:
                self._plain.pause_reading()
            return
        if self._content is not None and self.phase in {Phase.SENDING, Phase.WAITING}:
            if not self._content.is_eof():  # the rest of a refused body, which aiohttp drops
                self.handler.data_received(data)
                return
            self._content = None
        self._port.took(self, len(data))
        self.handler.data_received(data)
        self._look_for_end()

    def eof_received(self) -> None:
        """Hand it on."""
        self.handler.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Be gone."""
        self._port.forget(self)
        self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand it on."""
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self.handler.resume_writing()

    # ---- what happens to a request ----

    def begin(self, content: StreamReader) -> None:
        """The head is whole: a request is in flight."""
        self._content = content
        self.phase = Phase.TAKING
        self._port.begin(self)
        self._look_for_end()

    def answer(self, size: int) -> None:
        """Nothing is held of the request any more; an answer of `size` bytes goes out."""
        self.phase = Phase.SENDING
        self._port.answer(self, size)

    def end(self) -> None:
        """The answer has gone, or will never."""
        self.phase = Phase.WAITING
        self.deadline = None
        self._port.end(self)

    def _look_for_end(self) -> None:
        if self.phase is Phase.TAKING and self._content is not None and self._content.is_eof():
            self.phase = Phase.WORKING
            self._port.whole(self)

    # ---- how it is ended ----

    def abort(self) -> None:
        """End it now."""
        if self._plain is not None:
            self._plain.abort()

    def expire(self) -> None:
        """End its body's time."""
        self.crowded_out = True
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(asyncio.get_running_loop().time())

    def has_arrived(self) -> bool:
        """Whether the kernel has bytes of it that nobody has read yet."""
        found = None if self._plain is None else self._plain.get_extra_info("socket")
        if found is None or found.fileno() < 0:
            return False
        poll = select.poll()  # not select(): it knows descriptors below 1024 alone
        poll.register(found.fileno(), select.POLLIN)
        return bool(poll.poll(0))


class Connections:
    """All of one port; each dict is in the order in which they have to go."""

    def __init__(self, most: int, dropped: Callable[[str], None]) -> None:
        """`dropped` is called with the reason for each that is ended: slow, no room, not taken."""
        self._most = most
        self._all: dict[Connection, None] = {}
        self.waiting: dict[Connection, None] = {}  # for a request
        self.arriving: dict[Connection, float] = {}  # requests that are not whole, since when
        self.sending: dict[Connection, tuple[int, float]] = {}  # answers: their cost, since when
        self.busy: dict[Connection, None] = {}  # with a request in flight
        self.idle = asyncio.Event()  # set while none is busy
        self.idle.set()
        self.held = 0
        self.unsent = 0
        self._dropped = dropped
        self._by_handler: dict[RequestHandler, Connection] = {}

    def add(self, handler: RequestHandler) -> Connection:
        """One more; there has to be room."""
        connection = Connection(self, handler)
        self._all[connection] = self.waiting[connection] = None
        self._by_handler[handler] = connection
        return connection

    def of(self, handler: RequestHandler) -> Connection:
        """The connection that has this handler of aiohttp's, gone or not."""
        return self._by_handler.get(handler) or Connection(self, handler)

    def forget(self, connection: Connection) -> None:
        """It has gone."""
        self._all.pop(connection, None)
        self.waiting.pop(connection, None)
        self.arriving.pop(connection, None)
        self._by_handler.pop(connection.handler, None)
        self._release(connection)
        self._sent(connection)

    # ---- what its connections tell ----

    def took(self, connection: Connection, size: int) -> None:
        """So many bytes have come of a request that is not whole."""
        if connection not in self._all:
            return
        if connection not in self.arriving:
            self.arriving[connection] = time.monotonic()
        connection.held += size
        self.held += size
        while self.held > bounds.HELD and self.arriving:
            self._crowd_out(next(iter(self.arriving)))

    def begin(self, connection: Connection) -> None:
        """A request is in flight."""
        self.waiting.pop(connection, None)
        self.busy[connection] = None
        self.idle.clear()

    def whole(self, connection: Connection) -> None:
        """Its request has arrived."""
        self.arriving.pop(connection, None)

    def answer(self, connection: Connection, size: int) -> None:
        """Its answer of `size` bytes is being sent."""
        self.arriving.pop(connection, None)
        self._release(connection)
        if connection not in self._all:
            return
        self.sending[connection] = (size + _BLOCKED, time.monotonic())
        self.unsent += size + _BLOCKED
        while self.unsent > bounds.UNSENT and len(self.sending) > 1:
            self.drop(next(iter(self.sending)), "not taken")

    def end(self, connection: Connection) -> None:
        """It is idle again, or has gone."""
        self._sent(connection)
        if connection in self._all:
            self.waiting[connection] = None
        self.busy.pop(connection, None)
        if not self.busy:
            self.idle.set()

    def _release(self, connection: Connection) -> None:
        self.held -= connection.held
        connection.held = 0

    def _sent(self, connection: Connection) -> None:
        self.unsent -= self.sending.pop(connection, (0, 0.0))[0]

    # ---- who has to go ----

    def make_room(self) -> bool:
        """End one connection by the table above; False if none may go now."""
        for connection in self.waiting:
            if connection in self.arriving or not connection.has_arrived():
                self.drop(connection, "no room")
                return True
        late = time.monotonic() - _PATIENCE_SECONDS
        for connection, since in self._slow():
            if since < late and not connection.crowded_out:
                self._crowd_out(connection)
                return True
        return False

    def _slow(self) -> Iterator[tuple[Connection, float]]:
        yield from self.arriving.items()
        yield from ((connection, since) for connection, (_, since) in self.sending.items())

    def end_slow_heads(self) -> None:
        """End those whose head has begun too long ago."""
        late = time.monotonic() - _HEAD_SECONDS
        slow = [one for one, since in self.arriving.items() if since < late and one in self.waiting]
        for connection in slow:
            self.drop(connection, "slow")

    def _crowd_out(self, connection: Connection) -> None:
        """A request that is being taken gets an answer; all else has no way to get one."""
        self.arriving.pop(connection, None)
        if connection.phase is Phase.TAKING:
            self._release(connection)
            connection.expire()
        else:
            self.drop(connection, "no room")

    def drop(self, connection: Connection, why: str) -> None:
        """End one now."""
        self.forget(connection)
        connection.abort()
        self._dropped(why)

    def are_full(self) -> bool:
        """Whether there is no room; those in their handshake count, too."""
        return len(self._all) >= self._most

    def __contains__(self, connection: object) -> bool:
        """Whether it is still there."""
        return connection in self._all
