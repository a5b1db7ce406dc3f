"""What the policies of manifests/shared forbid, asked of the API server as dry runs."""

from __future__ import annotations

from contextlib import aclosing, suppress

from certs import calls, secrets
from certs.errors import TooLargeError
from certs.shared import store as stores
from certs.shared.forbidden import Attempt, There
from certs.shared.requests import SIGNER, Object
from certs.shared.store import Store


class DryRuns:
    """Those of one cluster. Every method raises StoreError."""

    def __init__(self, api: calls.Connection, store: Store) -> None:
        self._api = api
        self._store = store

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
        method, path = _where(attempt)
        sent = calls.request(self._api, method, path, attempt.body, query={"dryRun": "All"})
        await calls.ask("dry-run", str(attempt), sent)

    async def _request(self, only: str) -> Object | None:
        """One request that the field selector picks; None: there is none, but those that are too large."""
        async with aclosing(self._store.requests_by(only)) as found:
            async for one in found:
                with suppress(TooLargeError):
                    request = await self._store.request(one.name)
                    if request is not None:
                        return request
        return None


def _where(attempt: Attempt) -> tuple[str, str]:
    """The method and the path of what is asked for."""
    name, namespace = attempt.name, attempt.namespace
    match attempt.write:
        case "create Secret":
            return "POST", secrets.path(namespace)
        case "patch Secret":
            return "PATCH", secrets.path(namespace, name)
        case "patch ConfigMap":
            return "PATCH", stores.config_map_path(namespace, name)
        case "approve":
            return "PUT", stores.request_path(name, "approval")
        case "update status of":
            return "PUT", stores.request_path(name, "status")
