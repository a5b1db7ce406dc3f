"""Part 7: a clock that was ahead, and is right again: the next pass renews what it has issued.

The webhook's own certificates by the passes themselves, in the model of a cluster that the tests
of certs/ have, whose time is moved instead of waited for. Those of shared daemons: proofs.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from certs.passes import Clock
from certs.policy import Policy
from certs.rotation import Rotation
from tests.certs.model import NAME, Cluster, ModelStore, verifies
from tools.attack.table import Figure, Row, Run, at_most

_AHEAD: Final = (timedelta(days=3), timedelta(days=400))
_SETTLED: Final = timedelta(minutes=30)
_RESYNC: Final = timedelta(minutes=1)


@dataclass(slots=True)
class _Certs:
    """A process that rotates, with a clock that may be ahead."""

    cluster: Cluster
    policy: Policy
    ahead: timedelta

    def now(self) -> datetime:
        return self.cluster.now + self.ahead

    def rotation(self) -> Rotation:
        clock = Clock(self.now, lambda: self.cluster.time)
        return Rotation(ModelStore(self.cluster), self.policy, clock)


def _look(_run: Run) -> Iterator[Figure]:
    for ahead in _AHEAD:
        with structlog.testing.capture_logs():
            writes, seconds, bound = asyncio.run(_renewed(ahead))
        what = f"certificates that begin {ahead.days} days in the future"
        yield Figure(f"{what}: the next pass", f"{writes} writes", "it renews", writes > 0)
        holds = "what is served verifies: seconds by the cluster's clock"
        yield at_most(f"{what}: {holds}", seconds, bound, "s", 0)


async def _renewed(ahead: timedelta) -> tuple[int, float, float]:
    """What the next pass writes; in how many seconds what is served verifies, and may at most."""
    policy = Policy(names=(NAME,))
    cluster = Cluster(propagation=policy.propagation, delivery=policy.delivery)
    wrong = _Certs(cluster, policy, ahead).rotation()
    while cluster.time < _SETTLED.total_seconds():
        passed = await wrong.run_pass()
        cluster.time += max(min(passed.wait, _RESYNC).total_seconds(), 1)
    right = _Certs(cluster, policy, timedelta()).rotation()
    began = cluster.time
    writes = (await right.run_pass()).writes
    bound = (policy.propagation + _RESYNC).total_seconds()
    while not _verifies(cluster) and cluster.time - began <= 2 * bound:
        cluster.time += 1
        await right.run_pass()
    return writes, cluster.time - began, bound


def _verifies(cluster: Cluster) -> bool:
    leaf, configuration = cluster.secrets.get("leaf"), cluster.configuration
    if leaf is None or configuration is None:
        return False
    return all(
        verifies(leaf.data["tls.crt"], bundle, cluster.now)
        for bundle in configuration.bundles.values()
    )


ROWS: Final = (
    Row(
        "clock ahead",
        "certificates of the webhook that a clock issued which was 3 or 400 days ahead",
        "renewed in the next pass",
        _look,
    ),
)
