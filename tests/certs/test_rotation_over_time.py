"""certs.rotation, whatever happens: what is served verifies, at every moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.passes import Clock
from certs.policy import Policy
from certs.rotation import Rotation
from tests.certs.model import NAME, Cluster, ModelStore, Turns

MINUTE = timedelta(minutes=1)
# Both are what certs counts on, and what the model makes use of to the last second.
PROPAGATION = timedelta(seconds=10)
DELIVERY = 2 * MINUTE
# A third of the leaf's lifetime has to bear clocks that differ by 20 minutes and the longest
# time without a pass (ABSENCE).
POLICY = Policy(
    names=(NAME,),
    ca_lifetime=240 * MINUTE,
    leaf_lifetime=120 * MINUTE,
    propagation=PROPAGATION,
    delivery=DELIVERY,
)
ABSENCE = 10 * MINUTE


@pytest.fixture(autouse=True, scope="module")
def silent() -> Iterator[None]:
    """No log lines of thousands of rotations."""
    with structlog.testing.capture_logs():
        yield


class Replica:
    """A process that rotates, with a clock of its own."""

    def __init__(self, cluster: Cluster, skew: timedelta) -> None:
        self._cluster = cluster
        self._skew = skew
        self._begin()

    def _begin(self) -> None:
        self.store = ModelStore(self._cluster)
        began = self._cluster.time
        clock = Clock(self._now, lambda: self._cluster.time - began)
        rotation = Rotation(self.store, POLICY, clock)
        self.turns = Turns(rotation.run_pass)

    def _now(self) -> datetime:
        return self._cluster.now + self._skew

    def restart(self) -> None:
        """Forget everything, in the middle of whatever it does."""
        self.turns.crash()
        self._begin()


Kind = Literal["turns", "pass", "restart", "refused", "answer lost", "wait"]
EVENTS = st.one_of(
    st.tuples(st.just("turns"), st.integers(0, 2), st.integers(1, 9)),
    st.tuples(st.just("turns"), st.integers(0, 2), st.integers(1, 9)),
    st.tuples(st.just("pass"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("restart"), st.integers(0, 2), st.just(0)),
    st.tuples(st.sampled_from(["refused", "answer lost"]), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(1, 15)),
    st.tuples(st.just("wait"), st.just(0), st.integers(15, 300)),
)
SKEWS = st.lists(st.integers(-600, 600), min_size=3, max_size=3)
# Minutes of quiet before the events: the leaf is due after 80, the CA after 160, each 10 minutes
# earlier or later by the clock of the replica.
QUIET = st.sampled_from([0, 65, 75, 85, 140, 150, 155, 158, 160, 162, 170, 240, 300, 318])


class World:
    """Three replicas on one cluster; after each event everything has to verify."""

    def __init__(self, skews: list[int]) -> None:
        self.cluster = Cluster(propagation=PROPAGATION, delivery=DELIVERY)
        self.replicas = [Replica(self.cluster, timedelta(seconds=skew)) for skew in skews]
        self._passed = 0.0

    def be_quiet(self, minutes: int) -> None:
        """Let the time go by, with the passes of one replica."""
        self._finish(self.replicas[0])
        for _ in range(minutes):
            self._wait(60)

    def happen(self, kind: Kind, which: int, amount: int) -> None:
        replica = self.replicas[which]
        match kind:
            case "turns":
                self._take(replica, amount)
            case "pass":
                self._finish(replica)
            case "restart":
                replica.restart()
            case "wait":
                self._wait(amount)
            case _:
                replica.store.fault = kind
        self.check()

    def _take(self, replica: Replica, amount: int) -> None:
        for _ in range(amount):
            if replica.turns.take():
                self._passed = self.cluster.time
            self.check()

    def _finish(self, replica: Replica) -> None:
        assert replica.turns.finish()
        self._passed = self.cluster.time

    def _wait(self, seconds: int) -> None:
        """Let the time go by; a pass succeeds now and then, as design promises no miracles."""
        self.cluster.time += seconds
        self.check()
        if self.cluster.time - self._passed > (ABSENCE / 2).total_seconds():
            self._finish(self.replicas[0])
            self.check()

    def check(self) -> None:
        failures = self.cluster.failures()
        assert [] == failures, f"at {self.cluster.time} s"


@settings(max_examples=settings().max_examples * 6 // 10)
@given(skews=SKEWS, quiet=QUIET, events=st.lists(EVENTS, min_size=40, max_size=120))
def test_what_is_served_verifies(
    skews: list[int], quiet: int, events: list[tuple[Kind, int, int]]
) -> None:
    """Three replicas, their requests mixed, lost and cut off, clocks wrong by up to 10 minutes."""
    world = World(skews)
    world.be_quiet(quiet)
    for event in events:
        world.happen(*event)


Deletion = Literal["ca", "leaf"]


@settings(max_examples=settings().max_examples * 3 // 10)
@given(
    skews=SKEWS,
    quiet=QUIET,
    events=st.lists(st.one_of(EVENTS, st.sampled_from(["ca", "leaf"])), min_size=40, max_size=100),
)
def test_what_is_served_verifies_when_secrets_vanish(
    skews: list[int], quiet: int, events: list[tuple[Kind, int, int] | Deletion]
) -> None:
    """The same while somebody deletes the Secrets, one of them or both."""
    world = World(skews)
    world.be_quiet(quiet)
    for event in events:
        if isinstance(event, str):
            world.cluster.delete(event)
        else:
            world.happen(*event)


FIRST = st.one_of(
    st.tuples(st.just("turns"), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.just("turns"), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.just("turns"), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.sampled_from(["restart", "answer lost"]), st.integers(0, 2), st.just(0)),
)


@given(skews=SKEWS, events=st.lists(FIRST, min_size=20, max_size=60))
def test_one_ca_wins(skews: list[int], events: list[tuple[Kind, int, int]]) -> None:
    """Three replicas start at once on an empty cluster: one CA, one caBundle, one leaf, ever."""
    world = World(skews)
    for event in events:
        world.happen(*event)
    for which in range(3):
        world.happen("pass", which, 0)
    assert 3 == world.cluster.writes
    assert 1 == world.cluster.issuers


@pytest.mark.parametrize("skew", [-600, 0, 600])
def test_a_day(skew: int) -> None:
    """The plain case: a CA every 160 minutes, a leaf every 80; each rotation takes 4 writes."""
    world = World([skew, 0, -skew])
    for minute in range(24 * 60):
        world.happen("wait", 0, 60)
        world.happen("pass", minute % 3, 0)
    assert world.cluster.issuers == pytest.approx(24 * 60 / 160, abs=3)
    assert world.cluster.writes < 24 * 60 / 160 * 8 + 24 * 60 / 80 * 2


def test_no_write_when_nothing_is_wrong() -> None:
    """Passes of all replicas leave every resourceVersion as it is."""
    world = World([0, 600, -600])
    world.happen("pass", 0, 0)
    writes = world.cluster.writes
    for _ in range(5):
        for which in range(3):
            world.happen("pass", which, 0)
            world.happen("wait", 0, 30)
    assert 3 == writes == world.cluster.writes
