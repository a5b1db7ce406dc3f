"""Sends a CertificateSigningRequest to the API server, and waits for its answer.

The Kubernetes client is imported when that is done, which is once a year: it is as large as the
rest of the keeper.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from certs.authority import KeyPair
from certs.errors import StoreError
from keeper import request as requests
from keeper.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from certs import calls

_POLL_SECONDS: Final = 1.0
# certs answers within a second or two. Later a fresh request is as good as an old one.
_PATIENCE_SECONDS: Final = 60.0
_RESOURCE: Final = "certificatesigningrequests.certificates.k8s.io"
_PATH: Final = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


async def signed(
    names: Sequence[str], *, pod: str, lifetime: timedelta | None, kubeconfig: Path | None
) -> KeyPair:
    """Make a key, send a request for these names, and wait for the certificate.

    `kubeconfig` of None: by the Pod's ServiceAccount.

    Raises:
        SigningError: it was refused, nobody has answered, or the API server is away.
    """
    from certs import calls  # noqa: PLC0415 - see above

    try:
        made = requests.new(pod, names)
    except ValueError as error:
        listed = ",".join(names)
        raise SigningError(f"no request can be made for the names {listed}: {error}") from error
    try:
        async with calls.connected(kubeconfig) as api:
            name = await _send(api, requests.manifest(made, pod, lifetime))
            structlog.get_logger().info("certificate requested", request=name, names=list(names))
            certificate = await _answer(api, name)
    except StoreError as error:
        raise SigningError(str(error)) from error
    return KeyPair(certificate, made.key)


async def _send(api: calls.Connection, manifest: Any) -> str:
    from certs import calls  # noqa: PLC0415

    sent = calls.request(api, "POST", _PATH, manifest)
    found = await calls.ask("create", _RESOURCE, sent)
    return str((found or {})["metadata"]["name"])


async def _answer(api: calls.Connection, name: str) -> bytes:
    from certs import calls  # noqa: PLC0415

    described = f"{_RESOURCE}/{name}"
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                sent = calls.request(api, "GET", calls.path(_PATH, name))
                found = await calls.ask("get", described, sent)
                if found is None:
                    raise SigningError(f"somebody has deleted {described}")
                answer = requests.answer(found)
                if isinstance(answer, requests.Refusal):
                    raise SigningError(f"{described} was not signed: {answer}")
                if answer is not None:
                    return answer
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise SigningError(
            f"nobody has signed {described} within {_PATIENCE_SECONDS:g} s: "
            "does dinp-certs-docker (manifests/shared) run in dinp-system?"
        ) from error
