"""Whether the policies hold that bound this process: asked of the API server by dry runs of what they forbid.

A policy can be left out, unbound, set to Audit, or narrowed, and all the time everything works, but whoever steals
the token of this process may take the cluster. So this process works only while they hold: it looks before it
writes anything, and every ten minutes. Each look asks for what its permissions allow it anyway.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol

import structlog

from certs import passes, progress
from certs.errors import RefusedError, StoreError
from certs.passes import Clock
from certs.shared.forbidden import Attempt, There, attempts
from certs.shared.names import Names

_AGAIN_SECONDS: Final = 1.0
_INTERVAL_SECONDS: Final = 600.0


class Store(Protocol):
    """What it needs of dry_runs.DryRuns. Every method raises StoreError."""

    async def there(self) -> There:
        """What there is to try it on."""

    async def dry_run(self, attempt: Attempt) -> None:
        """Ask for it, without its being done."""


class SelfCheck:
    """The policies of one cluster.

    `patience`: a policy that was just applied is in force some seconds later, and one of several API servers may
    know it later than another.
    """

    def __init__(
        self, store: Store, names: Names, patience: timedelta, clock: Clock | None = None
    ) -> None:
        self._store = store
        self._names = names
        self._patience = patience.total_seconds()
        self._clock = clock or Clock()
        self._log = structlog.get_logger()

    async def until_they_hold(self, stop: asyncio.Event) -> str | None:
        """Look again and again; None: they hold, or `stop` is set. Else a sentence that says which does not.

        An API server that is away, or knows nothing of this account, is no answer.
        """
        since: float | None = None
        failures = 0
        while not stop.is_set():
            delay = _AGAIN_SECONDS
            progress.tell()
            try:
                problem = await self._problem()
            except StoreError as error:
                since, failures = None, failures + 1
                delay = passes.backoff(failures)
                self._log.warning("policies not checked", error=str(error), retry_s=round(delay, 1))
            else:
                if problem is None:
                    return None
                now = self._clock.monotonic()
                if since is None:
                    since = now
                    self._log.warning("a policy is not in force (yet)", problem=problem)
                if now - since >= self._patience:
                    return f"{problem}. Apply manifests/shared again, which has the policy and its binding"
            await _sleep(delay, stop)
        return None

    async def watch(self, stop: asyncio.Event) -> str | None:
        """Look every ten minutes; set `stop` where one of them does not hold any more, and return the sentence."""
        while not stop.is_set():
            await _sleep(_INTERVAL_SECONDS, stop)
            problem = await self.until_they_hold(stop)
            if problem is not None:
                stop.set()
                return problem
        return None

    async def _problem(self) -> str | None:
        there = await self._store.there()
        found: dict[str, str] = {}
        for attempt in attempts(self._names, there):
            if attempt.policy not in found:
                said = await self._said(attempt)
                if said is not None:
                    found[attempt.policy] = f"a dry run to {attempt} {said}"
        which = "; ".join(f"{policy} does not hold: {said}" for policy, said in found.items())
        return f"ValidatingAdmissionPolicy {which}" if found else None

    async def _said(self, attempt: Attempt) -> str | None:
        try:
            await self._store.dry_run(attempt)
        except RefusedError as error:
            if f"ValidatingAdmissionPolicy '{attempt.policy}' with binding" in str(error):
                return None
            return f"was refused, but not by it ({error})"
        return "passed"


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
