"""What earlier passes have read: what has not changed since is not read again. Pure.

Passes list metadata, a line or so an object, and read whole objects one at a time. Whatever tenants
write into theirs, that is all that is kept of them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from certs import inspection
from certs.errors import StoreError
from certs.inspection import CLOCKS_DIFFER
from certs.shared import clients
from certs.shared.clients import Authorities


@dataclass(frozen=True, slots=True)
class Right:
    """A client certificate that was right when its Secret had this resourceVersion."""

    version: str
    issued: datetime
    due: datetime
    ends: datetime

    def holds(self, now: datetime) -> bool:
        """Whether it is right by now, too, as clients.problem would have it."""
        return self.issued - CLOCKS_DIFFER <= now < self.due


@dataclass(frozen=True, slots=True)
class Failed:
    """An object that could not be dealt with when it had this resourceVersion."""

    version: str
    error: StoreError


@dataclass(frozen=True, slots=True)
class Wrong:
    """A client certificate to be replaced, in a Secret of this resourceVersion; None: a new Secret."""

    version: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that needs no more when it has this resourceVersion."""

    version: str


@dataclass(slots=True)
class Memory:
    """Of one process. Each is by the name of a namespace or a request."""

    clients: dict[str, Right | Failed] = field(default_factory=dict)
    requests: dict[str, Answered | Failed] = field(default_factory=dict)
    _by: Authorities | None = None

    def begin_clients(self, by: Authorities, there: Container[str]) -> None:
        """Forget what is gone; and everything, where the CAs are others."""
        kept = self.clients if by == self._by else {}
        self.clients = {name: known for name, known in kept.items() if name in there}
        self._by = by

    def begin_requests(self, there: Mapping[str, str]) -> None:
        """Forget what is gone, or has changed."""
        self.requests = {
            name: known for name, known in self.requests.items() if there.get(name) == known.version
        }

    def client(self, namespace: str, version: str | None) -> Right | Failed | None:
        """What is known of a namespace's Secret in this version of it."""
        known = self.clients.get(namespace)
        return known if known is not None and known.version == version else None


def right(certificate: bytes, version: str, lifetime: timedelta) -> Right:
    """What is kept of a client certificate (PEM)."""
    return Right(
        version,
        inspection.issued_at(certificate),
        clients.due_at(certificate, lifetime),
        inspection.ends_at(certificate),
    )
