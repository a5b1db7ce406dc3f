"""The objects of the webhook's certificates in the API server: two Secrets, and every caBundle."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal

from certs import calls, secrets
from certs.records import Configuration, Snapshot
from certs.secrets import Secrets

What = Literal["ca", "leaf", "configuration"]

_TYPES: Final[Mapping[What, str]] = {"ca": "Opaque", "leaf": "kubernetes.io/tls"}
_GROUP: Final = "admissionregistration.k8s.io"
_RESOURCE: Final = "mutatingwebhookconfigurations"
_CONFIGURATIONS: Final = f"/apis/{_GROUP}/v1/{_RESOURCE}"


@dataclass(frozen=True, slots=True)
class Names:
    """Which objects."""

    namespace: str = "dinp-system"
    ca: str = "dinp-ca"
    leaf: str = "dinp-tls"
    configuration: str = "zz-dinp"

    def secret(self, what: What) -> str:
        """The name of one of the two Secrets."""
        return self.ca if what == "ca" else self.leaf


class Store:
    """One cluster's objects. Every method raises StoreError."""

    def __init__(self, api: calls.Connection, names: Names) -> None:
        self._api = api
        self._secrets = Secrets(api)
        self._names = names
        self._path = calls.path(_CONFIGURATIONS, names.configuration)
        self._described = f"{_RESOURCE}.{_GROUP}/{names.configuration}"

    async def read(self) -> Snapshot:
        """Read all objects, each as it is now, in the order that decisions rely on.

        Decisions are made by what the CA Secret says, which is read last: so whatever was
        written to the other two by a replica that knew more makes our own write a conflict.
        """
        names = self._names
        leaf = await self._secrets.read(names.namespace, names.leaf)
        configuration = await self._read_configuration()
        return Snapshot(leaf, configuration, await self._secrets.read(names.namespace, names.ca))

    async def write_secret(
        self, what: Literal["ca", "leaf"], data: Mapping[str, bytes | None], version: str | None
    ) -> None:
        """Write these keys (None: remove the key); without `version` the Secret has to be new.

        Raises:
            ConflictError: it has changed since it was read as `version`, or is there already.
        """
        namespace, name = self._names.namespace, self._names.secret(what)
        if version is None:
            await self._secrets.create(namespace, name, data, kind=_TYPES[what])
        else:
            await self._secrets.patch(namespace, name, data, version)

    async def write_bundle(self, bundle: bytes, read: Configuration) -> None:
        """Write every caBundle of the configuration.

        Raises:
            ConflictError: the configuration has changed since it was read.
        """
        # A strategic merge patch: lists of webhooks are merged by name.
        webhooks = [
            {"name": name, "clientConfig": {"caBundle": secrets.encoded(bundle)}}
            for name in read.bundles
        ]
        body = {"metadata": {"resourceVersion": read.version}, "webhooks": webhooks}
        sent = calls.request(self._api, "PATCH", self._path, body, query=calls.MANAGED)
        await calls.ask("patch", self._described, sent)

    async def watch(self, what: What) -> AsyncGenerator[None]:
        """Yield once at the beginning and whenever the object changes; ends after minutes."""
        async with aclosing(self._changes(what)) as events:
            async for _ in events:
                yield

    def _changes(self, what: What) -> AsyncGenerator[None]:
        if what != "configuration":
            return self._secrets.watch(self._names.namespace, self._names.secret(what))
        only = f"metadata.name={self._names.configuration}"
        return calls.changes(self._api, self._described, _CONFIGURATIONS, only, accept=calls.JSON)

    async def _read_configuration(self) -> Configuration | None:
        sent = calls.request(self._api, "GET", self._path)
        found = await calls.ask("get", self._described, sent)
        if found is None:
            return None
        return Configuration(
            {
                webhook["name"]: b64decode(webhook["clientConfig"].get("caBundle") or "")
                for webhook in found.get("webhooks") or []
            },
            found["metadata"]["resourceVersion"],
        )
