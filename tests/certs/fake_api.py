"""An API server that knows Secrets and one configuration: enough for certs.store, in process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer

SECRETS: Final = "/api/v1/namespaces/dinp-system/secrets"
CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIGURATION: Final = f"{CONFIGURATIONS}/zz-dinp"
Object = dict[str, Any]


class FakeApi:
    """Objects by path. `refusals` holds (status, message) for the next requests of a method."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.refusals: dict[str, list[tuple[int, str]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.url, self.port = "", 0
        self._version = 100
        self._ending = False
        self._changes: list[asyncio.Event] = []
        self.put(
            CONFIGURATION,
            {
                "webhooks": [
                    {"name": "one", "clientConfig": {}},
                    {"name": "two", "clientConfig": {}},
                ]
            },
        )

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [request for request in self.requests if request[0] != "GET"]

    def put(self, path: str, body: Object) -> Object:
        """Store it as a new version."""
        self._version += 1
        metadata = {**body.get("metadata", {}), "resourceVersion": str(self._version)}
        self.objects[path] = {**body, "metadata": metadata}
        self.change()
        return self.objects[path]

    def change(self) -> None:
        """Wake every watch up."""
        for event in self._changes:
            event.set()

    def kubeconfig(self, directory: Path, server: str = "") -> Path:
        """Write a kubeconfig that leads here."""
        file = directory / "kubeconfig"
        whole = {
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": server or self.url}}],
            "users": [{"name": "fake", "user": {"token": "secret"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }
        file.write_text(json.dumps(whole), encoding="utf-8")
        return file

    def end_watches(self, ending: bool) -> None:
        """A server that closes waits for them."""
        self._ending = ending
        self.change()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.refusals.get(request.method):
            status, message = self.refusals[request.method].pop(0)
            return _status(status, message)
        if request.query.get("watch"):
            return await self._watch(request)
        match request.method:
            case "GET":
                found = self.objects.get(request.path)
                return web.json_response(found) if found else _status(404, "not found")
            case "POST":
                return self._create(request.path, await request.json())
            case _:
                return self._patch(request.path, await request.json())

    def _create(self, path: str, body: Object) -> web.Response:
        where = f"{path}/{body['metadata']['name']}"
        if where in self.objects:
            return _status(409, "already exists")
        return web.json_response(self.put(where, body), status=201)

    def _patch(self, path: str, body: Object) -> web.Response:
        old = self.objects.get(path)
        if old is None:
            return _status(404, "not found")
        if body["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        merged = dict(old)
        if "data" in body:
            data = {**old.get("data", {}), **body["data"]}
            merged["data"] = {key: value for key, value in data.items() if value is not None}
        if "webhooks" in body:
            merged["webhooks"] = body["webhooks"]
        return web.json_response(self.put(path, merged))

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        changed = asyncio.Event()
        self._changes.append(changed)
        while not self._ending:
            await response.write(b'{"type": "MODIFIED", "object": {}}\n')
            await changed.wait()
            changed.clear()
        return response


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message}, status=code)


@contextmanager
def kept_port() -> Iterator[int]:
    """A port that no other process gets while no server is there: connections are refused then."""
    with _socket("127.0.0.1", 0, socket.AF_INET) as bound:
        yield bound.getsockname()[1]


def _socket(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))
    return made


@asynccontextmanager
async def fake_api(api: FakeApi | None = None, port: int = 0) -> AsyncIterator[FakeApi]:
    """Run one on loopback: a new one, or one that was away."""
    api = api or FakeApi()
    api.end_watches(False)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.answer)
    server = TestServer(app, port=port, socket_factory=_socket)
    await server.start_server(shutdown_timeout=0)
    api.url, api.port = str(server.make_url("/")).rstrip("/"), server.port or 0
    try:
        yield api
    finally:
        api.end_watches(True)
        await server.close()
