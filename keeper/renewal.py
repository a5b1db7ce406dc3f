"""When a daemon needs another certificate, and when dockerd is restarted for it. Pure.

dockerd reads its certificate and the CAs of its clients only when it starts. So whatever is new
waits until nobody uses the daemon, as long as it can.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from fractions import Fraction
from typing import Final

from certs import inspection
from keeper.files import Files, Published

_DUE: Final = Fraction(2, 3)
_LATE: Final = Fraction(11, 12)


class When(IntEnum):
    """How urgent something is."""

    NEVER = 0
    IDLE = 1
    NOW = 2


@dataclass(frozen=True, slots=True)
class Need:
    """What is urgent, and why; the reason is empty where nothing is."""

    when: When = When.NEVER
    why: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to send a request, and when to restart dockerd with `files`."""

    request: bool
    restart: Need
    files: Files


def decide(
    running: Files, waiting: Files | None, published: Published, *, now: datetime, within: timedelta
) -> Decision:
    """Decide by what dockerd runs with, what waits to be used, and what is published.

    | need of the certificate | fit one waits | need of the CAs | request | restart | with |
    |---|---|---|---|---|---|
    | never | | never | no | never | |
    | never | | idle, now | no | idle, now | its certificate, the published CAs |
    | idle, now | no | never, idle, now | yes | never, idle, now | the same |
    | idle, now | yes | whatever | no | the more urgent | the one that waits, the published CAs |
    """
    certificate = certificate_need(running.pair.certificate, published, now)
    authorities = authorities_need(running.client_authorities, published, now=now, within=within)
    pair = running.pair
    is_due = certificate.when is not When.NEVER
    is_fit = is_due and waiting is not None and _is_fit(waiting, published, now)
    need = authorities
    if is_fit and waiting is not None:
        pair = waiting.pair
        need = max(authorities, certificate, key=lambda one: one.when)
    client = published.client or running.client_authorities
    return Decision(is_due and not is_fit, need, Files(pair, client))


def certificate_need(certificate: bytes, published: Published, now: datetime) -> Need:
    """How urgent another certificate is.

    | certificate | need |
    |---|---|
    | of a published CA, in its first two thirds | never |
    | two thirds are over | idle |
    | eleven twelfths are over | now |
    | of none of the published CAs of servers: no client trusts it | now |
    | it is, or its CA is, from the future: it is not valid for any client | now |
    | no CA of servers is published | by its age alone |
    """
    issuers = [ca for ca in published.server if inspection.is_issued_by(certificate, ca)]
    if published.server and not issuers:
        return Need(When.NOW, "the certificate is of no published CA")
    if any(inspection.is_of_the_future(pem, now) for pem in (certificate, *issuers)):
        return Need(When.NOW, "the certificate is from the future")
    issued = inspection.issued_at(certificate)
    lifetime = inspection.lifetime(certificate)
    if now >= issued + lifetime * _LATE.numerator / _LATE.denominator:
        return Need(When.NOW, "the certificate is about to end")
    if now >= issued + lifetime * _DUE.numerator / _DUE.denominator:
        return Need(When.IDLE, "the certificate is due")
    return Need()


def authorities_need(
    running: frozenset[bytes], published: Published, *, now: datetime, within: timedelta
) -> Need:
    """How urgent other CAs of clients are.

    | published, compared with what dockerd runs with | need |
    |---|---|
    | nothing | never |
    | the same, or without one that has ended: nobody comes in by that | never |
    | one more, issued less than `within` ago | idle |
    | one more, older than that | now |
    | one more, and none of the running ones is valid now: nobody comes in | now |
    | without one that has not ended: it is revoked | now |
    """
    if not published.client:
        return Need()
    if any(_is_live(authority, now) for authority in running - published.client):
        return Need(When.NOW, "a CA of clients is revoked")
    if any(_is_valid(authority, now) for authority in published.client - running) and not any(
        _is_valid(authority, now) for authority in running
    ):
        return Need(When.NOW, "no CA of clients that dockerd knows is valid now")
    # By the CA's own age, so that a keeper that starts again does not begin to count again.
    ages = [now - inspection.issued_at(authority) for authority in published.client - running]
    if not ages:
        return Need()
    if max(ages) >= within:
        return Need(When.NOW, "a CA of clients has waited for too long")
    return Need(When.IDLE, "there is another CA of clients")


def _is_fit(files: Files, published: Published, now: datetime) -> bool:
    return certificate_need(files.pair.certificate, published, now).when is When.NEVER


def _is_valid(authority: bytes, now: datetime) -> bool:
    return _is_live(authority, now) and not inspection.is_of_the_future(authority, now)


def _is_live(authority: bytes, now: datetime) -> bool:
    return inspection.is_authority(authority) and now < inspection.ends_at(authority)
