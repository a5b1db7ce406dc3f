"""The daemon's certificate: the first one, and every later one; keeper.renewal decides when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

import structlog

from certs import inspection, passes
from certs.authority import KeyPair
from keeper import api, engine, files, renewal
from keeper.errors import EngineError, SigningError
from keeper.files import Files
from keeper.renewal import When

_BACKOFF_SECONDS: Final = (5.0, 600.0)
# Until the volume of a ConfigMap shows what is in it: the kubelet looks once a minute, up to
# 90 s late. Before that a new certificate may be of a CA that is not to be seen here yet.
_DELIVERY_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are, and what the certificate is to say."""

    names: tuple[str, ...]
    pod: str
    directory: Path
    ca_directory: Path
    lifetime: timedelta | None
    kubeconfig: Path | None

    async def signed(self) -> KeyPair:
        """A new key with its certificate.

        Raises:
            SigningError: there is none to be had now.
        """
        return await api.signed(
            self.names, pod=self.pod, lifetime=self.lifetime, kubeconfig=self.kubeconfig
        )


async def prepare(settings: Settings, within: timedelta) -> None:
    """Put a certificate and the CAs of clients where dockerd will look for them.

    What an earlier run has left is used again where it is good: the Pod may start again while
    nobody signs.

    Raises:
        SigningError: there is none after this time; the message is of the last attempt.
    """
    log = structlog.get_logger()
    deadline = monotonic() + within.total_seconds()
    link = settings.directory / files.TLS
    pair = _usable(settings, files.read(link))
    failures = 0
    while pair is None:
        try:
            pair = await settings.signed()
        except SigningError as error:
            failures += 1
            delay = passes.backoff(failures, _BACKOFF_SECONDS)
            if monotonic() + delay > deadline:
                raise
            log.warning("no certificate yet", error=str(error), retry_s=round(delay, 1))
            await asyncio.sleep(delay)
    files.put(link, Files(pair, await _client_authorities(settings, deadline)))
    (settings.directory / files.NEXT).unlink(missing_ok=True)
    files.ask(settings.directory, None)
    files.remove_unused(settings.directory)
    ends = inspection.ends_at(pair.certificate).isoformat()
    log.info("dockerd has a certificate", names=list(settings.names), ends=ends)


def _usable(settings: Settings, left: Files | None) -> KeyPair | None:
    if left is None or inspection.names(left.pair.certificate) != frozenset(settings.names):
        return None
    published, now = files.published(settings.ca_directory), datetime.now(UTC)
    need = renewal.certificate_need(left.pair.certificate, published, now)
    return left.pair if need.when is When.NEVER else None


async def _client_authorities(settings: Settings, deadline: float) -> frozenset[bytes]:
    told = False
    while True:
        published = files.published(settings.ca_directory)
        if published.client:
            return published.client
        place = settings.ca_directory / "client-ca.pem"
        if monotonic() > deadline:
            raise SigningError(
                f"{place} holds no CA of clients: dinp-certs-docker writes it to ConfigMap dinp-docker-ca"
            )
        if not told:
            structlog.get_logger().info("waiting for the CAs of clients", file=str(place))
        told = True
        await asyncio.sleep(_LOOK_SECONDS)


class Renewal:
    """Keeps what dockerd runs with right, by files that start.sh looks at."""

    def __init__(self, settings: Settings, socket: str, within: timedelta) -> None:
        self._settings = settings
        self._socket = socket
        self._within = within
        self._failures = 0
        self._not_before = 0.0  # monotonic seconds, of the next request
        self._said: tuple[Any, ...] = ()
        self._log = structlog.get_logger()

    async def check(self) -> None:
        """Ask for what is missing: a certificate, a restart.

        Raises:
            OSError: the volume cannot be written.
        """
        decision = self._decide()
        if decision is not None and decision.request and monotonic() >= self._not_before:
            delay = await self._request(decision.files)
            self._not_before = monotonic() + delay
            decision = self._decide()
        if decision is not None:
            if not decision.request:
                self._failures, self._not_before = 0, 0.0
            await self._ask(decision)

    def _decide(self) -> renewal.Decision | None:
        directory = self._settings.directory
        running = files.read(directory / files.TLS)
        if running is None:
            self._say("warning", "no certificate to renew", at=str(directory / files.TLS))
            return None
        return renewal.decide(
            running,
            files.read(directory / files.NEXT),
            files.published(self._settings.ca_directory),
            now=datetime.now(UTC),
            within=self._within,
        )

    async def _request(self, wanted: Files) -> float:
        """Send a request, and return the seconds until the next if it was of no use."""
        most = patience(wanted.pair.certificate)
        self._failures += 1
        backoff = passes.backoff(self._failures, _BACKOFF_SECONDS)
        try:
            pair = await self._settings.signed()
        except SigningError as error:
            delay = min(backoff, most)
            self._log.warning("no new certificate yet", error=str(error), retry_s=round(delay, 1))
            return delay
        self._put(Files(pair, wanted.client_authorities))
        if inspection.is_of_the_future(pair.certificate, datetime.now(UTC)):
            self._say(
                "warning",
                "the new certificate is from the future: is the clock of this node, or of "
                "dinp-certs', wrong?",
            )
        # Asked again and again, dinp-certs would sign each time: later and later.
        return min(max(_DELIVERY_SECONDS, backoff), most)

    async def _ask(self, decision: renewal.Decision) -> None:
        directory, need = self._settings.directory, decision.restart
        if need.when is When.NEVER:
            files.ask(directory, None)
            if not decision.request:
                (directory / files.NEXT).unlink(missing_ok=True)
                self._said = ()
            return
        if files.read(directory / files.NEXT) != decision.files:
            self._put(decision.files)
        self._say("info", "dockerd is to be restarted", why=need.why, when=need.when.name.lower())
        if need.when is When.NOW:
            files.ask(directory, "now")
        else:
            # start.sh looks for clients, which only it can see all of.
            files.ask(directory, None if await self._runs_containers() else "idle")

    def _put(self, wanted: Files) -> None:
        files.ask(self._settings.directory, None)
        files.put(self._settings.directory / files.NEXT, wanted)

    async def _runs_containers(self) -> bool:
        """Whether it does, or does not say."""
        try:
            async with engine.connected(self._socket) as docker:
                return bool(await docker.get("/containers/json"))
        except EngineError:
            return True

    def _say(self, level: str, event: str, **what: Any) -> None:
        """Log it unless it was the last thing said."""
        said = (event, *what.values())
        if said != self._said:
            getattr(self._log, level)(event, **what)
        self._said = said


def patience(certificate: bytes) -> float:
    """Seconds that may pass between two requests: there are four of these from due to late."""
    return max(0.0, inspection.lifetime(certificate).total_seconds() / 16)
