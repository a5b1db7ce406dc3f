"""How long the certificates of the shared daemons live, and what is issued by that. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from certs.authority import KeyPair, Leaf, Usage, issue_ca, issue_leaf, sign
from certs.shared.authorities import Schedule
from certs.shared.requests import Approval, Daemons

SERVER_CA: Final = "dinp Docker server CA"
CLIENT_CA: Final = "dinp Docker client CA"


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything about them that an operator may choose; all of it down to seconds."""

    daemons: Daemons = field(default_factory=Daemons)
    ca_lifetime: timedelta = timedelta(days=1825)
    server_lifetime: timedelta = timedelta(days=365)
    """dockerd reads its certificate only when it starts, and it should not do so often."""
    client_lifetime: timedelta = timedelta(hours=24)
    """Also how long a namespace that is no longer allowed goes on: Docker knows no revocation."""
    delivery: timedelta = timedelta(minutes=5)
    """Until every Pod reads a changed Secret."""
    daemon_restart: timedelta = timedelta(days=60)
    """Until every daemon has started again since the CAs changed; daemons wait 30 days at most."""

    def __post_init__(self) -> None:
        """Refuse what cannot be rotated in time.

        Raises:
            ValueError: says which is too short for which.
        """
        for whose, schedule in (("servers", self.server_ca), ("clients", self.client_ca)):
            if schedule.lifetime / 3 <= schedule.delay:
                raise ValueError(
                    f"the lifetime {schedule.lifetime} of the CA of {whose} is too short: renewed "
                    f"after two thirds, it has {schedule.lifetime / 3} left, and its successor "
                    f"signs {schedule.delay} later"
                )
        for whose, lifetime in (("server", self.server_lifetime), ("client", self.client_lifetime)):
            if lifetime <= timedelta():
                raise ValueError(f"the {whose}'s certificate has to live for some time")
            if lifetime > self.ca_lifetime:
                raise ValueError(f"the {whose}'s certificate may not live longer than its CA")
        if self.client_lifetime / 2 <= self.delivery:
            raise ValueError(
                f"the lifetime {self.client_lifetime} of clients' certificates is too short: "
                f"renewed after half of it, they reach Pods up to {self.delivery} later"
            )

    @property
    def server_ca(self) -> Schedule:
        """Of the CA of servers: clients go by it."""
        return Schedule(self.ca_lifetime, self.delivery)

    @property
    def client_ca(self) -> Schedule:
        """Of the CA of clients: daemons go by it."""
        return Schedule(self.ca_lifetime, self.daemon_restart)

    def issue_ca(self, name: str, now: datetime) -> KeyPair:
        """A CA."""
        return issue_ca(name, now=now, lifetime=self.ca_lifetime)

    def issue_client(self, ca: KeyPair, namespace: str, now: datetime) -> KeyPair:
        """A client certificate for all Pods of a namespace, which its commonName names."""
        return issue_leaf(
            ca,
            f"namespace:{namespace}"[:64],  # as long as X.520 lets it be
            usage=Usage.CLIENT,
            now=now,
            lifetime=self.client_lifetime,
        )

    def sign_server(
        self, ca: KeyPair, approval: Approval, wanted: timedelta | None, now: datetime
    ) -> bytes:
        """The certificate of a daemon, PEM; `wanted` is the request's own lifetime."""
        lifetime = self.server_lifetime if wanted is None else min(wanted, self.server_lifetime)
        leaf = Leaf(approval.pod[:64], approval.csr.public_key(), approval.names)
        return sign(ca, leaf, usage=Usage.SERVER, now=now, lifetime=lifetime)
