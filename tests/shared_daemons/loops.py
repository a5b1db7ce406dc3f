"""Clients that do the same again and again, and what they are told meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.cluster.processes import wait_for_one, wait_until
from tests.shared_daemons.daemons import DAEMONSET, IMAGE, Daemons, client

NAMESPACE: Final = "restarts"
OK: Final = "ok"
FAILED: Final = "failed: "
_CALM: Final = 3  # successes in a row, of each client
_SPECIFIC: Final = ((r"\d+\.\d+\.\d+\.\d+(:\d+)?", "<address>"), (r"\b[0-9a-f]{12,64}\b", "<id>"))

_RUN: Final = "docker run --rm --pull=never localhost/shell:1 busybox true"
# For some seconds a connection of the builder's is open, and no container is there for the API.
_BUILD: Final = "docker build --progress=plain --no-cache --tag localhost/slow:1 /context"
_CONTEXT: Final = """
mkdir /context
cat >/context/Dockerfile <<'END'
FROM localhost/shell:1
RUN echo RUNS $((6 * 7)); busybox sleep 2
END
"""
# Between two there is a moment without a client, longer than the second after which start.sh looks
# again: else it waits for one until it may not wait any longer.
_LOOP: Final = """
set +x -f
while [ ! -e /tmp/stop ]; do
    if said=$(DOCKER_BUILDKIT=1 timeout 60 {command} 2>&1); then echo ok; else echo "failed:" $said; fi
    busybox sleep {pause}
done
"""
RUNS_LOOP: Final = IMAGE + _LOOP.format(command=_RUN, pause="1.5")
BUILDS_LOOP: Final = IMAGE + _CONTEXT + _LOOP.format(command=_BUILD, pause="6")


class Loop:
    """A client on one node that does the same again and again."""

    def __init__(self, daemons: Daemons, name: str, script: str, node: str) -> None:
        self._daemons = daemons
        self.name, self.node = name, node
        daemons.start(NAMESPACE, client(name, DAEMONSET, script, node=node))

    def said(self) -> list[str]:
        """How each has gone so far: OK, or FAILED and what the client was told."""
        where = (f"--namespace={NAMESPACE}", self.name, "--container=client")
        cluster = self._daemons.bare.cluster

        def read() -> list[str]:
            done = cluster.kubectl("logs", *where)
            return [done.out] if done.code == 0 else []

        log = wait_for_one(read, f"{self.name} has a log", interval=0.5)
        return [line for line in log.splitlines() if line == OK or line.startswith(FAILED)]

    def wait_until_calm(self) -> None:
        """Wait until some more have gone well, without a failure between."""
        begin = len(self.said())
        wait_until(
            lambda: len(self.said()) - begin > _CALM and set(self.said()[-_CALM:]) == {OK},
            f"{self.name} works",
            interval=1,
        )


@dataclass
class Watched:
    """What the clients were told in one stretch of time; whole at the end of the `with`."""

    goes: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people: how many failed, and each message, with what differs taken out."""
        told = Counter(map(general, self.failures))
        lines = "".join(f"\n    {count} x {message}" for message, count in told.most_common())
        return f"{len(self.failures)} of {self.goes} failed{lines}"


def general(message: str) -> str:
    """A message without what is only of one container or connection."""
    for pattern, name in _SPECIFIC:
        message = re.sub(pattern, name, message)
    return message.removeprefix(FAILED).partition(" See 'docker")[0][-300:]


@contextmanager
def watched(loops: Sequence[Loop]) -> Iterator[Watched]:
    """Until the end of the `with`, and then until all works again."""
    begin, found = [len(loop.said()) for loop in loops], Watched()
    yield found
    for loop in loops:
        loop.wait_until_calm()
    for loop, first in zip(loops, begin, strict=True):
        said = loop.said()[first:]
        found.goes += len(said)
        found.failures += [line for line in said if line != OK]
