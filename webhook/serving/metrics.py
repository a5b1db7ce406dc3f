"""What Prometheus sees of the webhook. No label ever holds text of a user."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from webhook import __version__
from webhook.admission import Outcome

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

# A review takes 0.1 ms; beyond 5 s the API server has given up.
_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_FRESH_SECONDS: Final = 0.1
_BYTES: Final = tuple(float(1024 * 4**power) for power in range(8))  # 1 KiB to 16 MiB


class Metrics:
    """The metrics of one server, on a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        counter, histogram = (
            partial(Counter, registry=registry),
            partial(Histogram, registry=registry),
        )
        self._reviews = counter(
            "dinp_reviews", "AdmissionReviews answered.", ["rule", "mode", "outcome", "reason"]
        )
        self._seconds = histogram(
            "dinp_review_duration_seconds",
            "From a review's whole body to its answer.",
            buckets=_SECONDS,
        )
        self._bytes = histogram(
            "dinp_review_bytes", "Size of AdmissionReviews.", ["direction"], buckets=_BYTES
        )
        self._bad_requests = counter(
            "dinp_bad_requests",
            "Requests that were no AdmissionReview or could not be answered, by HTTP status.",
            ["code"],
        )
        self._dropped_connections = counter(
            "dinp_dropped_connections",
            "Connections that dinp ended early: no room, not taken (the answer), slow, handshake.",
            ["port", "why"],
        )
        self._not_after = Gauge(
            "dinp_certificate_not_after_seconds",
            "When the serving certificate ends, in Unix time.",
            registry=registry,
        )
        Info("dinp_build", "Version of dinp.", registry=registry).info({"version": __version__})
        ProcessCollector(registry=registry)
        self._exposed_at, self._exposed = -_FRESH_SECONDS, b""

    def review(self, outcome: Outcome, *, rule: str, seconds: float, received: int) -> None:
        """Count one answered review. `rule` is its URL path below /pods/; sizes are bytes."""
        self._reviews.labels(
            rule, outcome.mode or "none", outcome.outcome, outcome.reason.value
        ).inc()
        self._seconds.observe(seconds)
        self._bytes.labels("request").observe(received)
        self._bytes.labels("response").observe(len(outcome.body))
        self._exposed_at = -_FRESH_SECONDS

    def bad_request(self, code: int) -> None:
        """Count one request that got an HTTP error."""
        self._bad_requests.labels(str(code)).inc()

    def dropped_connection(self, port: str, why: str) -> None:
        """Count one connection that was ended early; `port` is https or health."""
        self._dropped_connections.labels(port, why).inc()

    def certificate(self, not_after: datetime) -> None:
        """Note the end of the certificate in use."""
        self._not_after.set(not_after.timestamp())

    def exposition(self) -> bytes:
        """All of it in the text format 0.0.4, whose type is CONTENT_TYPE.

        Up to a tenth of a second old, but for reviews: writing it takes as long as some of them.
        """
        now = time.monotonic()
        if now - self._exposed_at >= _FRESH_SECONDS:
            self._exposed_at, self._exposed = now, generate_latest(self._registry)
        return self._exposed
