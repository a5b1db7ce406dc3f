"""CertificateSigningRequests at the API server. The only room that knows the Kubernetes client.

It is imported when a request is sent, which is once a year: the client is as large as the rest
of the keeper.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog

from certs.authority import KeyPair
from daemon import request as requests
from daemon.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from kubernetes.aio import client

_REQUEST_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 1.0
# certs answers within a second or two. Later a fresh request is as good as an old one.
_PATIENCE_SECONDS: Final = 60.0
_CLOSING_SECONDS: Final = 0.05
_RESOURCE: Final = "certificatesigningrequests.certificates.k8s.io"


async def signed(
    names: Sequence[str], *, pod: str, lifetime: timedelta | None, kubeconfig: Path | None
) -> KeyPair:
    """Make a key, send a request for these names, and wait for the certificate.

    Raises:
        SigningError: it was refused, nobody has answered, or the API server is away.
    """
    try:
        made = requests.new(pod, names)
    except ValueError as error:
        raise SigningError(
            f"no request can be made for the names {','.join(names)}: {error}"
        ) from error
    async with _connected(kubeconfig) as api:
        name = await _send(api, requests.manifest(made, pod, lifetime))
        structlog.get_logger().info("certificate requested", request=name, names=list(names))
        certificate = await _answer(api, name)
    return KeyPair(certificate, made.key)


async def _send(api: client.CertificatesV1Api, manifest: Any) -> str:
    async with _errors(f"create {_RESOURCE}"):
        response = await api.create_certificate_signing_request_without_preload_content(
            manifest, _request_timeout=_REQUEST_SECONDS
        )
        name: str = (await _read(response, f"create {_RESOURCE}"))["metadata"]["name"]
        return name


async def _answer(api: client.CertificatesV1Api, name: str) -> bytes:
    doing = f"get {_RESOURCE}/{name}"
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                async with _errors(doing):
                    response = await api.read_certificate_signing_request_without_preload_content(
                        name, _request_timeout=_REQUEST_SECONDS
                    )
                    answer = requests.answer(await _read(response, doing))
                if isinstance(answer, requests.Refusal):
                    raise SigningError(f"{_RESOURCE}/{name} was not signed: {answer}")
                if answer is not None:
                    return answer
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise SigningError(
            f"nobody has signed {_RESOURCE}/{name} within {_PATIENCE_SECONDS:g} s: "
            "does dinp-certs run in dinp-system, without --no-shared-daemons?"
        ) from error


@asynccontextmanager
async def _connected(kubeconfig: Path | None) -> AsyncIterator[client.CertificatesV1Api]:
    """Connect by a kubeconfig file; without one by the Pod's ServiceAccount."""
    from kubernetes.aio import client, config  # noqa: PLC0415 - see above

    settings = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # it has no types
        else:
            await config.load_kube_config(str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]  # it has no types
    except (config.ConfigException, OSError, ValueError, TypeError, KeyError) as error:
        raise SigningError(f"no access to a cluster: {' '.join(str(error).split())}") from error
    try:
        async with client.ApiClient(settings) as api:
            yield client.CertificatesV1Api(api)
    finally:
        # aiohttp's advice: a connection that was still in its TLS handshake closes in later turns.
        await asyncio.sleep(_CLOSING_SECONDS)


@asynccontextmanager
async def _errors(doing: str) -> AsyncIterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
        raise SigningError(f"cannot {doing}: {str(error) or type(error).__name__}") from error


async def _read(response: aiohttp.ClientResponse, doing: str) -> dict[str, Any]:
    try:
        body = await response.read()
    finally:
        response.release()
    if response.status >= 400:
        raise SigningError(f"cannot {doing}: {_message(body) or f'HTTP {response.status}'}")
    found: dict[str, Any] = json.loads(body)
    return found


def _message(body: bytes) -> str:
    """The sentence of the API server's Status, on one line."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(str(message).split())
