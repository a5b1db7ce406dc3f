"""Secrets of the API server, read and written as bytes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from certs import calls
from certs.records import Secret

# As JSON. What dinp writes has 5 KiB, and others may add keys and annotations.
_MOST_BYTES: Final = 256 * 1024


class Secrets:
    """Those of one cluster, one at a time. Every method raises StoreError."""

    def __init__(self, api: calls.Connection) -> None:
        self._api = api

    async def read(self, namespace: str, name: str) -> Secret | None:
        """Read one, by clocks that agree; None: there is none.

        Raises:
            TooLargeError: it is larger than any of dinp's.
        """
        found = await calls.ask(
            "get",
            described(namespace, name),
            calls.request(self._api, "GET", path(namespace, name)),
            most=_MOST_BYTES,
            timed=True,
        )
        return None if found is None else from_json(found)

    async def create(
        self,
        namespace: str,
        name: str,
        data: Mapping[str, bytes | None],
        *,
        kind: str = "Opaque",
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """Create one of type `kind`; keys that are None are left out. Return its resourceVersion.

        Raises:
            ConflictError: there is one already.
        """
        body = {
            "metadata": {"name": name, "labels": {**calls.LABELS, **(labels or {})}},
            "type": kind,
            "data": {key: encoded(value) for key, value in data.items() if value},
        }
        sent = self._write("POST", path(namespace), body)
        return _version(await calls.ask("create", described(namespace, name), sent))

    async def patch(
        self,
        namespace: str,
        name: str,
        data: Mapping[str, bytes | None],
        version: str,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """Write these keys (None: remove the key) and labels; others stay. Return its resourceVersion.

        Raises:
            ConflictError: it has changed since it was read as `version`.
        """
        written = {key: None if value is None else encoded(value) for key, value in data.items()}
        metadata: dict[str, Any] = {"resourceVersion": version}
        if labels:
            metadata["labels"] = dict(labels)
        body = {"metadata": metadata, "data": written}
        sent = self._write("PATCH", path(namespace, name), body)
        return _version(await calls.ask("patch", described(namespace, name), sent))

    async def watch(self, namespace: str, name: str) -> AsyncGenerator[None]:
        """Yield once at the beginning and whenever it changes; ends after minutes."""
        only = f"metadata.name={name}"
        async for _ in calls.changes(self._api, described(namespace, name), path(namespace), only):
            yield

    def _write(self, method: str, path: str, body: calls.Object) -> calls.Sent:
        query, accept = calls.MANAGED, calls.METADATA
        return calls.request(self._api, method, path, body, query=query, accept=accept)


def _version(written: Mapping[str, Any] | None) -> str:
    return str((written or {})["metadata"]["resourceVersion"])


def path(namespace: str, *name: str) -> str:
    """That of a namespace's Secrets, or of one of them."""
    return calls.path("/api/v1/namespaces", namespace, "secrets", *name)


def described(namespace: str, name: str) -> str:
    """Resource and name, as a message has them."""
    return f"secrets/{name} in namespace {namespace}"


def from_json(found: Mapping[str, Any]) -> Secret:
    """What the API server says of one."""
    data = found.get("data") or {}
    return Secret(
        {key: b64decode(value) for key, value in data.items()},
        found["metadata"]["resourceVersion"],
    )


def encoded(value: bytes) -> str:
    """As JSON has bytes."""
    return b64encode(value).decode()
