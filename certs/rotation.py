"""Keep the certificates right: one pass, and the loop around it.

A pass reads, takes one step, and reads again, until nothing is left to do. It holds no state
but what it has seen (bundle.Memory), so any number of replicas may do the same: what one has
written since the other read is a conflict, and the other reads again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, Literal, Protocol

import structlog

from certs import bundle, records
from certs.errors import ConflictError, StoreError
from certs.policy import Policy
from certs.records import Configuration, Snapshot

# Steps of the longest rotation are 6; more means that somebody else writes all the time.
_STEPS: Final = 20
# Look again this often, though no watch said so: a watch may be dead without knowing it.
_RESYNC: Final = timedelta(seconds=60)
# Between two passes. Somebody who undoes what we write gets slower answers, still within 5 s.
_PAUSE_SECONDS: Final = (0.1, 4.0)
_BACKOFF_SECONDS: Final = (0.5, 15.0)


class Store(Protocol):
    """What a pass needs of store.Store. Every method raises StoreError."""

    async def read(self) -> Snapshot:
        """Read all objects, in the order of Snapshot's fields."""

    async def write_secret(
        self, what: Literal["ca", "leaf"], data: Mapping[str, bytes | None], version: str | None
    ) -> None:
        """Write these keys; None removes one."""

    async def write_bundle(self, bundle: bytes, read: Configuration) -> None:
        """Write every caBundle."""


class WatchedStore(Store, Protocol):
    """What the loop needs."""

    def watch(self, what: Literal["ca", "leaf", "configuration"]) -> AsyncGenerator[None]:
        """Yield at the beginning and after each change."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Both clocks of a process."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = monotonic


@dataclass(frozen=True, slots=True)
class Passed:
    """How a pass ended: what it has written, and when something will be due."""

    writes: int
    wait: timedelta


class Rotation:
    """One process that keeps the certificates of one webhook right."""

    def __init__(self, store: Store, policy: Policy, clock: Clock | None = None) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock or Clock()
        self._memory = bundle.Memory()
        self._absent = False
        self._log = structlog.get_logger()

    async def run_pass(self) -> Passed:
        """Make everything right that can be made right now.

        Raises:
            StoreError: the API server is away, refuses, or others write without end.
        """
        writes = 0
        for _ in range(_STEPS):
            snapshot = await self._store.read()
            step = self._decide(snapshot)
            if isinstance(step, bundle.Wait):
                return Passed(writes, step.time)
            try:
                await self._take(step, snapshot)
            except ConflictError:
                continue
            writes += 1
        raise StoreError(f"others write all the time: nothing settled after {_STEPS} attempts")

    def _decide(self, snapshot: Snapshot) -> bundle.Step:
        self._tell_of_absence(snapshot.configuration is None)
        seen, at = records.seen(snapshot), self._clock.monotonic()
        self._memory = self._memory.updated(seen, at)
        return bundle.Moment(seen, self._memory, self._policy, self._clock.now(), at).step()

    def _tell_of_absence(self, absent: bool) -> None:
        if absent and not self._absent:
            self._log.warning("there is no MutatingWebhookConfiguration to publish the CA in")
        self._absent = absent

    async def _take(self, step: bundle.Write, snapshot: Snapshot) -> None:
        match step:
            case bundle.IssueAuthority():
                await self._write_ca(step.done(self._policy.issue_ca(self._clock.now())), snapshot)
                self._log.info("issued a CA", slot=step.slot, why=step.why)
            case bundle.Record():
                await self._write_ca(step.authorities, snapshot)
                self._log.info("recorded the CAs", why=step.why)
            case bundle.Publish():
                assert snapshot.configuration is not None  # noqa: S101 - else no caBundle is wrong
                await self._store.write_bundle(step.bundle, snapshot.configuration)
                self._log.info("published caBundle", why=step.why)
            case bundle.IssueLeaf():
                await self._write_leaf(step, snapshot)
                self._log.info("issued a serving certificate", why=step.why)

    async def _write_ca(self, authorities: records.Authorities, snapshot: Snapshot) -> None:
        version = None if snapshot.ca is None else snapshot.ca.version
        await self._store.write_secret("ca", records.write_authorities(authorities), version)

    async def _write_leaf(self, step: bundle.IssueLeaf, snapshot: Snapshot) -> None:
        leaf = self._policy.issue_leaf(step.ca, self._clock.now())
        version = None if snapshot.leaf is None else snapshot.leaf.version
        data = records.write_leaf(leaf, step.ca.certificate)
        await self._store.write_secret("leaf", data, version)


class Loop:
    """Passes for ever: whenever an object changes, something is due, or a minute is over."""

    def __init__(self, store: WatchedStore, policy: Policy) -> None:
        self._store = store
        self._rotation = Rotation(store, policy)
        self._changed = asyncio.Event()
        self._log = structlog.get_logger()
        self._failures = self._streak = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until `stop` is set; a pass that is under way is finished."""
        async with asyncio.TaskGroup() as group:
            watches = [
                group.create_task(self._watch(what)) for what in ("ca", "leaf", "configuration")
            ]
            while not stop.is_set():
                self._changed.clear()
                delay = await self._run_pass()
                await _first_of(stop, seconds=self._pause())
                await _first_of(stop, self._changed, seconds=delay)
            for watch in watches:
                watch.cancel()

    async def _run_pass(self) -> float:
        """Run one and return the seconds until the next, if nothing changes."""
        try:
            passed = await self._rotation.run_pass()
        except StoreError as error:
            self._failures += 1
            delay = backoff(self._failures)
            self._log.warning("certificates not checked", error=str(error), retry_s=round(delay, 1))
            return delay
        if self._failures:
            self._log.info("certificates checked again", failed_before=self._failures)
        self._failures = 0
        self._streak = self._streak + 1 if passed.writes else 0
        return min(passed.wait, _RESYNC).total_seconds()

    def _pause(self) -> float:
        least, most = _PAUSE_SECONDS
        return min(most, least * 2.0**self._streak)

    async def _watch(self, what: Literal["ca", "leaf", "configuration"]) -> None:
        failures = 0
        while True:
            try:
                async with aclosing(self._store.watch(what)) as changes:
                    async for _ in changes:
                        failures = 0
                        self._changed.set()
            except StoreError as error:
                failures += 1
                if failures == 1:
                    self._log.warning("watch lost", error=str(error))
            await asyncio.sleep(backoff(max(failures, 1)))


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and half of it random."""
    first, most = _BACKOFF_SECONDS
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
