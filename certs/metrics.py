"""What Prometheus sees of certs. No label ever holds text of a user: all of them are enums."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from certs.errors import Reason
from certs.passes import Passed

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Of = Literal["webhook", "shared-daemons"]
"""Whose certificates a loop keeps right."""


class Metrics:
    """The metrics of one process, on a registry of their own."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._now = now
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self._passes = counter(
            "dinp_certs_passes",
            "Passes over all certificates, by how they ended: done or failed.",
            ["of", "outcome"],
        )
        self._errors = counter(
            "dinp_certs_errors",
            "What passes could not do, for one object or for all.",
            ["of", "reason"],
        )
        self._last_success = gauge(
            "dinp_certs_last_success_timestamp_seconds",
            "When the last pass ended that was done, in Unix time.",
            ["of"],
        )
        self._not_done = gauge(
            "dinp_certs_not_done", "How many objects the last pass could not deal with.", ["of"]
        )
        self._count = gauge(
            "dinp_certs_certificates",
            "Certificates that are in use, as of the last pass; of CAs the one that signs.",
            ["kind"],
        )
        self._not_after = gauge(
            "dinp_certs_not_after_seconds", "When the first of these ends, in Unix time.", ["kind"]
        )
        Info("dinp_build", "Version of dinp.", registry=registry).info({"version": version("dinp")})
        ProcessCollector(registry=registry)

    def of(self, whose: Of) -> OfLoop:
        """Those of one loop, which it fills in."""
        for outcome in ("done", "failed"):
            self._passes.labels(whose, outcome)  # so that the first failure is an increase
        return OfLoop(self, whose)

    def passed(self, whose: Of, passed: Passed) -> None:
        """A pass has done what it could."""
        self._passes.labels(whose, "done").inc()
        self._last_success.labels(whose).set(self._now())
        self._not_done.labels(whose).set(len(passed.failures))
        for reason in passed.failures:
            self._errors.labels(whose, reason.value).inc()
        for kind, ends in passed.ends.items():
            self._count.labels(kind.value).set(len(ends))
            if ends:
                self._not_after.labels(kind.value).set(min(ends).timestamp())
            else:
                self._not_after.remove_by_labels({"kind": kind.value})

    def failed(self, whose: Of, reason: Reason) -> None:
        """A pass has come to nothing."""
        self._passes.labels(whose, "failed").inc()
        self._errors.labels(whose, reason.value).inc()

    def exposition(self) -> bytes:
        """All of it in the text format 0.0.4, whose type is CONTENT_TYPE."""
        return generate_latest(self._registry)


class OfLoop:
    """What one loop tells: a passes.Observer."""

    def __init__(self, metrics: Metrics, whose: Of) -> None:
        self._metrics = metrics
        self._whose = whose

    def passed(self, passed: Passed) -> None:
        """A pass has done what it could."""
        self._metrics.passed(self._whose, passed)

    def failed(self, reason: Reason) -> None:
        """A pass has come to nothing."""
        self._metrics.failed(self._whose, reason)
