"""certs.calls: whatever comes is read within bounds, lists come in pages, and clocks have to agree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from certs import calls, progress
from certs.errors import ConflictError, Reason, StoreError, TooLargeError
from tests.certs.fake_api import kept_port

MEBIBYTE = 2**20
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[calls.Connection]:
    """A connection to a server whose root this answers."""
    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server, connected(str(server.make_url(""))) as api:
        yield api


def connected(url: str) -> client.ApiClient:
    return client.ApiClient(client.Configuration(host=url.rstrip("/")))


async def get(api: calls.Connection, **options: Any) -> calls.Object | None:
    return await calls.ask("get", "secrets/x", calls.request(api, "GET", "/"), **options)


def answering(status: int, body: Any, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=status, headers=headers)

    return answer


async def test_the_bound() -> None:
    """An answer of as many bytes as it may have is read, and one of a byte more is not."""
    body = {"data": "x" * 1000}
    most = len(json.dumps(body))
    async with serving(answering(200, body)) as api:
        assert body == await get(api, most=most)
        with pytest.raises(TooLargeError, match="secrets/x: the answer is larger than") as caught:
            await get(api, most=most - 1)
    assert Reason.TOO_LARGE is caught.value.reason


async def test_an_answer_without_end() -> None:
    """It is left after the bound, however much more would come."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    async with serving(endless) as api:
        with pytest.raises(TooLargeError):
            await get(api, most=MEBIBYTE)
    assert MEBIBYTE < sent < 64 * MEBIBYTE


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (403, StoreError, Reason.REFUSED),
        (401, StoreError, Reason.REFUSED),
        (409, ConflictError, Reason.CONFLICT),
        (500, StoreError, Reason.ANSWER),
    ],
)
async def test_reasons(status: int, kind: type[StoreError], reason: Reason) -> None:
    """Each way to fail has a reason, a metric's label; a message of a megabyte is not read."""
    for message in ("no", "x" * MEBIBYTE):
        async with serving(answering(status, {"message": message})) as api:
            with pytest.raises(kind) as caught:
                await get(api)
        assert reason is caught.value.reason
        assert len(str(caught.value)) < 100


async def test_away() -> None:
    """An API server that cannot be reached is away."""

    with kept_port() as port:
        async with connected(f"http://127.0.0.1:{port}") as api:
            with pytest.raises(StoreError) as caught:
                await get(api)
    assert Reason.AWAY is caught.value.reason


# ---- pages -------------------------------------------------------------------------------


class Listing:
    """Objects by their sizes in bytes, served as the API server pages them."""

    def __init__(self, sizes: list[int]) -> None:
        self.items = [
            {"metadata": {"name": f"n{at}", "labels": {"a": "b"}, "annotations": {"x": "y" * size}}}
            for at, size in enumerate(sizes)
        ]
        self.asked: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        limit, begin = int(request.query["limit"]), int(request.query.get("continue", "0"))
        self.asked.append(limit)
        end = begin + limit
        metadata = {"continue": str(end)} if end < len(self.items) else {}
        return web.json_response({"metadata": metadata, "items": self.items[begin:end]})


async def names_of(listing: Listing) -> list[str]:
    async with serving(listing.answer) as api:
        return [item.name async for item in calls.listed(api, "secrets", "/")]


async def test_pages() -> None:
    """A thousand ordinary objects are a few requests, each of them comes once, and an empty list is one."""
    listing = Listing([1000] * 1200)
    assert [f"n{at}" for at in range(1200)] == await names_of(listing)
    assert 3 == len(listing.asked)
    empty = Listing([])
    assert [] == await names_of(empty)
    assert 1 == len(empty.asked)


@pytest.mark.parametrize("body", [{"metadata": {}, "items": None}, {"metadata": {}}])
async def test_an_empty_list(body: Any) -> None:
    """The API server writes an empty list of metadata as null."""
    async with serving(answering(200, body)) as api:
        assert [] == [it async for it in calls.listed(api, "secrets", "/")]


async def test_large_metadata() -> None:
    """Where a page is too large, it is asked for in smaller parts; the list goes on from there."""
    listing = Listing([1000] * 520 + [MEBIBYTE] * 6 + [9 * MEBIBYTE] + [1000] * 5)
    assert [f"n{at}" for at in range(532)] == await names_of(listing)
    assert 1 in listing.asked


async def test_an_object_without_bounds() -> None:
    """What no API server can have stored ends the list by an error, and not the process."""
    with pytest.raises(TooLargeError):
        await names_of(Listing([17 * MEBIBYTE]))


@pytest.mark.parametrize(
    "body", [[], {"items": [{}]}, {"metadata": {}, "items": [{"metadata": 1}]}]
)
async def test_no_list(body: Any) -> None:
    """What is no list of metadata is an error of the store."""
    async with serving(answering(200, body)) as api:
        with pytest.raises(StoreError, match="cannot list secrets"):
            async for _ in calls.listed(api, "secrets", "/"):
                pass


# ---- clocks ------------------------------------------------------------------------------


def dated(minutes: int) -> Handler:
    """What an API server answers whose clock differs by so much."""
    theirs = datetime.now(UTC) + timedelta(minutes=minutes)
    return answering(200, {"a": 1}, Date=format_datetime(theirs, usegmt=True))


@pytest.mark.parametrize("minutes", [0, 19, -19])
async def test_clocks_that_agree(minutes: int) -> None:
    """Clocks may differ by less than 20 minutes."""
    async with serving(dated(minutes)) as api:
        assert {"a": 1} == await get(api, timed=True)


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        (-22, r"is 0:2[12]:\d\d ahead of that"),
        (22, r"is 0:2[12]:\d\d behind that"),
        (-3 * 24 * 60 - 1, r"is 3 days, \S+ ahead of that"),
        (400 * 24 * 60 + 1, r"is 400 days, \S+ behind that"),
    ],
)
async def test_clocks_that_differ(minutes: int, said: str) -> None:
    """Whose clock differs by more decides nothing, and says by how much, and which way."""
    async with serving(dated(minutes)) as api:
        assert {"a": 1} == await get(api)
        with pytest.raises(StoreError, match=said) as caught:
            await get(api, timed=True)
    assert Reason.CLOCK is caught.value.reason


async def test_no_date() -> None:
    """A proxy that leaves the date out, or writes nonsense, stops nothing."""
    async with serving(answering(200, {"a": 1}, Date="nonsense")) as api:
        assert {"a": 1} == await get(api, timed=True)


# ---- progress ----------------------------------------------------------------------------


async def test_answers_are_progress() -> None:
    """Each answer tells the loop that runs the pass, an error too; tasks from before have no part."""
    told: list[int] = []
    async with serving(answering(200, {"metadata": {}, "items": []})) as api:

        async def before() -> None:
            await asyncio.sleep(0)
            await get(api)

        task = asyncio.create_task(before())
        with progress.told(lambda: told.append(1)):
            await task
            assert [] == told
            await get(api)
            async for _ in calls.listed(api, "secrets", "/"):
                pass
            with pytest.raises(TooLargeError):
                await get(api, most=1)
        await get(api)
    assert 3 == len(told)


# ---- credentials -------------------------------------------------------------------------


async def test_a_token_that_changes() -> None:
    """Each request has the token that is right by then: those of Pods end after an hour."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({})

    def refresh(settings: client.Configuration) -> None:
        settings.api_key["BearerToken"] = f"Bearer {len(seen)}"

    async with serving(answer) as api:
        api.configuration.api_key["BearerToken"] = "Bearer old"
        api.configuration.refresh_api_key_hook = refresh
        for _ in range(2):
            await get(api)
    assert ["Bearer 0", "Bearer 1"] == seen
