"""The objects of shared daemons in a few lines: what certs.shared.store reads and writes, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from certs import records
from certs.errors import ConflictError, StoreError, TooLargeError
from certs.passes import Clock
from certs.records import Authorities, Metadata, Secret
from certs.shared.names import Names, Which
from certs.shared.requests import Object
from certs.shared.store import ClientSecret, Store

EPOCH: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALLOWED: Final = {"dinp.io/shared-daemon": "allowed"}


class ModelStore(Store):
    """No API server: only what decisions need of the store, and `asked`, how often for each."""

    def __init__(self) -> None:
        self._names = Names()
        self.asked: Counter[str] = Counter()
        self.now = EPOCH
        self.spaces: dict[str, Metadata] = {}
        self.secrets: dict[str, Secret] = {}  # those for clients, by their namespaces
        self.foreign_ones: set[str] = set()
        self.large: set[str] = set()
        self.refused: set[str] = set()
        self.authorities: dict[str, tuple[Authorities, str]] = {}
        self.published: dict[str, bytes] = {}
        self.sent: dict[str, Object] = {}
        self._versions = 0

    def clock(self, wrong_by: timedelta = timedelta()) -> Clock:
        """One that shows the time of this model, or another."""
        return Clock(lambda: self.now + wrong_by, lambda: 0.0)

    def namespace(
        self, name: str, labels: Mapping[str, str] | None = None, *, ending: bool = False
    ) -> None:
        """Make or change one."""
        gone = "2026-01-01T00:00:00Z" if ending else None
        self.spaces[name] = Metadata(name=name, labels=dict(labels or {}), deletion_timestamp=gone)

    def put(self, namespace: str, data: Mapping[str, bytes], *, ours: bool = True) -> None:
        """Write a Secret as a tenant."""
        self.secrets[namespace] = Secret(dict(data), self.version())
        (self.foreign_ones.discard if ours else self.foreign_ones.add)(namespace)

    def version(self) -> str:
        """Another resourceVersion."""
        self._versions += 1
        return str(self._versions)

    async def read_authorities(self, which: Which) -> tuple[Authorities, str | None]:
        self.asked["read authorities"] += 1
        known, version = self.authorities.get(which, (Authorities(), None))
        data = records.write_authorities(known)
        return records.read_authorities({key: pem or b"" for key, pem in data.items()}), version

    async def write_authorities(
        self, which: Which, authorities: Authorities, version: str | None
    ) -> None:
        if version != self.authorities.get(which, (None, None))[1]:
            raise ConflictError(which)
        self.authorities[which] = authorities, self.version()

    async def publish(self, bundles: Mapping[str, bytes]) -> bool:
        changed = self.published != bundles
        self.published = dict(bundles)
        return changed

    async def namespaces(self) -> AsyncGenerator[Metadata]:
        self.asked["list namespaces"] += 1
        for space in list(self.spaces.values()):
            yield space

    async def client_secrets(self) -> dict[str, ClientSecret]:
        self.asked["list secrets"] += 1
        return {
            name: ClientSecret(secret.version, name not in self.foreign_ones)
            for name, secret in self.secrets.items()
        }

    async def read_client(self, namespace: str) -> Secret | None:
        self.asked["read secret"] += 1
        if namespace in self.large:
            raise TooLargeError(f"{namespace} is too large")
        return self.secrets.get(namespace)

    async def write_client(
        self, namespace: str, data: Mapping[str, bytes], version: str | None
    ) -> str:
        self.asked["write secret"] += 1
        if namespace in self.refused:
            raise StoreError(f"not allowed in {namespace}")
        there = self.secrets.get(namespace)
        if version != (None if there is None else there.version):
            raise ConflictError(namespace)
        self.put(namespace, {**({} if there is None else there.data), **data})
        return self.secrets[namespace].version

    async def delete_client(self, namespace: str) -> None:
        del self.secrets[namespace]

    async def requests(self) -> dict[str, str]:
        self.asked["list requests"] += 1
        return {name: item["metadata"]["resourceVersion"] for name, item in self.sent.items()}

    async def request(self, name: str) -> Object | None:
        self.asked["read request"] += 1
        if name in self.large:
            raise TooLargeError(f"{name} is too large")
        return self.sent.get(name)
