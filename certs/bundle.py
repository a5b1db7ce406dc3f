"""The next step towards certificates that are right, in an order that drops no request. Pure.

At every moment, whatever an API server goes by as caBundle has to verify whatever a replica of
the webhook serves. Both see late what is written: an API server a caBundle, a replica a Secret.
So a CA is rotated in steps, and between them somebody has to have seen that the last one holds:

| step | written | when |
|---|---|---|
| 1 | `next` in the CA Secret | two thirds of the signing CA's lifetime are over, or it is lost |
| 2 | caBundle: old and new | the CA Secret says so |
| 3 | `next` becomes the CA that signs | every caBundle has had it for `propagation` |
| 4 | the leaf | it is of another CA than the one that signs, due, lost or damaged |
| 5 | `old` without the old CA | the stored leaf has been of the signing CA's for `delivery` |
| 6 | caBundle: new only | the CA Secret says so |

How long something has held is not written down, where the clock of another replica would have
to be believed: each process goes by what it has seen itself, on its own monotonic clock (a
restart begins again). The wall clock decides only when something is due, hours or days early.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from certs import inspection
from certs.authority import KeyPair
from certs.policy import Policy
from certs.records import Authorities, Seen


@dataclass(frozen=True, slots=True)
class IssueAuthority:
    """Issue a CA and store it beside `keep`."""

    slot: Literal["signing", "next"]
    keep: Authorities
    why: str

    def done(self, issued: KeyPair) -> Authorities:
        """What the CA Secret has to say then."""
        if self.slot == "signing":
            return replace(self.keep, signing=issued)
        return replace(self.keep, next=issued)


@dataclass(frozen=True, slots=True)
class Record:
    """Write this to the CA Secret."""

    authorities: Authorities
    why: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Write this PEM bundle to every caBundle."""

    bundle: bytes
    why: str


@dataclass(frozen=True, slots=True)
class IssueLeaf:
    """Issue a serving certificate by this CA and store it."""

    ca: KeyPair
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Everything is right; something is due after this time, if nobody interferes."""

    time: timedelta


Write = IssueAuthority | Record | Publish | IssueLeaf
Step = Write | Wait


@dataclass(frozen=True, slots=True)
class Memory:
    """What one process has seen, as seconds of its monotonic clock.

    `trusted`: since when every read has shown a CA in every caBundle. `unused`: since when
    every read has shown the stored leaf to be of the signing CA's, by certificate of an old CA.
    """

    trusted: Mapping[bytes, float] = field(default_factory=dict)
    unused: Mapping[bytes, float] = field(default_factory=dict)

    def updated(self, seen: Seen, at: float) -> Memory:
        """Add a read that was over at `at`."""
        known, signing = seen.authorities, seen.authorities.signing
        is_new = (
            seen.leaf is not None
            and signing is not None
            and inspection.is_issued_by(seen.leaf.certificate, signing.certificate)
        )
        return Memory(
            {ca: self.trusted.get(ca, at) for ca in known.certificates if seen.is_trusted(ca)},
            {ca: self.unused.get(ca, at) for ca in known.old} if is_new else {},
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """A read of the API server, judged at one time: `now` by the wall clock, `at` monotonic.

    `memory` includes that read.
    """

    seen: Seen
    memory: Memory
    policy: Policy
    now: datetime
    at: float

    def step(self) -> Step:
        """Decide what to do next. What is written has to be read again before the next step."""
        return (
            self._authority()
            or self._publish()
            or self._promote()
            or self._leaf()
            or self._retire()
            or Wait(self._time_until_due())
        )

    def _authority(self) -> IssueAuthority | Record | None:
        authorities = self.seen.authorities
        keep = self._with_adopted()
        signing, following = keep.signing, keep.next
        if signing is None and following is None:
            # Where no CA is trusted no request can be dropped: no need to go by way of `next`.
            slot: Literal["signing", "next"] = "next" if self._others_trusted() else "signing"
            return IssueAuthority(slot, keep, "there is none")
        if signing is not None and following is None and self._is_due(signing):
            return IssueAuthority("next", keep, "the one that signs is due")
        if keep != authorities:
            return Record(keep, "certificates of an unknown or ended CA may still be served")
        return None

    def _with_adopted(self) -> Authorities:
        """Leave out CAs that have ended; keep trusting who may have issued what is served.

        A `next` from the future is left out, too: it has signed nothing, and what it would sign
        would not be valid.
        """
        authorities = self.seen.authorities
        signing, following = (
            pair if pair is not None and self._is_live(pair.certificate) else None
            for pair in (authorities.signing, authorities.next)
        )
        if following and inspection.is_of_the_future(following.certificate, self.now):
            following = None
        known = authorities.certificates
        # Never from the serving Secret: who may write that may not choose whom to trust.
        adopted = [
            ca
            for ca in sorted(self.seen.trusted_somewhere)
            if ca not in known and self._is_live(ca) and (signing is None or self._has_issued(ca))
        ]
        return Authorities(signing, following, (*authorities.old, *adopted))

    def _publish(self) -> Publish | None:
        wanted = self.seen.authorities.certificates
        wrong = [bundle for bundle in self.seen.bundles if bundle != frozenset(wanted)]
        if not wrong:
            return None
        why = f"{len(wrong)} of {len(self.seen.bundles)} differ"
        return Publish(inspection.join(wanted), why)

    def _promote(self) -> Record | None:
        authorities = self.seen.authorities
        if authorities.next is None or not self._is_settled(authorities.next):
            return None
        return Record(authorities.promoted(), "every API server has had time to see the new CA")

    def _leaf(self) -> IssueLeaf | None:
        signing = self.seen.authorities.signing
        why = self._leaf_problem()
        if signing is None or why is None or not self._is_settled(signing):
            return None
        return IssueLeaf(signing, why)

    def _leaf_problem(self) -> str | None:
        leaf, signing = self.seen.leaf, self.seen.authorities.signing
        if leaf is None:
            return "missing or damaged"
        if signing is None or not inspection.is_issued_by(leaf.certificate, signing.certificate):
            return "of another CA than the one that signs"
        if self.seen.leaf_authority != signing.certificate:
            return "the ca.crt beside it is another"
        if inspection.dns_names(leaf.certificate) != frozenset(self.policy.names):
            return "for other names"
        if inspection.is_of_the_future(leaf.certificate, self.now):
            return "from the future"
        return "due" if self._leaf_due_in(leaf) <= timedelta() else None

    def _retire(self) -> Record | None:
        authorities = self.seen.authorities
        unused = [ca for ca in authorities.old if self._until_delivered(ca) <= 0]
        if not unused:
            return None
        old = tuple(ca for ca in authorities.old if ca not in unused)
        return Record(replace(authorities, old=old), "no certificate of an old CA is served now")

    def _is_due(self, ca: KeyPair) -> bool:
        return (
            self.now >= inspection.due_at(ca.certificate, self.policy.ca_lifetime)
            or inspection.is_of_the_future(ca.certificate, self.now)
            or not inspection.permits(ca.certificate, self.policy.names)
        )

    def _is_live(self, pem: bytes) -> bool:
        return inspection.is_authority(pem) and self.now < inspection.ends_at(pem)

    def _has_issued(self, ca: bytes) -> bool:
        leaf = self.seen.leaf
        return leaf is not None and inspection.is_issued_by(leaf.certificate, ca)

    def _others_trusted(self, than: bytes = b"") -> bool:
        return any(self._is_live(ca) for ca in self.seen.trusted_somewhere - {than})

    def _is_settled(self, ca: KeyPair) -> bool:
        """Whether a leaf by this CA will be verified wherever one by another CA would be."""
        certificate = ca.certificate
        if self.seen.is_trusted(certificate) and not self._others_trusted(than=certificate):
            return True
        return self._until_propagated(certificate) <= 0

    def _left(self, since: Mapping[bytes, float], ca: bytes, needed: timedelta) -> float:
        """Seconds until it has held for long enough, if it holds."""
        if ca not in since:
            return math.inf
        return needed.total_seconds() - (self.at - since[ca])

    def _until_propagated(self, ca: bytes) -> float:
        return self._left(self.memory.trusted, ca, self.policy.propagation)

    def _until_delivered(self, ca: bytes) -> float:
        return self._left(self.memory.unused, ca, self.policy.delivery)

    def _leaf_due_in(self, leaf: KeyPair) -> timedelta:
        return inspection.due_at(leaf.certificate, self.policy.leaf_lifetime) - self.now

    def _time_until_due(self) -> timedelta:
        authorities, leaf = self.seen.authorities, self.seen.leaf
        seconds = [self._until_delivered(ca) for ca in self.memory.unused]
        if authorities.next is not None or self._leaf_problem() is not None:
            seconds += [self._until_propagated(ca) for ca in self.memory.trusted]
        times = [timedelta(seconds=left) for left in seconds]
        if authorities.signing is not None:
            certificate = authorities.signing.certificate
            times.append(inspection.due_at(certificate, self.policy.ca_lifetime) - self.now)
        if leaf is not None:
            times.append(self._leaf_due_in(leaf))
        return min((time for time in times if time > timedelta()), default=timedelta(seconds=60))
