"""The objects of the shared daemons' certificates in the API server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal

from kubernetes.aio import client

from certs import calls, records, secrets
from certs.errors import Reason, StoreError, TooLargeError
from certs.records import Authorities, Metadata, Secret
from certs.secrets import Secrets
from certs.shared.names import Names, Which
from certs.shared.requests import SIGNER, Object

Watched = Literal["namespaces", "secrets", "requests", "server", "client"]

_MANAGED: Final = {"app.kubernetes.io/managed-by": calls.MANAGER}
_REQUESTS: Final = "certificatesigningrequests"
# As JSON. A daemon's has 3 KiB.
_REQUEST_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """The resourceVersion of a namespace's Secret for clients, and whether that has dinp's label."""

    version: str
    is_ours: bool


class Store:
    """One cluster's objects. Every method raises StoreError."""

    def __init__(self, api: client.ApiClient, names: Names) -> None:
        self._secrets = Secrets(api)
        self._core = client.CoreV1Api(api)
        self._certificates = client.CertificatesV1Api(api)
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
        found = await calls.ask(
            "get",
            described,
            lambda: self._core.read_namespaced_config_map_without_preload_content(
                name, namespace, _request_timeout=calls.REQUEST_SECONDS
            ),
        )
        if found is None:
            raise StoreError(f"there is no {described}: apply manifests/shared again")
        data = {key: value.decode() for key, value in bundles.items()}
        there = found.get("data") or {}
        if all(there.get(key) == value for key, value in data.items()):
            return False
        version = found["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "data": data}
        await calls.ask(
            "patch",
            described,
            lambda: self._core.patch_namespaced_config_map_without_preload_content(
                name,
                namespace,
                body,
                field_manager=calls.MANAGER,
                _request_timeout=calls.REQUEST_SECONDS,
            ),
        )
        return True

    def namespaces(self) -> AsyncGenerator[Metadata]:
        """All namespaces."""
        return _listed("namespaces", self._core.list_namespace_without_preload_content)

    async def client_secrets(self) -> dict[str, ClientSecret]:
        """Those for clients by their namespaces; what is in them is not read."""
        # By their name: RBAC lets certs list no others. Not by their label, so that one that has
        # lost it is found, too.
        name = self._names.client_secret
        found = _listed(
            f"secrets/{name}",
            self._core.list_secret_for_all_namespaces_without_preload_content,
            field_selector=f"metadata.name={name}",
        )
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
        await calls.ask(
            "delete",
            secrets.described(namespace, name),
            lambda: self._core.delete_namespaced_secret_without_preload_content(
                name, namespace, _request_timeout=calls.REQUEST_SECONDS
            ),
        )

    async def requests(self) -> dict[str, str]:
        """The resourceVersions of the CertificateSigningRequests to our signer, by their names."""
        found = self.requests_by(f"spec.signerName={SIGNER}")
        return {item.name: item.resource_version async for item in found}

    def requests_by(self, field_selector: str) -> AsyncGenerator[Metadata]:
        """CertificateSigningRequests, as the field selector picks them."""
        return _listed(
            _REQUESTS,
            self._certificates.list_certificate_signing_request_without_preload_content,
            field_selector=field_selector,
        )

    async def request(self, name: str) -> Object | None:
        """One of them; None: there is none.

        Raises:
            TooLargeError: it is larger than any that a daemon sends.
        """
        read = self._certificates.read_certificate_signing_request_without_preload_content
        try:
            return await calls.ask(
                "get",
                f"{_REQUESTS}/{name}",
                lambda: read(name, _request_timeout=calls.REQUEST_SECONDS),
                most=_REQUEST_BYTES,
            )
        except TooLargeError as error:
            raise TooLargeError(f"{error}. No daemon sends such a one: delete it") from error

    async def pod(self, name: str) -> Object | None:
        """A Pod of the daemons' namespace; None: there is none."""
        return await calls.ask(
            "get",
            f"pods/{name} in namespace {self._names.daemons}",
            lambda: self._core.read_namespaced_pod_without_preload_content(
                name, self._names.daemons, _request_timeout=calls.REQUEST_SECONDS
            ),
        )

    async def node(self, name: str) -> Object | None:
        """A Node; None: there is none."""
        return await calls.ask(
            "get",
            f"nodes/{name}",
            lambda: self._core.read_node_without_preload_content(
                name, _request_timeout=calls.REQUEST_SECONDS
            ),
        )

    async def decide(self, request: Any) -> Object:
        """Write the conditions of a request (Approved, Denied), a dict; return it as it is then."""
        name = request["metadata"]["name"]
        replace = (
            self._certificates.replace_certificate_signing_request_approval_without_preload_content
        )
        found = await calls.ask(
            "approve",
            f"{_REQUESTS}/{name}",
            lambda: replace(name, request, _request_timeout=calls.REQUEST_SECONDS),
        )
        return found or {}

    async def answer(self, request: Any) -> None:
        """Write the status of a request: its certificate, or that it failed."""
        name = request["metadata"]["name"]
        replace = (
            self._certificates.replace_certificate_signing_request_status_without_preload_content
        )
        await calls.ask(
            "sign",
            f"{_REQUESTS}/{name}",
            lambda: replace(name, request, _request_timeout=calls.REQUEST_SECONDS),
        )

    async def watch(self, what: Watched) -> AsyncGenerator[None]:
        """Yield once at the beginning and whenever one of them changes; ends after minutes."""
        async with aclosing(self._changes(what)) as events:
            async for _ in events:
                yield

    def _changes(self, what: Watched) -> AsyncGenerator[None]:
        names = self._names
        match what:
            case "namespaces":
                return _changes(what, self._core.list_namespace_without_preload_content)
            case "secrets":
                return _changes(
                    f"secrets/{names.client_secret}",
                    self._core.list_secret_for_all_namespaces_without_preload_content,
                    field_selector=f"metadata.name={names.client_secret}",
                )
            case "requests":
                return _changes(
                    _REQUESTS,
                    self._certificates.list_certificate_signing_request_without_preload_content,
                    field_selector=f"spec.signerName={SIGNER}",
                )
            case "server" | "client":
                return self._secrets.watch(names.system, names.ca(what))


def _listed(described: str, listing: Any, **selectors: str) -> AsyncGenerator[Metadata]:
    return calls.listed(
        described,
        lambda items, token: listing(
            limit=items,
            _continue=token,
            _headers=calls.METADATA_LIST,
            _request_timeout=calls.REQUEST_SECONDS,
            **selectors,
        ),
    )


def _changes(described: str, listing: Any, **selectors: str) -> AsyncGenerator[None]:
    return calls.changes(
        described, lambda: listing(_headers=calls.METADATA, **calls.WATCH, **selectors)
    )
