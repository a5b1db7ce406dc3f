"""Remove what is due, by the Engine API; keeper.leftovers decides what that is."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Any, Final

import structlog

from keeper import engine
from keeper.engine import Engine
from keeper.errors import EngineError
from keeper.leftovers import Ages, Kind, Leftover, Listed, Memory, unused

# Of one pass. A daemon that has to remove thousands of things has no time for builds.
_MOST: Final = 100
_PLACES: Final[dict[Kind, str]] = {
    "container": "containers",
    "volume": "volumes",
    "network": "networks",
    "image": "images",
}
_DANGLING: Final = '{"dangling":["true"]}'


class Prune:
    """Passes over one daemon, and what they have seen."""

    def __init__(self, ages: Ages) -> None:
        self._ages = ages
        self._memory = Memory({})
        self._log = structlog.get_logger()

    async def run_pass(self, docker: Engine) -> None:
        """Look, and remove what is due. What refuses to go stays: it is in use after all.

        Raises:
            EngineError: dockerd does not answer.
        """
        found, at = unused(await _listed(docker)), monotonic()
        self._memory = self._memory.updated(found, at)
        removed: dict[str, list[str]] = {}
        for leftover in self._memory.due(found, at, self._ages)[:_MOST]:
            gone = await _removed(docker, leftover)
            if gone:
                removed.setdefault(_PLACES[leftover.kind], []).extend(gone)
        if removed:
            self._log.info("removed what finished Pods have left", **removed)


async def _listed(docker: Engine) -> Listed:
    volumes = await docker.get("/volumes", filters=_DANGLING)
    networks = await docker.get("/networks", filters=_DANGLING)
    images = await docker.get("/images/json")
    # Last: what has come into use meanwhile is not taken for unused.
    containers: list[Any] = await docker.get("/containers/json", all="true")
    return Listed(containers, volumes.get("Volumes") or [], networks, images)


async def _removed(docker: Engine, leftover: Leftover) -> list[str]:
    """The references that are gone. Never by force: Docker refuses what is in use."""
    gone = []
    for reference in leftover.references:
        place = engine.path(_PLACES[leftover.kind], reference)
        with suppress(EngineError):
            await docker.delete(place, **({"v": "true"} if leftover.kind == "container" else {}))
            gone.append(
                reference.removeprefix("sha256:")[:12] if reference == leftover.id else reference
            )
    return gone
