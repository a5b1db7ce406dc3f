"""One request to the API server, or one watch: objects as plain JSON, and what goes wrong as StoreError.

The client's models refuse fields that are newer than themselves, so it is used for what it
knows of addresses, credentials and paths, and nothing is put into its models.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from kubernetes.aio import client, config

from certs.errors import ConflictError, RefusedError, StoreError

Object = dict[str, Any]
Send = Callable[[], Awaitable[aiohttp.ClientResponse]]

MANAGER: Final = "dinp-certs"
LABELS: Final = {
    "app.kubernetes.io/name": "dinp",
    "app.kubernetes.io/component": "certs",
    "app.kubernetes.io/part-of": "dinp",
}
REQUEST_SECONDS: Final = 10.0
# The API server ends a watch after this time. An API server that vanished without a word is
# noticed that late at most by the watch; the loops' own passes notice sooner.
_WATCH_SECONDS: Final = 240
WATCH: Final[dict[str, Any]] = {
    "watch": True,
    "timeout_seconds": _WATCH_SECONDS,
    "_request_timeout": float(_WATCH_SECONDS + REQUEST_SECONDS),
}
_CLOSING_SECONDS: Final = 0.05
# What the client's loader runs into where a kubeconfig has another shape.
_BAD_FILE: Final = (ValueError, TypeError, KeyError, AttributeError)


@asynccontextmanager
async def connected(kubeconfig: Path | None) -> AsyncIterator[client.ApiClient]:
    """Connect by a kubeconfig file; without one by the Pod's ServiceAccount.

    Raises:
        StoreError: neither can be used.
    """
    settings = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # it has no types
        else:
            await config.load_kube_config(str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]  # it has no types
    except (config.ConfigException, yaml.YAMLError, OSError, *_BAD_FILE) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"no access to a cluster: {reason}") from error
    try:
        async with client.ApiClient(settings) as api:
            yield api
    finally:
        # aiohttp's advice: a connection that was still in its TLS handshake closes in later turns.
        await asyncio.sleep(_CLOSING_SECONDS)


async def ask(verb: str, described: str, send: Send) -> Object | None:
    """Send one request: the object, or None where a `get` finds none.

    Raises:
        ConflictError: it has changed since it was read, or is there already.
        RefusedError: the API server refuses.
        StoreError: it is away.
    """
    async with _errors(verb, described):
        response = await send()
        try:
            if verb == "get" and response.status == 404:
                return None
            await _checked(response, verb, described)
            found: Object = json.loads(await response.read())
            return found
        finally:
            response.release()


async def changes(described: str, send: Send) -> AsyncGenerator[None]:
    """Yield for each part of what a watch says, which ends after minutes.

    Raises:
        StoreError: as for `ask`.
    """
    async with _errors("watch", described):
        response = await send()
        try:
            await _checked(response, "watch", described)
            # Whatever it says: what is there now has to be read anyway. An event can be longer than
            # what may be read as a line.
            async for _ in response.content.iter_any():
                yield
        finally:
            response.close()


@asynccontextmanager
async def _errors(verb: str, described: str) -> AsyncIterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise StoreError(f"cannot {verb} {described}: {reason}") from error


async def _checked(response: aiohttp.ClientResponse, verb: str, described: str) -> None:
    if response.status < 400:
        return
    reason = _message(await response.read()) or f"HTTP {response.status}"
    if response.status == 409 or (response.status == 404 and verb == "patch"):
        raise ConflictError(f"cannot {verb} {described}: {reason}")
    words = "not allowed to" if response.status in (401, 403) else "cannot"
    # Not an answer to what was asked: it does not know who asks, or has no time.
    is_answer = response.status < 500 and response.status not in (401, 429)
    raise (RefusedError if is_answer else StoreError)(f"{words} {verb} {described}: {reason}")


def _message(body: bytes) -> str:
    """The sentence of the API server's Status, on one line."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(str(message).split())
