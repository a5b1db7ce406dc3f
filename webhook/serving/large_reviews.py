"""Reviews of large bodies, in a process beside the server: reviewer.py.

One at a time, in the order in which they came. How many wait is bounded by their bytes
(connections.py), how long by their clients.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from webhook.admission import Outcome, ReviewError
from webhook.asking import rules
from webhook.asking.config import Config
from webhook.asking.rules import Rule
from webhook.pods import bounds
from webhook.serving.reviewer import LENGTH, TOO_DENSE, Answer, outcome_of

# Of CPU time a review of the largest size takes one; the API server waits for 5 s, by our manifests.
_SECONDS: Final = 10.0
_END_SECONDS: Final = 2.0
_PIECE: Final = 64 * bounds.KIB
# How the process ends where it gets no memory for what it makes of a body: a patch may have more
# bytes than its Pod, and msgspec does not look whether it has got what it asked for.
_OUT_OF_MEMORY: Final = (-signal.SIGSEGV, -signal.SIGABRT)


class NotReviewedError(Exception):
    """The body is refused: `code` is an HTTP status, the message a sentence."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class FailedError(Exception):
    """A bug of ours: the message is a traceback."""


def is_small(body: bytes | bytearray) -> bool:
    """Whether the server's own process does the review: of a short body, of few objects."""
    return len(body) <= bounds.SMALL_BODY and body.count(b"{") <= bounds.SMALL_OBJECTS


class LargeReviews:
    """The process that does them, started when it is needed."""

    def __init__(self, config: Config, seconds: float = _SECONDS) -> None:
        self._config = config
        self._seconds = seconds  # for one, and for waiting for one's turn
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def start(self) -> None:
        """Start the process, so that the first review need not wait for it."""
        async with self._turn:
            with suppress(OSError):  # it is tried again with the first of them, which says why
                await self._running()

    async def review(self, body: bytes | bytearray, rule: Rule) -> Outcome:
        """What admission.review() says of it.

        Raises:
            ReviewError: as review() does.
            NotReviewedError: it takes too much memory or time, or has ended the process.
            FailedError: a bug of ours.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise NotReviewedError(503, "other large reviews took too long") from None
        try:
            async with asyncio.timeout(self._seconds):
                return await self._reviewed(body, rule)
        except TimeoutError:
            self._kill()
            why = f"the review took longer than {self._seconds:g} s"
            raise NotReviewedError(503, why) from None
        except (OSError, asyncio.IncompleteReadError) as error:
            code = self._kill()
            if code in _OUT_OF_MEMORY:
                raise NotReviewedError(413, TOO_DENSE) from error
            how = "it did not start" if code is None else f"exit code {code}"
            why = f"the process for large reviews has ended: {how}"
            raise NotReviewedError(503, why) from error
        except asyncio.CancelledError:
            self._kill()  # nobody will read its answer
            raise
        finally:
            self._renew()
            self._turn.release()

    def _renew(self) -> None:
        """Have another process, if this one keeps much; the next review need not wait for its start."""
        if self._process is not None and _resident(self._process.pid) > bounds.REVIEWER_AT_REST:
            self._kill()
            self._starting = asyncio.create_task(self.start())

    async def close(self) -> None:
        """Let the process end by itself, if there is one."""
        if self._starting is not None:
            self._starting.cancel()
            with suppress(asyncio.CancelledError):
                await self._starting
        if self._process is not None:
            self._writer.transport.abort()
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    while self._process.poll() is None:  # noqa: ASYNC110 - nothing tells
                        await asyncio.sleep(0.01)
        self._kill()
        await asyncio.sleep(0)  # for what is closed to be so

    def _kill(self) -> int | None:
        """End the process, if there is one, and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._writer.transport.abort()
        process.kill()  # does nothing to one that has ended
        return process.wait()

    async def _running(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._kill()
        ours, theirs = socket.socketpair()
        with theirs:
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
            try:
                self._process = _reviewer(theirs.fileno())
            except OSError:
                self._writer.transport.abort()
                raise
        await self._write(msgspec.msgpack.encode(self._config))

    async def _reviewed(self, body: bytes | bytearray, rule: Rule) -> Outcome:
        await self._running()
        await self._write(rules.path(rule).encode())
        await self._write(body)
        kind = Answer(await self._read())
        said, answer = await self._read(), await self._read()
        match kind:
            case Answer.REVIEWED:
                return outcome_of(said, answer)
            case Answer.NO_REVIEW:
                raise ReviewError(said.decode())
            case Answer.TOO_MUCH:
                raise NotReviewedError(413, said.decode())
            case Answer.NO_MEMORY:
                self._kill()
                raise NotReviewedError(413, said.decode())
            case Answer.FAILED:
                raise FailedError(said.decode())

    async def _write(self, part: bytes | bytearray) -> None:
        """In pieces, as a stream keeps a copy of what it cannot send at once."""
        self._writer.write(LENGTH.pack(len(part)))
        whole = memoryview(part)
        for at in range(0, len(part), _PIECE):
            self._writer.write(whole[at : at + _PIECE])
            await self._writer.drain()

    async def _read(self) -> bytes:
        (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        return await self._reader.readexactly(length)


def _reviewer(channel: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "webhook.serving.reviewer"], stdin=channel)


def _resident(process: int) -> int:
    """Bytes in memory; 0 where nobody knows, as on macOS."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()
