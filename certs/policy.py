"""How long certificates live, how long news of them take, and what is issued by that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from certs.authority import KeyPair, Usage, issue_ca, issue_leaf


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything about certificates that an operator may choose; all of it down to seconds."""

    names: tuple[str, ...]
    """DNS names of the webhook. The CA can vouch for no others."""
    ca_lifetime: timedelta = timedelta(days=365)
    leaf_lifetime: timedelta = timedelta(days=30)
    propagation: timedelta = timedelta(seconds=10)
    """Until every API server goes by a changed caBundle: each watches the configurations."""
    delivery: timedelta = timedelta(minutes=5)
    """Until every replica serves a changed Secret. The kubelet looks once a minute, up to 90 s
    late (and waits up to two minutes after a mount that failed), dinp serve every 5 s."""

    def __post_init__(self) -> None:
        """Refuse what cannot be rotated in time.

        Raises:
            ValueError: says which is too short for which.
        """
        if not self.names:
            raise ValueError("no DNS name to issue certificates for")
        if self.leaf_lifetime > self.ca_lifetime:
            raise ValueError("the leaf may not live longer than its CA")
        needed = self.delivery + 2 * self.propagation
        for what, lifetime in (("CA", self.ca_lifetime), ("leaf", self.leaf_lifetime)):
            if lifetime / 3 <= needed:
                raise ValueError(
                    f"the {what}'s lifetime of {lifetime} is too short: renewed after two thirds, "
                    f"it has {lifetime / 3} left, and its successor takes up to {needed}"
                )

    def issue_ca(self, now: datetime) -> KeyPair:
        """A CA for the webhook's names."""
        return issue_ca("dinp webhook CA", now=now, lifetime=self.ca_lifetime, permitted=self.names)

    def issue_leaf(self, ca: KeyPair, now: datetime) -> KeyPair:
        """A serving certificate by `ca`."""
        return issue_leaf(
            ca,
            "dinp",
            names=self.names,
            usage=Usage.SERVER,
            now=now,
            lifetime=self.leaf_lifetime,
        )
