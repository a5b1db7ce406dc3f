"""What docs/operations.md says of a certs that is down for 12, 24 and 72 hours: it holds whenever that begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certs import inspection
from certs.authority import Usage, issue_leaf
from certs.shared.policy import Policy
from keeper import renewal
from keeper.files import Published
from keeper.renewal import When
from tests.certs.shared.model import EPOCH
from tests.certs.test_clocks import Site, WebhookSite

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
# Passes come at least once a minute, so a certificate is renewed up to that late.
LATE: Final = MINUTE


@pytest.fixture(autouse=True, scope="module")
def silent() -> Iterator[None]:
    """No log lines of hundreds of passes."""
    with structlog.testing.capture_logs():
        yield


@settings(max_examples=settings().max_examples // 2)
@given(steps=st.lists(st.integers(1, 720).map(lambda it: it * MINUTE), min_size=1, max_size=30))
@example(steps=[12 * HOUR])
@example(steps=[13 * HOUR, 15 * HOUR])
def test_clients(steps: list[timedelta]) -> None:
    """For 12 hours every client is let in; then one namespace after the other is not; after 24 none is."""
    site = Site()
    wait = site.run_pass()
    for step in steps:
        # The loop comes back when it has said, if not before, and the pass that it ends with is lost.
        site.store.now += min(step, wait + LATE)
        if step is not steps[-1]:
            wait = site.run_pass()
    began = site.store.now
    site.store.now = began + 12 * HOUR - LATE - MINUTE
    assert site.client_is_let_in()
    site.store.now = began + 24 * HOUR + MINUTE
    assert not site.client_is_let_in()


@settings(max_examples=settings().max_examples // 4)
@given(days=st.integers(0, 90))
def test_the_webhook(days: int) -> None:
    """After 72 hours, and after nine days, the API server still takes what is served."""
    site = WebhookSite()
    site.run_passes(30)
    site.live(days)
    site.cluster.time += (3 * DAY).total_seconds()
    assert site.is_taken()
    site.cluster.time += (6 * DAY).total_seconds()
    assert site.is_taken()


@given(days=st.integers(0, 364))
def test_daemons(days: int) -> None:
    """One that runs goes on for a month at least, because it has asked a month before its certificate's end."""
    policy, now = Policy(), EPOCH + days * DAY
    ca = policy.issue_ca("servers", EPOCH)
    year = policy.server_lifetime
    pair = issue_leaf(ca, "x", usage=Usage.SERVER, now=EPOCH, lifetime=year)
    certificate = pair.certificate
    need = renewal.certificate_need(certificate, Published(), now)
    left = inspection.ends_at(certificate) - now
    assert need.when is When.NOW or left > 30 * DAY
    assert need.when is not When.NEVER or left > 90 * DAY


def test_authorities() -> None:
    """No CA ends in an outage: a third of their lifetimes is left when the next is made."""
    site = Site()
    site.run_pass()
    for which in ("client", "server"):
        signing = site.authorities(which).signing
        assert signing is not None
        due = inspection.due_at(signing.certificate, Policy().ca_lifetime)
        assert inspection.ends_at(signing.certificate) - due > 600 * DAY
