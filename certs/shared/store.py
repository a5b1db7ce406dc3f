"""The objects of the shared daemons' certificates in the API server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal

from certs import calls, records, secrets
from certs.errors import Reason, StoreError, TooLargeError
from certs.records import Authorities, Metadata, Secret
from certs.secrets import Secrets
from certs.shared.names import Names, Which
from certs.shared.requests import SIGNER, Object

Watched = Literal["namespaces", "secrets", "requests", "server", "client"]

_MANAGED: Final = {"app.kubernetes.io/managed-by": calls.MANAGER}
_NAMESPACES: Final = "/api/v1/namespaces"
_SECRETS: Final = "/api/v1/secrets"  # of all namespaces
_REQUESTS: Final = "certificatesigningrequests"
_REQUESTS_PATH: Final = f"/apis/certificates.k8s.io/v1/{_REQUESTS}"
_OUR_SIGNER: Final = f"spec.signerName={SIGNER}"
# As JSON. A daemon's has 3 KiB.
_REQUEST_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """The resourceVersion of a namespace's Secret for clients, and whether that has dinp's label."""

    version: str
    is_ours: bool


class Store:
    """One cluster's objects. Every method raises StoreError."""

    def __init__(self, api: calls.Connection, names: Names) -> None:
        self._api = api
        self._secrets = Secrets(api)
        self._names = names

    async def read_authorities(self, which: Which) -> tuple[Authorities, str | None]:
        """The CAs of a Secret and its resourceVersion; None: there is no such Secret."""
        found = await self._secrets.read(self._names.system, self._names.ca(which))
        if found is None:
            return Authorities(), None
        return records.read_authorities(found.data), found.version

    async def write_authorities(
        self, which: Which, authorities: Authorities, version: str | None
    ) -> None:
        """Write them; without `version` the Secret has to be new."""
        where = (self._names.system, self._names.ca(which))
        data = records.write_authorities(authorities)
        if version is None:
            await self._secrets.create(*where, data)
        else:
            await self._secrets.patch(*where, data, version)

    async def publish(self, bundles: Mapping[str, bytes]) -> bool:
        """Write these keys of the ConfigMap that daemons mount; whether that changed something.

        Raises:
            StoreError: there is no such ConfigMap, among others.
        """
        name, namespace = self._names.published, self._names.daemons
        described = f"configmaps/{name} in namespace {namespace}"
        path = config_map_path(namespace, name)
        found = await calls.ask("get", described, calls.request(self._api, "GET", path))
        if found is None:
            raise StoreError(f"there is no {described}: apply manifests/shared again")
        data = {key: value.decode() for key, value in bundles.items()}
        there = found.get("data") or {}
        if all(there.get(key) == value for key, value in data.items()):
            return False
        version = found["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "data": data}
        sent = calls.request(self._api, "PATCH", path, body, query=calls.MANAGED)
        await calls.ask("patch", described, sent)
        return True

    def namespaces(self) -> AsyncGenerator[Metadata]:
        """All namespaces."""
        return calls.listed(self._api, "namespaces", _NAMESPACES)

    async def client_secrets(self) -> dict[str, ClientSecret]:
        """Those for clients by their namespaces; what is in them is not read."""
        # By their name: RBAC lets certs list no others. Not by their label, so that one that has
        # lost it is found, too.
        name = self._names.client_secret
        found = calls.listed(self._api, f"secrets/{name}", _SECRETS, f"metadata.name={name}")
        return {
            item.namespace: ClientSecret(
                item.resource_version, item.labels.items() >= _MANAGED.items()
            )
            async for item in found
        }

    async def read_client(self, namespace: str) -> Secret | None:
        """A namespace's client certificate; None: there is none.

        Raises:
            TooLargeError: it is larger than dinp makes it.
        """
        return await self._secrets.read(namespace, self._names.client_secret)

    def foreign(self, namespace: str) -> StoreError:
        """That a namespace's Secret is somebody else's: what, and what to do."""
        labels = " ".join(f"{key}={value}" for key, value in _MANAGED.items())
        name = self._names.client_secret
        return StoreError(
            f"{secrets.described(namespace, name)} is not of dinp's making, so it is left as it is: "
            f"delete it, or let dinp overwrite it by the label {labels}",
            Reason.FOREIGN,
        )

    async def write_client(
        self, namespace: str, data: Mapping[str, bytes], version: str | None
    ) -> str:
        """Write a namespace's client certificate; without `version` the Secret has to be new.

        Return its resourceVersion.
        """
        where = (namespace, self._names.client_secret)
        if version is None:
            return await self._secrets.create(*where, data, labels=_MANAGED)
        return await self._secrets.patch(*where, data, version, labels=_MANAGED)

    async def delete_client(self, namespace: str) -> None:
        """Remove a namespace's client certificate."""
        name = self._names.client_secret
        sent = calls.request(self._api, "DELETE", secrets.path(namespace, name))
        await calls.ask("delete", secrets.described(namespace, name), sent)

    async def requests(self) -> dict[str, str]:
        """The resourceVersions of the CertificateSigningRequests to our signer, by their names."""
        found = self.requests_by(_OUR_SIGNER)
        return {item.name: item.resource_version async for item in found}

    def requests_by(self, field_selector: str) -> AsyncGenerator[Metadata]:
        """CertificateSigningRequests, as the field selector picks them."""
        return calls.listed(self._api, _REQUESTS, _REQUESTS_PATH, field_selector)

    async def request(self, name: str) -> Object | None:
        """One of them; None: there is none.

        Raises:
            TooLargeError: it is larger than any that a daemon sends.
        """
        sent = calls.request(self._api, "GET", request_path(name))
        try:
            return await calls.ask("get", f"{_REQUESTS}/{name}", sent, most=_REQUEST_BYTES)
        except TooLargeError as error:
            raise TooLargeError(f"{error}. No daemon sends such a one: delete it") from error

    async def pod(self, name: str) -> Object | None:
        """A Pod of the daemons' namespace; None: there is none."""
        namespace = self._names.daemons
        sent = calls.request(self._api, "GET", calls.path(_NAMESPACES, namespace, "pods", name))
        return await calls.ask("get", f"pods/{name} in namespace {namespace}", sent)

    async def node(self, name: str) -> Object | None:
        """A Node; None: there is none."""
        sent = calls.request(self._api, "GET", calls.path("/api/v1/nodes", name))
        return await calls.ask("get", f"nodes/{name}", sent)

    async def decide(self, request: Any) -> Object:
        """Write the conditions of a request (Approved, Denied), a dict; return it as it is then."""
        name = request["metadata"]["name"]
        sent = calls.request(self._api, "PUT", request_path(name, "approval"), request)
        found = await calls.ask("approve", f"{_REQUESTS}/{name}", sent)
        return found or {}

    async def answer(self, request: Any) -> None:
        """Write the status of a request: its certificate, or that it failed."""
        name = request["metadata"]["name"]
        sent = calls.request(self._api, "PUT", request_path(name, "status"), request)
        await calls.ask("sign", f"{_REQUESTS}/{name}", sent)

    async def watch(self, what: Watched) -> AsyncGenerator[None]:
        """Yield once at the beginning and whenever one of them changes; ends after minutes."""
        async with aclosing(self._changes(what)) as events:
            async for _ in events:
                yield

    def _changes(self, what: Watched) -> AsyncGenerator[None]:
        name = self._names.client_secret
        match what:
            case "namespaces":
                return calls.changes(self._api, what, _NAMESPACES)
            case "secrets":
                only = f"metadata.name={name}"
                return calls.changes(self._api, f"secrets/{name}", _SECRETS, only)
            case "requests":
                return calls.changes(self._api, _REQUESTS, _REQUESTS_PATH, _OUR_SIGNER)
            case "server" | "client":
                return self._secrets.watch(self._names.system, self._names.ca(what))


def config_map_path(namespace: str, name: str) -> str:
    """That of a ConfigMap."""
    return calls.path(_NAMESPACES, namespace, "configmaps", name)


def request_path(name: str, *subresource: str) -> str:
    """That of a CertificateSigningRequest, or of its approval or status."""
    return calls.path(_REQUESTS_PATH, name, *subresource)
