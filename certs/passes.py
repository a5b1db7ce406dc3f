"""Passes for ever over what is in the API server: each makes right what can be made right now."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from time import monotonic
from typing import Final, Protocol

import structlog

from certs import progress
from certs.errors import Reason, StoreError

# Look again this often, though no watch said so: a watch may be dead without knowing it.
_RESYNC: Final = timedelta(seconds=60)
# Between two passes. Somebody who undoes what we write gets slower answers, still within 5 s.
_PAUSE_SECONDS: Final = (0.1, 4.0)
_BACKOFF_SECONDS: Final = (0.5, 15.0)

Watch = Callable[[], AsyncGenerator[None]]


@dataclass(frozen=True, slots=True)
class Clock:
    """Both clocks of a process."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = monotonic


class Kind(Enum):
    """Of a certificate that certs keeps; the value is the label of a metric."""

    WEBHOOK_CA = "webhook-ca"
    WEBHOOK = "webhook"
    SERVER_CA = "server-ca"
    CLIENT_CA = "client-ca"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Passed:
    """How a pass ended: what it has written, and when something will be due.

    `ends` are those of the certificates in use, by their kind (of CAs: of the one that signs), and
    `failures` say why something was not done for one namespace or one request.
    """

    writes: int
    wait: timedelta
    ends: Mapping[Kind, Sequence[datetime]] = field(default_factory=dict)
    failures: Sequence[Reason] = ()


class Observer(Protocol):
    """Whoever wants to know how passes end."""

    def passed(self, passed: Passed) -> None:
        """One has done what it could."""

    def failed(self, reason: Reason) -> None:
        """One has come to nothing."""


class Loop:
    """Passes whenever one of the watches yields, something is due, or a minute is over.

    `what` is what they keep right, as the log says it: "certificates".
    """

    def __init__(
        self,
        run_pass: Callable[[], Awaitable[Passed]],
        watches: Iterable[Watch],
        what: str,
        *,
        observer: Observer | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._run_once = run_pass
        self._watches = tuple(watches)
        self._what = what
        self._observer = observer
        self._clock = clock
        self._changed = asyncio.Event()
        self._log = structlog.get_logger()
        self._failures = self._streak = 0
        self._moved_at = clock()
        self._passed_at: float | None = None

    @property
    def still(self) -> timedelta:
        """How long nothing has moved: no pass has begun, and the API server has answered none."""
        return timedelta(seconds=self._clock() - self._moved_at)

    @property
    def since_success(self) -> timedelta | None:
        """How long it is since a pass has succeeded; None: none has yet."""
        return (
            None if self._passed_at is None else timedelta(seconds=self._clock() - self._passed_at)
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until `stop` is set; a pass that is under way is finished."""
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(self._watch(watch)) for watch in self._watches]
            while not stop.is_set():
                self._changed.clear()
                delay = await self._run_pass()
                await _first_of(stop, seconds=self._pause())
                await _first_of(stop, self._changed, seconds=delay)
            for watch in watches:
                watch.cancel()

    async def _run_pass(self) -> float:
        """Run one and return the seconds until the next, if nothing changes."""
        self.move()
        try:
            with progress.told(self.move):
                passed = await self._run_once()
        except StoreError as error:
            delay = self._next_try(error.reason)
            self._log.warning(
                f"{self._what} not checked", error=str(error), retry_s=round(delay, 1)
            )
            return delay
        except Exception:  # noqa: BLE001 - another loop in this process has nothing to do with it
            delay = self._next_try(Reason.BUG)
            self._log.exception(f"{self._what} not checked", retry_s=round(delay, 1))
            return delay
        if self._failures:
            self._log.info(f"{self._what} checked again", failed_before=self._failures)
        self._failures = 0
        self._streak = self._streak + 1 if passed.writes else 0
        self._passed_at = self._clock()
        if self._observer is not None:
            self._observer.passed(passed)
        return min(passed.wait, _RESYNC).total_seconds()

    def move(self) -> None:
        """Count from now how long nothing has moved."""
        self._moved_at = self._clock()

    def _next_try(self, reason: Reason) -> float:
        if self._observer is not None:
            self._observer.failed(reason)
        self._failures += 1
        return backoff(self._failures)

    def _pause(self) -> float:
        least, most = _PAUSE_SECONDS
        return min(most, least * 2.0**self._streak)

    async def _watch(self, watch: Watch) -> None:
        failures = 0
        while True:
            try:
                async with aclosing(watch()) as changes:
                    async for _ in changes:
                        failures = 0
                        self._changed.set()
            except StoreError as error:
                failures += 1
                if failures == 1:
                    self._log.warning("watch lost", error=str(error))
            await asyncio.sleep(backoff(max(failures, 1)))


def backoff(failures: int, bounds: tuple[float, float] = _BACKOFF_SECONDS) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and half of it random.

    `bounds` are the first and the longest wait.
    """
    first, most = bounds
    whole = min(most, first * 2.0 ** min(failures - 1, 10))
    return whole * random.uniform(0.5, 1)  # noqa: S311 - spreads retries, no secret


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    """Return when one of them is set, or after `seconds`."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
