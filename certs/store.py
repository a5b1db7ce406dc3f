"""Secrets and caBundle in the API server. The only room that knows the Kubernetes client.

Objects stay plain JSON: the client's models refuse fields that are newer than themselves. The
client is used for what it knows of addresses, credentials and paths.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import yaml
from kubernetes.aio import client, config

from certs.errors import ConflictError, StoreError
from certs.records import Configuration, Secret, Snapshot

What = Literal["ca", "leaf", "configuration"]
Object = dict[str, Any]

MANAGER: Final = "dinp-certs"
_LABELS: Final = {
    "app.kubernetes.io/name": "dinp",
    "app.kubernetes.io/component": "certs",
    "app.kubernetes.io/part-of": "dinp",
}
_CLOSING_SECONDS: Final = 0.05
_TYPES: Final[Mapping[What, str]] = {"ca": "Opaque", "leaf": "kubernetes.io/tls"}
_REQUEST_SECONDS: Final = 10.0
# The API server ends a watch after this time. An API server that vanished without a word is
# noticed that late at most by the watch; the loop's own passes notice sooner.
_WATCH_SECONDS: Final = 240
# What the client's loader runs into where a kubeconfig has another shape.
_BAD_FILE: Final = (ValueError, TypeError, KeyError, AttributeError)
_CONFIGURATIONS: Final = "mutatingwebhookconfigurations.admissionregistration.k8s.io"


@dataclass(frozen=True, slots=True)
class Names:
    """Which objects."""

    namespace: str = "dinp-system"
    ca: str = "dinp-ca"
    leaf: str = "dinp-tls"
    configuration: str = "zz-dinp"

    def described(self, what: What) -> str:
        """Resource and name, as a message has them."""
        if what == "configuration":
            return f"{_CONFIGURATIONS}/{self.configuration}"
        return f"secrets/{self.secret(what)} in namespace {self.namespace}"

    def secret(self, what: What) -> str:
        """The name of one of the two Secrets."""
        return self.ca if what == "ca" else self.leaf


class Store:
    """One cluster's objects. Every method raises StoreError."""

    def __init__(self, api: client.ApiClient, names: Names) -> None:
        self._core = client.CoreV1Api(api)
        self._registration = client.AdmissionregistrationV1Api(api)
        self._names = names

    async def read(self) -> Snapshot:
        """Read all objects, each as it is now, in the order that decisions rely on.

        Decisions are made by what the CA Secret says, which is read last: so whatever was
        written to the other two by a replica that knew more makes our own write a conflict.
        """
        leaf = await self._read_secret("leaf")
        configuration = await self._read_configuration()
        return Snapshot(leaf, configuration, await self._read_secret("ca"))

    async def write_secret(
        self, what: Literal["ca", "leaf"], data: Mapping[str, bytes | None], version: str | None
    ) -> None:
        """Write these keys (None: remove the key); without `version` the Secret has to be new.

        Raises:
            ConflictError: it has changed since it was read as `version`, or is there already.
        """
        encoded = {key: None if value is None else _encode(value) for key, value in data.items()}
        if version is None:
            await self._create_secret(what, {key: value for key, value in encoded.items() if value})
            return
        name, namespace = self._names.secret(what), self._names.namespace
        body = {"metadata": {"resourceVersion": version}, "data": encoded}
        await self._ask(
            "patch",
            what,
            lambda: self._core.patch_namespaced_secret_without_preload_content(
                name, namespace, body, field_manager=MANAGER, _request_timeout=_REQUEST_SECONDS
            ),
        )

    async def write_bundle(self, bundle: bytes, read: Configuration) -> None:
        """Write every caBundle of the configuration.

        Raises:
            ConflictError: the configuration has changed since it was read.
        """
        # A strategic merge patch: lists of webhooks are merged by name.
        webhooks = [
            {"name": name, "clientConfig": {"caBundle": _encode(bundle)}} for name in read.bundles
        ]
        body = {"metadata": {"resourceVersion": read.version}, "webhooks": webhooks}
        patch = self._registration.patch_mutating_webhook_configuration_without_preload_content
        await self._ask(
            "patch",
            "configuration",
            lambda: patch(
                self._names.configuration,
                body,
                field_manager=MANAGER,
                _request_timeout=_REQUEST_SECONDS,
            ),
        )

    async def watch(self, what: What) -> AsyncGenerator[None]:
        """Yield once at the beginning and whenever the object changes; ends after minutes."""
        async with _errors("watch", self._names.described(what)):
            response = await self._watch(what)
            try:
                await _checked(response, "watch", self._names.described(what))
                async for line in response.content:
                    if json.loads(line).get("type") == "ERROR":
                        return
                    yield
            finally:
                response.close()

    async def _watch(self, what: What) -> aiohttp.ClientResponse:
        how: dict[str, Any] = {
            "watch": True,
            "timeout_seconds": _WATCH_SECONDS,
            "_request_timeout": float(_WATCH_SECONDS + _REQUEST_SECONDS),
        }
        if what == "configuration":
            return await self._registration.list_mutating_webhook_configuration_without_preload_content(
                field_selector=f"metadata.name={self._names.configuration}", **how
            )
        return await self._core.list_namespaced_secret_without_preload_content(
            self._names.namespace,
            field_selector=f"metadata.name={self._names.secret(what)}",
            **how,
        )

    async def _read_secret(self, what: Literal["ca", "leaf"]) -> Secret | None:
        name, namespace = self._names.secret(what), self._names.namespace
        found = await self._ask(
            "get",
            what,
            lambda: self._core.read_namespaced_secret_without_preload_content(
                name, namespace, _request_timeout=_REQUEST_SECONDS
            ),
        )
        if found is None:
            return None
        data = found.get("data") or {}
        return Secret(
            {key: b64decode(value) for key, value in data.items()},
            found["metadata"]["resourceVersion"],
        )

    async def _read_configuration(self) -> Configuration | None:
        read = self._registration.read_mutating_webhook_configuration_without_preload_content
        found = await self._ask(
            "get",
            "configuration",
            lambda: read(self._names.configuration, _request_timeout=_REQUEST_SECONDS),
        )
        if found is None:
            return None
        return Configuration(
            {
                webhook["name"]: b64decode(webhook["clientConfig"].get("caBundle") or "")
                for webhook in found.get("webhooks") or []
            },
            found["metadata"]["resourceVersion"],
        )

    async def _create_secret(self, what: Literal["ca", "leaf"], data: Mapping[str, str]) -> None:
        name, namespace = self._names.secret(what), self._names.namespace
        body = client.V1Secret(
            metadata=client.V1ObjectMeta(name=name, labels=dict(_LABELS)),
            type=_TYPES[what],
            data=dict(data),
        )
        await self._ask(
            "create",
            what,
            lambda: self._core.create_namespaced_secret_without_preload_content(
                namespace, body, field_manager=MANAGER, _request_timeout=_REQUEST_SECONDS
            ),
        )

    async def _ask(
        self, verb: str, what: What, send: Callable[[], Awaitable[aiohttp.ClientResponse]]
    ) -> Object | None:
        """Send one request: the object, or None where a `get` finds none."""
        described = self._names.described(what)
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


@asynccontextmanager
async def connected(kubeconfig: Path | None, names: Names) -> AsyncIterator[Store]:
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
            yield Store(api, names)
    finally:
        # aiohttp's advice: a connection that was still in its TLS handshake closes in later turns.
        await asyncio.sleep(_CLOSING_SECONDS)


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
    if response.status in (401, 403):
        raise StoreError(f"not allowed to {verb} {described}: {reason}")
    raise StoreError(f"cannot {verb} {described}: {reason}")


def _message(body: bytes) -> str:
    """The sentence of the API server's Status, on one line."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(str(message).split())


def _encode(value: bytes) -> str:
    return b64encode(value).decode()
