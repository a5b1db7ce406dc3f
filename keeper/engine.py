"""Docker's Engine API at a Unix socket.

No connection outlives its request: one that is open looks like a client at work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from keeper.errors import EngineError

# Removing a large image takes a while on a busy disk.
_REQUEST_SECONDS: Final = 60.0


class Engine:
    """One daemon. Paths are those of the API, without a version: the daemon's latest."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, **parameters: str) -> Any:
        """Ask for something.

        Raises:
            EngineError: it does not answer, or with an error.
        """
        return await self._ask("GET", path, parameters)

    async def delete(self, path: str, **parameters: str) -> None:
        """Remove something.

        Raises:
            EngineError: it does not answer, or refuses: the object is in use, or gone.
        """
        await self._ask("DELETE", path, parameters)

    async def _ask(self, method: str, path: str, parameters: Mapping[str, str]) -> Any:
        try:
            async with self._session.request(method, path, params=parameters) as response:
                is_json = response.content_type == "application/json"
                found = await response.json() if is_json else await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EngineError(f"{method} {path}: {str(error) or type(error).__name__}") from error
        if response.status >= 400:
            said = found.get("message") if isinstance(found, dict) else found
            raise EngineError(f"{method} {path}: HTTP {response.status}: {said}")
        return found


@asynccontextmanager
async def connected(socket: str) -> AsyncIterator[Engine]:
    """The daemon that listens there; whether there is one shows at the first request."""
    connector = aiohttp.UnixConnector(socket, force_close=True)
    timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
    # The host is nobody's: HTTP wants one.
    async with aiohttp.ClientSession(
        "http://docker", connector=connector, timeout=timeout
    ) as session:
        yield Engine(session)


def path(*parts: str) -> str:
    """A path of these parts, quoted: an image's name has slashes and colons."""
    return "/" + "/".join(quote(part, safe="/:@") for part in parts)
