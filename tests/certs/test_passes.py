"""certs.passes: when there is a pass, and when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta

import pytest

from certs import passes
from certs.passes import Loop, Passed


class Object:
    """What a loop watches and keeps right: `wrong` is how often somebody has damaged it."""

    def __init__(self) -> None:
        self.wrong = 0
        self.passes: list[int] = []  # how much each has written
        self._changes: asyncio.Queue[None] = asyncio.Queue()

    async def watch(self) -> AsyncGenerator[None]:
        """Tell of it as it is, then of each change."""
        yield
        while True:
            await self._changes.get()
            yield

    def change(self) -> None:
        """Tell the watch."""
        self._changes.put_nowait(None)

    async def run_pass(self) -> Passed:
        """Make it right, which is a change, too."""
        writes, self.wrong = self.wrong, 0
        for _ in range(writes):
            self.change()
        self.passes.append(writes)
        return Passed(writes, timedelta(days=1))


async def all_is_done() -> None:
    """Let everybody go on until each waits for something that only a test or a timer brings."""
    for _ in range(200):  # turns of the event loop: a pass and what comes of it take ten or so
        await asyncio.sleep(0)


async def test_a_pass_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is followed by one pass, the write of that pass by one more, and that by none."""
    monkeypatch.setattr(passes, "_PAUSE_SECONDS", (0.0, 0.0))
    watched = Object()
    stop = asyncio.Event()
    running = asyncio.create_task(Loop(watched.run_pass, [watched.watch], "it").run(stop))
    try:
        await all_is_done()
        for wrong, expected in ((0, [0]), (1, [1, 0]), (3, [3, 0]), (0, [0])):
            watched.passes.clear()
            watched.wrong = wrong
            watched.change()
            await all_is_done()
            assert expected == watched.passes
    finally:
        stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(running, 20)
