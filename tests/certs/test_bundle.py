"""certs.bundle: one decision for each thing that can be wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from certs import bundle, inspection, records
from certs.authority import KeyPair, Usage, issue_ca, issue_leaf
from certs.bundle import IssueAuthority, IssueLeaf, Memory, Moment, Publish, Record, Wait
from certs.policy import Policy
from certs.records import Authorities, Configuration, Secret, Seen, Snapshot

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAME = "dinp.dinp-system.svc"
POLICY = Policy(names=(NAME,))


def a_ca(now: datetime = NOW, name: str = NAME) -> KeyPair:
    return issue_ca("dinp", now=now, lifetime=POLICY.ca_lifetime, permitted=[name])


def a_leaf(ca: KeyPair, now: datetime = NOW, name: str = NAME) -> KeyPair:
    return issue_leaf(
        ca, "dinp", names=[name], usage=Usage.SERVER, now=now, lifetime=POLICY.leaf_lifetime
    )


A, B, C = a_ca(), a_ca(), a_ca()
LEAF = a_leaf(A)


def seen(
    authorities: Authorities, leaf: KeyPair | None = LEAF, *trusted: KeyPair, by: KeyPair = A
) -> Seen:
    bundles = (frozenset(ca.certificate for ca in trusted or (A,)),) * 2
    return Seen(authorities, leaf, by.certificate, bundles)


def step(
    what: Seen, *, now: datetime = NOW, policy: Policy = POLICY, held: float = 0
) -> bundle.Step:
    """Decide, when everything that is so has been so for `held` seconds."""
    memory = Memory().updated(what, 0).updated(what, held)
    return Moment(what, memory, policy, now, held).step()


STABLE = seen(Authorities(A))


def test_nothing_to_do() -> None:
    """Everything right: wait until the leaf is due, after two thirds of 30 days."""
    assert Wait(20 * DAY) == step(STABLE)


def test_an_empty_cluster() -> None:
    """Nothing there: a CA that signs at once, as nobody can be cut off."""
    found = step(Seen(Authorities(), None, None, (frozenset(),)))
    assert isinstance(found, IssueAuthority)
    assert ("signing", Authorities()) == (found.slot, found.keep)
    assert Authorities(B) == found.done(B)


def test_a_lost_ca() -> None:
    """The CA Secret is gone, caBundle is not: the new CA waits, the old one stays trusted."""
    found = step(seen(Authorities()))
    assert isinstance(found, IssueAuthority)
    assert ("next", Authorities(old=(A.certificate,))) == (found.slot, found.keep)
    assert Authorities(None, B, (A.certificate,)) == found.done(B)


def test_a_due_ca() -> None:
    """After two thirds of a year the next CA is made; the one that signs goes on."""
    due = NOW + POLICY.ca_lifetime * 2 / 3
    leaf = a_leaf(A, due - DAY)
    assert isinstance(step(seen(Authorities(A), leaf), now=due - timedelta(seconds=2)), Wait)
    found = step(seen(Authorities(A), leaf), now=due)
    assert isinstance(found, IssueAuthority)
    assert ("next", Authorities(A)) == (found.slot, found.keep)


def test_an_ended_ca() -> None:
    """A CA that has ended is dropped; nothing that is served verifies, so no time is lost."""
    found = step(STABLE, now=NOW + POLICY.ca_lifetime)
    assert isinstance(found, IssueAuthority)
    assert ("signing", Authorities()) == (found.slot, found.keep)


def test_a_next_that_ended() -> None:
    """A next CA that nobody got to use is replaced."""
    stale = a_ca(NOW - POLICY.ca_lifetime)
    assert Record(Authorities(A), "") == _unsaid(step(seen(Authorities(A, stale), LEAF, A, stale)))


def test_a_ca_for_other_names() -> None:
    """A CA whose constraints exclude the webhook's name is replaced."""
    other = a_ca(name="other.svc")
    found = step(seen(Authorities(other), LEAF, other))
    assert isinstance(found, IssueAuthority)
    assert "next" == found.slot


def test_a_restored_ca_secret() -> None:
    """An older CA Secret comes back: the CA of what is served stays trusted."""
    what = seen(Authorities(B), LEAF, A)
    assert Record(Authorities(B, old=(A.certificate,)), "") == _unsaid(step(what))


def test_a_stranger_in_the_bundle() -> None:
    """A CA that has issued nothing of ours is removed from caBundle."""
    found = step(seen(Authorities(A), LEAF, A, C))
    assert isinstance(found, Publish)
    assert A.certificate == found.bundle


def test_the_serving_secret_names_no_ca() -> None:
    """Who can write the serving Secret cannot choose whom the API server trusts."""
    found = step(seen(Authorities(A), a_leaf(C), A, by=C))
    assert IssueLeaf(A, "") == _unsaid(found)


def test_the_next_ca_is_published_beside() -> None:
    """caBundle gets both."""
    found = step(seen(Authorities(A, B)))
    assert isinstance(found, Publish)
    assert A.certificate + B.certificate == found.bundle


@pytest.mark.parametrize(("held", "expected"), [(0, Wait), (9.9, Wait), (10, Record)])
def test_the_next_ca_takes_over(held: float, expected: type) -> None:
    """Only when every caBundle has had it for the time of propagation."""
    found = step(seen(Authorities(A, B), LEAF, A, B), held=held)
    assert isinstance(found, expected)
    if isinstance(found, Record):
        assert Authorities(B, None, (A.certificate,)) == found.authorities
    else:
        assert isinstance(found, Wait)
        assert timedelta(seconds=10 - held) == found.time


@pytest.mark.parametrize(("held", "expected"), [(0, Wait), (9.9, Wait), (10, IssueLeaf)])
def test_the_leaf_follows(held: float, expected: type) -> None:
    """A process that has just begun waits itself, as it cannot know since when it holds."""
    what = seen(Authorities(B, old=(A.certificate,)), LEAF, A, B)
    assert isinstance(step(what, held=held), expected)


@pytest.mark.parametrize(("held", "expected"), [(0, Wait), (299, Wait), (300, Record)])
def test_the_old_ca_leaves(held: float, expected: type) -> None:
    """Only when the stored leaf has been the new CA's for the time of delivery."""
    what = seen(Authorities(B, old=(A.certificate,)), a_leaf(B), A, B, by=B)
    found = step(what, held=held)
    assert isinstance(found, expected)
    if isinstance(found, Record):
        assert Authorities(B) == found.authorities


def test_memory_forgets() -> None:
    """One read that shows otherwise, and the time begins anew."""
    what = seen(Authorities(A, B), LEAF, A, B)
    memory = Memory().updated(what, 0)
    assert 0 == memory.updated(what, 5).trusted[B.certificate]
    forgot = memory.updated(replace(what, bundles=(*what.bundles, frozenset())), 6)
    assert {} == forgot.trusted
    assert 7 == forgot.updated(what, 7).trusted[B.certificate]


LEAVES = {
    "missing or damaged": None,
    "of another CA than the one that signs": a_leaf(C),
    "for other names": a_leaf(A, name=f"x.{NAME}"),
    "from the future": a_leaf(A, NOW + timedelta(hours=2)),
    "due": a_leaf(A, NOW - 20 * DAY),
}


@pytest.mark.parametrize("why", LEAVES)
def test_a_leaf_that_is_wrong(why: str) -> None:
    """A leaf is replaced at once where its CA is the only one that is trusted."""
    assert IssueLeaf(A, why) == step(seen(Authorities(A), LEAVES[why]))


def test_another_ca_beside_the_leaf() -> None:
    """The ca.crt of the serving Secret belongs to its certificate."""
    found = step(seen(Authorities(A), by=B))
    assert isinstance(found, IssueLeaf)


def test_a_leaf_of_a_clock_that_is_ahead() -> None:
    """A little from the future is another replica's clock, and no reason to write."""
    assert isinstance(step(seen(Authorities(A), a_leaf(A, NOW + timedelta(minutes=20)))), Wait)


def _unsaid(found: bundle.Step) -> bundle.Step:
    assert isinstance(found, Record | IssueLeaf)
    return replace(found, why="")


def test_records_round_trip() -> None:
    """What is written to the Secrets is read back."""
    authorities = Authorities(A, B, tuple(sorted((C.certificate, a_ca().certificate))))
    ca = {key: value for key, value in records.write_authorities(authorities).items() if value}
    leaf = {key: value for key, value in records.write_leaf(LEAF, A.certificate).items() if value}
    configuration = Configuration({"one": A.certificate + B.certificate, "two": b""}, "1")
    found = records.seen(Snapshot(Secret(leaf, "1"), configuration, Secret(ca, "1")))
    assert authorities == found.authorities
    assert (LEAF, A.certificate) == (found.leaf, found.leaf_authority)
    assert (frozenset({A.certificate, B.certificate}), frozenset()) == found.bundles
    assert not found.is_trusted(A.certificate)
    assert Seen(Authorities(), None, None, ()) == records.seen(Snapshot(None, None, None))


def test_a_damaged_key_leaves_the_certificate() -> None:
    """What a lost CA has issued goes on being verified."""
    data = {"ca.crt": A.certificate, "ca.key": B.key, "next.crt": LEAF.certificate}
    assert Authorities(old=(A.certificate,)) == records.read_authorities(data)
    pair = {"ca.crt": LEAF.certificate, "ca.key": LEAF.key, "old.crt": LEAF.certificate}
    assert Authorities() == records.read_authorities(pair)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ()}, "no DNS name"),
        ({"leaf_lifetime": timedelta(days=366)}, "may not live longer"),
        ({"leaf_lifetime": timedelta(minutes=15)}, "leaf's lifetime of 0:15:00 is too short"),
        (
            {"leaf_lifetime": timedelta(minutes=15), "ca_lifetime": timedelta(minutes=15)},
            "CA's lifetime of 0:15:00 is too short",
        ),
    ],
)
def test_policy(changes: dict[str, object], message: str) -> None:
    """Times that cannot work are refused with the reason."""
    with pytest.raises(ValueError, match=message):
        replace(POLICY, **changes)  # type: ignore[arg-type]  # whatever is to be tried


def test_dates_of_the_due_leaf() -> None:
    """The table above means what it says."""
    leaf = LEAVES["due"]
    assert leaf is not None
    assert NOW == inspection.due_at(leaf.certificate, POLICY.leaf_lifetime)
