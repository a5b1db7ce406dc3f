"""One request to the API server, or one watch: objects as plain JSON, and what goes wrong as StoreError.

The Kubernetes client is used for what it knows of addresses, credentials and TLS. Its methods and
models are not: the models refuse, or lose, fields that are newer than themselves. This is the only
module that imports it.

Others may write what is read here, and as much of it as the API server takes. So every answer has a
bound in bytes, and of what others may make many of only metadata are listed, page by page.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
import yaml
from kubernetes.aio import client, config

from certs import progress
from certs.errors import ConflictError, Reason, RefusedError, StoreError, TooLargeError
from certs.inspection import CLOCKS_DIFFER
from certs.records import Metadata

Connection = client.ApiClient
Object = dict[str, Any]
Sent = Awaitable[aiohttp.ClientResponse]

MANAGER: Final = "dinp-certs"
MANAGED: Final = {"fieldManager": MANAGER}
"""Query of a write."""
LABELS: Final = {
    "app.kubernetes.io/name": "dinp",
    "app.kubernetes.io/component": "certs",
    "app.kubernetes.io/part-of": "dinp",
}
_REQUEST_SECONDS: Final = 10.0
# The API server ends a watch after this time. An API server that vanished without a word is
# noticed that late at most by the watch; the loops' own passes notice sooner.
_WATCH_SECONDS: Final = 240
_CLOSING_SECONDS: Final = 0.05
# etcd takes 1.5 MiB of an object, of which JSON may make six times as much.
_MOST_BYTES: Final = 16 * 2**20
_ERROR_BYTES: Final = 64 * 1024
# A page: metadata of an ordinary object are 1 KiB or so. Where more bytes come than a page may
# have, it is asked for again in smaller parts.
_PAGE_ITEMS: Final = 500
_PAGE_BYTES: Final = 4 * 2**20
# What the client's loader runs into where a kubeconfig has another shape.
_BAD_FILE: Final = (ValueError, TypeError, KeyError, AttributeError)
JSON: Final = "application/json"
METADATA: Final = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Accepted where the answer is to have an object's metadata alone, as each event of a watch."""
_METADATA_LIST: Final = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# Lists of objects are merged by the objects' names.
_PATCH: Final = "application/strategic-merge-patch+json"


@asynccontextmanager
async def connected(kubeconfig: Path | None) -> AsyncIterator[Connection]:
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


def path(root: str, *parts: str) -> str:
    """The path of these parts below `root`, quoted: some are what others have written."""
    return "/".join([root, *(quote(part, safe="") for part in parts)])


async def request(
    api: Connection,
    method: str,
    path: str,
    body: Any = None,
    *,
    query: Mapping[str, str | int | bool | None] | None = None,
    accept: str = JSON,
) -> aiohttp.ClientResponse:
    """Send one, with a token that is fresh, and return when the headers of its answer are there.

    What is None in `query` is left out. A request may take as long as a watch is asked to, and ten seconds.
    """
    parameters = {key: it for key, it in (query or {}).items() if it is not None}
    seconds = _REQUEST_SECONDS + float(parameters.get("timeoutSeconds", 0))
    sent = await api.param_serialize(
        method,
        path,
        query_params=parameters,
        header_params={"Accept": accept, "Content-Type": _PATCH if method == "PATCH" else JSON},
        body=body,
        auth_settings=["BearerToken"],
    )
    answer = await api.call_api(*sent, _request_timeout=seconds)
    response: aiohttp.ClientResponse = answer.response
    return response


async def ask(
    verb: str, described: str, sent: Sent, *, most: int = _MOST_BYTES, timed: bool = False
) -> Object | None:
    """Read the answer to a request: the object, or None where a `get` finds none.

    `most` bounds the answer in bytes. `timed` asks that the clocks of both sides agree.

    Raises:
        ConflictError: it has changed since it was read, or is there already.
        TooLargeError: the answer has more bytes than `most`.
        RefusedError: the API server refuses.
        StoreError: it is away; the clocks differ.
    """
    async with _errors(verb, described):
        response = await sent
        try:
            if timed:
                _check_clock(response)
            if verb == "get" and response.status == 404:
                return None
            await _checked(response, verb, described)
            found: Object = json.loads(await _read(response, most, described))
            return found
        finally:
            response.release()
            progress.tell()


async def listed(
    api: Connection, described: str, path: str, only: str | None = None
) -> AsyncGenerator[Metadata]:
    """Yield the metadata of each object there, or of those `only` that a field selector picks.

    Raises:
        StoreError: as for `ask`; what has been yielded before is not all.
    """
    items, token = _PAGE_ITEMS, None
    while True:
        try:
            query = {"fieldSelector": only, "limit": items, "continue": token}
            sent = request(api, "GET", path, query=query, accept=_METADATA_LIST)
            page = await _page(described, sent, _PAGE_BYTES if items > 1 else _MOST_BYTES)
        except TooLargeError:
            if items == 1:
                raise
            items = max(1, items // 4)
            continue
        items = min(_PAGE_ITEMS, items * 2)  # large ones may stand together
        for item in page.items or ():
            yield item.metadata
        token = page.metadata.token
        if not token:
            return


class _ListMeta(msgspec.Struct):
    token: str = msgspec.field(name="continue", default="")


class _Item(msgspec.Struct):
    metadata: Metadata


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[_Item] | None = None  # of an empty list it is null


async def _page(described: str, sent: Sent, most: int) -> _Page:
    async with _errors("list", described):
        response = await sent
        try:
            await _checked(response, "list", described)
            # Into a Struct: what else there is of metadata is never made an object of Python's.
            return msgspec.json.decode(await _read(response, most, described), type=_Page)
        finally:
            response.release()
            progress.tell()


async def changes(
    api: Connection, described: str, path: str, only: str | None = None, *, accept: str = METADATA
) -> AsyncGenerator[None]:
    """Yield for each part of what a watch of these objects says, which ends after minutes.

    Raises:
        StoreError: as for `ask`.
    """
    query = {"fieldSelector": only, "watch": True, "timeoutSeconds": _WATCH_SECONDS}
    async with _errors("watch", described):
        response = await request(api, "GET", path, query=query, accept=accept)
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
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise StoreError(f"cannot {verb} {described}: {reason}", Reason.AWAY) from error
    except ValueError as error:
        raise StoreError(f"cannot {verb} {described}: {error}") from error


async def _read(response: aiohttp.ClientResponse, most: int, described: str) -> bytes:
    """The body. The rest of one that is too long is never read: its connection is closed."""
    read = bytearray()
    async for part in response.content.iter_any():
        read += part
        if len(read) > most:
            response.close()
            raise TooLargeError(
                f"{described}: the answer is larger than {most // 1024} KiB, so it was not read"
            )
    return bytes(read)


async def _checked(response: aiohttp.ClientResponse, verb: str, described: str) -> None:
    if response.status < 400:
        return
    reason = f"HTTP {response.status}"
    with suppress(TooLargeError):
        reason = _message(await _read(response, _ERROR_BYTES, described)) or reason
    if response.status == 409 or (response.status == 404 and verb == "patch"):
        raise ConflictError(f"cannot {verb} {described}: {reason}")
    words = "not allowed to" if response.status in (401, 403) else "cannot"
    why = Reason.REFUSED if response.status in (401, 403) else Reason.ANSWER
    # Not an answer to what was asked: it does not know who asks, or has no time.
    is_answer = response.status < 500 and response.status not in (401, 429)
    kind = RefusedError if is_answer else StoreError
    raise kind(f"{words} {verb} {described}: {reason}", why)


def _message(body: bytes) -> str:
    """The sentence of the API server's Status, on one line."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(str(message).split())


def _check_clock(response: aiohttp.ClientResponse) -> None:
    """Nothing is decided by a clock that is wrong: what it issues is valid for nobody else.

    Which of the two clocks is wrong cannot be told, so an administrator has to.
    """
    try:
        theirs = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return  # a proxy in between may leave it out
    ahead = datetime.now(UTC) - theirs
    if abs(ahead) > CLOCKS_DIFFER:
        by = timedelta(seconds=round(abs(ahead).total_seconds()))
        differs = f"{by} {'ahead of' if ahead > timedelta() else 'behind'}"
        raise StoreError(
            f"the clock here is {differs} that of the API server: nothing is issued until they "
            f"differ by less than {CLOCKS_DIFFER}. Look at the clocks of both nodes",
            Reason.CLOCK,
        )
