"""The three things that happen to dinp while Pods are created."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.cluster.api import Cluster
from tests.cluster.processes import wait_until
from tools.soak import certificates
from tools.soak.creates import Creates
from tools.soak.registration import Trust
from tools.soak.replicas import Replica, Replicas

Say = Callable[[str], None]

_CALM_SECONDS: Final = 1.0  # of creates before and after
_RELOAD_SECONDS: Final = 60.0  # far more than four polls of dinp's
# Until an endpoint is taken away: the kubelet's SIGTERM and the endpoint controller start from
# the same deletion, and the controller batches; after a crash the kubelet has to see it first.
_WITHDRAWN_AFTER: Final = (0.5, 1.0)


@dataclass
class Phase:
    """What happened, and what became of the creates."""

    title: str
    creates: Creates
    must_not_fail: bool = True
    rounds: int = 0
    load: float = 0.0  # of the machine, the last minute's average at the end
    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # other than failed creates

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Create Pods, with a calm time before and after what happens."""
        with self.creates.going_on():
            self.creates.wait_for(_CALM_SECONDS)
            yield
            self.creates.wait_for(_CALM_SECONDS)
        self.load = os.getloadavg()[0]


class Soak:
    """A cluster with dinp, and the phases."""

    def __init__(self, cluster: Cluster, replicas: Replicas, trust: Trust, say: Say) -> None:
        self._cluster = cluster
        self._replicas = replicas
        self._trust = trust
        self._say = say
        self._issued = certificates.issue()
        self._random = random.Random(0)  # noqa: S311 - no secret

    def start(self) -> None:
        """Have two replicas, and be trusted."""
        for _ in range(2):
            self._replicas.start(self._issued)
        self._trust.set(self._issued.ca)

    def rotate(self, rounds: int, rate: float) -> Phase:
        """(a) A new leaf in every replica's volume; every second one by a new CA."""
        phase = Phase("(a) certificate rotated", Creates(self._cluster, rate))
        serials = {self._issued.serial}
        cas = 0
        with phase.going_on():
            for number in range(1, rounds + 1):
                with_ca = number % 2 == 0 or rounds == 1
                self._say(f"(a) {number}/{rounds}: {self._rotate(with_ca=with_ca)}")
                serials.add(self._issued.serial)
                cas += with_ca
                phase.rounds += 1
        phase.facts.append(
            f"{len(serials) - 1} new serials seen at every replica, {cas} by new CAs"
        )
        return phase

    def _rotate(self, *, with_ca: bool) -> str:
        """Add the new CA, swap the leaf, wait until all serve it, drop the old CA."""
        old, new = self._issued, certificates.issue(None if with_ca else self._issued.ca)
        replicas = self._replicas.running()
        if with_ca:
            self._trust.set(old.ca, new.ca)
        began = time.monotonic()
        for replica in replicas:
            replica.volume.write(new.leaf)
        wait_until(
            lambda: all(replica.serves(new) for replica in replicas),
            "every replica serves the new certificate",
            seconds=_RELOAD_SECONDS,
            interval=0.2,  # a handshake with each replica
        )
        seconds = time.monotonic() - began
        if with_ca:
            self._trust.set(new.ca)
        self._issued = new
        serial = f"serial {new.serial % (1 << 32):08x}"
        ca = "new CA, old one dropped" if with_ca else "same CA"
        return f"{serial} served by {len(replicas)} replicas after {seconds:.1f} s, {ca}"

    def replace(self, rounds: int, rate: float) -> Phase:
        """(b) The only server gets SIGTERM when the next one is ready.

        The next round does not wait for its end, as a rollout does not.
        """
        phase = Phase("(b) server replaced", Creates(self._cluster, rate))
        ended = []
        self._leave_one()
        with phase.going_on():
            for number in range(1, rounds + 1):
                (old,) = [each for each in self._replicas.running() if each not in ended]
                self._replicas.start(self._issued)
                seconds = self._terminate(old)
                ended.append(old)
                self._say(
                    f"(b) {number}/{rounds}: SIGTERM, endpoint withdrawn {seconds:.1f} s later"
                )
                phase.rounds += 1
            well = sum([self._replicas.wait_for_end(old) for old in ended])
        phase.facts.append(f"{well} of {rounds} replaced servers ended by themselves, exit code 0")
        if well != rounds:
            phase.problems.append("a replaced server did not end well")
        return phase

    def _leave_one(self) -> None:
        for replica in self._replicas.running()[1:]:
            self._terminate(replica)
            self._replicas.wait_for_end(replica)

    def _terminate(self, replica: Replica) -> float:
        replica.process.terminate()
        seconds = self._random.uniform(*_WITHDRAWN_AFTER)
        time.sleep(seconds)  # the model of the controller's lag
        self._replicas.withdraw(replica)
        return seconds

    def kill(self, rounds: int, rate: float) -> Phase:
        """(c) One of two replicas is SIGKILLed, and the Service learns of it later."""
        phase = Phase("(c) replica killed", Creates(self._cluster, rate), must_not_fail=False)
        self._replicas.start(self._issued)
        with phase.going_on():
            for number in range(1, rounds + 1):
                seconds = self._kill(self._replicas.running()[0])
                self._replicas.start(self._issued)
                phase.creates.wait_for(_CALM_SECONDS)
                self._say(
                    f"(c) {number}/{rounds}: SIGKILL, endpoint withdrawn {seconds:.1f} s later"
                )
                phase.rounds += 1
        return phase

    def _kill(self, replica: Replica) -> float:
        replica.process.kill()
        replica.process.wait()
        seconds = self._random.uniform(*_WITHDRAWN_AFTER)
        time.sleep(seconds)  # the model of the kubelet's and the controller's lag
        self._replicas.not_ready(replica)
        self._replicas.forget(replica)
        return seconds
