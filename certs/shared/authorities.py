"""The CAs of the shared daemons: which one signs, and which ones count. Pure, by the wall clock.

Who goes by a CA learns of a new one late: clients when their Secret has been mounted anew, and
dockerd only when it starts. So a CA is published long before it signs:

| step | when |
|---|---|
| `next` is issued, and published | two thirds of the signing CA's lifetime are over |
| `next` becomes the CA that signs | it has been published for `delay` |
| the one before becomes `old`, and stays published | at the same time |
| `old` is forgotten | it has ended; what it signed has too, as no leaf outlives its CA |
| another signs at once, and the one that signed becomes `old` | the CA that signs is from the future: nothing that it signs is valid for anybody |
| another `next` in its place | `next` is from the future |

What is not in the Secret does not count: who deletes the Secret revokes all that its CAs have
signed. (The webhook's CA goes by what has been seen instead: see certs/bundle.py. There, API
servers follow within seconds, and a request that is dropped is one too many.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from certs import inspection
from certs.authority import KeyPair
from certs.records import Authorities


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a CA lives, and how long it has to be published before it signs."""

    lifetime: timedelta
    delay: timedelta


def advanced(
    known: Authorities, schedule: Schedule, now: datetime, issue: Callable[[], KeyPair]
) -> Authorities:
    """What the Secret has to say now; equal to `known` where all is right.

    `issue` makes a new CA, and is called at most once. `now` is by a clock that is right: where the
    clock here differs from that of the API server, the pass has ended before (certs/calls.py).
    """
    signing, following = _live(known.signing, now), _live(known.next, now)
    if following is not None and inspection.is_of_the_future(following.certificate, now):
        following = None  # it would have to wait for its time before it may sign: another is made
    old = tuple(ca for ca in known.old if now < inspection.ends_at(ca))
    if signing is not None and inspection.is_of_the_future(signing.certificate, now):
        # Still published: where the clock is ahead, too, what it has signed is in use.
        old, signing = (signing.certificate, *old), None
    kept = Authorities(signing, following, old)
    if following is not None:
        is_known = now >= inspection.issued_at(following.certificate) + schedule.delay
        return kept.promoted() if signing is None or is_known else kept
    if signing is None:
        return Authorities(issue(), None, old)
    return Authorities(signing, issue(), old) if _is_due(signing, schedule, now) else kept


def bundle(known: Authorities) -> bytes:
    """All of them, PEM, in an order that stays when `next` becomes the CA that signs.

    Else every namespace would get another certificate for nothing.
    """
    return inspection.join(sorted(known.certificates))


def next_due(known: Authorities, schedule: Schedule, now: datetime) -> timedelta:
    """How long until `advanced` has something to do."""
    if known.signing is None:
        return timedelta()
    times = [inspection.ends_at(ca) for ca in known.certificates]
    if known.next is not None:
        times.append(inspection.issued_at(known.next.certificate) + schedule.delay)
    else:
        times.append(inspection.due_at(known.signing.certificate, schedule.lifetime))
    return max(min(times) - now, timedelta())


def _live(pair: KeyPair | None, now: datetime) -> KeyPair | None:
    return pair if pair is not None and now < inspection.ends_at(pair.certificate) else None


def _is_due(signing: KeyPair, schedule: Schedule, now: datetime) -> bool:
    return now >= inspection.due_at(signing.certificate, schedule.lifetime)
