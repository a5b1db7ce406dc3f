"""Secrets of the API server, read and written as bytes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from kubernetes.aio import client

from certs import calls
from certs.records import Secret

# As JSON. What dinp writes has 5 KiB, and others may add keys and annotations.
_MOST_BYTES: Final = 256 * 1024
_WRITE: Final[dict[str, Any]] = {
    "field_manager": calls.MANAGER,
    "_headers": calls.METADATA,
    "_request_timeout": calls.REQUEST_SECONDS,
}


class Secrets:
    """Those of one cluster, one at a time. Every method raises StoreError."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core = client.CoreV1Api(api)

    async def read(self, namespace: str, name: str) -> Secret | None:
        """Read one, by clocks that agree; None: there is none.

        Raises:
            TooLargeError: it is larger than any of dinp's.
        """
        found = await calls.ask(
            "get",
            described(namespace, name),
            lambda: self._core.read_namespaced_secret_without_preload_content(
                name, namespace, _request_timeout=calls.REQUEST_SECONDS
            ),
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
        body = client.V1Secret(
            metadata=client.V1ObjectMeta(name=name, labels={**calls.LABELS, **(labels or {})}),
            type=kind,
            data={key: encoded(value) for key, value in data.items() if value},
        )
        created = await calls.ask(
            "create",
            described(namespace, name),
            lambda: self._core.create_namespaced_secret_without_preload_content(
                namespace, body, **_WRITE
            ),
        )
        return _version(created)

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
        patched = await calls.ask(
            "patch",
            described(namespace, name),
            lambda: self._core.patch_namespaced_secret_without_preload_content(
                name, namespace, body, **_WRITE
            ),
        )
        return _version(patched)

    async def watch(self, namespace: str, name: str) -> AsyncGenerator[None]:
        """Yield once at the beginning and whenever it changes; ends after minutes."""
        send = lambda: self._core.list_namespaced_secret_without_preload_content(  # noqa: E731 - read once
            namespace,
            field_selector=f"metadata.name={name}",
            _headers=calls.METADATA,
            **calls.WATCH,
        )
        async for _ in calls.changes(described(namespace, name), send):
            yield


def _version(written: Mapping[str, Any] | None) -> str:
    return str((written or {})["metadata"]["resourceVersion"])


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
