"""The loop of `dinp daemon keep`: look after the certificate, and remove what is left behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import monotonic

import structlog

from keeper import engine
from keeper.certificates import Renewal
from keeper.errors import EngineError
from keeper.prune import Prune


class Keeper:
    """One daemon's; without `renewal` or `prune` the other half alone."""

    def __init__(self, socket: str, renewal: Renewal | None, prune: Prune | None) -> None:
        self._socket = socket
        self._renewal = renewal
        self._prune = prune
        self._answers = True
        self._log = structlog.get_logger()

    async def run(self, check_interval: timedelta, prune_interval: timedelta) -> None:
        """Go on until cancelled."""
        due = 0.0
        while True:
            await self._check()
            if monotonic() >= due:
                due = monotonic() + prune_interval.total_seconds()
                await self._remove()
            await asyncio.sleep(check_interval.total_seconds())

    async def _check(self) -> None:
        if self._renewal is None:
            return
        try:
            await self._renewal.check()
        except OSError as error:
            self._log.warning("the certificate was not looked after", error=str(error))

    async def _remove(self) -> None:
        if self._prune is None:
            return
        try:
            async with engine.connected(self._socket) as docker:
                await self._prune.run_pass(docker)
        except EngineError as error:
            if self._answers:
                self._log.warning("nothing removed", error=str(error))
            self._answers = False
            return
        self._answers = True
