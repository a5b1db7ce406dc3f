"""Creates at a steady rate, whatever becomes of them: an open loop.

A create's time counts from when it was due, so one that waited behind a slow one is slow, too.
They are dry runs: the API server does all of a create, admission included, but keep the Pod.
"""

from __future__ import annotations

import http.client
import queue
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.cluster.api import Api, Cluster
from tests.cluster.installation import RULE_NAMESPACES, is_injected, small_pod
from tests.cluster.processes import wait_until
from tools.soak import network
from tools.soak.replicas import PORT

_CLIENTS: Final = 16  # keep-alive connections to the API server
_NAMESPACES: Final = tuple(RULE_NAMESPACES)
_POD: Final[dict[str, Any]] = small_pod("sidecar")  # injected in each of the namespaces
_SAMPLE_SECONDS: Final = 0.1
# What differs between two failures of one kind: which webhook, who dialled whom.
_PARTICULARS: Final = (
    (re.compile(r'webhook "[^"]+"'), "webhook"),
    (re.compile(r'Post "[^"]+"'), "Post"),
    (re.compile(r"\d+\.\d+\.\d+\.\d+:\d+"), "ADDRESS"),
)


@dataclass(frozen=True, slots=True)
class Create:
    """How one create ended; times by time.monotonic()."""

    due: float
    sent: float
    ended: float
    failure: str | None

    @property
    def seconds(self) -> float:
        """From when it was due."""
        return self.ended - self.due


class Creates:
    """The creates of one phase, and what they met."""

    def __init__(self, cluster: Cluster, rate: float) -> None:
        self._cluster = cluster
        self._rate = rate
        self._due: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._random = random.Random(0)  # noqa: S311 - no secret
        self.done: list[Create] = []
        self.connections: set[tuple[str, str]] = set()  # of the API server to replicas

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Create until the end of the `with`, then wait for what is in flight."""
        clients = [threading.Thread(target=self._create_all, daemon=True) for _ in range(_CLIENTS)]
        others = [threading.Thread(target=task, daemon=True) for task in (self._pace, self._sample)]
        for thread in (*clients, *others):
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
        # Not in `finally`: the ^C that ends this has been sent to the API server, too, which
        # then takes its time to answer.
        for thread in others:
            thread.join()
        for _ in clients:
            self._due.put(None)
        for thread in clients:
            thread.join()

    def wait_for(self, seconds: float) -> None:
        """Wait for as many further creates as are due in this time.

        Raises:
            StartError: they do not end.
        """
        wanted = len(self.done) + round(seconds * self._rate)
        wait_until(lambda: len(self.done) >= wanted, "creates end")

    def _pace(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._due.put(due)
            due += 1 / self._rate

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self.connections |= network.connections(PORT)

    def _create_all(self) -> None:
        with closing(Api(self._cluster)) as api:
            while (due := self._due.get()) is not None:
                sent = time.monotonic()
                failure = _create(api, self._random.choice(_NAMESPACES))
                self.done.append(Create(due, sent, time.monotonic(), failure))


def _create(api: Api, namespace: str) -> str | None:
    """Why it failed, or None."""
    try:
        answer = api.create_pod(namespace, _POD)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer of the API server: {error!r}"
    if answer.status != 201:
        return f"{answer.status}: {kind_of(answer.message)}"
    return None if is_injected(answer) else "created without a daemon"


def kind_of(message: str) -> str:
    """The message without what differs between two of its kind."""
    for pattern, name in _PARTICULARS:
        message = pattern.sub(name, message)
    return message
