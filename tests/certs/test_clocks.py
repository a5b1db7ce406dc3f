"""A clock that was ahead for days or a year, and is right again: the next pass renews what it has left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import pytest
import structlog
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import inspection
from certs.authority import KeyPair
from certs.passes import Clock
from certs.policy import Policy as WebhookPolicy
from certs.records import Authorities, read_authorities
from certs.rotation import Rotation
from certs.shared.policy import Policy
from certs.shared.rotation import Rotation as DockerRotation
from keeper import renewal
from keeper.files import Files, Published
from keeper.renewal import When
from tests.certs.model import NAME, Cluster, Turns, verifies
from tests.certs.model import ModelStore as WebhookStore
from tests.certs.openssl import complaint
from tests.certs.shared.model import ALLOWED, ModelStore

DAY: Final = timedelta(days=1)
POLICY: Final = Policy()
# 3 and 400 days are those of the contract; the others are a bit more than clocks may differ, and more
# than a CA lives.
AHEAD: Final = st.sampled_from([timedelta(minutes=25), 3 * DAY, 400 * DAY, 2000 * DAY])


@pytest.fixture(autouse=True, scope="module")
def silent() -> Iterator[None]:
    """No log lines of hundreds of passes."""
    with structlog.testing.capture_logs():
        yield


def is_valid(leaf: bytes, bundle: bytes, now: datetime) -> bool:
    """Whether who trusts `bundle` takes `leaf` at `now`; Go and OpenSSL look at the CA's dates, too."""
    return any(
        inspection.is_issued_by(leaf, ca) and _is_at(leaf, now) and _is_at(ca, now)
        for ca in inspection.blocks(bundle)
    )


def _is_at(pem: bytes, now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


class Site:
    """A cluster with one namespace that is allowed, and one certs whose clock may be wrong."""

    def __init__(self) -> None:
        self.store = ModelStore()
        self.store.namespace("tenant", ALLOWED)
        self.wrong_by = timedelta()
        clock = Clock(lambda: self.store.now + self.wrong_by, lambda: 0.0)
        self._rotation = DockerRotation(self.store, POLICY, clock)

    def run_pass(self) -> timedelta:
        """One pass; how long it says that the next may wait."""
        return asyncio.run(self._rotation.run_pass()).wait

    def daemon(self) -> KeyPair:
        """What certs would sign for a daemon now (here with the usage of a client)."""
        signing = self.authorities("server").signing
        assert signing is not None
        return POLICY.issue_client(signing, "a-daemon", self.store.now + self.wrong_by)

    def authorities(self, which: str) -> Authorities:
        return self.store.authorities[which][0]

    def client_is_let_in(self) -> bool:
        """By a daemon that has started with what is published."""
        data = self.store.secrets["tenant"].data
        bundle = self.store.published["client-ca.pem"]
        return is_valid(data["cert.pem"], bundle, self.store.now)

    def published(self) -> Published:
        """What a daemon finds in its ConfigMap."""
        return Published(
            *(
                inspection.blocks(self.store.published[f"{which}-ca.pem"])
                for which in ("client", "server")
            )
        )


@settings(max_examples=settings().max_examples // 2)
@given(age=st.integers(0, 1800), ahead=AHEAD, passes=st.integers(1, 3))
def test_clients_and_daemons(age: int, ahead: timedelta, passes: int) -> None:
    """However old the CAs are: one pass later clients are let in, and daemons are told to renew."""
    site = Site()
    site.run_pass()
    for _ in range(age // 200):
        site.store.now += 200 * DAY
        site.run_pass()
    site.store.now += age % 200 * DAY
    site.run_pass()
    before = {which: site.authorities(which) for which in ("client", "server")}
    site.wrong_by = ahead
    for _ in range(passes):
        site.run_pass()
    daemon = site.daemon()
    site.wrong_by = timedelta()
    site.run_pass()
    now, published = site.store.now, site.published()
    assert site.client_is_let_in()
    assert When.NOW is renewal.certificate_need(daemon.certificate, published, now).when
    assert is_valid(site.daemon().certificate, site.store.published["server-ca.pem"], now)
    for which, known in before.items():
        # What was right has not been revoked, unless it had ended by the wrong clock.
        alive = [ca for ca in known.certificates if now + ahead < inspection.ends_at(ca)]
        signing = known.signing
        if signing is not None and signing.certificate in alive:
            assert signing.certificate in site.authorities(which).certificates


def test_installed_by_a_wrong_clock() -> None:
    """CAs and certificates of the future from the first: all of them again, OpenSSL takes them, none is revoked."""
    site = Site()
    site.wrong_by = 400 * DAY
    site.run_pass()
    assert not site.client_is_let_in()
    wrong = {which: site.authorities(which).certificates for which in ("client", "server")}
    site.wrong_by = timedelta()
    site.run_pass()
    data = site.store.secrets["tenant"].data
    at = ("-attime", str(int(site.store.now.timestamp())))
    for which, leaf in (("client", data["cert.pem"]), ("server", site.daemon().certificate)):
        signing = site.authorities(which).signing
        assert signing is not None
        purpose = ("-purpose", "sslclient")
        assert "" == complaint(leaf, signing.certificate, *purpose, *at)
        assert set(wrong[which]) <= set(site.authorities(which).certificates)


def test_a_daemon_that_knows_no_valid_ca() -> None:
    """One that has started with CAs of the future alone lets nobody in: it is restarted at once."""
    site = Site()
    site.wrong_by = 3 * DAY
    site.run_pass()
    running = Files(site.daemon(), site.published().client)
    site.wrong_by = timedelta()
    site.run_pass()
    decision = renewal.decide(
        running,
        Files(site.daemon(), site.published().client),
        site.published(),
        now=site.store.now,
        within=30 * DAY,
    )
    assert (False, When.NOW) == (decision.request, decision.restart.when)
    assert site.published().client == decision.files.client_authorities


WEBHOOK: Final = WebhookPolicy(names=(NAME,))


class WebhookSite:
    """The webhook's certificates, with a certs whose clock may be wrong."""

    def __init__(self) -> None:
        self.cluster = Cluster(propagation=WEBHOOK.propagation, delivery=WEBHOOK.delivery)
        self.wrong_by = timedelta()
        clock = Clock(lambda: self.cluster.now + self.wrong_by, lambda: self.cluster.time)
        rotation = Rotation(WebhookStore(self.cluster), WEBHOOK, clock)
        self._turns = Turns(rotation.run_pass)

    def run_passes(self, seconds: float) -> None:
        """One at once, and then as the loop has them: whenever something may be due."""
        for _ in range(1 + int(seconds // 5)):
            assert self._turns.finish()
            self.cluster.time += 5

    def live(self, days: int) -> None:
        """Let so many days go by, with a pass every third, and more of them while something is written."""
        for _ in range(days // 3):
            self.cluster.time += (3 * DAY).total_seconds()
            writes = self.cluster.writes
            self.run_passes(0)
            if writes != self.cluster.writes:
                self.run_passes(400)

    def is_taken(self) -> bool:
        """Whether an API server takes what is stored."""
        leaf = self.cluster.secrets["leaf"].data["tls.crt"]
        configuration = self.cluster.configuration
        assert configuration is not None
        return all(
            verifies(leaf, bundle, self.cluster.now) for bundle in configuration.bundles.values()
        )


@settings(max_examples=settings().max_examples // 2)
@given(age=st.integers(0, 360), ahead=AHEAD, wrong_for=st.sampled_from([0, 5, 10, 30, 400, 86400]))
def test_the_webhook(age: int, ahead: timedelta, wrong_for: int) -> None:
    """However old its CA is, and in whatever step of a rotation the clock was put right."""
    site = WebhookSite()
    site.run_passes(30)
    site.live(age)
    site.wrong_by = ahead
    site.run_passes(min(wrong_for, 600))
    site.cluster.time += max(0, wrong_for - 600)
    site.wrong_by = timedelta()
    site.run_passes(2 * WEBHOOK.propagation.total_seconds())
    assert site.is_taken()
    signing = read_authorities(site.cluster.secrets["ca"].data).signing
    assert signing is not None
    assert not inspection.is_of_the_future(signing.certificate, site.cluster.now)


@pytest.mark.parametrize("seconds", [0, 5])
def test_a_successor_of_the_webhooks_ca_from_the_future(seconds: int) -> None:
    """A CA that was made before its time, and has signed nothing, never does: no request is dropped."""
    site = WebhookSite()
    site.run_passes(30)
    site.live(241)
    site.wrong_by = 6 * DAY
    site.run_passes(seconds)
    following = read_authorities(site.cluster.secrets["ca"].data).next
    assert following is not None
    assert inspection.is_of_the_future(following.certificate, site.cluster.now)
    site.wrong_by = timedelta()
    for _ in range(20):
        site.run_passes(0)
        assert site.is_taken()
        known = read_authorities(site.cluster.secrets["ca"].data)
        assert following.certificate not in known.certificates
