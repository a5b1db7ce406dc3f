"""Keep the certificates right: one pass, and the loop around it.

A pass reads, takes one step, and reads again, until nothing is left to do. It holds no state
but what it has seen (bundle.Memory), so any number of replicas may do the same: what one has
written since the other read is a conflict, and the other reads again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from functools import partial
from typing import Final, Literal, Protocol

import structlog

from certs import bundle, inspection, passes, records
from certs.errors import ConflictError, StoreError
from certs.passes import Clock, Kind, Observer, Passed
from certs.policy import Policy
from certs.records import Configuration, Snapshot

# Steps of the longest rotation are 6; more means that somebody else writes all the time.
_STEPS: Final = 20


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
                return Passed(writes, step.time, _ends(records.seen(snapshot)))
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


def _ends(seen: records.Seen) -> dict[Kind, list[datetime]]:
    found = {Kind.WEBHOOK_CA: seen.authorities.signing, Kind.WEBHOOK: seen.leaf}
    return {
        kind: [] if pair is None else [inspection.ends_at(pair.certificate)]
        for kind, pair in found.items()
    }


def loop(store: WatchedStore, policy: Policy, observer: Observer | None = None) -> passes.Loop:
    """Passes for ever: whenever an object changes, something is due, or a minute is over."""
    objects: tuple[Literal["ca", "leaf", "configuration"], ...] = ("ca", "leaf", "configuration")
    watches = [partial(store.watch, what) for what in objects]
    run_pass = Rotation(store, policy).run_pass
    return passes.Loop(run_pass, watches, "certificates", observer=observer)
