"""An API server that says yes to whatever certs sends, and keeps it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from tests.certs.fake_api import FakeApi, fake_api

_METADATA: Final = {"name": "x", "namespace": "y", "resourceVersion": "1"}
_ANSWER: Final = {
    "metadata": _METADATA,
    "spec": {"request": "YQ==", "signerName": "a", "usages": ["server auth"]},
    "status": {"certificate": b64encode(b"PEM").decode()},
    "webhooks": [{"name": "one", "clientConfig": {}}],
}
Attributes = tuple[str, str, str, str]
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Sent:
    """A request, as the API server gets it. `path` is as it was sent, quoted."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def attributes(self) -> Attributes:
        """What RBAC goes by: verb, resource (as `kubectl` writes it), namespace and name.

        The name of a list or a watch is that of its field selector; a create has none.
        """
        _, root, *parts = self.path.split("/")  # /api/v1/… or /apis/GROUP/v1/…
        group = f".{parts.pop(0)}" if root == "apis" else ""
        parts = parts[1:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        resource, name, subresource = (*parts, "", "")[:3]
        verb = _VERBS.get(self.method) or ("get" if name else "list")
        if verb == "list":
            name = self.query.get("fieldSelector", "").partition("metadata.name=")[2]
            verb = "watch" if self.query.get("watch") else verb
        resource = f"{resource}{subresource and '/'}{subresource}{group}"
        return verb, resource, namespace, name


class Recorder(FakeApi):
    """What was sent is in `sent`."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.sent.append(
            Sent(
                request.method,
                request.rel_url.raw_path,
                dict(request.query),
                request.headers,
                json.loads(text) if text else None,
            )
        )
        if self.sent[-1].attributes[0] == "list":
            return web.json_response({"metadata": {}, "items": [{"metadata": _METADATA}]})
        return web.json_response(_ANSWER)


@asynccontextmanager
async def recording(directory: Path) -> AsyncIterator[tuple[Recorder, Path]]:
    """Run one on loopback; the path is that of a kubeconfig for it."""
    async with fake_api(Recorder()) as running:
        assert isinstance(running, Recorder)
        yield running, running.kubeconfig(directory)
