"""webhook.serving.metrics: what is counted, under which labels."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from webhook import __version__, admission
from webhook.admission import Outcome
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.reasons import Reason
from webhook.serving.metrics import Metrics

OUTCOME = Outcome(
    body=b"x" * 3000,
    uid='"\n{',
    namespace='"\n{',
    name='"\n{',
    owner='"\n{',
    rule=RULES["/pods/migrate/sidecar"],
    mode="sidecar",
    outcome="mutated",
    reason=Reason.MIGRATED,
    operations=7,
)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample as Prometheus would parse it."""
    text = metrics.exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_review() -> None:
    """A review is counted once under its rule, mode, outcome and reason, with its time and sizes."""
    metrics = Metrics()
    metrics.review(OUTCOME, rule="migrate/sidecar", seconds=0.0004, received=12_000)
    labels = {
        "rule": "migrate/sidecar",
        "mode": "sidecar",
        "outcome": "mutated",
        "reason": "migrated",
    }
    found = samples(metrics)

    assert found["dinp_reviews_total", frozenset(labels.items())] == 1
    assert found["dinp_review_duration_seconds_bucket", frozenset({("le", "0.00025")})] == 0
    assert found["dinp_review_duration_seconds_bucket", frozenset({("le", "0.0005")})] == 1
    assert found["dinp_review_bytes_sum", frozenset({("direction", "request")})] == 12_000
    assert found["dinp_review_bytes_sum", frozenset({("direction", "response")})] == 3000


def test_no_mode() -> None:
    """A review without a mode is counted under mode `none`."""
    metrics = Metrics()
    body = (
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1",'
        b'"kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": {"metadata": {},'
        b'"spec": {"containers": [{"name": "a"}]}}}}'
    )
    rule = RULES["/pods/annotated"]
    outcome = admission.review(body, rule, Config())
    metrics.review(outcome, rule="annotated", seconds=0, received=len(body))
    labels = {
        "rule": "annotated",
        "mode": "none",
        "outcome": "unchanged",
        "reason": "not_requested",
    }

    assert samples(metrics)["dinp_reviews_total", frozenset(labels.items())] == 1


def test_no_text_of_users() -> None:
    """What a client sent is in no label."""
    metrics = Metrics()
    before = set(samples(metrics))
    metrics.review(OUTCOME, rule="migrate/sidecar", seconds=0, received=1)
    added = set(samples(metrics)) - before
    values = {value for _, labels in added for _, value in labels}

    assert OUTCOME.uid not in values


def test_others() -> None:
    """Bad requests by status, the certificate's end and the version are there; so is the process."""
    metrics = Metrics()
    metrics.bad_request(413)
    metrics.certificate(datetime(2026, 11, 24, tzinfo=UTC))
    found = samples(metrics)

    assert found["dinp_bad_requests_total", frozenset({("code", "413")})] == 1
    assert found["dinp_certificate_not_after_seconds", frozenset()] == 1_795_478_400
    assert found["dinp_build_info", frozenset({("version", __version__)})] == 1
    assert found["process_resident_memory_bytes", frozenset()] > 0


def test_registries_are_apart() -> None:
    """Two servers in one process count for themselves."""
    one, other = Metrics(), Metrics()
    one.bad_request(400)

    assert ("dinp_bad_requests_total", frozenset({("code", "400")})) not in samples(other)
