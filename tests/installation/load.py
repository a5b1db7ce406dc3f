"""Twenty creates a second in namespaces that are opted in, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.installation.deployed import Deployed
from tools.soak.creates import Creates

_A_SECOND: Final = 20.0
_CALM_SECONDS: Final = 1.0  # of creates before and after


@dataclass
class Load:
    """What has come of it; whole at the end of the `with`."""

    creates: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    when: list[float] = field(default_factory=list)  # seconds since the first, of each failure
    slowest: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        """A figure for people."""
        told = f"{self.creates} creates in {self.seconds:.0f} s, {self.failures.total()} failed"
        return f"{told}, slowest {self.slowest:.1f} s"

    def judge(self) -> None:
        """None has failed, and as many were made as were promised."""
        assert not self.failures, (self.failures, self.when)
        assert self.creates >= 0.9 * self.seconds * _A_SECOND


@contextmanager
def load(deployed: Deployed) -> Iterator[Load]:
    """Create Pods until the end of the `with`: dry runs, which the webhook is called for."""
    found, creates = Load(), Creates(deployed.cluster, _A_SECOND)
    with creates.going_on():
        creates.wait_for(_CALM_SECONDS)
        yield found
        creates.wait_for(_CALM_SECONDS)
    began = min(create.due for create in creates.done)
    failed = [create for create in creates.done if create.failure]
    found.creates = len(creates.done)
    found.failures = Counter(str(create.failure) for create in failed)
    found.when = [round(create.sent - began, 1) for create in failed]
    found.slowest = max(create.seconds for create in creates.done)
    found.seconds = max(create.sent for create in creates.done) - began
