"""certs.shared.authorities: CAs by the wall clock, over years in a moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import inspection
from certs.authority import KeyPair, issue_ca
from certs.records import Authorities, read_authorities, write_authorities
from certs.shared import authorities
from certs.shared.authorities import Schedule
from certs.shared.policy import Policy

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SCHEDULE = Schedule(lifetime=90 * DAY, delay=10 * DAY)
SECONDS = Schedule(timedelta(seconds=90), timedelta(seconds=10))


def a_ca(at: datetime, schedule: Schedule = SCHEDULE) -> KeyPair:
    return issue_ca("dinp", now=at, lifetime=schedule.lifetime)


def advanced(known: Authorities, at: datetime, schedule: Schedule = SCHEDULE) -> Authorities:
    return authorities.advanced(known, schedule, at, lambda: a_ca(at, schedule))


def unchanged(known: Authorities, at: datetime) -> bool:
    """Whether nothing is to do, and so nothing is issued."""

    def never() -> KeyPair:
        raise AssertionError("issued for nothing")

    return authorities.advanced(known, SCHEDULE, at, never) == known


def test_one_life() -> None:
    """Each step of the table comes when it is due, not earlier, and nothing happens in between."""
    first = advanced(Authorities(), NOW)
    assert first.signing is not None
    assert (None, ()) == (first.next, first.old)
    assert unchanged(first, NOW + 59 * DAY)
    second = advanced(first, NOW + 60 * DAY)
    assert first.signing == second.signing
    assert second.next is not None
    assert unchanged(second, NOW + 69 * DAY)
    third = advanced(second, NOW + 70 * DAY)
    assert (second.next, None) == (third.signing, third.next)
    assert (first.signing.certificate,) == third.old
    assert unchanged(third, NOW + 89 * DAY)
    fourth = advanced(third, NOW + 90 * DAY)
    assert (third.signing, None, ()) == (fourth.signing, fourth.next, fourth.old)


@pytest.mark.parametrize("schedule", [SCHEDULE, SECONDS])
@settings(max_examples=settings().max_examples * 6 // 10)
@given(data=st.data())
def test_whoever_looks_late(schedule: Schedule, data: st.DataObject) -> None:
    """However late each look is: what was published for less than `delay` never signs, unless the
    one before it has ended; and every leaf verifies by what is published.
    """
    known, now = Authorities(), NOW
    published: dict[bytes, datetime] = {}
    leaf_ca: bytes | None = None
    for _ in range(8):
        before, known = known, advanced(known, now, schedule)
        assert known.signing is not None
        signing = known.signing.certificate
        for certificate in known.certificates:
            published.setdefault(certificate, now)
        if before.signing not in (None, known.signing):
            is_old_alive = now < inspection.ends_at(before.signing.certificate)
            assert not is_old_alive or now >= published[signing] + schedule.delay
        assert (
            leaf_ca is None or leaf_ca in known.certificates or now >= inspection.ends_at(leaf_ca)
        )
        leaf_ca = signing
        # Whole seconds, as certificates have them: what is issued within one is dated at its begin.
        now += timedelta(seconds=data.draw(st.integers(0, int(schedule.lifetime.total_seconds()))))


def test_next_due() -> None:
    """Nobody has to look before the time that it says, and then something is to do."""
    known, now = advanced(Authorities(), NOW), NOW
    for _ in range(6):
        wait = authorities.next_due(known, SCHEDULE, now)
        assert wait > timedelta()
        assert unchanged(known, now + wait - timedelta(seconds=1))
        now += wait
        before, known = known, advanced(known, now)
        assert before != known


def test_no_secret() -> None:
    """A Secret that is gone is everything revoked: a new CA signs at once, and nothing else counts."""
    whole = Authorities(a_ca(NOW), a_ca(NOW), (a_ca(NOW).certificate,))
    made = advanced(read_authorities({}), NOW)
    assert made.signing is not None
    assert not set(made.certificates) & set(whole.certificates)
    assert timedelta() == authorities.next_due(Authorities(), SCHEDULE, NOW)


def test_a_damaged_key() -> None:
    """A CA whose key is lost signs no more, and what it has signed still counts."""
    known = Authorities(a_ca(NOW), None)
    data = {key: value or b"" for key, value in write_authorities(known).items()}
    made = advanced(read_authorities({**data, "ca.key": b"nonsense"}), NOW)
    assert made.signing not in (None, known.signing)
    assert made.old == known.certificates


def test_next_takes_over() -> None:
    """Without a CA that signs, or with one that has ended, `next` signs at once."""
    following = a_ca(NOW)
    for signing in (None, a_ca(NOW - 90 * DAY)):
        made = advanced(Authorities(signing, following), NOW)
        assert (following, None, ()) == (made.signing, made.next, made.old)


@pytest.mark.parametrize("days", [3, 400])
def test_signing_from_the_future(days: int) -> None:
    """A CA that a wrong clock has issued signs no more, another does at once, and it stays published."""
    known = Authorities(a_ca(NOW + days * DAY))
    assert known.signing is not None
    assert unchanged(known, NOW + days * DAY - timedelta(minutes=19))
    made = advanced(known, NOW)
    assert made.signing is not None
    assert not inspection.is_of_the_future(made.signing.certificate, NOW)
    assert (None, (known.signing.certificate,)) == (made.next, made.old)
    assert unchanged(made, NOW + 59 * DAY)


def test_signing_from_the_future_with_a_successor() -> None:
    """A `next` that is valid now is published already, so it signs."""
    following = a_ca(NOW - DAY)
    made = advanced(Authorities(a_ca(NOW + 3 * DAY), following), NOW)
    assert following == made.signing


def test_next_from_the_future() -> None:
    """A `next` that a wrong clock has issued is replaced: it could not sign for long."""
    known = Authorities(a_ca(NOW - 70 * DAY), a_ca(NOW + 365 * DAY))
    made = advanced(known, NOW)
    assert known.signing == made.signing
    assert made.next not in (None, known.next)


def test_bundle_of_a_promoted_authority() -> None:
    """What is published stays as it is, byte for byte, when the next CA begins to sign."""
    for _ in range(8):  # by the order of two certificates one of them would be right by chance
        known = Authorities(a_ca(NOW), a_ca(NOW), (a_ca(NOW).certificate,))
        assert authorities.bundle(known) == authorities.bundle(known.promoted())
        assert inspection.blocks(authorities.bundle(known)) == frozenset(known.certificates)


def test_a_shorter_lifetime() -> None:
    """A lifetime that an operator makes shorter counts for the CAs that are there."""
    known = Authorities(a_ca(NOW))
    short = replace(SCHEDULE, lifetime=45 * DAY)
    assert advanced(known, NOW + 30 * DAY, short).next is not None


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"ca_lifetime": 150 * DAY, "server_lifetime": DAY}, "CA of clients is too short"),
        (
            {
                "ca_lifetime": timedelta(minutes=9),
                "server_lifetime": timedelta(minutes=1),
                "client_lifetime": timedelta(minutes=1),
            },
            "CA of servers is too short",
        ),
        ({"server_lifetime": 2000 * DAY}, "server's certificate may not live longer"),
        ({"client_lifetime": 2000 * DAY}, "client's certificate may not live longer"),
        ({"client_lifetime": timedelta()}, "client's certificate has to live"),
        ({"client_lifetime": timedelta(minutes=10)}, "reach Pods up to 0:05:00 later"),
        ({"server_lifetime": timedelta()}, "server's certificate has to live"),
    ],
)
def test_refused(chosen: dict[str, timedelta], message: str) -> None:
    """Lifetimes that leave no time for what has to happen are refused, with both numbers."""
    with pytest.raises(ValueError, match=message):
        Policy(**chosen)  # type: ignore[arg-type]  # all of them are durations


def test_seconds() -> None:
    """Lifetimes of seconds are possible."""
    second = timedelta(seconds=1)
    policy = Policy(
        ca_lifetime=20 * second,
        server_lifetime=10 * second,
        client_lifetime=4 * second,
        delivery=second,
        daemon_restart=5 * second,
    )
    assert NOW + 20 * second == inspection.ends_at(policy.issue_ca("dinp", NOW).certificate)
