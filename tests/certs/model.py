"""A cluster in a few lines: what API servers may go by, what replicas may serve, and when.

Nothing sleeps: tests move the time. Each request of a rotation is one turn, so the turns of
several can be mixed in any order (`Turns`), cut off, or lost on the way.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from cryptography import x509
from cryptography.x509 import verification

from certs.errors import ConflictError, StoreError
from certs.records import Configuration, Secret, Snapshot

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "dinp.dinp-system.svc"
T = TypeVar("T")


@dataclass
class History(Generic[T]):
    """A value and what it was before: (time of the write in seconds, value)."""

    values: list[tuple[float, T]] = field(default_factory=list)

    def add(self, at: float, value: T) -> None:
        self.values.append((at, value))

    def possible(self, at: float, delay: float) -> list[T]:
        """What somebody may still go by who learns of a write after `delay` at most."""
        ends = [*(end for end, _ in self.values[1:]), float("inf")]
        return [
            value for (_, value), end in zip(self.values, ends, strict=False) if end > at - delay
        ]


class Cluster:
    """The API server's objects, and who has seen which version of them."""

    def __init__(self, *, propagation: timedelta, delivery: timedelta, webhooks: int = 2) -> None:
        self.time = 0.0  # true seconds
        self.secrets: dict[str, Secret] = {}
        self.configuration: Configuration | None = Configuration(
            {f"webhook-{number}": b"" for number in range(webhooks)}, "1"
        )
        self.writes = 0
        self._version = 1
        self._propagation = propagation.total_seconds()
        self._delivery = delivery.total_seconds()
        self._bundles: History[tuple[bytes, ...]] = History()
        self._leaves: History[bytes] = History()

    @property
    def now(self) -> datetime:
        """What a right clock shows."""
        return EPOCH + timedelta(seconds=self.time)

    def write_secret(
        self, what: Literal["ca", "leaf"], data: Mapping[str, bytes | None], version: str | None
    ) -> None:
        old = self.secrets.get(what)
        if version != (None if old is None else old.version):
            raise ConflictError(what)
        merged = {**({} if old is None else old.data), **data}
        kept = {key: value for key, value in merged.items() if value is not None}
        self.secrets[what] = Secret(kept, self._next())
        if what == "leaf":
            self._leaves.add(self.time, kept["tls.crt"])

    def write_bundles(self, bundles: Mapping[str, bytes], version: str) -> None:
        assert self.configuration is not None
        if version != self.configuration.version:
            raise ConflictError("configuration")
        self.configuration = Configuration(dict(bundles), self._next())
        self._bundles.add(self.time, tuple(bundles.values()))

    def _next(self) -> str:
        self.writes += 1
        self._version += 1
        return str(self._version)

    def delete(self, what: Literal["ca", "leaf"]) -> None:
        """Somebody deletes a Secret: what replicas have loaded they go on serving."""
        self.secrets.pop(what, None)

    def failures(self) -> list[str]:
        """Each pair of a caBundle and a served leaf that may meet now, and does not verify."""
        bundles = self._bundles.possible(self.time, self._propagation)
        leaves = self._leaves.possible(self.time, self._delivery)
        return [
            f"{bundle!r}\n{leaf!r}"
            for leaf in leaves
            for version in bundles
            for bundle in version
            if not verifies(leaf, bundle, self.now)
        ]

    @property
    def issuers(self) -> int:
        """How many different CAs have been in a caBundle."""
        found = {
            block
            for _, version in self._bundles.values
            for bundle in version
            for block in bundle.split(b"-----END CERTIFICATE-----")
            if b"BEGIN" in block
        }
        return len({block.strip() for block in found})


def verifies(leaf: bytes, bundle: bytes, now: datetime) -> bool:
    """Whether a client that trusts `bundle` accepts `leaf` at `now`."""
    return any(begin <= now <= end for begin, end in _windows(leaf, bundle))


@cache
def _windows(leaf: bytes, bundle: bytes) -> tuple[tuple[datetime, datetime], ...]:
    """From when to when each CA of `bundle` verifies `leaf`: the signature is checked once."""
    certificate = x509.load_pem_x509_certificate(leaf)
    windows = []
    for ca in x509.load_pem_x509_certificates(bundle) if bundle else ():
        begin = max(ca.not_valid_before_utc, certificate.not_valid_before_utc)
        end = min(ca.not_valid_after_utc, certificate.not_valid_after_utc)
        if begin < end and _verified(certificate, ca, begin):
            windows.append((begin, end))
    return tuple(windows)


def _verified(leaf: x509.Certificate, ca: x509.Certificate, now: datetime) -> bool:
    builder = verification.PolicyBuilder().store(verification.Store([ca])).time(now)
    try:
        builder.build_server_verifier(x509.DNSName(NAME)).verify(leaf, [])
    except verification.VerificationError:
        return False
    return True


class ModelStore:
    """rotation.Store on a model; each request ends by giving up its turn, or by `fault`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.fault: Literal["refused", "answer lost"] | None = None

    async def read(self) -> Snapshot:
        leaf = await self._turn(lambda: self._cluster.secrets.get("leaf"))
        configuration = await self._turn(lambda: self._cluster.configuration)
        ca = await self._turn(lambda: self._cluster.secrets.get("ca"))
        return Snapshot(leaf, configuration, ca)

    async def write_secret(
        self, what: Literal["ca", "leaf"], data: Mapping[str, bytes | None], version: str | None
    ) -> None:
        await self._turn(lambda: self._cluster.write_secret(what, data, version))

    async def write_bundle(self, bundle: bytes, read: Configuration) -> None:
        bundles = dict.fromkeys(read.bundles, bundle)
        await self._turn(lambda: self._cluster.write_bundles(bundles, read.version))

    async def _turn(self, request: Callable[[], T]) -> T:
        await _give_up_turn()
        fault, self.fault = self.fault, None
        if fault == "refused":
            raise StoreError("connection refused")
        answer = request()
        if fault == "answer lost":
            raise StoreError("connection reset")
        return answer


@types.coroutine
def _give_up_turn() -> Generator[None, None, None]:
    yield


class Turns:
    """One coroutine, run request by request."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._make = make
        self._running: Coroutine[Any, Any, object] | None = None

    def take(self) -> bool:
        """Run up to the next request; at the end begin anew next time, and say True."""
        if self._running is None:
            self._running = self._make()
        try:
            self._running.send(None)
        except StopIteration:
            self._running = None
            return True
        except StoreError:
            self._running = None
        return False

    def finish(self, most: int = 500) -> bool:
        """Take turns to the end of a pass that succeeds."""
        return any(self.take() for _ in range(most))

    def crash(self) -> None:
        """End it where it stands."""
        if self._running is not None:
            self._running.close()
            self._running = None
