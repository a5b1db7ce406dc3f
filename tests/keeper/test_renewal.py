"""When a daemon's certificate is renewed, and when dockerd is restarted for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from keeper import renewal
from keeper.files import Published
from keeper.renewal import When
from tests.keeper.pairs import (
    CLIENTS,
    LIFETIME,
    NOW,
    SERVERS,
    authority,
    files,
    leaf,
    published,
    rewritten,
)

DAY: Final = timedelta(days=1)
MONTH: Final = timedelta(days=30)
FRESH: Final = leaf(timedelta())


@pytest.mark.parametrize(
    ("expected", "part"),
    [
        (When.NEVER, 0.0),
        (When.NEVER, 0.66),
        (When.IDLE, 0.67),
        (When.IDLE, 0.91),
        (When.NOW, 0.92),
        (When.NOW, 1.5),
    ],
)
def test_by_its_age(expected: When, part: float) -> None:
    """Due after two thirds of its lifetime, and urgent after eleven twelfths."""
    certificate = leaf(LIFETIME * part).certificate
    assert expected is renewal.certificate_need(certificate, published(), NOW).when


def test_of_no_published_ca() -> None:
    """Nobody trusts it, so it is replaced at once; where no CA is published its age decides."""
    certificate = leaf(timedelta(), authority("another")).certificate
    assert When.NOW is renewal.certificate_need(certificate, published(), NOW).when
    assert When.NEVER is renewal.certificate_need(certificate, Published(), NOW).when


@pytest.mark.parametrize(
    ("expected", "ahead"),
    [
        (When.NEVER, timedelta(minutes=19)),
        (When.NOW, timedelta(minutes=21)),
        (When.NOW, 3 * DAY),
        (When.NOW, 400 * DAY),
    ],
)
def test_from_the_future(expected: When, ahead: timedelta) -> None:
    """One that a clock has issued which was ahead is of no use to any client: replaced at once."""
    certificate = leaf(-ahead).certificate
    for authorities in (published(), Published()):
        assert expected is renewal.certificate_need(certificate, authorities, NOW).when


@pytest.mark.parametrize(("expected", "days"), [(When.NEVER, 0), (When.NOW, 3)])
def test_of_a_ca_from_the_future(expected: When, days: int) -> None:
    """A certificate that is valid now is of no use where its CA is not; that of another CA is."""
    ca = authority("ahead", -days * DAY)
    there = published(servers=(SERVERS, ca))
    assert expected is renewal.certificate_need(leaf(timedelta(), ca).certificate, there, NOW).when
    assert When.NEVER is renewal.certificate_need(FRESH.certificate, there, NOW).when


OLD: Final = authority("old", 100 * DAY)
ENDED: Final = authority("ended", 10 * DAY, DAY)
NEW: Final = authority("new", DAY)
AHEAD: Final = authority("ahead", -3 * DAY)
WAITED: Final = authority("waited", 31 * DAY)


@pytest.mark.parametrize(
    ("expected", "running", "now_published"),
    [
        (When.NEVER, (CLIENTS,), (CLIENTS,)),
        (When.NEVER, (CLIENTS, ENDED), (CLIENTS,)),
        (When.IDLE, (CLIENTS,), (CLIENTS, NEW)),
        (When.NOW, (CLIENTS,), (CLIENTS, WAITED)),
        (When.NOW, (CLIENTS, OLD), (CLIENTS,)),
        (When.NOW, (OLD,), (NEW,)),
        (When.NOW, (AHEAD,), (AHEAD, NEW)),
        (When.NOW, (AHEAD, ENDED), (AHEAD, NEW)),
        (When.IDLE, (AHEAD, CLIENTS), (AHEAD, CLIENTS, NEW)),
        (When.NEVER, (AHEAD,), (AHEAD,)),
        (When.IDLE, (ENDED,), (ENDED, AHEAD)),
    ],
    ids=[
        "the same",
        "one has ended",
        "one more",
        "one more, long ago",
        "one less",
        "another",
        "none that is valid, and one more that is",
        "one from the future and one that has ended, and one more",
        "one that is valid beside one from the future",
        "from the future, and no other",
        "one more, which is not valid either",
    ],
)
def test_by_the_cas_of_clients(
    expected: When, running: tuple[object, ...], now_published: tuple[object, ...]
) -> None:
    """One more waits until nobody works; one less is revoked, and is shut out at once."""
    before = frozenset(map(rewritten, running))  # type: ignore[arg-type]  # KeyPairs
    after = published(*now_published)  # type: ignore[arg-type]  # KeyPairs
    assert expected is renewal.authorities_need(before, after, now=NOW, within=MONTH).when


def test_nothing_is_published() -> None:
    """An empty ConfigMap revokes nobody."""
    before = frozenset([rewritten(CLIENTS)])
    assert When.NEVER is renewal.authorities_need(before, Published(), now=NOW, within=MONTH).when


DUE: Final = leaf(LIFETIME * 0.7)
LATE: Final = leaf(LIFETIME * 0.95)
FOREIGN: Final = leaf(timedelta(), authority("another"))


@pytest.mark.parametrize(
    ("request_", "when", "running", "waiting", "now_published"),
    [
        (False, When.NEVER, FRESH, None, published()),
        (False, When.IDLE, FRESH, None, published(CLIENTS, NEW)),
        (True, When.NEVER, DUE, None, published()),
        (True, When.NEVER, DUE, FOREIGN, published()),
        (False, When.IDLE, DUE, FRESH, published()),
        (False, When.NOW, LATE, FRESH, published()),
        (False, When.NOW, DUE, FRESH, published(NEW)),
        (True, When.NOW, DUE, None, published(NEW)),
    ],
    ids=[
        "all is right",
        "a CA more",
        "due, none waits",
        "due, and what waits is of another CA",
        "due, one waits",
        "late, one waits",
        "due, and a CA is revoked",
        "due, none waits, and a CA is revoked",
    ],
)
def test_decision(
    request_: bool, when: When, running: object, waiting: object, now_published: Published
) -> None:
    """A new one is asked for first; dockerd is restarted once there is something to start with."""
    decision = renewal.decide(
        files(running),  # type: ignore[arg-type]  # a KeyPair
        None if waiting is None else files(waiting),  # type: ignore[arg-type]  # a KeyPair
        now_published,
        now=NOW,
        within=MONTH,
    )
    assert (request_, when) == (decision.request, decision.restart.when)
    takes = waiting if when is not When.NEVER and waiting is not None else running
    assert takes is decision.files.pair
    assert now_published.client == decision.files.client_authorities


def test_another_ca_signs_servers() -> None:
    """While both CAs of servers are published, a certificate of the old one stays."""
    both = published(servers=(SERVERS, authority("next")))
    assert When.NEVER is renewal.certificate_need(FRESH.certificate, both, NOW).when
