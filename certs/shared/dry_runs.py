"""What the policies of manifests/shared forbid, asked of the API server as dry runs."""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import Any

from kubernetes.aio import client

from certs import calls
from certs.errors import TooLargeError
from certs.shared.forbidden import Attempt, There, Write
from certs.shared.requests import SIGNER, Object
from certs.shared.store import Store


class DryRuns:
    """Those of one cluster. Every method raises StoreError."""

    def __init__(self, api: client.ApiClient, store: Store) -> None:
        self._store = store
        self._core = client.CoreV1Api(api)
        self._certificates = client.CertificatesV1Api(api)

    async def there(self) -> There:
        """What the cluster has to try it on."""
        _, ca = await self._store.read_authorities("server")
        return There(
            [one async for one in self._store.namespaces()],
            ca is not None,
            await self._request(f"spec.signerName={SIGNER}"),
            await self._request(f"spec.signerName!={SIGNER}"),
        )

    async def dry_run(self, attempt: Attempt) -> None:
        """Ask for something, without its being done whatever the answer is.

        Raises:
            RefusedError: the API server refuses it, or there is no such object.
        """
        core, certificates = self._core, self._certificates
        body: Any = attempt.body
        how: Any = {"dry_run": "All", "_request_timeout": calls.REQUEST_SECONDS}
        inside = (attempt.name, attempt.namespace, body)
        sends: dict[Write, calls.Send] = {
            "create Secret": lambda: core.create_namespaced_secret_without_preload_content(
                attempt.namespace, body, **how
            ),
            "patch Secret": lambda: core.patch_namespaced_secret_without_preload_content(
                *inside, **how
            ),
            "patch ConfigMap": lambda: core.patch_namespaced_config_map_without_preload_content(
                *inside, **how
            ),
            "approve": lambda: (
                certificates.replace_certificate_signing_request_approval_without_preload_content(
                    attempt.name, body, **how
                )
            ),
            "update status of": lambda: (
                certificates.replace_certificate_signing_request_status_without_preload_content(
                    attempt.name, body, **how
                )
            ),
        }
        await calls.ask("dry-run", str(attempt), sends[attempt.write])

    async def _request(self, only: str) -> Object | None:
        """One request that the field selector picks; None: there is none, but those that are too large."""
        async with aclosing(self._store.requests_by(only)) as found:
            async for one in found:
                with suppress(TooLargeError):
                    request = await self._store.request(one.name)
                    if request is not None:
                        return request
        return None
