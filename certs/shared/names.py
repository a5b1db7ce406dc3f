"""Which objects hold the certificates of shared daemons, and which policies bound who writes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Which = Literal["server", "client"]


@dataclass(frozen=True, slots=True)
class Names:
    """Those of manifests/shared."""

    system: str = "dinp-system"
    daemons: str = "dinp-daemons"
    server_ca: str = "dinp-docker-server-ca"
    client_ca: str = "dinp-docker-client-ca"
    published: str = "dinp-docker-ca"
    client_secret: str = "dinp-client-tls"  # noqa: S105 - a name, no secret
    secrets_policy: str = "dinp-certs-docker-secrets"
    requests_policy: str = "dinp-certs-docker"

    def ca(self, which: Which) -> str:
        """The name of the Secret of one of the CAs."""
        return self.server_ca if which == "server" else self.client_ca
