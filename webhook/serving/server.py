"""The webhook as a service: reviews over TLS, health and metrics in the clear, draining.

No client can make it grow: bounds.py has the sizes, connections.py the times of connections, and
a body has 10 s to arrive, an answer 10 s to be taken. Nothing is ever answered with a redirect,
which the API server would follow (CVE-2020-8561).
"""

from __future__ import annotations

import asyncio
import io
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from webhook.admission import ReviewError, review
from webhook.asking.config import Config
from webhook.asking.rules import RULES, Rule
from webhook.pods import bounds
from webhook.serving import http_errors, large_reviews, listening, logs, memory, metrics, reviewer
from webhook.serving.large_reviews import LargeReviews, NotReviewedError
from webhook.serving.listening import Port
from webhook.serving.metrics import Metrics
from webhook.serving.tls import CertificateError, ServingCertificate

_LARGE_ANSWER: Final = 64 * 1024
_LONGEST_SENTENCE: Final = 1000
_CLOSES: Final = (408, 413, 503)  # the rest of the body is not worth reading

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settings:
    """How the process runs; times in seconds."""

    bind_address: str
    secure_port: int = 8443  # 0: any free one
    health_port: int = 8081  # likewise
    shutdown_delay: float = 10.0  # go on serving while others learn that this one ends
    shutdown_timeout: float = 10.0  # then wait for what is in flight
    poll: float = 5.0  # look for a new certificate
    exchange: float = 10.0  # a client's time to send a body, and to take the answer


class Reviews:
    """The HTTP side of reviews: what may be asked, and how each question ends."""

    def __init__(self, config: Config, measured: Metrics, settings: Settings) -> None:
        self._config = config
        self._metrics = measured
        self._seconds = settings.exchange
        self._refused = logs.Ration("request refused")
        self._failed = logs.Ration("review failed")
        # Bound here, once: a logger that is not makes another for every line.
        self._log = structlog.get_logger().bind()
        self.large = LargeReviews(config)

    def application(self) -> web.Application:
        """One POST route for each rule's path."""
        application = web.Application(middlewares=[self._respond])
        for path, rule in RULES.items():
            name = path.removeprefix("/pods/")
            application.router.add_post(path, partial(self._review, name, rule))
        return application

    @web.middleware
    async def _respond(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            why = error.text or error.reason
            return self._refuse(request, error.status, why, http_errors.allow(error))
        except (ReviewError, NotReviewedError, ConnectionError, *http_errors.MALFORMED) as error:
            return self._refuse(request, *_refusal(error))
        except Exception:  # noqa: BLE001 - whatever it is, the server goes on
            # Never a denial: failurePolicy decides what a bug of ours means for the Pod.
            if self._failed.admits():
                _log.exception("review failed", path=logs.short(request.path))
            self._metrics.bad_request(500)
            return web.Response(status=500, text="internal error of dinp, see its log\n")

    def _refuse(
        self, request: web.Request, code: int, why: str, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        self._metrics.bad_request(code)
        why = logs.short(why, _LONGEST_SENTENCE)
        self._refused.warning(code=code, path=logs.short(request.path), why=why)
        response = web.Response(status=code, text=f"{why}\n", headers=headers)
        if code in _CLOSES:
            response.force_close()
        return response

    async def _review(self, name: str, rule: Rule, request: web.Request) -> web.StreamResponse:
        _check_headers(request)
        body = await self._read(request)
        received = len(body)
        began = time.perf_counter()
        if large_reviews.is_small(body):
            outcome = review(body, rule, self._config)
            if len(outcome.body) > bounds.UNSENT:
                raise NotReviewedError(413, reviewer.too_long(outcome))
        else:
            outcome = await self.large.review(body, rule)
        del body
        seconds = time.perf_counter() - began
        memory.give_back(received)
        self._metrics.review(outcome, rule=name, seconds=seconds, received=received)
        self._log.info("review", **logs.review_fields(outcome, rule=name, seconds=seconds))
        return web.Response(body=_in_parts(outcome.body), content_type="application/json")

    async def _read(self, request: web.Request) -> bytearray:
        """The body, whole. Its bytes are counted where they come in (connections.py)."""
        body = bytearray()  # not a list: a body may come in millions of chunks of two bytes
        connection = request[listening.CONNECTION]
        try:
            async with asyncio.timeout(self._seconds) as connection.deadline:
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > bounds.BODY:
                        raise _too_large(len(body))
        except TimeoutError:
            if connection.crowded_out:
                sentence = "too many large or slow requests at once, and this was the slowest"
                raise web.HTTPServiceUnavailable(text=sentence) from None
            sentence = f"the body did not arrive within {self._seconds:g} s"
            raise web.HTTPRequestTimeout(text=sentence) from None
        return body


def _refusal(error: Exception) -> tuple[int, str]:
    """The HTTP status and the sentence for a request that was no AdmissionReview, or too much."""
    match error:
        case NotReviewedError():
            return error.code, str(error)
        case ReviewError():
            return 400, str(error)
        case ConnectionError():
            return 499, "the client has gone"  # nginx's number
        case _:
            return 400, "the body's chunks are malformed"


def _in_parts(body: bytes) -> bytes | io.BytesIO:
    """A large answer is written part by part: asyncio takes a single write of any size.

    Only then does a client that reads nothing keep the write from ending (see `_send`).
    """
    return body if len(body) <= _LARGE_ANSWER else io.BytesIO(body)


def _too_large(size: int) -> web.HTTPException:
    sentence = f"a body may have {bounds.BODY} bytes"
    return web.HTTPRequestEntityTooLarge(bounds.BODY, size, text=sentence)


def _check_headers(request: web.Request) -> None:
    """Refuse what need not be read to be refused."""
    media_type = request.headers.get("Content-Type", "")
    if media_type.partition(";")[0].strip().lower() != "application/json":
        sentence = f"Content-Type is {media_type[:100]!r}, expected application/json"
        raise web.HTTPUnsupportedMediaType(text=sentence)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        sentence = f"Content-Encoding is {encoding[:100]!r}, expected none"
        raise web.HTTPUnsupportedMediaType(text=sentence)
    if (request.content_length or 0) > bounds.BODY:
        raise _too_large(request.content_length or 0)


class Server:
    """`dinp serve` without its process: two ports and the certificate's poll."""

    def __init__(
        self,
        config: Config,
        certificate: ServingCertificate,
        settings: Settings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Listen on both ports, so that a taken one is known before anything runs.

        Raises:
            ListenError: a port cannot be had.
        """
        self._certificate = certificate
        self._settings = settings
        self._now = now
        self._metrics = Metrics()
        self._reviews = Reviews(config, self._metrics, settings)
        listener = listening.bind(settings.bind_address, settings.secure_port)
        try:
            health = listening.bind(settings.bind_address, settings.health_port)
        except listening.ListenError:
            listener.close()
            raise
        self._secure = self._port(listener, "https", bounds.CONNECTIONS)
        self._health = self._port(health, "health", bounds.HEALTH_CONNECTIONS)
        self._poll: asyncio.Task[None] | None = None

    def _port(self, listener: socket.socket, name: str, most: int) -> Port:
        dropped = partial(self._metrics.dropped_connection, name)
        return Port(listener, most=most, seconds=self._settings.exchange, dropped=dropped)

    @property
    def port(self) -> int:
        """The port of reviews."""
        return self._secure.number

    @property
    def health_port(self) -> int:
        """The port of health and metrics."""
        return self._health.number

    async def start(self) -> None:
        """Serve, until `drain`."""
        self._metrics.certificate(self._certificate.not_after)
        await self._secure.open(self._reviews.application(), self._certificate.context)
        await self._health.open(self._health_application())
        self._poll = asyncio.create_task(self._poll_certificate())

    async def prepare(self) -> None:
        """Start what would else start with the first large review."""
        await self._reviews.large.start()

    async def drain(self, hurry: asyncio.Event | None = None) -> None:
        """End without failing a request; `hurry` cuts the delay short.

        Not ready at once; serve for the delay, on connections that close with each answer;
        accept no more and close idle ones; wait for what is in flight; close.
        """
        self._secure.draining = True
        _log.info("draining", delay=self._settings.shutdown_delay)
        with suppress(TimeoutError):
            await asyncio.wait_for((hurry or asyncio.Event()).wait(), self._settings.shutdown_delay)
        self._secure.stop_accepting()
        # Not aiohttp's own shutdown: it drops the rest of a body that is still arriving.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.shutdown_timeout):
                await self._secure.close_idle()
                await self._secure.connections.idle.wait()
        await self.close()

    async def close(self) -> None:
        """Close everything now."""
        if self._poll is not None:
            self._poll.cancel()
        await self._secure.close()
        await self._health.close()
        await self._reviews.large.close()

    def not_ready(self) -> str | None:
        """Why no request should be sent here, or None."""
        if self._secure.draining:
            return "draining"
        problem = self._certificate.problem(self._now())
        return None if problem is None else f"the serving certificate is {problem}"

    async def _poll_certificate(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll)
            try:
                if self._certificate.reload(self._now()):
                    self._metrics.certificate(self._certificate.not_after)
                    _log.info("certificate reloaded", not_after=str(self._certificate.not_after))
            except CertificateError as error:
                _log.error("certificate refused, the old one stays", why=str(error))
            except Exception:  # noqa: BLE001 - the poll must not end while the server runs
                _log.exception("certificate not reloaded")  # the next poll tries again

    def _health_application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._exposition)
        return application

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        why = self.not_ready()
        return web.Response(status=200 if why is None else 503, text=f"{why or 'ok'}\n")

    async def _exposition(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": metrics.CONTENT_TYPE}
        return web.Response(body=self._metrics.exposition(), headers=headers)
